//! A task: what authority is handed over for. Tasks form a tree; ending one ends all below it.

use std::str::FromStr;

use super::id::{GrantId, PersonId, SessionId, TaskId};
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
    /// Who began it.
    pub owner: Principal,
    /// The path of the grant under which its owner began it; empty for the person directly. The holders of these grants
    /// may end it.
    pub begun_under: Vec<GrantId>,
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

/// A word that is not a status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a status", .0.escape_debug())]
pub struct StatusError(String);

impl Task {
    /// Whether it lives by itself at `now`. Whether all above it do is for `state` to know.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.status == Status::Active && now < self.deadline
    }
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Active,
        Self::Completed,
        Self::Revoked,
        Self::Expired,
        Self::Cascaded,
    ];

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

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, StatusError> {
        let named = |status: &Self| status.as_str() == text;
        let status = Self::ALL.into_iter().find(named);
        status.ok_or_else(|| StatusError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_reads_back_and_no_other_word_is_one() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        for word in ["", "Active", "alive", "active "] {
            assert!(word.parse::<Status>().is_err(), "{word:?}");
        }
    }
}
