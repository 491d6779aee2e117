//! Reports of violations (举报): holders and their keys, what came sealed, and who asked for a reporter's name.
//!
//! Nothing here can be read without a holder: bytes are sealed before they come, receipt codes come as hashes. Whoever asks has shown that they
//! see the record, except for [`Store::whistleblow_by_code`], where the code is the right. Start at [`RecordChange::put_whistleblow`].

use anlan_model::{RecordId, Scope, Timestamp, UserId};
use serde_json::json;

use crate::audit::{Change, Entry, Holder};
use crate::db::{Row, sql};
use crate::record::RecordChange;
use crate::{Store, StoreError};

/// Somebody who was appointed (保管人).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderRow {
    /// Who.
    pub user: UserId,
    /// Their name.
    pub name: String,
    /// The account is switched off: nothing is sealed to it.
    pub is_disabled: bool,
    /// Name of who appointed them.
    pub appointed_by: String,
    /// When.
    pub appointed_at: Timestamp,
    /// Another holder vouched for them, or there was none yet to do so; before that nothing is sealed to them.
    pub is_confirmed: bool,
    /// The key that is sealed to now, and since when; `None` = they have made none yet.
    pub key: Option<(String, Timestamp)>,
}

/// A holder's key.
#[derive(Clone, PartialEq, Eq)]
pub struct HolderKeyRow {
    /// Its number.
    pub n: i64,
    /// Whose.
    pub user: UserId,
    /// `age1…`.
    pub recipient: String,
    /// The secret under the passphrase.
    pub locked: Vec<u8>,
}

/// What a sealed part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartKind {
    /// What was reported.
    Words,
    /// A file with it.
    File,
    /// Who reported, how to reach and pay them.
    Identity,
}

impl PartKind {
    /// The word in the database and on the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Words => "words",
            Self::File => "file",
            Self::Identity => "identity",
        }
    }
    fn parse(word: &str) -> Option<Self> {
        [Self::Words, Self::File, Self::Identity].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A sealed part without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartRow {
    /// Its number.
    pub n: i64,
    /// What it holds.
    pub kind: PartKind,
    /// Of a file: the words it came with.
    pub words: Option<i64>,
    /// Length of what is sealed.
    pub bytes: i64,
    /// When it came.
    pub received_at: Timestamp,
}

/// A report as it came, or more of one that is there.
pub struct SealedReport {
    /// The words.
    pub words: Vec<u8>,
    /// Files with them.
    pub files: Vec<Vec<u8>>,
    /// Who reported.
    pub identity: Option<SealedIdentity>,
}

/// Who reported, sealed to a key of its own.
pub struct SealedIdentity {
    /// The identity.
    pub bytes: Vec<u8>,
    /// The key's secret for each two holders: keys of asker and granter, bytes.
    pub locks: Vec<(i64, i64, Vec<u8>)>,
}

/// Number of an identity's part, and what a granter left of its lock.
pub type Layer = (i64, Vec<u8>);

/// A report of which the code was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownReport {
    /// The record.
    pub record: RecordId,
    /// Parts that came.
    pub parts: i64,
}

/// A question for who reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsealingRow {
    /// Its number.
    pub n: i64,
    /// Of which report.
    pub record: RecordId,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub asked_by: UserId,
    /// Their name.
    pub asked_by_name: String,
    /// When.
    pub asked_at: Timestamp,
    /// `asked`, `granted`, `refused`.
    pub state: String,
    /// Who decided.
    pub decided_by_name: Option<String>,
    /// When.
    pub decided_at: Option<Timestamp>,
    /// Why it was refused.
    pub opinion: String,
    /// Until when what was granted can be opened.
    pub until: Option<Timestamp>,
    /// When it was first opened.
    pub opened_at: Option<Timestamp>,
}

const UNSEALING: &str =
    "n, record_id, reason, asked_by, asked_by_name, asked_at_us, state, decided_by_name, decided_at_us, opinion, until_us, opened_at_us";

