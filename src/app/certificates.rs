//! Our certificates over the life of the process: kept current, not ready without them, said when they are late.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::lifecycle::{Hold, Notices, Readiness, Shutdown};
use crate::tls::{Credentials, State};

/// Withholds readiness while a certificate is missing or has expired, until a stop begins.
#[derive(Debug)]
pub(super) struct Watch {
    credentials: Arc<Credentials>,
    readiness: Readiness,
    notices: Notices,
    hold: Option<Hold>,
}

impl Watch {
    /// Looks at once: what is missing at the start is never reported ready.
    pub(super) fn new(
        credentials: Arc<Credentials>,
        readiness: Readiness,
        notices: Notices,
    ) -> Self {
        let mut watch = Self {
            credentials,
            readiness,
            notices,
            hold: None,
        };
        watch.look();
        watch
    }

    /// Looks again and again until a stop begins.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        if self.credentials.iter().next().is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.draining() => return,
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let mut unusable = false;
        let mut words = Vec::new();
        for credential in self.credentials.iter() {
            let name = credential.name();
            match credential.state() {
                State::Missing => {
                    unusable = true;
                    words.push(format!("{name} has no certificate"));
                }
                State::Expired(at) => {
                    unusable = true;
                    words.push(format!("{name} expired at {at}"));
                }
                State::Valid { until, overdue } => {
                    if overdue {
                        words.push(format!("{name} expires at {until} and was not renewed"));
                    }
                }
            }
            if let Some(trouble) = credential.trouble() {
                words.push(format!("{name}: {trouble}"));
            }
        }
        if unusable {
            self.hold
                .get_or_insert_with(|| self.readiness.hold("certificate"));
        } else {
            self.hold = None;
        }
        if words.is_empty() {
            self.notices.clear("tls");
        } else {
            self.notices.set("tls", &words.join("; "));
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(250);
