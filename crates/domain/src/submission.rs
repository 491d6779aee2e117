//! Submissions (报送): what goes to a platform that is not this program, in the words of that platform.
//!
//! A submission is data of a pack (`submissions/<id>/submission.toml`), with cases beside it (`cases.toml`): what we hold → the very text that must go out. This
//! room reads, checks and renders; it sends nothing and keeps nothing. Start at [`Submission::parse`], then [`Submission::render`]; what can be said of our own is
//! the closed list of [`source`].

mod cases;
mod read;
mod render;
pub mod source;
pub mod unit;

use std::collections::BTreeMap;

use anlan_model::NodeLevel;

pub use crate::register::{Breach, CaseFailure};
pub use render::{Refusal, Rendered};
pub use source::Of;

/// A submission.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its word, the name of its folder.
    pub id: String,
    /// Version of the mapping, free text; another one is submitted wholly anew.
    pub version: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// What the platform is called.
    pub platform: String,
    /// The same in English.
    pub platform_en: String,
    /// The document from which the layout was read; may be empty.
    pub document: String,
    /// Clause, table or page.
    pub clause: String,
    /// In force since, ISO date.
    pub effective: String,
    /// How sure we are of it.
    pub confidence: String,
    /// Remark.
    pub note: String,
    /// Level of the platform: what goes no further stays.
    pub level: NodeLevel,
    /// How it goes.
    pub transport: Transport,
    /// As what.
    pub format: Format,
    /// How many at once.
    pub batch: Batch,
    /// What goes.
    pub objects: Vec<Object>,
    /// As it was read.
    pub text: String,
}

/// How a text goes out.
#[derive(Clone, Debug)]
pub enum Transport {
    /// As a file in a directory.
    File {
        /// Its name, with places to fill.
        name: Template,
    },
    /// As the body of a request.
    Call(Call),
}

/// A request and how its answer is judged.
#[derive(Clone, Debug)]
pub struct Call {
    /// `POST` or `PUT`.
    pub put: bool,
    /// Behind the target's address.
    pub path: Template,
    /// Headers, in their order.
    pub headers: Vec<(String, Template)>,
    /// When it was taken.
    pub accepted: Verdict,
    /// When it was read and will never be taken as it is; without a rule nothing is.
    pub refused: Option<Verdict>,
    /// Path of the platform's words in an answer of JSON.
    pub says: Option<String>,
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// One of these.
    pub status: Vec<u16>,
    /// What must stand at a path of its JSON: one of these words.
    pub json: Option<(String, Vec<String>)>,
}

impl Verdict {
    /// Whether an answer is so; `body` is its JSON, if it is any.
    pub fn holds(&self, status: u16, body: Option<&serde_json::Value>) -> bool {
        let is_word = |(path, words): &(String, Vec<String>)| {
            body.and_then(|body| render::word(source::at(body, path))).is_some_and(|word| words.contains(&word))
        };
        self.status.contains(&status) && self.json.as_ref().is_none_or(is_word)
    }
}

/// A text with places to fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

/// What can stand in a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Submission,
    Version,
    Object,
    /// Key of the only thing in it.
    Key,
    /// Counts the files of a target, with so many digits at least.
    Seq(usize),
    /// The same for the same content, however often it goes.
    Idempotency,
    /// The target's secret.
    Secret,
    /// When it is sent.
    Now(String),
}

/// What fills a [`Template`].
#[derive(Clone, Copy, Debug)]
pub struct Filling<'a> {
    /// The object's word.
    pub object: &'a str,
    /// Key of the only thing in it.
    pub key: &'a str,
    /// Number of the file.
    pub seq: i64,
    /// Of the content.
    pub idempotency: &'a str,
    /// Of the target.
    pub secret: &'a str,
    /// When.
    pub now: anlan_model::Timestamp,
}

/// As what a text goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON (RFC 8259), members in the order of the mapping.
    Json {
        /// What is not there is left out; else it is `null`.
        omits: bool,
    },
    /// CSV (RFC 4180) with a line of headings.
    Csv {
        /// Between two cells.
        separator: char,
        /// Between two lines.
        crlf: bool,
        /// Begins with U+FEFF.
        bom: bool,
    },
}

/// How many go at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most things in one text.
    pub max: u32,
    /// Seconds that the first of them waits for others.
    pub every_s: u32,
    /// JSON: the member in which they stand; `None` = the text is the list, or with `max = 1` the thing.
    pub list: Option<String>,
    /// JSON with `list`: members beside it.
    pub constants: Vec<(String, Constant)>,
}

