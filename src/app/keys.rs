//! The keys of tokens over the life of the process: opened before serving, looked at once a second, every change on record.
//!
//! Keys that can't be read again take nothing back: those in force go on by their schedule, and the trouble is told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::StartError;
use crate::audit::{Actor, Auditor, Details, EventType, Outcome, Record};
use crate::clock::Clock;
use crate::config::Fixed;
use crate::keys::{Change, KeyEvent, Keyring};
use crate::lifecycle::Notices;
use crate::text::sentence;

/// Opens them, and puts on record what each of them is, before anything is signed.
pub(super) async fn open(
    fixed: &Fixed,
    clock: &dyn Clock,
    auditor: &Auditor,
) -> Result<Arc<Keyring>, StartError> {
    let opened = Keyring::open(&fixed.keys, &fixed.base, clock.now());
    let (keyring, events) = opened.map_err(StartError::Keys)?;
    for event in events {
        auditor.record(record(&event));
    }
    super::witness::prove(auditor).await?;
    Ok(Arc::new(keyring))
}

/// Brings them up to the time once a second.
pub(super) async fn rotate(
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    auditor: Auditor,
    notices: Notices,
) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut said = String::new();
    loop {
        ticks.tick().await;
        let (ring, now) = (Arc::clone(&keyring), clock.now());
        // It reads files.
        let refreshed = tokio::task::spawn_blocking(move || ring.refresh(now)).await;
        let trouble = match refreshed {
            Ok(refreshed) => {
                for event in &refreshed.events {
                    tracing::info!(key = %event.key, role = role(event.change), "a key of tokens changed");
                    auditor.record(record(event));
                }
                refreshed.trouble.map(|trouble| sentence(&trouble))
            }
            Err(lost) => Some(lost.to_string()),
        };
        match trouble {
            None if said.is_empty() => {}
            None => {
                tracing::info!("the keys of tokens are read again");
                notices.clear(NOTICE);
                said.clear();
            }
            Some(trouble) if trouble == said => {}
            Some(trouble) => {
                tracing::error!(
                    trouble,
                    "the keys of tokens can't be read; those in force go on"
                );
                notices.set(NOTICE, &trouble);
                said = trouble;
            }
        }
    }
}

fn record(event: &KeyEvent) -> Record {
    let KeyEvent {
        change,
        key,
        algorithm,
        begins,
    } = event;
    let details = Details::default()
        .with("kid", key.to_string())
        .with("role", role(*change))
        .with("algorithm", algorithm.as_str())
        .with("begins", begins.to_string());
    Record {
        details,
        ..Record::new(EventType::KeyRotated, Outcome::Success, Actor::System)
    }
}

const fn role(change: Change) -> &'static str {
    match change {
        Change::Is(role) => role.as_str(),
        Change::Gone => "gone",
    }
}

const NOTICE: &str = "keys";
const INTERVAL: Duration = Duration::from_secs(1);
