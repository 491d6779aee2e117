//! Certificates (证书) of records: issued to whoever sees the record, checked by anybody.

use anlan_app::certificate::{self, Standing, Verified};
use anlan_app::error::AppError;
use anlan_domain::register::Kind;
use anlan_domain::register::certificate::{Said, Text};
use anlan_model::RecordId;
use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Answer;
use crate::dto::At;
use crate::extract::{AppRef, Body, Caller, Path2, Peer, Query};

/// A name or value on a certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateText {
    text: String,
    /// Only the beginning: the text goes on in the record.
    cut: bool,
}

impl From<Text> for CertificateText {
    fn from(text: Text) -> Self {
        Self { text: text.text, cut: text.is_cut }
    }
}

/// A field on a certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateField {
    /// Its word.
    id: String,
    /// As the register names it; the word where the register is off.
    name: String,
    name_en: String,
    value: CertificateText,
}

/// What a certificate says.
#[derive(Serialize, ToSchema)]
pub(crate) struct Certificate {
    /// Id of the key that signs.
    key: String,
    /// Kind of register.
    kind: String,
    kind_name: String,
    kind_name_en: String,
    /// Id of the record.
    record: String,
    number: String,
    /// When it was signed; what it says was so then.
    issued_at: At,
    /// The last day on which it holds, `YYYY-MM-DD`; `null` = without end.
    until: Option<String>,
    /// Code of the enterprise; empty = a division's record.
    code: String,
    /// Name of the enterprise or division.
    owner: CertificateText,
    fields: Vec<CertificateField>,
}

fn certificate(said: Said, kind: Option<&Kind>) -> Certificate {
    let name = |name: fn(&Kind) -> &String| kind.map_or_else(|| said.kind.clone(), |kind| name(kind).clone());
    let (kind_name, kind_name_en) = (name(|kind| &kind.name), name(|kind| &kind.name_en));
    let field = |(id, value): (String, Text)| {
        let field = kind.and_then(|kind| kind.field(&id));
        let (name, name_en) = field.map_or((id.clone(), id.clone()), |field| (field.name.clone(), field.name_en.clone()));
        CertificateField { id, name, name_en, value: value.into() }
    };
    Certificate {
        key: said.key,
        kind: said.kind,
        kind_name,
        kind_name_en,
        record: said.record,
        number: said.number,
        issued_at: said.issued_at.into(),
        until: said.until.map(|day| day.to_string()),
        code: said.code,
        owner: said.owner.into(),
        fields: said.fields.into_iter().map(field).collect(),
    }
}

/// A certificate as it is printed.
#[derive(Serialize, ToSchema)]
pub(crate) struct IssuedCertificate {
    /// `AL1.…`: what is signed and the signature; docs/reference/certificates.md.
    code: String,
    /// The public key that signed, `ed25519:…`.
    key: String,
    says: Certificate,
    /// What the QR code holds: the code, or with `page` an address with the code in its fragment.
    qr_text: String,
    /// Rows of modules, `1` = dark; a quiet zone of four modules belongs around it.
    qr: Vec<String>,
}

/// Where the certificate will be checked.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssueQuery {
    /// Scheme and host such as `https://anlan.example.cn`: the QR code then opens the page `/verify` there.
    page: Option<String>,
}

/// Signs the certificate of a record as it stands now.
#[utoipa::path(get, path = "/registers/{kind}/records/{id}/certificate", tag = "register", params(("kind" = String, Path), ("id" = String, Path), IssueQuery), responses((status = 200, body = IssuedCertificate)))]
pub(crate) async fn issue(AppRef(app): AppRef, caller: Caller, path: Path2, Query(query): Query<IssueQuery>) -> Answer<IssuedCertificate> {
    let (kind, id): (String, RecordId) = path.read()?;
    let page = query.page.filter(|page| !page.is_empty());
    let issued = certificate::issue(&app, &caller.scope, &kind, id, page.as_deref()).await?;
    let known = app.registers.load().kind(&kind).ok();
    let row = |row: &Vec<bool>| row.iter().map(|dark| if *dark { '1' } else { '0' }).collect();
    Ok(Json(IssuedCertificate {
        code: issued.code.to_string(),
        key: issued.key.to_string(),
        qr: issued.qr.iter().map(row).collect(),
        qr_text: issued.qr_text,
        // As it will be read: texts that had no room are cut here too.
        says: certificate(Said::parse(&issued.code.lines).unwrap_or(issued.code.said), known.as_deref()),
    }))
}

