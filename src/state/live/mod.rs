//! What was taken back, in memory: every Check of a delegated request looks here, after the signature and before anything else.
//!
//! Complete from the start (a memory loads it before it is used) and never behind: a call that takes something back adds it
//! here before it answers. An entry stays until no token that it is about can still be accepted.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::broadcast;

use crate::clock::Timestamp;
use crate::delegation::token::Claims;
use crate::delegation::{Agent, AgentType, GrantId, PersonId, SessionId, TaskId, TokenId};
use crate::identity::SpiffeId;

/// Where in the order of all that was taken back. Grows, across restarts too.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// What was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// One token.
    Token(TokenId),
    /// A grant, with every token that has it in its path.
    Grant(GrantId),
    /// A task of a person, with every token that has it in its path.
    Task(PersonId, TaskId),
    /// A session, with every token that rests on it.
    Session(SessionId),
    /// Everything that was issued for a person before a moment.
    Subject(PersonId, Timestamp),
    /// Everything with this workload in its chain that was issued before a moment.
    Actor(SpiffeId, Timestamp),
    /// Everything with an agent of this type in its chain that was issued before a moment.
    AgentType(AgentType, Timestamp),
    /// Everything that was issued before a moment.
    Tenant(Timestamp),
}

/// One thing that was taken back, and how long that has to be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What.
    pub what: Revoked,
    /// From then on every token that it is about has expired, whatever the skew of clocks that is allowed.
    pub until: Timestamp,
}

/// What one call took back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// After it.
    pub position: Position,
    /// What.
    pub entries: Vec<Entry>,
}

/// All that is taken back now, and what will be.
#[derive(Debug)]
pub struct Subscription {
    /// All until `position`.
    pub snapshot: Vec<Entry>,
    /// Where `deltas` go on.
    pub position: Position,
    /// Every later delta, in order. Whoever lags behind by more than a thousand is told so and subscribes again.
    pub deltas: broadcast::Receiver<Arc<Delta>>,
}

/// What a verified token says about itself, as far as it can have been taken back.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// `jti`.
    pub token: &'a TokenId,
    /// From the root grant to its own; empty for a person's own token.
    pub grants: &'a [GrantId],
    /// From the root task to its own; empty for a person's own token.
    pub tasks: &'a [TaskId],
    /// `sid`.
    pub session: &'a SessionId,
    /// `sub`.
    pub person: &'a PersonId,
    /// Every agent of the chain.
    pub agents: &'a [Agent],
    /// `iat`. Of whole seconds: what was issued within the second in which an epoch began counts as before it.
    pub issued: Timestamp,
}

impl<'a> Presented<'a> {
    /// What `claims` say of that.
    pub fn of(claims: &'a Claims) -> Self {
        let lease = claims.lease.as_ref();
        Self {
            token: &claims.id,
            grants: lease.map_or(&[], |lease| &lease.grants),
            tasks: lease.map_or(&[], |lease| &lease.tasks),
            session: &claims.session,
            person: &claims.chain.person,
            agents: &claims.chain.agents,
            issued: claims.issued,
        }
    }
}

/// Why a token is no longer good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was taken back itself.
    Token,
    /// A grant in its path was.
    Grant,
    /// A task in its path was.
    Task,
    /// Its session ended.
    Session,
    /// It was issued before a moment before which nothing counts.
    Epoch,
}

/// All that was taken back and may still matter. Shared by everybody who checks tokens.
#[derive(Debug)]
pub struct Revocations {
    sets: RwLock<Sets>,
    deltas: broadcast::Sender<Arc<Delta>>,
}

#[derive(Debug, Default)]
struct Sets {
    position: Position,
    tokens: HashMap<TokenId, Timestamp>,
    grants: HashMap<GrantId, Timestamp>,
    tasks: HashMap<PersonId, HashMap<TaskId, Timestamp>>,
    sessions: HashMap<SessionId, Timestamp>,
    subjects: HashMap<PersonId, Before>,
    actors: HashMap<SpiffeId, Before>,
    agent_types: HashMap<AgentType, Before>,
    tenant: Option<Before>,
}

/// Nothing issued before `moment` counts; remembered until `until`.
#[derive(Debug, Clone, Copy)]
struct Before {
    moment: Timestamp,
    until: Timestamp,
}

impl Cause {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Grant => "grant",
            Self::Task => "task",
            Self::Session => "session",
            Self::Epoch => "epoch",
        }
    }
}

impl Revocations {
    /// What was taken back until `position`.
    pub fn new(position: Position, entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut sets = Sets {
            position,
            ..Sets::default()
        };
        for entry in entries {
            sets.add(&entry);
        }
        let (deltas, _) = broadcast::channel(DELTAS_KEPT);
        Self {
            sets: RwLock::new(sets),
            deltas,
        }
    }

    /// Whether what was presented has been taken back, and by what. Allocates nothing; waits for nothing but a writer that
    /// adds an entry.
    pub fn kills(&self, presented: &Presented<'_>) -> Option<Cause> {
        self.read().kills(presented)
    }

    /// How far it knows.
    pub fn position(&self) -> Position {
        self.read().position
    }

    /// How many entries it holds.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether nothing was taken back that still matters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that is taken back now, and everything that will be, without a gap between the two.
    pub fn subscribe(&self) -> Subscription {
        let sets = self.read();
        Subscription {
            snapshot: sets.entries(),
            position: sets.position,
            deltas: self.deltas.subscribe(),
        }
    }

