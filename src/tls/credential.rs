//! The material in force, shared by the source that renews it and the connections that use it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::clock::{Clock, Timestamp};
use crate::identity::TrustDomain;
use crate::text::sentence;

use super::material::{Material, MaterialError, Offer};
use super::metrics::Named;

/// One certificate of ours, by the name it has in the configuration. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Credential(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: String,
    trust_domain: TrustDomain,
    /// Trust domains whose workloads may connect; follows the configuration file.
    accepted: Arc<ArcSwap<Vec<TrustDomain>>>,
    material: ArcSwapOption<Material>,
    revisions: AtomicU64,
    /// Why the last offer, or the source itself, was no good; empty where it was.
    trouble: Mutex<Option<String>>,
    /// Nobody renews it any more, and nobody was meant to stop.
    abandoned: AtomicBool,
    clock: Arc<dyn Clock>,
    metrics: Named,
}

/// How a credential stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing has passed the gate yet, or it was taken away.
    Missing,
    /// The last material has expired.
    Expired(Timestamp),
    /// Usable.
    Valid {
        /// The first moment at which it no longer is.
        until: Timestamp,
        /// Less than a quarter of its lifetime is left: it should have been renewed.
        overdue: bool,
    },
}

impl Credential {
    pub(super) fn new(
        name: String,
        trust_domain: TrustDomain,
        accepted: Arc<ArcSwap<Vec<TrustDomain>>>,
        clock: Arc<dyn Clock>,
        metrics: Named,
    ) -> Self {
        Self(Arc::new(Shared {
            name,
            trust_domain,
            accepted,
            material: ArcSwapOption::empty(),
            revisions: AtomicU64::new(0),
            trouble: Mutex::default(),
            abandoned: AtomicBool::new(false),
            clock,
            metrics,
        }))
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Puts material in force if it passes the gate; otherwise what was in force stays.
    pub fn offer(&self, offer: Offer) -> Result<(), MaterialError> {
        let accepted = self.accept_offer(offer);
        accepted.inspect_err(|error| self.reject(&sentence(error)))
    }

    /// The same material once more, after it was refused for the time alone; silent where that is still so.
    pub(super) fn offer_again(&self, offer: Offer) -> Result<(), MaterialError> {
        let accepted = self.accept_offer(offer);
        accepted.inspect_err(|error| {
            if !error.is_of_the_clock() {
                self.reject(&sentence(error));
            }
        })
    }

    fn accept_offer(&self, offer: Offer) -> Result<(), MaterialError> {
        let revision = self.0.revisions.fetch_add(1, Ordering::Relaxed) + 1;
        let material = Material::prove(offer, &self.0.trust_domain, revision, self.now())?;
        let earlier = self.0.material.load();
        if let Some(earlier) = earlier.as_ref().filter(|it| it.svid.id != material.svid.id) {
            tracing::warn!(tls = self.name(), was = %earlier.svid.id, is = %material.svid.id, "our identity changed");
        }
        tracing::info!(
            tls = self.name(),
            spiffe_id = %material.svid.id,
            serial = material.svid.serial,
            until = %material.svid.not_after,
            "certificate in force"
        );
        self.0.metrics.changed(self.now(), material.svid.not_after);
        self.0.material.store(Some(Arc::new(material)));
        self.set_trouble(None);
        Ok(())
    }

    /// Says that a source had something that can't be used.
    pub(super) fn reject(&self, error: &str) {
        tracing::error!(tls = self.name(), error, "certificate material rejected");
        self.0.metrics.rejected();
        self.set_trouble(Some(format!("material rejected: {error}")));
    }

    /// Says that a source can't be reached. What is in force stays until it expires.
    pub(super) fn lost(&self, error: &str) {
        let text = format!("no connection to its source: {error}");
        if self.set_trouble(Some(text)) {
            tracing::warn!(tls = self.name(), error, "cannot reach the source");
        }
    }

    /// Stops using what is in force, bundles included: every handshake and every request of existing connections is
    /// refused from here on.
    pub fn withdraw(&self, why: &str) {
        if self.set_trouble(Some(format!("withdrawn: {why}"))) {
            tracing::error!(tls = self.name(), why, "we have no identity");
        }
        if self.0.material.swap(None).is_some() {
            self.0.metrics.withdrawn();
        }
    }

    /// Says that renewing it ended in a panic: only a new process takes it up again.
    pub fn abandon(&self) {
        self.0.abandoned.store(true, Ordering::Relaxed);
        let name = self.name();
        tracing::error!(tls = name, "renewal ended in a panic; restart");
        self.set_trouble(Some("no longer renewed, restart".to_owned()));
    }

    /// Whether nobody renews it any more.
    pub fn is_abandoned(&self) -> bool {
        self.0.abandoned.load(Ordering::Relaxed)
    }

    /// How it stands now.
    pub fn state(&self) -> State {
        let material = self.0.material.load();
        let Some(material) = material.as_ref() else {
            return State::Missing;
        };
        let now = self.now();
        let (from, until) = (material.svid.not_before, material.svid.not_after);
        if now >= until {
            return State::Expired(until);
        }
        let left = until.unix_seconds().saturating_sub(now.unix_seconds());
        let lifetime = until.unix_seconds().saturating_sub(from.unix_seconds());
        State::Valid {
            until,
            overdue: left < lifetime / 4,
        }
    }

    /// What is wrong with its source, if anything.
    pub fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    /// The material in force, while it is valid.
    pub(super) fn current(&self) -> Option<Arc<Material>> {
        let now = self.now();
        let material = self.0.material.load_full()?;
        material
            .svid
            .check_validity(now)
            .is_ok()
            .then_some(material)
    }

    pub(super) fn accepted(&self) -> Arc<Vec<TrustDomain>> {
        self.0.accepted.load_full()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(super) fn metrics(&self) -> &Named {
        &self.0.metrics
    }

    /// Whether it was not the same before.
    fn set_trouble(&self, text: Option<String>) -> bool {
        let mut trouble = self.lock();
        let news = *trouble != text;
        *trouble = text;
        news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
