//! A person's session: what every delegation of theirs rests on.

use super::id::{RoleName, SessionId};
use super::principal::Person;
use super::task::Status;
use crate::clock::Timestamp;

/// A session. Its credential is an opaque handle, of which only a digest is kept, and not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose.
    pub person: Person,
    /// What they may do, by name; the table of roles says what that is now.
    pub role: RoleName,
    /// How they showed who they are.
    pub authentication: Authentication,
    /// When it began.
    pub created: Timestamp,
    /// When it ends by itself. Nothing that rests on it ends later.
    pub expires: Timestamp,
    /// Whether it lives. Past `expires` it does not, whatever this says.
    pub status: Status,
}

impl Session {
    /// Whether it lives at `now`.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.status == Status::Active && now < self.expires
    }
}

/// How and when a person showed who they are; copied into tokens, never refreshed by an agent (RFC 9068 section 2.2.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Authentication {
    /// When (`auth_time`).
    pub time: Timestamp,
    /// By what means (`amr`), as `pwd`.
    pub methods: Vec<String>,
    /// Of which class (`acr`).
    pub class: Option<String>,
}
