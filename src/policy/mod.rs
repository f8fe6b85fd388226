//! The judge: asks a policy about one operation and gets a [`Verdict`].
//!
//! A policy can refuse or raise the tier of what attache's own rules let pass; it can never grant what they refuse.
//! Undefined results are refusals; every error is an error, never a verdict.
//!
//! There are two engines. For the embedded one [`Config`] names the files, [`Sources`] holds their text, [`Program`] is what
//! they mean, and [`EmbeddedEngine`] lets a program serve and exchanges it. [`OpaEngine`] asks an OPA in another process.
//! [`Judge`] is the configured one, with what stands around it. What a policy sees is [`Input`]; what it may answer is read
//! in one place for every engine. A policy that can't be loaded is refused with [`LoadError`]s and changes nothing.
//!
//! A [`Breaker`] stands before an engine outside this process and stops asking one that fails. [`Cached`] stands before
//! either, and before that, and remembers verdicts.

mod breaker;
mod cache;
mod config;
mod embedded;
mod envoy;
mod input;
mod judge;
mod lenient;
mod opa;
mod output;
mod query;
mod rego;
mod source;

#[cfg(test)]
mod any;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use breaker::{Breaker, BreakerMetrics, CircuitState, Settings as BreakerSettings, Transition};
pub use cache::{CacheConfig, Cached};
pub use config::{Config, DecisionPath, DecisionPathError, Embedded, EngineKind};
pub use embedded::{EmbeddedEngine, Reload};
pub use envoy::{EnvoyInput, InputForm, Shaping};
pub use input::{Context, Input, Protocol, RequestInput};
pub use judge::{Judge, Proof, Source};
pub use lenient::Lenient;
pub use opa::{Endpoint, EndpointError, HealthKind, Opa, OpaEngine};
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

    /// Whether the engine could answer at this moment; the error says why not.
    async fn health(&self) -> Result<(), PolicyError>;

    /// The content of the policy that would answer now, as far as it is known here.
    ///
    /// A verdict of another revision is of an older policy, and no cache gives it out. Cheap: called for every question.
    fn revision(&self) -> Arc<str>;
}

#[async_trait::async_trait]
impl<E: PolicyEngine + ?Sized> PolicyEngine for Arc<E> {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        (**self).evaluate(query).await
    }

    async fn health(&self) -> Result<(), PolicyError> {
        (**self).health().await
    }

    fn revision(&self) -> Arc<str> {
        (**self).revision()
    }
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
    /// What else the policy asks for. Only where it was asked in the words of opa-envoy-plugin.
    pub shaping: Option<Arc<Shaping>>,
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
    /// The engine can't be reached, went away, or says itself that it can't answer now.
    #[error("policy engine unavailable: {0}")]
    Unavailable(String),
    /// What the engine sent is no answer: not JSON, cut off, too large.
    #[error("policy engine sent no usable answer: {0}")]
    Malformed(String),
    /// The engine did not answer in time.
    #[error("policy engine did not answer in time")]
    TimedOut {
        /// Whether the asker gave it less time than our own limits would have.
        cut_short: bool,
    },
    /// As many questions as are allowed wait for the engine already.
    #[error("too many questions wait for the policy engine")]
    Overloaded,
    /// The engine failed again and again and is not asked at the moment.
    #[error("the circuit to the policy engine is open")]
    BreakerOpen,
}

