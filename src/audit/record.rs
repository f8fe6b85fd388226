//! What happened, as typed fields: the part of an audit record that its caller knows.
//!
//! There is no field for a token, a query string or a body, so none can be recorded. Who wrote the record, when, and its
//! place in the chain are added by the writer ([`super::chain`]).

use std::net::IpAddr;
use std::time::Duration;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::details::Details;
use super::text::Text;
use crate::identity::SpiffeId;
use crate::permission::{Action, Reason, Resource, Tier};

/// One event. Written in `snake_case` under the names of the fields; what is `None` or empty is left out.
///
/// Made by [`Record::new`] and struct update, so that a caller names only what it knows.
#[derive(Debug, Clone)]
pub struct Record {
    /// What kind of event.
    pub event_type: EventType,
    /// How it ended for the one who asked.
    pub result: Outcome,
    /// Who did it, or asked to.
    pub actor: Actor,
    /// The person at the root of the chain.
    pub subject: Option<Subject>,
    /// Everybody on whose behalf it was asked, root first. Empty stands for the actor alone and is written so.
    pub delegation_chain: Vec<Text>,
    /// The mandate that was used, given or ended.
    pub mandate: Option<Box<Mandate>>,
    /// What would be done.
    pub action: Option<Action>,
    /// To what.
    pub resource: Option<Resource>,
    /// The tier the operation ended up with.
    pub tier: Option<Tier>,
    /// Why it was refused.
    pub reason_code: Option<Reason>,
    /// The reason in words, a policy's own for instance.
    pub message: Option<Text>,
    /// Which policy answered.
    pub policy: Option<Policy>,
    /// The decision as the client was told it (`x-attache-decision-id`).
    pub decision_id: Option<Text>,
    /// The workload that the route names as serving the resource.
    pub target: Option<SpiffeId>,
    /// Whom a presented token was meant for.
    pub audience: Option<Text>,
    /// The request.
    pub http: Option<Http>,
    /// The request's `x-request-id`.
    pub request_id: Option<Text>,
    /// The W3C trace id, 32 hexadecimal digits.
    pub trace_id: Option<Text>,
    /// Where the request came from.
    pub source: Option<Source>,
    /// Where it would go.
    pub destination: Option<Destination>,
    /// The peer that asked for the decision.
    pub pep: Option<Pep>,
    /// Whether the decision was enforced.
    pub mode: Option<Mode>,
    /// In shadow mode, the result had it been enforced.
    pub would_be: Option<Outcome>,
    /// Time from question to answer; written as `latency_us`, in microseconds.
    pub latency: Option<Duration>,
    /// Whether the policy's verdict came from the cache.
    pub cached: Option<bool>,
    /// What else this kind of event has to say.
    pub details: Details,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// An operation was checked and not refused.
    PermissionCheck,
    /// An operation was refused.
    PermissionDenied,
    /// A person opened a session.
    HumanLogin,
    /// A session was ended, with everything delegated under it.
    HumanLogout,
    /// Somebody who wanted to open a session could not show who they are.
    HumanLoginFailed,
    /// A session came to its end by itself, with everything delegated under it.
    SessionExpired,
    /// A person handed authority to an agent.
    AgentDelegated,
    /// An agent handed authority on.
    AgentSubdelegated,
    /// A delegation was refused.
    DelegationRejected,
    /// A token was issued for a mandate that had none.
    TokenIssued,
    /// A further token was issued for a mandate.
    TokenRenewed,
    /// A token was presented and is not acceptable.
    TokenRejected,
    /// A token was revoked, with its mandate and everything below it.
    TokenRevoked,
    /// A task was begun.
    TaskCreated,
    /// A task came to its regular end, with every mandate under it.
    TaskCompleted,
    /// A task was revoked, with every mandate under it.
    TaskRevoked,
    /// A signing key took over, was announced or retired.
    KeyRotated,
    /// A configuration took effect.
    ConfigChanged,
    /// A configuration was refused; the one before serves on.
    ConfigRejected,
    /// A policy took effect.
    PolicyLoaded,
    /// A policy was refused; the one before serves on.
    PolicyFailed,
    /// The policy engine failed again and again; it is not asked for a while.
    CircuitOpened,
    /// The policy engine is tried again.
    CircuitHalfOpened,
    /// The policy engine answers again.
    CircuitClosed,
    /// Somebody read the audit trail.
    AuditQueried,
    /// A writer began its chain.
    AuditStarted,
    /// A writer signed how far its chain has come.
    AuditCheckpoint,
    /// A writer ended its chain after everything it was given.
    AuditStopped,
    /// Records are missing.
    AuditGap,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The operation may proceed.
    Allowed,
    /// The operation waits for a person.
    Supervised,
    /// The operation may not proceed.
    Denied,
    /// Something other than an operation worked.
    Success,
    /// Something other than an operation did not work.
    Failure,
}

