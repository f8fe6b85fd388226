//! Why nothing was handed on, issued, ended or told. One stable code per cause, for answers and records.
//!
//! To somebody without the right to know, what is there and what is not look the same: [`MandateRefusal::NotFound`].

use std::error::Error;

use tokio::time::error::Elapsed;

use super::super::session::SessionRefusal;
use crate::audit::AuditError;
use crate::delegation;
use crate::identity::UntrustedPeer;
use crate::state::{self, Level, StateError};

/// Why a call about mandates was refused. Nothing that anybody could use came of it, except that what was revoked stays so.
#[derive(Debug, thiserror::Error)]
pub enum MandateRefusal {
    /// Who calls is a person, and has no session here.
    #[error(transparent)]
    Person(#[from] SessionRefusal),
    /// Who calls is a workload whose certificate is not accepted.
    #[error("the certificate of the caller is not accepted")]
    Untrusted(#[source] UntrustedPeer),
    /// A field can't be used as it is.
    #[error("{field}: {advice}")]
    Field {
        /// Which one.
        field: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A token that was presented is not good for that.
    #[error("the token is not acceptable")]
    Token(TokenFault),
    /// A rule of delegation says no.
    #[error(transparent)]
    Rule(#[from] delegation::Refusal),
    /// There is no such thing, or the caller may not know of it.
    #[error("there is no such {0}")]
    NotFound(Level),
    /// The memory says no.
    #[error(transparent)]
    State(#[from] state::Refusal),
    /// Something that is needed does not work at the moment, or not in time.
    #[error("mandates can't be kept, signed or recorded at the moment; try again")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

/// In what way a token is not acceptable. What exactly is wrong with a text is for records alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenFault {
    /// Not a token of ours, or not for this.
    Invalid,
    /// Its time is over.
    Expired,
    /// It, or something that it rests on, has ended.
    Revoked,
    /// Somebody else's.
    Presenter,
}

impl MandateRefusal {
    /// The codes that are nobody else's, in the order of the documentation.
    pub const CODES: [&str; 6] = [
        "CALLER_UNTRUSTED",
        "TOKEN_INVALID",
        "TOKEN_EXPIRED",
        "TOKEN_REVOKED",
        "PRESENTER_MISMATCH",
        "MAX_TOKENS",
    ];

    /// The stable code, as `SCOPE_EMPTY`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Person(refusal) => refusal.code(),
            Self::Untrusted(_) => "CALLER_UNTRUSTED",
            Self::Field { .. } => "BAD_REQUEST",
            Self::Token(fault) => fault.code(),
            Self::Rule(refusal) => refusal.code(),
            Self::NotFound(_) => "NOT_FOUND",
            Self::State(refusal) => match refusal {
                state::Refusal::NotFound(_) => "NOT_FOUND",
                // What is above has changed since the proposal was made: it ended, or is about to.
                state::Refusal::Inactive { .. } | state::Refusal::Unfit(_) => "PARENT_INACTIVE",
                state::Refusal::TaskExists => "TASK_UNAVAILABLE",
                state::Refusal::Fanout { .. } => "MAX_FANOUT",
                state::Refusal::TooManyTokens { .. } => "MAX_TOKENS",
                state::Refusal::RequestIdReused => "REQUEST_ID_REUSED",
            },
            Self::Unavailable(_) => "STORE_UNAVAILABLE",
        }
    }

    /// Whether it says something about what works here, and nothing about what was asked.
    pub(super) const fn is_failure(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_) | Self::Person(SessionRefusal::Unavailable(_))
        )
    }

    pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

impl TokenFault {
    /// The stable code, as `TOKEN_EXPIRED`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "TOKEN_INVALID",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Revoked => "TOKEN_REVOKED",
            Self::Presenter => "PRESENTER_MISMATCH",
        }
    }
}

impl From<StateError> for MandateRefusal {
    fn from(error: StateError) -> Self {
        match error.refusal() {
            Some(state::Refusal::NotFound(level)) => Self::NotFound(*level),
            Some(refusal) => Self::State(refusal.clone()),
            None => Self::unavailable(error),
        }
    }
}

impl From<AuditError> for MandateRefusal {
    fn from(error: AuditError) -> Self {
        Self::unavailable(error)
    }
}

impl From<Elapsed> for MandateRefusal {
    fn from(error: Elapsed) -> Self {
        Self::unavailable(error)
    }
}
