//! What may be done: actions, resources and tiers, who is permitted what, and [`decide()`], the law that every front end
//! applies.
//!
//! Decides whether one operation may be done, from evidence that others collected. Never reads a clock, asks policy or
//! touches the network: everything here is a pure function of values. Nothing here fails on a request: what no entry
//! names is [`Tier::Absent`], and only the two rows of the law that say so become an allowance. Text that is not a
//! permission, pattern or tier is refused when the configuration is read.
//!
//! How the tier of one operation comes about, always the maximum, so that no entry, rule or policy lowers another:
//!
//! 1. what the caller holds ([`WorkloadGrants::effective`], [`PermissionSet::effective`]): absent unless named;
//! 2. what the deployment's [`TierTable`] says: its default only where no rule matches; for agents also what
//!    [`agents_tier`] says, which no configuration changes;
//! 3. what policy says, where the first two leave it anything to say ([`Structural::refusal`]).

mod builtin;
mod decide;
mod name;
mod reason;
mod scope;
mod set;
mod tier;
mod tiers;
mod warning;
mod workload;
#[cfg(test)]
mod worlds;

pub use builtin::{AUDIT, agents_tier};
pub use decide::{Approval, PolicyAnswer, Ruling, Standing, Structural, decide};
pub use name::{Action, NameError, Resource};
pub use reason::{Class, Reason};
pub use scope::{ActionPattern, Scope};
pub use set::{Permission, PermissionError, PermissionSet};
pub use tier::{Tier, TierError};
pub use tiers::{TierRule, TierTable};
pub use warning::{Warning, shadowed};
pub use workload::{AgentList, WorkloadConfig, WorkloadEntry, WorkloadGrants};
