//! Nodes in temporary directories, a parent with an open door, and clients that do not keep to the rules.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anlan_link::identity::{Authority, Claim, Identity, Validity};
use anlan_link::pairing::{Answer, Ask, Door, PairingCode, Refusal};
use anlan_link::transport::{Address, Connection, Limits, LinkError, Listener, Receiver, Tunnel, server_config};
use anlan_model::{NodeId, NodeLevel, RegionCode, Timestamp};
use futures_util::future::BoxFuture;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub fn claim(id: NodeId) -> Claim {
    Claim {
        id,
        name: "红塔区 & 应急局".to_owned(),
        level: NodeLevel::County,
        region: RegionCode::new("530402"),
        enterprise: Some("E/001?x=1&y".to_owned()),
    }
}

pub struct Node {
    pub dir: tempfile::TempDir,
    pub identity: Identity,
    pub authority: Authority,
}

impl Node {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::open(dir.path()).unwrap();
        let authority = Authority::open(dir.path(), identity.id(), now()).unwrap();
        Self { dir, identity, authority }
    }
    /// Certified by `parent` without a pairing.
    pub fn below(parent: &Node, validity: Validity) -> Self {
        let node = Self::new();
        let chain = parent.authority.issue(&node.identity.public_key(), &claim(node.identity.id()), validity).unwrap();
        node.identity.join(&chain, &parent.authority.fingerprint()).unwrap();
        node
    }
}

/// Short, so that a test of silence takes no longer than it must.
pub fn hasty() -> Limits {
    Limits { silence: Duration::from_millis(800), ping: Duration::from_millis(150), ..Limits::default() }
}

/// What the parent's tables will be.
#[derive(Default)]
pub struct Invitation {
    pub secret_hash: [u8; 32],
    pub n_tries: u32,
    pub is_confirmed: bool,
    pub asks: Vec<Ask>,
}

pub struct TestDoor {
    pub parent: Arc<Node>,
    pub invitation: Mutex<Invitation>,
}

impl Door for TestDoor {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let mut invitation = self.invitation.lock().unwrap();
            if PairingCode::secret_hash(&ask.secret) != invitation.secret_hash {
                invitation.n_tries += 1;
                let reason = if invitation.n_tries > 5 { Refusal::TooManyTries } else { Refusal::WrongSecret };
                return Answer::Refused { reason };
            }
            invitation.asks.push(ask.clone());
            match invitation.is_confirmed {
                false => Answer::Wait,
                true => {
                    let chain = self.parent.authority.issue(&ask.public_key, &claim(ask.node), Validity::from(now()));
                    Answer::Granted { chain: chain.unwrap() }
                }
            }
        })
    }
}

/// A parent that listens.
pub struct Parent {
    pub node: Arc<Node>,
    pub door: Arc<TestDoor>,
    pub at: SocketAddr,
    pub address: Address,
    pub revoked: Arc<Mutex<HashSet<NodeId>>>,
    pub connections: mpsc::Receiver<Connection>,
    _task: AbortOnDropHandle<()>,
}

impl Parent {
    pub async fn listen(limits: Limits) -> Self {
        Self::listen_with(limits, None).await
    }
    /// Where members come through tunnels, too.
    pub async fn listen_with(limits: Limits, tunnels: Option<mpsc::Receiver<Tunnel>>) -> Self {
        let node = Arc::new(Node::new());
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = node.authority.server(&node.identity, &claim(node.identity.id()), &names, now()).unwrap();
        let revoked: Arc<Mutex<HashSet<NodeId>>> = Arc::default();
        let asked = revoked.clone();
        let tls = server_config(&node.identity, &certificate, Arc::new(move |named| asked.lock().unwrap().contains(&named.id()))).unwrap();
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), tls, limits.into()).await.unwrap();
        let listener = match tunnels {
            Some(tunnels) => listener.with_tunnels(tunnels),
            None => listener,
        };
        let at = listener.address().unwrap();
        let door = Arc::new(TestDoor { parent: node.clone(), invitation: Mutex::default() });
        let (sender, connections) = mpsc::channel(4);
        let task = tokio::spawn(listener.run(door.clone(), sender, CancellationToken::new()));
        let address = at.to_string().parse().unwrap();
        Self { node, door, at, address, revoked, connections, _task: AbortOnDropHandle::new(task) }
    }
    /// A code whose secret the door knows.
    pub fn invite(&self) -> PairingCode {
        let code = PairingCode::new(self.node.authority.fingerprint()).unwrap();
        *self.door.invitation.lock().unwrap() = Invitation { secret_hash: PairingCode::secret_hash(&code.secret), ..Invitation::default() };
        code
    }
    pub async fn accept(&mut self) -> Connection {
        tokio::time::timeout(Duration::from_secs(10), self.connections.recv()).await.expect("a child in time").expect("a listener")
    }
}

/// What a connection ends with.
pub async fn end_of(receiver: &mut Receiver) -> Result<Option<Vec<u8>>, LinkError> {
    tokio::time::timeout(Duration::from_secs(10), receiver.recv()).await.expect("an end in time")
}

/// The error with which the parent's refusal arrives, at once or with the first message.
pub async fn refusal(connected: Result<Connection, LinkError>) -> LinkError {
    match connected {
        Err(failure) => failure,
        Ok(connection) => {
            let (_sender, mut receiver) = connection.split();
            end_of(&mut receiver).await.expect_err("the parent refuses")
        }
    }
}

pub fn key_and_chain(chain: &str, key: &rcgen::KeyPair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))
}

type Shown = Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>;
type Raw = WebSocketStream<tokio_rustls::client::TlsStream<TcpStream>>;

/// A client that believes any server, and shows what it likes.
pub async fn rude(at: SocketAddr, path: &str, shows: Shown) -> Result<Raw, WsError> {
    rude_again(at, path, rude_config(shows)).await
}

/// The same, once more with what it remembers.
pub async fn rude_again(at: SocketAddr, path: &str, config: Arc<ClientConfig>) -> Result<Raw, WsError> {
    let stream = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
    Ok(tokio_tungstenite::client_async(format!("wss://{at}{path}"), stream).await?.0)
}

pub fn rude_config(shows: Shown) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous));
    let config = match shows {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    Arc::new(config)
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
