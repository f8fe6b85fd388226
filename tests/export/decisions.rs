//! Our events beside those of a real OPA's decision log: the same members, of the same kinds.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::golden::golden;
use crate::readers::tool;

#[tokio::test]
async fn our_events_have_the_members_of_opa_s_decision_log_and_their_kinds() {
    let Some(real) = real_events().await else {
        return;
    };
    for event in golden("opa") {
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(faults(&event, &real), [""; 0], "{event:#}");
    }
}

#[tokio::test]
async fn an_event_that_opa_would_not_write_is_told_from_its_own() {
    let Some(real) = real_events().await else {
        return;
    };
    let event: Value = serde_json::from_str(&golden("opa")[1]).unwrap();
    for (member, by) in [
        ("decision_id", json!(7)),
        ("decision", json!("allow")),
        ("timestamp", json!("yesterday")),
        ("labels", json!({"id": 7})),
        ("bundles", json!({"policy": "6b0c"})),
        ("metrics", json!({"latency": 1})),
        ("path", json!("/attache/permission")),
        ("requested_by", json!({})),
        ("custom", json!([])),
    ] {
        let mut broken = event.clone();
        broken[member] = by;
        assert_eq!(faults(&broken, &real), [member]);
    }
}

/// Members of `event` that no event of a real OPA has in that form.
fn faults(event: &Value, real: &[Value]) -> Vec<String> {
    let members = event.as_object().unwrap();
    let strange = members.iter().filter(|(name, value)| {
        let alike = |event: &Value| event.get(name).is_some_and(|it| alike(name, value, it));
        !real.iter().any(alike)
    });
    strange.map(|(name, _)| name.clone()).collect()
}

/// Whether two values of the same member are of one kind.
fn alike(name: &str, ours: &Value, theirs: &Value) -> bool {
    let all = |value: &Value, test: &dyn Fn(&Value) -> bool| {
        value.as_object().is_some_and(|it| it.values().all(test))
    };
    match name {
        "labels" => [ours, theirs].iter().all(|it| all(it, &Value::is_string)),
        "bundles" => [ours, theirs]
            .iter()
            .all(|it| all(it, &|bundle| all(bundle, &Value::is_string))),
        "metrics" => ours.as_object().is_some_and(|it| {
            it.iter()
                .all(|(name, value)| value.is_u64() && theirs[name].is_u64())
        }),
        "timestamp" => [ours, theirs].iter().all(|it| is_time(it)),
        "path" => [ours, theirs]
            .iter()
            .all(|it| it.as_str().is_some_and(|it| !it.starts_with('/'))),
        // Whatever was asked and answered.
        "input" | "result" => true,
        _ => std::mem::discriminant(ours) == std::mem::discriminant(theirs),
    }
}

/// Of RFC 3339, in UTC. OPA leaves out zeros at the end of a second's fraction.
fn is_time(value: &Value) -> bool {
    let parsed = |text: &str| OffsetDateTime::parse(text, &Rfc3339).is_ok();
    value
        .as_str()
        .is_some_and(|it| it.ends_with('Z') && parsed(it))
}

/// What a real OPA writes about a decision and about a compilation, which is what has `custom`. It traces, to nowhere, so
/// that its events have the id of the trace.
async fn real_events() -> Option<Vec<Value>> {
    let opa = tool("OPA_BIN")?;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("bundle")).unwrap();
    file(
        "bundle/.manifest",
        r#"{"revision": "r1", "roots": ["attache"]}"#,
    );
    file("bundle/policy.rego", POLICY);
    file(
        "opa.yaml",
        "{decision_logs: {console: true}, distributed_tracing: {type: grpc, address: 'localhost:1'}}",
    );
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let socket = folder.path().join("opa.sock");
    let mut child = Command::new(opa)
        .args([
            "run",
            "--server",
            "--config-file",
            "opa.yaml",
            "--bundle",
            "bundle",
        ])
        .arg("--addr")
        .arg(format!("unix://{}", socket.display()))
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let decided = r#"{"input": {"action": "read"}}"#;
    post(
        &socket,
        "/v1/data/attache/allow?metrics",
        "application/json",
        decided,
    )
    .await;
    let compiled = r#"{"input": {}, "com.example.opa/metadata": {"asked": "so"}}"#;
    let sql = "application/vnd.opa.sql.postgresql+json";
    post(&socket, "/v1/compile/attache/filter", sql, compiled).await;
    let events = timeout(PATIENCE, async {
        loop {
            let events = decisions(&folder.path().join("log"));
            if events.len() > 1 {
                return events;
            }
            sleep(PAUSE).await;
        }
    });
    let events = events.await.unwrap();
    child.kill().await.unwrap();
    assert_eq!(events[0]["path"], "attache/allow");
    Some(events)
}

/// The decisions in OPA's log so far, without what its console puts around them.
fn decisions(log: &Path) -> Vec<Value> {
    let log = fs::read_to_string(log).unwrap();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &Value| line["msg"] == "Decision Log")
        .map(|mut line| {
            let members = line.as_object_mut().unwrap();
            for around in ["level", "msg", "time", "type"] {
                members.remove(around).unwrap();
            }
            line
        })
        .collect()
}

/// Asks OPA, as soon as it listens, and awaits its answer.
async fn post(socket: &Path, path: &str, accept: &str, body: &str) {
    let answer = timeout(PATIENCE, async {
        let mut stream = loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => break stream,
                Err(_) => sleep(PAUSE).await,
            }
        };
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: opa\r\nconnection: close\r\naccept: {accept}\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    let answer = answer.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

const POLICY: &str = r#"package attache

allow if input.action == "read"

# METADATA
# scope: document
# compile:
#   unknowns: [input.fruits]
filter if input.fruits.name == "apple"
"#;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
