//! The bodies of JT/T 809 and of JT/T 1078 between platforms, as tables.
//!
//! Data only. Source of every row: SmallChi/JT809@4528912, read as a description, and its frames; no text of the standard was
//! seen (`docs/reference/jt809.md` says which rows frames confirm). A row that is marked 待核 has that one source and no frame.
//! Start at [`ROWS`].

use super::frame::Edition;
use crate::jt808::layout::{Count, Field, Kind, Layout, When, degrees, list, padded, seconds, text_after, u8, u16, u32, u64};

/// A message or sub-business id and one layout it may have.
pub(super) struct Row {
    pub id: u16,
    pub layout: &'static Layout,
    /// Only in this edition; `None`: in both.
    pub only: Option<Edition>,
}

impl Row {
    pub fn is_of(&self, edition: Edition) -> bool {
        self.only.is_none_or(|only| only == edition)
    }
}

/// All rows of an id, in the order of trying.
pub(super) fn rows(id: u16) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.id == id)
}

const fn row(id: u16, layout: &'static Layout) -> Row {
    Row { id, layout, only: None }
}
const fn old(id: u16, layout: &'static Layout) -> Row {
    Row { id, layout, only: Some(Edition::V2011) }
}
const fn new(id: u16, layout: &'static Layout) -> Row {
    Row { id, layout, only: Some(Edition::V2019) }
}
const fn rest(name: &'static str) -> Field {
    Field::new(name, Kind::BytesRest)
}
const fn text_rest(name: &'static str) -> Field {
    Field::new(name, Kind::TextRest)
}

/// 2019 names the message that is answered by its sub-business and serial number.
const SOURCE_TYPE: Field = u16("source_type").when(When::Since2019);
const SOURCE_SERIAL: Field = u32("source_serial").when(When::Since2019);

const LOGIN_RESULT: &[(u64, &str)] = &[
    (0, "ok"),
    (1, "address_wrong"),
    (2, "access_code_wrong"),
    (3, "not_registered"),
    (4, "password_wrong"),
    (5, "no_resources"),
    (6, "other"),
];
const SUPERVISION_RESULT: &[(u64, &str)] = &[(0, "in_progress"), (1, "done"), (2, "not_handled"), (3, "later")];
const COLOUR: &[(u64, &str)] = &[(1, "blue"), (2, "yellow"), (3, "black"), (4, "white"), (9, "other")];

const EMPTY: Layout = Layout::new("empty", &[]);
const CODE: Layout = Layout::new("notice", &[u8("code")]);
const VERIFY: Layout = Layout::new("verify", &[u32("verify_code")]);
const RESULT: Layout = Layout::new("result", &[u8("result")]);
const SPAN: Layout = Layout::new("span", &[seconds("starts_at"), seconds("ends_at")]);
const ANSWER: Layout = Layout::new("answer", &[SOURCE_TYPE, SOURCE_SERIAL, u8("result")]);

const LOGIN: Layout = Layout::new(
    "login",
    &[u32("user_id"), padded("password", 8), u32("access_code").when(When::Since2019), padded("down_address", 32), u16("down_port")],
);
const LOGIN_ANSWER: Layout = Layout::new("login_answer", &[u8("result").codes(LOGIN_RESULT), u32("verify_code")]);
const LOGOUT: Layout = Layout::new("logout", &[u32("user_id"), padded("password", 8)]);
const RECEIVED: Layout = Layout::new("received", &[u32("total"), seconds("starts_at"), seconds("ends_at")]);
const LOST: Layout = Layout::new(
    "lost",
    &[padded("platform", 11), seconds("starts_at"), seconds("ends_at"), u32("lost_positions"), u8("disconnections"), u32("disconnected_s")],
);
const LOST_QUERY: Layout = Layout::new("lost_query", &[padded("platform", 11), seconds("starts_at"), seconds("ends_at")]);
const SERIAL: Layout = Layout::new("serial", &[u16("sub"), u32("serial"), seconds("time")]);
const SERIALS: Layout = Layout::new("serials", &[list("serials", Count::Before(1), &SERIAL)]);

