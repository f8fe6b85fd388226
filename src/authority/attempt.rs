//! A request under decision, from its first look to its record. Whatever happens to it, it leaves exactly one record.
//!
//! In strict mode (`audit.mode`) a decision is told only once its record is durable. One that is not durable in time is
//! replaced by a denial, `audit_unavailable`, that binds in shadow mode too; the denial's own record waits for nobody. Where
//! the first record was already on its way, both stand in the trail under one `decision_id`, and the later one holds.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::check::Authority;
use super::decision::{Decision, DecisionId, Denial, Outcome, Permit};
use super::findings::Findings;
use super::question::Question;
use crate::audit::{
    self, Actor, AuditError, Destination, Detail, Details, EventType, Http, Policy, Record, Source,
    Subject, Text,
};
use crate::clock::Timestamp;
use crate::delegation::Mandate;
use crate::delegation::token::Claims;
use crate::identity::{Asker, Peer};
use crate::operation::Mode;
use crate::permission::{Reason, Standing};
use crate::policy::Shaping;
use crate::text::sentence;

/// A request under decision. Dropped unfinished, it records that the proxy went away.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) findings: Findings,
    authority: &'a Authority,
    peer: Option<&'a Peer>,
    /// The request, where there is one and it could be read.
    question: Option<&'a Question<'a>>,
    id: DecisionId,
    now: Timestamp,
    started: Instant,
    finished: bool,
}

impl<'a> Attempt<'a> {
    /// Begins with whoever asks, `None` for this process itself, and the request, if there is one.
    pub(super) fn new(
        authority: &'a Authority,
        peer: Option<&'a Peer>,
        question: Option<&'a Question<'a>>,
    ) -> Self {
        let now = authority.clock.now();
        let destination = question
            .and_then(|it| it.destination)
            .and_then(|principal| principal.parse().ok());
        Self {
            findings: Findings {
                destination,
                ..Findings::default()
            },
            authority,
            peer,
            question,
            id: decision_id(now),
            now,
            started: Instant::now(),
            finished: false,
        }
    }

    /// When the request came; the time that everything about it is judged by.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Records the decision, until `until` at most where it waits for that, then gives it out.
    pub(super) async fn finish(
        mut self,
        outcome: Result<Permit, Denial>,
        until: Instant,
    ) -> (Decision, Findings) {
        let mut decision = Decision {
            id: self.id,
            shaping: self.shaping(&outcome),
            outcome: match outcome {
                Ok(permit) => Outcome::Allow(permit),
                Err(denial) => Outcome::Deny(denial),
            },
            tier: self.findings.tier,
            mode: self.findings.mode,
            mandate: self.findings.mandate.clone(),
        };
        let record = self.record(&decision, Some(self.started.elapsed()));
        if let Err(error) = self.authority.audit.settle(record, until).await {
            decision = unrecorded(&decision, &error);
            let record = self.record(&decision, Some(self.started.elapsed()));
            self.authority.audit.record(record);
        }
        self.finished = true;
        let took = self.started.elapsed();
        self.authority.metrics.decided(&decision, took);
        (decision, std::mem::take(&mut self.findings))
    }

    /// What policy asked for was meant for its own answer, not for a refusal by somebody else.
    fn shaping(&self, outcome: &Result<Permit, Denial>) -> Option<Arc<Shaping>> {
        let verdict = self.findings.verdict.as_ref()?;
        let is_its_own = match outcome {
            Ok(_) => true,
            Err(denial) => denial.reason == Reason::PolicyDenied,
        };
        verdict.shaping.clone().filter(|_| is_its_own)
    }

