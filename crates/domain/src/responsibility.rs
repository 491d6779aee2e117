//! Responsibility letters (责任书) of a year: who must have one, who has none, which signature came late, which chain is broken.
//!
//! Pure: units and letters in, findings out; the day is an argument. Who must have a letter is data (`packs/base/responsibility.toml`); the steps
//! of a letter are those of its register. Start at [`Rules::parse`], then [`cover`].

use std::collections::BTreeMap;

use anlan_model::{EnterpriseId, RecordId, RegionCode};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::networking::Part;
use crate::pack::{CONFIDENCES, PackError, is_word};
use crate::register::search::plain;
use crate::road::rules::Sourced;

const FILE: &str = "responsibility.toml";

/// The register that letters stand in.
pub const REGISTER: &str = "responsibility_letter";
/// Its states in which a letter binds.
pub const BINDING: [&str; 4] = ["in_force", "reported", "assessed", "ended"];
/// Its state of a letter that was taken back: as if it had never been.
const WITHDRAWN: &str = "withdrawn";

/// Levels of divisions whose government takes a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Codes of 4 digits.
    City,
    /// Codes of 6.
    County,
    /// Codes of 9.
    Township,
}

impl Level {
    /// The level of a code; `None` of a province, a village and what is no division.
    pub fn of(code: &RegionCode) -> Option<Self> {
        match code.as_str().len() {
            4 => Some(Self::City),
            6 => Some(Self::County),
            9 => Some(Self::Township),
            _ => None,
        }
    }
}

/// Who takes a letter, as the register says it; a post is the enterprise's own affair and nobody's duty here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Takes {
    /// The government of a division.
    Government,
    /// A department of it.
    Department,
    /// An enterprise.
    Enterprise,
}

impl Takes {
    /// All of them, from the top down.
    pub const ALL: [Self; 3] = [Self::Government, Self::Department, Self::Enterprise];

    /// The choice of the register.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Government => "government",
            Self::Department => "department",
            Self::Enterprise => "enterprise",
        }
    }

    /// The one named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|takes| takes.as_str() == word)
    }
}

/// Who must have a letter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Must {
    /// Its word.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// What they are.
    pub takes: Takes,
    /// Of governments and departments: of divisions of these levels.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// Of departments: these.
    #[serde(default)]
    pub names: Vec<String>,
    /// Of enterprises: those whom any of these shapes holds.
    #[serde(default)]
    pub of: Vec<Part>,
}

/// Everything `responsibility.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Who must have a letter.
    #[serde(default)]
    pub must: Vec<Sourced<Must>>,
}

impl Rules {
    /// Reads a pack's `responsibility.toml`.
    ///
    /// # Errors
    /// [`PackError`] naming row and field: a word that stands twice, a shape that is not that of whoever takes it, a row without a source.
    pub fn parse(text: &str) -> Result<Self, PackError> {
        let table: Self = toml::from_str(text).map_err(|e| PackError::Toml { file: FILE, message: e.to_string() })?;
        let mut seen = Vec::new();
        for row in &table.must {
            let must = &row.is;
            let wrong = |field, reason: &str| Err(PackError::Row { file: FILE, row: must.id.clone(), field, reason: reason.to_owned() });
            if !is_word(&must.id, '_') || seen.contains(&&must.id) {
                return wrong("id", "is no word, or stands twice");
            }
            seen.push(&must.id);
            if row.standard.is_empty() {
                return wrong("standard", "is missing: no source, no row");
            }
            if !CONFIDENCES.contains(&row.confidence.as_str()) {
                return wrong("confidence", "is not verified, verified-secondary, product or unverified");
            }
            if must.name.is_empty() || must.name_en.is_empty() {
                return wrong("name", "is missing");
            }
            let of_divisions = must.takes != Takes::Enterprise;
            if of_divisions == must.levels.is_empty() {
                return wrong("levels", "are named of governments and departments, and of nobody else");
            }
            if (must.takes == Takes::Department) == must.names.is_empty() {
                return wrong("names", "are named of departments, and of nobody else");
            }
            if of_divisions != must.of.is_empty() {
                return wrong("of", "says which enterprises, and is said of nobody else");
            }
            for part in &must.of {
                let shapes = [part.everyone, !part.sectors.is_empty(), part.register.is_some()];
                if shapes.into_iter().filter(|said| *said).count() != 1 || (part.register.is_none() && !part.states.is_empty()) {
                    return wrong("of", "says exactly one of everyone, sectors, register; states are a register's");
                }
            }
        }
        Ok(table)
    }

