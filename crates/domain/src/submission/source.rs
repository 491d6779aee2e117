//! What a submission can say of our own: a closed list of paths for each thing that is submitted.
//!
//! A field of a record is `fields.ID`, as its register declares it; everything else stands in the tables below, which `docs/reference/submission.md` repeats.
//! Start at [`Of::source`].

use serde_json::Value as Json;

/// What an object of a submission is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// Enterprises.
    Enterprise,
    /// Devices.
    Device,
    /// Points.
    Point,
    /// Vehicles.
    Vehicle,
    /// Alarms, with what people here did about them.
    Alarm,
    /// Records of one register.
    Record,
    /// The newest reading of each point.
    Latest,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text.
    Text,
    /// A number.
    Number,
    /// RFC 3339.
    Time,
    /// `YYYY-MM-DD`.
    Date,
    /// Yes or no.
    Boolean,
    /// Whatever the register says.
    Field,
}

/// A path, what stands there, and what it is.
pub type Source = (&'static str, Type, &'static str);

const ENTERPRISE: &[Source] = &[
    ("id", Type::Text, "number here"),
    ("code", Type::Text, "code, such as a unified social credit code"),
    ("name", Type::Text, "name"),
    ("region", Type::Text, "code of its division"),
    ("region_name", Type::Text, "name of its division"),
    ("sector", Type::Text, "word of its sector"),
    ("lon", Type::Number, "longitude, WGS-84"),
    ("lat", Type::Number, "latitude, WGS-84"),
];
const DEVICE: &[Source] = &[
    ("id", Type::Text, "number here"),
    ("code", Type::Text, "code; of another node's device with that node before it"),
    ("name", Type::Text, "name"),
    ("protocol", Type::Text, "word of its protocol"),
];
const POINT: &[Source] = &[
    ("id", Type::Text, "number here"),
    ("code", Type::Text, "code within its device"),
    ("name", Type::Text, "name"),
    ("unit", Type::Text, "unit of its readings"),
    ("kind", Type::Text, "kind of measurement"),
    ("site", Type::Text, "where it stands"),
    ("period_s", Type::Number, "seconds between two readings"),
    ("range_low", Type::Number, "measuring range"),
    ("range_high", Type::Number, "measuring range"),
    ("limit_hh", Type::Number, "own limit, high-high"),
    ("limit_h", Type::Number, "own limit, high"),
    ("limit_l", Type::Number, "own limit, low"),
    ("limit_ll", Type::Number, "own limit, low-low"),
    ("confirmed", Type::Boolean, "a person confirmed it"),
    ("lon", Type::Number, "longitude, WGS-84"),
    ("lat", Type::Number, "latitude, WGS-84"),
];
const VEHICLE: &[Source] = &[
    ("id", Type::Text, "number here"),
    ("phone", Type::Text, "number of its terminal; of another node's vehicle with that node before it"),
    ("plate", Type::Text, "plate"),
    ("kind", Type::Text, "kind of vehicle"),
    ("region", Type::Text, "division of one without an operator"),
    ("speed_limit_kmh", Type::Number, "speed limit"),
];
const ALARM: &[Source] = &[
    ("id", Type::Text, "the same at every level"),
    ("rule", Type::Text, "word of the rule"),
    ("kind", Type::Text, "kind of rule: h, hh, stale …"),
    ("name", Type::Text, "of a combination"),
    ("level", Type::Text, "red, orange, yellow, blue"),
    ("state", Type::Text, "standing, returned"),
    ("unit", Type::Text, "unit of value and threshold"),
    ("value", Type::Number, "value that raised it"),
    ("threshold", Type::Number, "limit"),
    ("source", Type::Text, "document of the limit"),
    ("confidence", Type::Text, "how sure that is"),
    ("onset_at", Type::Time, "when the condition began"),
    ("raised_at", Type::Time, "when it was raised"),
    ("returned_at", Type::Time, "when the condition ended"),
    ("historic", Type::Boolean, "found in readings that came late"),
    ("acknowledged_at", Type::Time, "here"),
    ("acknowledged_by", Type::Text, "name"),
    ("acknowledged_note", Type::Text, "note"),
    ("closed_at", Type::Time, "here"),
    ("closed_by", Type::Text, "name"),
    ("closed_reason", Type::Text, "reason"),
];
const RECORD: &[Source] = &[
    ("id", Type::Text, "number here"),
    ("register", Type::Text, "word of the register"),
    ("number", Type::Text, "its number"),
    ("title", Type::Text, "title"),
    ("state", Type::Text, "word of the state"),
    ("state_name", Type::Text, "name of the state"),
    ("is_open", Type::Boolean, "something follows"),
    ("due_on", Type::Date, "last day on which it is in time"),
    ("region", Type::Text, "of a division's record"),
    ("entered_on", Type::Date, "day on which it came into its state"),
    ("created_at", Type::Time, "made"),
    ("updated_at", Type::Time, "last changed"),
    ("revision", Type::Number, "counts its changes"),
];
const LATEST: &[Source] = &[
    ("at", Type::Time, "time of the reading"),
    ("value", Type::Number, "value, in the point's unit"),
    ("quality", Type::Text, "good, uncertain, bad"),
];

