//! Remembers what policy said. Decides whether an earlier verdict answers a question, never what a verdict is.
//!
//! A verdict answers again for an equal input ([`key`]), within its time ([`store`]) and at the revision that gave it;
//! whether the engine could be asked meanwhile makes no difference. Questions with an equal input that come while the
//! engine is asked wait for the same answer ([`flights`]). That call is nobody's: it goes on when whoever caused it goes
//! away, and ends after our own limit for such a question, however long the askers wait.
//!
//! Errors reach those who waited for that call and are never kept. Where anything here can't be done (no room, a question
//! too large, an engine that changes at every look), the engine is asked as if there were no cache.

mod config;
mod flights;
mod key;
mod metrics;
mod store;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use tokio::time::{Instant, timeout_at};

pub use config::CacheConfig;

use self::flights::{Boarding, Flights, Landing};
use self::key::Key;
use self::metrics::{Bypass, Metrics};
use self::store::{Recalled, Store};
use super::{Deadline, PolicyEngine, PolicyError, Query, Verdict};

/// An engine whose verdicts are remembered for a time.
#[derive(Debug)]
pub struct Cached<E: ?Sized> {
    engine: Arc<E>,
    /// Nothing where configuration turns the cache off.
    memory: Option<Arc<Memory>>,
}

#[derive(Debug)]
struct Memory {
    store: Store,
    flights: Arc<Flights>,
    metrics: Metrics,
}

impl<E: PolicyEngine + ?Sized> Cached<E> {
    /// Puts a cache before `engine`. `rng` spreads the moments at which entries expire.
    pub fn new(engine: Arc<E>, config: &CacheConfig, rng: StdRng, registry: &mut Registry) -> Self {
        let metrics = Metrics::new(registry);
        let memory = config.is_on().then(|| Memory {
            store: Store::new(config, rng, &metrics),
            flights: Arc::default(),
            metrics,
        });
        Self {
            engine,
            memory: memory.map(Arc::new),
        }
    }

    /// The answer to a question that no entry answers.
    async fn ask(
        &self,
        memory: &Arc<Memory>,
        key: Key,
        query: Query,
    ) -> Result<Verdict, PolicyError>
    where
        E: 'static,
    {
        for _round in 0..ROUNDS {
            let revision = self.engine.revision();
            // Under the lock of the flights: what has just landed is in the store.
            let boarding = memory
                .flights
                .board(&key, &revision, || memory.recall(&key, &query, &revision));
            let (flight, joined) = match boarding {
                Boarding::Landed(Recalled::Verdict(verdict)) => {
                    memory.metrics.joined.inc();
                    return Ok(verdict);
                }
                Boarding::Landed(Recalled::NotKept) => {
                    return self.bypass(memory, query, Bypass::Policy).await;
                }
                Boarding::Full => return self.bypass(memory, query, Bypass::Crowded).await,
                Boarding::Joined(flight) => {
                    memory.metrics.joined.inc();
                    (flight, true)
                }
                Boarding::Leading(flight, landing) => {
                    memory.metrics.misses.inc();
                    self.depart(memory, landing, key.clone(), query.clone());
                    (flight, false)
                }
            };
            let landed = timeout_at(query.deadline.last_word(), flight).await;
            let cut_short = query.deadline.cut_short;
            let verdict = landed
                .map_err(|_elapsed| PolicyError::TimedOut { cut_short })?
                // Its sender is gone without a word where the engine panicked or the runtime ends.
                .map_err(|_lost| PolicyError::Interrupted)?
                .map_err(PolicyError::Shared)?;
            if *verdict.revision != *self.engine.revision() {
                continue;
            }
            if joined && !verdict.cacheable {
                return self.bypass(memory, query, Bypass::Policy).await;
            }
            return Ok(Verdict {
                cached: joined,
                ..verdict
            });
        }
        self.bypass(memory, query, Bypass::Changing).await
    }

    /// Asks the engine on nobody's behalf, for everybody who waits.
    fn depart(&self, memory: &Arc<Memory>, landing: Landing, key: Key, query: Query)
    where
        E: 'static,
    {
        let (engine, memory) = (Arc::clone(&self.engine), Arc::clone(memory));
        tokio::spawn(async move {
            let begun = Instant::now();
            let terms = query.terms;
            // What one asker cut short, or had spent before it came here, is whole for the others.
            let deadline = Deadline::after(query.deadline.limit);
            let asked = Query { deadline, ..query };
            let outcome = match timeout_at(deadline.at, engine.evaluate(asked)).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => Err(PolicyError::TimedOut { cut_short: false }),
            };
            if let Ok(verdict) = &outcome {
                memory.store.keep(key, verdict, &terms, begun);
            }
            landing.land(outcome.map_err(Arc::new));
        });
    }

    async fn bypass(
        &self,
        memory: &Memory,
        query: Query,
        cause: Bypass,
    ) -> Result<Verdict, PolicyError> {
        memory.metrics.bypassed(cause);
        self.engine.evaluate(query).await
    }
}

impl Memory {
    fn recall(&self, key: &Key, query: &Query, revision: &str) -> Option<Recalled> {
        self.store
            .recall(key, &query.terms, revision, Instant::now())
    }
}

#[async_trait::async_trait]
impl<E: PolicyEngine + ?Sized + 'static> PolicyEngine for Cached<E> {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let Some(memory) = &self.memory else {
            return self.engine.evaluate(query).await;
        };
        if query.terms.ttl == Some(Duration::ZERO) {
            return self.bypass(memory, query, Bypass::Route).await;
        }
        if !query.input.is_cacheable() {
            return self.bypass(memory, query, Bypass::Input).await;
        }
        let Some(key) = Key::bounded(&query.input) else {
            return self.bypass(memory, query, Bypass::Size).await;
        };
        match memory.recall(&key, &query, &self.engine.revision()) {
            Some(Recalled::Verdict(verdict)) => {
                memory.metrics.hits.inc();
                Ok(verdict)
            }
            Some(Recalled::NotKept) => self.bypass(memory, query, Bypass::Policy).await,
            None => self.ask(memory, key, query).await,
        }
    }

    /// Whether the engine could: a verdict that is remembered is none of its health.
    async fn health(&self) -> Result<(), PolicyError> {
        self.engine.health().await
    }

    fn revision(&self) -> Arc<str> {
        self.engine.revision()
    }
}

/// How often a verdict may turn out to be of an older policy before the engine is asked without the cache.
const ROUNDS: usize = 3;

#[cfg(test)]
mod tests;
