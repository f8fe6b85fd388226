//! Why somebody has no session. Says nothing about accounts and credentials that the asker could not know.

use std::error::Error;
use std::time::Duration;

use tokio::time::error::Elapsed;

use crate::audit::AuditError;
use crate::state::{Refusal, StateError};

/// Why nobody was logged in or out, or no session was found.
#[derive(Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// From here, people are not heard.
    #[error(
        "people are heard on this host only: on a Unix socket that is trusted, or over TLS from a loopback address"
    )]
    NotHere,
    /// There is nobody who could log in with a password.
    #[error("nobody can log in with a password here; add users to humans.local, for development")]
    NoUsers,
    /// Address or password is wrong.
    #[error("address or password is wrong")]
    Wrong,
    /// Too many tries at one address, or in all.
    #[error("too many tries; wait")]
    TooOften {
        /// After what time there is room for one.
        wait: Duration,
    },
    /// No credential, an unknown one, or one of a session that has ended.
    #[error("no live session; log in")]
    NoSession,
    /// The request id came before, with another request or for a session that has ended.
    #[error("the request id was used before; take another one")]
    RequestIdReused,
    /// Something that is needed does not work at the moment, or not in time. Nothing was done that anybody could use.
    #[error("sessions can't be kept or recorded at the moment; try again")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The person has no such session.
    #[error("there is no such session")]
    NotFound,
}

impl SessionRefusal {
    /// Every stable code, in the order of the documentation.
    pub const CODES: [&str; 8] = [
        "LOGIN_NOT_LOCAL",
        "LOGIN_UNAVAILABLE",
        "LOGIN_FAILED",
        "RATE",
        "SESSION_INVALID",
        "REQUEST_ID_REUSED",
        "STORE_UNAVAILABLE",
        "NOT_FOUND",
    ];

    /// The stable code, as `LOGIN_FAILED`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotHere => "LOGIN_NOT_LOCAL",
            Self::NoUsers => "LOGIN_UNAVAILABLE",
            Self::Wrong => "LOGIN_FAILED",
            Self::TooOften { .. } => "RATE",
            Self::NoSession => "SESSION_INVALID",
            Self::RequestIdReused => "REQUEST_ID_REUSED",
            Self::Unavailable(_) => "STORE_UNAVAILABLE",
            Self::NotFound => "NOT_FOUND",
        }
    }

    /// Of a session that a live person names: there, "no such session" is no word about their own.
    pub(super) fn of_another(error: StateError) -> Self {
        match error.into() {
            Self::NoSession => Self::NotFound,
            other => other,
        }
    }
}

impl From<Elapsed> for SessionRefusal {
    fn from(elapsed: Elapsed) -> Self {
        Self::Unavailable(Box::new(elapsed))
    }
}

impl From<StateError> for SessionRefusal {
    fn from(error: StateError) -> Self {
        match error.refusal() {
            Some(Refusal::RequestIdReused) => Self::RequestIdReused,
            // Unknown, pending, ended: the asker learns no difference.
            Some(Refusal::NotFound(_) | Refusal::Inactive { .. }) => Self::NoSession,
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

impl From<AuditError> for SessionRefusal {
    fn from(error: AuditError) -> Self {
        Self::Unavailable(Box::new(error))
    }
}
