//! Handing authority on: from a person's session, or from a grant or token that an agent holds.
//!
//! Never gives more than the caller holds at this moment, and never gives anything that is not on record. What is refused is
//! on record as well, and changes nothing.

use std::sync::Arc;
use std::time::Duration;

use super::caller::{Caller, Who};
use super::refusal::MandateRefusal;
use super::token::{Issued, Minted, unfit};
use super::witness::{About, given, of_task, of_token};
use super::{Call, Mandates, basis, role};
use crate::audit::{Details, EventType, Outcome, Record, Text};
use crate::authority::rules::Rules;
use crate::delegation::token::{Claims, Token};
use crate::delegation::{
    self, AgentId, AgentType, Audience, Excess, Facts, Grant, GrantId, Narrowing, NotAllowed,
    OnExcess, Proposal, Session, Status, TaskId, Terms, TokenId, Wanted, WantedLease, WantedTask,
};
use crate::identity::SpiffeId;
use crate::keys::Verified;
use crate::state::{Begun, Granted, Ground, GroundQuery, Lease, Level, NewGrant, Origin, Whose};

/// Authority that somebody wants to hand on.
#[derive(Debug)]
pub struct Delegation {
    /// From what.
    pub parent: Parent,
    /// To which workload.
    pub spiffe_id: SpiffeId,
    /// Under which name.
    pub agent_id: AgentId,
    /// As what. `None`: as the only type that the workload may be.
    pub agent_type: Option<AgentType>,
    /// For which task: one that is there or a new one. `None`: the caller's own; for a person, a new one of a name that is
    /// chosen here.
    pub task: Option<TaskId>,
    /// What a new task is for.
    pub purpose: String,
    /// What of it.
    pub narrowing: Narrowing,
    /// What becomes of more than is held.
    pub on_excess: OnExcess,
    /// For which services. `None`: the parent's; from a person, the configured one.
    pub audience: Option<Vec<Audience>>,
    /// For how long. `None`: as long as what it comes from.
    pub ttl: Option<Duration>,
    /// How many more times it may be handed on.
    pub further: u8,
    /// How the agent comes to its token.
    pub delivery: Delivery,
    /// Only say what would be handed on.
    pub dry: bool,
}

/// From what authority is handed on.
#[derive(Debug)]
pub enum Parent {
    /// The session of the person who calls.
    Session,
    /// A grant that the caller holds.
    Grant(GrantId),
    /// A token that the caller holds.
    Token(Token),
}

/// How the agent comes to its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// In the answer, for the first of the services that were named.
    Inline,
    /// It asks for it.
    Claim,
}

/// What was handed on.
#[derive(Debug)]
pub struct Delegated {
    /// The grant; pending where nothing was to change.
    pub grant: Grant,
    /// Its first token.
    pub token: Option<Issued>,
    /// What was wanted and not held.
    pub dropped: Vec<Excess>,
}

/// From what a delegation starts, once that is known.
struct Start {
    from: Origin,
    whose: Whose,
    /// The task of the parent.
    task: Option<TaskId>,
    /// The token that was shown.
    token: Option<Arc<Verified>>,
}

/// Who gives, by what rules, and from what.
#[derive(Clone, Copy)]
struct Giving<'a> {
    call: &'a Call,
    rules: &'a Rules,
    caller: &'a Caller,
    ground: &'a Ground,
    /// The token that was shown.
    claims: Option<&'a Claims>,
}

impl Giving<'_> {
    /// What the first token of `grant` says.
    fn minted<'a>(
        &'a self,
        grant: &'a Grant,
        lease: &'a Lease,
        terms: &'a Terms,
    ) -> Result<Minted<'a>, MandateRefusal> {
        let client = self.caller.client(grant);
        Ok(Minted {
            session: &self.ground.standing.session,
            grant,
            lease,
            permissions: terms.held.permissions(),
            client: client.ok_or(MandateRefusal::NotFound(Level::Grant))?,
            parent: self.claims,
        })
    }
}

