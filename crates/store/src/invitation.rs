//! Invitations (邀请): codes with which a node may join below this one. All times are real, not domain time: certificates run on real time too.
//!
//! The secret is 128 random bits, kept as hashes. It is found by the hash of its first half, so that a secret that is nearly right counts as a try at
//! that invitation; after [`TRIES`] of those it is spent. A secret that meets none is the caller's to count, by address. Start at [`Store::invite`].

use anlan_model::{DeviceId, EnterpriseId, NodeId, NodeLevel, RegionCode, Scope, Timestamp};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::audit::{Change, Entry, Holder};
use crate::db::{Row, sql};
use crate::node::{Admission, Neighbour, NodeRow, admit, canonical as node_canonical, current as node_current};
use crate::{Store, StoreError, require_node_wide};

/// Wrong secrets that one invitation bears.
pub const TRIES: i64 = 5;
/// Invitations that may be open at one time.
const OPEN_MAX: i64 = 100;

/// Where an invitation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvitationState {
    /// Nobody has used it.
    Open,
    /// A node has shown its secret and waits for a person.
    Claimed,
    /// A person let the node in.
    Confirmed,
}

impl InvitationState {
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Claimed => "claimed",
            Self::Confirmed => "confirmed",
        }
    }
    fn parse(word: &str) -> Option<Self> {
        [Self::Open, Self::Claimed, Self::Confirmed].into_iter().find(|s| s.as_str() == word)
    }
}

/// An invitation to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInvitation {
    /// Name of the node that may join.
    pub name: String,
    /// Its level.
    pub level: NodeLevel,
    /// Its territory.
    pub region: Option<RegionCode>,
    /// Of an enterprise's node: which enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// The secret.
    pub secret: [u8; 16],
    /// Until when it may be used, real time.
    pub expires_at: Timestamp,
}

/// An invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvitationRow {
    /// Its id.
    pub id: i64,
    /// Name of the node that may join.
    pub name: String,
    /// Its level.
    pub level: NodeLevel,
    /// Its territory.
    pub region: Option<RegionCode>,
    /// Name of the territory.
    pub region_name: Option<String>,
    /// Of an enterprise's node: which enterprise.
    pub enterprise: Option<EnterpriseId>,
    /// Its code.
    pub enterprise_code: Option<String>,
    /// Its name.
    pub enterprise_name: Option<String>,
    /// When it was made, real time.
    pub made_at: Timestamp,
    /// By whom.
    pub made_by: String,
    /// Until when it may be used, real time.
    pub expires_at: Timestamp,
    /// Wrong secrets so far.
    pub n_tries: i64,
    /// Where it stands.
    pub state: InvitationState,
    /// Who claimed it.
    pub node: Option<NodeId>,
    /// That node's public key (`SubjectPublicKeyInfo`, DER).
    pub public_key: Option<Vec<u8>>,
    /// What it got: PEM chain.
    pub certificate: Option<String>,
}

/// What became of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is this node's now, or was already; the certificate is in it once a person has confirmed.
    Held(Box<InvitationRow>),
    /// No invitation has this secret. The caller counts.
    Unknown,
    /// Its time is over.
    Expired,
    /// Too many wrong secrets were tried.
    Spent,
    /// Another node, or another key of this one, has it.
    Taken,
}

const SELECT: &str =
    "SELECT i.id, i.name, i.level, i.region, i.enterprise_id, i.made_at_us, i.made_by, i.expires_at_us, i.n_tries, i.state, i.node_id,
  i.public_key, i.certificate, e.code AS enterprise_code, e.name AS enterprise_name, r.name AS region_name
FROM invitation AS i
LEFT JOIN enterprise AS e ON e.id = i.enterprise_id
LEFT JOIN region AS r ON r.code = i.region
WHERE 1 = 1";

fn lookup(secret: &[u8; 16]) -> [u8; 32] {
    Sha256::digest(&secret[..8]).into()
}

