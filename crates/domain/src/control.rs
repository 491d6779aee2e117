//! Control charts (控制图) of counts: whether a year or month differs from the others by more than chance would.
//!
//! A count over an area of opportunity (u chart), or over equal ones (c chart, where the area is 1). How wide the limits are and from how many samples
//! they are more than a trial is data with its source (`[control]` of `indicators.toml`). Pure. Start at [`chart`].

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;

use crate::pack::source::Source;

/// How limits are drawn, and when they are to be believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Standard deviations from the centre line to a limit.
    pub width: f64,
    /// From fewer samples limits are a trial.
    pub least_samples: usize,
    /// Who says so.
    pub source: Source,
}

/// A count with what it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: Decimal,
    /// The area of opportunity in which they were counted, above zero: people, vehicles, 1 for a month like another.
    pub area: Decimal,
}

/// A sample between its limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Count by area.
    pub value: f64,
    /// Lower limit, never below zero.
    pub lower: f64,
    /// Upper limit.
    pub upper: f64,
    /// Beyond one of them.
    pub is_outside: bool,
    /// So few are to be expected here that the limits say little.
    pub is_few: bool,
}

/// The samples of some years or months.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// All counts by all areas.
    pub centre: f64,
    /// One for each sample.
    pub points: Vec<Point>,
    /// From so few samples that the limits are a trial.
    pub is_trial: bool,
}

/// Centre line ū = Σc ÷ Σn and limits ū ± w·√(ū ÷ n) of each sample, of counts that come independently of each other (Poisson).
///
/// `few_below`: fewer expected than this is few. `None` for fewer than two samples, for an area that is not above zero, and where nothing happened at
/// all: then there is nothing that could vary.
///
/// Source: Montgomery, Introduction to Statistical Quality Control, on control charts for nonconformities (c and u charts); the rule's own source says
/// how sure that is.
pub fn chart(samples: &[Sample], rule: &Rule, few_below: u32) -> Option<Chart> {
    if samples.len() < 2 || samples.iter().any(|sample| sample.area <= Decimal::ZERO) {
        return None;
    }
    let total = |of: fn(&Sample) -> Decimal| samples.iter().map(of).sum::<Decimal>().to_f64();
    let centre = total(|sample| sample.count)? / total(|sample| sample.area)?;
    if !(centre.is_finite() && centre > 0.0) {
        return None;
    }
    let point = |sample: &Sample| {
        let (count, area) = (sample.count.to_f64()?, sample.area.to_f64()?);
        let (value, half) = (count / area, rule.width * (centre / area).sqrt());
        let (lower, upper) = ((centre - half).max(0.0), centre + half);
        Some(Point { value, lower, upper, is_outside: value < lower || value > upper, is_few: centre * area < f64::from(few_below) })
    };
    let points = samples.iter().map(point).collect::<Option<Vec<_>>>()?;
    Some(Chart { centre, points, is_trial: samples.len() < rule.least_samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicator::built_in;

    fn samples(rows: &[(i64, i64)]) -> Vec<Sample> {
        rows.iter().map(|(count, area)| Sample { count: (*count).into(), area: (*area).into() }).collect()
    }

    #[test]
    fn limits_are_three_standard_deviations_of_a_count_from_the_centre() {
        let rule = built_in().control().unwrap();
        // c̄ = 16: 16 ± 3·4.
        let drawn = chart(&samples(&[(16, 1), (10, 1), (16, 1), (22, 1)]), rule, 20).unwrap();
        assert_eq!((drawn.centre, drawn.points[0].lower, drawn.points[0].upper), (16.0, 4.0, 28.0));
        assert!(drawn.is_trial && drawn.points.iter().all(|point| point.is_few && !point.is_outside));
        // ū = 0.04; of an area of 400: 0.04 ± 3·√(0.04 ÷ 400) = 0.04 ± 0.03; of 100 the lower limit would be below zero.
        let drawn = chart(&samples(&[(30, 400), (2, 400), (4, 100)]), rule, 20).unwrap();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(close(drawn.centre, 0.04) && close(drawn.points[0].lower, 0.01) && close(drawn.points[0].upper, 0.07), "{drawn:?}");
        assert_eq!(drawn.points[2].lower, 0.0);
        assert_eq!(drawn.points.iter().map(|point| point.is_outside).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(
            drawn.points.iter().map(|point| point.is_few).collect::<Vec<_>>(),
            [true, true, true],
            "16 are expected of 400, 4 of 100"
        );
    }

    #[test]
    fn where_nothing_can_vary_there_is_no_chart() {
        let rule = built_in().control().unwrap();
        for rows in [&[(3, 1)][..], &[(0, 1), (0, 1)], &[(1, 0), (1, 1)], &[]] {
            assert_eq!(chart(&samples(rows), rule, 20), None, "{rows:?}");
        }
        let many: Vec<(i64, i64)> = (0..20).map(|i| (30 + i % 3, 1)).collect();
        assert!(!chart(&samples(&many), rule, 20).unwrap().is_trial);
    }
}
