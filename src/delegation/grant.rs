//! A grant: authority that was handed to one agent for one task. Tokens are short leases on it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::held::{Held, Narrowing};
use super::id::{GrantId, IdError, SessionId, TaskId};
use super::principal::Chain;
use super::task::Status;
use crate::clock::Timestamp;

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// From the root grant to this one, both included; the last is its own id.
    pub path: Vec<GrantId>,
    /// From the person to the agent that holds it.
    pub chain: Chain,
    /// The session that it rests on.
    pub session: SessionId,
    /// The tasks that it serves, from the root task to its own.
    pub task_path: Vec<TaskId>,
    /// What it permits: what its parent did, or the person's role, narrowed.
    pub held: Held,
    /// How it was narrowed at each hop, the first one first: says later where a permission was lost.
    pub hops: Vec<Narrowing>,
    /// The services that tokens may be made for. A token is for some of them, never for others.
    pub audience: Vec<Audience>,
    /// How many more times it may be handed on; 0 for a leaf.
    pub further: u8,
    /// When it was given.
    pub created: Timestamp,
    /// When it ends by itself: never after its parent, its task or its session.
    pub expires: Timestamp,
    /// Whether it lives by itself. Whether all above it do is for `state` to know.
    pub status: Status,
}

/// A service that accepts tokens: its SPIFFE ID, or another URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Audience(Arc<str>);

impl Grant {
    /// Its own id.
    pub fn id(&self) -> Option<&GrantId> {
        self.path.last()
    }

    /// The task that it serves.
    pub fn task(&self) -> Option<&TaskId> {
        self.task_path.last()
    }
}

impl Audience {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Audience {
    type Err = IdError;

    /// Accepts a URI of 1 to 2048 printable ASCII characters, with a scheme; never a wildcard.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > 2048 {
            return Err(IdError::Length(text.len()));
        }
        let odd = |it: &char| !it.is_ascii_graphic() || "*\"<>\\^`{|}".contains(*it);
        if let Some(character) = text.chars().find(odd) {
            return Err(IdError::Character(text.to_owned(), character));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
