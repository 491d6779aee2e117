//! How a node joins, over real sockets on loopback.
#![cfg(feature = "net")]

mod common;

use std::time::Duration;

use anlan_link::identity::ChainError;
use anlan_link::pairing::{Answer, Asked, Introduction, PairingCode, Progress, Refusal, ask, join};
use anlan_link::transport::{Limits, LinkError, connect};
use common::{Node, Parent, claim, rude};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

async fn ask_once(parent: &Parent, code: &PairingCode, child: &Node) -> Result<Asked, LinkError> {
    ask(&introduction(parent, code), &child.identity, &Limits::default()).await
}

fn introduction(parent: &Parent, code: &PairingCode) -> Introduction {
    Introduction {
        address: parent.address.clone(), code: code.clone(), name: "化工园 1 号网关".to_owned(), software: "0.1.0".to_owned()
    }
}

fn refused(outcome: Result<Asked, LinkError>) -> Refusal {
    match outcome {
        Err(LinkError::Refused { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_with_the_code_joins_once_the_operator_confirms_and_then_connects() {
    let mut parent = Parent::listen(Limits::default()).await;
    let (child, code) = (Node::new(), parent.invite());
    // As a person types it.
    let code: PairingCode = code.to_string().to_lowercase().replace('-', " ").parse().unwrap();
    let (door, mut n_waited) = (parent.door.clone(), 0);
    let told = |progress: Progress<'_>| {
        assert!(matches!(progress, Progress::Waiting(_)), "{progress:?}");
        n_waited += 1;
        door.invitation.lock().unwrap().is_confirmed = n_waited == 2;
    };
    let every = Duration::from_millis(10);
    let limits = Limits::default();
    let joined = join(&introduction(&parent, &code), &child.identity, &limits, every, told).await;
    let (named_parent, ours) = joined.unwrap();
    assert_eq!(n_waited, 2);
    assert_eq!(named_parent.claim, claim(parent.node.identity.id()));
    assert_eq!(ours.claim, claim(child.identity.id()));
    let asks = std::mem::take(&mut parent.door.invitation.lock().unwrap().asks);
    assert_eq!(asks.len(), 3);
    let seen = &asks[0];
    assert_eq!((seen.node, seen.name.as_str(), seen.software.as_str()), (child.identity.id(), "化工园 1 号网关", "0.1.0"));
    assert_eq!(seen.fingerprint, child.identity.fingerprint(), "what the operator compares");
    let connection = connect(&parent.address, &child.identity, Default::default()).await.unwrap();
    assert_eq!(connection.peer, named_parent);
    assert_eq!(parent.accept().await.peer, ours);
}

#[tokio::test]
async fn a_node_of_another_authority_does_not_hear_the_secret() {
    let (parent, other) = (Parent::listen(Limits::default()).await, Node::new());
    let (child, code) = (Node::new(), parent.invite());
    let wrong = PairingCode { authority: other.authority.fingerprint(), ..code };
    let failure = ask_once(&parent, &wrong, &child).await.unwrap_err();
    assert!(matches!(failure, LinkError::ForeignAuthority { .. }), "{failure}");
    let invitation = parent.door.invitation.lock().unwrap();
    assert!(invitation.asks.is_empty() && invitation.n_tries == 0);
}

#[tokio::test]
async fn wrong_secrets_are_counted_and_change_nothing() {
    let parent = Parent::listen(Limits::default()).await;
    let (child, code) = (Node::new(), parent.invite());
    let wrong = PairingCode { secret: [7; 16], ..code.clone() };
    for _ in 0..5 {
        assert_eq!(refused(ask_once(&parent, &wrong, &child).await), Refusal::WrongSecret);
    }
    assert_eq!(refused(ask_once(&parent, &wrong, &child).await), Refusal::TooManyTries);
    assert_eq!(parent.door.invitation.lock().unwrap().n_tries, 6);
    assert!(child.identity.membership().is_none());
    assert!(matches!(ask_once(&parent, &code, &child).await, Ok(Asked::Waiting(_))));
}

#[tokio::test]
async fn a_certificate_for_another_key_is_not_taken() {
    let parent = Parent::listen(Limits::default()).await;
    let (child, thief, code) = (Node::new(), Node::new(), parent.invite());
    parent.door.invitation.lock().unwrap().is_confirmed = true;
    // Somebody asks under the child's id with a key of its own: it is not his request.
    let request = thief.identity.request().unwrap();
    let secret: String = code.secret.iter().map(|b| format!("{b:02x}")).collect();
    let question = serde_json::json!({"secret": secret, "node": child.identity.id().to_string(), "request": request});
    let refused = Answer::Refused { reason: Refusal::Malformed };
    assert_eq!(say(&parent, &question.to_string()).await, Some(refused.clone()));
    for nonsense in ["", "{}", "[1]", "\u{0}", &question.to_string().replace(&secret, "zz"), &question.to_string().replace("request", "r")]
    {
        assert_eq!(say(&parent, nonsense).await, Some(refused.clone()), "{nonsense}");
    }
    assert!(parent.door.invitation.lock().unwrap().asks.is_empty());
    // And what he gets is of no use to the child.
    assert!(matches!(ask_once(&parent, &code, &thief).await, Ok(Asked::Joined { .. })));
    let chain = std::fs::read_to_string(thief.dir.path().join("link/parent.pem")).unwrap();
    assert_eq!(child.identity.join(&chain, &code.authority).unwrap_err(), ChainError::NotOurs);
}

#[tokio::test]
async fn a_stranger_cannot_make_the_parent_hold_much() {
    let parent = Parent::listen(Limits::default()).await;
    assert_eq!(say(&parent, &"x".repeat(17 << 10)).await, None);
    let mut binary = rude(parent.at, "/pair", None).await.unwrap();
    binary.send(Message::Binary(vec![0; 10].into())).await.unwrap();
    assert!(!matches!(binary.next().await, Some(Ok(Message::Text(_)))));
}

/// Says `text` without a certificate, and hears.
async fn say(parent: &Parent, text: &str) -> Option<Answer> {
    let mut socket = rude(parent.at, "/pair", None).await.unwrap();
    let _ = socket.send(Message::Text(text.into())).await;
    match socket.next().await? {
        Ok(Message::Text(answer)) => Some(serde_json::from_str(&answer).unwrap()),
        _ => None,
    }
}

/// The files are what releases in the field say; they are never changed, only added to.
#[tokio::test]
async fn questions_and_answers_of_the_first_release_are_understood() {
    let parent = Parent::listen(Limits::default()).await;
    parent.invite();
    parent.door.invitation.lock().unwrap().secret_hash = PairingCode::secret_hash(&std::array::from_fn(|i| i as u8));
    assert_eq!(say(&parent, include_str!("data/pairing_question_1.json")).await, Some(Answer::Wait));
    let asks = std::mem::take(&mut parent.door.invitation.lock().unwrap().asks);
    assert_eq!(asks[0].node.to_string(), "0199f3c27f007abc8def0123456789ab");
    assert_eq!(asks[0].fingerprint, include_str!("data/pairing_question_1.fingerprint").trim());
    let answers: Vec<Answer> = serde_json::from_str(include_str!("data/pairing_answers_1.json")).unwrap();
    let chain = "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n".to_owned();
    let refused = |reason| Answer::Refused { reason };
    use Refusal::{Declined, Expired, Internal, Malformed, Other, TooManyTries, Used, WrongSecret};
    let mut want = vec![Answer::Wait, Answer::Granted { chain }];
    want.extend([WrongSecret, Expired, Used, TooManyTries, Declined, Malformed, Internal, Other].map(refused));
    assert_eq!(answers, want);
}
