//! When the process is ready, when it stops, and in which order: readiness by named holds, stop in two steps.
//!
//! Readiness is lent, not given: whoever holds it back says so by name, at start and at any time later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Whether the process is ready to serve, and what it is waiting for if not. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness {
    holds: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    ready: Arc<watch::Sender<bool>>,
}

/// Holds readiness back until it is dropped.
#[derive(Debug)]
#[must_use = "dropping a hold gives readiness back"]
pub struct Hold {
    name: &'static str,
    readiness: Readiness,
}

/// The two steps of a stop. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Stop accepting and finish what is under way.
    drain: CancellationToken,
    /// Give up what is under way.
    abort: CancellationToken,
}

/// What operators should know about a process that serves all the same. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    by_name: Arc<Mutex<BTreeMap<&'static str, String>>>,
}

// === impl Notices ===

impl Notices {
    /// Says something under a name, in place of what was said under it before.
    pub fn set(&self, name: &'static str, text: &str) {
        self.lock().insert(name, text.to_owned());
    }

    /// Takes back what was said under a name.
    pub fn clear(&self, name: &'static str) {
        self.lock().remove(name);
    }

    /// What is said under a name.
    pub fn get(&self, name: &'static str) -> Option<String> {
        self.lock().get(name).cloned()
    }

    /// Everything that is said at the moment, by name.
    pub fn all(&self) -> Vec<(&'static str, String)> {
        self.lock()
            .iter()
            .map(|(name, text)| (*name, text.clone()))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Readiness ===

impl Readiness {
    /// Ready from the start, unless a hold is taken.
    pub fn new() -> Self {
        Self {
            holds: Arc::default(),
            ready: Arc::new(watch::Sender::new(true)),
        }
    }

    /// Holds readiness back under a name that operators will see.
    pub fn hold(&self, name: &'static str) -> Hold {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        *holds.entry(name).or_default() += 1;
        self.ready.send_replace(false);
        drop(holds);
        Hold {
            name,
            readiness: self.clone(),
        }
    }

    /// What readiness is waiting for; empty when ready.
    pub fn waiting_for(&self) -> Vec<&'static str> {
        self.holds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .copied()
            .collect()
    }

    /// Follows readiness; the current value counts as seen.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Whether nothing holds readiness back.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    fn release(&self, name: &'static str) {
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = holds.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                holds.remove(name);
            }
        }
        self.ready.send_replace(holds.is_empty());
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.readiness.release(self.name);
    }
}

// === impl Shutdown ===

impl Shutdown {
    /// Asks everything to finish.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Asks everything to give up at once.
    pub fn abort(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }

    /// Waits until asked to finish.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until asked to give up.
    pub async fn aborting(&self) {
        self.abort.cancelled().await;
    }

    /// Whether a stop has begun.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_waits_for_every_hold_by_name() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let policy = readiness.hold("policy");
        let first = readiness.hold("listeners");
        let second = readiness.hold("listeners");
        assert_eq!(readiness.waiting_for(), ["listeners", "policy"]);
        drop(policy);
        drop(first);
        assert_eq!(readiness.waiting_for(), ["listeners"]);
        assert!(!readiness.is_ready());
        drop(second);
        assert!(readiness.is_ready());
    }

    #[test]
    fn readiness_can_be_taken_back() {
        let readiness = Readiness::new();
        let watch = readiness.watch();
        let hold = readiness.hold("audit");
        assert!(!*watch.borrow());
        drop(hold);
        assert!(*watch.borrow());
    }

    #[tokio::test]
    async fn aborting_implies_draining() {
        let shutdown = Shutdown::default();
        assert!(!shutdown.is_draining());
        shutdown.abort();
        shutdown.draining().await;
        shutdown.aborting().await;
    }
}
