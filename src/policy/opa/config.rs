//! The `policy.opa` section of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::endpoint::Endpoint;
use crate::identity::SpiffeId;

/// Settings of the OPA engine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Opa {
    /// Where OPA listens.
    pub endpoint: Endpoint,
    /// Longest time for one answer, 1ms to 1m; less where the request has less left.
    #[serde(deserialize_with = "timeout")]
    pub timeout: Duration,
    /// Questions under way at once, 1 to 100000; further ones wait for a moment, then are denied as `overloaded`.
    #[serde(deserialize_with = "max_in_flight")]
    pub max_in_flight: usize,
    /// Largest answer, 1KiB to 16MiB.
    #[serde(deserialize_with = "max_response")]
    pub max_response: ByteSize,
    /// A file with the bearer token, read again when it changes.
    pub token_file: Option<PathBuf>,
    /// Certificate authorities in PEM that an `https` endpoint is believed by, and no others; read again when it changes.
    pub ca_file: Option<PathBuf>,
    /// The entry of `tls` whose certificate is shown to an `https` endpoint; the server is then known by `spiffe_ids` alone.
    pub tls: Option<String>,
    /// Which servers are believed, by SPIFFE ID, where `tls` says by which certificate they are asked.
    pub spiffe_ids: Vec<SpiffeId>,
    /// Bundles that must be active in OPA for its answers to count.
    pub bundles: Vec<String>,
    /// What is asked of OPA's health.
    pub health: HealthKind,
    /// How often, 100ms to 1h.
    #[serde(deserialize_with = "health_interval")]
    pub health_interval: Duration,
    /// Whether the process is ready only while OPA is.
    pub readiness: bool,
}

/// What is asked of OPA's health.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthKind {
    /// Whether the server answers.
    #[default]
    Plain,
    /// Whether every configured bundle was activated once, too.
    Bundles,
}

impl Opa {
    /// What can't be meant, by key, and what to do about it.
    pub(in crate::policy) fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = self.secured_problems();
        if self.endpoint.is_tls() && self.ca_file.is_none() && self.tls.is_none() {
            problems.push((
                "policy.opa.ca_file",
                "missing; an https endpoint is believed only by the authorities of a file in PEM, \
                 or by its SPIFFE ID with policy.opa.tls",
            ));
        }
        if !self.endpoint.is_tls() && self.ca_file.is_some() {
            problems.push((
                "policy.opa.ca_file",
                "without use; write an endpoint that begins with https://, or leave it out",
            ));
        }
        if self.endpoint.is_exposed() && self.token_file.is_some() {
            problems.push((
                "policy.opa.token_file",
                "would be sent where others can read it; write an endpoint that begins with https:// or unix://",
            ));
        }
        problems
    }

    /// A certificate of ours that is shown to nobody, or to anybody.
    fn secured_problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut problems = Vec::new();
        if self.tls.is_none() && !self.spiffe_ids.is_empty() {
            problems.push((
                "policy.opa.tls",
                "missing; name the entry of tls that OPA is asked with, or leave spiffe_ids out",
            ));
        }
        if self.tls.is_none() {
            return problems;
        }
        if self.spiffe_ids.is_empty() {
            problems.push((
                "policy.opa.spiffe_ids",
                "missing; with policy.opa.tls OPA is known by its SPIFFE ID alone",
            ));
        }
        if !self.endpoint.is_tls() {
            problems.push((
                "policy.opa.tls",
                "without use; write an endpoint that begins with https://, or leave it out",
            ));
        } else if self.ca_file.is_some() {
            problems.push((
                "policy.opa.ca_file",
                "without use beside policy.opa.tls, where the authorities of the trust domain count; leave one out",
            ));
        }
        problems
    }

    /// What is allowed but probably not meant.
    pub(in crate::policy) fn warnings(&self) -> Vec<(&'static str, &'static str)> {
        let exposed = self.endpoint.is_exposed();
        exposed
            .then_some((
                "policy.opa.endpoint",
                "plaintext beyond this host: whoever is on the way can decide; use https://",
            ))
            .into_iter()
            .collect()
    }
}

impl HealthKind {
    /// The path of OPA's health API.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Plain => "/health",
            Self::Bundles => "/health?bundles",
        }
    }
}

impl Default for Opa {
    fn default() -> Self {
        Self {
            endpoint: Endpoint::default(),
            timeout: Duration::from_secs(5),
            max_in_flight: 256,
            max_response: ByteSize::kib(64),
            token_file: None,
            ca_file: None,
            tls: None,
            spiffe_ids: Vec::new(),
            bundles: Vec::new(),
            health: HealthKind::default(),
            health_interval: Duration::from_secs(5),
            readiness: false,
        }
    }
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(
        deserializer,
        Duration::from_millis(1),
        Duration::from_secs(60),
    )
}

fn health_interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    duration(
        deserializer,
        Duration::from_millis(100),
        Duration::from_secs(3600),
    )
}

fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: Duration,
    most: Duration,
) -> Result<Duration, D::Error> {
    let duration = humantime_serde::deserialize(deserializer)?;
    if (least..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(D::Error::custom(format_args!(
        "{} is out of range: write {} to {}",
        humantime::format_duration(duration),
        humantime::format_duration(least),
        humantime::format_duration(most)
    )))
}

fn max_in_flight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let number = usize::deserialize(deserializer)?;
    if (1..=100_000).contains(&number) {
        return Ok(number);
    }
    Err(D::Error::custom(format_args!(
        "{number} is out of range: write 1 to 100000"
    )))
}

fn max_response<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = ByteSize::deserialize(deserializer)?;
    if (ByteSize::kib(1)..=ByteSize::mib(16)).contains(&size) {
        return Ok(size);
    }
    Err(D::Error::custom(format_args!(
        "{size} is out of range: write 1KiB to 16MiB"
    )))
}
