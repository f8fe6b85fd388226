//! Handing authority on: whether somebody may, and what the receiver then holds.
//!
//! Decides from values alone, and proposes: nothing is alive before it is stored. Never adds a permission, lowers a tier or
//! lengthens a life. Whatever does not fit is a [`Refusal`] and changes nothing.
//!
//! What others may change at the same time stands in [`Facts`]. They are true only inside one transaction, so whoever stores a
//! proposal looks at them again there, and writes nothing where they changed.

use std::time::Duration;

use super::grant::{Audience, Grant};
use super::held::Held;
use super::id::{AgentId, AgentType, GrantId, TaskId};
use super::narrowing::{Excess, Narrowing};
use super::principal::{Agent, Chain};
use super::refusal::{NotAllowed, Refusal};
use super::registry::Registry;
use super::session::Session;
use super::task::{Status, Task};
use crate::clock::Timestamp;
use crate::identity::SpiffeId;
use crate::permission::PermissionSet;

/// What somebody delegates from.
#[derive(Debug, Clone, Copy)]
pub struct Basis<'a> {
    /// The session that everything rests on.
    pub session: &'a Session,
    /// What the session's role permits now; the empty set where there is no such role any more.
    pub role: &'a PermissionSet,
    /// The grant that is handed on, and the task that it serves. `None`: the person delegates directly.
    pub grant: Option<(&'a Grant, &'a Task)>,
}

/// What somebody wants to delegate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who is to receive it: the workload.
    pub spiffe_id: SpiffeId,
    /// Who is to receive it: under which name.
    pub agent_id: AgentId,
    /// As what. `None`: as the only type that `delegation.agents` has for the workload.
    pub agent_type: Option<AgentType>,
    /// For what.
    pub task: WantedTask,
    /// What of it.
    pub narrowing: Narrowing,
    /// What happens where `narrowing` names more than there is.
    pub on_excess: OnExcess,
    /// For which services. `None`: the parent's; from a person directly, the configured one.
    pub audience: Option<Vec<Audience>>,
    /// For how long. `None`: as long as what it rests on.
    pub ttl: Option<Duration>,
    /// How many more times the receiver may hand it on. 0: not at all; what is not possible becomes what is.
    pub further: u8,
}

/// The task that a grant is to serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedTask {
    /// One that exists.
    Existing(TaskId),
    /// The one of this name if there is one, else a new one below the delegator's own task.
    Named {
        /// Its name.
        id: TaskId,
        /// What it is for.
        purpose: String,
        /// When it is to end. `None`: with what it rests on.
        deadline: Option<Timestamp>,
    },
}

/// What happens where more is asked for than is held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExcess {
    /// The rest is delegated, and the answer says what was dropped.
    #[default]
    Narrow,
    /// Nothing is delegated.
    Reject,
}

/// What is true in the transaction that stores the proposal.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Whether every task, grant and session above is active.
    pub alive: bool,
    /// How many living grants there are beside the new one: under the same grant; from a person directly, those that this
    /// session gave directly for the same task.
    pub siblings: u32,
    /// The task that has the wanted name with this person, whatever its status. `None`: no task ever had it.
    pub task: Option<&'a Task>,
    /// Whether the id of the agent is also the id of a person that is known here.
    pub names_a_person: bool,
}

/// The limits that configuration sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many times authority may be handed on; at most [`HARD_DEPTH`], whatever stands here.
    pub max_depth: u8,
    /// How many living grants may have the same parent.
    pub max_fanout: u32,
    /// How long a token lives at most.
    pub token_ttl: Duration,
    /// Who we are. Never a service that tokens are made for: a token that names us can be handed on.
    pub issuer: Option<Audience>,
    /// The service that tokens are for where a person names none.
    pub audience: Option<Audience>,
}

/// A grant that fits, not yet stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The grant, [`Status::Pending`].
    pub grant: Grant,
    /// The task that has to be begun with it, [`Status::Pending`]; `None` where it exists.
    pub task: Option<Task>,
    /// What was asked for and not given.
    pub dropped: Vec<Excess>,
}

