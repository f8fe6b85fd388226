//! What callers and writer both know of the witness: whether it works, and what it lost.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::metrics::Metrics;
use crate::clock::{Clock, Timestamp};

/// How the witness is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Records reach the first sink.
    Ok,
    /// The first sink does not take records; they wait in the queue, which overflows in time.
    Failing {
        /// Since when.
        since: Timestamp,
        /// The last error.
        error: String,
    },
    /// The writer has ended. Nothing is recorded any more.
    Stopped,
}

/// What both ends know.
pub(super) struct Status {
    pub(super) metrics: Metrics,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) refusals_lost: Loss,
    pub(super) allowances_lost: Loss,
    failing: Mutex<Option<(Timestamp, String)>>,
    stopped: AtomicBool,
}

/// Records that found their lane full, since the last gap record.
#[derive(Debug, Default)]
pub(super) struct Loss(Mutex<Option<Lost>>);

/// How many, and the time of the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) count: u64,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

// === impl Status ===

impl Status {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            metrics,
            clock,
            refusals_lost: Loss::default(),
            allowances_lost: Loss::default(),
            failing: Mutex::new(None),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn health(&self) -> Health {
        if self.stopped.load(Ordering::Acquire) {
            return Health::Stopped;
        }
        match &*self.failing() {
            None => Health::Ok,
            Some((since, error)) => Health::Failing {
                since: *since,
                error: error.clone(),
            },
        }
    }

    pub(super) fn set_ok(&self) {
        *self.failing() = None;
    }

    pub(super) fn set_failing(&self, error: &io::Error) {
        let mut failing = self.failing();
        let since = failing
            .as_ref()
            .map_or_else(|| self.clock.now(), |(since, _)| *since);
        *failing = Some((since, error.to_string()));
    }

    pub(super) fn set_stopped(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    fn failing(&self) -> MutexGuard<'_, Option<(Timestamp, String)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

// === impl Loss ===

impl Loss {
    pub(super) fn add(&self, time: Timestamp) {
        let mut since_last_gap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = since_last_gap.get_or_insert(Lost {
            count: 0,
            from: time,
            to: time,
        });
        lost.count += 1;
        lost.to = time;
    }

    pub(super) fn take(&self) -> Option<Lost> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
