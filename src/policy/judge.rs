//! The judge as configured: an engine, and what stands between it and whoever asks.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rand::rngs::StdRng;

use super::lenient::Lenient;
use super::{
    Breaker, BreakerMetrics, Cached, Config, EmbeddedEngine, EngineKind, LoadError, OpaEngine,
    PolicyEngine, Program, Transition,
};

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
    /// In another one, behind a circuit.
    Opa(Arc<Breaker<OpaEngine>>),
}

/// What shows of a policy before anybody is asked.
#[derive(Debug)]
pub enum Proof {
    /// It was loaded and tried.
    Loaded(Arc<Program>),
    /// Settings and files are usable; the policy is OPA's, and OPA was not asked.
    Unasked,
}

impl Config {
    /// Makes the engine; relative paths start from `base`. Blocks on files.
    ///
    /// Connections to OPA live on the runtime that this is called on. `tls`, where given, says how the server of an `https`
    /// endpoint is judged and what it is shown, in place of `policy.opa.ca_file`.
    pub fn open(
        self,
        base: PathBuf,
        tls: Option<Arc<rustls::ClientConfig>>,
        registry: &mut Registry,
    ) -> Result<Source, Vec<LoadError>> {
        match self.engine {
            EngineKind::Embedded => {
                let engine = self.embedded_engine(base)?;
                Ok(Source::Embedded(Arc::new(engine)))
            }
            EngineKind::Opa => {
                let endpoint = self.opa.endpoint.to_string();
                let engine = OpaEngine::build(self.opa, self.path, base, tls, registry);
                let engine = engine.map_err(|error| vec![error])?.asking_in(self.input);
                let metrics = BreakerMetrics::new(registry);
                let breaker = Breaker::new(engine, endpoint, self.breaker, metrics);
                Ok(Source::Opa(Arc::new(breaker)))
            }
        }
    }

    /// Proves what can be proven without asking anybody. Blocks on files.
    pub fn prove(&self, base: &Path) -> Result<Proof, Vec<LoadError>> {
        match self.engine {
            EngineKind::Embedded => Ok(Proof::Loaded(Arc::new(self.load(base)?))),
            EngineKind::Opa => OpaEngine::prove(&self.opa, &self.path, base)
                .map(|()| Proof::Unasked)
                .map_err(|error| vec![error]),
        }
    }
}

/// What stands around every engine, innermost first: what is allowed for want of a verdict is never remembered.
fn around<E: PolicyEngine + 'static>(
    engine: Arc<E>,
    config: &Config,
    rng: StdRng,
    registry: &mut Registry,
) -> Arc<dyn PolicyEngine> {
    let cached = Cached::new(engine, &config.cache, rng, registry);
    if config.default_deny {
        Arc::new(cached)
    } else {
        Arc::new(Lenient::new(cached, registry))
    }
}

impl Judge {
    /// Puts around an engine what `config` says. `rng` spreads the moments at which remembered verdicts expire.
    pub fn new(source: Source, config: &Config, rng: StdRng, registry: &mut Registry) -> Self {
        let engine = match &source {
            Source::Embedded(engine) => around(Arc::clone(engine), config, rng, registry),
            Source::Opa(breaker) => around(Arc::clone(breaker), config, rng, registry),
        };
        Self { engine, source }
    }

    /// Whom to ask.
    pub fn engine(&self) -> Arc<dyn PolicyEngine> {
        Arc::clone(&self.engine)
    }

    /// The engine behind everything else.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Has `listener` hear when the circuit to an engine outside this process changes; it must not block.
    pub fn report_to(&self, listener: impl Fn(Transition) + Send + Sync + 'static) {
        match &self.source {
            Source::Embedded(_) => {}
            Source::Opa(breaker) => breaker.report_to(listener),
        }
    }

    /// Lets go of whatever an engine holds outside this process, and waits until nothing is left of it.
    pub async fn close(&self) {
        match &self.source {
            Source::Embedded(_) => {}
            Source::Opa(breaker) => breaker.engine().close().await,
        }
    }
}
