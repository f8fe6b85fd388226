//! What a memory promises. Every rule here is a test in `contract`, which every memory passes.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::error::{Level, Refusal, StateError};
use super::handle::HandleDigest;
use super::live::{Position, Revocations};
use crate::clock::Timestamp;
use crate::delegation::{
    AgentId, AgentType, Audience, Grant, GrantId, PersonId, Session, SessionId, Status, Task,
    TaskId, TokenId,
};
use crate::identity::SpiffeId;

/// The memory of one tenant: what others keep in the same place is out of its reach.
///
/// - Each call is one transaction: it is done whole, durably, before it answers, or not at all. Calls appear in one order.
///   A call whose future is dropped may still be done.
/// - The time is that of the memory's own clock, read inside the transaction. What is past its time does not live,
///   whatever its status says.
/// - What is begun ([`open_session`](Self::open_session), [`create_task`](Self::create_task), [`delegate`](Self::delegate))
///   is `Pending` until [`activate`](Self::activate): nothing rests on it, its handle opens nothing. What is not activated
///   within [`PENDING_FOR`] never was: its name is free again.
/// - Something lives if it is `Active`, its time has not come, and everything above it lives.
/// - With a [`Request`], a call that comes again gives the answer it gave before, as far as that still is: status and
///   counts are told, nothing lives again. The same id with another body is [`Refusal::RequestIdReused`].
/// - `Err(Refused)` and `Err(Unavailable)` have changed nothing.
#[async_trait]
pub trait StateStore: fmt::Debug + Send + Sync {
    /// What was taken back, for those who check tokens. Always the same object.
    fn revocations(&self) -> &Arc<Revocations>;

    /// Begins a session. It is found by the handle's digest once it is active. Where `request` came before, the session is
    /// that of before and the new handle replaces the old one, which nobody received.
    async fn open_session(
        &self,
        new: NewSession,
        request: Option<Request>,
    ) -> Result<Kept<Session>, StateError>;

    /// The session that lives under a handle. An unknown handle and a pending session are [`Refusal::NotFound`], one that
    /// has ended is [`Refusal::Inactive`].
    async fn session_by_handle(&self, handle: HandleDigest) -> Result<Session, StateError>;

    /// A session, alive or not.
    async fn session(&self, id: SessionId, whose: Whose) -> Result<Session, StateError>;

    /// Begins a task below the session and the tasks of its path, all of which must live. Its time must not be past
    /// theirs, its name must be new for the person, and at most `limits.fanout` live tasks may rest on one parent task.
    async fn create_task(
        &self,
        task: Task,
        limits: Limits,
        request: Option<Request>,
    ) -> Result<Kept<Task>, StateError>;

    /// A task of a person, alive or not.
    async fn task(&self, person: PersonId, id: TaskId) -> Result<Task, StateError>;

    /// Tasks of a person, in the order of their names. Pending ones are left out.
    async fn tasks(&self, query: TaskQuery) -> Result<Vec<Task>, StateError>;

    /// Begins a grant, with the task and the first lease that were proposed along with it.
    ///
    /// Checked in the transaction: session, tasks and grants above live; the proposal continues their paths, chain, held
    /// permissions, audience and time; at most `limits.fanout` live grants rest on one parent (for a first grant: on one
    /// task); at most `limits.leases` live leases on one task.
    async fn delegate(
        &self,
        new: NewGrant,
        request: Option<Request>,
    ) -> Result<Kept<Granted>, StateError>;

    /// Makes a lease on a grant: the first one or a renewal. The grant and everything above it must live; the lease must
    /// not outlive any of them nor [`LONGEST_LEASE`], nor be for a service that the grant is not for.
    async fn lease(
        &self,
        lease: Lease,
        limits: Limits,
        request: Option<Request>,
    ) -> Result<Kept<Lease>, StateError>;

    /// Everything that `delegation` has to know to propose a grant, at one moment. [`delegate`](Self::delegate) judges what
    /// may have changed since once more.
    async fn ground(&self, query: GroundQuery) -> Result<Ground, StateError>;

    /// Makes what was begun live, once its audit record is kept. Everything above must still live. Activating twice is
    /// once; what has ended meanwhile is [`Refusal::Inactive`].
    async fn activate(&self, begun: Begun) -> Result<(), StateError>;

    /// Undoes what was begun and is still pending, at once instead of after [`PENDING_FOR`]. Anything else stays.
    async fn abandon(&self, begun: Begun) -> Result<(), StateError>;

