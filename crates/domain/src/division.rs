//! Divisions (行政区划) with the days on which their codes are in force, and what became of those that are not.
//!
//! A code that was replaced stays known for ever: rows of its time carry it. Pure: days are arguments. Read from a region pack's
//! `regions.csv` by [`Divisions::parse`]; start at [`Divisions::standing`]. Why it is so: ADR 0015.

use std::collections::BTreeMap;

use anlan_model::RegionCode;
use anlan_model::noun::Region;
use jiff::civil::Date;

use crate::pack::CONFIDENCES;

const HEADER: &str = "code,name,name_en,kind,valid_from,valid_to,became,confidence";

/// Kinds of division and the length of their codes.
const KINDS: &[(&str, usize)] = &[
    ("province", 2),
    ("city", 4),
    ("district", 6),
    ("county", 6),
    ("county_city", 6),
    ("autonomous_county", 6),
    ("subdistrict", 9),
    ("town", 9),
    ("township", 9),
    ("ethnic_township", 9),
    ("community", 12),
    ("village", 12),
];

/// What a code is worth on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// New rows may carry it.
    InForce,
    /// Its first day is still to come.
    NotYet {
        /// That day.
        since: Date,
    },
    /// The territory has another code.
    Replaced {
        /// The one in force.
        by: RegionCode,
        /// The first day without the old one.
        since: Date,
    },
    /// It is gone, and no single other code has its territory.
    Ended {
        /// The first day without it.
        since: Date,
    },
}

/// Why a list of divisions is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("regions.csv:{line}: {field}: {reason}")]
pub struct DivisionError {
    /// From 1.
    pub line: usize,
    /// Column.
    pub field: &'static str,
    /// Why.
    pub reason: String,
}

/// Divisions by code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Divisions(BTreeMap<RegionCode, Region>);

impl FromIterator<Region> for Divisions {
    fn from_iter<T: IntoIterator<Item = Region>>(rows: T) -> Self {
        Self(rows.into_iter().map(|row| (row.code.clone(), row)).collect())
    }
}

impl Divisions {
    /// Reads `regions.csv`: UTF-8, one header, cells may be quoted.
    ///
    /// # Errors
    /// [`DivisionError`] with line and column: an unknown kind, a code of another length than its kind's or below no division of the list, a day
    /// that is none, a successor that is not there or does not begin on the day after.
    pub fn parse(text: &str) -> Result<Self, DivisionError> {
        let mut lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
        if lines.next().map(|(line, _)| line) != Some(HEADER) {
            return Err(DivisionError { line: 1, field: "header", reason: format!("is not {HEADER}") });
        }
        let mut rows: Vec<(usize, Region)> = Vec::new();
        for (text, line) in lines.filter(|(text, _)| !text.is_empty()) {
            rows.push((line, read(text, line)?));
        }
        let all: Self = rows.iter().map(|(_, row)| row.clone()).collect();
        let mut seen = std::collections::BTreeSet::new();
        for (line, row) in &rows {
            let wrong = |field, reason: String| Err(DivisionError { line: *line, field, reason });
            if !seen.insert(&row.code) {
                return wrong("code", "stands twice".to_owned());
            }
            let parent = all.above(&row.code).next();
            if row.code.as_str().len() > 4 && parent.is_none_or(|p| below(p.code.as_str().len()) != row.code.as_str().len()) {
                return wrong("code", "lies in no division of the list".to_owned());
            }
            if let (Some(from), Some(to)) = (row.valid_from, row.valid_to)
                && from > to
            {
                return wrong("valid_to", "lies before valid_from".to_owned());
            }
            let Some(became) = &row.became else { continue };
            let Some(next) = all.get(became) else { return wrong("became", "names no division of the list".to_owned()) };
            let Some(to) = row.valid_to else { return wrong("valid_to", "is missing: what became another has a last day".to_owned()) };
            if next.valid_from != to.tomorrow().ok() {
                return wrong("became", format!("{became} does not begin on the day after {to}"));
            }
        }
        Ok(all)
    }

    /// The division of a code, in force or not.
    pub fn get(&self, code: &RegionCode) -> Option<&Region> {
        self.0.get(code)
    }

    /// Every division, in order of codes: each before those in it.
    pub fn values(&self) -> impl Iterator<Item = &Region> {
        self.0.values()
    }

    /// The nearest division of the list that holds this one.
    pub fn parent(&self, code: &RegionCode) -> Option<&Region> {
        self.above(code).next()
    }

    /// The divisions directly below this one that are in force on `day`, in order of codes.
    pub fn directly_below<'a>(&'a self, code: &'a RegionCode, day: Date) -> impl Iterator<Item = &'a Region> {
        let is_below = |row: &&Region| self.parent(&row.code).is_some_and(|parent| parent.code == *code);
        self.values().filter(is_below).filter(move |row| self.standing(&row.code, day) == Some(Standing::InForce))
    }

