//! The cache before an OPA: what it saves, and what it still says when OPA is away.

use std::sync::Arc;
use std::time::Duration;

use attache::policy::{Answer, Deadline};
use futures::future::join_all;

use super::{judge, query};
use crate::harness::house::{PATIENCE, eventually_async};
use crate::harness::opa::{FaultyOpa, Step, says, with_status};
use crate::harness::{House, Plan, ask};

async fn house(opa: &FaultyOpa, more: &str) -> House {
    let policy = opa.policy(more);
    Plan {
        policy,
        ..Plan::default()
    }
    .open()
    .await
}

/// C25, C26: what is remembered is served, what is not is denied at once, and nobody asks.
#[tokio::test]
async fn behind_an_open_circuit_remembered_verdicts_are_served_and_misses_denied() {
    let opa = FaultyOpa::start(says(r#"{"result": true}"#)).await;
    let house = house(&opa, "timeout: 10s}, breaker: {recovery_timeout: 1h").await;
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");

    opa.act(vec![Step::Send(with_status("503 Down", "", "{}"))]);
    for _ in 0..5 {
        let word = house.word(ask("GET", "/documents/2")).await;
        assert_eq!(word, "policy_unavailable");
    }
    let asked = opa.questions().len();
    let remembered = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(remembered.word(), "allow");
    assert_eq!(house.record_of(&remembered).await["cached"], true);
    let missed = house.check(ask("GET", "/documents/2")).await;
    assert_eq!(missed.word(), "circuit_open");
    let record = house.record_of(&missed).await;
    assert_eq!(record["policy"]["policy_id"], "circuit-breaker");
    assert_eq!(opa.questions().len(), asked);
}

/// C17.
#[tokio::test]
async fn ten_thousand_misses_on_one_question_make_one_call() {
    let answer = [
        vec![Step::Wait(Duration::from_millis(200))],
        says(r#"{"result": true}"#),
    ];
    let opa = FaultyOpa::start(answer.concat()).await;
    let judge = judge(&opa.policy("timeout: 50s"), None);
    let askers = (0..10_000).map(|_| {
        let engine = judge.engine();
        tokio::spawn(async move { engine.evaluate(query(Deadline::after(PATIENCE))).await })
    });
    let verdicts = join_all(askers).await;
    let verdicts: Vec<_> = verdicts
        .into_iter()
        .map(|verdict| verdict.unwrap().unwrap())
        .collect();
    assert!(verdicts.iter().all(|it| it.answer == Answer::Allow));
    assert_eq!(verdicts.iter().filter(|it| !it.cached).count(), 1);
    assert_eq!(opa.questions().len(), 1);
}

/// C02, C19: what everybody who waited is denied for is nobody's verdict.
#[tokio::test]
async fn a_failure_of_opa_is_shared_and_forgotten() {
    let down = vec![
        Step::Wait(Duration::from_millis(200)),
        Step::Send(with_status("503 Down", "", "{}")),
    ];
    let opa = FaultyOpa::start_with([down, says(r#"{"result": true}"#)]).await;
    let house = Arc::new(house(&opa, "timeout: 10s").await);
    let askers = (0..4).map(|_| {
        let house = Arc::clone(&house);
        tokio::spawn(async move { house.word(ask("GET", "/documents/1")).await })
    });
    let words: Vec<_> = join_all(askers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    // Who came too late for the failure is allowed; the first never is.
    assert!(
        words.contains(&"policy_unavailable".to_owned()),
        "{words:?}"
    );
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    assert_eq!(opa.questions().len(), 2);
}

/// C13: the verdict counts at the revision that OPA named with it, until OPA names another.
#[tokio::test]
async fn another_revision_of_opa_ends_what_was_remembered() {
    let at = |revision: &str| {
        format!(
            r#"{{"result": true, "provenance": {{"bundles": {{"authz": {{"revision": "{revision}"}}}}}}}}"#
        )
    };
    let opa = FaultyOpa::start(says(&at("1"))).await;
    opa.says_to_trials(&at("1"));
    let house = house(&opa, "timeout: 10s, health_interval: 100ms").await;
    let first = house.check(ask("GET", "/documents/1")).await;
    let second = house.check(ask("GET", "/documents/1")).await;
    let second = house.record_of(&second).await;
    assert_eq!(second["cached"], true);
    assert_eq!(second["policy"], house.record_of(&first).await["policy"]);
    assert_eq!(opa.questions().len(), 1);

    // A look at OPA's health is enough to notice.
    opa.says_to_trials(&at("2"));
    opa.act(says(&at("2")));
    let asked = eventually_async("another question", || async {
        let answer = house.check(ask("GET", "/documents/1")).await;
        let record = house.record_of(&answer).await;
        (record["cached"] == false).then_some(record)
    })
    .await;
    let revision = asked["policy"]["revision"].as_str().unwrap();
    assert!(revision.ends_with(":authz=2"), "{revision}");
    assert_eq!(opa.questions().len(), 2);
}

/// Without declared context the words of opa-envoy-plugin hold what is of one request alone.
#[tokio::test]
async fn envoys_words_are_remembered_only_where_context_is_declared() {
    for (context, questions) in [("", 2), ("context: {headers: [x-role]}", 1)] {
        let opa = FaultyOpa::start(says(r#"{"result": true}"#)).await;
        let policy = opa.policy("timeout: 10s}, input: envoy, cache: {ttl: 1m");
        let plan = Plan {
            policy,
            more: context.to_owned(),
            ..Plan::default()
        };
        let house = plan.open().await;
        for _ in 0..2 {
            assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
        }
        assert_eq!(opa.questions().len(), questions, "{context:?}");
        let bypasses = "attache_policy_cache_bypasses_total{cause=\"input\"}";
        let expected = if context.is_empty() { 2 } else { 0 };
        assert_eq!(house.metric(bypasses).await, expected);
    }
}
