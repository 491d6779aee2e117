//! Duty rotas (值班表): shifts and handovers.
//!
//! A shift is its division's, as the division's own records are: seen by who holds the whole division. What may be done is decided above; what is
//! read to decide stands still until the change has committed. Start at [`Store::duty_shifts`]; writing is [`DutyChange`].

use anlan_model::{DutyShiftId, RegionCode, Scope, Timestamp, UserId};
use serde_json::{Value as Json, json};

use crate::audit::{Change, Entry, Holder, check_revision, difference};
use crate::db::{PIECE, Row, Sql, sql};
use crate::region::{MOVED_AT_ONCE, Redivision};
use crate::scope::Owner;
use crate::{Page, Paging, Store, StoreError};

/// Shifts that one look at who is on duty reads.
const LOOK_MAX: i64 = 50_000;

/// A shift.
#[derive(Clone, Debug, PartialEq)]
pub struct DutyShiftRow {
    /// Id.
    pub id: DutyShiftId,
    /// What it is.
    pub shift: DutyShift,
    /// Name of the division, if the region pack knows the code.
    pub region_name: Option<String>,
    /// Name of whoever is on duty.
    pub user_name: String,
    /// Name of the second person.
    pub second_name: Option<String>,
    /// What was handed over at its end.
    pub handover: Option<DutyHandoverRow>,
    /// Counts every change.
    pub revision: i64,
}

/// What a shift says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DutyShift {
    /// Where.
    pub region: RegionCode,
    /// Word of the desk.
    pub desk: String,
    /// Who.
    pub user: UserId,
    /// Who else.
    pub second: Option<UserId>,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
    /// Telephone of the shift.
    pub phone: String,
    /// Note.
    pub note: String,
}

impl DutyShift {
    /// Who is on duty.
    pub fn people(&self) -> impl Iterator<Item = UserId> {
        [Some(self.user), self.second].into_iter().flatten()
    }
}

/// A handover.
#[derive(Clone, Debug, PartialEq)]
pub struct DutyHandoverRow {
    /// What is to be known.
    pub text: String,
    /// Alarms that were open.
    pub n_alarms: i64,
    /// Names of the newest of them.
    pub alarms: Json,
    /// Who wrote it.
    pub by: UserId,
    /// Their name.
    pub by_name: String,
    /// When.
    pub at: Timestamp,
    /// Who read it.
    pub confirmed_by_name: Option<String>,
    /// When.
    pub confirmed_at: Option<Timestamp>,
    /// Counts every change.
    pub revision: i64,
}

/// Which shifts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DutyFilter {
    /// In this division.
    pub region: Option<RegionCode>,
    /// At this desk.
    pub desk: Option<String>,
    /// Of this person.
    pub user: Option<UserId>,
    /// Ending after this.
    pub from: Option<Timestamp>,
    /// Beginning before this.
    pub to: Option<Timestamp>,
}

const OWNER: Owner = Owner { enterprise: "NULL", region: "s.region", sector: "NULL" };
const SELECT: &str =
    "SELECT s.id, s.region, r.name AS region_name, s.desk, s.user_id, u.name AS user_name, s.second_id, v.name AS second_name,
  s.from_us, s.to_us, s.phone, s.note, s.revision,
  h.text, h.n_alarms, h.alarms, h.written_by, w.name AS written_by_name, h.written_at_us, c.name AS confirmed_by_name, h.confirmed_at_us,
  h.revision AS handover_revision
FROM duty_shift AS s
INNER JOIN users AS u ON u.id = s.user_id
LEFT JOIN users AS v ON v.id = s.second_id
LEFT JOIN region AS r ON r.code = s.region
LEFT JOIN duty_handover AS h ON h.shift_id = s.id
LEFT JOIN users AS w ON w.id = h.written_by
LEFT JOIN users AS c ON c.id = h.confirmed_by
WHERE s.removed_at_us IS NULL";

fn read(row: &Row) -> Result<DutyShiftRow, StoreError> {
    let handover = match row.get::<Option<UserId>>("written_by")? {
        None => None,
        Some(by) => Some(DutyHandoverRow {
            text: row.get("text")?,
            n_alarms: row.get("n_alarms")?,
            alarms: row.json("alarms")?,
            by,
            by_name: row.get("written_by_name")?,
            at: row.get("written_at_us")?,
            confirmed_by_name: row.get("confirmed_by_name")?,
            confirmed_at: row.get("confirmed_at_us")?,
            revision: row.get("handover_revision")?,
        }),
    };
    Ok(DutyShiftRow {
        id: row.get("id")?,
        shift: DutyShift {
            region: row.get("region")?,
            desk: row.get("desk")?,
            user: row.get("user_id")?,
            second: row.get("second_id")?,
            from: row.get("from_us")?,
            to: row.get("to_us")?,
            phone: row.get("phone")?,
            note: row.get("note")?,
        },
        region_name: row.get("region_name")?,
        user_name: row.get("user_name")?,
        second_name: row.get("second_name")?,
        handover,
        revision: row.get("revision")?,
    })
}

