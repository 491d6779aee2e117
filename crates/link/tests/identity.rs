//! Keys, ids and certificates on the disk.
#![cfg(feature = "net")]

mod common;

use std::os::unix::fs::PermissionsExt as _;

use anlan_link::identity::{Authority, CertificateError, ChainError, Identity, IdentityError, Named, Validity, fingerprint, requested_key};
use anlan_model::{NodeId, NodeLevel, Timestamp};
use common::{Node, claim, now};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const DAY_US: i64 = 86_400_000_000;

fn first(chain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
}

#[test]
fn a_node_is_the_same_after_a_restart() {
    let parent = Node::new();
    let node = Node::below(&parent, Validity::from(now()));
    let identity = Identity::open(node.dir.path()).unwrap();
    assert_eq!(identity.id(), node.identity.id());
    assert_eq!(identity.fingerprint(), node.identity.fingerprint());
    assert_eq!(identity.fingerprint(), fingerprint(&identity.public_key()));
    assert_eq!(identity.membership().unwrap().ours, node.identity.membership().unwrap().ours);
    let authority = Authority::open(node.dir.path(), identity.id(), now()).unwrap();
    assert_eq!(authority.fingerprint(), node.authority.fingerprint());
    identity.leave().unwrap();
    identity.leave().unwrap();
    assert!(Identity::open(node.dir.path()).unwrap().membership().is_none());
}

#[test]
fn nobody_else_reads_what_is_secret() {
    let parent = Node::new();
    let node = Node::below(&parent, Validity::from(now()));
    let dir = node.dir.path().join("link");
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    let mut names: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap()).collect();
    names.sort_by_key(|e| e.file_name());
    assert!(names.iter().all(|e| mode(&e.path()) == 0o600));
    let names: Vec<_> = names.iter().map(|e| e.file_name().into_string().unwrap()).collect();
    assert_eq!(names, ["authority.pem", "id", "node.key", "parent.pem"]);
}

#[test]
fn a_lost_key_is_told_and_a_damaged_one_named() {
    let node = Node::new();
    let key = node.dir.path().join("link/node.key");
    std::fs::write(&key, "-----BEGIN").unwrap();
    let failure = Identity::open(node.dir.path()).unwrap_err();
    assert!(matches!(&failure, IdentityError::Damaged { path, .. } if *path == key), "{failure}");
    std::fs::remove_file(&key).unwrap();
    let failure = Identity::open(node.dir.path()).unwrap_err();
    assert!(matches!(&failure, IdentityError::Lost { path } if *path == key), "{failure}");
    // A stop between key and id leaves a key that nobody has seen: it is taken.
    let node = Node::new();
    std::fs::remove_file(node.dir.path().join("link/id")).unwrap();
    assert_eq!(Identity::open(node.dir.path()).unwrap().fingerprint(), node.identity.fingerprint());
}

#[test]
fn a_certificate_reads_back_what_was_issued() {
    let (parent, child) = (Node::new(), Node::new());
    let issued = Timestamp::from_secs(now().micros() / 1_000_000);
    let (mut sparse, id) = (claim(child.identity.id()), child.identity.id());
    sparse.level = NodeLevel::Enterprise;
    (sparse.region, sparse.enterprise, sparse.name) = (None, None, String::new());
    for claim in [claim(id), sparse] {
        let chain = parent.authority.issue(&child.identity.public_key(), &claim, Validity::from(issued)).unwrap();
        let named = Named::read(&first(&chain)).unwrap();
        assert_eq!(named.claim, claim);
        assert_eq!(named.fingerprint, child.identity.fingerprint());
        assert_eq!(named.public_key, child.identity.public_key());
        assert_eq!(named.issued, issued);
        assert_eq!(named.not_after, issued.plus_us(90 * DAY_US));
        assert!((24..=32).contains(&named.serial.len()), "{}", named.serial);
    }
}

#[test]
fn no_two_certificates_have_one_serial_number() {
    let node = Node::new();
    let serial = || {
        let chain = node.authority.issue(&node.identity.public_key(), &claim(node.identity.id()), Validity::from(now()));
        Named::read(&first(&chain.unwrap())).unwrap().serial
    };
    assert_ne!(serial(), serial());
}

#[test]
fn renewal_is_due_at_two_thirds() {
    let (parent, child) = (Node::new(), Node::new());
    let issued = Timestamp::from_secs(1_800_000_000);
    let chain = parent.authority.issue(&child.identity.public_key(), &claim(child.identity.id()), Validity::from(issued)).unwrap();
    let named = Named::read(&first(&chain)).unwrap();
    assert_eq!(named.renew_at(), issued.plus_us(60 * DAY_US));
    assert!(!named.is_due(issued.plus_us(60 * DAY_US - 1)));
    assert!(named.is_due(issued.plus_us(60 * DAY_US)));
    assert!(!named.is_due(Timestamp::from_secs(0)), "a box without a clock does not know");
}

