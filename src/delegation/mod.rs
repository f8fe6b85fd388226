//! On whose behalf: people, agents, the tasks they work on, and the authority that is handed from one to the next.
//!
//! ```text
//! person ──opens──▶ Session ──covers──▶ Task (a tree) ──has──▶ Grant (a path) ──leases──▶ token (≤ 300 s)
//! ```
//!
//! - Authority flows down and only gets less: what a grant holds is a [`Held`], which comes from a role or from narrowing
//!   another one, and from nowhere else.
//! - Everything rests on everything above it: a grant is alive only while every grant, every task and the session above it
//!   are. One that ends takes all below it along.
//! - Pure and synchronous: no clock, no storage, no randomness of its own. What is kept is kept by `state`.

mod begin;
mod config;
mod delegate;
mod explain;
mod grant;
mod held;
mod id;
mod lease;
mod lineage;
mod mandate;
mod narrowing;
mod principal;
mod refusal;
mod registry;
mod role;
mod session;
mod task;
#[cfg(test)]
mod tests;
pub mod token;

pub use begin::{WantedBeginning, begin};
pub use config::{Config, Settings, Showing, TokenHeader};
pub use delegate::{
    Basis, Facts, HARD_DEPTH, Limits, MOST_AUDIENCES, MOST_NARROWING, MOST_PERMISSIONS,
    MOST_PURPOSE, OnExcess, Proposal, Wanted, WantedTask, delegate, lifetime,
};
pub use explain::{Absence, explain};
pub use grant::{Audience, Grant};
pub use held::Held;
pub use id::{
    AgentId, AgentType, GrantId, IdError, PersonId, RoleName, SessionId, TaskId, TokenId,
};
pub use lease::{Terms, WantedLease, lease, permitted};
pub use lineage::{Claimant, Right};
pub use mandate::{Mandate, Withheld};
pub use narrowing::{Excess, Missing, Named, Narrowing};
pub use principal::{Agent, Chain, Person, Principal};
pub use refusal::{NotAllowed, Refusal};
pub use registry::{AgentEntry, Registry};
pub use role::{RoleConfig, RoleTable};
pub use session::{Authentication, Session};
pub use task::{Status, StatusError, Task};
