//! Submissions (报送): what this node gives to platforms that are not this program.
//!
//! What goes and in which words is data of the packs ([`anlan_domain::submission`]); where to is the operator's ([`Settings`]); whether, an administrator's act.
//! A target that is on has a queue in the database, newest state of each subject once; [`run`] empties it, one task per target, and writes down every attempt.
//! Start at [`list`] for what people see, at [`run`] for what is sent, and at [`send`] for the two ways out.

mod send;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anlan_domain::submission::{Filling, Format, Object, Of, Refusal, Rendered, Submission, Transport};
use anlan_model::{Clock as _, Permission, PointId, Quality, Scope, Timestamp};
use anlan_store::{
    NewSubmissionAttempt, SubmissionHolder, SubmissionNow, SubmissionPut, SubmissionSettled, SubmissionTargetAfter, SubmissionThing,
    SubmissionWant,
};
pub use anlan_store::{SubmissionAttemptFilter, SubmissionAttemptRow, SubmissionItem, SubmissionTargetRow};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::App;
use crate::error::AppError;
use crate::validate::{Page, Paging};
use send::{Delivery, Sender};

/// A round of a target; what changed is seen at the next one.
const EVERY: Duration = Duration::from_secs(1);
/// Texts of one object in a round, so that every object of a target gets its turn.
const TEXTS_MAX: usize = 20;
/// In the detail of an attempt: nothing else went with it.
const ALONE: &str = "alone";
/// The first pause after a failure, doubled with every further one, and the longest (product's choice).
const PAUSE_US: i64 = 5_000_000;
const PAUSE_MAX_US: i64 = 15 * 60_000_000;
/// Failures one after the other after which a target as a whole waits, although it answers.
const FAILURES_MAX: i64 = 3;
/// Tries of one subject after which it is put aside, if others were taken meanwhile.
const TRIES_MAX: i64 = 8;
/// The log is kept so long, and so many attempts of one target (product's choice).
const LOG_DAYS: i64 = 90;
const LOG_MAX: i64 = 200_000;
/// The log is trimmed, and queues are topped up, this often.
const TIDY: Duration = Duration::from_secs(3_600);
/// Targets of one node.
const TARGETS_MAX: usize = 50;
/// Longest wait for an answer, and where the operator does not say.
const TIMEOUT_S_MAX: u64 = 300;
const TIMEOUT_S: u64 = 30;

/// Section `submission`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where submissions may go.
    pub target: Vec<TargetSettings>,
}

/// A target, section `[[submission.target]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetSettings {
    /// What it is called here: small letters, digits, `-`.
    pub name: String,
    /// Word of the submission that goes there.
    pub submission: String,
    /// Of a submission by calls: `https://…`; in the clear on this machine alone.
    #[serde(default)]
    pub url: Option<String>,
    /// Of a submission by files: an absolute path of a directory that is there.
    #[serde(default)]
    pub dir: Option<PathBuf>,
    /// File with what `{secret}` stands for.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// PEM of the authority of its certificate, instead of those that are known everywhere.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Longest wait for an answer.
    #[serde(default)]
    pub timeout_s: Option<u64>,
}

/// Why a target is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value.
    #[error("submission.target {name}: {why}")]
    Value {
        /// Which.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read.
    #[error("submission.target {name}: {what} {path}")]
    File {
        /// Which.
        name: String,
        /// Which setting.
        what: &'static str,
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// A target, checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// What it is called here.
    pub name: String,
    /// Word of its submission.
    pub submission: String,
    /// Where.
    pub(crate) place: Place,
    pub(crate) secret_file: Option<PathBuf>,
}

/// Where texts go.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Url { url: String, ca: Option<String>, timeout: Duration },
    Dir(PathBuf),
}

impl Target {
    /// As people read it.
    pub fn place(&self) -> String {
        match &self.place {
            Place::Url { url, .. } => url.clone(),
            Place::Dir(dir) => dir.display().to_string(),
        }
    }

    fn takes(&self, submission: &Submission) -> bool {
        matches!((&self.place, &submission.transport), (Place::Url { .. }, Transport::Call(_)) | (Place::Dir(_), Transport::File { .. }))
    }
}