    fn record(&self, decision: &Decision, took: Option<Duration>) -> Record {
        let Findings {
            asker,
            host,
            path,
            destination,
            operation,
            mandate,
            presented,
            verdict,
            ..
        } = &self.findings;
        let (event, result) = match &decision.outcome {
            Outcome::Allow(_) => (EventType::PermissionCheck, audit::Outcome::Allowed),
            Outcome::Deny(denial) if denial.reason == Reason::ApprovalRequired => {
                (EventType::PermissionCheck, audit::Outcome::Supervised)
            }
            Outcome::Deny(_) => (EventType::PermissionDenied, audit::Outcome::Denied),
        };
        let denial = match &decision.outcome {
            Outcome::Allow(_) => None,
            Outcome::Deny(denial) => Some(denial),
        };
        let http = self.question.and_then(|it| it.http.as_ref());
        let policy_words = verdict.as_ref().and_then(|it| it.reason.as_deref());
        let shadowed = decision.mode == Mode::Shadow;
        Record {
            subject: mandate.as_ref().map(subject),
            delegation_chain: mandate.as_ref().map(chain).unwrap_or_default(),
            mandate: presented.as_deref().map(|it| Box::new(used(it))),
            audience: presented
                .as_ref()
                .map(|it| Text::from(it.audience.as_str())),
            action: operation.as_ref().map(|it| it.action.clone()),
            resource: operation.as_ref().map(|it| it.resource.clone()),
            target: operation.as_ref().and_then(|it| it.target.clone()),
            tier: decision.tier,
            reason_code: denial.map(|it| it.reason),
            message: denial
                .and_then(|it| it.detail.as_deref())
                .or(policy_words)
                .map(Text::from),
            policy: self.policy(),
            decision_id: Some(Text::from(self.id.text())),
            http: http.map(|http| Http {
                // A host that was not accepted may hold credentials (`user:password@host`).
                host: Text::from(host.as_deref().unwrap_or_default()),
                method: Text::from(http.method),
                path: Text::from(without_parameters(path.as_deref().unwrap_or(http.target))),
                protocol: if http.is_grpc() {
                    audit::Protocol::Grpc
                } else {
                    audit::Protocol::Http
                },
                route: operation
                    .as_ref()
                    .and_then(|it| it.route.as_deref())
                    .map(Text::from),
            }),
            request_id: http
                .and_then(|http| http.headers.single("x-request-id").ok().flatten())
                .map(Text::from),
            source: self.source(),
            destination: destination
                .clone()
                .map(|spiffe_id| Destination { spiffe_id }),
            latency: took,
            pep: match asker {
                Some(Asker::Pep(_)) => self.peer.and_then(asking),
                // A workload that asks about itself is the actor, and no proxy.
                Some(Asker::Itself(_)) | None => None,
            },
            mode: Some(match decision.mode {
                Mode::Enforce => audit::Mode::Enforce,
                Mode::Shadow => audit::Mode::Shadow,
            }),
            would_be: shadowed.then_some(result),
            cached: verdict.as_ref().map(|it| it.cached),
            details: self.details(),
            ..Record::new(
                event,
                // In shadow mode the request passed, whatever was decided.
                if shadowed {
                    audit::Outcome::Allowed
                } else {
                    result
                },
                self.actor(),
            )
        }
    }

    /// Who asked, as far as that is established: by a token that was accepted, or by the connection.
    fn actor(&self) -> Actor {
        let Findings {
            caller,
            mandate,
            standing,
            ..
        } = &self.findings;
        let Some(caller) = caller else {
            return Actor::Unknown;
        };
        match mandate.as_ref().map(|it| (it, it.agent())) {
            Some((_, Some(agent))) => Actor::Delegate {
                agent_id: Text::from(agent.agent_id.shared()),
                spiffe_id: agent.spiffe_id.clone(),
            },
            Some((mandate, None)) => Actor::Person(Text::from(mandate.person().shared())),
            None if *standing == Some(Standing::OrphanAgent) => Actor::Agent(caller.clone()),
            None => Actor::Workload(caller.clone()),
        }
    }

    /// Which policy answered, or should have.
    fn policy(&self) -> Option<Policy> {
        let said = self.findings.verdict.as_ref();
        let said = said.map(|it| (it.policy_id.clone().map(Text::from), &it.revision));
        let unsaid = self.findings.unjudged.as_ref();
        let unsaid = unsaid.map(|it| (Some(Text::from(it.policy_id)), &it.revision));
        said.or(unsaid).map(|(policy_id, revision)| Policy {
            path: None,
            policy_id,
            revision: Text::from(Arc::clone(revision)),
        })
    }

    fn details(&self) -> Details {
        let mut details = Details::default();
        let ignored = &self.findings.ignored_extensions;
        if !ignored.is_empty() {
            let names = ignored.iter().map(|name| Text::from(name.as_str()));
            details = details.with("ignored_extensions", Detail::List(names.collect()));
        }
        if let Some(fault) = self.findings.token_fault {
            details = details.with("token_fault", Text::fixed(fault));
        }
        details
    }

