//! Certificates (证书) of records: lines that the node's key signs, as a text that fits a QR code, and what such a text is worth.
//!
//! The format stands in docs/reference/certificates.md: whoever has the public key checks a text with any implementation of Ed25519, without a
//! node. Only the node can say where the record stands by now. The key is a file of the data directory, made when it is first needed; which keys
//! there were stands in the database, so that a lost file is told and never silently replaced. Start at [`issue`] and [`verify`].

use std::path::{Path, PathBuf};

use anlan_domain::register::certificate::{BYTES_MAX, Said};
use anlan_model::{Clock as _, Permission, RecordId, Scope, Timestamp};
use anlan_store::{Note, RecordRow, Store};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL;
use qrcode::{Color, EcLevel, QrCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::{error, warn};

use crate::error::{AppError, Kind as Refusal};
use crate::signing::{KeyError, KeyPair, PublicKey, SIGNATURE_BYTES};
use crate::turnstile::Turnstile;
use crate::{App, access};

/// The key pair's file in the data directory.
pub const KEY_FILE: &str = "certificate.key";
/// Begins every text; another format would begin otherwise.
const PREFIX: &str = "AL1";
/// Setting: every key there was, oldest first; JSON.
const KEYS: &str = "certificate_keys";
/// Characters of a pasted text that are looked at.
const TEXT_CHARS: usize = 4_000;
/// Texts that one address may have looked at in a minute: a line of people at a counter, not a search.
const PER_MINUTE: u32 = 60;
/// The same for all addresses together that are counted no more.
const CROWD_PER_MINUTE: u32 = 6_000;
/// Where the console checks a certificate; the text stands behind it in the fragment, which no browser sends.
pub const PAGE: &str = "/verify";

/// The node's key of certificates; part of [`App`].
pub struct Certificates {
    data: PathBuf,
    /// One look at the key at a time: it is made once.
    looking: tokio::sync::Mutex<()>,
    asked: Turnstile,
}

impl Certificates {
    pub(crate) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), looking: tokio::sync::Mutex::default(), asked: Turnstile::new(PER_MINUTE, CROWD_PER_MINUTE) }
    }
}

/// A key that signs certificates, or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownKey {
    /// The key.
    pub key: PublicKey,
    /// Since when the node has it.
    pub since: Timestamp,
}

/// A text that is a certificate as far as its form goes; whose, and whether at all, its signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// The signed lines.
    pub lines: String,
    /// The signature.
    pub signature: [u8; SIGNATURE_BYTES],
    /// What the lines say.
    pub said: Said,
}

/// This is no text of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate: \"AL1.\", the lines and the signature in base64url, with a full stop between them")]
pub struct NoCode;

impl std::str::FromStr for Code {
    type Err = NoCode;

    /// Reads the text, or an address with it in the fragment; spaces and ends of lines do not count.
    fn from_str(text: &str) -> Result<Self, NoCode> {
        if text.len() > TEXT_CHARS {
            return Err(NoCode);
        }
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let text = text.rsplit_once('#').map_or(text.as_str(), |(_, fragment)| fragment);
        let mut parts = text.split('.');
        let (Some(PREFIX), Some(lines), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(NoCode);
        };
        let bytes = |part: &str| BASE64_URL.decode(part).map_err(|_| NoCode);
        let lines = String::from_utf8(bytes(lines)?).map_err(|_| NoCode)?;
        let signature = bytes(signature)?.try_into().map_err(|_| NoCode)?;
        let said = Said::parse(&lines).map_err(|_| NoCode)?;
        Ok(Self { lines, signature, said })
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}.{}.{}", BASE64_URL.encode(&self.lines), BASE64_URL.encode(self.signature))
    }
}

impl Code {
    /// What `key` says, signed.
    pub fn sign(said: Said, key: &KeyPair) -> Self {
        let lines = said.lines();
        let signature = key.sign_certificate(lines.as_bytes());
        Self { lines, signature, said }
    }

    /// Whether it is this key's.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        self.said.key == key.id() && key.signed_certificate(self.lines.as_bytes(), &self.signature)
    }
}

