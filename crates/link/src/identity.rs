//! Who a node is: its key, its id, and the certificate its parent gave it (ADR 0020).
//!
//! Files of `DIR/link`, readable for the node alone: `id`, `node.key`, `parent.pem` (our certificate, then the parent's authority) and, of a node that
//! has children, `authority.pem`. Never talks to anybody. Start at [`Identity::open`]; [`Authority`] certifies children; [`Named`] reads a certificate.

mod authority;
mod file;
mod named;

use std::path::{Path, PathBuf};

use anlan_model::NodeId;
use arc_swap::ArcSwapOption;
use rcgen::{CertificateParams, DnType, KeyPair, PublicKeyData as _};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::FromDer as _;

pub use authority::{Authority, DAYS, ServerCertificate, Validity, requested_key};
pub use named::{CertificateError, Claim, Named};

/// Bytes of a chain that anybody may make us read.
const CHAIN_BYTES_MAX: usize = 32 << 10;

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The disk.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else's bytes.
    #[error("{} is damaged ({what}); put it back from a backup", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        what: String,
    },
    /// The id is there and its key is not: a new key would be another node under the same name.
    #[error("{} is lost; put it back from a backup", path.display())]
    Lost {
        /// Which file.
        path: PathBuf,
    },
    /// No random bytes, or a key that cannot sign.
    #[error("cannot make a key or certificate ({0})")]
    Make(String),
}

/// What is wrong with a chain that a parent sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not a certificate and the authority's behind it.
    #[error("the chain is not a certificate followed by its authority's")]
    Shape,
    /// Signed by somebody else.
    #[error("the certificate is not of the parent's authority")]
    Authority,
    /// For another node or key.
    #[error("the certificate is not for this node's key")]
    NotOurs,
    /// It cannot be read.
    #[error("cannot read the certificate")]
    Certificate(#[from] CertificateError),
    /// It could not be kept.
    #[error("cannot keep the certificate: {0}")]
    Kept(String),
}

