//! One guarded application per test: upstreams in this process, attache and Envoy as child processes, all in one
//! temporary directory and on ports of their own; everything ends with the [`Mesh`], also when a test panics.

mod client;
mod envoy;
mod pki;
mod process;
mod sidecar;
mod upstream;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use client::{Caller, Request};
pub(crate) use pki::{Leaf, Pki};
pub(crate) use process::eventually;
pub(crate) use upstream::Seen;

use self::envoy::Envoy;
use self::sidecar::Sidecar;
use self::upstream::Upstream;

/// What a test changes about the shipped files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Setup {
    edits: Vec<(&'static str, String)>,
    loopback: bool,
    policy: Option<&'static str>,
    envoy_words: bool,
    hurried: bool,
    more: String,
}

impl Setup {
    /// Replaces a passage of the Envoy bootstrap; the passage must occur.
    pub(crate) fn envoy(mut self, from: &'static str, to: &str) -> Self {
        self.edits.push((from, to.to_owned()));
        self
    }

    /// Lets Envoy pass client-sent `x-attache-*` on, so that only attache stands in their way.
    pub(crate) fn without_early_removal(self) -> Self {
        self.envoy("prefix: x-attache-,", "prefix: removes-nothing-,")
    }

    /// Lets Envoy accept any certificate of the CA, or none, so that only attache judges identities.
    pub(crate) fn lenient_tls(self) -> Self {
        self.envoy(
            "require_client_certificate: true",
            "require_client_certificate: false",
        )
        .envoy(
            "- {san_type: URI, matcher: {prefix: \"spiffe://example.org/\"}}",
            "[]",
        )
    }

    /// Has Envoy ask over a loopback port instead of the Unix socket.
    pub(crate) fn over_loopback(mut self) -> Self {
        self.loopback = true;
        self
    }

    /// Runs this Rego module as the policy.
    pub(crate) fn policy(mut self, module: &'static str) -> Self {
        self.policy = Some(module);
        self
    }

    /// Asks that policy in the words of opa-envoy-plugin, bodies included.
    pub(crate) fn in_envoy_words(mut self) -> Self {
        self.envoy_words = true;
        let bodies = "with_request_body: {max_request_bytes: 8192, allow_partial_message: true}";
        let indent = " ".repeat(22);
        self.envoy(
            "failure_mode_allow: false",
            &format!("failure_mode_allow: false\n{indent}{bodies}"),
        )
    }

    /// Adds sections to attache's configuration.
    pub(crate) fn more(mut self, sections: String) -> Self {
        self.more = sections;
        self
    }

    /// Keeps the shipped time limits, where a test is about them. Without it both sides have the time that a busy test
    /// machine may need.
    pub(crate) fn hurried(mut self) -> Self {
        self.hurried = true;
        self
    }
}

/// A guarded application and everything around it.
#[derive(Debug)]
pub(crate) struct Mesh {
    // Dropped in this order: Envoy first, so that nothing asks a process that is gone.
    pub(crate) envoy: Envoy,
    pub(crate) attache: Sidecar,
    pub(crate) upstream: Upstream,
    pub(crate) pki: Pki,
    home: tempfile::TempDir,
}

impl Mesh {
    /// Starts everything and waits until it is ready; `None` where there is no Envoy to test with.
    pub(crate) async fn start(mut setup: Setup) -> Option<Self> {
        if !setup.hurried {
            setup = setup.envoy("timeout: 0.25s", "timeout: 5s");
        }
        let binary = envoy::binary()?;
        // Directly under /tmp: a socket's path may have 107 bytes at most.
        let home = tempfile::Builder::new()
            .prefix("attache-e2e-")
            .tempdir_in("/tmp")
            .unwrap();
        let pki = Pki::new();
        let upstream = Upstream::start().await;
        let mut attache = Sidecar::new(home.path(), &setup);
        attache.start().await;
        let envoy = Envoy::start(&binary, home.path(), &setup, &pki, &attache, &upstream).await;
        Some(Self {
            envoy,
            attache,
            upstream,
            pki,
            home,
        })
    }

    /// A client with an SVID for `path` in the trust domain, as `svc/reporting`.
    pub(crate) fn caller(&self, path: &str) -> Caller {
        self.caller_with(&self.pki, &Leaf::svid(path))
    }

    /// A client with any certificate of any authority; it trusts ours.
    pub(crate) fn caller_with(&self, pki: &Pki, leaf: &Leaf) -> Caller {
        Caller::new(
            self.envoy.port,
            Arc::new(self.pki.client_config(Some(pki.issue(leaf)))),
        )
    }

    /// A client that trusts another authority, and is certified by it.
    pub(crate) fn caller_trusting(&self, pki: &Pki, path: &str) -> Caller {
        let identity = pki.issue(&Leaf::svid(path));
        Caller::new(self.envoy.port, Arc::new(pki.client_config(Some(identity))))
    }

    /// A client without a certificate.
    pub(crate) fn anonymous(&self) -> Caller {
        Caller::new(self.envoy.port, Arc::new(self.pki.client_config(None)))
    }

    /// The directory that holds everything of this test.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
