//! The messages of JT/T 808 that the platform passes on and shows, as tables: areas and routes, media, attributes and so on.
//!
//! Data only. Sources: JT/T 808-2013 chapter 8 (table numbers beside the rows); what 2019 adds follows the implementations
//! named in `protocol.toml`. Messages of JT/T 1078 and of active safety stand in [`super::dialects`]. Start at [`MESSAGES`].

use super::dialects::DIALECTS;
use super::frame::Version;
use super::layout::{Count, Field, Kind, Layout, When, bytes, degrees, list, text, text_after, time, time_or_none, u8, u16, u32};
use super::message::civil;

/// A message id and one layout it may have.
pub(crate) struct Row {
    /// Message id.
    pub id: u16,
    /// Its layout.
    pub layout: &'static Layout,
    /// Decides between layouts of one id that the length cannot tell apart; `None`: the first that fits.
    pub only_if: Option<fn(&[u8]) -> bool>,
    /// Exists only in the edition of 2019, so it is read as such whatever the header says.
    pub since_2019: bool,
}

impl Row {
    /// The edition to read and write this layout in, when the header says `header`.
    pub fn version(&self, header: Version) -> Version {
        if self.since_2019 { Version::V2019 } else { header }
    }
}

/// All rows of a message id, in the order of trying.
pub(crate) fn rows(id: u16) -> impl Iterator<Item = &'static Row> {
    MESSAGES.iter().chain(DIALECTS.iter().flat_map(|d| d.messages)).filter(move |row| row.id == id)
}

pub(crate) const fn row(id: u16, layout: &'static Layout) -> Row {
    Row { id, layout, only_if: None, since_2019: false }
}

const EMPTY: Layout = Layout::new("empty", &[]);
const ID: Layout = Layout::new("id", &[u32("id")]);
const INDEX: Layout = Layout::new("index", &[u16("index")]);

/// Bits of tables 58 to 67: what an area does. Optional fields are there when their bit is 1.
const BY_TIME: u32 = 0;
const BY_SPEED: u32 = 1;

const AREA_OPERATION: &[(u64, &str)] = &[(0, "update"), (1, "append"), (2, "modify")];

const STARTS: Field = time("starts_at").when(When::Bit("attributes", BY_TIME));
const ENDS: Field = time("ends_at").when(When::Bit("attributes", BY_TIME));
const SPEED: Field = u16("speed_max_kmh").when(When::Bit("attributes", BY_SPEED));
const OVERSPEED: Field = u8("overspeed_s").when(When::Bit("attributes", BY_SPEED));
const NIGHT: Field = u16("night_speed_max_kmh").when(When::Bit2019("attributes", BY_SPEED));
const NAME: Field = text_after("name", 2).when(When::Since2019);

/// Tables 56 and 57.
const CIRCLE: Layout = Layout::new(
    "circle",
    &[
        u32("area_id"),
        u16("attributes"),
        degrees("latitude_deg"),
        degrees("longitude_deg"),
        u32("radius_m"),
        STARTS,
        ENDS,
        SPEED,
        OVERSPEED,
        NIGHT,
        NAME,
    ],
);
const CIRCLES: Layout = Layout::new("set_circles", &[u8("operation").codes(AREA_OPERATION), list("areas", Count::Before(1), &CIRCLE)]);
/// Tables 60 and 61.
const RECTANGLE: Layout = Layout::new(
    "rectangle",
    &[
        u32("area_id"),
        u16("attributes"),
        degrees("north_deg"),
        degrees("west_deg"),
        degrees("south_deg"),
        degrees("east_deg"),
        STARTS,
        ENDS,
        SPEED,
        OVERSPEED,
        NIGHT,
        NAME,
    ],
);
const RECTANGLES: Layout =
    Layout::new("set_rectangles", &[u8("operation").codes(AREA_OPERATION), list("areas", Count::Before(1), &RECTANGLE)]);
