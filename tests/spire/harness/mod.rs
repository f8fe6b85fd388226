//! One guarded application per test: an upstream in this process; SPIRE, attache and Envoy as child processes, with the
//! files of `deploy/spire`, in one temporary directory and on ports of their own. Everything ends with the [`Mesh`].

#[path = "../../integration/harness/answer.rs"]
#[expect(dead_code, reason = "the integration tests look at more of it")]
mod answer;
#[path = "../../e2e/harness/client.rs"]
#[expect(dead_code, reason = "the end-to-end tests ask in more ways")]
mod client;
mod envoy;
#[path = "../../integration/harness/message.rs"]
#[expect(dead_code, reason = "the integration tests ask in more ways")]
mod message;
#[path = "../../e2e/harness/process.rs"]
#[expect(dead_code, reason = "the end-to-end tests do more to processes")]
mod process;
mod proxy;
mod sidecar;
mod spire;
#[path = "../../e2e/harness/upstream.rs"]
#[expect(dead_code, reason = "the end-to-end tests look at what arrives")]
mod upstream;
mod workload;

use std::path::{Path, PathBuf};

pub(crate) use client::{Caller, Request};
pub(crate) use process::{eventually, within};
pub(crate) use proxy::{Proxy, ask_over};
pub(crate) use spire::Domain;
use spire::Entry;
pub(crate) use workload::{Identity, Workload};

use self::envoy::Envoy;
use self::sidecar::Sidecar;
use self::upstream::Upstream;

/// Our trust domain, and that of the partner.
pub(crate) const OURS: &str = "example.org";
pub(crate) const PARTNER: &str = "partner.example";

/// Those who take part.
pub(crate) const SELF: &str = "spiffe://example.org/attache";
pub(crate) const ENVOY: &str = "spiffe://example.org/envoy/edge";
pub(crate) const REPORTING: &str = "spiffe://example.org/svc/reporting";
pub(crate) const BILLING: &str = "spiffe://example.org/svc/billing";
const PARTNER_CALLER: &str = "spiffe://partner.example/svc/audit";
const PARTNER_ENVOY: &str = "spiffe://partner.example/envoy/edge";
const DOCUMENTS: &str = "spiffe://example.org/svc/documents";

/// What a test changes about the shipped files.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// How long SVIDs live, in seconds.
    pub(crate) ttl: u32,
    /// Edits of `deploy/spire/attache.yaml`.
    pub(crate) attache: &'static [(&'static str, &'static str)],
    /// Whether there is a second trust domain.
    pub(crate) federated: bool,
}

/// A guarded application and everything around it.
#[derive(Debug)]
pub(crate) struct Mesh {
    // Dropped in this order: Envoy first, so that nothing asks a process that is gone.
    pub(crate) envoy: Envoy,
    pub(crate) attache: Sidecar,
    pub(crate) ours: Domain,
    pub(crate) partner: Option<Partner>,
    pub(crate) reporting: Workload,
    pub(crate) billing: Workload,
    _upstream: Upstream,
    _home: tempfile::TempDir,
}

/// Another trust domain, with a caller and a proxy of its own.
#[derive(Debug)]
pub(crate) struct Partner {
    pub(crate) domain: Domain,
    pub(crate) caller: Workload,
    pub(crate) proxy: Workload,
}

/// The programs of others.
#[derive(Debug)]
struct Tools {
    spire: PathBuf,
    envoy: PathBuf,
}

impl Tools {
    /// Without them: `None`, or a panic where tests are required.
    fn find() -> Option<Self> {
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        if let (Some(spire), Some(envoy)) = (named("SPIRE_BIN"), named("ENVOY_BIN")) {
            return Some(Self { spire, envoy });
        }
        let required = std::env::var_os("REQUIRE_E2E").is_some_and(|value| value == "1");
        assert!(
            !required,
            "REQUIRE_E2E=1, but SPIRE_BIN or ENVOY_BIN is not set"
        );
        eprintln!("skipped: set SPIRE_BIN and ENVOY_BIN (make test-spire does)");
        None
    }
}

