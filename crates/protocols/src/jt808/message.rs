//! The messages of JT/T 808 as values: what bodies mean once decoded, and what [`super::encode`] turns back into bytes.
//!
//! Plain data without behaviour beyond reading bits. Bytes are read in [`super::decode`], shown in [`super::json`].
//! Start at [`Message`]; the one that matters most is [`Position`].

use anlan_model::Timestamp;
use jiff::tz::Offset;

use super::layout::{Layout, Record};
use crate::wire;

/// Every time on the wire is Beijing time (JT/T 808-2013, 6.1: BCD times are GMT+8).
const BEIJING: Offset = Offset::constant(8);

/// One decoded body. `Raw` holds what is not decoded (yet), what is encrypted, and bodies too short for their fixed fields.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// 0x0001: the terminal's general answer.
    TerminalAnswer(Answer),
    /// 0x8001: the platform's general answer.
    PlatformAnswer(Answer),
    /// 0x0002.
    Heartbeat,
    /// 0x0003.
    Unregister,
    /// 0x0004 (2019): what time is it?
    TimeQuery,
    /// 0x8004 (2019).
    TimeAnswer(TimeAnswer),
    /// 0x0005 (2019): the terminal lacks parts of a downlink.
    TerminalResend(Resend),
    /// 0x8003: the platform lacks parts of an uplink.
    PlatformResend(Resend),
    /// 0x0100.
    Register(Register),
    /// 0x8100.
    RegisterAnswer(RegisterAnswer),
    /// 0x0102.
    Authenticate(Authenticate),
    /// 0x8103.
    SetParameters(Vec<Parameter>),
    /// 0x8104: all of them.
    QueryParameters,
    /// 0x8106: these.
    QueryParametersById(Vec<u32>),
    /// 0x0104.
    ParametersAnswer(ParametersAnswer),
    /// 0x0200.
    Position(Position),
    /// 0x8201.
    QueryPosition,
    /// 0x0201.
    PositionAnswer(PositionAnswer),
    /// 0x8202.
    Track(Track),
    /// 0x8203.
    ConfirmAlarm(ConfirmAlarm),
    /// 0x8300.
    Text(Text),
    /// 0x0702.
    Driver(Driver),
    /// 0x0704.
    PositionBatch(PositionBatch),
    /// What the platform shows and passes on without judging it: areas, media, video, active safety and so on.
    Table {
        /// As in the header.
        message_id: u16,
        /// Which fields it has.
        layout: &'static Layout,
        /// Their values.
        record: Record,
    },
    /// Anything else, as it came.
    Raw {
        /// As in the header.
        message_id: u16,
        /// As received.
        body: Vec<u8>,
    },
}

impl Message {
    /// The message id of the header.
    pub fn id(&self) -> u16 {
        match self {
            Self::TerminalAnswer(_) => 0x0001,
            Self::PlatformAnswer(_) => 0x8001,
            Self::Heartbeat => 0x0002,
            Self::Unregister => 0x0003,
            Self::TimeQuery => 0x0004,
            Self::TimeAnswer(_) => 0x8004,
            Self::TerminalResend(_) => 0x0005,
            Self::PlatformResend(_) => 0x8003,
            Self::Register(_) => 0x0100,
            Self::RegisterAnswer(_) => 0x8100,
            Self::Authenticate(_) => 0x0102,
            Self::SetParameters(_) => 0x8103,
            Self::QueryParameters => 0x8104,
            Self::QueryParametersById(_) => 0x8106,
            Self::ParametersAnswer(_) => 0x0104,
            Self::Position(_) => 0x0200,
            Self::QueryPosition => 0x8201,
            Self::PositionAnswer(_) => 0x0201,
            Self::Track(_) => 0x8202,
            Self::ConfirmAlarm(_) => 0x8203,
            Self::Text(_) => 0x8300,
            Self::Driver(_) => 0x0702,
            Self::PositionBatch(_) => 0x0704,
            Self::Table { message_id, .. } | Self::Raw { message_id, .. } => *message_id,
        }
    }
}

/// 0x0001 and 0x8001.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Serial number of the message answered.
    pub answered_serial: u16,
    /// Its message id.
    pub answered_id: u16,
    /// 0 done, 1 failed, 2 bad message, 3 unsupported; 0x8001 only: 4 alarm handled.
    pub result: u8,
}