// ---- the key

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// The file of the key that the database names is not there, or holds another.
    #[error(
        "{file} does not hold the key {id} that signed until now: restore it from a backup, or make a new one with `anlan certificate key --new`"
    )]
    Lost {
        /// The file.
        file: String,
        /// Id of the key.
        id: String,
    },
    /// The file.
    #[error(transparent)]
    File(#[from] KeyError),
    /// The database.
    #[error("the database")]
    Store(#[from] anlan_store::StoreError),
}

impl From<NoKey> for AppError {
    fn from(failure: NoKey) -> Self {
        match failure {
            NoKey::Store(error) => error.into(),
            NoKey::Lost { ref id, .. } => {
                let told = Self::new(Refusal::Unavailable, "certificate.key_lost").with("key", id);
                Self { source: Some(failure.into()), ..told }
            }
            NoKey::File(_) => Self { source: Some(failure.into()), ..Self::new(Refusal::Internal, "internal") },
        }
    }
}

/// Every key that signs or signed here, oldest first; the last one signs.
///
/// # Errors
/// The store's.
pub async fn keys(store: &Store) -> Result<Vec<KnownKey>, anlan_store::StoreError> {
    let Some(text) = store.setting(KEYS).await? else { return Ok(Vec::new()) };
    serde_json::from_str(&text).map_err(|e| anlan_store::StoreError::Corrupt(format!("setting {KEYS}: {e}")))
}

/// The key that signs: the file's, if it is the one the database names. `None` = none was needed until now.
///
/// # Errors
/// [`NoKey`].
pub async fn key(store: &Store, data: &Path) -> Result<Option<KeyPair>, NoKey> {
    let known = keys(store).await?;
    let file = data.join(KEY_FILE);
    let held = if file.exists() { Some(KeyPair::open(&file)?) } else { None };
    match (known.last(), held) {
        (Some(last), held) if held.as_ref().is_none_or(|key| *key.public() != last.key) => {
            Err(NoKey::Lost { file: file.display().to_string(), id: last.key.id() })
        }
        (_, held) => Ok(held),
    }
}

/// Makes a key where there is none, or in place of the one there is; what was there is put aside under its id.
///
/// # Errors
/// [`NoKey`].
pub async fn make_key(store: &Store, data: &Path, now: Timestamp) -> Result<KeyPair, NoKey> {
    let file = data.join(KEY_FILE);
    let mut known = keys(store).await?;
    // A file that the database does not know yet was made a moment before the node stopped: it is the first one.
    let pair = if known.is_empty() && file.exists() {
        KeyPair::open(&file)?
    } else {
        if file.exists() {
            let aside = KeyPair::open(&file).map_or_else(|_| "unreadable".to_owned(), |old| old.public().id());
            std::fs::rename(&file, data.join(format!("certificate-{aside}.key"))).map_err(|source| at(&file, source))?;
        }
        let pair = KeyPair::create(&file)?;
        std::fs::File::open(data).and_then(|dir| dir.sync_all()).map_err(|source| at(data, source))?;
        pair
    };
    known.push(KnownKey { key: pair.public().clone(), since: now });
    store.put_setting(&Scope::node(), KEYS, &json!(known).to_string(), now).await?;
    let note = Note {
        action: "create",
        noun: "certificate_key",
        subject: pair.public().id(),
        detail: json!({"key": pair.public(), "keys": known.len()}),
    };
    store.note(&Scope::node(), note, now).await?;
    Ok(pair)
}

fn at(path: &Path, source: std::io::Error) -> NoKey {
    NoKey::File(KeyError::File { file: path.display().to_string(), source })
}

/// The key, made if this is the first time that it is needed.
pub(crate) async fn first_key(app: &App) -> Result<KeyPair, NoKey> {
    let _alone = app.certificates.looking.lock().await;
    match key(&app.store, &app.certificates.data).await? {
        Some(pair) if !keys(&app.store).await?.is_empty() => Ok(pair),
        _ => make_key(&app.store, &app.certificates.data, app.clock.now()).await,
    }
}

/// Says in the log if the key is lost or can be read by others; at every start.
pub(crate) async fn look(store: &Store, data: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let file = data.join(KEY_FILE);
    if let Ok(meta) = std::fs::metadata(&file)
        && meta.permissions().mode() & 0o077 != 0
    {
        warn!("{} could be read by others than its owner; it no longer can", file.display());
        if let Err(failure) = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)) {
            warn!(error = &failure as &dyn std::error::Error, "{} keeps its mode", file.display());
        }
    }
    if let Err(failure) = key(store, data).await {
        error!(error = &failure as &dyn std::error::Error, "no certificates are signed: {failure}");
    }
}

// ---- issuing

/// A certificate as it is printed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The text.
    pub code: Code,
    /// The key that signed.
    pub key: PublicKey,
    /// What stands in the QR code: the text, or an address with it.
    pub qr_text: String,
    /// The modules of the QR code, row by row, true = dark; without its quiet zone of 4.
    pub qr: Vec<Vec<bool>>,
}

