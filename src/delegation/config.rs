//! The section `delegation` of the configuration, and what it comes to.

use std::time::Duration;

use serde::Deserialize;

use super::delegate::{HARD_DEPTH, Limits};
use super::grant::Audience;
use super::registry::Registry;
use crate::identity::{SpiffeId, SpiffePattern};
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
    /// The header of a request that carries the token.
    pub token_header: TokenHeader,
    /// How long past its end a token is accepted, for clocks that differ; at most 30 s.
    #[serde(with = "humantime_serde")]
    pub clock_skew: Duration,
    /// The keys that tokens are signed with.
    pub keys: K,
}

/// The header of a request that carries the token. Exactly one is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenHeader {
    /// `authorization`, with the scheme `Bearer` (RFC 6750 section 2.1). It reaches the service.
    #[default]
    Authorization,
    /// `attache-token`, the token alone: for services that need `authorization` for themselves. It does not reach them.
    AttacheToken,
}

/// How a token is to be shown. Reloads live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing {
    /// In which header.
    pub header: TokenHeader,
    /// How long past its end it is accepted.
    pub skew: Duration,
    /// Which workloads may show a person's own.
    pub gateways: Vec<SpiffePattern>,
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
    /// How tokens are to be shown.
    pub showing: Showing,
}

const LONGEST_TOKEN: Duration = Duration::from_secs(300);
const LONGEST_SESSION: Duration = Duration::from_secs(24 * 60 * 60);
const MOST_FANOUT: u32 = 1000;
const MOST_SKEW: Duration = Duration::from_secs(30);

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
            token_header: TokenHeader::default(),
            clock_skew: Duration::ZERO,
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
        refuse(
            self.clock_skew > MOST_SKEW,
            "clock_skew",
            "out of range; write 0s to 30s",
        );
        problems
    }

    /// What is allowed and probably not meant, where `agents` is the list of callers that need a delegation, and `gateways`
    /// of those that may show a person's own token.
    pub fn warnings(
        &self,
        agents: &AgentList,
        gateways: &[SpiffePattern],
    ) -> Vec<(String, String)> {
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
        for (at, gateway) in gateways.iter().enumerate() {
            let meets = |agents: &SpiffePattern| agents.covers(gateway) || gateway.covers(agents);
            let delegates = self.agents.0.iter().map(|entry| &entry.agents);
            if let Some(agents) = agents.0.iter().chain(delegates).find(|it| meets(it)) {
                let advice =
                    format!("agents show no person's own token, and these are by `{agents}`");
                warnings.push((format!("gateways[{at}]"), advice));
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

    /// What it comes to, with the workloads that may show a person's own token.
    pub fn build(self, gateways: Vec<SpiffePattern>) -> Settings {
        let Self {
            issuer,
            audience,
            token_ttl,
            session_ttl,
            max_depth,
            max_fanout,
            agents,
            token_header,
            clock_skew,
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
            showing: Showing {
                header: token_header,
                skew: clock_skew,
                gateways,
            },
        }
    }
}

impl TokenHeader {
    /// The header's name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::AttacheToken => "attache-token",
        }
    }
}

impl Showing {
    /// Whether `caller` may show a person's own token.
    pub fn is_gateway(&self, caller: &SpiffeId) -> bool {
        self.gateways.iter().any(|it| it.matches(caller))
    }
}

impl Settings {
    /// Everybody who is an agent: `listed`, and whoever may be delegated to.
    pub fn agents(&self, listed: &AgentList) -> AgentList {
        let delegates = self.registry.0.iter().map(|entry| &entry.agents);
        AgentList(listed.0.iter().chain(delegates).cloned().collect())
    }
}
