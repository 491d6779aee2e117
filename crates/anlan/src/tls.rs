//! The certificates of console and devices: the operator's own, or one made on first start whose fingerprint is printed.
//!
//! Start at [`certificate`]; [`for_devices`] is what MQTT and JT/T 808 listeners need.

use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};

/// PEM files of a certificate and its key.
pub struct Certificate {
    /// Chain.
    pub chain: PathBuf,
    /// Key.
    pub key: PathBuf,
    /// SHA-256 of the first certificate, as browsers show it.
    pub fingerprint: String,
}

/// The certificate of section `section`, else the one in `data/tls`, made if absent for `names`.
///
/// # Errors
/// Only one of certificate and key is set, or a file cannot be read or written.
pub fn certificate(
    data: &Path,
    section: &str,
    chain: Option<&Path>,
    key: Option<&Path>,
    names: Vec<String>,
) -> anyhow::Result<Certificate> {
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain.to_owned(), key.to_owned()),
        (None, None) => {
            let dir = data.join("tls");
            let (chain, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
            if !chain.exists() || !key.exists() {
                std::fs::create_dir_all(&dir)?;
                let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
                write_private(&key, &made.signing_key.serialize_pem())?;
                std::fs::write(&chain, made.cert.pem())?;
            }
            (chain, key)
        }
        _ => anyhow::bail!("{section}.certificate and {section}.key belong together; only one of them is set"),
    };
    let pem = std::fs::read(&chain).with_context(|| format!("read {}", chain.display()))?;
    let first =
        rustls_pemfile::certs(&mut pem.as_slice()).next().with_context(|| format!("{} holds no certificate", chain.display()))??;
    let fingerprint = Sha256::digest(&first).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{}{byte:02X}", if text.is_empty() { "" } else { ":" });
        text
    });
    Ok(Certificate { chain, key, fingerprint })
}

/// TLS 1.2 and 1.3 with `certificate`; with `client_ca`, only for peers that show a certificate which these signed.
///
/// # Errors
/// A file cannot be read, or holds something else than it should; the text names the file.
pub fn for_devices(certificate: &Certificate, client_ca: Option<&Path>) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for root in read_certificates(path)? {
                roots.add(root).with_context(|| format!("a certificate in {} cannot sign others", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.with_context(|| format!("use {}", path.display()))?)
        }
    };
    let chain = read_certificates(&certificate.chain)?;
    let key = std::fs::read(&certificate.key).with_context(|| format!("read {}", certificate.key.display()))?;
    let key = rustls_pemfile::private_key(&mut Cursor::new(key))
        .with_context(|| format!("read {}", certificate.key.display()))?
        .with_context(|| format!("{} holds no private key", certificate.key.display()))?;
    let config = builder
        .with_single_cert(chain, key)
        .with_context(|| format!("{} and {} do not belong together", certificate.chain.display(), certificate.key.display()))?;
    Ok(Arc::new(config))
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<rustls::pki_types::CertificateDer<'static>>> {
    let pem = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let all: Vec<_> =
        rustls_pemfile::certs(&mut Cursor::new(pem)).collect::<Result<_, _>>().with_context(|| format!("read {}", path.display()))?;
    anyhow::ensure!(!all.is_empty(), "{} holds no certificate", path.display());
    Ok(all)
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
