//! Who takes part: people at the root, agents after them.

use std::sync::Arc;

use super::id::{AgentId, AgentType, PersonId};
use crate::identity::SpiffeId;

/// A person, known by who vouched for them and by the name given there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Person {
    /// The id under which everything here knows them.
    pub id: PersonId,
    /// Who vouched for them: an identity provider's issuer, or `local`.
    pub issuer: Arc<str>,
    /// Their name at that issuer. Two people are the same only if issuer and subject are.
    pub subject: Arc<str>,
}

/// An agent: a workload under one of the names it works under.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Agent {
    /// The workload it runs as; what it shows when it acts.
    pub spiffe_id: SpiffeId,
    /// Its own name. Two agents of one workload can show each other's tokens: the name separates records, not powers.
    pub agent_id: AgentId,
    /// What it is.
    pub agent_type: AgentType,
}

impl Agent {
    /// Whether both are the same agent, whatever they are said to be: the same workload under the same name.
    pub fn is(&self, spiffe_id: &SpiffeId, agent_id: &AgentId) -> bool {
        self.spiffe_id == *spiffe_id && self.agent_id == *agent_id
    }
}

/// Anybody who can hold or hand on authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Principal {
    /// A person, directly.
    Person(PersonId),
    /// An agent, on a person's behalf.
    Agent(Agent),
}

/// From the person at the root to the one who acts now.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Chain {
    /// The person.
    pub person: PersonId,
    /// The agents, in the order authority was handed on. The last one acts; none stands for the person directly.
    pub agents: Vec<Agent>,
}

impl Chain {
    /// A person who acts directly.
    pub const fn direct(person: PersonId) -> Self {
        Self {
            person,
            agents: Vec::new(),
        }
    }

    /// Who acts now, if it is an agent.
    pub fn actor(&self) -> Option<&Agent> {
        self.agents.last()
    }

    /// How many times authority was handed on.
    pub fn depth(&self) -> usize {
        self.agents.len()
    }

    /// The same chain, one agent longer.
    #[must_use]
    pub fn then(&self, agent: Agent) -> Self {
        let mut agents = self.agents.clone();
        agents.push(agent);
        Self {
            person: self.person.clone(),
            agents,
        }
    }

    /// Who acts now.
    pub fn principal(&self) -> Principal {
        match self.actor() {
            Some(agent) => Principal::Agent(agent.clone()),
            None => Principal::Person(self.person.clone()),
        }
    }

    /// The names, from the person on, as records show them: `usr-alice-001`, `scheduling-agent-001`.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let agents = self.agents.iter().map(|agent| agent.agent_id.as_str());
        std::iter::once(self.person.as_str()).chain(agents)
    }
}
