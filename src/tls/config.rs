//! The `tls` section of the configuration: our certificates by name, each with where it comes from.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use prometheus_client::registry::Registry;
use serde::Deserialize;
use spiffe::transport::Endpoint;

use crate::clock::Clock;
use crate::identity::TrustDomain;
use crate::text::sentence;

use super::credential::Credential;
use super::files::FileSource;
use super::metrics::Metrics;
use super::workload::WorkloadSource;

/// Our certificates, by the names that listeners use for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Config {
    /// By name.
    pub sources: BTreeMap<String, Source>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawSource")]
pub enum Source {
    /// A SPIFFE Workload API, such as a SPIRE agent.
    WorkloadApi {
        /// Its socket.
        endpoint: Endpoint,
        /// Which of several SVIDs; the first where none is named.
        hint: Option<String>,
    },
    /// Files in PEM.
    Files(Files),
}

/// Files in PEM, read again when they change. Relative paths start from the configuration's folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Our certificate, then the intermediates above it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of our own trust domain.
    pub bundle: PathBuf,
}

/// Why a source is not understood.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Both, or none.
    #[error("write either `workload_api: unix:///PATH` or `files: {{certificate, key, bundle}}`")]
    NotOne,
    /// Only the Workload API has hints.
    #[error("`hint` belongs to a Workload API; remove it")]
    Hint,
    /// Not an address of a Workload API (SPIFFE Workload Endpoint section 4).
    #[error("`{0}` is no Workload API; write unix:///PATH or tcp://IP:PORT, nothing is expanded")]
    Endpoint(String, #[source] spiffe::transport::EndpointError),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    workload_api: Option<String>,
    hint: Option<String>,
    files: Option<Files>,
}

/// All credentials of the process and the sources that renew them.
#[derive(Debug)]
pub struct Credentials {
    entries: Vec<Entry>,
    accepted: Arc<ArcSwap<Vec<TrustDomain>>>,
}

#[derive(Debug)]
struct Entry {
    credential: Credential,
    renewal: Option<Renewal>,
}

/// What keeps one credential current.
#[derive(Debug)]
pub struct Renewal {
    credential: Credential,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Workload(WorkloadSource),
    Files(FileSource),
}

impl TryFrom<RawSource> for Source {
    type Error = String;

    fn try_from(raw: RawSource) -> Result<Self, String> {
        Self::read(raw).map_err(|error| sentence(&error))
    }
}

impl Source {
    fn read(raw: RawSource) -> Result<Self, SourceError> {
        match (raw.workload_api, raw.files, raw.hint) {
            (Some(text), None, hint) => match Endpoint::parse(&text) {
                Ok(endpoint) => Ok(Self::WorkloadApi { endpoint, hint }),
                Err(error) => Err(SourceError::Endpoint(text, error)),
            },
            (None, Some(_), Some(_)) => Err(SourceError::Hint),
            (None, Some(files), None) => Ok(Self::Files(files)),
            _ => Err(SourceError::NotOne),
        }
    }
}

impl Config {
    /// Makes the credentials. Files are read once here; the rest comes with [`Credentials::run`].
    ///
    /// `trust_domain` is ours, `accepted` are those whose workloads may connect.
    pub fn build(
        self,
        base: &Path,
        trust_domain: &TrustDomain,
        accepted: Vec<TrustDomain>,
        clock: &Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Credentials {
        let accepted = Arc::new(ArcSwap::from_pointee(accepted));
        // Houses without TLS are spared its metrics.
        let metrics = if self.sources.is_empty() {
            Metrics::register(&mut Registry::default())
        } else {
            Metrics::register(registry)
        };
        let entries = self.sources.into_iter().map(|(name, source)| {
            let named = metrics.of(&name);
            let credential = Credential::new(
                name,
                trust_domain.clone(),
                Arc::clone(&accepted),
                Arc::clone(clock),
                named,
            );
            let kind = match source {
                Source::WorkloadApi { endpoint, hint } => {
                    Kind::Workload(WorkloadSource::new(endpoint, hint, credential.clone()))
                }
                Source::Files(files) => {
                    let mut source = FileSource::new(base, files, trust_domain, credential.clone());
                    source.look();
                    Kind::Files(source)
                }
            };
            let renewal = Renewal {
                credential: credential.clone(),
                kind,
            };
            Entry {
                credential,
                renewal: Some(renewal),
            }
        });
        Credentials {
            entries: entries.collect(),
            accepted,
        }
    }
}

impl Credentials {
    /// The credential with a name.
    pub fn get(&self, name: &str) -> Option<&Credential> {
        self.iter().find(|credential| credential.name() == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Credential> {
        self.entries.iter().map(|entry| &entry.credential)
    }

    /// Whose workloads may connect from now on.
    pub fn accept(&self, trust_domains: Vec<TrustDomain>) {
        self.accepted.store(Arc::new(trust_domains));
    }

    /// What keeps the credentials current. It can be taken once.
    pub fn renewals(&mut self) -> Vec<Renewal> {
        let entries = self.entries.iter_mut();
        entries.filter_map(|entry| entry.renewal.take()).collect()
    }
}

impl Renewal {
    /// Works until it is dropped, or until going on is pointless. A panic ends it and is said of the credential.
    pub async fn run(self) {
        let Self { credential, kind } = self;
        let work = async {
            match kind {
                Kind::Workload(source) => source.run().await,
                Kind::Files(source) => source.run().await,
            }
        };
        watch(&credential, work).await;
    }
}

/// A task that panics would end unseen, and its certificate would run out much later.
pub(super) async fn watch(credential: &Credential, work: impl Future<Output = ()>) {
    // Nothing of the work is used afterwards; what it shares with others is swapped whole.
    if AssertUnwindSafe(work).catch_unwind().await.is_err() {
        credential.abandon();
    }
}
