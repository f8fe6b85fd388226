//! Which operations are meant: [`Scope`], a pattern of resources together with one action or all of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use super::name::{Action, NameError, Resource};
use crate::pattern::Pattern;
use crate::text;

/// One action, or `*` for every action. No action implies another, `admin` included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ActionPattern {
    /// Every action, shown as `*`.
    Any,
    /// This action alone.
    Only(Action),
}

/// A set of operations: every resource that the pattern matches, with every action that the action pattern matches.
///
/// Shown as `documents/**:read`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// To what.
    pub resource: Pattern,
    /// What is done.
    pub action: ActionPattern,
}

// === impl ActionPattern ===

impl ActionPattern {
    /// Whether `action` is meant.
    pub fn matches(&self, action: &Action) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == action,
        }
    }

    /// What both mean; `None` where that is nothing.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, narrower) | (narrower, Self::Any) => Some(narrower.clone()),
            (Self::Only(one), Self::Only(two)) => (one == two).then(|| self.clone()),
        }
    }

    /// Whether every action that `other` means is meant by `self` too. Exact.
    pub fn covers(&self, other: &Self) -> bool {
        *self == Self::Any || self == other
    }
}

impl FromStr for ActionPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "*" => Ok(Self::Any),
            word => word.parse().map(Self::Only),
        }
    }
}

impl fmt::Display for ActionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Only(action) => action.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for ActionPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

// === impl Scope ===

impl Scope {
    /// Every operation, `**:*`.
    pub const fn everything() -> Self {
        Self {
            resource: Pattern::everything(),
            action: ActionPattern::Any,
        }
    }

    /// Whether doing `action` to `resource` is one of these operations.
    pub fn matches(&self, resource: &Resource, action: &Action) -> bool {
        self.action.matches(action) && self.resource.matches(resource.segments())
    }

    /// The operations in both; `None` where there are none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        Some(Self {
            action: self.action.intersect(&other.action)?,
            resource: self.resource.intersect(&other.resource)?,
        })
    }

    /// Whether every operation of `other` is one of `self`. Exact.
    pub fn covers(&self, other: &Self) -> bool {
        self.action.covers(&other.action) && self.resource.covers(&other.resource)
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.resource, self.action)
    }
}
