//! The names of what is done and to what: [`Action`] and [`Resource`], valid by construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};

use crate::identity::SpiffeId;
use crate::pattern::is_literal;
use crate::text;

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

/// Why a text is not an action or a resource. Shown with the text escaped, since it may come from a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing there, or an empty segment.
    #[error("`{}` is empty or has an empty segment", .0.escape_debug())]
    Empty(String),
    /// `.` or `..` as a segment.
    #[error("`{}` has a dot segment", .0.escape_debug())]
    DotSegment(String),
    /// Not printable ASCII, or a character that separates or matches elsewhere: `:` `@` `*` `\`, `/` in an action.
    #[error("character {:?} is not allowed in `{}`", .1, .0.escape_debug())]
    Character(String, char),
}

// === impl Action ===

impl Action {
    /// The action that changes nothing.
    pub fn read() -> Self {
        Self("read".into())
    }

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

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

// === impl Resource ===

impl Resource {
    /// The resource as written: a path of segments, or the whole SPIFFE ID.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The SPIFFE ID that this resource is; `None` for a path of segments.
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        if self.spiffe {
            self.name.parse().ok()
        } else {
            None
        }
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
        for good in ["documents", "documents/42", "a/b/c", "%C3%BC", "a,b;c=d"] {
            assert_eq!(good.parse::<Resource>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "a/../b",
            ".",
            "a:b",
            "a@b",
            "a/*",
            "a/**",
            "a\\b",
            "a b",
            "a\nb",
            "ü",
            "u\u{308}",
            "a\u{202e}b",
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
            "lösche",
        ] {
            assert!(bad.parse::<Action>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_refused_name_can_not_forge_a_line_of_a_log() {
        let error = "a\nb\u{202e}".parse::<Resource>().unwrap_err();
        assert_eq!(
            error.to_string(),
            r"character '\n' is not allowed in `a\nb\u{202e}`"
        );
    }

    #[test]
    fn a_spiffe_id_is_matched_without_its_scheme() {
        let id: SpiffeId = "spiffe://example.org/svc/documents".parse().unwrap();
        let resource = Resource::from(&id);
        assert_eq!(resource.as_str(), "spiffe://example.org/svc/documents");
        assert_eq!(resource.spiffe_id(), Some(id));
        assert_eq!(
            "documents/42".parse::<Resource>().unwrap().spiffe_id(),
            None
        );
        assert!(resource.segments().eq(["example.org", "svc", "documents"]));
    }
}