/// Who did something. Written as `{"id": …, "type": …}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A workload on its own account.
    Workload(SpiffeId),
    /// A workload that must carry a delegation, and carries none that is acceptable.
    Agent(SpiffeId),
    /// An agent that acts on somebody's behalf. Written with a third member, `spiffe_id`.
    Delegate {
        /// The name it was delegated to under; several agents may share a workload.
        agent_id: Text,
        /// The workload it runs as.
        spiffe_id: SpiffeId,
    },
    /// A person, by their id.
    Person(Text),
    /// attache itself; the id is the writer's.
    System,
    /// Somebody whose identity is missing or not acceptable; there is no id.
    Unknown,
}

/// The person at the root of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Subject {
    /// The person's id.
    pub id: Text,
    /// The role that permitted the operation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Text>,
}

/// The authority that an agent holds from a person: what it rests on, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Mandate {
    /// The agent that holds it.
    pub agent: Option<Agent>,
    /// The person's session that it rests on.
    pub session_id: Option<Text>,
    /// The grant, where it is one.
    pub grant_id: Option<Text>,
    /// The id of the token; never its text.
    pub jti: Option<Text>,
    /// The id of the token that this one was made from.
    pub parent_jti: Option<Text>,
    /// The task that it serves.
    pub task: Option<Task>,
}

/// An agent by the name and type it was delegated to under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Agent {
    /// Its name, as `scheduling-agent-001`.
    pub id: Text,
    /// Its type in the registry, as `scheduling`.
    #[serde(rename = "type")]
    pub agent_type: Text,
}

/// A task and the tasks it is part of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Task {
    /// Its name.
    pub id: Text,
    /// From the root task to this one, both included.
    pub path: Vec<Text>,
}

/// Which policy answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Policy {
    /// The path of the rule that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// The rule that answered, in the policy's own naming.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<Text>,
    /// The content of the policy, as a short digest.
    pub revision: Text,
}

/// The request, after normalisation and without its query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Http {
    /// Host without port.
    pub host: Text,
    /// The method as received.
    pub method: Text,
    /// Path without query.
    pub path: Text,
    /// What the client speaks.
    pub protocol: Protocol,
    /// The path template of the route that matched.
    pub route: Option<Text>,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Plain HTTP of any version.
    Http,
    /// gRPC.
    Grpc,
}

/// Where a request came from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address of the downstream peer.
    pub ip: Option<IpAddr>,
    /// Its identity.
    pub spiffe_id: Option<SpiffeId>,
}

/// Where a request would go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Destination {
    /// The identity of the proxy's own workload.
    pub spiffe_id: SpiffeId,
}

/// The peer that asked for a decision: the policy enforcement point. Written with its `type`: `unix`, `loopback` or `tls`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pep {
    /// Over a Unix socket.
    Unix {
        /// The peer's user id as the kernel tells it.
        uid: Option<u32>,
    },
    /// Over loopback, where anything in the pod could have asked.
    Loopback,
    /// Over mutual TLS.
    Tls {
        /// The peer's identity.
        spiffe_id: SpiffeId,
    },
}

/// Whether a decision was enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The answer is the decision.
    Enforce,
    /// The answer is OK whatever the decision.
    Shadow,
}

