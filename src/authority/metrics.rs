//! What the decisions look like in numbers. Labels are fixed words only: callers and resources belong in audit.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::decision::{Decision, Outcome};
use crate::operation::Mode;

/// Counts and timings of the decisions of one process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    checks: Family<CheckLabels, Counter>,
    duration: Histogram,
    shadowed_routes: Gauge,
    accept_errors: Counter,
    logins: Family<LoginLabels, Counter>,
    delegations: Family<DelegationLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    revocations: Family<RevocationLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DelegationLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RevocationLabels {
    what: &'static str,
}

/// How a login ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    Success,
    Wrong,
    TooOften,
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    outcome: &'static str,
    reason: &'static str,
    mode: &'static str,
}

impl From<Login> for LoginLabels {
    fn from(login: Login) -> Self {
        let result = match login {
            Login::Success => "success",
            Login::Wrong => "wrong",
            Login::TooOften => "too_often",
            Login::Refused => "refused",
        };
        Self { result }
    }
}

impl Metrics {
    /// Creates the metrics and makes them visible in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            checks: Family::default(),
            duration: Histogram::new(BUCKETS),
            shadowed_routes: Gauge::default(),
            accept_errors: Counter::default(),
            logins: Family::default(),
            delegations: Family::default(),
            tokens: Family::default(),
            revocations: Family::default(),
        };
        metrics.register_mandates(registry);
        for result in [
            Login::Success,
            Login::Wrong,
            Login::TooOften,
            Login::Refused,
        ] {
            // There from the start, so that the first failure is seen as a change.
            drop(metrics.logins.get_or_create(&LoginLabels::from(result)));
        }
        registry.register(
            "attache_logins",
            "Logins of people, by result (success, wrong, too_often, refused)",
            metrics.logins.clone(),
        );
        registry.register(
            "attache_checks",
            "Requests decided, by outcome (allow, deny, abandoned), reason code and mode",
            metrics.checks.clone(),
        );
        registry.register(
            "attache_check_duration_seconds",
            "Time from reading a question to its decision",
            metrics.duration.clone(),
        );
        registry.register(
            "attache_shadowed_routes",
            "Routes in shadow mode, whose denials do not bind",
            metrics.shadowed_routes.clone(),
        );
        registry.register(
            "attache_accept_errors",
            "Failures to accept a connection",
            metrics.accept_errors.clone(),
        );
        metrics
    }

    /// All there from the start, so that the first of a kind is seen as a change.
    fn register_mandates(&self, registry: &mut Registry) {
        for result in ["success", "refused", "failed"] {
            drop(self.delegations.get_or_create(&DelegationLabels { result }));
        }
        for kind in ["issued", "renewed"] {
            drop(self.tokens.get_or_create(&TokenLabels { kind }));
        }
        for what in ["grant", "task"] {
            drop(self.revocations.get_or_create(&RevocationLabels { what }));
        }
        registry.register(
            "attache_delegations",
            "Requests to hand authority on, by result (success, refused, failed)",
            self.delegations.clone(),
        );
        registry.register(
            "attache_tokens",
            "Tokens given out, by kind (issued, renewed)",
            self.tokens.clone(),
        );
        registry.register(
            "attache_revocations",
            "Revocations on somebody's word, by what was revoked (grant, task)",
            self.revocations.clone(),
        );
    }

    /// Counts a request to hand authority on.
    pub(super) fn delegation(&self, result: &'static str) {
        self.delegations
            .get_or_create(&DelegationLabels { result })
            .inc();
    }

    /// Counts a token that was given out.
    pub(super) fn token(&self, kind: &'static str) {
        self.tokens.get_or_create(&TokenLabels { kind }).inc();
    }

    /// Counts a revocation.
    pub(super) fn revocation(&self, what: &'static str) {
        self.revocations
            .get_or_create(&RevocationLabels { what })
            .inc();
    }

    /// Counts a login.
    pub(super) fn login(&self, result: Login) {
        self.logins.get_or_create(&result.into()).inc();
    }

    /// Counts a decision.
    pub(super) fn decided(&self, decision: &Decision, took: Duration) {
        let (outcome, reason) = match &decision.outcome {
            Outcome::Allow(_) => ("allow", "none"),
            Outcome::Deny(denial) => ("deny", denial.reason.as_str()),
        };
        self.count(outcome, reason, decision.mode);
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a request whose asker went away before the decision.
    pub(super) fn abandoned(&self) {
        self.count("abandoned", "none", Mode::Enforce);
    }

    /// Shows how many routes do not bind.
    pub(super) fn shadowed_routes(&self, count: usize) {
        self.shadowed_routes
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Counts a failure to accept a connection.
    pub fn accept_error(&self) {
        self.accept_errors.inc();
    }

    fn count(&self, outcome: &'static str, reason: &'static str, mode: Mode) {
        let labels = CheckLabels {
            outcome,
            reason,
            mode: mode.as_str(),
        };
        self.checks.get_or_create(&labels).inc();
    }
}

/// Seconds; from a cached decision to the longest that proxies wait.
const BUCKETS: [f64; 12] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.15, 0.5,
];
