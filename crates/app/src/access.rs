//! Signing in: the setup link, passwords, sessions, the idle limit, and guessing that gets slower.
//!
//! All times here are real time, never the test clock's. Passwords are argon2id PHC strings, tokens are kept as SHA-256 only.
//! What a session may do is read with its grants on every use, so a change of rights holds at once. Start at [`sign_in`] and
//! [`session`]; the brake on guessing is [`Brake`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anlan_model::noun::User;
use anlan_model::{Clock as _, Role, Scope, Timestamp};
use anlan_store::{NewSession, Note, Store, StoreError};
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::App;
use crate::clock::AppClock;
use crate::error::{AppError, Faults, Kind};
use crate::{region, second_factor, settings, validate};

/// Random bytes of a session or CSRF token.
const TOKEN_BYTES: usize = 32;
/// Random bytes of a setup token.
const SETUP_BYTES: usize = 16;
/// Passwords hashed at the same time: each takes the memory and a core for tens of milliseconds.
const HASHES: usize = 2;
/// Passwords that may wait for that; more are told to come back, so that a flood of sign-ins leaves room for everything else.
const HASHES_WAITING: usize = 32;
/// Longest password that is looked at when signing in.
const PASSWORD_BYTES: usize = 1_024;
/// A session used within this time goes on reading while the database is away (ARCHITECTURE, way of a reading).
const OUTAGE_US: i64 = 15 * 60 * 1_000_000;
/// Sessions remembered for that.
const REMEMBERED: usize = 5_000;
/// An act is written to the session at most this often; the idle limit is that much coarser.
const TOUCH_EVERY_US: i64 = 15 * 1_000_000;

/// What signing in keeps in memory; part of [`App`].
pub struct Access {
    brake: Mutex<Brake>,
    remembered: Mutex<HashMap<[u8; 32], Session>>,
    hashing: Semaphore,
    waiting: Semaphore,
    /// Hash that a sign-in with an unknown name is checked against, so that it takes as long as a known one.
    decoy: OnceLock<String>,
    administrator_exists: AtomicBool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            brake: Mutex::default(),
            remembered: Mutex::default(),
            hashing: Semaphore::new(HASHES),
            waiting: Semaphore::new(HASHES_WAITING),
            decoy: OnceLock::new(),
            administrator_exists: AtomicBool::new(false),
        }
    }
}

impl Access {
    /// A turn at hashing.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, AppError> {
        let busy = |_| AppError::new(Kind::TooMany { retry_after_s: 2 }, "server.busy");
        let _place = self.waiting.try_acquire().map_err(busy)?;
        self.hashing.acquire().await.map_err(|_| AppError::new(Kind::Unavailable, "server.busy"))
    }
}

/// A fresh session; the token is answered this once.
pub struct SignedIn {
    /// For the cookie or the `Authorization` header.
    pub token: String,
    /// For the header that repeats it.
    pub csrf: String,
    /// Who.
    pub user: User,
    /// Seconds until the session ends, whatever happens.
    pub life_s: i64,
}

/// A session in use.
#[derive(Clone, Debug)]
pub struct Session {
    /// Who, with their grants as they are now.
    pub user: Arc<User>,
    /// Token that unsafe methods must repeat.
    pub csrf: String,
    /// Acting needs the password again.
    pub idle: bool,
    /// The database is away: reading goes on, acting does not.
    pub read_only: bool,
    scope: Scope,
    pub(crate) token_hash: [u8; 32],
    acted_at: Timestamp,
    seen_at: Timestamp,
    expires_at: Timestamp,
}

impl Session {
    /// What the person may see and do; a grant for a division holds for the codes it had before, too.
    pub fn scope(&self) -> Scope {
        self.scope.clone()
    }
    /// Whether `sent` is the session's CSRF token; takes the same time wherever they differ.
    pub fn csrf_matches(&self, sent: &[u8]) -> bool {
        self.csrf.as_bytes().ct_eq(sent).into()
    }
}

/// The scope of a person's grants.
pub fn scope_of(user: &User) -> Scope {
    Scope { user: Some(user.id), name: user.name.clone(), grants: user.grants.clone() }
}

