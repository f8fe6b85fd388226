//! docs/audit.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::{
    self, Actor, Checkpoints, EventType, Extras, Jsonl, Memory, Origin, Outcome, Record, Setup,
    SigningKey,
};
use attache::authority::{Authority, Metrics};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::policy::{EmbeddedEngine, Program, Sources};
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::markdown::{blocks, code, read, root, tables_of};

#[test]
fn every_event_type_is_listed_and_no_other() {
    let tables = tables_of("docs/audit.md", "event type");
    let listed: Vec<_> = tables[0].rows.iter().map(|row| code(&row[0])).collect();
    assert_eq!(listed, EventType::ALL.map(EventType::as_str));
}

/// Members as the writer names them, read from its source: no record has all of them.
fn members() -> BTreeSet<String> {
    let source = read("src/audit/line.rs");
    let (serialize, _) = source.split_once("\nfn optional").unwrap();
    let quoted = serialize.split('"').skip(1).step_by(2).map(str::to_owned);
    let members: BTreeSet<_> = quoted.filter(|word| !word.contains(' ')).collect();
    assert!(members.len() > 30, "{members:?}");
    members
}

#[tokio::test]
async fn every_member_is_listed_and_no_other() {
    let tables = tables_of("docs/audit.md", "member");
    let rows = || tables[0].rows.iter();
    let listed: BTreeSet<_> = rows().map(|row| code(&row[0])).collect();
    assert_eq!(listed, members());

    let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
    let (memory, auditor, _writer) = Memory::auditor(clock).unwrap();
    auditor.record(Record::new(
        EventType::ConfigChanged,
        Outcome::Success,
        Actor::System,
    ));
    auditor.flush().await.unwrap();
    let bare = memory.records(EventType::ConfigChanged).remove(0);
    let always: BTreeSet<_> = bare.as_object().unwrap().keys().cloned().collect();
    let marked: BTreeSet<_> = rows()
        .filter(|row| row[1] == "●")
        .map(|row| code(&row[0]))
        .collect();
    assert_eq!(marked, always);
}

/// The record of the example: a denial by the sample policy of roles.
async fn denial() -> Value {
    let now = Timestamp::from_unix_seconds(1_767_225_600);
    let clock: Arc<dyn Clock> = Arc::new(MockClock::new(now));
    let (memory, auditor, _writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
    let mut sources = Sources::default();
    sources.insert("roles.rego", read("deploy/policy/samples/roles.rego"));
    let path = "agentweave/authz/allow".parse().unwrap();
    let program = Program::compile(&sources, &path, Duration::from_secs(5)).unwrap();
    let config = Config::parse(
        r#"
trust_domain: example.org
workloads: [{match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:read"]}]
routes: [{path: "/documents/{id}", resource: "documents/{id}", action: read}]
tiers: {default: free}
"#,
        "attache.yaml".as_ref(),
    );
    let authority = Authority::new(
        Arc::new(config.unwrap().rules),
        Arc::new(EmbeddedEngine::new(program)),
        auditor.clone(),
        clock,
        Metrics::new(&mut Registry::default()),
    );
    let request = json!({"attributes": {
        "source": {
            "principal": "spiffe://example.org/svc/reporting",
            "address": {"socketAddress": {"address": "10.0.3.17", "portValue": 40112}},
        },
        "destination": {"principal": "spiffe://example.org/svc/documents"},
        "request": {"http": {
            "method": "GET",
            "host": "documents.example.org",
            "path": "/documents/42?fields=title",
            "headers": {"x-request-id": "0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0"},
        }},
    }});
    let request = Rehearsal::from_json(&request.to_string()).unwrap();
    let peer = Peer::Unix { uid: Some(101) };
    request
        .decide(&authority, peer, Duration::from_secs(5))
        .await;
    auditor.flush().await.unwrap();
    memory.records(EventType::PermissionDenied).remove(0)
}

#[tokio::test]
async fn the_example_is_a_record_that_was_written() {
    let mut written = denial().await;
    let shown = blocks(&read("docs/audit.md"))
        .into_iter()
        .find(|it| it.info == "json")
        .unwrap();
    let mut shown: Value = serde_json::from_str(&shown.text).unwrap();
    // Different on every run, or with the version.
    for member in [
        "decision_id",
        "latency_us",
        "uptime_us",
        "hash",
        "prev_hash",
        "writer",
    ] {
        assert!(!shown[member].is_null(), "{member}");
        shown[member] = Value::Null;
        written[member] = Value::Null;
    }
    assert_eq!(shown, written, "{written:#}");
}

/// Two runs of a process into one file, the second after a kill of the first.
async fn two_runs(file: &Path) {
    for (writer, stops) in [
        ("01KDVDN94QZ6V0N4J1M5R8T2XA", false),
        ("01KDVE3C8RPJ7T5W9Y1B2D4F6H", true),
    ] {
        let setup = Setup {
            first: Box::new(Jsonl::open(file).unwrap()),
            others: vec![],
            capacity: 16,
            origin: Origin {
                tenant: "default".into(),
                writer: format!("documents-7d4b9/{writer}").into(),
            },
        };
        let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1_767_225_600)));
        let rng = StdRng::seed_from_u64(1);
        let key = SigningKey::generate(&mut StdRng::seed_from_u64(2)).unwrap();
        let extras = Extras {
            checkpoints: Some(Checkpoints {
                key,
                every: 1000,
                interval: Duration::from_secs(3600),
            }),
            ..Extras::default()
        };
        let registry = &mut Registry::default();
        let (auditor, witness) = audit::start_with(setup, extras, clock, rng, registry).unwrap();
        let changed = Record::new(EventType::ConfigChanged, Outcome::Success, Actor::System);
        auditor.record(changed);
        auditor.flush().await.unwrap();
        if stops {
            witness.close().await.unwrap();
        } else {
            // Its end never comes; its lock goes with the file.
            std::mem::forget(witness);
            let copy = file.with_extension("copy");
            fs::copy(file, &copy).unwrap();
            fs::rename(&copy, file).unwrap();
        }
    }
}

