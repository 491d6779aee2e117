//! Units that can be turned into each other.
//!
//! By their definitions in SI (GB 3100-1993; bar: 10⁵ Pa, GB 3102.3-93; t = 10³ kg; 0 °C = 273.15 K); nothing here is rounded. Percent of the lower explosive
//! limit, percent by volume and plain percent are not the same thing and do not turn into each other. Start at [`convert`].

/// Names of a unit, what it measures, by what it becomes the base unit, and what is added first.
const UNITS: &[(&[&str], &str, f64, f64)] = &[
    (&["Pa"], "pressure", 1.0, 0.0),
    (&["kPa"], "pressure", 1e3, 0.0),
    (&["MPa"], "pressure", 1e6, 0.0),
    (&["bar"], "pressure", 1e5, 0.0),
    (&["mbar", "hPa"], "pressure", 1e2, 0.0),
    (&["℃", "°C"], "temperature", 1.0, 273.15),
    (&["K"], "temperature", 1.0, 0.0),
    (&["mm"], "length", 1e-3, 0.0),
    (&["cm"], "length", 1e-2, 0.0),
    (&["m"], "length", 1.0, 0.0),
    (&["km"], "length", 1e3, 0.0),
    (&["g"], "mass", 1e-3, 0.0),
    (&["kg"], "mass", 1.0, 0.0),
    (&["t"], "mass", 1e3, 0.0),
    (&["L"], "volume", 1e-3, 0.0),
    (&["m3", "m³"], "volume", 1.0, 0.0),
    (&["ppm"], "volume fraction", 1e-6, 0.0),
    (&["%VOL", "%vol", "%Vol"], "volume fraction", 1e-2, 0.0),
    (&["m/s"], "speed", 1.0, 0.0),
    (&["km/h"], "speed", 1.0 / 3.6, 0.0),
    (&["s"], "time", 1.0, 0.0),
    (&["min"], "time", 60.0, 0.0),
    (&["h"], "time", 3600.0, 0.0),
];

fn find(name: &str) -> Option<&'static (&'static [&'static str], &'static str, f64, f64)> {
    UNITS.iter().find(|(names, ..)| names.contains(&name))
}

/// Whether anything can be turned into this unit.
pub fn is_known(name: &str) -> bool {
    find(name).is_some()
}

/// `value` in another unit; `None` if the two measure different things, or one is not known.
pub fn convert(value: f64, from: &str, to: &str) -> Option<f64> {
    if from == to {
        return Some(value);
    }
    let ((_, measures, factor, plus), (_, wanted, by, less)) = (find(from)?, find(to)?);
    let is_same = std::ptr::eq(find(from)?, find(to)?);
    if measures != wanted {
        return None;
    }
    // One multiplication and one division by powers of ten: 1.2 MPa is 1200 kPa, not 1199.9999.
    Some(if is_same { value } else { (value * factor + plus - less) / by })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_one_kind_turn_into_each_other() {
        let check = |value, from, to, want: Option<f64>| {
            let got = convert(value, from, to);
            assert_eq!(got.map(|v| format!("{v:.6}")), want.map(|v: f64| format!("{v:.6}")), "{value} {from} in {to}");
        };
        check(1.2, "MPa", "kPa", Some(1200.0));
        check(101.325, "kPa", "bar", Some(1.01325));
        check(25.0, "℃", "K", Some(298.15));
        check(298.15, "K", "°C", Some(25.0));
        check(1.5, "%VOL", "ppm", Some(15_000.0));
        check(36.0, "km/h", "m/s", Some(10.0));
        check(2.5, "t", "kg", Some(2_500.0));
        check(7.0, "mg/m3", "mg/m3", Some(7.0));
        check(7.0, "°C", "℃", Some(7.0));
        // Different things, however much alike they look.
        check(20.0, "%LEL", "%VOL", None);
        check(20.0, "%", "ppm", None);
        check(1.0, "kPa", "m", None);
        check(1.0, "", "m", None);
    }
}