fn canonical(id: DutyShiftId, shift: &DutyShift, revision: i64) -> Json {
    json!({"id": id, "region": shift.region, "desk": shift.desk, "user": shift.user, "second": shift.second, "from_us": shift.from.micros(),
        "to_us": shift.to.micros(), "phone": shift.phone, "note": shift.note, "revision": revision})
}

fn filtered(q: &mut Sql, scope: &Scope, filter: &DutyFilter) {
    q.and_visible(scope, OWNER);
    if let Some(region) = &filter.region {
        let (from, to) = region.range();
        q.push("\n  AND s.region >= {} AND s.region < {}", &[&from, &to]);
    }
    if let Some(desk) = &filter.desk {
        q.push("\n  AND s.desk = {}", &[desk]);
    }
    if let Some(user) = &filter.user {
        q.push("\n  AND (s.user_id = {} OR s.second_id = {})", &[user, user]);
    }
    if let Some(from) = &filter.from {
        q.push("\n  AND s.to_us > {}", &[from]);
    }
    if let Some(to) = &filter.to {
        q.push("\n  AND s.from_us < {}", &[to]);
    }
}

impl Store {
    /// A page of visible shifts, in order of their beginnings.
    ///
    /// # Errors
    /// [`StoreError::Cursor`], [`StoreError::Database`].
    pub async fn duty_shifts(&self, scope: &Scope, filter: &DutyFilter, paging: &Paging) -> Result<Page<DutyShiftRow>, StoreError> {
        let mut q = sql(SELECT);
        filtered(&mut q, scope, filter);
        if let Some(cursor) = &paging.cursor {
            let (at, id) = cursor.split_once('_').ok_or(StoreError::Cursor)?;
            let at: i64 = at.parse().map_err(|_| StoreError::Cursor)?;
            let id: i64 = id.parse().map_err(|_| StoreError::Cursor)?;
            q.push("\n  AND (s.from_us > {} OR (s.from_us = {} AND s.id > {}))", &[&at, &at, &id]);
        }
        q.push("\nORDER BY s.from_us, s.id\nLIMIT {}", &[&paging.fetch()]);
        let cursor = |row: &Row| Ok(format!("{}_{}", row.get::<i64>("from_us")?, row.get::<i64>("id")?));
        paging.page(self.db.rows(q).await?, cursor, read)
    }

    /// Every visible shift of the filter, in order of divisions, desks and beginnings: who is on duty, and who is not.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn duty_look(&self, scope: &Scope, filter: &DutyFilter) -> Result<Vec<DutyShiftRow>, StoreError> {
        let mut q = sql(SELECT);
        filtered(&mut q, scope, filter);
        q.push("\nORDER BY s.region, s.desk, s.from_us, s.id\nLIMIT {}", &[&LOOK_MAX]);
        self.db.rows(q).await?.iter().map(read).collect()
    }

    /// How many shifts end after `at` in which this person is on duty, whoever asks.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn n_duties_of(&self, user: UserId, at: Timestamp) -> Result<i64, StoreError> {
        let q = sql("SELECT COUNT(*) AS n FROM duty_shift AS s
WHERE s.removed_at_us IS NULL AND s.to_us > $1 AND (s.user_id = $2 OR s.second_id = $2)");
        self.db.row(q.bind(at).bind(user)).await?.ok_or(StoreError::NotFound)?.get("n")
    }

    /// Begins a change of rotas; what it reads cannot change before it commits.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::Database`].
    pub async fn change_duty<'a>(&self, scope: &'a Scope, now: Timestamp) -> Result<DutyChange<'a>, StoreError> {
        Ok(DutyChange { change: self.change(scope, now).await? })
    }
}

/// A change of rotas under way; dropped without [`DutyChange::commit`] nothing has happened.
pub struct DutyChange<'a> {
    change: Change<'a>,
}