#[test]
fn a_chain_for_somebody_else_is_not_taken() {
    let (parent, other, child) = (Node::new(), Node::new(), Node::new());
    let key = child.identity.public_key();
    let of = |node: &Node, key: &[u8], id| node.authority.issue(key, &claim(id), Validity::from(now())).unwrap();
    let (id, authority) = (child.identity.id(), parent.authority.fingerprint());
    let check = |chain: &str, want| assert_eq!(child.identity.join(chain, &authority).unwrap_err(), want);
    check("", ChainError::Shape);
    check(&"x".repeat(1 << 20), ChainError::Shape);
    check(&of(&other, &key, id), ChainError::Authority);
    check(&of(&parent, &other.identity.public_key(), id), ChainError::NotOurs);
    check(&of(&parent, &key, other.identity.id()), ChainError::NotOurs);
    // The other's certificate with the parent's authority behind it.
    let (good, foreign) = (of(&parent, &key, id), of(&other, &key, id));
    let second = |chain: &str| chain[chain.rfind("-----BEGIN").unwrap()..].to_owned();
    let mixed = foreign.replace(&second(&foreign), &second(&good));
    check(&mixed, ChainError::Authority);
    assert!(child.identity.membership().is_none());
    assert_eq!(child.identity.renew(&good).unwrap_err(), ChainError::Authority, "no parent yet");
    child.identity.join(&good, &authority).unwrap();
    assert_eq!(child.identity.renew(&foreign).unwrap_err(), ChainError::Authority);
    assert_eq!(child.identity.membership().unwrap().authority, authority);
}

#[test]
fn a_request_proves_its_key() {
    let (node, other) = (Node::new(), Node::new());
    let request = node.identity.request().unwrap();
    assert_eq!(requested_key(&request, node.identity.id()), Some(node.identity.public_key()));
    assert_eq!(requested_key(&request, other.identity.id()), None, "of another node");
    assert_eq!(requested_key("", node.identity.id()), None);
    // A changed byte breaks the form or the signature, or stands outside of what is signed; never is it another key's request.
    let der = rustls::pki_types::CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap().to_vec();
    let mut n_taken = 0;
    for at in 0..der.len() {
        let mut changed = der.clone();
        changed[at] ^= 0x04;
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", base64(&changed));
        let key = requested_key(&pem, node.identity.id());
        assert!(key.is_none() || key == Some(node.identity.public_key()), "byte {at}");
        n_taken += usize::from(key.is_some());
    }
    assert!(n_taken < 4, "{n_taken} of {}", der.len());
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bytes.chunks(3).fold(String::new(), |mut text, three| {
        let number = three.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        let digit = |i: usize| char::from(DIGITS[(number >> (18 - 6 * i)) as usize & 63]);
        text.extend((0..4).map(|i| if i <= three.len() { digit(i) } else { '=' }));
        text
    })
}

#[test]
fn what_cannot_be_certified_is_refused() {
    let node = Node::new();
    let (id, key) = (node.identity.id(), node.identity.public_key());
    let mut long = claim(id);
    long.name = "县".repeat(201);
    assert!(node.authority.issue(&key, &long, Validity::from(now())).is_err());
    assert!(node.authority.issue(&[], &claim(id), Validity::from(now())).is_err());
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let public = rcgen::PublicKeyData::subject_public_key_info(&ed25519);
    assert!(node.authority.issue(&public, &claim(id), Validity::from(now())).is_err());
}

#[test]
fn certificates_of_strangers_are_read_without_panic() {
    let node = Node::new();
    let chain = node.authority.issue(&node.identity.public_key(), &claim(node.identity.id()), Validity::from(now())).unwrap();
    let der = first(&chain).to_vec();
    for at in 0..der.len() {
        let _ = Named::read(&der[..at]);
        for flip in [0x01, 0x20, 0x80] {
            let mut changed = der.clone();
            changed[at] ^= flip;
            let _ = Named::read(&changed);
        }
    }
    assert_eq!(Named::read(b""), Err(CertificateError::Unreadable));
    let plain = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    assert_eq!(Named::read(plain.cert.der()), Err(CertificateError::Nameless));
}

#[test]
fn a_name_that_cannot_be_read_is_said_to_be_so() {
    let read = |uris: &[&str]| {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = uris.iter().map(|uri| rcgen::SanType::URI((*uri).try_into().unwrap())).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        Named::read(params.self_signed(&key).unwrap().der()).map(|named| named.claim.id)
    };
    let id = "0199f3c27f007abc8def0123456789ab";
    let good = format!("anlan://node/{id}?level=county&issued=1&later=word");
    assert_eq!(read(&[&good, "https://example.invalid/"]), Ok(id.parse::<NodeId>().unwrap()), "unknown words are left alone");
    assert_eq!(read(&[&good, &good]), Err(CertificateError::Nameless));
    assert_eq!(read(&[&good.replace("county", "duchy")]), Err(CertificateError::Part("level")));
    assert_eq!(read(&[&good.replace("issued=1", "region=5x")]), Err(CertificateError::Part("region")));
    assert_eq!(read(&[&good.replace("issued=1", "issued=-1")]), Err(CertificateError::Part("issued")));
    assert_eq!(read(&[&good.replace("0199", "x")]), Err(CertificateError::Part("id")));
    assert_eq!(read(&["anlan://node/"]), Err(CertificateError::Part("level")));
}
