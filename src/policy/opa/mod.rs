//! The engine in another process: asks OPA over its REST API and reads what it says.
//!
//! `POST {endpoint}/v1/data/{path}` with `{"input": …}`. Nothing but a complete, small, well-formed answer with status 200
//! becomes a verdict; a result that is not there is undefined, which refuses. Everything else is a [`PolicyError`], told
//! apart by whether OPA is to blame. Waiting is bounded by `policy.opa.timeout` and by the request's own deadline, and so
//! is the number of questions under way.
//!
//! [`Line`] is the line to one OPA with one set of settings, and is exchanged whole when these or their files change.

mod answer;
mod config;
mod endpoint;
mod line;
mod material;
mod metrics;
mod unambiguous;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout};

pub use config::{HealthKind, Opa};
pub use endpoint::{Endpoint, EndpointError};

use self::line::{Line, Terms};
use self::material::Material;
use self::metrics::Metrics;
use self::wire::Home;
use super::{DecisionPath, Input, InputForm, LoadError, PolicyEngine, PolicyError, Query, Verdict};

/// Asks an OPA.
#[derive(Debug)]
pub struct OpaEngine {
    line: ArcSwap<Line>,
    path: DecisionPath,
    /// The words in which the made-up request is put.
    form: InputForm,
    base: PathBuf,
    home: Home,
    metrics: Metrics,
}

impl OpaEngine {
    /// An engine whose connections live on the runtime that this is called on. Nothing is asked yet.
    ///
    /// Relative paths of `opa` start from `base`. `tls`, where given, says how the server of an `https` endpoint is judged
    /// and what it is shown, in place of `ca_file`. Blocks on files.
    pub fn build(
        opa: Opa,
        path: DecisionPath,
        base: PathBuf,
        tls: Option<Arc<rustls::ClientConfig>>,
        registry: &mut Registry,
    ) -> Result<Self, LoadError> {
        let metrics = Metrics::register(registry);
        let home = Home::here();
        let material = Material::read(&opa, &base)?;
        let terms = Terms::new(&opa, &material, &path, tls)?;
        let retries = metrics.retries.clone();
        let line = Line::new(opa, material, terms, &path, home.clone(), retries);
        Ok(Self {
            line: ArcSwap::from_pointee(line),
            path,
            form: InputForm::default(),
            base,
            home,
            metrics,
        })
    }

    /// The same engine, for questions in these words.
    #[must_use]
    pub fn asking_in(self, form: InputForm) -> Self {
        Self { form, ..self }
    }

    /// Whether the settings and their files can be used, as far as that shows without asking OPA. Blocks on files.
    pub(super) fn prove(opa: &Opa, path: &DecisionPath, base: &Path) -> Result<(), LoadError> {
        let material = Material::read(opa, base)?;
        Terms::new(opa, &material, path, None).map(|_terms| ())
    }

    /// The settings in force.
    pub fn settings(&self) -> Opa {
        self.line.load().opa.clone()
    }

    /// Puts other settings in force; questions under way finish by the ones they began with. `tls` as for
    /// [`build`](Self::build). Blocks on files.
    pub fn reconfigure(
        &self,
        opa: Opa,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<(), LoadError> {
        let material = Material::read(&opa, &self.base)?;
        self.replace(opa, material, tls)
    }

    /// Reads the files of the settings again and takes over what has changed; says whether something had. Blocks on files.
    ///
    /// On an error what was read before stays in force.
    pub fn refresh(&self) -> Result<bool, LoadError> {
        let line = self.line.load_full();
        let material = Material::read(&line.opa, &self.base)?;
        if material == line.material {
            return Ok(false);
        }
        self.replace(line.opa.clone(), material, line.tls.clone())?;
        Ok(true)
    }

    /// Asks whether OPA is well: `GET /health`, and only a 200 means yes.
    pub async fn health_check(&self) -> Result<(), PolicyError> {
        let line = self.line.load_full();
        let asked = timeout(line.opa.timeout, line.health()).await;
        let result = asked.unwrap_or(Err(PolicyError::TimedOut { cut_short: false }));
        self.metrics.up(result.is_ok());
        result
    }

    /// Asks about a request that nobody made: what comes back shows whether the path leads to a decision at all, and which
    /// revision would decide now.
    pub async fn try_out(&self) -> Result<Verdict, PolicyError> {
        let line = self.line.load_full();
        let asked = timeout(line.opa.timeout, line.ask(&Input::made_up_in(self.form))).await;
        asked.unwrap_or(Err(PolicyError::TimedOut { cut_short: false }))
    }

    /// Ends every question, waits until none is left, and lets go of the connections. Whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.home.close().await;
        self.line.load().wire.close();
    }

    fn replace(
        &self,
        opa: Opa,
        material: Material,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<(), LoadError> {
        let terms = Terms::new(&opa, &material, &self.path, tls)?;
        let (home, retries) = (self.home.clone(), self.metrics.retries.clone());
        let line = Line::new(opa, material, terms, &self.path, home, retries);
        self.line.store(Arc::new(line));
        Ok(())
    }
}

#[async_trait::async_trait]
impl PolicyEngine for OpaEngine {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let line = self.line.load_full();
        let asked = Instant::now();
        let result = line.answer(&query).await;
        self.metrics.asked(&result, asked.elapsed());
        result
    }

    async fn health(&self) -> Result<(), PolicyError> {
        self.health_check().await
    }

    fn revision(&self) -> Arc<str> {
        self.line.load().revision()
    }
}