pub(crate) fn real_now() -> Timestamp {
    AppClock::real().now()
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `N` random bytes as base64url.
pub(crate) fn random_text<const N: usize>() -> Result<String, AppError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn hash_token(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether the database answers.
pub async fn database_answers(app: &App) -> bool {
    app.store.ping().await.is_ok()
}

// ---- setup

/// Whether nobody can manage this node yet.
///
/// # Errors
/// The store's.
pub async fn setup_needed(app: &App) -> Result<bool, AppError> {
    // The last administrator cannot be removed, so a yes never turns into a no.
    if app.access.administrator_exists.load(Ordering::Relaxed) {
        return Ok(false);
    }
    let exists = app.store.administrator_exists().await?;
    app.access.administrator_exists.store(exists, Ordering::Relaxed);
    Ok(!exists)
}

/// A fresh token for the setup link while no administrator exists; earlier ones are void. Needs no running node.
///
/// # Errors
/// The store's, or a machine without randomness.
pub async fn new_setup_token(store: &Store, settings: &settings::Access) -> Result<Option<String>, AppError> {
    if store.administrator_exists().await? {
        return Ok(None);
    }
    let token = random_text::<SETUP_BYTES>()?;
    let expires_at = real_now().plus_us(settings.setup_s.saturating_mul(1_000_000));
    store.put_setup_token(&hash_token(&token), expires_at).await?;
    Ok(Some(token))
}

/// [`new_setup_token`] of a running node.
///
/// # Errors
/// The store's, or a machine without randomness.
pub async fn ensure_setup_link(app: &App) -> Result<Option<String>, AppError> {
    new_setup_token(&app.store, &app.settings.access).await
}

/// Makes the first administrator and signs them in. The token is used up only if everything else is accepted.
///
/// # Errors
/// Fields that cannot be accepted; `setup.token` for a token that is wrong, used, expired or void.
pub async fn setup(app: &App, token: &str, username: &str, password: &str, address: &str, user_agent: &str) -> Result<SignedIn, AppError> {
    if !setup_needed(app).await? {
        return Err(AppError::conflict("setup.done"));
    }
    let mut faults = Faults::default();
    let name = faults.note(validate::username("username", username)).unwrap_or_default();
    faults.note(validate::password("password", password, username));
    faults.check()?;
    // Hashing costs; strangers without a token get slower like guessers of passwords.
    let now = real_now();
    let keys = keys("", &origin(address));
    let charge = charge(app, &keys, now)?;
    let made = match hash_password(app, password.to_owned()).await {
        Ok(phc) => app.store.set_up(&hash_token(token), &name, &name, &phc, now).await.map_err(AppError::from),
        Err(busy) => Err(busy),
    };
    let user = match made {
        Ok(user) => user,
        Err(error) if error.kind == Kind::NotFound => {
            locked(&app.access.brake).failed(&keys, real_now());
            return Err(AppError::forbidden("setup.token"));
        }
        Err(other) => {
            locked(&app.access.brake).take_back(&keys, charge);
            return Err(other);
        }
    };
    locked(&app.access.brake).take_back(&keys, charge);
    app.access.administrator_exists.store(true, Ordering::Relaxed);
    begin(app, user, user_agent, now).await
}

// ---- passwords

/// The PHC string of a password: argon2id with the configured memory and passes, one lane.
///
/// # Errors
/// A machine without randomness, or settings argon2 refuses.
pub async fn hash_password(app: &App, password: String) -> Result<String, AppError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| AppError::new(Kind::Internal, "internal"))?;
    let settings = &app.settings.access;
    let params = Params::new(settings.argon2_memory_kib, settings.argon2_passes, 1, None);
    let _turn = app.access.turn().await?;
    let made = tokio::task::spawn_blocking(move || {
        let salt = SaltString::encode_b64(&salt).ok()?;
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.ok()?);
        hasher.hash_password(password.as_bytes(), &salt).ok().map(|hash| hash.to_string())
    });
    made.await.ok().flatten().ok_or_else(|| AppError::new(Kind::Internal, "internal"))
}

async fn verify_password(app: &App, password: &str, phc: String) -> Result<bool, AppError> {
    if password.len() > PASSWORD_BYTES {
        return Ok(false);
    }
    let password = password.to_owned();
    let _turn = app.access.turn().await?;
    let checked = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&phc).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    });
    Ok(checked.await.unwrap_or(false))
}

