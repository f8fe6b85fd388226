//! Feeds a sink other than the first on a thread of its own: however slow or broken it is, the first sink goes on.
//!
//! Up to 64 batches wait for it. What comes beyond is counted and never written there: its copy of the chain then
//! shows a break, which is the truth.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::outlet::Outlet;
use super::sink::Batch;

/// The writer's hold on a secondary sink.
#[derive(Debug)]
pub(super) struct Relay {
    batches: SyncSender<Arc<Batch>>,
    unwritten: Counter,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Relay {
    pub(super) fn start(outlet: Outlet) -> io::Result<Self> {
        let (batches, incoming) = sync_channel(BACKLOG);
        let closing = Arc::new(AtomicBool::new(false));
        let unwritten = outlet.unwritten();
        let thread = thread::Builder::new()
            .name("audit-relay".to_owned())
            .spawn({
                let closing = Arc::clone(&closing);
                move || feed(outlet, &incoming, &closing)
            })?;
        Ok(Self {
            batches,
            unwritten,
            closing,
            thread,
        })
    }

    /// Hands `batch` over, or counts it as lost for this sink.
    pub(super) fn offer(&self, batch: &Arc<Batch>) {
        match self.batches.try_send(Arc::clone(batch)) {
            Ok(()) => {}
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.unwritten.inc_by(batch.records());
            }
        }
    }

    /// Waits until the backlog is written; gives it up at the first failure.
    pub(super) fn close(self) {
        let Self {
            batches,
            closing,
            thread,
            ..
        } = self;
        closing.store(true, Ordering::Release);
        drop(batches);
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("audit relay panicked");
        }
    }
}

fn feed(mut outlet: Outlet, batches: &Receiver<Arc<Batch>>, closing: &AtomicBool) {
    loop {
        let next = match outlet.sync_due_in() {
            Some(left) => batches.recv_timeout(left),
            None => batches.recv().map_err(RecvTimeoutError::from),
        };
        match next {
            Ok(batch) => {
                while outlet.write(&batch).is_err() {
                    if closing.load(Ordering::Acquire) {
                        let left: u64 = batches.try_iter().map(|batch| batch.records()).sum();
                        outlet.give_up(left + batch.records());
                        return;
                    }
                    thread::park_timeout(outlet.backoff());
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // Logged and counted there; nothing else is left to do.
                drop(outlet.sync());
                return;
            }
        }
        if outlet.sync_due_in() == Some(Duration::ZERO) {
            drop(outlet.sync());
        }
    }
}

const BACKLOG: usize = 64;
