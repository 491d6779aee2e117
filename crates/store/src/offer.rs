//! Packs that go down (下发): what this node offers to those below, and what one above offers, in pieces until it is whole.
//!
//! An offer switches nothing on. What came from above goes on down as it came. A piece says which files it is of; those of other files of the same pack
//! are forgotten. Start at [`Store::offer_pack`]; what arrives comes through `Apply::pack`.

use std::collections::BTreeMap;

use anlan_model::{NodeId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::{Change, Entry, Holder};
use crate::db::{Tx, sql};
use crate::inbox::{Apply, Fault, texts};
use crate::{Store, StoreError, require_node_wide};

/// Bytes of a piece; as JSON inside of JSON it is at most twice as long, and an entry is refused above 64 KiB.
const PIECE_BYTES: usize = 24 * 1024;
/// Pieces of a pack.
const PIECES_MAX: u32 = 512;
/// Offers from above.
const OFFERS_MAX: i64 = 50;
/// Longest word of a pack.
const WORD_CHARS: usize = 40;

/// A piece of a pack's files, which are a JSON object of texts by path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PackBody {
    pub(crate) hash: String,
    /// 0 = taken back.
    pub(crate) n_pieces: i64,
    pub(crate) offered_by: String,
    pub(crate) offered_at: i64,
    #[serde(default)]
    pub(crate) data: String,
}

/// A pack that a node offers to those below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackOfferRow {
    /// Which node.
    pub origin: NodeId,
    /// Its name, if it is known.
    pub origin_name: Option<String>,
    /// It is this one.
    pub is_own: bool,
    /// Word of the pack.
    pub pack: String,
    /// Hash of its files, as the origin says.
    pub hash: String,
    /// By whom, as shown there.
    pub offered_by: String,
    /// When.
    pub offered_at: Timestamp,
    /// Pieces that there are, and that are here.
    pub pieces: (i64, i64),
    /// Path and text of each of its files; `None` until every piece is here, or if they cannot be read.
    pub files: Option<BTreeMap<String, String>>,
}

fn subject(origin: NodeId, pack: &str, place: i64) -> String {
    format!("{origin}/{pack}/{place}")
}