const REGISTER_8: Layout = Layout::new(
    "register",
    &[padded("platform", 11), padded("producer", 11), padded("model", 8), padded("terminal", 7), padded("sim", 12)],
);
const REGISTER_20: Layout = Layout::new(
    "register",
    &[padded("platform", 11), padded("producer", 11), padded("model", 20), padded("terminal", 7), padded("sim", 12)],
);
const REGISTER_2019: Layout = Layout::new(
    "register",
    &[padded("platform", 11), padded("producer", 11), padded("model", 30), padded("imei", 15), padded("terminal", 30), padded("sim", 13)],
);

/// The year is a binary number (07DC is 2012), not BCD. Coordinates are as the sender has them, civil time is Beijing's.
pub(super) const POSITION: Layout = Layout::new(
    "position",
    &[
        u8("encrypted"),
        u8("day").when(When::Before2019),
        u8("month").when(When::Before2019),
        u16("year").when(When::Before2019),
        u8("hour").when(When::Before2019),
        u8("minute").when(When::Before2019),
        u8("second").when(When::Before2019),
        degrees("longitude_deg").when(When::Before2019),
        degrees("latitude_deg").when(When::Before2019),
        u16("speed_kmh").when(When::Before2019),
        u16("recorder_speed_kmh").when(When::Before2019),
        u32("odometer_km").when(When::Before2019),
        u16("direction_deg").when(When::Before2019),
        u16("altitude_m").when(When::Before2019),
        u32("status_bits").when(When::Before2019),
        u32("alarm_bits").when(When::Before2019),
        Field::new("position", Kind::PositionAfter(4)).when(When::Since2019),
        padded("platform_1", 11).when(When::Since2019),
        u32("alarm_1").when(When::Since2019),
        padded("platform_2", 11).when(When::Since2019),
        u32("alarm_2").when(When::Since2019),
        padded("platform_3", 11).when(When::Since2019),
        u32("alarm_3").when(When::Since2019),
    ],
);
const POSITIONS: Layout = Layout::new("positions", &[list("positions", Count::Before(1), &POSITION)]);

/// 120C carries no source, 120A does.
const DRIVER_ANSWER: Layout = Layout::new(
    "driver",
    &[
        SOURCE_TYPE,
        SOURCE_SERIAL,
        padded("name", 16),
        padded("identity_card", 20),
        padded("licence", 40),
        padded("issuer", 200),
        seconds("valid_until").when(When::Since2019),
    ],
);
const DRIVER: Layout = Layout::new(
    "driver",
    &[
        padded("name", 16),
        padded("identity_card", 20),
        padded("licence", 40),
        padded("issuer", 200),
        seconds("valid_until").when(When::Since2019),
    ],
);
const WAYBILL_ANSWER: Layout = Layout::new("waybill", &[SOURCE_TYPE, SOURCE_SERIAL, text_after("waybill", 4)]);
const WAYBILL: Layout = Layout::new("waybill", &[text_after("waybill", 4)]);

const REGISTER_ANSWER: Layout = Layout::new("register_answer", &[u16("source_type"), u32("source_serial"), u8("result")]);
const VEHICLE_DATA: Layout = Layout::new("vehicle_data", &[text_rest("text")]);
const DRIVER_QUERY: Layout = Layout::new("driver_query", &[u8("flag").when(When::Since2019)]);
const ROUTE_ANSWER: Layout = Layout::new("route_answer", &[u32("route_id"), u8("result"), text_after("reason", 2)]);

const DUTY_CHECK_2011: Layout = Layout::new("duty_check", &[u32("info_id"), text_after("text", 4)]);
const DUTY_CHECK_2011_OBJECT: Layout =
    Layout::new("duty_check", &[u8("object_type"), padded("object", 12), u32("info_id"), text_after("text", 4)]);
const DUTY_CHECK_2019: Layout =
    Layout::new("duty_check", &[u8("object_type"), padded("object", 20), u8("answer_s"), u32("info_id"), text_after("text", 4)]);
const DUTY_ANSWER: Layout = Layout::new(
    "duty_answer",
    &[
        u8("object_type"),
        padded("responder", 16).when(When::Since2019),
        padded("responder_phone", 20).when(When::Since2019),
        padded("object", 12).when(When::Before2019),
        padded("object_2019", 20).when(When::Since2019),
        u32("info_id").when(When::Before2019),
        SOURCE_TYPE,
        SOURCE_SERIAL,
        text_after("text", 4),
    ],
);
const LETTER: Layout = Layout::new("letter", &[u8("object_type"), padded("object", 12), u32("info_id"), text_after("text", 4)]);
const LETTER_ANSWER: Layout = Layout::new("letter_answer", &[u32("info_id").when(When::Before2019), SOURCE_TYPE, SOURCE_SERIAL]);
const RESEND: Layout = Layout::new("resend", &[u16("sub"), u8("count"), u32("first_serial"), u32("last_serial"), seconds("time")]);

