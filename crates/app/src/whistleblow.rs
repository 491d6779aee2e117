//! Reports of violations (举报): taken from anybody, sealed before anything is written, followed by a code that only the reporter has.
//!
//! The record of kind [`KIND`] holds what a screener released and what was done; beside it lies what came, sealed ([`crate::sealing`]). A holder
//! (保管人) opens the words alone, under their passphrase; who reported takes two of them and a reason, and both acts stand in the audit. Of a
//! visitor nothing is kept: the code as a hash, no address, no browser. Start at [`report`], [`follow`], [`open`] and [`unseal`] (ADR 0029).

use anlan_domain::register::Record;
use anlan_model::noun::Grant;
use anlan_model::{Clock as _, Permission, RecordId, RegionCode, Role, Scope, Timestamp, UserId};
pub use anlan_store::HolderRow;
use anlan_store::{HolderKeyRow, KnownReport, PartKind, PartRow, RecordOwner, SealedIdentity, SealedReport, UnsealingRow};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::error::{AppError, Faults, Kind as Refusal};
use crate::point::off_thread;
use crate::record::{self, NewRecord};
use crate::sealing::{self, HolderKey, Opener, ReportKey, SealError};
use crate::telemetry::pressure;
use crate::turnstile::Turnstile;
use crate::{App, access, validate};

/// The register.
pub const KIND: &str = "whistleblow_report";
/// Holders without whom nothing is taken: who reported takes two.
pub const HOLDERS_MIN: usize = 2;
/// Most holders: a report is locked for each two of them, twice.
pub const HOLDERS_MAX: usize = 8;
/// Files of one sending.
pub const FILES_MAX: usize = 5;
/// Megabytes of one file.
pub const FILE_MB: usize = 8;
/// Megabytes of one sending.
pub const SENDING_MB: usize = 20;
/// Characters of what is told.
pub const WORDS_CHARS: usize = 4_000;
/// Characters of each other line.
pub const LINE_CHARS: usize = 200;
/// Least characters of a holder's passphrase.
pub const PASSPHRASE_CHARS: usize = 12;
/// Words, files and identities of one report.
const PARTS_MAX: i64 = 60;
/// Bytes that are kept sealed in all.
const SEALED_BYTES: u64 = 5_000_000_000;
/// Up to so many, and so many of one day, files are taken.
const FILES_BYTES: u64 = 4_000_000_000;
const FILES_A_DAY_BYTES: u64 = 500_000_000;
const DAY_US: i64 = 24 * 3_600_000_000;
/// How long what was granted can be opened.
const GRANTED_US: i64 = DAY_US;
/// Sendings of one address in a minute, and of all that are counted no more.
const SENDINGS: (u32, u32) = (10, 60);
/// Looks by code, likewise.
const LOOKS: (u32, u32) = (30, 3_000);
/// Passphrases of one holder in a minute.
const PASSPHRASES: (u32, u32) = (10, 10);
/// Letters of a receipt code: 32 of them, five bits each; none that is taken for another.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Random bytes of a code: 80 bits, so that nobody guesses one.
const CODE_BYTES: usize = 10;
/// Random bytes of a form's secret.
const FORM_BYTES: usize = 16;

/// What is kept in memory; part of [`App`].
pub struct Whistleblow {
    sendings: Turnstile,
    looks: Turnstile,
    passphrases: Turnstile,
    /// A passphrase takes 64 MiB and a core.
    unlocking: Semaphore,
}

impl Default for Whistleblow {
    fn default() -> Self {
        Self {
            sendings: Turnstile::new(SENDINGS.0, SENDINGS.1),
            looks: Turnstile::new(LOOKS.0, LOOKS.1),
            passphrases: Turnstile::new(PASSPHRASES.0, PASSPHRASES.1),
            unlocking: Semaphore::new(1),
        }
    }
}

/// What somebody tells, as it is sealed. Nothing here has `Debug`: it would print what must not be printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// What is wrong.
    pub what: String,
    /// Whom it is about.
    #[serde(default)]
    pub unit: String,
    /// Where.
    #[serde(default)]
    pub place: String,
    /// Since when, how often.
    #[serde(default)]
    pub when: String,
    /// Files that came with it, in order.
    #[serde(default)]
    pub files: Vec<FileName>,
}

/// A file as its sender calls it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileName {
    /// Its name.
    pub name: String,
    /// Length.
    pub bytes: usize,
}

/// Who tells it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name.
    #[serde(default)]
    pub name: String,
    /// How to reach them.
    #[serde(default)]
    pub contact: String,
    /// To whom and where a reward is paid.
    #[serde(default)]
    pub payee: String,
}

