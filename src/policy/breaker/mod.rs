//! The circuit breaker: stops asking an engine that fails, and finds out by a few probes when it is back.
//!
//! It decides only whether the engine is asked. A call that it holds back is an error ([`PolicyError::BreakerOpen`]) and so a
//! denial; it never makes a verdict, keeps none, and changes none.
//!
//! Which errors count is said by [`PolicyError::counts`]. A call that is dropped before its time is up says nothing of the
//! engine; one that had the whole time it could have and got no answer is a failure, whoever noticed it first.

mod circuit;
mod metrics;
mod settings;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;

pub use circuit::CircuitState;
pub use metrics::BreakerMetrics;
pub use settings::Settings;

use super::{Accounting, Deadline, PolicyEngine, PolicyError, Query, Verdict};
use crate::text::sentence;
use circuit::{Change, Circuit, Pass, Report};

/// An engine behind a circuit of its own.
#[derive(Debug)]
pub struct Breaker<E> {
    engine: E,
    line: Line,
}

/// A change of the state of a circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// To which engine, as configured.
    pub endpoint: Arc<str>,
    /// What it does with calls now.
    pub to: CircuitState,
    /// Failures since the last success of the closed circuit.
    pub failures: u32,
    /// What brought it about, in words.
    pub cause: String,
}

/// What a breaker has besides its engine.
struct Line {
    inner: Mutex<Inner>,
    metrics: BreakerMetrics,
    listener: OnceLock<Listener>,
}

#[derive(Debug)]
struct Inner {
    endpoint: Arc<str>,
    circuit: Circuit,
}

type Listener = Box<dyn Fn(Transition) + Send + Sync>;

/// A call under way. Dropped without an answer, it reports what that says.
struct Call<'a> {
    line: &'a Line,
    /// Taken when it is given back.
    pass: Option<Pass>,
    deadline: Deadline,
}

impl<E> Breaker<E> {
    /// Puts a closed circuit before `engine`. `endpoint` names it in metrics and transitions.
    pub fn new(
        engine: E,
        endpoint: impl Into<Arc<str>>,
        settings: Settings,
        metrics: BreakerMetrics,
    ) -> Self {
        let endpoint = endpoint.into();
        metrics.begin(&endpoint);
        let inner = Inner {
            endpoint,
            circuit: Circuit::new(settings),
        };
        Self {
            engine,
            line: Line {
                inner: Mutex::new(inner),
                metrics,
                listener: OnceLock::new(),
            },
        }
    }

    /// Has `listener` hear of every transition from now on, in order and one at a time, while other calls wait to begin: it
    /// must not block, and what it panics of is logged. There is one listener, the first.
    pub fn report_to(&self, listener: impl Fn(Transition) + Send + Sync + 'static) {
        let listener: Listener = Box::new(listener);
        self.line.listener.get_or_init(|| listener);
    }

    /// Begins anew where `endpoint` is another one than before: what was found of that one, and calls to it that are still
    /// under way, say nothing of the new one.
    pub fn redirect(&self, endpoint: impl Into<Arc<str>>) {
        let endpoint = endpoint.into();
        let mut inner = self.line.lock();
        if inner.endpoint == endpoint {
            return;
        }
        let change = inner.circuit.restart();
        self.line.tell(&inner, change, "another endpoint is asked");
        self.line.metrics.end(&inner.endpoint);
        self.line.metrics.begin(&endpoint);
        inner.endpoint = endpoint;
    }

    /// What is done with calls now.
    pub fn state(&self) -> CircuitState {
        self.line.lock().circuit.state()
    }

    /// The engine behind the circuit.
    pub fn engine(&self) -> &E {
        &self.engine
    }
}

#[async_trait::async_trait]
impl<E: PolicyEngine> PolicyEngine for Breaker<E> {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let call = self.line.begin(query.deadline)?;
        let answer = self.engine.evaluate(query).await;
        call.end(&answer);
        answer
    }

    async fn health(&self) -> Result<(), PolicyError> {
        self.engine.health().await
    }

    fn revision(&self) -> Arc<str> {
        self.engine.revision()
    }
}

impl Line {
    fn begin(&self, deadline: Deadline) -> Result<Call<'_>, PolicyError> {
        let mut inner = self.lock();
        let (pass, change) = inner.circuit.begin(Instant::now());
        self.tell(&inner, change, "the recovery timeout is over");
        drop(inner);
        let pass = Some(pass.ok_or(PolicyError::BreakerOpen)?);
        Ok(Call {
            line: self,
            pass,
            deadline,
        })
    }

    fn end(&self, pass: Pass, report: Report, words: &str) {
        let mut inner = self.lock();
        let change = inner.circuit.end(pass, report, Instant::now());
        self.tell(&inner, change, words);
    }

    /// Under the lock, so that who follows the transitions sees them in their order.
    fn tell(&self, inner: &Inner, change: Option<Change>, cause: &str) {
        let Some(Change { to, failures }) = change else {
            return;
        };
        let endpoint = Arc::clone(&inner.endpoint);
        self.metrics.turned(&endpoint, to);
        let Some(listener) = self.listener.get() else {
            return;
        };
        let transition = Transition {
            endpoint,
            to,
            failures,
            cause: cause.to_owned(),
        };
        // The call must keep its pass, and a report may come from a call that is dropped by a panic.
        if catch_unwind(AssertUnwindSafe(|| listener(transition))).is_err() {
            tracing::error!("who listens to the circuit panicked");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call<'_> {
    fn end(mut self, answer: &Result<Verdict, PolicyError>) {
        match answer {
            // An answer that nobody waited for is no proof of an engine that is fast enough.
            Ok(_) if self.deadline.is_over() => self.lapse(),
            Ok(_) => self.report(Report::Success, "the probes succeeded"),
            Err(error) => match error.counts() {
                Accounting::Failure => self.report(Report::Failure, &sentence(error)),
                Accounting::Neither => self.report(Report::Neither, ""),
            },
        }
    }

    /// Ends without an answer in time.
    fn lapse(&mut self) {
        let had_its_time = self.deadline.is_over() && !self.deadline.cut_short;
        if had_its_time {
            self.report(Report::Failure, "no answer within the time of the call");
        } else {
            self.report(Report::Neither, "");
        }
    }

    fn report(&mut self, report: Report, words: &str) {
        if let Some(pass) = self.pass.take() {
            self.line.end(pass, report, words);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.lapse();
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
