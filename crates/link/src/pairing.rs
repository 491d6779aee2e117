//! How a node gets its certificate: a code that a person carries, a question over TLS, and an operator who compares fingerprints.
//!
//! The child sees by the code's fingerprint that it speaks with the right parent before it says anything; the parent sees by the secret that the child was
//! invited, by the signature that the key is its own, and by its operator's word that it is the box that stands there. The child asks again every few
//! seconds until the operator has decided. Messages are JSON, for they must be read by releases that do not exist yet: unknown keys are left alone.
//!
//! Start at [`join`]; the parent's side is a [`Door`] behind [`crate::transport::Listener`].

mod code;

use std::net::SocketAddr;
use std::time::Duration;

use anlan_model::NodeId;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error as WsError;

use crate::identity::{Identity, Named, fingerprint, hex, requested_key};
use crate::transport::{Address, Limits, LinkError, PAIR_PATH, Socket, client, dial, read_text, strangers_web_socket, write_text};
pub use code::{CodeError, PairingCode};

/// Bytes of a question or answer: a request and a chain have about a thousand.
pub(crate) const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Characters of what a stranger says of itself.
const TEXT_CHARS_MAX: usize = 200;

/// What a node without a certificate asks. The signature is checked: who asks has the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ask {
    /// From the code.
    pub secret: [u8; 16],
    /// The node.
    pub node: NodeId,
    /// What it calls itself.
    pub name: String,
    /// Its release.
    pub software: String,
    /// Its public key (SubjectPublicKeyInfo, DER).
    pub public_key: Vec<u8>,
    /// SHA-256 of it: what the operator compares.
    pub fingerprint: String,
    /// From where it asks.
    pub address: SocketAddr,
}

impl std::fmt::Debug for Ask {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Ask");
        shown.field("node", &self.node).field("name", &self.name).field("fingerprint", &self.fingerprint).field("address", &self.address);
        shown.finish_non_exhaustive()
    }
}

/// What it hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// The operator has to confirm; ask again.
    Wait,
    /// Welcome.
    Granted {
        /// What [`crate::identity::Authority::issue`] gave.
        chain: String,
    },
    /// No.
    Refused {
        /// Why.
        reason: Refusal,
    },
}

/// Why a node may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// No open invitation has this secret.
    WrongSecret,
    /// Its time is over.
    Expired,
    /// Another node has used it.
    Used,
    /// Too many wrong secrets.
    TooManyTries,
    /// The operator said no.
    Declined,
    /// The question cannot be read, or its signature is wrong.
    Malformed,
    /// The parent failed; its log says how.
    Internal,
    /// A reason that this release does not know.
    #[serde(other)]
    Other,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WrongSecret => "there is no open invitation with this code",
            Self::Expired => "the code's time is over; ask for a new one",
            Self::Used => "another node has used this code; ask for a new one",
            Self::TooManyTries => "there were too many wrong codes; ask for a new one",
            Self::Declined => "its operator declined",
            Self::Malformed => "it could not read the question; compare the releases of both nodes",
            Self::Internal => "it failed; its log says how",
            Self::Other => "for a reason that this release does not know",
        })
    }
}

/// The parent's decision. Takes the secret for what it is worth: counts tries, knows times and uses.
pub trait Door: Send + Sync + 'static {
    /// What to answer. Asked again every few seconds by the same node with the same secret; the same question gets the same answer.
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Answer>;
}

/// What came of asking once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The operator of this parent has to confirm.
    Waiting(Named),
    /// This node has a certificate, and keeps it.
    Joined {
        /// The parent.
        parent: Named,
        /// What it made of this node.
        ours: Named,
    },
}

/// How the joining goes, told before each pause.
#[derive(Debug)]
pub enum Progress<'a> {
    /// The parent's operator has to confirm.
    Waiting(&'a Named),
    /// The parent could not be asked; it is tried again.
    Failed(&'a LinkError),
}

/// The question on the wire.
#[derive(Serialize, Deserialize)]
struct Question {
    secret: String,
    node: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    software: String,
    /// PKCS #10, PEM.
    request: String,
}

/// Whom a node asks, and what it says of itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// The parent's.
    pub address: Address,
    /// From the parent's operator.
    pub code: PairingCode,
    /// What this node is called here.
    pub name: String,
    /// Its release.
    pub software: String,
}