/// What somebody sends.
#[derive(Default)]
pub struct Sending {
    /// What they tell.
    pub words: Words,
    /// Who they are; empty where they say nothing.
    pub identity: Identity,
    /// Names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What a new report is about, in the open: enough to bring it to the right desk.
pub struct About {
    /// A choice of the register's field `topic`.
    pub topic: String,
    /// A choice of `channel`.
    pub channel: String,
    /// Which division.
    pub region: String,
}

/// What the reporter is given for a form; the same form again gets the same, for the first answer may never have arrived.
pub struct Receipt {
    /// The code.
    pub code: String,
    /// Number of the record.
    pub number: String,
    /// This very form came before.
    pub is_repeated: bool,
}

/// A secret that a form carries, so that the same form sent twice is one report: 32 hexadecimal digits. It is kept nowhere.
pub fn form_secret() -> Result<String, AppError> {
    let mut random = [0; FORM_BYTES];
    getrandom::fill(&mut random).map_err(|_| AppError::new(Refusal::Internal, "internal"))?;
    Ok(random.iter().map(|b| format!("{b:02x}")).collect())
}

/// The receipt code of a form: by its secret and everything that was written into it. It is as hard to guess as the secret, which is kept nowhere; the same
/// form sent again has the same code, and another report out of it, as by the browser's way back, another one. `None` for a form without a secret.
fn code_of_form(secret: &str, about: &About, sending: &Sending) -> Option<[u8; CODE_BYTES]> {
    if secret.len() != 2 * FORM_BYTES || !secret.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let (words, identity) = (&sending.words, &sending.identity);
    let texts =
        ["anlan receipt code 1", secret, &about.topic, &about.channel, &about.region, &words.what, &words.unit, &words.place, &words.when];
    let texts = texts.into_iter().chain([identity.name.as_str(), &identity.contact, &identity.payee]);
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // With its length, so that nothing moves from one to the next.
        hash.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(bytes);
    };
    texts.for_each(|text| part(text.as_bytes()));
    for (name, bytes) in &sending.files {
        part(name.as_bytes());
        part(bytes);
    }
    hash.finalize().first_chunk().copied()
}

/// What the reporter sees.
pub struct Followed {
    /// Number of the record.
    pub number: String,
    /// Its state, Chinese and English.
    pub state: (String, String),
    /// Nothing follows.
    pub is_over: bool,
    /// Day of receipt.
    pub received_on: String,
    /// By when it is to be done.
    pub handle_by: String,
    /// What is asked of the reporter.
    pub question: String,
    /// Why it was not taken up.
    pub reject_reason: String,
    /// The answer.
    pub reply: String,
    /// The reward that was approved.
    pub reward_yuan: String,
    /// When it was paid.
    pub paid_on: String,
    /// Times something was sent.
    pub sendings: usize,
}

/// A sealed report as holders and others see it, without opening anything.
pub struct SealedView {
    /// What came, in order.
    pub parts: Vec<PartRow>,
    /// Questions for who reported.
    pub unsealings: Vec<UnsealingRow>,
    /// The asker is a holder with a key.
    pub may_open: bool,
}

/// Words that were opened.
pub struct OpenedWords {
    /// When they came.
    pub received_at: Timestamp,
    /// The words.
    pub words: Words,
    /// Numbers of their files, in order.
    pub files: Vec<i64>,
}

// ---- holders

/// Whether reports are taken: the register is on, and enough holders have keys.
///
/// # Errors
/// The store's.
pub async fn is_open(app: &App) -> Result<bool, AppError> {
    Ok(app.registers.load().kind(KIND).is_ok() && app.store.sealing_keys().await?.len() >= HOLDERS_MIN)
}

/// Everybody who was appointed; for administrators of the whole node and holders themselves.
///
/// # Errors
/// Neither of them, the store's.
pub async fn holders(app: &App, scope: &Scope) -> Result<Vec<HolderRow>, AppError> {
    let holders = app.store.holders().await?;
    if whole_node(scope).is_err() && !holders.iter().any(|h| Some(h.user) == scope.user) {
        return Err(AppError::forbidden("whistleblow.no_holder"));
    }
    Ok(holders)
}

/// What the asker owes as a holder: `holder_key` while they have none, `holder_confirm` while somebody waits for one to vouch. In the bell until it is
/// done.
///
/// # Errors
/// The store's.
pub async fn owed(app: &App, scope: &Scope) -> Result<Vec<&'static str>, AppError> {
    let Some(user) = scope.user else { return Ok(Vec::new()) };
    let holders = app.store.holders().await?;
    let Some(own) = holders.iter().find(|holder| holder.user == user) else { return Ok(Vec::new()) };
    let waits = || holders.iter().any(|other| other.user != user && !other.is_confirmed);
    Ok(match (&own.key, own.is_confirmed) {
        (None, _) => vec!["holder_key"],
        (Some(_), true) if waits() => vec!["holder_confirm"],
        (Some(_), _) => Vec::new(),
    })
}