impl Store {
    /// Everybody who was appointed, in order of appointment.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn holders(&self) -> Result<Vec<HolderRow>, StoreError> {
        let q = sql(
            "SELECT h.user_id, u.name, u.disabled, h.appointed_by_name, h.appointed_at_us, h.confirmed_by_name, k.recipient, k.made_at_us
FROM holder AS h
INNER JOIN users AS u ON u.id = h.user_id
LEFT JOIN holder_key AS k ON k.user_id = h.user_id AND k.retired_at_us IS NULL
ORDER BY h.appointed_at_us, h.user_id",
        );
        self.db.rows(q).await?.iter().map(read_holder).collect()
    }

    /// The keys that are sealed to now.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealing_keys(&self) -> Result<Vec<HolderKeyRow>, StoreError> {
        let q = sql("SELECT k.n, k.user_id, k.recipient, k.locked
FROM holder AS h
INNER JOIN users AS u ON u.id = h.user_id
INNER JOIN holder_key AS k ON k.user_id = h.user_id
WHERE k.retired_at_us IS NULL AND u.disabled = 0 AND h.confirmed_by_name IS NOT NULL
ORDER BY k.n");
        self.db.rows(q).await?.iter().map(read_key).collect()
    }

    /// Every key a holder has or had, newest first; empty if they are none (any more).
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keys_of_holder(&self, user: UserId) -> Result<Vec<HolderKeyRow>, StoreError> {
        let q = sql("SELECT k.n, k.user_id, k.recipient, k.locked
FROM holder_key AS k
INNER JOIN holder AS h ON h.user_id = k.user_id
WHERE k.user_id = $1 AND h.confirmed_by_name IS NOT NULL
ORDER BY k.n DESC");
        self.db.rows(q.bind(user)).await?.iter().map(read_key).collect()
    }

    /// Appoints a holder; `is_confirmed` while nobody is there to vouch for them.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if they are one, [`StoreError::Database`].
    pub async fn appoint_holder(&self, scope: &Scope, user: UserId, is_confirmed: bool, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let insert = sql("INSERT INTO holder (user_id, appointed_by_name, appointed_at_us, confirmed_by_name) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id) DO NOTHING");
        if change.tx.run(insert.bind(user).bind(scope.name.as_str()).bind(now).bind(is_confirmed.then_some(""))).await? == 0 {
            return Err(StoreError::Taken { field: "user" });
        }
        told(&mut change, "appoint", user).await?;
        change.commit().await
    }

    /// Another holder vouches for one who was appointed.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if nobody such waits for it, [`StoreError::Database`].
    pub async fn confirm_holder(&self, scope: &Scope, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        let confirm = sql("UPDATE holder SET confirmed_by_name = $1 WHERE user_id = $2 AND confirmed_by_name IS NULL");
        if change.tx.run(confirm.bind(scope.name.as_str()).bind(user)).await? == 0 {
            return Err(StoreError::Stale);
        }
        told(&mut change, "confirm", user).await?;
        change.commit().await
    }

    /// Ends an appointment: nothing is sealed to them any more, and they open nothing any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn dismiss_holder(&self, scope: &Scope, user: UserId, now: Timestamp) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        if change.tx.run(sql("DELETE FROM holder WHERE user_id = $1").bind(user)).await? == 0 {
            return Err(StoreError::NotFound);
        }
        let retire = sql("UPDATE holder_key SET retired_at_us = $1 WHERE user_id = $2 AND retired_at_us IS NULL");
        change.tx.run(retire.bind(now).bind(user)).await?;
        told(&mut change, "dismiss", user).await?;
        change.commit().await
    }

    /// Keeps a holder's new key; the one before seals no more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for somebody who was not appointed, [`StoreError::Database`].
    pub async fn put_holder_key(
        &self,
        scope: &Scope,
        user: UserId,
        recipient: &str,
        locked: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut change = self.change(scope, now).await?;
        change.tx.row(sql("SELECT user_id FROM holder WHERE user_id = $1").bind(user)).await?.ok_or(StoreError::NotFound)?;
        let retire = sql("UPDATE holder_key SET retired_at_us = $1 WHERE user_id = $2 AND retired_at_us IS NULL");
        change.tx.run(retire.bind(now).bind(user)).await?;
        let insert = sql("INSERT INTO holder_key (user_id, recipient, locked, made_at_us) VALUES ($1, $2, $3, $4)");
        change.tx.run(insert.bind(user).bind(recipient).bind(locked).bind(now)).await?;
        told(&mut change, "make_key", user).await?;
        change.commit().await
    }

    /// The report of this code.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn whistleblow_by_code(&self, code_hash: &[u8; 32]) -> Result<KnownReport, StoreError> {
        let q = sql("SELECT record_id, parts FROM whistleblow WHERE code_hash = $1").bind(code_hash);
        let row = self.db.row(q).await?.ok_or(StoreError::NotFound)?;
        Ok(KnownReport { record: row.get("record_id")?, parts: row.get("parts")? })
    }

    /// What came with a report, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_parts(&self, record: RecordId) -> Result<Vec<PartRow>, StoreError> {
        let q = sql(
            "SELECT n, what, words_n, CAST(LENGTH(bytes) AS BIGINT) AS bytes, received_at_us FROM sealed_part WHERE record_id = $1 ORDER BY n",
        );
        self.db.rows(q.bind(record)).await?.iter().map(read_part).collect()
    }

    /// The bytes of parts of a report of one kind, in order; of one part, if `n` says which.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_bytes(
        &self,
        record: RecordId,
        kind: PartKind,
        n: Option<i64>,
    ) -> Result<Vec<(i64, Timestamp, Vec<u8>)>, StoreError> {
        let mut q =
            sql("SELECT n, received_at_us, bytes FROM sealed_part WHERE record_id = $1 AND what = $2").bind(record).bind(kind.as_str());
        if let Some(n) = n {
            q.push(" AND n = {}", &[&n]);
        }
        q.push(" ORDER BY n", &[]);
        self.db.rows(q).await?.iter().map(|row| Ok((row.get("n")?, row.get("received_at_us")?, row.get("bytes")?))).collect()
    }

    /// Bytes of everything that is kept sealed, and of what came since.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_usage(&self, since: Timestamp) -> Result<(u64, u64), StoreError> {
        let q = sql("SELECT COALESCE(CAST(SUM(LENGTH(bytes)) AS BIGINT), 0) AS bytes,
  COALESCE(CAST(SUM(CASE WHEN received_at_us >= $1 THEN LENGTH(bytes) ELSE 0 END) AS BIGINT), 0) AS late
FROM sealed_part");
        let row = self.db.row(q.bind(since)).await?.ok_or(StoreError::NotFound)?;
        let number = |name: &str| Ok::<u64, StoreError>(u64::try_from(row.get::<i64>(name)?).unwrap_or(0));
        Ok((number("bytes")?, number("late")?))
    }

    /// Locks of a report's identities between an asker and a granter: number of the part, and the bytes.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn sealed_locks(&self, record: RecordId, asker: UserId, granter: UserId) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        let q = sql("SELECT l.part_n, l.bytes