impl Mesh {
    /// Starts everything and waits until it is ready; `None` where there is nothing to test with.
    pub(crate) async fn start(setup: Setup) -> Option<Self> {
        let tools = Tools::find()?;
        // Directly under /tmp: a socket's path may have 107 bytes at most.
        let home = tempfile::Builder::new()
            .prefix("attache-spire-")
            .tempdir_in("/tmp")
            .unwrap();
        let path = home.path();
        let mut ours = Domain::start(&tools.spire, path, OURS, setup.ttl).await;
        let partner = if setup.federated {
            let mut domain = Domain::start(&tools.spire, path, PARTNER, setup.ttl).await;
            ours.learn(&domain).await;
            domain.learn(&ours).await;
            let workload = |name: &str| Workload::new(name, &tools.spire, path, &domain);
            let (caller, proxy) = (workload("partner"), workload("partner-proxy"));
            let entry = |name, id, workload: &Workload| Entry {
                name,
                id,
                program: workload.program().to_owned(),
                federates_with: Some(OURS),
            };
            let (caller_entry, proxy_entry) = (
                entry("caller", PARTNER_CALLER, &caller),
                entry("proxy", PARTNER_ENVOY, &proxy),
            );
            domain.register(&[caller_entry, proxy_entry]).await;
            domain.start_agent().await;
            Some(Partner {
                domain,
                caller,
                proxy,
            })
        } else {
            None
        };
        let workload = |name: &str| Workload::new(name, &tools.spire, path, &ours);
        let (reporting, billing) = (workload("reporting"), workload("billing"));
        let federates_with = partner.as_ref().map(|_| PARTNER);
        let entry = |name, id, program: &Path| Entry {
            name,
            id,
            program: program.to_owned(),
            federates_with,
        };
        ours.register(&[
            entry("attache", SELF, &sidecar::program()),
            entry("envoy", ENVOY, &tools.envoy),
            entry("reporting", REPORTING, reporting.program()),
            entry("billing", BILLING, billing.program()),
        ])
        .await;
        ours.start_agent().await;
        // The agent has everything of one registration at once: nobody after this starts without a certificate.
        reporting.fetch().await;

        let upstream = Upstream::start().await;
        let attache = Sidecar::start(path, &ours, setup.attache).await;
        let envoy = Envoy::start(&tools.envoy, path, &ours, &attache, &upstream).await;
        Some(Self {
            envoy,
            attache,
            ours,
            partner,
            reporting,
            billing,
            _upstream: upstream,
            _home: home,
        })
    }

    /// A client that shows `identity` to Envoy, and believes Envoy alone.
    pub(crate) fn caller(&self, identity: &Identity) -> Caller {
        Caller::new(self.envoy.port, identity.client_config(ENVOY).into())
    }

    /// A proxy that shows `identity` to attache, and believes attache alone.
    pub(crate) fn proxy(&self, identity: &Identity) -> Proxy {
        Proxy::new(self.attache.port, identity, SELF)
    }
}

/// Registers attache itself.
pub(crate) async fn register_attache(domain: &Domain) {
    let entry = Entry {
        name: "attache",
        id: SELF,
        program: sidecar::program(),
        federates_with: None,
    };
    domain.register(&[entry]).await;
}

/// A shipped file with its edits applied; one that finds nothing to replace is a mistake in the test or in the file.
fn shipped(name: &str, edits: &[(&str, &str)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/spire")
        .join(name);
    edited(std::fs::read_to_string(file).unwrap(), edits)
}

fn edited(mut text: String, edits: &[(&str, &str)]) -> String {
    for (from, to) in edits {
        assert!(text.contains(from), "nothing to replace: `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// A port that nothing listened on a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