/// 0x0005 and 0x8003: send these parts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resend {
    /// Serial number of the first part of the message meant.
    pub first_serial: u16,
    /// Indices from 1.
    pub indices: Vec<u16>,
}

/// 0x8004. UTC according to the notes in `protocol.toml` (unverified there), unlike every other time of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeAnswer {
    /// As on the wire.
    pub time_bcd: [u8; 6],
}

/// Which size of fields a registration has. The header cannot tell 2011 from 2013.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterEdition {
    /// Maker 5, model 8, terminal id 7.
    V2011,
    /// 5, 20, 7.
    V2013,
    /// 11, 30, 30.
    V2019,
}

impl RegisterEdition {
    /// Bytes of maker, model and terminal id.
    pub(crate) const fn sizes(self) -> (usize, usize, usize) {
        match self {
            Self::V2011 => (5, 8, 7),
            Self::V2013 => (5, 20, 7),
            Self::V2019 => (11, 30, 30),
        }
    }
    /// The year, as shown to people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2011 => "2011",
            Self::V2013 => "2013",
            Self::V2019 => "2019",
        }
    }
}

/// 0x0100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Register {
    /// Which layout the body had.
    pub edition: RegisterEdition,
    /// First two digits of GB/T 2260.
    pub province: u16,
    /// Last four digits of GB/T 2260.
    pub city: u16,
    /// Maker's code.
    pub maker: String,
    /// The maker's model name.
    pub model: String,
    /// The maker's serial number.
    pub terminal_id: String,
    /// JT/T 415 colour of the plate; 0: no plate yet.
    pub plate_colour: u8,
    /// Plate, or the VIN if the colour is 0.
    pub plate: String,
}

/// 0x8100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterAnswer {
    /// Serial number of the registration.
    pub answered_serial: u16,
    /// 0 done, 1 vehicle already registered, 2 no such vehicle, 3 terminal already registered, 4 no such terminal.
    pub result: u8,
    /// Authentication code, only with result 0.
    pub code: Option<String>,
}

/// 0x0102.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticate {
    /// The code that 0x8100 gave.
    pub code: String,
    /// 2019.
    pub imei: Option<String>,
    /// 2019.
    pub software: Option<String>,
}

/// One item of 0x8103 or 0x0104; its meaning is in [`super::parameters`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Parameter id.
    pub id: u32,
    /// As on the wire, at most 255 bytes.
    pub value: Vec<u8>,
}

/// 0x0104.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParametersAnswer {
    /// Serial number of the query.
    pub answered_serial: u16,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
}

/// The body of 0x0200: where a vehicle is, how it moves, what it warns of.
///
/// Source: JT/T 808-2013, 8.12 and tables 23 to 27.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// Alarm bits as on the wire; names in [`alarm_name`].
    pub alarm: u32,
    /// Status bits as on the wire.
    pub status: u32,
    /// Latitude in 1e-6 degree, south negative. Beyond 90° only together with a defect; then it is no place.
    pub lat_e6: i32,
    /// Longitude in 1e-6 degree, west negative. Beyond 180° only together with a defect.
    pub lon_e6: i32,
    /// Metres; below sea level wraps in this field, the standard has no sign.
    pub altitude_m: u16,
    /// Speed in 0.1 km/h.
    pub speed_tenth_kmh: u16,
    /// Degrees clockwise from north.
    pub direction_deg: u16,
    /// The terminal's time; `None` if the digits are no date (a terminal without a fix may send zeros).
    pub time: Option<Timestamp>,
    /// The digits that `time` was read from.
    pub time_bcd: [u8; 6],
    /// Decoded items in order, those cut off at the end left out.
    pub items: Vec<Item>,
    /// All bytes after the fixed part.
    pub items_raw: Vec<u8>,
}

impl Position {
    /// A position without alarm, fixed (status bit 1), ACC on, at `time`.
    pub fn at(lat_e6: i32, lon_e6: i32, time: Timestamp) -> Self {
        Self {
            alarm: 0,
            status: 0b11,
            lat_e6,
            lon_e6,
            altitude_m: 0,
            speed_tenth_kmh: 0,
            direction_deg: 0,
            time: Some(time),
            time_bcd: bcd_from_time(time),
            items: Vec::new(),
            items_raw: Vec::new(),
        }
    }
    /// With one more item, typed and raw kept in step.
    #[must_use]
    pub fn with(mut self, item: Item) -> Self {
        self.items_raw.extend(super::encode::item_bytes(&item));
        self.items.push(item);
        self
    }
    /// Ignition on (bit 0).
    pub fn acc_on(&self) -> bool {
        self.status & 1 != 0
    }
    /// The receiver has a fix (bit 1).
    pub fn fixed(&self) -> bool {
        self.status & 2 != 0
    }
    /// Coordinates were shifted on purpose by the terminal (bit 5): not a WGS 84 place.
    pub fn shifted(&self) -> bool {
        self.status & 0x20 != 0
    }
    /// Whether the coordinates are on the globe at all.
    pub fn on_globe(&self) -> bool {
        self.lat_e6.unsigned_abs() <= 90_000_000 && self.lon_e6.unsigned_abs() <= 180_000_000
    }
}

