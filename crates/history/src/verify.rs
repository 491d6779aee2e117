//! Offline check of every checksum.

use std::path::{Path, PathBuf};
use std::{fmt, fs};

use crate::block::{self, BlockMeta, Content, Directory, section_positions};
use crate::columns::decode_series;
use crate::disk::{self, CHECKPOINT, CHECKPOINT_BEFORE, MANIFEST, block_path, crc, last_path, log_path};
use crate::error::{At, Result};
use crate::last::Table;
use crate::log::{self, End};
use crate::manifest::{self, Listed, Manifest};
use crate::rollup::Rollups;
use crate::squeeze::inflate;
use crate::{HistoryError, Lsn, checkpoint};

/// One thing found wrong (or merely worth knowing).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

/// What [`verify`] saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Damage: data is lost or unreadable.
    pub damage: Vec<Finding>,
    /// Harmless remains of a crash: a torn last frame, an unfinished file. The next open tidies them.
    pub remains: Vec<Finding>,
    /// Log segments read.
    pub segments: u64,
    /// Whole frames read.
    pub frames: u64,
    /// Block files read.
    pub files: u64,
    /// Sections of points and vehicles read.
    pub sections: u64,
    /// Readings decoded from sections.
    pub readings: u64,
    /// Hours of points in stored rollups.
    pub hours: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl VerifyReport {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

impl fmt::Display for VerifyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (word, list) in [("damaged", &self.damage), ("harmless", &self.remains)] {
            for one in list {
                writeln!(f, "{word}: {} at byte {}: {}", one.file.display(), one.offset, one.what)?;
            }
        }
        writeln!(
            f,
            "{} log segments with {} frames, {} block files with {} sections, {} readings and {} rolled-up hours, {} bytes read",
            self.segments, self.frames, self.files, self.sections, self.readings, self.hours, self.bytes
        )?;
        f.write_str(if self.is_sound() { "sound" } else { "DAMAGED" })
    }
}

/// Reads every file in `dir` and checks every checksum; changes nothing. Run it while no process has the directory open.
///
/// A record that fails its checksum is harmless as the very last thing in the log (a crash tore it before it was acknowledged) and damage
/// anywhere else, or where blocks or a checkpoint name a later record.
///
/// # Errors
/// I/O only; damage is in the report.
pub fn verify(dir: &Path) -> Result<VerifyReport, HistoryError> {
    let mut report = VerifyReport::default();
    let path = dir.join(MANIFEST);
    let Some(bytes) = disk::read_if_there(&path)? else {
        let data = disk::numbered(dir, "log")?.len() + disk::numbered(dir, "block")?.len();
        if data > 0 {
            report.damaged(&path, 0, "there are logs or blocks but no manifest");
        }
        return Ok(report);
    };
    report.bytes += bytes.len() as u64;
    let manifest = match manifest::parse(&bytes) {
        Ok(manifest) => manifest,
        Err((offset, what, _)) => {
            // Without the directory's id and the list of blocks no other checksum can be judged.
            report.damaged(&path, offset, what);
            return Ok(report);
        }
    };
    if manifest.torn {
        report.harmless(&path, manifest.len, "the last row is torn, its seal was not finished");
    }
    for (seq, file) in &manifest.files {
        check_blocks(&mut report, dir, &manifest, *seq, file)?;
    }
    check_strangers(&mut report, dir, &manifest)?;
    let durable = check_log(&mut report, dir, &manifest)?;
    for name in [CHECKPOINT, CHECKPOINT_BEFORE] {
        let path = dir.join(name);
        let Some(bytes) = disk::read_if_there(&path)? else { continue };
        report.bytes += bytes.len() as u64;
        match checkpoint::parse(&bytes, manifest.seed) {
            None => report.damaged(&path, 0, "the checkpoint does not pass its checksum"),
            Some((lsn, _)) if durable.is_some_and(|last| lsn > last) => {
                report.damaged(&path, 0, format!("it names record {lsn}, beyond the end of the log"));
            }
            Some(_) => {}
        }
    }
    Ok(report)
}