fn is_word(pack: &str) -> bool {
    pack.len() <= WORD_CHARS
        && pack.starts_with(|c: char| c.is_ascii_lowercase())
        && pack.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// `text` in pieces of at most so many bytes, none of which ends inside of a character.
pub(crate) fn pieces(text: &str, most: usize) -> Vec<&str> {
    let mut found = Vec::new();
    let mut left = text;
    while left.len() > most {
        let at = (0..=most).rev().find(|at| left.is_char_boundary(*at)).unwrap_or(most);
        let (piece, rest) = left.split_at(at);
        found.push(piece);
        left = rest;
    }
    found.push(left);
    found
}

impl Store {
    /// Packs offered by this node and by those above; nothing for an asker who is not node-wide.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn pack_offers(&self, scope: &Scope) -> Result<Vec<PackOfferRow>, StoreError> {
        if !scope.node_wide() {
            return Ok(Vec::new());
        }
        let own = self.own_node();
        let q = sql("SELECT o.origin, o.pack, o.hash, o.n_pieces, o.offered_by, o.offered_at_us, n.name FROM pack_offer AS o
LEFT JOIN node AS n ON n.id = o.origin
WHERE o.withdrawn = 0
ORDER BY o.pack, o.origin");
        let mut offers = Vec::new();
        for row in self.db.rows(q).await? {
            let (origin, pack, hash): (NodeId, String, String) = (row.get("origin")?, row.get("pack")?, row.get("hash")?);
            let n: i64 = row.get("n_pieces")?;
            let q = sql("SELECT body FROM pack_piece WHERE origin = $1 AND pack = $2 AND hash = $3 ORDER BY place");
            let rows = self.db.rows(q.bind(origin).bind(pack.as_str()).bind(hash.as_str())).await?;
            let here = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            let mut text = String::new();
            for row in &rows {
                text.push_str(&row.json::<PackBody>("body")?.data);
            }
            offers.push(PackOfferRow {
                origin,
                origin_name: row.get("name")?,
                is_own: own == Some(origin),
                pack,
                hash,
                offered_by: row.get("offered_by")?,
                offered_at: row.get("offered_at_us")?,
                pieces: (n, here),
                files: if here == n { serde_json::from_str(&text).ok() } else { None },
            });
        }
        Ok(offers)
    }

    /// Offers a pack to the nodes below, with the files that are on here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for one that is off, or if this node takes part in no network; [`StoreError::TooMany`] for one that is too large to
    /// travel; [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn offer_pack(&self, scope: &Scope, pack: &str, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let own = self.own_node().ok_or(StoreError::NotFound)?;
        let mut change = self.change(scope, now).await?;
        let q = sql("SELECT hash FROM pack WHERE id = $1 AND enabled = 1").bind(pack);
        let hash: String = change.tx.row(q).await?.ok_or(StoreError::NotFound)?.get("hash")?;
        let rows = change.tx.rows(sql("SELECT path, text FROM pack_file WHERE pack_id = $1 ORDER BY path").bind(pack)).await?;
        let files =
            rows.iter().map(|row| Ok((row.get("path")?, row.get("text")?))).collect::<Result<BTreeMap<String, String>, StoreError>>()?;
        let text = serde_json::to_string(&files).map_err(|e| StoreError::Corrupt(format!("the files of {pack}: {e}")))?;
        let parts = pieces(&text, PIECE_BYTES);
        if parts.len() > PIECES_MAX as usize {
            return Err(StoreError::TooMany { most: PIECES_MAX });
        }
        let head = PackBody {
            hash: hash.clone(),
            n_pieces: parts.len() as i64,
            offered_by: scope.name.clone(),
            offered_at: now.micros(),
            data: String::new(),
        };
        forget_pieces(&mut change.tx, own, pack).await?;
        put_offer(&mut change.tx, own, pack, &head).await?;
        for (place, data) in (0..).zip(parts) {
            put_piece(&mut change, own, pack, place, &PackBody { data: data.to_owned(), ..head.clone() }).await?;
        }
        let row = json!({"id": pack, "hash": hash, "offered": true});
        change
            .record(Entry { action: "offer", noun: "pack", subject: pack.to_owned(), detail: row.clone(), row, holder: Holder::NONE })
            .await?;
        change.commit().await
    }

    /// Takes an offer back; what was switched on below stays on there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if it is not offered, [`StoreError::OutOfScope`], [`StoreError::Database`].
    pub async fn withdraw_pack(&self, scope: &Scope, pack: &str, now: Timestamp) -> Result<(), StoreError> {
        require_node_wide(scope)?;
        let own = self.own_node().ok_or(StoreError::NotFound)?;
        let mut change = self.change(scope, now).await?;
        let q = sql("SELECT pack FROM pack_offer WHERE origin = $1 AND pack = $2 AND withdrawn = 0").bind(own).bind(pack);
        change.tx.row(q).await?.ok_or(StoreError::NotFound)?;
        withdraw(&mut change, own, pack, &scope.name).await?;
        let row = json!({"id": pack, "offered": false});
        change
            .record(Entry { action: "withdraw", noun: "pack", subject: pack.to_owned(), detail: row.clone(), row, holder: Holder::NONE })
            .await?;
        change.commit().await
    }
}

/// Takes an offer back, here and below.
async fn withdraw(change: &mut Change<'_>, origin: NodeId, pack: &str, by: &str) -> Result<(), StoreError> {
    let body =
        PackBody { hash: String::new(), n_pieces: 0, offered_by: by.to_owned(), offered_at: change.now.micros(), data: String::new() };
    forget_pieces(&mut change.tx, origin, pack).await?;
    put_offer(&mut change.tx, origin, pack, &body).await?;
    put_piece(change, origin, pack, 0, &body).await
}

/// There is another parent, or none: what the one before offered is offered no more, here and below.
pub(crate) async fn forget_above(change: &mut Change<'_>, own: NodeId) -> Result<(), StoreError> {
    let rows = change.tx.rows(sql("SELECT origin, pack FROM pack_offer WHERE origin <> $1 AND withdrawn = 0").bind(own)).await?;
    for row in rows {
        withdraw(change, row.get("origin")?, &row.get::<String>("pack")?, "").await?;
    }
    Ok(())
}

