//! What an operator can watch of circuits. One series per endpoint: those of the configuration, nothing from requests.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::CircuitState;

/// States and transitions of every circuit of a process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BreakerMetrics {
    state: Family<StateLabels, Gauge>,
    transitions: Family<TransitionLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    endpoint: Arc<str>,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TransitionLabels {
    endpoint: Arc<str>,
    to: &'static str,
}

impl BreakerMetrics {
    /// Creates the metrics and makes them visible in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            state: Family::default(),
            transitions: Family::default(),
        };
        registry.register(
            "attache_policy_circuit",
            "State of the circuit to an endpoint: 1 for the one it is in (closed, open, half_open), 0 for the others",
            metrics.state.clone(),
        );
        registry.register(
            "attache_policy_circuit_transitions",
            "Changes of state of the circuit to an endpoint, by the state it changed to",
            metrics.transitions.clone(),
        );
        metrics
    }

    /// There from the start, so that the first transition is seen as a change.
    pub(super) fn begin(&self, endpoint: &Arc<str>) {
        self.show(endpoint, CircuitState::Closed);
        for state in CircuitState::ALL {
            drop(self.transitions.get_or_create(&TransitionLabels {
                endpoint: Arc::clone(endpoint),
                to: state.as_str(),
            }));
        }
    }

    /// Nothing is asked there any more.
    pub(super) fn end(&self, endpoint: &Arc<str>) {
        for state in CircuitState::ALL {
            self.state.remove(&StateLabels {
                endpoint: Arc::clone(endpoint),
                state: state.as_str(),
            });
        }
    }

    pub(super) fn turned(&self, endpoint: &Arc<str>, to: CircuitState) {
        self.show(endpoint, to);
        let labels = TransitionLabels {
            endpoint: Arc::clone(endpoint),
            to: to.as_str(),
        };
        self.transitions.get_or_create(&labels).inc();
    }

    fn show(&self, endpoint: &Arc<str>, current: CircuitState) {
        for state in CircuitState::ALL {
            let labels = StateLabels {
                endpoint: Arc::clone(endpoint),
                state: state.as_str(),
            };
            let is_current = i64::from(state == current);
            self.state.get_or_create(&labels).set(is_current);
        }
    }
}
