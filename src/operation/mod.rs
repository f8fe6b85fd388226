//! WHICH operation a request is: from method, host and path to a resource and an action.
//!
//! Decides by the route table alone: the first route in the order of the file that matches the method, the canonical
//! host and the canonical path names the operation. Where none does, an explicit fallback may.
//!
//! Never looks at headers that name another path, host or method, never sees the caller, never takes a value from the
//! request for a pattern, and never tries a later route after an earlier one has matched.
//!
//! When it fails, the request is refused: an ambiguous path, an unknown operation, a captured value that is not one
//! plain segment, a body that can't be read whole.

mod body;
mod fallback;
mod host;
mod parameters;
mod path;
mod route;
mod table;
mod template;
mod trie;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use body::{Body, BodyProblem, BodyRule, ParsedBody};
pub use fallback::{ACTION_KEY, ExtensionProblem, Fallback, RESOURCE_KEY};
pub use host::{Host, HostProblem};
pub use parameters::{ParameterProblem, parameters};
pub use path::{NormalPath, PathProblem, Target, split};
pub use route::{Methods, RouteConfig};
pub use table::{Problem, RouteTable};

use crate::identity::SpiffeId;
use crate::permission::{Action, Resource};

/// What a request is about to do, as far as configuration says. Borrows names from the table, values from the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<'a> {
    /// What is accessed.
    pub resource: Resource,
    /// What is done to it.
    pub action: Action,
    /// The workload that serves it, where the route names one.
    pub target: Option<SpiffeId>,
    /// Captured values by name, in the order of the path. Each is one plain segment.
    pub params: Vec<(&'a str, &'a str)>,
    /// The route's own attributes.
    pub attributes: Arc<BTreeMap<String, String>>,
    /// Whether policy reads the body.
    pub body: BodyRule,
    /// How long policy's verdicts may be used again, where the route says; zero for never.
    pub cache_ttl: Option<Duration>,
    /// Whether the decision is enforced.
    pub mode: Mode,
    /// What named the operation, for audit: the route as `GET /documents/{id}`, or the fallback.
    pub route: Arc<str>,
}

/// What happens to a refusal on this route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The request is refused.
    #[default]
    Enforce,
    /// The refusal is recorded and the request passes.
    Shadow,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// Why a request has no operation. Every one is a refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// No route matches, and no fallback applies.
    #[error("no route matches this request")]
    NoRoute,
    /// The first route that matches takes a value from the path that is not one plain segment.
    #[error("the path's value for `{name}` is not one plain segment")]
    InvalidCapture {
        /// The capture; `*` or `**` where the segment is not remembered.
        name: String,
        /// What happens to a refusal on that route.
        mode: Mode,
    },
    /// An earlier route matches but for the slash at the end, which many services ignore.
    #[error("an earlier route matches this path but for the slash at its end")]
    SlashAside,
    /// The proxy names an operation that can't be read.
    #[error("the proxy's context extensions name no operation")]
    Extension(#[source] ExtensionProblem),
}
