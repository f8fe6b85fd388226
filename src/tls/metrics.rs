//! What an operator can watch of our certificates and of the handshakes made with them.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::Timestamp;

/// The room's metrics, registered when made.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    expiry: Family<NameLabel, Gauge<u64, AtomicU64>>,
    update: Family<NameLabel, Gauge<u64, AtomicU64>>,
    updates: Family<ResultLabel, Counter>,
    handshakes: Family<HandshakeLabels, Counter>,
}

/// The metrics of one credential.
#[derive(Debug, Clone)]
pub(super) struct Named {
    name: String,
    all: Metrics,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    tls: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    tls: String,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabels {
    tls: String,
    listener: &'static str,
    result: &'static str,
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let expiry = Family::default();
        registry.register(
            "attache_svid_expiry_timestamp_seconds",
            "When our certificate in force expires, 0 while there is none, by entry of `tls`",
            expiry.clone(),
        );
        let update = Family::default();
        registry.register(
            "attache_svid_update_timestamp_seconds",
            "When our certificate was last renewed, by entry of `tls`",
            update.clone(),
        );
        let updates = Family::default();
        registry.register(
            "attache_svid_updates",
            "Certificate material that came, by entry of `tls` and result (changed, rejected, withdrawn)",
            updates.clone(),
        );
        let handshakes = Family::default();
        registry.register(
            "attache_tls_handshakes",
            "TLS handshakes, by entry of `tls`, kind of listener and result (accepted, refused, timeout, crowded_out)",
            handshakes.clone(),
        );
        Self {
            expiry,
            update,
            updates,
            handshakes,
        }
    }

    /// The part for one credential; its time series are there from the start, those of handshakes once a listener shows it.
    pub(super) fn of(&self, name: &str) -> Named {
        let named = Named {
            name: name.to_owned(),
            all: self.clone(),
        };
        named.set_expiry(0);
        for result in ["changed", "rejected", "withdrawn"] {
            drop(self.updates.get_or_create(&named.result(result)));
        }
        named.all.update.get_or_create(&named.label()).set(0);
        named
    }
}

impl Named {
    pub(super) fn changed(&self, now: Timestamp, expiry: Timestamp) {
        self.set_expiry(expiry.unix_seconds());
        self.all
            .update
            .get_or_create(&self.label())
            .set(now.unix_seconds());
        self.updated("changed");
    }

    pub(super) fn rejected(&self) {
        self.updated("rejected");
    }

    pub(super) fn withdrawn(&self) {
        self.set_expiry(0);
        self.updated("withdrawn");
    }

    pub(super) fn shown_by(&self, listener: &'static str) {
        for result in ["accepted", "refused", "timeout", "crowded_out"] {
            let labels = self.handshake_labels(listener, result);
            drop(self.all.handshakes.get_or_create(&labels));
        }
    }

    pub(super) fn handshake(&self, listener: &'static str, result: &'static str) {
        let labels = self.handshake_labels(listener, result);
        self.all.handshakes.get_or_create(&labels).inc();
    }

    fn updated(&self, result: &'static str) {
        self.all.updates.get_or_create(&self.result(result)).inc();
    }

    fn set_expiry(&self, seconds: u64) {
        self.all.expiry.get_or_create(&self.label()).set(seconds);
    }

    fn label(&self) -> NameLabel {
        NameLabel {
            tls: self.name.clone(),
        }
    }

    fn handshake_labels(&self, listener: &'static str, result: &'static str) -> HandshakeLabels {
        HandshakeLabels {
            tls: self.name.clone(),
            listener,
            result,
        }
    }

    fn result(&self, result: &'static str) -> ResultLabel {
        ResultLabel {
            tls: self.name.clone(),
            result,
        }
    }
}
