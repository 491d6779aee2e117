//! What was measured, against what, and whether that is enough. Printed as a table and written as JSON (INTERFACES, `bench`).

use serde::Serialize;

/// What a line must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// At most this share of the peer's value.
    Ratio(f64),
    /// At most this value.
    AtMost(f64),
    /// At least this value.
    AtLeast(f64),
}

/// One line.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// Name, by area.
    pub name: String,
    /// Measured; `null` if it could not be.
    pub value: Option<f64>,
    /// Unit of value and peer's value.
    pub unit: &'static str,
    /// Who it is compared with.
    pub peer: Option<&'static str>,
    /// Theirs, measured in the same run.
    pub peer_value: Option<f64>,
    /// Ours by theirs.
    pub ratio: Option<f64>,
    /// What it must reach, in words.
    pub goal: Option<String>,
    /// Whether it does.
    pub met: Option<bool>,
    /// Why there is no comparison or no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// How it was measured, where the name does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Line {
    /// A measured value without a peer.
    pub fn new(name: &str, value: f64, unit: &'static str) -> Self {
        Self { name: name.to_owned(), value: Some(value), unit, ..Self::default() }
    }

    /// Compares with a peer's value; `None` = it is not there, and says why.
    #[must_use]
    pub fn against(mut self, peer: &'static str, value: Result<f64, String>) -> Self {
        self.peer = Some(peer);
        match value {
            Ok(theirs) => {
                self.peer_value = Some(theirs);
                self.ratio = self.value.filter(|_| theirs > 0.0).map(|ours| ours / theirs);
            }
            Err(why) => self.skipped = Some(why),
        }
        self
    }

    /// Judges; a goal against a peer that is not there is no goal.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        let number = |x: f64| if x >= 1_000.0 { thousands(x) } else { format!("{x}") };
        let (text, met) = match goal {
            Goal::Ratio(most) => (format!("ratio <= {}", (most * 1e4).round() / 1e4), self.ratio.map(|r| r <= most)),
            Goal::AtMost(most) => (format!("<= {} {}", number(most), self.unit), self.value.map(|v| v <= most)),
            Goal::AtLeast(least) => (format!(">= {} {}", number(least), self.unit), self.value.map(|v| v >= least)),
        };
        // A value that could not be had misses its goal; a peer that could not be had takes the goal away.
        let is_ratio = matches!(goal, Goal::Ratio(_));
        if !is_ratio || self.skipped.is_none() {
            self.met = Some(met.unwrap_or(false));
            self.goal = Some(match (self.goal, self.met) {
                (Some(before), _) => format!("{before}; {text}"),
                (None, _) => text,
            });
        }
        self
    }

    /// How it was measured.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// 1234567.8 as `1,234,568`.
fn thousands(x: f64) -> String {
    let digits = format!("{x:.0}");
    let mut text = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

fn short(x: f64) -> String {
    match x.abs() {
        a if a >= 10_000.0 => thousands(x),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// One line of the table; the header is [`HEADER`].
pub fn row(line: &Line) -> String {
    let number = |x: Option<f64>| x.map_or_else(|| "–".to_owned(), short);
    let met = match line.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    let mut text = format!(
        "{:<34} {:>12} {:<14} {:<16} {:>10} {:>7}  {:<28} {met}",
        line.name,
        number(line.value),
        line.unit,
        line.peer.unwrap_or("–"),
        number(line.peer_value),
        number(line.ratio),
        line.goal.as_deref().unwrap_or("–"),
    );
    if let Some(why) = &line.skipped {
        text.push_str(&format!(" skipped: {why}"));
    }
    if let Some(note) = &line.note {
        text.push_str(&format!(" [{note}]"));
    }
    text.trim_end().to_owned()
}

/// Above the rows.
pub const HEADER: &str =
    "name                                      value unit           peer             peer value   ratio  goal                         met";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_absent_takes_the_goal_away_and_says_why() {
        let line = Line::new("x", 1.0, "s").against("p", Err("not installed".into())).goal(Goal::Ratio(0.5));
        assert_eq!((line.ratio, line.goal.clone(), line.met), (None, None, None));
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!(json["skipped"], "not installed");
        assert!(json["met"].is_null() && json["goal"].is_null() && json["ratio"].is_null());
    }

    #[test]
    fn goals_are_judged_by_ratio_or_value() {
        let met = |line: Line| line.met.unwrap();
        assert!(met(Line::new("x", 1.0, "s").against("p", Ok(4.0)).goal(Goal::Ratio(0.25))));
        assert!(!met(Line::new("x", 1.1, "s").against("p", Ok(4.0)).goal(Goal::Ratio(0.25))));
        assert!(met(Line::new("x", 6e6, "frames/s").goal(Goal::AtLeast(5e6))));
        assert!(!met(Line::new("x", 151.0, "ms").goal(Goal::AtMost(150.0))));
        assert!(!met(Line { value: None, ..Line::new("x", 0.0, "ms") }.goal(Goal::AtMost(150.0))), "no value is no success");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([thousands(1_234_567.8), thousands(12.0), thousands(123_456.0)], ["1,234,568", "12", "123,456"]);
    }
}
