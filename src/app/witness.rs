//! The audit trail over the life of the process: proven before serving, followed while serving, drained at the stop.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::audit::{Auditor, Health, WriterHandle};
use crate::lifecycle::{Hold, Notices, Readiness, Shutdown};

use super::{RunError, StartError};

/// Waits until the first records are durable: a trail that takes none is found out before anybody relies on it.
pub(super) async fn prove(auditor: &Auditor) -> Result<(), StartError> {
    match tokio::time::timeout(PROOF, auditor.flush()).await {
        Ok(flushed) => flushed.map_err(StartError::Audit),
        Err(_elapsed) => Err(StartError::AuditTimeout(PROOF)),
    }
}

/// Takes readiness back while records can't be written, until a stop begins.
pub(super) async fn follow(
    auditor: Auditor,
    readiness: Readiness,
    notices: Notices,
    shutdown: Shutdown,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hold: Option<Hold> = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.draining() => return,
        }
        let failure = match auditor.health() {
            Health::Ok => None,
            Health::Failing { since, error } => Some(format!("failing since {since}: {error}")),
            Health::Stopped => Some("the writer has ended".to_owned()),
        };
        match (failure, &hold) {
            (None, None) => {}
            (None, Some(_)) => {
                tracing::info!("audit records are written again");
                notices.clear("audit");
                hold = None;
            }
            (Some(failure), _) => {
                notices.set("audit", &failure);
                hold.get_or_insert_with(|| {
                    // The only word of it where a sink blocks: nothing fails, and the writer itself can't tell.
                    tracing::error!(failure, "audit records are not written; not ready");
                    readiness.hold("audit")
                });
            }
        }
    }
}

/// Waits for the last record, less long once a second signal has come.
pub(super) async fn drain(witness: WriterHandle, shutdown: &Shutdown) -> Result<(), RunError> {
    let aborted = async {
        shutdown.aborting().await;
        tokio::time::sleep(PATIENCE_ABORTED).await;
    };
    tokio::select! {
        closed = witness.close() => closed.map_err(RunError::Audit),
        () = tokio::time::sleep(PATIENCE) => Err(RunError::AuditTimeout),
        () = aborted => Err(RunError::AuditTimeout),
    }
}

const PROOF: Duration = Duration::from_secs(5);
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE_ABORTED: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, mpsc};

    use prometheus_client::registry::Registry;
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::audit::{Batch, Origin, Setup, Sink, start};
    use crate::clock::SystemClock;

    /// Takes nothing until it is let go, and never fails.
    #[derive(Debug)]
    struct Blocked(mpsc::Receiver<()>);

    impl Sink for Blocked {
        fn name(&self) -> &'static str {
            "blocked"
        }

        fn write(&mut self, _batch: &Batch) -> io::Result<()> {
            self.0.recv().unwrap_or_default();
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_blocks_takes_readiness_and_is_logged_once() {
        let log = Log::default();
        let shared = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || shared.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let (let_go, go) = mpsc::channel();
        let setup = Setup {
            first: Box::new(Blocked(go)),
            others: vec![],
            capacity: 16,
            origin: Origin {
                tenant: "default".into(),
                writer: "host/1".into(),
            },
        };
        let rng = StdRng::seed_from_u64(1);
        let (auditor, _writer) =
            start(setup, Arc::new(SystemClock), rng, &mut Registry::default()).unwrap();
        let (readiness, notices) = (Readiness::new(), Notices::default());
        let following = follow(
            auditor.clone(),
            readiness.clone(),
            notices.clone(),
            Shutdown::default(),
        );
        let following = tokio::spawn(following);
        // A real write that has not begun yet would be of no age; the clock here is moved by hand.
        while readiness.is_ready() {
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(readiness.waiting_for(), ["audit"]);
        assert!(notices.all()[0].1.contains("the sink blocks"));

        drop(let_go);
        // On another thread, so that nobody looks before the last call has returned.
        let flushing = auditor.clone();
        let flushed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(flushing.flush())
        });
        flushed.join().unwrap().unwrap();
        while !readiness.is_ready() {
            tokio::time::advance(Duration::from_secs(60)).await;
        }
        assert_eq!(notices.all(), []);
        following.abort();
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("audit records are not written").count(), 1);
        assert_eq!(log.matches("audit records are written again").count(), 1);
    }
}
