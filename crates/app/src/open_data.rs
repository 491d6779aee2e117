//! Open data (信息资源共享): the catalogue of datasets, the keys (接口密钥) that read them, and what each key may still ask for today.
//!
//! A key is nobody and reads only: its scope is one grant that can view, within its bounds, and it opens the datasets it names and nothing
//! else. It is looked up at every request, so a revocation holds at the next one. Counts of requests are kept in memory and written down once a
//! minute: a restart forgets at most that minute. Times are real, as those of sessions. Start at [`enter`] and [`create`].

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use anlan_model::{ApiKeyId, Clock as _, EnterpriseId, Permission, PointId, RegionCode, Scope, Timestamp};
pub use anlan_store::ApiKey;
use anlan_store::{NewApiKey, PointFilter};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::access::{random_text, real_now};
use crate::clock::{date_of, day_bounds, day_number, day_of};
use crate::error::{AppError, Faults, Kind};
use crate::validate::{self, Page, Paging};
use crate::{App, region};

/// What every key begins with: people and scanners of source code know it by that.
pub const PREFIX: &str = "anlan_key_";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Characters of a key that are shown afterwards.
const SHOWN: usize = PREFIX.len() + 6;
/// Requests a minute and a day when nobody says, and at most.
const PER_MINUTE: (i64, i64) = (60, 6_000);
const PER_DAY: (i64, i64) = (10_000, 5_000_000);
/// Longest life of a key in days: two years, then somebody looks at it again.
const DAYS_MAX: i32 = 731;
const MINUTE_US: i64 = 60_000_000;
/// Questions about entities and readings that are worked on at the same time.
const TURNS: usize = 2;

/// What can be read by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dataset {
    /// Readings, by SensorThings.
    Telemetry,
    /// Indicators and plans.
    Indicators,
}

impl Dataset {
    /// All.
    pub const ALL: [Self; 2] = [Self::Telemetry, Self::Indicators];
    /// The word on the API and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Telemetry => "telemetry",
            Self::Indicators => "indicators",
        }
    }
    /// The dataset named by `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.as_str() == word)
    }
}

/// What keys keep in memory; part of [`App`].
pub struct State {
    used: Mutex<HashMap<ApiKeyId, Used>>,
    pub(crate) turns: Arc<Semaphore>,
}

impl Default for State {
    fn default() -> Self {
        Self { used: Mutex::default(), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

/// Requests of a key in the minute and on the day (Beijing) of its last one.
#[derive(Clone, Copy, Debug)]
struct Used {
    minute: i64,
    n_minute: i64,
    day: i32,
    n_day: i64,
    written_at: Option<Timestamp>,
}

/// What a key may still ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// A minute.
    pub per_minute: i64,
    /// Of this minute.
    pub minute_left: i64,
    /// Seconds until the next.
    pub minute_s: i64,
    /// A day.
    pub per_day: i64,
    /// Of today.
    pub day_left: i64,
    /// Seconds until tomorrow, Beijing.
    pub day_s: i64,
}

/// A key that was shown and taken.
#[derive(Clone, Debug)]
pub struct Access {
    /// What it may see.
    scope: Scope,
    datasets: Vec<String>,
    /// What it may still ask for, this request taken off.
    pub quota: Quota,
}

impl Access {
    /// The scope in which it reads a dataset.
    ///
    /// # Errors
    /// It was not made for that.
    pub fn scope(&self, dataset: Dataset) -> Result<Scope, AppError> {
        if self.reads(dataset) {
            Ok(self.scope.clone())
        } else {
            Err(AppError::forbidden("api_key.dataset").with("dataset", dataset.as_str()))
        }
    }
    /// Whether it was made for a dataset.
    pub fn reads(&self, dataset: Dataset) -> bool {
        self.datasets.iter().any(|word| word == dataset.as_str())
    }
}

/// A key that is not taken, and what is left of it if that is why.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: AppError,
    /// Of a key that is used up.
    pub quota: Option<Quota>,
}

impl From<AppError> for Refused {
    fn from(error: AppError) -> Self {
        Self { error, quota: None }
    }
}

/// A key to be made.
#[derive(Clone, Debug, Default)]
pub struct ApiKeyWish {
    /// What people call it.
    pub name: String,
    /// The organisation it is given to.
    pub holder: String,
    /// Words of datasets.
    pub datasets: Vec<String>,
    /// `None` = the whole node.
    pub region: Option<RegionCode>,
    /// `None` = all.
    pub sector: Option<String>,
    /// One enterprise alone.
    pub enterprise: Option<EnterpriseId>,
    /// Requests a minute; `None` = 60.
    pub per_minute: Option<i64>,
    /// Requests a day; `None` = 10,000.
    pub per_day: Option<i64>,
    /// Last day, ISO.
    pub valid_until: String,
}

/// Whether a key is taken at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Good,
    /// Its last day is over.
    Over,
    /// Somebody ended it.
    Revoked,
}

/// Whether the key is taken now.
pub fn standing(key: &ApiKey) -> Standing {
    match (&key.revoked, day_of(real_now()).to_string() > key.valid_until) {
        (Some(_), _) => Standing::Revoked,
        (None, true) => Standing::Over,
        (None, false) => Standing::Good,
    }
}