/// No chain is longer than this, whatever configuration says.
pub const HARD_DEPTH: u8 = 8;
/// Items in all lists of one narrowing; results are products of lists.
pub const MOST_NARROWING: usize = 64;
/// Permissions in one grant. A token holds fewer.
pub const MOST_PERMISSIONS: usize = 256;
/// Services of one grant.
pub const MOST_AUDIENCES: usize = 16;
/// Bytes of a task's purpose.
pub const MOST_PURPOSE: usize = 1024;

/// What is to be stored so that `wanted` holds, under the new id `id`; or why it may not.
pub fn delegate(
    basis: &Basis<'_>,
    wanted: &Wanted,
    facts: &Facts<'_>,
    limits: &Limits,
    registry: &Registry,
    id: GrantId,
    now: Timestamp,
) -> Result<Proposal, Refusal> {
    let chain = basis.living_chain(facts.alive, now)?;
    let agent = receiver(basis, &chain, wanted, facts, limits, registry)?;
    let audience = basis.audience(wanted.audience.as_deref(), limits)?;
    within("narrowing", wanted.narrowing.len(), MOST_NARROWING)?;

    let (task, begun) = basis.task(wanted, facts, &chain, now)?;
    let expires = basis.expires(&wanted.task, task, begun.as_ref(), wanted.ttl, now)?;
    let chain = chain.then(agent);
    let available = basis.available(&chain, registry)?;
    let dropped = wanted.narrowing.excess(available.permissions());
    if wanted.on_excess == OnExcess::Reject && !dropped.is_empty() {
        return Err(Refusal::ScopeExceeded(dropped));
    }
    let held = available.narrow(&wanted.narrowing);
    if !held.is_usable() {
        return Err(Refusal::ScopeEmpty);
    }
    let entries = held.permissions().entries().len();
    within("permissions", entries, MOST_PERMISSIONS)?;

    let parent = basis.grant.map(|(grant, _)| grant);
    let mut path = parent.map_or_else(Vec::new, |grant| grant.path.clone());
    path.push(id);
    let mut hops = parent.map_or_else(Vec::new, |grant| grant.hops.clone());
    hops.push(wanted.narrowing.clone());
    let task_path = match (&begun, task) {
        (Some(begun), _) => begun.path.clone(),
        (None, Some(task)) => task.path.clone(),
        (None, None) => return Err(Refusal::ParentInactive),
    };
    let left = parent.map_or(HARD_DEPTH, |grant| grant.further);
    let deepest = limits.max_depth.min(HARD_DEPTH);
    let room = usize::from(deepest).saturating_sub(chain.depth());
    let further = wanted.further.min(left.saturating_sub(1));
    Ok(Proposal {
        grant: Grant {
            path,
            session: basis.session.id.clone(),
            task_path,
            held,
            hops,
            audience,
            further: further.min(u8::try_from(room).unwrap_or(0)),
            created: parent.map_or(now, |grant| now.max(grant.created)),
            expires,
            status: Status::Pending,
            chain,
        },
        task: begun,
        dropped,
    })
}

/// A duration as messages have it: seconds, and nanoseconds of the same sign (google.protobuf.Duration). Nothing and less is
/// refused; what is longer than any time becomes the longest.
pub fn lifetime(seconds: i64, nanos: i32) -> Result<Duration, Refusal> {
    let seconds = u64::try_from(seconds).map_err(|_negative| Refusal::InvalidLifetime)?;
    let nanos = u32::try_from(nanos).map_err(|_negative| Refusal::InvalidLifetime)?;
    if nanos >= 1_000_000_000 || (seconds == 0 && nanos == 0) {
        return Err(Refusal::InvalidLifetime);
    }
    Ok(Duration::new(seconds, nanos))
}