/// Appoints somebody: not oneself, and a regulator of this node's whole territory who is no administrator. While two have keys, one of them has to
/// vouch for the new one ([`confirm`]): an administrator alone does not become both holders.
///
/// # Errors
/// Not an administrator of the whole node, oneself, nobody such, somebody else's territory, too many, already one.
pub async fn appoint(app: &App, scope: &Scope, user: UserId) -> Result<(), AppError> {
    let scope = whole_node(scope)?;
    if scope.user == Some(user) {
        return Err(AppError::forbidden("whistleblow.oneself"));
    }
    let person = app.store.user(&scope, user).await?;
    let own = RegionCode::new(&app.settings.region);
    let is_whole = |g: &Grant| {
        g.enterprise.is_none() && g.sector.is_none() && g.region.as_ref().is_none_or(|r| own.as_ref().is_some_and(|own| r.holds(own)))
    };
    let is_regulator = |g: &Grant| is_whole(g) && matches!(g.role, Role::Supervisor | Role::Leader | Role::Inspector);
    let is_other = |g: &Grant| g.enterprise.is_some() || g.role == Role::Administrator;
    if !person.grants.iter().any(is_regulator) || person.grants.iter().any(is_other) {
        return Err(AppError::invalid("whistleblow.regulator", "user"));
    }
    if app.store.holders().await?.len() >= HOLDERS_MAX {
        return Err(AppError::conflict("whistleblow.holders_max").with("max", HOLDERS_MAX));
    }
    let is_first = app.store.sealing_keys().await?.len() < HOLDERS_MIN;
    Ok(app.store.appoint_holder(&scope, user, is_first, app.clock.now()).await?)
}

/// A holder with a key vouches for one who was appointed, under their passphrase.
///
/// # Errors
/// Not a holder with a key, oneself, a wrong passphrase, nobody such who waits for it.
pub async fn confirm(app: &App, scope: &Scope, user: UserId, passphrase: &str) -> Result<(), AppError> {
    let own = scope.user.ok_or_else(|| AppError::forbidden("whistleblow.no_holder"))?;
    if own == user {
        return Err(AppError::forbidden("whistleblow.oneself"));
    }
    openers(app, own, passphrase).await?;
    Ok(app.store.confirm_holder(scope, user, app.clock.now()).await?)
}

/// Ends an appointment.
///
/// # Errors
/// Not an administrator of the whole node, not a holder, the store's.
pub async fn dismiss(app: &App, scope: &Scope, user: UserId) -> Result<(), AppError> {
    let scope = whole_node(scope)?;
    Ok(app.store.dismiss_holder(&scope, user, app.clock.now()).await?)
}

fn whole_node(scope: &Scope) -> Result<Scope, AppError> {
    let scope = scope.with(Permission::ManageUsers)?;
    if scope.holds(None, None, None) { Ok(scope) } else { Err(AppError::forbidden("scope.outside")) }
}

/// Makes the asker's key under a passphrase that nobody else has. Who has one already gives its passphrase, so that a password that was reset makes
/// no key; what was sealed to the earlier one opens under its own passphrase.
///
/// # Errors
/// Not a holder, a passphrase that is too short, a wrong one of the key before.
pub async fn make_key(app: &App, scope: &Scope, passphrase: String, current: &str) -> Result<(), AppError> {
    let user = scope.user.ok_or_else(|| AppError::forbidden("whistleblow.no_holder"))?;
    if passphrase.chars().count() < PASSPHRASE_CHARS {
        return Err(AppError::invalid("whistleblow.passphrase_short", "passphrase").with("min", PASSPHRASE_CHARS));
    }
    match app.store.holders().await?.into_iter().find(|h| h.user == user) {
        None => return Err(AppError::forbidden("whistleblow.no_holder")),
        Some(HolderRow { key: Some(_), is_confirmed: true, .. }) => {
            openers(app, user, current).await.map_err(|failure| match failure.code() {
                "whistleblow.passphrase" => failure.on("current"),
                _ => failure,
            })?;
        }
        Some(_) => brake(&app.whistleblow.passphrases, &format!("holder {user}"))?,
    }
    let _turn = app.whistleblow.unlocking.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))?;
    let key = off_thread(move || HolderKey::make(&passphrase)).await?.map_err(damaged)?;
    Ok(app.store.put_holder_key(scope, user, &key.recipient, &key.locked, app.clock.now()).await?)
}

// ---- reporters

/// Whether an address may send something; asked before its bytes are read.
///
/// # Errors
/// `whistleblow.slow_down`.
pub fn may_send(app: &App, address: &str) -> Result<(), AppError> {
    brake(&app.whistleblow.sendings, address)
}

