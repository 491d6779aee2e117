//! A position between platforms as a position of JT/T 808, and back: what 1202, 1203, 9202 and 9203 carry.
//!
//! 2019 carries a 0x0200 as it is. The 36 bytes of 2011 have no items; odometer and recorder speed become the items that say the same.
//! That its bits are those of JT/T 808 is 待核. Start at [`positions`], the other way round at [`position_record`].

use anlan_model::{Timestamp, item};

use super::frame::Edition;
use super::message::{Content, Message, year};
use super::tables::POSITION;
use crate::jt808::{Item, Position, Record, Value, bcd_from_time, layout, time_from_bcd};
use crate::wire;

/// One position of a 1202, 1203, 9202 or 9203.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// What it says.
    pub position: Position,
    /// The bytes that make it this position and no other: the 0x0200 body, or the 35 bytes behind the first of 2011.
    pub bytes: Vec<u8>,
    /// The sender says that the coordinates are encrypted, in a way that no description tells (待核); they are no place then.
    pub encrypted: bool,
    /// Alarm words that platforms on the way added (2019): name and bits, those that are not 0.
    pub platform_alarms: Vec<(String, u32)>,
}

/// The positions of a message, in its order, and how many of it cannot be read.
pub fn positions(message: &Message, edition: Edition) -> (Vec<Placed>, usize) {
    let Content::Fields { record, .. } = &message.content else { return (Vec::new(), 1) };
    let records = match record.get("positions") {
        Some(Value::List(records)) => records.iter().collect(),
        _ => vec![record],
    };
    let n = records.len();
    let read: Vec<Placed> = records.into_iter().filter_map(|record| placed(record, edition)).collect();
    let n_unread = n.saturating_sub(read.len());
    (read, n_unread)
}

fn placed(record: &Record, edition: Edition) -> Option<Placed> {
    let encrypted = record.number("encrypted")? != 0;
    if let Some(Value::Position(position)) = record.get("position") {
        let word = |n: &str, platform: &str| {
            let bits = u32::try_from(record.number(n)?).ok().filter(|bits| *bits != 0)?;
            Some((record.text(platform).unwrap_or_default().to_owned(), bits))
        };
        let words = [word("alarm_1", "platform_1"), word("alarm_2", "platform_2"), word("alarm_3", "platform_3")];
        let mut bytes = Vec::new();
        crate::jt808::encode::put_position(&mut bytes, position);
        return Some(Placed { position: (**position).clone(), bytes, encrypted, platform_alarms: words.into_iter().flatten().collect() });
    }
    let number = |name: &str| record.number(name);
    let short = |name: &str| number(name).and_then(|n| u16::try_from(n).ok());
    let word = |name: &str| number(name).and_then(|n| u32::try_from(n).ok());
    let time = [number("month")?, number("day")?, number("hour")?, number("minute")?, number("second")?];
    let (status, speed_kmh) = (word("status_bits")?, short("speed_kmh")?);
    // Whatever is no place stays none: the receiver looks at `on_globe`.
    let degrees = |name: &str, negative: bool| {
        let size = word(name).and_then(|n| i32::try_from(n).ok()).unwrap_or(i32::MAX);
        if negative { size.saturating_neg() } else { size }
    };
    let bcd = civil_bcd(short("year")?, time);
    let mut position = Position {
        alarm: word("alarm_bits")?,
        status,
        lat_e6: degrees("latitude_deg", status & 0x04 != 0),
        lon_e6: degrees("longitude_deg", status & 0x08 != 0),
        altitude_m: short("altitude_m")?,
        speed_tenth_kmh: speed_kmh.saturating_mul(10),
        direction_deg: short("direction_deg")?,
        time: bcd.and_then(time_from_bcd),
        time_bcd: bcd.unwrap_or([0; 6]),
        items: Vec::new(),
        items_raw: Vec::new(),
    };
    // Both fields are always there; a zero says nothing.
    if let Some(km) = word("odometer_km").filter(|km| *km > 0) {
        position = position.with(Item::Odometer(km.saturating_mul(10)));
    }
    if let Some(kmh) = short("recorder_speed_kmh").filter(|kmh| *kmh > 0) {
        position = position.with(Item::RecorderSpeed(kmh.saturating_mul(10)));
    }
    let mut bytes = Vec::new();
    layout::write(&POSITION, year(edition), record, &mut bytes).ok()?;
    Some(Placed { position, bytes: bytes.get(1..)?.to_vec(), encrypted, platform_alarms: Vec::new() })
}

/// `None` for a year outside 2000 to 2099, which BCD of JT/T 808 cannot say.
fn civil_bcd(year: u16, [month, day, hour, minute, second]: [u64; 5]) -> Option<[u8; 6]> {
    let two = |n: u64| u8::try_from(n).ok().filter(|n| *n < 100).map(wire::to_bcd);
    let year = year.checked_sub(2000).map(u64::from)?;
    Some([two(year)?, two(month)?, two(day)?, two(hour)?, two(minute)?, two(second)?])
}

