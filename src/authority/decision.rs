//! The answer to a [`Question`](super::Question): a permit or a denial, never anything else.

use std::fmt;
use std::sync::Arc;

use ulid::Ulid;

use crate::clock::Timestamp;
use crate::delegation::Mandate;
use crate::identity::SpiffeId;
use crate::operation::Mode;
use crate::permission::{Reason, Tier};
use crate::policy::Shaping;

/// Names one decision in the response, in audit and in logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionId(Ulid);

/// What was decided about one request. There is no default and no conversion from a boolean.
#[derive(Debug, Clone)]
pub struct Decision {
    /// This decision's name.
    pub id: DecisionId,
    /// Permit or denial.
    pub outcome: Outcome,
    /// The strictest tier that was found for the operation; absent where none was reached.
    pub tier: Option<Tier>,
    /// Whether the outcome binds; in shadow mode the proxy is told to let the request pass, whatever was decided.
    pub mode: Mode,
    /// On whose behalf the request was made; absent where the caller acts on its own account, or its token was refused.
    pub mandate: Option<Mandate>,
    /// What policy asks of the answer, where the outcome is policy's own: a permit, or its denial.
    pub shaping: Option<Arc<Shaping>>,
}

/// A permit or a denial.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The request may proceed.
    Allow(Permit),
    /// The request may not proceed.
    Deny(Denial),
}

/// Why a request may proceed.
#[derive(Debug, Clone)]
pub struct Permit {
    /// The workload that called.
    pub caller: SpiffeId,
    /// The tier the operation has for this caller.
    pub tier: Tier,
}

/// Why a request may not proceed.
#[derive(Debug, Clone)]
pub struct Denial {
    /// The stable code.
    pub reason: Reason,
    /// What exactly was found, for audit and operators; never shown to the client.
    pub detail: Option<String>,
}

impl DecisionId {
    /// A new name that sorts by time.
    pub fn generate(now: Timestamp, random: u128) -> Self {
        Self(Ulid::from_parts(now.unix_millis(), random))
    }

    /// As [`Display`](fmt::Display) shows it, at a fraction of the cost: every request needs it.
    pub fn text(self) -> String {
        self.0.to_string()
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Denial {
    /// A denial with nothing to add to its code.
    pub const fn bare(reason: Reason) -> Self {
        Self {
            reason,
            detail: None,
        }
    }

    /// A denial with what was found.
    pub fn because(reason: Reason, detail: impl fmt::Display) -> Self {
        Self {
            reason,
            detail: Some(detail.to_string()),
        }
    }
}
