//! A pack as the files of a folder: what it is called, the registers in it, and everything that is wrong with it.
//!
//! Reads no disk: whoever has the files hands them over ([`Folder::check`]). A pack with anything wrong is not to be used.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::{RuleBook, is_word, line_of};
use crate::accident::Accidents;
use crate::calendar::Calendar;
use crate::division::{DivisionError, Divisions};
use crate::indicator::{self, Facts, Indicators};
use crate::major_hazard::Tables;
use crate::networking::Networking;
use crate::plan::{Plan, Supplement};
use crate::register::{CaseFailure, Kind};
use crate::road::RoadRules;
use crate::submission::Submission;

/// What `pack.toml` says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackMeta {
    /// Its word, the name of its folder.
    pub id: String,
    /// Chinese name.
    pub name: String,
    /// English name.
    pub name_en: String,
    /// Version, free text.
    pub version: String,
    /// Who made it.
    pub publisher: String,
}

/// What is wrong with a pack, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Path in the pack.
    pub file: String,
    /// From 1; 0 = the file as a whole.
    pub line: usize,
    /// Field or case; may be empty.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// A pack that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    /// `None` if `pack.toml` is missing or broken.
    pub meta: Option<PackMeta>,
    /// Registers that could be read, in order of their words.
    pub kinds: Vec<Kind>,
    /// Who should be on the network, if it says so.
    pub networking: Option<Networking>,
    /// Submissions that could be read, in order of their words.
    pub submissions: Vec<Submission>,
    /// Its plan, with the definitions that the plan speaks of; `None` = the built-in ones.
    pub plan: Option<(Plan, Option<Indicators>)>,
    /// Files that were understood.
    pub n_checked: usize,
    /// Cases that were run.
    pub n_cases: usize,
    /// Not understood here: documents, maps, data of a simulator.
    pub n_others: usize,
    /// Empty = the pack is sound.
    pub wrong: Vec<Wrong>,
}

impl Folder {
    /// Looks at a pack: text by path, with `/` between folders.
    pub fn check(files: &BTreeMap<String, String>) -> Self {
        let mut folder = Self::default();
        let text = |name: &str| files.get(name).map(String::as_str);
        match text("pack.toml").map(toml::from_str::<PackMeta>) {
            None => folder.tell("pack.toml", 0, "", "is missing: a pack says what it is called"),
            Some(Ok(meta)) => {
                folder.n_checked += 1;
                if !is_word(&meta.id, '-') {
                    folder.tell("pack.toml", 0, "id", "is no word: a-z, 0-9 and -, beginning with a letter, at most 40");
                }
                folder.meta = Some(meta);
            }
            Some(Err(error)) => {
                folder.n_checked += 1;
                let line = error.span().map_or(0, |span| line_of(text("pack.toml").unwrap_or_default(), span.start));
                folder.tell("pack.toml", line, "", error.message());
            }
        }
        if let (Some(kinds), Some(rules)) = (text("kinds.toml"), text("alarm_rules.toml")) {
            folder.n_checked += 1;
            folder.understood("alarm_rules.toml", RuleBook::parse(kinds, rules).err().map(|e| e.to_string()));
        }
        if let Some(road) = text("road.toml") {
            folder.understood("road.toml", RoadRules::parse(road).err().map(|e| e.to_string()));
        }
        if let Some(tables) = text("gb18218.toml") {
            folder.understood("gb18218.toml", Tables::parse(tables).err().map(|e| e.to_string()));
        }
        if let Some(accidents) = text("accidents.toml") {
            folder.understood("accidents.toml", Accidents::parse(accidents).err().map(|e| e.to_string()));
        }
        let own = text("indicators.toml").map(Indicators::parse);
        if let Some(parsed) = &own {
            folder.understood("indicators.toml", parsed.as_ref().err().map(ToString::to_string));
        }
        // A plan of a pack without indicators of its own speaks of the built-in ones.
        let indicators = own.as_ref().and_then(|parsed| parsed.as_ref().ok()).unwrap_or_else(|| indicator::built_in());
        let mut plan = text("plan.toml").map(|plan| Plan::parse(plan, indicators));
        if let Some(parsed) = &plan {
            folder.understood("plan.toml", parsed.as_ref().err().map(ToString::to_string));
        }
        if let Some(facts) = text("plan_facts.csv") {
            folder.understood("plan_facts.csv", Facts::parse(facts, indicators).err().map(|e| e.to_string()));
        }
        if let Some(supplement) = text("plan_supplement.toml") {
            // Beside its plan it has to fit it; alone, as in the demo pack, it can only be read.
            let joined = Supplement::parse(supplement).and_then(|supplement| match &mut plan {
                Some(Ok(plan)) => plan.join(&supplement, &mut Facts::default(), indicators),
                _ => Ok(()),
            });
            folder.understood("plan_supplement.toml", joined.err().map(|e| e.to_string()));
        }
        if let Some(Ok(plan)) = plan {
            folder.plan = Some((plan, own.as_ref().and_then(|parsed| parsed.as_ref().ok()).cloned()));
        }
        if let Some(calendar) = text("calendar.toml") {
            folder.understood("calendar.toml", Calendar::parse(calendar).err().map(|e| e.to_string()));
        }
        if let Some(table) = text("networking.toml") {
            match Networking::parse(table) {
                Ok(networking) => {
                    folder.networking = Some(networking);
                    folder.understood("networking.toml", None);
                }
                Err(error) => folder.understood("networking.toml", Some(error.to_string())),
            }
        }
        if let Some(regions) = text("regions.csv") {
            folder.n_checked += 1;
            if let Err(DivisionError { line, field, reason }) = Divisions::parse(regions) {
                folder.tell("regions.csv", line, field, &reason);
            }
        }
        let registers: BTreeSet<&str> =
            files.keys().filter_map(|path| path.strip_prefix("registers/")?.rsplit_once('/').map(|(folder, _)| folder)).collect();
        for name in registers {
            folder.register(name, text(&format!("registers/{name}/register.toml")), text(&format!("registers/{name}/cases.toml")));
        }
        let submissions: BTreeSet<&str> =
            files.keys().filter_map(|path| path.strip_prefix("submissions/")?.rsplit_once('/').map(|(folder, _)| folder)).collect();
        for name in submissions {
            folder.submission(name, text(&format!("submissions/{name}/submission.toml")), text(&format!("submissions/{name}/cases.toml")));
        }
        folder.n_others = files.len() - folder.n_checked;
        folder
    }

