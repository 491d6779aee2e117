//! Assessment (考核) of a year: the divisions below one, item by item, each line with the rows behind it; ranked, vetoed, frozen and signed.
//!
//! What can be reckoned is reckoned anew at each question, out of registers, figures and letters; the rest people give, with records as evidence, and
//! others confirm. A leader freezes what they saw: they say its digest, and what has changed meanwhile is refused. The content is kept byte for byte
//! with the node's signature (ADR 0034); what the same table would say now is told beside it. Start at [`view`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use anlan_domain::assessment::{Against, ByIndicator, Judged, Records, left, rank};
pub use anlan_domain::assessment::{Item, Table, Veto};
use anlan_domain::decimal::{self, Decimal};
use anlan_domain::indicator::{Fact, Period, Query as Ask};
use anlan_domain::pack::PackError;
use anlan_model::{Clock as _, OrderId, Permission, RecordId, RegionCode, Scope, Timestamp};
pub use anlan_store::{AssessmentRow, AssessmentScore, AssessmentUnit, FrozenAssessment};
use anlan_store::{FieldIs, RecordFilter, StoreError};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

use crate::App;
use crate::error::{AppError, Kind as Refusal};
use crate::responsibility::{self, Level, Unit};
use crate::signing::PublicKey;
use crate::validate::{self, Paging};
use crate::{plan, record};

/// Rows behind one line that are kept; how many there are is kept too.
pub const EVIDENCE_MAX: usize = 500;
/// Records that a person may name as evidence.
const NAMED_MAX: usize = 50;
/// Of the content that is signed.
const FORMAT: u8 = 1;

/// The table of the built-in pack.
///
/// # Errors
/// [`PackError`] if the pack contradicts itself; a test keeps that from shipping.
pub fn table() -> Result<&'static Table, PackError> {
    static TABLE: OnceLock<Table> = OnceLock::new();
    if let Some(table) = TABLE.get() {
        return Ok(table);
    }
    let table = Table::parse(include_str!("../../../packs/base/assessment.toml"))?;
    Ok(TABLE.get_or_init(|| table))
}

/// Something behind a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// `record` of the register `kind`, `fact` of the source `kind`, `unit` without a letter that is a `kind`.
    pub sort: String,
    /// See above.
    pub kind: String,
    /// Of the record or fact; of a unit the code of its division, or the enterprise's id.
    pub id: String,
    /// What is shown.
    pub title: String,
}

/// What somebody gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Points as text; of a veto `1` = it is met.
    pub points: String,
    /// Why.
    pub reason: String,
    /// Records.
    pub evidence: Vec<Evidence>,
    /// Who.
    pub by: String,
    /// When, RFC 3339.
    pub at: String,
    /// Who confirmed it.
    pub confirmed_by: Option<String>,
    /// When.
    pub confirmed_at: Option<String>,
}

/// A line: an item of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Word of the item.
    pub item: String,
    /// `indicator`, `records`, `letters`, `person`.
    pub way: String,
    /// Decimal as text; `None` = nobody has scored it.
    pub points: Option<String>,
    /// At most.
    pub of: String,
    /// The figure that was reckoned.
    pub value: Option<String>,
    /// What it is held against.
    pub allowed: Option<String>,
    /// Rows behind it; more than are listed.
    pub n: Option<u64>,
    /// Why it could not be reckoned: `no_figure`, `no_part`, `no_register`.
    pub missing: Option<String>,
    /// Rows behind it.
    pub evidence: Vec<Evidence>,
    /// What somebody gave.
    pub given: Option<Given>,
}

/// A veto of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VetoLine {
    /// Word of the veto.
    pub veto: String,
    /// It is met.
    pub is_met: bool,
    /// By these rows.
    pub evidence: Vec<Evidence>,
    /// What somebody said; it counts once another confirmed it.
    pub given: Option<Given>,
}

/// A unit with everything that it came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitResult {
    /// Code.
    pub region: String,
    /// Name.
    pub region_name: String,
    /// Why it is left out; empty = it is not.
    pub excluded: String,
    /// All points.
    pub points: String,
    /// Word of the grade.
    pub grade: Option<String>,
    /// From 1.
    pub rank: Option<u32>,
    /// Items that nobody has scored.
    pub open: Vec<String>,
    /// Vetoes that are met.
    pub vetoes: Vec<String>,
    /// Item by item, in the order of the table.
    pub lines: Vec<Line>,
    /// Veto by veto.
    pub veto_lines: Vec<VetoLine>,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// 1.
    pub format: u8,
    /// Id of the assessment.
    pub assessment: String,
    /// The year.
    pub year: i16,
    /// Code of the division that assesses.
    pub region: String,
    /// The day on which it was reckoned, ISO, Beijing.
    pub reckoned_on: String,
    /// The table with its sources.
    pub table: Json,
    /// All points of the table.
    pub of: String,
    /// In order of codes.
    pub units: Vec<UnitResult>,
}