fn whole(secret: &[u8; 16]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

impl Store {
    /// Makes an invitation; `real_now` is real time, `now` domain time for the audit.
    ///
    /// # Errors
    /// [`StoreError::OutOfScope`], [`StoreError::Missing`] for an enterprise that is not there, [`StoreError::TooMany`] open ones,
    /// [`StoreError::Database`].
    pub async fn invite(
        &self,
        scope: &Scope,
        new: &NewInvitation,
        real_now: Timestamp,
        now: Timestamp,
    ) -> Result<InvitationRow, StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        // What was never used and is over makes room.
        change.tx.run(sql("DELETE FROM invitation WHERE state = 'open' AND expires_at_us <= $1").bind(real_now)).await?;
        let row =
            change.tx.row(sql("SELECT COUNT(*) AS n FROM invitation WHERE state <> 'confirmed'")).await?.ok_or(StoreError::NotFound)?;
        if row.get::<i64>("n")? >= OPEN_MAX {
            return Err(StoreError::TooMany { most: OPEN_MAX as u32 });
        }
        if let Some(id) = new.enterprise {
            let found = change.tx.row(sql("SELECT e.id FROM enterprise AS e WHERE e.id = $1 AND e.merged_into IS NULL").bind(id)).await?;
            found.ok_or(StoreError::Missing { field: "enterprise" })?;
        }
        let insert = sql(
            "INSERT INTO invitation (lookup, secret_hash, name, level, region, enterprise_id, made_at_us, made_by, expires_at_us, state)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'open') RETURNING id",
        );
        let insert = insert.bind(lookup(&new.secret)).bind(whole(&new.secret)).bind(new.name.as_str()).bind(new.level.as_str());
        let insert = insert.bind(new.region.as_ref()).bind(new.enterprise).bind(real_now).bind(scope.name.as_str());
        let row = change.tx.row(insert.bind(new.expires_at)).await?.ok_or(StoreError::NotFound)?;
        let made = current(&mut change, row.get("id")?).await?;
        record(&mut change, "create", &made).await?;
        change.commit().await?;
        Ok(made)
    }

    /// Invitations, newest first; empty for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn invitations(&self, scope: &Scope) -> Result<Vec<InvitationRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Vec::new());
        }
        self.db.rows(sql(&format!("{SELECT}\nORDER BY i.id DESC\nLIMIT 500"))).await?.iter().map(read).collect()
    }

    /// One invitation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], also for an asker who is not node-wide, [`StoreError::Database`].
    pub async fn invitation(&self, scope: &Scope, id: i64) -> Result<InvitationRow, StoreError> {
        if !scope.node_wide() {
            return Err(StoreError::NotFound);
        }
        let mut q = sql(SELECT);
        q.push("\n  AND i.id = {}", &[&id]);
        read(&self.db.row(q).await?.ok_or(StoreError::NotFound)?)
    }

    /// Gives the invitation of this secret to a node. Asking again with the same key is the same claim.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn claim_invitation(
        &self,
        secret: &[u8; 16],
        node: NodeId,
        public_key: &[u8],
        real_now: Timestamp,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let scope = Scope::node();
        let mut change = self.change(&scope, now).await?;
        let q = sql("SELECT id, secret_hash, n_tries, state, expires_at_us FROM invitation WHERE lookup = $1 ORDER BY id DESC LIMIT 1");
        let Some(row) = change.tx.row(q.bind(lookup(secret))).await? else { return Ok(Claim::Unknown) };
        let id: i64 = row.get("id")?;
        if row.get::<i64>("n_tries")? >= TRIES {
            return Ok(Claim::Spent);
        }
        if row.get::<[u8; 32]>("secret_hash")? != whole(secret) {
            change.tx.run(sql("UPDATE invitation SET n_tries = n_tries + 1 WHERE id = $1").bind(id)).await?;
            change.commit().await?;
            return Ok(Claim::Unknown);
        }
        let before = current(&mut change, id).await?;
        if before.state != InvitationState::Open {
            let is_same = before.node == Some(node) && before.public_key.as_deref() == Some(public_key);
            return Ok(if is_same { Claim::Held(Box::new(before)) } else { Claim::Taken });
        }
        if before.expires_at <= real_now {
            return Ok(Claim::Expired);
        }
        let update = sql("UPDATE invitation SET state = 'claimed', node_id = $1, public_key = $2 WHERE id = $3");
        change.tx.run(update.bind(node).bind(public_key).bind(id)).await?;
        let after = current(&mut change, id).await?;
        record(&mut change, "claim", &after).await?;
        change.commit().await?;
        Ok(Claim::Held(Box::new(after)))
    }

    /// Lets the node in that claimed it, with the certificate it gets; and the device of its heartbeat if that is new.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that nobody has claimed or that is confirmed, [`StoreError::Taken`] for a node that stands above this one,
    /// [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn confirm_invitation(
        &self,
        scope: &Scope,
        id: i64,
        admission: &Admission,
        now: Timestamp,
    ) -> Result<(NodeRow, Option<DeviceId>), StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        let node = before.node.filter(|_| before.state == InvitationState::Claimed).ok_or(StoreError::NotFound)?;
        let update = sql("UPDATE invitation SET state = 'confirmed', certificate = $1 WHERE id = $2");
        change.tx.run(update.bind(admission.certificate.as_str()).bind(id)).await?;
        let after = current(&mut change, id).await?;
        let child = Neighbour {
            id: node,
            name: after.name.clone(),
            level: after.level,
            region: after.region.clone(),
            enterprise: after.enterprise,
            fingerprint: admission.fingerprint.clone(),
            address: None,
        };
        let device = admit(&mut change, &child, admission).await?;
        record(&mut change, "confirm", &after).await?;
        let row = node_current(&mut change, node).await?;
        let (detail, canonical) = (json!({"invitation": id, "fingerprint": admission.fingerprint}), node_canonical(&row));
        let entry = Entry { action: "admit", noun: "node", subject: node.to_string(), detail, row: canonical, holder: Holder::NONE };
        change.record(entry).await?;
        change.commit().await?;
        Ok((row, device))
    }

    /// Removes an invitation: nobody joins by it any more. A node that joined by it stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn delete_invitation(&self, scope: &Scope, id: i64, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let mut change = self.change(scope, now).await?;
        let before = current(&mut change, id).await?;
        change.tx.run(sql("DELETE FROM invitation WHERE id = $1").bind(id)).await?;
        record(&mut change, "delete", &before).await?;
        change.commit().await
    }
}