/// Checks name and password, at the same cost whether the name is known or not.
async fn proven(app: &App, username: &str, password: &str) -> Result<Option<User>, AppError> {
    let found = app.store.sign_in_name(username).await?;
    let (user, phc) = match found {
        Some((user, phc)) => (Some(user), phc),
        None => (None, decoy(app).await?),
    };
    let right = verify_password(app, password, phc).await?;
    Ok(user.filter(|user| right && !user.disabled))
}

async fn decoy(app: &App) -> Result<String, AppError> {
    if let Some(phc) = app.access.decoy.get() {
        return Ok(phc.clone());
    }
    let phc = hash_password(app, random_text::<TOKEN_BYTES>()?).await?;
    Ok(app.access.decoy.get_or_init(|| phc).clone())
}

// ---- sessions

/// Signs in with name and password, and a code where the person has a second factor.
///
/// # Errors
/// `sign_in.wrong` for a wrong name, password or a refused person; `sign_in.code_needed` for a right password alone, `sign_in.code_wrong` for a
/// code that is none or was taken before; `sign_in.slow_down` with the seconds to wait after failures.
pub async fn sign_in(
    app: &App,
    username: &str,
    password: &str,
    code: Option<&str>,
    address: &str,
    user_agent: &str,
) -> Result<SignedIn, AppError> {
    let username = username.trim();
    let now = real_now();
    let origin = origin(address);
    let keys = keys(username, &origin);
    seed_brake(app, username, &origin, &keys, now).await?;
    let (user, by) = match guess(app, username, password, Code::Asked(code), &keys, now).await? {
        Guess::Right(user, by) => (user, by),
        Guess::CodeNeeded => return Err(AppError::unauthorized("sign_in.code_needed")),
        Guess::Wrong => {
            failed(app, username, address, &keys).await;
            return Err(AppError::unauthorized("sign_in.wrong"));
        }
        Guess::CodeWrong => {
            failed(app, username, address, &keys).await;
            return Err(AppError::unauthorized("sign_in.code_wrong"));
        }
    };
    app.store.clear_sign_in_failures(username, &origin).await?;
    app.store.purge_sessions(now).await?;
    let note =
        Note { action: "sign_in", noun: "user", subject: user.id.to_string(), detail: serde_json::json!({"address": address, "by": by}) };
    app.store.note(&scope_of(&user), note, app.clock.now()).await?;
    begin(app, user, user_agent, now).await
}

async fn begin(app: &App, user: User, user_agent: &str, now: Timestamp) -> Result<SignedIn, AppError> {
    let (token, csrf) = (random_text::<TOKEN_BYTES>()?, random_text::<TOKEN_BYTES>()?);
    let settings = &app.settings.access;
    // A wall nobody sits at stays lit; it can act on nothing.
    let screen = !user.grants.is_empty() && user.grants.iter().all(|g| g.role == Role::Screen);
    let life_s = if screen { settings.screen_session_s } else { settings.session_s };
    let new = NewSession {
        token_hash: hash_token(&token),
        user: user.id,
        csrf: csrf.clone(),
        user_agent: user_agent.to_owned(),
        created_at: now,
        expires_at: now.plus_us(life_s.saturating_mul(1_000_000)),
    };
    app.store.create_session(&new).await?;
    Ok(SignedIn { token, csrf, user, life_s })
}

/// The session of a token, with the person's grants as they are now.
///
/// While the database is away, a session used within the last 15 minutes goes on, read-only.
///
/// # Errors
/// `session.none` for a token without a live session; the store's.
pub async fn session(app: &App, token: &str) -> Result<Session, AppError> {
    look_up(app, hash_token(token)).await
}