impl VerifyReport {
    fn damaged(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        self.damage.push(Finding { file: file.to_path_buf(), offset, what: what.into() });
    }
    fn harmless(&mut self, file: &Path, offset: u64, what: impl Into<String>) {
        self.remains.push(Finding { file: file.to_path_buf(), offset, what: what.into() });
    }
}

/// Every checksum, directory and section of one block file.
fn check_blocks(report: &mut VerifyReport, dir: &Path, manifest: &Manifest, seq: u64, file: &Listed) -> Result<()> {
    let path = block_path(dir, seq);
    let Some(bytes) = disk::read_if_there(&path)? else {
        report.damaged(&path, 0, "the file is missing");
        return Ok(());
    };
    report.files += 1;
    report.bytes += bytes.len() as u64;
    if bytes.len() as u64 != file.len {
        report.damaged(&path, bytes.len() as u64, format!("the file is not {} bytes long", file.len));
    }
    if let Some((offset, what)) = block::check_frame(&bytes, manifest.seed, seq, manifest.window_us, &file.blocks) {
        report.damaged(&path, offset, what);
    }
    let part = |offset: u64, len: u32, sum: u32| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(len as usize)?).filter(|b| crc(manifest.seed, b) == sum)
    };
    for meta in &file.blocks {
        if meta.content == Content::Rollup {
            check_rollups(report, &path, meta, part);
            continue;
        }
        let Some(directory) = part(meta.dir_off, meta.dir_len, meta.dir_crc).and_then(|b| Directory::parse(b, meta)) else {
            report.damaged(&path, meta.dir_off, "a directory does not pass its checksum");
            continue;
        };
        for e in &directory.points {
            report.sections += 1;
            let rows = part(e.place.offset, e.place.len, e.place.crc).and_then(|bytes| {
                let mut rows = Vec::new();
                let unpacked = if e.place.zstd { inflate(bytes)? } else { bytes.to_vec() };
                decode_series(&unpacked, e.point, directory.arrivals.as_ref(), &mut rows)?;
                Some(rows.len())
            });
            match rows {
                Some(n) if n == e.count as usize => report.readings += n as u64,
                _ => report.damaged(&path, e.place.offset, format!("the section of point {} does not pass its checksum", e.point)),
            }
        }
        for e in &directory.vehicles {
            report.sections += 1;
            let rows = part(e.place.offset, e.place.len, e.place.crc).and_then(section_positions);
            if rows.is_none_or(|rows| rows.len() != e.count as usize) {
                report.damaged(&path, e.place.offset, format!("the section of vehicle {} does not pass its checksum", e.vehicle));
            }
        }
    }
    Ok(())
}

/// Every chunk of one block of rollups.
fn check_rollups<'a>(report: &mut VerifyReport, path: &Path, meta: &BlockMeta, part: impl Fn(u64, u32, u32) -> Option<&'a [u8]>) {
    let directory = part(meta.dir_off, meta.dir_len, meta.dir_crc).and_then(|b| Rollups::parse(b, meta.data_off, meta.dir_off));
    let Some(directory) = directory else {
        report.damaged(path, meta.dir_off, "a directory of rollups does not pass its checksum");
        return;
    };
    for (i, place) in directory.places.iter().enumerate() {
        report.sections += 1;
        let points = directory.chunk(i);
        let chunk = part(place.offset, place.len, place.crc).and_then(|b| Rollups::hours(b, points.len(), meta.start));
        match chunk {
            Some(chunk) => report.hours += chunk.iter().map(|(_, hours)| hours.len() as u64).sum::<u64>(),
            None => {
                let (first, last) = (points.first().map_or(0, |p| p.get()), points.last().map_or(0, |p| p.get()));
                report.damaged(path, place.offset, format!("the rollups of points {first} to {last} do not pass their checksum"));
            }
        }
    }
}

