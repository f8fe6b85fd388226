//! Mandates: a person hands an agent a narrowed authority, the agent hands on less, tokens are short leases on it, and ending
//! something ends everything below it.
//!
//! - The order of everything that gives: who calls → what they hold lives → the rules of `delegation` → remembered, pending →
//!   on record, durably → alive → signed → answered. Where one step fails, nothing is given.
//! - The order of everything that takes: the memory and the live set first, then the record, then the answer. Where the
//!   record fails, what was taken stays taken, and the call says that it failed.
//! - Who calls is the connection's certificate or the person's session, never a field ([`By`]).
//! - No token's text is in a record, an error or a log.

mod caller;
mod delegate;
mod inspect;
mod list;
mod permission;
mod refusal;
mod revoke;
mod task;
mod token;
mod witness;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::timeout_at;

use super::check::Authority;
use super::rules::Rules;
use super::session::Sessions;
use crate::audit::{AuditError, Record};
use crate::delegation::{Audience, Basis};
use crate::keys::{Keyring, Signer, Verifier};
use crate::permission::PermissionSet;
use crate::policy::Deadline;
use crate::state::{Begun, Limits, Request, Standing, StateStore};

pub use caller::By;
pub use delegate::{Delegated, Delegation, Delivery, Parent};
pub use inspect::{Shown, TokenFacts};
pub use list::{GrantSeen, Listing, Page};
pub use permission::{PermissionResult, Permitted, Question as PermissionQuestion, Subject};
pub use refusal::{MandateRefusal, TokenFault};
pub use revoke::{RevokeGrant, RevokeTask};
pub use task::NewTask;
pub use token::{Issued, Mint};

/// Hands authority on and takes it back.
pub struct Mandates {
    authority: Arc<Authority>,
    sessions: Arc<Sessions>,
    store: Arc<dyn StateStore>,
    signer: Signer,
    verifier: Verifier,
    rng: Mutex<StdRng>,
}

/// One call: who makes it, until when an answer is wanted, and by which name it is known when it comes again.
#[derive(Debug)]
pub struct Call {
    /// Who makes it.
    pub by: By,
    /// Until when an answer is wanted.
    pub deadline: Deadline,
    /// Its name (AIP-155).
    pub once: Option<Once>,
}

/// A call that may come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// The caller's id for it.
    pub id: String,
    /// A digest of everything else that was asked, the method included.
    pub digest: [u8; 32],
}

/// How long a call may take.
pub const LONGEST_MANDATE_CALL: Duration = Duration::from_secs(8);
/// Live tokens for one task, of all its agents together.
const MOST_TOKENS: u32 = 256;
/// How long undoing may take after the time of the call was over.
const UNDOING: Duration = Duration::from_secs(1);
/// Bytes of tokens whose signature is remembered here.
const ROOM: u64 = 1024 * 1024;

impl Mandates {
    /// Mandates for the people of `sessions`, kept in `store`, signed with the keys of `keyring`. `rng` makes ids.
    pub fn new(
        authority: Arc<Authority>,
        sessions: Arc<Sessions>,
        store: Arc<dyn StateStore>,
        keyring: Arc<Keyring>,
        rng: StdRng,
    ) -> Self {
        Self {
            authority,
            sessions,
            store,
            signer: Signer::new(Arc::clone(&keyring)),
            verifier: Verifier::new(keyring, ROOM),
            rng: Mutex::new(rng),
        }
    }

    /// Within the time of a call, and a little more in which what was begun is undone.
    async fn within<T>(
        call: &Call,
        work: impl Future<Output = Result<T, MandateRefusal>>,
    ) -> Result<T, MandateRefusal> {
        timeout_at(call.deadline.at + UNDOING, work).await?
    }

    /// Who we are in tokens.
    fn issuer(rules: &Rules) -> Result<&Audience, MandateRefusal> {
        let issuer = rules.delegation.limits.issuer.as_ref();
        issuer.ok_or_else(|| MandateRefusal::unavailable(NoIssuer))
    }

    /// How much may rest on one parent.
    fn limits(rules: &Rules) -> Limits {
        Limits {
            fanout: rules.delegation.limits.max_fanout,
            leases: MOST_TOKENS,
        }
    }

    /// What makes a call recognisable when it comes again.
    fn request(call: &Call, caller: &caller::Caller) -> Option<Request> {
        let Once { id, digest } = call.once.clone()?;
        Some(Request {
            caller: caller.name(),
            id,
            digest,
        })
    }

    /// Whether everything of `standing` lives, its person included.
    fn lives(&self, rules: &Rules, standing: &Standing) -> bool {
        let now = self.authority.clock.now();
        standing.living(now).is_ok() && rules.knows(&standing.session)
    }

    /// Puts what is about to take effect on record, durably, while there is time left to say that it failed; what was begun
    /// is undone then.
    async fn witness(
        &self,
        call: &Call,
        begun: Option<Begun>,
        records: Vec<Record>,
    ) -> Result<(), MandateRefusal> {
        let audit = &self.authority.audit;
        // One wait for all of them, in their order.
        let all = futures::future::try_join_all(records.into_iter().map(|it| audit.commit(it)));
        let until = call.deadline.sparing_a_quarter().at;
        let failed = match timeout_at(until, all).await {
            Ok(Ok(_ids)) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_elapsed) => AuditError::Late,
        };
        if let Some(begun) = begun {
            let undone = tokio::time::timeout(UNDOING, self.store.abandon(begun)).await;
            if let Ok(Err(error)) = undone {
                tracing::warn!(%error, "what was begun could not be undone; nothing rests on it");
            }
        }
        Err(failed.into())
    }

    /// Records a refusal, as durably as refusals are recorded.
    async fn note(&self, call: &Call, record: Record) -> Result<(), MandateRefusal> {
        let settled = self.authority.audit.settle(record, call.deadline.at);
        Ok(settled.await?)
    }

    /// Drawn whole: what a panicked thread left is sound.
    fn random<T>(&self) -> T
    where
        rand::distr::StandardUniform: rand::distr::Distribution<T>,
    {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random()
    }
}

/// What a delegation or a token starts from.
fn basis<'a>(standing: &'a Standing, role: &'a PermissionSet) -> Basis<'a> {
    Basis {
        session: &standing.session,
        role,
        grant: standing.grants.last().zip(standing.tasks.last()),
    }
}

/// What the role of the session permits at this moment; nothing where there is no such role any more.
fn role(rules: &Rules, standing: &Standing) -> PermissionSet {
    let role = rules.roles.permissions(&standing.session.role);
    role.cloned().unwrap_or_else(|| [].into_iter().collect())
}

/// The configuration no longer says who we are.
#[derive(Debug, thiserror::Error)]
#[error("delegation.issuer is not configured")]
struct NoIssuer;

impl fmt::Debug for Mandates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mandates").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
