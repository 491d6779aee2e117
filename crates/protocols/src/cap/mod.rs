//! CAP 1.2 (Common Alerting Protocol): warnings for the public, XML to [`Alert`] and back.
//!
//! Strict both ways: [`Alert::read`] refuses what the standard does not allow and names every place, [`Alert::write`] writes only what it would read.
//! No document type, no entity of one's own, no network, no clock. Start at [`Alert`]; the national forms (预警信息) stand in [`national`].
//!
//! Source: OASIS Standard CAP-v1.2 (2010), chapter 3; what is left out is in `protocol.toml`.

mod check;
mod json;
pub mod national;
mod read;
mod write;

use jiff::civil::DateTime;
pub use json::{decode_human, decode_jsonl_line};

/// The namespace.
pub const NAMESPACE: &str = "urn:oasis:names:tc:emergency:cap:1.2";
/// The longest document, bytes.
pub const BYTES_MAX: usize = 2 << 20;

/// Something that is against the standard, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defect {
    /// What, as a word: `missing`, `time`, `order`.
    pub code: &'static str,
    /// Path of the element, such as `alert/info[0]/area[1]/polygon`.
    pub at: String,
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.code)
    }
}

/// A closed list of words of the standard.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($word:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)] // the words are the standard's
        pub enum $name { $($word),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$word),+];

            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$word => stringify!($word)),+ }
            }

            /// The one of this word.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}

words! {
    /// How seriously the message is meant.
    Status { Actual, Exercise, System, Test, Draft }
}
words! {
    /// What the message is to those before it.
    MsgType { Alert, Update, Cancel, Ack, Error }
}
words! {
    /// For whom it is.
    Scope { Public, Restricted, Private }
}
words! {
    /// What sort of thing happens.
    Category { Geo, Met, Safety, Security, Rescue, Fire, Health, Env, Transport, Infra, CBRNE, Other }
}
words! {
    /// What to do.
    ResponseType { Shelter, Evacuate, Prepare, Execute, Avoid, Monitor, Assess, AllClear, None }
}
words! {
    /// How soon something is to be done.
    Urgency { Immediate, Expected, Future, Past, Unknown }
}
words! {
    /// How bad it is.
    Severity { Extreme, Severe, Moderate, Minor, Unknown }
}
words! {
    /// How sure it is.
    Certainty { Observed, Likely, Possible, Unlikely, Unknown }
}

/// A civil time and how far it is from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// Civil, whole seconds.
    pub at: DateTime,
    /// Minutes east of UTC.
    pub offset_min: i16,
}

/// A message.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // elements by the names of the standard
pub struct Alert {
    pub identifier: String,
    pub sender: String,
    pub sent: Time,
    pub status: Status,
    pub msg_type: MsgType,
    pub source: Option<String>,
    pub scope: Scope,
    pub restriction: Option<String>,
    pub addresses: Option<String>,
    pub codes: Vec<String>,
    pub note: Option<String>,
    pub references: Vec<Reference>,
    pub incidents: Option<String>,
    pub infos: Vec<Info>,
    /// It carried an XML signature, which nobody verified; never written.
    pub is_signed: bool,
}

/// An earlier message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Reference {
    pub sender: String,
    pub identifier: String,
    pub sent: Time,
}

/// What is said, in one language.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Info {
    /// `None` = en-US, by the standard.
    pub language: Option<String>,
    pub categories: Vec<Category>,
    pub event: String,
    pub response_types: Vec<ResponseType>,
    pub urgency: Urgency,
    pub severity: Severity,
    pub certainty: Certainty,
    pub audience: Option<String>,
    pub event_codes: Vec<Named>,
    pub effective: Option<Time>,
    pub onset: Option<Time>,
    pub expires: Option<Time>,
    pub sender_name: Option<String>,
    pub headline: Option<String>,
    pub description: Option<String>,
    pub instruction: Option<String>,
    pub web: Option<String>,
    pub contact: Option<String>,
    pub parameters: Vec<Named>,
    pub resources: Vec<Resource>,
    pub areas: Vec<Area>,
}

/// A value and what its system calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Named {
    pub value_name: String,
    pub value: String,
}

/// Something beside the text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Resource {
    pub resource_desc: String,
    pub mime_type: String,
    /// Bytes.
    pub size: Option<u64>,
    pub uri: Option<String>,
    /// Base64 of the content itself.
    pub deref_uri: Option<String>,
    /// SHA-1, hexadecimal.
    pub digest: Option<String>,
}

/// Where.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Area {
    pub area_desc: String,
    /// Latitude and longitude, WGS-84 degrees; the last pair is the first.
    pub polygons: Vec<Vec<(f64, f64)>>,
    pub circles: Vec<Circle>,
    pub geocodes: Vec<Named>,
    /// Feet above mean sea level.
    pub altitude: Option<f64>,
    /// The same.
    pub ceiling: Option<f64>,
}

/// Around a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Circle {
    /// Latitude and longitude, WGS-84 degrees.
    pub center: (f64, f64),
    /// Kilometres.
    pub radius_km: f64,
}

impl Time {
    /// Minutes that Beijing is east of UTC.
    pub const BEIJING_MIN: i16 = 8 * 60;
    /// The farthest offset of xs:dateTime, minutes.
    const OFFSET_MAX: i16 = 14 * 60;

    /// A civil time in Beijing, cut to whole seconds.
    pub fn beijing(at: DateTime) -> Self {
        let whole = at.date().at(at.hour(), at.minute(), at.second(), 0);
        Self { at: whole, offset_min: Self::BEIJING_MIN }
    }

    /// The form of CAP: `2026-03-01T09:05:00+08:00`; nothing else, and never Z.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_with(text, b'T')
    }

    fn parse_with(text: &str, between: u8) -> Option<Self> {
        let b = text.as_bytes();
        if b.len() != 25 || !text.is_ascii() || b[10] != between || b[22] != b':' || !matches!(b[19], b'+' | b'-') {
            return None;
        }
        let n = |from: usize, to: usize| -> Option<i16> {
            let digits = &text[from..to];
            digits.bytes().all(|d| d.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        if (b[4], b[7], b[13], b[16]) != (b'-', b'-', b':', b':') {
            return None;
        }
        let small = |from: usize| i8::try_from(n(from, from + 2)?).ok();
        let at = DateTime::new(n(0, 4)?, small(5)?, small(8)?, small(11)?, small(14)?, small(17)?, 0).ok()?;
        let (hours, minutes) = (n(20, 22)?, n(23, 25)?);
        let offset = hours * 60 + minutes;
        if minutes > 59 || offset > Self::OFFSET_MAX || at.year() < 1 {
            return None;
        }
        Some(Self { at, offset_min: if b[19] == b'-' { -offset } else { offset } })
    }

    fn text_with(self, between: char) -> String {
        let (d, o) = (self.at, self.offset_min.unsigned_abs());
        // UTC is written -00:00: 3.3.2 of the standard.
        let sign = if self.offset_min > 0 { '+' } else { '-' };
        let (year, month, day, hour, minute, second) = (d.year(), d.month(), d.day(), d.hour(), d.minute(), d.second());
        format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{sign}{:02}:{:02}", o / 60, o % 60)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text_with('T'))
    }
}

impl Reference {
    /// To this message.
    pub fn to(alert: &Alert) -> Self {
        Self { sender: alert.sender.clone(), identifier: alert.identifier.clone(), sent: alert.sent }
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{},{},{}", self.sender, self.identifier, self.sent)
    }
}
