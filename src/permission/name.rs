//! The names of what is done and to what: [`Action`] and [`Resource`], valid by construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::identity::SpiffeId;
use crate::pattern::is_literal;

/// What is done: `read`, `create`, `update`, `delete`, `admin` or any other single word. Case-sensitive, cheap to clone.
///
/// No action implies another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action(Arc<str>);

/// What it is done to: literal `/`-separated segments such as `documents/42`, or a SPIFFE ID. Cheap to clone.
///
/// A SPIFFE ID is matched by the segments after its scheme (`example.org/svc/documents`) and shown whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    name: Arc<str>,
    spiffe: bool,
}

/// Why a text is not an action or a resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there, or an empty segment.
    #[error("`{0}` is empty or has an empty segment")]
    Empty(String),
    /// `.` or `..` as a segment.
    #[error("`{0}` has a dot segment")]
    DotSegment(String),
    /// A character that separates or matches elsewhere: `:` `@` `*` `\`, white space, controls, `/` in an action.
    #[error("character {1:?} is not allowed in `{0}`")]
    Character(String, char),
}

// === impl Action ===

impl Action {
    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Action {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty(text.to_owned()));
        }
        match text.chars().find(|character| !is_literal(*character)) {
            Some(character) => Err(NameError::Character(text.to_owned(), character)),
            None => Ok(Self(text.into())),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for Action {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

// === impl Resource ===

impl Resource {
    /// The resource as written: a path of segments, or the whole SPIFFE ID.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What patterns match: the segments, for a SPIFFE ID those after the scheme.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        let skip = if self.spiffe { "spiffe://".len() } else { 0 };
        self.name.get(skip..).unwrap_or_default().split('/')
    }
}

impl FromStr for Resource {
    type Err = NameError;

    /// Reads a path of segments. A SPIFFE ID becomes a resource by [`From<&SpiffeId>`] only.
    fn from_str(text: &str) -> Result<Self, NameError> {
        for segment in text.split('/') {
            match segment {
                "" => return Err(NameError::Empty(text.to_owned())),
                "." | ".." => return Err(NameError::DotSegment(text.to_owned())),
                _ => {}
            }
            if let Some(character) = segment.chars().find(|character| !is_literal(*character)) {
                return Err(NameError::Character(text.to_owned(), character));
            }
        }
        Ok(Self {
            name: text.into(),
            spiffe: false,
        })
    }
}

impl From<&SpiffeId> for Resource {
    fn from(id: &SpiffeId) -> Self {
        Self {
            name: id.as_str().into(),
            spiffe: true,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl serde::Serialize for Resource {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_made_of_plain_segments() {
        for good in ["documents", "documents/42", "a/b/c", "ünïcode", "a,b;c=d"] {
            assert_eq!(good.parse::<Resource>().unwrap().as_str(), good);
        }
        for bad in [
            "", "/", "a/", "/a", "a//b", "a/../b", ".", "a:b", "a@b", "a/*", "a/**", "a\\b", "a b",
            "a\nb",
        ] {
            assert!(bad.parse::<Resource>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_action_is_one_plain_word() {
        for good in ["read", "Read", "documents.publish"] {
            assert_eq!(good.parse::<Action>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "a/b",
            "*",
            "read:all",
            "read@free",
            "read write",
            "\u{0}",
        ] {
            assert!(bad.parse::<Action>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_spiffe_id_is_matched_without_its_scheme() {
        let id: SpiffeId = "spiffe://example.org/svc/documents".parse().unwrap();
        let resource = Resource::from(&id);
        assert_eq!(resource.as_str(), "spiffe://example.org/svc/documents");
        assert!(resource.segments().eq(["example.org", "svc", "documents"]));
    }
}