impl DutyChange<'_> {
    /// A visible shift.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Database`].
    pub async fn shift(&mut self, id: DutyShiftId) -> Result<DutyShiftRow, StoreError> {
        let mut q = sql(SELECT);
        q.push("\n  AND s.id = {}", &[&id]).and_visible(self.change.scope, OWNER);
        read(&self.change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Every shift with one of these people that meets the time between `from` and `to`, whoever asks: nobody is in two places at once.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn with_people(&mut self, people: &[UserId], from: Timestamp, to: Timestamp) -> Result<Vec<DutyShiftRow>, StoreError> {
        let mut found = Vec::new();
        for piece in people.chunks(PIECE) {
            for column in ["s.user_id", "s.second_id"] {
                let mut q = sql(SELECT);
                q.push("\n  AND s.to_us > {} AND s.from_us < {}", &[&from, &to]);
                q.and_in(column, piece);
                for row in self.change.tx.rows(q).await? {
                    found.push(read(&row)?);
                }
            }
        }
        found.sort_by_key(|row| row.id);
        found.dedup_by_key(|row| row.id);
        Ok(found)
    }

    /// Whether the asker is on duty at the same desk in a shift that begins after `row` and before `until`.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn is_next(&mut self, row: &DutyShiftRow, until: Timestamp) -> Result<bool, StoreError> {
        let q = sql("SELECT s.id FROM duty_shift AS s
WHERE s.removed_at_us IS NULL AND s.region = $1 AND s.desk = $2 AND s.from_us > $3 AND s.from_us <= $4 AND (s.user_id = $5 OR s.second_id = $5)
LIMIT 1");
        let q = q.bind(&row.shift.region).bind(row.shift.desk.as_str()).bind(row.shift.from).bind(until).bind(self.change.scope.user);
        Ok(self.change.tx.row(q).await?.is_some())
    }

    /// Makes a shift.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn create(&mut self, shift: &DutyShift, reason: Option<&str>) -> Result<DutyShiftId, StoreError> {
        self.may_hold(&shift.region)?;
        let insert = sql("INSERT INTO duty_shift (region, desk, user_id, second_id, from_us, to_us, phone, note)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id");
        let insert = insert.bind(&shift.region).bind(shift.desk.as_str()).bind(shift.user).bind(shift.second).bind(shift.from);
        let insert = insert.bind(shift.to).bind(shift.phone.as_str()).bind(shift.note.as_str());
        let id: DutyShiftId = self.change.tx.row(insert).await?.ok_or(StoreError::NotFound)?.get("id")?;
        let row = canonical(id, shift, 1);
        self.finish("create", id, &shift.region, row.clone(), row, reason).await?;
        Ok(id)
    }

    /// Changes the shift that [`DutyChange::shift`] brought; division and desk stay.
    ///
    /// # Errors
    /// [`StoreError::Stale`] unless its revision is `revision`, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn update(&mut self, row: &DutyShiftRow, revision: i64, shift: &DutyShift, reason: Option<&str>) -> Result<(), StoreError> {
        self.may_hold(&row.shift.region)?;
        check_revision(row.revision, revision)?;
        let update = sql("UPDATE duty_shift SET user_id = $1, second_id = $2, from_us = $3, to_us = $4, phone = $5, note = $6,
  revision = revision + 1
WHERE id = $7");
        let update = update.bind(shift.user).bind(shift.second).bind(shift.from).bind(shift.to).bind(shift.phone.as_str());
        self.change.tx.run(update.bind(shift.note.as_str()).bind(row.id)).await?;
        let after = canonical(row.id, shift, row.revision + 1);
        let detail = difference(&canonical(row.id, &row.shift, row.revision), &after);
        self.finish("update", row.id, &row.shift.region, detail, after, reason).await
    }

    /// Takes away the shift that [`DutyChange::shift`] brought.
    ///
    /// # Errors
    /// [`StoreError::Stale`] unless its revision is `revision`, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn remove(&mut self, row: &DutyShiftRow, revision: i64, reason: Option<&str>) -> Result<(), StoreError> {
        self.may_hold(&row.shift.region)?;
        check_revision(row.revision, revision)?;
        let update = sql("UPDATE duty_shift SET removed_at_us = $1, revision = revision + 1 WHERE id = $2");
        self.change.tx.run(update.bind(self.change.now).bind(row.id)).await?;
        let mut after = canonical(row.id, &row.shift, row.revision + 1);
        after["removed"] = json!(true);
        self.finish("remove", row.id, &row.shift.region, after.clone(), after, reason).await
    }

    /// Writes what the shift hands over, in the place of what was written before and is not confirmed; `revision` is that of the handover, 0 = none.
    ///
    /// # Errors
    /// [`StoreError::Stale`], [`StoreError::Database`].
    pub async fn hand_over(
        &mut self,
        row: &DutyShiftRow,
        revision: i64,
        text: &str,
        n_alarms: i64,
        alarms: &Json,
    ) -> Result<(), StoreError> {
        check_revision(row.handover.as_ref().map_or(0, |h| h.revision), revision)?;
        let put =
            sql("INSERT INTO duty_handover (shift_id, text, n_alarms, alarms, written_by, written_at_us) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (shift_id) DO UPDATE SET text = excluded.text, n_alarms = excluded.n_alarms, alarms = excluded.alarms,
  written_by = excluded.written_by, written_at_us = excluded.written_at_us, revision = duty_handover.revision + 1");
        let put = put.bind(row.id).bind(text).bind(n_alarms).bind(alarms.to_string()).bind(self.change.scope.user).bind(self.change.now);
        self.change.tx.run(put).await?;
        let after = json!({"shift": row.id, "text": text, "n_alarms": n_alarms, "alarms": alarms, "revision": revision + 1});
        self.record("hand_over", "duty_handover", row.id, &row.shift.region, after.clone(), after).await
    }

    /// Notes that the asker read what the shift handed over.
    ///
    /// # Errors
    /// [`StoreError::Stale`] unless that is at `revision`, [`StoreError::Database`].
    pub async fn confirm(&mut self, row: &DutyShiftRow, revision: i64) -> Result<(), StoreError> {
        check_revision(row.handover.as_ref().map_or(0, |h| h.revision), revision)?;
        let update = sql("UPDATE duty_handover SET confirmed_by = $1, confirmed_at_us = $2, revision = revision + 1 WHERE shift_id = $3");
        self.change.tx.run(update.bind(self.change.scope.user).bind(self.change.now).bind(row.id)).await?;
        let after = json!({"shift": row.id, "confirmed_by": self.change.scope.user, "revision": revision + 1});
        self.record("confirm", "duty_handover", row.id, &row.shift.region, after.clone(), after).await
    }

    /// Commits everything.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn commit(mut self) -> Result<(), StoreError> {
        crate::roster::tell(&mut self.change).await?;
        self.change.commit().await
    }

    fn may_hold(&self, region: &RegionCode) -> Result<(), StoreError> {
        if self.change.scope.holds(None, Some(region), None) { Ok(()) } else { Err(StoreError::OutOfScope) }
    }

    async fn finish(
        &mut self,
        action: &'static str,
        id: DutyShiftId,
        region: &RegionCode,
        mut detail: Json,
        row: Json,
        reason: Option<&str>,
    ) -> Result<(), StoreError> {
        if let Some(reason) = reason {
            detail["reason"] = json!(reason);
        }
        self.record(action, "duty_shift", id, region, detail, row).await
    }

    async fn record(
        &mut self,
        action: &'static str,
        noun: &'static str,
        id: DutyShiftId,
        region: &RegionCode,
        detail: Json,
        row: Json,
    ) -> Result<(), StoreError> {
        self.change.tell(noun, &row).await?;
        let holder = Holder { enterprise: None, region: Some(region.clone()), sector: None };
        self.change.record(Entry { action, noun, subject: id.to_string(), detail, row, holder }).await
    }
}

