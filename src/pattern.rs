//! The one wildcard grammar of attache, used for resources and for SPIFFE IDs: `/`-separated segments, each a literal
//! or `*` (exactly one segment), optionally ended by `**` (zero or more segments).
//!
//! Matching is by whole segments and case-sensitive; nothing is decoded or trimmed here. Two patterns of this grammar
//! intersect in at most one pattern of this grammar, which is what makes narrowing a permission set exact.

use std::fmt;
use std::str::FromStr;

/// A parsed pattern, such as `documents/*/comments/**`.
///
/// Parsing and displaying are inverse to each other.
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

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty, or has an empty segment: a leading, trailing or doubled slash.
    #[error("empty segment in pattern `{0}`")]
    EmptySegment(String),
    /// `.` or `..`, which would name another place.
    #[error("dot segment in pattern `{0}`")]
    DotSegment(String),
    /// `**` anywhere but at the end.
    #[error("`**` is allowed only as the last segment: `{0}`")]
    OpenNotLast(String),
    /// A wildcard inside a segment, as in `doc*`.
    #[error("`*` must be a whole segment: `{0}`")]
    PartialWildcard(String),
    /// White space, a control character, `:` or `@`, which separate the parts of a permission.
    #[error("character {1:?} is not allowed in pattern `{0}`")]
    Character(String, char),
}

impl Pattern {
    /// Whether `segments` is one of the paths this pattern stands for.
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

    /// Whether every path that `other` matches is matched by `self` too.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersect(other).as_ref() == Some(other)
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
        Ok(Self { segments, open })
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

/// Whether a character may stand in a literal segment of a pattern, a resource or an action.
///
/// `:` and `@` separate resource, action and tier in a permission; `*` is the wildcard and `/` the separator.
pub fn is_literal(character: char) -> bool {
    !matches!(character, ':' | '@' | '*' | '/' | '\\')
        && !character.is_control()
        && !character.is_whitespace()
}

fn checked<'a>(segment: &'a str, whole: &str) -> Result<&'a str, PatternError> {
    match segment.chars().find(|character| !is_literal(*character)) {
        None => Ok(segment),
        Some('*') => Err(PatternError::PartialWildcard(whole.to_owned())),
        Some(character) => Err(PatternError::Character(whole.to_owned(), character)),
    }
}
