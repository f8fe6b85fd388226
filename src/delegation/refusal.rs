//! Why something was not delegated, leased or ended: one stable code per cause.
//!
//! Codes are public: they stand in answers and audit records, and in docs/delegation.md. A code is never renamed or reused.
//! The sentences may repeat names that the caller itself gave, and say nothing else about what exists.

use std::fmt;

use super::grant::Audience;
use super::id::{AgentId, AgentType, TaskId};
use super::narrowing::Excess;
use crate::identity::SpiffeId;

/// Why an agent may not be given, or may not give, anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAllowed {
    /// The grant is a leaf: it was not given to be handed on.
    Leaf,
    /// Somebody in the chain is no longer in `delegation.agents` as what they were.
    Unregistered(AgentId),
    /// The one who is to receive is not in `delegation.agents`, or not as that type.
    UnknownDelegate(SpiffeId),
    /// `delegation.agents` knows the one who is to receive under several types, and none was named.
    ManyTypes(SpiffeId),
    /// Agents of the delegator's type may not delegate to that type.
    Type(AgentType),
    /// The caller is not the agent that the grant was given to.
    NotHolder,
}

/// Why nothing was delegated or leased. Every one of them leaves everything as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Whoever asks may not, or not for this agent.
    #[error("{0}")]
    DelegationNotAllowed(NotAllowed),
    /// More was asked for than is held, and less was not wanted.
    #[error("not held: {}", list(.0))]
    ScopeExceeded(Vec<Excess>),
    /// Nothing would be left that an agent could do.
    #[error("no permission is left; name resources and actions that you hold")]
    ScopeEmpty,
    /// A service that tokens of the parent may not be made for, or none at all.
    #[error("{}", audience(.0.as_ref()))]
    AudienceNotAllowed(Option<Audience>),
    /// The session, a grant or a task above is at its end, or belongs to something else.
    #[error("the session, grant or task that this rests on is not active")]
    ParentInactive,
    /// Longer than chains, or deeper than trees of tasks, may be.
    #[error("authority may be handed on {0} times at most")]
    MaxDepth(u8),
    /// The agent is in the chain already, and not as the last of it.
    #[error("agent `{0}` is in the chain already")]
    Cycle(AgentId),
    /// As many have been given from here as may be.
    #[error("at most {0} grants may be alive under one")]
    MaxFanout(u32),
    /// The name belongs to a task that is out of the caller's reach, or to none where one was expected.
    #[error("task `{0}` can't be used here; choose another name")]
    TaskUnavailable(TaskId),
    /// A time that is no time: nothing, negative, or over before it begins.
    #[error(
        "no time would be left; ask for a lifetime of a second or more that ends in the future"
    )]
    InvalidLifetime,
    /// The agent's name is a person's.
    #[error("agent id `{0}` is the id of a person; choose another name")]
    AgentIdTaken(AgentId),
    /// More items than a request or a grant may have.
    #[error("{what}: {given}, and at most {most} are accepted")]
    TooLarge {
        /// Which list.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there may be.
        most: usize,
    },
}

impl Refusal {
    /// The codes of all refusals, in the order of the documentation.
    pub const CODES: [&str; 12] = [
        "DELEGATION_NOT_ALLOWED",
        "SCOPE_EXCEEDED",
        "SCOPE_EMPTY",
        "AUDIENCE_NOT_ALLOWED",
        "PARENT_INACTIVE",
        "MAX_DEPTH",
        "CYCLE",
        "MAX_FANOUT",
        "TASK_UNAVAILABLE",
        "INVALID_LIFETIME",
        "AGENT_ID_TAKEN",
        "TOO_LARGE",
    ];

    /// The stable code, as `SCOPE_EMPTY`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::DelegationNotAllowed(_) => "DELEGATION_NOT_ALLOWED",
            Self::ScopeExceeded(_) => "SCOPE_EXCEEDED",
            Self::ScopeEmpty => "SCOPE_EMPTY",
            Self::AudienceNotAllowed(_) => "AUDIENCE_NOT_ALLOWED",
            Self::ParentInactive => "PARENT_INACTIVE",
            Self::MaxDepth(_) => "MAX_DEPTH",
            Self::Cycle(_) => "CYCLE",
            Self::MaxFanout(_) => "MAX_FANOUT",
            Self::TaskUnavailable(_) => "TASK_UNAVAILABLE",
            Self::InvalidLifetime => "INVALID_LIFETIME",
            Self::AgentIdTaken(_) => "AGENT_ID_TAKEN",
            Self::TooLarge { .. } => "TOO_LARGE",
        }
    }
}

impl From<NotAllowed> for Refusal {
    fn from(cause: NotAllowed) -> Self {
        Self::DelegationNotAllowed(cause)
    }
}

impl fmt::Display for NotAllowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leaf => f.write_str("this grant was not given to be handed on"),
            Self::Unregistered(agent) => {
                write!(f, "agent `{agent}` is no longer in delegation.agents")
            }
            Self::UnknownDelegate(id) => {
                write!(f, "`{id}` is not in delegation.agents as that type")
            }
            Self::ManyTypes(id) => write!(f, "`{id}` has several types; name one"),
            Self::Type(kind) => write!(f, "may not delegate to agents of type `{kind}`"),
            Self::NotHolder => f.write_str("this grant was given to another agent"),
        }
    }
}

fn list(excess: &[Excess]) -> String {
    let words: Vec<_> = excess.iter().map(ToString::to_string).collect();
    words.join(", ")
}

fn audience(refused: Option<&Audience>) -> String {
    match refused {
        Some(audience) => format!("tokens for `{audience}` may not be made here"),
        None => "name one service that tokens are for".to_owned(),
    }
}