/// Takes a report from anybody. Nothing of it is written but sealed; the code is in the answer alone. `secret` is the form's ([`form_secret`]); the same
/// form again is the report that it was, with the code that it had.
///
/// # Errors
/// `whistleblow.closed` while there are not enough holders, everything wrong with the fields at once, no room.
pub async fn report(app: &App, about: About, sending: Sending, secret: &str) -> Result<Receipt, AppError> {
    let kind = app.registers.load().kind(KIND).map_err(|_| AppError::new(Refusal::Unavailable, "whistleblow.closed"))?;
    let keys = app.store.sealing_keys().await?;
    if keys.len() < HOLDERS_MIN {
        return Err(AppError::new(Refusal::Unavailable, "whistleblow.closed"));
    }
    let mut faults = Faults::default();
    let region = faults.note(validate::region("region", &about.region, &app.registry.get().regions, app.today()).and_then(|region| {
        let is_here = RegionCode::new(&app.settings.region).is_some_and(|own| own.holds(&region));
        if is_here { Ok(region) } else { Err(AppError::invalid("whistleblow.choice", "region")) }
    }));
    let topic = faults.note(choice(&kind, "topic", &about.topic));
    faults.note(choice(&kind, "channel", &about.channel));
    let sending = faults.note(checked(sending));
    faults.check()?;
    let (Some(region), Some(topic), Some(sending)) = (region, topic, sending) else { return Err(AppError::invalid("text.empty", "what")) };
    let bytes = match code_of_form(secret, &about, &sending) {
        Some(bytes) => bytes,
        None => {
            let mut random = [0; CODE_BYTES];
            getrandom::fill(&mut random).map_err(|_| AppError::new(Refusal::Internal, "internal"))?;
            random
        }
    };
    if let Some(again) = came_before(app, &bytes).await? {
        return Ok(again);
    }
    has_room(app, &sending).await?;

    let came = off_thread(move || sealed(&keys, &sending)).await?.map_err(damaged)?;

    // The office that takes it down does so in the division that it is about; who reported is nobody here.
    let grant = Grant { role: Role::Supervisor, region: Some(region.clone()), sector: None, enterprise: None };
    let scope = Scope { user: None, name: "公众".to_owned(), grants: vec![grant] };
    let now = app.clock.now();
    let mut fields = Map::new();
    fields.insert("subject".to_owned(), json!(format!("举报：{topic}")));
    fields.insert("topic".to_owned(), json!(about.topic));
    fields.insert("channel".to_owned(), json!(about.channel));
    fields.insert("received_on".to_owned(), json!(app.today().to_string()));
    let mut change = app.store.change_records(&scope, now).await?;
    let record = NewRecord { enterprise: None, region: Some(region), transition: "receive".to_owned(), fields };
    let row = record::create_in(app, &mut change, &scope, "public".to_owned(), KIND, record, now).await?;
    match change.put_whistleblow(row.id, hash_of(&bytes), &came).await {
        Ok(()) => {}
        // Pressed twice: the other one was quicker.
        Err(anlan_store::StoreError::Taken { .. }) => {
            drop(change);
            return came_before(app, &bytes).await?.ok_or_else(|| AppError::new(Refusal::Unavailable, "server.busy"));
        }
        Err(failure) => return Err(failure.into()),
    }
    app.live.records_changed(&change.commit().await?);
    Ok(Receipt { code: code_of(&bytes), number: row.number, is_repeated: false })
}