/// One additional item of a position, JT/T 808-2013 table 27 and its 2019 additions.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// 0x01, in 0.1 km.
    Odometer(u32),
    /// 0x02, in 0.1 L.
    Fuel(u16),
    /// 0x03: speed by the driving recorder, 0.1 km/h.
    RecorderSpeed(u16),
    /// 0x04: id of the alarm a person has to confirm.
    AlarmToConfirm(u16),
    /// 0x05 (2019): 30 tyres, one byte each as on the wire (Pa), FF none.
    TyrePressures([u8; 30]),
    /// 0x06 (2019): degrees Celsius.
    CabinTemperature(i16),
    /// 0x11.
    Overspeed {
        /// 0 no particular place, 1 circle, 2 rectangle, 3 polygon, 4 section.
        place: u8,
        /// Which one; absent if `place` is 0.
        area_id: Option<u32>,
    },
    /// 0x12: in or out of an area or route.
    Crossing {
        /// 1 circle, 2 rectangle, 3 polygon, 4 route.
        place: u8,
        /// Which one.
        area_id: u32,
        /// 0 in, 1 out.
        direction: u8,
    },
    /// 0x13: a section driven too fast or too slowly.
    SectionTime {
        /// Which section.
        section_id: u32,
        /// Time spent on it, seconds.
        seconds: u16,
        /// 0 too short, 1 too long.
        result: u8,
    },
    /// 0x25: lights, brake, gear and so on.
    Signals(u32),
    /// 0x2A: bit 0 deep sleep, bit 1 sleep.
    Io(u16),
    /// 0x2B.
    Analogue {
        /// Low 16 bits.
        ad0: u16,
        /// High 16 bits.
        ad1: u16,
    },
    /// 0x30: strength of the mobile radio signal.
    RadioStrength(u8),
    /// 0x31: satellites used.
    Satellites(u8),
    /// Items of other standards and of makers, with a length that fits them exactly.
    Table {
        /// Item id.
        id: u8,
        /// Which fields it has; `dialect` says whose it is.
        layout: &'static Layout,
        /// Their values.
        record: Record,
    },
    /// Unknown items, and known ids with a length nobody gives them.
    Raw {
        /// Item id.
        id: u8,
        /// Its bytes, at most 255.
        bytes: Vec<u8>,
    },
}

impl Item {
    /// The id on the wire.
    pub fn id(&self) -> u8 {
        match self {
            Self::Odometer(_) => 0x01,
            Self::Fuel(_) => 0x02,
            Self::RecorderSpeed(_) => 0x03,
            Self::AlarmToConfirm(_) => 0x04,
            Self::TyrePressures(_) => 0x05,
            Self::CabinTemperature(_) => 0x06,
            Self::Overspeed { .. } => 0x11,
            Self::Crossing { .. } => 0x12,
            Self::SectionTime { .. } => 0x13,
            Self::Signals(_) => 0x25,
            Self::Io(_) => 0x2a,
            Self::Analogue { .. } => 0x2b,
            Self::RadioStrength(_) => 0x30,
            Self::Satellites(_) => 0x31,
            Self::Table { id, .. } | Self::Raw { id, .. } => *id,
        }
    }
}

/// 0x0201.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionAnswer {
    /// Serial number of the 0x8201.
    pub answered_serial: u16,
    /// Where it is.
    pub position: Position,
}

/// 0x0704.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionBatch {
    /// 0 normal, 1 kept while out of coverage and sent later.
    pub kind: u8,
    /// In the order sent. Items that could not be read are left out, with a defect.
    pub positions: Vec<Position>,
}

/// 0x8202.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track {
    /// Seconds between positions; 0 stops.
    pub interval_s: u16,
    /// How long, seconds; absent when stopping.
    pub validity_s: Option<u32>,
}

