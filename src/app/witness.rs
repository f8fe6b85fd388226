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
                hold.get_or_insert_with(|| readiness.hold("audit"));
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
