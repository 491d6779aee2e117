//! Statistics of accidents (事故统计): what the records of the register `accident` say of a span of days.
//!
//! Pure: records in, counts out; every number is a count or sum of computed fields, so each goes down to its records. Start at [`reckon`].

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime};
use serde::Serialize;

use crate::register::{Record, begun_minute};

/// State of what was found to be no work accident.
const DISMISSED: &str = "dismissed";

/// States in which the report of the investigation was approved.
const CONCLUDED: [&str; 4] = ["approved", "tracking", "closed", "closed_open"];

/// Counts of some accidents in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Row {
    /// That happened in it (起数).
    pub accidents: u64,
    /// Of these, deaths that count.
    pub deaths: u64,
    /// Of these, serious injuries that count.
    pub serious_injuries: u64,
    /// Of these, direct loss as last known, 万元.
    pub direct_loss_wan: f64,
    /// Of these, told too late by somebody, or not told yet though the time is over (超时报告).
    pub told_late: u64,
    /// Of these, not told yet by somebody whose time is over (超时未报).
    pub overdue: u64,
    /// Of these, whose class went up or down.
    pub reclassed: u64,
    /// Of these, findings of late, omitted, false or concealed reports.
    pub breaches: u64,
    /// To be concluded in it (应结案), whenever they happened.
    pub to_conclude: u64,
    /// Of those to be concluded, concluded by its end (实际结案).
    pub concluded: u64,
    /// Of those to be concluded, in time (按期结案).
    pub in_time: u64,
    /// People disciplined in accidents that were approved in it (处分).
    pub disciplined: u64,
    /// The same, transferred to justice (移送).
    pub transferred: u64,
    /// The same, fined (行政处罚).
    pub penalized: u64,
}

impl Row {
    /// 按期结案率: in time of those to be concluded, 0 to 1; `None` where there are none.
    pub fn in_time_rate(&self) -> Option<f64> {
        (self.to_conclude > 0).then(|| self.in_time as f64 / self.to_conclude as f64)
    }
}

/// The same counts of all, and of parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Of all.
    pub total: Row,
    /// By class as it is now.
    pub by_class: BTreeMap<String, Row>,
    /// By sector.
    pub by_sector: BTreeMap<String, Row>,
    /// By the code of the county, or a shorter one where it belongs to none.
    pub by_region: BTreeMap<String, Row>,
}

/// Counts records of the register `accident`, each with the code of its division, from the first day to the last; both count. What is not told yet is
/// late as of `now`, civil time in Beijing.
///
/// What was dismissed counts nowhere. What happened, what was to be concluded and what was approved in the span are three choices: an accident of
/// December that is to be concluded in February is in two years.
pub fn reckon<'a>(records: impl IntoIterator<Item = (&'a Record, &'a str)>, from: Date, to: Date, now: DateTime) -> Statistics {
    let mut statistics = Statistics::default();
    for (record, region) in records {
        if record.state == DISMISSED {
            continue;
        }
        let within = |field: &str| record.date(field).is_some_and(|day| (from..=to).contains(&day));
        let number = |field: &str| record.number(field).unwrap_or(0.0);
        // Computed counts: whole and never negative.
        let count = |field: &str| number(field).max(0.0) as u64;
        let mut one = Row::default();
        if within("happened_on") {
            one.accidents = 1;
            (one.deaths, one.serious_injuries) = (count("deaths"), count("serious_injuries"));
            one.direct_loss_wan = number("direct_loss_wan");
            let is_overdue = record.instant("tell_by").is_some_and(|until| until < begun_minute(now));
            one.overdue = u64::from(is_overdue);
            one.told_late = u64::from(is_overdue || record.text("late").is_some_and(|late| late != "none"));
            one.reclassed = u64::from(record.text("reclassed").is_some_and(|way| way != "no"));
            one.breaches = count("breaches_found");
        }
        // One that was opened again is not concluded, whatever was decided before.
        let is_concluded = CONCLUDED.contains(&record.state.as_str());
        let approved_on = record.date("approved_on").filter(|_| is_concluded);
        if within("conclude_by") {
            one.to_conclude = 1;
            one.concluded = u64::from(approved_on.is_some_and(|on| on <= to));
            one.in_time = u64::from(approved_on.is_some_and(|on| on <= to && record.date("conclude_by").is_some_and(|by| on <= by)));
        }
        if is_concluded && within("approved_on") {
            one.disciplined = count("people_disciplined");
            one.transferred = count("people_transferred");
            one.penalized = count("people_penalized");
        }
        if one == Row::default() {
            continue;
        }
        let county = region.get(..6).unwrap_or(region);
        let parts = [
            (&mut statistics.by_class, record.text("class").unwrap_or_default()),
            (&mut statistics.by_sector, record.text("sector").unwrap_or_default()),
            (&mut statistics.by_region, county),
        ];
        for (rows, word) in parts {
            rows.entry(word.to_owned()).or_default().add(&one);
        }
        statistics.total.add(&one);
    }
    statistics
}