FROM sealed_part AS p
INNER JOIN sealed_lock AS l ON l.part_n = p.n
INNER JOIN holder_key AS a ON a.n = l.asker_key
INNER JOIN holder_key AS g ON g.n = l.granter_key
WHERE p.record_id = $1 AND a.user_id = $2 AND g.user_id = $3
ORDER BY l.part_n");
        let rows = self.db.rows(q.bind(record).bind(asker).bind(granter)).await?;
        rows.iter().map(|row| Ok((row.get("part_n")?, row.get("bytes")?))).collect()
    }

    /// Questions for who reported, in order; of one report, if `record` says which.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn unsealings(&self, record: RecordId) -> Result<Vec<UnsealingRow>, StoreError> {
        let q = sql(&format!("SELECT {UNSEALING} FROM unsealing WHERE record_id = $1 ORDER BY n")).bind(record);
        self.db.rows(q).await?.iter().map(read_unsealing).collect()
    }

    /// What a granter left to the asker: number of the part, and the layer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] unless it is granted and not over, [`StoreError::Database`].
    pub async fn unsealing_layers(&self, record: RecordId, n: i64, asker: UserId, now: Timestamp) -> Result<Vec<Layer>, StoreError> {
        let q = sql("SELECT l.part_n, l.bytes
FROM unsealing AS u
INNER JOIN unsealing_layer AS l ON l.unsealing_n = u.n
WHERE u.record_id = $1 AND u.n = $2 AND u.asked_by = $3 AND u.state = 'granted' AND u.until_us > $4
ORDER BY l.part_n");
        let rows = self.db.rows(q.bind(record).bind(n).bind(asker).bind(now)).await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound);
        }
        rows.iter().map(|row| Ok((row.get("part_n")?, row.get("bytes")?))).collect()
    }

    /// Drops what granters left and nobody may open any more; how many.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn drop_layers(&self, now: Timestamp) -> Result<u64, StoreError> {
        let mut tx = self.db.begin().await?;
        let drop = sql("DELETE FROM unsealing_layer WHERE unsealing_n IN (SELECT u.n FROM unsealing AS u WHERE u.until_us <= $1)");
        let n = tx.run(drop.bind(now)).await?;
        tx.commit().await?;
        Ok(n)
    }
}

