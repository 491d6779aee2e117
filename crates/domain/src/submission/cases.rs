//! `cases.toml` beside a submission: the conformance set. What we hold goes in as JSON; the exact text must come out, or the refusals that are named.

use serde::Deserialize;
use serde_json::Value as Json;
use toml::Spanned;

use super::{Refusal, Rendered, Submission, source};
use crate::pack::line_of;
use crate::register::CaseFailure;

/// Cases of a submission, things of a case; more are taken for a mistake.
const ITEMS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: Spanned<String>,
    object: String,
    /// A thing of ours as JSON, or a list of them.
    given: Spanned<String>,
    /// The text that goes out, to the last character.
    #[serde(default)]
    gives: Option<Spanned<String>>,
    /// Everything that stands against it, as `field: code`.
    #[serde(default)]
    refused: Vec<String>,
    /// It is not one that is submitted.
    #[serde(default)]
    unwanted: bool,
}

impl Submission {
    /// Runs every case of a `cases.toml`; how many there are.
    ///
    /// # Errors
    /// Every case that gives something else, and what. A submission whose cases fail is not to be used.
    pub fn run_cases(&self, text: &str) -> Result<usize, Vec<CaseFailure>> {
        let whole = |line: usize, reason: String| vec![CaseFailure { line, case: String::new(), reason }];
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            whole(line, error.message().to_owned())
        })?;
        if file.case.len() > ITEMS_MAX {
            return Err(whole(0, format!("more than {ITEMS_MAX} cases")));
        }
        let mut failures: Vec<CaseFailure> = Vec::new();
        for object in &self.objects {
            let shown = file.case.iter().any(|case| case.object == object.id && case.gives.is_some());
            if !shown {
                failures.extend(whole(0, format!("no case shows what the object {:?} gives", object.id)));
            }
        }
        for case in &file.case {
            if let Err((at, reason)) = self.run_case(case) {
                failures.push(CaseFailure { line: line_of(text, at), case: case.name.as_ref().clone(), reason });
            }
        }
        if failures.is_empty() { Ok(file.case.len()) } else { Err(failures) }
    }

    fn run_case(&self, case: &Case) -> Result<(), (usize, String)> {
        let (at, given) = (case.name.span().start, case.given.span().start);
        let object = self.object(&case.object).ok_or_else(|| (at, format!("there is no object {:?}", case.object)))?;
        let thing: Json = serde_json::from_str(case.given.as_ref()).map_err(|e| (given, format!("given: is no JSON: {e}")))?;
        let things = if let Json::Array(things) = thing { things } else { vec![thing] };
        if things.is_empty() || things.len() > ITEMS_MAX.min(self.batch.max as usize) {
            return Err((given, format!("given: a text has 1 to {} of them", self.batch.max)));
        }
        if [case.gives.is_some(), !case.refused.is_empty(), case.unwanted].iter().filter(|is| **is).count() != 1 {
            return Err((at, "say one of gives, refused and unwanted".to_owned()));
        }
        if let Some(strange) = things.iter().flat_map(|thing| source::strangers(object.of, thing)).next() {
            return Err((given, format!("given: there is no {strange:?} in a thing of {:?}", object.of.as_str())));
        }
        let wanted = things.iter().filter(|thing| self.wants(object, thing)).count();
        if case.unwanted {
            return if wanted == 0 { Ok(()) } else { Err((at, "is submitted, but should not be".to_owned())) };
        }
        if wanted < things.len() {
            return Err((at, "is not submitted: `only` or `states` leaves it out".to_owned()));
        }
        let (mut rendered, mut refusals): (Vec<Rendered>, Vec<Refusal>) = Default::default();
        for thing in &things {
            match self.render(object, thing) {
                Ok(one) => rendered.push(one),
                Err(all) => refusals.extend(all),
            }
        }
        let mut found: Vec<String> = refusals.iter().map(|r| format!("{}: {}", r.field, r.code)).collect();
        let mut expected = case.refused.clone();
        found.sort();
        expected.sort();
        match &case.gives {
            Some(_) if !refusals.is_empty() => {
                let told: Vec<String> = refusals.iter().map(ToString::to_string).collect();
                Err((at, format!("is refused: {}; it should go out", told.join("; "))))
            }
            Some(gives) => {
                let text = self.document(object, rendered.iter().map(|one| one.text.as_str()));
                difference(&text, gives.as_ref()).map_or(Ok(()), |reason| Err((gives.span().start, reason)))
            }
            None if found == expected => Ok(()),
            None if found.is_empty() => Err((at, format!("goes out, but should be refused: {}", expected.join(", ")))),
            None => Err((at, format!("is refused: {}; expected {}", found.join(", "), expected.join(", ")))),
        }
    }
}

/// Where two texts part, and how each goes on.
fn difference(is: &str, should: &str) -> Option<String> {
    const AROUND: usize = 40;
    if is == should {
        return None;
    }
    let same = is.chars().zip(should.chars()).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(AROUND / 2);
    let show = |text: &str| text.chars().skip(from).take(AROUND * 2).collect::<String>();
    Some(format!("gives another text from character {}: {:?}, not {:?}", same + 1, show(is), show(should)))
}