impl Settings {
    /// Checks every target.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn check(&self) -> Result<Vec<Target>, SettingsError> {
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for t in &self.target {
            let fail = |why: &str| Err(SettingsError::Value { name: t.name.clone(), why: why.to_owned() });
            let is_name = !t.name.is_empty()
                && t.name.len() <= 32
                && t.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
            if !is_name {
                return fail("a name has 1 to 32 small letters, digits and -");
            }
            if !names.insert(&t.name) || names.len() > TARGETS_MAX {
                return fail("the name is used twice, or there are more than 50 targets");
            }
            let read = |what: &'static str, path: &PathBuf| {
                std::fs::read_to_string(path).map_err(|source| SettingsError::File {
                    name: t.name.clone(),
                    what,
                    path: path.display().to_string(),
                    source,
                })
            };
            if let Some(path) = &t.secret_file {
                let secret = read("secret_file", path)?;
                if !send::is_secret(secret.trim_end()) {
                    return fail("secret_file: a secret is one line of printable ASCII, at most 4096 bytes");
                }
            }
            let timeout_s = t.timeout_s.unwrap_or(TIMEOUT_S);
            if !(1..=TIMEOUT_S_MAX).contains(&timeout_s) {
                return fail("timeout_s is 1 to 300");
            }
            let place = match (&t.url, &t.dir) {
                (Some(url), None) => {
                    if !is_url(url) {
                        return fail(
                            "url begins with https:// and a host, without user, ? or #; http:// is for 127.0.0.1, [::1] and localhost alone",
                        );
                    }
                    let ca = t.ca.as_ref().map(|path| read("ca", path)).transpose()?;
                    if ca.as_deref().is_some_and(|pem| send::roots(pem).is_empty()) {
                        return fail("ca holds no certificate");
                    }
                    Place::Url { url: url.trim_end_matches('/').to_owned(), ca, timeout: Duration::from_secs(timeout_s) }
                }
                (None, Some(dir)) => {
                    if !dir.is_absolute() || t.ca.is_some() {
                        return fail("dir is an absolute path, and takes no ca");
                    }
                    Place::Dir(dir.clone())
                }
                _ => return fail("say one of url and dir"),
            };
            targets.push(Target { name: t.name.clone(), submission: t.submission.clone(), place, secret_file: t.secret_file.clone() });
        }
        Ok(targets)
    }
}

/// `https://host…`, or `http://` on this machine.
fn is_url(url: &str) -> bool {
    let plain = url.strip_prefix("http://");
    let Some(rest) = url.strip_prefix("https://").or(plain) else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_here = ["127.0.0.1", "::1", "localhost"].contains(&host);
    !host.is_empty() && (plain.is_none() || is_here) && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#@\\".contains(&b))
}

/// A target as people see it.
#[derive(Clone, Debug)]
pub struct View {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub place: String,
    /// `file` or `call`.
    pub transport: &'static str,
    /// Word of its submission.
    pub submission: String,
    /// The submission, the word of its pack and the hash of its text, if a pack that is on brings it.
    pub known: Option<(Arc<Submission>, String, String)>,
    /// How it stands.
    pub state: State,
    /// As kept; `None` = it was never on.
    pub row: Option<SubmissionTargetRow>,
    /// How many subjects of which object are in which state.
    pub counts: Vec<(String, String, i64)>,
}

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has switched it on.
    Off,
    /// On, and what there was is taken.
    Idle,
    /// On, and something waits.
    Sending,
    /// On, and the last attempts failed.
    Failing,
    /// No pack that is on brings its submission.
    Unknown,
    /// Its submission goes another way than it does: files to an address, or calls to a directory.
    Misfit,
}

impl State {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Sending => "sending",
            Self::Failing => "failing",
            Self::Unknown => "unknown",
            Self::Misfit => "misfit",
        }
    }
}

/// What would go of one subject now.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Key at the platform.
    pub key: Option<String>,
    /// The very text; `None` = nothing goes.
    pub text: Option<String>,
    /// SHA-256 of its part, as the log names it.
    pub digest: Option<String>,
    /// `only` or `states` leaves it out.
    pub is_wanted: bool,
    /// It is here, and may go.
    pub is_here: bool,
    /// Everything that stands against it.
    pub refusals: Vec<Refusal>,
    /// How it stands in the queue.
    pub item: Option<SubmissionItem>,
    /// Where it would go: address and path, or directory and name; without secrets.
    pub to: String,
}

