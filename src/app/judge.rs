//! A judge in another process, over the life of this one: asked for its health, tried out, and its files read again.
//!
//! Readiness does not depend on it, unless `policy.opa.readiness` says so: requests are denied while OPA is away, and a
//! process that is not ready could not even say so.

use std::sync::Arc;

use tokio::time::{Instant, MissedTickBehavior};

use super::reload::{INTERVAL, notice_trial};
use crate::audit::{Actor, Auditor, Details, EventType, Outcome, Record, Text};
use crate::lifecycle::{Hold, Notices, Readiness, Shutdown};
use crate::policy::{Accounting, Answer, Breaker, OpaEngine, PolicyError, Verdict};
use crate::text::sentence;

/// Says how OPA is, until a stop begins.
#[derive(Debug)]
pub(super) struct Watch {
    breaker: Arc<Breaker<OpaEngine>>,
    auditor: Auditor,
    readiness: Readiness,
    notices: Notices,
    hold: Option<Hold>,
    /// What OPA's policy was when it was last tried out.
    revision: Option<Arc<str>>,
    /// What was last said of OPA's health and of its files, so that a change alone is logged.
    unwell: String,
    unreadable: String,
}

impl Watch {
    /// Where readiness depends on OPA, the process is not ready before OPA was found well.
    pub(super) fn new(
        breaker: Arc<Breaker<OpaEngine>>,
        auditor: Auditor,
        readiness: Readiness,
        notices: Notices,
    ) -> Self {
        let settings = breaker.engine().settings();
        Self {
            hold: settings.readiness.then(|| readiness.hold(HOLD)),
            breaker,
            auditor,
            readiness,
            notices,
            revision: None,
            unwell: String::new(),
            unreadable: String::new(),
        }
    }

    /// Looks at the files once a second, and asks OPA every `policy.opa.health_interval`.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        let watching = async {
            let mut ticks = tokio::time::interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut next = Instant::now();
            loop {
                tokio::select! {
                    _ = ticks.tick() => self.refresh().await,
                    () = tokio::time::sleep_until(next) => {
                        self.look().await;
                        next = Instant::now() + self.breaker.engine().settings().health_interval;
                    }
                }
            }
        };
        tokio::select! {
            () = watching => {}
            () = shutdown.draining() => {}
        }
    }

    async fn look(&mut self) {
        let health = self.breaker.engine().health_check().await;
        self.well(&health);
        if health.is_ok() {
            let trial = self.breaker.engine().try_out().await;
            self.tried(&trial);
            if let Ok(verdict) = trial {
                self.revised(&verdict.revision);
            }
        }
    }

    /// Puts on record that OPA decides by another policy than before.
    fn revised(&mut self, revision: &Arc<str>) {
        let before = self.revision.replace(Arc::clone(revision));
        if before.is_none_or(|before| before == *revision) {
            return;
        }
        tracing::info!(%revision, "OPA has another policy");
        self.auditor.record(Record {
            details: Details::default().with("revision", Text::from(&**revision)),
            ..Record::new(EventType::PolicyLoaded, Outcome::Success, Actor::System)
        });
    }

    fn well(&mut self, health: &Result<(), PolicyError>) {
        let readiness = self.breaker.engine().settings().readiness;
        match health {
            Ok(()) => {
                self.hold = None;
                self.notices.clear("opa");
                if !std::mem::take(&mut self.unwell).is_empty() {
                    tracing::info!("OPA is well again");
                }
            }
            Err(error) => {
                if readiness {
                    self.hold.get_or_insert_with(|| self.readiness.hold(HOLD));
                } else {
                    self.hold = None;
                }
                let error = sentence(error);
                if self.unwell != error {
                    tracing::error!(error, "OPA is not well; requests that need it are denied");
                    self.notices
                        .set("opa", &format!("OPA is not well: {error}"));
                    self.unwell = error;
                }
            }
        }
    }

    /// O21: a path that leads to no decision would deny everything, one that leads elsewhere might not.
    fn tried(&self, trial: &Result<Verdict, PolicyError>) {
        match trial {
            Ok(verdict) if verdict.answer == Answer::Undefined => {
                let fault = "it is undefined for a made-up request; look at policy.path, and at what OPA has loaded";
                notice_trial(Some(fault), &self.notices);
            }
            Ok(_) => notice_trial(None, &self.notices),
            // Not a word about the policy.
            Err(error) if error.counts() == Accounting::Failure => {}
            Err(error) => notice_trial(Some(&sentence(error)), &self.notices),
        }
    }

    async fn refresh(&mut self) {
        let breaker = Arc::clone(&self.breaker);
        let refreshed = tokio::task::spawn_blocking(move || breaker.engine().refresh()).await;
        match refreshed {
            Ok(Ok(changed)) => {
                self.unreadable.clear();
                self.notices.clear("opa files");
                if changed {
                    tracing::info!("read the files of policy.opa again");
                }
            }
            Ok(Err(error)) => {
                let error = sentence(&error);
                if self.unreadable != error {
                    tracing::error!(error, "the files of policy.opa can't be read again");
                    let text = format!("what was read before is in force: {error}");
                    self.notices.set("opa files", &text);
                    self.unreadable = error;
                }
            }
            Err(lost) => tracing::error!(%lost, "the files of policy.opa were not looked at"),
        }
    }
}

const HOLD: &str = "opa";
