//! The certificate of the console: the operator's own, or one made on first start whose fingerprint is printed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
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

/// The configured certificate, else the one in `data/tls`, made if absent for `names`.
///
/// # Errors
/// Only one of certificate and key is set, or a file cannot be read or written.
pub fn certificate(data: &Path, chain: Option<&Path>, key: Option<&Path>, names: Vec<String>) -> anyhow::Result<Certificate> {
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
        _ => anyhow::bail!("http.certificate and http.key belong together; only one of them is set"),
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

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
