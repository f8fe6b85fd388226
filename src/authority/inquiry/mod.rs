//! An operation that is asked about in words: who would do what to what. There is no request and no route.
//!
//! Who may ask, and which operation it is, is found out here; from then on the decision is the one that a Check of
//! Envoy gets. A peer that may not name callers may ask about itself. Whatever is malformed is a denial on record that
//! names it.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::Attempt;
use super::check::{Authority, end_of, unidentified, weigh};
use super::decision::{Denial, Permit};
use super::findings::{Findings, Named};
use super::given::{ContextProblem, GivenContext};
use super::provider::AuthzDecision;
use super::rules::Rules;
use crate::clock::Timestamp;
use crate::identity::{Asker, Peer, SpiffeId};
use crate::permission::{Action, Reason, Resource};
use crate::policy::{Context, Deadline, Input, Query, Terms};
use crate::text::sentence;

/// How long a decision may take where neither the asker nor the engine has a limit of its own.
pub const INQUIRY_TIME: Duration = Duration::from_secs(5);

/// The most that an engine's own limit can make of it: sooner than listeners end calls of any kind.
pub const LONGEST_INQUIRY: Duration = Duration::from_secs(9);

/// A question about an operation, as it was put. Nothing here is trusted.
#[derive(Debug)]
pub struct Inquiry<'a> {
    /// Who asks: the peer of the connection, or `None` for code in this process, which may name any caller.
    pub peer: Option<Peer>,
    /// SPIFFE ID of who would do it; empty for the peer itself.
    pub caller: &'a str,
    /// To what: a path of segments, or a SPIFFE ID.
    pub resource: &'a str,
    /// What would be done.
    pub action: &'a str,
    /// What policy shall see as context, or why it can't.
    pub context: Result<GivenContext, ContextProblem>,
}

impl Authority {
    /// Decides an inquiry before `deadline` and records the decision.
    pub async fn inquire(&self, inquiry: &Inquiry<'_>, deadline: Deadline) -> AuthzDecision {
        let mut attempt = Attempt::new(self, inquiry.peer.as_ref(), None);
        let rules = self.rules();
        let now = attempt.now();
        let outcome = self
            .judge_inquiry(
                &rules,
                inquiry,
                now,
                self.judging(deadline),
                &mut attempt.findings,
            )
            .await;
        let (decision, findings) = attempt.finish(outcome, deadline.at).await;
        AuthzDecision::told(&decision, &findings)
    }

    /// Whether `peer` may inquire at all, be it about itself, before anything it sends is looked at.
    pub fn admit_inquiry(&self, peer: &Peer) -> Result<(), Denial> {
        asker(&self.rules(), peer, self.clock.now()).map(|_asker| ())
    }

    async fn judge_inquiry(
        &self,
        rules: &Rules,
        inquiry: &Inquiry<'_>,
        now: Timestamp,
        deadline: Deadline,
        found: &mut Findings,
    ) -> Result<Permit, Denial> {
        let peer = inquiry.peer.as_ref();
        found.asker = peer.map(|peer| asker(rules, peer, now)).transpose()?;
        if let Some(Asker::Itself(id)) = &found.asker {
            found.caller = Some(id.clone());
        }
        // Both are read before either may refuse, so that the record says what was asked.
        let caller = caller(rules, inquiry, found.asker.as_ref());
        let operation = operation(inquiry);
        found.operation = operation.as_ref().ok().map(Wanted::named);
        let caller = caller?;
        found.caller = Some(caller.clone());
        let Wanted {
            resource,
            action,
            target,
        } = operation?;
        let context = inquiry.context.clone().map_err(|error| malformed(&error))?;

        let structural = weigh(rules, &caller, &resource, &action, found);
        let query = structural.refusal().is_none().then(|| {
            let terms = terms(peer, &caller, now);
            let input = Input {
                caller: caller.clone(),
                target,
                mandate: None,
                action,
                resource,
                tier: structural.tier(),
                timestamp: now,
                context: Context {
                    given: context.into_members(),
                    ..Context::default()
                },
                request: None,
                envoy: None,
            };
            Query {
                input: Arc::new(input),
                deadline,
                terms,
            }
        });
        self.rule(structural, caller, query, found).await
    }
}