impl Snapshot {
    /// The bytes that are signed: JSON without blanks, members in order of their names, numbers of points as text.
    pub fn canonical(&self) -> String {
        // A `Value` keeps its members sorted; a struct would keep them as they are declared.
        serde_json::to_value(self).unwrap_or_default().to_string()
    }

    /// SHA-256 of the content, hexadecimal.
    pub fn digest(content: &str) -> String {
        Sha256::digest(content.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Why it cannot be frozen: unit and item of lines without points, and of what nobody has confirmed.
    pub fn unfinished(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for unit in self.units.iter().filter(|unit| unit.excluded.is_empty()) {
            found.extend(unit.open.iter().map(|item| (unit.region.clone(), item.clone())));
            let is_waiting = |given: &Option<Given>| given.as_ref().is_some_and(|given| given.confirmed_by.is_none());
            let lines = unit.lines.iter().filter(|line| is_waiting(&line.given)).map(|line| &line.item);
            let vetoes = unit.veto_lines.iter().filter(|line| is_waiting(&line.given)).map(|line| &line.veto);
            found.extend(lines.chain(vetoes).map(|item| (unit.region.clone(), item.clone())));
        }
        found
    }
}

/// How a frozen one holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// What was signed.
    pub row: FrozenAssessment,
    /// The content still has its digest, and the signature is the key's.
    pub holds: bool,
}

/// What a unit would come to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The unit.
    pub region: String,
    /// All points.
    pub points: String,
    /// Word of the grade.
    pub grade: Option<String>,
    /// From 1.
    pub rank: Option<u32>,
    /// Items and vetoes that came out otherwise.
    pub changed: Vec<String>,
}

/// An assessment as the asker sees it.
pub struct View {
    /// The row.
    pub row: AssessmentRow,
    /// Its table.
    pub table: Table,
    /// What it says: frozen, or as of now. Of whoever sees a part, that part of a frozen one.
    pub snapshot: Snapshot,
    /// Digest of the whole content.
    pub digest: String,
    /// What was signed.
    pub frozen: Option<Frozen>,
    /// Of a frozen one: units that would come out otherwise now.
    pub now: Vec<Now>,
    /// The asker sees all units.
    pub sees_whole: bool,
    /// The asker may leave out, score and confirm.
    pub may_manage: bool,
    /// The asker may freeze.
    pub may_freeze: bool,
}

fn internal(e: impl std::error::Error + Send + Sync + 'static) -> AppError {
    AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") }
}

fn text(value: Decimal) -> String {
    value.normalize().to_string()
}

fn holds_whole(scope: &Scope, permission: Permission, region: &RegionCode) -> bool {
    scope.with(permission).is_ok_and(|scope| scope.holds(None, Some(region), None))
}

/// Assessments of which the asker sees a unit, newest year first.
///
/// # Errors
/// No permission to view, the store's.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<(AssessmentRow, bool)>, AppError> {
    let view = scope.with(Permission::View)?;
    let rows = app.store.assessments(&view).await?;
    Ok(rows.into_iter().map(|row| (view.holds(None, Some(&row.region), None), row)).map(|(whole, row)| (row, whole)).collect())
}

/// Begins the assessment of the divisions below `region` for a year.
///
/// # Errors
/// No permission over the division, a year out of range or to come, no division below it that the table assesses, one that was begun already.
pub async fn begin(app: &App, scope: &Scope, year: i16, region: RegionCode) -> Result<AssessmentRow, AppError> {
    let manage = scope.with(Permission::ManagePlan)?;
    if !manage.holds(None, Some(&region), None) {
        return Err(AppError::forbidden("scope.outside").on("region"));
    }
    let today = app.today();
    if !responsibility::YEARS.contains(&year) || year > today.year() {
        return Err(AppError::invalid("responsibility.year", "year").with("from", responsibility::YEARS.start()).with("to", today.year()));
    }
    let table = table().map_err(internal)?;
    let day = day_of(year, today);
    let known = app.registry.get();
    let below = known.regions.values().filter(|row| row.code.as_str().starts_with(region.as_str()) && row.code != region);
    let in_force = |code: &RegionCode| known.regions.standing(code, day) == Some(anlan_domain::division::Standing::InForce);
    let units: Vec<RegionCode> =
        below.map(|row| row.code.clone()).filter(|code| Level::of(code) == Some(table.level) && in_force(code)).collect();
    if units.is_empty() {
        return Err(AppError::invalid("assessment.no_units", "region"));
    }
    let now = app.clock.now();
    let row = AssessmentRow {
        id: OrderId::new(crate::order::new_id(now)).to_string(),
        table_id: table.id.clone(),
        table: serde_json::to_value(table).map_err(internal)?,
        year,
        region,
        revision: 1,
        made_by: scope.name.clone(),
        made_at: now,
        frozen: None,
    };
    app.store.begin_assessment(&manage, &row, &units, now).await.map_err(|e| match e {
        StoreError::Stale => AppError::conflict("assessment.exists").on("year"),
        e => e.into(),
    })?;
    Ok(row)
}