const VERTEX: Layout = Layout::new("vertex", &[degrees("latitude_deg"), degrees("longitude_deg")]);
/// Tables 63 and 64.
const POLYGON: Layout = Layout::new(
    "set_polygon",
    &[u32("area_id"), u16("attributes"), STARTS, ENDS, SPEED, OVERSPEED, list("vertices", Count::Before(2), &VERTEX), NIGHT, NAME],
);
/// Tables 66 to 69.
const TURN: Layout = Layout::new(
    "turn",
    &[
        u32("turn_id"),
        u32("section_id"),
        degrees("latitude_deg"),
        degrees("longitude_deg"),
        u8("width_m"),
        u8("section_attributes"),
        u16("driving_max_s").when(When::Bit("section_attributes", 0)),
        u16("driving_min_s").when(When::Bit("section_attributes", 0)),
        u16("speed_max_kmh").when(When::Bit("section_attributes", 1)),
        u8("overspeed_s").when(When::Bit("section_attributes", 1)),
        u16("night_speed_max_kmh").when(When::Bit2019("section_attributes", 1)),
    ],
);
const ROUTE: Layout =
    Layout::new("set_route", &[u32("route_id"), u16("attributes"), STARTS, ENDS, list("turns", Count::Before(2), &TURN), NAME]);
/// Tables 59, 62, 65 and 70: no id means all of them.
const DELETE_CIRCLES: Layout = Layout::new("delete_circles", &[list("ids", Count::Before(1), &ID)]);
const DELETE_RECTANGLES: Layout = Layout::new("delete_rectangles", &[list("ids", Count::Before(1), &ID)]);
const DELETE_POLYGONS: Layout = Layout::new("delete_polygons", &[list("ids", Count::Before(1), &ID)]);
const DELETE_ROUTES: Layout = Layout::new("delete_routes", &[list("ids", Count::Before(1), &ID)]);
const AREA_KIND: &[(u64, &str)] = &[(1, "circle"), (2, "rectangle"), (3, "polygon"), (4, "route")];
const QUERY_AREAS: Layout = Layout::new("query_areas", &[u8("kind").codes(AREA_KIND), list("ids", Count::Before(4), &ID)]);
const AREAS_ANSWER: Layout = Layout::new(
    "areas_answer",
    &[
        u8("kind").codes(AREA_KIND),
        list("circles", Count::Before(4), &CIRCLES).when(When::Is("kind", 1)),
        list("rectangles", Count::Before(4), &RECTANGLES).when(When::Is("kind", 2)),
        list("polygons", Count::Before(4), &POLYGON).when(When::Is("kind", 3)),
        list("routes", Count::Before(4), &ROUTE).when(When::Is("kind", 4)),
    ],
);

const MEDIA_KIND: &[(u64, &str)] = &[(0, "image"), (1, "audio"), (2, "video")];
const MEDIA_FORMAT: &[(u64, &str)] = &[(0, "jpeg"), (1, "tif"), (2, "mp3"), (3, "wav"), (4, "wmv")];
const MEDIA_EVENT: &[(u64, &str)] = &[(0, "platform"), (1, "timer"), (2, "robbery"), (3, "collision_or_rollover")];
const MEDIA_ID: Field = u32("media_id");
const MEDIA_TYPE: Field = u8("kind").codes(MEDIA_KIND);
const MEDIA_CODING: Field = u8("format").codes(MEDIA_FORMAT);
const MEDIA_CAUSE: Field = u8("event").codes(MEDIA_EVENT);
/// Table 80.
const MEDIA: Layout = Layout::new("media_event", &[MEDIA_ID, MEDIA_TYPE, MEDIA_CODING, MEDIA_CAUSE, u8("channel")]);
/// Table 81; 2011 has no position.
const MEDIA_DATA: Layout = Layout::new(
    "media_data",
    &[
        MEDIA_ID,
        MEDIA_TYPE,
        MEDIA_CODING,
        MEDIA_CAUSE,
        u8("channel"),
        Field::new("position", Kind::Position),
        Field::new("data", Kind::BytesRest),
    ],
);
const MEDIA_DATA_2011: Layout =
    Layout::new("media_data", &[MEDIA_ID, MEDIA_TYPE, MEDIA_CODING, MEDIA_CAUSE, u8("channel"), Field::new("data", Kind::BytesRest)]);
