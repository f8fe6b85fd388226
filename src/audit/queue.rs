//! The callers' end: [`Auditor::record`] hands a record over and returns at once, whatever the sinks do.
//!
//! Two bounded lanes lead to the writer's thread: one for allowances, one for everything else, so that no flood of
//! allowances can displace a refusal. A record that finds its lane full is counted, and an `audit.gap` says later how
//! many are missing. `seq` is assigned by the writer, in the order of arrival as far as lanes allow; `time` is taken
//! here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use tokio::sync::oneshot;

use super::AuditError;
use super::metrics::Metrics;
use super::record::{Outcome, Record};
use super::status::{Health, Status};
use super::tap::Watcher;
use crate::clock::{Clock, Timestamp};

/// Takes records. Cheap to clone.
///
/// When the last auditor and the [`WriterHandle`] are gone, the writer writes what it has and ends.
#[derive(Debug, Clone)]
pub struct Auditor(Arc<Intake>);

/// The owner's hold on the writer.
#[derive(Debug)]
pub struct WriterHandle(Auditor);

/// Boxed: a place in the queue is one word, and putting a batch in order moves words.
pub(super) type Queued = Box<Entry>;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Entry {
    /// When it was handed over.
    pub(super) time: Timestamp,
    /// Its number among all that were handed over.
    pub(super) arrival: u64,
    /// Further records like it that it stands for.
    pub(super) repeats: Option<Repeats>,
    pub(super) record: Record,
}

/// Identical denials folded into one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeats {
    /// How many in all, the first included.
    pub(super) count: u64,
    /// When the last one was handed over.
    pub(super) last_time: Timestamp,
}

/// What the writer is asked for, besides writing.
#[derive(Debug)]
pub(super) enum Command {
    /// Answer when everything handed over before is written and durable.
    Flush(oneshot::Sender<Result<(), io::Error>>),
    /// Answer when everything handed over before is written and durable, and end.
    Close(oneshot::Sender<Result<(), io::Error>>),
}

/// The writer's end of the queue.
#[derive(Debug)]
pub(super) struct Outtake {
    /// Rings after a record or a command was put in; one ring stands for any number.
    pub(super) bell: Receiver<()>,
    pub(super) commands: Receiver<Command>,
    pub(super) refusals: Receiver<Queued>,
    pub(super) allowances: Receiver<Queued>,
}

#[derive(Debug)]
struct Intake {
    bell: SyncSender<()>,
    commands: Sender<Command>,
    refusals: SyncSender<Queued>,
    allowances: SyncSender<Queued>,
    arrivals: AtomicU64,
    status: Arc<Status>,
}

/// Both ends of a queue with lanes of `capacity` records.
pub(super) fn queue(
    capacity: usize,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
) -> (WriterHandle, Outtake, Arc<Status>) {
    let (ring, bell) = sync_channel(1);
    let (commands, commands_out) = channel();
    let (refusals, refusals_out) = sync_channel(capacity);
    let (allowances, allowances_out) = sync_channel(capacity);
    let status = Arc::new(Status::new(clock, metrics));
    let auditor = Auditor(Arc::new(Intake {
        bell: ring,
        commands,
        refusals,
        allowances,
        arrivals: AtomicU64::new(0),
        status: Arc::clone(&status),
    }));
    let outtake = Outtake {
        bell,
        commands: commands_out,
        refusals: refusals_out,
        allowances: allowances_out,
    };
    (WriterHandle(auditor), outtake, status)
}

// === impl Auditor ===

impl Auditor {
    /// Hands `record` over, at the current time. Never waits; a record that finds no room is counted.
    pub fn record(&self, record: Record) {
        self.hand_over(record);
    }

