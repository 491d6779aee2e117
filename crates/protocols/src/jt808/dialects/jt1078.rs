//! JT/T 1078-2016: video over JT/T 808. Items 14 to 18, parameters 0x75 to 0x7C, messages 0x1003 to 0x9306.
//!
//! Source: SmallChi/JT808 (extension JT1078), yezhihao/jt808-server and cuteLittleDevil/go-jt808, which agree; own text of the
//! standard not read. The video stream itself (RTP-like packets on its own port) is another protocol.

use super::super::layout::{Count, Field, Kind, Layout, list, text_after, time, time_or_none, u8, u16, u32, u64};
use super::super::tables::{Row, row};
use super::Dialect;

const NAME: &str = "jt1078";

pub(super) const DIALECT: Dialect = Dialect {
    items: &[
        (0x14, &Layout::of(NAME, "video_alarms", &[u32("video_alarm_bits")])),
        (0x15, &Layout::of(NAME, "video_signal_lost", &[u32("channel_bits")])),
        (0x16, &Layout::of(NAME, "video_signal_covered", &[u32("channel_bits")])),
        // Bits 0 to 11 main storage 1 to 12, bits 12 to 15 disaster storage 1 to 4.
        (0x17, &Layout::of(NAME, "storage_fault", &[u16("storage_bits")])),
        // Bit 0 fatigue, 1 telephone, 2 smoking.
        (0x18, &Layout::of(NAME, "driver_behaviour", &[u16("behaviour_bits"), u8("fatigue_percent")])),
    ],
    messages: MESSAGES,
    parameters: &[
        (
            0x75,
            &Layout::of(
                NAME,
                "video_parameters",
                &[
                    LIVE_MODE,
                    LIVE_SIZE,
                    LIVE_KEY,
                    LIVE_FPS,
                    LIVE_RATE,
                    STORE_MODE,
                    STORE_SIZE,
                    STORE_KEY,
                    STORE_FPS,
                    STORE_RATE,
                    OSD,
                    u8("audio_on"),
                ],
            ),
        ),
        (
            0x76,
            &Layout::of(
                NAME,
                "video_channels",
                &[u8("n_audio_video"), u8("n_audio"), u8("n_video"), list("channels", Count::ToTheEnd, &CHANNEL)],
            ),
        ),
        (0x77, &Layout::of(NAME, "video_parameters_by_channel", &[list("channels", Count::Before(1), &CHANNEL_VIDEO)])),
        (0x79, &Layout::of(NAME, "alarm_recording", &[u8("storage_percent"), u8("duration_min"), u8("before_min")])),
        (0x7a, &Layout::of(NAME, "video_alarm_mask", &[u32("video_alarm_bits")])),
        (0x7b, &Layout::of(NAME, "image_analysis", &[u8("n_persons_max"), u8("fatigue_percent")])),
        (
            0x7c,
            &Layout::of(
                NAME,
                "sleep_and_wake",
                &[u8("mode_bits"), u8("condition_bits"), u8("weekday_bits"), Field::new("day", Kind::Group(&WAKE_DAY))],
            ),
        ),
    ],
    is_guess: false,
};

const CHANNEL_NO: Field = u8("channel");
/// Of live video.
const LIVE: Field = u8("stream").codes(&[(0, "main"), (1, "sub")]);
/// Of recordings.
const STREAM: Field = u8("stream").codes(&[(0, "any"), (1, "main"), (2, "sub")]);
const STORAGE: Field = u8("storage").codes(&[(0, "any"), (1, "main"), (2, "disaster")]);
const MEDIA: Field = u8("media").codes(&[(0, "audio_and_video"), (1, "audio"), (2, "video"), (3, "audio_or_video")]);
const ON_OFF: Field = u8("on").codes(&[(0, "stop"), (1, "start")]);

const LIVE_MODE: Field = u8("live_mode");
const LIVE_SIZE: Field = u8("live_resolution");
const LIVE_KEY: Field = u16("live_key_interval_frames");
const LIVE_FPS: Field = u8("live_fps");
const LIVE_RATE: Field = u32("live_kbps");
const STORE_MODE: Field = u8("stored_mode");
const STORE_SIZE: Field = u8("stored_resolution");
const STORE_KEY: Field = u16("stored_key_interval_frames");
const STORE_FPS: Field = u8("stored_fps");
const STORE_RATE: Field = u32("stored_kbps");
const OSD: Field = u16("osd_bits");

