//! attache.yaml: read once into typed parts, one per room, with every mistake named at once.
//!
//! Unknown keys are mistakes. Nothing is expanded from the environment, and nothing is ever half applied.

mod collect;
mod listen;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::authority::{ContextNames, INQUIRY_TIME, LONGEST_INQUIRY, Rules};
use crate::delegation::{RoleConfig, TokenHeader};
use crate::grpc::Limits;
use crate::identity::TrustDomain;
use crate::operation::{Fallback, RouteConfig, RouteTable};
use crate::permission::{AgentList, TierTable, WorkloadConfig};
use crate::{audit, delegation, humans, identity, keys, policy, state, telemetry, tls};

pub use collect::Problem;
pub use listen::{ExtAuthzListener, Listen, TlsListener};

/// A whole configuration, sound in itself.
#[derive(Debug)]
pub struct Config {
    /// What needs a restart to change.
    pub fixed: Fixed,
    /// What reloads live.
    pub rules: Rules,
    /// What is allowed but probably not meant.
    pub warnings: Vec<Problem>,
}

/// The parts of a configuration that are read at start only.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    /// Where the file is; relative paths in it start from its folder.
    pub base: PathBuf,
    /// Production or development.
    pub mode: Mode,
    /// The tenant every id and record belongs to.
    pub tenant: String,
    /// The trust domain that is ours.
    pub trust_domain: TrustDomain,
    /// The sockets.
    pub listen: Listen,
    /// Our certificates.
    pub tls: tls::Config,
    /// The judge.
    pub policy: policy::Config,
    /// The witness.
    pub audit: audit::Config,
    /// The memory of delegations, where there is one.
    pub state: Option<state::Config>,
    /// The keys that tokens are signed with.
    pub keys: keys::Config,
    /// What the process takes on.
    pub limits: Limits,
    /// Logs.
    pub telemetry: telemetry::Config,
}

/// How strict the process is with itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refuses switches that exist for development only.
    #[default]
    Production,
    /// Allows them, and says so in log, metrics and health.
    Development,
}

impl Fixed {
    /// The sections that are not the same in `other`.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let Self {
            base,
            mode,
            tenant,
            trust_domain,
            listen,
            tls,
            policy,
            audit,
            state,
            keys,
            limits,
            telemetry,
        } = self;
        [
            ("the folder", *base == other.base),
            ("mode", *mode == other.mode),
            ("tenant", *tenant == other.tenant),
            ("trust_domain", *trust_domain == other.trust_domain),
            ("listen", *listen == other.listen),
            ("tls", *tls == other.tls),
            ("policy", *policy == other.policy),
            ("audit", *audit == other.audit),
            ("state", *state == other.state),
            ("delegation.keys", *keys == other.keys),
            ("limits", *limits == other.limits),
            ("telemetry", *telemetry == other.telemetry),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }
}

/// What becomes of users whose password stands in this source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KnownPasswords {
    Refused,
    Allowed,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("cannot read {}; name another file with --config, or try attache with --dev", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file has mistakes.
    #[error("{}", listed(path, problems))]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    mode: Mode,
    trust_domain: Option<TrustDomain>,
    #[serde(default = "default_tenant")]
    tenant: String,
    #[serde(default)]
    listen: Listen,
    #[serde(default)]
    tls: tls::Config,
    #[serde(default)]
    identity: identity::Config,
    #[serde(default)]
    agents: AgentList,
    #[serde(default)]
    gateways: Vec<identity::SpiffePattern>,
    #[serde(default)]
    delegation: delegation::Config<keys::Config>,
    #[serde(default)]
    workloads: WorkloadConfig,
    #[serde(default)]
    routes: Vec<RouteConfig>,
    #[serde(default)]
    context: ContextNames,
    #[serde(default)]
    rest_mapping: bool,
    #[serde(default)]
    tiers: TierTable,
    #[serde(default)]
    roles: RoleConfig,
    #[serde(default)]
    humans: humans::Config,
    #[serde(default)]
    policy: policy::Config,
    #[serde(default)]
    audit: audit::Config,
    state: Option<state::Config>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    telemetry: telemetry::Config,
}

