//! What TLS is asked here: 1.3 alone, no tickets, one authority per link.
//!
//! A child knows its parent by the authority whose fingerprint stood in the code, not by a host name: addresses of county bureaus change, and that
//! authority gives a server's certificate to nobody but its own node. A resumed session would get past the look at who is revoked, so none is.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore, ServerConfig,
    SignatureScheme,
};
use sha2::{Digest as _, Sha256};

use crate::identity::{Identity, Membership, Named, ServerCertificate};

/// Whether the node with this certificate may not come in any more. Asked in each handshake.
pub type IsRevoked = Arc<dyn Fn(&Named) -> bool + Send + Sync>;

/// The server's chain has no certificate with the fingerprint that was asked for.
#[derive(Debug, thiserror::Error)]
#[error("the certificate is not of the authority that was asked for")]
pub(super) struct Foreign;

/// For a listener: children with a certificate, and those without one, who may only pair.
///
/// # Errors
/// The key and certificate do not belong together.
pub fn server_config(own: &Identity, certificate: &ServerCertificate, is_revoked: IsRevoked) -> Result<Arc<ServerConfig>, Error> {
    let provider = provider();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.authority.clone())?;
    let inner = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::General(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Members { inner, is_revoked }))
        .with_single_cert(certificate.chain.clone(), own.private_key())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config.into())
}

/// For a child that asks the node with this authority; as a member if there is a membership.
pub(crate) fn client(own: &Identity, authority: [u8; 32], membership: Option<&Membership>) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { authority, provider }));
    let mut config = match membership {
        Some(membership) => builder.with_client_auth_cert(membership.chain[..1].to_vec(), own.private_key())?,
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config.into())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Children of our authority that are not revoked.
struct Members {
    inner: Arc<dyn ClientCertVerifier>,
    is_revoked: IsRevoked,
}

impl std::fmt::Debug for Members {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Members").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Members {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(certificate, chain, now)?;
        let named = Named::read(certificate).map_err(|e| CertificateError::Other(OtherError(Arc::new(e))))?;
        if (self.is_revoked)(&named) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// The node with this authority, and no other.
#[derive(Debug)]
struct Pinned {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_it = |der: &&CertificateDer<'_>| <[u8; 32]>::from(Sha256::digest(der)) == self.authority;
        let authority = chain.iter().find(is_it).ok_or_else(|| CertificateError::Other(OtherError(Arc::new(Foreign))))?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        // Also asks that the certificate is for a server: those of children are not.
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&ParsedCertificate::try_from(certificate)?, &roots, &[], now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