impl RecordChange<'_> {
    /// Makes a record a sealed report with what came; `code_hash` is the SHA-256 of its receipt code.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if a report of this code came before, [`StoreError::Database`].
    pub async fn put_whistleblow(&mut self, record: RecordId, code_hash: [u8; 32], came: &SealedReport) -> Result<(), StoreError> {
        let insert = sql("INSERT INTO whistleblow (record_id, code_hash, parts) VALUES ($1, $2, 0)");
        self.tx().run(insert.bind(record).bind(code_hash)).await?;
        self.put_sealed(record, came, i64::MAX).await
    }

    /// Keeps more of a report, as long as it has no more than `most` parts.
    ///
    /// # Errors
    /// [`StoreError::Stale`] beyond that, [`StoreError::Database`].
    pub async fn put_sealed(&mut self, record: RecordId, came: &SealedReport, most: i64) -> Result<(), StoreError> {
        let n = 1 + came.files.len() + usize::from(came.identity.is_some());
        let count = sql("UPDATE whistleblow SET parts = parts + $1 WHERE record_id = $2 AND parts <= $3 - $1");
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        if self.tx().run(count.bind(n).bind(record).bind(most)).await? == 0 {
            return Err(StoreError::Stale);
        }
        let words = self.put_part(record, PartKind::Words, None, &came.words).await?;
        for file in &came.files {
            self.put_part(record, PartKind::File, Some(words), file).await?;
        }
        if let Some(identity) = &came.identity {
            let part = self.put_part(record, PartKind::Identity, None, &identity.bytes).await?;
            for (asker, granter, bytes) in &identity.locks {
                let insert = sql("INSERT INTO sealed_lock (part_n, asker_key, granter_key, bytes) VALUES ($1, $2, $3, $4)");
                self.tx().run(insert.bind(part).bind(*asker).bind(*granter).bind(bytes)).await?;
            }
        }
        let identity = came.identity.as_ref().map(|identity| &identity.bytes);
        let hashes: Vec<String> =
            std::iter::once(&came.words).chain(&came.files).chain(identity).map(|b| crate::audit::hex_of(b)).collect();
        self.note_sealed(record, "seal", json!({"sha256": hashes})).await
    }

    async fn put_part(&mut self, record: RecordId, kind: PartKind, words: Option<i64>, bytes: &[u8]) -> Result<i64, StoreError> {
        let now = self.change().now;
        let insert =
            sql("INSERT INTO sealed_part (record_id, what, words_n, bytes, received_at_us) VALUES ($1, $2, $3, $4, $5) RETURNING n");
        let insert = insert.bind(record).bind(kind.as_str()).bind(words).bind(bytes).bind(now);
        self.tx().row(insert).await?.ok_or(StoreError::NotFound)?.get("n")
    }

    /// Writes into the audit what was done with a sealed report.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn note_sealed(&mut self, record: RecordId, action: &'static str, detail: serde_json::Value) -> Result<(), StoreError> {
        let row = self.tx().row(sql("SELECT r.region FROM record AS r WHERE r.id = $1").bind(record)).await?;
        let region: Option<String> = row.ok_or(StoreError::NotFound)?.get("region")?;
        let holder = Holder { region: region.as_deref().and_then(anlan_model::RegionCode::new), ..Holder::NONE };
        let row = detail.clone();
        self.change().record(Entry { action, noun: "sealed_report", subject: record.to_string(), detail, row, holder }).await
    }

    /// Asks who reported.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if one of theirs waits already, [`StoreError::Database`].
    pub async fn ask_unsealing(&mut self, record: RecordId, by: UserId, name: &str, reason: &str) -> Result<i64, StoreError> {
        let now = self.change().now;
        let waiting = sql("SELECT n FROM unsealing WHERE record_id = $1 AND asked_by = $2 AND state = 'asked'").bind(record).bind(by);
        if self.tx().row(waiting).await?.is_some() {
            return Err(StoreError::Taken { field: "reason" });
        }
        let insert = sql("INSERT INTO unsealing (record_id, reason, asked_by, asked_by_name, asked_at_us, state)
VALUES ($1, $2, $3, $4, $5, 'asked') RETURNING n");
        let insert = insert.bind(record).bind(reason).bind(by).bind(name).bind(now);
        let n: i64 = self.tx().row(insert).await?.ok_or(StoreError::NotFound)?.get("n")?;
        self.note_sealed(record, "ask_unsealing", json!({"unsealing": n, "reason": reason})).await?;
        Ok(n)
    }

    /// Decides on a question that waits: what is left to the asker (number of the part and layer) and until when, or why not.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if it was decided meanwhile, [`StoreError::Database`].
    pub async fn decide_unsealing(
        &mut self,
        record: RecordId,
        n: i64,
        name: &str,
        granted: Result<(&[Layer], Timestamp), &str>,
    ) -> Result<(), StoreError> {
        let now = self.change().now;
        let (state, opinion) = granted.map_or_else(|opinion| ("refused", opinion), |_| ("granted", ""));
        let until = granted.ok().map(|(_, until)| until);
        let update = sql("UPDATE unsealing SET state = $1, opinion = $2, decided_by_name = $3, decided_at_us = $4, until_us = $5
WHERE record_id = $6 AND n = $7 AND state = 'asked'");
        let update = update.bind(state).bind(opinion).bind(name).bind(now).bind(until).bind(record).bind(n);
        if self.tx().run(update).await? == 0 {
            return Err(StoreError::Stale);
        }
        for (part, bytes) in granted.map_or(&[][..], |(layers, _)| layers) {
            let insert = sql("INSERT INTO unsealing_layer (unsealing_n, part_n, bytes) VALUES ($1, $2, $3)");
            self.tx().run(insert.bind(n).bind(*part).bind(bytes)).await?;
        }
        let action = if state == "granted" { "grant_unsealing" } else { "refuse_unsealing" };
        self.note_sealed(record, action, json!({"unsealing": n, "opinion": opinion})).await
    }

    /// Writes down that an asker opened what was granted.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn opened_unsealing(&mut self, record: RecordId, n: i64) -> Result<(), StoreError> {
        let now = self.change().now;
        let update = sql("UPDATE unsealing SET opened_at_us = $1 WHERE record_id = $2 AND n = $3 AND opened_at_us IS NULL");
        self.tx().run(update.bind(now).bind(record).bind(n)).await?;
        self.note_sealed(record, "unseal", json!({"unsealing": n})).await
    }
}