/// An assessment with every line.
///
/// # Errors
/// No permission to view, none of which the asker sees a unit, the store's.
pub async fn view(app: &App, scope: &Scope, id: &str) -> Result<View, AppError> {
    let see = scope.with(Permission::View)?;
    let row = app.store.assessment(&see, id).await?;
    let table: Table = serde_json::from_value(row.table.clone()).map_err(internal)?;
    let sees_whole = see.holds(None, Some(&row.region), None);
    let current = if sees_whole { Some(reckon(app, &row, &table).await?) } else { None };
    let (mut snapshot, digest, frozen, now) = match &row.frozen {
        Some(kept) => {
            let told: Snapshot = serde_json::from_str(&kept.content).map_err(internal)?;
            let now = current.as_ref().map(|current| differences(&told, current)).unwrap_or_default();
            let holds = holds(kept) && is_of_this_node(app, kept).await?;
            (told, kept.digest.clone(), Some(Frozen { holds, row: kept.clone() }), now)
        }
        None => {
            // Before it is frozen nobody's county reads how it stands: it is not said yet.
            let current = match current {
                Some(current) => current,
                None => Snapshot { units: Vec::new(), ..empty(app, &row, &table) },
            };
            let digest = if sees_whole { Snapshot::digest(&current.canonical()) } else { String::new() };
            (current, digest, None, Vec::new())
        }
    };
    snapshot.units.retain(|unit| see.holds(None, RegionCode::new(&unit.region).as_ref(), None));
    let is_open = row.frozen.is_none();
    Ok(View {
        may_manage: is_open && holds_whole(scope, Permission::ManagePlan, &row.region),
        may_freeze: is_open && holds_whole(scope, Permission::DecidePlan, &row.region),
        row,
        table,
        snapshot,
        digest,
        frozen,
        now,
        sees_whole,
    })
}

/// The content of a frozen one, byte for byte.
///
/// # Errors
/// As [`view`]; not of the whole territory; not frozen.
pub async fn content(app: &App, scope: &Scope, id: &str) -> Result<FrozenAssessment, AppError> {
    let see = scope.with(Permission::View)?;
    let row = app.store.assessment(&see, id).await?;
    if !see.holds(None, Some(&row.region), None) {
        return Err(AppError::forbidden("scope.outside"));
    }
    row.frozen.ok_or_else(|| AppError::conflict("assessment.not_frozen"))
}

/// Whether the key beside a frozen one is one that signs here or did: whoever can change the row could put another there.
async fn is_of_this_node(app: &App, kept: &FrozenAssessment) -> Result<bool, AppError> {
    Ok(crate::certificate::keys(&app.store).await?.iter().any(|known| known.key.to_string() == kept.public_key))
}

/// Whether the content has its digest and the signature is the key's; whose key that is says [`view`].
pub fn holds(kept: &FrozenAssessment) -> bool {
    let signature = BASE64.decode(&kept.signature).unwrap_or_default();
    let key: Option<PublicKey> = kept.public_key.parse().ok();
    Snapshot::digest(&kept.content) == kept.digest && key.is_some_and(|key| key.signed_assessment(kept.content.as_bytes(), &signature))
}

/// The row, of somebody who may do `permission` over all of it; open and at this revision.
async fn open(
    app: &App,
    scope: &Scope,
    permission: &[Permission],
    id: &str,
    revision: i64,
) -> Result<(Scope, AssessmentRow, Table), AppError> {
    let see = scope.with(Permission::View)?;
    let row = app.store.assessment(&see, id).await?;
    let held: Vec<_> = permission.iter().map(|permission| scope.with(*permission)).collect();
    if let Some(Err(missing)) = held.iter().find(|_| held.iter().all(Result::is_err)) {
        return Err((*missing).into());
    }
    let mut held = held.into_iter().filter_map(Result::ok);
    let held = held.find(|scope| scope.holds(None, Some(&row.region), None)).ok_or_else(|| AppError::forbidden("scope.outside"))?;
    if row.frozen.is_some() {
        return Err(AppError::conflict("assessment.frozen"));
    }
    if row.revision != revision {
        return Err(AppError::conflict("revision.stale").on("revision"));
    }
    let table = serde_json::from_value(row.table.clone()).map_err(internal)?;
    Ok((held, row, table))
}