/// The values of a position for 1202 or an element of 1203. `None` if it holds for no year that can be said.
pub fn position_record(position: &Position, edition: Edition) -> Option<Record> {
    let number = Value::Number;
    if edition == Edition::V2019 {
        let nobody = || Value::Text(String::new());
        return Some(Record(vec![
            ("encrypted", number(0)),
            ("position", Value::Position(Box::new(position.clone()))),
            ("platform_1", nobody()),
            ("alarm_1", number(0)),
            ("platform_2", nobody()),
            ("alarm_2", number(0)),
            ("platform_3", nobody()),
            ("alarm_3", number(0)),
        ]));
    }
    let [year, month, day, hour, minute, second] = position.time_bcd.map(wire::bcd);
    let two = |n: Option<u8>| Some(number(u64::from(n?)));
    let tenths = |id: u8| {
        let value = item(&position.items_raw, id)?;
        (!value.is_empty() && value.len() <= 4).then(|| value.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) / 10)
    };
    let status = |negative: bool, bit: u32| if negative { bit } else { 0 };
    let hemispheres = status(position.lat_e6 < 0, 0x04) | status(position.lon_e6 < 0, 0x08);
    let short = |n: u64| number(n.min(u64::from(u16::MAX)));
    Some(Record(vec![
        ("encrypted", number(0)),
        ("day", two(day)?),
        ("month", two(month)?),
        ("year", number(2000u64.saturating_add(u64::from(year?)))),
        ("hour", two(hour)?),
        ("minute", two(minute)?),
        ("second", two(second)?),
        ("longitude_deg", number(u64::from(position.lon_e6.unsigned_abs()))),
        ("latitude_deg", number(u64::from(position.lat_e6.unsigned_abs()))),
        ("speed_kmh", short(u64::from(position.speed_tenth_kmh).saturating_add(5) / 10)),
        ("recorder_speed_kmh", short(tenths(0x03).unwrap_or(0))),
        ("odometer_km", number(tenths(0x01).unwrap_or(0))),
        ("direction_deg", short(u64::from(position.direction_deg))),
        ("altitude_m", short(u64::from(position.altitude_m))),
        ("status_bits", number(u64::from(position.status & !0x0c | hemispheres))),
        ("alarm_bits", number(u64::from(position.alarm))),
    ]))
}

/// The position with this time, for [`position_record`].
pub fn timed(position: Position, time: Timestamp) -> Position {
    Position { time: Some(time), time_bcd: bcd_from_time(time), ..position }
}

#[cfg(test)]
mod tests {
    use super::super::message::{Vehicle, body, decode};
    use super::*;

    fn place() -> Position {
        let time = Timestamp::parse("2026-11-30T01:02:03Z").unwrap();
        let position = Position {
            alarm: 2,
            altitude_m: 1_640,
            speed_tenth_kmh: 614,
            direction_deg: 91,
            ..Position::at(24_351_000, 102_543_000, time)
        };
        position.with(Item::Odometer(1_234_560)).with(Item::RecorderSpeed(600))
    }

    /// Through the wire and back, as one and as a list.
    fn there_and_back(edition: Edition, position: &Position) -> Vec<Placed> {
        let record = position_record(position, edition).unwrap();
        let vehicle = || Some(Vehicle::new("云F12345", 2));
        let list = Record(vec![("positions", Value::List(vec![record.clone(), record.clone()]))]);
        let mut found = Vec::new();
        for message in [
            Message::sub(edition, 0x1200, vehicle(), 0x1202, record).unwrap(),
            Message::sub(edition, 0x1200, vehicle(), 0x1203, list).unwrap(),
        ] {
            let bytes = body(&message, edition).unwrap();
            let (read, defects) = decode(edition, 0x1200, &bytes);
            assert_eq!(defects, []);
            let (placed, unread) = positions(&read, edition);
            assert_eq!(unread, 0);
            found.extend(placed);
        }
        assert_eq!(found.len(), 3);
        found
    }

    #[test]
    fn a_position_of_2019_is_that_of_the_terminal() {
        for found in there_and_back(Edition::V2019, &place()) {
            assert_eq!(found.position, place());
            assert_eq!(found.bytes.len(), 28 + 6 + 4);
            assert!(!found.encrypted && found.platform_alarms.is_empty());
        }
    }

    #[test]
    fn a_position_of_2011_keeps_all_but_tenths_and_foreign_items() {
        let found = there_and_back(Edition::V2011, &place());
        let want = Position { speed_tenth_kmh: 610, items: Vec::new(), items_raw: Vec::new(), ..place() };
        let want = want.with(Item::Odometer(1_234_560)).with(Item::RecorderSpeed(600));
        for one in &found {
            assert_eq!((&one.position, one.bytes.len()), (&want, 35));
            assert_eq!(one.bytes, found[0].bytes, "1202 and 1203 say the same position");
        }
        let south = Position { lat_e6: -1, lon_e6: -2, status: 0b11, ..place() };
        let back = &there_and_back(Edition::V2011, &south)[0].position;
        assert_eq!((back.lat_e6, back.lon_e6, back.status), (-1, -2, 0b1111));
    }

    #[test]
    fn what_is_no_date_or_no_place_is_still_a_position() {
        let Some(mut record) = position_record(&place(), Edition::V2011) else { panic!() };
        for (name, value) in &mut record.0 {
            match *name {
                "month" => *value = Value::Number(13),
                "latitude_deg" => *value = Value::Number(u64::from(u32::MAX)),
                "encrypted" => *value = Value::Number(1),
                _ => {}
            }
        }
        let message = Message::sub(Edition::V2011, 0x1200, Some(Vehicle::new("x", 1)), 0x1202, record).unwrap();
        let (found, unread) = positions(&message, Edition::V2011);
        assert_eq!(unread, 0);
        assert_eq!(found[0].position.time, None);
        assert!(!found[0].position.on_globe() && found[0].encrypted);
        assert_eq!(positions(&Message::raw(0x1200, vec![1, 2]), Edition::V2011), (Vec::new(), 1));
    }
}
