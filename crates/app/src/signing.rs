//! Signatures, Ed25519 (RFC 8032): of packs over the pack's hash, of certificates over their lines ([`crate::certificate`]).
//!
//! A key pair is a file that only its owner reads; a pack's signature is the file `pack.sig` in its folder, which the hash leaves out. Whose
//! signatures of packs are believed, the operator says (`packs.trusted_keys`). What is signed begins with what it is, so that a signature of one
//! sort is worth nothing as one of another. Start at [`KeyPair`] and [`of_pack`].

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The signature's file in the folder of a pack.
pub const SIGNATURE_FILE: &str = "pack.sig";
/// Begins every key, so that nobody takes one for something else.
const PREFIX: &str = "ed25519:";
/// What a signature of a pack is over begins with this: it is worth nothing for anything else.
const OF_A_PACK: &[u8] = b"anlan pack 1\0";
/// The same of a certificate.
const OF_A_CERTIFICATE: &[u8] = b"anlan certificate 1\0";
/// The same of an assessment.
const OF_AN_ASSESSMENT: &[u8] = b"anlan assessment 1\0";
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A public key, as text `ed25519:` and 32 bytes in Base64.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

/// No key.
#[derive(Debug, thiserror::Error)]
#[error("a public key is \"ed25519:\" and 32 bytes in Base64, as `anlan pack key` and `anlan certificate key` print it")]
pub struct NoKey;

impl TryFrom<String> for PublicKey {
    type Error = NoKey;

    fn try_from(text: String) -> Result<Self, NoKey> {
        text.parse()
    }
}

impl std::str::FromStr for PublicKey {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|key| BASE64.decode(key).ok()).ok_or(NoKey)?;
        Ok(Self(bytes.try_into().map_err(|_| NoKey)?))
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(self.0))
    }
}

impl PublicKey {
    /// A short name for it: the first 8 bytes of its SHA-256, in hexadecimal.
    pub fn id(&self) -> String {
        Sha256::digest(self.0).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether `signature` is this key's over the content of an assessment.
    pub fn signed_assessment(&self, content: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&[OF_AN_ASSESSMENT, content].concat(), signature).is_ok()
    }

    /// Whether `signature` is this key's over the lines of a certificate.
    pub fn signed_certificate(&self, lines: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(&[OF_A_CERTIFICATE, lines].concat(), signature).is_ok()
    }
}

/// A key pair in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    public: PublicKey,
    /// The seed of RFC 8032, 32 bytes in Base64.
    secret: String,
}

/// A key that signs.
pub struct KeyPair {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

/// Why a key file is not made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Reading or writing it.
    #[error("key file {file}")]
    File {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not what a key file says.
    #[error("{file} is no key file as `anlan pack key` makes one")]
    Content {
        /// Which.
        file: String,
    },
    /// The machine has no randomness.
    #[error("random bytes")]
    Random(#[source] getrandom::Error),
}

impl KeyPair {
    /// A new pair in a new file that only its owner may read.
    ///
    /// # Errors
    /// [`KeyError`], also if the file is there: a key is never written over.
    pub fn create(file: &Path) -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(KeyError::Random)?;
        let key = Self::of_seed(&seed, file)?;
        let content = toml::to_string(&KeyFile { public: key.public.clone(), secret: BASE64.encode(seed) }).unwrap_or_default();
        let mut options = std::fs::OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(file);
        let written = made.and_then(|mut out| out.write_all(content.as_bytes()).and_then(|()| out.sync_all()));
        written.map_err(|source| KeyError::File { file: file.display().to_string(), source })?;
        Ok(key)
    }

    /// The pair in this file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn open(file: &Path) -> Result<Self, KeyError> {
        let no_key = || KeyError::Content { file: file.display().to_string() };
        let text = std::fs::read_to_string(file).map_err(|source| KeyError::File { file: file.display().to_string(), source })?;
        let content: KeyFile = toml::from_str(&text).map_err(|_| no_key())?;
        let seed = BASE64.decode(&content.secret).map_err(|_| no_key())?;
        let key = Self::of_seed(&seed, file)?;
        if key.public == content.public { Ok(key) } else { Err(no_key()) }
    }

