//! The source plan, clause by clause: `docs/plan/coverage.toml` against the plan's text, the packs and the tree.
//!
//! What the files are, how the text is cut and what the words mean: docs/plan/README.md. It cannot know whether a mapping is wise; it knows that nothing
//! was left out, said twice or made up. Start at [`check`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

const TEXT: &str = "docs/plan/yuxi-12th.zh.txt";
const COVERAGE: &str = "docs/plan/coverage.toml";
const CAPABILITIES: &str = "docs/plan/capabilities.toml";
const README: &str = "docs/plan/README.md";
const PLAN: &str = "packs/region-yuxi/plan.toml";
const INDICATORS: &str = "packs/base/indicators.toml";

/// A sentence ends with one of these, outside of quotes and brackets.
const ENDS: &[char] = &['。', '！', '？', '；', ';'];
const OPENS: &[char] = &['“', '（', '(', '《'];
const CLOSES: &[char] = &['”', '）', ')', '》'];
/// The text is broken into pages in the middle of sentences: a line of more characters than this that has no end goes on in the next one.
const HEADING_MAX: usize = 40;

/// Words by which the plan asks for something.
#[rustfmt::skip]
const DUTIES: &[&str] = &[
    "应当", "应将", "应加强", "必须", "不得", "禁止", "杜绝", "建立", "完善", "健全", "加强", "强化", "加快", "加大", "推进", "推行", "推动", "推广", "实现", "实施",
    "达到", "完成", "落实", "严格", "提高", "提升", "开展", "深化", "确保", "保证", "保障", "坚持", "构建", "建设", "建成", "制定", "配备", "督促", "规范", "查处", "治理",
];
/// Times without digits that bind as a date does.
const TIMES: &[&str] = &["年底", "每年", "每季", "每月", "逐年"];
/// Words that hold 要 without asking for anything.
const NO_DUTY: &[&str] = &["主要", "重要", "需要", "要求", "纲要", "摘要", "要素", "必要", "要点"];

/// How many of each there are, as printed and as the readme says.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Summary {
    sentences: usize,
    built: usize,
    partly: usize,
    not_built: usize,
    plain: usize,
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sentences, built, partly, not_built, plain } = self;
        let clauses = built + partly + not_built;
        write!(f, "{sentences} sentences: {clauses} clauses ({built} built, {partly} partly, {not_built} not built), {plain} plain")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Coverage {
    clause: Vec<Spanned<Clause>>,
    plain: Vec<Spanned<Plain>>,
    #[serde(default)]
    unnamed: Vec<Spanned<Unnamed>>,
}

/// A sentence that sets a duty, a number or a date.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    line: usize,
    words: String,
    capabilities: Vec<String>,
    #[serde(default)]
    targets: Vec<String>,
    /// Targets whose words stand elsewhere and that carry this sentence too.
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    indicators: Vec<String>,
    /// Why its number or date is no target.
    no_target: Option<String>,
    state: State,
    is: String,
    #[serde(default)]
    registers: Vec<String>,
    #[serde(default)]
    see: Vec<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    Built,
    Partly,
    NotBuilt,
}