const ALARM_2011: Layout = Layout::new("alarm", &[u8("source"), u16("alarm_type"), seconds("time"), u32("info_id"), text_after("text", 4)]);
const NOTICE_2011: Layout = Layout::new("alarm", &[u8("source"), u16("alarm_type"), seconds("time"), text_after("text", 4)]);
const ALARM_2019: Layout = Layout::new(
    "alarm",
    &[
        padded("source_platform", 11),
        u16("alarm_type"),
        seconds("time"),
        seconds("starts_at"),
        seconds("ends_at"),
        padded("plate", 21),
        u8("plate_colour").codes(COLOUR),
        padded("destination_platform", 11),
        u32("route_id"),
        text_after("text", 4),
    ],
);
const SUPERVISION: Layout = Layout::new(
    "supervision",
    &[
        u8("source"),
        u16("alarm_type"),
        seconds("time"),
        u32("supervision_id"),
        seconds("ends_at"),
        u8("level"),
        padded("supervisor", 16),
        padded("supervisor_phone", 20),
        padded("supervisor_mail", 32),
    ],
);
const SUPERVISION_ANSWER: Layout = Layout::new("supervision_answer", &[u32("supervision_id"), u8("result").codes(SUPERVISION_RESULT)]);
const ALARM_RESULT: Layout = Layout::new("alarm_result", &[u32("info_id"), u8("result").codes(SUPERVISION_RESULT)]);
const ANSWER_2019: Layout = Layout::new("answer", &[u16("source_type"), u32("source_serial"), u8("result")]);
const SUPERVISION_UP: Layout = Layout::new(
    "supervision",
    &[
        padded("platform", 11),
        seconds("time"),
        u16("source_type"),
        u32("source_serial"),
        seconds("ends_at"),
        u8("level"),
        padded("supervisor", 16),
        padded("supervisor_phone", 20),
        padded("supervisor_mail", 32),
    ],
);

const PHOTO: Layout = Layout::new(
    "photo",
    &[
        SOURCE_TYPE,
        SOURCE_SERIAL,
        u8("result"),
        Field::new("position", Kind::Group(&POSITION)),
        u8("lens"),
        u32("photo_bytes"),
        u8("size"),
        u8("format"),
        rest("photo"),
    ],
);
/// A platform of 2019 in the field sends the 36 bytes of a position of 2011 here; only the length tells.
const PHOTO_36: Layout = Layout::new(
    "photo",
    &[
        SOURCE_TYPE,
        SOURCE_SERIAL,
        u8("result"),
        Field::new("position_2011", Kind::Bytes(36)),
        u8("lens"),
        u32("photo_bytes"),
        u8("size"),
        u8("format"),
        rest("photo"),
    ],
);
const TEXT_ANSWER: Layout =
    Layout::new("text_answer", &[u32("message_id").when(When::Before2019), SOURCE_TYPE, SOURCE_SERIAL, u8("result")]);
const TRAVEL_DATA: Layout =
    Layout::new("recorder_data", &[SOURCE_TYPE, SOURCE_SERIAL, u8("command").when(When::Since2019), u32("data_bytes"), rest("data")]);
const LISTEN: Layout = Layout::new("listen", &[padded("phone", 20)]);
const SHOOT: Layout = Layout::new("shoot", &[u8("lens"), u8("size")]);
const TEXT: Layout = Layout::new("text", &[u32("sequence"), u8("priority"), text_after("text", 4)]);
const RECORDER_2019: Layout = Layout::new("recorder_query", &[seconds("starts_at"), seconds("ends_at"), u8("command")]);
const RECORDER_2011: Layout = Layout::new(
    "recorder_query",
    &[
        u8("command"),
        Field::new("from_bcd", Kind::TimeOrNone).when(When::Left),
        Field::new("to_bcd", Kind::TimeOrNone).when(When::Left),
        u16("units_max").when(When::Left),
    ],
);
const CONNECT: Layout = Layout::new(
    "connect",
    &[
        Field::new("authentication", Kind::Digits(10)),
        padded("access_point", 20),
        padded("user", 49),
        padded("password", 22),
        padded("address", 32),
        u16("tcp_port"),
        u16("udp_port"),
        seconds("ends_at"),
    ],
);
const STATIC: Layout = Layout::new("vehicle_data", &[SOURCE_TYPE, SOURCE_SERIAL, text_rest("text")]);