/// Nothing of the files that were offered is sent any more.
async fn forget_pieces(tx: &mut Tx, origin: NodeId, pack: &str) -> Result<(), StoreError> {
    tx.run(sql("DELETE FROM link_feed WHERE kind = 'pack' AND subject IN (SELECT p.subject FROM pack_piece AS p WHERE p.origin = $1 AND p.pack = $2)")
        .bind(origin)
        .bind(pack))
        .await?;
    tx.run(sql("DELETE FROM pack_piece WHERE origin = $1 AND pack = $2").bind(origin).bind(pack)).await.map(drop)
}

async fn put_offer(tx: &mut Tx, origin: NodeId, pack: &str, body: &PackBody) -> Result<(), StoreError> {
    let put = sql(
        "INSERT INTO pack_offer (origin, pack, hash, n_pieces, withdrawn, offered_by, offered_at_us) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (origin, pack) DO UPDATE SET hash = excluded.hash, n_pieces = excluded.n_pieces, withdrawn = excluded.withdrawn,
  offered_by = excluded.offered_by, offered_at_us = excluded.offered_at_us",
    );
    let put = put.bind(origin).bind(pack).bind(body.hash.as_str()).bind(body.n_pieces).bind(body.n_pieces == 0);
    tx.run(put.bind(body.offered_by.as_str()).bind(body.offered_at)).await.map(drop)
}

/// Keeps a piece, and tells of it below.
async fn put_piece(change: &mut Change<'_>, origin: NodeId, pack: &str, place: i64, body: &PackBody) -> Result<(), StoreError> {
    let text = serde_json::to_string(body).map_err(|e| StoreError::Corrupt(format!("a piece of {pack}: {e}")))?;
    let put = sql("INSERT INTO pack_piece (subject, origin, pack, place, hash, body) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (subject) DO UPDATE SET hash = excluded.hash, body = excluded.body");
    let put = put.bind(subject(origin, pack, place)).bind(origin).bind(pack).bind(place).bind(body.hash.as_str());
    change.tx.run(put.bind(text)).await?;
    change.told.piece(subject(origin, pack, place));
    Ok(())
}

impl Apply<'_> {
    /// From above: a piece of a pack that is offered, or that it is offered no more.
    pub(crate) async fn pack(&mut self, origin: NodeId, id: &str, body: PackBody) -> Result<(), Fault> {
        self.may_speak_for(origin)?;
        let (pack, place) = id.split_once('/').ok_or(Fault::Refused("subject"))?;
        let place: i64 = place.parse().map_err(|_| Fault::Refused("subject"))?;
        let is_back = body.n_pieces == 0;
        let is_place = if is_back { place == 0 } else { (0..body.n_pieces).contains(&place) };
        let is_hash = is_back && body.hash.is_empty() || body.hash.len() == 64 && body.hash.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_word(pack) || !is_place || !is_hash || body.n_pieces > i64::from(PIECES_MAX) {
            return Err(Fault::Refused("body"));
        }
        texts(&[(&body.offered_by, false)])?;
        let tx = &mut self.change.tx;
        let known = tx.row(sql("SELECT hash FROM pack_offer WHERE origin = $1 AND pack = $2").bind(origin).bind(pack)).await?;
        match known {
            None => {
                let q = sql("SELECT COUNT(*) AS n FROM pack_offer WHERE origin <> $1 AND n_pieces > 0").bind(self.own);
                if tx.row(q).await?.ok_or(StoreError::NotFound)?.get::<i64>("n")? >= OFFERS_MAX {
                    return Err(Fault::Refused("size"));
                }
            }
            // Other files of the same pack: of those before nothing is wanted any more.
            Some(row) if row.get::<String>("hash")? != body.hash => forget_pieces(tx, origin, pack).await?,
            Some(_) => {}
        }
        put_offer(tx, origin, pack, &body).await?;
        put_piece(&mut self.change, origin, pack, place, &body).await?;
        self.count("pack");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_short_and_together_the_whole() {
        for text in ["", "a", "安澜安澜安澜", "a安b澜c", "abcdefgh"] {
            for most in 3..9 {
                let parts = pieces(text, most);
                assert_eq!(parts.concat(), text);
                assert!(parts.iter().all(|part| part.len() <= most), "{parts:?}");
            }
        }
    }

    #[test]
    fn a_word_is_no_path() {
        for (word, is) in
            [("drills", true), ("region-yuxi", true), ("", false), ("../x", false), ("a/b", false), ("安", false), ("A", false)]
        {
            assert_eq!(is_word(word), is, "{word}");
        }
    }
}
