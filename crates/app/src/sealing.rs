//! Sealing (密封) of what reporters of violations say, in the age format (age-encryption.org/v1), so that any other tool of that format opens it.
//!
//! A holder (保管人) has a key of their own, X25519, kept here only under their passphrase (scrypt). What a report says is sealed to all holders:
//! one opens it. Who reported is sealed to a key of the report alone, whose secret is at once sealed for each two holders, first to one and
//! around that to the other, and then forgotten: it takes both, each with their passphrase, and no other way is left, not even for the node.
//! Nothing here does I/O. Start at [`HolderKey::make`], [`seal`] and [`ReportKey::make`] (ADR 0029).

use std::io::{Read as _, Write as _};
use std::str::FromStr as _;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::x25519::{Identity, Recipient};
use age::{Decryptor, Encryptor, scrypt};

/// Memory and time of a passphrase: 2^16, 64 MiB. age's own default goes by the clock; this is the same on every machine.
const WORK: u8 = 16;
/// What is sealed is padded to a multiple of this, so that its length does not tell a name from none.
const PAD: usize = 1_024;

/// Why something was not opened or sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The passphrase is not the one of this key.
    #[error("the passphrase is wrong")]
    Passphrase,
    /// It was sealed to others.
    #[error("it is not sealed to this key")]
    Stranger,
    /// The bytes were altered, or are none of ours.
    #[error("the sealed bytes are damaged")]
    Damaged,
}

/// A holder's key as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct HolderKey {
    /// `age1…`; to this is sealed.
    pub recipient: String,
    /// The secret under the passphrase: an age file.
    pub locked: Vec<u8>,
}

/// A holder's key while it is used.
pub struct Opener(Identity);

impl HolderKey {
    /// A new key under a passphrase.
    ///
    /// # Errors
    /// None that are known: encryption into memory.
    pub fn make(passphrase: &str) -> Result<Self, SealError> {
        let identity = Identity::generate();
        let mut under = scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
        under.set_work_factor(WORK);
        let locked = written(&[&under], identity.to_string().expose_secret().as_bytes())?;
        Ok(Self { recipient: identity.to_public().to_string(), locked })
    }

    /// The key, given its passphrase.
    ///
    /// # Errors
    /// [`SealError::Passphrase`], [`SealError::Damaged`].
    pub fn unlock(&self, passphrase: &str) -> Result<Opener, SealError> {
        let mut under = scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
        // What was written here asks no more; a file that does was put there by somebody.
        under.set_max_work_factor(WORK);
        let secret = match read(&under, &self.locked) {
            Err(SealError::Stranger) => return Err(SealError::Passphrase),
            other => other?,
        };
        let text = SecretString::from(String::from_utf8(secret).map_err(|_| SealError::Damaged)?);
        Identity::from_str(text.expose_secret()).map(Opener).map_err(|_| SealError::Damaged)
    }
}

impl Opener {
    /// What was sealed to this key.
    ///
    /// # Errors
    /// [`SealError::Stranger`], [`SealError::Damaged`].
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        read(&self.0, sealed)
    }
}

/// The key of one report, to which identities are sealed; its secret is given out only as [`ReportKey::for_two`].
pub struct ReportKey(Identity);

impl ReportKey {
    /// A new one.
    pub fn make() -> Self {
        Self(Identity::generate())
    }

    /// `age1…`; to this is sealed, also later.
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// The secret, sealed to `asker` and around that to `granter`: the granter takes off the outer layer, the asker opens what is left.
    ///
    /// # Errors
    /// [`SealError::Damaged`]: a recipient that is none.
    pub fn for_two(&self, asker: &str, granter: &str) -> Result<Vec<u8>, SealError> {
        let inner = written(&[&recipient(asker)?], self.0.to_string().expose_secret().as_bytes())?;
        written(&[&recipient(granter)?], &inner)
    }
}

/// The report's key out of the layer that a granter left to `asker`.
///
/// # Errors
/// [`SealError::Stranger`], [`SealError::Damaged`].
pub fn report_key(asker: &Opener, layer: &[u8]) -> Result<Opener, SealError> {
    let secret = SecretString::from(String::from_utf8(asker.open(layer)?).map_err(|_| SealError::Damaged)?);
    Identity::from_str(secret.expose_secret()).map(Opener).map_err(|_| SealError::Damaged)
}