/// Table 82: no list means complete.
const MEDIA_ANSWER: Layout = Layout::new("media_answer", &[MEDIA_ID, list("missing", Count::Before(1), &INDEX).when(When::Left)]);
/// Table 83.
const SHOOT: Layout = Layout::new(
    "shoot",
    &[
        u8("channel"),
        u16("command").codes(&[(0, "stop"), (0xffff, "video")]),
        u16("interval_s"),
        u8("keep").codes(&[(0, "send"), (1, "keep")]),
        u8("resolution"),
        u8("quality"),
        u8("brightness"),
        u8("contrast"),
        u8("saturation"),
        u8("chroma"),
    ],
);
const SHOT: Layout =
    Layout::new("shoot_answer", &[u16("answered_serial"), u8("result"), list("media_ids", Count::Before(2), &ID).when(When::Left)]);
const MEDIA_QUERY: Layout =
    Layout::new("query_media", &[MEDIA_TYPE, u8("channel"), MEDIA_CAUSE, time_or_none("starts_at"), time_or_none("ends_at")]);
const MEDIA_ITEM: Layout =
    Layout::new("media", &[MEDIA_ID, MEDIA_TYPE, u8("channel"), MEDIA_CAUSE, Field::new("position", Kind::Position)]);
const MEDIA_ITEM_2011: Layout = Layout::new("media", &[MEDIA_TYPE, u8("channel"), MEDIA_CAUSE, Field::new("position", Kind::Position)]);
const MEDIA_LIST: Layout = Layout::new("media_list", &[u16("answered_serial"), list("media", Count::Before(2), &MEDIA_ITEM)]);
const MEDIA_LIST_2011: Layout = Layout::new("media_list", &[u16("answered_serial"), list("media", Count::Before(2), &MEDIA_ITEM_2011)]);
const AFTERWARDS: Field = u8("afterwards").codes(&[(0, "keep"), (1, "delete")]);
const MEDIA_UPLOAD: Layout =
    Layout::new("upload_media", &[MEDIA_TYPE, u8("channel"), MEDIA_CAUSE, time_or_none("starts_at"), time_or_none("ends_at"), AFTERWARDS]);
const RECORD_SOUND: Layout =
    Layout::new("record_sound", &[u8("command").codes(&[(0, "stop"), (1, "start")]), u16("duration_s"), u8("keep"), u8("sample_rate")]);
const MEDIA_UPLOAD_ONE: Layout = Layout::new("upload_one_media", &[MEDIA_ID, AFTERWARDS]);

/// Table 20.
const ATTRIBUTES: Layout = Layout::new(
    "attributes",
    &[
        u16("terminal_type_bits"),
        text("maker", 5).when(When::Before2019),
        text("model", 20).when(When::Before2019),
        text("terminal_id", 7).when(When::Before2019),
        text("maker_2019", 11).when(When::Since2019),
        text("model_2019", 30).when(When::Since2019),
        text("terminal_id_2019", 30).when(When::Since2019),
        Field::new("iccid", Kind::Digits(10)),
        text_after("hardware", 1),
        text_after("firmware", 1),
        u8("gnss_bits"),
        u8("communication_bits"),
    ],
);
/// Table 15.
const CONTROL: Layout = Layout::new("terminal_control", &[u8("command"), Field::new("arguments", Kind::TextRest)]);
const UPGRADE: Layout = Layout::new(
    "upgrade",
    &[
        u8("kind"),
        text("maker", 5).when(When::Before2019),
        text("maker_2019", 11).when(When::Since2019),
        text_after("software", 1),
        u32("n_bytes"),
        Field::new("package", Kind::BytesRest),
    ],
);
const UPGRADED: Layout = Layout::new("upgrade_result", &[u8("kind"), u8("result").codes(&[(0, "done"), (1, "failed"), (2, "cancelled")])]);

