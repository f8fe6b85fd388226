//! A grant: authority that was handed to one agent for one task. Tokens are short leases on it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::held::Held;
use super::id::{GrantId, IdError, SessionId, TaskId};
use super::narrowing::Narrowing;
use super::principal::Chain;
use super::task::Status;
use crate::clock::Timestamp;
use crate::identity::SpiffeId;
use crate::text;

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

    /// Whether it lives by itself at `now`. Whether all above it do is for `state` to know.
    pub fn lives(&self, now: Timestamp) -> bool {
        self.status == Status::Active && now < self.expires
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

impl From<&SpiffeId> for Audience {
    fn from(id: &SpiffeId) -> Self {
        Self(id.as_str().into())
    }
}

impl FromStr for Audience {
    type Err = IdError;

    /// Accepts a URI of 1 to 2048 printable ASCII characters, with a scheme in lower case (RFC 3986 section 3.1); never a
    /// wildcard. What begins as a SPIFFE ID has to be one.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > 2048 {
            return Err(IdError::Length(text.len()));
        }
        let odd = |it: &char| !it.is_ascii_graphic() || "*\"<>\\^`{|}".contains(*it);
        if let Some(character) = text.chars().find(odd) {
            return Err(IdError::Character(text.to_owned(), character));
        }
        let strict = match text.split_once(':') {
            Some(("spiffe", _)) => text.parse::<SpiffeId>().is_ok(),
            Some((scheme, rest)) => is_scheme(scheme) && !rest.is_empty(),
            None => false,
        };
        if !strict {
            return Err(IdError::Uri(text.to_owned()));
        }
        Ok(Self(text.into()))
    }
}

fn is_scheme(text: &str) -> bool {
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || "+-.".contains(it);
    text.starts_with(|it: char| it.is_ascii_lowercase()) && text.chars().all(plain)
}

impl Serialize for Audience {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Audience {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_a_uri_and_never_a_pattern() {
        for good in [
            "spiffe://example.org/svc/documents",
            "https://documents.example.org/",
            "urn:example:documents",
        ] {
            assert_eq!(good.parse::<Audience>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "documents",
            "*",
            "https:",
            "://documents",
            "HTTPS://documents",
            "SPIFFE://example.org/svc",
            "spiffe://example.org/svc/*",
            "spiffe://Example.org/svc",
            "spiffe:documents",
            "https://documents/ ",
            "urn:a\u{202e}b",
        ] {
            assert!(bad.parse::<Audience>().is_err(), "{bad:?}");
        }
        let long = format!("urn:{}", "a".repeat(2045));
        assert_eq!(long.parse::<Audience>(), Err(IdError::Length(2049)));
    }
}