    fn of_seed(seed: &[u8], file: &Path) -> Result<Self, KeyError> {
        let no_key = || KeyError::Content { file: file.display().to_string() };
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| no_key())?;
        let public = PublicKey(pair.public_key().as_ref().try_into().map_err(|_| no_key())?);
        Ok(Self { pair, public })
    }

    /// What others know it by.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over the lines of a certificate.
    pub fn sign_certificate(&self, lines: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.pair.sign(&[OF_A_CERTIFICATE, lines].concat());
        // Ed25519 has no other length.
        signature.as_ref().try_into().unwrap_or([0; SIGNATURE_BYTES])
    }

    /// The signature over the content of an assessment.
    pub fn sign_assessment(&self, content: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let signature = self.pair.sign(&[OF_AN_ASSESSMENT, content].concat());
        // Ed25519 has no other length.
        signature.as_ref().try_into().unwrap_or([0; SIGNATURE_BYTES])
    }

    /// The content of `pack.sig` for a pack of this hash.
    pub fn sign_pack(&self, hash: &str) -> String {
        let signature = BASE64.encode(self.pair.sign(&of_hash(hash)));
        let file = SignatureFile { key: self.public.clone(), signature };
        format!(
            "# Made by `anlan pack sign`; any change of another file makes it worthless.\n{}",
            toml::to_string(&file).unwrap_or_default()
        )
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureFile {
    key: PublicKey,
    signature: String,
}

/// What the signature of a pack is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    Unsigned,
    /// By this key, over these files.
    By(PublicKey),
    /// Not over these files, or no signature at all.
    Broken,
}

/// Looks at the signature among a pack's files.
pub fn of_pack(files: &BTreeMap<String, String>) -> Signature {
    let Some(text) = files.get(SIGNATURE_FILE) else { return Signature::Unsigned };
    let Ok(SignatureFile { key, signature }) = toml::from_str(text) else { return Signature::Broken };
    let Ok(signature) = BASE64.decode(&signature) else { return Signature::Broken };
    let message = of_hash(&crate::pack::hash_of(files));
    match UnparsedPublicKey::new(&ED25519, key.0).verify(&message, &signature) {
        Ok(()) => Signature::By(key),
        Err(_) => Signature::Broken,
    }
}

fn of_hash(hash: &str) -> Vec<u8> {
    [OF_A_PACK, hash.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_signature_holds_for_its_files_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key.toml");
        let key = KeyPair::create(&file).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(KeyPair::create(&file), Err(KeyError::File { .. })), "a key is not written over");
        assert_eq!(KeyPair::open(&file).unwrap().public(), key.public());
        let mut files = BTreeMap::from([("pack.toml".to_owned(), "id = \"x\"\n".to_owned()), ("a.md".to_owned(), "b".to_owned())]);
        assert_eq!(of_pack(&files), Signature::Unsigned);
        let signature = key.sign_pack(&crate::pack::hash_of(&files));
        files.insert(SIGNATURE_FILE.to_owned(), signature.clone());
        assert_eq!(of_pack(&files), Signature::By(key.public().clone()));
        let check = |change: &dyn Fn(&mut BTreeMap<String, String>)| {
            let mut files = files.clone();
            change(&mut files);
            assert_eq!(of_pack(&files), Signature::Broken);
        };
        check(&|files| drop(files.insert("a.md".to_owned(), "c".to_owned())));
        check(&|files| drop(files.insert("c.md".to_owned(), String::new())));
        check(&|files| drop(files.remove("a.md")));
        // The same signature under the name of somebody else.
        let other = KeyPair::create(&dir.path().join("other.toml")).unwrap();
        check(&|files| {
            drop(files.insert(SIGNATURE_FILE.to_owned(), signature.replace(&key.public().to_string(), &other.public().to_string())))
        });
        for broken in ["", "key = 1", "key = \"ed25519:AA\"\nsignature = \"\"", "\u{0}"] {
            check(&|files| drop(files.insert(SIGNATURE_FILE.to_owned(), broken.to_owned())));
        }
        for text in ["", "ed25519:", "ed25519:AAAA", "AAAA", "rsa:AAAA"] {
            assert!(text.parse::<PublicKey>().is_err(), "{text}");
        }
        std::fs::write(&file, "public = \"x\"").unwrap();
        assert!(matches!(KeyPair::open(&file), Err(KeyError::Content { .. })));
    }
}