/// The report that has this code, as this very form made it before.
async fn came_before(app: &App, bytes: &[u8; CODE_BYTES]) -> Result<Option<Receipt>, AppError> {
    let known = match app.store.whistleblow_by_code(&hash_of(bytes)).await {
        Ok(known) => known,
        Err(anlan_store::StoreError::NotFound) => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let number = app.store.record(&Scope::node(), KIND, known.record).await?.number;
    Ok(Some(Receipt { code: code_of(bytes), number, is_repeated: true }))
}

/// What whoever has the code may know.
///
/// # Errors
/// `whistleblow.slow_down`, `whistleblow.code` for a code that is none here.
pub async fn follow(app: &App, address: &str, code: &str) -> Result<Followed, AppError> {
    let known = by_code(app, address, code).await?;
    let kind = app.registers.load().kind(KIND)?;
    let row = app.store.record(&Scope::node(), KIND, known.record).await?;
    let record = record::read(&kind, &row)?;
    let state = kind.state(&row.state);
    let parts = app.store.sealed_parts(known.record).await?;
    let text = |field: &str| shown(&record, field);
    // What is only proposed is promised to nobody.
    let is_approved = record.acts.iter().any(|act| act.transition == "approve_reward");
    Ok(Followed {
        number: row.number.clone(),
        state: state.map_or_else(|| (row.state.clone(), row.state.clone()), |s| (s.name.clone(), s.name_en.clone())),
        is_over: state.is_some_and(|s| s.is_end),
        received_on: text("received_on"),
        handle_by: text("handle_by"),
        question: text("question"),
        reject_reason: text("reject_reason"),
        reply: text("reply"),
        reward_yuan: if is_approved { text("reward_yuan") } else { String::new() },
        paid_on: text("paid_on"),
        sendings: parts.iter().filter(|p| p.kind == PartKind::Words).count(),
    })
}

/// Takes more from whoever has the code: words, files, a name or a payee.
///
/// # Errors
/// As [`report`] and [`follow`]; `whistleblow.full` for a report that has very much already.
pub async fn add(app: &App, address: &str, code: &str, sending: Sending) -> Result<(), AppError> {
    let known = by_code(app, address, code).await?;
    let sending = checked(sending)?;
    has_room(app, &sending).await?;
    let keys = app.store.sealing_keys().await?;
    if keys.len() < HOLDERS_MIN {
        return Err(AppError::new(Refusal::Unavailable, "whistleblow.closed"));
    }
    let came = off_thread(move || sealed(&keys, &sending)).await?.map_err(damaged)?;
    let kind = app.registers.load().kind(KIND)?;
    let node = Scope { name: "公众".to_owned(), ..Scope::node() };
    let now = app.clock.now();
    let mut change = app.store.change_records(&node, now).await?;
    let row = change.record(KIND, known.record).await?;
    change.put_sealed(known.record, &came, PARTS_MAX).await.map_err(|failure| match failure {
        anlan_store::StoreError::Stale => AppError::conflict("whistleblow.full"),
        other => other.into(),
    })?;
    let owner = RecordOwner { region: row.region.clone(), ..record::of_everyone() };
    let handler = record::read(&kind, &row)?.text("handler").and_then(|id| id.parse().ok());
    let detail = json!({"number": row.number, "title": row.title, "state": row.state});
    change.notify(known.record, &owner, &[Role::Supervisor.as_str().to_owned()], handler, "supplement", &detail).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(())
}

async fn by_code(app: &App, address: &str, code: &str) -> Result<KnownReport, AppError> {
    brake(&app.whistleblow.looks, address)?;
    let unknown = || AppError::invalid("whistleblow.code", "code");
    let bytes = bytes_of(code).ok_or_else(unknown)?;
    app.store.whistleblow_by_code(&hash_of(&bytes)).await.map_err(|failure| match failure {
        anlan_store::StoreError::NotFound => unknown(),
        other => other.into(),
    })
}

fn brake(turnstile: &Turnstile, address: &str) -> Result<(), AppError> {
    turnstile
        .ask(&access::origin(address), access::real_now())
        .map_err(|retry_after_s| AppError::new(Refusal::TooMany { retry_after_s }, "whistleblow.slow_down").with("seconds", retry_after_s))
}

/// The choice's name, if the kind has it.
fn choice(kind: &anlan_domain::register::Kind, field: &str, word: &str) -> Result<String, AppError> {
    let choices = kind.field(field).map(|f| &f.of);
    let Some(anlan_domain::register::FieldType::Choice { choices }) = choices else {
        return Err(AppError::invalid("whistleblow.choice", field));
    };
    choices.iter().find(|c| c.id == word).map(|c| c.name.clone()).ok_or_else(|| AppError::invalid("whistleblow.choice", field))
}

/// A sending that fits, without what screens do not show.
fn checked(sending: Sending) -> Result<Sending, AppError> {
    let mut faults = Faults::default();
    let mut fit = |field: &str, text: &str, max: usize| {
        let text: String = text.trim().chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
        if text.chars().count() > max {
            faults.note::<()>(Err(AppError::invalid("text.too_long", field).with("max", max)));
        }
        text
    };
    let Sending { words, identity, files } = sending;
    let mut words = Words {
        what: fit("what", &words.what, WORDS_CHARS),
        unit: fit("unit", &words.unit, LINE_CHARS),
        place: fit("place", &words.place, LINE_CHARS),
        when: fit("when", &words.when, LINE_CHARS),
        files: Vec::new(),
    };
    let identity = Identity {
        name: fit("name", &identity.name, LINE_CHARS),
        contact: fit("contact", &identity.contact, LINE_CHARS),
        payee: fit("payee", &identity.payee, LINE_CHARS),
    };
    let says_who = identity != Identity::default();
    if words.what.chars().count() < 5 && !(words.what.is_empty() && (says_who || !files.is_empty())) {
        faults.note::<()>(Err(AppError::invalid("whistleblow.too_short", "what").with("min", 5)));
    }
    if files.len() > FILES_MAX {
        faults.note::<()>(Err(AppError::invalid("whistleblow.files", "files").with("max", FILES_MAX)));
    }
    if files.iter().any(|(_, bytes)| bytes.len() > FILE_MB * 1_000_000) {
        faults.note::<()>(Err(AppError::invalid("whistleblow.file_large", "files").with("max_mb", FILE_MB)));
    }
    faults.check()?;
    words.files = files
        .iter()
        .map(|(name, bytes)| FileName { name: name.chars().filter(|c| !c.is_control()).take(LINE_CHARS).collect(), bytes: bytes.len() })
        .collect();
    Ok(Sending { words, identity, files })
}

/// Room for what is sent: files may be refused while words still go, so that nobody closes the form with large ones.
async fn has_room(app: &App, sending: &Sending) -> Result<(), AppError> {
    let bytes: usize = sending.files.iter().map(|(_, bytes)| bytes.len()).sum();
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    let (all, today) = app.store.sealed_usage(app.clock.now().plus_us(-DAY_US)).await?;
    if bytes > 0 && (all.saturating_add(bytes) > FILES_BYTES || today.saturating_add(bytes) > FILES_A_DAY_BYTES) {
        return Err(AppError::invalid("whistleblow.files_full", "files"));
    }
    if all > SEALED_BYTES || !pressure::has_room_for_files(app.attachments.root(), app.settings.disk_free_min_mb, bytes) {
        return Err(AppError::new(Refusal::Unavailable, "whistleblow.no_room"));
    }
    Ok(())
}

/// Words and files to every holder; the identity to a key of its own, whose secret is left for each two of them.
fn sealed(keys: &[HolderKeyRow], sending: &Sending) -> Result<SealedReport, SealError> {
    let holders: Vec<&str> = keys.iter().map(|key| key.recipient.as_str()).collect();
    let text = |value: &Json| sealing::padded(value.to_string());
    let identity = &sending.identity;
    Ok(SealedReport {
        words: sealing::seal(&holders, text(&json!(sending.words)).as_bytes())?,
        files: sending.files.iter().map(|(_, bytes)| sealing::seal(&holders, bytes)).collect::<Result<_, _>>()?,
        identity: (*identity != Identity::default()).then(|| sealed_identity(keys, text(&json!(identity)).as_bytes())).transpose()?,
    })
}

fn sealed_identity(keys: &[HolderKeyRow], bytes: &[u8]) -> Result<SealedIdentity, SealError> {
    let key = ReportKey::make();
    let mut locks = Vec::new();
    for asker in keys {
        for granter in keys.iter().filter(|granter| granter.user != asker.user) {
            locks.push((asker.n, granter.n, key.for_two(&asker.recipient, &granter.recipient)?));
        }
    }
    Ok(SealedIdentity { bytes: sealing::seal(&[&key.recipient()], bytes)?, locks })
}

fn shown(record: &Record, field: &str) -> String {
    record.fields.get(field).map_or_else(String::new, |value| match value.to_json() {
        Json::String(text) => text,
        other => other.to_string(),
    })
}

/// Four groups of four letters.
fn code_of(bytes: &[u8; CODE_BYTES]) -> String {
    let bits = bytes.iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    let mut code = String::with_capacity(19);
    for n in 0..16 {
        if n > 0 && n % 4 == 0 {
            code.push('-');
        }
        let at = bits >> (75 - 5 * n) & 31;
        code.push(char::from(LETTERS[usize::try_from(at).unwrap_or(0)]));
    }
    code
}

/// The bytes of a code as people type it: in small letters, with spaces, with o for zero and i or l for one.
fn bytes_of(code: &str) -> Option<[u8; CODE_BYTES]> {
    let (mut bits, mut letters) = (0_u128, 0);
    for c in code.chars().filter(|c| !c.is_whitespace() && !matches!(c, '-' | '—' | '－')) {
        let c = match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            c => c,
        };
        let at = LETTERS.iter().position(|letter| char::from(*letter) == c)?;
        letters += 1;
        if letters > 16 {
            return None;
        }
        bits = bits << 5 | u128::try_from(at).ok()?;
    }
    if letters != 16 {
        return None;
    }
    bits.to_be_bytes()[16 - CODE_BYTES..].try_into().ok()
}

