//! What stands in a certificate: whom it names, what that node may speak of, and until when.
//!
//! It stands in one URI among the alternative names: `anlan://node/<id>?level=county&name=…&region=530402&enterprise=…&issued=<seconds>`.
//! Unknown keys are left alone, so that a later release may say more.

use anlan_model::{NodeId, NodeLevel, RegionCode, Timestamp};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{fingerprint, hex};

const PREFIX: &str = "anlan://node/";

/// What a parent lets a node be: nothing it says outside of this is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The node.
    pub id: NodeId,
    /// What the parent's people call it.
    pub name: String,
    /// Its level.
    pub level: NodeLevel,
    /// Where it may speak of enterprises; `None` = nowhere in particular.
    pub region: Option<RegionCode>,
    /// Code of the one enterprise it may speak of.
    pub enterprise: Option<String>,
}

/// A certificate, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Whom it names, as what.
    pub claim: Claim,
    /// SHA-256 of the public key, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The public key (SubjectPublicKeyInfo, DER), to certify it anew.
    pub public_key: Vec<u8>,
    /// Its serial number, hexadecimal.
    pub serial: String,
    /// When it was made; what X.509 calls `notBefore` lies long before.
    pub issued: Timestamp,
    /// Its end. Certificates run on real time, never on the test clock.
    pub not_after: Timestamp,
}

/// Why a certificate names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not X.509.
    #[error("not a certificate")]
    Unreadable,
    /// No or more than one name of ours.
    #[error("the certificate does not name one node")]
    Nameless,
    /// The name has a part we cannot read.
    #[error("the certificate's name has no readable {0}")]
    Part(&'static str),
}

impl Named {
    /// Reads a certificate (DER). Whether it is genuine, is another question.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn read(der: &[u8]) -> Result<Self, CertificateError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CertificateError::Unreadable)?;
        let names = certificate.subject_alternative_name().map_err(|_| CertificateError::Unreadable)?;
        let mut ours = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix(PREFIX),
            _ => None,
        });
        let (Some(name), None) = (ours.next(), ours.next()) else { return Err(CertificateError::Nameless) };
        let (claim, issued) = Claim::parse(name)?;
        let public_key = certificate.public_key().raw.to_vec();
        let end = certificate.validity().not_after.timestamp();
        Ok(Self {
            claim,
            fingerprint: fingerprint(&public_key),
            public_key,
            serial: hex(certificate.raw_serial()).trim_start_matches('0').to_owned(),
            issued,
            not_after: Timestamp::from_secs(end),
        })
    }
    /// The node it names.
    pub fn id(&self) -> NodeId {
        self.claim.id
    }
    /// From when on it is to be made anew: two thirds of its time are over.
    pub fn renew_at(&self) -> Timestamp {
        self.issued.plus_us(self.not_after.since_us(self.issued).max(0) / 3 * 2)
    }
    /// Whether it is time to make it anew. A node without a clock does not know; its parent does.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.renew_at()
    }
}

impl Claim {
    pub(super) fn uri(&self, issued: Timestamp) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("level", self.level.as_str()).append_pair("name", &self.name);
        if let Some(region) = &self.region {
            query.append_pair("region", region.as_str());
        }
        if let Some(enterprise) = &self.enterprise {
            query.append_pair("enterprise", enterprise);
        }
        query.append_pair("issued", &(issued.micros() / 1_000_000).to_string());
        format!("{PREFIX}{}?{}", self.id, query.finish())
    }

    fn parse(name: &str) -> Result<(Self, Timestamp), CertificateError> {
        let (id, query) = name.split_once('?').ok_or(CertificateError::Part("level"))?;
        let part = |key: &str| form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == key).map(|(_, value)| value.into_owned());
        let region = match part("region") {
            Some(code) => Some(RegionCode::new(&code).ok_or(CertificateError::Part("region"))?),
            None => None,
        };
        let issued = part("issued").and_then(|s| s.parse::<u32>().ok()).ok_or(CertificateError::Part("issued"))?;
        let claim = Self {
            id: id.parse().map_err(|_| CertificateError::Part("id"))?,
            name: part("name").unwrap_or_default(),
            level: part("level").and_then(|word| NodeLevel::parse(&word)).ok_or(CertificateError::Part("level"))?,
            region,
            enterprise: part("enterprise"),
        };
        Ok((claim, Timestamp::from_secs(issued.into())))
    }
}
