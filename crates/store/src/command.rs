//! Commands to devices: stored first, sent by a reconciler, closed by the device's answer.

use anlan_model::{Command, CommandBody, DeviceId, Scope, Timestamp, VehicleId};
use serde_json::json;

use crate::audit::{Entry, Holder, and_equal};
use crate::db::{Row, Tx, sql};
use crate::inbox::must_be_own;
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A device, by its command topic.
    Device(DeviceId),
    /// A vehicle's terminal.
    Vehicle(VehicleId),
}

/// How far a command came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandState {
    /// Kept, not yet handed to a connection.
    Stored,
    /// In the connection's send queue.
    Sent,
    /// The device says it did it.
    Answered,
    /// The device says it did not, or nobody can send it.
    Failed,
}

impl CommandState {
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Sent => "sent",
            Self::Answered => "answered",
            Self::Failed => "failed",
        }
    }
    /// The state named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Stored, Self::Sent, Self::Answered, Self::Failed].into_iter().find(|s| s.as_str() == word)
    }
}

/// Which commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// To this device.
    pub device: Option<DeviceId>,
    /// To this vehicle.
    pub vehicle: Option<VehicleId>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRow {
    /// What and to whom, as the sockets want it.
    pub command: Command,
    /// To whom.
    pub target: Target,
    /// How far it came.
    pub state: CommandState,
    /// When it was stored.
    pub created_at: Timestamp,
    /// Shown name of who gave it.
    pub created_by: String,
    /// When it was handed to a connection.
    pub sent_at: Option<Timestamp>,
    /// When the answer came.
    pub answered_at: Option<Timestamp>,
    /// What the device said, JSON text; or why it failed.
    pub answer: Option<String>,
}

const SELECT: &str =
    "SELECT c.id, c.device_id, c.vehicle_id, COALESCE(d.code, v.phone) AS addressee, c.body, c.state, c.created_at_us, c.created_by,
  c.sent_at_us, c.answered_at_us, c.answer
FROM command AS c
LEFT JOIN device AS d ON d.id = c.device_id
LEFT JOIN vehicle AS v ON v.id = c.vehicle_id
LEFT JOIN enterprise AS e ON e.id = COALESCE(d.enterprise_id, v.enterprise_id)
WHERE 1 = 1";
const OWNER: Owner = Owner { enterprise: "e.id", region: "COALESCE(e.region, v.region)", sector: "e.sector" };