/// The certificate of a record as it stands now. With `page`, an origin such as `https://anlan.example.cn`, its QR code opens the console's page there.
///
/// # Errors
/// Not there or not visible; `certificate.none` for a kind without certificates, `certificate.state` for a record that carries none in its state;
/// `certificate.key_lost`; an origin that is none.
pub async fn issue(app: &App, scope: &Scope, kind: &str, id: RecordId, page: Option<&str>) -> Result<Issued, AppError> {
    let view = scope.with(Permission::View)?;
    let kind = app.registers.load().kind(kind)?;
    let row = app.store.record(&view, &kind.id, id).await?;
    if page.is_some_and(|page| !is_origin(page)) {
        return Err(AppError::invalid("certificate.page", "page"));
    }
    // Its home signs for it.
    row.must_be_own()?;
    let Some(certificate) = &kind.certificate else { return Err(AppError::new(Refusal::NotFound, "certificate.none")) };
    if !certificate.states.contains(&row.state) {
        return Err(AppError::conflict("certificate.state"));
    }
    let pair = first_key(app).await?;
    let said = said_of(app, &row, &pair.public().id(), app.clock.now()).await?;
    let code = Code::sign(said.ok_or_else(|| AppError::conflict("certificate.state"))?, &pair);
    let qr_text = page.map_or_else(|| code.to_string(), |page| format!("{page}{PAGE}#{code}"));
    let qr = drawn(&qr_text)?;
    Ok(Issued { code, key: pair.public().clone(), qr_text, qr })
}

/// The QR code of a text, row by row; true = dark.
///
/// # Errors
/// A text that is too long for one.
pub(crate) fn drawn(text: &str) -> Result<Vec<Vec<bool>>, AppError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .map_err(|e| AppError { source: Some(e.into()), ..AppError::new(Refusal::Internal, "internal") })?;
    Ok(code.to_colors().chunks(code.width()).map(|row| row.iter().map(|module| *module == Color::Dark).collect()).collect())
}

/// What the certificate of this record says, or would by now.
async fn said_of(app: &App, row: &RecordRow, key: &str, issued_at: Timestamp) -> Result<Option<Said>, AppError> {
    let kind = app.registers.load().kind(&row.kind)?;
    let record = crate::record::read(&kind, row)?;
    let (code, owner) = match row.enterprise {
        // Whoever sees the record sees whose it is.
        Some(id) => {
            let enterprise = app.store.enterprise(&Scope::node(), id).await?.enterprise;
            (enterprise.code, enterprise.name)
        }
        None => (String::new(), row.region_name.clone().or(row.region.as_ref().map(ToString::to_string)).unwrap_or_default()),
    };
    Ok(Said::of(&kind, &record, &row.id.to_string(), &row.number, &code, &owner, key, issued_at))
}

/// `http` or `https`, a name or address, perhaps a port; nothing behind it.
pub(crate) fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    !host.is_empty() && host.len() <= 100 && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'))
}

// ---- verifying

/// Where the record of a certificate stands by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As the certificate says.
    InForce,
    /// In force, but not as the certificate says: another one took its place.
    Changed,
    /// Its last day is over.
    Over,
    /// In a state in which it carries no certificate: Chinese and English name.
    NotInForce(String, String),
    /// There is no such record any more, or its register is off.
    Unknown,
}

/// What a text is worth.
#[derive(Clone, Debug)]
pub enum Verified {
    /// A key of this node signed it.
    Good {
        /// Which.
        key: PublicKey,
        /// What it says.
        said: Box<Said>,
        /// Where the record stands.
        standing: Standing,
    },
    /// It names a key of this node, but that key did not sign this.
    Forged,
    /// It names a key that this node does not know; nothing is said of it.
    Stranger {
        /// Id of that key.
        key: String,
    },
}

/// Looks at a text: whose it is, what it says, where the record stands. Tells nothing of a record whose certificate is not good.
///
/// # Errors
/// `certificate.malformed` for a text that is none; `certificate.slow_down` for an address that asks too often; the store's.
pub async fn verify(app: &App, text: &str, address: &str) -> Result<Verified, AppError> {
    if let Err(retry_after_s) = app.certificates.asked.ask(&access::origin(address), access::real_now()) {
        return Err(AppError::new(Refusal::TooMany { retry_after_s }, "certificate.slow_down").with("seconds", retry_after_s));
    }
    let code: Code = text.parse().map_err(|NoCode| AppError::invalid("certificate.malformed", "code"))?;
    let known = keys(&app.store).await?;
    let Some(named) = known.iter().find(|known| known.key.id() == code.said.key) else {
        return Ok(Verified::Stranger { key: code.said.key });
    };
    if !code.is_by(&named.key) {
        return Ok(Verified::Forged);
    }
    let standing = standing(app, &code).await?;
    Ok(Verified::Good { key: named.key.clone(), said: Box::new(code.said), standing })
}

