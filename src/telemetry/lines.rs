//! The lines of the log on their way to standard error.
//!
//! They wait in a bounded queue that one thread writes out. Where nobody reads standard error, the thread stands still, the
//! queue fills, and further lines are dropped and counted: decisions, the audit trail and the stop go on as if they had been
//! written. At the end the queue is given a moment to empty.

use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The log of this process.
#[derive(Debug)]
struct Log {
    lines: NonBlocking,
    /// A word for each mark that has come out of the queue.
    marks: Mutex<Receiver<()>>,
    /// Never dropped: it would write to standard output, where audit may be, if the queue is full.
    _thread: WorkerGuard,
}

/// Where lines go. An empty one is a mark: all that was queued before it is out.
#[derive(Debug)]
struct Outlet<W> {
    to: W,
    marks: SyncSender<()>,
}

/// How many lines were dropped, for scrapers.
#[derive(Debug)]
struct Dropped;

/// The queue for the log, the first time; `None` afterwards.
pub(super) fn start() -> Option<NonBlocking> {
    let mut new = None;
    LOG.get_or_init(|| {
        let log = Log::new(io::stderr(), QUEUED_LINES);
        new = Some(log.lines.clone());
        log
    });
    new
}

/// Says `text` to the operator: through the log's queue where there is one, else at once. Never fails.
pub fn say(text: &str) {
    let line = format!("{text}\n");
    // Nobody is there to be told that nobody is there.
    drop(match LOG.get() {
        Some(log) => log.lines.clone().write_all(line.as_bytes()),
        None => io::stderr().write_all(line.as_bytes()),
    });
}

/// Gives the lines that wait a moment to be written. To be called last.
pub fn finish() {
    let Some(log) = LOG.get() else {
        return;
    };
    match log.dropped() {
        0 => {}
        dropped => tracing::warn!(dropped, "lines of the log were dropped"),
    }
    log.flush(LAST_PAUSES);
}

/// Makes visible in `registry` how many lines were dropped.
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(Dropped));
}

impl Log {
    fn new(to: impl Write + Send + 'static, room: usize) -> Self {
        let (marks, marked) = mpsc::sync_channel(1);
        let (lines, thread) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(room)
            .thread_name("log")
            .finish(Outlet { to, marks });
        Self {
            lines,
            marks: Mutex::new(marked),
            _thread: thread,
        }
    }

    fn dropped(&self) -> usize {
        self.lines.error_counter().dropped_lines()
    }

    /// Waits until what is queued now is written, for so many [`PAUSE`]s; whether it is written.
    fn flush(&self, pauses: u32) -> bool {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = self.dropped();
        let mut queued = false;
        for _ in 0..pauses {
            if !queued {
                // A mark that finds no room is dropped as any line is.
                drop(self.lines.clone().write(&[]));
                queued = self.dropped() == dropped;
                dropped = self.dropped();
            }
            if marks.recv_timeout(PAUSE).is_ok() {
                return true;
            }
        }
        false
    }
}

impl<W: Write> Write for Outlet<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.to.write(line)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        if line.is_empty() {
            // An earlier word that nobody took says the same.
            let _full = self.marks.try_send(());
            return Ok(());
        }
        self.to.write_all(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

impl Collector for Dropped {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let dropped = LOG.get().map_or(0, Log::dropped);
        let counter = ConstCounter::new(u64::try_from(dropped).unwrap_or(u64::MAX));
        let metric = encoder.encode_descriptor(
            "attache_log_lines_dropped",
            "Lines of the log that found no room, since nobody read standard error.",
            None,
            counter.metric_type(),
        )?;
        counter.encode(metric)
    }
}

static LOG: OnceLock<Log> = OnceLock::new();
/// Lines that wait at most: a few hundred bytes each.
const QUEUED_LINES: usize = 4096;
/// Between two attempts to find room in a full queue.
const PAUSE: Duration = Duration::from_millis(20);
/// For how long the last lines are waited for: a second.
const LAST_PAUSES: u32 = 50;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Takes a line for every leave it is given.
    #[derive(Debug)]
    struct Reader {
        leave: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.leave.recv().map_err(io::Error::other)?;
            self.read.lock().unwrap().write(line)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (leave, taken) = mpsc::channel();
        let read = Arc::default();
        let reader = Reader {
            leave: taken,
            read: Arc::clone(&read),
        };
        let log = Log::new(reader, 4);
        let mut lines = log.lines.clone();
        for number in 0..1000 {
            lines.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        // Four wait, and the thread may hold one more.
        assert!((995..=996).contains(&log.dropped()), "{}", log.dropped());
        assert!(!log.flush(2));
        for _ in 0..10 {
            leave.send(()).unwrap();
        }
        assert!(log.flush(3000));
        assert!(read.lock().unwrap().starts_with(b"0\n1\n2\n3\n"));
    }

    #[test]
    fn a_reader_that_is_gone_costs_lines_and_nothing_else() {
        let (leave, taken) = mpsc::channel();
        drop(leave);
        let reader = Reader {
            leave: taken,
            read: Arc::default(),
        };
        let log = Log::new(reader, 4);
        log.lines.clone().write_all(b"lost\n").unwrap();
        assert!(log.flush(3000));
    }
}