async fn look_up(app: &App, token_hash: [u8; 32]) -> Result<Session, AppError> {
    let now = real_now();
    let kept = match app.store.session(&token_hash).await {
        Ok(kept) => kept,
        Err(failure @ StoreError::Database(_)) => {
            let remembered = locked(&app.access.remembered).get(&token_hash).cloned();
            let usable = |s: &Session| now < s.expires_at && now.since_us(s.seen_at) <= OUTAGE_US;
            return remembered.filter(usable).map(|s| Session { read_only: true, ..s }).ok_or_else(|| failure.into());
        }
        Err(other) => return Err(other.into()),
    };
    let kept = kept.filter(|s| now < s.expires_at && !s.user.disabled);
    let Some(kept) = kept else {
        locked(&app.access.remembered).remove(&token_hash);
        return Err(AppError::unauthorized("session.none"));
    };
    let acted_at = kept.seen_at.max(kept.reauth_at);
    let session = Session {
        scope: region::reaching_back(&app.registry.look().regions, scope_of(&kept.user)),
        user: Arc::new(kept.user),
        csrf: kept.csrf,
        idle: now.since_us(acted_at) > app.settings.access.idle_s.saturating_mul(1_000_000),
        read_only: false,
        token_hash,
        acted_at,
        seen_at: now,
        expires_at: kept.expires_at,
    };
    let mut remembered = locked(&app.access.remembered);
    if remembered.len() >= REMEMBERED && !remembered.contains_key(&token_hash) {
        remembered.retain(|_, s| now.since_us(s.seen_at) <= OUTAGE_US);
        // Still full: more people than the outage promise covers; the newest go without it.
        if remembered.len() >= REMEMBERED {
            return Ok(session);
        }
    }
    remembered.insert(token_hash, session.clone());
    drop(remembered);
    Ok(session)
}

/// The scope of a session as it is now; for streams that outlive a request.
///
/// # Errors
/// `session.none` once the session ended; the store's.
pub async fn current_scope(app: &App, session: &Session) -> Result<Scope, AppError> {
    Ok(look_up(app, session.token_hash).await?.scope())
}

/// The session acts: refused while idle or while the database is away, otherwise the idle limit starts anew.
///
/// # Errors
/// `session.idle`, `store.unavailable`, or the store's.
pub async fn act(app: &App, session: &Session) -> Result<(), AppError> {
    if session.read_only {
        return Err(AppError::new(Kind::Unavailable, "store.unavailable"));
    }
    if session.idle {
        return Err(AppError::unauthorized("session.idle"));
    }
    let now = real_now();
    if now.since_us(session.acted_at) >= TOUCH_EVERY_US {
        app.store.touch_session(&session.token_hash, now).await?;
    }
    Ok(())
}

/// Ends the session.
///
/// # Errors
/// The store's.
pub async fn sign_out(app: &App, session: &Session) -> Result<(), AppError> {
    locked(&app.access.remembered).remove(&session.token_hash);
    Ok(app.store.end_session(&session.token_hash).await?)
}

/// Takes the password again, so that an idle session may act.
///
/// # Errors
/// `sign_in.wrong`, or `sign_in.slow_down` after failures.
pub async fn reauthenticate(app: &App, session: &Session, password: &str, address: &str) -> Result<(), AppError> {
    prove_again(app, session, password, Code::NotAsked, address).await?;
    Ok(app.store.reauthenticate_session(&session.token_hash, real_now()).await?)
}

/// Whoever sits at the session gives their password (and code) again, under the same brake as a sign-in.
///
/// # Errors
/// `sign_in.wrong`, `sign_in.code_wrong`, or `sign_in.slow_down` after failures.
pub(crate) async fn prove_again(app: &App, session: &Session, password: &str, code: Code<'_>, address: &str) -> Result<(), AppError> {
    let username = &session.user.username;
    let keys = keys(username, &origin(address));
    // Forbidden, not unauthorized: the session itself is fine and must not be thrown away by the browser.
    let fault = match guess(app, username, password, code, &keys, real_now()).await? {
        Guess::Right(user, _) if user.id == session.user.id => return Ok(()),
        Guess::CodeNeeded => return Err(AppError::forbidden("sign_in.code_needed")),
        Guess::CodeWrong => "sign_in.code_wrong",
        Guess::Right(..) | Guess::Wrong => "sign_in.wrong",
    };
    failed(app, username, address, &keys).await;
    Err(AppError::forbidden(fault))
}

// ---- the brake on guessing

/// Whether a second factor is asked for.
pub(crate) enum Code<'a> {
    /// The password alone is to be proved.
    NotAsked,
    /// If the person has one: this was given.
    Asked(Option<&'a str>),
}