/// Table 46 of 2013; 2019 has a list whose parameters depend on makers.
const VEHICLE_CONTROL: Layout = Layout::new(
    "vehicle_control",
    &[
        u8("flags").when(When::Before2019),
        u16("n_commands").when(When::Since2019),
        Field::new("commands", Kind::BytesRest).when(When::Since2019),
    ],
);
const VEHICLE_CONTROLLED: Layout =
    Layout::new("vehicle_control_answer", &[u16("answered_serial"), Field::new("position", Kind::PositionRest)]);

const CAN: Layout = Layout::new("can", &[u32("can_id"), bytes("data", 8)]);
/// Table 77.
const CAN_DATA: Layout =
    Layout::new("can_data", &[u16("n"), Field::new("first_at_hhmmssms", Kind::Digits(5)), list("frames", Count::In("n"), &CAN)]);

const EVENT: Layout = Layout::new("event", &[u8("event_id"), text_after("content", 1)]);
const SET_EVENTS: Layout = Layout::new("set_events", &[u8("operation"), list("events", Count::Before(1), &EVENT).when(When::Left)]);
const ANSWER_CHOICE: Layout = Layout::new("choice", &[u8("answer_id"), text_after("content", 2)]);
const QUESTION: Layout =
    Layout::new("question", &[u8("flags"), text_after("question", 1), list("choices", Count::ToTheEnd, &ANSWER_CHOICE)]);
const SERVICE: Layout = Layout::new("service", &[u8("service_id"), text_after("name", 2)]);
const SET_SERVICES: Layout = Layout::new("set_services", &[u8("operation"), list("services", Count::Before(1), &SERVICE).when(When::Left)]);
const SERVICE_TEXT: Layout = Layout::new("service_text", &[u8("service_id"), text_after("text", 2)]);
const CONTACT: Layout = Layout::new("contact", &[u8("flags"), text_after("phone", 1), text_after("name", 1)]);
const SET_CONTACTS: Layout = Layout::new("set_contacts", &[u8("operation"), list("contacts", Count::Before(1), &CONTACT).when(When::Left)]);
const CALL_BACK: Layout = Layout::new("call_back", &[u8("listen_only"), Field::new("phone", Kind::TextRest)]);
const RSA: Layout = Layout::new("rsa_key", &[u32("e"), bytes("n", 128)]);

/// Whether a 0x0801 carries a position: bytes 30 to 35 are a date then. A picture begins with its own header there.
fn media_has_position(body: &[u8]) -> bool {
    body.get(30..36).and_then(|t| <[u8; 6]>::try_from(t).ok()).is_some_and(|t| civil(t).is_some())
}

/// Every message of JT/T 808 that has a table. Ids may repeat: [`row`] order is the order of trying.
pub(crate) const MESSAGES: &[Row] = &[
    row(0x0107, &ATTRIBUTES),
    row(0x0108, &UPGRADED),
    row(0x0301, &Layout::new("event_report", &[u8("event_id")])),
    row(0x0302, &Layout::new("question_answer", &[u16("answered_serial"), u8("answer_id")])),
    row(0x0303, &Layout::new("service_choice", &[u8("service_id"), u8("chosen")])),
    row(0x0500, &VEHICLE_CONTROLLED),
    Row { since_2019: true, ..row(0x0608, &AREAS_ANSWER) },
    row(0x0705, &CAN_DATA),
    row(0x0800, &MEDIA),
    Row { only_if: Some(media_has_position), ..row(0x0801, &MEDIA_DATA) },
    row(0x0801, &MEDIA_DATA_2011),
    row(0x0802, &MEDIA_LIST),
    row(0x0802, &MEDIA_LIST_2011),
    row(0x0805, &SHOT),
    row(0x0a00, &RSA),
    row(0x8105, &CONTROL),
    row(0x8107, &EMPTY),
    row(0x8108, &UPGRADE),
    row(0x8301, &SET_EVENTS),
    row(0x8302, &QUESTION),
    row(0x8303, &SET_SERVICES),
    row(0x8304, &SERVICE_TEXT),
    row(0x8400, &CALL_BACK),
    row(0x8401, &SET_CONTACTS),
    row(0x8500, &VEHICLE_CONTROL),
    row(0x8600, &CIRCLES),
    row(0x8601, &DELETE_CIRCLES),
    row(0x8602, &RECTANGLES),
    row(0x8603, &DELETE_RECTANGLES),
    row(0x8604, &POLYGON),
    row(0x8605, &DELETE_POLYGONS),
    row(0x8606, &ROUTE),
    row(0x8607, &DELETE_ROUTES),
    Row { since_2019: true, ..row(0x8608, &QUERY_AREAS) },
    row(0x8800, &MEDIA_ANSWER),
    row(0x8801, &SHOOT),
    row(0x8802, &MEDIA_QUERY),
    row(0x8803, &MEDIA_UPLOAD),
    row(0x8804, &RECORD_SOUND),
    row(0x8805, &MEDIA_UPLOAD_ONE),
    row(0x8a00, &RSA),
];

