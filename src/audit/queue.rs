//! The callers' end: [`Auditor::record`] hands a record over and returns at once, whatever the sinks do;
//! [`Auditor::commit`] waits until it is durable.
//!
//! Two bounded lanes lead to the writer's thread: one for allowances, one for everything else, so that no flood of
//! allowances can displace a refusal. A record that finds its lane full is counted, and an `audit.gap` says later how
//! many are missing. `seq` is assigned by the writer, in the order of arrival as far as lanes allow; `time` is taken
//! here.
//!
//! A record to be committed carries its own receipt through the queue, so that whatever becomes of it (written, refused,
//! gone with the writer) is what its caller learns: there is no moment in which it could be lost and called durable. No
//! room, no durability in time and no writer are errors, and whoever gets one must not let the effect happen.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};

use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use ulid::Ulid;

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
pub struct Auditor {
    intake: Arc<Intake>,
    durability: Durability,
}

/// What a decision waits for before it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// For nothing: its record is in the queue.
    #[default]
    Standard,
    /// For its record to be durable in the first sink.
    Strict,
}

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
    /// The same moment on a clock that nobody sets.
    pub(super) moment: Instant,
    /// Its number among all that were handed over.
    pub(super) arrival: u64,
    /// Further records like it that it stands for.
    pub(super) repeats: Option<Repeats>,
    /// Who waits for it to be durable.
    pub(super) receipt: Option<Receipt>,
    pub(super) record: Record,
}

/// Where the record's id goes once it is durable. Dropped, it says that the writer has ended.
pub(super) type Receipt = oneshot::Sender<Result<Ulid, AuditError>>;

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

/// Which way a record takes.
#[derive(Debug, Clone, Copy)]
enum Lane {
    Allowances,
    Refusals,
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
    let auditor = Auditor {
        intake: Arc::new(Intake {
            bell: ring,
            commands,
            refusals,
            allowances,
            arrivals: AtomicU64::new(0),
            status: Arc::clone(&status),
        }),
        durability: Durability::default(),
    };
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
    /// The same auditor, whose [`settle`](Self::settle) waits as `durability` says.
    #[must_use]
    pub fn with(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// Whether decisions wait for their records.
    pub fn is_strict(&self) -> bool {
        self.durability == Durability::Strict
    }

    /// Hands `record` over, at the current time. Never waits; a record that finds no room is counted.
    pub fn record(&self, record: Record) {
        let status = &self.intake.status;
        let (loss, dropped) = match Lane::of(&record) {
            Lane::Allowances => (&status.allowances_lost, &status.metrics.dropped_allowances),
            Lane::Refusals => (&status.refusals_lost, &status.metrics.dropped_refusals),
        };
        if let Err((_cause, entry)) = self.hand_over(record, None) {
            dropped.inc();
            loss.add(entry.time);
        }
        // After a loss too: the writer may have emptied the lane meanwhile and would tell of it only at the next record.
        ring(&self.intake.bell);
    }

    /// Hands `record` over and waits until it is in the first sink and durable there: for what may take effect only once
    /// it is known. Gives the record's id.
    ///
    /// Waits for as long as the sink fails: give it a deadline, as [`settle`](Self::settle) does. Many that wait at once
    /// wait for one flush together. Where the lane is full, or the writer has ended, the error comes at once. On an error
    /// the record may be there or not; whoever gets one must not let the effect happen. A record whose caller waits no
    /// more before it was put into the chain is left out.
    pub async fn commit(&self, record: Record) -> Result<Ulid, AuditError> {
        let (receipt, received) = oneshot::channel();
        self.hand_over(record, Some(receipt))
            .map_err(|(cause, _entry)| cause)?;
        self.intake.status.hurried.store(true, Ordering::Release);
        ring(&self.intake.bell);
        received.await.unwrap_or(Err(AuditError::Stopped))
    }

    /// Records a decision before it is told: in standard mode like [`record`](Self::record), in strict mode like
    /// [`commit`](Self::commit), until `until` at most. On an error the decision must not be told.
    pub async fn settle(&self, record: Record, until: Instant) -> Result<(), AuditError> {
        if !self.is_strict() {
            self.record(record);
            return Ok(());
        }
        match timeout_at(until, self.commit(record)).await {
            Ok(committed) => committed.map(|_id| ()),
            Err(_elapsed) => Err(AuditError::Late),
        }
    }

    /// Puts `record` in its lane, or gives it back.
    fn hand_over(
        &self,
        record: Record,
        receipt: Option<Receipt>,
    ) -> Result<(), (AuditError, Queued)> {
        let Intake {
            refusals,
            allowances,
            arrivals,
            status,
            ..
        } = &*self.intake;
        let lane = match Lane::of(&record) {
            Lane::Allowances => allowances,
            Lane::Refusals => refusals,
        };
        let entry = Box::new(Entry {
            time: status.clock.now(),
            moment: Instant::now(),
            arrival: arrivals.fetch_add(1, Ordering::Relaxed),
            repeats: None,
            receipt,
            record,
        });
        // Before sending, so that the writer never takes away what was not yet added.
        status.metrics.queue_depth.inc();
        lane.try_send(entry).map_err(|refused| {
            status.metrics.queue_depth.dec();
            match refused {
                TrySendError::Full(entry) => (AuditError::Full, entry),
                TrySendError::Disconnected(entry) => (AuditError::Stopped, entry),
            }
        })
    }

    /// Waits until everything recorded before this call is in the first sink and durable there.
    ///
    /// Waits for as long as the sink fails: give it a deadline.
    pub async fn flush(&self) -> Result<(), AuditError> {
        self.ask(Command::Flush).await
    }

    /// Watches what is written from now on.
    pub fn watch(&self) -> Watcher {
        self.intake.status.tap.watch()
    }

    /// How the witness is now.
    pub fn health(&self) -> Health {
        self.intake.status.health()
    }

    async fn ask(
        &self,
        command: fn(oneshot::Sender<Result<(), io::Error>>) -> Command,
    ) -> Result<(), AuditError> {
        let (answer, answered) = oneshot::channel();
        if self.intake.commands.send(command(answer)).is_err() {
            return Err(AuditError::Stopped);
        }
        ring(&self.intake.bell);
        match answered.await {
            Ok(done) => done.map_err(AuditError::Sync),
            Err(_dropped) => Err(AuditError::Stopped),
        }
    }
}

// === impl Lane ===

impl Lane {
    fn of(record: &Record) -> Self {
        match record.result {
            Outcome::Allowed => Self::Allowances,
            Outcome::Supervised | Outcome::Denied | Outcome::Success | Outcome::Failure => {
                Self::Refusals
            }
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

// === impl Entry ===

impl Entry {
    /// Whether who committed it waits no more.
    pub(super) fn is_withdrawn(&self) -> bool {
        self.receipt.as_ref().is_some_and(Receipt::is_closed)
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