    /// A grant with everything above it, alive or not, read in one transaction.
    async fn standing(&self, grant: GrantId, whose: Whose) -> Result<Standing, StateError>;

    /// The lease of a token, alive or not.
    async fn leased(&self, token: TokenId, whose: Whose) -> Result<Lease, StateError>;

    /// How many tokens of each of these grants are good now, as far as that depends on them alone.
    async fn live_tokens(&self, grants: Vec<GrantId>) -> Result<Vec<u32>, StateError>;

    /// Grants below a session, a task or a grant, alive or not, parents before children. Pending ones are left out.
    async fn grants(&self, query: GrantQuery) -> Result<Vec<Grant>, StateError>;

    /// Ends something and everything below it. When this answers, [`revocations`](Self::revocations) kills every token
    /// of it. What had ended before stays as it ended and is not counted; so a second call counts nothing.
    async fn end(
        &self,
        target: Target,
        manner: Manner,
        request: Option<Request>,
    ) -> Result<Kept<Ended>, StateError>;

    /// Marks as expired what is past its time, and deletes what no longer matters: at most `most` of each.
    async fn sweep(&self, most: u32) -> Result<Swept, StateError>;

    /// Says that the expiry of these sessions is on record: [`sweep`](Self::sweep) names them no more.
    async fn expiry_witnessed(&self, sessions: Vec<SessionId>) -> Result<(), StateError>;
}

/// Who a thing must belong to, to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// To this person, at the root.
    Person(PersonId),
    /// To anybody: for those who administer all.
    Anybody,
}

/// What makes a repeated call recognisable (AIP-155).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks; ids of different callers have nothing to do with each other.
    pub caller: String,
    /// The caller's id for it.
    pub id: String,
    /// A digest of everything else that was asked, the name of the call included.
    pub digest: [u8; 32],
}

/// An answer, and whether it was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept<T> {
    /// The answer.
    pub value: T,
    /// The request came before; this call changed nothing.
    pub repeated: bool,
}

/// A session to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The session; its status is set by the memory.
    pub session: Session,
    /// What is kept of its credential.
    pub handle: HandleDigest,
}

/// How much may rest on one parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Live tasks or grants directly below one parent.
    pub fanout: u32,
    /// Live leases for one task.
    pub leases: u32,
}

/// A grant to begin. Statuses are set by the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrant {
    /// The grant. Its parent is the last but one of its path; the session, where there is none.
    pub grant: Grant,
    /// The grant's task, where it begins with the grant.
    pub task: Option<Task>,
    /// The first lease, where its token is handed out along with the grant.
    pub lease: Option<Lease>,
    /// How much may rest on what is above.
    pub limits: Limits,
}

/// A grant that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    /// The grant.
    pub grant: Grant,
    /// Its first lease, if there was one.
    pub lease: Option<Lease>,
}

/// A token's place in the memory: a grant's authority for some minutes. The token itself is not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The token's `jti`.
    pub token: TokenId,
    /// On which grant.
    pub grant: GrantId,
    /// For which services; attache itself, as the issuer, is not one.
    pub audience: Vec<Audience>,
    /// When the token was issued.
    pub issued: Timestamp,
    /// When it expires.
    pub expires: Timestamp,
}

/// Something that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// A session.
    Session(SessionId),
    /// A person's task.
    Task(PersonId, TaskId),
    /// A grant, with the task that was begun along with it.
    Grant(GrantId),
}

/// A grant and everything it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The session.
    pub session: Session,
    /// The tasks, root first.
    pub tasks: Vec<Task>,
    /// The grants, root first; the last is the one asked for.
    pub grants: Vec<Grant>,
}

/// What a delegation starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A person, directly.
    Session(SessionId),
    /// The agent that holds this grant.
    Grant(GrantId),
}

/// A delegation that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroundQuery {
    /// From where.
    pub from: Origin,
    /// Of whom.
    pub whose: Whose,
    /// For which task.
    pub task: TaskId,
    /// To which agent.
    pub agent: AgentId,
}

/// What a delegation is judged by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ground {
    /// What it would rest on; without tasks and grants where a person delegates directly.
    pub standing: Standing,
    /// Whether all of that lives.
    pub alive: bool,
    /// Living grants beside the new one.
    pub siblings: u32,
    /// The person's task of that name, whatever its status.
    pub task: Option<Task>,
    /// A session of somebody whose id is that of the agent is kept.
    pub names_a_person: bool,
}