impl Row {
    fn add(&mut self, one: &Self) {
        self.accidents += one.accidents;
        self.deaths += one.deaths;
        self.serious_injuries += one.serious_injuries;
        self.direct_loss_wan += one.direct_loss_wan;
        self.told_late += one.told_late;
        self.overdue += one.overdue;
        self.reclassed += one.reclassed;
        self.breaches += one.breaches;
        self.to_conclude += one.to_conclude;
        self.concluded += one.concluded;
        self.in_time += one.in_time;
        self.disciplined += one.disciplined;
        self.transferred += one.transferred;
        self.penalized += one.penalized;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::Kind;

    const ACCIDENT: &str = include_str!("../../../../packs/base/registers/accident/register.toml");

    /// An accident as the register reckons it, with these fields on top.
    fn accident(state: &str, happened: &str, deaths: u32, more: &serde_json::Value) -> Record {
        let kind = Kind::parse(ACCIDENT).unwrap();
        let day = &happened[..10];
        let mut fields = serde_json::json!({
            "happened_at": happened, "nature": "general", "sector": "coal", "county_told_at": happened,
            "toll": [{"told_on": day, "on": day, "deaths": deaths, "serious_injuries": 1, "direct_loss_wan": 10.5}],
        });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let fields = kind.stored_fields(fields.as_object().unwrap());
        let mut record = Record { state: state.into(), entered_on: day.parse().unwrap(), fields, acts: Vec::new() };
        kind.compute(&mut record, day.parse::<Date>().unwrap().at(0, 0, 0, 0));
        record
    }

    #[test]
    fn what_happened_what_is_to_be_concluded_and_what_was_approved_are_three_choices() {
        let people = serde_json::json!([{"name": "甲", "outcome": "discipline"}, {"name": "乙", "outcome": "transferred"}, {"name": "丙", "outcome": "transferred"}]);
        let records = [
            // Concluded by 2027-02-13 (60 + 15 days): in time.
            accident(
                "closed",
                "2026-11-30T10:00",
                2,
                &serde_json::json!({"report_on": "2027-01-20", "approved_on": "2027-02-01", "people": people}),
            ),
            // The same day of the year before, a day late.
            accident(
                "approved",
                "2025-12-01T10:00",
                3,
                &serde_json::json!({"sector": "fire", "report_on": "2026-01-30", "approved_on": "2026-02-15"}),
            ),
            // Never concluded.
            accident("investigating", "2026-03-01T10:00", 0, &serde_json::json!({"city_told_at": "2026-03-01T12:01"})),
            accident("dismissed", "2026-03-02T10:00", 1, &serde_json::json!({})),
        ];
        let of = |year: i16| {
            let rows = records.iter().zip(["530402", "530402001", "5304", "530402"]);
            reckon(rows, jiff::civil::date(year, 1, 1), jiff::civil::date(year, 12, 31), jiff::civil::date(2026, 3, 1).at(12, 1, 0, 0))
        };
        let year = of(2026).total;
        assert_eq!((year.accidents, year.deaths, year.serious_injuries, year.direct_loss_wan), (2, 2, 2, 21.0));
        assert_eq!((year.told_late, year.to_conclude, year.concluded, year.in_time), (1, 2, 1, 0));
        assert_eq!((year.in_time_rate(), year.disciplined), (Some(0.0), 0));
        // Nobody has told the city of the last one: late from the minute behind its time, by nobody's act.
        let as_of = |hour: i8, minute: i8| {
            let now = jiff::civil::date(2026, 11, 30).at(hour, minute, 30, 0);
            let all = reckon([(&records[0], "530402")], jiff::civil::date(2026, 1, 1), jiff::civil::date(2026, 12, 31), now).total;
            (all.told_late, all.overdue)
        };
        assert_eq!((as_of(12, 0), as_of(12, 1)), ((0, 0), (1, 1)));
        let next = of(2027).total;
        assert_eq!((next.accidents, next.to_conclude, next.concluded, next.in_time), (0, 1, 1, 1));
        assert_eq!((next.in_time_rate(), next.disciplined, next.transferred), (Some(1.0), 1, 2));
        assert_eq!(of(2028), Statistics::default());
        assert_eq!(of(2024).total.in_time_rate(), None);
        let parts = of(2026);
        assert_eq!(
            parts.by_region.iter().map(|(code, row)| (code.as_str(), row.to_conclude)).collect::<Vec<_>>(),
            [("5304", 1), ("530402", 1)]
        );
        assert_eq!(parts.by_sector["coal"].accidents, 2);
        assert_eq!(parts.by_class.keys().map(String::as_str).collect::<Vec<_>>(), ["ordinary", "relatively_serious"]);
    }
}