    /// Words of the registers that enterprises are chosen by.
    pub fn registers(&self) -> std::collections::BTreeSet<String> {
        self.must.iter().flat_map(|row| &row.is.of).filter_map(|part| part.register.clone()).collect()
    }

    /// Whether an enterprise of this sector and with these records (register, state) must have a letter.
    pub fn hold<'a>(&self, sector: &str, records: impl IntoIterator<Item = (&'a str, &'a str)> + Clone) -> bool {
        self.must.iter().flat_map(|row| &row.is.of).any(|part| part.holds(sector, records.clone()))
    }

    /// The units of a division that must have a letter: its government, and departments by name.
    pub fn of_division(&self, code: &RegionCode) -> Vec<Unit> {
        let Some(level) = Level::of(code) else { return Vec::new() };
        let mut units = Vec::new();
        for must in self.must.iter().map(|row| &row.is).filter(|must| must.levels.contains(&level)) {
            match must.takes {
                Takes::Government => units.push(Unit::Government(code.clone())),
                Takes::Department => units.extend(must.names.iter().map(|name| Unit::Department(code.clone(), name.clone()))),
                Takes::Enterprise => {}
            }
        }
        units.sort();
        units.dedup();
        units
    }
}

/// Somebody who must have a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The government of a division.
    Government(RegionCode),
    /// A department of it, by name.
    Department(RegionCode, String),
    /// An enterprise, and where it is.
    Enterprise(RegionCode, EnterpriseId),
}

impl Unit {
    /// Where it is.
    pub fn region(&self) -> &RegionCode {
        match self {
            Self::Government(region) | Self::Department(region, _) | Self::Enterprise(region, _) => region,
        }
    }

    /// What it is.
    pub fn takes(&self) -> Takes {
        match self {
            Self::Government(_) => Takes::Government,
            Self::Department(..) => Takes::Department,
            Self::Enterprise(..) => Takes::Enterprise,
        }
    }
}

/// The letter above one, as far as the asker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// None is named.
    None,
    /// One is named that the asker does not see.
    Unseen,
    /// In this state.
    In(String),
}

/// A letter of the year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Its record.
    pub id: RecordId,
    /// What takes it; `None` = a post.
    pub takes: Option<Takes>,
    /// Whose record it is.
    pub enterprise: Option<EnterpriseId>,
    /// Where.
    pub region: Option<RegionCode>,
    /// Which department.
    pub taker: String,
    /// State of the register.
    pub state: String,
    /// Last day in time for the signature.
    pub sign_by: Option<Date>,
    /// When whoever takes it signed.
    pub signed_on: Option<Date>,
    /// The letter above.
    pub parent: Parent,
}

impl Letter {
    /// Both have signed.
    pub fn binds(&self) -> bool {
        BINDING.contains(&self.state.as_str())
    }

    /// Days behind the last day in time: of the signature, or until `today` while there is none. `None` = not late.
    pub fn days_late(&self, today: Date) -> Option<i32> {
        let is_waiting = matches!(self.state.as_str(), "draft" | "sent");
        let signed = if is_waiting { today } else { self.signed_on? };
        let days = self.sign_by?.until((jiff::Unit::Day, signed)).ok()?.get_days();
        (days > 0).then_some(days)
    }

    /// How far it is: what counts of several letters of one unit.
    fn rank(&self) -> u8 {
        match self.state.as_str() {
            _ if self.binds() => 3,
            "signed" => 2,
            "sent" => 1,
            _ => 0,
        }
    }

    fn is_of(&self, unit: &Unit) -> bool {
        self.takes == Some(unit.takes())
            && match unit {
                Unit::Government(region) => self.enterprise.is_none() && self.region.as_ref() == Some(region),
                Unit::Department(region, name) => {
                    self.enterprise.is_none() && self.region.as_ref() == Some(region) && plain(&self.taker) == plain(name)
                }
                Unit::Enterprise(_, id) => self.enterprise == Some(*id),
            }
    }
}

/// What is amiss with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// It has no letter, or only one that was withdrawn.
    Orphan,
    /// The letter above its own does not bind (any more).
    ParentNotInForce,
    /// Signed too late, or not signed though the day is over: days.
    Late(i32),
    /// Its letter names none above, though the unit above must have one.
    NoParent,
    /// A letter is under way, and does not bind yet.
    UnderWay,
}

