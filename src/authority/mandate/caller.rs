//! Who calls: the workload of the connection's certificate, or the person of a session. Never a field of a message.
//!
//! A connection with a certificate is a workload, whatever else is shown on it. What fails refuses the call.

use super::super::session::witness::whence;
use super::{Call, MandateRefusal, Mandates};
use crate::audit::{Actor, Record, Text};
use crate::authority::rules::Rules;
use crate::clock::Timestamp;
use crate::delegation::{Claimant, Grant, PersonId, Principal, Session, Task};
use crate::identity::{Asker, Peer, SpiffeId};
use crate::state::{Handle, Standing};

/// Who calls, before anybody has looked.
#[derive(Debug)]
pub enum By {
    /// Somebody at the other end of a connection.
    Peer {
        /// The other end.
        peer: Peer,
        /// The credential of the session that was shown along with the call.
        handle: Option<Handle>,
    },
    /// attache itself: code in this process.
    System,
}

/// Who calls, once that is known.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) who: Who,
    pub(super) peer: Option<Peer>,
}

#[derive(Debug)]
pub(super) enum Who {
    Workload(SpiffeId),
    Person(Box<Session>),
    System,
}

impl Mandates {
    /// Who calls; refused where that can't be told.
    pub(super) async fn caller(&self, call: &Call) -> Result<Caller, MandateRefusal> {
        let (peer, handle) = match &call.by {
            By::System => {
                return Ok(Caller {
                    who: Who::System,
                    peer: None,
                });
            }
            By::Peer { peer, handle } => (peer, handle.as_ref()),
        };
        let who = match peer {
            Peer::Mesh(mesh) => {
                let rules = self.authority.rules();
                match rules.peps.judge_asker(peer, self.authority.clock.now()) {
                    Ok(Asker::Itself(id)) => Who::Workload(id),
                    Ok(Asker::Pep(_)) => Who::Workload(mesh.svid.id.clone()),
                    Err(error) => return Err(MandateRefusal::Untrusted(error)),
                }
            }
            Peer::Unix { .. } | Peer::Anonymous(_) | Peer::Tcp(_) => {
                let found = self.sessions.resolve(peer, handle, call.deadline).await;
                Who::Person(Box::new(found?))
            }
        };
        Ok(Caller {
            who,
            peer: Some(peer.clone()),
        })
    }
}

impl Caller {
    /// Whether it is one of `identity.peps`, which ask about others.
    pub(super) fn asks_for_others(&self, rules: &Rules, now: Timestamp) -> bool {
        let workload = matches!(self.who, Who::Workload(_));
        let pep = |peer: &Peer| rules.peps.judge(peer, now).is_ok();
        workload && self.peer.as_ref().is_some_and(pep)
    }

    /// Under which name repeated requests of theirs are known.
    pub(super) fn name(&self) -> String {
        match &self.who {
            Who::Workload(id) => id.to_string(),
            Who::Person(session) => session.person.id.to_string(),
            Who::System => "system".to_owned(),
        }
    }

    /// Whose things are meant where nobody is named.
    pub(super) fn person(&self) -> Option<&PersonId> {
        match &self.who {
            Who::Person(session) => Some(&session.person.id),
            Who::Workload(_) | Who::System => None,
        }
    }

    /// Who did it, for records: `under` is the grant that a workload used, where it used one.
    pub(super) fn actor(&self, under: Option<&Grant>) -> Actor {
        match &self.who {
            Who::Person(session) => Actor::Person(Text::from(session.person.id.as_str())),
            Who::System => Actor::System,
            Who::Workload(id) => match under.and_then(|grant| grant.chain.actor()) {
                Some(agent) if agent.spiffe_id == *id => Actor::Delegate {
                    agent_id: Text::from(agent.agent_id.as_str()),
                    spiffe_id: id.clone(),
                },
                _ => Actor::Workload(id.clone()),
            },
        }
    }

    /// The record, with where the call came from.
    pub(super) fn whence(&self, record: Record) -> Record {
        whence(self.peer.as_ref(), record)
    }

    /// Whether it holds the grant of `standing`.
    pub(super) fn holds(&self, standing: &Standing) -> bool {
        standing.grant().is_some_and(|grant| self.held_by(grant))
    }

    /// Whether it may know that the grant of `standing` is there: it is in its chain, or one of its services.
    pub(super) fn may_know(&self, standing: &Standing) -> bool {
        let Some(grant) = standing.grant() else {
            return false;
        };
        match &self.who {
            Who::System => true,
            Who::Person(session) => session.person.id == grant.chain.person,
            Who::Workload(id) => {
                let takes_part = grant.chain.agents.iter().any(|it| it.spiffe_id == *id);
                takes_part || grant.audience.iter().any(|it| it.as_str() == id.as_str())
            }
        }
    }

    /// Whether it may end `task`. `living` are the grants that the task was begun under, as far as they live; a workload
    /// counts as the holder of each of its own among them.
    pub(super) fn may_end_task(&self, task: &Task, living: &[Grant]) -> bool {
        self.claims(living)
            .any(|claimant| claimant.may_end_task(task).is_some())
    }

    /// Whether it may end `grant`; `path` are the grants that it came down from, and itself.
    pub(super) fn may_end_grant(&self, grant: &Grant, path: &[Grant]) -> bool {
        self.claims(path)
            .any(|claimant| claimant.may_end_grant(grant).is_some())
    }

    fn claims<'a>(&'a self, living: &'a [Grant]) -> impl Iterator<Item = Claimant<'a>> {
        let own = match &self.who {
            Who::System => Some(Claimant::Admin),
            Who::Person(session) => Some(Claimant::Person(&session.person.id)),
            Who::Workload(_) => None,
        };
        let held = living.iter().filter(|grant| self.held_by(grant));
        own.into_iter().chain(held.map(Claimant::Holder))
    }

    /// Whether it is the workload that holds `grant`.
    pub(super) fn held_by(&self, grant: &Grant) -> bool {
        grant
            .chain
            .actor()
            .is_some_and(|it| self.runs_as(&it.spiffe_id))
    }

    fn runs_as(&self, workload: &SpiffeId) -> bool {
        matches!(&self.who, Who::Workload(id) if id == workload)
    }

    /// Whether `principal` is the caller.
    pub(super) fn is(&self, principal: &Principal) -> bool {
        match (&self.who, principal) {
            (Who::Person(session), Principal::Person(id)) => session.person.id == *id,
            (Who::Workload(id), Principal::Agent(agent)) => agent.spiffe_id == *id,
            _ => false,
        }
    }
}
