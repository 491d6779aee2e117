//! The counties of the region pack as polygons: places inside them for the invented city.
//!
//! Reads the GeoJSON that the map shows; decides no legal boundary. Start at [`counties`].

use anlan_model::Wgs84;
use serde_json::Value;

use crate::rng::Rng;

const GEOJSON: &str = include_str!("../../../packs/region-yuxi/counties.geojson");

/// One county of the map.
#[derive(Clone, Debug)]
pub struct County {
    /// Division code, six digits.
    pub code: String,
    /// Chinese name.
    pub name: String,
    /// Where the map writes the name; lies inside.
    pub label: Wgs84,
    /// Outer rings of all parts and their holes: a place is inside if it crosses an odd number of edges.
    rings: Vec<Vec<(f64, f64)>>,
    /// West, south, east, north.
    bounds: (f64, f64, f64, f64),
}

impl County {
    /// Whether the place lies inside (even-odd rule, so holes count as outside).
    pub fn contains(&self, place: Wgs84) -> bool {
        let mut inside = false;
        for ring in &self.rings {
            for (a, b) in ring.iter().zip(ring.iter().skip(1)) {
                let straddles = (a.1 > place.lat) != (b.1 > place.lat);
                if straddles && place.lon < a.0 + (place.lat - a.1) / (b.1 - a.1) * (b.0 - a.0) {
                    inside = !inside;
                }
            }
        }
        inside
    }

    /// A place inside, drawn evenly over the area; rounded to 1e-5 degrees (about a metre).
    pub fn draw(&self, rng: &mut Rng) -> Wgs84 {
        let (west, south, east, north) = self.bounds;
        // A county fills more than a tenth of its box, so a thousand misses do not happen; the label is the way out all the same.
        for _ in 0..1_000 {
            let round = |x: f64| (x * 1e5).round() / 1e5;
            let place = Wgs84 { lon: round(rng.between(west, east)), lat: round(rng.between(south, north)) };
            if self.contains(place) {
                return place;
            }
        }
        self.label
    }
}

/// The counties of the built-in region pack, in its order.
///
/// # Panics
/// If the built-in file is not GeoJSON of polygons; a test reads it.
pub fn counties() -> Vec<County> {
    let file: Value = serde_json::from_str(GEOJSON).expect("the built-in map is JSON, see the test");
    let features = file["features"].as_array().expect("the built-in map has features, see the test");
    features.iter().map(county).collect()
}

fn county(feature: &Value) -> County {
    let text = |key: &str| feature["properties"][key].as_str().unwrap_or_default().to_owned();
    let pair = |v: &Value| (v[0].as_f64().unwrap_or_default(), v[1].as_f64().unwrap_or_default());
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let coordinates = &feature["geometry"]["coordinates"];
    let parts = if feature["geometry"]["type"] == "MultiPolygon" { list(coordinates) } else { vec![coordinates.clone()] };
    let rings: Vec<Vec<(f64, f64)>> = parts.iter().flat_map(list).map(|ring| list(&ring).iter().map(pair).collect()).collect();
    let corners = || rings.iter().flatten();
    let bounds = (
        corners().map(|c| c.0).fold(f64::MAX, f64::min),
        corners().map(|c| c.1).fold(f64::MAX, f64::min),
        corners().map(|c| c.0).fold(f64::MIN, f64::max),
        corners().map(|c| c.1).fold(f64::MIN, f64::max),
    );
    let (lon, lat) = pair(&feature["properties"]["label"]);
    County { code: text("code"), name: text("name"), label: Wgs84 { lon, lat }, rings, bounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nine_counties_each_hold_their_label_and_what_they_draw() {
        let all = counties();
        assert_eq!(all.len(), 9);
        let mut rng = Rng::named(1, "county");
        for county in &all {
            assert!(county.contains(county.label), "{}", county.name);
            assert!(county.code.starts_with("5304") && county.code.len() == 6);
            for _ in 0..50 {
                let place = county.draw(&mut rng);
                assert!(county.contains(place));
                assert_eq!(all.iter().filter(|c| c.contains(place)).count(), 1, "{place:?} lies in one county");
            }
        }
    }
}
