//! The table of last values as of a seal, so that opening need not read a year of directories.
//!
//! `last-<sequence>.anl` belongs to the manifest row of that number. It only repeats what blocks hold: lost or damaged, it is computed again.

use std::path::Path;

use anlan_model::{IdMap, PointId, Position, Reading, VehicleId};

use crate::bits::{Cursor, put_varint};
use crate::block::section_positions;
use crate::columns::{ROWS_MAX, decode_mixed, decode_positions, decode_series, encode_mixed, encode_positions, put_times, take_times};
use crate::disk::{self, crc, last_path};
use crate::error::{At, Result};
use crate::head::{PointHead, VehicleHead};
use crate::squeeze::{deflate, inflate};
use crate::state::{PointSlot, Shared, State, VehicleSlot, remember};

const MAGIC: [u8; 4] = *b"ANLL";
const VERSION: u8 = 1;

/// A point or vehicle in the table.
#[derive(Clone, Debug)]
pub(crate) struct Last<T> {
    pub(crate) row: T,
    pub(crate) first_at: i64,
    pub(crate) shards: Vec<u16>,
}

/// The whole table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) points: Vec<Last<Reading>>,
    pub(crate) vehicles: Vec<Last<Position>>,
}

impl Table {
    /// As `state` has it, counting what is being sealed as sealed.
    pub(crate) fn of(state: &State) -> Self {
        let mut table = Self::default();
        for (id, slot) in state.points.iter() {
            let mut shards = slot.shards.clone();
            if let Some(head) = state.sealing.as_ref().and_then(|f| f.points.get(id)) {
                remember(&mut shards, head.shard);
            }
            table.points.push(Last { row: slot.last, first_at: slot.first_at, shards });
        }
        for (id, slot) in &state.vehicles {
            let mut shards = slot.shards.clone();
            if let Some(head) = state.sealing.as_ref().and_then(|f| f.vehicles.get(id)) {
                remember(&mut shards, head.shard);
            }
            table.vehicles.push(Last { row: slot.last.clone(), first_at: slot.first_at, shards });
        }
        table
    }

    /// Writes the table of seal `seq`, durable.
    pub(crate) fn write(mut self, dir: &Path, seed: u32, seq: u64) -> Result<()> {
        self.points.sort_unstable_by_key(|l| l.row.point);
        self.vehicles.sort_unstable_by_key(|l| l.row.vehicle);
        let mut body = Vec::new();
        put_part(&mut body, |out| encode_mixed(&self.points.iter().map(|l| l.row).collect::<Vec<_>>(), out));
        put_rest(&self.points, &mut body);
        put_part(&mut body, |out| encode_positions(&self.vehicles.iter().map(|l| l.row.clone()).collect::<Vec<_>>(), out));
        put_rest(&self.vehicles, &mut body);
        let path = last_path(dir, seq);
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&[VERSION, 0, 0, 0]);
        bytes.extend_from_slice(&deflate(&body).at("compress", &path)?);
        let sum = crc(seed, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        disk::write_atomic(&path, &bytes)
    }