/// The operation that is asked about.
struct Wanted {
    resource: Resource,
    action: Action,
    /// The resource, where that is a workload.
    target: Option<SpiffeId>,
}

impl Wanted {
    fn named(&self) -> Named {
        Named {
            resource: self.resource.clone(),
            action: self.action.clone(),
            target: None,
            route: None,
        }
    }
}

fn asker(rules: &Rules, peer: &Peer, now: Timestamp) -> Result<Asker, Denial> {
    let judged = rules.peps.judge_asker(peer, now);
    judged.map_err(|error| Denial::because(Reason::UntrustedPeer, error))
}

/// The caller that is named, or the peer itself.
fn caller(rules: &Rules, inquiry: &Inquiry<'_>, asker: Option<&Asker>) -> Result<SpiffeId, Denial> {
    let named = inquiry.caller;
    match (asker, &inquiry.peer) {
        (Some(Asker::Itself(id)), _) if named.is_empty() || named == id.as_str() => Ok(id.clone()),
        (Some(Asker::Itself(id)), _) => {
            let detail =
                format!("`{id}` is not one of identity.peps and may ask about itself only");
            Err(Denial::because(Reason::UntrustedPeer, detail))
        }
        (Some(Asker::Pep(_)), Some(Peer::Mesh(peer))) if named.is_empty() => {
            Ok(peer.svid.id.clone())
        }
        (Some(Asker::Pep(_)) | None, _) if named.is_empty() => {
            let detail = "`caller` is empty and whoever asks has no SPIFFE ID of its own";
            Err(Denial::because(Reason::NoIdentity, detail))
        }
        (Some(Asker::Pep(_)) | None, _) => rules
            .identifier
            .named(named)
            .map_err(|error| unidentified(&error)),
    }
}

/// An answer about the peer itself rests on the certificate that it showed; one about others, on their names alone.
fn terms(peer: Option<&Peer>, caller: &SpiffeId, now: Timestamp) -> Terms {
    let not_after = match peer {
        Some(Peer::Mesh(peer)) if peer.svid.id == *caller => end_of(&peer.svid, now),
        _ => None,
    };
    Terms {
        ttl: None,
        not_after,
    }
}

fn operation(inquiry: &Inquiry<'_>) -> Result<Wanted, Denial> {
    bounded("resource", inquiry.resource, MAX_RESOURCE)?;
    bounded("action", inquiry.action, MAX_ACTION)?;
    let action = inquiry.action.parse().map_err(|error| malformed(&error))?;
    if !inquiry.resource.starts_with("spiffe://") {
        let resource = inquiry
            .resource
            .parse()
            .map_err(|error| malformed(&error))?;
        return Ok(Wanted {
            resource,
            action,
            target: None,
        });
    }
    let target: SpiffeId = inquiry
        .resource
        .parse()
        .map_err(|error| malformed(&error))?;
    Ok(Wanted {
        resource: Resource::from(&target),
        action,
        target: Some(target),
    })
}

/// Names are copied into records, input and answers: long ones are refused before.
fn bounded(field: &str, text: &str, most: usize) -> Result<(), Denial> {
    if text.is_empty() {
        let detail = format!("`{field}` is empty");
        return Err(Denial::because(Reason::BadRequest, detail));
    }
    if text.len() > most {
        let detail = format!("`{field}` is longer than {most} bytes");
        return Err(Denial::because(Reason::BadRequest, detail));
    }
    Ok(())
}

fn malformed(error: &dyn std::error::Error) -> Denial {
    Denial::because(Reason::BadRequest, sentence(error))
}

/// Bytes of a resource, as of a SPIFFE ID.
const MAX_RESOURCE: usize = 2048;
/// Bytes of an action.
const MAX_ACTION: usize = 256;

#[cfg(test)]
mod tests;
