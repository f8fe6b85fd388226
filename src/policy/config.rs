//! The `policy` section of the configuration: which engine decides, which rule it is asked for, and where it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::source::Wanted;
use super::{
    BreakerSettings, CacheConfig, EmbeddedEngine, InputForm, LoadError, Opa, Program, Sources,
};
use crate::identity::SpiffeId;

/// The `policy` section.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What evaluates policy.
    pub engine: EngineKind,
    /// The decision to ask for, as package and rule: `agentweave/authz/allow` is `data.agentweave.authz.allow`.
    pub path: DecisionPath,
    /// Which words policy reads and answers in: attache's own, or those of opa-envoy-plugin as well.
    pub input: InputForm,
    /// Settings of the embedded engine.
    pub embedded: Embedded,
    /// Settings of the OPA engine.
    pub opa: Opa,
    /// Whether a request is denied where asking policy failed. `false` is for development only.
    pub default_deny: bool,
    /// When an engine outside this process is given up, and tried again. The embedded one is always asked.
    pub breaker: BreakerSettings,
    /// How verdicts are remembered.
    pub cache: CacheConfig,
}

/// What evaluates policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Rego, inside this process.
    #[default]
    Embedded,
    /// An OPA, over its REST API.
    Opa,
}

/// Settings of the embedded engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Embedded {
    /// Rego modules: files, or directories of which every `.rego` file but tests and every data document is read. Relative
    /// to the configuration file. Empty means the policy that attache ships, which allows what attache's own rules allow.
    pub modules: Vec<PathBuf>,
    /// Data documents (`.json`, `.yaml`), merged into `data`: files, or directories of them. A document with thousands of
    /// members belongs beside the package of the rules, not into it, since evaluations copy the objects around a rule.
    pub data: Vec<PathBuf>,
    /// Whether the files are looked at again while running.
    pub reload: bool,
    /// How long one evaluation may take. It is wall time, so a busy machine can use up a tight limit: leave it at 50 ms
    /// or more. Going over it refuses the request.
    #[serde(deserialize_with = "time_limit")]
    pub time_limit: Duration,
}

/// A package and a rule in it, as `agentweave/authz/allow`.
///
/// Segments are letters, digits and `_`, not beginning with a digit, so that a path can't leave its place in a URL or a
/// query. At least two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DecisionPath(String);

/// A text that is not a [`DecisionPath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a package and a rule: write segments of letters, digits and `_`, as in agentweave/authz/allow"
)]
pub struct DecisionPathError(String);

// === impl Config ===

impl Config {
    /// Reads, checks and tries the policy. Relative paths are relative to `base`, the folder of the configuration file.
    ///
    /// Blocks on files. Every error there is comes at once.
    pub fn load(&self, base: &Path) -> Result<Program, Vec<LoadError>> {
        let mut sources = self.sources(base)?;
        // Files are read one after the other and may be swapped in between: a mixture of two policies is neither.
        for _attempt in 0..ATTEMPTS {
            let again = self.sources(base)?;
            if again == sources {
                let limit = self.embedded.time_limit;
                return Program::compile_for(&sources, &self.path, limit, self.input);
            }
            sources = again;
        }
        Err(vec![LoadError::Listing {
            name: "policy files".to_owned(),
            fault: "keep changing while they are read",
        }])
    }

    /// Loads the policy into an engine that can load it again.
    pub fn embedded_engine(self, base: PathBuf) -> Result<EmbeddedEngine, Vec<LoadError>> {
        let program = self.load(&base)?;
        Ok(EmbeddedEngine::reloadable(program, self, base))
    }

    /// What can't be meant, by key, and what to do about it. `production` is whether switches for development are refused.
    pub fn problems(&self, production: bool) -> Vec<(&'static str, &'static str)> {
        let mut problems = match self.engine {
            EngineKind::Embedded => Vec::new(),
            EngineKind::Opa => self.opa.problems(),
        };
        if production && !self.default_deny {
            problems.push((
                "policy.default_deny",
                "false allows requests that policy was never asked about; \
                 leave it out, or write `mode: development`",
            ));
        }
        problems
    }

    /// What is allowed but probably not meant, by key.
    pub fn warnings(&self) -> Vec<(&'static str, &'static str)> {
        match self.engine {
            EngineKind::Embedded => Vec::new(),
            EngineKind::Opa => self.opa.warnings(),
        }
    }

    /// The entry of `tls` that the engine is asked with, if any.
    pub fn credential(&self) -> Option<&str> {
        match self.engine {
            EngineKind::Embedded => None,
            EngineKind::Opa => self.opa.tls.as_deref(),
        }
    }

