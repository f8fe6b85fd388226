//! The judge as configured: an engine, and what stands between it and whoever asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::lenient::Lenient;
use super::{Config, EmbeddedEngine, EngineKind, LoadError, OpaEngine, PolicyEngine};

/// What is asked about operations. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Judge {
    engine: Arc<dyn PolicyEngine>,
    source: Source,
}

/// The engine behind everything else.
#[derive(Debug, Clone)]
pub enum Source {
    /// In this process, from files.
    Embedded(Arc<EmbeddedEngine>),
    /// In another one.
    Opa(Arc<OpaEngine>),
}

/// What shows of a judge before anybody is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The policy was loaded and tried; its revision.
    Loaded(Arc<str>),
    /// Settings and files are usable; the policy is OPA's, and OPA was not asked.
    Unasked,
}

impl Config {
    /// Makes the judge; relative paths start from `base`. Blocks on files.
    ///
    /// Connections to OPA live on the runtime that this is called on. `tls`, where given, says how the server of an `https`
    /// endpoint is judged and what it is shown, in place of `policy.opa.ca_file`.
    pub fn build(
        self,
        base: PathBuf,
        tls: Option<Arc<rustls::ClientConfig>>,
        registry: &mut Registry,
    ) -> Result<Judge, Vec<LoadError>> {
        let default_deny = self.default_deny;
        let (engine, source) = match self.engine {
            EngineKind::Embedded => {
                let engine = Arc::new(self.embedded_engine(base)?);
                let asked = around(Arc::clone(&engine), default_deny, registry);
                (asked, Source::Embedded(engine))
            }
            EngineKind::Opa => {
                let engine = OpaEngine::build(self.opa, self.path, base, tls, registry);
                let engine = Arc::new(engine.map_err(|error| vec![error])?);
                // Next to the engine, inside everything else: a breaker goes here, around this `Arc`.
                let asked = around(Arc::clone(&engine), default_deny, registry);
                (asked, Source::Opa(engine))
            }
        };
        Ok(Judge { engine, source })
    }

    /// Proves what can be proven without asking anybody. Blocks on files.
    pub fn prove(&self, base: &Path) -> Result<Proof, Vec<LoadError>> {
        match self.engine {
            EngineKind::Embedded => {
                let program = self.load(base)?;
                Ok(Proof::Loaded(Arc::clone(program.revision())))
            }
            EngineKind::Opa => OpaEngine::prove(&self.opa, base)
                .map(|()| Proof::Unasked)
                .map_err(|error| vec![error]),
        }
    }
}

/// Puts around an engine what stands around every engine, innermost first. A cache goes here.
fn around(
    engine: impl PolicyEngine + 'static,
    default_deny: bool,
    registry: &mut Registry,
) -> Arc<dyn PolicyEngine> {
    if default_deny {
        Arc::new(engine)
    } else {
        Arc::new(Lenient::new(engine, registry))
    }
}

impl Judge {
    /// Whom to ask.
    pub fn engine(&self) -> Arc<dyn PolicyEngine> {
        Arc::clone(&self.engine)
    }

    /// The engine behind everything else.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Lets go of whatever an engine holds outside this process, and waits until nothing is left of it.
    pub async fn close(&self) {
        match &self.source {
            Source::Embedded(_) => {}
            Source::Opa(engine) => engine.close().await,
        }
    }
}
