//! Why the memory did not do as it was told: a refusal, which is an answer, or a failure, after which nothing was done.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::delegation::Status;

/// Why a call changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StateError {
    /// A rule says no. Asking again gives the same answer until something else changes.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The memory can't be used now. Whoever needs it denies.
    #[error("state is unavailable: {failure}")]
    Unavailable {
        /// In which way.
        failure: Failure,
        /// What the engine said.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
}

/// A rule that says no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such thing, or it is somebody else's: the two look alike.
    #[error("there is no such {0}")]
    NotFound(Level),
    /// What this would rest on does not live.
    #[error("the {level} is {}", .status.as_str())]
    Inactive {
        /// What does not live.
        level: Level,
        /// How it ended, or that it has not begun.
        status: Status,
    },
    /// The person has used this name for a task before.
    #[error("the task's name was used before; choose another one")]
    TaskExists,
    /// As many live as may rest on one parent.
    #[error("no more than {limit} may rest on one {level}")]
    Fanout {
        /// On what.
        level: Level,
        /// How many may.
        limit: u32,
    },
    /// As many tokens live as may for one task.
    #[error("no more than {limit} tokens may live for one task")]
    TooManyTokens {
        /// How many may.
        limit: u32,
    },
    /// What was proposed does not fit what is kept; says which part.
    #[error("the proposal does not fit what it rests on: {0}")]
    Unfit(&'static str),
    /// The request's id came before with another body.
    #[error("the request id was used for another request")]
    RequestIdReused,
}

/// What something rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// A session.
    Session,
    /// A task.
    Task,
    /// A grant.
    Grant,
    /// A token.
    Token,
}

/// In which way a memory can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Another process holds it.
    Locked,
    /// There is no space left.
    Full,
    /// It can't be written.
    ReadOnly,
    /// What is there can't be understood.
    Corrupt,
    /// The operating system or the engine failed in another way.
    Io,
    /// It was moved or replaced while in use; a restart is needed.
    Replaced,
    /// Too many calls wait.
    Overloaded,
    /// It was closed.
    Closed,
}

impl StateError {
    /// A failure without words of an engine.
    pub const fn unavailable(failure: Failure) -> Self {
        Self::Unavailable {
            failure,
            source: None,
        }
    }

    /// The refusal, where it is one.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unavailable { .. } => None,
        }
    }
}

impl Level {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Task => "task",
            Self::Grant => "grant",
            Self::Token => "token",
        }
    }
}

impl Failure {
    /// The words for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "another process holds it",
            Self::Full => "no space left",
            Self::ReadOnly => "it can't be written",
            Self::Corrupt => "what is kept can't be understood",
            Self::Io => "it can't be read or written",
            Self::Replaced => "it was moved or replaced while in use; restart attache",
            Self::Overloaded => "too many calls wait",
            Self::Closed => "it is closed",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
