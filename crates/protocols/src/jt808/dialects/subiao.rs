//! 苏标: active safety of Jiangsu (T/JSATL 12-2017). Items 0x64 to 0x67 and 0x70, alarm attachments, parameters 0xF364 to 0xF367.
//!
//! Source: SmallChi/JT808 (extension SuBiao) and the session of cuteLittleDevil/go-jt808; own text of the standard not read.
//! 粤标 ([`super::yuebiao`]) shares most rows and has a longer alarm tag.

use super::super::layout::{Count, Field, Kind, Layout, When, bytes, degrees, list, text, text_after, time, u8, u16, u32};
use super::super::tables::{Row, row};
use super::Dialect;

const NAME: &str = "subiao";

pub(super) const DIALECT: Dialect = Dialect {
    items: &[(0x64, &ADAS), (0x65, &DSM), (0x66, &TPMS), (0x67, &BSD), (0x70, &HARSH)],
    messages: MESSAGES,
    parameters: &[(0xf364, &ADAS_PARAMETERS), (0xf365, &DSM_PARAMETERS), (0xf366, &TPMS_PARAMETERS), (0xf367, &BSD_PARAMETERS)],
    is_guess: false,
};

pub(super) const FLAG: Field = u8("flag").codes(&[(0, "none"), (1, "start"), (2, "end")]);
pub(super) const ADAS_KIND: Field = u8("kind").codes(&[
    (1, "forward_collision"),
    (2, "lane_departure"),
    (3, "too_close"),
    (4, "pedestrian_collision"),
    (5, "frequent_lane_change"),
    (6, "road_sign_exceeded"),
    (7, "obstacle"),
    (0x10, "road_sign_seen"),
    (0x11, "snapshot"),
]);
const DSM_KIND: Field = u8("kind").codes(&[
    (1, "fatigue"),
    (2, "telephone"),
    (3, "smoking"),
    (4, "distraction"),
    (5, "driver_abnormal"),
    (0x10, "snapshot"),
    (0x11, "driver_change"),
]);
pub(super) const BSD_KIND: Field = u8("kind").codes(&[(1, "behind"), (2, "behind_left"), (3, "behind_right")]);
pub(super) const DEVIATION: Field = u8("deviation").codes(&[(1, "left"), (2, "right")]);
/// Distance in time to what is in front.
pub(super) const AHEAD: Field = u8("ahead_tenth_s");

// Where and when of an alarm: the middle part of all its items.
pub(super) const SPEED: Field = u8("speed_kmh");
pub(super) const ALTITUDE: Field = u16("altitude_m");
pub(super) const LATITUDE: Field = degrees("latitude_deg");
pub(super) const LONGITUDE: Field = degrees("longitude_deg");
pub(super) const AT: Field = time("at");
pub(super) const STATE: Field = u16("vehicle_bits");

/// 16 bytes that name an alarm and its attachments.
const TAG: Layout = Layout::new("alarm_tag", &[text("terminal_id", 7), time("at"), u8("sequence"), u8("n_attachments"), u8("reserved")]);
const TAGGED: Field = Field::new("tag", Kind::Group(&TAG));

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
    Layout::new("tyre", &[u8("position"), u16("kind_bits"), u16("pressure_kpa"), u16("temperature_c"), u16("battery_percent")]);
const TPMS: Layout = Layout::of(
    NAME,
    "tyre_alarm",
    &[u32("alarm_id"), FLAG, SPEED, ALTITUDE, LATITUDE, LONGITUDE, AT, STATE, TAGGED, list("tyres", Count::Before(1), &TYRE)],
);
const BSD: Layout =
    Layout::of(NAME, "blind_spot_alarm", &[u32("alarm_id"), FLAG, BSD_KIND, SPEED, ALTITUDE, LATITUDE, LONGITUDE, AT, STATE, TAGGED]);

/// Only in 苏标. Thresholds: 0.01 g for the first three kinds; km/h and revolutions a minute for the others.
const HARSH: Layout = Layout::of(
    NAME,
    "harsh_driving_alarm",
    &[
        u32("alarm_id"),
        FLAG,
        u8("kind").codes(&[
            (1, "acceleration"),
            (2, "braking"),
            (3, "turn"),
            (4, "idling"),
            (5, "abnormal_stop"),
            (6, "coasting"),
            (7, "engine_overspeed"),
        ]),
        u16("time_threshold_s"),
        u16("threshold_1"),
        u16("threshold_2"),
        SPEED,
        ALTITUDE,
        LATITUDE,
        LONGITUDE,
        AT,
        STATE,
        TAGGED,
    ],
);