#[tokio::test]
async fn the_shown_output_of_verify_is_what_the_command_prints() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    two_runs(&file).await;
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let (first, second) = lines.split_at(2);
    fs::write(
        folder.path().join("audit.jsonl.1"),
        format!("{}\n", first.join("\n")),
    )
    .unwrap();
    fs::write(&file, format!("{}\n", second.join("\n"))).unwrap();

    let shown: Vec<_> = blocks(&read("docs/audit.md"))
        .into_iter()
        .filter(|block| block.info == "console")
        .map(|block| block.text)
        .filter(|text| text.starts_with("$ attache audit verify "))
        .collect();
    assert_eq!(shown.len(), 3, "whole, from the middle, changed");
    for (text, code) in shown.iter().zip([0, 0, 1]) {
        let (command, expected) = text.split_once('\n').unwrap();
        if code == 1 {
            let forged = second[2].replace("config.changed", "policy.loaded");
            let changed = [second[0], second[1], &forged, second[3], second[4]].join("\n");
            fs::write(&file, format!("{changed}\n")).unwrap();
        }
        let ran = Command::new(env!("CARGO_BIN_EXE_attache"))
            .args(command.strip_prefix("$ attache ").unwrap().split(' '))
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(ran.status.code(), Some(code), "{ran:?}");
        let printed = [ran.stdout, ran.stderr].concat();
        let printed = String::from_utf8(printed).unwrap();
        assert_eq!(
            without_hashes(expected),
            without_hashes(&printed),
            "{printed}"
        );
    }
}

/// They change with the version, which is in every chain.
fn without_hashes(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|word| match word.split_once("hash=") {
            Some((_, hash)) => {
                assert_eq!(hash.trim_end().len(), 64, "{hash}");
                "hash=… "
            }
            None => word,
        })
        .collect()
}

/// The event that is shown, made from the record that it carries.
#[test]
fn the_shown_event_is_what_the_command_writes() {
    let text = read("docs/audit.md");
    let (_, shown) = text.split_once("$ attache audit export ").unwrap();
    let mut lines = shown.lines();
    let arguments = lines.next().unwrap().strip_suffix("audit.jsonl").unwrap();
    let event = lines.next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let record = serde_json::from_str::<Value>(event).unwrap()["data"].to_string();
    fs::write(&file, record).unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_attache"))
        .args(["audit", "export"])
        .args(arguments.split_whitespace())
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(run.stdout).unwrap(), format!("{event}\n"));
}

/// Every source below `folder`, as one text.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|it| it == "rs") {
            all += &fs::read_to_string(path).unwrap();
        }
    }
    all
}

#[test]
fn every_test_that_a_fault_names_exists_and_no_case_is_left_out() {
    let all = ["src", "tests"]
        .map(|it| sources(&root().join(it)))
        .concat();
    let tables = tables_of("docs/audit.md", "case");
    let mut named = 0;
    let mut cases = BTreeSet::new();
    for row in &tables[0].rows {
        let words = row[0].split([' ', ',']);
        let ids = words.filter_map(|it| it.strip_prefix('A')?.parse::<u32>().ok());
        cases.extend(ids);
        let tests = row[3].split('`').skip(1).step_by(2);
        for test in tests.filter(|it| it.contains('_')) {
            assert!(all.contains(&format!("fn {test}(")), "{test}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    assert_eq!(cases, (1..=28).collect());
}