async fn unit_of(app: &App, row: &AssessmentRow, unit: &str) -> Result<RegionCode, AppError> {
    let units = app.store.assessment_units(&Scope::node(), &row.id).await?;
    units.into_iter().map(|unit| unit.region).find(|code| code.as_str() == unit).ok_or_else(AppError::not_found)
}

/// Leaves a unit out with a reason, or takes it in again with an empty one.
///
/// # Errors
/// No permission over the whole, frozen, a stale revision, no such unit, a reason that is too long.
pub async fn exclude(app: &App, scope: &Scope, id: &str, revision: i64, unit: &str, reason: &str) -> Result<(), AppError> {
    let (held, row, _) = open(app, scope, &[Permission::ManagePlan], id, revision).await?;
    let (unit, reason) = (unit_of(app, &row, unit).await?, validate::note("reason", reason, false)?);
    Ok(app.store.exclude_from_assessment(&held, &row, &unit, &reason, app.clock.now()).await?)
}

/// What somebody gives.
#[derive(Clone, Debug)]
pub struct NewScore {
    /// Decimal as text; of a veto `1` or `0`.
    pub points: String,
    /// Why.
    pub reason: String,
    /// Records as evidence: register and id.
    pub evidence: Vec<(String, RecordId)>,
}

/// Gives points to an item that is not reckoned, or says whether a veto is met that people decide. Another confirms it.
///
/// # Errors
/// As [`exclude`]; an item that is reckoned, points beyond it, no reason, no evidence, a record that the asker does not see.
pub async fn score(app: &App, scope: &Scope, id: &str, revision: i64, unit: &str, item: &str, new: NewScore) -> Result<(), AppError> {
    let (held, row, table) = open(app, scope, &[Permission::ManagePlan], id, revision).await?;
    let unit = unit_of(app, &row, unit).await?;
    let most = match (table.item(item), table.veto(item)) {
        (Some(item), _) => item.points,
        (None, Some(veto)) if veto.person => Decimal::ONE,
        (None, Some(_)) => return Err(AppError::conflict("assessment.reckoned").on("item")),
        (None, None) => return Err(AppError::not_found()),
    };
    if let Some(item) = table.item(item).filter(|item| !item.person) {
        let known = app.store.assessment_scores(&Scope::node(), &row.id).await?;
        let lines = Lines::of(app, &row, &table, std::slice::from_ref(&unit), &known).await?;
        if lines.line(item, &unit, app).await?.missing.is_none() {
            return Err(AppError::conflict("assessment.reckoned").on("item"));
        }
    }
    let points = decimal::parse(&new.points, decimal::TARGET_DIGITS_MAX).filter(|points| *points >= Decimal::ZERO && *points <= most);
    let points = points.ok_or_else(|| AppError::invalid("assessment.points", "points").with("most", text(most)))?;
    if table.item(item).is_none() && ![Decimal::ZERO, Decimal::ONE].contains(&points) {
        return Err(AppError::invalid("assessment.points", "points").with("most", 1));
    }
    let reason = validate::note("reason", &new.reason, true)?;
    if new.evidence.is_empty() || new.evidence.len() > NAMED_MAX {
        return Err(AppError::invalid("assessment.evidence", "evidence").with("max", NAMED_MAX));
    }
    let see = scope.with(Permission::View)?;
    let mut named = Vec::new();
    for (kind, record) in &new.evidence {
        let found = app.store.record_ids_visible(&see, std::slice::from_ref(kind), std::slice::from_ref(record)).await?;
        let found = found.into_iter().next().ok_or_else(|| AppError::invalid("register.reference", "evidence"))?;
        named.push(of_record(&found));
    }
    let now = app.clock.now();
    let given = AssessmentScore {
        region: unit,
        item: item.to_owned(),
        points,
        reason,
        evidence: serde_json::to_value(named).map_err(internal)?,
        by: scope.user,
        by_name: scope.name.clone(),
        at: now,
        confirmed: None,
    };
    Ok(app.store.score_in_assessment(&held, &row, &given, now).await?)
}