/// What came of a guess.
enum Guess {
    /// Who it is, and by what that was shown: a word for the audit.
    Right(User, &'static str),
    Wrong,
    CodeNeeded,
    CodeWrong,
}

/// Looks at name, password and code if the brake lets it. Who did not pass has paid for the try already; the caller tells [`failed`].
async fn guess(app: &App, username: &str, password: &str, code: Code<'_>, keys: &Keys, now: Timestamp) -> Result<Guess, AppError> {
    let charge = charge(app, keys, now)?;
    let outcome = looked_at(app, username, password, code, now).await;
    let mut brake = locked(&app.access.brake);
    match &outcome {
        Ok(Guess::Right(..)) => brake.passed(keys, charge, now),
        Ok(Guess::Wrong | Guess::CodeWrong) => {}
        // A right password alone is no failure, and no proof that would forgive any: else a code could be guessed without a wait.
        Ok(Guess::CodeNeeded) => brake.take_back(keys, charge),
        // No password was looked at, so nothing was learnt: neither side pays.
        Err(_) => brake.take_back(keys, charge),
    }
    drop(brake);
    outcome
}

async fn looked_at(app: &App, username: &str, password: &str, code: Code<'_>, now: Timestamp) -> Result<Guess, AppError> {
    let Some(user) = proven(app, username, password).await? else { return Ok(Guess::Wrong) };
    let Code::Asked(given) = code else { return Ok(Guess::Right(user, "password")) };
    let Some(factor) = app.store.second_factor(user.id).await?.filter(|factor| factor.is_on) else {
        return Ok(Guess::Right(user, "password"));
    };
    let Some(given) = given.filter(|given| !given.trim().is_empty()) else { return Ok(Guess::CodeNeeded) };
    let by = second_factor::take(app, user.id, &factor, given, now).await?;
    Ok(by.map_or(Guess::CodeWrong, |by| Guess::Right(user, by)))
}

/// Pays for a try before it is made: a hundred guesses sent at once are as slow as a hundred in a row.
fn charge(app: &App, keys: &Keys, now: Timestamp) -> Result<Charge, AppError> {
    match locked(&app.access.brake).charge(keys, now) {
        Ok(charge) => Ok(charge),
        Err(wait_us) => {
            metrics::counter!("anlan_sign_in_slowed_total").increment(1);
            let seconds = u64::try_from(wait_us.div_euclid(1_000_000) + 1).unwrap_or(1);
            Err(AppError::new(Kind::TooMany { retry_after_s: seconds }, "sign_in.slow_down").with("seconds", seconds))
        }
    }
}

async fn failed(app: &App, username: &str, address: &str, keys: &Keys) {
    // The time after the check: a slow hash is no head start for the next guess.
    let now = real_now();
    locked(&app.access.brake).failed(keys, now);
    metrics::counter!("anlan_sign_in_failed_total").increment(1);
    tracing::warn!(address, "a sign-in from {address} failed");
    if let Err(failure) = app.store.put_sign_in_failure(username, &origin(address), now).await {
        // The brake in memory holds; only a restart would forget this one.
        tracing::warn!(error = &failure as &dyn std::error::Error, "a failed sign-in could not be kept");
    }
}

/// After a restart the brake knows nothing: what the store still remembers counts on.
async fn seed_brake(app: &App, username: &str, origin: &str, keys: &Keys, now: Timestamp) -> Result<(), AppError> {
    if locked(&app.access.brake).knows(keys) {
        return Ok(());
    }
    let kept = app.store.sign_in_failures(username, origin, now.plus_us(-Brake::FORGET_US)).await?;
    locked(&app.access.brake).seed(keys, count(kept.by_username), count(kept.by_address), now);
    Ok(())
}

fn count(n: i64) -> u32 {
    u32::try_from(n).unwrap_or(if n < 0 { 0 } else { u32::MAX })
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Key {
    /// This name from this address: somebody's desk.
    Desk(String, String),
    /// This name from anywhere.
    Name(String),
    /// This address with any name.
    Address(String),
}

struct Keys {
    desk: Key,
    name: Key,
    address: Key,
}

/// What counts as one address: of IPv6 the /64, since whoever has one address of it has them all.
pub(crate) fn origin(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(v6)) => format!("{}/64", Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        Ok(v4) => v4.to_string(),
        Err(_) => address.to_owned(),
    }
}

fn keys(username: &str, origin: &str) -> Keys {
    let username: String = username.to_lowercase().chars().take(100).collect();
    Keys { desk: Key::Desk(username.clone(), origin.to_owned()), name: Key::Name(username), address: Key::Address(origin.to_owned()) }
}

/// Slows guessing down by name and address: after a few failures each further try must wait, twice as long every time, up to a cap.
///
/// A desk where this person signed in before waits for its own failures only: strangers who try its name elsewhere, or other names
/// from its address, do not hold it up. Pure: time is an argument. Bounded: the oldest tallies give way.
#[derive(Default)]
struct Brake {
    tallies: HashMap<Key, Tally>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    failures: u32,
    last: Option<Timestamp>,
    /// A good sign-in happened here (desks only).
    known: bool,
}

/// A try that was paid for; what is needed to take that back.
#[derive(Clone, Copy)]
struct Charge {
    at: Timestamp,
    /// Last failures before, in the order of [`Keys::all`].
    before: [Option<Timestamp>; 3],
}

impl Keys {
    fn all(&self) -> [&Key; 3] {
        [&self.desk, &self.name, &self.address]
    }
}

impl Brake {
    /// Failures older than this no longer count.
    const FORGET_US: i64 = 15 * 60 * 1_000_000;
    /// Tallies kept.
    const MOST: usize = 20_000;
    /// Longest wait.
    const WAIT_US_MAX: i64 = 30 * 1_000_000;
    /// Failures without a wait, by kind of key: typing errors, a name under attack, an office behind one address.
    const FREE: [u32; 3] = [3, 10, 20];

