//! What workloads may do on their own account, and which callers are agents, who may do nothing on theirs.
//!
//! A caller that no entry matches is permitted nothing.

use std::collections::HashMap;

use serde::Deserialize;

use super::name::{Action, Resource};
use super::set::{Permission, PermissionSet};
use super::tier::Tier;
use super::warning::Warning;
use crate::identity::{SpiffeId, SpiffePattern};

/// The section `workloads` of the configuration: entries in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct WorkloadConfig(pub Vec<WorkloadEntry>);

/// One entry, written `{match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:read"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadEntry {
    /// Which callers.
    #[serde(rename = "match")]
    pub callers: SpiffePattern,
    /// What they may do. An empty list permits nothing.
    pub permissions: Vec<Permission>,
}

/// What each workload may do. Built by [`WorkloadConfig::build`].
#[derive(Debug, Clone)]
pub struct WorkloadGrants {
    /// Entries that name one workload: most of them, and found without a search.
    exact: HashMap<SpiffeId, PermissionSet>,
    patterns: Vec<(SpiffePattern, PermissionSet)>,
}

/// The section `agents` of the configuration: callers that must carry a delegation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct AgentList(pub Vec<SpiffePattern>);

// === impl WorkloadConfig ===

impl WorkloadConfig {
    /// The grants, ready to be asked.
    pub fn build(self) -> WorkloadGrants {
        let mut exact: HashMap<SpiffeId, Vec<Permission>> = HashMap::new();
        let mut patterns = Vec::new();
        for WorkloadEntry {
            callers,
            permissions,
        } in self.0
        {
            // What reads as a SPIFFE ID has no wildcard.
            match callers.to_string().parse() {
                Ok(id) => exact.entry(id).or_default().extend(permissions),
                Err(_wildcard) => patterns.push((callers, permissions.into_iter().collect())),
            }
        }
        let exact = exact
            .into_iter()
            .map(|(id, permissions)| (id, permissions.into_iter().collect()))
            .collect();
        WorkloadGrants { exact, patterns }
    }

    /// The entries and permissions that can never take effect, where `agents` must carry a delegation.
    pub fn warnings(&self, agents: &AgentList) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for entry in &self.0 {
            if let Some(agents) = agents.covering(&entry.callers) {
                warnings.push(Warning::WorkloadIsAgent {
                    workload: entry.callers.clone(),
                    agents: agents.clone(),
                });
            }
            warnings.extend(self.shadowed(entry));
        }
        warnings
    }

    fn shadowed(&self, entry: &WorkloadEntry) -> Vec<Warning> {
        let same_callers: Vec<_> = self
            .0
            .iter()
            .filter(|other| other.callers.covers(&entry.callers))
            .collect();
        let shadow = |permission: &Permission| {
            same_callers.iter().find_map(|other| {
                let by = other
                    .permissions
                    .iter()
                    .find(|by| by.overrules(permission))?;
                Some(Warning::ShadowedWorkload {
                    workload: entry.callers.clone(),
                    entry: permission.clone(),
                    by_workload: other.callers.clone(),
                    by: by.clone(),
                })
            })
        };
        entry.permissions.iter().filter_map(shadow).collect()
    }
}

// === impl WorkloadGrants ===

impl WorkloadGrants {
    /// The tier of doing `action` to `resource` as `caller`: the strictest permission of all entries that match the
    /// caller, [`Tier::Absent`] if none matches the operation.
    ///
    /// Allocates nothing.
    pub fn effective(&self, caller: &SpiffeId, resource: &Resource, action: &Action) -> Tier {
        let named = self.exact.get(caller);
        let matched = self
            .patterns
            .iter()
            .filter(|(callers, _)| callers.matches(caller))
            .map(|(_, permissions)| permissions);
        // Entries are united, so one that is silent about the operation must not outweigh one that speaks.
        named
            .into_iter()
            .chain(matched)
            .map(|permissions| permissions.effective(resource, action))
            .filter(|tier| *tier != Tier::Absent)
            .max()
            .unwrap_or(Tier::Absent)
    }
}

// === impl AgentList ===

impl AgentList {
    /// Whether `caller` is an agent.
    pub fn contains(&self, caller: &SpiffeId) -> bool {
        self.0.iter().any(|agents| agents.matches(caller))
    }

    /// Whether some callers of `others` are agents, or may be.
    pub fn overlaps(&self, others: &SpiffePattern) -> bool {
        self.0.iter().any(|agents| agents.overlaps(others))
    }