// ---- making and ending

/// A page of the keys whose bounds the asker may manage, newest first.
///
/// # Errors
/// No permission to manage people, a foreign cursor, or the store's.
pub async fn list(app: &App, scope: &Scope, paging: &Paging) -> Result<Page<ApiKey>, AppError> {
    Ok(app.store.api_keys(&scope.with(Permission::ManageUsers)?, paging).await?)
}

/// Makes a key; its text is answered this once and kept nowhere.
///
/// # Errors
/// No permission to manage people there, fields that cannot be accepted.
pub async fn create(app: &App, scope: &Scope, wish: ApiKeyWish) -> Result<(ApiKey, String), AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    let mut faults = Faults::default();
    let name = faults.note(validate::name("name", &wish.name)).unwrap_or_default();
    let holder = faults.note(validate::name("holder", &wish.holder)).unwrap_or_default();
    let mut datasets: Vec<String> = Vec::new();
    for (i, word) in wish.datasets.iter().enumerate() {
        match Dataset::parse(word) {
            Some(_) if datasets.contains(word) => faults.note::<()>(Err(AppError::invalid("list.twice", &format!("datasets[{i}]")))),
            Some(_) => {
                datasets.push(word.clone());
                None
            }
            None => faults.note::<()>(Err(AppError::invalid("word.unknown", &format!("datasets[{i}]")).with("word", word))),
        };
    }
    if wish.datasets.is_empty() {
        faults.note::<()>(Err(AppError::invalid("list.length", "datasets").with("max", Dataset::ALL.len())));
    }
    let per_minute = faults.note(few("per_minute", wish.per_minute, PER_MINUTE)).unwrap_or_default();
    let per_day = faults.note(few("per_day", wish.per_day, PER_DAY)).unwrap_or_default();
    let valid_until = faults.note(validate::day("valid_until", &wish.valid_until));
    if let Some(day) = valid_until {
        let (today, last) = (day_number(real_now()), crate::clock::number_of(day));
        if last < today || last > today.saturating_add(DAYS_MAX) {
            faults.note::<()>(Err(AppError::invalid("api_key.until", "valid_until").with("max", date_of(today.saturating_add(DAYS_MAX)))));
        }
    }
    faults.check()?;
    let key = format!("{PREFIX}{}", random_text::<KEY_BYTES>()?);
    let new = NewApiKey {
        name,
        holder,
        token_hash: Sha256::digest(key.as_bytes()).into(),
        shown: key.chars().take(SHOWN).collect(),
        datasets,
        region: wish.region,
        sector: wish.sector,
        enterprise: wish.enterprise,
        per_minute,
        per_day,
        valid_until: valid_until.map(|day| day.to_string()).unwrap_or_default(),
    };
    Ok((app.store.create_api_key(&act, &new, app.clock.now()).await?, key))
}

fn few(field: &str, value: Option<i64>, (default, max): (i64, i64)) -> Result<i64, AppError> {
    let value = value.unwrap_or(default);
    let fits = (1..=max).contains(&value);
    if fits { Ok(value) } else { Err(AppError::invalid("number.range", field).with("min", 1).with("max", max)) }
}

/// Ends a key: the next request with it is refused. Ending it twice is no error.
///
/// # Errors
/// No permission to manage people there, or not there.
pub async fn revoke(app: &App, scope: &Scope, id: ApiKeyId) -> Result<ApiKey, AppError> {
    let act = scope.with(Permission::ManageUsers)?;
    Ok(app.store.revoke_api_key(&act, id, app.clock.now()).await?)
}

// ---- using

/// Takes a key and one request off its quota.
///
/// # Errors
/// `api_key.unknown`, `api_key.revoked`, `api_key.over`; `api_key.minute` and `api_key.day` with the seconds to wait; the store's.
pub async fn enter(app: &App, key: &str) -> Result<Access, Refused> {
    let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let found = app.store.api_key_by_hash(&hash).await.map_err(AppError::from)?;
    let found = found.ok_or_else(|| AppError::unauthorized("api_key.unknown"))?;
    match standing(&found) {
        Standing::Good => {}
        Standing::Over => return Err(AppError::unauthorized("api_key.over").with("day", &found.valid_until).into()),
        Standing::Revoked => return Err(AppError::unauthorized("api_key.revoked").into()),
    }
    let now = real_now();
    let (quota, write) = charge(app, &found, now)?;
    if let Some(n) = write {
        // A count that cannot be written down now is written with a later request; reading goes on.
        if let Err(failure) = app.store.note_api_key_use(found.id, now, &day_of(now).to_string(), n).await {
            tracing::warn!(key = %found.id, error = &failure as &dyn std::error::Error, "the use of key {} is not written down", found.id);
        }
    }
    let scope = Scope { user: None, name: format!("key {}", found.name), grants: vec![found.bounds.clone()] };
    Ok(Access { scope: region::reaching_back(&app.registry.look().regions, scope), datasets: found.datasets, quota })
}

