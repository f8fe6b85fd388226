//! The memory of who was given what: sessions, tasks, grants, leases, and what was taken back.
//!
//! [`StateStore`] is what a memory promises; [`Embedded`] keeps it in one SQLite file, or in memory for trying out.
//! [`Revocations`] is the part of it that every Check looks at: synchronous, in memory, never behind an answer that was given.
//!
//! - A rule that several calls together could break is judged inside the transaction that writes: nothing is given while
//!   something above it is ending, and nothing that was given survives an end that was answered.
//! - What is new is pending until its audit record is kept ([`StateStore::activate`]); nothing rests on what is pending.
//! - Decides nothing about permissions, callers or tiers: `delegation` made the proposal, the caller knows who asks.
//! - A refusal ([`Refusal`]) is an answer; a failure ([`Failure`]) is none, and then nothing was done.

mod config;
mod embedded;
mod error;
mod handle;
mod live;
mod store;

pub use config::Config;
pub use embedded::{Embedded, OpenError};
pub use error::{Failure, Level, Refusal, StateError};
pub use handle::{Handle, HandleDigest, HandleError};
pub use live::{Cause, Delta, Entry, Position, Presented, Revocations, Revoked, Subscription};
pub use store::{
    Begun, Ended, Epoch, GrantQuery, GrantRoot, Granted, Ground, GroundQuery, KEPT_AFTER_END, Kept,
    LONGEST_LEASE, LONGEST_SKEW, Lease, Limits, Manner, NewGrant, NewSession, Origin, PENDING_FOR,
    REQUEST_KEPT, Request, Standing, StateStore, Swept, Target, TaskQuery, Whose,
};

#[cfg(test)]
mod tests;