impl Mandates {
    /// Hands authority on.
    pub async fn delegate(
        &self,
        call: &Call,
        wanted: Delegation,
    ) -> Result<Delegated, MandateRefusal> {
        let dry = wanted.dry;
        let handed = Self::within(call, self.hand_on(call, wanted)).await;
        if !dry {
            self.authority.metrics.delegation(match &handed {
                Ok(_) => "success",
                Err(refusal) if refusal.is_failure() => "failed",
                Err(_) => "refused",
            });
        }
        handed
    }

    async fn hand_on(&self, call: &Call, wanted: Delegation) -> Result<Delegated, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let start = self.start(call, &rules, &caller, &wanted.parent).await?;
        let task = match (&wanted.task, &start.task) {
            (Some(named), _) => named.clone(),
            (None, Some(own)) => own.clone(),
            (None, None) => self.name_a_task()?,
        };
        let query = GroundQuery {
            from: start.from.clone(),
            whose: start.whose.clone(),
            task: task.clone(),
            agent: wanted.agent_id.clone(),
        };
        let ground = self.store.ground(query).await?;
        let (delivery, dry) = (wanted.delivery, wanted.dry);
        let first = first_audience(&wanted);
        let proposed = self.propose(&rules, &ground, task, wanted);
        let proposed = proposed.and_then(|proposal| {
            let lease = match delivery {
                Delivery::Inline => Some(self.first(&rules, &proposal, first, &start)?),
                Delivery::Claim => None,
            };
            Ok((proposal, lease))
        });
        let (proposal, first) = match proposed {
            Ok(proposed) => proposed,
            Err(refusal) => {
                let code = refusal.code();
                self.turn_down(call, &caller, &ground, code).await?;
                return Err(refusal.into());
            }
        };
        if dry {
            return Ok(Delegated {
                grant: proposal.grant,
                token: None,
                dropped: proposal.dropped,
            });
        }
        let claims = start.token.as_ref().map(|it| &*it.claims);
        let giving = Giving {
            call,
            rules: &rules,
            caller: &caller,
            ground: &ground,
            claims,
        };
        self.give(giving, proposal, first).await
    }

    /// Remembered, on record, alive, signed: what was proposed becomes what is held.
    async fn give(
        &self,
        giving: Giving<'_>,
        proposal: Proposal,
        first: Option<(Terms, Lease)>,
    ) -> Result<Delegated, MandateRefusal> {
        let Giving {
            call,
            rules,
            caller,
            ground,
            ..
        } = giving;
        if let Some((terms, lease)) = &first {
            let minted = giving.minted(&proposal.grant, lease, terms)?;
            // Before anything is kept: what no token can hold is refused.
            Self::claims(rules, &minted)?.encode().map_err(unfit)?;
        }
        let (terms, lease) = first.unzip();
        let Proposal {
            grant,
            task,
            dropped,
        } = proposal;
        let new = NewGrant {
            grant,
            task,
            lease,
            limits: Self::limits(rules),
        };
        let kept = match self.store.delegate(new, Self::request(call, caller)).await {
            Ok(kept) => kept,
            Err(error) => {
                let refusal = MandateRefusal::from(error);
                if !refusal.is_failure() {
                    self.turn_down(call, caller, ground, refusal.code()).await?;
                }
                return Err(refusal);
            }
        };
        let Granted { mut grant, lease } = kept.value;
        if grant.status == Status::Pending {
            self.bring_to_life(call, caller, ground, &mut grant, lease.as_ref(), &dropped)
                .await?;
        }
        let token = match (&lease, &terms, grant.id()) {
            (Some(lease), _, Some(id)) if kept.repeated => {
                self.again(rules, id, lease, caller).await?
            }
            (Some(lease), Some(terms), _) => {
                let minted = giving.minted(&grant, lease, terms)?;
                Some(self.sign(rules, &minted)?)
            }
            _ => None,
        };
        if token.is_some() {
            self.authority.metrics.token("issued");
        }
        Ok(Delegated {
            grant,
            token,
            dropped,
        })
    }

    /// From what it starts, if the caller holds that.
    async fn start(
        &self,
        call: &Call,
        rules: &Rules,
        caller: &Caller,
        parent: &Parent,
    ) -> Result<Start, MandateRefusal> {
        let not_holder = || delegation::Refusal::from(NotAllowed::NotHolder).into();
        let (grant, token) = match (&caller.who, parent) {
            (Who::Person(session), Parent::Session) => {
                return Ok(Start {
                    from: Origin::Session(session.id.clone()),
                    whose: Whose::Person(session.person.id.clone()),
                    task: None,
                    token: None,
                });
            }
            (Who::Workload(_), Parent::Grant(grant)) => (grant.clone(), None),
            (Who::Workload(_), Parent::Token(token)) => {
                let shown = self.shown(call, rules, caller, token).await?;
                let lease = shown.claims.lease.as_ref();
                let grant = lease.and_then(|it| it.grants.last().cloned());
                (grant.ok_or_else(not_holder)?, Some(shown))
            }
            (Who::Workload(_), Parent::Session) => {
                return Err(MandateRefusal::Field {
                    field: "parent",
                    advice: "name a grant or a token that you hold",
                });
            }
            (Who::Person(_) | Who::System, _) => return Err(not_holder()),
        };
        let standing = self.store.standing(grant.clone(), Whose::Anybody).await?;
        if !caller.may_know(&standing) {
            return Err(MandateRefusal::NotFound(Level::Grant));
        }
        if !caller.holds(&standing) {
            return Err(not_holder());
        }
        Ok(Start {
            from: Origin::Grant(grant),
            whose: Whose::Anybody,
            task: standing.grant().and_then(Grant::task).cloned(),
            token,
        })
    }

    fn propose(
        &self,
        rules: &Rules,
        ground: &Ground,
        task: TaskId,
        wanted: Delegation,
    ) -> Result<Proposal, delegation::Refusal> {
        let names_a_person = ground.names_a_person || rules.people.has(wanted.agent_id.as_str());
        let own = ground.standing.tasks.last().map(|own| &own.id);
        let task = if own == Some(&task) {
            WantedTask::Existing(task)
        } else {
            WantedTask::Named {
                id: task,
                purpose: wanted.purpose,
                deadline: None,
            }
        };
        let wanted = Wanted {
            spiffe_id: wanted.spiffe_id,
            agent_id: wanted.agent_id,
            agent_type: wanted.agent_type,
            task,
            narrowing: wanted.narrowing,
            on_excess: wanted.on_excess,
            audience: wanted.audience,
            ttl: wanted.ttl,
            further: wanted.further,
        };
        let facts = Facts {
            alive: ground.alive && self.lives(rules, &ground.standing),
            siblings: ground.siblings,
            task: ground.task.as_ref(),
            names_a_person,
        };
        let role = role(rules, &ground.standing);
        let settings = &rules.delegation;
        delegation::delegate(
            &basis(&ground.standing, &role),
            &wanted,
            &facts,
            &settings.limits,
            &settings.registry,
            GrantId::from_random(self.random()),
            self.authority.clock.now(),
        )
    }

    /// The first token, that goes back with the grant. It ends with the token that it was asked for by.
    fn first(
        &self,
        rules: &Rules,
        proposal: &Proposal,
        audience: Option<Audience>,
        start: &Start,
    ) -> Result<(Terms, Lease), delegation::Refusal> {
        let wanted = WantedLease {
            audience,
            ttl: None,
            not_after: start.token.as_ref().map(|it| it.claims.expires),
        };
        let terms = proposal.first_lease(&wanted, &rules.delegation.limits)?;
        let grant = proposal.grant.id().cloned();
        let lease = Lease {
            token: TokenId::from_random(self.random()),
            grant: grant.ok_or(delegation::Refusal::ParentInactive)?,
            audience: vec![terms.audience.clone()],
            issued: terms.issued,
            expires: terms.expires,
        };
        Ok((terms, lease))
    }

    /// On record, then alive.
    async fn bring_to_life(
        &self,
        call: &Call,
        caller: &Caller,
        ground: &Ground,
        grant: &mut Grant,
        lease: Option<&Lease>,
        dropped: &[Excess],
    ) -> Result<(), MandateRefusal> {
        let session = &ground.standing.session;
        let Some(id) = grant.id().cloned() else {
            return Err(MandateRefusal::NotFound(Level::Grant));
        };
        let begun = Begun::Grant(id);
        let mut records = Vec::new();
        if let Some(task) = grant.task() {
            let task = self.store.task(session.person.id.clone(), task.clone());
            let task = task.await?;
            if task.status == Status::Pending {
                let parent = ground.standing.grant();
                records.push(Self::created(caller, session, parent, &task));
            }
        }
        let under = ground.standing.grant();
        let event = match under {
            None => EventType::AgentDelegated,
            Some(_) => EventType::AgentSubdelegated,
        };
        let about = About {
            session,
            grant: Some(grant),
        };
        let lost: Vec<_> = dropped
            .iter()
            .map(|it| Text::from(it.to_string()))
            .collect();
        let details = match &lost[..] {
            [] => given(grant),
            _ => given(grant).with("dropped", lost),
        };
        records.push(Record {
            details,
            ..about.record(event, Outcome::Success, caller, under)
        });
        if let Some(lease) = lease {
            let record = about.record(EventType::TokenIssued, Outcome::Success, caller, under);
            records.push(of_token(record, lease, None));
        }
        self.witness(call, Some(begun.clone()), records).await?;
        if let Err(error) = self.store.activate(begun).await {
            // The record says that it was given; this one, that nothing came of it.
            let refusal = MandateRefusal::from(error);
            self.turn_down(call, caller, ground, refusal.code()).await?;
            return Err(refusal);
        }
        grant.status = Status::Active;
        Ok(())
    }

    /// The record of a task that begins.
    pub(super) fn created(
        caller: &Caller,
        session: &Session,
        under: Option<&Grant>,
        task: &delegation::Task,
    ) -> Record {
        let about = About {
            session,
            grant: under,
        };
        let record = about.record(EventType::TaskCreated, Outcome::Success, caller, under);
        let record = Record {
            details: Details::default().with("deadline", task.deadline.to_string()),
            ..record
        };
        of_task(record, task)
    }

    /// Puts on record that nothing was handed on.
    async fn turn_down(
        &self,
        call: &Call,
        caller: &Caller,
        ground: &Ground,
        code: &'static str,
    ) -> Result<(), MandateRefusal> {
        let under = ground.standing.grant();
        let about = About {
            session: &ground.standing.session,
            grant: under,
        };
        let event = EventType::DelegationRejected;
        let record = Record {
            details: Details::default().with("cause", code),
            ..about.record(event, Outcome::Failure, caller, under)
        };
        self.note(call, record).await
    }

    fn name_a_task(&self) -> Result<TaskId, MandateRefusal> {
        let bits: u128 = self.random();
        let name = format!("task-{}", ulid::Ulid(bits).to_string().to_ascii_lowercase());
        name.parse().map_err(MandateRefusal::unavailable)
    }

    /// A name for a task that nobody named.
    pub(super) fn task_name(&self, named: Option<&TaskId>) -> Result<TaskId, MandateRefusal> {
        named.map_or_else(|| self.name_a_task(), |named| Ok(named.clone()))
    }
}

fn first_audience(wanted: &Delegation) -> Option<Audience> {
    wanted.audience.as_ref()?.first().cloned()
}
