//! What may be done: actions, resources, tiers, and the reasons for refusing.

mod name;
mod reason;
mod tier;

pub use name::{Action, NameError, Resource};
pub use reason::{Class, Reason};
pub use tier::{Tier, TierError};
