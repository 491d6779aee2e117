//! What an operator sets about JT/T 809, and what of it is checked before anything starts.
//!
//! Passwords come from files and are in no `Debug` text. Start at [`Settings::check`].

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anlan_model::RegionCode;
use anlan_model::modbus::Network;
use anlan_protocols::jt809::{Cipher, Edition};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use super::line::tls_client;

/// Section `jt809`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address where platforms below log in; absent = none may.
    pub listen: Option<SocketAddr>,
    /// It speaks in the clear. Said explicitly, or it speaks TLS.
    pub plain: bool,
    /// Platforms below.
    pub platform: Vec<PlatformSettings>,
    /// Platforms above.
    pub upper: Vec<UpperSettings>,
}

/// Which edition a pair agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Year {
    /// JT/T 809-2011.
    #[serde(rename = "2011")]
    V2011,
    /// JT/T 809-2019.
    #[serde(rename = "2019")]
    V2019,
}

impl From<Year> for Edition {
    fn from(year: Year) -> Self {
        match year {
            Year::V2011 => Self::V2011,
            Year::V2019 => Self::V2019,
        }
    }
}

/// A platform below, section `[[jt809.platform]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformSettings {
    /// What it is called here: small letters, digits, `-`.
    pub name: String,
    /// Its access code (下级平台接入码).
    pub access_code: u32,
    /// Its user.
    pub user_id: u32,
    /// File with its password, 1 to 8 bytes.
    pub password_file: PathBuf,
    /// Edition.
    pub edition: Year,
    /// Constants of the cipher; all three, or none.
    #[serde(default)]
    pub m1: Option<u32>,
    /// The factor.
    #[serde(default)]
    pub ia1: Option<u32>,
    /// The summand.
    #[serde(default)]
    pub ic1: Option<u32>,
    /// Where it may come from, and where alone the other link is opened to.
    pub addresses: Vec<Network>,
    /// Division whose vehicles it may speak for; absent = all.
    #[serde(default)]
    pub region: Option<String>,
    /// PEM of the authority of its certificate, for the other link.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// The other link is in the clear. Said explicitly, or it is TLS.
    #[serde(default)]
    pub plain: bool,
}

/// A platform above, section `[[jt809.upper]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpperSettings {
    /// What it is called here: small letters, digits, `-`.
    pub name: String,
    /// `host:port`.
    pub address: String,
    /// Our access code there.
    pub access_code: u32,
    /// Our user there.
    pub user_id: u32,
    /// File with our password, 1 to 8 bytes.
    pub password_file: PathBuf,
    /// Edition.
    pub edition: Year,
    /// Constants of the cipher; all three, or none.
    #[serde(default)]
    pub m1: Option<u32>,
    /// The factor.
    #[serde(default)]
    pub ia1: Option<u32>,
    /// The summand.
    #[serde(default)]
    pub ic1: Option<u32>,
    /// PEM of the authority of its certificate.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Both links are in the clear. Said explicitly, or they are TLS.
    #[serde(default)]
    pub plain: bool,
    /// Address where it opens the other link; absent = it cannot.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// The address that the login says for that; absent = that of `listen`.
    #[serde(default)]
    pub announce: Option<String>,
    /// The port that the login says; absent = that of `listen`.
    #[serde(default)]
    pub announce_port: Option<u16>,
    /// Where the other link may come from; absent = the address that the main link leads to.
    #[serde(default)]
    pub addresses: Vec<Network>,
    /// Our platform id there, up to 11 bytes; absent = the access code.
    #[serde(default)]
    pub platform_id: Option<String>,
    /// Division whose vehicles are given; absent = all that have a plate.
    #[serde(default)]
    pub region: Option<String>,
    /// Colour of plates that is told (JT/T 415): no colour is kept of a vehicle here.
    pub plate_colour: u8,
}

/// Why a setting is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value.
    #[error("jt809.{section} {name}: {why}")]
    Value {
        /// `platform` or `upper`.
        section: &'static str,
        /// Whose.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A password or the certificate of an authority cannot be read.
    #[error("jt809.{section} {name}: the {what} in {path}")]
    File {
        /// `platform` or `upper`.
        section: &'static str,
        /// Whose.
        name: String,
        /// `password` or `authority`.
        what: &'static str,
        /// Where.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Eight bytes at most, as they stand in a login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Password(pub(super) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// What both ends agreed on.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) edition: Edition,
    pub(super) access_code: u32,
    pub(super) user_id: u32,
    pub(super) password: Password,
    pub(super) cipher: Option<Cipher>,
}

/// A platform below, checked.
#[derive(Clone, Debug)]
pub struct Platform {
    pub(super) name: String,
    pub(super) agreed: Agreed,
    pub(super) addresses: Vec<Network>,
    pub(super) region: Option<RegionCode>,
    /// For the other link; `None` = in the clear.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Platform {
    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The other link is in the clear.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }
    pub(super) fn is_from(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|n| n.contains(address))
    }
}

/// A platform above, checked.
#[derive(Clone, Debug)]
pub struct Upper {
    pub(super) name: String,
    pub(super) agreed: Agreed,
    pub(super) host: String,
    pub(super) port: u16,
    /// For the main link; `None` = both are in the clear.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) listen: Option<SocketAddr>,
    pub(super) announce: Option<String>,
    pub(super) announce_port: Option<u16>,
    pub(super) addresses: Vec<Network>,
    pub(super) platform_id: String,
    pub(super) region: Option<RegionCode>,
    pub(super) plate_colour: u8,
}

impl Upper {
    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Where it opens the other link.
    pub fn listen(&self) -> Option<SocketAddr> {
        self.listen
    }
    /// Both links are in the clear.
    pub fn is_plain(&self) -> bool {
        self.tls.is_none()
    }
}