    /// Adds what was taken back. A memory does so before it answers whoever took it back.
    pub fn add(&self, delta: Delta) {
        let mut sets = self.write();
        sets.position = sets.position.max(delta.position);
        for entry in &delta.entries {
            sets.add(entry);
        }
        // Under the lock, so that a new subscription holds a delta exactly once. An error says that nobody listens.
        let _listeners = self.deltas.send(Arc::new(delta)).ok();
    }

    /// Drops what nobody needs to remember at `now`.
    pub fn drop_before(&self, now: Timestamp) {
        self.write().drop_before(now);
    }

    fn read(&self) -> RwLockReadGuard<'_, Sets> {
        self.sets.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Sets> {
        self.sets.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sets {
    fn kills(&self, presented: &Presented<'_>) -> Option<Cause> {
        let Presented {
            token,
            grants,
            tasks,
            session,
            person,
            agents,
            issued,
        } = presented;
        if self.sessions.contains_key(*session) {
            return Some(Cause::Session);
        }
        if let Some(ended) = self.tasks.get(*person)
            && tasks.iter().any(|task| ended.contains_key(task))
        {
            return Some(Cause::Task);
        }
        if grants.iter().any(|grant| self.grants.contains_key(grant)) {
            return Some(Cause::Grant);
        }
        if self.tokens.contains_key(*token) {
            return Some(Cause::Token);
        }
        let too_old = |before: Option<&Before>| before.is_some_and(|it| *issued < it.moment);
        let epoch = too_old(self.tenant.as_ref())
            || too_old(self.subjects.get(*person))
            || agents.iter().any(|agent| {
                too_old(self.actors.get(&agent.spiffe_id))
                    || too_old(self.agent_types.get(&agent.agent_type))
            });
        epoch.then_some(Cause::Epoch)
    }

    fn add(&mut self, entry: &Entry) {
        let until = entry.until;
        match entry.what.clone() {
            Revoked::Token(id) => longest(self.tokens.entry(id).or_insert(until), until),
            Revoked::Grant(id) => longest(self.grants.entry(id).or_insert(until), until),
            Revoked::Task(person, id) => {
                let tasks = self.tasks.entry(person).or_default();
                longest(tasks.entry(id).or_insert(until), until);
            }
            Revoked::Session(id) => longest(self.sessions.entry(id).or_insert(until), until),
            Revoked::Subject(id, moment) => {
                let before = Before { moment, until };
                self.subjects.entry(id).or_insert(before).later(before);
            }
            Revoked::Actor(id, moment) => {
                let before = Before { moment, until };
                self.actors.entry(id).or_insert(before).later(before);
            }
            Revoked::AgentType(id, moment) => {
                let before = Before { moment, until };
                self.agent_types.entry(id).or_insert(before).later(before);
            }
            Revoked::Tenant(moment) => {
                let before = Before { moment, until };
                self.tenant.get_or_insert(before).later(before);
            }
        }
    }

    fn drop_before(&mut self, now: Timestamp) {
        self.tokens.retain(|_, until| *until > now);
        self.grants.retain(|_, until| *until > now);
        self.tasks.retain(|_, tasks| {
            tasks.retain(|_, until| *until > now);
            !tasks.is_empty()
        });
        self.sessions.retain(|_, until| *until > now);
        self.subjects.retain(|_, before| before.until > now);
        self.actors.retain(|_, before| before.until > now);
        self.agent_types.retain(|_, before| before.until > now);
        self.tenant = self.tenant.filter(|before| before.until > now);
    }

    fn len(&self) -> usize {
        self.tokens.len()
            + self.grants.len()
            + self.tasks.values().map(HashMap::len).sum::<usize>()
            + self.sessions.len()
            + self.subjects.len()
            + self.actors.len()
            + self.agent_types.len()
            + usize::from(self.tenant.is_some())
    }

    fn entries(&self) -> Vec<Entry> {
        let entry = |what, until: &Timestamp| Entry {
            what,
            until: *until,
        };
        let before = |what, before: &Before| entry(what, &before.until);
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|(id, until)| entry(Revoked::Token(id.clone()), until));
        let grants = self.grants.iter();
        let grants = grants.map(|(id, until)| entry(Revoked::Grant(id.clone()), until));
        let tasks = self.tasks.iter().flat_map(|(person, tasks)| {
            tasks
                .iter()
                .map(move |(id, until)| entry(Revoked::Task(person.clone(), id.clone()), until))
        });
        let sessions = self.sessions.iter();
        let sessions = sessions.map(|(id, until)| entry(Revoked::Session(id.clone()), until));
        let subjects = self.subjects.iter();
        let subjects = subjects.map(|(id, it)| before(Revoked::Subject(id.clone(), it.moment), it));
        let actors = self.actors.iter();
        let actors = actors.map(|(id, it)| before(Revoked::Actor(id.clone(), it.moment), it));
        let types = self.agent_types.iter();
        let types = types.map(|(id, it)| before(Revoked::AgentType(id.clone(), it.moment), it));
        let tenant = self.tenant.iter();
        let tenant = tenant.map(|it| before(Revoked::Tenant(it.moment), it));
        tokens
            .chain(grants)
            .chain(tasks)
            .chain(sessions)
            .chain(subjects)
            .chain(actors)
            .chain(types)
            .chain(tenant)
            .collect()
    }
}

impl Before {
    /// Keeps the later moment and the longer memory: an epoch never goes back.
    fn later(&mut self, other: Self) {
        self.moment = self.moment.max(other.moment);
        self.until = self.until.max(other.until);
    }
}

fn longest(until: &mut Timestamp, other: Timestamp) {
    *until = other.max(*until);
}

const DELTAS_KEPT: usize = 1024;

#[cfg(test)]
mod tests;
