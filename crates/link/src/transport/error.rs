//! What can go wrong between two nodes, in words an operator can act on.

use std::io;

use anlan_model::Timestamp;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

use super::tls::Foreign;
use crate::identity::{ChainError, IdentityError};
use crate::pairing::Refusal;

/// Why there is no connection, or none any more. `peer` is the address that was called, or from which the peer called.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is not one.
    #[error("'{0}' is not an address; write host:port")]
    Address(String),
    /// Nobody listens there, or no way leads there.
    #[error("{peer} does not answer; check the address, the firewall, and that the node runs")]
    Unreachable {
        /// Address.
        peer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The broker does not lead to the parent.
    #[error("no way through NATS: {0}")]
    Broker(String),
    /// It takes the connection and says nothing, or stopped speaking.
    #[error("{peer} has been silent for {seconds} s")]
    Silent {
        /// Address.
        peer: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The chain of the node that answers has another authority.
    #[error("{peer} is not the node whose code was given, or it lost its authority; compare address and code, or pair anew")]
    ForeignAuthority {
        /// Address.
        peer: String,
    },
    /// It has the right authority, but the certificate is not good.
    #[error("the certificate of {peer} is not good ({what}); check the clocks of both nodes")]
    PeerCertificate {
        /// Address.
        peer: String,
        /// What TLS says.
        what: String,
    },
    /// The parent revoked this node's certificate.
    #[error("{peer} has revoked this node's certificate; ask its operator for a new code")]
    Revoked {
        /// Address.
        peer: String,
    },
    /// This node was away for too long.
    #[error("this node's certificate expired on {at}; ask the operator of {peer} for a new code")]
    Expired {
        /// Address.
        peer: String,
        /// When.
        at: Timestamp,
    },
    /// The parent does not know our certificate's authority.
    #[error("{peer} does not accept this node's certificate ({what}); ask its operator for a new code")]
    NotAccepted {
        /// Address.
        peer: String,
        /// What TLS says.
        what: String,
    },
    /// This node never joined one.
    #[error("this node has no parent; join one with a code first")]
    NoParent,
    /// The parent answered, and says no for now: it has no room, or another program listens there.
    #[error("{peer} refuses the connection (HTTP {status})")]
    Http {
        /// Address.
        peer: String,
        /// 403 without a certificate, 404 for another path, 503 without room.
        status: u16,
    },
    /// The code did not open the door.
    #[error("{peer} refuses this node: {reason}")]
    Refused {
        /// Address.
        peer: String,
        /// Why.
        reason: Refusal,
    },
    /// The chain it granted is not for us.
    #[error("{peer} sent a certificate that cannot be used")]
    Chain {
        /// Address.
        peer: String,
        /// Why.
        #[source]
        source: ChainError,
    },
    /// A message above the limit; the connection is closed.
    #[error("a message from or to {peer} is longer than the {max} bytes that are allowed")]
    TooLong {
        /// Address.
        peer: String,
        /// The limit.
        max: usize,
    },
    /// It speaks something else.
    #[error("{peer} does not speak this protocol ({what})")]
    Protocol {
        /// Address.
        peer: String,
        /// What is wrong.
        what: String,
    },
    /// It was there and is gone.
    #[error("the connection with {peer} broke")]
    Broken {
        /// Address.
        peer: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Our own key or certificate.
    #[error("this node's own key or certificate cannot be used")]
    Own(#[from] IdentityError),
    /// TLS cannot be set up with our own key and certificate.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl LinkError {
    /// Whether trying again later may help without anybody doing something.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Broker(_) | Self::Silent { .. } | Self::Broken { .. } | Self::Http { status: 503, .. }
        )
    }
    /// A word for the API and for metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "address",
            Self::Unreachable { .. } => "unreachable",
            Self::Broker(_) => "broker",
            Self::Silent { .. } => "silent",
            Self::ForeignAuthority { .. } => "foreign_authority",
            Self::PeerCertificate { .. } => "peer_certificate",
            Self::Revoked { .. } => "revoked",
            Self::Expired { .. } => "expired",
            Self::NotAccepted { .. } => "not_accepted",
            Self::NoParent => "no_parent",
            Self::Http { .. } => "http",
            Self::Refused { .. } => "refused",
            Self::Chain { .. } => "chain",
            Self::TooLong { .. } => "too_long",
            Self::Protocol { .. } => "protocol",
            Self::Broken { .. } => "broken",
            Self::Own(_) | Self::Setup(_) => "own",
        }
    }

    /// What a socket or TLS over it said. `expires_at`: of our own certificate, if we showed one.
    pub(crate) fn of_io(error: io::Error, peer: &str, expires_at: Option<Timestamp>) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Bad, Error as Tls};
        let peer = peer.to_owned();
        let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
            return Self::Broken { peer, source: error };
        };
        match tls {
            Tls::InvalidCertificate(Bad::Other(other)) if other.0.is::<Foreign>() => Self::ForeignAuthority { peer },
            Tls::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => Self::ForeignAuthority { peer },
            Tls::InvalidCertificate(what) => Self::PeerCertificate { peer, what: what.to_string() },
            Tls::AlertReceived(Alert::CertificateRevoked) => Self::Revoked { peer },
            Tls::AlertReceived(alert) => match (alert, expires_at) {
                (Alert::CertificateExpired, Some(at)) => Self::Expired { peer, at },
                (alert, Some(_)) => Self::NotAccepted { peer, what: format!("{alert:?}") },
                (alert, None) => Self::Protocol { peer, what: format!("{alert:?}") },
            },
            other => Self::Protocol { peer, what: other.to_string() },
        }
    }

    pub(crate) fn of_ws(error: WsError, peer: &str, expires_at: Option<Timestamp>, max: usize) -> Self {
        let own = || peer.to_owned();
        match error {
            WsError::Io(error) => Self::of_io(error, peer, expires_at),
            WsError::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLong { peer: own(), max },
            WsError::Http(response) => Self::Http { peer: own(), status: response.status().as_u16() },
            WsError::ConnectionClosed
            | WsError::AlreadyClosed
            | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake | ProtocolError::HandshakeIncomplete) => {
                Self::Broken { peer: own(), source: io::ErrorKind::UnexpectedEof.into() }
            }
            other => Self::Protocol { peer: own(), what: other.to_string() },
        }
    }
}