/// A public key.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateKey {
    /// `ed25519:` and 32 bytes in Base64.
    key: String,
    /// The first 8 bytes of its SHA-256, in hexadecimal; certificates name it by that.
    id: String,
    since: At,
}

/// Public keys of a node.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateKeyList {
    /// Oldest first; the last one signs, those before it signed what they signed.
    keys: Vec<CertificateKey>,
}

/// The public keys by which certificates of this node are checked.
#[utoipa::path(get, path = "/certificates/keys", tag = "register", responses((status = 200, body = CertificateKeyList)), security(()))]
pub(crate) async fn keys(AppRef(app): AppRef) -> Answer<CertificateKeyList> {
    let known = certificate::keys(&app.store).await.map_err(AppError::from)?;
    let key = |known: certificate::KnownKey| CertificateKey { key: known.key.to_string(), id: known.key.id(), since: known.since.into() };
    Ok(Json(CertificateKeyList { keys: known.into_iter().map(key).collect() }))
}

/// A certificate to be checked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBody {
    /// `AL1.…`, or an address with it behind `#`.
    code: String,
}

/// What a signature is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificateSignature {
    /// By a key of this node.
    Good,
    /// Not by the key of this node that it names.
    Wrong,
    /// By a key that this node does not know.
    KeyUnknown,
}

/// Where a record stands.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CertificateStanding {
    /// As the certificate says.
    InForce,
    /// In force, but not as the certificate says.
    Changed,
    /// Its last day is over.
    Over,
    /// In a state in which it carries no certificate.
    NotInForce,
    /// There is no such record here any more.
    Unknown,
}

/// Where the record of a certificate stands now.
#[derive(Serialize, ToSchema)]
pub(crate) struct CertificateNow {
    /// Domain time.
    at: At,
    standing: CertificateStanding,
    /// The state, where it carries no certificate in it.
    state_name: Option<String>,
    state_name_en: Option<String>,
}

/// What a text is worth.
#[derive(Serialize, ToSchema)]
pub(crate) struct VerifiedCertificate {
    signature: CertificateSignature,
    /// Id of the key that the text names.
    key_id: Option<String>,
    /// The public key that signed.
    key: Option<String>,
    /// `null` = nothing of it can be believed.
    says: Option<Certificate>,
    /// `null` as `says`.
    now: Option<CertificateNow>,
}

/// Checks a certificate, and says where its record stands now; for anybody.
#[utoipa::path(post, path = "/certificates/verify", tag = "register", request_body = VerifyBody, responses((status = 200, body = VerifiedCertificate)), security(()))]
pub(crate) async fn verify(AppRef(app): AppRef, Peer(peer): Peer, Body(body): Body<VerifyBody>) -> Answer<VerifiedCertificate> {
    use anlan_model::Clock as _;
    let nothing = |signature, key_id| VerifiedCertificate { signature, key_id, key: None, says: None, now: None };
    Ok(Json(match certificate::verify(&app, &body.code, &peer.to_string()).await? {
        Verified::Forged => nothing(CertificateSignature::Wrong, None),
        Verified::Stranger { key } => nothing(CertificateSignature::KeyUnknown, Some(key)),
        Verified::Good { key, said, standing } => {
            let known = app.registers.load().kind(&said.kind).ok();
            let (standing, names) = match standing {
                Standing::InForce => (CertificateStanding::InForce, None),
                Standing::Changed => (CertificateStanding::Changed, None),
                Standing::Over => (CertificateStanding::Over, None),
                Standing::NotInForce(name, name_en) => (CertificateStanding::NotInForce, Some((name, name_en))),
                Standing::Unknown => (CertificateStanding::Unknown, None),
            };
            let (state_name, state_name_en) = names.unzip();
            VerifiedCertificate {
                signature: CertificateSignature::Good,
                key_id: Some(key.id()),
                key: Some(key.to_string()),
                says: Some(certificate(*said, known.as_deref())),
                now: Some(CertificateNow { at: app.clock.now().into(), standing, state_name, state_name_en }),
            }
        }
    }))
}
