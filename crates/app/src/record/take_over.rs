//! Somebody takes over what another was named for: open records whose person fields say the one say the other, each with an entry in its history.
//!
//! For who manages people, within their territory. Only the field by which somebody has the task now (`task_person` of the record's state) is taken over:
//! others, and that one in another state, say who did something, which stays true. What is over keeps its names. Start at [`take_over`].

use std::collections::BTreeMap;

use anlan_domain::register::{FieldType, Kind, Record, Value};
use anlan_model::{Clock as _, Permission, RecordId, Scope, UserId};
use serde_json::json;

use super::{PORTION, detail, owner_of, put, read, taken};
use crate::App;
use crate::error::AppError;

/// Records of one kind that are read at once.
const AT_ONCE: u32 = 1_000;

/// A record that names somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Kind.
    pub kind: String,
    /// Id.
    pub id: RecordId,
    /// Number; empty = the kind numbers nothing.
    pub number: String,
    /// Title.
    pub title: String,
    /// Name of whose it is.
    pub owner: String,
    /// Last day in time, ISO.
    pub due_on: Option<String>,
    /// The fields that name them.
    pub fields: Vec<String>,
    /// Whether it is on their own to-do list.
    pub is_task: bool,
}

/// What somebody is named for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Duties {
    /// Open records, in order of kinds and ids.
    pub records: Vec<Named>,
    /// Shifts to come, wherever they are.
    pub shifts: u64,
}

/// What was taken over, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Taken over.
    pub records: Vec<Named>,
    /// Left: whoever takes over holds no grant for them.
    pub left: Vec<Named>,
    /// Left: they are named as who did something, not as whose task it is.
    pub kept: Vec<Named>,
}

/// The field by which somebody has a task in the state that the record is in.
fn task_field<'a>(kind: &'a Kind, record: &Record) -> Option<&'a String> {
    kind.state(&record.state).and_then(|state| state.task_person.as_ref())
}

fn fields_naming(kind: &Kind, record: &Record, user: UserId) -> Vec<String> {
    let user = user.to_string();
    let is_theirs = |id: &String| record.text(id) == Some(user.as_str());
    kind.fields.iter().filter(|f| matches!(f.of, FieldType::Person)).map(|f| f.id.clone()).filter(is_theirs).collect()
}

/// Open records that name a person the asker manages, as far as the asker holds them, and how many shifts they have before them.
///
/// # Errors
/// No permission, not visible, the store's.
pub async fn duties(app: &App, scope: &Scope, user: UserId) -> Result<Duties, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    app.store.user(&act, user).await?;
    let shifts = app.store.n_duties_of(user, app.clock.now()).await?;
    Ok(Duties { records: named(app, &act, user).await?, shifts: u64::try_from(shifts).unwrap_or(0) })
}

async fn named(app: &App, act: &Scope, user: UserId) -> Result<Vec<Named>, AppError> {
    let registers = app.registers.load_full();
    let mut all = Vec::new();
    for (kind, _) in registers.kinds.values() {
        let fields: Vec<&str> = kind.fields.iter().filter(|f| matches!(f.of, FieldType::Person)).map(|f| f.id.as_str()).collect();
        if fields.is_empty() {
            continue;
        }
        let mut after = RecordId::new(0);
        let mut rows = Vec::new();
        loop {
            let page = app.store.open_records_naming(act, &kind.id, &fields, user, after, AT_ONCE).await?;
            let is_last = page.len() < AT_ONCE as usize;
            after = page.last().map_or(after, |row| row.id);
            rows.extend(page);
            if is_last {
                break;
            }
        }
        for row in rows {
            let record = read(kind, &row)?;
            let fields = fields_naming(kind, &record, user);
            if fields.is_empty() {
                continue;
            }
            let task = task_field(kind, &record);
            all.push(Named {
                kind: kind.id.clone(),
                id: row.id,
                number: row.number,
                title: row.title,
                owner: row.enterprise_name.or(row.region_name).or(row.region.map(|code| code.to_string())).unwrap_or_default(),
                due_on: row.due_on,
                is_task: task.is_some_and(|task| fields.contains(task)),
                fields,
            });
        }
    }
    Ok(all)
}

/// Puts `to` in the place of `from` in every open record that names them and that `to` holds a grant for; both are told. A dry run says which those
/// are.
///
/// # Errors
/// No permission, one of them not visible, the same person twice, the store's. What was taken over until then stays so, and the next run does the rest.
pub async fn take_over(app: &App, scope: &Scope, from: UserId, to: UserId, dry_run: bool) -> Result<TakenOver, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    app.store.user(&act, from).await?;
    let successor = app.store.user(&act, to).await.map_err(|error| match error {
        anlan_store::StoreError::NotFound => AppError::invalid("reference.unknown", "to"),
        other => other.into(),
    })?;
    if from == to || successor.disabled {
        return Err(AppError::invalid("user.successor", "to"));
    }
    let mut taken_over = TakenOver::default();
    for portion in named(app, &act, from).await?.chunks(PORTION as usize) {
        let mut change = app.store.change_records(&act, app.clock.now()).await?;
        let mut names: BTreeMap<UserId, String> = app.store.names_of(&[from, to]).await?.into_iter().collect();
        let said = json!({"from": names.remove(&from), "to": names.remove(&to)});
        for named in portion {
            let kind = app.registers.load().kind(&named.kind)?;
            let row = change.record(&kind.id, named.id).await?;
            if !row.is_open {
                // Ended since it was looked for.
                continue;
            }
            let before = read(&kind, &row)?;
            let mut fields = fields_naming(&kind, &before, from);
            fields.retain(|field| task_field(&kind, &before) == Some(field));
            if fields.is_empty() {
                taken_over.kept.push(named.clone());
                continue;
            }
            let owner = owner_of(&mut change, &row).await?;
            if !app.store.people_at(&owner).await?.iter().any(|(id, ..)| *id == to) {
                taken_over.left.push(named.clone());
                continue;
            }
            let mut after = before.clone();
            for field in fields {
                after.fields.insert(field, Value::Text(to.to_string()));
            }
            kind.compute(&mut after, crate::clock::civil(app.clock.now()));
            let put = put(app, &kind, &after, row.number.clone(), Some(&row));
            let changes = detail("", &before, &after)["changes"].clone();
            let said_of = json!({"taken_over": said, "changes": changes});
            change.update_as("take_over", &row, row.revision, &put, said_of).await.map_err(|error| taken(&kind, error))?;
            for person in [to, from] {
                change.notify(row.id, &owner, &[], Some(person), "taken_over", &said).await?;
            }
            taken_over.records.push(named.clone());
        }
        // Dropped without a commit, nothing has happened.
        if !dry_run {
            app.live.records_changed(&change.commit().await?);
        }
    }
    Ok(taken_over)
}