/// Neighbouring sentences that set nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Plain {
    line: usize,
    words: Vec<String>,
    kind: Kind,
    /// Every number and date in them, so that none is overlooked.
    #[serde(default)]
    numbers: Vec<String>,
    because: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Heading,
    TableHead,
    Purpose,
    Basis,
    Review,
    Analysis,
    Principle,
    Appeal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unnamed {
    capability: String,
    because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capabilities {
    capability: Vec<Capability>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Capability {
    id: String,
    name: String,
    name_en: String,
}

/// What is read of a pack's plan; the plan's own loader checks the rest.
#[derive(Deserialize)]
struct PlanFile {
    target: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    id: String,
    quote: String,
    indicator: Option<String>,
    #[serde(default)]
    also: Vec<String>,
}

#[derive(Deserialize)]
struct IndicatorFile {
    indicator: Vec<Indicator>,
}

#[derive(Deserialize)]
struct Indicator {
    id: String,
}

/// The files as text, and what the tree has.
struct Source<'a> {
    text: &'a str,
    coverage: &'a str,
    capabilities: &'a str,
    readme: &'a str,
    plan: &'a str,
    indicators: &'a str,
    registers: BTreeSet<String>,
    exists: &'a dyn Fn(&str) -> bool,
}

/// Every breach as `file:line: what`, and how many of each there are.
pub fn run(root: &Path) -> anyhow::Result<(Vec<String>, Summary)> {
    let read = |name: &str| fs::read_to_string(root.join(name)).with_context(|| format!("cannot read {name}"));
    let mut registers = BTreeSet::new();
    for pack in fs::read_dir(root.join("packs"))? {
        let Ok(kinds) = fs::read_dir(pack?.path().join("registers")) else { continue };
        for kind in kinds {
            let kind = kind?;
            if kind.path().join("register.toml").is_file() {
                registers.insert(kind.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(check(&Source {
        text: &read(TEXT)?,
        coverage: &read(COVERAGE)?,
        capabilities: &read(CAPABILITIES)?,
        readme: &read(README)?,
        plan: &read(PLAN)?,
        indicators: &read(INDICATORS)?,
        registers,
        exists: &|path| root.join(path).exists(),
    }))
}

fn check(source: &Source<'_>) -> (Vec<String>, Summary) {
    let mut breaches = Vec::new();
    let (sentences, unbalanced) = cut(source.text);
    breaches.extend(unbalanced.into_iter().map(|line| format!("{TEXT}:{line}: a quote or bracket is not closed")));
    let files = (
        parse::<Coverage>(COVERAGE, source.coverage, &mut breaches),
        parse::<Capabilities>(CAPABILITIES, source.capabilities, &mut breaches),
        parse::<PlanFile>(PLAN, source.plan, &mut breaches),
        parse::<IndicatorFile>(INDICATORS, source.indicators, &mut breaches),
    );
    let (Some(coverage), Some(capabilities), Some(plan), Some(indicators)) = files else {
        return (breaches, Summary { sentences: sentences.len(), ..Summary::default() });
    };
    let at = |span: std::ops::Range<usize>| {
        let before = source.coverage.get(..span.start).unwrap_or_default();
        format!("{COVERAGE}:{}", before.matches('\n').count() + 1)
    };

    let mut summary = Summary { sentences: sentences.len(), ..Summary::default() };
    let mut covered: Vec<Option<String>> = vec![None; sentences.len()];
    let mut cover = |here: &str, line: usize, words: &str, index: Option<usize>, breaches: &mut Vec<String>| -> Option<usize> {
        let found = match index {
            Some(index) => sentences.get(index).is_some_and(|s| s.words == words).then_some(index),
            None => sentences.iter().position(|s| s.line == line && s.words == words),
        };
        let Some(found) = found else {
            let reads = match index.and_then(|i| sentences.get(i)).or_else(|| nearest(&sentences, line, words)) {
                Some(sentence) => format!("there it reads “{}”", sentence.words),
                None => format!("no sentence begins in line {line}"),
            };
            breaches.push(format!("{here}: line {line} of the plan has no sentence “{words}”: {reads}"));
            return None;
        };
        match &covered[found] {
            Some(before) => breaches.push(format!("{here}: “{words}” (line {line} of the plan) is already at {before}")),
            None => covered[found] = Some(here.to_owned()),
        }
        Some(found)
    };

    let mut known = BTreeSet::new();
    for capability in &capabilities.capability {
        if !known.insert(capability.id.as_str()) {
            breaches.push(format!("{CAPABILITIES}: {} stands twice", capability.id));
        }
        if capability.name.trim().is_empty() || capability.name_en.trim().is_empty() {
            breaches.push(format!("{CAPABILITIES}: {} needs a name in both languages", capability.id));
        }
    }
    let targets: BTreeMap<&str, &Target> = plan.target.iter().map(|t| (t.id.as_str(), t)).collect();
    let indicators: BTreeSet<&str> = indicators.indicator.iter().map(|i| i.id.as_str()).collect();
    let mut capabilities_named = BTreeSet::new();
    let mut targets_named = BTreeSet::new();

    for spanned in &coverage.clause {
        let (here, clause) = (at(spanned.span()), spanned.get_ref());
        cover(&here, clause.line, &clause.words, None, &mut breaches);
        match clause.state {
            State::Built => summary.built += 1,
            State::Partly => summary.partly += 1,
            State::NotBuilt => summary.not_built += 1,
        }
        let mut wrong = |what: String| breaches.push(format!("{here}: line {} of the plan: {what}", clause.line));
        if clause.capabilities.is_empty() {
            wrong("names no capability".to_owned());
        }
        for id in &clause.capabilities {
            if !known.contains(id.as_str()) {
                wrong(format!("no capability is called {id}"));
            }
            if !capabilities_named.insert(id.as_str()) && clause.capabilities.iter().filter(|c| *c == id).count() > 1 {
                wrong(format!("{id} is named twice"));
            }
        }
        for id in &clause.targets {
            match targets.get(id.as_str()) {
                None => wrong(format!("no target is called {id}")),
                Some(target) => {
                    targets_named.insert(id.as_str());
                    if !clause.words.contains(&even(&target.quote)) {
                        wrong(format!("the words of target {id} do not stand in it: name it in `also`"));
                    }
                    for indicator in target.indicator.iter().chain(&target.also).filter(|i| !clause.indicators.contains(i)) {
                        wrong(format!("target {id} is told by the indicator {indicator}, which is not named"));
                    }
                }
            }
        }
        for target in plan.target.iter().filter(|t| !clause.targets.contains(&t.id) && clause.words.contains(&even(&t.quote))) {
            wrong(format!("the words of target {} stand in it: name it in `targets`", target.id));
        }
        for id in clause.also.iter().filter(|id| !targets.contains_key(id.as_str())) {
            wrong(format!("no target is called {id}"));
        }
        for id in clause.indicators.iter().filter(|id| !indicators.contains(id.as_str())) {
            wrong(format!("no indicator is called {id}"));
        }
        for id in clause.registers.iter().filter(|id| !source.registers.contains(*id)) {
            wrong(format!("no register is called {id}"));
        }
        for path in &clause.see {
            if path.starts_with('/') || path.contains("..") || !(source.exists)(path) {
                wrong(format!("{path} is not in the tree"));
            }
        }
        if clause.is.trim().is_empty() {
            wrong("does not say what is there and what is not".to_owned());
        }
        match (clause.state, clause.registers.is_empty() && clause.see.is_empty()) {
            (State::Built | State::Partly, true) => {
                wrong("says that something is there and names no register and nothing to see".to_owned())
            }
            (State::NotBuilt, false) => wrong("is not built and yet names what is there".to_owned()),
            _ => {}
        }
        let Signs { numbers, .. } = signs(&clause.words);
        let carried = !clause.targets.is_empty() || !clause.also.is_empty();
        match (numbers.is_empty(), carried, said(clause.no_target.as_ref())) {
            (false, false, false) => wrong(format!("no target carries {}: name it, or say why in `no_target`", numbers.join(", "))),
            (_, true, true) | (true, _, true) => {
                wrong("`no_target` says why a number has no target, and here there is nothing to say".to_owned())
            }
            _ => {}
        }
    }

    for spanned in &coverage.plain {
        let (here, plain) = (at(spanned.span()), spanned.get_ref());
        let mut duties = BTreeSet::new();
        let mut numbers = Vec::new();
        let mut next = None;
        for words in &plain.words {
            summary.plain += 1;
            let line = next.and_then(|i: usize| sentences.get(i)).map_or(plain.line, |s| s.line);
            let Some(found) = cover(&here, line, words, next, &mut breaches) else { break };
            next = Some(found + 1);
            let signs = signs(words);
            duties.extend(signs.duties);
            numbers.extend(signs.numbers);
            if plain.kind == Kind::Heading && (words.chars().count() > HEADING_MAX || words.ends_with(ENDS)) {
                breaches.push(format!("{here}: line {line} of the plan is no heading: “{words}”"));
            }
        }
        let mut wrong = |what: String| breaches.push(format!("{here}: line {} of the plan: {what}", plain.line));
        if plain.words.is_empty() {
            wrong("names no sentence".to_owned());
        }
        if numbers != plain.numbers {
            wrong(format!(
                "said to set nothing, it has the numbers and dates {numbers:?}: say them in `numbers`, which has {:?}",
                plain.numbers
            ));
        }
        // A heading says in short what the sentences under it ask for.
        let asks = !numbers.is_empty() || (plain.kind != Kind::Heading && !duties.is_empty());
        if asks && !said(plain.because.as_ref()) {
            let signs: Vec<_> = duties.into_iter().map(str::to_owned).chain(numbers).collect();
            wrong(format!("said to set nothing, it has {}: say why in `because`", signs.join(", ")));
        }
    }

    for (sentence, _) in sentences.iter().zip(&covered).filter(|(_, place)| place.is_none()) {
        breaches.push(format!("{TEXT}:{}: in no entry of {COVERAGE}: “{}”", sentence.line, sentence.words));
    }
    for target in plan.target.iter().filter(|t| !targets_named.contains(t.id.as_str())) {
        breaches.push(format!("{COVERAGE}: no clause names target {} (“{}”)", target.id, target.quote));
    }
    let mut excused = BTreeSet::new();
    for spanned in &coverage.unnamed {
        let (here, unnamed) = (at(spanned.span()), spanned.get_ref());
        let id = unnamed.capability.as_str();
        excused.insert(id);
        if !known.contains(id) {
            breaches.push(format!("{here}: no capability is called {id}"));
        } else if capabilities_named.contains(id) {
            breaches.push(format!("{here}: {id} is named by a clause"));
        }
        if unnamed.because.trim().is_empty() {
            breaches.push(format!("{here}: {id}: say why no clause names it"));
        }
    }
    for id in known.iter().filter(|id| !capabilities_named.contains(*id) && !excused.contains(*id)) {
        breaches.push(format!("{COVERAGE}: no clause names capability {id}, and `unnamed` does not say why"));
    }
    if !source.readme.contains(&summary.to_string()) {
        breaches.push(format!("{README}: does not say “{summary}”"));
    }
    (breaches, summary)
}

fn parse<T: DeserializeOwned>(name: &str, text: &str, breaches: &mut Vec<String>) -> Option<T> {
    toml::from_str(text).map_err(|error| breaches.push(format!("{name}: {error}"))).ok()
}

fn said(reason: Option<&String>) -> bool {
    reason.is_some_and(|r| !r.trim().is_empty())
}

struct Sentence {
    /// Of the text, from 1; where the sentence begins.
    line: usize,
    words: String,
}

/// The sentences of `text`, and the lines in which one with an open quote or bracket begins.
fn cut(text: &str) -> (Vec<Sentence>, Vec<usize>) {
    let mut sentences = Vec::new();
    let mut unbalanced = Vec::new();
    let (mut line, mut words, mut depth) = (0, String::new(), 0_usize);
    for (n, row) in text.lines().enumerate() {
        let row_trimmed = row.trim();
        for c in row_trimmed.chars() {
            if words.is_empty() {
                if c.is_whitespace() {
                    continue;
                }
                line = n + 1;
            }
            words.push(c);
            if OPENS.contains(&c) {
                depth += 1;
            } else if CLOSES.contains(&c) {
                depth = depth.saturating_sub(1);
            } else if ENDS.contains(&c) && depth == 0 {
                sentences.push(Sentence { line, words: even(&std::mem::take(&mut words)) });
            }
        }
        // Rows of tables have tabs. A blank line ends nothing.
        let goes_on = row_trimmed.is_empty() || (row_trimmed.chars().count() > HEADING_MAX && !row_trimmed.contains('\t'));
        if goes_on || words.is_empty() {
            continue;
        }
        if std::mem::take(&mut depth) != 0 {
            unbalanced.push(line);
        }
        sentences.push(Sentence { line, words: even(&std::mem::take(&mut words)) });
    }
    if !words.is_empty() {
        sentences.push(Sentence { line, words: even(&words) });
    }
    if depth != 0 {
        unbalanced.push(line);
    }
    (sentences, unbalanced)
}

/// Of the sentences that begin in `line` the one that begins most as `words` do.
fn nearest<'a>(sentences: &'a [Sentence], line: usize, words: &str) -> Option<&'a Sentence> {
    let alike = |s: &&Sentence| s.words.chars().zip(words.chars()).take_while(|(a, b)| a == b).count();
    sentences.iter().filter(|s| s.line == line).max_by_key(alike)
}

/// With one space where there was any white space.
fn even(words: &str) -> String {
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Signs {
    duties: Vec<&'static str>,
    /// As they stand, without the number of a paragraph in front; "年底" behind a year is that year.
    numbers: Vec<String>,
}

/// What in a sentence looks as if it set something.
fn signs(words: &str) -> Signs {
    let mut signs = Signs { duties: DUTIES.iter().copied().filter(|d| words.contains(d)).collect(), ..Signs::default() };
    let mut rest = words.to_owned();
    for word in NO_DUTY {
        rest = rest.replace(word, "");
    }
    if rest.contains('要') {
        signs.duties.push("要");
    }
    let body = words.trim_start_matches(|c: char| c.is_ascii_digit());
    let body = if body.len() < words.len() && body.starts_with(['.', '、']) { body } else { words };
    let mut chars = body.char_indices().peekable();
    while let Some((start, c)) = chars.next() {
        if !c.is_ascii_digit() {
            signs.numbers.extend(TIMES.iter().filter(|t| body[start..].starts_with(**t)).map(|t| (*t).to_owned()));
            continue;
        }
        let mut number = String::from(c);
        while let Some((_, c)) = chars.next_if(|(_, c)| c.is_ascii_digit() || *c == '.') {
            number.push(c);
        }
        while chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        if let Some((_, unit)) = chars.next_if(|(_, c)| ['年', '%'].contains(c)) {
            number.push(unit);
        }
        signs.numbers.push(number);
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE_TEXT: &str = "\n某市安全生产规划\n\n一、回顾\n\n2010年，全市死亡161人。建立了“一岗双责。”制度；\n\n二、任务\n\n到2015年，煤矿达标率\t100%\n\n加强乡（镇；街道）安全巡查，完善巡查制度，配齐人员、车辆和装备，逐级落实责任，每周安排，\n\n每月汇总。建立举报制度。\n";
    const SAMPLE_PLAN: &str = "[[target]]\nid = \"C01\"\nquote = \"煤矿达标率 100%\"\nindicator = \"rate\"\nalso = [\"count\"]\n[[target]]\nid = \"T01\"\nquote = \"完善巡查制度\"\n";
    const SAMPLE_INDICATORS: &str = "[[indicator]]\nid = \"rate\"\n[[indicator]]\nid = \"count\"\n";
    const SAMPLE_CAPABILITIES: &str = "[[capability]]\nid = \"B4\"\nname = \"达标\"\nname_en = \"Grading\"\n[[capability]]\nid = \"C7\"\nname = \"巡查\"\nname_en = \"Patrols\"\n[[capability]]\nid = \"C4\"\nname = \"举报\"\nname_en = \"Reports\"\n[[capability]]\nid = \"F8\"\nname = \"权限\"\nname_en = \"Permissions\"\n";
    const SAMPLE_README: &str = "Today: 8 sentences: 3 clauses (1 built, 1 partly, 1 not built), 5 plain.";
    const SAMPLE: &str = r#"
[[plain]]
line = 2
words = ["某市安全生产规划", "一、回顾"]
kind = "heading"

[[plain]]
line = 6
words = ["2010年，全市死亡161人。", "建立了“一岗双责。”制度；"]
kind = "review"
numbers = ["2010年", "161"]
because = "已做的事"

[[plain]]
line = 8
words = ["二、任务"]
kind = "heading"

[[clause]]
line = 10
words = "到2015年，煤矿达标率 100%"
capabilities = ["B4"]
targets = ["C01"]
indicators = ["rate", "count"]
state = "built"
is = "有台账。"
registers = ["standardization"]

[[clause]]
line = 12
words = "加强乡（镇；街道）安全巡查，完善巡查制度，配齐人员、车辆和装备，逐级落实责任，每周安排，每月汇总。"
capabilities = ["C7"]
targets = ["T01"]
state = "partly"
is = "有页面，没有汇总。"
see = ["web/src/areas/home"]

[[clause]]
line = 14
words = "建立举报制度。"
capabilities = ["C4"]
state = "not_built"
is = "没有。"

[[unnamed]]
capability = "F8"
because = "原文没有直接说"
"#;

    fn breaches_of(text: &str, coverage: &str, readme: &str) -> Vec<String> {
        let (breaches, _) = super::check(&Source {
            text,
            coverage,
            capabilities: SAMPLE_CAPABILITIES,
            readme,
            plan: SAMPLE_PLAN,
            indicators: SAMPLE_INDICATORS,
            registers: BTreeSet::from(["standardization".to_owned()]),
            exists: &|path| path == "web/src/areas/home",
        });
        breaches
    }

    /// With `from` of the sample replaced by `to`, the breaches are these, each known by where it is and a part of its words.
    #[track_caller]
    fn check(from: &str, to: &str, expected: &[(&str, &str)]) {
        assert_eq!(SAMPLE.matches(from).count(), 1, "{from:?} must stand in the sample once");
        let breaches = breaches_of(SAMPLE_TEXT, &SAMPLE.replacen(from, to, 1), SAMPLE_README);
        assert_eq!(breaches.len(), expected.len(), "{breaches:#?}");
        for (breach, (place, part)) in breaches.iter().zip(expected) {
            assert!(breach.starts_with(place) && breach.contains(part), "{breach:?} is not {place:?} … {part:?}");
        }
    }

    #[test]
    fn the_sample_is_sound() {
        assert_eq!(breaches_of(SAMPLE_TEXT, SAMPLE, SAMPLE_README), [""; 0]);
    }

    #[test]
    fn the_text_is_cut_at_ends_outside_of_quotes_and_brackets_and_joined_across_pages() {
        let (sentences, unbalanced) = cut(SAMPLE_TEXT);
        let seen: Vec<_> = sentences.iter().map(|s| (s.line, s.words.as_str())).collect();
        assert_eq!(
            seen,
            [
                (2, "某市安全生产规划"),
                (4, "一、回顾"),
                (6, "2010年，全市死亡161人。"),
                (6, "建立了“一岗双责。”制度；"),
                (8, "二、任务"),
                (10, "到2015年，煤矿达标率 100%"),
                (12, "加强乡（镇；街道）安全巡查，完善巡查制度，配齐人员、车辆和装备，逐级落实责任，每周安排，每月汇总。"),
                (14, "建立举报制度。"),
            ]
        );
        assert_eq!(unbalanced, [0; 0]);
        assert_eq!(cut("规划（草案\n第二行。").1, [1]);
    }

    #[test]
    fn a_sentence_in_no_entry_is_named_by_its_line() {
        let dropped =
            "\n[[clause]]\nline = 14\nwords = \"建立举报制度。\"\ncapabilities = [\"C4\"]\nstate = \"not_built\"\nis = \"没有。\"\n";
        check(
            dropped,
            "",
            &[
                ("docs/plan/yuxi-12th.zh.txt:14:", "in no entry of docs/plan/coverage.toml: “建立举报制度。”"),
                ("docs/plan/coverage.toml:", "no clause names capability C4"),
                ("docs/plan/README.md:", "8 sentences: 2 clauses (1 built, 1 partly, 0 not built), 5 plain"),
            ],
        );
        check(
            r#"words = ["2010年，全市死亡161人。", "建立了“一岗双责。”制度；"]"#,
            r#"words = ["2010年，全市死亡161人。"]"#,
            &[("docs/plan/yuxi-12th.zh.txt:6:", "“建立了“一岗双责。”制度；”"), ("docs/plan/README.md:", "4 plain")],
        );
    }

    #[test]
    fn a_sentence_in_two_entries_is_told_with_both_places() {
        let twice = "words = [\"二、任务\"]\nkind = \"heading\"\n";
        check(
            twice,
            &format!("{twice}\n[[plain]]\nline = 8\n{twice}"),
            &[
                ("docs/plan/coverage.toml:19:", "“二、任务” (line 8 of the plan) is already at docs/plan/coverage.toml:14"),
                ("docs/plan/README.md:", "6 plain"),
            ],
        );
        // Twice in one entry: what follows is not what the entry says.
        check(
            r#"["某市安全生产规划", "一、回顾"]"#,
            r#"["某市安全生产规划", "某市安全生产规划", "一、回顾"]"#,
            &[("docs/plan/coverage.toml:2:", "there it reads “一、回顾”"), ("docs/plan/yuxi-12th.zh.txt:4:", "一、回顾")],
        );
    }

    #[test]
    fn words_that_differ_are_told_with_what_the_plan_says() {
        check(
            "words = \"建立举报制度。\"",
            "words = \"建立举报制度\"",
            &[("docs/plan/coverage.toml:38:", "there it reads “建立举报制度。”"), ("docs/plan/yuxi-12th.zh.txt:14:", "建立举报制度。")],
        );
    }

    #[test]
    fn of_several_sentences_in_a_line_the_nearest_is_shown() {
        check(
            "\"建立了“一岗双责。”制度；\"",
            "\"建立了制度；\"",
            &[("docs/plan/coverage.toml:7:", "there it reads “建立了“一岗双责。”制度；”"), ("docs/plan/yuxi-12th.zh.txt:6:", "一岗双责")],
        );
    }

    #[test]
    fn a_sentence_is_looked_for_in_its_line_alone() {
        check(
            "line = 10",
            "line = 11",
            &[("docs/plan/coverage.toml:19:", "no sentence begins in line 11"), ("docs/plan/yuxi-12th.zh.txt:10:", "到2015年")],
        );
    }

    #[test]
    fn what_is_named_exists() {
        check(
            r#"capabilities = ["C7"]"#,
            r#"capabilities = ["C7", "C9"]"#,
            &[("docs/plan/coverage.toml:29:", "no capability is called C9")],
        );
        check(r#"capabilities = ["C7"]"#, r#"capabilities = ["C7", "C7"]"#, &[("docs/plan/coverage.toml:29:", "C7 is named twice")]);
        check(r#"targets = ["T01"]"#, r#"targets = ["T01", "T09"]"#, &[("docs/plan/coverage.toml:29:", "no target is called T09")]);
        check(
            r#"targets = ["T01"]"#,
            "targets = [\"T01\"]\nalso = [\"T09\"]",
            &[("docs/plan/coverage.toml:29:", "no target is called T09")],
        );
        check(r#"["rate", "count"]"#, r#"["rate", "count", "sum"]"#, &[("docs/plan/coverage.toml:19:", "no indicator is called sum")]);
        check(r#"["standardization"]"#, r#"["grading"]"#, &[("docs/plan/coverage.toml:19:", "no register is called grading")]);
        check("web/src/areas/home", "web/src/areas/away", &[("docs/plan/coverage.toml:29:", "web/src/areas/away is not in the tree")]);
        check("web/src/areas/home", "../web/src/areas/home", &[("docs/plan/coverage.toml:29:", "is not in the tree")]);
    }

    #[test]
    fn every_target_is_named_where_its_words_stand() {
        check(
            "targets = [\"T01\"]\n",
            "",
            &[
                ("docs/plan/coverage.toml:29:", "the words of target T01 stand in it"),
                ("docs/plan/coverage.toml:29:", "no target carries 每月"),
                ("docs/plan/coverage.toml:", "no clause names target T01"),
            ],
        );
        check(
            r#"capabilities = ["C4"]"#,
            "capabilities = [\"C4\"]\ntargets = [\"T01\"]",
            &[("docs/plan/coverage.toml:38:", "the words of target T01 do not stand in it")],
        );
        check(r#"["rate", "count"]"#, r#"["rate"]"#, &[("docs/plan/coverage.toml:19:", "told by the indicator count")]);
    }

    #[test]
    fn a_number_or_date_in_a_plain_sentence_is_named_and_explained() {
        check("because = \"已做的事\"\n", "", &[("docs/plan/coverage.toml:7:", "it has 建立, 2010年, 161: say why in `because`")]);
        check("because = \"已做的事\"\n", "because = \" \"\n", &[("docs/plan/coverage.toml:7:", "say why in `because`")]);
        check(
            "numbers = [\"2010年\", \"161\"]\n",
            "numbers = [\"161\"]\n",
            &[("docs/plan/coverage.toml:7:", "the numbers and dates [\"2010年\", \"161\"]")],
        );
    }

    #[test]
    fn a_duty_is_not_passed_off_as_plain() {
        let clause = "[[clause]]\nline = 14\nwords = \"建立举报制度。\"\ncapabilities = [\"C4\"]\nstate = \"not_built\"\nis = \"没有。\"\n";
        let plain = |kind: &str| format!("[[plain]]\nline = 14\nwords = [\"建立举报制度。\"]\nkind = \"{kind}\"\n");
        let c4 = ("docs/plan/coverage.toml:", "no clause names capability C4");
        let readme = ("docs/plan/README.md:", "6 plain");
        check(clause, &plain("purpose"), &[("docs/plan/coverage.toml:38:", "it has 建立: say why in `because`"), c4, readme]);
        check(clause, &plain("heading"), &[("docs/plan/coverage.toml:38:", "line 14 of the plan is no heading"), c4, readme]);
    }

    #[test]
    fn a_number_in_a_clause_has_a_target_or_a_reason() {
        let target = "targets = [\"C01\"]\nindicators = [\"rate\", \"count\"]\n";
        check(target, &format!("{target}no_target = \"无\"\n"), &[("docs/plan/coverage.toml:19:", "there is nothing to say")]);
        let text = SAMPLE_TEXT.replace("建立举报制度。", "采用“5S”管理。");
        let coverage = SAMPLE.replace("建立举报制度。", "采用“5S”管理。");
        let breaches = breaches_of(&text, &coverage, SAMPLE_README);
        assert!(matches!(&breaches[..], [one] if one.contains("no target carries 5")), "{breaches:?}");
        let said = coverage.replace("capabilities = [\"C4\"]", "capabilities = [\"C4\"]\nno_target = \"管理方法的名称\"");
        assert_eq!(breaches_of(&text, &said, SAMPLE_README), [""; 0]);
    }

    #[test]
    fn state_and_evidence_agree() {
        check("registers = [\"standardization\"]\n", "", &[("docs/plan/coverage.toml:19:", "names no register and nothing to see")]);
        check(
            "is = \"没有。\"",
            "is = \"没有。\"\nregisters = [\"standardization\"]",
            &[("docs/plan/coverage.toml:38:", "not built and yet names what is there")],
        );
        check("is = \"没有。\"", "is = \"\"", &[("docs/plan/coverage.toml:38:", "does not say what is there")]);
    }

    #[test]
    fn a_capability_that_no_clause_names_needs_a_reason() {
        check(
            "\n[[unnamed]]\ncapability = \"F8\"\nbecause = \"原文没有直接说\"\n",
            "",
            &[("docs/plan/coverage.toml:", "no clause names capability F8")],
        );
        check(
            "capability = \"F8\"",
            "capability = \"C7\"",
            &[("docs/plan/coverage.toml:45:", "C7 is named by a clause"), ("docs/plan/coverage.toml:", "F8")],
        );
        check("原文没有直接说", "", &[("docs/plan/coverage.toml:45:", "say why no clause names it")]);
    }

    #[test]
    fn an_unknown_key_or_state_is_told_with_its_line() {
        check("state = \"partly\"", "state = \"almost\"", &[("docs/plan/coverage.toml: TOML parse error at line 34", "almost")]);
        check("see = [", "where = [", &[("docs/plan/coverage.toml: TOML parse error at line", "where")]);
    }

    #[test]
    fn signs_are_duties_and_digits_and_not_the_number_of_a_paragraph() {
        let seen = |words| {
            let Signs { duties, numbers } = signs(words);
            (duties, numbers.join(" "))
        };
        assert_eq!(seen("3.主要问题较多，重要性认识不够"), (vec![], String::new()));
        assert_eq!(seen("各部门要尽责"), (vec!["要"], String::new()));
        assert_eq!(seen("3户企业投入 20 年以上，到 2013 年底前下降 0.5%，逐年如此"), (vec![], "3 20年 2013年 0.5% 逐年".to_owned()));
    }
}