    /// Hands `record` over and waits until it is in the first sink and durable there: for what may take effect only once
    /// it is known.
    ///
    /// Waits for as long as the sink fails: give it a deadline. Many that wait at once wait for one flush together. On an error the record may be
    /// there or not; whoever gets one must not let the effect happen.
    pub async fn commit(&self, record: Record) -> Result<(), AuditError> {
        if self.hand_over(record) {
            self.flush().await
        } else {
            Err(AuditError::Full)
        }
    }

    /// Whether `record` found room.
    fn hand_over(&self, record: Record) -> bool {
        let Intake {
            bell,
            refusals,
            allowances,
            arrivals,
            status,
            ..
        } = &*self.0;
        let (lane, loss, dropped) = match record.result {
            Outcome::Allowed => (
                allowances,
                &status.allowances_lost,
                &status.metrics.dropped_allowances,
            ),
            Outcome::Supervised | Outcome::Denied | Outcome::Success | Outcome::Failure => (
                refusals,
                &status.refusals_lost,
                &status.metrics.dropped_refusals,
            ),
        };
        let entry = Box::new(Entry {
            time: status.clock.now(),
            arrival: arrivals.fetch_add(1, Ordering::Relaxed),
            repeats: None,
            record,
        });
        // Before sending, so that the writer never takes away what was not yet added.
        status.metrics.queue_depth.inc();
        let taken = match lane.try_send(entry) {
            Ok(()) => true,
            Err(TrySendError::Full(entry) | TrySendError::Disconnected(entry)) => {
                status.metrics.queue_depth.dec();
                dropped.inc();
                loss.add(entry.time);
                false
            }
        };
        // After a loss too: the writer may have emptied the lane meanwhile and would tell of it only at the next record.
        ring(bell);
        taken
    }

    /// Waits until everything recorded before this call is in the first sink and durable there.
    ///
    /// Waits for as long as the sink fails: give it a deadline.
    pub async fn flush(&self) -> Result<(), AuditError> {
        self.ask(Command::Flush).await
    }

    /// Watches what is written from now on.
    pub fn watch(&self) -> Watcher {
        self.0.status.tap.watch()
    }

    /// How the witness is now.
    pub fn health(&self) -> Health {
        self.0.status.health()
    }

    async fn ask(
        &self,
        command: fn(oneshot::Sender<Result<(), io::Error>>) -> Command,
    ) -> Result<(), AuditError> {
        let (answer, answered) = oneshot::channel();
        if self.0.commands.send(command(answer)).is_err() {
            return Err(AuditError::Stopped);
        }
        ring(&self.0.bell);
        match answered.await {
            Ok(done) => done.map_err(AuditError::Sync),
            Err(_dropped) => Err(AuditError::Stopped),
        }
    }
}

// === impl WriterHandle ===

impl WriterHandle {
    /// Another handle for recording.
    pub fn auditor(&self) -> Auditor {
        self.0.clone()
    }

    /// Waits until everything recorded before this call is written and durable, ends the chain with `audit.stopped`
    /// and ends the writer. Records that come later are counted and lost.
    ///
    /// Waits for as long as the sinks fail. To give up, drop the future: the writer then ends at its next failure, and
    /// the next start reports the gap.
    pub async fn close(self) -> Result<(), AuditError> {
        self.0.ask(Command::Close).await
    }
}

// === impl Command ===

impl Command {
    pub(super) fn is_close(&self) -> bool {
        matches!(self, Self::Close(_))
    }

    /// Whether the one who asked to close waits no more.
    pub(super) fn is_given_up(&self) -> bool {
        match self {
            Self::Flush(_) => false,
            Self::Close(asker) => asker.is_closed(),
        }
    }

    pub(super) fn answer(self, done: Result<(), io::Error>) {
        let (Self::Flush(asker) | Self::Close(asker)) = self;
        // Nobody waits for it any more: fine.
        drop(asker.send(done));
    }
}

/// Wakes the writer, unless it has been rung for and has not looked yet.
fn ring(bell: &SyncSender<()>) {
    match bell.try_send(()) {
        Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
    }
}
