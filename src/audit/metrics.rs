//! What an operator can watch of the witness. All names begin with `attache_audit_`.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::record::EventType;

/// The room's metrics, registered when made.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    records: Family<EventLabel, Counter>,
    write_errors: Family<SinkLabel, Counter>,
    unwritten: Family<SinkLabel, Counter>,
    pub(super) dropped_refusals: Counter,
    pub(super) dropped_allowances: Counter,
    pub(super) queue_depth: Gauge,
    gaps: Counter,
    pub(super) lag: Gauge<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabel {
    event_type: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SinkLabel {
    sink: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("attache_audit");
        let records = Family::default();
        registry.register(
            "records",
            "Audit records written to the first sink, by event type",
            records.clone(),
        );
        let write_errors = Family::default();
        registry.register(
            "write_errors",
            "Failed attempts to write or sync audit records, by sink",
            write_errors.clone(),
        );
        let unwritten = Family::default();
        registry.register(
            "unwritten_records",
            "Audit records that a sink never took, by sink",
            unwritten.clone(),
        );
        let dropped = Family::<LaneLabel, Counter>::default();
        registry.register(
            "dropped_records",
            "Audit records lost because the queue was full or the writer had ended, by lane",
            dropped.clone(),
        );
        let queue_depth = Gauge::default();
        registry.register(
            "queue_depth",
            "Audit records waiting to be written",
            queue_depth.clone(),
        );
        let gaps = Counter::default();
        registry.register("gaps", "Gap records written", gaps.clone());
        let lag = Gauge::default();
        registry.register_with_unit(
            "lag",
            "Age of the oldest record of the last batch when it was written",
            Unit::Seconds,
            lag.clone(),
        );
        let lane = |lane| dropped.get_or_create_owned(&LaneLabel { lane });
        Self {
            records,
            write_errors,
            unwritten,
            dropped_refusals: lane("refusals"),
            dropped_allowances: lane("allowances"),
            queue_depth,
            gaps,
            lag,
        }
    }

    pub(super) fn written(&self, event_type: EventType) {
        if event_type == EventType::AuditGap {
            self.gaps.inc();
        }
        let event_type = event_type.as_str();
        self.records.get_or_create(&EventLabel { event_type }).inc();
    }

    pub(super) fn write_errors(&self, sink: &'static str) -> Counter {
        self.write_errors.get_or_create_owned(&SinkLabel { sink })
    }

    pub(super) fn unwritten(&self, sink: &'static str) -> Counter {
        self.unwritten.get_or_create_owned(&SinkLabel { sink })
    }
}