async fn told(change: &mut Change<'_>, action: &'static str, user: UserId) -> Result<(), StoreError> {
    let row = json!({"user": user});
    change.record(Entry { action, noun: "holder", subject: user.to_string(), detail: row.clone(), row, holder: Holder::NONE }).await
}

fn read_holder(row: &Row) -> Result<HolderRow, StoreError> {
    let recipient: Option<String> = row.get("recipient")?;
    Ok(HolderRow {
        user: row.get("user_id")?,
        name: row.get("name")?,
        is_disabled: row.get("disabled")?,
        appointed_by: row.get("appointed_by_name")?,
        appointed_at: row.get("appointed_at_us")?,
        is_confirmed: row.get::<Option<String>>("confirmed_by_name")?.is_some(),
        key: recipient.zip(row.get("made_at_us")?),
    })
}

fn read_key(row: &Row) -> Result<HolderKeyRow, StoreError> {
    Ok(HolderKeyRow { n: row.get("n")?, user: row.get("user_id")?, recipient: row.get("recipient")?, locked: row.get("locked")? })
}

fn read_part(row: &Row) -> Result<PartRow, StoreError> {
    let word: String = row.get("what")?;
    let kind = PartKind::parse(&word).ok_or_else(|| StoreError::Corrupt(format!("a sealed part of the kind {word:?}")))?;
    Ok(PartRow { n: row.get("n")?, kind, words: row.get("words_n")?, bytes: row.get("bytes")?, received_at: row.get("received_at_us")? })
}

fn read_unsealing(row: &Row) -> Result<UnsealingRow, StoreError> {
    Ok(UnsealingRow {
        n: row.get("n")?,
        record: row.get("record_id")?,
        reason: row.get("reason")?,
        asked_by: row.get("asked_by")?,
        asked_by_name: row.get("asked_by_name")?,
        asked_at: row.get("asked_at_us")?,
        state: row.get("state")?,
        decided_by_name: row.get("decided_by_name")?,
        decided_at: row.get("decided_at_us")?,
        opinion: row.get("opinion")?,
        until: row.get("until_us")?,
        opened_at: row.get("opened_at_us")?,
    })
}
