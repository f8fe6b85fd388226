//! What the first sink has just taken, for whoever watches.
//!
//! The writer never waits here: a watcher that is slow misses batches, and is told how many. Where nobody watches, nothing
//! is kept. Every record after [`Watcher::seq`] comes to the watcher or is counted as missed; every record up to it was in
//! the first sink before the watcher began, and comes to it no more.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use super::sink::Batch;

/// Where the writer shows what it wrote.
pub(super) struct Tap {
    sender: Sender<Arc<Batch>>,
    /// Sequence number of the last record in the first sink.
    written: AtomicU64,
    writer: OnceLock<Arc<str>>,
}

/// Sees records after they are in the first sink.
#[derive(Debug)]
pub struct Watcher {
    receiver: Receiver<Arc<Batch>>,
    seq: u64,
    writer: Arc<str>,
}

/// What a [`Watcher`] sees.
#[derive(Debug, Clone)]
pub enum Seen {
    /// Records, in the order of their chain.
    Records(Arc<Batch>),
    /// So many batches were shown faster than they were looked at.
    Missed(u64),
    /// The writer has ended.
    End,
}

impl Tap {
    pub(super) fn new() -> Self {
        Self {
            sender: Sender::new(BATCHES),
            written: AtomicU64::new(0),
            writer: OnceLock::new(),
        }
    }

    /// Says whose records are shown.
    pub(super) fn belongs_to(&self, writer: &Arc<str>) {
        self.writer.get_or_init(|| Arc::clone(writer));
    }

    /// Shows what the first sink has taken.
    pub(super) fn show(&self, batch: &Arc<Batch>) {
        // Counted before it is shown: whoever begins between the two sees it and knows it for written before.
        self.written.fetch_add(batch.records(), Ordering::SeqCst);
        // Nobody watches: fine.
        drop(self.sender.send(Arc::clone(batch)));
    }

    pub(super) fn watch(&self) -> Watcher {
        let receiver = self.sender.subscribe();
        Watcher {
            receiver,
            seq: self.written.load(Ordering::SeqCst),
            writer: self.writer.get().cloned().unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap")
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl Watcher {
    /// Whose records are seen.
    pub fn writer(&self) -> &Arc<str> {
        &self.writer
    }

    /// Sequence number of the last record that was written before this watcher began.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What was written next. A batch that was already written when the watcher began may come once more. Nothing is
    /// lost where the future is dropped.
    pub async fn next(&mut self) -> Seen {
        match self.receiver.recv().await {
            Ok(batch) => Seen::Records(batch),
            Err(RecvError::Lagged(batches)) => Seen::Missed(batches),
            Err(RecvError::Closed) => Seen::End,
        }
    }
}

/// Batches that are kept for the slowest watcher.
const BATCHES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(line: &str) -> Arc<Batch> {
        let mut batch = Batch::default();
        let pushed: Result<(), ()> = batch.push(|out| {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            Ok(())
        });
        pushed.unwrap();
        Arc::new(batch)
    }

    #[tokio::test]
    async fn what_is_written_after_the_beginning_is_seen_in_order() {
        let tap = Tap::new();
        tap.belongs_to(&"host/1".into());
        tap.show(&batch("one"));
        let mut watcher = tap.watch();
        assert_eq!((&**watcher.writer(), watcher.seq()), ("host/1", 1));
        tap.show(&batch("two"));
        tap.show(&batch("three"));
        for line in ["two", "three"] {
            let Seen::Records(batch) = watcher.next().await else {
                panic!("records");
            };
            assert!(batch.lines().eq([line.as_bytes()]));
        }
        drop(tap);
        assert!(matches!(watcher.next().await, Seen::End));
    }

    #[tokio::test]
    async fn a_slow_watcher_is_told_what_it_missed_and_holds_up_nobody() {
        let tap = Tap::new();
        let mut watcher = tap.watch();
        for _ in 0..=BATCHES {
            tap.show(&batch("line"));
        }
        assert!(matches!(watcher.next().await, Seen::Missed(1)));
        assert!(matches!(watcher.next().await, Seen::Records(_)));
    }
}