// === impl Record ===

impl Record {
    /// A record of which nothing else is known.
    pub fn new(event_type: EventType, result: Outcome, actor: Actor) -> Self {
        Self {
            event_type,
            result,
            actor,
            subject: None,
            delegation_chain: Vec::new(),
            mandate: None,
            action: None,
            resource: None,
            tier: None,
            reason_code: None,
            message: None,
            policy: None,
            decision_id: None,
            target: None,
            audience: None,
            http: None,
            request_id: None,
            trace_id: None,
            source: None,
            destination: None,
            pep: None,
            mode: None,
            would_be: None,
            latency: None,
            cached: None,
            details: Details::default(),
        }
    }
}

// === impl EventType ===

impl EventType {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 29] = [
        Self::PermissionCheck,
        Self::PermissionDenied,
        Self::HumanLogin,
        Self::HumanLogout,
        Self::HumanLoginFailed,
        Self::SessionExpired,
        Self::AgentDelegated,
        Self::AgentSubdelegated,
        Self::DelegationRejected,
        Self::TokenIssued,
        Self::TokenRenewed,
        Self::TokenRejected,
        Self::TokenRevoked,
        Self::TaskCreated,
        Self::TaskCompleted,
        Self::TaskRevoked,
        Self::KeyRotated,
        Self::ConfigChanged,
        Self::ConfigRejected,
        Self::PolicyLoaded,
        Self::PolicyFailed,
        Self::CircuitOpened,
        Self::CircuitHalfOpened,
        Self::CircuitClosed,
        Self::AuditQueried,
        Self::AuditStarted,
        Self::AuditCheckpoint,
        Self::AuditStopped,
        Self::AuditGap,
    ];

    /// The stable name, such as `permission.check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PermissionCheck => "permission.check",
            Self::PermissionDenied => "permission.denied",
            Self::HumanLogin => "human.login",
            Self::HumanLogout => "human.logout",
            Self::HumanLoginFailed => "human.login_failed",
            Self::SessionExpired => "session.expired",
            Self::AgentDelegated => "agent.delegated",
            Self::AgentSubdelegated => "agent.subdelegated",
            Self::DelegationRejected => "delegation.rejected",
            Self::TokenIssued => "token.issued",
            Self::TokenRenewed => "token.renewed",
            Self::TokenRejected => "token.rejected",
            Self::TokenRevoked => "token.revoked",
            Self::TaskCreated => "task.created",
            Self::TaskCompleted => "task.completed",
            Self::TaskRevoked => "task.revoked",
            Self::KeyRotated => "key.rotated",
            Self::ConfigChanged => "config.changed",
            Self::ConfigRejected => "config.rejected",
            Self::PolicyLoaded => "policy.loaded",
            Self::PolicyFailed => "policy.failed",
            Self::CircuitOpened => "circuit.opened",
            Self::CircuitHalfOpened => "circuit.half_opened",
            Self::CircuitClosed => "circuit.closed",
            Self::AuditQueried => "audit.queried",
            Self::AuditStarted => "audit.started",
            Self::AuditCheckpoint => "audit.checkpoint",
            Self::AuditStopped => "audit.stopped",
            Self::AuditGap => "audit.gap",
        }
    }

    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// === impl Outcome ===

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Allowed,
        Self::Supervised,
        Self::Denied,
        Self::Success,
        Self::Failure,
    ];

    /// The stable name, such as `allowed`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Supervised => "supervised",
            Self::Denied => "denied",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }

    /// The outcome of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// === impl Pep ===

impl Serialize for Pep {
    /// By hand: serde would write the tag first, and RFC 8785 asks for the order of the names.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let kind = match self {
            Self::Unix { .. } => "unix",
            Self::Loopback => "loopback",
            Self::Tls { spiffe_id } => {
                map.serialize_entry("spiffe_id", spiffe_id)?;
                "tls"
            }
        };
        map.serialize_entry("type", kind)?;
        if let Self::Unix { uid: Some(uid) } = self {
            map.serialize_entry("uid", uid)?;
        }
        map.end()
    }
}
