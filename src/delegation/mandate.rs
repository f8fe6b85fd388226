//! On whose behalf somebody acts at this moment, and how far that reaches.
//!
//! Decides which tier an operation has for the one who acts: never below what the token permits, what the person's role
//! permits now, and what the ceilings of all agents in the chain permit now. A token can therefore lose permissions within
//! its life and never gains any. Whether it may be used at all was decided before. What is not known permits nothing.

use std::fmt;
use std::sync::Arc;

use super::id::{AgentId, PersonId, RoleName, TaskId};
use super::principal::Agent;
use super::registry::Registry;
use super::role::RoleTable;
use super::token::Claims;
use crate::permission::{Action, Resource, Standing, Tier};

/// What an accepted token says, and the role that it rests on. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mandate {
    /// What the token says.
    pub claims: Arc<Claims>,
    /// The role of the person's session, by name: what it permits is looked up at each use.
    pub role: RoleName,
}

/// What keeps an operation from the one who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withheld {
    /// The token does not name it.
    ByToken,
    /// The person's role does not permit it any more.
    ByRole(RoleName),
    /// The ceiling of an agent in the chain does not permit it, or there is none any more.
    ByCeiling(AgentId),
}

impl Mandate {
    /// The person at the root.
    pub fn person(&self) -> &PersonId {
        &self.claims.chain.person
    }

    /// The agent that acts; `None` where the person does.
    pub fn agent(&self) -> Option<&Agent> {
        self.claims.chain.actor()
    }

    /// The tasks that are worked on, from the root task to its own; none where a person acts directly.
    pub fn tasks(&self) -> &[TaskId] {
        self.claims
            .lease
            .as_ref()
            .map_or(&[], |lease| &lease.tasks[..])
    }

    /// On what ground the one who acts asks for the operation. Allocates nothing.
    pub fn standing(
        &self,
        resource: &Resource,
        action: &Action,
        roles: &RoleTable,
        registry: &Registry,
    ) -> Standing {
        let own = self.by_token(resource, action);
        let role = self.by_role(resource, action, roles);
        let agents = self.claims.chain.agents.iter();
        let ceilings = agents.map(|agent| registry.ceiling_of(agent, resource, action));
        let tier = ceilings.fold(own.max(role), Tier::max);
        match self.agent() {
            Some(_) => Standing::Delegated(tier),
            None => Standing::Person(tier),
        }
    }

    /// The first that does not permit the operation, if any does not.
    pub fn withheld(
        &self,
        resource: &Resource,
        action: &Action,
        roles: &RoleTable,
        registry: &Registry,
    ) -> Option<Withheld> {
        if self.by_token(resource, action) == Tier::Absent {
            return Some(Withheld::ByToken);
        }
        if self.by_role(resource, action, roles) == Tier::Absent {
            return Some(Withheld::ByRole(self.role.clone()));
        }
        let mut agents = self.claims.chain.agents.iter();
        let lowest =
            agents.find(|agent| registry.ceiling_of(agent, resource, action) == Tier::Absent);
        lowest.map(|agent| Withheld::ByCeiling(agent.agent_id.clone()))
    }

    fn by_token(&self, resource: &Resource, action: &Action) -> Tier {
        self.claims.permissions.effective(resource, action)
    }

    fn by_role(&self, resource: &Resource, action: &Action, roles: &RoleTable) -> Tier {
        let permissions = roles.permissions(&self.role);
        permissions.map_or(Tier::Absent, |it| it.effective(resource, action))
    }
}

impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByToken => f.write_str("the token does not permit it"),
            Self::ByRole(role) => write!(f, "the role `{role}` does not permit it"),
            Self::ByCeiling(agent) => {
                write!(f, "the ceiling of the agent `{agent}` does not permit it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::delegation::RoleConfig;
    use crate::delegation::token::tests::claims;
    use crate::permission::{Permission, PermissionSet};

    fn roles(written: &[&str]) -> RoleTable {
        let json = serde_json::json!({ "admin": written });
        let config: RoleConfig = serde_json::from_value(json).unwrap();
        config.build()
    }

    /// Every agent of `claims` is a `scheduling` one.
    fn registry(ceiling: &[&str]) -> Registry {
        let json = serde_json::json!([{
            "match": "spiffe://prod.example.org/ns/agents/**", "type": "scheduling", "ceiling": ceiling,
        }]);
        serde_json::from_value(json).unwrap()
    }

    fn mandate(depth: usize, permissions: &[&str]) -> Mandate {
        Mandate {
            claims: Arc::new(claims(depth, permissions)),
            role: "admin".parse().unwrap(),
        }
    }

    struct Operation {
        resource: Resource,
        action: Action,
    }

    fn operation(text: &str) -> Operation {
        let (resource, action) = text.split_once(':').unwrap();
        Operation {
            resource: resource.parse().unwrap(),
            action: action.parse().unwrap(),
        }
    }

    fn standing(mandate: &Mandate, wanted: &str, roles: &RoleTable, all: &Registry) -> Standing {
        let Operation { resource, action } = operation(wanted);
        mandate.standing(&resource, &action, roles, all)
    }

    fn withheld(mandate: &Mandate, wanted: &str, roles: &RoleTable, all: &Registry) -> String {
        let Operation { resource, action } = operation(wanted);
        let withheld = mandate.withheld(&resource, &action, roles, all);
        withheld.map_or_else(String::new, |it| it.to_string())
    }

    #[test]
    fn the_strictest_of_token_role_and_ceilings_applies_to_an_agent() {
        let token = mandate(2, &["documents/**:read", "documents/**:update@supervised"]);
        let everything = (roles(&["**:*"]), registry(&["**:*"]));
        let of =
            |wanted: &str, roles: &RoleTable, all: &Registry| standing(&token, wanted, roles, all);
        let free = Standing::Delegated(Tier::Free);
        assert_eq!(of("documents/1:read", &everything.0, &everything.1), free);
        let supervised = Standing::Delegated(Tier::Supervised);
        assert_eq!(
            of("documents/1:update", &everything.0, &everything.1),
            supervised
        );
        assert_eq!(
            of(
                "documents/1:read",
                &roles(&["**:read@supervised"]),
                &everything.1
            ),
            supervised
        );
        assert_eq!(
            of(
                "documents/1:read",
                &everything.0,
                &registry(&["**:*@supervised"])
            ),
            supervised
        );
        let forbidden = Standing::Delegated(Tier::Forbidden);
        assert_eq!(
            of(
                "documents/1:read",
                &roles(&["**:read@forbidden"]),
                &everything.1
            ),
            forbidden
        );
    }

    #[test]
    fn what_was_taken_from_the_role_since_is_taken_from_every_token() {
        let token = mandate(1, &["documents/**:read"]);
        let all = registry(&["**:*"]);
        for (roles, words) in [
            (roles(&[]), "the role `admin` does not permit it"),
            (RoleTable::default(), "the role `admin` does not permit it"),
            (roles(&["documents/**:read"]), ""),
        ] {
            let absent = standing(&token, "documents/1:read", &roles, &all)
                == Standing::Delegated(Tier::Absent);
            assert_eq!(absent, !words.is_empty());
            assert_eq!(withheld(&token, "documents/1:read", &roles, &all), words);
        }
        let words = withheld(&token, "users/1:read", &roles(&["**:*"]), &all);
        assert_eq!(words, "the token does not permit it");
    }

    #[test]
    fn an_agent_that_is_not_registered_any_more_holds_nothing() {
        let token = mandate(2, &["documents/**:read"]);
        let (roles, nobody) = (roles(&["**:*"]), Registry::default());
        assert_eq!(
            standing(&token, "documents/1:read", &roles, &nobody),
            Standing::Delegated(Tier::Absent)
        );
        assert_eq!(
            withheld(&token, "documents/1:read", &roles, &nobody),
            "the ceiling of the agent `scheduling-agent-000` does not permit it"
        );
    }

    #[test]
    fn a_person_who_acts_directly_needs_token_and_role_and_no_ceiling() {
        let token = mandate(0, &["documents/**:*@forbidden"]);
        let nobody = Registry::default();
        let of = |roles: &RoleTable| standing(&token, "documents/1:delete", roles, &nobody);
        assert_eq!(of(&roles(&["**:*"])), Standing::Person(Tier::Forbidden));
        assert_eq!(of(&roles(&["users:read"])), Standing::Person(Tier::Absent));
    }

    fn permissions() -> impl Strategy<Value = Vec<&'static str>> {
        let all = vec![
            "a:read",
            "a/**:read@supervised",
            "**:read",
            "a:*",
            "b/*:read@forbidden",
            "**:*@supervised",
        ];
        prop::collection::vec(select(all), 1..4)
    }

    proptest! {
        /// D01: the standing is that of the sets' meet, at every operation.
        #[test]
        fn the_standing_is_that_of_all_sets_met(
            token in permissions(), role in permissions(), ceiling in permissions(),
            wanted in select(vec!["a:read", "a/x:read", "b/x:read", "a:update", "c:read"]),
        ) {
            let of = |texts: &[&str]| -> PermissionSet {
                texts.iter().map(|it| it.parse::<Permission>().unwrap()).collect()
            };
            let met = of(&token).meet(&of(&role)).meet(&of(&ceiling));
            let Operation { resource, action } = operation(wanted);
            let standing = mandate(3, &token)
                .standing(&resource, &action, &roles(&role), &registry(&ceiling));
            prop_assert_eq!(standing, Standing::Delegated(met.effective(&resource, &action)));
        }
    }
}
