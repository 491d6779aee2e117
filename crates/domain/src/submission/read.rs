//! `submission.toml` as a pack writes it, and what is checked before it is believed.

use std::collections::{BTreeMap, BTreeSet};

use anlan_model::{NodeLevel, Timestamp};
use jiff::civil::Date;
use serde::Deserialize;
use toml::Spanned;

use super::source::Type;
use super::{
    As, Batch, Breach, Call, Codes, Constant, Field, Filling, Format, From, Object, Of, Part, Place, Submission, Template, Transport, Turn,
    UnitOf, Verdict, render, unit,
};
use crate::pack::{CONFIDENCES, is_word, line_of};
use crate::register::{Field as RegisterField, FieldType, Kind, Owner};

/// Objects of a submission; more are taken for a mistake.
const OBJECTS_MAX: usize = 50;
/// Fields of an object.
const FIELDS_MAX: usize = 300;
/// Words of a table of codes.
const CODES_MAX: usize = 5_000;
/// Things in one text.
const BATCH_MAX: u32 = 1_000;
/// The longest that one waits for others.
const WAIT_MAX_S: u32 = 86_400;
/// Digits behind the point.
const DIGITS_MAX: usize = 9;
/// Digits of a count of files.
const SEQ_DIGITS_MAX: usize = 12;
/// Between two looks at newest readings, where a pack does not say; and the least.
const LATEST_EVERY_S: u32 = 60;
const LATEST_EVERY_MIN_S: u32 = 10;
/// Characters of a template, a name of a member, a heading.
const TEXT_CHARS: usize = 500;
/// Beijing time.
pub(super) const BEIJING_S: i32 = 8 * 3_600;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    id: Spanned<String>,
    version: Spanned<String>,
    name: String,
    name_en: String,
    platform: String,
    platform_en: String,
    #[serde(default)]
    document: String,
    #[serde(default)]
    clause: String,
    #[serde(default)]
    effective: Option<Spanned<String>>,
    confidence: Spanned<String>,
    #[serde(default)]
    note: String,
    level: Spanned<String>,
    #[serde(default)]
    call: Option<Spanned<RawCall>>,
    #[serde(default)]
    file: Option<Spanned<RawFile>>,
    #[serde(default)]
    json: Option<Spanned<RawJson>>,
    #[serde(default)]
    csv: Option<Spanned<RawCsv>>,
    #[serde(default)]
    batch: Option<Spanned<RawBatch>>,
    object: Vec<RawObject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCall {
    method: Spanned<String>,
    path: Spanned<String>,
    #[serde(default)]
    header: Vec<RawHeader>,
    accepted: Spanned<RawVerdict>,
    #[serde(default)]
    refused: Option<Spanned<RawVerdict>>,
    #[serde(default)]
    says: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeader {
    name: Spanned<String>,
    value: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVerdict {
    status: Vec<u16>,
    #[serde(default)]
    json: Option<String>,
    #[serde(default)]
    is: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    name: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawJson {
    #[serde(default)]
    absent: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCsv {
    #[serde(default)]
    separator: Option<Spanned<String>>,
    #[serde(default)]
    line_end: Option<Spanned<String>>,
    #[serde(default)]
    bom: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBatch {
    #[serde(default)]
    max: Option<Spanned<u32>>,
    #[serde(default)]
    every_s: Option<Spanned<u32>>,
    #[serde(default)]
    list: Option<Spanned<String>>,
    #[serde(default)]
    constant: Vec<RawConstant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConstant {
    to: Spanned<String>,
    is: RawScalar,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text, a whole number, true or false; write a number with a fraction as text")]
enum RawScalar {
    Text(String),
    Integer(i64),
    Boolean(bool),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObject {
    id: Spanned<String>,
    of: Spanned<String>,
    #[serde(default)]
    register: Option<Spanned<String>>,
    #[serde(default)]
    states: Vec<String>,
    #[serde(default)]
    every_s: Option<Spanned<u32>>,
    key: Spanned<String>,
    #[serde(default)]
    only: Vec<Spanned<RawOnly>>,
    /// Each read by itself: what is wrong with one is told at its own line.
    field: Vec<Spanned<toml::Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOnly {
    source: String,
    #[serde(rename = "in")]
    words: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawField {
    to: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    constant: Option<RawScalar>,
    #[serde(rename = "type", default)]
    type_: Option<String>,
    #[serde(default)]
    max: Option<usize>,
    #[serde(default)]
    longer: Option<String>,
    #[serde(default)]
    digits: Option<usize>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    zone: Option<String>,
    #[serde(default)]
    yes: Option<String>,
    #[serde(default)]
    no: Option<String>,
    #[serde(default)]
    codes: Option<BTreeMap<String, String>>,
    #[serde(default)]
    other: Option<RawOther>,
    #[serde(default)]
    unit: Option<RawUnit>,
    #[serde(default)]
    required: bool,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "\"refuse\", or { code = \"…\" }")]
enum RawOther {
    Word(String),
    Code(RawCode),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCode {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUnit {
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    is: Option<String>,
    to: String,
}

/// What is wrong so far.
struct Reading<'a> {
    text: &'a str,
    breaches: Vec<Breach>,
}

impl Reading<'_> {
    fn line(&self, at: usize) -> usize {
        line_of(self.text, at)
    }
    fn tell(&mut self, line: usize, field: impl Into<String>, reason: impl Into<String>) {
        self.breaches.push(Breach { line, field: field.into(), reason: reason.into() });
    }
    fn tell_at<T>(&mut self, at: &Spanned<T>, field: impl Into<String>, reason: impl Into<String>) {
        let line = self.line(at.span().start);
        self.tell(line, field, reason);
    }
}

impl Submission {
    /// Reads a `submission.toml`.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its line; of what is no TOML or has unknown keys, the first alone.
    pub fn parse(text: &str) -> Result<Self, Vec<Breach>> {
        let mut reading = Reading { text, breaches: Vec::new() };
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| line_of(text, span.start));
            vec![Breach { line, field: String::new(), reason: error.message().to_owned() }]
        })?;
        let submission = file.read(&mut reading);
        match submission {
            Some(submission) if reading.breaches.is_empty() => Ok(submission),
            _ => Err(reading.breaches),
        }
    }
}

impl File {
    fn read(self, r: &mut Reading<'_>) -> Option<Submission> {
        if !is_word(self.id.as_ref(), '-') {
            r.tell_at(&self.id, "id", "is no word: a-z, 0-9 and -, beginning with a letter, at most 40");
        }
        if self.version.as_ref().is_empty() || self.version.as_ref().chars().count() > 40 {
            r.tell_at(&self.version, "version", "has 1 to 40 characters");
        }
        if !CONFIDENCES.contains(&self.confidence.as_ref().as_str()) {
            r.tell_at(&self.confidence, "confidence", "is not verified, verified-secondary, product or unverified");
        }
        if self.document.is_empty() && self.confidence.as_ref() != "unverified" {
            r.tell_at(&self.confidence, "confidence", "without a document it is unverified; name the document in `document`");
        }
        let effective = match &self.effective {
            Some(day) if day.as_ref().parse::<Date>().is_err() => {
                r.tell_at(day, "effective", "is no date; write it as 2026-05-01");
                String::new()
            }
            Some(day) => day.as_ref().clone(),
            None => String::new(),
        };
        let level = NodeLevel::parse(self.level.as_ref()).filter(|level| *level >= NodeLevel::County);
        if level.is_none() {
            r.tell_at(&self.level, "level", "is not county, city or province: the level of the platform");
        }
        let format = match (&self.json, &self.csv) {
            (Some(json), None) => read_json(json.as_ref(), r),
            (None, Some(csv)) => read_csv(csv.as_ref(), r),
            _ => {
                r.tell(0, "json", "say one of [json] and [csv]: as what it goes out");
                None
            }
        };
        let batch = read_batch(self.batch, format.as_ref(), r);
        let n_objects = self.object.len();
        let transport = match (self.call, self.file) {
            (Some(call), None) => read_call(call.into_inner(), &batch, r).map(Transport::Call),
            (None, Some(file)) => read_file(&file.as_ref().name, &batch, n_objects, r).map(|name| Transport::File { name }),
            _ => {
                r.tell(0, "call", "say one of [call] and [file]: how it goes");
                None
            }
        };
        if self.object.is_empty() || n_objects > OBJECTS_MAX {
            r.tell(0, "object", format!("there are 1 to {OBJECTS_MAX} of them"));
        }
        let is_json = matches!(format, Some(Format::Json { .. }));
        let (mut objects, mut ids) = (Vec::new(), BTreeSet::new());
        for object in self.object {
            if !ids.insert(object.id.as_ref().clone()) {
                r.tell_at(&object.id, "object.id", format!("{:?} is there twice", object.id.as_ref()));
            }
            objects.extend(object.read(is_json, r));
        }
        Some(Submission {
            id: self.id.into_inner(),
            version: self.version.into_inner(),
            name: self.name,
            name_en: self.name_en,
            platform: self.platform,
            platform_en: self.platform_en,
            document: self.document,
            clause: self.clause,
            effective,
            confidence: self.confidence.into_inner(),
            note: self.note,
            level: level?,
            transport: transport?,
            format: format?,
            batch,
            objects,
            text: r.text.to_owned(),
        })
    }
}

fn read_json(json: &RawJson, r: &mut Reading<'_>) -> Option<Format> {
    let omits = match json.absent.as_ref().map(|word| word.as_ref().as_str()) {
        None | Some("omit") => true,
        Some("null") => false,
        Some(_) => {
            json.absent.iter().for_each(|word| r.tell_at(word, "json.absent", "is not omit or null"));
            return None;
        }
    };
    Some(Format::Json { omits })
}

fn read_csv(csv: &RawCsv, r: &mut Reading<'_>) -> Option<Format> {
    let separator = match &csv.separator {
        None => Some(','),
        Some(text) => {
            let one = Some(text.as_ref()).filter(|text| text.chars().count() == 1).and_then(|text| text.chars().next());
            let one = one.filter(|c| [',', ';', '\t', '|'].contains(c));
            if one.is_none() {
                r.tell_at(text, "csv.separator", "is not one of , ; | and the tab");
            }
            one
        }
    };
    let crlf = match csv.line_end.as_ref().map(|word| word.as_ref().as_str()) {
        None | Some("crlf") => true,
        Some("lf") => false,
        Some(_) => {
            csv.line_end.iter().for_each(|word| r.tell_at(word, "csv.line_end", "is not crlf or lf"));
            return None;
        }
    };
    Some(Format::Csv { separator: separator?, crlf, bom: csv.bom })
}

fn read_batch(batch: Option<Spanned<RawBatch>>, format: Option<&Format>, r: &mut Reading<'_>) -> Batch {
    let Some(batch) = batch else { return Batch { max: 1, every_s: 0, list: None, constants: Vec::new() } };
    let batch = batch.into_inner();
    let max = batch.max.as_ref().map_or(1, |max| *max.as_ref());
    if let Some(told) = batch.max.as_ref().filter(|_| !(1..=BATCH_MAX).contains(&max)) {
        r.tell_at(told, "batch.max", format!("is not 1 to {BATCH_MAX}"));
    }
    let every_s = batch.every_s.as_ref().map_or(0, |s| *s.as_ref());
    if let Some(told) = batch.every_s.as_ref().filter(|_| every_s > WAIT_MAX_S) {
        r.tell_at(told, "batch.every_s", format!("is more than {WAIT_MAX_S}"));
    }
    let is_json = matches!(format, Some(Format::Json { .. }));
    let list = batch.list.map(|list| {
        if !is_json {
            r.tell_at(&list, "batch.list", "is a member of JSON; CSV has none");
        }
        if !is_member(list.as_ref()) {
            r.tell_at(&list, "batch.list", "is no name of a member");
        }
        list.into_inner()
    });
    let mut constants = Vec::new();
    for constant in batch.constant {
        if list.is_none() {
            r.tell_at(&constant.to, "batch.constant", "stands beside the list: name its member in `list`");
        }
        let is_free = is_member(constant.to.as_ref())
            && Some(constant.to.as_ref()) != list.as_ref()
            && !constants.iter().any(|(to, _)| to == constant.to.as_ref());
        if !is_free {
            r.tell_at(&constant.to, "batch.constant.to", "is no name of a member, or is there twice");
        }
        constants.push((constant.to.into_inner(), constant.is.read()));
    }
    Batch { max, every_s, list, constants }
}

fn is_member(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= TEXT_CHARS && !name.contains('.') && !name.chars().any(char::is_control)
}

impl RawScalar {
    fn read(self) -> Constant {
        match self {
            Self::Text(text) => Constant::Text(text),
            Self::Integer(n) => Constant::Integer(n),
            Self::Boolean(is) => Constant::Boolean(is),
        }
    }
}

fn read_call(call: RawCall, batch: &Batch, r: &mut Reading<'_>) -> Option<Call> {
    let put = match call.method.as_ref().as_str() {
        "POST" => false,
        "PUT" => true,
        _ => {
            r.tell_at(&call.method, "call.method", "is not POST or PUT");
            false
        }
    };
    let path = read_template(&call.path, "call.path", r);
    if let Some(path) = &path {
        if !call.path.as_ref().starts_with('/') {
            r.tell_at(&call.path, "call.path", "begins with /: it stands behind the address of the target");
        }
        if !call.path.as_ref().chars().all(|c| c.is_ascii_graphic()) {
            r.tell_at(&call.path, "call.path", "has printable ASCII alone; write other characters as %XX");
        }
        if path.has(|place| matches!(place, Place::Secret | Place::Seq(_))) {
            r.tell_at(&call.path, "call.path", "takes no {secret}, which would stand in logs of others, and no {seq}");
        }
        one_alone(path, batch, &call.path, "call.path", r);
    }
    let mut headers = Vec::new();
    for RawHeader { name, value } in call.header {
        let is_token = !name.as_ref().is_empty() && name.as_ref().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        if !is_token {
            r.tell_at(&name, "call.header.name", "is no name of a header: letters, digits, - and _");
        }
        if ["content-length", "host", "transfer-encoding", "connection"].contains(&name.as_ref().to_ascii_lowercase().as_str()) {
            r.tell_at(&name, "call.header.name", "is set by the program itself");
        }
        if !value.as_ref().chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            r.tell_at(&value, "call.header.value", "has printable ASCII alone");
        }
        if let Some(template) = read_template(&value, "call.header.value", r) {
            one_alone(&template, batch, &value, "call.header.value", r);
            if template.has(|place| matches!(place, Place::Seq(_))) {
                r.tell_at(&value, "call.header.value", "takes no {seq}: that counts files");
            }
            headers.push((name.into_inner(), template));
        }
    }
    let says = call.says.map(|path| {
        if path.as_ref().is_empty() {
            r.tell_at(&path, "call.says", "is empty; leave it out");
        }
        path.into_inner()
    });
    let accepted = read_verdict(&call.accepted, "call.accepted", r);
    let refused = call.refused.as_ref().map(|verdict| read_verdict(verdict, "call.refused", r));
    // What is wrong with the caller, the way or the hour says nothing of the thing: all of them would be put aside.
    let of_others = |status: &u16| [401, 403, 407, 408, 429].contains(status) || *status >= 500;
    if refused.as_ref().is_some_and(|refused| refused.status.iter().any(of_others)) {
        call.refused.iter().for_each(|told| {
            r.tell_at(told, "call.refused", "status: 401, 403, 407, 408, 429 and 5xx say nothing of the thing; they are failures")
        });
    }
    if refused.as_ref().is_some_and(|refused| *refused == accepted) {
        call.refused.iter().for_each(|told| r.tell_at(told, "call.refused", "is the same as call.accepted"));
    }
    Some(Call { put, path: path?, headers, accepted, refused, says })
}

fn read_verdict(verdict: &Spanned<RawVerdict>, field: &str, r: &mut Reading<'_>) -> Verdict {
    let raw = verdict.as_ref();
    if raw.status.is_empty() || raw.status.iter().any(|status| !(200..600).contains(status)) {
        r.tell_at(verdict, field, "status: name at least one, 200 to 599");
    }
    let json = match &raw.json {
        Some(path) if !path.is_empty() && !raw.is.is_empty() => Some((path.clone(), raw.is.clone())),
        None if raw.is.is_empty() => None,
        _ => {
            r.tell_at(verdict, field, "json and is belong together: a path in the answer, and the words one of which must stand there");
            None
        }
    };
    Verdict { status: raw.status.clone(), json }
}

fn read_file(name: &Spanned<String>, batch: &Batch, n_objects: usize, r: &mut Reading<'_>) -> Option<Template> {
    let template = read_template(name, "file.name", r)?;
    one_alone(&template, batch, name, "file.name", r);
    if template.has(|place| matches!(place, Place::Secret)) {
        r.tell_at(name, "file.name", "takes no {secret}");
    }
    let by_key = template.has(|place| matches!(place, Place::Key));
    if !template.counts() && !by_key && !template.has(|place| matches!(place, Place::Idempotency)) {
        r.tell_at(name, "file.name", "needs {seq}, {idempotency} or, with batch.max = 1, {key}: one file must not replace another");
    }
    if by_key && !template.counts() && n_objects > 1 && !template.has(|place| matches!(place, Place::Object)) {
        r.tell_at(name, "file.name", "needs {object}: things of two objects may have the same key");
    }
    let sample = Filling { object: "x", key: "x", seq: 1, idempotency: "x", secret: "", now: Timestamp::EPOCH };
    let filled = fill_sample(&template, &sample);
    if filled.contains(['/', '\\', '\0']) || filled.starts_with('.') || filled.is_empty() || filled.len() > 200 {
        r.tell_at(name, "file.name", "is no name of a file: 1 to 200 bytes without / and \\, not beginning with a dot");
    }
    Some(template)
}

fn fill_sample(template: &Template, filling: &Filling<'_>) -> String {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Place(Place::Now(pattern)) => render::stamp(filling.now, pattern, BEIJING_S).unwrap_or_default(),
        Part::Place(Place::Seq(digits)) => format!("{:0digits$}", filling.seq),
        Part::Place(_) => "x".to_owned(),
    };
    template.0.iter().map(part).collect()
}

fn one_alone(template: &Template, batch: &Batch, at: &Spanned<String>, field: &str, r: &mut Reading<'_>) {
    if batch.max != 1 && template.has(|place| matches!(place, Place::Key)) {
        r.tell_at(at, field, "takes {key} with batch.max = 1 alone: several things have several keys");
    }
}

fn read_template(text: &Spanned<String>, field: &str, r: &mut Reading<'_>) -> Option<Template> {
    match template(text.as_ref()) {
        Ok(template) => Some(template),
        Err(reason) => {
            r.tell_at(text, field, reason);
            None
        }
    }
}

fn template(text: &str) -> Result<Template, String> {
    if text.chars().count() > TEXT_CHARS {
        return Err(format!("is longer than {TEXT_CHARS} characters"));
    }
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some(open) = rest.find(['{', '}']) {
        if rest[open..].starts_with('}') {
            return Err("has a } without its {".to_owned());
        }
        if open > 0 {
            parts.push(Part::Text(rest[..open].to_owned()));
        }
        let inner = &rest[open + 1..];
        let close = inner.find('}').ok_or_else(|| "has a { without its }".to_owned())?;
        let (word, argument) = inner[..close].split_once(':').map_or((&inner[..close], None), |(word, argument)| (word, Some(argument)));
        let place = match (word, argument) {
            ("submission", None) => Place::Submission,
            ("version", None) => Place::Version,
            ("object", None) => Place::Object,
            ("key", None) => Place::Key,
            ("idempotency", None) => Place::Idempotency,
            ("secret", None) => Place::Secret,
            ("seq", None) => Place::Seq(1),
            ("seq", Some(digits)) => {
                let digits = digits.parse().ok().filter(|digits| (1..=SEQ_DIGITS_MAX).contains(digits));
                Place::Seq(digits.ok_or_else(|| format!("{{seq:DIGITS}} takes 1 to {SEQ_DIGITS_MAX}"))?)
            }
            ("now", Some(pattern)) if is_pattern(pattern) => Place::Now(pattern.to_owned()),
            ("now", _) => return Err("{now:PATTERN} takes a pattern such as %Y%m%d%H%M%S".to_owned()),
            _ => {
                return Err(format!(
                    "{{{word}}} is not one of {{submission}}, {{version}}, {{object}}, {{key}}, {{seq}}, {{seq:DIGITS}}, {{idempotency}}, {{secret}}, {{now:PATTERN}}"
                ));
            }
        };
        parts.push(Part::Place(place));
        rest = &inner[close + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(Template(parts))
}

fn is_pattern(pattern: &str) -> bool {
    !pattern.is_empty() && render::stamp(Timestamp::EPOCH, pattern, BEIJING_S).is_some_and(|text| !text.is_empty())
}

impl RawObject {
    fn read(self, is_json: bool, r: &mut Reading<'_>) -> Option<Object> {
        let line = r.line(self.id.span().start);
        let id = self.id.as_ref().clone();
        if !is_word(&id, '_') {
            r.tell_at(&self.id, "object.id", "is no word: a-z, 0-9 and _, beginning with a letter, at most 40");
        }
        let Some(of) = Of::parse(self.of.as_ref()) else {
            let known = Of::ALL.map(Of::as_str).join(", ");
            r.tell_at(&self.of, format!("object.{id}.of"), format!("is not one of {known}"));
            return None;
        };
        let register = match (of, self.register) {
            (Of::Record, Some(register)) => Some((register.into_inner(), self.states)),
            (Of::Record, None) => {
                r.tell_at(&self.of, format!("object.{id}.register"), "is missing: records of which register");
                None
            }
            (_, Some(register)) => {
                r.tell_at(&register, format!("object.{id}.register"), "is of records alone");
                None
            }
            (_, None) => {
                if !self.states.is_empty() {
                    r.tell(line, format!("object.{id}.states"), "are of records alone");
                }
                None
            }
        };
        let every_s = self.every_s.as_ref().map_or(LATEST_EVERY_S, |s| *s.as_ref());
        if let Some(told) = &self.every_s {
            if of != Of::Latest {
                r.tell_at(told, format!("object.{id}.every_s"), "is of newest readings alone; everything else goes when it changes");
            } else if !(LATEST_EVERY_MIN_S..=WAIT_MAX_S).contains(&every_s) {
                r.tell_at(told, format!("object.{id}.every_s"), format!("is not {LATEST_EVERY_MIN_S} to {WAIT_MAX_S}"));
            }
        }
        if !is_known(of, self.key.as_ref()) {
            r.tell_at(&self.key, format!("object.{id}.key"), unknown_source(of, self.key.as_ref()));
        }
        let mut only = Vec::new();
        for told in &self.only {
            let RawOnly { source, words } = told.as_ref();
            if !is_known(of, source) {
                r.tell_at(told, format!("object.{id}.only"), unknown_source(of, source));
            }
            if words.is_empty() {
                r.tell_at(told, format!("object.{id}.only"), "names no word");
            }
            only.push((source.clone(), words.clone()));
        }
        if self.field.is_empty() || self.field.len() > FIELDS_MAX {
            r.tell(line, format!("object.{id}.field"), format!("there are 1 to {FIELDS_MAX} of them"));
        }
        let mut fields: Vec<Field> = Vec::new();
        for told in self.field {
            let line = r.line(told.span().start);
            let raw: RawField = match told.into_inner().try_into() {
                Ok(raw) => raw,
                Err(error) => {
                    r.tell(line, format!("object.{id}.field"), error.message().to_owned());
                    continue;
                }
            };
            let Some(field) = raw.read(of, &id, line, r) else { continue };
            let path = format!("object.{id}.field.{}", field.to);
            if is_json {
                if field.to.split('.').any(|part| !is_member(part)) {
                    r.tell(line, &path, "to: is no path of members, such as alarm.code");
                }
                let holds = |one: &str, other: &str| one == other || other.starts_with(&format!("{one}."));
                if let Some(other) = fields.iter().find(|f| holds(&f.to, &field.to) || holds(&field.to, &f.to)) {
                    r.tell(line, &path, format!("to: {:?} is a value there already", other.to));
                }
            } else if field.to.is_empty() || field.to.chars().any(char::is_control) || field.to.chars().count() > TEXT_CHARS {
                r.tell(line, &path, "to: is no heading");
            } else if fields.iter().any(|f| f.to == field.to) {
                r.tell(line, &path, "to: is there twice");
            }
            fields.push(field);
        }
        Some(Object { id, of, register, every_s, key: self.key.into_inner(), only, fields, line })
    }
}

fn is_known(of: Of, path: &str) -> bool {
    of.source(path).is_some()
}

fn unknown_source(of: Of, path: &str) -> String {
    format!("there is no {path:?} in a thing of {:?}; there are {}", of.as_str(), of.paths().join(", "))
}

impl RawField {
    fn read(self, of: Of, object: &str, line: usize, r: &mut Reading<'_>) -> Option<Field> {
        let path = format!("object.{object}.field.{}", self.to);
        let before = r.breaches.len();
        let mut tell = |reason: String| r.breaches.push(Breach { line, field: path.clone(), reason });
        let from = match (self.from, self.constant) {
            (Some(source), None) => From::Source(source),
            (None, Some(constant)) => From::Constant(constant.read()),
            _ => {
                tell("say one of from (a path of ours) and constant".to_owned());
                return None;
            }
        };
        let source = match &from {
            From::Source(source) => match of.source(source) {
                Some(source) => Some(source),
                None => {
                    tell(unknown_source(of, source));
                    return None;
                }
            },
            From::Constant(_) => None,
        };
        let coded = self.codes.is_some();
        let offset_s = match &self.zone {
            None => BEIJING_S,
            Some(zone) => offset(zone).unwrap_or_else(|| {
                tell(format!("zone: {zone:?} is not Z or an offset such as +08:00"));
                BEIJING_S
            }),
        };
        let pattern = |tell: &mut dyn FnMut(String), epochs: bool| match &self.pattern {
            Some(pattern) if epochs && ["epoch_s", "epoch_ms"].contains(&pattern.as_str()) => pattern.clone(),
            Some(pattern) if is_pattern(pattern) => pattern.clone(),
            Some(pattern) => {
                tell(format!("pattern: {pattern:?} means nothing; write it as %Y-%m-%d %H:%M:%S"));
                String::new()
            }
            None => {
                tell("pattern is missing, such as %Y-%m-%d %H:%M:%S".to_owned());
                String::new()
            }
        };
        let word = self.type_.as_deref();
        let as_ = match (word, &from) {
            (None, From::Constant(_)) => As::Text { max: None, cut: false },
            (Some(_), From::Constant(_)) => {
                tell("type: a constant goes out as it is written".to_owned());
                return None;
            }
            (None, _) => {
                tell("type is missing: text, integer, decimal, time, date, boolean".to_owned());
                return None;
            }
            (Some("text"), _) => {
                let cut = match self.longer.as_deref() {
                    None | Some("refuse") => false,
                    Some("cut") => true,
                    Some(_) => {
                        tell("longer: is not refuse or cut".to_owned());
                        false
                    }
                };
                if self.max == Some(0) {
                    tell("max: is at least 1".to_owned());
                }
                if self.longer.is_some() && self.max.is_none() {
                    tell("longer: than what? say max".to_owned());
                }
                As::Text { max: self.max, cut }
            }
            (Some("integer"), _) => As::Integer,
            (Some("decimal"), _) => match self.digits {
                Some(digits) if digits <= DIGITS_MAX => As::Decimal(digits),
                _ => {
                    tell(format!("digits: how many stand behind the point, 0 to {DIGITS_MAX}"));
                    return None;
                }
            },
            (Some("time"), _) => As::Time { pattern: pattern(&mut tell, true), offset_s },
            (Some("date"), _) => As::Date { pattern: pattern(&mut tell, false), offset_s },
            (Some("boolean"), _) => match (self.yes, self.no) {
                (None, None) => As::Boolean { words: None },
                (Some(yes), Some(no)) => As::Boolean { words: Some((yes, no)) },
                _ => {
                    tell("yes and no belong together".to_owned());
                    return None;
                }
            },
            (Some(other), _) => {
                tell(format!("type: {other:?} is not text, integer, decimal, time, date or boolean"));
                return None;
            }
        };
        let is = |words: &[&str]| word.is_some_and(|word| words.contains(&word));
        let misplaced = [
            ("max", self.max.is_some() && !is(&["text"])),
            ("longer", self.longer.is_some() && !is(&["text"])),
            ("digits", self.digits.is_some() && !is(&["decimal"])),
            ("pattern", self.pattern.is_some() && !is(&["time", "date"])),
            ("zone", self.zone.is_some() && !is(&["time", "date"])),
            ("unit", self.unit.is_some() && !is(&["integer", "decimal"])),
        ];
        misplaced.iter().filter(|(_, wrong)| *wrong).for_each(|(name, _)| tell(format!("{name}: a value of this type has none")));
        let fits = match (&as_, source) {
            (_, None | Some(Type::Field)) | (As::Text { .. }, _) => true,
            _ if coded => true,
            (As::Integer | As::Decimal(_), Some(found)) => matches!(found, Type::Number | Type::Text),
            (As::Time { .. } | As::Date { .. }, Some(found)) => matches!(found, Type::Time | Type::Date),
            (As::Boolean { .. }, Some(found)) => found == Type::Boolean,
        };
        if !fits {
            tell(format!("type: what stands at its source is no {}", word.unwrap_or_default()));
        }
        let codes = match (self.codes, self.other) {
            (Some(map), Some(other)) => {
                if map.is_empty() || map.len() > CODES_MAX {
                    tell(format!("codes: there are 1 to {CODES_MAX} of them"));
                }
                match other {
                    RawOther::Code(RawCode { code }) => Some(Codes { map, other: Some(code) }),
                    RawOther::Word(word) if word == "refuse" => Some(Codes { map, other: None }),
                    RawOther::Word(_) => {
                        tell("other: is not \"refuse\" or { code = \"…\" }".to_owned());
                        None
                    }
                }
            }
            (Some(_), None) => {
                tell("other is missing: what of a word without a code? \"refuse\", or { code = \"…\" }".to_owned());
                None
            }
            (None, Some(_)) => {
                tell("other: there are no codes".to_owned());
                None
            }
            (None, None) => None,
        };
        if matches!(from, From::Constant(_)) && (self.required || codes.is_some() || self.unit.is_some()) {
            tell("a constant has no required, codes or unit".to_owned());
        }
        let unit = self.unit.and_then(|RawUnit { from, is, to }| {
            if !unit::is_known(&to) {
                tell(format!("unit.to: nothing is turned into {to:?}"));
            }
            let from = match (from, is) {
                (Some(source), None) => {
                    if !is_known(of, &source) {
                        tell(format!("unit.from: {}", unknown_source(of, &source)));
                    }
                    UnitOf::Source(source)
                }
                (None, Some(is)) => {
                    if unit::convert(0.0, &is, &to).is_none() {
                        tell(format!("unit.is: {is:?} cannot be turned into {to:?}"));
                    }
                    UnitOf::Is(is)
                }
                _ => {
                    tell("unit: say one of from (a path where our unit stands) and is".to_owned());
                    return None;
                }
            };
            Some(Turn { from, to })
        });
        let is_sound = r.breaches.len() == before;
        is_sound.then_some(Field { to: self.to, from, as_, codes, unit, required: self.required, line })
    }
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i32> {
    if zone == "Z" {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<i32>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

impl Submission {
    /// What speaks against it beside the registers that there are: unknown ones, unknown fields, what goes no further than a lower level.
    pub fn against<'k>(&self, find: impl Fn(&str) -> Option<&'k Kind>) -> Vec<Breach> {
        let mut breaches = Vec::new();
        for object in &self.objects {
            let Some((register, states)) = &object.register else { continue };
            let mut tell = |line, field: String, reason: String| {
                breaches.push(Breach { line, field: format!("object.{}.{field}", object.id), reason })
            };
            let Some(kind) = find(register) else {
                tell(object.line, "register".to_owned(), format!("there is no register {register:?}; switch on the pack that brings it"));
                continue;
            };
            let rules = kind.rules();
            if kind.owner == Owner::Everyone {
                tell(object.line, "register".to_owned(), format!("records of {register:?} are nobody's and go nowhere"));
            } else if !rules.up_to.reaches(self.level) {
                let reason = format!(
                    "records of {register:?} go no further than {:?} (exchange), and the platform is of the level {:?}",
                    rules.up_to.as_str(),
                    self.level.as_str()
                );
                tell(object.line, "register".to_owned(), reason);
            }
            for state in states.iter().filter(|state| kind.state(state).is_none()) {
                tell(object.line, "states".to_owned(), format!("the register {register:?} has no state {state:?}"));
            }
            let of_fields = object.fields.iter().flat_map(|field| {
                let source = match &field.from {
                    From::Source(source) => Some(source),
                    From::Constant(_) => None,
                };
                let unit = match &field.unit {
                    Some(Turn { from: UnitOf::Source(source), .. }) => Some(source),
                    _ => None,
                };
                source
                    .map(|source| (source, Some(field)))
                    .into_iter()
                    .chain(unit.map(|unit| (unit, None)))
                    .map(move |(s, f)| (field.line, field.to.as_str(), s, f))
            });
            let around = std::iter::once((object.line, "key", &object.key, None))
                .chain(object.only.iter().map(|(source, _)| (object.line, "only", source, None)));
            for (line, to, source, field) in around.chain(of_fields) {
                let Some(path) = source.strip_prefix("fields.") else { continue };
                let (id, part) = path.split_once('.').map_or((path, None), |(id, part)| (id, Some(part)));
                let at = if field.is_some() { format!("field.{to}") } else { to.to_owned() };
                let Some(declared) = kind.field(id) else {
                    tell(line, at, format!("the register {register:?} has no field {id:?}"));
                    continue;
                };
                let said = rules.fields.get(id).copied().unwrap_or(rules.up_to);
                let named = match &declared.of {
                    FieldType::Record { of, .. } => {
                        find(of).filter(|of| of.owner != Owner::Everyone).map(|of| of.exchange.unwrap_or_default())
                    }
                    _ => None,
                };
                let most = named.map_or(said, |named| named.min(said));
                if rules.up_to.reaches(self.level) && !most.reaches(self.level) {
                    let reason = format!(
                        "{id:?} goes no further than {:?} (exchange), and the platform is of the level {:?}",
                        most.as_str(),
                        self.level.as_str()
                    );
                    tell(line, at.clone(), reason);
                }
                if let Some(reason) = unfit(declared, part, field) {
                    tell(line, at, format!("{id:?} {reason}"));
                }
            }
        }
        breaches
    }
}

/// Why a register's field cannot go out as this.
fn unfit(declared: &RegisterField, part: Option<&str>, field: Option<&Field>) -> Option<String> {
    match (&declared.of, part) {
        (FieldType::Table { .. }, _) => return Some("is a table; a submission takes single values".to_owned()),
        (FieldType::File { .. }, _) => return Some("holds files, which stay".to_owned()),
        (FieldType::Place, Some("lon" | "lat")) => return None,
        (FieldType::Place, _) => return Some("is a place; say .lon or .lat behind it".to_owned()),
        (_, Some(part)) => return Some(format!("has no {part:?}")),
        (_, None) => {}
    }
    let field = field.filter(|field| field.codes.is_none())?;
    let fits = match &field.as_ {
        As::Text { .. } => true,
        As::Integer | As::Decimal(_) => {
            !matches!(declared.of, FieldType::Date | FieldType::DateTime | FieldType::Person | FieldType::Record { .. })
        }
        As::Time { .. } | As::Date { .. } => matches!(declared.of, FieldType::Date),
        As::Boolean { .. } => false,
    };
    (!fits).then(|| "holds no value of this type".to_owned())
}
