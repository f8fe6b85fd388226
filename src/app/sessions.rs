//! The sessions of people over the life of the process: their memory opened before serving, swept while serving.
//!
//! A memory that can't be used takes nothing back and no readiness: requests of proxies don't need it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::StartError;
use crate::authority::Sessions;
use crate::clock::Clock;
use crate::config::Fixed;
use crate::lifecycle::{Notices, Shutdown};
use crate::state::StateStore;

/// Opens the memory, where there is one.
pub(super) fn open(
    fixed: &Fixed,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<dyn StateStore>>, StartError> {
    let state = fixed.state.clone();
    let opened = state.map(|state| state.build(&fixed.base, &fixed.tenant, clock));
    opened.transpose().map_err(StartError::State)
}

/// Ends what is past its time, and puts it on record, until a stop begins.
pub(super) async fn sweep(sessions: Arc<Sessions>, notices: Notices, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.draining() => return,
        }
        let swept = tokio::select! {
            swept = all(&sessions) => swept,
            () = shutdown.draining() => return,
        };
        match swept {
            Ok(()) if failing => {
                tracing::info!("sessions that have ended are swept again");
                notices.clear("sessions");
                failing = false;
            }
            Ok(()) => {}
            Err(error) => {
                let error = crate::text::sentence(&error);
                if !failing {
                    tracing::error!(error, "sessions that have ended can't be swept; trying on");
                }
                notices.set("sessions", &error);
                failing = true;
            }
        }
    }
}

async fn all(sessions: &Sessions) -> Result<(), crate::authority::SessionRefusal> {
    while sessions.sweep().await? {}
    Ok(())
}

/// How long after its end a session may be without the record of it. Nothing rests on the sweep: what is past its time does
/// not live.
const INTERVAL: Duration = Duration::from_secs(5);
