//! 粤标: active safety of Guangdong. The items and attachments of 苏标 with an alarm tag of 40 bytes, and more kinds of alarm.
//!
//! Source: SmallChi/JT808 (extension YueBiao); own text of the standard not read. What it shares with 苏标 stands in
//! [`super::subiao`].

use super::super::layout::{Count, Field, Kind, Layout, bytes, list, text, text_after, time, u8, u16, u32};
use super::super::tables::{Row, row};
use super::Dialect;
use super::subiao::{
    ADAS_KIND, AHEAD, ALTITUDE, AT, BSD_KIND, C_ALARMS, C_DISTANCE, C_EVENTS, C_GAP, C_INTERVAL, C_PHOTO, C_PHOTOS, C_SPEED, C_STRATEGY,
    C_VIDEO, C_VOLUME, DEVIATION, FILES, FLAG, LATITUDE, LONGITUDE, SPEED, STATE, adas_parameters,
};

const NAME: &str = "yuebiao";

pub(super) const DIALECT: Dialect = Dialect {
    items: &[(0x64, &ADAS), (0x65, &DSM), (0x66, &TPMS), (0x67, &BSD)],
    messages: MESSAGES,
    parameters: &[
        (0xf364, &ADAS_PARAMETERS),
        (0xf365, &DSM_PARAMETERS),
        (0xf370, &Layout::of(NAME, "active_safety_version", &[u8("version")])),
    ],
    is_guess: false,
};

const TAG: Layout =
    Layout::new("alarm_tag", &[text("terminal_id", 30), time("at"), u8("sequence"), u8("n_attachments"), bytes("reserved", 2)]);
const TAGGED: Field = Field::new("tag", Kind::Group(&TAG));
const DSM_KIND: Field = u8("kind").codes(&[
    (1, "fatigue"),
    (2, "telephone"),
    (3, "smoking"),
    (4, "eyes_off_road"),
    (5, "driver_abnormal"),
    (6, "camera_covered"),
    (8, "driving_too_long"),
    (0x0a, "no_seat_belt"),
    (0x0b, "sunglasses_block_infrared"),
    (0x0c, "both_hands_off"),
    (0x0d, "playing_with_phone"),
    (0x10, "snapshot"),
    (0x11, "driver_change"),
]);

const ADAS: Layout = Layout::of(
    NAME,
    "driver_assistance_alarm",
    &[
        u32("alarm_id"),
        FLAG,
        ADAS_KIND,
        u8("level"),
        u8("front_speed_kmh"),
        AHEAD,
        DEVIATION,
        u8("sign_kind"),
        u8("sign_value"),
        SPEED,
        ALTITUDE,
        LATITUDE,
        LONGITUDE,
        AT,
        STATE,
        TAGGED,
    ],
);
const DSM: Layout = Layout::of(
    NAME,
    "driver_state_alarm",
    &[
        u32("alarm_id"),
        FLAG,
        DSM_KIND,
        u8("level"),
        u8("fatigue"),
        bytes("reserved", 4),
        SPEED,
        ALTITUDE,
        LATITUDE,
        LONGITUDE,
        AT,
        STATE,
        TAGGED,
    ],
);
const TYRE: Layout =
    Layout::new("tyre", &[u16("position"), u16("kind_bits"), u16("pressure_kpa"), u16("temperature_c"), u16("battery_percent")]);
const TPMS: Layout = Layout::of(
    NAME,
    "tyre_alarm",
    &[u32("alarm_id"), FLAG, SPEED, ALTITUDE, LATITUDE, LONGITUDE, AT, STATE, TAGGED, list("tyres", Count::Before(1), &TYRE)],
);
const BSD: Layout =
    Layout::of(NAME, "blind_spot_alarm", &[u32("alarm_id"), FLAG, BSD_KIND, SPEED, ALTITUDE, LATITUDE, LONGITUDE, AT, STATE, TAGGED]);

const MESSAGES: &[Row] = &[
    row(0x1210, &Layout::of(NAME, "attachments", &[text("terminal_id", 30), TAGGED, text("alarm_number", 32), u8("information"), FILES])),
    row(
        0x1fc4,
        &Layout::of(NAME, "upgrade_progress", &[u16("answered_serial"), u8("kind"), u8("state"), u8("progress_percent"), u8("error")]),
    ),
    row(
        0x9208,
        &Layout::of(
            NAME,
            "send_attachments",
            &[text_after("host", 1), u16("tcp_port"), u16("udp_port"), TAGGED, text("alarm_number", 32), bytes("reserved", 16)],
        ),
    ),
];

const ADAS_PARAMETERS: Layout = Layout::of(
    NAME,
    "driver_assistance_parameters",
    adas_parameters!(
        u8("solid_line_level_2_kmh"),
        u8("solid_line_video_s"),
        u8("solid_line_photos"),
        u8("solid_line_gap_tenth_s"),
        u8("aisle_level_2_kmh"),
        u8("aisle_video_s"),
        u8("aisle_photos"),
        u8("aisle_gap_tenth_s"),
        bytes("reserved_end", 4),
    ),
);
const DSM_PARAMETERS: Layout = Layout::of(
    NAME,
    "driver_state_parameters",
    &[
        C_SPEED,
        C_VOLUME,
        C_STRATEGY,
        C_INTERVAL,
        C_DISTANCE,
        C_PHOTOS,
        C_GAP,
        C_PHOTO,
        C_VIDEO,
        C_ALARMS,
        C_EVENTS,
        u16("smoking_window_s"),
        u16("telephone_window_s"),
        bytes("reserved", 3),
        u8("fatigue_level_2_kmh"),
        u8("fatigue_video_s"),
        u8("fatigue_photos"),
        u8("fatigue_gap_tenth_s"),
        u8("telephone_level_2_kmh"),
        u8("telephone_video_s"),
        u8("telephone_photos"),
        u8("telephone_gap_tenth_s"),
        u8("smoking_level_2_kmh"),
        u8("smoking_video_s"),
        u8("smoking_photos"),
        u8("smoking_gap_tenth_s"),
        u8("eyes_off_road_level_2_kmh"),
        u8("eyes_off_road_video_s"),
        u8("eyes_off_road_photos"),
        u8("eyes_off_road_gap_tenth_s"),
        u8("abnormal_level_2_kmh"),
        u8("abnormal_video_s"),
        u8("abnormal_photos"),
        u8("abnormal_gap_tenth_s"),
        u8("identification"),
        u8("camera_covered_level_2_kmh"),
        u8("seat_belt_level_2_kmh"),
        u8("seat_belt_video_s"),
        u8("seat_belt_photos"),
        u8("seat_belt_gap_tenth_s"),
        u8("sunglasses_level_2_kmh"),
        u8("sunglasses_video_s"),
        u8("sunglasses_photos"),
        u8("sunglasses_gap_tenth_s"),
        u8("hands_off_level_2_kmh"),
        u8("hands_off_video_s"),
        u8("hands_off_photos"),
        u8("hands_off_gap_tenth_s"),
        u8("playing_level_2_kmh"),
        u8("playing_video_s"),
        u8("playing_photos"),
        u8("playing_gap_tenth_s"),
        bytes("reserved_end", 2),
    ],
);