/// How a unit stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Who.
    pub unit: Unit,
    /// Its letter: the one that is furthest, of several as far the newest.
    pub letter: Option<Letter>,
    /// What is amiss, the gravest first; empty = all is well.
    pub findings: Vec<Finding>,
}

/// How many stand how; one unit may count in several of the last four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Who must have a letter.
    pub units: u64,
    /// Of these, without one.
    pub orphans: u64,
    /// With one that does not bind yet.
    pub under_way: u64,
    /// With one that binds.
    pub in_force: u64,
    /// Signed late, or late by now.
    pub late: u64,
    /// Whose letter above does not bind.
    pub parent_not_in_force: u64,
    /// Whose letter names none above.
    pub no_parent: u64,
}

impl Counts {
    fn add(&mut self, stand: &Stand) {
        self.units += 1;
        self.in_force += u64::from(stand.letter.as_ref().is_some_and(Letter::binds));
        for finding in &stand.findings {
            *match finding {
                Finding::Orphan => &mut self.orphans,
                Finding::ParentNotInForce => &mut self.parent_not_in_force,
                Finding::Late(_) => &mut self.late,
                Finding::NoParent => &mut self.no_parent,
                Finding::UnderWay => &mut self.under_way,
            } += 1;
        }
    }
}

/// What the letters of a year cover.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// All together.
    pub total: Counts,
    /// By what takes them.
    pub by_taker: BTreeMap<Takes, Counts>,
    /// By division, with everything below it.
    pub by_division: BTreeMap<RegionCode, Counts>,
    /// Everybody, orphans first, then by what is gravest, then from the top down.
    pub stands: Vec<Stand>,
}

/// How `units` stand by `letters` on `today`. Neither the order of units nor that of letters matters. A unit that stands twice counts once.
pub fn cover(units: impl IntoIterator<Item = Unit>, letters: &[Letter], today: Date) -> Coverage {
    let units: std::collections::BTreeSet<Unit> = units.into_iter().collect();
    let mut found = Coverage::default();
    // By whose it is: a city has thousands of both.
    let mut of_owner: BTreeMap<(Option<EnterpriseId>, Option<&RegionCode>), Vec<&Letter>> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| letter.state != WITHDRAWN) {
        let region = letter.region.as_ref().filter(|_| letter.enterprise.is_none());
        of_owner.entry((letter.enterprise, region)).or_default().push(letter);
    }
    for unit in &units {
        let owner = match unit {
            Unit::Government(region) | Unit::Department(region, _) => (None, Some(region)),
            Unit::Enterprise(_, id) => (Some(*id), None),
        };
        let own = of_owner.get(&owner).into_iter().flatten().filter(|letter| letter.is_of(unit));
        let letter = own.max_by_key(|letter| (letter.rank(), letter.id)).map(|letter| (*letter).clone());
        let mut findings = Vec::new();
        match &letter {
            None => findings.push(Finding::Orphan),
            Some(letter) => {
                match &letter.parent {
                    Parent::In(state) if !BINDING.contains(&state.as_str()) => findings.push(Finding::ParentNotInForce),
                    Parent::None if has_above(&units, unit) => findings.push(Finding::NoParent),
                    Parent::In(_) | Parent::None | Parent::Unseen => {}
                }
                findings.extend(letter.days_late(today).map(Finding::Late));
                if !letter.binds() {
                    findings.push(Finding::UnderWay);
                }
            }
        }
        findings.sort();
        let stand = Stand { unit: unit.clone(), letter, findings };
        found.total.add(&stand);
        found.by_taker.entry(unit.takes()).or_default().add(&stand);
        for code in itself_and_above(unit.region()) {
            found.by_division.entry(code).or_default().add(&stand);
        }
        found.stands.push(stand);
    }
    // Units come in their own order, which a stable sort keeps. Of two that are late the later one comes first.
    let gravest = |stand: &Stand| match stand.findings.first() {
        Some(Finding::Orphan) => (0, 0),
        Some(Finding::ParentNotInForce) => (1, 0),
        Some(Finding::Late(days)) => (2, -days),
        Some(Finding::NoParent) => (3, 0),
        Some(Finding::UnderWay) => (4, 0),
        None => (5, 0),
    };
    found.stands.sort_by_key(gravest);
    found
}

/// Codes of the divisions of a code, itself last; provinces carry no letters here.
fn itself_and_above(code: &RegionCode) -> impl Iterator<Item = RegionCode> {
    let text = code.as_str();
    [4, 6, 9, 12].into_iter().filter(|n| *n <= text.len()).filter_map(|n| RegionCode::new(text.get(..n)?))
}

