//! When a record counts as one of a source of figures ([`FromRegister`]): from which day, until which.
//!
//! Read out of its acts, so that a figure as of an earlier day is what it was. What a field says is known as it is now alone: its history is in the
//! audit, not in the record. Pure. Start at [`Kind::stays`].

use jiff::civil::Date;

use super::{FieldType, Kind, Record, Value};
use crate::indicator::{FromRegister, Per};

/// A time in which a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stay {
    /// From this day on.
    pub since: Date,
    /// Known since: the day of the act that led there.
    pub known_on: Date,
    /// Until the day before this one; `None` = it still does.
    pub until: Option<Date>,
}

impl Kind {
    /// What of `from` this register does not have: an unknown state or field, a value that its field cannot have; `None` = it fits.
    pub fn cannot_count(&self, from: &FromRegister) -> Option<String> {
        if from.register != self.id {
            return Some(format!("register is {}", self.id));
        }
        if let Some(state) = from.states.iter().find(|id| self.state(id).is_none() || **id == self.start) {
            return Some(format!("states: {state} is none in which something was said"));
        }
        for test in &from.only {
            match self.field(&test.field).map(|field| &field.of) {
                Some(FieldType::Choice { choices }) => {
                    if let Some(word) = test.is.iter().find(|word| choices.iter().all(|choice| choice.id != **word)) {
                        return Some(format!("only: {} is never {word}", test.field));
                    }
                }
                _ => return Some(format!("only: {} is no choice of the register", test.field)),
            }
        }
        if let Some(day) = &from.on
            && !matches!(self.field(day).map(|field| &field.of), Some(FieldType::Date))
        {
            return Some(format!("on: {day} is no date of the register"));
        }
        if from.per == Per::Enterprise && self.owner == super::Owner::Everyone {
            return Some("per: its records are nobody's".to_owned());
        }
        None
    }

    /// The first day on which the record said something: the register stands since then, whatever is counted of it. `None` for a draft.
    pub fn began(&self, record: &Record) -> Option<Date> {
        (record.state != self.start).then(|| record.acts.first().map_or(record.entered_on, |act| act.on))
    }

    /// The times in which a record counts, the earliest first.
    pub fn stays(&self, record: &Record, from: &FromRegister) -> Vec<Stay> {
        let is_of =
            |test: &crate::indicator::Only| matches!(record.fields.get(&test.field), Some(Value::Text(word)) if test.is.contains(word));
        if !from.only.iter().all(is_of) {
            return Vec::new();
        }
        let mut stays: Vec<Stay> = Vec::new();
        for (on, state) in self.states_of(record) {
            let is_in = from.states.iter().any(|id| id == state);
            match (stays.last_mut().filter(|stay| stay.until.is_none()), is_in) {
                (Some(open), false) => open.until = Some(on),
                (None, true) => stays.push(Stay { since: on, known_on: on, until: None }),
                _ => {}
            }
        }
        // What was entered and left on one day did not stand at its end.
        stays.retain(|stay| stay.until.is_none_or(|until| until > stay.since));
        // The field says when it began, whenever that was written down; of a record that came back, the act does.
        if let (Some(first), Some(day)) = (stays.first_mut(), from.on.as_ref().and_then(|field| record.date(field)))
            && first.until.is_none_or(|until| until > day)
        {
            first.since = day;
            first.known_on = first.known_on.max(day);
        }
        stays
    }

