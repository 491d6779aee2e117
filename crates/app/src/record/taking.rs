//! Records of another node that become this one's (主管移交): all of them, each as its register here has it, or none and everything that stands against it.

use std::collections::BTreeMap;

use anlan_domain::register::{FieldType, NumberPart, Record, Value};
use anlan_model::{EnterpriseId, NodeId, RecordId, RegionCode};
use anlan_store::{Elsewhere, GivenRecord, RecordChange, RecordRow, TransferDoc};
use serde_json::json;

use super::{Body, clocked, put_told, read, taken};
use crate::App;
use crate::error::{AppError, Kind as Refusal};

/// So much against one transfer is told.
const PROBLEMS_MAX: usize = 100;

/// Makes the enterprise and its records this node's; new ids by those at the giver.
pub(crate) async fn take_all(
    app: &App,
    change: &mut RecordChange<'_>,
    from: NodeId,
    given: &TransferDoc,
) -> Result<(EnterpriseId, BTreeMap<i64, RecordId>), AppError> {
    let enterprise = change.take_enterprise(&given.enterprise).await?;
    let enterprise = enterprise.ok_or_else(|| AppError::conflict("transfer.enterprise_elsewhere").with("code", &given.enterprise.code))?;
    change.note_elsewhere(&given.named).await?;
    let owner = change.owner(enterprise).await?;
    let (mut ids, mut later, mut refused) = (BTreeMap::new(), Vec::new(), Vec::new());
    for of in &given.records {
        match as_here(app, of) {
            Ok((kind, record)) if refused.is_empty() => {
                // Its clocks are told of anew: other people owe it now.
                let told = usize::try_from(of.escalated).unwrap_or(0);
                let kept = put_told(app, &kind, &record, of.number.clone(), told, BTreeMap::new());
                let parent = of.parent.and_then(|above| ids.get(&above).copied());
                match change.take_record(from, of, &owner, parent, &kept).await {
                    Ok(id) => {
                        ids.insert(of.id, id);
                        number_behind(change, &kind, &of.number, owner.region.as_ref()).await?;
                        if names_records(&kind, &record) {
                            later.push((kind, id));
                        }
                    }
                    Err(error) => match taken(&kind, error) {
                        failure if matches!(failure.kind, Refusal::Conflict) => refused.push(about(failure, of)),
                        failure => return Err(failure),
                    },
                }
            }
            // What else stands against it is told with the first.
            Ok(_) => {}
            Err(failure) => refused.push(about(failure, of)),
        }
    }
    if !refused.is_empty() {
        let problems = refused.into_iter().flat_map(|failure| failure.problems).take(PROBLEMS_MAX).collect();
        return Err(AppError { kind: Refusal::Conflict, problems, source: None });
    }
    for (kind, id) in later {
        let row = change.record(&kind.id, id).await?;
        let mut record = read(&kind, &row)?;
        if !rename(from, &ids, &kind, &mut record) {
            continue;
        }
        let told = usize::try_from(row.escalated).unwrap_or(0);
        let kept = put_told(app, &kind, &record, row.number.clone(), told, clocked(&row));
        let detail = json!({"node": from.to_string(), "reason": "the records that it names have other ids here"});
        change.update_as("take", &row, row.revision, &kept, detail).await.map_err(|error| taken(&kind, error))?;
    }
    Ok((enterprise, ids))
}

type KindHere = std::sync::Arc<anlan_domain::register::Kind>;

