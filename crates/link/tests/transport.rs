//! Connections between nodes over real sockets on loopback: who gets in, what arrives, and how an end is noticed.
#![cfg(feature = "net")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anlan_link::identity::{DAYS, Validity};
use anlan_link::transport::{Address, Limits, LinkError, Receiver, Sender, connect, in_step};
use common::{Node, Parent, claim, end_of, hasty, key_and_chain, now, refusal, rude, rude_again, rude_config};
use rustls::{AlertDescription, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Error as WsError;

const DAY_US: i64 = 86_400_000_000;

struct Pair {
    child: (Sender, Receiver),
    parent: (Sender, Receiver),
}

async fn pair(parent: &mut Parent, child: &Node, limits: &Limits) -> Pair {
    let connected = connect(&parent.address, &child.identity, Arc::new(limits.clone())).await.unwrap();
    let accepted = parent.accept().await;
    assert_eq!(connected.peer.id(), parent.node.identity.id(), "the child knows its parent");
    assert_eq!(connected.peer.fingerprint, parent.node.identity.fingerprint());
    assert_eq!(accepted.peer.claim, claim(child.identity.id()), "the parent knows its child");
    assert_eq!(accepted.peer.fingerprint, child.identity.fingerprint());
    assert_eq!(accepted.peer.public_key, child.identity.public_key());
    Pair { child: connected.split(), parent: accepted.split() }
}

fn member(parent: &Parent) -> Node {
    Node::below(&parent.node, Validity::from(now()))
}

#[tokio::test]
async fn a_megabyte_goes_both_ways() {
    let mut parent = Parent::listen(Limits::default()).await;
    let child = member(&parent);
    let mut pair = pair(&mut parent, &child, &Limits::default()).await;
    let big: Vec<u8> = (0..1u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for message in [big.clone(), Vec::new(), vec![7]] {
        pair.child.0.send(message.clone()).await.unwrap();
        assert_eq!(end_of(&mut pair.parent.1).await.unwrap(), Some(message.clone()));
        pair.parent.0.send(message.clone()).await.unwrap();
        assert_eq!(end_of(&mut pair.child.1).await.unwrap(), Some(message));
    }
    pair.child.0.close("下班了").await;
    assert_eq!(end_of(&mut pair.parent.1).await.unwrap(), None, "a good-bye is no failure");
}

#[tokio::test]
async fn both_may_send_more_than_the_kernel_holds_at_once() {
    let mut parent = Parent::listen(Limits::default()).await;
    let child = member(&parent);
    let mut pair = pair(&mut parent, &child, &Limits::default()).await;
    let big = vec![1; 8 << 20];
    let (up, down) = (pair.child.0.clone(), pair.parent.0.clone());
    let sent = async { tokio::join!(up.send(big.clone()), down.send(big.clone())) };
    let received = async { tokio::join!(end_of(&mut pair.parent.1), end_of(&mut pair.child.1)) };
    let (sent, received) = tokio::join!(sent, received);
    assert!(sent.0.is_ok() && sent.1.is_ok());
    assert!(received.0.unwrap().is_some_and(|m| m.len() == 8 << 20) && received.1.unwrap().is_some_and(|m| m.len() == 8 << 20));
}

#[tokio::test]
async fn a_child_of_another_authority_is_refused() {
    let mut parent = Parent::listen(Limits::default()).await;
    let stranger = Node::new();
    let key = rcgen::KeyPair::generate().unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    let chain = stranger.authority.issue(&public, &claim(stranger.identity.id()), Validity::from(now())).unwrap();
    let failure = match rude(parent.at, "/link", Some(key_and_chain(&chain, &key))).await {
        Err(WsError::Io(error)) => error,
        other => panic!("{other:?}"),
    };
    let tls = failure.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    assert_eq!(tls, Some(&rustls::Error::AlertReceived(AlertDescription::UnknownCA)));
    assert!(parent.connections.try_recv().is_err());
    // The same, by its own rules, does not even speak with a parent of another authority.
    let lost = Node::below(&stranger, Validity::from(now()));
    let failure = connect(&parent.address, &lost.identity, Arc::default()).await.err().unwrap();
    assert!(matches!(failure, LinkError::ForeignAuthority { .. }), "{failure}");
    assert!(!failure.is_passing());
}

#[tokio::test]
async fn a_revoked_child_is_refused_when_it_comes_again() {
    let mut parent = Parent::listen(Limits::default()).await;
    let (child, other) = (member(&parent), member(&parent));
    pair(&mut parent, &child, &Limits::default()).await;
    parent.revoked.lock().unwrap().insert(child.identity.id());
    for _ in 0..2 {
        let failure = refusal(connect(&parent.address, &child.identity, Arc::default()).await).await;
        assert!(matches!(failure, LinkError::Revoked { .. }), "{failure}");
    }
    assert!(parent.connections.try_recv().is_err());
    pair(&mut parent, &other, &Limits::default()).await;
}

#[tokio::test]
async fn a_revoked_child_cannot_go_on_with_a_session_of_before() {
    let mut parent = Parent::listen(Limits::default()).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    let claim = claim(Node::new().identity.id());
    let chain = parent.node.authority.issue(&public, &claim, Validity::from(now())).unwrap();
    // This client remembers whatever tickets it was given.
    let config = rude_config(Some(key_and_chain(&chain, &key)));
    let first = rude_again(parent.at, "/link", config.clone()).await.unwrap();
    parent.accept().await;
    drop(first);
    parent.revoked.lock().unwrap().insert(claim.id);
    assert!(matches!(rude_again(parent.at, "/link", config).await, Err(WsError::Io(_))));
    assert!(parent.connections.try_recv().is_err());
}

#[tokio::test]
async fn an_expired_child_is_refused_and_told_when() {
    let mut parent = Parent::listen(Limits::default()).await;
    let issued = now().plus_us(-(i64::from(DAYS) + 1) * DAY_US);
    let child = Node::below(&parent.node, Validity::from(issued));
    let failure = refusal(connect(&parent.address, &child.identity, Arc::default()).await).await;
    let end = child.identity.membership().unwrap().ours.not_after;
    assert!(matches!(&failure, LinkError::Expired { at, .. } if *at == end), "{failure}");
    assert!(failure.to_string().contains("ask the operator of"), "{failure}");
    assert!(parent.connections.try_recv().is_err());
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_yet_is_refused_though_ours_never_are() {
    let parent = Parent::listen(Limits::default()).await;
    let validity = Validity { not_before: now().plus_us(DAY_US), ..Validity::from(now()) };
    let child = Node::below(&parent.node, validity);
    let failure = refusal(connect(&parent.address, &child.identity, Arc::default()).await).await;
    assert!(matches!(failure, LinkError::Expired { .. } | LinkError::NotAccepted { .. }), "{failure}");
}

#[tokio::test]
async fn a_child_cannot_pose_as_the_parent() {
    let parent = Parent::listen(Limits::default()).await;
    // A child's certificate is of the right authority, but it is no server's.
    let key = rcgen::KeyPair::generate().unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    let chain = parent.node.authority.issue(&public, &claim(parent.node.identity.id()), Validity::from(now())).unwrap();
    let (chain, key) = key_and_chain(&chain, &key);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = tcp.local_addr().unwrap().to_string().parse().unwrap();
    let posing = async {
        let stream = tcp.accept().await.unwrap().0;
        let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
    };
    let child = member(&parent);
    let (connected, ()) = tokio::join!(connect(&address, &child.identity, Arc::default()), posing);
    let failure = connected.err().unwrap();
    assert!(matches!(failure, LinkError::PeerCertificate { .. }), "{failure}");
}

#[tokio::test]
async fn without_a_certificate_there_is_pairing_and_nothing_else() {
    let mut parent = Parent::listen(Limits::default()).await;
    let status = async |path: &'static str, shows| match rude(parent.at, path, shows).await {
        Ok(_) => 101,
        Err(WsError::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(status("/link", None).await, 403);
    assert_eq!(status("/", None).await, 404);
    assert_eq!(status("/pair", None).await, 101);
    let key = rcgen::KeyPair::generate().unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&key);
    let chain = parent.node.authority.issue(&public, &claim(parent.node.identity.id()), Validity::from(now())).unwrap();
    assert_eq!(status("/pair", Some(key_and_chain(&chain, &key))).await, 404);
    assert_eq!(status("/link", Some(key_and_chain(&chain, &key))).await, 101);
    parent.accept().await;
    assert!(parent.connections.try_recv().is_err());
}

#[tokio::test]
async fn who_finds_no_room_is_told_so_and_gets_in_when_another_left() {
    let limits = Limits { members_max: 1, ..Limits::default() };
    let mut parent = Parent::listen(limits.clone()).await;
    let (first, second) = (member(&parent), member(&parent));
    let held = pair(&mut parent, &first, &limits).await;
    let failure = connect(&parent.address, &second.identity, Arc::default()).await.err().unwrap();
    assert!(matches!(failure, LinkError::Http { status: 503, .. }) && failure.is_passing(), "{failure}");
    drop(held);
    pair(&mut parent, &second, &limits).await;
}

#[tokio::test]
async fn a_message_above_the_limit_closes_the_connection() {
    let tight = Limits { message_bytes_max: 1000, ..Limits::default() };
    let mut parent = Parent::listen(tight.clone()).await;
    let child = member(&parent);
    let mut pair = pair(&mut parent, &child, &Limits::default()).await;
    let failure = pair.parent.0.send(vec![0; 1001]).await.unwrap_err();
    assert!(matches!(failure, LinkError::TooLong { max: 1000, .. }), "our own are not even sent");
    pair.child.0.send(vec![0; 1000]).await.unwrap();
    assert_eq!(end_of(&mut pair.parent.1).await.unwrap().map(|m| m.len()), Some(1000));
    pair.child.0.send(vec![0; 1001]).await.unwrap();
    let failure = end_of(&mut pair.parent.1).await.unwrap_err();
    assert!(matches!(failure, LinkError::TooLong { max: 1000, .. }), "{failure}");
    assert_eq!(end_of(&mut pair.child.1).await.unwrap(), None);
}

#[tokio::test]
async fn an_idle_connection_and_a_busy_receiver_are_not_silence() {
    let mut parent = Parent::listen(hasty()).await;
    let child = member(&parent);
    let mut pair = pair(&mut parent, &child, &hasty()).await;
    // The parent does something else for three times what is silence, the child waits.
    let waited = tokio::time::timeout(3 * hasty().silence, pair.child.1.recv()).await;
    assert!(waited.is_err(), "{waited:?}");
    pair.child.0.send(vec![1]).await.unwrap();
    assert_eq!(end_of(&mut pair.parent.1).await.unwrap(), Some(vec![1]));
}

/// Passes bytes on in both directions until it is told to swallow them.
async fn relay(to: std::net::SocketAddr, swallow: Arc<AtomicBool>) -> Address {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string().parse().unwrap();
    tokio::spawn(async move {
        let near = tcp.accept().await.unwrap().0.into_split();
        let far = TcpStream::connect(to).await.unwrap().into_split();
        let carry = async |mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf| {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if !swallow.load(Ordering::Relaxed) {
                    to.write_all(&buffer[..n]).await.unwrap();
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(carry(near.0, far.1), carry(far.0, near.1));
    });
    address
}

#[tokio::test]
async fn a_peer_that_is_gone_without_a_word_is_found_by_both() {
    let swallow = Arc::new(AtomicBool::new(false));
    let mut parent = Parent::listen(hasty()).await;
    parent.address = relay(parent.at, swallow.clone()).await;
    let child = member(&parent);
    let mut pair = pair(&mut parent, &child, &hasty()).await;
    swallow.store(true, Ordering::Relaxed);
    let (up, down) = tokio::join!(end_of(&mut pair.parent.1), end_of(&mut pair.child.1));
    assert!(matches!(up, Err(LinkError::Silent { .. })), "{up:?}");
    let failure = down.unwrap_err();
    assert!(matches!(failure, LinkError::Silent { .. }) && failure.is_passing(), "{failure}");
}

#[tokio::test]
async fn sending_to_a_peer_that_takes_nothing_ends_too() {
    let mut parent = Parent::listen(hasty()).await;
    // Takes the bytes of the handshake, then none: the kernel's buffers fill.
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stall = Arc::new(AtomicBool::new(false));
    let (address, to, stalls) = (tcp.local_addr().unwrap(), parent.at, stall.clone());
    tokio::spawn(async move {
        let near = tcp.accept().await.unwrap().0.into_split();
        let far = TcpStream::connect(to).await.unwrap().into_split();
        let carry = async |mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf| {
            let mut buffer = vec![0; 4 << 10];
            while !stalls.load(Ordering::Relaxed) {
                if let Ok(Ok(n)) = tokio::time::timeout(Duration::from_millis(20), from.read(&mut buffer)).await {
                    to.write_all(&buffer[..n]).await.unwrap();
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(carry(near.0, far.1), carry(far.0, near.1));
    });
    parent.address = address.to_string().parse().unwrap();
    let child = member(&parent);
    let pair = pair(&mut parent, &child, &hasty()).await;
    stall.store(true, Ordering::Relaxed);
    let sent = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Err(failure) = pair.child.0.send(vec![0; 4 << 20]).await {
                break failure;
            }
        }
    });
    let failure = sent.await.expect("an end in time");
    assert!(matches!(failure, LinkError::Silent { .. }), "{failure}");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_connection_on() {
    let mut parent = Parent::listen(Limits::default()).await;
    let child = member(&parent);
    let before = child.identity.membership().unwrap().ours.clone();
    connect(&parent.address, &child.identity, Arc::default()).await.unwrap();
    let peer = parent.accept().await.peer;
    // All that the parent needs is what it read from the connection.
    let chain = parent.node.authority.issue(&peer.public_key, &peer.claim, Validity::from(now())).unwrap();
    let ours = child.identity.renew(&chain).unwrap();
    assert_ne!(ours.serial, before.serial);
    connect(&parent.address, &child.identity, Arc::default()).await.unwrap();
    let again = parent.accept().await.peer;
    assert_eq!((again.serial, again.fingerprint), (ours.serial, before.fingerprint));
}

#[tokio::test]
async fn nobody_there_and_nobody_joined_are_told_apart() {
    let node = Node::new();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: Address = tcp.local_addr().unwrap().to_string().parse().unwrap();
    let failure = connect(&address, &node.identity, Arc::default()).await.err().unwrap();
    assert!(matches!(failure, LinkError::NoParent), "{failure}");
    let child = Node::below(&node, Validity::from(now()));
    let mute = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let failure = connect(&address, &child.identity, Arc::new(mute)).await.err().unwrap();
    assert!(matches!(failure, LinkError::Silent { .. }), "{failure}");
    drop(tcp);
    let failure = connect(&address, &child.identity, Arc::default()).await.err().unwrap();
    assert!(matches!(failure, LinkError::Unreachable { .. }), "{failure}");
}

#[tokio::test]
async fn strangers_who_say_nothing_lose_their_place() {
    let limits = Limits { strangers_max: 2, handshake: Duration::from_millis(300), ..Limits::default() };
    let mut parent = Parent::listen(limits).await;
    let child = member(&parent);
    let mut mute = Vec::new();
    for _ in 0..4 {
        mute.push(TcpStream::connect(parent.at).await.unwrap());
    }
    pair(&mut parent, &child, &Limits::default()).await;
}

#[tokio::test]
async fn ticks_that_began_at_different_times_fall_together() {
    let period = Duration::from_millis(80);
    let mut all = Vec::new();
    for _ in 0..20 {
        all.push(in_step(period));
        tokio::time::sleep(Duration::from_micros(1_700)).await;
    }
    let first = all[0].tick().await;
    for ticks in &mut all {
        let (one, next) = (ticks.tick().await, ticks.tick().await);
        // An eighth of the period, and whole periods after one another, whatever was missed.
        assert_eq!(one.duration_since(first).max(first.duration_since(one)).as_nanos() % (period / 8).as_nanos(), 0);
        assert_eq!((next - one).as_nanos() % period.as_nanos(), 0);
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    let reads_back = |text: &str| text.parse::<Address>().unwrap().to_string();
    for good in ["county.example:7443", "10.0.0.1:443", "[::1]:7443"] {
        assert_eq!(reads_back(good), good);
    }
    assert_eq!(reads_back(" 10.0.0.1:443 \n"), "10.0.0.1:443");
    for bad in ["", "county.example", ":1", "a:0", "a:99999", "::1:7443", "https://a:1/", "a b:1", "县局:1"] {
        assert!(matches!(bad.parse::<Address>(), Err(LinkError::Address(_))), "{bad}");
    }
}