    /// Each state with the day on which it was entered. Of a copy whose acts are not told: the state that it is in.
    fn states_of<'a>(&'a self, record: &'a Record) -> Vec<(Date, &'a str)> {
        let mut states: Vec<(Date, &str)> = Vec::new();
        for (i, act) in record.acts.iter().enumerate() {
            let state = match record.acts.get(i + 1) {
                None => Some(record.state.as_str()),
                // Of a time when that was not noted: where the transition leads by itself.
                Some(next) => next.from.as_deref().or_else(|| {
                    let transition = self.transitions.iter().find(|transition| transition.id == act.transition)?;
                    Some(transition.to.as_str()).filter(|to| !to.is_empty())
                }),
            };
            if let Some(state) = state.filter(|state| states.last().is_none_or(|(_, last)| last != state)) {
                states.push((act.on, state));
            }
        }
        if record.acts.is_empty() {
            states.push((record.entered_on, &record.state));
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicator::{Keeps, built_in};
    use crate::register::Act;

    macro_rules! register {
        ($id:literal) => {
            ($id, include_str!(concat!("../../../../packs/base/registers/", $id, "/register.toml")))
        };
    }
    const REGISTERS: [(&str, &str); 6] = [
        register!("licence"),
        register!("listed_supervision"),
        register!("major_hazard"),
        register!("special_equipment"),
        register!("standardization"),
        register!("three_simultaneity"),
    ];

    fn kind(id: &str) -> Kind {
        let (_, text) = REGISTERS.iter().find(|(known, _)| *known == id).unwrap_or_else(|| panic!("{id} is not read here"));
        Kind::parse(text).unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// Acts as `day transition from`, and the state at the end.
    fn record(acts: &[(&str, &str, &str)], state: &str) -> Record {
        let act = |(on, transition, from): &(&str, &str, &str)| Act {
            transition: (*transition).to_owned(),
            by: "x".to_owned(),
            on: day(on),
            from: (!from.is_empty()).then(|| (*from).to_owned()),
        };
        let entered_on = acts.last().map_or(day("2026-03-01"), |(on, ..)| day(on));
        Record { state: state.to_owned(), entered_on, fields: Default::default(), acts: acts.iter().map(act).collect() }
    }

    fn from(source: &str) -> FromRegister {
        built_in().source(source).unwrap().from.clone().unwrap()
    }

    #[test]
    fn what_the_built_in_sources_count_is_there_in_the_registers() {
        let mut n = 0;
        for source in built_in().sources() {
            let Some(from) = &source.from else { continue };
            assert_ne!(source.keeps, Keeps::Event, "{}", source.id);
            assert_eq!(kind(&from.register).cannot_count(from), None, "{}", source.id);
            n += 1;
        }
        assert!(n >= 8, "{n}");
        let listed = kind("listed_supervision");
        let wrong = |change: fn(&mut FromRegister)| {
            let mut from = from("listed");
            change(&mut from);
            listed.cannot_count(&from)
        };
        assert!(wrong(|from| from.states.push("draft".into())).is_some());
        assert!(wrong(|from| from.states.push("unheard".into())).is_some());
        assert!(wrong(|from| from.on = Some("subject".into())).is_some());
        assert!(wrong(|from| from.only.push(crate::indicator::Only { field: "listing_level".into(), is: vec!["moon".into()] })).is_some());
    }

    #[test]
    fn a_record_counts_from_the_act_that_led_there_until_the_one_that_led_away() {
        let listed = kind("listed_supervision");
        let stays = |acts: &[(&str, &str, &str)], state: &str, source: &str| {
            let told = listed.stays(&record(acts, state), &from(source));
            told.iter().map(|stay| (stay.since.to_string(), stay.until.map(|day| day.to_string()))).collect::<Vec<_>>()
        };
        let acts = [
            ("2026-03-01", "propose", "draft"),
            ("2026-03-05", "approve", "proposed"),
            ("2026-05-01", "apply", "listed"),
            ("2026-05-09", "delist", "applied"),
        ];
        assert_eq!(stays(&acts, "delisted", "listed"), [("2026-03-05".to_owned(), None)], "what was listed stays one that was listed");
        assert_eq!(stays(&acts, "delisted", "listed_closed"), [("2026-05-09".to_owned(), None)]);
        assert_eq!(stays(&acts[..1], "proposed", "listed"), []);
        // Acts of a time when their state was not noted: where the transition leads.
        let unnoted = [("2026-03-01", "propose", ""), ("2026-03-05", "approve", ""), ("2026-05-01", "apply", "")];
        assert_eq!(stays(&unnoted, "applied", "listed"), [("2026-03-05".to_owned(), None)]);
        // A copy whose acts are not told.
        assert_eq!(stays(&[], "listed", "listed"), [("2026-03-01".to_owned(), None)]);
        assert_eq!(listed.began(&record(&acts[..1], "proposed")), Some(day("2026-03-01")));
        assert_eq!(listed.began(&record(&[], "draft")), None);
        let projects = kind("three_simultaneity");
        let back = record(
            &[
                ("2026-01-05", "approve_design", "design_accepted"),
                ("2026-02-01", "change_design", "design_approved"),
                ("2026-02-20", "review_own_design", "evaluated"),
            ],
            "design_approved",
        );
        let told: Vec<_> = projects.stays(&back, &from("projects_reviewed")).iter().map(|stay| (stay.since, stay.until)).collect();
        assert_eq!(told, [(day("2026-01-05"), Some(day("2026-02-01"))), (day("2026-02-20"), None)], "a changed design is not reviewed");
    }

    #[test]
    fn a_field_says_when_it_began_and_the_act_since_when_that_is_known() {
        let grades = kind("standardization");
        let mut entered = record(&[("2026-06-01", "enter", "draft")], "valid");
        entered.fields.insert("published_on".into(), Value::Date(day("2025-02-01")));
        let stay = Stay { since: day("2025-02-01"), known_on: day("2026-06-01"), until: None };
        assert_eq!(grades.stays(&entered, &from("enterprises_standardized")), [stay]);
    }
}
