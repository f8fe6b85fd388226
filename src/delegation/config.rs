//! The section `delegation` of the configuration, and what it comes to.

use std::time::Duration;

use serde::Deserialize;

use super::delegate::{HARD_DEPTH, Limits};
use super::grant::Audience;
use super::registry::Registry;
use crate::permission::AgentList;

/// How authority may be handed on. `K` is the section `keys`, which another room reads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config<K = ()> {
    /// Who we are in tokens: an https URL.
    pub issuer: Option<Audience>,
    /// The service that tokens are for where a person names none.
    pub audience: Option<Audience>,
    /// How long a token lives at most; 1 s to 300 s.
    #[serde(with = "humantime_serde")]
    pub token_ttl: Duration,
    /// How long a session lives; 1 s to a day.
    #[serde(with = "humantime_serde")]
    pub session_ttl: Duration,
    /// How many times authority may be handed on; 1 to 8.
    pub max_depth: u8,
    /// How many living grants may have the same parent; 1 to 1000.
    pub max_fanout: u32,
    /// Which workloads may be delegated to, as what.
    pub agents: Registry,
    /// The keys that tokens are signed with.
    pub keys: K,
}

/// What the section comes to. Reloads live; what was delegated before obeys the new ceilings from then on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The limits of delegation.
    pub limits: Limits,
    /// How long a session lives.
    pub session_ttl: Duration,
    /// Which workloads may be delegated to.
    pub registry: Registry,
}

const LONGEST_TOKEN: Duration = Duration::from_secs(300);
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_FANOUT: u32 = 1000;

impl<K: Default> Default for Config<K> {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: None,
            token_ttl: LONGEST_TOKEN,
            session_ttl: Duration::from_secs(3600),
            max_depth: 4,
            max_fanout: 16,
            agents: Registry::default(),
            keys: K::default(),
        }
    }
}

impl<K> Config<K> {
    /// What can't stand: paths of keys, and what to do.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut refuse = |wrong: bool, key: &str, advice: &str| {
            if wrong {
                problems.push((format!("delegation.{key}"), advice.to_owned()));
            }
        };
        let second = Duration::from_secs(1);
        let issuer = self.issuer.as_ref().map(Audience::as_str);
        refuse(
            issuer.is_some_and(|it| !it.starts_with("https://") || it.contains(['?', '#'])),
            "issuer",
            "not an https URL without query and fragment; write it as https://attache.example.org",
        );
        refuse(
            self.audience.is_some() && self.audience == self.issuer,
            "audience",
            "the issuer itself; name the service that tokens are for",
        );
        refuse(
            !(second..=LONGEST_TOKEN).contains(&self.token_ttl),
            "token_ttl",
            "out of range; write 1s to 300s",
        );
        refuse(
            !(second..=LONGEST_SESSION).contains(&self.session_ttl),
            "session_ttl",
            "out of range; write 1s to 24h",
        );
        refuse(
            !(1..=HARD_DEPTH).contains(&self.max_depth),
            "max_depth",
            "out of range; write 1 to 8",
        );
        refuse(
            !(1..=MOST_FANOUT).contains(&self.max_fanout),
            "max_fanout",
            "out of range; write 1 to 1000",
        );
        problems
    }

    /// What is allowed and probably not meant, where `agents` is the list of callers that need a delegation.
    pub fn warnings(&self, agents: &AgentList) -> Vec<(String, String)> {
        let mut warnings = Vec::new();
        for (at, entry) in self.agents.0.iter().enumerate() {
            if !agents.0.iter().any(|all| all.covers(&entry.agents)) {
                let advice = format!(
                    "`{}` is not in agents; its callers count as agents all the same: add it there",
                    entry.agents
                );
                warnings.push((format!("delegation.agents[{at}].match"), advice));
            }
            let known = |kind: &_| self.agents.0.iter().any(|it| it.agent_type == *kind);
            for kind in entry.may_delegate_to.iter().flatten() {
                if !known(kind) {
                    let path = format!("delegation.agents[{at}].may_delegate_to");
                    warnings.push((path, format!("no entry has the type `{kind}`")));
                }
            }
        }
        for (at, pattern) in agents.0.iter().enumerate() {
            let meets = |entry: &super::AgentEntry| {
                entry.agents.covers(pattern) || pattern.covers(&entry.agents)
            };
            if !self.agents.0.is_empty() && !self.agents.0.iter().any(meets) {
                let advice =
                    "no entry of delegation.agents is for these callers; they can be given nothing";
                warnings.push((format!("agents[{at}]"), advice.to_owned()));
            }
        }
        warnings
    }

    /// What it comes to.
    pub fn build(self) -> Settings {
        let Self {
            issuer,
            audience,
            token_ttl,
            session_ttl,
            max_depth,
            max_fanout,
            agents,
            keys: _,
        } = self;
        Settings {
            limits: Limits {
                max_depth,
                max_fanout,
                token_ttl,
                issuer,
                audience,
            },
            session_ttl,
            registry: agents,
        }
    }
}

impl Settings {
    /// Everybody who is an agent: `listed`, and whoever may be delegated to.
    pub fn agents(&self, listed: &AgentList) -> AgentList {
        let delegates = self.registry.0.iter().map(|entry| &entry.agents);
        AgentList(listed.0.iter().chain(delegates).cloned().collect())
    }
}