/// What a parent made of this node.
#[derive(Clone, Debug)]
pub struct Membership {
    /// What it wrote into our certificate.
    pub ours: Named,
    /// SHA-256 of its authority's certificate.
    pub authority: [u8; 32],
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// This node's key, id, and what its parent made of it.
pub struct Identity {
    dir: PathBuf,
    id: NodeId,
    key: KeyPair,
    fingerprint: String,
    membership: ArcSwapOption<Membership>,
}

impl Identity {
    /// The identity below `data`, made if there is none.
    ///
    /// # Errors
    /// [`IdentityError`]; a lost key is never replaced by itself.
    pub fn open(data: &Path) -> Result<Self, IdentityError> {
        let dir = file::directory(data)?;
        let (id_file, key_file) = (dir.join("id"), dir.join("node.key"));
        let key = match (file::read(&key_file)?, id_file.exists()) {
            (Some(pem), _) => KeyPair::from_pem(&pem).map_err(|e| damaged(&key_file, e))?,
            (None, true) => return Err(IdentityError::Lost { path: key_file }),
            (None, false) => {
                let key = KeyPair::generate().map_err(made)?;
                file::write(&key_file, &key.serialize_pem())?;
                key
            }
        };
        // The id comes last: where it is, the key is.
        let id = match file::read(&id_file)? {
            Some(text) => text.trim().parse().map_err(|e| damaged(&id_file, e))?,
            None => {
                let id = NodeId::new(u128::from_be_bytes(random()?));
                file::write(&id_file, &format!("{id}\n"))?;
                id
            }
        };
        let fingerprint = fingerprint(&key.subject_public_key_info());
        let identity = Self { dir, id, key, fingerprint, membership: ArcSwapOption::empty() };
        let parent_file = identity.parent_file();
        if let Some(pem) = file::read(&parent_file)? {
            let held = identity.read_chain(&pem).map_err(|e| damaged(&parent_file, e))?;
            identity.membership.store(Some(held.into()));
        }
        Ok(identity)
    }
    /// The node's id, for its whole life.
    pub fn id(&self) -> NodeId {
        self.id
    }
    /// SHA-256 of the public key, as a person compares it.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
    /// The public key (SubjectPublicKeyInfo, DER).
    pub fn public_key(&self) -> Vec<u8> {
        self.key.subject_public_key_info()
    }
    /// What the parent made of this node; `None` before it joined one.
    pub fn membership(&self) -> Option<std::sync::Arc<Membership>> {
        self.membership.load_full()
    }
    /// A request to be certified, signed with the key (PKCS #10, PEM).
    ///
    /// # Errors
    /// [`IdentityError::Make`].
    pub fn request(&self) -> Result<String, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, self.id.to_string());
        params.serialize_request(&self.key).and_then(|request| request.pem()).map_err(made)
    }
    /// Takes the chain that the parent with this authority sent, and keeps it. Blocks for a sync.
    ///
    /// # Errors
    /// [`ChainError`]; then the one before stays.
    pub fn join(&self, chain: &str, authority: &[u8; 32]) -> Result<Named, ChainError> {
        let held = self.read_chain(chain)?;
        if held.authority != *authority {
            return Err(ChainError::Authority);
        }
        file::write(&self.parent_file(), chain).map_err(|e| ChainError::Kept(chain_of(&e)))?;
        let ours = held.ours.clone();
        self.membership.store(Some(held.into()));
        Ok(ours)
    }
    /// Takes a newer chain of the same parent; connections made from now on use it. Blocks for a sync.
    ///
    /// # Errors
    /// [`ChainError`]; then the one before stays.
    pub fn renew(&self, chain: &str) -> Result<Named, ChainError> {
        let authority = self.membership().ok_or(ChainError::Authority)?.authority;
        self.join(chain, &authority)
    }
    /// Forgets the parent.
    ///
    /// # Errors
    /// [`IdentityError::File`].
    pub fn leave(&self) -> Result<(), IdentityError> {
        file::remove(&self.parent_file())?;
        self.membership.store(None);
        Ok(())
    }

    pub(crate) fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
    fn parent_file(&self) -> PathBuf {
        self.dir.join("parent.pem")
    }
    fn read_chain(&self, pem: &str) -> Result<Membership, ChainError> {
        if pem.len() > CHAIN_BYTES_MAX {
            return Err(ChainError::Shape);
        }
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|_| ChainError::Shape)?;
        let [ours, authority] = chain.as_slice() else { return Err(ChainError::Shape) };
        if !is_signed_by(ours, authority) {
            return Err(ChainError::Authority);
        }
        let (named, authority) = (Named::read(ours)?, Sha256::digest(authority).into());
        if named.fingerprint != self.fingerprint || named.claim.id != self.id {
            return Err(ChainError::NotOurs);
        }
        Ok(Membership { ours: named, authority, chain })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// SHA-256 of a public key (SubjectPublicKeyInfo, DER), 64 hexadecimal digits.
pub fn fingerprint(public_key: &[u8]) -> String {
    hex(&Sha256::digest(public_key))
}

/// Who the first certificate of a PEM chain names.
///
/// # Errors
/// [`ChainError`].
pub fn leaf_of(chain: &str) -> Result<Named, ChainError> {
    let leaf = CertificateDer::pem_slice_iter(chain.as_bytes()).next().and_then(Result::ok).ok_or(ChainError::Shape)?;
    Ok(Named::read(&leaf)?)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(made)?;
    Ok(bytes)
}

/// An error and its sources in one line.
pub(crate) fn chain_of(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |e| e.source()).fold(error.to_string(), |text, e| format!("{text}: {e}"))
}

fn is_signed_by(certificate: &[u8], authority: &[u8]) -> bool {
    let parse = |der| x509_parser::certificate::X509Certificate::from_der(der).ok().map(|(_, parsed)| parsed);
    let (Some(certificate), Some(authority)) = (parse(certificate), parse(authority)) else { return false };
    authority.is_ca() && certificate.verify_signature(Some(authority.public_key())).is_ok()
}

fn made(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::Make(error.to_string())
}

fn damaged(path: &Path, what: impl std::fmt::Display) -> IdentityError {
    IdentityError::Damaged { path: path.to_owned(), what: what.to_string() }
}
