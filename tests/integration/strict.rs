//! Strict mode: no decision is told before its record is on the disk, and one that can't get there is a denial.

use std::collections::BTreeMap;
use std::path::PathBuf;

use envoy_types::pb::envoy::service::auth::v3::CheckRequest as CheckQuestion;
use serde_json::Value;

use crate::harness::decisions::{CHECK, CheckRequest, Decision, about, call};
use crate::harness::house::eventually_async;
use crate::harness::{House, Plan, ask};

/// The usual house, in strict mode. The trial route is in shadow mode.
async fn strict(more: &str) -> House {
    let plan = Plan {
        policy: "time_limit: 1s".to_owned(),
        ..Plan::with(more)
    };
    let (dir, file) = plan.lay_out();
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("audit: {sinks", "audit: {mode: strict, sinks");
    std::fs::write(&file, text).unwrap();
    plan.open_at(dir, file).await
}

/// Takes the disk away from under the trail: the file is moved, and nothing can be created in its place.
fn break_disk(house: &House) -> (PathBuf, PathBuf) {
    let file = house.dir.path().join("audit.jsonl");
    let moved = house.dir.path().join("audit.jsonl.1");
    std::fs::rename(&file, &moved).unwrap();
    std::fs::create_dir(&file).unwrap();
    (file, moved)
}

async fn inquire(house: &House, resource: &str) -> Decision {
    let question: CheckRequest = about("spiffe://example.org/svc/reporting", resource, "read");
    call(&house.channel, CHECK, question).await.unwrap()
}

fn ids(records: &[Value]) -> BTreeMap<String, &Value> {
    let named = records.iter().filter_map(|record| {
        let id = record["decision_id"].as_str()?;
        Some((id.to_owned(), record))
    });
    named.collect()
}

#[tokio::test]
async fn every_answer_has_its_record_on_the_disk_already() {
    // A01: on every path, by requests, inquiries, shadow mode and early refusals.
    let house = strict("").await;
    let requests = [
        (ask("GET", "/documents/1"), "allow"),
        (ask("GET", "/nowhere"), "route_unmatched"),
        (ask("DELETE", "/documents/1"), "approval_required"),
        (ask("GET", "/trial/1"), "allow"),
        (CheckQuestion::default(), "bad_request"),
    ];
    for (request, word) in requests {
        let answer = house.check(request).await;
        assert_eq!(answer.word(), word);
        let records = house.records();
        let id = answer.decision_id();
        assert!(ids(&records).contains_key(id), "{answer:?} {records:?}");
    }
    for resource in ["documents/1", "billing/1"] {
        let decision = inquire(&house, resource).await;
        let records = house.records();
        assert!(
            ids(&records).contains_key(&decision.audit_id),
            "{decision:?}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_disk_that_is_gone_denies_everything_until_it_is_back_and_leaves_no_gap() {
    // A08, A09
    let house = strict("limits: {request_timeout: 300ms}").await;
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    let (file, moved) = break_disk(&house);
    let mut denied = Vec::new();
    for path in ["/documents/1", "/trial/1", "/nowhere"] {
        let answer = house.check(ask("GET", path)).await;
        assert_eq!(answer.word(), "audit_unavailable", "{path}");
        assert_eq!(answer.http_status(), Some(503));
        denied.push(answer.decision_id().to_owned());
    }
    eventually_async("no readiness", || async {
        (house.probe("/readyz").await.0 == 503).then_some(())
    })
    .await;

    std::fs::remove_dir(&file).unwrap();
    eventually_async("an allowance", || async {
        let word = house.word(ask("GET", "/documents/1")).await;
        (word == "allow").then_some(())
    })
    .await;
    eventually_async("readiness", || async {
        (house.probe("/readyz").await.0 == 200).then_some(())
    })
    .await;
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    let mut house = house;
    house.shutdown.drain();
    (&mut house.running).await.unwrap().unwrap();
    let records = [lines(&moved), lines(&file)].concat();
    let summary = attache::audit::verify(records.lines()).unwrap();
    assert!(summary.heads.values().all(|head| head.stopped));
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let by_id = ids(&records);
    for id in &denied {
        assert_eq!(
            by_id[id]["reason_code"], "audit_unavailable",
            "{}",
            by_id[id]
        );
        assert_eq!(by_id[id]["mode"], "enforce");
    }
    assert!(records.iter().all(|it| it["event_type"] != "audit.gap"));
}

#[tokio::test]
async fn standard_mode_decides_while_the_disk_is_gone() {
    let house = House::open().await;
    let (file, _moved) = break_disk(&house);
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    std::fs::remove_dir(file).unwrap();
    house.close().await;
}

#[tokio::test]
async fn a_program_hears_that_nothing_could_be_recorded() {
    let house = strict("").await;
    let (file, _moved) = break_disk(&house);
    let decision = inquire(&house, "documents/1").await;
    assert!(!decision.allowed);
    assert_eq!(decision.reason_code, "audit_unavailable");
    assert_eq!(decision.reason, "the decision could not be recorded");
    std::fs::remove_dir(file).unwrap();
    house.close().await;
}
