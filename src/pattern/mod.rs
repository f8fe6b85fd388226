//! The one wildcard grammar of attache, used for resources and for SPIFFE IDs: `/`-separated segments, each a literal
//! or `*` (exactly one segment), optionally ended by `**` (zero or more segments).
//!
//! Matching is by whole segments and case-sensitive; nothing is decoded, folded or trimmed here. Two patterns of this
//! grammar intersect in at most one pattern of this grammar, which is what makes narrowing a permission set exact.
//!
//! Literals are printable ASCII. Letters beyond it have several spellings (composed and decomposed, Unicode NFC and NFD)
//! that look alike and compare unequal; in a URL they stand percent-encoded, and so they stand here. What doesn't parse
//! is refused, so a text never means a different set of paths than it shows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::text;

#[cfg(test)]
mod tests;

/// A parsed pattern, such as `documents/*/comments/**`.
///
/// Patterns are equal exactly if they match the same paths. Displaying and parsing are inverse to each other, but for
/// `*/**`, which is shown as `**`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Ends in `**`: matches any number of further segments.
    open: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Segment {
    Literal(String),
    Any,
}

/// Why a text is not a pattern. Shown with the text escaped, since it may come from a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty, or has an empty segment: a leading, trailing or doubled slash.
    #[error("empty segment in pattern `{}`", .0.escape_debug())]
    EmptySegment(String),
    /// `.` or `..`, which would name another place.
    #[error("dot segment in pattern `{}`", .0.escape_debug())]
    DotSegment(String),
    /// `**` anywhere but at the end.
    #[error("`**` is allowed only as the last segment: `{}`", .0.escape_debug())]
    OpenNotLast(String),
    /// A wildcard inside a segment, as in `doc*`.
    #[error("`*` must be a whole segment: `{}`", .0.escape_debug())]
    PartialWildcard(String),
    /// A character that no literal may hold; see [`is_literal`].
    #[error("character {:?} is not allowed in pattern `{}`", .1, .0.escape_debug())]
    Character(String, char),
}

impl Pattern {
    /// `**`, which every path matches.
    pub const fn everything() -> Self {
        Self {
            segments: Vec::new(),
            open: true,
        }
    }

    /// Whether `segments`, at least one of them, is a path this pattern stands for.
    pub fn matches<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> bool {
        let mut given = segments.into_iter();
        for wanted in &self.segments {
            match (given.next(), wanted) {
                (Some(_), Segment::Any) => {}
                (Some(actual), Segment::Literal(literal)) if actual == literal => {}
                _ => return false,
            }
        }
        self.open || given.next().is_none()
    }

    /// The pattern that matches exactly what both match; `None` where no path is matched by both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        let (short, long) = if self.segments.len() <= other.segments.len() {
            (self, other)
        } else {
            (other, self)
        };
        if short.segments.len() < long.segments.len() && !short.open {
            return None;
        }
        let mut segments = Vec::with_capacity(long.segments.len());
        for (index, segment) in long.segments.iter().enumerate() {
            segments.push(match (segment, short.segments.get(index)) {
                (one, None | Some(Segment::Any)) => one.clone(),
                (Segment::Any, Some(other)) => other.clone(),
                (one, Some(other)) if one == other => one.clone(),
                _ => return None,
            });
        }
        // Equal lengths: open only if both are. Otherwise the short one is open and the long one decides.
        let open = long.open && short.open;
        Some(Self { segments, open })
    }

    /// Whether every path that `other` matches is matched by `self` too. Exact in both directions.
    pub fn covers(&self, other: &Self) -> bool {
        let mut given = other.segments.iter();
        for wanted in &self.segments {
            match (given.next(), wanted) {
                (Some(_), Segment::Any) => {}
                (Some(narrower), Segment::Literal(_)) if narrower == wanted => {}
                _ => return false,
            }
        }
        self.open || (!other.open && given.next().is_none())
    }

    /// What this pattern matches, and everything below it: `documents/*` becomes `documents/*/**`.
    #[must_use]
    pub fn subtree(&self) -> Self {
        Self::canonical(self.segments.clone(), true)
    }

    /// No path is empty, so `*/**` is `**`: patterns that match the same paths are equal.
    fn canonical(mut segments: Vec<Segment>, open: bool) -> Self {
        if open && segments == [Segment::Any] {
            segments.clear();
        }
        Self { segments, open }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut segments = Vec::new();
        let mut open = false;
        for segment in text.split('/') {
            if open {
                return Err(PatternError::OpenNotLast(text.to_owned()));
            }
            match segment {
                "" => return Err(PatternError::EmptySegment(text.to_owned())),
                "." | ".." => return Err(PatternError::DotSegment(text.to_owned())),
                "**" => open = true,
                "*" => segments.push(Segment::Any),
                literal => segments.push(Segment::Literal(checked(literal, text)?.to_owned())),
            }
        }
        Ok(Self::canonical(segments, open))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut slash = "";
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "{slash}{literal}")?,
                Segment::Any => write!(f, "{slash}*")?,
            }
            slash = "/";
        }
        if self.open {
            write!(f, "{slash}**")?;
        }
        Ok(())
    }
}

impl serde::Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// Whether a character may stand in a literal segment of a pattern, in a resource or in an action: printable ASCII
/// without `:` and `@`, which separate resource, action and tier in a permission, `*`, `/` and `\`.
pub fn is_literal(character: char) -> bool {
    character.is_ascii_graphic() && !matches!(character, ':' | '@' | '*' | '/' | '\\')
}

fn checked<'a>(segment: &'a str, whole: &str) -> Result<&'a str, PatternError> {
    match segment.chars().find(|character| !is_literal(*character)) {
        None => Ok(segment),
        Some('*') => Err(PatternError::PartialWildcard(whole.to_owned())),
        Some(character) => Err(PatternError::Character(whole.to_owned(), character)),
    }
}
