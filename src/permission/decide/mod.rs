//! The law: from what attache's own rules, policy and a person's approval say of one operation, whether it may be done.
//!
//! One function, [`decide`], for every front end. It never asks anybody: the evidence is collected before. It says yes
//! in two cases only, everything else is a refusal with its reason:
//!
//! | own rules | policy | approval | ruling |
//! |---|---|---|---|
//! | absent, orphan, FORBIDDEN | ignored | ignored | deny |
//! | FREE, SUPERVISED | denies, undefined, failed, not asked | ignored | deny |
//! | FREE, SUPERVISED | allows, raising to FORBIDDEN | ignored | deny |
//! | FREE | allows | ignored | **allow** |
//! | FREE | allows, raising to SUPERVISED | none | supervise |
//! | SUPERVISED | allows | none | supervise |
//! | SUPERVISED by either | allows | active | **allow** |
//!
//! Tiers combine by their maximum, so policy can tighten what attache's own rules say and never loosen it.

use super::reason::Reason;
use super::tier::Tier;

#[cfg(test)]
mod tests;

/// On what ground a caller asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An agent that acts for nobody. It holds nothing, whatever is configured for its SPIFFE ID.
    OrphanAgent,
    /// A caller whose own permissions give the operation this tier, [`Tier::Absent`] if they don't name it.
    Holds(Tier),
    /// An agent on a person's behalf, to whom the operation has this tier by everything that was handed on to it.
    Delegated(Tier),
    /// A person who acts directly and holds the operation at this tier. Tiers are for automation: whatever a person holds at
    /// all is free to them, and what the table says does not bind them. Policy does.
    Person(Tier),
}

/// What attache's own rules say of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structural {
    standing: Standing,
    tier: Tier,
}

/// What policy says of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyAnswer {
    /// Policy was not asked. A refusal, unless attache's own rules had refused before.
    NotAsked,
    /// Yes, as far as policy is concerned.
    Allow {
        /// The tier that policy wants at least; without effect where it is not stricter.
        tier: Option<Tier>,
    },
    /// No.
    Deny,
    /// Policy has no result for this operation.
    Undefined,
    /// No answer was reached, for this reason.
    Failed(Reason),
}

/// A person's approval of exactly this operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// None that counts: never asked for, still open, refused, used up or expired.
    None,
    /// Given, bound to this very operation, and not used yet.
    Active,
}

/// The outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ruling {
    /// It may be done.
    Allow {
        /// Free, or Supervised where an approval made it possible: that approval is used up by this ruling.
        tier: Tier,
    },
    /// It may not be done as things stand; a person may be asked for approval, and then the caller may ask again.
    Supervise,
    /// It may not be done, and no approval would change that.
    Deny(Reason),
}

/// Rules on one operation.
pub fn decide(structural: Structural, policy: PolicyAnswer, approval: Approval) -> Ruling {
    if let Some(reason) = structural.refusal() {
        return Ruling::Deny(reason);
    }
    let wanted = match policy {
        PolicyAnswer::Allow { tier } => tier,
        PolicyAnswer::Deny => return Ruling::Deny(Reason::PolicyDenied),
        PolicyAnswer::Undefined => return Ruling::Deny(Reason::PolicyUndefined),
        PolicyAnswer::Failed(reason) => return Ruling::Deny(reason),
        // Our own mistake. Letting it pass would make policy optional.
        PolicyAnswer::NotAsked => return Ruling::Deny(Reason::InternalError),
    };
    let tier = wanted.map_or(structural.tier, |wanted| wanted.max(structural.tier));
    match (tier, approval) {
        (Tier::Free, Approval::None | Approval::Active) | (Tier::Supervised, Approval::Active) => {
            Ruling::Allow { tier }
        }
        (Tier::Supervised, Approval::None) => Ruling::Supervise,
        (Tier::Forbidden, Approval::None | Approval::Active) => Ruling::Deny(Reason::TierForbidden),
        (Tier::Absent, Approval::None | Approval::Active) => Ruling::Deny(Reason::OutOfScope),
    }
}

impl Standing {
    /// The tier that the caller holds the operation at.
    pub const fn tier(self) -> Tier {
        match self {
            Self::OrphanAgent => Tier::Absent,
            Self::Holds(tier) | Self::Delegated(tier) | Self::Person(tier) => tier,
        }
    }
}

impl Structural {
    /// Combines the caller's standing with the tier that the tier table gives the operation.
    pub fn new(standing: Standing, table: Tier) -> Self {
        let tier = match standing {
            Standing::OrphanAgent | Standing::Person(Tier::Absent) => Tier::Absent,
            Standing::Holds(held) | Standing::Delegated(held) => held.max(table),
            Standing::Person(Tier::Free | Tier::Supervised | Tier::Forbidden) => Tier::Free,
        };
        Self { standing, tier }
    }

    /// The strictest tier found so far, for policy to see and for audit.
    pub fn tier(self) -> Tier {
        self.tier
    }

    /// Why the operation is refused whatever policy says. `None` means that policy must be asked.
    pub fn refusal(self) -> Option<Reason> {
        match (self.standing, self.tier) {
            (Standing::OrphanAgent, _) => Some(Reason::OrphanAgent),
            (_, Tier::Absent) => Some(Reason::OutOfScope),
            (_, Tier::Forbidden) => Some(Reason::TierForbidden),
            (_, Tier::Free | Tier::Supervised) => None,
        }
    }
}

impl Ruling {
    /// Why it may not be done; `None` if it may.
    pub fn refusal(self) -> Option<Reason> {
        match self {
            Self::Allow { tier: _ } => None,
            Self::Supervise => Some(Reason::ApprovalRequired),
            Self::Deny(reason) => Some(reason),
        }
    }
}