fn default_tenant() -> String {
    "default".to_owned()
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Development => "development",
        }
    }
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Reads `text` as the content of the file at `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        Self::parse_with(text, path, KnownPasswords::Refused)
    }

    /// Reads the configuration of `--dev`, whose users have passwords that everybody knows.
    pub fn built_in(text: &str) -> Result<Self, ConfigError> {
        let path = Path::new("the built-in development configuration");
        Self::parse_with(text, path, KnownPasswords::Allowed)
    }

    fn parse_with(text: &str, path: &Path, known: KnownPasswords) -> Result<Self, ConfigError> {
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::from_text(text, base, known).map_err(|problems| ConfigError::Invalid {
            path: path.to_owned(),
            problems,
        })
    }

    fn from_text(text: &str, base: PathBuf, known: KnownPasswords) -> Result<Self, Vec<Problem>> {
        let value: serde_json::Value =
            serde_saphyr::from_str(text).map_err(|error| vec![not_yaml(&error.to_string())])?;
        if !value.is_object() {
            let advice = "not a mapping of keys; begin with `trust_domain: example.org`";
            return Err(vec![Problem::new("", advice)]);
        }
        let mut raw: Raw = collect::read_all(value)?;
        let mut problems = raw.listen.problems(&raw.identity, &raw.tls);
        if raw.trust_domain.is_none() {
            let advice = "missing; write the mesh's trust domain, as `trust_domain: example.org`";
            problems.push(Problem::new("trust_domain", advice));
        }
        if raw.tenant.is_empty() {
            problems.push(Problem::new("tenant", "empty; leave it out for `default`"));
        }
        problems.extend(context_problems(&raw.context));
        problems.extend(raw.shown_tokens());
        problems.extend(raw.strangers());
        problems.extend(raw.unshown());
        problems.extend(raw.agents_that_read());
        problems.extend(raw.of_sections(known));
        let routes = RouteTable::compile(&raw.routes).unwrap_or_else(|faults| {
            problems.extend(
                faults
                    .into_iter()
                    .map(|(path, what)| Problem::new(path, what)),
            );
            RouteTable::default()
        });
        let of_people = raw.of_people();
        let Some(trust_domain) = raw.trust_domain.filter(|_| problems.is_empty()) else {
            return Err(problems);
        };
        let of_delegation = raw.delegation.warnings(&raw.agents, &raw.gateways);
        let keys = raw.delegation.keys.clone();
        let delegation = raw.delegation.build(raw.gateways);
        let agents = delegation.agents(&raw.agents);
        let mut warnings = warnings(&raw.tiers, &agents, &raw.workloads, &routes);
        warnings.extend(
            of_delegation
                .into_iter()
                .map(|(path, what)| Problem::new(path, what)),
        );
        warnings.extend(of_people);
        warnings.extend(
            raw.listen
                .warnings(&raw.identity, &raw.tls, raw.policy.credential()),
        );
        let of_policy = raw.policy.warnings();
        warnings.extend(
            of_policy
                .into_iter()
                .map(|(path, what)| Problem::new(path, what)),
        );
        let (peps, identifier) = raw.identity.build(trust_domain.clone());
        Ok(Self {
            rules: Rules {
                peps,
                identifier,
                agents,
                delegation,
                // Who may read reloads live, what is written does not.
                readers: std::mem::take(&mut raw.audit.readers),
                workloads: raw.workloads.build(),
                routes,
                fallback: Fallback {
                    rest_mapping: raw.rest_mapping,
                },
                tiers: raw.tiers,
                roles: raw.roles.build(),
                people: Arc::new(raw.humans.build()),
                context: raw.context,
                inquiry_time: inquiry_time(&raw.policy),
                input: raw.policy.input,
                revision: revision(text),
            },
            fixed: Fixed {
                base,
                mode: raw.mode,
                tenant: raw.tenant,
                trust_domain,
                listen: raw.listen,
                tls: raw.tls,
                policy: raw.policy,
                audit: raw.audit,
                state: raw.state,
                keys,
                limits: raw.limits,
                telemetry: raw.telemetry,
            },
            warnings,
        })
    }
}

/// What one answer of the engine may take, as far as calls may take that long at all.
fn inquiry_time(policy: &policy::Config) -> Duration {
    policy
        .patience()
        .unwrap_or(INQUIRY_TIME)
        .min(LONGEST_INQUIRY)
}

/// The reader's message says by itself that it is an error; so does whoever prints the problem.
fn not_yaml(message: &str) -> Problem {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    Problem::new("", message)
}

impl Raw {
    /// What sections find wrong with themselves.
    fn of_sections(&self, known: KnownPasswords) -> Vec<Problem> {
        let production = self.mode == Mode::Production;
        let of_delegation = self.delegation.problems().into_iter();
        let of_policy = self.policy.problems(production).into_iter();
        let mut of_humans = self.humans.problems(production, &self.roles);
        if of_humans.is_empty() && known == KnownPasswords::Refused {
            // Not where they are refused anyway: each takes a while.
            of_humans = self.humans.known_passwords();
        }
        let of_delegation = of_delegation.map(|(path, what)| Problem::new(path, what));
        let of_policy = of_policy.map(|(path, what)| Problem::new(path, what));
        let of_humans = of_humans.into_iter();
        let of_humans = of_humans.map(|(path, what)| Problem::new(path, what));
        let of_audit = self.audit.contradiction();
        let of_audit = of_audit.map(|what| Problem::new("audit.mode", what));
        of_delegation
            .chain(of_policy)
            .chain(of_humans)
            .chain(of_audit)
            .collect()
    }

    /// The headers of tokens, where policy would see them: whoever has the text has what it permits.
    fn shown_tokens(&self) -> Vec<Problem> {
        let own = self.delegation.issuer.as_ref();
        let own = own.map(|_issuer| self.delegation.token_header);
        let holds_tokens = |name: &str| {
            let read = own.is_some_and(|header| header.as_str() == name);
            read || name == TokenHeader::AttacheToken.as_str()
        };
        let headers = self.context.headers.iter().enumerate();
        let shown = headers.filter(|(_, name)| holds_tokens(name));
        shown
            .map(|(at, name)| {
                let advice = format!(
                    "`{name}` holds tokens, which policy is not shown; it sees what they say: take it out"
                );
                Problem::new(format!("context.headers[{at}]"), advice)
            })
            .collect()
    }

    /// What is without effect of roles and users.
    fn of_people(&self) -> Vec<Problem> {
        let of_roles = self.roles.warnings().into_iter();
        let mut warnings: Vec<_> = of_roles
            .map(|(role, it)| Problem::new(format!("roles.{role}"), it))
            .collect();
        if self.state.is_none() && !self.humans.local.is_empty() {
            let advice = "nobody can log in without `state`; add `state: memory`, or a file";
            warnings.push(Problem::new("humans.local", advice));
        }
        warnings
    }

    /// The entry of `tls` that policy is asked with, where it is not there.
    fn unshown(&self) -> Option<Problem> {
        let name = self.policy.credential()?;
        let advice = format!("there is no `{name}` in tls; add tls.{name}");
        let missing = !self.tls.sources.contains_key(name);
        missing.then(|| Problem::new("policy.opa.tls", advice))
    }

    /// Readers of the audit trail that are agents, or may be: they would be refused all the same.
    fn agents_that_read(&self) -> Vec<Problem> {
        let readers = self.audit.readers.iter().enumerate();
        readers
            .filter(|(_, readers)| self.agents.overlaps(readers))
            .map(|(at, readers)| {
                let advice = format!(
                    "`{readers}` matches callers that `agents` matches, and agents never read the audit trail; \
                     name readers that are no agents"
                );
                Problem::new(format!("audit.readers[{at}]"), advice)
            })
            .collect()
    }

    /// Patterns of SPIFFE IDs that no accepted caller can have: a slip of the pen would turn agents into workloads.
    fn strangers(&self) -> Vec<Problem> {
        let Some(ours) = &self.trust_domain else {
            return Vec::new();
        };
        let accepted = |name: &str| {
            ours.as_str() == name || self.identity.federated.iter().any(|it| it.as_str() == name)
        };
        let agents = self.agents.0.iter().enumerate();
        let agents = agents.map(|(at, it)| (format!("agents[{at}]"), it));
        let delegates = self.delegation.agents.0.iter().enumerate();
        let delegates = delegates.map(|(at, it)| {
            let path = format!("delegation.agents[{at}].match");
            (path, &it.agents)
        });
        let gateways = self.gateways.iter().enumerate();
        let gateways = gateways.map(|(at, it)| (format!("gateways[{at}]"), it));
        let workloads = self.workloads.0.iter().enumerate();
        let workloads = workloads.map(|(at, it)| (format!("workloads[{at}].match"), &it.callers));
        let hops = self.identity.xfcc_hops.iter().enumerate();
        let hops = hops.map(|(at, it)| (format!("identity.xfcc_hops[{at}]"), it));
        let readers = self.audit.readers.iter().enumerate();
        let readers = readers.map(|(at, it)| (format!("audit.readers[{at}]"), it));
        let servers = self.policy.servers().iter().enumerate();
        let servers = servers.map(|(at, it)| {
            let path = format!("policy.opa.spiffe_ids[{at}]");
            (path, it.trust_domain().to_owned())
        });
        agents
            .chain(delegates)
            .chain(gateways)
            .chain(workloads)
            .chain(hops)
            .chain(readers)
            .map(|(path, pattern)| (path, pattern.trust_domain()))
            .chain(servers)
            .filter(|(_, name)| !accepted(name))
            .map(|(path, name)| {
                let advice = format!(
                    "trust domain `{name}` is neither trust_domain nor in identity.federated; \
                     correct it or add it there"
                );
                Problem::new(path, advice)
            })
            .collect()
    }
}

/// Entries that are allowed and without effect.
fn warnings(
    tiers: &TierTable,
    agents: &AgentList,
    workloads: &WorkloadConfig,
    routes: &RouteTable,
) -> Vec<Problem> {
    let tiers = tiers.warnings();
    let workloads = workloads.warnings(agents);
    let named = |path: &'static str| move |warning| Problem::new(path, warning);
    let mut warnings: Vec<_> = tiers.iter().map(named("tiers.rules")).collect();
    warnings.extend(workloads.iter().map(named("workloads")));
    let routes = routes.unreachable().iter();
    warnings.extend(routes.map(|(path, message)| Problem::new(path, message)));
    warnings
}

/// Header names that no request can carry as written would silently never reach policy.
fn context_problems(names: &ContextNames) -> Vec<Problem> {
    let plain = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let wrong = names
        .headers
        .iter()
        .enumerate()
        .filter(|(_, name)| !plain(name));
    wrong
        .map(|(index, name)| {
            let advice = format!("`{name}` is not a header name; write it in lower case");
            Problem::new(format!("context.headers[{index}]"), advice)
        })
        .collect()
}

/// As much of a digest as tells two configurations apart for a person.
fn revision(text: &str) -> Arc<str> {
    let digest = Sha256::digest(text.as_bytes());
    let start = digest.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start)).into()
}

fn listed(path: &Path, problems: &[Problem]) -> String {
    let lines: Vec<_> = problems
        .iter()
        .map(|problem| format!("{}: {problem}", path.display()))
        .collect();
    lines.join("\nerror: ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permission::Tier;

    fn mistakes(text: &str) -> Vec<String> {
        match Config::parse(text, Path::new("attache.yaml")) {
            Ok(_) => Vec::new(),
            Err(ConfigError::Invalid { problems, .. }) => {
                problems.iter().map(|it| it.path.clone()).collect()
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_trust_domain_alone_is_a_configuration() {
        assert_eq!(mistakes("trust_domain: example.org"), [""; 0]);
        assert_eq!(mistakes("mode: development"), ["trust_domain"]);
        assert_eq!(mistakes("[]"), [""]);
        assert_eq!(mistakes("a: b: c"), [""]);
    }

    #[test]
    fn a_pattern_of_a_stranger_s_trust_domain_is_a_mistake() {
        let text = r#"
            trust_domain: example.org
            identity: {federated: [partner.example], xfcc: last_hop, xfcc_hops: ["spiffe://edge.example/*"]}
            agents: ["spiffe://exmaple.org/agent/**", "spiffe://partner.example/agent/**"]
            workloads: [{match: "spiffe://exmaple.org/svc/a", permissions: []}]
            "#;
        assert_eq!(
            mistakes(text),
            ["agents[0]", "workloads[0].match", "identity.xfcc_hops[0]"]
        );
    }

    #[test]
    fn a_reader_of_the_trail_that_may_be_an_agent_is_a_mistake() {
        let with = |reader: &str| {
            format!(
                "{{trust_domain: example.org, agents: ['spiffe://example.org/agent/**'], audit: {{readers: ['{reader}']}}}}"
            )
        };
        for reader in [
            "spiffe://example.org/agent/a",
            "spiffe://example.org/**",
            "spiffe://example.org/*/a",
        ] {
            assert_eq!(mistakes(&with(reader)), ["audit.readers[0]"], "{reader}");
        }
        assert_eq!(
            mistakes(&with("spiffe://exmaple.org/a")),
            ["audit.readers[0]"]
        );
        let sound = with("spiffe://example.org/auditor/*");
        let config = Config::parse(&sound, Path::new("attache.yaml")).unwrap();
        assert_eq!(config.rules.readers.len(), 1);
    }

    #[test]
    fn opa_is_asked_with_a_certificate_that_is_there_and_by_an_id_that_can_be() {
        let with = |id: &str, tls: &str| {
            format!(
                "{{trust_domain: example.org, policy: {{engine: opa, opa: {{endpoint: 'https://opa', tls: mesh, \
                 spiffe_ids: ['{id}']}}}}, tls: {{{tls}: {{workload_api: 'unix:///api.sock'}}}}}}"
            )
        };
        let sound = with("spiffe://example.org/opa", "mesh");
        let config = Config::parse(&sound, Path::new("attache.yaml")).unwrap();
        assert!(config.warnings.is_empty(), "{:?}", config.warnings);
        assert_eq!(
            mistakes(&with("spiffe://example.org/opa", "other")),
            ["policy.opa.tls"]
        );
        assert_eq!(
            mistakes(&with("spiffe://exmaple.org/opa", "mesh")),
            ["policy.opa.spiffe_ids[0]"]
        );
    }

    #[test]
    fn programs_wait_for_opa_as_long_as_opa_is_waited_for() {
        let time = |policy: &str| {
            let text = format!("{{trust_domain: example.org, policy: {{{policy}}}}}");
            let config = Config::parse(&text, Path::new("attache.yaml")).unwrap();
            config.rules.inquiry_time
        };
        assert_eq!(time("opa: {timeout: 1s}"), INQUIRY_TIME);
        assert_eq!(
            time("engine: opa, opa: {timeout: 1s}"),
            Duration::from_secs(1)
        );
        assert_eq!(time("engine: opa, opa: {timeout: 1m}"), LONGEST_INQUIRY);
    }

    const DEV: &str = concat!(
        include_str!("../../deploy/dev.yaml"),
        include_str!("../../deploy/dev-people.yaml")
    );

    #[test]
    fn the_users_of_dev_are_for_dev_alone() {
        let built_in = Config::built_in(DEV).unwrap();
        assert!(built_in.warnings.is_empty(), "{:?}", built_in.warnings);
        let password = |at| format!("humans.local[{at}].password_hash");
        assert_eq!(mistakes(DEV), [0, 1, 2].map(password));
        let production = DEV.replace("mode: development", "mode: production");
        assert_eq!(mistakes(&production), ["humans.local"]);
    }

    #[test]
    fn users_who_could_not_log_in_are_pointed_out() {
        let without = DEV.replace("state: memory", "");
        let config = Config::built_in(&without).unwrap();
        let paths: Vec<_> = config.warnings.iter().map(|it| &*it.path).collect();
        assert_eq!(paths, ["humans.local"]);
    }

    #[test]
    fn the_roles_to_start_from_are_the_same_in_dev_and_in_the_example() {
        // A11
        let example = include_str!("../../deploy/examples/attache.yaml");
        let example = Config::parse(example, Path::new("attache.yaml")).unwrap();
        let roles = Config::built_in(DEV).unwrap().rules.roles;
        assert_eq!(roles, example.rules.roles);
        let tier = |role: &str, resource: &str, action: &str| {
            let permissions = roles.permissions(&role.parse().unwrap()).unwrap();
            permissions.effective(&resource.parse().unwrap(), &action.parse().unwrap())
        };
        for (role, resource, action, expected) in [
            ("viewer", "documents", "read", Tier::Free),
            ("viewer", "documents/7", "update", Tier::Absent),
            ("editor", "documents/7", "delete", Tier::Supervised),
            ("editor", "billing", "read", Tier::Absent),
            ("admin", "documents", "delete", Tier::Supervised),
            ("admin", "users/7", "create", Tier::Supervised),
            ("admin", "users/7", "update", Tier::Supervised),
            ("admin", "users/7", "delete", Tier::Forbidden),
            ("admin", "analytics", "admin", Tier::Supervised),
            ("admin", "billing", "update", Tier::Forbidden),
            ("admin", "billing", "delete", Tier::Absent),
        ] {
            let found = tier(role, resource, action);
            assert_eq!(found, expected, "{role} {resource}:{action}");
        }
    }

    #[test]
    fn whoever_may_be_delegated_to_is_an_agent() {
        let text = r#"
            trust_domain: example.org
            agents: ["spiffe://example.org/agent/**", "spiffe://example.org/bot"]
            delegation:
              agents:
                - {match: "spiffe://example.org/agent/a", type: a, ceiling: []}
                - {match: "spiffe://example.org/svc/b", type: b, ceiling: [], may_delegate_to: [a, c]}
            "#;
        let config = Config::parse(text, Path::new("attache.yaml")).unwrap();
        for agent in ["agent/x", "bot", "svc/b"] {
            let id = format!("spiffe://example.org/{agent}").parse().unwrap();
            assert!(config.rules.agents.contains(&id), "{agent}");
        }
        let paths: Vec<_> = config.warnings.iter().map(|it| &*it.path).collect();
        assert_eq!(
            paths,
            [
                "delegation.agents[1].match",
                "delegation.agents[1].may_delegate_to",
                "agents[1]"
            ]
        );
    }

    #[test]
    fn delegation_has_limits_that_can_not_be_configured_away() {
        let section = |text: &str| {
            mistakes(&format!(
                "{{trust_domain: example.org, delegation: {{{text}}}}}"
            ))
        };
        assert_eq!(
            section("token_ttl: 301s, session_ttl: 25h, max_depth: 9, max_fanout: 0"),
            [
                "delegation.token_ttl",
                "delegation.session_ttl",
                "delegation.max_depth",
                "delegation.max_fanout"
            ]
        );
        // D37
        assert_eq!(
            section("token_ttl: 0s, max_depth: 0"),
            ["delegation.token_ttl", "delegation.max_depth"]
        );
        assert_eq!(
            section("max_depth: -1, max_fanout: 18446744073709551615"),
            ["delegation.max_depth", "delegation.max_fanout"]
        );
        assert_eq!(
            section("issuer: 'http://attache.example.org'"),
            ["delegation.issuer"]
        );
        assert_eq!(
            section("issuer: 'https://a.example', audience: 'https://a.example'"),
            ["delegation.audience"]
        );
        let stranger = "agents: [{match: 'spiffe://exmaple.org/a', type: a, ceiling: []}]";
        assert_eq!(section(stranger), ["delegation.agents[0].match"]);
    }

    #[test]
    fn a_header_name_that_never_matches_is_a_mistake() {
        let text = "{trust_domain: example.org, context: {headers: [x-ok, X-Environment, '']}}";
        assert_eq!(mistakes(text), ["context.headers[1]", "context.headers[2]"]);
    }

    #[test]
    fn no_header_that_holds_tokens_is_context() {
        let with = |more: &str, name: &str| {
            format!(
                "{{trust_domain: example.org, delegation: {{{more}}}, context: {{headers: [{name}]}}}}"
            )
        };
        let issuer = "issuer: https://attache.example.org";
        let other = "issuer: https://attache.example.org, token_header: attache-token";
        for (delegation, name, refused) in [
            ("", "authorization", false),
            ("", "attache-token", true),
            (issuer, "authorization", true),
            (issuer, "attache-token", true),
            (other, "authorization", false),
            (other, "attache-token", true),
        ] {
            let text = with(delegation, name);
            let found = mistakes(&text);
            assert_eq!(
                found,
                vec!["context.headers[0]"; usize::from(refused)],
                "{text}"
            );
        }
    }
}
