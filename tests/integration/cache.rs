//! What policy said once answers again: whom it serves, what it rests on, and what is on record.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::audit::Memory;
use attache::authority::{Authority, Metrics};
use attache::clock::MockClock;
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::policy::{PolicyEngine, PolicyError, Query, Terms, Verdict};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::time::Instant;

use crate::certificates::{NOW, certificate};
use crate::harness::house::RULES;
use crate::harness::message::{header, source};
use crate::harness::{House, Plan, REPORTING, ask};

const HITS: &str = "attache_policy_cache_lookups_total{result=\"hit\"}";

#[tokio::test]
async fn a_remembered_verdict_has_a_decision_and_a_record_of_its_own() {
    // C11. Headers that configuration does not declare, and the time, are no part of the question (C08).
    let house = House::open().await;
    let asked = |id| header(ask("GET", "/documents/1"), "traceparent", id);
    let first = house.check(asked("one")).await;
    let second = house.check(asked("two")).await;
    assert!(first.is_allowed() && second.is_allowed());
    assert_ne!(first.decision_id(), second.decision_id());
    let (first, second) = (
        house.record_of(&first).await,
        house.record_of(&second).await,
    );
    assert_eq!(first["cached"], false);
    assert_eq!(second["cached"], true);
    assert_eq!(first["policy"], second["policy"]);
    assert_eq!(house.metric(HITS).await, 1);
    assert_eq!(house.metric("attache_policy_cache_entries").await, 1);

    // Where policy is not asked there is nothing to say of it.
    let refused = house.check(ask("POST", "/documents/1/purge")).await;
    assert_eq!(refused.word(), "tier_forbidden");
    assert!(house.record_of(&refused).await.get("cached").is_none());
}

#[tokio::test]
async fn a_route_may_have_policy_asked_every_time() {
    let rules = RULES.replace(
        "action: update}\n  - {method: DELETE",
        "action: update, cache_ttl: 0s}\n  - {method: DELETE",
    );
    assert_ne!(rules, RULES);
    let house = Plan {
        rules,
        ..Plan::default()
    }
    .open()
    .await;
    for _ in 0..2 {
        let answer = house.check(ask("PUT", "/documents/1")).await;
        assert_eq!(house.record_of(&answer).await["cached"], false);
    }
    let bypasses = "attache_policy_cache_bypasses_total{cause=\"route\"}";
    assert_eq!(house.metric(bypasses).await, 2);
}

#[tokio::test]
async fn a_changed_policy_ends_what_was_remembered() {
    // C13
    let house = Plan::with_policy("package agentweave.authz\nallow := true")
        .open()
        .await;
    for _ in 0..2 {
        assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    }
    assert_eq!(house.metric(HITS).await, 1);
    let file = house.dir.path().join("policy/policy.rego");
    fs::write(file, "package agentweave.authz\nallow := false").unwrap();
    house
        .record(|record| record["event_type"] == "policy.loaded")
        .await;
    assert_eq!(
        house.word(ask("GET", "/documents/1")).await,
        "policy_denied"
    );
    assert_eq!(house.metric(HITS).await, 1);
}

#[tokio::test]
async fn a_policy_that_reads_the_clock_is_asked_every_time_and_readiness_says_so() {
    let rego = "package agentweave.authz\nallow if time.now_ns() > 0";
    let house = Plan::with_policy(rego).open().await;
    for _ in 0..2 {
        let answer = house.check(ask("GET", "/documents/1")).await;
        assert!(answer.is_allowed());
        assert_eq!(house.record_of(&answer).await["cached"], false);
    }
    let (_, text) = house.probe("/readyz").await;
    let expected = "verdicts are not cached, since the policy calls `time.now_ns`";
    assert!(text.contains(expected), "{text}");
}

/// Keeps the terms it is asked on.
#[derive(Debug, Default)]
struct Ear(Mutex<Option<Terms>>);

#[async_trait::async_trait]
impl PolicyEngine for Ear {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        *self.0.lock().unwrap() = Some(query.terms);
        Err(PolicyError::Interrupted)
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "ear".into()
    }
}

#[tokio::test]
async fn a_question_says_when_the_callers_certificate_ends() {
    // C15
    let config = format!("trust_domain: example.org\n{RULES}");
    let config = Config::parse(&config, "attache.yaml".as_ref()).unwrap();
    let clock = Arc::new(MockClock::new(NOW));
    let (_memory, auditor, _writer) = Memory::auditor(Arc::clone(&clock) as _).unwrap();
    let ear = Arc::new(Ear::default());
    let authority = Authority::new(
        Arc::new(config.rules),
        Arc::clone(&ear) as _,
        auditor,
        clock,
        Metrics::new(&mut Registry::default()),
    );
    let terms = async |request: &CheckRequest| {
        Rehearsal::from_wire(&request.encode_to_vec())
            .unwrap()
            .decide(
                &authority,
                Peer::Unix { uid: None },
                Duration::from_secs(10),
            )
            .await;
        ear.0.lock().unwrap().take().unwrap()
    };

    let mut request = ask("GET", "/documents/1");
    assert_eq!(terms(&request).await, Terms::default());

    source(&mut request).certificate = certificate(REPORTING);
    let before = Instant::now();
    let not_after = terms(&request).await.not_after.unwrap();
    // The clock shows half an hour before the end; what the test took itself is in between.
    let half_an_hour = Duration::from_secs(1800);
    assert!(not_after >= before + half_an_hour);
    assert!(not_after <= Instant::now() + half_an_hour);
}
