//! Decides what a route's path and resource templates stand for; both are checked when they are read.
//!
//! A path template is made of literal segments, `*` and `{name}` (exactly one segment) and may end in `**` (zero or more
//! segments, with or without a slash at the end). Otherwise the slash at the end counts: `/a/` and `/a` are two paths.

use super::path::{MAX_SEGMENTS, NormalPath};
use crate::pattern::is_literal;
use crate::permission::{NameError, Resource};

/// A path template such as `/documents/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTemplate {
    pub(super) segments: Vec<Segment>,
    pub(super) end: End,
}

/// One segment of a path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// This very segment.
    Literal(Box<str>),
    /// `*`: any segment, forgotten.
    Any,
    /// `{name}`: any segment, remembered.
    Capture(Box<str>),
}

/// What follows the last segment of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing.
    Bare,
    /// One slash. The root path `/` is no segments and a slash.
    Slash,
    /// Anything: the template ends in `**`.
    Open,
}

/// A resource template such as `documents/{id}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResourceTemplate {
    /// The same resource for every request.
    Fixed(Resource),
    /// Segments, some of them captured from the path.
    Built(Vec<Part>),
}

/// One segment of a resource template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// This very segment.
    Literal(Box<str>),
    /// The capture with this number, counted from zero.
    Capture(usize),
}

// === impl PathTemplate ===

impl PathTemplate {
    /// Reads a template; the error says what is wrong and what to write instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = Some(
            text.strip_prefix('/')
                .ok_or_else(|| format!("path `{text}` must begin with `/`"))?,
        );
        let mut template = Self {
            segments: Vec::new(),
            end: End::Bare,
        };
        while let Some(here) = rest {
            let (segment, following) = match here.split_once('/') {
                Some((segment, following)) => (segment, Some(following)),
                None => (here, None),
            };
            rest = following;
            match segment {
                "" if rest.is_none() => template.end = End::Slash,
                "" => {
                    return Err(format!(
                        "path `{text}` has an empty segment; remove one slash"
                    ));
                }
                "**" if rest.is_none() => template.end = End::Open,
                "**" => {
                    return Err(format!(
                        "path `{text}`: `**` may only be the last segment; write `*` for one segment"
                    ));
                }
                "*" => template.segments.push(Segment::Any),
                _ if segment.contains(['{', '}']) => {
                    let name = capture_name(segment, text)?;
                    if template.captures().any(|(_, earlier)| earlier == name) {
                        return Err(format!(
                            "path `{text}` names `{{{name}}}` twice; give each capture its own name"
                        ));
                    }
                    template.segments.push(Segment::Capture(name.into()));
                }
                _ => {
                    check_literal(segment, text)?;
                    template.segments.push(Segment::Literal(segment.into()));
                }
            }
        }
        if template.segments.len() > MAX_SEGMENTS {
            return Err(format!(
                "path `{text}` has more than {MAX_SEGMENTS} segments, which no request may have"
            ));
        }
        Ok(template)
    }

    /// The template of every method of a gRPC service, or of one of them: `/service/*` or `/service/method`.
    pub(super) fn grpc(service: &str, method: &str) -> Self {
        let method = match method {
            "*" => Segment::Any,
            name => Segment::Literal(name.into()),
        };
        Self {
            segments: vec![Segment::Literal(service.into()), method],
            end: End::Bare,
        }
    }

    /// The captures in order, each with the number of its segment and its name.
    pub(super) fn captures(&self) -> impl Iterator<Item = (usize, &str)> {
        self.segments
            .iter()
            .enumerate()
            .filter_map(|(at, segment)| match segment {
                Segment::Capture(name) => Some((at, &**name)),
                Segment::Literal(_) | Segment::Any => None,
            })
    }

    /// Whether every path that `other` matches is matched by `self` too. Exact.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let reaches = match self.end {
            End::Bare | End::Slash => {
                self.end == other.end && self.segments.len() == other.segments.len()
            }
            End::Open => self.segments.len() <= other.segments.len(),
        };
        reaches
            && self
                .segments
                .iter()
                .zip(&other.segments)
                .all(|(one, other)| match one {
                    Segment::Literal(_) => one == other,
                    Segment::Any | Segment::Capture(_) => true,
                })
    }
}

