//! Who may join: a code of an open invitation, then a person who compares the fingerprint.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anlan_link::pairing::{Answer, Ask, Door, Refusal};
use anlan_model::Clock as _;
use anlan_store::Claim;
use futures_util::future::BoxFuture;
use tracing::{error, warn};

use crate::App;
use crate::access::real_now;

/// Wrong secrets from one address in [`WITHIN`] until it is heard no more. A wrong secret is of no invitation, so it is counted where it comes from; what
/// guessing is up against is its 128 bits.
const WRONG_MAX: u32 = 5;
const WITHIN: Duration = Duration::from_secs(15 * 60);
/// Addresses whose wrong secrets are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// The door of this node.
pub(super) struct InvitationDoor {
    app: Arc<App>,
    /// Told when a node has claimed an invitation.
    claimed: Arc<dyn Fn() + Send + Sync>,
    wrong: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl InvitationDoor {
    pub(super) fn new(app: Arc<App>, claimed: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self { app, claimed, wrong: Mutex::default() }
    }

    fn may_ask(&self, address: IpAddr) -> bool {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (_, since)| since.elapsed() < WITHIN);
        wrong.get(&address).is_none_or(|(n, _)| *n < WRONG_MAX) && wrong.len() < ADDRESSES_MAX
    }

    fn note_wrong(&self, address: IpAddr) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.entry(address).or_insert((0, Instant::now())).0 += 1;
    }

    async fn decide(&self, ask: Ask) -> Answer {
        let address = ask.address.ip();
        let refused = |reason| Answer::Refused { reason };
        if !self.may_ask(address) {
            return refused(Refusal::TooManyTries);
        }
        let claim = self.app.store.claim_invitation(&ask.secret, ask.node, &ask.public_key, real_now(), self.app.clock.now()).await;
        match claim {
            Ok(Claim::Held(invitation)) => {
                (self.claimed)();
                match invitation.certificate {
                    Some(chain) => Answer::Granted { chain },
                    None => Answer::Wait,
                }
            }
            Ok(Claim::Unknown) => {
                self.note_wrong(address);
                warn!(%address, node.id = %ask.node, "a node asks to join with a code that is of no open invitation");
                refused(Refusal::WrongSecret)
            }
            Ok(Claim::Expired) => refused(Refusal::Expired),
            Ok(Claim::Spent) => refused(Refusal::TooManyTries),
            Ok(Claim::Taken) => refused(Refusal::Used),
            Err(failure) => {
                error!(error = &failure as &dyn std::error::Error, "the database does not say who may join");
                refused(Refusal::Internal)
            }
        }
    }
}

impl Door for InvitationDoor {
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Answer> {
        Box::pin(self.decide(ask))
    }
}
