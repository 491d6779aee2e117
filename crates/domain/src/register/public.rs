//! What the public may read of the records of a kind (公开), as the kind says it: in which states, which fields, from when, and what is left when it is
//! taken back.
//!
//! [`Public`] is said once in `register.toml`; the loader sees to it that nothing gets there, or changes there, but by the steps that the kind names for
//! it, which are the authorities' own ([`Public::breaches`]). `store` bounds its reads by it. Start at [`Public`].

use std::collections::BTreeSet;

use super::kind::{FieldType, Kind};

/// Who may take a step by which something becomes public.
pub const AUTHORITY: [&str; 2] = ["supervisor", "leader"];

/// That the public may read records of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// In these states.
    pub states: Vec<String>,
    /// The steps by which a record comes into them, and by which what is read changes there.
    pub by: Vec<String>,
    /// These fields, in this order; the title is one of them.
    pub shows: Vec<String>,
    /// These too, but of a name only its first character.
    pub masked: Vec<String>,
    /// The date or instant from which on, if it is there; a record in which it is not is not public.
    pub since: Option<String>,
    /// States in which it was taken back: that it was, the day and the reason are left.
    pub retracted: Vec<String>,
    /// The text field of that reason.
    pub reason: Option<String>,
    /// The name of the enterprise is public with it.
    pub owner: bool,
    /// By what law it is public.
    pub source: String,
    /// How sure we are of that.
    pub confidence: String,
}

impl Public {
    /// The fields that are read, masked ones too.
    pub fn fields(&self) -> impl Iterator<Item = &String> {
        self.shows.iter().chain(&self.masked)
    }

    /// What of the kind would let something become public by another way; with the transition, or the field, that would.
    pub(super) fn breaches(&self, kind: &Kind) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let read: BTreeSet<&str> = self.fields().chain(&self.since).map(String::as_str).collect();
        let is_public = |state: &str| self.states.iter().any(|s| s == state);
        for unknown in self.by.iter().filter(|id| kind.transition(id).is_none()) {
            wrong.push(("public.by".to_owned(), format!("there is no transition {unknown:?}")));
        }
        for step in &kind.transitions {
            let is_named = self.by.contains(&step.id);
            let mut say = |reason: &str| wrong.push((format!("transition.{}", step.id), reason.to_owned()));
            if is_named && step.who.iter().any(|role| !AUTHORITY.contains(&role.as_str())) {
                say("makes something public: it is a supervisor's or leader's alone");
            }
            // A step that stays leaves a public record public; one that leads back may lead to any state.
            let stays = step.to.is_empty() && step.turns.is_empty() && !step.is_back;
            let leads_there = step.is_back || step.targets().any(is_public) || stays && step.from.iter().any(|from| is_public(from));
            if is_named && !leads_there {
                say("is named in public.by, but does not lead to a public state");
            }
            if is_named || !leads_there {
                continue;
            }
            if !stays && !step.from.iter().all(|from| is_public(from)) {
                say("leads to a public state and is not named in public.by");
            } else if kind.follow(step.require.iter().chain(&step.may)).iter().any(|id| read.contains(id)) {
                say("changes what the public reads and is not named in public.by");
            }
        }
        wrong
    }
}

/// Whether the public may read a field of this type as it stands; of a reference its id, which leads nowhere but to what is public too.
pub(super) fn is_shown(of: &FieldType) -> bool {
    !matches!(of, FieldType::Person | FieldType::File { .. })
}

/// Whether it may be masked.
pub(super) fn is_masked(of: &FieldType) -> bool {
    matches!(of, FieldType::Person | FieldType::Text { .. })
}

/// A name as the public reads it: the first character and one `*`, however long it was.
pub fn masked(name: &str) -> String {
    name.trim().chars().next().map(|first| format!("{first}*")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = include_str!("../../../../packs/base/registers/listed_supervision/register.toml");

    #[track_caller]
    fn told(from: &str, to: &str) -> Vec<String> {
        assert!(LISTED.contains(from), "{from}");
        let told = Kind::parse(&LISTED.replacen(from, to, 1)).expect_err(to);
        told.iter().map(|breach| format!("{}: {}", breach.field, breach.reason)).collect()
    }

    #[test]
    fn a_name_is_its_first_character() {
        assert_eq!(["张三", "欧阳修平", " 李", "", "13800000000"].map(masked), ["张*", "欧*", "李*", "", "1*"]);
    }

    #[test]
    fn nothing_becomes_public_but_by_the_steps_that_are_named_for_it() {
        let public = Kind::parse(LISTED).unwrap().public.unwrap();
        assert!(public.states.contains(&"listed".to_owned()) && !public.states.contains(&"proposed".to_owned()));
        // A step into it, and one that changes it there, that are not named.
        let approve = told("by = [\"approve\", ", "by = [");
        assert_eq!(approve, ["transition.approve: leads to a public state and is not named in public.by"]);
        let progress = told("shows = [", "shows = [\"percent_done\", ");
        assert!(
            progress.contains(&"transition.report_progress: changes what the public reads and is not named in public.by".to_owned()),
            "{progress:?}"
        );
        // Computed of what an enterprise says.
        let next = told("shows = [", "shows = [\"next_report_on\", ");
        assert!(next.iter().any(|t| t.starts_with("transition.report_progress: changes")), "{next:?}");
        // Named, but an enterprise takes it.
        let own = told("by = [", "by = [\"apply\", ");
        assert_eq!(own, ["transition.apply: makes something public: it is a supervisor's or leader's alone"]);
        assert_eq!(told("by = [", "by = [\"refuse\", "), ["transition.refuse: is named in public.by, but does not lead to a public state"]);
    }

    #[test]
    fn a_step_that_stays_or_leads_back_is_one_too() {
        let added = |step: &str| {
            let told = Kind::parse(&format!("{LISTED}\n[[transition]]\n{step}")).expect_err(step);
            told.iter().map(|breach| format!("{}: {}", breach.field, breach.reason)).collect::<Vec<_>>()
        };
        let head = "id = \"reword\"\nname = \"改写\"\nname_en = \"Reword\"\nwho = [\"safety_manager\"]\n";
        let stays = added(&format!("{head}from = [\"listed\"]\nmay = [\"goal\"]\n"));
        assert!(stays.contains(&"transition.reword: changes what the public reads and is not named in public.by".to_owned()), "{stays:?}");
        let back = added(&format!("{head}from = [\"proposed\"]\nto = \"refused\"\nback = true\nmay = [\"reason\"]\n"));
        assert!(back.contains(&"transition.reword: leads to a public state and is not named in public.by".to_owned()), "{back:?}");
    }

    #[test]
    fn a_person_is_public_by_one_character_alone() {
        let told_of = |to: &str| told("masked = [\"responsible\"]", to).join("; ");
        assert!(told_of("masked = [\"due_on\"]").contains("public.masked: \"due_on\" must be a text or person"));
        let shown = told("shows = [", "shows = [\"responsible\", ").join("; ");
        assert!(shown.contains("public.shows: \"responsible\" must be no person and no files"), "{shown}");
        assert!(told("shows = [\"subject\", ", "shows = [").join("; ").contains("does not show the title"));
        assert!(
            told("in = [\"listed\", ", "in = [\"draft\", \"listed\", ").join("; ").contains("no state \"draft\" in which records are kept")
        );
        let nobody = told("since = \"notice_on\"", "since = \"result_notice_on\"").join("; ");
        assert!(nobody.contains("not among the fields of filter"), "{nobody}");
        assert!(told("source = \"", "retracted = [\"refused\"], source = \"").join("; ").contains("public.reason: is missing"));
    }
}