// === impl ResourceTemplate ===

impl ResourceTemplate {
    /// Reads a template whose captures come from `path`; the error says what is wrong and what to write instead.
    pub(super) fn parse(text: &str, path: &PathTemplate) -> Result<Self, String> {
        if !text.contains(['{', '}']) {
            return text.parse().map(Self::Fixed).map_err(|error: NameError| {
                format!("resource: {error}; write segments such as `documents/{{id}}`")
            });
        }
        text.split('/')
            .map(|segment| {
                if segment.contains(['{', '}']) {
                    let name = capture_name(segment, text)?;
                    return path
                        .captures()
                        .position(|(_, known)| known == name)
                        .map(Part::Capture)
                        .ok_or_else(|| {
                            format!("resource `{text}`: the path captures no `{{{name}}}`")
                        });
                }
                match segment.parse::<Resource>() {
                    Ok(_) => Ok(Part::Literal(segment.into())),
                    Err(error) => Err(format!("resource `{text}`: {error}")),
                }
            })
            .collect::<Result<_, _>>()
            .map(Self::Built)
    }

    /// The resource of a request with these captures, in the order of the path template.
    pub(super) fn fill(&self, captures: &[(&str, &str)]) -> Result<Resource, NameError> {
        let parts = match self {
            Self::Fixed(resource) => return Ok(resource.clone()),
            Self::Built(parts) => parts,
        };
        let mut name = String::new();
        for part in parts {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(match part {
                Part::Literal(literal) => literal,
                Part::Capture(number) => captures.get(*number).map_or("", |(_, value)| value),
            });
        }
        name.parse()
    }
}

/// Whether a value taken from a request is one plain segment (decisions: it never acts as a pattern or a separator).
///
/// An escape is refused as well: names of resources are compared as they are written, and an escape has a second
/// spelling. So are parameters, which some services cut off.
pub(super) fn is_plain(value: &str) -> bool {
    !matches!(value, "" | "." | "..")
        && value
            .chars()
            .all(|character| is_literal(character) && !matches!(character, '%' | ';'))
}

/// Whether every service reads a segment under a wildcard alike, when it has been put into canonical form.
///
/// Escapes of what can't stand in a path otherwise have one: the space and everything beyond ASCII. `%3A`, `%3B`, `%25` and
/// the like are read as `:`, `;`, `%` by some services and left as they are by others.
pub(super) fn has_one_reading(segment: &str) -> bool {
    let mut escapes = segment.split('%');
    let before = escapes.next().unwrap_or_default();
    let plain = |text: &str| !text.contains(';');
    plain(before)
        && escapes.all(|piece| {
            let (digits, rest) = piece.split_at_checked(2).unwrap_or((piece, ""));
            let must_be_escaped =
                digits == "20" || digits.starts_with(|high| matches!(high, '8'..='9' | 'A'..='F'));
            must_be_escaped && plain(rest)
        })
}

/// The name in `{name}`.
fn capture_name<'a>(segment: &'a str, whole: &str) -> Result<&'a str, String> {
    segment
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .filter(|name| {
            name.starts_with(|first: char| first.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        })
        .ok_or_else(|| {
            format!(
                "`{segment}` in `{whole}`: a capture is a whole segment `{{name}}`, \
                 the name made of letters, digits and `_`"
            )
        })
}

/// Refuses a literal segment that no canonical path contains: it would never match.
fn check_literal(segment: &str, whole: &str) -> Result<(), String> {
    if segment.contains('*') {
        return Err(format!(
            "`{segment}` in path `{whole}`: `*` must be a whole segment; write `%2A` for the character"
        ));
    }
    let alone = format!("/{segment}");
    match NormalPath::try_from(alone.as_str()) {
        Err(problem) => Err(format!("`{segment}` in path `{whole}`: {problem}")),
        Ok(normal) if normal.as_str() != alone => Err(format!(
            "`{segment}` in path `{whole}` is not in normal form; write `{}`",
            normal.as_str().trim_start_matches('/')
        )),
        Ok(_) => Ok(()),
    }
}
