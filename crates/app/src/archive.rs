//! Archiving of days that are over (数据归档): where points and vehicles belonged on which day, and the job that archives what is due.
//!
//! A reconciler: it reads what is there, compares, acts; running twice does no harm. The files are [`anlan_archive`]'s business.
//! Start at [`Archiver::round`].

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anlan_archive::{Archive, ArchiveError, Day, Describe, Description, Place, Round, Whole};
use anlan_model::{Clock as _, Timestamp};
use anlan_store::{ArchiveSubject, Store, StoreError};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::App;
use crate::registry::Snapshot;
use crate::settings::ArchiveSettings;

/// A subject that was never seen before belonged where it does now since ever: 0001-01-01.
const EVER: i64 = -719_162;
/// Region of what belongs to nobody.
const UNASSIGNED: &str = "unassigned";

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchivingError {
    /// The archive or the engine.
    #[error("the archive")]
    Archive(#[from] ArchiveError),
    /// The database.
    #[error("the database")]
    Store(#[from] StoreError),
    /// It panicked; the next round starts anew.
    #[error("the round broke off")]
    Broken(#[from] tokio::task::JoinError),
}

/// The node's archiving job.
pub struct Archiver {
    settings: ArchiveSettings,
    data: PathBuf,
    /// One round at a time; also the book of the last one.
    book: Mutex<Option<Arc<Book>>>,
}

impl Archiver {
    /// A job for the data directory of a node; it does nothing without `archive.url`.
    pub fn new(settings: ArchiveSettings, data: &Path) -> Self {
        Self { settings, data: data.to_path_buf(), book: Mutex::new(None) }
    }

    /// Whether there is an archive to write.
    pub fn is_on(&self) -> bool {
        self.settings.url.is_some()
    }

    /// Opens the archive if that has not been done, notes who belongs where today, archives what is due at `now`.
    ///
    /// # Errors
    /// The place, the engine or the database; what was finished stays.
    pub async fn round(
        &self,
        store: &Store,
        known: &Snapshot,
        whole: &Whole,
        now: Timestamp,
        stop: CancellationToken,
    ) -> Result<Round, ArchivingError> {
        let Some(place) = place(&self.settings) else { return Ok(Round::default()) };
        let mut held = self.book.lock().await;
        let owner = owner(store).await?;
        let mut book = match held.take() {
            Some(book) => book,
            None => Arc::new(Book::read(store.archive_subjects().await?)),
        };
        let changed = book.changes(known, Day::of(now));
        if !changed.is_empty() {
            store.put_archive_subjects(&changed).await?;
            let own = Arc::make_mut(&mut book);
            changed.into_iter().for_each(|row| own.note(row));
        }
        *held = Some(Arc::clone(&book));
        let (whole, data, after_days, parts) = (whole.clone(), self.data.clone(), self.settings.after_days, self.settings.compact_parts);
        let work = move || -> Result<Round, ArchiveError> {
            let archive = match whole.archive() {
                Some(archive) => Arc::clone(archive),
                None => {
                    whole.attach(Arc::new(Archive::open(&place, &data, &owner, parts)?));
                    let Some(archive) = whole.archive() else { return Ok(Round::default()) };
                    Arc::clone(archive)
                }
            };
            let round = anlan_archive::run(&archive, whole.hot(), &*book, now, after_days, &|| stop.is_cancelled())?;
            tell(&archive, &round);
            Ok(round)
        };
        Ok(tokio::task::spawn_blocking(work).await??)
    }
}

/// Where the settings say the archive is.
pub fn place(settings: &ArchiveSettings) -> Option<Place> {
    let url = settings.url.clone()?;
    Some(Place { url, endpoint: settings.endpoint.clone(), region: settings.region.clone() })
}

/// What this node signs its archive with, so that no second one writes there.
///
/// # Errors
/// The database.
pub async fn owner(store: &Store) -> Result<String, StoreError> {
    store.setting_or_put("archive_owner", &uuid::Uuid::now_v7().to_string()).await
}

fn tell(archive: &Archive, round: &Round) {
    let status = archive.status();
    metrics::gauge!("anlan_archive_days").set(status.days as f64);
    metrics::gauge!("anlan_archive_released_days").set(status.released as f64);
    metrics::gauge!("anlan_archive_parts").set(status.parts as f64);
    metrics::gauge!("anlan_archive_rows").set(status.rows as f64);
    metrics::gauge!("anlan_archive_bytes").set(status.bytes as f64);
    metrics::gauge!("anlan_archive_behind_days").set(round.left as f64);
    metrics::counter!("anlan_archive_rows_total").increment(round.rows);
    metrics::counter!("anlan_archive_late_rows_total").increment(round.late_rows);
    metrics::counter!("anlan_archive_merged_total").increment(round.merged);
    metrics::counter!("anlan_archive_repeated_total").increment(round.repeats);
    metrics::counter!("anlan_archive_refused_total").increment(round.refused);
    if round.refused > 0 {
        error!(rows = round.refused, "{} values of archived days found no free revision and stay out of the archive", round.refused);
    }
    if round.rows > 0 {
        info!(days = round.days, rows = round.rows, late = round.late_rows, merged = round.merged, "archived {} rows", round.rows);
    }
}

/// One round of a running node; a failure is told here.
pub(crate) async fn round(app: &App, stop: &CancellationToken) {
    let now = app.clock.now();
    if let Err(failure) = app.archiver.round(&app.store, &app.registry.get(), &app.telemetry.whole, now, stop.clone()).await {
        metrics::counter!("anlan_archive_failed_total").increment(1);
        warn!(error = &failure as &dyn std::error::Error, "archiving failed; tried again soon");
    }
}

/// Runs until stopped.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    while app.archiver.is_on() && !stop.is_cancelled() {
        // A day under way is left to its thread: the process ends without it, and the next start finishes or repeats it.
        tokio::select! {
            () = stop.cancelled() => return,
            () = round(&app, &stop) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(app.settings.archive.look_ms.max(1))) => {}
        }
    }
}