/// What an error says of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// The engine fails.
    Failure,
    /// Nothing: the policy, the question or the asker is at fault, or this process.
    Neither,
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
            Self::TimeLimit | Self::TimedOut { cut_short: false } => Reason::PolicyTimeout,
            Self::TimedOut { cut_short: true } => Reason::DeadlineExceeded,
            Self::Unavailable(_) => Reason::PolicyUnavailable,
            Self::Malformed(_) => Reason::PolicyMalformed,
            Self::Overloaded => Reason::Overloaded,
            Self::BreakerOpen => Reason::CircuitOpen,
        }
    }

    /// Whether it is a failure of the engine, as a breaker counts them.
    pub fn counts(&self) -> Accounting {
        match self {
            Self::Shared(error) => error.counts(),
            Self::Unavailable(_) | Self::Malformed(_) | Self::TimedOut { cut_short: false } => {
                Accounting::Failure
            }
            Self::Evaluation(_)
            | Self::Shape(_)
            | Self::TimeLimit
            | Self::Interrupted
            | Self::TimedOut { cut_short: true }
            | Self::Overloaded
            | Self::BreakerOpen => Accounting::Neither,
        }
    }

    /// Whether policy answered, in words that can't be read: they may have been a denial.
    pub fn hides_an_answer(&self) -> bool {
        match self {
            Self::Shared(error) => error.hides_an_answer(),
            Self::Shape(_) => true,
            Self::Evaluation(_)
            | Self::TimeLimit
            | Self::Interrupted
            | Self::Unavailable(_)
            | Self::Malformed(_)
            | Self::TimedOut { .. }
            | Self::Overloaded
            | Self::BreakerOpen => false,
        }
    }

    /// What stands in audit as `policy_id`, where a policy would have named its rule.
    pub fn policy_id(&self) -> &'static str {
        match self {
            Self::Shared(error) => error.policy_id(),
            Self::BreakerOpen => CIRCUIT_BREAKER,
            Self::Evaluation(_)
            | Self::TimeLimit
            | Self::Shape(_)
            | Self::Interrupted
            | Self::Unavailable(_)
            | Self::Malformed(_)
            | Self::TimedOut { .. }
            | Self::Overloaded => ERROR_FALLBACK,
        }
    }
}

/// The `policy_id` of a decision that no policy took part in, since asking it failed.
pub const ERROR_FALLBACK: &str = "error-fallback";
/// The `policy_id` of a decision that no policy took part in, since its engine is not asked at the moment.
const CIRCUIT_BREAKER: &str = "circuit-breaker";

#[cfg(test)]
mod tests {
    use super::*;

    fn errors() -> [PolicyError; 10] {
        [
            PolicyError::Evaluation("x".to_owned()),
            PolicyError::TimeLimit,
            PolicyError::Shape("x".to_owned()),
            PolicyError::Interrupted,
            PolicyError::Unavailable("x".to_owned()),
            PolicyError::Malformed("x".to_owned()),
            PolicyError::TimedOut { cut_short: false },
            PolicyError::TimedOut { cut_short: true },
            PolicyError::Overloaded,
            PolicyError::BreakerOpen,
        ]
    }

    #[test]
    fn only_what_the_engine_is_to_blame_for_counts_as_its_failure() {
        let failures: Vec<_> = errors()
            .into_iter()
            .filter(|error| error.counts() == Accounting::Failure)
            .map(|error| error.reason())
            .collect();
        assert_eq!(
            failures,
            [
                Reason::PolicyUnavailable,
                Reason::PolicyMalformed,
                Reason::PolicyTimeout
            ]
        );
    }

    #[test]
    fn an_error_is_undecided_and_never_a_refusal() {
        for error in errors() {
            assert_eq!(
                error.reason().class(),
                crate::permission::Class::Undecided,
                "{error}"
            );
            let is_breaker = matches!(error, PolicyError::BreakerOpen);
            let policy_id = if is_breaker {
                CIRCUIT_BREAKER
            } else {
                ERROR_FALLBACK
            };
            assert_eq!(error.policy_id(), policy_id);
        }
    }
    #[test]
    fn a_shared_error_is_what_it_shares() {
        for error in errors() {
            let (reason, counts) = (error.reason(), error.counts());
            let (policy_id, words) = (error.policy_id(), error.to_string());
            let hides = error.hides_an_answer();
            let shared = PolicyError::Shared(Arc::new(error));
            assert_eq!((shared.reason(), shared.counts()), (reason, counts));
            assert_eq!(shared.hides_an_answer(), hides);
            assert_eq!((shared.policy_id(), shared.to_string()), (policy_id, words));
        }
    }
}