/// Everything, checked.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Where platforms below log in.
    pub listen: Option<SocketAddr>,
    /// In the clear.
    pub plain: bool,
    /// Below.
    pub platforms: Vec<Platform>,
    /// Above.
    pub uppers: Vec<Upper>,
}

impl Checked {
    /// Something here listens with this node's certificate.
    pub fn needs_certificate(&self) -> bool {
        (self.listen.is_some() && !self.plain) || self.uppers.iter().any(|u| u.listen.is_some() && u.tls.is_some())
    }
}

impl Settings {
    /// Reads the passwords and checks what can be checked without a network.
    ///
    /// # Errors
    /// [`SettingsError`], the first.
    pub fn check(&self) -> Result<Checked, SettingsError> {
        let mut names = BTreeSet::new();
        let mut codes = BTreeSet::new();
        let mut platforms = Vec::new();
        for p in &self.platform {
            let fail = |why: &str| value("platform", &p.name, why);
            if !names.insert(&p.name) {
                return Err(fail("the name is used twice"));
            }
            if !codes.insert(p.access_code) {
                return Err(fail("the access code is used twice"));
            }
            if p.addresses.is_empty() {
                return Err(fail("addresses says where it may come from; it is empty"));
            }
            platforms.push(Platform {
                name: p.name.clone(),
                agreed: agreed("platform", &p.name, p.edition, p.access_code, p.user_id, &p.password_file, [p.m1, p.ia1, p.ic1])?,
                addresses: p.addresses.clone(),
                region: region("platform", &p.name, p.region.as_deref())?,
                tls: authority("platform", &p.name, p.ca.as_ref(), p.plain)?,
            });
        }
        let mut uppers = Vec::new();
        for u in &self.upper {
            let fail = |why: &str| value("upper", &u.name, why);
            if !names.insert(&u.name) {
                return Err(fail("the name is used twice"));
            }
            let (host, port) = u.address.rsplit_once(':').ok_or_else(|| fail("address is host:port"))?;
            let port = port.parse().map_err(|_| fail("address is host:port"))?;
            if u.announce.as_ref().is_some_and(|a| a.len() > 32 || !a.is_ascii()) {
                return Err(fail("announce has at most 32 characters of ASCII"));
            }
            let platform_id = u.platform_id.clone().unwrap_or_else(|| u.access_code.to_string());
            if platform_id.len() > 11 || !platform_id.is_ascii() {
                return Err(fail("platform_id has at most 11 characters of ASCII"));
            }
            uppers.push(Upper {
                name: u.name.clone(),
                agreed: agreed("upper", &u.name, u.edition, u.access_code, u.user_id, &u.password_file, [u.m1, u.ia1, u.ic1])?,
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
                tls: authority("upper", &u.name, u.ca.as_ref(), u.plain)?,
                listen: u.listen,
                announce: u.announce.clone(),
                announce_port: u.announce_port,
                addresses: u.addresses.clone(),
                platform_id,
                region: region("upper", &u.name, u.region.as_deref())?,
                plate_colour: u.plate_colour,
            });
        }
        Ok(Checked { listen: self.listen, plain: self.plain, platforms, uppers })
    }
}

fn value(section: &'static str, name: &str, why: &str) -> SettingsError {
    SettingsError::Value { section, name: name.to_owned(), why: why.to_owned() }
}

/// TLS needs an authority, the clear must be said: neither comes about by forgetting a line.
fn authority(section: &'static str, name: &str, ca: Option<&PathBuf>, plain: bool) -> Result<Option<Arc<ClientConfig>>, SettingsError> {
    match (ca, plain) {
        (Some(ca), false) => {
            let wrap =
                |source| SettingsError::File { section, name: name.to_owned(), what: "authority", path: ca.display().to_string(), source };
            tls_client(ca).map(Some).map_err(wrap)
        }
        (None, true) => Ok(None),
        (Some(_), true) => Err(value(section, name, "ca and plain contradict each other")),
        (None, false) => Err(value(section, name, "ca is missing; plain = true would speak in the clear")),
    }
}

fn region(section: &'static str, name: &str, code: Option<&str>) -> Result<Option<RegionCode>, SettingsError> {
    code.map(|code| RegionCode::new(code).ok_or_else(|| value(section, name, "region is no division code"))).transpose()
}

fn agreed(
    section: &'static str,
    name: &str,
    edition: Year,
    access_code: u32,
    user_id: u32,
    password_file: &Path,
    cipher: [Option<u32>; 3],
) -> Result<Agreed, SettingsError> {
    let is_name = !name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !is_name {
        return Err(value(section, name, "a name has 1 to 32 small letters, digits and -"));
    }
    let cipher = match cipher {
        [None, None, None] => None,
        [Some(m1), Some(ia1), Some(ic1)] => {
            let m1 = NonZeroU32::new(m1).ok_or_else(|| value(section, name, "m1 is 0"))?;
            Some(Cipher { m1, ia1, ic1 })
        }
        _ => return Err(value(section, name, "m1, ia1 and ic1 belong together")),
    };
    let text = std::fs::read_to_string(password_file).map_err(|source| SettingsError::File {
        section,
        name: name.to_owned(),
        what: "password",
        path: password_file.display().to_string(),
        source,
    })?;
    let password = text.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() || password.len() > 8 || !password.is_ascii() || password.contains('\0') {
        return Err(value(section, name, "a password has 1 to 8 characters of ASCII"));
    }
    Ok(Agreed { edition: edition.into(), access_code, user_id, password: Password(password), cipher })
}