/// Who receives, if they may, from whoever is at the end of `chain`.
fn receiver(
    basis: &Basis<'_>,
    chain: &Chain,
    wanted: &Wanted,
    facts: &Facts<'_>,
    limits: &Limits,
    registry: &Registry,
) -> Result<Agent, Refusal> {
    let deepest = limits.max_depth.min(HARD_DEPTH);
    if chain.depth() >= usize::from(deepest) {
        return Err(Refusal::MaxDepth(deepest));
    }
    if basis.grant.is_some_and(|(grant, _)| grant.further == 0) {
        return Err(NotAllowed::Leaf.into());
    }
    let agent_type = registry.type_of(&wanted.spiffe_id, wanted.agent_type.as_ref())?;
    if let Some(delegator) = chain.actor() {
        registry.permit(delegator, &agent_type)?;
    }
    let is_person = wanted.agent_id.as_str() == chain.person.as_str();
    if is_person || facts.names_a_person {
        return Err(Refusal::AgentIdTaken(wanted.agent_id.clone()));
    }
    // To oneself is a hop like any other; back to somebody further up is a circle.
    let above = chain
        .agents
        .split_last()
        .map_or(&[][..], |(_, above)| above);
    let returns = |agent: &Agent| agent.is(&wanted.spiffe_id, &wanted.agent_id);
    let last = chain.actor().is_some_and(returns);
    if !last && above.iter().any(returns) {
        return Err(Refusal::Cycle(wanted.agent_id.clone()));
    }
    if facts.siblings >= limits.max_fanout {
        return Err(Refusal::MaxFanout(limits.max_fanout));
    }
    Ok(Agent {
        spiffe_id: wanted.spiffe_id.clone(),
        agent_id: wanted.agent_id.clone(),
        agent_type,
    })
}

impl<'a> Basis<'a> {
    /// The chain up to the delegator, if everything in it is alive and belongs together.
    pub(super) fn living_chain(&self, alive: bool, now: Timestamp) -> Result<Chain, Refusal> {
        let person = &self.session.person.id;
        let chain = match self.grant {
            None => Chain::direct(person.clone()),
            Some((grant, task)) => {
                let together = grant.session == self.session.id
                    && grant.chain.person == *person
                    && task.person == *person
                    && task.session == self.session.id
                    && grant.task_path == task.path
                    && grant.chain.actor().is_some();
                if !together || !grant.lives(now) || !task.lives(now) {
                    return Err(Refusal::ParentInactive);
                }
                grant.chain.clone()
            }
        };
        if !alive || !self.session.lives(now) {
            return Err(Refusal::ParentInactive);
        }
        Ok(chain)
    }

    /// What could be handed to, or used by, the last agent of `chain`: what the parent holds, under the role as it is now and
    /// under the ceiling of every agent of the chain.
    pub(super) fn available(&self, chain: &Chain, registry: &Registry) -> Result<Held, Refusal> {
        let mut held = match self.grant {
            None => Held::by_role(self.role),
            Some((grant, _)) => grant.held.under(self.role),
        };
        for agent in &chain.agents {
            held = held.under(&registry.ceiling(agent)?);
        }
        Ok(held)
    }

    fn audience(
        &self,
        wanted: Option<&[Audience]>,
        limits: &Limits,
    ) -> Result<Vec<Audience>, Refusal> {
        let ceiling = self.grant.map(|(grant, _)| &grant.audience[..]);
        let wanted = wanted.or(ceiling).unwrap_or(limits.audience.as_slice());
        within("audience", wanted.len(), MOST_AUDIENCES)?;
        let mut audience = wanted.to_vec();
        audience.sort_unstable();
        audience.dedup();
        let outside = |it: &&Audience| {
            limits.issuer.as_ref() == Some(*it) || ceiling.is_some_and(|all| !all.contains(it))
        };
        match audience.iter().find(outside) {
            None if audience.is_empty() => Err(Refusal::AudienceNotAllowed(None)),
            None => Ok(audience),
            Some(outside) => Err(Refusal::AudienceNotAllowed(Some(outside.clone()))),
        }
    }