/// Confirms what somebody else gave.
///
/// # Errors
/// As [`exclude`]; nobody gave it, or the asker did.
pub async fn confirm(app: &App, scope: &Scope, id: &str, revision: i64, unit: &str, item: &str) -> Result<(), AppError> {
    let (held, row, _) = open(app, scope, &[Permission::ManagePlan, Permission::DecidePlan], id, revision).await?;
    let unit = unit_of(app, &row, unit).await?;
    let known = app.store.assessment_scores(&Scope::node(), &row.id).await?;
    let given = known.into_iter().find(|given| given.region == unit && given.item == item).ok_or_else(AppError::not_found)?;
    if given.by == scope.user {
        return Err(AppError::conflict("assessment.own"));
    }
    Ok(app.store.confirm_in_assessment(&held, &row, &unit, item, app.clock.now()).await?)
}

/// Freezes an assessment: signs the content whose digest the asker saw.
///
/// # Errors
/// No permission to decide over the whole, frozen already, a stale revision; `assessment.changed` if it would be another content by now;
/// `assessment.unfinished` naming the first unit and item; no key to sign with.
pub async fn freeze(app: &App, scope: &Scope, id: &str, revision: i64, digest: &str) -> Result<(), AppError> {
    let (held, row, table) = open(app, scope, &[Permission::DecidePlan], id, revision).await?;
    let snapshot = reckon(app, &row, &table).await?;
    let unfinished = snapshot.unfinished();
    if let Some((unit, item)) = unfinished.first() {
        return Err(AppError::conflict("assessment.unfinished").with("n", unfinished.len()).with("unit", unit).with("item", item));
    }
    let content = snapshot.canonical();
    let own = Snapshot::digest(&content);
    if own != digest {
        return Err(AppError::conflict("assessment.changed").on("digest"));
    }
    let pair = crate::certificate::first_key(app).await?;
    let signature = BASE64.encode(pair.sign_assessment(content.as_bytes()));
    let now = app.clock.now();
    let frozen =
        FrozenAssessment { content, digest: own, signature, public_key: pair.public().to_string(), by: scope.name.clone(), at: now };
    Ok(app.store.freeze_assessment(&held, &row, &frozen, now).await?)
}

// ---- reckoning

/// The last day of a year, or today while it runs.
fn day_of(year: i16, today: Date) -> Date {
    Date::new(year, 12, 31).map_or(today, |end| end.min(today))
}

fn empty(app: &App, row: &AssessmentRow, table: &Table) -> Snapshot {
    Snapshot {
        format: FORMAT,
        assessment: row.id.clone(),
        year: row.year,
        region: row.region.to_string(),
        reckoned_on: app.today().to_string(),
        table: row.table.clone(),
        of: text(table.points()),
        units: Vec::new(),
    }
}

/// Everything as it stands now, whoever asks.
async fn reckon(app: &App, row: &AssessmentRow, table: &Table) -> Result<Snapshot, AppError> {
    let node = Scope::node();
    let units = app.store.assessment_units(&node, &row.id).await?;
    let scores = app.store.assessment_scores(&node, &row.id).await?;
    let codes: Vec<RegionCode> = units.iter().map(|unit| unit.region.clone()).collect();
    let lines = Lines::of(app, row, table, &codes, &scores).await?;
    let known = app.registry.get();
    let mut results: Vec<(UnitResult, Judged)> = Vec::new();
    for unit in units {
        let mut told = Vec::new();
        for item in table.items.iter().map(|row| &row.is) {
            told.push(lines.line(item, &unit.region, app).await?);
        }
        let veto_lines: Vec<VetoLine> = table.vetoes.iter().map(|row| lines.veto(&row.is, &unit.region)).collect();
        let points = told.iter().filter_map(|line| Some((line.item.clone(), line.points.as_ref()?.parse().ok()?))).collect();
        let met: BTreeSet<String> = veto_lines.iter().filter(|line| line.is_met).map(|line| line.veto.clone()).collect();
        let judged = table.judge(&points, &met);
        let result = UnitResult {
            region: unit.region.to_string(),
            region_name: known.regions.get(&unit.region).map_or_else(|| unit.region.to_string(), |region| region.name.clone()),
            excluded: unit.excluded,
            points: text(judged.points),
            grade: judged.grade.clone(),
            rank: None,
            open: judged.open.clone(),
            vetoes: judged.vetoes.clone(),
            lines: told,
            veto_lines,
        };
        results.push((result, judged));
    }
    let ranks = rank(results.iter().map(|(unit, judged)| (unit.region.as_str(), judged, !unit.excluded.is_empty())));
    let ranked = |(unit, _): (UnitResult, Judged)| UnitResult { rank: ranks.get(&unit.region).copied(), ..unit };
    Ok(Snapshot { units: results.into_iter().map(ranked).collect(), ..empty(app, row, table) })
}