/// Which tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    /// Of whom.
    pub person: PersonId,
    /// Only those of this session.
    pub session: Option<SessionId>,
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those after this name.
    pub after: Option<TaskId>,
    /// At most that many, and at most 1000.
    pub most: u32,
}

/// Which grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantQuery {
    /// Of whom.
    pub whose: Whose,
    /// Below what.
    pub below: GrantRoot,
    /// Only those after this one in the same order.
    pub after: Option<GrantId>,
    /// At most that many, and at most 1000.
    pub most: u32,
}

/// Where a tree of grants begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantRoot {
    /// All that rest on a session.
    Session(SessionId),
    /// All that serve a person's task or one below it.
    Task(PersonId, TaskId),
    /// This one and all below it.
    Grant(GrantId),
}

/// What to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The grant of a token, with every lease on it and all below it.
    Token(TokenId, Whose),
    /// A grant, with every lease on it and all below it.
    Grant(GrantId, Whose),
    /// A task, with all tasks below it and every grant that serves one of them.
    Task(PersonId, TaskId),
    /// A session, with everything that rests on it.
    Session(SessionId, Whose),
    /// Everything of somebody that began before a moment.
    Before(Epoch, Timestamp),
}

/// Whose things end that began before a moment. What begins later is not touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Epoch {
    /// A person's sessions.
    Subject(PersonId),
    /// Grants with this workload as their holder.
    Actor(SpiffeId),
    /// Grants with an agent of this type as their holder.
    AgentType(AgentType),
    /// Everybody's sessions.
    Tenant,
}

/// How a thing ends. What is below it is `Cascaded` in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// On somebody's word.
    Revoked,
    /// As it was meant to.
    Completed,
}

/// What ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// How many tokens were good before and are not now.
    pub tokens: u64,
    /// Sessions that ended.
    pub sessions: Vec<SessionId>,
    /// Tasks that ended, each with its person and its status now.
    pub tasks: Vec<(PersonId, TaskId, Status)>,
    /// Grants that ended, parents before children.
    pub grants: Vec<GrantId>,
    /// Where in the order of all that was taken back.
    pub position: Position,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Sessions whose time came and of which that is not on record yet.
    pub sessions: Vec<Session>,
    /// How many sessions, tasks and grants were marked as expired.
    pub expired: u64,
    /// How many rows were deleted.
    pub deleted: u64,
    /// There was more to do than `most`.
    pub more: bool,
}

/// How long what was begun may wait for its audit record.
pub const PENDING_FOR: Duration = Duration::from_secs(60);
/// The longest life of a token.
pub const LONGEST_LEASE: Duration = Duration::from_secs(300);
/// The most that clocks of those who check tokens may be behind.
pub const LONGEST_SKEW: Duration = Duration::from_secs(30);
/// How long what has ended can still be read.
pub const KEPT_AFTER_END: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a request's id is remembered.
pub const REQUEST_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Standing {
    /// The grant that was asked for.
    pub fn grant(&self) -> Option<&Grant> {
        self.grants.last()
    }

    /// Whether all of it lives at `now`; else the first thing from the top that does not.
    pub fn living(&self, now: Timestamp) -> Result<(), Refusal> {
        let Self {
            session,
            tasks,
            grants,
        } = self;
        living(Level::Session, session.status, session.expires, now)?;
        for task in tasks {
            living(Level::Task, task.status, task.deadline, now)?;
        }
        for grant in grants {
            living(Level::Grant, grant.status, grant.expires, now)?;
        }
        Ok(())
    }

    /// When the first of it ends by itself.
    pub fn expires(&self) -> Timestamp {
        let tasks = self.tasks.iter().map(|task| task.deadline);
        let grants = self.grants.iter().map(|grant| grant.expires);
        tasks
            .chain(grants)
            .fold(self.session.expires, Timestamp::min)
    }
}

/// Whether one thing lives by itself.
pub(super) fn living(
    level: Level,
    status: Status,
    expires: Timestamp,
    now: Timestamp,
) -> Result<(), Refusal> {
    let status = match status {
        Status::Active if now < expires => return Ok(()),
        Status::Active => Status::Expired,
        ended => ended,
    };
    Err(Refusal::Inactive { level, status })
}