impl Of {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Enterprise, Self::Device, Self::Point, Self::Vehicle, Self::Alarm, Self::Record, Self::Latest];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enterprise => "enterprise",
            Self::Device => "device",
            Self::Point => "point",
            Self::Vehicle => "vehicle",
            Self::Alarm => "alarm",
            Self::Record => "record",
            Self::Latest => "latest",
        }
    }

    /// The one of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.as_str() == word)
    }

    /// Its own paths.
    pub const fn own(self) -> &'static [Source] {
        match self {
            Self::Enterprise => ENTERPRISE,
            Self::Device => DEVICE,
            Self::Point => POINT,
            Self::Vehicle => VEHICLE,
            Self::Alarm => ALARM,
            Self::Record => RECORD,
            Self::Latest => LATEST,
        }
    }

    /// What hangs on it, by the first part of a path.
    pub const fn around(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::Enterprise => &[],
            Self::Device | Self::Vehicle | Self::Record => &[("enterprise", Self::Enterprise)],
            Self::Point => &[("device", Self::Device), ("enterprise", Self::Enterprise)],
            Self::Alarm => {
                &[("point", Self::Point), ("device", Self::Device), ("vehicle", Self::Vehicle), ("enterprise", Self::Enterprise)]
            }
            Self::Latest => &[("point", Self::Point), ("device", Self::Device), ("enterprise", Self::Enterprise)],
        }
    }

    /// What stands at `path`; `None` = there is no such path.
    pub fn source(self, path: &str) -> Option<Type> {
        if self == Self::Record && path.strip_prefix("fields.").is_some_and(|id| !id.is_empty()) {
            return Some(Type::Field);
        }
        match path.split_once('.') {
            None => self.own().iter().find(|(known, ..)| *known == path).map(|(_, of, _)| *of),
            Some((first, rest)) => {
                let (_, inner) = self.around().iter().find(|(known, _)| *known == first)?;
                inner.own().iter().find(|(known, ..)| *known == rest).map(|(_, of, _)| *of)
            }
        }
    }

    /// Every path, in order; for messages and the reference.
    pub fn paths(self) -> Vec<String> {
        let own = self.own().iter().map(|(path, ..)| (*path).to_owned());
        let around = self.around().iter().flat_map(|(first, inner)| inner.own().iter().map(move |(path, ..)| format!("{first}.{path}")));
        let fields = (self == Self::Record).then(|| "fields.ID".to_owned());
        own.chain(fields).chain(around).collect()
    }
}

/// What stands at `path` of a thing; `null` where there is nothing.
pub fn at<'a>(thing: &'a Json, path: &str) -> &'a Json {
    path.split('.').fold(thing, |inner, part| &inner[part])
}

/// Paths of `thing` that nothing can stand at: what a case must not invent.
pub fn strangers(of: Of, thing: &Json) -> Vec<String> {
    let mut found = Vec::new();
    let Some(members) = thing.as_object() else { return vec!["(not an object)".to_owned()] };
    for (name, value) in members {
        let is_inner = of.around().iter().any(|(first, _)| first == name);
        match value.as_object() {
            Some(_) if of == Of::Record && name == "fields" => {}
            Some(inner) if is_inner => {
                found.extend(inner.keys().map(|rest| format!("{name}.{rest}")).filter(|path| of.source(path).is_none()));
            }
            None if is_inner && value.is_null() => {}
            _ if of.source(name).is_none() => found.push(name.clone()),
            _ => {}
        }
    }
    found
}