/// Units that came out otherwise.
fn differences(then: &Snapshot, now: &Snapshot) -> Vec<Now> {
    let mut found = Vec::new();
    for unit in &now.units {
        let Some(before) = then.units.iter().find(|before| before.region == unit.region) else { continue };
        let line = |of: &UnitResult, item: &str| {
            of.lines.iter().find(|line| line.item == item).map(|line| (line.points.clone(), line.n, line.value.clone()))
        };
        let veto = |of: &UnitResult, id: &str| of.veto_lines.iter().find(|line| line.veto == id).map(|line| line.is_met);
        let items = unit.lines.iter().map(|line| &line.item).filter(|item| line(before, item) != line(unit, item));
        let vetoes = unit.veto_lines.iter().map(|line| &line.veto).filter(|id| veto(before, id) != veto(unit, id));
        let changed: Vec<String> = items.chain(vetoes).cloned().collect();
        if !changed.is_empty() || before.rank != unit.rank {
            found.push(Now {
                region: unit.region.clone(),
                points: unit.points.clone(),
                grade: unit.grade.clone(),
                rank: unit.rank,
                changed,
            });
        }
    }
    found
}

fn of_record(row: &record::RecordRow) -> Evidence {
    let title = if row.title.is_empty() { row.number.clone() } else { row.title.clone() };
    Evidence { sort: "record".to_owned(), kind: row.kind.clone(), id: row.id.to_string(), title }
}

/// What lines are made of, read once for all units.
struct Lines<'a> {
    row: &'a AssessmentRow,
    day: Date,
    scores: BTreeMap<(&'a str, &'a str), &'a AssessmentScore>,
    /// By item or veto: records that match, with where they are; `None` = the register is off.
    records: BTreeMap<&'a str, Option<Vec<(RegionCode, Evidence)>>>,
}

impl<'a> Lines<'a> {
    async fn of(
        app: &App,
        row: &'a AssessmentRow,
        table: &'a Table,
        units: &[RegionCode],
        scores: &'a [AssessmentScore],
    ) -> Result<Self, AppError> {
        let today = app.today();
        let day = day_of(row.year, today);
        let within = match units {
            [one] => one,
            _ => &row.region,
        };
        let mut records = BTreeMap::new();
        let items = table.items.iter().filter_map(|row| Some((row.is.id.as_str(), row.is.records.as_ref()?)));
        let vetoes = table.vetoes.iter().filter_map(|row| Some((row.is.id.as_str(), row.is.records.as_ref()?)));
        for (id, asked) in items.chain(vetoes) {
            records.insert(id, matching(app, asked, within, row.year, today).await?);
        }
        let scores = scores.iter().map(|given| ((given.region.as_str(), given.item.as_str()), given)).collect();
        Ok(Self { row, day, scores, records })
    }

    fn given(&self, unit: &RegionCode, item: &str) -> Option<Given> {
        let given = self.scores.get(&(unit.as_str(), item))?;
        let at = |at: Timestamp| crate::clock::civil(at).to_string();
        Some(Given {
            points: text(given.points),
            reason: given.reason.clone(),
            evidence: serde_json::from_value(given.evidence.clone()).unwrap_or_default(),
            by: given.by_name.clone(),
            at: at(given.at),
            confirmed_by: given.confirmed.as_ref().map(|(name, _)| name.clone()),
            confirmed_at: given.confirmed.as_ref().map(|(_, when)| at(*when)),
        })
    }

    /// Of a unit: records that match, at most [`EVIDENCE_MAX`], and how many there are.
    fn matching(&self, id: &str, unit: &RegionCode) -> Option<(Vec<Evidence>, u64)> {
        let all = self.records.get(id)?.as_ref()?.iter().filter(|(region, _)| region.as_str().starts_with(unit.as_str()));
        let all: Vec<Evidence> = all.map(|(_, evidence)| evidence.clone()).collect();
        let n = all.len() as u64;
        Some((all.into_iter().take(EVIDENCE_MAX).collect(), n))
    }