/// Every target, in the order of the configuration.
///
/// # Errors
/// No permission to view, the store's. Of an asker who is not node-wide: nothing.
pub async fn list(app: &App, scope: &Scope) -> Result<Vec<View>, AppError> {
    let scope = scope.with(Permission::View)?;
    if !scope.node_wide() {
        return Ok(Vec::new());
    }
    let rows = app.store.submission_targets(&scope).await?;
    let registers = app.registers.load_full();
    let mut views = Vec::new();
    for target in &app.settings.submissions {
        let known = registers.submission(&target.submission);
        let row = rows.iter().find(|row| row.name == target.name).cloned();
        let counts = app.store.submission_counts(&scope, &target.name).await?;
        let waits = counts.iter().any(|(_, state, n)| state == "waiting" && *n > 0);
        let state = match (&known, row.as_ref().filter(|row| row.enabled)) {
            (None, _) => State::Unknown,
            (Some((submission, ..)), _) if !target.takes(submission) => State::Misfit,
            (_, None) => State::Off,
            (_, Some(row)) if row.n_failures > 0 => State::Failing,
            _ if waits => State::Sending,
            _ => State::Idle,
        };
        views.push(View {
            name: target.name.clone(),
            place: target.place(),
            transport: if matches!(target.place, Place::Url { .. }) { "call" } else { "file" },
            submission: target.submission.clone(),
            known,
            state,
            row,
            counts,
        });
    }
    Ok(views)
}

fn target<'a>(app: &'a App, name: &str) -> Result<&'a Target, AppError> {
    app.settings.submissions.iter().find(|target| target.name == name).ok_or_else(AppError::not_found)
}

/// Switches a target on, with the submission of this hash, or off.
///
/// # Errors
/// No permission, no such target, no such submission, one that is another by now or goes another way.
pub async fn switch(app: &App, scope: &Scope, name: &str, on: bool, hash: &str) -> Result<(), AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    let target = target(app, name)?;
    // In line with packs: the submission must not become another while it is switched on.
    let _turn = app.switching.lock().await;
    if !on {
        let put = SubmissionPut { name, submission: &target.submission, version: "", hash: "", wants: None };
        return Ok(app.store.put_submission_target(&act, &put, app.clock.now()).await?);
    }
    let (submission, _, now) = app
        .registers
        .load()
        .submission(&target.submission)
        .ok_or_else(|| AppError::conflict("submission.unknown").with("submission", &target.submission))?;
    if now != hash {
        return Err(AppError::conflict("submission.changed").on("hash"));
    }
    if !target.takes(&submission) {
        return Err(AppError::conflict("submission.misfit").with("transport", submission.transport_word()));
    }
    fill(app, &act, target, &submission, &now).await
}

async fn fill(app: &App, act: &Scope, target: &Target, submission: &Submission, hash: &str) -> Result<(), AppError> {
    let want = |object: &Object| SubmissionWant {
        object: object.id.clone(),
        of: object.of.as_str().to_owned(),
        register: object.register.as_ref().map(|(register, _)| register.clone()),
    };
    let wants: Vec<SubmissionWant> = submission.objects.iter().map(want).collect();
    let put =
        SubmissionPut { name: &target.name, submission: &submission.id, version: &submission.version, hash, wants: Some(wants.as_slice()) };
    app.store.put_submission_target(act, &put, app.clock.now()).await?;
    app.submitting.notify_waiters();
    Ok(())
}

/// Subjects of a target in a state.
///
/// # Errors
/// No permission to view, no such target, a foreign cursor.
pub async fn items(
    app: &App,
    scope: &Scope,
    name: &str,
    state: &str,
    object: Option<&str>,
    paging: &Paging,
) -> Result<Page<SubmissionItem>, AppError> {
    let scope = scope.with(Permission::View)?;
    if !["waiting", "sent", "aside", "unwanted", "gone"].contains(&state) {
        return Err(AppError::invalid("word.unknown", "state").with("word", state));
    }
    if !scope.node_wide() {
        return Err(AppError::not_found());
    }
    target(app, name)?;
    Ok(app.store.submission_items(&scope, name, state, object, paging).await?)
}