impl Store {
    /// Stores a command and answers its id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for the device or vehicle, [`StoreError::Mirrored`] if it is another node's, [`StoreError::Database`].
    pub async fn create_command(&self, scope: &Scope, target: Target, body: &CommandBody, now: Timestamp) -> Result<i64, StoreError> {
        let mut change = self.change(scope, now).await?;
        let (device, vehicle, mut owner) = match target {
            Target::Device(id) => {
                let q = sql("SELECT e.id AS enterprise_id, e.region, e.sector FROM device AS d
LEFT JOIN enterprise AS e ON e.id = d.enterprise_id WHERE d.id = $1");
                (Some(id), None, q.bind(id))
            }
            Target::Vehicle(id) => {
                let q = sql("SELECT e.id AS enterprise_id, COALESCE(e.region, v.region) AS region, e.sector FROM vehicle AS v
LEFT JOIN enterprise AS e ON e.id = v.enterprise_id WHERE v.id = $1");
                (None, Some(id), q.bind(id))
            }
        };
        // A device has no region of its own, so the vehicle's expression would not compile for it.
        owner.and_visible(scope, if device.is_some() { Owner::ENTERPRISE } else { OWNER });
        let owner = change.tx.row(owner).await?.ok_or(StoreError::NotFound)?;
        match target {
            Target::Device(id) => must_be_own(&mut change.tx, "device", id.get()).await?,
            Target::Vehicle(id) => must_be_own(&mut change.tx, "vehicle", id.get()).await?,
        }
        let holder = Holder { enterprise: owner.get("enterprise_id")?, region: owner.get("region")?, sector: owner.get("sector")? };
        let insert = sql(
            "INSERT INTO command (device_id, vehicle_id, body, state, created_at_us, created_by) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
        );
        let insert = insert.bind(device).bind(vehicle).bind(json!(body).to_string()).bind(CommandState::Stored.as_str());
        let row = change.tx.row(insert.bind(now).bind(scope.name.as_str())).await?.ok_or(StoreError::NotFound)?;
        let id: i64 = row.get("id")?;
        let row = json!({"id": id, "device": device, "vehicle": vehicle, "body": body});
        change.record(Entry { action: "create", noun: "command", subject: id.to_string(), detail: row.clone(), row, holder }).await?;
        change.commit().await?;
        Ok(id)
    }

    /// A page of commands under the scope, newest first.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn commands(&self, scope: &Scope, filter: &CommandFilter, paging: &Paging) -> Result<Page<CommandRow>, StoreError> {
        let mut q = sql(SELECT);
        q.and_visible(scope, OWNER);
        and_equal(&mut q, "c.device_id", filter.device.as_ref());
        and_equal(&mut q, "c.vehicle_id", filter.vehicle.as_ref());
        if let Some(id) = paging.after_id()? {
            q.push("\n  AND c.id < {}", &[&id]);
        }
        q.push("\nORDER BY c.id DESC\nLIMIT {}", &[&paging.fetch()]);
        paging.page_by_id(self.db.rows(q).await?, read)
    }

    /// Stored commands that were not handed to a connection, oldest first, after command `after`. For the reconciler.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn unsent_commands(&self, after: i64, limit: u32) -> Result<Vec<CommandRow>, StoreError> {
        let mut q = sql(SELECT);
        let (state, limit) = (CommandState::Stored.as_str(), i64::from(limit.min(Paging::MAX)));
        q.push("\n  AND c.state = {} AND c.id > {}\nORDER BY c.id\nLIMIT {}", &[&state, &after, &limit]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// The command is in a connection's send queue. Changes nothing if it was answered meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn mark_command_sent(&self, id: i64, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        let update = sql("UPDATE command SET state = $1, sent_at_us = $2 WHERE id = $3 AND state = $4");
        let update = update.bind(CommandState::Sent.as_str()).bind(now).bind(id);
        tx.run(update.bind(CommandState::Stored.as_str())).await?;
        tx.commit().await
    }

    /// The command's end, by the device's answer or because it can never be sent.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn answer_command(&self, id: i64, from: &str, ok: bool, detail: &str, at: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.db.begin().await?;
        answer(&mut tx, id, from, ok, detail, at).await?;
        tx.commit().await
    }
}

/// The first answer stays; one to an unknown command, or from anybody but its addressee, is dropped: any device may invent one.
pub(crate) async fn answer(tx: &mut Tx, id: i64, from: &str, ok: bool, detail: &str, at: Timestamp) -> Result<(), StoreError> {
    let state = if ok { CommandState::Answered } else { CommandState::Failed };
    let update = sql("UPDATE command SET state = $1, answered_at_us = $2, answer = $3
WHERE id = $4
  AND answered_at_us IS NULL
  AND (device_id IN (SELECT id FROM device WHERE code = $5) OR vehicle_id IN (SELECT id FROM vehicle WHERE phone = $5))");
    tx.run(update.bind(state.as_str()).bind(at).bind(detail).bind(id).bind(from)).await.map(drop)
}

fn read(row: &Row) -> Result<CommandRow, StoreError> {
    let target = match (row.get::<Option<DeviceId>>("device_id")?, row.get::<Option<VehicleId>>("vehicle_id")?) {
        (Some(id), _) => Target::Device(id),
        (None, Some(id)) => Target::Vehicle(id),
        (None, None) => return Err(StoreError::Corrupt("a command is for nobody".to_owned())),
    };
    Ok(CommandRow {
        command: Command { id: row.get("id")?, to: row.get("addressee")?, body: row.json("body")? },
        target,
        state: row.word("state", CommandState::parse)?,
        created_at: row.get("created_at_us")?,
        created_by: row.get("created_by")?,
        sent_at: row.get("sent_at_us")?,
        answered_at: row.get("answered_at_us")?,
        answer: row.get("answer")?,
    })
}