    fn covering(&self, callers: &SpiffePattern) -> Option<&SpiffePattern> {
        self.0.iter().find(|agents| agents.covers(callers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
- {match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:read", "users/**:read"]}
- {match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:create"]}
- {match: "spiffe://example.org/svc/*", permissions: ["documents/**:*@supervised", "health:read"]}
- {match: "spiffe://example.org/svc/idle", permissions: []}
"#;

    fn config(yaml: &str) -> WorkloadConfig {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn agents(yaml: &str) -> AgentList {
        serde_saphyr::from_str(yaml).unwrap()
    }

    fn tier(grants: &WorkloadGrants, caller: &str, resource: &str, action: &str) -> Tier {
        let caller = format!("spiffe://{caller}").parse().unwrap();
        grants.effective(
            &caller,
            &resource.parse().unwrap(),
            &action.parse().unwrap(),
        )
    }

    #[test]
    fn entries_for_the_same_caller_are_united_and_the_strictest_tier_applies() {
        let mut config = config(EXAMPLE);
        for _ in 0..config.0.len() {
            config.0.rotate_left(1);
            let grants = config.clone().build();
            let reporting =
                |resource, action| tier(&grants, "example.org/svc/reporting", resource, action);
            assert_eq!(reporting("users/7", "read"), Tier::Free);
            assert_eq!(reporting("health", "read"), Tier::Free);
            // Free by its own entry, SUPERVISED by the pattern's.
            assert_eq!(reporting("documents/1", "create"), Tier::Supervised);
            assert_eq!(reporting("users/7", "delete"), Tier::Absent);
        }
    }

    #[test]
    fn a_caller_without_an_entry_is_permitted_nothing() {
        let grants = config(EXAMPLE).build();
        for stranger in [
            "example.org/svc/reporting/child",
            "example.org/svc",
            "example.org/SVC/reporting",
            "example.com/svc/reporting",
            "example.org.evil.com/svc/reporting",
        ] {
            assert_eq!(tier(&grants, stranger, "health", "read"), Tier::Absent);
        }
        let nobody = WorkloadConfig::default().build();
        let anybody = "example.org/svc/reporting";
        assert_eq!(tier(&nobody, anybody, "health", "read"), Tier::Absent);
    }

    #[test]
    fn an_empty_list_of_permissions_permits_nothing() {
        let only = config(r#"[{match: "spiffe://example.org/**", permissions: []}]"#).build();
        let idle = "example.org/svc/idle";
        assert_eq!(tier(&only, idle, "health", "read"), Tier::Absent);
    }

    #[test]
    fn an_agent_is_a_caller_on_the_list() {
        let agents = agents(r#"["spiffe://example.org/agent/**", "spiffe://example.org/bot"]"#);
        let contains = |id: &str| agents.contains(&id.parse().unwrap());
        assert!(contains("spiffe://example.org/agent/scheduling"));
        assert!(contains("spiffe://example.org/bot"));
        assert!(!contains("spiffe://example.org/agents/scheduling"));
        assert!(!contains("spiffe://example.com/agent/scheduling"));
        assert!(!AgentList::default().contains(&"spiffe://example.org/bot".parse().unwrap()));
    }

    #[test]
    fn entries_without_effect_are_pointed_out() {
        let agents = agents(r#"["spiffe://example.org/agent/**"]"#);
        let config = config(
            r#"
- {match: "spiffe://example.org/agent/*", permissions: ["health:read"]}
- {match: "spiffe://example.org/**", permissions: ["billing/**:*@forbidden", "documents/**:read"]}
- {match: "spiffe://example.org/svc/a", permissions: ["billing/1:read", "billing/1:update@forbidden", "**:read"]}
"#,
        );
        let warnings: Vec<_> = config
            .warnings(&agents)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            warnings,
            [
                "workload `spiffe://example.org/agent/*` never takes effect: its callers are agents by \
                 `spiffe://example.org/agent/**` and need a delegation",
                "`billing/1:read` of workload `spiffe://example.org/svc/a` never takes effect: \
                 `billing/**:*@forbidden` of `spiffe://example.org/**` covers it and is stricter",
            ]
        );
    }

    #[test]
    fn mistakes_are_refused_with_their_cause() {
        for (yaml, cause) in [
            (
                r#"[{match: "spiffe://*/x", permissions: []}]"#,
                "`spiffe://*/x` must begin with",
            ),
            (
                r#"[{match: "spiffe://example.org/a*", permissions: []}]"#,
                "is not a pattern of SPIFFE IDs: `*` must be a whole segment",
            ),
            (r#"[{match: "spiffe://example.org/a"}]"#, "permissions"),
            (
                r#"[{match: "spiffe://example.org/a", permissions: [], permission: []}]"#,
                "permission",
            ),
        ] {
            let error = serde_saphyr::from_str::<WorkloadConfig>(yaml).unwrap_err();
            assert!(error.to_string().contains(cause), "{yaml}: {error}");
        }
    }
}
