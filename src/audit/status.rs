//! What callers and writer both know of the witness: whether it works, and what it lost.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::metrics::Metrics;
use super::tap::Tap;
use crate::clock::{Clock, Timestamp};

/// How the witness is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Records reach the first sink.
    Ok,
    /// The first sink does not take records, which wait in the queue until it overflows; or records were lost, and no
    /// `audit.gap` tells of them yet.
    Failing {
        /// Since when.
        since: Timestamp,
        /// The last error, or what is wrong without one.
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
    /// Somebody waits for a record to be durable: the writer waits for no company.
    pub(super) hurried: AtomicBool,
    pub(super) tap: Tap,
    failing: Mutex<Option<(Timestamp, String)>>,
    under_way: Mutex<Option<UnderWay>>,
    stopped: AtomicBool,
}

/// A call of the first sink that has not returned.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    began: Instant,
    since: Timestamp,
}

/// Records that found their lane full.
#[derive(Debug, Default)]
pub(super) struct Loss(Mutex<Untold>);

/// What no gap record tells that has been written.
#[derive(Debug, Default)]
struct Untold {
    /// Since the last gap record was made.
    fresh: Option<Lost>,
    /// In a gap record that is on its way.
    in_gap: Option<Lost>,
}

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
            hurried: AtomicBool::new(false),
            tap: Tap::new(),
            failing: Mutex::new(None),
            under_way: Mutex::new(None),
            stopped: AtomicBool::new(false),
        }
    }

    pub(super) fn health(&self) -> Health {
        if self.stopped.load(Ordering::Acquire) {
            return Health::Stopped;
        }
        if let Some((since, error)) = self.failing().clone() {
            return Health::Failing { since, error };
        }
        // A reader that does not read causes no error: the write just does not return.
        if let Some(UnderWay { began, since }) = *self.under_way()
            && began.elapsed() > PATIENCE
        {
            let error = "the sink blocks: a write has not returned".to_owned();
            return Health::Failing { since, error };
        }
        let untold = [&self.refusals_lost, &self.allowances_lost].map(Loss::untold);
        let lost = || untold.iter().flatten();
        if let Some(since) = lost().map(|lost| lost.from).min() {
            let count: u64 = lost().map(|lost| lost.count).sum();
            let error = format!("{count} records are lost and no audit.gap tells of them yet");
            return Health::Failing { since, error };
        }
        Health::Ok
    }

    /// Notes for how long `call`, which is one of the first sink, is under way.
    pub(super) fn watching<T>(&self, call: impl FnOnce() -> T) -> T {
        *self.under_way() = Some(UnderWay {
            began: Instant::now(),
            since: self.clock.now(),
        });
        let done = call();
        *self.under_way() = None;
        done
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

    fn under_way(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
        let mut untold = self.lock();
        let lost = untold.fresh.get_or_insert(Lost {
            count: 0,
            from: time,
            to: time,
        });
        lost.count += 1;
        lost.to = time;
    }

    /// What the next gap record is to tell.
    pub(super) fn take(&self) -> Option<Lost> {
        let mut untold = self.lock();
        untold.in_gap = untold.fresh.take();
        untold.in_gap
    }

    /// The gap record is written.
    pub(super) fn told(&self) {
        self.lock().in_gap = None;
    }

    fn untold(&self) -> Option<Lost> {
        let Untold { fresh, in_gap } = &*self.lock();
        match (in_gap, fresh) {
            (Some(in_gap), Some(fresh)) => Some(Lost {
                count: in_gap.count.saturating_add(fresh.count),
                from: in_gap.from,
                to: fresh.to,
            }),
            (in_gap, fresh) => in_gap.or(*fresh),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a call of the first sink may be under way. A disk under load syncs in less.
const PATIENCE: Duration = Duration::from_secs(1);
