//! Where decisions are made: takes a [`Question`], asks identity, routes, [`Tokens`], permissions, tiers and policy in that
//! order, leaves a record of the outcome, and answers with a [`Decision`]. An [`Inquiry`] names the operation itself, takes the
//! same way from permissions on, and is answered with an [`AuthzDecision`]. Programs see [`AuthorizationProvider`].
//!
//! People open [`Sessions`] here, and [`Mandates`] hand their authority to agents and take it back.
//!
//! It never grants what a table refuses, never answers before the witness was told, and never fails: whatever goes
//! wrong on the way is a denial with a reason.

mod attempt;
mod check;
mod decision;
mod envoy;
mod findings;
mod given;
mod health;
mod inquiry;
mod mandate;
mod metrics;
mod provider;
mod question;
mod reading;
mod rules;
mod session;
mod tokens;

pub use check::Authority;
pub use decision::{Decision, DecisionId, Denial, Outcome, Permit};
pub use findings::{Findings, Named, Step, Unjudged};
pub use given::{ContextProblem, GivenContext};
pub use health::{Health, HealthPart};
pub use inquiry::{INQUIRY_TIME, Inquiry, LONGEST_INQUIRY};
pub use mandate::{
    By, Call, Delegated, Delegation, Delivery, GrantSeen, Issued, LONGEST_MANDATE_CALL, Listing,
    MandateRefusal, Mandates, Mint, NewTask, Once, Page, Parent, PermissionQuestion,
    PermissionResult, Permitted, RevokeGrant, RevokeTask, Shown, Subject, TokenFacts, TokenFault,
};
pub use metrics::Metrics;
pub use provider::{AuthorizationProvider, AuthzDecision};
pub use question::{Attributes, HeaderProblem, Headers, HttpRequest, Question};
pub use reading::Reader;
pub use rules::{ContextNames, Rules};
pub use session::{LONGEST_SESSION_CALL, Login, Opened, SessionRefusal, Sessions};

pub use tokens::Tokens;

pub use crate::policy::{Deadline, Shaping};
