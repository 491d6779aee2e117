//! Flags: what the records of a register say of their enterprise as a whole, such as 许可失效 while no licence of a sort is good.

use std::collections::BTreeMap;

use jiff::civil::Date;

/// What an enterprise is flagged with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// The choice field that says of which sort a record is; sorts are looked at one by one.
    pub per: String,
    /// States in which a record is good as long as it is not late.
    pub good: Vec<String>,
    /// States in which it is bad.
    pub bad: Vec<String>,
}

/// A record of one enterprise as far as a flag looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flagging<Id> {
    /// Which.
    pub id: Id,
    /// Its sort; `None` = that is not filled in.
    pub sort: Option<String>,
    /// Its state.
    pub state: String,
    /// The last day in time.
    pub due_on: Option<Date>,
}

impl Flag {
    /// States that it looks at.
    pub fn states(&self) -> Vec<String> {
        self.good.iter().chain(&self.bad).cloned().collect()
    }

    /// The newest record of each sort that is bad or late while no other of the sort is good; in the order of sorts.
    pub fn raised<Id: Copy + Ord>(&self, records: &[Flagging<Id>], today: Date) -> Vec<Id> {
        let mut worst: BTreeMap<Option<&String>, Option<Id>> = BTreeMap::new();
        for record in records {
            let is_in_time = record.due_on.is_none_or(|due_on| due_on >= today);
            let sort = record.sort.as_ref();
            if self.good.contains(&record.state) && is_in_time {
                worst.insert(sort, None);
            } else if self.good.contains(&record.state) || self.bad.contains(&record.state) {
                // `None` stays: one that is good outweighs any that are not.
                if let Some(id) = worst.entry(sort).or_insert(Some(record.id)) {
                    *id = record.id.max(*id);
                }
            }
        }
        worst.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_sort_is_flagged_while_none_of_it_is_good() {
        let flag = Flag {
            name: "许可失效".into(),
            name_en: "Licence not in force".into(),
            per: "licence".into(),
            good: vec!["valid".into()],
            bad: vec!["suspended".into(), "expired".into()],
        };
        let of =
            |id: i64, sort: &str, state: &str, due_on: Option<Date>| Flagging { id, sort: Some(sort.into()), state: state.into(), due_on };
        let today = date(2026, 11, 23);
        let check = |records: &[Flagging<i64>], want: &[i64]| assert_eq!(flag.raised(records, today), want, "{records:?}");
        check(&[], &[]);
        check(&[of(1, "mine", "applied", None)], &[]);
        check(&[of(1, "mine", "valid", Some(today))], &[]);
        check(&[of(1, "mine", "valid", Some(date(2026, 11, 22)))], &[1]);
        check(&[of(1, "mine", "suspended", None)], &[1]);
        check(&[of(1, "mine", "expired", None), of(2, "mine", "valid", None)], &[]);
        check(&[of(2, "mine", "valid", None), of(3, "mine", "expired", None)], &[]);
        check(&[of(1, "mine", "expired", None), of(4, "mine", "suspended", None), of(2, "mine", "applied", None)], &[4]);
        check(&[of(1, "mine", "valid", None), of(2, "blasting", "expired", None)], &[2]);
        check(&[Flagging { id: 7, sort: None, state: "expired".into(), due_on: None }], &[7]);
    }
}