const FILE: Layout = Layout::new("file", &[text_after("name", 1), u32("n_bytes")]);
pub(super) const FILES: Field = list("files", Count::Before(1), &FILE);
pub(super) const FILE_KIND: Field = u8("kind").codes(&[(0, "image"), (1, "audio"), (2, "video"), (3, "text"), (4, "other")]);
const RANGE: Layout = Layout::new("range", &[u32("offset"), u32("n_bytes")]);
const PERIPHERAL_ID: Field =
    u8("peripheral").codes(&[(0x64, "driver_assistance"), (0x65, "driver_state"), (0x66, "tyres"), (0x67, "blind_spot")]);
const PERIPHERAL_STATE: Layout = Layout::new(
    "state",
    &[u8("working").codes(&[(1, "normal"), (2, "standby"), (3, "upgrading"), (4, "abnormal"), (0x10, "disconnected")]), u32("alarm_bits")],
);
const PERIPHERAL: Layout = Layout::new("peripheral", &[PERIPHERAL_ID, Field::new("state", Kind::Wrapped(&PERIPHERAL_STATE))]);
const PERIPHERAL_INFO: Layout = Layout::new(
    "information",
    &[
        text_after("maker", 1),
        text_after("model", 1),
        text_after("hardware", 1),
        text_after("software", 1),
        text_after("device_id", 1),
        text_after("customer", 1),
    ],
);
const PERIPHERAL_FACTS: Layout = Layout::new("peripheral", &[PERIPHERAL_ID, Field::new("information", Kind::Wrapped(&PERIPHERAL_INFO))]);

/// Which kind of transparent content: the byte in front of all of it.
const CONTENT: Field = u8("content").codes(&[
    (0, "gnss"),
    (0x0b, "ic_card"),
    (0x41, "serial_1"),
    (0x42, "serial_2"),
    (0xf7, "peripheral_state"),
    (0xf8, "peripheral_information"),
]);
/// JT/T 808-2013 tables 86 and 87; 0xF7 and 0xF8 are of active safety.
const TRANSPARENT_UP: Layout = Layout::new(
    "transparent",
    &[
        CONTENT,
        list("states", Count::Before(1), &PERIPHERAL).when(When::Is("content", 0xf7)),
        list("facts", Count::Before(1), &PERIPHERAL_FACTS).when(When::Is("content", 0xf8)),
    ],
);
const PERIPHERAL_ASKED: Layout = Layout::new("peripheral", &[PERIPHERAL_ID]);
const TRANSPARENT_DOWN: Layout = Layout::new(
    "transparent",
    &[
        CONTENT,
        list("states_of", Count::Before(1), &PERIPHERAL_ASKED).when(When::Is("content", 0xf7)),
        list("facts_of", Count::Before(1), &PERIPHERAL_ASKED).when(When::Is("content", 0xf8)),
    ],
);
const TRANSPARENT_RAW: Layout = Layout::new("transparent", &[CONTENT, Field::new("data", Kind::BytesRest)]);

/// Whether a transparent message is one of active safety.
fn is_peripheral(body: &[u8]) -> bool {
    matches!(body.first(), Some(0xf7 | 0xf8))
}

const MESSAGES: &[Row] = &[
    Row { only_if: Some(is_peripheral), ..row(0x0900, &TRANSPARENT_UP) },
    row(0x0900, &TRANSPARENT_RAW),
    Row { only_if: Some(is_peripheral), ..row(0x8900, &TRANSPARENT_DOWN) },
    row(0x8900, &TRANSPARENT_RAW),
    row(
        0x1210,
        &Layout::of(
            NAME,
            "attachments",
            &[
                text("terminal_id", 7),
                TAGGED,
                text("alarm_number", 32),
                u8("information").codes(&[(0, "normal"), (1, "sent_again")]),
                FILES,
            ],
        ),
    ),
    row(0x1211, &Layout::of(NAME, "attachment", &[text_after("name", 1), FILE_KIND, u32("n_bytes")])),
    row(0x1212, &Layout::of(NAME, "attachment_sent", &[text_after("name", 1), FILE_KIND, u32("n_bytes")])),
    row(
        0x9208,
        &Layout::of(
            NAME,
            "send_attachments",
            &[text_after("host", 1), u16("tcp_port"), u16("udp_port"), TAGGED, text("alarm_number", 32), bytes("reserved", 16)],
        ),
    ),
    row(
        0x9212,
        &Layout::of(
            NAME,
            "attachment_answer",
            &[
                text_after("name", 1),
                FILE_KIND,
                u8("result").codes(&[(0, "done"), (1, "send_more")]),
                list("missing", Count::Before(1), &RANGE),
            ],
        ),
    ),
];