/// Seals bytes to every one of these; each of them opens it alone.
///
/// # Errors
/// [`SealError::Damaged`]: no recipient, or one that is none.
pub fn seal(recipients: &[&str], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let recipients: Vec<Recipient> = recipients.iter().map(|r| recipient(r)).collect::<Result<_, _>>()?;
    let each: Vec<&dyn age::Recipient> = recipients.iter().map(|r| r as _).collect();
    written(&each, bytes)
}

/// Text with spaces behind it, up to the next step of length; JSON reads over them.
pub fn padded(mut text: String) -> String {
    let missing = text.len().next_multiple_of(PAD) - text.len();
    text.extend(std::iter::repeat_n(' ', missing));
    text
}

fn recipient(text: &str) -> Result<Recipient, SealError> {
    Recipient::from_str(text).map_err(|_| SealError::Damaged)
}

fn written(recipients: &[&dyn age::Recipient], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
    let encryptor = Encryptor::with_recipients(recipients.iter().copied()).map_err(|_| SealError::Damaged)?;
    let mut sealed = Vec::with_capacity(bytes.len() + 1_024);
    let mut writer = encryptor.wrap_output(&mut sealed).map_err(|_| SealError::Damaged)?;
    writer.write_all(bytes).map_err(|_| SealError::Damaged)?;
    writer.finish().map_err(|_| SealError::Damaged)?;
    Ok(sealed)
}

fn read(identity: &dyn age::Identity, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let decryptor = Decryptor::new(sealed).map_err(|_| SealError::Damaged)?;
    let mut reader = decryptor.decrypt(std::iter::once(identity)).map_err(|failure| match failure {
        age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
            SealError::Stranger
        }
        _ => SealError::Damaged,
    })?;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).map_err(|_| SealError::Damaged)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_under_its_passphrase_alone() {
        let key = HolderKey::make("石榴 石榴 石榴").unwrap();
        assert!(key.recipient.starts_with("age1"));
        let sealed = seal(&[&key.recipient], b"words").unwrap();
        assert_eq!(key.unlock("石榴 石榴 石榴").unwrap().open(&sealed).unwrap(), b"words");
        assert_eq!(key.unlock("石榴 石榴").err(), Some(SealError::Passphrase));
    }

    #[test]
    fn what_is_said_opens_for_each_holder_and_for_nobody_else() {
        let keys = ["a", "b", "c"].map(|word| HolderKey::make(word).unwrap());
        let sealed = seal(&[&keys[0].recipient, &keys[1].recipient], "罐区无人值守".as_bytes()).unwrap();
        for (key, word) in keys.iter().zip(["a", "b"]) {
            assert_eq!(key.unlock(word).unwrap().open(&sealed).unwrap(), "罐区无人值守".as_bytes());
        }
        assert_eq!(keys[2].unlock("c").unwrap().open(&sealed), Err(SealError::Stranger));
        let mut bad = sealed.clone();
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(keys[0].unlock("a").unwrap().open(&bad), Err(SealError::Damaged));
        assert!(seal(&[], b"x").is_err());
        let opener = keys[0].unlock("a").unwrap();
        assert!((0..sealed.len()).all(|n| opener.open(&sealed[..n]).is_err()), "cut anywhere, it is damaged");
    }

    #[test]
    fn who_reported_takes_both_holders() {
        let [asker, granter] = ["a", "b"].map(|word| HolderKey::make(word).unwrap());
        let report = ReportKey::make();
        let identity = seal(&[&report.recipient()], padded("{\"name\":\"王一\"}".to_owned()).as_bytes()).unwrap();
        let lock = report.for_two(&asker.recipient, &granter.recipient).unwrap();
        let (asker, granter) = (asker.unlock("a").unwrap(), granter.unlock("b").unwrap());
        // Neither of them alone, in no order.
        assert_eq!(asker.open(&lock), Err(SealError::Stranger));
        assert!(report_key(&granter, &lock).is_err());
        assert_eq!((asker.open(&identity), granter.open(&identity)), (Err(SealError::Stranger), Err(SealError::Stranger)));
        let layer = granter.open(&lock).unwrap();
        assert_eq!(granter.open(&layer), Err(SealError::Stranger));
        let opened = report_key(&asker, &layer).unwrap().open(&identity).unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&opened).unwrap()["name"], "王一");
        assert_eq!(opened.len(), 1_024);
    }
}