    fn wait_us(&self, keys: &Keys, now: Timestamp) -> i64 {
        let wait = |key: &Key, free: u32| {
            let Some(Tally { failures, last: Some(last), .. }) = self.tallies.get(key) else { return 0 };
            if *failures < free || now.since_us(*last) > Self::FORGET_US {
                return 0;
            }
            let pause_us = (1_000_000_i64 << (failures - free).min(10)).min(Self::WAIT_US_MAX);
            (pause_us - now.since_us(*last)).max(0)
        };
        let own = wait(&keys.desk, Self::FREE[0]);
        if self.tallies.get(&keys.desk).is_some_and(|t| t.known) {
            return own;
        }
        own.max(wait(&keys.name, Self::FREE[1])).max(wait(&keys.address, Self::FREE[2]))
    }

    fn knows(&self, keys: &Keys) -> bool {
        self.tallies.contains_key(&keys.name) && self.tallies.contains_key(&keys.address)
    }

    fn seed(&mut self, keys: &Keys, by_name: u32, by_address: u32, now: Timestamp) {
        self.make_room(now);
        for (key, failures) in [(&keys.name, by_name), (&keys.address, by_address)] {
            // Without the time of the last failure it counts as just now: the wait may be too long once, never too short.
            let last = (failures > 0).then_some(now);
            self.tallies.entry(key.clone()).or_insert(Tally { failures, last, known: false });
        }
    }

    /// Counts a try as failed before it is made, or says how long to wait. One step, so that tries at the same time see each other.
    fn charge(&mut self, keys: &Keys, now: Timestamp) -> Result<Charge, i64> {
        match self.wait_us(keys, now) {
            0 => Ok(self.count(keys, now)),
            wait_us => Err(wait_us),
        }
    }

    fn count(&mut self, keys: &Keys, now: Timestamp) -> Charge {
        self.make_room(now);
        let before = keys.all().map(|key| {
            let tally = self.tallies.entry(key.clone()).or_default();
            let fresh = tally.last.is_some_and(|last| now.since_us(last) <= Self::FORGET_US);
            tally.failures = if fresh { tally.failures.saturating_add(1) } else { 1 };
            tally.last.replace(now)
        });
        Charge { at: now, before }
    }

    /// The try failed, as charged; the wait runs from now on.
    fn failed(&mut self, keys: &Keys, now: Timestamp) {
        for key in keys.all() {
            if let Some(tally) = self.tallies.get_mut(key) {
                tally.last = tally.last.max(Some(now));
            }
        }
    }

    /// The try was none.
    fn take_back(&mut self, keys: &Keys, charge: Charge) {
        for (key, before) in keys.all().into_iter().zip(charge.before) {
            let Some(tally) = self.tallies.get_mut(key) else { continue };
            tally.failures = tally.failures.saturating_sub(1);
            // Unless somebody failed meanwhile: a good sign-in must not make the others of its address wait longer.
            if tally.last == Some(charge.at) {
                tally.last = before;
            }
        }
    }

