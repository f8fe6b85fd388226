//! docs/audit.md.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::{self, Actor, EventType, Memory, Outcome, Record};
use attache::authority::{Authority, Metrics};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::policy::{EmbeddedEngine, Program, Sources};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::markdown::{blocks, code, read, tables_of};

const EVENT_TYPES: [EventType; 9] = [
    EventType::PermissionCheck,
    EventType::PermissionDenied,
    EventType::ConfigChanged,
    EventType::ConfigRejected,
    EventType::PolicyLoaded,
    EventType::PolicyFailed,
    EventType::AuditStarted,
    EventType::AuditStopped,
    EventType::AuditGap,
];

/// A new event type does not compile until it has a place above.
fn place(event_type: EventType) -> usize {
    match event_type {
        EventType::PermissionCheck => 0,
        EventType::PermissionDenied => 1,
        EventType::ConfigChanged => 2,
        EventType::ConfigRejected => 3,
        EventType::PolicyLoaded => 4,
        EventType::PolicyFailed => 5,
        EventType::AuditStarted => 6,
        EventType::AuditStopped => 7,
        EventType::AuditGap => 8,
    }
}

#[test]
fn every_event_type_is_listed_and_no_other() {
    for (index, event_type) in EVENT_TYPES.into_iter().enumerate() {
        assert_eq!(place(event_type), index);
    }
    let tables = tables_of("docs/audit.md", "event type");
    let listed: Vec<_> = tables[0].rows.iter().map(|row| code(&row[0])).collect();
    assert_eq!(listed, EVENT_TYPES.map(EventType::as_str));
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
    for member in ["decision_id", "latency_us", "hash", "prev_hash", "writer"] {
        assert!(!shown[member].is_null(), "{member}");
        shown[member] = Value::Null;
        written[member] = Value::Null;
    }
    assert_eq!(shown, written, "{written:#}");
}

fn verify_file(path: &Path) -> Result<audit::Summary, Box<dyn std::error::Error>> {
    let lines: Vec<Vec<u8>> = BufReader::new(File::open(path)?)
        .split(b'\n')
        .collect::<Result<_, _>>()?;
    Ok(audit::verify(lines)?)
}

#[tokio::test]
async fn the_shown_function_verifies_a_file() {
    let shown = blocks(&read("docs/audit.md"))
        .into_iter()
        .find(|it| it.info == "rust")
        .unwrap();
    let words = |text: &str| text.split_whitespace().collect::<String>();
    assert!(words(include_str!("audit.rs")).contains(&words(&shown.text)));

    let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
    let (memory, _auditor, writer) = Memory::auditor(clock).unwrap();
    writer.close().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in memory.lines() {
        writeln!(file, "{line}").unwrap();
    }
    let summary = verify_file(file.path()).unwrap();
    assert_eq!(summary.records, 2);
    assert!(summary.heads["memory"].stopped);
    writeln!(file, "{{}}").unwrap();
    assert!(verify_file(file.path()).is_err());
}
