//! A sink with its history: one attempt at a time, errors counted and logged once, durable at least every second.

use std::io;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::sink::{Batch, Sink};

/// A sink and how it has been doing.
#[derive(Debug)]
pub(super) struct Outlet {
    sink: Box<dyn Sink>,
    write_errors: Counter,
    unwritten: Counter,
    /// Failures since the last success.
    failures: u32,
    sync_failed: bool,
    /// When the oldest write that is not yet durable was made.
    dirty_since: Option<Instant>,
}

impl Outlet {
    pub(super) fn new(sink: Box<dyn Sink>, metrics: &Metrics) -> Self {
        let write_errors = metrics.write_errors(sink.name());
        let unwritten = metrics.unwritten(sink.name());
        Self {
            sink,
            write_errors,
            unwritten,
            failures: 0,
            sync_failed: false,
            dirty_since: None,
        }
    }

    /// Tries once to write `batch`. After an error the same batch must come again after [`Outlet::backoff`].
    pub(super) fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let written = self.sink.write(batch);
        // What was written before an error must become durable too.
        self.dirty_since.get_or_insert_with(Instant::now);
        let sink = self.sink.name();
        match &written {
            Ok(()) if self.failures == 0 => {}
            Ok(()) => {
                tracing::info!(sink, failures = self.failures, "audit sink works again");
                self.failures = 0;
            }
            Err(error) => {
                self.write_errors.inc();
                self.failures = self.failures.saturating_add(1);
                log_failure(sink, "write", self.failures == 1, error);
            }
        }
        written
    }

    /// Makes everything written durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.dirty_since.is_none() {
            return Ok(());
        }
        let synced = self.sink.flush();
        match &synced {
            Ok(()) => self.dirty_since = self.sink.wants_flush().then(Instant::now),
            Err(error) => {
                self.write_errors.inc();
                log_failure(self.sink.name(), "sync", !self.sync_failed, error);
                // Not at once again.
                self.dirty_since = Some(Instant::now());
            }
        }
        self.sync_failed = synced.is_err();
        synced
    }

    /// Time left until [`Outlet::sync`] is due; `None` if everything is durable.
    pub(super) fn sync_due_in(&self) -> Option<Duration> {
        self.dirty_since
            .map(|since| SYNC_EVERY.saturating_sub(since.elapsed()))
    }

    /// Whether the last attempt of each kind worked.
    pub(super) fn is_ok(&self) -> bool {
        self.failures == 0 && !self.sync_failed
    }

    /// How long to wait after a failure: 10 ms, doubled each time, up to a second.
    pub(super) fn backoff(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(7);
        FIRST_BACKOFF
            .saturating_mul(1 << doublings)
            .min(LONGEST_BACKOFF)
    }

    /// Counts records that will never be written here.
    pub(super) fn give_up(&self, records: u64) {
        self.unwritten.inc_by(records);
        tracing::error!(sink = self.sink.name(), records, "audit records given up");
    }

    /// The count that [`Outlet::give_up`] adds to.
    pub(super) fn unwritten(&self) -> Counter {
        self.unwritten.clone()
    }
}

/// The first failure warns; repetitions are for whoever looks closer.
fn log_failure(sink: &'static str, attempt: &'static str, first: bool, error: &io::Error) {
    if first {
        tracing::warn!(sink, attempt, %error, "audit sink fails; will try again");
    } else {
        tracing::debug!(sink, attempt, %error, "audit sink still fails");
    }
}

/// A crash of the machine loses at most this much of what was written.
const SYNC_EVERY: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