    fn submission(&mut self, name: &str, submission: Option<&str>, cases: Option<&str>) {
        let (at, at_cases) = (format!("submissions/{name}/submission.toml"), format!("submissions/{name}/cases.toml"));
        let Some(submission) = submission else { return self.tell(&at, 0, "", "is missing") };
        self.n_checked += 1 + usize::from(cases.is_some());
        let submission = match Submission::parse(submission) {
            Ok(submission) => submission,
            Err(breaches) => {
                self.wrong.extend(breaches.into_iter().map(|b| Wrong { file: at.clone(), line: b.line, field: b.field, reason: b.reason }));
                return;
            }
        };
        if name != submission.id {
            self.tell(&at, 0, "id", &format!("is {:?}, but the folder is another", submission.id));
        }
        let ran = cases.map(|cases| submission.run_cases(cases));
        self.cases(&at_cases, ran, "is missing: a submission comes with its cases");
        self.submissions.push(submission);
    }

    fn cases(&mut self, at: &str, ran: Option<Result<usize, Vec<CaseFailure>>>, missing: &str) {
        match ran {
            None => self.tell(at, 0, "", missing),
            Some(Ok(n)) => self.n_cases += n,
            Some(Err(failures)) => {
                let wrong = |f: CaseFailure| {
                    let field = if f.case.is_empty() { String::new() } else { format!("case {:?}", f.case) };
                    Wrong { file: at.to_owned(), line: f.line, field, reason: f.reason }
                };
                self.wrong.extend(failures.into_iter().map(wrong));
            }
        }
    }

    fn register(&mut self, name: &str, register: Option<&str>, cases: Option<&str>) {
        let (at, at_cases) = (format!("registers/{name}/register.toml"), format!("registers/{name}/cases.toml"));
        let Some(register) = register else { return self.tell(&at, 0, "", "is missing") };
        self.n_checked += 1 + usize::from(cases.is_some());
        let kind = match Kind::parse(register) {
            Ok(kind) => kind,
            Err(breaches) => {
                self.wrong.extend(breaches.into_iter().map(|b| Wrong { file: at.clone(), line: b.line, field: b.field, reason: b.reason }));
                return;
            }
        };
        if name != kind.id {
            self.tell(&at, 0, "kind", &format!("is {:?}, but the folder is another", kind.id));
        }
        let ran = cases.map(|cases| kind.run_cases(cases));
        self.cases(&at_cases, ran, "is missing: a register comes with its cases");
        self.kinds.push(kind);
    }

    fn understood(&mut self, file: &str, error: Option<String>) {
        self.n_checked += 1;
        if let Some(error) = error {
            self.tell(file, 0, "", &error);
        }
    }

    fn tell(&mut self, file: &str, line: usize, field: &str, reason: &str) {
        self.wrong.push(Wrong { file: file.to_owned(), line, field: field.to_owned(), reason: reason.to_owned() });
    }
}
