//! Live reload of tables and policy: read, prove, swap whole. What is bad leaves the old in force and says so.
//!
//! Files are compared by content once a second: that sees a swapped ConfigMap link, an editor's rename and a copy alike,
//! and misses nothing when events are lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::MissedTickBehavior;

use super::certificates::secured;
use crate::audit::{Actor, Auditor, Details, EventType, Outcome, Record, Text};
use crate::authority::{Authority, Rules};
use crate::config::{Config, Fixed};
use crate::identity::TrustLocal;
use crate::lifecycle::{Notices, Shutdown};
use crate::policy::{EmbeddedEngine, Judge, Program, Reload, Source};
use crate::tls::Credentials;

/// Keeps the tables and the policy of a running process current.
#[derive(Debug)]
pub(super) struct Reloader {
    file: Option<PathBuf>,
    fixed: Fixed,
    rooms: Rooms,
    auditor: Auditor,
    notices: Notices,
    reloads: Family<ReloadLabels, Counter>,
    /// The last content of the file that was looked at, good or bad; nothing before the first look.
    seen: Option<String>,
    /// What was last said of a policy that can't be used; empty while the files are sound.
    policy_errors: String,
    /// Looks in a row at which the file could not be read.
    unreadable: u32,
}

/// What a reload changes.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) authority: Arc<Authority>,
    pub(super) judge: Judge,
    pub(super) credentials: Arc<Credentials>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    what: &'static str,
    result: &'static str,
}

impl Reloader {
    pub(super) fn new(
        file: Option<PathBuf>,
        fixed: Fixed,
        rooms: Rooms,
        auditor: Auditor,
        notices: Notices,
        registry: &mut Registry,
    ) -> Self {
        let reloads = Family::<ReloadLabels, Counter>::default();
        for what in ["config", "policy"] {
            for result in ["changed", "rejected"] {
                // There from the start, so that the first rejection is seen as a change.
                drop(reloads.get_or_create(&ReloadLabels { what, result }));
            }
        }
        registry.register(
            "attache_reloads",
            "Live reloads, by what was reloaded (config, policy) and result (changed, rejected)",
            reloads.clone(),
        );
        Self {
            file,
            fixed,
            rooms,
            auditor,
            notices,
            reloads,
            seen: None,
            policy_errors: String::new(),
            unreadable: 0,
        }
    }

