//! The writer: one thread that takes records from the queue, seals them into the chain and writes them.
//!
//! It writes in batches: woken by the first record, it waits 2 ms for more, so that a busy caller wakes it at most 500
//! times a second. A failing first sink is tried again with growing pauses while the queue fills; it is never skipped,
//! because a chain with a hole is worth less than a late one. One that blocks blocks this thread; [`Status::health`] sees
//! that from outside.
//!
//! Where somebody waits for records to be durable, there is one flush for all of them as soon as no more come, or
//! 2 ms are over. A record that can't be written, a failed flush and the end of this thread are told to each; nothing else is
//! ever called durable.

use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use ulid::Ulid;

use super::AuditError;
use super::chain::{Chain, Sealed};
use super::checkpoint::Due;
use super::itself;
use super::outlet::Outlet;
use super::queue::{Command, Entry, Outtake, Queued, Receipt};
use super::record::{Actor, Outcome, Record};
use super::relay::Relay;
use super::repeat::fold;
use super::sink::Batch;
use super::status::Status;
use super::text::{Text, shown};
use crate::permission::Reason;

/// The state of the writer's thread.
#[derive(Debug)]
pub(super) struct Writer<R> {
    outtake: Outtake,
    status: Arc<Status>,
    chain: Chain<R>,
    checkpoints: Option<Due>,
    primary: Outlet,
    relays: Vec<Relay>,
    /// Batches that hold all that the queue can hold.
    batches: usize,
    /// Commands to be answered after the current round.
    answering: Vec<Command>,
    /// Commands that came during the current round.
    waiting: Vec<Command>,
    /// Records that are written and not yet durable, for who waits for that.
    owed: Vec<(Receipt, Ulid)>,
    /// The sink fails and nobody waits for it any more.
    abandoned: bool,
}

/// Tells the callers when the writer's thread has ended, in whatever way.
struct StoppedAtEnd(Arc<Status>);

impl Drop for StoppedAtEnd {
    fn drop(&mut self) {
        self.0.set_stopped();
    }
}

impl<R: Rng> Writer<R> {
    pub(super) fn new(
        outtake: Outtake,
        capacity: usize,
        status: Arc<Status>,
        chain: Chain<R>,
        checkpoints: Option<Due>,
        primary: Outlet,
        relays: Vec<Relay>,
    ) -> Self {
        Self {
            outtake,
            status,
            chain,
            checkpoints,
            primary,
            relays,
            batches: capacity.div_ceil(BATCH),
            answering: Vec::new(),
            waiting: Vec::new(),
            owed: Vec::new(),
            abandoned: false,
        }
    }

    /// Writes `first`, then what comes, until it is told to close or nobody is left who could tell.
    pub(super) fn run(mut self, first: Vec<Record>) {
        let stopped = StoppedAtEnd(Arc::clone(&self.status));
        let first: Vec<_> = first.into_iter().map(|record| self.own(record)).collect();
        self.write(first);
        let mut ended = None;
        while ended.is_none() && !self.abandoned {
            ended = self.round();
        }
        for relay in self.relays.drain(..) {
            relay.close();
        }
        self.count_late();
        let answering = mem::take(&mut self.answering);
        // Whoever is told that this writer has ended may open the same file at once.
        drop(stopped);
        drop(self);
        // Unanswered commands tell their askers that the writer has ended.
        let Some(synced) = ended else { return };
        for command in answering {
            command.answer(copied(&synced));
        }
    }

    /// Waits, writes, flushes and answers. After the last round: what is to be answered when all is closed.
    fn round(&mut self) -> Option<io::Result<()>> {
        let open = self.wait();
        self.answering.append(&mut self.waiting);
        self.answering.extend(self.outtake.commands.try_iter());
        let begun = Instant::now();
        for _ in 0..self.batches {
            let entries = self.take();
            if entries.is_empty() {
                break;
            }
            self.write(entries);
            self.checkpoint(false);
            if self.abandoned {
                return None;
            }
            // A flush is shared with those who come while it is cheap to write what they bring, and no longer: under load
            // somebody always comes.
            if !self.owed.is_empty() && begun.elapsed() >= COMPANY {
                // Told to everybody it concerns; what is due later is tried again.
                drop(self.sync());
            }
        }
        // After so much time, though nothing came.
        self.checkpoint(false);
        if self.abandoned {
            return None;
        }
        if !open || self.answering.iter().any(Command::is_close) {
            self.end();
            let synced = self.sync();
            return (!self.abandoned).then_some(synced);
        }
        let due = self.primary.sync_due_in() == Some(Duration::ZERO);
        if due || !self.answering.is_empty() || !self.owed.is_empty() {
            let synced = self.sync();
            for command in self.answering.drain(..) {
                command.answer(copied(&synced));
            }
        }
        None
    }