    /// The servers that the engine is asked at, where they are known by their SPIFFE ID.
    pub fn servers(&self) -> &[SpiffeId] {
        match self.engine {
            EngineKind::Embedded => &[],
            EngineKind::Opa => &self.opa.spiffe_ids,
        }
    }

    /// How long an answer may take, where the engine has a limit of its own for that.
    pub fn patience(&self) -> Option<Duration> {
        match self.engine {
            EngineKind::Embedded => None,
            EngineKind::Opa => Some(self.opa.timeout),
        }
    }

    /// The files as they are now.
    pub(super) fn sources(&self, base: &Path) -> Result<Sources, Vec<LoadError>> {
        let mut sources = Sources::default();
        let mut errors = Vec::new();
        let Embedded { modules, data, .. } = &self.embedded;
        if modules.is_empty() {
            sources.insert(SHIPPED_NAME, SHIPPED);
        }
        for entry in modules {
            errors.extend(sources.read(base, entry, Wanted::Modules));
        }
        for entry in data {
            errors.extend(sources.read(base, entry, Wanted::Data));
        }
        if errors.is_empty() {
            Ok(sources)
        } else {
            Err(errors)
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            path: DecisionPath::default(),
            input: InputForm::default(),
            embedded: Embedded::default(),
            opa: Opa::default(),
            breaker: BreakerSettings::default(),
            cache: CacheConfig::default(),
            default_deny: true,
        }
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self {
            modules: Vec::new(),
            data: Vec::new(),
            reload: true,
            time_limit: Duration::from_millis(50),
        }
    }
}

// === impl DecisionPath ===

impl DecisionPath {
    /// As the engine names the rule: `data.agentweave.authz.allow`.
    pub(super) fn rule(&self) -> String {
        self.place().join(".")
    }

    /// The components of [`DecisionPath::rule`].
    pub(super) fn place(&self) -> Vec<String> {
        let segments = ["data"].into_iter().chain(self.0.split('/'));
        segments.map(str::to_owned).collect()
    }
}

impl Default for DecisionPath {
    fn default() -> Self {
        Self("agentweave/authz/allow".to_owned())
    }
}

impl FromStr for DecisionPath {
    type Err = DecisionPathError;