/// Moves what is on or to come in a division whose code was replaced, some at a time; how many those were. What is over keeps the code of its time.
pub(crate) async fn redivide(store: &Store, redivision: &Redivision, now: Timestamp) -> Result<u64, StoreError> {
    let node = Scope::node();
    let mut change = store.change_duty(&node, now).await?;
    let q = format!("{SELECT}\n  AND s.region = $1 AND s.to_us > $2\nORDER BY s.id\nLIMIT $3");
    let rows = change.change.tx.rows(sql(&q).bind(&redivision.from).bind(now).bind(MOVED_AT_ONCE)).await?;
    for row in &rows {
        let before = read(row)?;
        let after = DutyShift { region: redivision.to.clone(), ..before.shift.clone() };
        let update = sql("UPDATE duty_shift SET region = $1, revision = revision + 1 WHERE id = $2");
        change.change.tx.run(update.bind(&after.region).bind(before.id)).await?;
        let row = canonical(before.id, &after, before.revision + 1);
        let detail = redivision.reason(difference(&canonical(before.id, &before.shift, before.revision), &row));
        change.record("redivide", "duty_shift", before.id, &after.region, detail, row).await?;
    }
    // What is made known of the division is so under its new code.
    let put = "INSERT INTO duty_told (region, desk) SELECT $1, t.desk FROM duty_told AS t WHERE t.region = $2 ON CONFLICT (region, desk) DO NOTHING";
    change.change.tx.run(sql(put).bind(&redivision.to).bind(&redivision.from)).await?;
    change.commit().await?;
    Ok(rows.len() as u64)
}