/// 0x8203.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmAlarm {
    /// Serial number of the alarm message; 0: all alarms of these types.
    pub alarm_serial: u16,
    /// Alarm bits confirmed.
    pub types: u32,
}

/// 0x8300.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Bit 0 urgent, 2 display, 3 read aloud, 4 advertising screen, 5: 0 navigation, 1 CAN fault code.
    pub flags: u8,
    /// 2019: 1 notice, 2 service.
    pub kind: Option<u8>,
    /// What to show.
    pub text: String,
}

/// 0x0702: a driver's card. Fields after the one that is cut off are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// 1 card in, 2 card out; `None` in 2011.
    pub status: Option<u8>,
    /// When, as on the wire (Beijing time).
    pub time_bcd: Option<[u8; 6]>,
    /// The same as an instant.
    pub time: Option<Timestamp>,
    /// 0 read, 1 authentication failed, 2 locked, 3 pulled out, 4 checksum.
    pub read_result: Option<u8>,
    /// Driver's name.
    pub name: Option<String>,
    /// 20 bytes (2011: 40): number of the qualification certificate.
    pub licence: Option<String>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// BCD yyyymmdd, not in 2011.
    pub expires_bcd: Option<[u8; 4]>,
    /// 2011 and 2019: identity card.
    pub identity_card: Option<String>,
    /// What follows; some makers append a face match and a card id.
    pub rest: Vec<u8>,
}

/// Reads six BCD bytes yyMMddHHmmss of Beijing time; years are 2000 to 2099.
///
/// `None` if a nibble is no digit or the digits are no date.
pub fn time_from_bcd(bcd: [u8; 6]) -> Option<Timestamp> {
    let instant = BEIJING.to_timestamp(civil(bcd)?).ok()?;
    Some(Timestamp::from_micros(instant.as_microsecond()))
}

/// The civil date and time of six BCD bytes, whatever zone they are meant in.
pub(crate) fn civil(bcd: [u8; 6]) -> Option<jiff::civil::DateTime> {
    let [year, month, day, hour, minute, second] = bcd.map(|byte| wire::bcd(byte).and_then(|n| i8::try_from(n).ok()));
    let year = i16::from(year?).checked_add(2000)?;
    jiff::civil::DateTime::new(year, month?, day?, hour?, minute?, second?, 0).ok()
}

/// Six BCD bytes of Beijing time. Only the last two digits of the year are kept: outside 2000 to 2099 it does not read back.
pub fn bcd_from_time(time: Timestamp) -> [u8; 6] {
    let Ok(instant) = jiff::Timestamp::from_microsecond(time.micros()) else { return [0; 6] };
    let t = BEIJING.to_datetime(instant);
    let two = |n: i8| wire::to_bcd(u8::try_from(n).unwrap_or(0));
    let year = wire::to_bcd(u8::try_from(t.year().rem_euclid(100)).unwrap_or(0));
    [year, two(t.month()), two(t.day()), two(t.hour()), two(t.minute()), two(t.second())]
}

/// Name of an alarm bit; `None` where the edition reserves it.
///
/// Source: JT/T 808-2013 table 24; bits 15 to 17 are of 2019.
pub fn alarm_name(bit: u32, version: super::Version) -> Option<&'static str> {
    let name = match bit {
        0 => "emergency_button",
        1 => "overspeed",
        2 => "fatigue",
        3 => "danger_warning",
        4 => "gnss_fault",
        5 => "antenna_open",
        6 => "antenna_short",
        7 => "undervoltage",
        8 => "power_lost",
        9 => "display_fault",
        10 => "tts_fault",
        11 => "camera_fault",
        12 => "ic_card_fault",
        13 => "overspeed_warning",
        14 => "fatigue_warning",
        15..=17 if version == super::Version::V2013 => return None,
        15 => "violation_warning",
        16 => "tyre_pressure_warning",
        17 => "right_turn_blind_zone",
        18 => "day_driving_overtime",
        19 => "parking_overtime",
        20 => "area_crossing",
        21 => "route_crossing",
        22 => "section_time",
        23 => "route_deviation",
        24 => "speed_sensor_fault",
        25 => "fuel_abnormal",
        26 => "stolen",
        27 => "illegal_ignition",
        28 => "illegal_move",
        29 => "collision",
        30 => "rollover",
        31 => "illegal_door",
        _ => return None,
    };
    Some(name)
}
