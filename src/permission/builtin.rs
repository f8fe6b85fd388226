//! What no configuration can allow: the tiers of operations that attache itself knows.
//!
//! The audit trail is what remains when an agent has done something wrong, so no agent may change it, whoever sent it and
//! whatever the tier table says. Only ever tightens a tier, grants nothing.

use super::name::{Action, Resource};
use super::tier::Tier;

/// The least tier of doing `action` to `resource` as an agent: FORBIDDEN for whatever is not reading under `audit`.
///
/// Take the maximum of this and the tier table's.
pub fn agents_tier(resource: &Resource, action: &Action) -> Tier {
    let of_audit = resource.segments().next() == Some(AUDIT);
    if of_audit && *action != Action::read() {
        Tier::Forbidden
    } else {
        Tier::Free
    }
}

/// The resource that the audit trail is.
pub const AUDIT: &str = "audit";

#[cfg(test)]
mod tests {
    use super::super::{Approval, PolicyAnswer, Reason, Ruling, Standing, Structural, decide};
    use super::*;

    fn tier(resource: &str, action: &str) -> Tier {
        agents_tier(&resource.parse().unwrap(), &action.parse().unwrap())
    }

    #[test]
    fn whatever_is_not_reading_the_audit_trail_is_forbidden() {
        for resource in ["audit", "audit/entries", "audit/entries/42"] {
            for action in [
                "delete", "update", "append", "write", "purge", "READ", "reads",
            ] {
                assert_eq!(
                    tier(resource, action),
                    Tier::Forbidden,
                    "{resource}:{action}"
                );
            }
            assert_eq!(tier(resource, "read"), Tier::Free);
        }
        for resource in ["documents/audit", "audits", "auditing/1"] {
            assert_eq!(tier(resource, "delete"), Tier::Free, "{resource}");
        }
    }

    #[test]
    fn no_mandate_tier_table_policy_or_approval_lets_an_agent_change_the_audit_trail() {
        for held in [Tier::Free, Tier::Supervised] {
            for table in [Tier::Free, Tier::Supervised] {
                let floor = tier("audit/entries", "delete");
                let structural = Structural::new(Standing::Holds(held), table.max(floor));
                let allowed = PolicyAnswer::Allow { tier: None };
                assert_eq!(
                    decide(structural, allowed, Approval::Active),
                    Ruling::Deny(Reason::TierForbidden)
                );
            }
        }
    }
}
