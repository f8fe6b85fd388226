//! SPIFFE IDs as the rest of attache sees them: always valid, always in their one canonical spelling, never bare.
//!
//! Grammar and limits follow the SPIFFE ID standard (sections 2.1 to 2.4). Where the standard lets a reader fold case,
//! attache refuses instead: one identity has one spelling in policy, cache keys and audit.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::pattern::{Pattern, PatternError};
use crate::text;

/// A workload's SPIFFE ID: trust domain and a non-empty path. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    id: Arc<str>,
    /// Where the path begins in `id`.
    path_at: u16,
}

/// The authority part of SPIFFE IDs, such as `example.org`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

/// A pattern over SPIFFE IDs of one trust domain, such as `spiffe://example.org/agent/**`.
///
/// The trust domain is always literal: no pattern reaches across trust domains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffePattern(Pattern);

/// Why a text is not an acceptable SPIFFE ID, trust domain or pattern of SPIFFE IDs.
///
/// The text is quoted escaped and, where it is long, cut: it may come from whoever sent the request.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SpiffeIdError {
    /// Longer than 2048 bytes (SPIFFE ID section 2.3).
    #[error("a SPIFFE ID has at most 2048 bytes, this one has {0}")]
    TooLong(usize),
    /// Not of the form `spiffe://trust-domain/path`.
    #[error("`{id}` is not a SPIFFE ID")]
    Syntax {
        /// The text as given.
        id: String,
        /// What the `spiffe` crate says of it.
        #[source]
        source: spiffe::SpiffeIdError,
    },
    /// Upper case in the scheme or the trust domain.
    #[error("scheme and trust domain of `{0}` must be lower case")]
    NotCanonical(String),
    /// A trust domain without a path names no workload.
    #[error("`{0}` names a trust domain, not a workload: the path is missing")]
    NoPath(String),
    /// A trust domain with something around it, or with characters it can't have.
    #[error("`{0}` is not a trust domain name")]
    TrustDomain(String),
    /// A pattern must begin with `spiffe://` and a literal trust domain.
    #[error("`{0}` must begin with spiffe:// and a trust domain without wildcards")]
    PatternStart(String),
    /// The path part of a pattern is malformed.
    #[error("`{pattern}` is not a pattern of SPIFFE IDs")]
    Pattern {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with its segments.
        #[source]
        source: PatternError,
    },
    /// A literal segment of the pattern holds what no segment of a SPIFFE ID can hold, so it could never match.
    #[error("segment `{0}` of the pattern can't be part of a SPIFFE ID")]
    PatternSegment(String),
}

// === impl SpiffeId ===

impl SpiffeId {
    /// The trust domain's name.
    pub fn trust_domain(&self) -> &str {
        self.id
            .get(SCHEME.len()..usize::from(self.path_at))
            .unwrap_or_default()
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        self.id.get(usize::from(self.path_at)..).unwrap_or_default()
    }

    /// The whole ID.
    pub fn as_str(&self) -> &str {
        &self.id
    }

    /// The trust domain followed by the segments of the path, as patterns match them.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.id.get(SCHEME.len()..).unwrap_or_default().split('/')
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        // The `spiffe` crate has no limit on the whole ID.
        if text.len() > MAX_LENGTH {
            return Err(SpiffeIdError::TooLong(text.len()));
        }
        let parsed = spiffe::SpiffeId::new(text).map_err(|source| SpiffeIdError::Syntax {
            id: excerpt(text),
            source,
        })?;
        // It also folds the case of scheme and trust domain.
        let spelled = text
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.strip_prefix(parsed.trust_domain().as_str()));
        if spelled != Some(parsed.path()) {
            return Err(SpiffeIdError::NotCanonical(excerpt(text)));
        }
        if parsed.path().is_empty() {
            return Err(SpiffeIdError::NoPath(excerpt(text)));
        }
        let path_at = text.len() - parsed.path().len();
        Ok(Self {
            id: text.into(),
            path_at: u16::try_from(path_at).unwrap_or(u16::MAX),
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl serde::Serialize for SpiffeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.id)
    }
}

// === impl TrustDomain ===

impl TrustDomain {
    /// Whether `id` belongs to this trust domain.
    pub fn contains(&self, id: &SpiffeId) -> bool {
        id.trust_domain() == &*self.0
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        match spiffe::TrustDomain::new(text) {
            // The `spiffe` crate also takes whole IDs and upper case.
            Ok(parsed) if parsed.as_str() == text => Ok(Self(text.into())),
            _ => Err(SpiffeIdError::TrustDomain(excerpt(text))),
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl SpiffePattern ===

impl SpiffePattern {
    /// Whether `id` is one of the IDs this pattern stands for.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        self.0.matches(id.segments())
    }

    /// The trust domain, which is never a wildcard.
    pub fn trust_domain(&self) -> String {
        let pattern = self.0.to_string();
        let end = pattern.find('/').unwrap_or(pattern.len());
        pattern.get(..end).unwrap_or_default().to_owned()
    }

    /// Whether every ID that `other` stands for is one of this pattern's.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.covers(&other.0)
    }

    /// Whether some ID is one of both patterns'.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.intersect(&other.0).is_some()
    }
}

impl FromStr for SpiffePattern {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        if text.len() > MAX_LENGTH {
            return Err(SpiffeIdError::TooLong(text.len()));
        }
        let start = || SpiffeIdError::PatternStart(excerpt(text));
        let rest = text.strip_prefix(SCHEME).ok_or_else(start)?;
        let (trust_domain, path) = rest.split_once('/').ok_or_else(start)?;
        TrustDomain::from_str(trust_domain).map_err(|_not_a_name| start())?;
        let pattern = Pattern::from_str(rest).map_err(|source| SpiffeIdError::Pattern {
            pattern: excerpt(text),
            source,
        })?;
        // What could never match is a slip of the pen: `spiffe://td/agent,svc`.
        match path.split('/').find(|segment| !may_match(segment)) {
            Some(segment) => Err(SpiffeIdError::PatternSegment(excerpt(segment))),
            None => Ok(Self(pattern)),
        }
    }
}

impl fmt::Display for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

// === Deserialize ===

macro_rules! deserialize_from_str {
    ($($type:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }
    )+};
}

deserialize_from_str!(SpiffeId, TrustDomain, SpiffePattern);

/// Whether a pattern's segment is a wildcard, or a text that a segment of a SPIFFE ID's path can be (section 2.2).
fn may_match(segment: &str) -> bool {
    matches!(segment, "*" | "**")
        || segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}

/// The beginning of a text, on one line.
pub(super) fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut excerpt: String = characters
        .by_ref()
        .take(EXCERPT_LENGTH)
        .flat_map(char::escape_debug)
        .collect();
    if characters.next().is_some() {
        excerpt.push('…');
    }
    excerpt
}

const SCHEME: &str = "spiffe://";
const MAX_LENGTH: usize = 2048;
const EXCERPT_LENGTH: usize = 256;