fn hash_of(bytes: &[u8; CODE_BYTES]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

// ---- holders at work

/// What lies sealed beside a record that the asker sees.
///
/// # Errors
/// Not there or not visible, no sealed report.
pub async fn view(app: &App, scope: &Scope, record: RecordId) -> Result<SealedView, AppError> {
    let scope = scope.with(Permission::View)?;
    app.store.record(&scope, KIND, record).await?;
    let parts = app.store.sealed_parts(record).await?;
    let may_open = match scope.user {
        Some(user) => !app.store.keys_of_holder(user).await?.is_empty(),
        None => false,
    };
    Ok(SealedView { parts, unsealings: app.store.unsealings(record).await?, may_open })
}

/// Opens the words of a report, and says how many sendings stayed closed to this passphrase; it stands in the audit.
///
/// # Errors
/// Not there or not visible, no holder, a wrong passphrase, nothing that is sealed to its key.
pub async fn open(app: &App, scope: &Scope, record: RecordId, passphrase: &str) -> Result<(Vec<OpenedWords>, usize), AppError> {
    let openers = unlocked(app, scope, record, passphrase).await?;
    let parts = app.store.sealed_parts(record).await?;
    let (mut opened, mut closed) = (Vec::new(), 0);
    for (n, received_at, bytes) in app.store.sealed_bytes(record, PartKind::Words, None).await? {
        // What came while the holder had another key, or none.
        let bytes = match any(&openers, &bytes) {
            Err(SealError::Stranger) => {
                closed += 1;
                continue;
            }
            other => other.map_err(damaged)?,
        };
        let words: Words = serde_json::from_slice(&bytes).map_err(|_| damaged(SealError::Damaged))?;
        let files = parts.iter().filter(|part| part.words == Some(n)).map(|part| part.n).collect();
        opened.push(OpenedWords { received_at, words, files });
    }
    if opened.is_empty() {
        return Err(damaged(SealError::Stranger));
    }
    note(app, scope, record, "open_words", json!({"words": opened.len()})).await?;
    Ok((opened, closed))
}

/// Opens one file of a report; it stands in the audit.
///
/// # Errors
/// As [`open`].
pub async fn open_file(app: &App, scope: &Scope, record: RecordId, n: i64, passphrase: &str) -> Result<Vec<u8>, AppError> {
    let opener = unlocked(app, scope, record, passphrase).await?;
    let mut found = app.store.sealed_bytes(record, PartKind::File, Some(n)).await?;
    let (.., bytes) = found.pop().ok_or_else(AppError::not_found)?;
    let bytes = off_thread(move || any(&opener, &bytes)).await?.map_err(damaged)?;
    note(app, scope, record, "open_file", json!({"part": n})).await?;
    Ok(bytes)
}

/// Asks another holder to open who reported.
///
/// # Errors
/// Not there or not visible, no holder, no reason, nobody named, one of theirs waits already.
pub async fn ask(app: &App, scope: &Scope, record: RecordId, reason: &str) -> Result<i64, AppError> {
    let (act, user) = holder(app, scope, record).await?;
    let reason = validate::name("reason", reason)?;
    if app.store.sealed_bytes(record, PartKind::Identity, None).await?.is_empty() {
        return Err(AppError::conflict("whistleblow.anonymous"));
    }
    let mut change = app.store.change_records(&act, app.clock.now()).await?;
    let row = change.record(KIND, record).await?;
    let n = change.ask_unsealing(record, user, &scope.name, &reason).await?;
    let owner = RecordOwner { region: row.region.clone(), ..record::of_everyone() };
    let detail = json!({"number": row.number, "title": row.title, "state": row.state});
    for other in app.store.sealing_keys().await?.into_iter().filter(|key| key.user != user) {
        change.notify(record, &owner, &[], Some(other.user), "unsealing", &detail).await?;
    }
    app.live.records_changed(&change.commit().await?);
    Ok(n)
}

/// Grants it: takes the granter's layer off, so that the asker, and nobody else, can open what is left within a day.
///
/// # Errors
/// As [`open`]; one's own question; `whistleblow.no_lock` where the report was never sealed for these two.
pub async fn grant(app: &App, scope: &Scope, record: RecordId, n: i64, passphrase: &str) -> Result<(), AppError> {
    let (act, user, asked) = to_decide(app, scope, record, n).await?;
    let locks = app.store.sealed_locks(record, asked.asked_by, user).await?;
    if locks.is_empty() {
        return Err(AppError::conflict("whistleblow.no_lock"));
    }
    let openers = unlocked(app, scope, record, passphrase).await?;
    // One layer of each identity: two keys of one person have a lock each, and one of them is enough.
    let mut layers: Vec<(i64, Vec<u8>)> = Vec::new();
    for (part, bytes) in &locks {
        if let Ok(layer) = any(&openers, bytes)
            && layers.last().is_none_or(|(last, _)| last != part)
        {
            layers.push((*part, layer));
        }
    }
    if layers.is_empty() {
        return Err(damaged(SealError::Stranger));
    }
    let now = app.clock.now();
    let mut change = app.store.change_records(&act, now).await?;
    change.decide_unsealing(record, n, &scope.name, Ok((&layers, now.plus_us(GRANTED_US)))).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(())
}

/// Refuses it.
///
/// # Errors
/// As [`grant`]; no opinion.
pub async fn refuse(app: &App, scope: &Scope, record: RecordId, n: i64, opinion: &str) -> Result<(), AppError> {
    let (act, ..) = to_decide(app, scope, record, n).await?;
    let opinion = validate::name("opinion", opinion)?;
    let mut change = app.store.change_records(&act, app.clock.now()).await?;
    change.decide_unsealing(record, n, &scope.name, Err(&opinion)).await?;
    app.live.records_changed(&change.commit().await?);
    Ok(())
}

/// Opens who reported, after another holder granted it; it stands in the audit before it is shown.
///
/// # Errors
/// As [`open`]; not granted to the asker, or a day over.
pub async fn unseal(app: &App, scope: &Scope, record: RecordId, n: i64, passphrase: &str) -> Result<Vec<Identity>, AppError> {
    let (act, user) = holder(app, scope, record).await?;
    let layers = app.store.unsealing_layers(record, n, user, app.clock.now()).await?;
    let openers = unlocked(app, scope, record, passphrase).await?;
    let mut who = Vec::new();
    for (part, layer) in layers {
        let Some(key) = openers.iter().find_map(|key| sealing::report_key(key, &layer).ok()) else { continue };
        for (.., bytes) in app.store.sealed_bytes(record, PartKind::Identity, Some(part)).await? {
            let bytes = key.open(&bytes).map_err(damaged)?;
            who.push(serde_json::from_slice(&bytes).map_err(|_| damaged(SealError::Damaged))?);
        }
    }
    if who.is_empty() {
        return Err(damaged(SealError::Stranger));
    }
    let mut change = app.store.change_records(&act, app.clock.now()).await?;
    change.opened_unsealing(record, n).await?;
    change.commit().await?;
    Ok(who)
}

/// Drops what was granted and is over; called once in a while.
///
/// # Errors
/// The store's.
pub async fn forget_granted(app: &App) -> Result<u64, AppError> {
    Ok(app.store.drop_layers(app.clock.now()).await?)
}

/// The asker as a holder who sees the record.
async fn holder(app: &App, scope: &Scope, record: RecordId) -> Result<(Scope, UserId), AppError> {
    let act = scope.with(Permission::View)?;
    app.store.record(&act, KIND, record).await?;
    let user = scope.user.ok_or_else(|| AppError::forbidden("whistleblow.no_holder"))?;
    if app.store.keys_of_holder(user).await?.is_empty() {
        return Err(AppError::forbidden("whistleblow.no_holder"));
    }
    Ok((act, user))
}

async fn to_decide(app: &App, scope: &Scope, record: RecordId, n: i64) -> Result<(Scope, UserId, UnsealingRow), AppError> {
    let (act, user) = holder(app, scope, record).await?;
    let asked = app.store.unsealings(record).await?.into_iter().find(|row| row.n == n).ok_or_else(AppError::not_found)?;
    if asked.asked_by == user {
        return Err(AppError::forbidden("whistleblow.own_question"));
    }
    if asked.state != "asked" {
        return Err(AppError::conflict("revision.stale"));
    }
    Ok((act, user, asked))
}

/// The asker's keys that this passphrase opens, if they see the record; one at least.
async fn unlocked(app: &App, scope: &Scope, record: RecordId, passphrase: &str) -> Result<Vec<Opener>, AppError> {
    let (_, user) = holder(app, scope, record).await?;
    openers(app, user, passphrase).await
}

async fn openers(app: &App, user: UserId, passphrase: &str) -> Result<Vec<Opener>, AppError> {
    brake(&app.whistleblow.passphrases, &format!("holder {user}"))?;
    let keys = app.store.keys_of_holder(user).await?;
    if keys.is_empty() {
        return Err(AppError::forbidden("whistleblow.no_holder"));
    }
    let passphrase = passphrase.to_owned();
    let _turn = app.whistleblow.unlocking.acquire().await.map_err(|_| AppError::new(Refusal::Unavailable, "server.busy"))?;
    let unlock = move || -> Vec<Opener> {
        keys.into_iter().filter_map(|key| HolderKey { recipient: key.recipient, locked: key.locked }.unlock(&passphrase).ok()).collect()
    };
    let openers = off_thread(unlock).await?;
    if openers.is_empty() { Err(AppError::invalid("whistleblow.passphrase", "passphrase")) } else { Ok(openers) }
}

fn any(openers: &[Opener], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut last = SealError::Stranger;
    for opener in openers {
        match opener.open(bytes) {
            Ok(opened) => return Ok(opened),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

async fn note(app: &App, scope: &Scope, record: RecordId, action: &'static str, detail: Json) -> Result<(), AppError> {
    let mut change = app.store.change_records(scope, app.clock.now()).await?;
    change.note_sealed(record, action, detail).await?;
    change.commit().await?;
    Ok(())
}

fn damaged(failure: SealError) -> AppError {
    match failure {
        SealError::Passphrase => AppError::invalid("whistleblow.passphrase", "passphrase"),
        SealError::Stranger => AppError::conflict("whistleblow.stranger"),
        SealError::Damaged => AppError { source: Some(failure.into()), ..AppError::new(Refusal::Internal, "whistleblow.damaged") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_eighty_bits_and_is_read_as_people_type_it() {
        let bytes = [0xff, 0, 1, 2, 3, 4, 5, 6, 7, 0x8f];
        let code = code_of(&bytes);
        assert_eq!((code.len(), bytes_of(&code)), (19, Some(bytes)));
        assert_eq!(bytes_of(&code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l")), Some(bytes));
        assert_eq!(
            (bytes_of(""), bytes_of(&code[..18]), bytes_of(&format!("{code}0")), bytes_of("UUUU-UUUU-UUUU-UUUU")),
            (None, None, None, None)
        );
        assert_eq!(code_of(&[0; 10]), "0000-0000-0000-0000");
        assert_eq!(code_of(&[0xff; 10]), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
    }

    #[test]
    fn a_sending_says_everything_that_is_wrong() {
        let sending = Sending { words: Words { what: "短".to_owned(), unit: "x".repeat(201), ..Words::default() }, ..Sending::default() };
        let fields: Vec<_> = checked(sending).err().unwrap().problems.into_iter().filter_map(|p| p.field).collect();
        assert_eq!(fields, ["unit", "what"]);
        let files = (0..6).map(|n| (n.to_string(), vec![0; if n == 0 { 8_000_001 } else { 1 }])).collect();
        let codes: Vec<_> = checked(Sending { files, ..Sending::default() }).err().unwrap().problems.into_iter().map(|p| p.code).collect();
        assert_eq!(codes, ["whistleblow.files", "whistleblow.file_large"]);
        // A name alone, behind a report that is there, is worth sending.
        assert!(
            checked(Sending { identity: Identity { payee: "王一 6222".to_owned(), ..Identity::default() }, ..Sending::default() }).is_ok()
        );
    }
}
