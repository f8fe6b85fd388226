//! The circuit before an OPA: what an outage and its end do to a whole process.

use crate::harness::opa::{FaultyOpa, Step, says, with_status};
use crate::harness::{House, Plan, ask};

fn broken() -> Vec<Step> {
    vec![Step::Send(with_status("503 Service Unavailable", "", "{}"))]
}

async fn opened(opa: &FaultyOpa, recovery: &str) -> House {
    let more = format!("timeout: 400ms}}, breaker: {{recovery_timeout: {recovery}");
    let policy = opa.policy_uncached(&more);
    let plan = Plan {
        policy,
        watched: true,
        ..Plan::default()
    };
    let house = plan.open().await;
    for _ in 0..5 {
        let answer = house.word(ask("GET", "/documents/1")).await;
        assert_eq!(answer, "policy_unavailable");
    }
    house
}

fn details(record: &serde_json::Value) -> (String, u64) {
    let endpoint = record["details"]["endpoint"].as_str().unwrap();
    let failures = record["details"]["failures"].as_u64().unwrap();
    (endpoint.to_owned(), failures)
}

/// C21 to C23, B14.
#[tokio::test]
async fn an_outage_opens_the_circuit_and_its_end_closes_it() {
    let opa = FaultyOpa::start(broken()).await;
    let house = opened(&opa, "100ms").await;
    let endpoint = format!("http://{}", opa.address);
    let opened = house
        .record(|record| record["event_type"] == "circuit.opened")
        .await;
    assert_eq!(details(&opened), (endpoint.clone(), 5));
    let (_, told) = house.probe("/readyz").await;
    assert!(told.contains("is not asked after 5 failures"), "{told}");

    opa.act(says(r#"{"result": true}"#));
    crate::harness::house::eventually_async("an answer", || async {
        let word = house.word(ask("GET", "/documents/1")).await;
        assert!(["circuit_open", "allow"].contains(&&*word), "{word}");
        (word == "allow").then_some(())
    })
    .await;
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    for event in ["circuit.half_opened", "circuit.closed"] {
        let record = house.record(|record| record["event_type"] == event).await;
        assert_eq!(details(&record), (endpoint.clone(), 5));
    }
    let (_, told) = house.probe("/readyz").await;
    assert!(!told.contains("circuit"), "{told}");
    let closed = format!("attache_policy_circuit{{endpoint=\"{endpoint}\",state=\"closed\"}}");
    assert_eq!(house.metric(&closed).await, 1);
}

#[tokio::test]
async fn an_open_circuit_asks_nobody_and_denies_at_once() {
    let opa = FaultyOpa::start(broken()).await;
    let house = opened(&opa, "1h").await;
    let asked = opa.questions().len();
    for _ in 0..20 {
        let answer = house.check(ask("GET", "/documents/1")).await;
        assert_eq!(answer.word(), "circuit_open");
        assert_eq!(answer.http_status(), Some(503));
    }
    assert_eq!(opa.questions().len(), asked);
    let record = house
        .record(|record| record["reason_code"] == "circuit_open")
        .await;
    assert_eq!(record["policy"]["policy_id"], "circuit-breaker");
}

/// C28, O30.
#[tokio::test]
async fn another_endpoint_is_asked_at_once() {
    let (broken, sound) = (
        FaultyOpa::start(broken()).await,
        FaultyOpa::start(says(r#"{"result": true}"#)).await,
    );
    let house = opened(&broken, "1h").await;
    let file = house.dir.path().join("attache.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let from = broken.address.to_string();
    assert!(text.contains(&from));
    let text = text.replace(&from, &sound.address.to_string());
    std::fs::write(&file, text).unwrap();
    crate::harness::house::eventually_async("an answer", || async {
        let word = house.word(ask("GET", "/documents/1")).await;
        (word == "allow").then_some(())
    })
    .await;
    let closed = house
        .record(|record| record["event_type"] == "circuit.closed")
        .await;
    assert_eq!(closed["details"]["endpoint"], format!("http://{from}"));
}