    /// The table in a file's bytes; `None` if they are damaged or of a later version.
    pub(crate) fn parse(bytes: &[u8], seed: u32) -> Option<Self> {
        let (all, sum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc(seed, all).to_le_bytes() != sum {
            return None;
        }
        let mut c = Cursor::new(all);
        if c.take(4)? != MAGIC || c.u8()? != VERSION {
            return None;
        }
        c.take(3)?;
        let body = inflate(c.take(c.left())?)?;
        let mut c = Cursor::new(&body);
        let rows = take_part(&mut c).and_then(decode_mixed)?;
        let points = take_rest(&mut c, rows)?;
        let rows = take_part(&mut c).and_then(decode_positions)?;
        let vehicles = take_rest(&mut c, rows)?;
        (c.left() == 0).then_some(Self { points, vehicles })
    }

    /// Puts the table into an empty state.
    pub(crate) fn load(self, state: &mut State) {
        for Last { row, first_at, shards } in self.points {
            state
                .points
                .insert(row.point, PointSlot { first_at, last: row, sealed_to: row.event_at.micros(), shards, head: PointHead::default() });
        }
        for Last { row, first_at, shards } in self.vehicles {
            state.vehicles.insert(row.vehicle, VehicleSlot { first_at, last: row, shards, head: VehicleHead::default() });
        }
    }

    /// Computes the table from every directory of every block, reading one section per point (and its ties).
    pub(crate) fn rebuild(shared: &Shared) -> Result<Self> {
        let metas: Vec<_> = shared.state().blocks.values().flat_map(|w| w.values().flatten().cloned()).collect();
        let mut points: IdMap<PointId, Last<(i64, Vec<usize>)>> = IdMap::default();
        let mut vehicles: IdMap<VehicleId, Last<(i64, Vec<usize>)>> = IdMap::default();
        for (i, meta) in metas.iter().enumerate() {
            let directory = shared.directory(meta)?;
            for e in &directory.points {
                note(points.entry(e.point).or_insert_with(blank), e.first_at, e.last_at, meta.shard, i);
            }
            for e in &directory.vehicles {
                note(vehicles.entry(e.vehicle).or_insert_with(blank), e.first_at, e.last_at, meta.shard, i);
            }
        }
        let mut table = Self::default();
        for (id, Last { row: (_, mut ties), first_at, shards }) in points {
            ties.sort_unstable_by_key(|i| metas[*i].rank);
            let mut newest: Option<Reading> = None;
            for i in ties {
                let directory = shared.directory(&metas[i])?;
                let Some(entry) = directory.point(id) else { continue };
                let mut rows = Vec::new();
                decode_series(&shared.section(&metas[i], &entry.place)?, id, directory.arrivals.as_ref(), &mut rows)
                    .ok_or_else(|| shared.undecodable(&metas[i], &entry.place))?;
                for r in rows {
                    if newest.is_none_or(|n| (r.event_at, r.revision) >= (n.event_at, n.revision)) {
                        newest = Some(r);
                    }
                }
            }
            table.points.extend(newest.map(|row| Last { row, first_at, shards }));
        }
        for (id, Last { row: (_, mut ties), first_at, shards }) in vehicles {
            ties.sort_unstable_by_key(|i| metas[*i].rank);
            let mut newest: Option<Position> = None;
            for i in ties {
                let directory = shared.directory(&metas[i])?;
                let Some(entry) = directory.vehicle(id) else { continue };
                let rows = section_positions(&shared.raw_section(&metas[i], &entry.place)?)
                    .ok_or_else(|| shared.undecodable(&metas[i], &entry.place))?;
                newest = rows.into_iter().next_back().or(newest);
            }
            table.vehicles.extend(newest.map(|row| Last { row, first_at, shards }));
        }
        Ok(table)
    }
}

fn blank() -> Last<(i64, Vec<usize>)> {
    Last { row: (i64::MIN, Vec::new()), first_at: i64::MAX, shards: Vec::new() }
}

fn note(last: &mut Last<(i64, Vec<usize>)>, first_at: i64, last_at: i64, shard: u16, block: usize) {
    last.first_at = last.first_at.min(first_at);
    remember(&mut last.shards, shard);
    if last_at > last.row.0 {
        last.row = (last_at, vec![block]);
    } else if last_at == last.row.0 {
        last.row.1.push(block);
    }
}

fn put_part(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut part = Vec::new();
    fill(&mut part);
    put_varint(out, part.len() as u64);
    out.extend_from_slice(&part);
}

fn take_part<'a>(c: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let n = c.len(usize::MAX)?;
    c.take(n)
}

fn put_rest<T>(rows: &[Last<T>], out: &mut Vec<u8>) {
    put_times(rows.iter().map(|l| l.first_at), out);
    for row in rows {
        put_varint(out, row.shards.len() as u64);
        row.shards.iter().for_each(|s| put_varint(out, u64::from(*s)));
    }
}

fn take_rest<T>(c: &mut Cursor<'_>, rows: Vec<T>) -> Option<Vec<Last<T>>> {
    debug_assert!(rows.len() <= ROWS_MAX);
    let firsts = take_times(c, rows.len())?;
    let mut out = Vec::with_capacity(rows.len());
    for (row, first_at) in rows.into_iter().zip(firsts) {
        let n = c.len(usize::from(u16::MAX) + 1)?;
        let shards = (0..n).map(|_| u16::try_from(c.varint()?).ok()).collect::<Option<Vec<_>>>()?;
        out.push(Last { row, first_at, shards });
    }
    Some(out)
}