/// A kind of thing that goes.
#[derive(Clone, Debug)]
pub struct Object {
    /// Word.
    pub id: String,
    /// What it is made of.
    pub of: Of,
    /// Of records: which register, and the states in which one is submitted for the first time; empty = any.
    pub register: Option<(String, Vec<String>)>,
    /// Of newest readings: seconds between two looks.
    pub every_s: u32,
    /// Path of what tells it from all others at the platform.
    pub key: String,
    /// Goes only if each holds: a path, and the words one of which must stand there.
    pub only: Vec<(String, Vec<String>)>,
    /// In the order in which they go out.
    pub fields: Vec<Field>,
    /// Line of its word.
    pub line: usize,
}

/// One value of the platform's layout.
#[derive(Clone, Debug)]
pub struct Field {
    /// Path of members in JSON, heading in CSV.
    pub to: String,
    /// What stands there.
    pub from: From,
    /// As what.
    pub as_: As,
    /// Codes of the platform for our words.
    pub codes: Option<Codes>,
    /// The number is turned into another unit first.
    pub unit: Option<Turn>,
    /// Nothing goes without it.
    pub required: bool,
    /// Line of it.
    pub line: usize,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A path of ours.
    Source(String),
    /// Always the same.
    Constant(Constant),
}

/// A value that a mapping writes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Constant {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Yes or no.
    Boolean(bool),
}

/// As what a value goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum As {
    /// Text.
    Text {
        /// Most characters.
        max: Option<usize>,
        /// What is longer is cut, not refused.
        cut: bool,
    },
    /// A whole number; one with a fraction is refused.
    Integer,
    /// A number with so many digits behind the point, rounded to the nearest.
    Decimal(usize),
    /// An instant, or a date at its beginning in the zone.
    Time {
        /// As strftime, or `epoch_s`, `epoch_ms`.
        pattern: String,
        /// Seconds east of Greenwich.
        offset_s: i32,
    },
    /// A day; of an instant, that in the zone.
    Date {
        /// As strftime.
        pattern: String,
        /// Seconds east of Greenwich.
        offset_s: i32,
    },
    /// Yes or no.
    Boolean {
        /// Its words; `None` = JSON's own, in CSV `true` and `false`.
        words: Option<(String, String)>,
    },
}

/// Codes of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codes {
    /// By our word.
    pub map: BTreeMap<String, String>,
    /// For a word that is not in it; `None` = it is refused.
    pub other: Option<String>,
}

/// Into which unit, and from which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The unit of ours: a path where it stands, or the unit itself.
    pub from: UnitOf,
    /// The unit of the platform.
    pub to: String,
}

/// Where a unit is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitOf {
    /// Stands at a path.
    Source(String),
    /// Always this.
    Is(String),
}

impl Submission {
    /// The object of this word.
    pub fn object(&self, id: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.id == id)
    }

    /// `file` or `call`.
    pub fn transport_word(&self) -> &'static str {
        match self.transport {
            Transport::File { .. } => "file",
            Transport::Call(_) => "call",
        }
    }

    /// Fills a template.
    pub fn fill(&self, template: &Template, filling: &Filling<'_>) -> String {
        let mut text = String::new();
        for part in &template.0 {
            match part {
                Part::Text(as_it_stands) => text.push_str(as_it_stands),
                Part::Place(Place::Submission) => text.push_str(&self.id),
                Part::Place(Place::Version) => text.push_str(&self.version),
                Part::Place(Place::Object) => text.push_str(filling.object),
                Part::Place(Place::Key) => text.push_str(&escaped(filling.key)),
                Part::Place(Place::Seq(digits)) => text.push_str(&format!("{:0digits$}", filling.seq)),
                Part::Place(Place::Idempotency) => text.push_str(filling.idempotency),
                Part::Place(Place::Secret) => text.push_str(filling.secret),
                // Packs run on Beijing time where they do not say otherwise.
                Part::Place(Place::Now(pattern)) => {
                    text.push_str(&render::stamp(filling.now, pattern, read::BEIJING_S).unwrap_or_default());
                }
            }
        }
        text
    }
}

/// A key as it may stand in an address, a header or the name of a file: everything but letters, digits, - and _ as %XX.
fn escaped(key: &str) -> String {
    let byte = |b: u8| if b.is_ascii_alphanumeric() || b"-_".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    key.bytes().map(byte).collect()
}

impl Template {
    fn has(&self, wanted: impl Fn(&Place) -> bool) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Place(place) if wanted(place)))
    }
    /// Whether a file of this name is another one each time.
    pub fn counts(&self) -> bool {
        self.has(|place| matches!(place, Place::Seq(_)))
    }
}

#[cfg(test)]
mod tests;