/// Whether somebody above must have a letter: the government of the division, of a government that of a larger one.
fn has_above(units: &std::collections::BTreeSet<Unit>, unit: &Unit) -> bool {
    let own = matches!(unit, Unit::Government(_)).then(|| unit.region().clone());
    itself_and_above(unit.region()).filter(|code| Some(code) != own.as_ref()).any(|code| units.contains(&Unit::Government(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    const BASE: &str = include_str!("../../../packs/base/responsibility.toml");

    fn code(text: &str) -> RegionCode {
        RegionCode::new(text).unwrap()
    }

    fn letter(id: i64, of: &Unit, state: &str) -> Letter {
        let (enterprise, taker) = match of {
            Unit::Enterprise(_, id) => (Some(*id), String::new()),
            Unit::Department(_, name) => (None, name.clone()),
            Unit::Government(_) => (None, String::new()),
        };
        Letter {
            id: RecordId::new(id),
            takes: Some(of.takes()),
            enterprise,
            region: Some(of.region().clone()),
            taker,
            state: state.into(),
            sign_by: Some(date(2026, 2, 10)),
            signed_on: (!matches!(state, "draft" | "sent")).then(|| date(2026, 2, 10)),
            parent: Parent::In("in_force".into()),
        }
    }

    fn found(unit: &Unit, others: &[Unit], letters: &[Letter], on: Date) -> Vec<Finding> {
        let all = others.iter().chain([unit]).cloned();
        cover(all, letters, on).stands.into_iter().find(|stand| stand.unit == *unit).unwrap().findings
    }

    #[test]
    fn the_shipped_file_says_who_must_have_a_letter() {
        let rules = Rules::parse(BASE).unwrap();
        let of = |text: &str| rules.of_division(&code(text));
        assert_eq!(of("5304"), [Unit::Government(code("5304"))]);
        assert_eq!(of("530402001"), [Unit::Government(code("530402001"))]);
        assert!(of("530402").contains(&Unit::Department(code("530402"), "应急管理局".into())));
        assert!(of("53").is_empty() && of("530402001001").is_empty());
        assert!(rules.hold("hazchem", []) && !rules.hold("hotel", []) && rules.hold("hotel", [("major_hazard", "filed")]));
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused_with_row_and_field() {
        let check = |from: &str, to: &str, field: &str| {
            assert!(BASE.contains(from), "{from}");
            match Rules::parse(&BASE.replacen(from, to, 1)) {
                Err(PackError::Row { field: at, .. }) => assert_eq!(at, field, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        };
        check("id = \"department\"", "id = \"government\"", "id");
        check("levels = [\"county\"]", "levels = []", "levels");
        check("names = [\"应急管理局\"", "names = [] #", "names");
        check("{ register = \"major_hazard\" }", "{ register = \"major_hazard\", everyone = true }", "of");
        check("confidence = \"product\"", "confidence = \"sure\"", "confidence");
    }

    #[test]
    fn who_has_none_is_an_orphan_and_a_withdrawn_letter_is_none() {
        let (city, county) = (Unit::Government(code("5304")), Unit::Government(code("530402")));
        let day = date(2026, 2, 1);
        assert_eq!(found(&county, &[], &[], day), [Finding::Orphan]);
        assert_eq!(found(&county, &[], &[letter(1, &county, "withdrawn")], day), [Finding::Orphan]);
        assert_eq!(found(&county, &[], &[letter(1, &city, "in_force")], day), [Finding::Orphan], "another's letter is not its own");
        assert_eq!(found(&county, &[], &[letter(1, &county, "in_force"), letter(2, &county, "withdrawn")], day), []);
        let mut post = letter(1, &Unit::Enterprise(code("530402"), EnterpriseId::new(7)), "in_force");
        post.takes = None;
        assert_eq!(found(&Unit::Enterprise(code("530402"), EnterpriseId::new(7)), &[], &[post], day), [Finding::Orphan]);
        let department = Unit::Department(code("530402"), "公安局".into());
        let mut written = letter(3, &department, "in_force");
        written.taker = " 公安局 ".into();
        assert_eq!(found(&department, &[], &[written], day), [], "blanks around a name do not make another");
    }

    #[test]
    fn a_late_signature_is_told_with_its_days_before_and_after_it_is_given() {
        let county = Unit::Government(code("530402"));
        let check = |state: &str, signed: Option<Date>, today: Date, want: &[Finding]| {
            let of = Letter { signed_on: signed, ..letter(1, &county, state) };
            assert_eq!(found(&county, &[], &[of], today), want, "{state} {signed:?} {today}");
        };
        check("sent", None, date(2026, 2, 10), &[Finding::UnderWay]);
        check("sent", None, date(2026, 2, 13), &[Finding::Late(3), Finding::UnderWay]);
        check("draft", None, date(2026, 2, 11), &[Finding::Late(1), Finding::UnderWay]);
        check("signed", Some(date(2026, 2, 12)), date(2026, 9, 1), &[Finding::Late(2), Finding::UnderWay]);
        check("in_force", Some(date(2026, 2, 12)), date(2026, 9, 1), &[Finding::Late(2)]);
        check("in_force", Some(date(2026, 2, 1)), date(2026, 9, 1), &[]);
    }

    #[test]
    fn a_chain_is_broken_where_the_letter_above_does_not_bind_or_is_not_named() {
        let (city, county) = (Unit::Government(code("5304")), Unit::Government(code("530402")));
        let day = date(2026, 2, 1);
        let with = |parent: Parent| [Letter { parent, ..letter(1, &county, "in_force") }];
        let above = std::slice::from_ref(&city);
        assert_eq!(found(&county, above, &with(Parent::In("withdrawn".into())), day), [Finding::ParentNotInForce]);
        assert_eq!(found(&county, above, &with(Parent::In("reported".into())), day), []);
        assert_eq!(found(&county, above, &with(Parent::None), day), [Finding::NoParent]);
        assert_eq!(found(&county, above, &with(Parent::Unseen), day), []);
        assert_eq!(found(&city, &[], &[Letter { parent: Parent::None, ..letter(1, &city, "in_force") }], day), [], "the topmost");
        let factory = Unit::Enterprise(code("530402001"), EnterpriseId::new(7));
        let own = [Letter { parent: Parent::None, ..letter(1, &factory, "in_force") }];
        assert_eq!(found(&factory, std::slice::from_ref(&county), &own, day), [Finding::NoParent]);
    }

    #[test]
    fn divisions_count_everything_below_them() {
        let units = [
            Unit::Government(code("5304")),
            Unit::Government(code("530402")),
            Unit::Government(code("530402001")),
            Unit::Enterprise(code("530402001"), EnterpriseId::new(7)),
            Unit::Government(code("530423")),
        ];
        let covered = cover(units.clone(), &[letter(1, &units[2], "in_force")], date(2026, 2, 1));
        let of = |text: &str| covered.by_division.get(&code(text)).map(|c| (c.units, c.orphans, c.in_force));
        assert_eq!(
            (of("5304"), of("530402"), of("530402001"), of("530423")),
            (Some((5, 4, 1)), Some((3, 2, 1)), Some((2, 1, 1)), Some((1, 1, 0)))
        );
        assert_eq!(covered.stands.last().unwrap().unit, units[2], "orphans first");
        assert_eq!(covered.by_taker[&Takes::Enterprise].orphans, 1);
    }

    fn any_unit() -> impl Strategy<Value = Unit> {
        let region = prop::sample::select(vec!["5304", "530402", "530402001", "530423"]).prop_map(code);
        (region, 0_i64..6).prop_map(|(region, n)| match n {
            0 => Unit::Government(region),
            1 | 2 => Unit::Department(region, format!("局{n}")),
            _ => Unit::Enterprise(code("530402001"), EnterpriseId::new(n)),
        })
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_every_unit_is_an_orphan_or_has_a_letter(
            units in prop::collection::vec(any_unit(), 0..12),
            told in prop::collection::vec((any_unit(), prop::sample::select(vec!["draft", "sent", "signed", "in_force", "withdrawn"])), 0..20),
        ) {
            let letters: Vec<Letter> = told.iter().zip(1..).map(|((unit, state), id)| letter(id, unit, state)).collect();
            let day = date(2026, 3, 1);
            let one = cover(units.clone(), &letters, day);
            let (mut units_back, mut letters_back) = (units, letters);
            units_back.reverse();
            letters_back.reverse();
            prop_assert_eq!(&one, &cover(units_back, &letters_back, day));
            let Counts { units, orphans, under_way, in_force, .. } = one.total;
            prop_assert_eq!(units, orphans + under_way + in_force);
            for stand in &one.stands {
                prop_assert_eq!(stand.findings.contains(&Finding::Orphan), stand.letter.is_none());
            }
        }
    }
}
