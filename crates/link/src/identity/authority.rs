//! A node's own authority: it certifies the node's children and the node's own listener, and nothing else.

use std::path::Path;

use anlan_model::{NodeId, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest as _, Sha256};

use super::{Claim, Identity, IdentityError, damaged, file, made, random};

/// Days that a child's certificate lives unless told otherwise: a stolen one that nobody missed dies with the quarter. Ours, no law's.
pub const DAYS: u16 = 90;

/// Days of the authority and of the listener's certificate. Both keys lie in one directory: who steals one has the other, and only pairing anew helps.
const OWN_DAYS: u64 = 20 * 366;

/// Characters of a name or code in a certificate: it travels in each handshake.
const TEXT_CHARS_MAX: usize = 200;

/// The last second a certificate of ours may name: 2100-01-01. Far from what the formats can hold.
const LAST_SECOND: u64 = 4_102_444_800;

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Real time, when it is made.
    pub issued: Timestamp,
    /// Days from then on.
    pub days: u16,
    /// What the certificate says it holds from. 1970 by default: a box without a clock starts there, and must get in to be told the time.
    /// Nothing is lost by it: there was no certificate before its authority was made.
    pub not_before: Timestamp,
}

impl Validity {
    /// For [`DAYS`] days from `issued` on, in real time.
    pub fn from(issued: Timestamp) -> Self {
        Self { issued, days: DAYS, not_before: Timestamp::from_secs(0) }
    }
}

/// The certificate of this node's own listener.
pub struct ServerCertificate {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) authority: CertificateDer<'static>,
}

/// The key and certificate that sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    /// The authority below `data`, made if there is none. `now` is real time.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn open(data: &Path, id: NodeId, now: Timestamp) -> Result<Self, IdentityError> {
        let path = file::directory(data)?.join("authority.pem");
        // Key and certificate are one file: there is no moment with one of them.
        let text = match file::read(&path)? {
            Some(text) => text,
            None => {
                let text = make(id, now).map_err(made)?;
                file::write(&path, &text)?;
                text
            }
        };
        let bad = |e: &dyn std::fmt::Display| damaged(&path, e);
        let key = KeyPair::from_pem(&text).map_err(|e| bad(&e))?;
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|e| bad(&e))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|e| bad(&e))?;
        let at = text.find("-----BEGIN CERTIFICATE-----").ok_or_else(|| bad(&"no certificate"))?;
        Ok(Self { issuer, certificate, pem: text[at..].to_owned() })
    }
    /// SHA-256 of the authority's certificate: what a pairing code carries.
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }
    /// Certifies a child's key (SubjectPublicKeyInfo, DER; ECDSA P-256): its certificate and this authority's, PEM.
    ///
    /// For the same key again, that is renewal.
    ///
    /// # Errors
    /// [`IdentityError::Make`]: a name too long, another kind of key.
    pub fn issue(&self, public_key: &[u8], claim: &Claim, validity: Validity) -> Result<String, IdentityError> {
        let days = u64::from(validity.days);
        let mut params = certificate(claim, validity.issued, validity.not_before, days)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = SubjectPublicKeyInfo::from_der(public_key).map_err(made)?;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(made("a key must be ECDSA P-256"));
        }
        let signed = params.signed_by(&key, &self.issuer).map_err(made)?;
        Ok(format!("{}{}", signed.pem(), self.pem))
    }
    /// Certifies this node's own listener, at each start; `names` are host names and addresses under which it is reached, for tools that ask for them.
    ///
    /// # Errors
    /// [`IdentityError::Make`]: a name too long or not one.
    pub fn server(&self, own: &Identity, claim: &Claim, names: &[String], now: Timestamp) -> Result<ServerCertificate, IdentityError> {
        let mut params = certificate(claim, now, Timestamp::from_secs(0), OWN_DAYS)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.subject_alt_names.extend(CertificateParams::new(names).map_err(made)?.subject_alt_names);
        let signed = params.signed_by(&own.key, &self.issuer).map_err(made)?;
        Ok(ServerCertificate { chain: vec![signed.into(), self.certificate.clone()], authority: self.certificate.clone() })
    }
}

/// The key (SubjectPublicKeyInfo, DER) in a request for `id` (PKCS #10, PEM), if it was signed with it and is ECDSA P-256.
pub fn requested_key(request: &str, id: NodeId) -> Option<Vec<u8>> {
    let request = CertificateSigningRequestParams::from_pem(request).ok()?;
    let name = request.params.distinguished_name.get(&DnType::CommonName)?;
    let ours = *name == rcgen::DnValue::Utf8String(id.to_string());
    (ours && request.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256).then(|| request.public_key.subject_public_key_info())
}

fn make(id: NodeId, now: Timestamp) -> Result<String, IdentityError> {
    let key = KeyPair::generate().map_err(made)?;
    let mut params = dated(now, Timestamp::from_secs(0), OWN_DAYS)?;
    params.distinguished_name.push(DnType::CommonName, format!("Anlan authority of {id}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let signed = params.self_signed(&key).map_err(made)?;
    Ok(format!("{}{}", key.serialize_pem(), signed.pem()))
}

fn certificate(claim: &Claim, issued: Timestamp, not_before: Timestamp, days: u64) -> Result<CertificateParams, IdentityError> {
    let texts = [Some(&claim.name), claim.enterprise.as_ref()];
    if texts.into_iter().flatten().any(|text| text.chars().count() > TEXT_CHARS_MAX) {
        return Err(made(format!("a name or code in a certificate has at most {TEXT_CHARS_MAX} characters")));
    }
    let mut params = dated(issued, not_before, days)?;
    params.distinguished_name.push(DnType::CommonName, claim.id.to_string());
    params.subject_alt_names = vec![SanType::URI(claim.uri(issued).try_into().map_err(made)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A serial number, and days in whole seconds.
fn dated(issued: Timestamp, not_before: Timestamp, days: u64) -> Result<CertificateParams, IdentityError> {
    let seconds = |at: Timestamp| u64::try_from(at.micros() / 1_000_000).unwrap_or(0).min(LAST_SECOND);
    let at = |seconds: u64| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds.min(LAST_SECOND));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from(random::<16>()?.to_vec()));
    params.not_before = at(seconds(not_before));
    params.not_after = at(seconds(issued) + days * 86_400);
    Ok(params)
}