async fn current(change: &mut Change<'_>, id: i64) -> Result<InvitationRow, StoreError> {
    let mut q = sql(SELECT);
    q.push("\n  AND i.id = {}", &[&id]);
    read(&change.tx.row(q).await?.ok_or(StoreError::NotFound)?)
}

async fn record(change: &mut Change<'_>, action: &'static str, i: &InvitationRow) -> Result<(), StoreError> {
    let row: Json = json!({
        "id": i.id, "name": i.name, "level": i.level, "region": i.region, "enterprise": i.enterprise, "state": i.state.as_str(),
        "node": i.node.map(|n| n.to_string()), "expires_at_us": i.expires_at.micros(),
    });
    let entry = Entry { action, noun: "invitation", subject: i.id.to_string(), detail: row.clone(), row, holder: Holder::NONE };
    change.record(entry).await
}

fn read(row: &Row) -> Result<InvitationRow, StoreError> {
    Ok(InvitationRow {
        id: row.get("id")?,
        name: row.get("name")?,
        level: row.word("level", NodeLevel::parse)?,
        region: row.get("region")?,
        region_name: row.get("region_name")?,
        enterprise: row.get("enterprise_id")?,
        enterprise_code: row.get("enterprise_code")?,
        enterprise_name: row.get("enterprise_name")?,
        made_at: row.get("made_at_us")?,
        made_by: row.get("made_by")?,
        expires_at: row.get("expires_at_us")?,
        n_tries: row.get("n_tries")?,
        state: row.word("state", InvitationState::parse)?,
        node: row.get("node_id")?,
        public_key: row.get("public_key")?,
        certificate: row.get("certificate")?,
    })
}
