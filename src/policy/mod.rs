//! The judge: asks a policy about one operation and gets a [`Verdict`].
//!
//! A policy can refuse or raise the tier of what attache's own rules let pass; it can never grant what they refuse.
//! Undefined results are refusals; every error is an error, never a verdict.

mod input;

use std::fmt;
use std::sync::Arc;

pub use input::{Context, Input, Protocol, RequestInput};

use crate::permission::{Reason, Tier};

/// Something that can be asked about an operation.
///
/// Every implementation gives the same answer to the same input at the same revision. `Err` means that no answer was
/// reached; the caller refuses the request. Implementations never block the calling thread for longer than a queue
/// operation, and bound their own work; the caller bounds the wait.
#[async_trait::async_trait]
pub trait PolicyEngine: fmt::Debug + Send + Sync {
    /// Asks for a verdict.
    async fn evaluate(&self, input: Arc<Input>) -> Result<Verdict, PolicyError>;
}

/// A policy's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Yes, no, or nothing to say.
    pub answer: Answer,
    /// The policy's own words, for audit.
    pub reason: Option<String>,
    /// Which rule answered, in the policy's own naming.
    pub policy_id: Option<String>,
    /// A tier to raise the operation to; one that is lower than the operation's has no effect.
    pub tier: Option<Tier>,
    /// The content of the policy that answered, as a short digest.
    pub revision: Arc<str>,
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
}

impl PolicyError {
    /// The reason code of a request that ended this way.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Evaluation(_) | Self::Shape(_) | Self::Interrupted => Reason::PolicyError,
            Self::TimeLimit => Reason::PolicyTimeout,
        }
    }
}
