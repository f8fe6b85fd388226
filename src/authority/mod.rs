//! Where decisions are made: takes a [`Question`], asks identity, routes, permissions, tiers and policy in that order,
//! leaves a record of the outcome, and answers with a [`Decision`].
//!
//! It never grants what a table refuses, never answers before the witness was told, and never fails: whatever goes
//! wrong on the way is a denial with a reason.

mod attempt;
mod check;
mod decision;
mod findings;
mod metrics;
mod question;
mod rules;

pub use check::Authority;
pub use decision::{Decision, DecisionId, Denial, Outcome, Permit};
pub use findings::{Findings, Named, Step, Unjudged};
pub use metrics::Metrics;
pub use question::{HeaderProblem, Headers, HttpRequest, Question};
pub use rules::{ContextNames, Rules};

pub use crate::policy::Deadline;
