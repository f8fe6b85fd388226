//! What an operator can watch of OPA.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::policy::PolicyError;

/// Counts and timings of the questions to OPA.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    requests: Family<ResultLabel, Counter>,
    duration: Histogram,
    pub(super) retries: Counter,
    up: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("attache_opa");
        let metrics = Self {
            requests: Family::default(),
            duration: Histogram::new(BUCKETS),
            retries: Counter::default(),
            up: Gauge::default(),
        };
        registry.register(
            "requests",
            "Questions to OPA, by result (answered, or the reason code of the error)",
            metrics.requests.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "Time from a question to OPA to its answer or its failure",
            metrics.duration.clone(),
        );
        registry.register(
            "retries",
            "Questions put a second time, since OPA had closed the connection without an answer",
            metrics.retries.clone(),
        );
        registry.register(
            "up",
            "Whether OPA's health was good when it was last asked: 1 or 0",
            metrics.up.clone(),
        );
        metrics
    }

    pub(super) fn asked<T>(&self, result: &Result<T, PolicyError>, took: Duration) {
        let result = match result {
            Ok(_) => "answered",
            Err(error) => error.reason().as_str(),
        };
        self.requests.get_or_create(&ResultLabel { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn up(&self, up: bool) {
        self.up.set(i64::from(up));
    }
}

const BUCKETS: [f64; 12] = [
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
];