// JT/T 1078 between platforms. Codes of use once 64 bytes; the position that may follow is 36 bytes as in 1202 of 2011.
const PASSWORDS: Layout = Layout::new("passwords", &[padded("platform", 11), padded("code_1", 64), padded("code_2", 64)]);
const LIVE_ANSWER: Layout = Layout::new("live_answer", &[u8("result"), padded("address", 32), u16("port")]);
const RECORDING: Layout = Layout::new(
    "recording",
    &[
        u8("channel"),
        seconds("starts_at"),
        seconds("ends_at"),
        u64("alarm_bits"),
        u8("item_type"),
        u8("stream_type"),
        u8("storage"),
        u32("size_bytes"),
    ],
);
const RECORDINGS: Layout = Layout::new("recordings", &[list("recordings", Count::Before(4), &RECORDING)]);
const RECORDINGS_ANSWER: Layout = Layout::new("recordings", &[u8("result"), list("recordings", Count::Before(4), &RECORDING)]);
const PLAYBACK_ANSWER: Layout = Layout::new("playback_answer", &[padded("address", 32), u16("port"), u8("result")]);
const SESSION_ANSWER: Layout = Layout::new("session_answer", &[u8("result"), u16("session")]);
const DOWNLOADED: Layout = Layout::new(
    "downloaded",
    &[u8("result"), u16("session"), padded("address", 32), u16("port"), padded("user", 49), padded("password", 22), padded("path", 200)],
);
const GNSS: Field = Field::new("gnss", Kind::Bytes(36)).when(When::Left);
const LIVE: Layout = Layout::new("live", &[u8("channel"), u8("item_type"), padded("code", 64), GNSS]);
const LIVE_STOP: Layout = Layout::new("live_stop", &[u8("channel"), u8("item_type")]);
const RECORDINGS_RECEIVED: Layout = Layout::new("recordings_received", &[u8("result"), u8("count")]);
const RECORDINGS_QUERY: Layout = Layout::new(
    "recordings_query",
    &[
        u8("channel"),
        seconds("starts_at"),
        seconds("ends_at"),
        u64("alarm_bits"),
        u8("item_type"),
        u8("stream_type"),
        u8("storage"),
        padded("code", 64),
        GNSS,
    ],
);
const PLAYBACK: Layout = Layout::new(
    "playback",
    &[u8("channel"), u8("item_type"), u8("stream_type"), u8("storage"), seconds("starts_at"), seconds("ends_at"), padded("code", 64), GNSS],
);
const PLAYBACK_CONTROL: Layout = Layout::new("playback_control", &[u8("control"), u8("speed"), seconds("time")]);
const DOWNLOAD: Layout = Layout::new(
    "download",
    &[
        u8("channel"),
        seconds("starts_at"),
        seconds("ends_at"),
        u64("alarm_bits"),
        u8("item_type"),
        u8("stream_type"),
        u8("storage"),
        u32("size_bytes"),
        padded("code", 64),
        GNSS,
    ],
);
const DOWNLOAD_CONTROL: Layout = Layout::new("download_control", &[u16("session"), u8("control")]);

