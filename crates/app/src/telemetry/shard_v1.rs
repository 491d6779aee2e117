//! Checkpoints as they were written before version 3, when each subject carried its rules as text: read for ever, never written.
//!
//! Version 1 is the shards; version 2 adds behind them where their vehicles are believed to be, in the same order. Start at [`read`].

use std::collections::BTreeMap;

use anlan_model::VehicleId;

use super::shard::{Shard, ShardV1, Whereabouts};

/// The shards of a checkpoint of version 1 or 2; `None` if it is not one.
pub(super) fn read(version: u8, bytes: &[u8]) -> Option<Vec<Shard>> {
    let (shards, mut held): (Vec<ShardV1>, Vec<BTreeMap<VehicleId, Whereabouts>>) =
        if version == 1 { (postcard::from_bytes(bytes).ok()?, Vec::new()) } else { postcard::from_bytes(bytes).ok()? };
    held.resize_with(shards.len(), BTreeMap::new);
    Some(shards.into_iter().zip(held).map(|(shard, held)| shard.into_shard(held)).collect())
}