/// Asks the parent once; if it grants, the certificate is kept in `own`.
///
/// # Errors
/// [`LinkError`]: `Refused` and `ForeignAuthority` among them. Nothing is said to a node of another authority.
pub async fn ask(introduction: &Introduction, own: &Identity, limits: &Limits) -> Result<Asked, LinkError> {
    let Introduction { address, code, name, software } = introduction;
    let peer = || address.to_string();
    let config = client(own, code.authority, None)?;
    let question = Question {
        secret: hex(&code.secret),
        node: own.id().to_string(),
        name: name.clone(),
        software: software.clone(),
        request: own.request()?,
    };
    let (mut socket, parent) = dial(address, config, PAIR_PATH, None, strangers_web_socket(), limits).await?;
    let asked = async {
        let question = serde_json::to_string(&question).expect("strings become JSON");
        write_text(&mut socket, question).await?;
        read_text(&mut socket).await
    };
    let silent = LinkError::Silent { peer: peer(), seconds: limits.silence.as_secs() };
    let answer = timeout(limits.silence, asked).await.map_err(|_| silent)?;
    let answer = answer.map_err(|e| LinkError::of_ws(e, &peer(), None, MESSAGE_BYTES_MAX))?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Wait) => Ok(Asked::Waiting(parent)),
        Ok(Answer::Granted { chain }) => {
            let ours = own.join(&chain, &code.authority).map_err(|source| LinkError::Chain { peer: peer(), source })?;
            Ok(Asked::Joined { parent, ours })
        }
        Ok(Answer::Refused { reason }) => Err(LinkError::Refused { peer: peer(), reason }),
        Err(error) => Err(LinkError::Protocol { peer: peer(), what: error.to_string() }),
    }
}

/// Asks `every` so often, until the parent grants or refuses: the parent, and what it made of this node.
///
/// A parent that cannot be reached for now is tried again; drop the future to give up.
///
/// # Errors
/// [`LinkError`] that no waiting mends.
pub async fn join(
    introduction: &Introduction,
    own: &Identity,
    limits: &Limits,
    every: Duration,
    mut told: impl FnMut(Progress<'_>) + Send,
) -> Result<(Named, Named), LinkError> {
    loop {
        match ask(introduction, own, limits).await {
            Ok(Asked::Joined { parent, ours }) => return Ok((parent, ours)),
            Ok(Asked::Waiting(parent)) => told(Progress::Waiting(&parent)),
            Err(failure) if failure.is_passing() => told(Progress::Failed(&failure)),
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(every).await;
    }
}

/// The parent's side: one question, one answer.
pub(crate) async fn answer(socket: &mut Socket, address: SocketAddr, door: &dyn Door) -> Result<(), WsError> {
    let text = read_text(socket).await?;
    let answer = match understand(&text, address) {
        Some(ask) => {
            let (node, fingerprint) = (ask.node, ask.fingerprint.clone());
            let answer = door.ask(ask).await;
            let word = match &answer {
                Answer::Wait => "waits for the operator",
                Answer::Granted { .. } => "is granted",
                Answer::Refused { .. } => "is refused",
            };
            tracing::info!(node.id = %node, protocol = "link", "node {node} ({fingerprint}) asks from {address} to join and {word}");
            answer
        }
        None => Answer::Refused { reason: Refusal::Malformed },
    };
    write_text(socket, serde_json::to_string(&answer).expect("strings become JSON")).await?;
    socket.close(None).await
}

/// The question, if it is one and its key signed it.
fn understand(text: &str, address: SocketAddr) -> Option<Ask> {
    let question: Question = serde_json::from_str(text).ok()?;
    let node = question.node.parse().ok()?;
    let public_key = requested_key(&question.request, node)?;
    let short = |text: String| text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    let secret = (question.secret.len() == 32 && question.secret.is_ascii()).then_some(question.secret)?;
    Some(Ask {
        secret: u128::from_str_radix(&secret, 16).ok()?.to_be_bytes(),
        node,
        name: short(question.name),
        software: short(question.software),
        fingerprint: fingerprint(&public_key),
        public_key,
        address,
    })
}