    async fn line(&self, item: &Item, unit: &RegionCode, app: &App) -> Result<Line, AppError> {
        let mut line = Line {
            item: item.id.clone(),
            way: String::new(),
            points: None,
            of: text(item.points),
            value: None,
            allowed: None,
            n: None,
            missing: None,
            evidence: Vec::new(),
            given: None,
        };
        if let Some(by) = &item.indicator {
            line.way = "indicator".to_owned();
            figure(app, self.row.year, self.day, by, item, unit, &mut line).await?;
        } else if let Some(by) = &item.records {
            line.way = "records".to_owned();
            match self.matching(&item.id, unit) {
                Some((evidence, n)) => {
                    line.points = Some(text(left(item.points, by.each, Decimal::from(n))));
                    (line.evidence, line.n) = (evidence, Some(n));
                }
                None => line.missing = Some("no_register".to_owned()),
            }
        } else if let Some(by) = &item.letters {
            line.way = "letters".to_owned();
            let covered = responsibility::coverage(app, &Scope::node(), self.row.year, unit.clone()).await?;
            let orphans = covered.coverage.stands.iter().filter(|stand| stand.letter.is_none());
            line.evidence = orphans.take(EVIDENCE_MAX).map(|stand| of_unit(app, &covered, &stand.unit)).collect();
            line.n = Some(covered.coverage.total.orphans);
            line.points = Some(text(left(item.points, by.each, Decimal::from(covered.coverage.total.orphans))));
        } else {
            line.way = "person".to_owned();
        }
        // What can be reckoned is not a person's to give.
        if line.points.is_none() {
            line.given = self.given(unit, &item.id);
            line.points = line.given.as_ref().map(|given| given.points.clone());
        }
        Ok(line)
    }

    fn veto(&self, veto: &Veto, unit: &RegionCode) -> VetoLine {
        if veto.person {
            let given = self.given(unit, &veto.id);
            let is_met = given.as_ref().is_some_and(|given| given.points == "1" && given.confirmed_by.is_some());
            return VetoLine { veto: veto.id.clone(), is_met, evidence: Vec::new(), given };
        }
        let (evidence, n) = self.matching(&veto.id, unit).unwrap_or_default();
        VetoLine { veto: veto.id.clone(), is_met: n > 0, evidence, given: None }
    }
}

/// Records in `within` that match, with where they are, in order of ids; `None` = the register is off.
async fn matching(
    app: &App,
    asked: &Records,
    within: &RegionCode,
    year: i16,
    today: Date,
) -> Result<Option<Vec<(RegionCode, Evidence)>>, AppError> {
    let Ok(kind) = app.registers.load().kind(&asked.register) else { return Ok(None) };
    let mut filter = RecordFilter { region: Some(within.clone()), ..RecordFilter::default() };
    if asked.late {
        filter.due_before = Some(today.to_string());
    } else if !asked.during.is_empty() && kind.filter.contains(&asked.during) {
        let days = FieldIs::Texts(Some(format!("{year:04}-01-01")), Some(format!("{year:04}-12-31T23:59")));
        filter.fields.push((asked.during.clone(), days));
    }
    let (filter, mut paging, mut found) = (record::of_kind(&kind, &filter), Paging::all(), Vec::new());
    loop {
        let page = app.store.records(&Scope::node(), &kind.id, &filter, &paging).await?;
        for row in &page.items {
            let Some(region) = row.region.clone() else { continue };
            // What cannot be read matches nothing, and is told where it stands.
            let is_so = record::read(&kind, row).is_ok_and(|told| asked.holds(&told, row.is_late(&today.to_string()), year));
            if is_so {
                found.push((row.id, region, of_record(row)));
            }
        }
        let Some(next) = page.next else { break };
        paging.cursor = Some(next);
    }
    found.sort_by_key(|(id, ..)| *id);
    Ok(Some(found.into_iter().map(|(_, region, evidence)| (region, evidence)).collect()))
}

fn of_unit(app: &App, view: &responsibility::View, unit: &Unit) -> Evidence {
    let name_of = |code: &RegionCode| app.registry.get().regions.get(code).map_or_else(|| code.to_string(), |region| region.name.clone());
    let (id, title) = match unit {
        Unit::Government(code) => (code.to_string(), name_of(code)),
        Unit::Department(code, name) => (code.to_string(), format!("{} {name}", name_of(code))),
        Unit::Enterprise(_, id) => (id.to_string(), view.enterprises.get(id).map_or_else(|| id.to_string(), |known| known.name.clone())),
    };
    Evidence { sort: "unit".to_owned(), kind: unit.takes().as_str().to_owned(), id, title }
}