    fn passed(&mut self, keys: &Keys, charge: Charge, now: Timestamp) {
        self.take_back(keys, charge);
        self.make_room(now);
        self.tallies.insert(keys.desk.clone(), Tally { failures: 0, last: Some(now), known: true });
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.tallies.len() + 3 <= Self::MOST {
            return;
        }
        self.tallies.retain(|_, t| t.known || t.last.is_some_and(|last| now.since_us(last) <= Self::FORGET_US));
        while self.tallies.len() + 3 > Self::MOST {
            // A flood of invented names must not push out the desks we know: those go last.
            let Some(oldest) = self.tallies.iter().min_by_key(|(_, t)| (t.known, t.last)).map(|(k, _)| k.clone()) else { return };
            self.tallies.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + s)
    }

    #[test]
    fn a_few_typing_errors_cost_nothing_then_every_try_waits_twice_as_long() {
        let (mut brake, desk) = (Brake::default(), keys("wang", "10.0.0.1"));
        let mut waits = Vec::new();
        for _ in 0..10 {
            waits.push(brake.wait_us(&desk, at(0)) / S);
            brake.count(&desk, at(0));
        }
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(brake.wait_us(&desk, at(31)), 0, "the wait is over: slow, never locked");
        assert_eq!(brake.wait_us(&desk, at(16 * 60)), 0, "forgotten after a quarter of an hour");
    }

    #[test]
    fn a_known_desk_is_not_held_up_by_guessing_elsewhere() {
        let mut brake = Brake::default();
        let (desk, attacker) = (keys("wang", "10.0.0.1"), keys("wang", "203.0.113.9"));
        let charge = brake.charge(&desk, at(0)).unwrap();
        brake.passed(&desk, charge, at(0));
        for _ in 0..100 {
            brake.count(&attacker, at(1));
        }
        assert!(brake.wait_us(&attacker, at(1)) > 0);
        assert!(brake.wait_us(&keys("wang", "198.51.100.7"), at(1)) > 0, "the name is slow from unknown places");
        assert_eq!(brake.wait_us(&desk, at(1)), 0);
    }

    #[test]
    fn one_address_trying_many_names_gets_slower() {
        let mut brake = Brake::default();
        for i in 0..25 {
            brake.count(&keys(&format!("user{i}"), "203.0.113.9"), at(0));
        }
        assert!(brake.wait_us(&keys("another", "203.0.113.9"), at(0)) > 0);
        assert_eq!(brake.wait_us(&keys("another", "203.0.113.10"), at(0)), 0);
    }

    #[test]
    fn a_flood_of_names_stays_bounded_and_keeps_known_desks() {
        let mut brake = Brake::default();
        let desk = keys("wang", "10.0.0.1");
        let charge = brake.charge(&desk, at(0)).unwrap();
        brake.passed(&desk, charge, at(0));
        for i in 0..(Brake::MOST / 2) {
            brake.count(&keys(&format!("n{i}"), "203.0.113.9"), at(1 + i as i64 / 100));
        }
        assert!(brake.tallies.len() <= Brake::MOST);
        assert!(brake.tallies[&desk.desk].known);
    }

    #[test]
    fn tries_at_the_same_time_see_each_other() {
        let (mut brake, desk) = (Brake::default(), keys("wang", "10.0.0.1"));
        let charges: Vec<_> = (0..100).filter_map(|_| brake.charge(&desk, at(0)).ok()).collect();
        assert_eq!(charges.len(), 3, "none has been answered yet, and still no fourth is let in");
        brake.passed(&desk, charges[2], at(1));
        assert_eq!((brake.tallies[&desk.name].failures, brake.tallies[&desk.desk].failures), (2, 0));
    }

    #[test]
    fn a_good_sign_in_leaves_no_trace_on_name_and_address() {
        let (mut brake, desk) = (Brake::default(), keys("wang", "10.0.0.1"));
        brake.count(&keys("li", "10.0.0.1"), at(0));
        let charge = brake.charge(&desk, at(60)).unwrap();
        brake.passed(&desk, charge, at(60));
        let address = brake.tallies[&desk.address];
        assert_eq!((address.failures, address.last), (1, Some(at(0))));
        assert_eq!(brake.tallies[&desk.name].failures, 0);
    }

    #[test]
    fn one_network_of_ipv6_is_one_address() {
        assert_eq!(origin("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(origin("2001:db8:1:2::9"), origin("2001:db8:1:2:ffff::1"));
        assert_ne!(origin("2001:db8:1:3::9"), origin("2001:db8:1:2::9"));
        assert_eq!(origin("::ffff:192.0.2.7"), "192.0.2.7");
    }
}
