//! The circuit breaker in the house: what an engine that fails does to decisions, audit, health and numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use attache::app::circuit_witness;
use attache::audit::{Auditor, EventType, Memory};
use attache::authority::{Authority, Metrics, Outcome};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use attache::grpc::{Rehearsal, RequestFlags};
use attache::identity::Peer;
use attache::lifecycle::Notices;
use attache::policy::{
    Answer, Breaker, BreakerMetrics, BreakerSettings, PolicyEngine, PolicyError, Query, Verdict,
};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::harness::RULES;

/// An engine outside this process, as far as a breaker can tell.
#[derive(Debug, Default)]
struct Far {
    is_up: AtomicBool,
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl PolicyEngine for Far {
    async fn evaluate(&self, _query: Query) -> Result<Verdict, PolicyError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if !self.is_up.load(Ordering::SeqCst) {
            let refused = "connection refused".to_owned();
            return Err(PolicyError::Unavailable(refused));
        }
        Ok(Verdict {
            answer: Answer::Allow,
            reason: None,
            policy_id: None,
            tier: None,
            shaping: None,
            revision: self.revision(),
            cacheable: true,
            cached: false,
        })
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "far".into()
    }
}

struct Setting {
    far: Arc<Far>,
    authority: Authority,
    auditor: Auditor,
    memory: Memory,
    notices: Notices,
}

impl Setting {
    fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
        let (memory, auditor, writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
        // It ends with the last auditor.
        drop(writer);
        let config = format!("trust_domain: example.org\n{RULES}");
        let config = Config::parse(&config, "attache.yaml".as_ref()).unwrap();
        let mut registry = Registry::default();
        let far = Arc::new(Far::default());
        let notices = Notices::default();
        let breaker = Breaker::new(
            Arc::clone(&far),
            "http://opa:8181",
            BreakerSettings::default(),
            BreakerMetrics::new(&mut registry),
        );
        breaker.report_to(circuit_witness(auditor.clone(), notices.clone()));
        Self {
            far,
            authority: Authority::new(
                Arc::new(config.rules),
                Arc::new(breaker),
                auditor.clone(),
                clock,
                Metrics::new(&mut registry),
            ),
            auditor,
            memory,
            notices,
        }
    }

    /// `allow`, or the reason of the denial.
    async fn ask(&self) -> &'static str {
        let request = RequestFlags {
            caller: Some("spiffe://example.org/svc/reporting".to_owned()),
            method: "GET".to_owned(),
            host: "api.example.org".to_owned(),
            path: "/documents/42".to_owned(),
            ..RequestFlags::default()
        };
        let peer = Peer::Unix { uid: None };
        let (decision, _) = Rehearsal::from(request)
            .decide(&self.authority, peer, Duration::from_millis(150))
            .await;
        match decision.outcome {
            Outcome::Allow(_) => "allow",
            Outcome::Deny(denial) => denial.reason.as_str(),
        }
    }

    async fn records(&self, event: EventType) -> Vec<Value> {
        self.auditor.flush().await.unwrap();
        self.memory.records(event)
    }
}

/// C21, C22, C23, B14.
#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_away_and_comes_back_leaves_a_trail() {
    let setting = Setting::new();
    for _ in 0..5 {
        assert_eq!(setting.ask().await, "policy_unavailable");
    }
    assert_eq!(setting.ask().await, "circuit_open");
    assert_eq!(setting.far.asked.load(Ordering::SeqCst), 5);
    let told = "http://opa:8181 is not asked after 5 failures: \
                policy engine unavailable: connection refused";
    assert_eq!(setting.notices.all(), [("circuit", told.to_owned())]);

    setting.far.is_up.store(true, Ordering::SeqCst);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(setting.ask().await, "allow");
    let told = "http://opa:8181 is tried after 5 failures";
    assert_eq!(setting.notices.all(), [("circuit", told.to_owned())]);
    assert_eq!(setting.ask().await, "allow");
    assert_eq!(setting.notices.all(), []);

    for (event, result, cause) in [
        (
            EventType::CircuitOpened,
            "failure",
            "policy engine unavailable: connection refused",
        ),
        (
            EventType::CircuitHalfOpened,
            "success",
            "the recovery timeout is over",
        ),
        (EventType::CircuitClosed, "success", "the probes succeeded"),
    ] {
        let records = setting.records(event).await;
        assert_eq!(records.len(), 1, "{event:?}");
        assert_eq!(records[0]["result"], result);
        let details = json!({"endpoint": "http://opa:8181", "failures": 5, "cause": cause});
        assert_eq!(records[0]["details"], details);
    }
}

/// C21, B9.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_denies_with_a_reason_and_a_record_of_its_own() {
    let setting = Setting::new();
    for _ in 0..5 {
        setting.ask().await;
    }
    assert_eq!(setting.ask().await, "circuit_open");
    let denials = setting.records(EventType::PermissionDenied).await;
    let denial = denials.last().unwrap();
    assert_eq!(denial["reason_code"], "circuit_open");
    assert_eq!(denial["policy"]["policy_id"], "circuit-breaker");
    assert_eq!(
        denial["message"],
        "the circuit to the policy engine is open"
    );
}

/// C28: none is lost when they come quickly.
#[tokio::test(start_paused = true)]
async fn every_transition_is_one_record() {
    let setting = Setting::new();
    for _ in 0..5 {
        setting.ask().await;
    }
    for _ in 0..50 {
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(setting.ask().await, "policy_unavailable");
        assert_eq!(setting.ask().await, "circuit_open");
    }
    let opened = setting.records(EventType::CircuitOpened).await;
    let half_opened = setting.records(EventType::CircuitHalfOpened).await;
    assert_eq!((opened.len(), half_opened.len()), (51, 50));
    assert_eq!(opened[50]["details"]["failures"], 55);
}