    fn from_str(text: &str) -> Result<Self, DecisionPathError> {
        let is_name = |segment: &str| {
            let mut bytes = segment.bytes();
            bytes
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if text.split('/').count() < 2 || !text.split('/').all(is_name) {
            return Err(DecisionPathError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for DecisionPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for DecisionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn time_limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let limit = humantime_serde::deserialize(deserializer)?;
    if limit == Duration::ZERO {
        return Err(serde::de::Error::custom("must be longer than 0"));
    }
    Ok(limit)
}

const SHIPPED: &str = include_str!("../../deploy/policy/default.rego");
const SHIPPED_NAME: &str = "shipped/default.rego";
/// How often files that change while they are read are read again.
const ATTEMPTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Config, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_section_asks_the_shipped_policy() {
        let config = parse("{}").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.path.to_string(), "agentweave/authz/allow");
        assert_eq!(config.embedded.time_limit, Duration::from_millis(50));
        assert!(config.embedded.reload);
        assert!(config.embedded.modules.is_empty());
    }

    /// The kernel gives that file another content each time.
    #[test]
    #[cfg(target_os = "linux")]
    fn files_that_keep_changing_are_not_taken_for_a_policy() {
        let folder = tempfile::tempdir().unwrap();
        let changing = folder.path().join("data.json");
        std::os::unix::fs::symlink("/proc/sys/kernel/random/uuid", changing).unwrap();
        let config = parse("embedded: {data: [data.json]}").unwrap();
        let errors = config.load(folder.path()).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "`policy files` keep changing while they are read"
        );
    }

    #[test]
    fn every_setting_is_read() {
        let config = parse(
            "engine: embedded\npath: company/allow\nembedded: {modules: [policy/], data: [a.json], reload: false, \
             time_limit: 100ms}\ncache: {size: 10, ttl: 20s, deny_ttl: 1s}",
        )
        .unwrap();
        assert_eq!(config.path.rule(), "data.company.allow");
        assert_eq!(config.embedded.modules, [PathBuf::from("policy/")]);
        assert_eq!(config.embedded.data, [PathBuf::from("a.json")]);
        assert_eq!(config.embedded.time_limit, Duration::from_millis(100));
        assert!(!config.embedded.reload);
        assert_eq!(config.cache.size, 10);
        assert_eq!(config.cache.ttl, Duration::from_secs(20));
        assert_eq!(config.cache.deny_ttl, Duration::from_secs(1));
    }

    #[test]
    fn opa_is_asked_at_its_own_port_unless_told_otherwise() {
        let config = parse("engine: opa").unwrap();
        assert_eq!(config.engine, EngineKind::Opa);
        assert!(config.default_deny);
        assert_eq!(config.opa.endpoint.to_string(), "http://localhost:8181");
        assert_eq!(config.opa.timeout, Duration::from_secs(5));
        assert!(!config.opa.readiness);
        assert_eq!(config.problems(true), []);
        assert_eq!(config.warnings(), []);
    }

    #[test]
    fn settings_of_opa_that_contradict_each_other_are_refused() {
        let keys = |yaml: &str| -> Vec<_> {
            let problems = parse(yaml).unwrap().problems(true);
            problems.into_iter().map(|(key, _)| key).collect()
        };
        for (yaml, expected) in [
            (
                "{engine: opa, opa: {endpoint: 'https://opa'}}",
                "policy.opa.ca_file",
            ),
            (
                "{engine: opa, opa: {endpoint: 'unix:///opa', ca_file: a.pem}}",
                "policy.opa.ca_file",
            ),
            (
                "{engine: opa, opa: {endpoint: 'http://opa', token_file: token}}",
                "policy.opa.token_file",
            ),
            (
                "{engine: opa, opa: {endpoint: 'https://opa', tls: mesh}}",
                "policy.opa.spiffe_ids",
            ),
            (
                "{engine: opa, opa: {endpoint: 'https://opa', ca_file: a.pem, spiffe_ids: ['spiffe://example.org/opa']}}",
                "policy.opa.tls",
            ),
            (
                "{engine: opa, opa: {endpoint: 'unix:///opa', tls: mesh, spiffe_ids: ['spiffe://example.org/opa']}}",
                "policy.opa.tls",
            ),
            (
                "{engine: opa, opa: {endpoint: 'https://opa', tls: mesh, spiffe_ids: ['spiffe://example.org/opa'], ca_file: a}}",
                "policy.opa.ca_file",
            ),
        ] {
            assert_eq!(keys(yaml), [expected], "{yaml}");
        }
        let secured = "{engine: opa, opa: {endpoint: 'https://opa', tls: mesh, spiffe_ids: ['spiffe://example.org/opa']}}";
        assert_eq!(keys(secured), [""; 0]);
        assert_eq!(parse(secured).unwrap().credential(), Some("mesh"));
        // What is not in use is no mistake.
        assert_eq!(keys("opa: {endpoint: 'https://opa'}"), [""; 0]);
        let exposed = parse("{engine: opa, opa: {endpoint: 'http://opa'}}").unwrap();
        assert_eq!(exposed.warnings()[0].0, "policy.opa.endpoint");
    }

    /// B10.
    #[test]
    fn allowing_without_policy_is_refused_in_production() {
        let config = parse("default_deny: false").unwrap();
        assert_eq!(config.problems(true)[0].0, "policy.default_deny");
        assert_eq!(config.problems(false), []);
    }

    #[test]
    fn what_can_not_be_meant_is_refused_with_a_sentence() {
        for (yaml, expected) in [
            ("opa: {endpoint: opa}", "http://HOST:PORT"),
            ("opa: {timeout: 0s}", "out of range"),
            ("opa: {timeout: 2m}", "out of range"),
            ("opa: {max_in_flight: 0}", "1 to 100000"),
            ("opa: {max_response: 10B}", "1KiB to 16MiB"),
            ("opa: {health: all}", "all"),
            ("opa: {health_interval: 1ms}", "out of range"),
            ("opa: {endpiont: a}", "endpiont"),
            ("engine: cedar", "unknown variant `cedar`"),
            ("embedded: {time_limit: 0s}", "longer than 0"),
            ("embedded: {time_limit: soon}", "soon"),
            ("embedded: {modles: []}", "modles"),
            ("pth: a/b", "pth"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }

    /// O22.
    #[test]
    fn a_path_can_not_leave_its_place() {
        for bad in [
            "", "allow", "/a/b", "a/b/", "a//b", "a/../b", "a/%2f", "a/b[0]", "a/\"b\"", "a.b/c",
            "a/9b", "a/b c", "a/ä",
        ] {
            let error = bad.parse::<DecisionPath>().unwrap_err();
            assert!(
                error.to_string().contains("is not a package and a rule"),
                "{bad}"
            );
        }
        assert_eq!(
            "_a/B_9".parse::<DecisionPath>().unwrap().rule(),
            "data._a.B_9"
        );
    }
}