/// Who belonged where, from which day on.
#[derive(Clone, Default)]
struct Book {
    points: HashMap<i64, Vec<(i64, Arc<Description>)>>,
    vehicles: HashMap<i64, Vec<(i64, Arc<Description>)>>,
}

impl Book {
    fn read(rows: Vec<ArchiveSubject>) -> Self {
        let mut book = Self::default();
        rows.into_iter().for_each(|row| book.note(row));
        book
    }

    fn note(&mut self, row: ArchiveSubject) {
        let region = if row.region.is_empty() { UNASSIGNED.to_owned() } else { row.region };
        let description = Arc::new(Description { region, labels: row.labels.into() });
        let subjects = if row.kind == "point" { &mut self.points } else { &mut self.vehicles };
        let since = subjects.entry(row.subject).or_default();
        since.retain(|(day, _)| *day != row.from_day);
        since.push((row.from_day, description));
        since.sort_by_key(|(day, _)| *day);
    }

    /// What differs today from what was noted last.
    fn changes(&self, known: &Snapshot, today: Day) -> Vec<ArchiveSubject> {
        let mut changes = Vec::new();
        let mut compare = |kind: &str, noted: Option<&Vec<(i64, Arc<Description>)>>, subject: i64, region: String, labels: Vec<String>| {
            let last = noted.and_then(|since| since.last());
            let same = |d: &Description| *d.labels == *labels && d.region == if region.is_empty() { UNASSIGNED } else { &region };
            if last.is_none_or(|(_, d)| !same(d)) {
                let from_day = last.map_or(EVER, |_| today.number());
                changes.push(ArchiveSubject { kind: kind.to_owned(), subject, from_day, region, labels });
            }
        };
        for point in known.points.values() {
            let device = known.devices.get(&point.device).map_or_else(String::new, |d| d.code.clone());
            let enterprise = point.enterprise.and_then(|id| known.enterprises.get(&id));
            let region = enterprise.map_or_else(String::new, |e| e.region.as_str().to_owned());
            let enterprise = enterprise.map_or_else(String::new, |e| e.code.clone());
            let labels = vec![point.code.clone(), enterprise, device, point.unit.clone(), point.kind.clone()];
            compare("point", self.points.get(&point.id.get()), point.id.get(), region, labels);
        }
        for vehicle in known.vehicles.values() {
            let enterprise = vehicle.enterprise.and_then(|id| known.enterprises.get(&id));
            let region = vehicle.region.as_ref().or_else(|| enterprise.map(|e| &e.region));
            let region = region.map_or_else(String::new, |r| r.as_str().to_owned());
            let enterprise = enterprise.map_or_else(String::new, |e| e.code.clone());
            let labels = vec![vehicle.phone.clone(), vehicle.plate.clone(), enterprise, vehicle.kind.clone()];
            compare("vehicle", self.vehicles.get(&vehicle.id.get()), vehicle.id.get(), region, labels);
        }
        changes
    }
}

fn on(since: Option<&Vec<(i64, Arc<Description>)>>, day: Day, labels: usize) -> Arc<Description> {
    let found = since.and_then(|since| since.iter().rev().find(|(from, _)| *from <= day.number()).or(since.first()));
    // Nobody noted it: it was made after the round began.
    let unknown = || Arc::new(Description { region: UNASSIGNED.to_owned(), labels: vec![String::new(); labels].into() });
    found.map_or_else(unknown, |(_, description)| Arc::clone(description))
}

impl Describe for Book {
    fn point(&self, id: i64, day: Day) -> Arc<Description> {
        on(self.points.get(&id), day, 5)
    }
    fn vehicle(&self, id: i64, day: Day) -> Arc<Description> {
        on(self.vehicles.get(&id), day, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(from_day: i64, region: &str) -> ArchiveSubject {
        let labels = ["T-1", "E-1", "D-1", "℃", "temperature"].map(str::to_owned).to_vec();
        ArchiveSubject { kind: "point".to_owned(), subject: 7, from_day, region: region.to_owned(), labels }
    }

    #[test]
    fn a_day_long_ago_is_filed_where_the_point_belonged_then() {
        let book = Book::read(vec![row(EVER, "530402"), row(20_000, "530403"), row(20_010, "")]);
        let region = |day: i64| book.point(7, Day::new(day)).region.clone();
        assert_eq!(
            [region(-5), region(19_999), region(20_000), region(20_009), region(20_010)],
            ["530402", "530402", "530403", "530403", UNASSIGNED]
        );
        assert_eq!(book.point(8, Day::new(1)).region, UNASSIGNED);
        assert_eq!(book.vehicle(7, Day::new(1)).labels.len(), 4);
    }
}
