//! How far a platform above has been given what was kept here, as a small file that survives restarts.
//!
//! Positions are counted in records of the log. What could not be given while the link was down is a gap; the newest goes first, gaps follow,
//! oldest first. Start at [`Cursor::resume`].

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anlan_model::{Timestamp, VehicleId};
use serde::{Deserialize, Serialize};

/// Gaps that are told apart; further ones are joined, and what lies between is given twice.
const GAPS_MAX: usize = 64;

/// Up to where things were given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Record of the log up to which the newest was given.
    pub(super) live: u64,
    /// Domain time about then, in µs.
    pub(super) live_us: i64,
    /// What is still owed from before, oldest first.
    pub(super) gaps: Vec<Gap>,
}

/// Records behind `from` up to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) from: u64,
    pub(super) to: u64,
    /// Domain time about `from`, in µs.
    pub(super) from_us: i64,
    /// The part that the log no longer holds and history does; given first.
    #[serde(default)]
    pub(super) old: Option<Old>,
}

/// What was received in a time, vehicle by vehicle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Old {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    /// Vehicles up to this one are done.
    pub(super) vehicle: i64,
    /// The next one up to this instant.
    #[serde(default)]
    pub(super) after_us: Option<i64>,
}

impl Old {
    pub(super) fn next_of(&self, mut vehicles: impl Iterator<Item = VehicleId>) -> Option<VehicleId> {
        vehicles.find(|id| id.get() > self.vehicle)
    }
    pub(super) fn after(&self) -> Option<Timestamp> {
        self.after_us.map(Timestamp::from_micros)
    }
}

impl Cursor {
    /// Goes on at `head`: what was not given by then is a gap.
    pub(super) fn resume(&mut self, head: u64, now_us: i64) {
        if head > self.live {
            self.gaps.push(Gap { from: self.live, to: head, from_us: self.live_us, old: None });
        }
        while self.gaps.len() > GAPS_MAX {
            // The two newest: what is oldest waits longest already. The older one is kept whole, what lies between comes again.
            let (last, before) = (self.gaps.pop(), self.gaps.pop());
            if let (Some(last), Some(before)) = (last, before) {
                self.gaps.push(Gap { to: last.to, ..before });
            }
        }
        (self.live, self.live_us) = (head, now_us);
    }
    /// Records that are owed from before.
    pub(super) fn owed(&self) -> u64 {
        self.gaps.iter().map(|gap| gap.to.saturating_sub(gap.from)).sum()
    }
}

/// The file of a platform above.
#[derive(Clone, Debug)]
pub(super) struct CursorFile(PathBuf);

impl CursorFile {
    pub(super) fn new(dir: &Path, name: &str) -> Self {
        Self(dir.join(format!("{name}.json")))
    }
    /// `None` if there is none yet.
    ///
    /// # Errors
    /// It cannot be read, or says nothing that makes sense.
    pub(super) fn load(&self) -> io::Result<Option<Cursor>> {
        match std::fs::read(&self.0) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
    /// Durable when it returns.
    ///
    /// # Errors
    /// Those of the disk; the file before stays then.
    pub(super) fn save(&self, cursor: &Cursor) -> io::Result<()> {
        let dir = self.0.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let new = self.0.with_extension("new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(cursor).map_err(io::Error::other)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.0)?;
        std::fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_given_is_a_gap_and_gaps_are_bounded() {
        let mut cursor = Cursor { live: 10, live_us: 1, gaps: Vec::new() };
        cursor.resume(10, 2);
        assert_eq!((cursor.gaps.len(), cursor.live_us), (0, 2));
        cursor.resume(15, 3);
        assert_eq!(cursor.gaps, [Gap { from: 10, to: 15, from_us: 2, old: None }]);
        for n in 0..200 {
            cursor.live += 1;
            cursor.resume(20 + 3 * n, 4);
        }
        assert_eq!(cursor.gaps.len(), GAPS_MAX);
        assert_eq!((cursor.gaps[0].from, cursor.gaps[GAPS_MAX - 1].to), (10, 20 + 3 * 199));
        assert!(cursor.gaps.windows(2).all(|w| w[0].to <= w[1].from));
    }

    #[test]
    fn a_cursor_comes_back_from_its_file() {
        let dir = std::env::temp_dir().join(format!("anlan-jt809-cursor-{}", std::process::id()));
        let file = CursorFile::new(&dir.join("deep"), "city");
        assert_eq!(file.load().unwrap(), None);
        let old = Old { from_us: 1, to_us: 2, vehicle: 3, after_us: Some(4) };
        let cursor = Cursor { live: 7, live_us: 8, gaps: vec![Gap { from: 1, to: 2, from_us: 3, old: Some(old) }] };
        file.save(&cursor).unwrap();
        assert_eq!(file.load().unwrap(), Some(cursor));
        std::fs::write(dir.join("deep/city.json"), b"{").unwrap();
        assert!(file.load().is_err());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