/// As its register here reads it.
fn as_here(app: &App, of: &GivenRecord) -> Result<(KindHere, Record), AppError> {
    let kind = app.registers.load().kind(&of.kind).map_err(|_| AppError::conflict("transfer.register_off").with("register", &of.kind))?;
    let body: Body = serde_json::from_value(of.body.clone()).map_err(|_| AppError::conflict("transfer.broken"))?;
    if kind.state(&of.state).is_none() {
        return Err(AppError::conflict("transfer.state_unknown").with("register", &kind.name).with("state", &of.state));
    }
    let record = Record { state: of.state.clone(), entered_on: body.entered_on, fields: kind.stored_fields(&body.fields), acts: body.acts };
    // An id of there means somebody else here.
    let is_there = |id: &str| is_subject(id);
    let names_there = kind.fields.iter().all(|field| match (&field.of, record.fields.get(&field.id)) {
        (FieldType::Person | FieldType::Record { .. }, Some(Value::Text(id))) => is_there(id),
        (FieldType::File { .. }, Some(Value::Files(ids))) => ids.iter().all(|id| is_there(id)),
        _ => true,
    });
    if !names_there || !record.acts.iter().all(|act| act.by.is_empty() || is_there(&act.by)) {
        return Err(AppError::conflict("transfer.broken"));
    }
    Ok((kind, record))
}

/// Numbers that are given here from now on come behind those that came along.
async fn number_behind(change: &mut RecordChange<'_>, kind: &KindHere, number: &str, region: Option<&RegionCode>) -> Result<(), AppError> {
    let region = region.map_or("", RegionCode::as_str);
    let (mut rest, mut year) = (number, "");
    for part in &kind.number {
        let next = match part {
            NumberPart::Text(text) => rest.strip_prefix(text.as_str()),
            NumberPart::Region => rest.strip_prefix(region),
            NumberPart::Year => rest.split_at_checked(4).map(|(first, next)| {
                year = first;
                next
            }),
            NumberPart::Seq(_) => {
                if let Ok(n) = rest.parse::<i64>() {
                    change.count_from(&format!("{}/{region}/{year}", kind.id), n).await?;
                }
                return Ok(());
            }
        };
        let Some(next) = next else { return Ok(()) };
        rest = next;
    }
    Ok(())
}

fn about(mut failure: AppError, of: &GivenRecord) -> AppError {
    for problem in &mut failure.problems {
        problem.params.insert("number", of.number.clone());
    }
    failure
}

fn names_records(kind: &KindHere, record: &Record) -> bool {
    kind.fields.iter().any(|field| matches!(field.of, FieldType::Record { .. }) && record.fields.contains_key(&field.id))
}

/// Records that came along by their ids here; whether there was one.
fn rename(from: NodeId, ids: &BTreeMap<i64, RecordId>, kind: &KindHere, record: &mut Record) -> bool {
    let (mut any, prefix) = (false, format!("{from}/record/"));
    for field in kind.fields.iter().filter(|field| matches!(field.of, FieldType::Record { .. })) {
        let Some(Value::Text(named)) = record.fields.get_mut(&field.id) else { continue };
        let there = named.strip_prefix(prefix.as_str()).and_then(|id| id.parse::<i64>().ok());
        if let Some(here) = there.and_then(|id| ids.get(&id)) {
            *named = here.to_string();
            any = true;
        }
    }
    any
}

/// What these records name at their former homes, by how it stands in their fields.
///
/// # Errors
/// The store's.
pub async fn elsewhere_in(app: &App, rows: &[RecordRow]) -> Result<BTreeMap<String, Elsewhere>, AppError> {
    let mut subjects = std::collections::BTreeSet::new();
    for row in rows.iter().filter(|row| row.former.is_some() && row.home.is_none()) {
        let fields = row.body["fields"].as_object().into_iter().flat_map(|fields| fields.values());
        let files = fields.clone().filter_map(|value| value.as_array()).flatten();
        let acted = row.body["acts"].as_array().into_iter().flatten().map(|act| &act["by"]);
        let said = fields.chain(files).chain(acted).filter_map(|value| value.as_str());
        subjects.extend(said.filter(|text| is_subject(text)).map(str::to_owned));
    }
    let found = app.store.elsewhere(&subjects.into_iter().collect::<Vec<_>>()).await?;
    Ok(found.into_iter().map(|of| (of.subject.clone(), of)).collect())
}

fn is_subject(text: &str) -> bool {
    text.split_once('/').is_some_and(|(node, rest)| {
        let id = rest.rsplit('/').next().unwrap_or_default();
        node.parse::<NodeId>().is_ok() && id.parse::<i64>().is_ok()
    })
}