    fn source(&self) -> Option<Source> {
        let ip = self.question.and_then(|it| it.source_ip);
        let ip: Option<IpAddr> = ip.and_then(|ip| ip.parse().ok());
        let direct = |mandate: &&Mandate| mandate.agent().is_none();
        let gateway = match self.findings.mandate.as_ref().filter(direct) {
            Some(_person) => self.findings.caller.clone(),
            None => None,
        };
        // Who passed the request on: for a person, the gateway that speaks for them.
        let spiffe_id = self.findings.hop.clone().or(gateway);
        (ip.is_some() || spiffe_id.is_some()).then_some(Source { ip, spiffe_id })
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        // A panic is recorded by the layer that catches it.
        if self.finished || std::thread::panicking() {
            return;
        }
        self.authority.metrics.abandoned();
        let decision = Decision {
            id: self.id,
            outcome: Outcome::Deny(Denial::because(
                Reason::DeadlineExceeded,
                "the asker went away before the decision",
            )),
            tier: self.findings.tier,
            mode: Mode::Enforce,
            mandate: None,
            shaping: None,
        };
        let record = self.record(&decision, None);
        self.authority.audit.record(record);
    }
}

/// The denial in place of a decision that is not on record. It binds: shadow mode excuses no missing record.
fn unrecorded(decision: &Decision, error: &AuditError) -> Decision {
    let decided = match &decision.outcome {
        Outcome::Allow(_) => "allow",
        Outcome::Deny(denial) => denial.reason.as_str(),
    };
    let detail = format!("{}; decided was `{decided}`", sentence(error));
    Decision {
        outcome: Outcome::Deny(Denial::because(Reason::AuditUnavailable, detail)),
        mode: Mode::Enforce,
        shaping: None,
        mandate: decision.mandate.clone(),
        id: decision.id,
        tier: decision.tier,
    }
}

fn subject(mandate: &Mandate) -> Subject {
    Subject {
        id: Text::from(mandate.person().shared()),
        role: Some(Text::from(mandate.role.shared())),
    }
}

fn chain(mandate: &Mandate) -> Vec<Text> {
    let chain = &mandate.claims.chain;
    let agents = chain.agents.iter().map(|agent| agent.agent_id.shared());
    let names = std::iter::once(chain.person.shared()).chain(agents);
    names.map(Text::from).collect()
}

/// What a token names that was signed by us. Not its text, which nobody needs to find it.
fn used(claims: &Claims) -> audit::Mandate {
    let lease = claims.lease.as_ref();
    let task = lease.and_then(|lease| {
        Some(audit::Task {
            id: Text::from(lease.tasks.last()?.shared()),
            path: lease
                .tasks
                .iter()
                .map(|task| Text::from(task.shared()))
                .collect(),
        })
    });
    let grant = lease.and_then(|lease| lease.grants.last());
    let parent = lease.and_then(|lease| lease.parent.as_ref());
    audit::Mandate {
        agent: claims.chain.actor().map(|agent| audit::Agent {
            id: Text::from(agent.agent_id.shared()),
            agent_type: Text::from(agent.agent_type.shared()),
        }),
        session_id: Some(Text::from(claims.session.shared())),
        grant_id: grant.map(|grant| Text::from(grant.shared())),
        jti: Some(Text::from(claims.id.shared())),
        parent_jti: parent.map(|parent| Text::from(parent.shared())),
        task,
    }
}

/// A peer as records name it; nobody for one that can't be trusted.
pub(super) fn asking(peer: &Peer) -> Option<audit::Pep> {
    match peer {
        Peer::Unix { uid } => Some(audit::Pep::Unix { uid: *uid }),
        // Trusted without a certificate, it can only have come over loopback.
        Peer::Tcp(_) => Some(audit::Pep::Loopback),
        Peer::Anonymous(_) => None,
        Peer::Mesh(peer) => Some(audit::Pep::Tls {
            spiffe_id: peer.svid.id.clone(),
        }),
    }
}

/// A path up to where a query or parameters might begin, in any spelling: those hold session ids and tokens.
fn without_parameters(path: &str) -> &str {
    let bytes = path.as_bytes();
    let begins = |at: &usize| {
        matches!(
            bytes.get(*at..),
            Some(
                [b'?' | b'#' | b';', ..]
                    | [b'%', b'3', b'F' | b'f' | b'B' | b'b', ..]
                    | [b'%', b'2', b'3', ..]
            )
        )
    };
    let end = (0..bytes.len()).find(begins).unwrap_or(bytes.len());
    path.get(..end).unwrap_or_default()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a decision's name needs no seed that tests control"
)]
fn decision_id(now: Timestamp) -> DecisionId {
    DecisionId::generate(now, rand::RngExt::random(&mut rand::rng()))
}