// The first part of the parameters of both cameras.
pub(super) const C_SPEED: Field = u8("speed_min_kmh");
pub(super) const C_VOLUME: Field = u8("volume");
pub(super) const C_STRATEGY: Field = u8("photo_strategy");
pub(super) const C_INTERVAL: Field = u16("photo_interval_s");
pub(super) const C_DISTANCE: Field = u16("photo_distance_tenth_km");
pub(super) const C_PHOTOS: Field = u8("n_photos");
pub(super) const C_GAP: Field = u8("photo_gap_tenth_s");
pub(super) const C_PHOTO: Field = u8("photo_resolution");
pub(super) const C_VIDEO: Field = u8("video_resolution");
pub(super) const C_ALARMS: Field = u32("alarm_on_bits");
pub(super) const C_EVENTS: Field = u32("event_on_bits");

/// Everything of 0xF364 up to the end of what both standards share.
macro_rules! adas_parameters {
    ($($end:expr),+ $(,)?) => {
        &[
            C_SPEED, C_VOLUME, C_STRATEGY, C_INTERVAL, C_DISTANCE, C_PHOTOS, C_GAP, C_PHOTO, C_VIDEO, C_ALARMS, C_EVENTS,
            u8("reserved"),
            u8("obstacle_tenth_s"), u8("obstacle_level_2_kmh"), u8("obstacle_video_s"), u8("obstacle_photos"), u8("obstacle_gap_tenth_s"),
            u8("lane_change_window_s"), u8("lane_change_count"), u8("lane_change_level_2_kmh"), u8("lane_change_video_s"),
            u8("lane_change_photos"), u8("lane_change_gap_tenth_s"),
            u8("lane_departure_level_2_kmh"), u8("lane_departure_video_s"), u8("lane_departure_photos"), u8("lane_departure_gap_tenth_s"),
            u8("collision_tenth_s"), u8("collision_level_2_kmh"), u8("collision_video_s"), u8("collision_photos"), u8("collision_gap_tenth_s"),
            u8("pedestrian_tenth_s"), u8("pedestrian_kmh"), u8("pedestrian_video_s"), u8("pedestrian_photos"), u8("pedestrian_gap_tenth_s"),
            u8("too_close_tenth_s"), u8("too_close_level_2_kmh"), u8("too_close_video_s"), u8("too_close_photos"), u8("too_close_gap_tenth_s"),
            u8("sign_photos"), u8("sign_gap_tenth_s"),
            $($end),+
        ]
    };
}
pub(super) use adas_parameters;

const ADAS_PARAMETERS: Layout = Layout::of(NAME, "driver_assistance_parameters", adas_parameters!(bytes("reserved_end", 4)));

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
        u8("distraction_level_2_kmh"),
        u8("distraction_photos"),
        u8("distraction_gap_tenth_s"),
        u8("abnormal_video_s"),
        u8("abnormal_photos"),
        u8("abnormal_gap_tenth_s"),
        u8("identification"),
        bytes("reserved_end", 2),
    ],
);
pub(super) const TPMS_FIELDS: &[Field] = &[
    text("tyre_model", 12),
    u16("pressure_unit").codes(&[(0, "kg_cm2"), (1, "bar"), (2, "kpa"), (3, "psi")]),
    u16("pressure_normal"),
    u16("unbalanced_percent"),
    u16("leak_percent"),
    u16("pressure_low"),
    u16("pressure_high"),
    u16("temperature_high_c"),
    u16("battery_low_percent"),
    u16("report_interval_s"),
    bytes("reserved", 6),
];
const TPMS_PARAMETERS: Layout = Layout::of(NAME, "tyre_parameters", TPMS_FIELDS);
const BSD_PARAMETERS: Layout = Layout::of(NAME, "blind_spot_parameters", &[u8("behind_s"), u8("beside_s")]);