/// Files that no row names, and the table of last values.
fn check_strangers(report: &mut VerifyReport, dir: &Path, manifest: &Manifest) -> Result<()> {
    for entry in fs::read_dir(dir).at("list", dir)? {
        let path = entry.at("list", dir)?.path();
        if path.extension().is_some_and(|e| e == "tmp") {
            report.harmless(&path, 0, "a file that was not finished");
        }
    }
    for seq in disk::numbered(dir, "block")? {
        if !manifest.files.contains_key(&seq) {
            report.harmless(
                &block_path(dir, seq),
                0,
                "a block file that is not listed: its seal or merge was not finished, or it was merged",
            );
        }
    }
    if let Some(sealed) = manifest.sealed {
        let path = last_path(dir, sealed.seq);
        match disk::read_if_there(&path)? {
            None => report.harmless(&path, 0, "the table of last values is missing, the next open computes it"),
            Some(bytes) => {
                report.bytes += bytes.len() as u64;
                if Table::parse(&bytes, manifest.seed).is_none() {
                    report.damaged(&path, 0, "the table of last values does not pass its checksum (the next open computes it)");
                }
            }
        }
    }
    Ok(())
}

/// Every frame of every segment, and that nothing is missing between them; returns the last whole record.
fn check_log(report: &mut VerifyReport, dir: &Path, manifest: &Manifest) -> Result<Option<Lsn>> {
    let firsts = disk::numbered(dir, "log")?;
    let covered = manifest.covered;
    if firsts.first().is_some_and(|first| *first > covered.next().0) {
        report.damaged(&log_path(dir, firsts[0]), 0, format!("blocks hold records up to {covered} and the log begins with {}", firsts[0]));
    }
    let mut expected: Option<Lsn> = None;
    for (i, first) in firsts.iter().enumerate() {
        let path = log_path(dir, *first);
        let is_last = i + 1 == firsts.len();
        let bytes = fs::read(&path).at("read", &path)?;
        report.segments += 1;
        report.bytes += bytes.len() as u64;
        if expected.is_some_and(|e| e.0 != *first) {
            report.damaged(&path, 0, format!("the segment should begin with record {}", expected.unwrap_or_default()));
        }
        if is_last && bytes.len() <= log::SEGMENT_HEAD && log::parse_head(&bytes, manifest.seed).is_none() {
            report.harmless(&path, 0, "a segment whose making was cut short");
            continue;
        }
        let scanned = log::scan(&path, &bytes, manifest.seed, |header, offset, frame| {
            report.frames += 1;
            header.decode(frame).map(drop).ok_or_else(|| HistoryError::damaged(&path, offset, "a record cannot be decoded"))
        });
        match scanned {
            Ok((_, next, end)) => {
                expected = Some(next);
                match end {
                    End::Clean => {}
                    End::Torn(offset) if is_last => {
                        report.harmless(&path, offset, format!("record {next} is torn; it was never acknowledged"));
                    }
                    End::Torn(offset) => {
                        report.damaged(&path, offset, format!("record {next} does not pass its checksum, though whole segments follow"));
                    }
                }
            }
            Err(HistoryError::Damaged { file, offset, what }) => {
                report.damaged(&file, offset, what);
                expected = None;
            }
            Err(HistoryError::Version { file, version, .. }) => {
                report.damaged(&file, 0, format!("format version {version} is newer than this release"));
                expected = None;
            }
            Err(other) => return Err(other),
        }
    }
    let last = expected.map(|next| Lsn(next.0.saturating_sub(1)));
    if let (Some(last), Some(first)) = (last, firsts.last())
        && last < covered
    {
        report.damaged(&log_path(dir, *first), 0, format!("the log ends with record {last}, blocks hold records up to {covered}"));
    }
    Ok(last)
}
