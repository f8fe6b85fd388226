//! Which workloads may be delegated to, as what, under which ceiling, and whom they may delegate to.
//!
//! Several entries may match one workload. As one and the same type they apply together, and the stricter counts: ceilings
//! are met, and everybody's `may_delegate_to` has to agree. A workload that no entry matches receives nothing.

use serde::Deserialize;

use super::id::AgentType;
use super::principal::Agent;
use super::refusal::NotAllowed;
use crate::identity::{SpiffeId, SpiffePattern};
use crate::permission::{Action, PermissionSet, Resource, Tier};

/// The list `delegation.agents`: entries in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Registry(pub Vec<AgentEntry>);

/// One entry, as `{match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentEntry {
    /// Which workloads.
    #[serde(rename = "match")]
    pub agents: SpiffePattern,
    /// What they are.
    #[serde(rename = "type")]
    pub agent_type: AgentType,
    /// What they may hold at most, whoever delegates. An empty list: nothing.
    pub ceiling: PermissionSet,
    /// The types of agents that they may delegate to; left out: all. An empty list: none.
    #[serde(default)]
    pub may_delegate_to: Option<Vec<AgentType>>,
}

impl Registry {
    /// Whether `caller` is an agent by any entry.
    pub fn contains(&self, caller: &SpiffeId) -> bool {
        self.0.iter().any(|entry| entry.agents.matches(caller))
    }

    /// The type under which `id` may receive: `wanted`, or the only one there is.
    pub fn type_of(
        &self,
        id: &SpiffeId,
        wanted: Option<&AgentType>,
    ) -> Result<AgentType, NotAllowed> {
        let mut types = self.0.iter().filter(|entry| entry.agents.matches(id));
        let fits = |entry: &&AgentEntry| wanted.is_none_or(|wanted| entry.agent_type == *wanted);
        let Some(first) = types.find(fits) else {
            return Err(NotAllowed::UnknownDelegate(id.clone()));
        };
        let other = |entry: &AgentEntry| entry.agent_type != first.agent_type;
        if wanted.is_none() && types.any(other) {
            return Err(NotAllowed::ManyTypes(id.clone()));
        }
        Ok(first.agent_type.clone())
    }

    /// What `agent` may hold at most; refused where it is not registered as what it is said to be.
    pub fn ceiling(&self, agent: &Agent) -> Result<PermissionSet, NotAllowed> {
        let ceilings = self.entries(agent).map(|entry| &entry.ceiling);
        let lowest = ceilings.fold(None, |lowest: Option<PermissionSet>, next| match lowest {
            Some(lowest) => Some(lowest.meet(next)),
            None => Some(next.clone()),
        });
        lowest.ok_or_else(|| NotAllowed::Unregistered(agent.agent_id.clone()))
    }

    /// The tier that `agent`'s ceiling gives the operation at least, [`Tier::Absent`] where the agent is not registered as
    /// what it is said to be: the same as by [`ceiling`](Self::ceiling). Allocates nothing.
    pub fn ceiling_of(&self, agent: &Agent, resource: &Resource, action: &Action) -> Tier {
        self.entries(agent)
            .map(|entry| entry.ceiling.effective(resource, action))
            .max()
            .unwrap_or(Tier::Absent)
    }

    /// Refused where `agent` is not registered, or may not delegate to agents of the type `to`.
    pub fn permit(&self, agent: &Agent, to: &AgentType) -> Result<(), NotAllowed> {
        let mut registered = false;
        for entry in self.entries(agent) {
            registered = true;
            let listed = |types: &Vec<AgentType>| types.contains(to);
            if !entry.may_delegate_to.as_ref().is_none_or(listed) {
                return Err(NotAllowed::Type(to.clone()));
            }
        }
        if !registered {
            return Err(NotAllowed::Unregistered(agent.agent_id.clone()));
        }
        Ok(())
    }

    fn entries(&self, agent: &Agent) -> impl Iterator<Item = &AgentEntry> {
        self.0.iter().filter(|entry| {
            entry.agent_type == agent.agent_type && entry.agents.matches(&agent.spiffe_id)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
- {match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"], may_delegate_to: [analysis]}
- {match: "spiffe://example.org/agent/*", type: generic, ceiling: ["documents/**:*"]}
- {match: "spiffe://example.org/agent/analysis", type: analysis, ceiling: ["**:read", "**:update@supervised"]}
- {match: "spiffe://example.org/agent/**", type: analysis, ceiling: ["documents/**:*"], may_delegate_to: []}
"#;

    fn registry() -> Registry {
        serde_saphyr::from_str(EXAMPLE).unwrap()
    }

    fn agent(workload: &str, agent_type: &str) -> Agent {
        Agent {
            spiffe_id: format!("spiffe://example.org/{workload}").parse().unwrap(),
            agent_id: "agent-1".parse().unwrap(),
            agent_type: agent_type.parse().unwrap(),
        }
    }

    #[test]
    fn entries_of_one_type_apply_together_and_the_stricter_counts() {
        let ceiling = registry().ceiling(&agent("agent/analysis", "analysis"));
        let expected = ["documents/**:read", "documents/**:update@supervised"];
        let expected = expected.map(|text| text.parse().unwrap());
        assert_eq!(ceiling, Ok(expected.into_iter().collect()));
        let to = |kind: &str| kind.parse().unwrap();
        let analysis = agent("agent/analysis", "analysis");
        assert_eq!(
            registry().permit(&analysis, &to("generic")),
            Err(NotAllowed::Type(to("generic")))
        );
        let scheduling = agent("agent/scheduling", "scheduling");
        assert_eq!(registry().permit(&scheduling, &to("analysis")), Ok(()));
        assert!(registry().permit(&scheduling, &to("generic")).is_err());
        let generic = agent("agent/scheduling", "generic");
        assert_eq!(registry().permit(&generic, &to("scheduling")), Ok(()));
    }

    #[test]
    fn who_is_not_registered_as_that_type_has_no_ceiling_and_permits_nobody() {
        for stranger in [agent("svc/a", "generic"), agent("agent/a", "scheduling")] {
            let unregistered = NotAllowed::Unregistered(stranger.agent_id.clone());
            assert_eq!(registry().ceiling(&stranger), Err(unregistered.clone()));
            let to = "analysis".parse().unwrap();
            assert_eq!(registry().permit(&stranger, &to), Err(unregistered));
        }
    }

    #[test]
    fn a_type_is_found_where_there_is_only_one() {
        let one: Registry = serde_saphyr::from_str(
            r#"[{match: "spiffe://example.org/agent/*", type: generic, ceiling: []}]"#,
        )
        .unwrap();
        let id: SpiffeId = "spiffe://example.org/agent/a".parse().unwrap();
        assert_eq!(one.type_of(&id, None), Ok("generic".parse().unwrap()));
        assert_eq!(
            registry().type_of(&id, None),
            Err(NotAllowed::ManyTypes(id.clone()))
        );
        let wanted = "analysis".parse().unwrap();
        assert_eq!(registry().type_of(&id, Some(&wanted)), Ok(wanted));
        let wanted = "scheduling".parse().unwrap();
        assert_eq!(
            registry().type_of(&id, Some(&wanted)),
            Err(NotAllowed::UnknownDelegate(id.clone()))
        );
        assert!(Registry::default().type_of(&id, None).is_err());
    }
}
