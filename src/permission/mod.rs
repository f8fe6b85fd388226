//! What may be done: actions, resources, tiers, who is permitted what, and the reasons for refusing.
//!
//! What no entry names is [`Tier::Absent`]. Tiers combine by their maximum: no entry and no rule lowers another.

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

pub use name::{Action, NameError, Resource};
pub use reason::{Class, Reason};
pub use scope::{ActionPattern, Scope};
pub use set::{Permission, PermissionError, PermissionSet};
pub use tier::{Tier, TierError};
pub use tiers::{TierRule, TierTable};
pub use warning::{Warning, shadowed};
pub use workload::{AgentList, WorkloadConfig, WorkloadEntry, WorkloadGrants};
