//! Strict mode: no decision is told before its record is on the disk, and one that can't get there is a denial.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use attache::audit::{JsonlTrail, Span, SqliteTrail, Trail};
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

/// A file system of one MiB in memory, for as long as this is kept.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` for whoever may not mount.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]);
        let mounted = mount.arg(&at).stderr(Stdio::null()).status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(at))
    }

    /// Takes what room is left.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).unwrap();
        while file.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmount = Command::new("umount").arg("-l").arg(&self.0).status();
        drop(unmount);
    }
}

#[tokio::test]
async fn a_disk_without_room_denies_everything_until_there_is_room_and_leaves_no_gap() {
    // A08
    for sink in ["jsonl", "sqlite"] {
        let plan = Plan {
            policy: "time_limit: 1s".to_owned(),
            audit: format!("audit: {{mode: strict, sinks: [{{{sink}: small/trail}}]}}\n"),
            ..Plan::with("limits: {request_timeout: 300ms}")
        };
        let (dir, file) = plan.lay_out();
        let Some(disk) = SmallDisk::mount(dir.path().join("small")) else {
            eprintln!("not tested: a full file system, for who may not mount one");
            return;
        };
        let mut house = plan.open_at(dir, file).await;

        assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
        let ballast = disk.fill();
        let mut told = Vec::new();
        // A block, or a log, may have room left for some.
        eventually_async("the end of all room", || async {
            let word = house.word(ask("GET", "/documents/1")).await;
            (word == "audit_unavailable").then_some(())
        })
        .await;
        for path in ["/documents/1", "/trial/1", "/nowhere"] {
            let answer = house.check(ask("GET", path)).await;
            assert_eq!(answer.word(), "audit_unavailable", "{sink} {path}");
            told.push(answer.decision_id().to_owned());
        }
        eventually_async("no readiness", || async {
            (house.probe("/readyz").await.0 == 503).then_some(())
        })
        .await;

        std::fs::remove_file(ballast).unwrap();
        eventually_async("an allowance", || async {
            let word = house.word(ask("GET", "/documents/1")).await;
            (word == "allow").then_some(())
        })
        .await;
        eventually_async("readiness", || async {
            (house.probe("/readyz").await.0 == 200).then_some(())
        })
        .await;
        house.shutdown.drain();
        (&mut house.running).await.unwrap().unwrap();
        let lines = lines_on(&disk, sink);
        let summary = attache::audit::verify(&lines).unwrap();
        assert!(summary.heads.values().all(|head| head.stopped));
        let text = lines.join("\n");
        assert!(!text.contains("\"audit.gap\""), "{text}");
        for id in &told {
            assert!(text.contains(id), "{sink} {id}");
        }
    }
}

fn lines_on(disk: &SmallDisk, sink: &str) -> Vec<String> {
    let path = disk.0.join("trail");
    let trail: Box<dyn Trail> = match sink {
        "sqlite" => Box::new(SqliteTrail::open(&path).unwrap()),
        _ => Box::new(JsonlTrail::new(vec![path])),
    };
    let mut lines = Vec::new();
    let mut keep = |line: &[u8]| {
        lines.push(String::from_utf8(line.to_owned()).unwrap());
        ControlFlow::Continue(())
    };
    trail.walk(&Span::default(), &mut keep).unwrap();
    lines
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
