//! What the cache does, in numbers.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counts of one cache. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    /// Questions that an entry answered.
    pub(super) hits: Counter,
    /// Questions for whose sake the engine was asked, whatever came of it.
    pub(super) misses: Counter,
    /// Questions that waited for what came of another one.
    pub(super) joined: Counter,
    pub(super) evictions: Counter,
    pub(super) entries: Gauge,
    bypasses: [Counter; Bypass::ALL.len()],
}

/// Why the engine was asked without the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bypass {
    /// The route does not want its verdicts remembered.
    Route,
    /// The policy does not, or is no function of its input.
    Policy,
    /// Something in the input is of this request alone.
    Input,
    /// The input is too large.
    Size,
    /// The engine is asked too many questions at once.
    Crowded,
    /// The policy changed at every look.
    Changing,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

impl Bypass {
    const ALL: [Self; 6] = [
        Self::Route,
        Self::Policy,
        Self::Input,
        Self::Size,
        Self::Crowded,
        Self::Changing,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "route",
            Self::Policy => "policy",
            Self::Input => "input",
            Self::Size => "size",
            Self::Crowded => "crowded",
            Self::Changing => "changing",
        }
    }
}

impl Metrics {
    /// Creates the metrics and makes them visible in `registry`.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let lookups = Family::<ResultLabel, Counter>::default();
        let lookup = |result| lookups.get_or_create(&ResultLabel { result }).clone();
        let bypasses = Family::<CauseLabel, Counter>::default();
        let bypass = |cause: Bypass| {
            let cause = cause.as_str();
            bypasses.get_or_create(&CauseLabel { cause }).clone()
        };
        let metrics = Self {
            hits: lookup("hit"),
            misses: lookup("miss"),
            joined: lookup("joined"),
            evictions: Counter::default(),
            entries: Gauge::default(),
            bypasses: Bypass::ALL.map(bypass),
        };
        registry.register(
            "attache_policy_cache_lookups",
            "Questions to policy that the cache was asked, by result (hit, miss, joined)",
            lookups,
        );
        registry.register(
            "attache_policy_cache_bypasses",
            "Questions to policy that the cache could not answer or keep, by cause",
            bypasses,
        );
        registry.register(
            "attache_policy_cache_evictions",
            "Verdicts that made room for newer ones",
            metrics.evictions.clone(),
        );
        registry.register(
            "attache_policy_cache_entries",
            "Verdicts remembered, expired ones included until they make room",
            metrics.entries.clone(),
        );
        metrics
    }

    pub(super) fn bypassed(&self, cause: Bypass) {
        let counters = Bypass::ALL.iter().zip(&self.bypasses);
        for (_, counter) in counters.filter(|(it, _)| **it == cause) {
            counter.inc();
        }
    }

    #[cfg(test)]
    pub(super) fn bypasses(&self, cause: Bypass) -> u64 {
        let counters = Bypass::ALL.iter().zip(&self.bypasses);
        counters
            .filter(|(it, _)| **it == cause)
            .map(|(_, counter)| counter.get())
            .sum()
    }
}
