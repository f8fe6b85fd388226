//! A task: what authority is handed over for. Tasks form a tree; ending one ends all below it.

use super::id::{PersonId, SessionId, TaskId};
use super::principal::Principal;
use crate::clock::Timestamp;

/// A task. Its name is unique for one person, for good: a name that was used once never means another task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The person at the root.
    pub person: PersonId,
    /// The session that it rests on.
    pub session: SessionId,
    /// From the root task to this one, both included.
    pub path: Vec<TaskId>,
    /// Who began it, and may end it.
    pub owner: Principal,
    /// What it is for, in words of whoever began it. Not to be trusted.
    pub purpose: String,
    /// When it began.
    pub created: Timestamp,
    /// When it ends by itself: never after its parent or its session.
    pub deadline: Timestamp,
    /// Whether it lives. Past `deadline` it does not, whatever this says.
    pub status: Status,
}

/// Whether something lives, and if not, how it ended. All but `Active` are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Begun, and not yet witnessed: nothing may rest on it.
    Pending,
    /// Alive.
    Active,
    /// Came to its regular end.
    Completed,
    /// Ended on somebody's word.
    Revoked,
    /// Came to the end of its time.
    Expired,
    /// Ended because something above it did.
    Cascaded,
}

impl Status {
    /// The word for it, as `active`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Cascaded => "cascaded",
        }
    }
}