fn of_fact(fact: &Fact) -> Evidence {
    match plan::record_of(&fact.id) {
        Some(record) => Evidence {
            sort: "record".to_owned(),
            kind: "accident".to_owned(),
            id: record.to_string(),
            title: format!("{} {}", fact.on, text(fact.value)),
        },
        None => Evidence {
            sort: "fact".to_owned(),
            kind: fact.source.clone(),
            id: fact.id.clone(),
            title: format!("{} {}", fact.on, text(fact.value)),
        },
    }
}

/// The figure of a unit against what is allowed, into its line.
async fn figure(
    app: &App,
    year: i16,
    day: Date,
    by: &ByIndicator,
    item: &Item,
    unit: &RegionCode,
    line: &mut Line,
) -> Result<(), AppError> {
    let missing = |line: &mut Line, word: &str| line.missing = Some(word.to_owned());
    let Ok(reckoning) = plan::of_indicators(app, &Scope::node(), unit.as_str(), day).await else {
        missing(line, "no_figure");
        return Ok(());
    };
    let indicators = &reckoning.known.indicators;
    let Some(indicator) = indicators.get(&by.id) else {
        missing(line, "no_figure");
        return Ok(());
    };
    let before = |code: &str| -> Vec<String> {
        let Some(code) = RegionCode::new(code) else { return Vec::new() };
        app.registry.get().regions.before(&code).iter().map(|code| code.as_str().to_owned()).collect()
    };
    let ask = |on: Date| Ask {
        region: unit.as_str().to_owned(),
        region_before: before(unit.as_str()),
        sectors: Vec::new(),
        on,
        since: reckoning.plan.start,
        known_on: app.today(),
        base_year: Some(reckoning.plan.start.year() - 1),
    };
    // A figure of a whole year is not there while the year runs: the year before is no answer to it.
    let is_running = day != day_of(year, Date::MAX);
    if is_running && indicator.period == Period::Year {
        missing(line, "no_figure");
        return Ok(());
    }
    let Ok(figure) = indicators.evaluate(indicator, &reckoning.facts, &ask(day)) else {
        missing(line, "no_figure");
        return Ok(());
    };
    line.value = Some(text(figure.shown));
    line.n = Some(figure.rows.len() as u64);
    line.evidence = figure.rows.iter().take(EVIDENCE_MAX).map(|fact| of_fact(fact)).collect();
    let allowed = match by.against {
        Against::LastYear => {
            let on = if day == day_of(year, Date::MAX) {
                Date::new(year - 1, 12, 31).ok()
            } else {
                day.checked_sub(jiff::Span::new().years(1)).ok()
            };
            on.and_then(|on| indicators.evaluate(indicator, &reckoning.facts, &ask(on)).ok().map(|figure| figure.shown))
        }
        Against::Part => {
            let targets = reckoning.plan.targets.iter().filter(|target| target.indicator.as_deref() == Some(by.id.as_str()));
            let mut parts = targets.flat_map(|target| reckoning.plan.part_figures(target, indicators, &reckoning.facts, day, &before));
            parts.find(|(part, _)| part.region == unit.as_str()).map(|(part, _)| part.value)
        }
    };
    match allowed {
        Some(allowed) => {
            line.allowed = Some(text(allowed));
            line.points = Some(text(left(item.points, by.each, figure.shown - allowed)));
        }
        None => missing(line, if by.against == Against::Part { "no_part" } else { "no_figure" }),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_names_registers_fields_and_figures_that_there_are() {
        let table = table().unwrap();
        let files = crate::pack::base_files();
        let records = table
            .items
            .iter()
            .filter_map(|row| row.is.records.as_ref())
            .chain(table.vetoes.iter().filter_map(|row| row.is.records.as_ref()));
        for asked in records {
            let kind = anlan_domain::register::Kind::parse(&files[&format!("registers/{}/register.toml", asked.register)]).unwrap();
            for field in
                asked.is.keys().chain(asked.any.iter().flat_map(BTreeMap::keys)).chain(Some(&asked.during).filter(|f| !f.is_empty()))
            {
                let field = field.split_once('.').map_or(field.as_str(), |(table, _)| table);
                assert!(kind.field(field).is_some(), "{}.{field}", asked.register);
            }
            for state in &asked.states {
                assert!(kind.state(state).is_some(), "{}: {state}", asked.register);
            }
        }
        for by in table.items.iter().filter_map(|row| row.is.indicator.as_ref()) {
            assert!(anlan_domain::indicator::built_in().get(&by.id).is_some(), "{}", by.id);
        }
    }

    #[test]
    fn a_table_that_was_kept_is_read_as_it_was() {
        let table = table().unwrap();
        let kept = serde_json::to_value(table).unwrap();
        assert_eq!(*table, serde_json::from_value(kept).unwrap());
    }
}