/// Attempts under the asker's scope, newest first.
///
/// # Errors
/// No permission to view, a foreign cursor.
pub async fn attempts(
    app: &App,
    scope: &Scope,
    filter: &SubmissionAttemptFilter,
    paging: &Paging,
) -> Result<Page<SubmissionAttemptRow>, AppError> {
    let scope = scope.with(Permission::View)?;
    let mut page = app.store.submission_attempts(&scope, filter, paging).await?;
    if !scope.node_wide() {
        page.items.iter_mut().for_each(|row| row.detail = told_of_one(&row.detail));
    }
    Ok(page)
}

/// An attempt as somebody sees it who may not see all that went with it: the platform's words may name the others.
fn told_of_one(detail: &str) -> String {
    let mut detail: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
    if detail[ALONE] != true
        && let Some(detail) = detail.as_object_mut()
    {
        detail.remove("says");
    }
    detail.to_string()
}

/// Sends subjects once more: one, or all that are aside; how many.
///
/// # Errors
/// No permission, no such target or subject.
pub async fn resend(app: &App, scope: &Scope, name: &str, one: Option<(&str, &str)>) -> Result<u64, AppError> {
    let act = scope.with(Permission::ManageSystem)?;
    target(app, name)?;
    let n = app.store.resend_submission(&act, name, one, app.clock.now()).await?;
    app.submitting.notify_waiters();
    Ok(n)
}

