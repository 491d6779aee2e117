//! Section `year`: a restart with a year of archived days, a thousand partitions each.
//!
//! One day is archived for real, a row and a file in every partition; the other days' manifests name as many files of the same kind, which a start
//! does not open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anlan_archive::{Archive, ArchiveError, Day, Describe, Description, Hot, Place};
use anlan_model::{Flags, PointId, Position, Quality, Reading, Timestamp};
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::node::Node;
use crate::report::{Goal, Line};
use crate::{Options, fresh_dir, now_ms};

const DAYS: i64 = 365;
const PARTITIONS: i64 = 1_000;

/// A reading of each point at noon.
struct Noon;

impl Hot<Reading> for Noon {
    fn subjects(&self, _: Day) -> Vec<i64> {
        (1..=PARTITIONS).collect()
    }
    fn rows(&self, subject: i64, day: Day) -> Result<Vec<Reading>, ArchiveError> {
        let at = day.start().plus_us(43_200_000_000);
        let point = PointId::new(subject);
        Ok(vec![Reading {
            point,
            event_at: at,
            received_at: at,
            device_at: Some(at),
            value: 20.0,
            quality: Quality::Good,
            flags: Flags::default(),
            revision: 0,
        }])
    }
}

impl Hot<Position> for Noon {
    fn subjects(&self, _: Day) -> Vec<i64> {
        Vec::new()
    }
    fn rows(&self, _: i64, _: Day) -> Result<Vec<Position>, ArchiveError> {
        Ok(Vec::new())
    }
}

/// Each point is alone in its division.
impl Describe for Noon {
    fn point(&self, id: i64, _: Day) -> Arc<Description> {
        Arc::new(Description { region: format!("{id:06}"), labels: Default::default() })
    }
    fn vehicle(&self, id: i64, day: Day) -> Arc<Description> {
        self.point(id, day)
    }
}

/// Until `done` says so; how long it took.
fn until(begun: Instant, what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<f64> {
    while !done()? {
        ensure!(begun.elapsed() < Duration::from_secs(60), "{what} within a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(begun.elapsed().as_secs_f64())
}

fn fill(place: &Path, data: &Path) -> anyhow::Result<()> {
    let manifests = place.join("_manifest");
    let head: Value = serde_json::from_slice(&std::fs::read(manifests.join("archive.json"))?)?;
    let owner = head["owner"].as_str().context("an owner")?;
    let url = Place { url: place.display().to_string(), endpoint: None, region: None };
    let archive = Archive::open(&url, data, owner, 8)?;
    let first = Day::of(Timestamp::from_micros(now_ms()? * 1_000)).number() - DAYS - 30;
    let day = Day::new(first);
    archive.add_day(day, &Noon, &Noon, None)?;
    let text = std::fs::read_to_string(manifests.join(format!("day={day}.json")))?;
    for n in 1..DAYS {
        let other = Day::new(first + n).to_string();
        std::fs::write(manifests.join(format!("day={other}.json")), text.replace(&day.to_string(), &other))?;
    }
    Ok(())
}

/// Measures to the ready line and to the whole archive.
pub fn run(options: &Options, emit: &mut dyn FnMut(Line)) -> anyhow::Result<()> {
    let dir = fresh_dir()?;
    let (data, place) = (dir.path().join("data"), dir.path().join("archive"));
    std::fs::create_dir(&place)?;
    let url = place.display().to_string();
    let settings = [("ANLAN_ARCHIVE__URL", url.as_str())];
    let node = Node::start(&options.anlan, &data, &settings)?;
    until(Instant::now(), "the node makes its archive", || Ok(place.join("_manifest/archive.json").exists()))?;
    node.process.stop()?;
    fill(&place, &data)?;

    let begun = Instant::now();
    let node = Node::start(&options.anlan, &data, &settings)?;
    let ready = begun.elapsed().as_secs_f64();
    let agent = ureq::agent();
    let known = format!("anlan_archive_days {DAYS}");
    let took = until(begun, "the node knows its archive", || {
        Ok(String::from_utf8_lossy(&node.get(&agent, "/metrics")?).lines().any(|line| line == known))
    })?;
    emit(Line::new("year.restart", took, "s").goal(Goal::AtMost(3.0)).note(format!(
        "to the archive of {DAYS} days × {PARTITIONS} files being known; {ready:.2} s to the ready line; {:.2} CPU s",
        node.process.cpu_s()?
    )));
    Ok(())
}