/// One request of a key: what is left, and the count of the day if it is to be written down.
fn charge(app: &App, key: &ApiKey, now: Timestamp) -> Result<(Quota, Option<i64>), Refused> {
    let (minute, day) = (now.micros().div_euclid(MINUTE_US), day_number(now));
    let mut all = app.open_data.used.lock().unwrap_or_else(PoisonError::into_inner);
    let written = if date_of(day).to_string() == key.used_on { key.used_n } else { 0 };
    let used = all.entry(key.id).or_insert(Used { minute, n_minute: 0, day, n_day: written, written_at: None });
    if used.minute != minute {
        (used.minute, used.n_minute) = (minute, 0);
    }
    if used.day != day {
        (used.day, used.n_day) = (day, 0);
    }
    let second = |us: i64| us.div_euclid(1_000_000) + 1;
    let mut quota = Quota {
        per_minute: key.per_minute,
        minute_left: key.per_minute.saturating_sub(used.n_minute).max(0),
        minute_s: second((minute + 1) * MINUTE_US - now.micros() - 1),
        per_day: key.per_day,
        day_left: key.per_day.saturating_sub(used.n_day).max(0),
        day_s: second(day_bounds(day).1.since_us(now) - 1),
    };
    for (left, code, wait_s) in [(quota.day_left, "api_key.day", quota.day_s), (quota.minute_left, "api_key.minute", quota.minute_s)] {
        if left == 0 {
            let kind = Kind::TooMany { retry_after_s: u64::try_from(wait_s).unwrap_or(1) };
            let error = AppError::new(kind, code).with("seconds", wait_s);
            return Err(Refused { error, quota: Some(quota) });
        }
    }
    (used.n_minute, used.n_day) = (used.n_minute + 1, used.n_day + 1);
    (quota.minute_left, quota.day_left) = (quota.minute_left - 1, quota.day_left - 1);
    let is_due = used.written_at.is_none_or(|at| now.since_us(at) >= MINUTE_US);
    if is_due {
        used.written_at = Some(now);
    }
    Ok((quota, is_due.then_some(used.n_day)))
}

// ---- the catalogue

/// A dataset as the catalogue says it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetInfo {
    /// Word.
    pub id: String,
    /// Name.
    pub name: String,
    /// Name.
    pub name_en: String,
    /// What is in it.
    pub about: String,
    /// What is in it.
    pub about_en: String,
    /// How fresh.
    pub freshness: String,
    /// How fresh.
    pub freshness_en: String,
    /// What the interface follows.
    pub standard: String,
    /// Where it is read.
    pub path: String,
    /// Media types.
    pub formats: Vec<String>,
    /// Fields that matter.
    pub fields: Vec<DatasetField>,
}

/// A field of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetField {
    /// As in answers.
    pub name: String,
    /// Unit, or where it stands; empty = none.
    pub unit: String,
    /// Meaning.
    pub about: String,
    /// Meaning.
    pub about_en: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CatalogueFile {
    terms: String,
    terms_en: String,
    datasets: Vec<DatasetInfo>,
}

static CATALOGUE: LazyLock<CatalogueFile> =
    LazyLock::new(|| toml::from_str(include_str!("../../../packs/base/open_data.toml")).expect("part of the program, read by a test"));

/// What there is, for anybody.
pub fn catalogue() -> &'static [DatasetInfo] {
    &CATALOGUE.datasets
}

/// Under which terms, Chinese and English; the operator's own are in one language.
pub fn terms(app: &App) -> (&str, &str) {
    match app.settings.open_data.terms.as_str() {
        "" => (&CATALOGUE.terms, &CATALOGUE.terms_en),
        own => (own, own),
    }
}

/// How much of the telemetry a scope reaches: its points, and the instant of their newest reading. Points of devices that belong to nobody are not read
/// by a key and not counted.
///
/// # Errors
/// No permission to view, the store's.
pub async fn reach(app: &App, scope: &Scope) -> Result<(usize, Option<Timestamp>), AppError> {
    let seen = app.store.point_set(&scope.with(Permission::View)?, &PointFilter::default()).await?;
    let known = app.registry.get();
    let is_owned = |id: &PointId| known.points.get(id).is_some_and(|point| point.enterprise.is_some());
    let newest =
        app.telemetry.latest_all(&seen).into_iter().filter(|reading| is_owned(&reading.point)).map(|reading| reading.event_at).max();
    Ok((seen.iter().filter(is_owned).count(), newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_says_every_dataset_once_and_in_both_languages() {
        let said: Vec<_> = catalogue().iter().map(|d| d.id.as_str()).collect();
        assert_eq!(said, Dataset::ALL.map(Dataset::as_str));
        for d in catalogue() {
            let texts = [&d.name, &d.name_en, &d.about, &d.about_en, &d.freshness, &d.freshness_en, &d.standard];
            assert!(
                texts.iter().all(|t| !t.is_empty()) && d.path.starts_with('/') && !d.formats.is_empty() && !d.fields.is_empty(),
                "{}",
                d.id
            );
            assert!(d.fields.iter().all(|f| !f.about.is_empty() && !f.about_en.is_empty()), "{}", d.id);
        }
    }
}