#[cfg(test)]
mod tests {
    use proptest::test_runner::{Config, TestCaseError, TestRunner};

    use super::super::layout::{self, Record, Value, fit, write};
    use super::super::{Item, Message, Position, decode, encode};
    use super::*;
    use anlan_model::Timestamp;

    /// A small generator: the same seed gives the same record.
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            // xorshift64*
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % sides
        }
        fn bytes(&mut self, n: usize) -> Vec<u8> {
            (0..n).map(|_| self.roll(256) as u8).collect()
        }
        fn text(&mut self, max_bytes: usize) -> String {
            let n = self.roll(max_bytes as u64 / 2 + 1);
            (0..n).map(|_| ['A', '7', '云', '粤', '-'][self.roll(5) as usize]).collect()
        }
        fn position(&mut self) -> Position {
            let (lat, lon) = (self.roll(90_000_000) as i32 + 1, self.roll(180_000_000) as i32 + 1);
            Position::at(lat, lon, Timestamp::from_secs(1_600_000_000 + self.roll(100_000_000) as i64))
        }
        fn record(&mut self, of: &Layout, version: Version) -> Record {
            let mut record = Record::default();
            for field in of.fields {
                let left = self.roll(3) > 0;
                if !layout::present(field.when, version, &record, left) {
                    continue;
                }
                let value = match &field.kind {
                    // Small numbers and set bits often, or nothing that depends on them would ever be there.
                    Kind::Number(n) => {
                        Value::Number([self.roll(8), self.roll(256), self.roll(1 << (8 * (*n).min(7)))][self.roll(3) as usize])
                    }
                    Kind::Signed16 => Value::Number(self.roll(65_536)),
                    Kind::Degrees => Value::Number(self.roll(180_000_000)),
                    Kind::Time | Kind::TimeOrNone => Value::Bytes(self.position().time_bcd.to_vec()),
                    Kind::Digits(n) | Kind::Bytes(n) => Value::Bytes(self.bytes(*n)),
                    Kind::Text(n) | Kind::Padded(n) => Value::Text(self.text(*n)),
                    Kind::Seconds => Value::Number(self.roll(4_000_000_000)),
                    Kind::PositionAfter(_) => Value::Position(Box::new(self.position().with(Item::Satellites(9)))),
                    Kind::TextAfter(_) | Kind::TextRest => Value::Text(self.text(30)),
                    Kind::BytesRest => {
                        let n = self.roll(40) as usize;
                        Value::Bytes(self.bytes(n))
                    }
                    Kind::Position => Value::Position(Box::new(self.position())),
                    Kind::PositionRest => Value::Position(Box::new(self.position().with(Item::Satellites(9)))),
                    Kind::Group(inner) | Kind::Wrapped(inner) => Value::Record(self.record(inner, version)),
                    Kind::List(count, inner) => {
                        let n = self.roll(4);
                        if let Count::In(name) = count {
                            record.0.iter_mut().filter(|(n, _)| n == name).for_each(|(_, v)| *v = Value::Number(n));
                        }
                        Value::List((0..n).map(|_| self.record(inner, version)).collect())
                    }
                };
                record.0.push((field.name, value));
            }
            record
        }
    }

    fn every_layout() -> Vec<(&'static Layout, bool)> {
        let mut all: Vec<_> =
            MESSAGES.iter().chain(DIALECTS.iter().flat_map(|d| d.messages)).map(|row| (row.layout, row.since_2019)).collect();
        for dialect in DIALECTS {
            all.extend(dialect.items.iter().map(|(_, layout)| (*layout, false)));
            all.extend(dialect.parameters.iter().map(|(_, layout)| (*layout, false)));
        }
        all
    }

    #[test]
    fn what_a_table_writes_it_reads_again() {
        let layouts = every_layout();
        assert!(layouts.len() > 90, "{}", layouts.len());
        let mut runner = TestRunner::new(Config { cases: 40, failure_persistence: None, ..Config::default() });
        let done = runner.run(&proptest::prelude::any::<u64>(), |seed| {
            for (layout, since_2019) in &layouts {
                for version in [Version::V2013, Version::V2019] {
                    if *since_2019 && version == Version::V2013 {
                        continue;
                    }
                    let record = Dice(seed | 1).record(layout, version);
                    let mut bytes = Vec::new();
                    write(layout, version, &record, &mut bytes).map_err(|e| TestCaseError::fail(format!("{}: {e}", layout.name)))?;
                    let fits = fit(layout, version, &bytes).ok_or_else(|| TestCaseError::fail(layout.name))?;
                    proptest::prop_assert!(fits.exactly, "{} {:?}", layout.name, fits.defects);
                    proptest::prop_assert_eq!(fits.record, record, "{}", layout.name);
                }
            }
            Ok(())
        });
        done.unwrap();
    }

    #[test]
    fn no_body_of_any_tabled_message_panics_or_is_lost() {
        let mut dice = Dice(7);
        for row in MESSAGES.iter().chain(DIALECTS.iter().flat_map(|d| d.messages)) {
            for n in 0..120 {
                let body = dice.bytes(n);
                for version in [Version::V2013, Version::V2019] {
                    let (message, _) = decode(row.id, version, &body);
                    assert_eq!(message.id(), row.id);
                    let _ = super::super::message_json(&message, version);
                    if let Message::Raw { body: raw, .. } = &message {
                        assert_eq!(raw, &body);
                    }
                    let _ = encode::body(&message, version);
                }
            }
        }
    }

    #[test]
    fn the_header_of_a_message_decides_its_edition_unless_there_is_only_one() {
        let circle = |version| {
            let mut bytes = Vec::new();
            let mut dice = Dice(3);
            let record = Record(vec![("operation", Value::Number(0)), ("areas", Value::List(vec![dice.record(&CIRCLE, version)]))]);
            write(&CIRCLES, version, &record, &mut bytes).unwrap();
            (record, bytes)
        };
        for version in [Version::V2013, Version::V2019] {
            let (record, bytes) = circle(version);
            let (message, defects) = decode(0x8600, version, &bytes);
            assert_eq!(message, Message::Table { message_id: 0x8600, layout: &CIRCLES, record });
            assert!(defects.is_empty());
        }
        let (_, bytes) = circle(Version::V2019);
        let (_, defects) = decode(0x8600, Version::V2013, &bytes);
        assert_eq!(defects.iter().map(|d| d.code).collect::<Vec<_>>(), ["trailing"], "the name of 2019 is left over in 2013");
    }

    #[test]
    fn a_missing_field_is_named() {
        let message = Message::Table { message_id: 0x8800, layout: &MEDIA_ANSWER, record: Record::default() };
        assert_eq!(encode::body(&message, Version::V2013).unwrap_err().to_string(), "media_answer needs media_id");
    }
}