    /// What a code is worth on `day`; `None` = it is not in the list. A division in one that is not in force is not in force either.
    pub fn standing(&self, code: &RegionCode, day: Date) -> Option<Standing> {
        let own = standing_alone(self.get(code)?, day);
        match own {
            Standing::InForce => {}
            Standing::Ended { since } => {
                return Some(self.successor(code, day).map_or(Standing::Ended { since }, |by| Standing::Replaced { by, since }));
            }
            other => return Some(other),
        }
        let around = self.above(code).map(|region| standing_alone(region, day)).find(|standing| *standing != Standing::InForce);
        Some(around.unwrap_or(Standing::InForce))
    }

    /// Codes that are replaced on `day`, each with the one in force then and the day it became so.
    pub fn replaced(&self, day: Date) -> Vec<(RegionCode, RegionCode, Date)> {
        let replaced = |row: &Region| match self.standing(&row.code, day) {
            Some(Standing::Replaced { by, since }) => Some((row.code.clone(), by, since)),
            _ => None,
        };
        self.values().filter_map(replaced).collect()
    }

    /// Codes that the territory of `code` had before, all the way back.
    pub fn before(&self, code: &RegionCode) -> Vec<RegionCode> {
        let mut found: Vec<RegionCode> = Vec::new();
        let mut open = vec![code.clone()];
        while let Some(code) = open.pop() {
            for row in self.values().filter(|row| row.became.as_ref() == Some(&code)) {
                if !found.contains(&row.code) {
                    found.push(row.code.clone());
                    open.push(row.code.clone());
                }
            }
        }
        found
    }

    /// The code in force on `day` for the territory of one that is not any more.
    fn successor(&self, code: &RegionCode, day: Date) -> Option<RegionCode> {
        let mut at = self.get(code)?;
        // As many steps as there are codes: a list that was never checked may go in a circle.
        for _ in 0..self.0.len() {
            at = self.get(at.became.as_ref()?)?;
            if standing_alone(at, day) == Standing::InForce {
                return Some(at.code.clone());
            }
        }
        None
    }

    /// Divisions of the list that hold a code, the nearest first.
    fn above(&self, code: &RegionCode) -> impl Iterator<Item = &Region> {
        let code = code.as_str();
        let shorter = [9, 6, 4, 2].into_iter().filter(move |n| *n < code.len());
        shorter.filter_map(move |n| self.0.get(&RegionCode::new(&code[..n])?))
    }
}

/// Length of the codes one level below.
fn below(length: usize) -> usize {
    match length {
        2 => 4,
        4 => 6,
        6 => 9,
        _ => 12,
    }
}

fn standing_alone(row: &Region, day: Date) -> Standing {
    if let Some(from) = row.valid_from.filter(|from| day < *from) {
        return Standing::NotYet { since: from };
    }
    match row.valid_to {
        Some(to) if day > to => Standing::Ended { since: to.tomorrow().unwrap_or(to) },
        _ => Standing::InForce,
    }
}

fn read(text: &str, line: usize) -> Result<Region, DivisionError> {
    let wrong = |field, reason: &str| DivisionError { line, field, reason: reason.to_owned() };
    let cells = cells(text).ok_or_else(|| wrong("row", "a quote is not closed"))?;
    let [code, name, name_en, kind, valid_from, valid_to, became, confidence] =
        <[String; 8]>::try_from(cells).map_err(|cells| wrong("row", &format!("has {} cells instead of 8", cells.len())))?;
    let read_code = |field, text: &str| RegionCode::new(text).ok_or_else(|| wrong(field, "has not 2, 4, 6, 9 or 12 digits"));
    let read_day = |field, text: &str| match text {
        "" => Ok(None),
        text => text.parse::<Date>().map(Some).map_err(|_| wrong(field, "is no day such as 2015-12-03")),
    };
    let code = read_code("code", &code)?;
    if name.is_empty() {
        return Err(wrong("name", "is missing"));
    }
    match KINDS.iter().find(|(word, _)| *word == kind) {
        Some((_, length)) if *length == code.as_str().len() => {}
        Some(_) => return Err(wrong("kind", "is of another length of code")),
        None => return Err(wrong("kind", "is not a kind of division")),
    }
    // "verified; day unverified": how sure of the row, then of what is less sure.
    if !confidence.split(';').next().is_some_and(|word| CONFIDENCES.contains(&word.trim())) {
        return Err(wrong("confidence", "does not begin with verified, verified-secondary, product or unverified"));
    }
    Ok(Region {
        valid_from: read_day("valid_from", &valid_from)?,
        valid_to: read_day("valid_to", &valid_to)?,
        became: if became.is_empty() { None } else { Some(read_code("became", &became)?) },
        code,
        name,
        name_en,
        kind,
        confidence,
    })
}

