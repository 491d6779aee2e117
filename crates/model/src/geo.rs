//! Places and territory: coordinates that name their datum, administrative divisions as prefix codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place on WGS-84 (CGCS2000 differs by centimetres), in degrees; longitude first like GeoJSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wgs84 {
    /// Degrees east, −180 to 180.
    pub lon: f64,
    /// Degrees north, −90 to 90.
    pub lat: f64,
}

impl Wgs84 {
    /// `None` outside the globe and for values that are not finite.
    pub fn new(lon: f64, lat: f64) -> Option<Self> {
        (lon.abs() <= 180.0 && lat.abs() <= 90.0).then_some(Self { lon, lat })
    }

    /// Great-circle distance in metres on a sphere of radius 6,371,008.8 m (mean Earth radius, IUGG).
    pub fn distance_m(self, other: Self) -> f64 {
        let (a, b) = (self.lat.to_radians(), other.lat.to_radians());
        let (dlat, dlon) = (b - a, (other.lon - self.lon).to_radians());
        let h = (dlat / 2.0).sin().powi(2) + a.cos() * b.cos() * (dlon / 2.0).sin().powi(2);
        2.0 * 6_371_008.8 * h.sqrt().min(1.0).asin()
    }
}

/// A division code of GB/T 2260 and its extensions: 2 digits a province, 4 a city, 6 a county, 9 a town, 12 a village.
///
/// A code holds every code that it is a prefix of: `5304` holds `530402`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RegionCode(String);

impl RegionCode {
    /// `None` unless the text is 2, 4, 6, 9 or 12 digits.
    pub fn new(text: &str) -> Option<Self> {
        (matches!(text.len(), 2 | 4 | 6 | 9 | 12) && text.bytes().all(|b| b.is_ascii_digit())).then(|| Self(text.to_owned()))
    }
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
    /// Whether `other` is this division or lies in it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }
    /// The half-open text range of all codes in this division, for `region >= $1 AND region < $2`.
    pub fn range(&self) -> (String, String) {
        // Every code is digits, and ':' is the character after '9': "5304:" lies behind all that starts with "5304".
        (self.0.clone(), format!("{}:", self.0))
    }
}

impl fmt::Display for RegionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_of_a_city_holds_its_counties_and_no_other() {
        let (from, to) = RegionCode::new("5304").unwrap().range();
        let inside = |code: &str| code >= from.as_str() && code < to.as_str();
        assert!(inside("5304") && inside("530402") && inside("530499999"));
        assert!(!inside("530500") && !inside("5303") && !inside("53"));
    }

    #[test]
    fn only_digits_of_a_known_length_are_a_region() {
        for bad in ["", "5", "530", "53040", "53o4", "５３"] {
            assert_eq!(RegionCode::new(bad), None, "{bad}");
        }
    }

    #[test]
    fn distance_of_one_degree_of_latitude() {
        let d = Wgs84 { lon: 102.0, lat: 24.0 }.distance_m(Wgs84 { lon: 102.0, lat: 25.0 });
        assert!((d - 111_195.0).abs() < 1.0, "{d}");
    }
}