const CHANNEL: Layout = Layout::new("channel", &[u8("physical_channel"), CHANNEL_NO, u8("kind"), u8("has_gimbal")]);
const CHANNEL_VIDEO: Layout = Layout::new(
    "channel",
    &[CHANNEL_NO, LIVE_MODE, LIVE_SIZE, LIVE_KEY, LIVE_FPS, LIVE_RATE, STORE_MODE, STORE_SIZE, STORE_KEY, STORE_FPS, STORE_RATE, OSD],
);
const fn clock(name: &'static str) -> Field {
    Field::new(name, Kind::Digits(2))
}
const WAKE_DAY: Layout = Layout::new(
    "day",
    &[
        u8("period_bits"),
        clock("wakes_1_hhmm"),
        clock("sleeps_1_hhmm"),
        clock("wakes_2_hhmm"),
        clock("sleeps_2_hhmm"),
        clock("wakes_3_hhmm"),
        clock("sleeps_3_hhmm"),
        clock("wakes_4_hhmm"),
        clock("sleeps_4_hhmm"),
    ],
);

const RECORDING: Layout = Layout::of(
    NAME,
    "recording",
    &[CHANNEL_NO, time("starts_at"), time("ends_at"), u64("alarm_bits"), MEDIA, STREAM, STORAGE, u32("n_bytes")],
);

const MESSAGES: &[Row] = &[
    row(
        0x1003,
        &Layout::of(
            NAME,
            "video_attributes",
            &[
                u8("audio_coding"),
                u8("audio_channels"),
                u8("audio_sample_rate"),
                u8("audio_sample_bits"),
                u16("audio_frame_bytes"),
                u8("audio_output"),
                u8("video_coding"),
                u8("n_audio_channels_max"),
                u8("n_video_channels_max"),
            ],
        ),
    ),
    row(0x1005, &Layout::of(NAME, "passenger_flow", &[time("starts_at"), time("ends_at"), u16("n_boarded"), u16("n_alighted")])),
    row(0x1205, &Layout::of(NAME, "recordings", &[u16("answered_serial"), list("recordings", Count::Before(4), &RECORDING)])),
    row(0x1206, &Layout::of(NAME, "upload_finished", &[u16("answered_serial"), u8("result").codes(&[(0, "done"), (1, "failed")])])),
    row(0x9003, &Layout::of(NAME, "query_video_attributes", &[])),
    row(
        0x9101,
        &Layout::of(NAME, "start_live_video", &[text_after("host", 1), u16("tcp_port"), u16("udp_port"), CHANNEL_NO, u8("data"), LIVE]),
    ),
    row(0x9102, &Layout::of(NAME, "control_live_video", &[CHANNEL_NO, u8("command"), u8("close"), LIVE])),
    row(0x9105, &Layout::of(NAME, "live_video_state", &[CHANNEL_NO, u8("lost_percent")])),
    row(
        0x9201,
        &Layout::of(
            NAME,
            "start_playback",
            &[
                text_after("host", 1),
                u16("tcp_port"),
                u16("udp_port"),
                CHANNEL_NO,
                MEDIA,
                STREAM,
                STORAGE,
                u8("mode"),
                u8("speed"),
                time_or_none("starts_at"),
                time_or_none("ends_at"),
            ],
        ),
    ),
    row(0x9202, &Layout::of(NAME, "control_playback", &[CHANNEL_NO, u8("command"), u8("speed"), time_or_none("position_at")])),
    row(
        0x9205,
        &Layout::of(
            NAME,
            "query_recordings",
            &[CHANNEL_NO, time_or_none("starts_at"), time_or_none("ends_at"), u64("alarm_bits"), MEDIA, STREAM, STORAGE],
        ),
    ),
    row(
        0x9206,
        &Layout::of(
            NAME,
            "upload_recording",
            &[
                text_after("host", 1),
                u16("ftp_port"),
                text_after("user", 1),
                text_after("password", 1),
                text_after("path", 1),
                CHANNEL_NO,
                time_or_none("starts_at"),
                time_or_none("ends_at"),
                u64("alarm_bits"),
                MEDIA,
                STREAM,
                STORAGE,
                u8("network_bits"),
            ],
        ),
    ),
    row(
        0x9207,
        &Layout::of(NAME, "control_upload", &[u16("answered_serial"), u8("command").codes(&[(0, "pause"), (1, "go_on"), (2, "cancel")])]),
    ),
    row(0x9301, &Layout::of(NAME, "turn_camera", &[CHANNEL_NO, u8("direction"), u8("speed")])),
    row(0x9302, &Layout::of(NAME, "focus_camera", &[CHANNEL_NO, u8("direction")])),
    row(0x9303, &Layout::of(NAME, "set_aperture", &[CHANNEL_NO, u8("direction")])),
    row(0x9304, &Layout::of(NAME, "set_wiper", &[CHANNEL_NO, ON_OFF])),
    row(0x9305, &Layout::of(NAME, "set_infrared_light", &[CHANNEL_NO, ON_OFF])),
    row(0x9306, &Layout::of(NAME, "zoom_camera", &[CHANNEL_NO, u8("direction")])),
];