    /// Counts what came after the last round.
    fn count_late(&self) {
        // Who waits for its record is told, and nothing is lost on them.
        let lost = |entry: &Queued| entry.receipt.is_none();
        let late = |lane: &Receiver<Queued>| lane.try_iter().filter(lost).count() as u64;
        let metrics = &self.status.metrics;
        metrics
            .dropped_refusals
            .inc_by(late(&self.outtake.refusals));
        metrics
            .dropped_allowances
            .inc_by(late(&self.outtake.allowances));
        metrics.queue_depth.set(0);
    }

    /// Sleeps until there is something to do. `false` when nobody can ask for anything any more.
    fn wait(&mut self) -> bool {
        let records = self.chain.len();
        let signing = self.checkpoints.as_mut().and_then(|it| it.due_in(records));
        let due = signing.into_iter().chain(self.primary.sync_due_in()).min();
        let rung = match due {
            Some(left) => self.outtake.bell.recv_timeout(left),
            None => self.outtake.bell.recv().map_err(RecvTimeoutError::from),
        };
        match rung {
            Ok(()) if self.waiting.is_empty() => {}
            Ok(()) | Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        // Who waits for an answer does not wait for company.
        if self.status.hurried.swap(false, Ordering::AcqRel) {
            return true;
        }
        match self.outtake.commands.recv_timeout(COMPANY) {
            Ok(command) => self.waiting.push(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    /// The next batch of entries, in the order of arrival, after what is to be said about lost ones.
    fn take(&self) -> Vec<Queued> {
        let Outtake {
            refusals,
            allowances,
            ..
        } = &self.outtake;
        let mut entries: Vec<_> = refusals.try_iter().take(BATCH).collect();
        let mut taken = entries.len();
        if taken == BATCH {
            entries = fold(entries);
        }
        let before = entries.len();
        entries.extend(allowances.try_iter().take(BATCH));
        taken += entries.len() - before;
        self.status
            .metrics
            .queue_depth
            .dec_by(i64::try_from(taken).unwrap_or_default());
        entries.sort_by_key(|entry| entry.arrival);
        if let Some(gap) = self.gap() {
            entries.insert(0, gap);
        }
        entries
    }

    /// The record of what was lost since the last one.
    fn gap(&self) -> Option<Queued> {
        let refusals = self.status.refusals_lost.take();
        let allowances = self.status.allowances_lost.take();
        let gap = itself::dropped(refusals, allowances)?;
        tracing::warn!(?refusals, ?allowances, "audit records lost");
        Some(self.own(gap))
    }

    /// Ends the chain.
    fn end(&mut self) {
        if let Some(gap) = self.gap() {
            self.write(vec![gap]);
        }
        self.checkpoint(true);
        if !self.abandoned {
            let stopped = itself::stopped(self.chain.len().saturating_add(1));
            self.write(vec![self.own(stopped)]);
        }
    }

    /// Signs how far the chain has come, where that is due or `all` is to be covered.
    fn checkpoint(&mut self, all: bool) {
        let records = self.chain.len();
        let Some(due) = &mut self.checkpoints else {
            return;
        };
        match due.due_in(records) {
            Some(left) if all || left == Duration::ZERO => {}
            Some(_) | None => return,
        }
        if self.abandoned {
            return;
        }
        let signed = due.sign(self.chain.writer(), records, self.chain.head().as_str());
        self.write(vec![self.own(signed.record())]);
        // What is kept elsewhere must never be ahead of the disk.
        if !self.abandoned && self.sync().is_ok() {
            signed.log();
        }
    }

    /// An entry of the writer itself.
    fn own(&self, record: Record) -> Queued {
        Box::new(Entry {
            time: self.status.clock.now(),
            moment: Instant::now(),
            arrival: 0,
            repeats: None,
            receipt: None,
            record,
        })
    }

    /// Seals `entries` and writes them, however long it takes.
    fn write(&mut self, mut entries: Vec<Queued>) {
        entries.retain(|entry| !entry.is_withdrawn());
        let mut batch = Batch::default();
        for entry in &mut entries {
            let receipt = entry.receipt.take();
            match batch.push(|line| self.chain.seal(entry, line)) {
                Ok(sealed) => {
                    log_denial(entry, sealed);
                    self.owed.extend(receipt.map(|it| (it, sealed.id)));
                }
                Err(error) => {
                    tracing::error!(%error, "audit record can't be written as JSON");
                    self.status.refusals_lost.add(entry.time);
                    if let Some(receipt) = receipt {
                        // Who waits no more needs no answer.
                        drop(receipt.send(Err(AuditError::Sync(error.into()))));
                    }
                }
            }
        }
        if batch.records() == 0 {
            return;
        }
        let batch = Arc::new(batch);
        for relay in &self.relays {
            relay.offer(&batch);
        }
        self.insist(&batch);
        if self.abandoned {
            return;
        }
        self.status.tap.show(&batch);
        self.status.refusals_lost.told();
        self.status.allowances_lost.told();
        for entry in &entries {
            self.status.metrics.written(entry.record.event_type);
        }
        let oldest = entries.iter().map(|entry| entry.time.unix_millis()).min();
        let now = self.status.clock.now().unix_millis();
        let lag = Duration::from_millis(now.saturating_sub(oldest.unwrap_or(now)));
        self.status.metrics.lag.set(lag.as_secs_f64());
    }

    /// Writes `batch` to the first sink, again and again until it is written or nobody waits.
    fn insist(&mut self, batch: &Batch) {
        while let Err(error) = self.status.watching(|| self.primary.write(batch)) {
            self.status.set_failing(&error);
            match self.outtake.commands.recv_timeout(self.primary.backoff()) {
                Ok(command) => self.waiting.push(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.abandoned = true,
            }
            let mut commands = self.answering.iter().chain(&self.waiting);
            if self.abandoned || commands.any(Command::is_given_up) {
                self.abandoned = true;
                self.primary.give_up(batch.records());
                return;
            }
        }
        self.update_health();
    }

    fn sync(&mut self) -> io::Result<()> {
        let synced = self.status.watching(|| self.primary.sync());
        if let Err(error) = &synced {
            self.status.set_failing(error);
        }
        self.update_health();
        for (receipt, id) in self.owed.drain(..) {
            // Who waits no more needs no answer.
            drop(receipt.send(copied(&synced).map(|()| id).map_err(AuditError::Sync)));
        }
        synced
    }

    fn update_health(&self) {
        if self.primary.is_ok() {
            self.status.set_ok();
        }
    }
}

/// One line in the log for every refusal, beside the record.
fn log_denial(entry: &Entry, sealed: Sealed) {
    let record = &entry.record;
    if record.result != Outcome::Denied {
        return;
    }
    let caller = match &record.actor {
        Actor::Workload(id) | Actor::Agent(id) => id.as_str(),
        Actor::Delegate { spiffe_id, .. } => spiffe_id.as_str(),
        Actor::Person(id) => id.as_str(),
        Actor::System | Actor::Unknown => "unknown",
    };
    let resource = record.resource.as_ref().map(|it| shown(it.as_str()));
    let action = record.action.as_ref().map(|it| shown(it.as_str()));
    tracing::info!(
        audit_id = %sealed.id,
        decision_id = record.decision_id.as_ref().map(Text::as_str),
        caller,
        resource = resource.as_deref(),
        action = action.as_deref(),
        reason = record.reason_code.map(Reason::as_str),
        count = entry.repeats.map_or(1, |repeats| repeats.count),
        "AUTHZ_DENY"
    );
}

/// An I/O error can't be cloned, but more than one may wait for it.
fn copied(done: &io::Result<()>) -> io::Result<()> {
    match done {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Records of one lane in one batch.
const BATCH: usize = 256;
/// How long a first record waits for more.
const COMPANY: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use ulid::Ulid;

    use super::*;
    use crate::audit::EventType;
    use crate::clock::Timestamp;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_denial_is_one_line_of_the_log() {
        let record = |result| Record {
            action: Some("read".parse().unwrap()),
            resource: Some("documents/42".parse().unwrap()),
            reason_code: Some(Reason::OutOfScope),
            decision_id: Some("d-1".into()),
            ..Record::new(
                EventType::PermissionDenied,
                result,
                Actor::Workload("spiffe://example.org/svc/a".parse().unwrap()),
            )
        };
        let log = Log::default();
        let shared = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || shared.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            for result in [Outcome::Denied, Outcome::Allowed, Outcome::Failure] {
                let entry = Entry {
                    time: Timestamp::from_unix_seconds(0),
                    moment: Instant::now(),
                    arrival: 0,
                    repeats: None,
                    receipt: None,
                    record: record(result),
                };
                let id = Ulid::nil();
                log_denial(&entry, Sealed { id, seq: 1 });
            }
        });
        let bytes = log.0.lock().unwrap().clone();
        let line: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        for (name, value) in [
            ("message", "AUTHZ_DENY"),
            ("audit_id", "00000000000000000000000000"),
            ("decision_id", "d-1"),
            ("caller", "spiffe://example.org/svc/a"),
            ("resource", "documents/42"),
            ("action", "read"),
            ("reason", "out_of_scope"),
        ] {
            assert_eq!(line[name], value);
        }
    }
}