/// Every layout. Ids that are not here (1205 and 1206 of 2019, 120E, 1602, 9303) are kept raw: no frame settles how they look.
pub(super) const ROWS: &[Row] = &[
    row(0x1001, &LOGIN),
    row(0x1002, &LOGIN_ANSWER),
    row(0x1003, &LOGOUT),
    row(0x1004, &EMPTY),
    row(0x1005, &EMPTY),
    row(0x1006, &EMPTY),
    row(0x1007, &CODE),
    row(0x1008, &CODE),
    row(0x9001, &VERIFY),
    row(0x9002, &RESULT),
    row(0x9003, &VERIFY),
    row(0x9004, &EMPTY),
    row(0x9005, &EMPTY),
    row(0x9006, &EMPTY),
    row(0x9007, &CODE),
    row(0x9008, &CODE),
    row(0x9101, &RECEIVED),
    row(0x1102, &LOST),
    row(0x1103, &SERIALS),
    row(0x9102, &LOST_QUERY),
    row(0x9103, &SERIALS),
    old(0x1201, &REGISTER_8),
    old(0x1201, &REGISTER_20),
    new(0x1201, &REGISTER_2019),
    row(0x1202, &POSITION),
    row(0x1203, &POSITIONS),
    old(0x1205, &EMPTY),
    old(0x1206, &EMPTY),
    row(0x1207, &SPAN),
    row(0x1208, &EMPTY),
    row(0x1209, &SPAN),
    row(0x120a, &DRIVER_ANSWER),
    row(0x120b, &WAYBILL_ANSWER),
    row(0x120c, &DRIVER),
    row(0x120d, &WAYBILL),
    new(0x9201, &REGISTER_ANSWER),
    row(0x9202, &POSITION),
    row(0x9203, &POSITIONS),
    row(0x9204, &VEHICLE_DATA),
    row(0x9205, &CODE),
    row(0x9206, &CODE),
    row(0x9207, &ANSWER),
    row(0x9208, &ANSWER),
    row(0x9209, &ANSWER),
    row(0x920a, &DRIVER_QUERY),
    row(0x920b, &EMPTY),
    row(0x920c, &EMPTY),
    row(0x920d, &ROUTE_ANSWER),
    row(0x1301, &DUTY_ANSWER),
    row(0x1302, &LETTER_ANSWER),
    row(0x1303, &RESEND),
    old(0x9301, &DUTY_CHECK_2011_OBJECT),
    old(0x9301, &DUTY_CHECK_2011),
    new(0x9301, &DUTY_CHECK_2019),
    row(0x9302, &LETTER),
    row(0x1401, &SUPERVISION_ANSWER),
    old(0x1402, &ALARM_2011),
    new(0x1402, &ALARM_2019),
    old(0x1403, &ALARM_RESULT),
    new(0x1403, &ALARM_2019),
    new(0x1411, &ANSWER_2019),
    new(0x1412, &ANSWER_2019),
    new(0x1413, &SUPERVISION_UP),
    row(0x9401, &SUPERVISION),
    old(0x9402, &NOTICE_2011),
    new(0x9402, &ALARM_2019),
    old(0x9403, &NOTICE_2011),
    new(0x9403, &ALARM_2019),
    row(0x1501, &ANSWER),
    row(0x1502, &PHOTO),
    new(0x1502, &PHOTO_36),
    row(0x1503, &TEXT_ANSWER),
    row(0x1504, &TRAVEL_DATA),
    row(0x1505, &ANSWER),
    row(0x9501, &LISTEN),
    row(0x9502, &SHOOT),
    row(0x9503, &TEXT),
    old(0x9504, &RECORDER_2011),
    new(0x9504, &RECORDER_2019),
    row(0x9505, &CONNECT),
    row(0x1601, &STATIC),
    row(0x9601, &EMPTY),
    row(0x1701, &PASSWORDS),
    row(0x1702, &EMPTY),
    row(0x9702, &EMPTY),
    row(0x1801, &LIVE_ANSWER),
    row(0x1802, &RESULT),
    row(0x9801, &LIVE),
    row(0x9802, &LIVE_STOP),
    row(0x1901, &RECORDINGS),
    row(0x1902, &RECORDINGS_ANSWER),
    row(0x9901, &RECORDINGS_RECEIVED),
    row(0x9902, &RECORDINGS_QUERY),
    row(0x1a01, &PLAYBACK_ANSWER),
    row(0x1a02, &RESULT),
    row(0x9a01, &PLAYBACK),
    row(0x9a02, &PLAYBACK_CONTROL),
    row(0x1b01, &SESSION_ANSWER),
    row(0x1b02, &DOWNLOADED),
    row(0x1b03, &RESULT),
    row(0x9b01, &DOWNLOAD),
    row(0x9b02, &SESSION_ANSWER),
    row(0x9b03, &DOWNLOAD_CONTROL),
];