/// The cells of a line; `None` for a quote that is not closed.
fn cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    (!quoted).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> RegionCode {
        RegionCode::new(text).unwrap()
    }
    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }
    fn yuxi() -> Divisions {
        Divisions::parse(include_str!("../../../packs/region-yuxi/regions.csv")).unwrap()
    }

    #[test]
    fn the_list_of_yuxi_is_a_tree_of_a_city_nine_counties_and_their_towns() {
        let yuxi = yuxi();
        let at = |length: usize, on: &str| {
            let in_force = |row: &&Region| yuxi.standing(&row.code, day(on)) == Some(Standing::InForce);
            yuxi.values().filter(|row| row.code.as_str().len() == length).filter(in_force).count()
        };
        assert_eq!((at(4, "2026-11-30"), at(6, "2026-11-30"), at(9, "2026-11-30")), (1, 9, 76));
        // Nine counties in every year; the towns of what was 530421 and 530422 had other codes then, which nobody gave us.
        assert_eq!((at(6, "2011-01-01"), at(9, "2011-01-01"), at(6, "2016-01-01")), (9, 62, 9));
        assert_eq!(yuxi.parent(&code("530403101")).unwrap().name, "江川区");
        assert_eq!(yuxi.parent(&code("530403101205")).unwrap().name, "江城镇", "also of a village that is not listed");
        assert_eq!(yuxi.get(&code("530428")).unwrap().name_en, "Yuanjiang Hani, Yi and Dai Autonomous County");
    }

    #[test]
    fn a_code_is_in_force_from_its_first_day_to_its_last() {
        let yuxi = yuxi();
        let check = |text: &str, on: &str, want: Option<Standing>| assert_eq!(yuxi.standing(&code(text), day(on)), want, "{text} on {on}");
        let since = day("2015-12-03");
        check("530421", "2013-06-01", Some(Standing::InForce));
        check("530421", "2015-12-02", Some(Standing::InForce));
        check("530421", "2015-12-03", Some(Standing::Replaced { by: code("530403"), since }));
        check("530403", "2015-12-02", Some(Standing::NotYet { since }));
        check("530403", "2015-12-03", Some(Standing::InForce));
        check("530403101", "2013-06-01", Some(Standing::NotYet { since }));
        check("530403101", "2026-11-30", Some(Standing::InForce));
        check("530402", "0001-01-01", Some(Standing::InForce));
        check("530499", "2026-11-30", None);
        assert_eq!(yuxi.before(&code("530403")), [code("530421")]);
        assert!(yuxi.before(&code("530421")).is_empty());
        assert_eq!(yuxi.replaced(day("2016-01-01")), [(code("530421"), code("530403"), since)]);
        assert_eq!(yuxi.replaced(day("2026-11-30")).len(), 2);
    }

    #[test]
    fn chains_mergers_and_ends() {
        let list = "5304,市,,city,,,,verified
530401,甲,,county,,2000-12-31,530402,verified
530402,乙,,county,2001-01-01,2009-12-31,530403,verified
530403,丙,,county,2010-01-01,,,verified
530404,丁,,county,,2009-12-31,530403,verified
530405,戊,,county,,2009-12-31,,verified
530405101,己,,town,,,,verified";
        let all = Divisions::parse(&format!("{HEADER}\n{list}\n")).unwrap();
        let since = |text: &str, on: &str| all.standing(&code(text), day(on)).unwrap();
        assert_eq!(since("530401", "2005-01-01"), Standing::Replaced { by: code("530402"), since: day("2001-01-01") });
        assert_eq!(since("530401", "2011-01-01"), Standing::Replaced { by: code("530403"), since: day("2001-01-01") });
        assert_eq!(all.before(&code("530403")), [code("530402"), code("530404"), code("530401")]);
        assert_eq!(
            since("530405", "2011-01-01"),
            Standing::Ended { since: day("2010-01-01") },
            "divided: nobody can say which one it is now"
        );
        assert_eq!(since("530405101", "2011-01-01"), Standing::Ended { since: day("2010-01-01") });
        assert_eq!(all.replaced(day("2011-01-01")).len(), 3);
    }

    #[test]
    fn a_list_that_contradicts_itself_is_refused_by_line_and_column() {
        let check = |rows: &str, want: &str| {
            let error = Divisions::parse(&format!("{HEADER}\n5304,市,,city,,,,verified\n{rows}\n")).unwrap_err();
            assert_eq!(format!("{}: {}", error.line, error.field), want, "{error}");
        };
        check("53040,甲,,county,,,,verified", "3: code");
        check("530401,,,county,,,,verified", "3: name");
        check("530401,甲,,town,,,,verified", "3: kind");
        check("530401,甲,,shire,,,,verified", "3: kind");
        check("530401,甲,,county,,,,sure", "3: confidence");
        check("530401,甲,,county,1.1.2000,,,verified", "3: valid_from");
        check("530401,甲,,county,2001-01-01,2000-01-01,,verified", "3: valid_to");
        check("530401,甲,,county,,,530402,verified", "3: became");
        check("530401,甲,,county,,,530402,verified\n530402,乙,,county,,,,verified", "3: valid_to");
        check("530401,甲,,county,,2000-12-31,530402,verified\n530402,乙,,county,2001-01-02,,,verified", "3: became");
        check("530401,甲,,county,,,,verified\n530401,乙,,county,,,,verified", "4: code");
        check("530501,甲,,county,,,,verified", "3: code");
        check("530401101205,村,,village,,,,verified", "3: code");
        check("530401,\"甲,,county,,,,verified", "3: row");
        check("530401,甲", "3: row");
        assert_eq!(Divisions::parse("code,name,name_en\n").unwrap_err().field, "header");
    }
}