    /// The task that the grant is to serve: one that exists, or one that has to begin.
    fn task(
        &self,
        wanted: &Wanted,
        facts: &Facts<'a>,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<(Option<&'a Task>, Option<Task>), Refusal> {
        let (id, new) = match &wanted.task {
            WantedTask::Existing(id) => (id, None),
            WantedTask::Named {
                id,
                purpose,
                deadline,
            } => (id, Some((purpose, deadline))),
        };
        let unavailable = || Refusal::TaskUnavailable(id.clone());
        let own = self.grant.map(|(_, task)| task);
        let existing = own.filter(|own| own.id == *id).or(facts.task);
        if let Some(task) = existing {
            if task.id != *id || !self.reaches(task) {
                return Err(unavailable());
            }
            if !task.lives(now) {
                return Err(Refusal::ParentInactive);
            }
            return Ok((Some(task), None));
        }
        let (purpose, deadline) = new.ok_or_else(unavailable)?;
        let begun = self.begin(own, id, purpose, *deadline, chain, now)?;
        Ok((None, Some(begun)))
    }

    /// A new task below `parent`, or a root task of a person. It ends with what it rests on at the latest.
    pub(super) fn begin(
        &self,
        parent: Option<&Task>,
        id: &TaskId,
        purpose: &str,
        deadline: Option<Timestamp>,
        chain: &Chain,
        now: Timestamp,
    ) -> Result<Task, Refusal> {
        within("bytes of purpose", purpose.len(), MOST_PURPOSE)?;
        let mut path = parent.map_or_else(Vec::new, |parent| parent.path.clone());
        path.push(id.clone());
        if path.len() > usize::from(HARD_DEPTH) {
            return Err(Refusal::MaxDepth(HARD_DEPTH));
        }
        let rests_on = [
            Some(self.session.expires),
            parent.map(|parent| parent.deadline),
            self.grant.map(|(grant, _)| grant.expires),
        ];
        Ok(Task {
            id: id.clone(),
            person: chain.person.clone(),
            session: self.session.id.clone(),
            path,
            owner: chain.principal(),
            begun_under: self
                .grant
                .map_or_else(Vec::new, |(grant, _)| grant.path.clone()),
            purpose: purpose.to_owned(),
            created: parent.map_or(now, |parent| now.max(parent.created)),
            deadline: earliest(deadline.unwrap_or(self.session.expires), rests_on),
            status: Status::Pending,
        })
    }

    /// Whether a task is the delegator's own, or was begun under what they hold. A person reaches all tasks of their session.
    pub(super) fn reaches(&self, task: &Task) -> bool {
        if task.person != self.session.person.id || task.session != self.session.id {
            return false;
        }
        self.grant.is_none_or(|(grant, own)| {
            own.path == task.path
                || (task.path.starts_with(&own.path) && task.begun_under.starts_with(&grant.path))
        })
    }

    fn expires(
        &self,
        wanted: &WantedTask,
        task: Option<&Task>,
        begun: Option<&Task>,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Timestamp, Refusal> {
        if ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Refusal::InvalidLifetime);
        }
        let asked = match wanted {
            WantedTask::Existing(_) => None,
            WantedTask::Named { deadline, .. } => *deadline,
        };
        let parent = self.grant.map(|(grant, _)| grant.expires);
        let own = self.grant.map(|(_, task)| task.deadline);
        let served = task.or(begun).map(|task| task.deadline);
        let ttl = ttl.map(|ttl| now.plus(ttl));
        let expires = earliest(self.session.expires, [asked, parent, own, served, ttl]);
        if expires <= now {
            return Err(Refusal::InvalidLifetime);
        }
        Ok(expires)
    }
}

pub(super) fn earliest(
    first: Timestamp,
    others: impl IntoIterator<Item = Option<Timestamp>>,
) -> Timestamp {
    others.into_iter().flatten().fold(first, Timestamp::min)
}

fn within(what: &'static str, given: usize, most: usize) -> Result<(), Refusal> {
    if given > most {
        return Err(Refusal::TooLarge { what, given, most });
    }
    Ok(())
}