async fn standing(app: &App, code: &Code) -> Result<Standing, AppError> {
    let said = &code.said;
    let (Ok(kind), Ok(id)) = (app.registers.load().kind(&said.kind), said.record.parse()) else { return Ok(Standing::Unknown) };
    let row = match app.store.record(&Scope::node(), &kind.id, id).await {
        // A database from before may have given the id to another record since.
        Ok(row) if row.number == said.number => row,
        Ok(_) | Err(anlan_store::StoreError::NotFound) => return Ok(Standing::Unknown),
        Err(failure) => return Err(failure.into()),
    };
    match said_of(app, &row, &said.key, said.issued_at).await? {
        None => {
            let (name, name_en) =
                kind.state(&row.state).map_or((row.state.clone(), row.state.clone()), |s| (s.name.clone(), s.name_en.clone()));
            Ok(Standing::NotInForce(name, name_en))
        }
        Some(now) if now.until.is_some_and(|until| until < app.today()) => Ok(Standing::Over),
        Some(now) if now.lines() == code.lines => Ok(Standing::InForce),
        Some(_) => Ok(Standing::Changed),
    }
}

const _: () = assert!(4 + BYTES_MAX.div_ceil(3) * 4 + 1 + 86 <= 600, "a text has at most 600 characters");

#[cfg(test)]
mod tests {
    use super::*;

    fn said(key: &PublicKey) -> Said {
        let lines =
            format!("{}\nlicence\n17\nXK-530402-2026-00001\n2026-11-29T01:02:03Z\n2029-02-28\n9153\nowner=甲公司\nscope~甲醇", key.id());
        Said::parse(&lines).unwrap()
    }

    #[test]
    fn a_certificate_of_which_anything_changed_is_no_longer_good() {
        let dir = tempfile::tempdir().unwrap();
        let pair = |name: &str| KeyPair::create(&dir.path().join(name)).unwrap();
        let (ours, theirs) = (pair("ours"), pair("theirs"));
        let text = Code::sign(said(ours.public()), &ours).to_string();
        let read = |text: &str| text.parse::<Code>();
        assert!(read(&text).unwrap().is_by(ours.public()));
        assert!(!read(&text).unwrap().is_by(theirs.public()));
        assert!(read(&format!("  https://anlan.example.cn/verify#{text}\n")).unwrap().is_by(ours.public()));
        assert!(
            read(&text.chars().map(|c| format!("{c}\n")).collect::<String>()).unwrap().is_by(ours.public()),
            "a text that was broken into lines"
        );
        // Each character of it in turn.
        for at in 0..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert!(!read(&changed).is_ok_and(|code| code.is_by(ours.public())), "{at}: {changed}");
        }
        // The lines of one under the key of another, and under the name of another.
        let mut code = Code::sign(said(ours.public()), &theirs);
        assert!(!code.is_by(ours.public()) && !code.is_by(theirs.public()));
        code.signature = ours.sign_certificate(code.lines.as_bytes());
        assert!(code.is_by(ours.public()));
        for broken in [
            "",
            "AL1",
            "AL1..",
            "AL2.AAAA.AAAA",
            "AL1.AAAA.AAAA",
            &format!("{text}.x"),
            &text[..text.len() - 1],
            "AL1.\u{0}.",
            &"A".repeat(9_000),
        ] {
            assert_eq!(read(broken), Err(NoCode), "{broken}");
        }
    }

    /// Signed by another implementation (Python's cryptography).
    #[test]
    fn the_example_of_the_reference_is_good() {
        let reference = include_str!("../../../docs/reference/certificates.md");
        let key = reference.split('`').find(|word| word.starts_with("ed25519:") && word.len() == 52).unwrap().parse().unwrap();
        let text = reference.lines().find(|line| line.starts_with("AL1.") && line.len() > 200).unwrap();
        let code: Code = text.parse().unwrap();
        assert!(code.is_by(&key));
        assert_eq!(code.to_string(), text);
        assert_eq!(code.said.lines(), code.lines);
    }

    #[test]
    fn a_signature_of_a_pack_is_none_of_a_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let pair = KeyPair::create(&dir.path().join("key")).unwrap();
        let lines = said(pair.public()).lines();
        let file = pair.sign_pack(&lines);
        let signature = file.split("signature = \"").nth(1).unwrap().split('"').next().unwrap();
        let signature = base64::prelude::BASE64_STANDARD.decode(signature).unwrap();
        assert!(!pair.public().signed_certificate(lines.as_bytes(), &signature));
    }
}
