//! Pieces that several answers and questions share: instants, levels, places, and how ids and pages are read from text.
//!
//! Ids leave and enter as strings; a JSON number in their place is refused by serde, a malformed one by [`id`].

use std::borrow::Cow;
use std::str::FromStr;

use anlan_app::error::AppError;
use anlan_model::{Timestamp, Wgs84};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type};

/// An instant: RFC 3339 in UTC with microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At(pub(crate) Timestamp);

impl From<Timestamp> for At {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl utoipa::PartialSchema for At {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        text.description(Some("RFC 3339 in UTC with microseconds")).into()
    }
}

impl ToSchema for At {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("At")
    }
}

/// Urgency of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    Red,
    Orange,
    Yellow,
    Blue,
}

impl From<anlan_model::Level> for Level {
    fn from(level: anlan_model::Level) -> Self {
        match level {
            anlan_model::Level::Red => Self::Red,
            anlan_model::Level::Orange => Self::Orange,
            anlan_model::Level::Yellow => Self::Yellow,
            anlan_model::Level::Blue => Self::Blue,
        }
    }
}

/// A place on WGS-84, degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    /// East positive.
    pub(crate) lon: f64,
    /// North positive.
    pub(crate) lat: f64,
}

impl From<Wgs84> for Place {
    fn from(place: Wgs84) -> Self {
        Self { lon: place.lon, lat: place.lat }
    }
}

impl Place {
    /// The place, if it lies on the globe.
    pub(crate) fn read(self) -> Result<Wgs84, AppError> {
        Wgs84::new(self.lon, self.lat).ok_or_else(|| AppError::invalid("place.off_globe", "place"))
    }
}

/// Answer to the making of a row.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Created {
    /// The new row's id.
    pub(crate) id: String,
}

/// Reads an id of `field`.
pub(crate) fn id<T: FromStr>(field: &str, text: &str) -> Result<T, AppError> {
    text.parse().map_err(|_| AppError::invalid("id.malformed", field))
}

/// Reads an optional id of `field`; an empty text means none, as browsers send empty inputs.
pub(crate) fn id_option<T: FromStr>(field: &str, text: Option<&str>) -> Result<Option<T>, AppError> {
    text.filter(|t| !t.is_empty()).map(|t| id(field, t)).transpose()
}

/// Reads an optional instant of `field`.
pub(crate) fn at_option(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, AppError> {
    let read = |text: &str| Timestamp::parse(text).map_err(|_| AppError::invalid("time.malformed", field));
    text.filter(|t| !t.is_empty()).map(read).transpose()
}

/// Reads a comma list of words of `field`.
pub(crate) fn words<T>(field: &str, text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, AppError> {
    let read = |word: &str| parse(word.trim()).ok_or_else(|| AppError::invalid("word.unknown", field).with("word", word));
    text.unwrap_or_default().split(',').filter(|w| !w.trim().is_empty()).map(read).collect()
}

/// Tells "left out" (`None`) from "set to nothing" (`Some(None)`) in a change.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `1`, `true` and their opposites in a query.
pub(crate) fn flag(field: &str, text: Option<&str>) -> Result<Option<bool>, AppError> {
    match text {
        None | Some("") => Ok(None),
        Some("1" | "true") => Ok(Some(true)),
        Some("0" | "false") => Ok(Some(false)),
        Some(other) => Err(AppError::invalid("word.unknown", field).with("word", other)),
    }
}