    /// Looks for changes until a stop begins.
    pub(super) async fn run(self, shutdown: Shutdown) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloader = self;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.draining() => return,
            }
            // Compiling a policy is no work for the thread that answers probes.
            let looked = tokio::task::spawn_blocking(move || {
                reloader.look();
                reloader
            });
            match looked.await {
                Ok(back) => reloader = back,
                Err(error) => {
                    tracing::error!(%error, "live reload ended; restart to apply changes");
                    return;
                }
            }
        }
    }

    /// Applies what has changed since the last look.
    ///
    /// Tables and policy are often changed together. Policy goes first, and while it can't be used the tables wait: wider
    /// permissions never meet the older, perhaps laxer policy.
    pub(super) fn look(&mut self) {
        if let Source::Embedded(engine) = self.rooms.judge.source()
            && self.fixed.policy.embedded.reload
        {
            let engine = Arc::clone(engine);
            self.look_at_policy(&engine);
        }
        self.look_at_file();
    }

    fn look_at_file(&mut self) {
        let Some(path) = self.file.clone() else {
            return;
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return self.unreadable(&path, &error),
        };
        self.unreadable = 0;
        if self.seen.as_ref() == Some(&text) {
            return;
        }
        if !self.policy_errors.is_empty() {
            let text = "changes of the configuration wait until the policy can be used";
            self.notices.set("config", text);
            return;
        }
        let parsed = Config::parse(&text, &path);
        self.seen = Some(text);
        match parsed {
            Ok(config) => self.apply(config),
            Err(error) => self.reject("config", EventType::ConfigRejected, &error.to_string()),
        }
    }

    /// Between two versions a file may be missing for a moment; said once it stays away.
    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.unreadable = self.unreadable.saturating_add(1);
        if self.unreadable != PATIENT_LOOKS {
            return;
        }
        // Whatever comes back is looked at anew, and takes the notice away.
        self.seen = None;
        let text = format!("cannot read {}: {error}", path.display());
        self.reject("config", EventType::ConfigRejected, &text);
    }

    fn apply(&mut self, config: Config) {
        let opa = config.fixed.policy.opa.clone();
        let mut others = config.fixed;
        others.policy.opa = self.fixed.policy.opa.clone();
        let changed = self.fixed.differences(&others);
        if !changed.is_empty() {
            // Half of a file would be neither the old configuration nor the new one.
            let text = format!(
                "{} changed, which needs a restart; nothing of the file was applied",
                changed.join(", ")
            );
            return self.reject("config", EventType::ConfigRejected, &text);
        }
        if opa != self.fixed.policy.opa {
            if let Source::Opa(breaker) = self.rooms.judge.source() {
                let taken = secured(&opa, &self.rooms.credentials)
                    .and_then(|tls| breaker.engine().reconfigure(opa.clone(), tls));
                if let Err(error) = taken {
                    let error = crate::text::sentence(&error);
                    return self.reject("config", EventType::ConfigRejected, &error);
                }
                breaker.redirect(opa.endpoint.to_string());
            }
            self.fixed.policy.opa = opa;
        }
        if config.rules.revision == self.rooms.authority.rules().revision {
            // At the first look, and where a bad version was taken back.
            self.notices.clear("config");
            return;
        }
        let revision = Arc::clone(&config.rules.revision);
        notice_rules(&config.rules, &self.notices);
        self.rooms
            .credentials
            .accept(config.rules.peps.trust_domains.clone());
        self.rooms.authority.replace_rules(Arc::new(config.rules));
        for warning in config.warnings {
            tracing::warn!(%warning, "questionable configuration");
        }
        self.changed("config", EventType::ConfigChanged, &revision);
    }

    fn look_at_policy(&mut self, engine: &EmbeddedEngine) {
        match engine.reload() {
            Reload::Unchanged if self.policy_errors.is_empty() => {}
            // A bad version was taken back: the one in force is the one on disk again.
            Reload::Unchanged => {
                self.policy_errors.clear();
                self.notices.clear("policy");
            }
            Reload::Swapped { to, .. } => {
                self.policy_errors.clear();
                self.changed("policy", EventType::PolicyLoaded, &to);
                notice_program(&engine.program(), &self.notices);
            }
            Reload::Rejected(errors) => {
                let errors = super::lines(&errors);
                // The same files are refused at every look: said once.
                if self.policy_errors != errors {
                    self.reject("policy", EventType::PolicyFailed, &errors);
                    self.policy_errors = errors;
                }
            }
        }
    }

    fn changed(&self, what: &'static str, event: EventType, revision: &Arc<str>) {
        tracing::info!(what, %revision, "reloaded");
        self.notices.clear(what);
        self.count(what, "changed");
        self.auditor.record(Record {
            details: Details::default().with("revision", Text::from(&**revision)),
            ..Record::new(event, Outcome::Success, Actor::System)
        });
    }

    fn reject(&self, what: &'static str, event: EventType, error: &str) {
        tracing::error!(
            what,
            error,
            "reload rejected; the previous version stays in force"
        );
        self.notices.set(
            what,
            &format!("reload rejected, the previous version is in force: {error}"),
        );
        self.count(what, "rejected");
        self.auditor.record(Record {
            message: Some(Text::from(error)),
            ..Record::new(event, Outcome::Failure, Actor::System)
        });
    }

    fn count(&self, what: &'static str, result: &'static str) {
        self.reloads
            .get_or_create(&ReloadLabels { what, result })
            .inc();
    }
}

/// Says of the tables in force what an operator must not overlook.
pub(super) fn notice_rules(rules: &Rules, notices: &Notices) {
    if rules.peps.trust_local == TrustLocal::Loopback {
        let text =
            "identity.trust_local is loopback: any process of this host may speak for callers";
        tracing::warn!("{text}");
        notices.set("identity", text);
    } else {
        notices.clear("identity");
    }
    notice_shadowed_routes(rules, notices);
}

/// Says which routes do not bind.
fn notice_shadowed_routes(rules: &Rules, notices: &Notices) {
    let routes: Vec<_> = rules.routes.in_shadow_mode().collect();
    if routes.is_empty() {
        notices.clear("shadow");
        return;
    }
    let text = format!("decisions do not bind on: {}", routes.join(", "));
    tracing::warn!("{text}");
    notices.set("shadow", &text);
}

/// Says of an embedded policy in force what an operator may not expect: that its verdicts are not cached, and that it could
/// not answer the made-up request it was tried with.
pub(super) fn notice_program(program: &Program, notices: &Notices) {
    match program.volatile() {
        None => notices.clear("policy cache"),
        Some(call) => {
            let text = format!("verdicts are not cached, since the policy calls {call}");
            tracing::info!("{text}");
            notices.set("policy cache", &text);
        }
    }
    let fault = program.trial().as_ref().err();
    notice_trial(
        fault.map(|it| crate::text::sentence(it)).as_deref(),
        notices,
    );
}

/// Says what is wrong with a policy's answer to a made-up request; `None` is nothing. A word that was said before is not
/// logged again.
pub(super) fn notice_trial(fault: Option<&str>, notices: &Notices) {
    let Some(fault) = fault else {
        notices.clear(TRIAL);
        return;
    };
    let text = format!("the policy failed on a made-up request: {fault}");
    if notices.get(TRIAL).as_ref() != Some(&text) {
        tracing::warn!(error = fault, "the policy failed on a made-up request");
        notices.set(TRIAL, &text);
    }
}

/// Looks without a file before that is worth a word.
const PATIENT_LOOKS: u32 = 3;
const TRIAL: &str = "policy trial";
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