/// What would go of one subject now, to the last character.
///
/// # Errors
/// No permission, no such target, object or submission.
pub async fn preview(app: &App, scope: &Scope, name: &str, object: &str, subject: &str) -> Result<Preview, AppError> {
    let scope = scope.with(Permission::ManageSystem)?;
    if !scope.node_wide() {
        return Err(AppError::not_found());
    }
    let target = target(app, name)?;
    let (submission, ..) = app
        .registers
        .load()
        .submission(&target.submission)
        .ok_or_else(|| AppError::conflict("submission.unknown").with("submission", &target.submission))?;
    let object = submission.object(object).ok_or_else(AppError::not_found)?;
    let item = app.store.submission_item(&scope, name, &object.id, subject).await?;
    let mut things = things(app, &scope, &submission, object, &[subject.to_owned()]).await?;
    let mut preview =
        Preview { key: None, text: None, digest: None, is_wanted: false, is_here: false, refusals: Vec::new(), item, to: target.place() };
    let Some(SubmissionThing { thing, .. }) = things.remove(subject) else { return Ok(preview) };
    preview.is_here = true;
    preview.is_wanted = submission.wants(object, &thing);
    match submission.render(object, &thing) {
        Err(refusals) => preview.refusals = refusals,
        Ok(rendered) => {
            let digest = digest_of(&rendered.text);
            let idempotency = idempotency(&submission, object, subject, &digest);
            let filling =
                Filling { object: &object.id, key: &rendered.key, seq: 0, idempotency: &idempotency, secret: "…", now: app.clock.now() };
            preview.to = match &submission.transport {
                Transport::Call(call) => target.place() + &submission.fill(&call.path, &filling),
                Transport::File { name } => format!("{}/{}", target.place(), submission.fill(name, &filling)),
            };
            preview.text = Some(submission.document(object, [rendered.text.as_str()]));
            (preview.key, preview.digest) = (Some(rendered.key), Some(digest));
        }
    }
    Ok(preview)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a text, hexadecimal.
pub(crate) fn digest_of(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// The same for the same content of the same subject, however often it goes.
fn idempotency(submission: &Submission, object: &Object, subject: &str, digest: &str) -> String {
    digest_of(&[&submission.id, submission.version.as_str(), &object.id, subject, digest].join("\n"))[..32].to_owned()
}

/// Things as they are here, newest readings among them.
async fn things(
    app: &App,
    scope: &Scope,
    submission: &Submission,
    object: &Object,
    ids: &[String],
) -> Result<BTreeMap<String, SubmissionThing>, AppError> {
    let register = object.register.as_ref().map(|(register, _)| register.as_str());
    let mut things = app.store.submission_things(scope, object.of, register, submission.level, ids).await?;
    if object.of == Of::Latest {
        things.retain(|id, one| {
            let reading = id.parse().ok().and_then(|id| app.telemetry.latest.point(PointId::new(id)));
            let Some(reading) = reading else { return false };
            one.thing["at"] = reading.event_at.to_string().into();
            one.thing["value"] = reading.value.into();
            one.thing["quality"] = match reading.quality {
                Quality::Good => "good",
                Quality::Uncertain => "uncertain",
                Quality::Bad => "bad",
            }
            .into();
            true
        });
    }
    Ok(things)
}

/// Sends what waits until stopped; returns at once where there is no target.
pub(crate) async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    for target in app.settings.submissions.clone() {
        tasks.spawn(serve(app.clone(), target, stop.clone()));
    }
    match app.store.submission_targets(&Scope::node()).await {
        Ok(rows) => {
            let known = |name: &str| app.settings.submissions.iter().any(|target| target.name == name);
            for row in rows.iter().filter(|row| row.enabled && !known(&row.name)) {
                warn!("submission.target {} is on and no longer in the configuration: what changes waits for it", row.name);
            }
        }
        Err(failure) => warn!(error = &failure as &dyn std::error::Error, "the targets of submissions could not be read"),
    }
    if tasks.is_empty() {
        return;
    }
    tasks.spawn(async move {
        loop {
            let before = app.clock.now().plus_us(-LOG_DAYS * 86_400_000_000);
            if let Err(failure) = app.store.trim_submission_attempts(before, LOG_MAX).await {
                warn!(error = &failure as &dyn std::error::Error, "the log of submissions could not be trimmed; next try in an hour");
            }
            if tokio::time::timeout(TIDY, stop.cancelled()).await.is_ok() {
                return;
            }
        }
    });
    while tasks.join_next().await.is_some() {}
}

/// What a task keeps of its target between rounds.
struct Served {
    target: Target,
    sender: Sender,
    /// Newest readings: when each object last looked, and up to which commit.
    looked: HashMap<String, (Timestamp, u64)>,
    /// When the target was switched, as last seen: then everything is looked at anew.
    switched: Option<Timestamp>,
    topped_up: Option<std::time::Instant>,
}

async fn serve(app: Arc<App>, target: Target, stop: CancellationToken) {
    let mut served = Served { sender: Sender::new(&target), target, looked: HashMap::new(), switched: None, topped_up: None };
    let mut was_failing = false;
    loop {
        let round = tokio::select! {
            () = stop.cancelled() => return,
            round = round(&app, &mut served, &stop) => round,
        };
        match round {
            Ok(true) => continue,
            Ok(false) => was_failing = false,
            Err(failure) if !was_failing => {
                was_failing = true;
                let name = &served.target.name;
                warn!(error = &failure as &dyn std::error::Error, "submissions to {name} stand still; tried again every second");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.submitting.notified() => {}
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Whether more waits than a round takes.
async fn round(app: &App, served: &mut Served, stop: &CancellationToken) -> Result<bool, AppError> {
    let node = Scope::node();
    let name = served.target.name.clone();
    let Some((submission, _, hash)) = app.registers.load().submission(&served.target.submission) else { return Ok(false) };
    if !served.target.takes(&submission) {
        return Ok(false);
    }
    let row = |rows: Vec<SubmissionTargetRow>| rows.into_iter().find(|row| row.name == name && row.enabled);
    let Some(mut kept) = row(app.store.submission_targets(&node).await?) else { return Ok(false) };
    if (kept.submission.as_str(), kept.hash.as_str()) != (submission.id.as_str(), hash.as_str()) {
        // Another version is on by now, by an administrator's act upon its pack: everything goes anew.
        let _turn = app.switching.lock().await;
        let (Some(_), Some((submission, _, hash))) =
            (row(app.store.submission_targets(&node).await?), app.registers.load().submission(&served.target.submission))
        else {
            return Ok(false);
        };
        info!("submission {} is of version {} now: everything goes to {name} anew", submission.id, submission.version);
        return fill(app, &node, &served.target, &submission, &hash).await.map(|()| true);
    }
    if served.topped_up.is_none_or(|at| at.elapsed() >= TIDY) {
        app.store.top_up_submission(&name, app.clock.now()).await?;
        served.topped_up = Some(std::time::Instant::now());
    }
    if served.switched.replace(kept.changed_at) != Some(kept.changed_at) {
        served.looked.clear();
    }
    for object in submission.objects.iter().filter(|object| object.of == Of::Latest) {
        look(app, served, object).await?;
    }
    app.store.stamp_submission(&name, app.clock.now()).await?;
    if kept.next_at > app.clock.now() {
        return Ok(false);
    }
    let mut is_more = false;
    for object in &submission.objects {
        for n in 1..=TEXTS_MAX {
            if stop.is_cancelled() || !step(app, served, &submission, object, &mut kept, &hash).await? {
                break;
            }
            if kept.next_at > app.clock.now() {
                return Ok(false);
            }
            is_more |= n == TEXTS_MAX;
        }
    }
    Ok(is_more)
}

/// Queues points whose newest reading is another than at the last look.
async fn look(app: &App, served: &mut Served, object: &Object) -> Result<(), AppError> {
    let now = app.clock.now();
    let (at, since) = served.looked.get(&object.id).copied().unwrap_or((Timestamp::EPOCH, 0));
    if at.plus_us(i64::from(object.every_s) * 1_000_000) > now {
        return Ok(());
    }
    let sequence = app.telemetry.latest.sequence();
    let snapshot = app.registry.get();
    let mut ids: Vec<PointId> = app.telemetry.latest.points_since(snapshot.points.keys().copied(), since).iter().map(|r| r.point).collect();
    ids.sort();
    let subjects: Vec<String> = ids.iter().map(ToString::to_string).collect();
    app.store.touch_submission(&served.target.name, &object.id, &subjects).await?;
    served.looked.insert(object.id.clone(), (now, sequence));
    Ok(())
}

/// A subject on its way out.
struct Going {
    item: SubmissionItem,
    rendered: Rendered,
    digest: String,
    holder: SubmissionHolder,
}

/// One text of an object; whether there was anything to do.
async fn step(
    app: &App,
    served: &Served,
    submission: &Submission,
    object: &Object,
    kept: &mut SubmissionTargetRow,
    hash: &str,
) -> Result<bool, AppError> {
    let (now, name) = (app.clock.now(), served.target.name.as_str());
    let due = app.store.submission_due(name, &object.id, now, submission.batch.max).await?;
    let Some(first) = due.first() else { return Ok(false) };
    let batch: Vec<SubmissionItem> = match first.alone {
        true => vec![first.clone()],
        false => {
            let waits_until = first.since.plus_us(i64::from(submission.batch.every_s) * 1_000_000);
            if due.len() < submission.batch.max as usize && first.n_tries == 0 && waits_until > now {
                return Ok(false);
            }
            due.iter().take_while(|item| !item.alone).cloned().collect()
        }
    };
    let ids: Vec<String> = batch.iter().map(|item| item.subject.clone()).collect();
    let mut things = things(app, &Scope::node(), submission, object, &ids).await?;
    let put = SubmissionPut { name, submission: &submission.id, version: &submission.version, hash, wants: None };
    let (mut settled, mut going) = (Vec::new(), Vec::new());
    for item in batch {
        let mut settle = |item: &SubmissionItem, now: SubmissionNow, attempt: Option<NewSubmissionAttempt>| {
            settled.push(SubmissionSettled {
                object: item.object.clone(),
                subject: item.subject.clone(),
                revision: item.revision,
                now,
                attempt,
            });
        };
        let Some(SubmissionThing { thing, holder }) = things.remove(&item.subject) else {
            settle(&item, SubmissionNow::Gone, None);
            continue;
        };
        if item.sent_at.is_none() && !submission.wants(object, &thing) {
            settle(&item, SubmissionNow::Unwanted, None);
            continue;
        }
        match submission.render(object, &thing) {
            Err(refusals) => {
                let reason = serde_json::json!({"code": "unfit", "refusals": refusals}).to_string();
                let attempt = NewSubmissionAttempt {
                    key: String::new(),
                    digest: String::new(),
                    batch: String::new(),
                    outcome: "unfit",
                    detail: reason.clone(),
                    holder,
                };
                settle(&item, SubmissionNow::Aside { reason }, Some(attempt));
            }
            Ok(rendered) => {
                let digest = digest_of(&rendered.text);
                if item.digest.as_ref() == Some(&digest) {
                    settle(&item, SubmissionNow::Unchanged, None);
                } else {
                    going.push(Going { item, rendered, digest, holder });
                }
            }
        }
    }
    if !settled.is_empty() {
        settled.sort_by(|a, b| a.subject.cmp(&b.subject));
        app.store.settle_submission(&put, &settled, &SubmissionTargetAfter::Same, now).await?;
    }
    if going.is_empty() {
        return Ok(true);
    }
    deliver(app, served, submission, object, kept, &put, going).await?;
    Ok(true)
}

fn pause(n: i64) -> i64 {
    PAUSE_US.saturating_mul(1_i64 << n.clamp(0, 20)).min(PAUSE_MAX_US)
}

async fn deliver(
    app: &App,
    served: &Served,
    submission: &Submission,
    object: &Object,
    kept: &mut SubmissionTargetRow,
    put: &SubmissionPut<'_>,
    mut going: Vec<Going>,
) -> Result<(), AppError> {
    let text = submission.document(object, going.iter().map(|one| one.rendered.text.as_str()));
    let keys: Vec<String> = going.iter().map(|one| idempotency(submission, object, &one.item.subject, &one.digest)).collect();
    let idempotency = if let [only] = keys.as_slice() { only.clone() } else { digest_of(&keys.join("\n"))[..32].to_owned() };
    // Taken before anything is written: a number that was lost to a crash is a gap, never a name that is used twice.
    let seq = match &submission.transport {
        Transport::File { name } if name.counts() => app.store.next_submission_seq(put.name).await?,
        _ => 0,
    };
    let key = going.first().map(|one| one.rendered.key.clone()).unwrap_or_default();
    let filling = Filling { object: &object.id, key: &key, seq, idempotency: &idempotency, secret: "", now: app.clock.now() };
    let delivery = served.sender.deliver(submission, &filling, text).await;
    let now = app.clock.now();
    let is_alone = going.len() == 1;
    let count = |outcome: &'static str| {
        metrics::counter!("anlan_submission_attempts_total", "target" => put.name.to_owned(), "outcome" => outcome).increment(1);
    };
    going.sort_by(|a, b| a.item.subject.cmp(&b.item.subject));
    let (outcome, detail, after) = match &delivery {
        Delivery::Taken { outcome, detail } => (*outcome, detail, SubmissionTargetAfter::Taken),
        Delivery::Refused { detail } => ("refused", detail, SubmissionTargetAfter::Same),
        Delivery::Failed { answered, detail } => {
            let n = kept.n_failures + 1;
            let next_at = if *answered && n < FAILURES_MAX { now } else { now.plus_us(pause(n - 1)) };
            ("failed", detail, SubmissionTargetAfter::Failed { next_at, reason: detail.to_string() })
        }
    };
    count(outcome);
    let mut attempted = detail.clone();
    attempted[ALONE] = is_alone.into();
    let (detail, attempted) = (detail.to_string(), attempted.to_string());
    let mut settled = Vec::new();
    for one in going {
        let item = &one.item;
        let become_ = match &delivery {
            Delivery::Taken { .. } => SubmissionNow::Sent { digest: one.digest.clone() },
            // Which of them it was shows when each goes alone.
            Delivery::Refused { .. } if !is_alone => SubmissionNow::Again { at: now, alone: true, reason: detail.clone() },
            Delivery::Refused { .. } => SubmissionNow::Aside { reason: detail.clone() },
            // Others are taken and this one never is: it must not come again and again for ever.
            Delivery::Failed { .. }
                if is_alone
                    && item.n_tries + 1 >= TRIES_MAX
                    && item.failed_since.is_some_and(|since| kept.taken_at.is_some_and(|taken| taken > since)) =>
            {
                SubmissionNow::Aside { reason: detail.clone() }
            }
            Delivery::Failed { answered, .. } => {
                let alone = item.alone || item.n_tries >= if *answered { 1 } else { 3 };
                SubmissionNow::Again { at: now.plus_us(pause(item.n_tries)), alone, reason: detail.clone() }
            }
        };
        settled.push(SubmissionSettled {
            object: item.object.clone(),
            subject: item.subject.clone(),
            revision: item.revision,
            now: become_,
            attempt: Some(NewSubmissionAttempt {
                key: one.rendered.key.clone(),
                digest: one.digest.clone(),
                batch: idempotency.clone(),
                outcome,
                detail: attempted.clone(),
                holder: one.holder.clone(),
            }),
        });
    }
    app.store.settle_submission(put, &settled, &after, now).await?;
    match after {
        SubmissionTargetAfter::Taken => {
            if kept.n_failures > 0 {
                info!("submissions to {} are taken again", put.name);
            }
            // Nobody was there: that says nothing of what was tried meanwhile, and it goes next. What was answered waits for its time.
            let code = kept
                .reason
                .take()
                .and_then(|reason| serde_json::from_str::<serde_json::Value>(&reason).ok()?["code"].as_str().map(str::to_owned));
            if code.is_some_and(|code| ["no_answer", "not_written", "no_secret"].contains(&code.as_str())) {
                app.store.hurry_submission(put.name).await?;
            }
            (kept.n_failures, kept.failing_since, kept.next_at, kept.taken_at) = (0, None, Timestamp::EPOCH, Some(now));
        }
        SubmissionTargetAfter::Failed { next_at, reason } => {
            if kept.n_failures == 0 {
                warn!("submissions to {} fail: {reason}", put.name);
            }
            kept.n_failures += 1;
            kept.next_at = next_at;
            kept.reason = Some(reason);
        }
        SubmissionTargetAfter::Same => {}
    }
    Ok(())
}

/// Content type of what goes out.
fn content_type(format: &Format) -> &'static str {
    match format {
        Format::Json { .. } => "application/json; charset=utf-8",
        Format::Csv { .. } => "text/csv; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Vec<Target>, String> {
        let settings: Settings = toml::from_str(text).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string())
    }

    #[test]
    fn a_target_that_cannot_be_meant_is_refused_by_its_name() {
        let check = |lines: &str, says: &str| {
            let told = settings(&format!("[[target]]\nname = \"p\"\nsubmission = \"s\"\n{lines}")).expect_err(lines);
            assert!(told.contains("p") && told.contains(says), "{lines}: {told}");
        };
        check("", "say one of url and dir");
        check("url = \"https://x\"\ndir = \"/x\"", "say one of url and dir");
        check("dir = \"x\"", "an absolute path");
        for url in [
            "http://10.0.0.1/x",
            "http://localhost.evil.example",
            "https://",
            "https://u:p@host",
            "https://h/?k=1",
            "ftp://h",
            "http://127.0.0.1@evil.example",
        ] {
            check(&format!("url = \"{url}\""), "url begins with https://");
        }
        check("url = \"https://x\"\ntimeout_s = 0", "timeout_s is 1 to 300");
        check("url = \"https://x\"\nsecret_file = \"/nowhere/x\"", "secret_file /nowhere/x");
        let twice = "[[target]]\nname = \"p\"\nsubmission = \"s\"\ndir = \"/x\"\n".repeat(2);
        assert!(settings(&twice).is_err_and(|told| told.contains("used twice")));
        for url in ["https://p.example:8443/base/", "http://127.0.0.1:9", "http://[::1]:9/x", "http://localhost"] {
            let good = settings(&format!("[[target]]\nname = \"p\"\nsubmission = \"s\"\nurl = \"{url}\"")).unwrap();
            assert_eq!(good[0].place(), url.trim_end_matches('/'));
        }
    }

    #[test]
    fn words_about_many_are_not_shown_to_who_sees_one() {
        let told = |detail: &str| serde_json::from_str::<serde_json::Value>(&told_of_one(detail)).unwrap();
        let of_many = told(r#"{"code": "refused", "status": 422, "says": "E2: 重复", "alone": false}"#);
        assert_eq!((&of_many["status"], of_many.get("says")), (&422.into(), None));
        assert_eq!(told(r#"{"code": "refused", "says": "E2"}"#).get("says"), None, "of an older release");
        assert_eq!(told(r#"{"code": "refused", "says": "E1", "alone": true}"#)["says"], "E1");
        assert_eq!(told(r#"{"code": "unfit", "refusals": [{"field": "a"}]}"#)["refusals"][0]["field"], "a");
    }

    #[test]
    fn pauses_grow_and_end() {
        assert_eq!((0..5).map(|n| pause(n) / 1_000_000).collect::<Vec<_>>(), [5, 10, 20, 40, 80]);
        assert_eq!((pause(8), pause(100)), (PAUSE_MAX_US, PAUSE_MAX_US));
    }
}
