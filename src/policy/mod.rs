//! The judge: asks a policy about one operation and gets a [`Verdict`].
//!
//! A policy can refuse or raise the tier of what attache's own rules let pass; it can never grant what they refuse.
//! Undefined results are refusals; every error is an error, never a verdict.
//!
//! [`Config`] names the files, [`Sources`] holds their text, [`Program`] is what they mean, and [`EmbeddedEngine`] lets a
//! program serve and exchanges it. [`Cached`] stands before an engine and remembers its verdicts. What a policy sees is [`Input`]; what it may answer is read in one place for every
//! engine. A policy that can't be loaded is refused with [`LoadError`]s and changes nothing.

mod cache;
mod config;
mod embedded;
mod input;
mod output;
mod query;
mod rego;
mod source;

#[cfg(test)]
mod any;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use cache::{CacheConfig, Cached};
pub use config::{Config, DecisionPath, DecisionPathError, Embedded, EngineKind};
pub use embedded::{EmbeddedEngine, Reload};
pub use input::{Context, Input, Protocol, RequestInput};
pub use query::{Deadline, Query, Terms};
pub use rego::Program;
pub use source::Sources;

use crate::permission::{Reason, Tier};

/// Something that can be asked about an operation.
///
/// Every implementation gives the same answer to the same input at the same revision. `Err` means that no answer was
/// reached; the caller refuses the request. Implementations never block the calling thread for longer than a queue
/// operation, and bound their own work; the caller bounds the wait.
#[async_trait::async_trait]
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// Asks for a verdict.
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError>;

    /// The content of the policy that would answer now, as far as it is known here.
    ///
    /// A verdict of another revision is of an older policy, and no cache gives it out. Cheap: called for every question.
    fn revision(&self) -> Arc<str>;
}

/// A policy's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, no, or nothing to say.
    pub answer: Answer,
    /// The policy's own words, for audit.
    pub reason: Option<Arc<str>>,
    /// Which rule answered, in the policy's own naming.
    pub policy_id: Option<Arc<str>>,
    /// A tier to raise the operation to; one that is lower than the operation's has no effect.
    pub tier: Option<Tier>,
    /// The content of the policy that answered, as a short digest.
    pub revision: Arc<str>,
    /// Whether an equal input would get the same answer later, as far as engine and policy say.
    pub cacheable: bool,
    /// Whether the engine was asked for another request with an equal input.
    pub cached: bool,
}

/// What a policy says about an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The operation may proceed as far as policy is concerned.
    Allow,
    /// Refused.
    Deny,
    /// The policy defines no result for this input: refused.
    Undefined,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Evaluation failed, as on conflicting rules or a failing builtin.
    #[error("evaluate policy: {0}")]
    Evaluation(String),
    /// Evaluation took longer than its limit.
    #[error("policy evaluation exceeded its time limit")]
    TimeLimit,
    /// The result is neither a boolean nor an object with a boolean `allow`, or a member has the wrong type.
    #[error("policy result: {0}")]
    Shape(String),
    /// The evaluating task was lost.
    #[error("policy evaluation was interrupted")]
    Interrupted,
    /// The engine was asked for several requests at once, and this is what each of them gets.
    #[error(transparent)]
    Shared(Arc<Self>),
}

/// Why a policy can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory can't be read.
    #[error("read `{name}`")]
    Read {
        /// As configured.
        name: String,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// A file or directory is not what its place in the configuration asks for.
    #[error("`{name}` {fault}")]
    Listing {
        /// As configured.
        name: String,
        /// What it is instead.
        fault: &'static str,
    },
    /// A module is Rego in neither syntax.
    #[error("parse `{name}`: {fault}")]
    Parse {
        /// The module.
        name: String,
        /// Where and why.
        fault: String,
    },
    /// A module does what policies may not do.
    #[error("`{module}` line {line}: {fault}")]
    Refused {
        /// The module.
        module: String,
        /// Counted from 1.
        line: u32,
        /// What, and what to do about it.
        fault: String,
    },
    /// The modules are readable but make no program, as with variables that are never bound.
    #[error("compile policy: {0}")]
    Compile(String),
    /// A data document is not well formed, or contradicts another document or a rule.
    #[error("data `{name}`: {fault}")]
    Data {
        /// The document.
        name: String,
        /// What is wrong.
        fault: String,
    },
    /// The rule to ask for does not exist or can have no single value.
    #[error("policy.path asks for `{rule}`, {fault}")]
    Decision {
        /// As `data.agentweave.authz.allow`.
        rule: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// The policy's answer to a made-up request is not one that attache understands.
    #[error("policy result: {0}")]
    Shape(String),
}

impl PolicyError {
    /// The reason code of a request that ended this way.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Shared(error) => error.reason(),
            Self::Evaluation(_) | Self::Shape(_) | Self::Interrupted => Reason::PolicyError,
            Self::TimeLimit => Reason::PolicyTimeout,
        }
    }
}
