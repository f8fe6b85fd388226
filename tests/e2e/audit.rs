//! Every decision leaves a record, and the file proves that none was changed.

use std::collections::BTreeSet;
use std::fs;

use attache::audit::verify;

use crate::harness::{Mesh, Request, Setup, eventually};

#[tokio::test]
async fn every_decision_has_its_record() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let reporting = mesh.caller("svc/reporting");
    let cases = [
        (&reporting, "GET", "/documents/1", "allowed", None),
        (&reporting, "GET", "/documents/2", "allowed", None),
        (
            &reporting,
            "DELETE",
            "/documents/3",
            "supervised",
            Some("approval_required"),
        ),
        (
            &reporting,
            "PUT",
            "/billing/4",
            "denied",
            Some("tier_forbidden"),
        ),
        (
            &reporting,
            "GET",
            "/nowhere/5",
            "denied",
            Some("route_unmatched"),
        ),
        (
            &mesh.caller("agent/planner"),
            "GET",
            "/documents/6",
            "denied",
            Some("orphan_agent"),
        ),
        (
            &mesh.caller("svc/unknown"),
            "GET",
            "/documents/7",
            "denied",
            Some("out_of_scope"),
        ),
    ];
    let mut told = BTreeSet::new();
    for (caller, method, path, _, _) in &cases {
        let response = caller.send(Request::new(method, path)).await;
        if let Some(id) = response.header("x-attache-decision-id") {
            told.insert(id.to_owned());
        }
    }
    for seen in mesh.upstream.seen() {
        told.insert(seen.header("x-attache-decision-id")[0].to_owned());
    }
    assert_eq!(told.len(), cases.len(), "decision ids are distinct");

    let records = eventually("all decisions are on record", async || {
        let records = mesh.attache.decisions();
        (records.len() >= cases.len()).then_some(records)
    })
    .await;
    let recorded: BTreeSet<_> = records
        .iter()
        .map(|record| record["decision_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(recorded, told);
    for (_, method, path, result, reason) in &cases {
        let record = records
            .iter()
            .find(|record| record["http"]["path"] == *path)
            .unwrap_or_else(|| panic!("no record of {path}: {records:#?}"));
        assert_eq!(record["http"]["method"], *method, "{record}");
        assert_eq!(record["result"], *result, "{record}");
        assert_eq!(record["reason_code"].as_str(), *reason, "{record}");
        let chain = record["delegation_chain"].as_array().unwrap();
        assert_eq!(chain.len(), 1, "{record}");
        assert_eq!(chain[0], record["actor"]["id"], "{record}");
    }
}

#[tokio::test]
async fn the_audit_file_verifies_and_a_changed_one_does_not() {
    let Some(mut mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for id in 0..10 {
        caller
            .get(&format!("/documents/{id}"))
            .await
            .assert_allowed();
        caller
            .send(Request::new("PUT", &format!("/billing/{id}")))
            .await
            .assert_denied(403, "tier_forbidden");
    }
    mesh.attache.process().signal("TERM");
    assert!(mesh.attache.process().exit().await.success());

    let records = mesh.attache.audit();
    assert_eq!(mesh.attache.decisions().len(), 20);
    for pair in records.windows(2) {
        assert_eq!(pair[1]["prev_hash"], pair[0]["hash"], "{pair:#?}");
        assert_eq!(
            pair[1]["seq"].as_u64().unwrap(),
            pair[0]["seq"].as_u64().unwrap() + 1
        );
    }

    let original = fs::read_to_string(mesh.attache.audit_file()).unwrap();
    let summary = verify(original.lines()).unwrap();
    assert_eq!(summary.records, records.len() as u64);
    assert_eq!(summary.torn_lines, 0);
    let [head] = summary.heads.values().collect::<Vec<_>>()[..] else {
        panic!("one start of the process, one chain: {summary:?}");
    };
    assert!(head.stopped, "the chain says that it ended");

    let lines: Vec<_> = original.lines().collect();
    let changed = original.replacen("tier_forbidden", "policy_allowed", 1);
    let dropped = without(&lines, lines.len() / 2);
    let mut swapped = lines.clone();
    swapped.swap(4, 5);
    assert!(verify(changed.lines()).is_err(), "a changed record");
    assert!(verify(dropped).is_err(), "a dropped record");
    assert!(verify(swapped).is_err(), "swapped records");
}

fn without<'a>(lines: &[&'a str], index: usize) -> Vec<&'a str> {
    let mut lines = lines.to_vec();
    lines.remove(index);
    lines
}
