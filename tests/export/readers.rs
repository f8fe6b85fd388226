//! What other people's readers say to our events: the SDK of `CloudEvents` and the published schema of OCSF. Each is also
//! seen to refuse what is broken.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use serde_json::{Value, json};

use crate::commands::file_of;
use crate::golden::golden;

/// What a tool is found by. Without it: `None`, or a panic where the readers are required.
pub(crate) fn tool(variable: &str) -> Option<OsString> {
    let tool = env::var_os(variable);
    if tool.is_none() {
        let required = env::var_os("REQUIRE_VALIDATORS").is_some_and(|value| value == "1");
        assert!(!required, "REQUIRE_VALIDATORS=1, but {variable} is not set");
        eprintln!("skipped: set {variable} (make test-export does)");
    }
    tool
}

/// How many of `events` the reader reads, or why not all; `None` where there is no reader.
fn read(format: &str, events: &[String]) -> Option<Result<usize, String>> {
    let run = Command::new(tool("VALIDATORS_PYTHON")?)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/export/validate.py"
        ))
        .arg(format)
        .stdin(file_of(&(events.join("\n") + "\n")))
        .output()
        .unwrap();
    if !run.status.success() {
        return Some(Err(String::from_utf8(run.stderr).unwrap()));
    }
    let count = String::from_utf8(run.stdout).unwrap();
    Some(Ok(count.trim().parse().unwrap()))
}

fn everything_is_read(format: &str) {
    let events = golden(format);
    if let Some(read) = read(format, &events) {
        assert_eq!(read, Ok(events.len()));
    }
}

/// The first event of `kind`, with `member` replaced, is refused, and the reader names `reason`.
fn is_refused(format: &str, kind: &str, member: &str, by: Value, reason: &str) {
    let events = golden(format);
    let mut event: Value = events
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .find(|event: &Value| event.to_string().contains(&format!("\"{kind}\"")))
        .unwrap();
    let (parent, name) = member.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    if by.is_null() {
        parent.remove(name).unwrap();
    } else {
        parent.insert(name.to_owned(), by);
    }
    let Some(read) = read(format, &[event.to_string()]) else {
        return;
    };
    let why = read.unwrap_err();
    assert!(why.contains(reason), "{member}: {why}");
}

#[test]
fn the_sdk_of_cloudevents_reads_every_event() {
    everything_is_read("cloudevents");
}

#[test]
fn the_sdk_of_cloudevents_refuses_a_broken_event() {
    for (member, by, reason) in [
        ("/source", Value::Null, "source"),
        ("/specversion", json!("2.0"), "specversion"),
        ("/prev_hash", json!("00"), "prev_hash"),
        ("/time", json!("yesterday"), "ValueError"),
        ("/subject", json!(""), "subject"),
    ] {
        is_refused(
            "cloudevents",
            "dev.attache.permission.check",
            member,
            by,
            reason,
        );
    }
}

#[test]
fn the_published_schema_of_ocsf_accepts_every_event() {
    everything_is_read("ocsf");
}

#[test]
fn the_published_schema_of_ocsf_refuses_a_broken_event() {
    let check = "permission.check";
    for (kind, member, by, reason) in [
        (
            check,
            "/type_uid",
            json!(6_003_999),
            "type_uid breaks properties/type_uid/enum",
        ),
        (
            check,
            "/api/operation",
            Value::Null,
            "api breaks $defs/api/required",
        ),
        (
            check,
            "/delegation_chain",
            json!([]),
            " breaks additionalProperties",
        ),
        (
            check,
            "/src_endpoint",
            json!({}),
            "src_endpoint breaks $defs/network_endpoint/anyOf",
        ),
        (
            check,
            "/activity_name",
            json!("Read"),
            "activity_id: Read is not Update",
        ),
        (
            check,
            "/metadata/profiles",
            json!([]),
            " breaks additionalProperties",
        ),
        ("human.login", "/user", Value::Null, " breaks required"),
        ("human.login", "/service", Value::Null, " breaks anyOf"),
        (
            "agent.delegated",
            "/privileges",
            Value::Null,
            " breaks oneOf",
        ),
        (
            "task.created",
            "/entity",
            json!({"type_id": 99}),
            "breaks $defs/managed_entity/anyOf",
        ),
        (
            "circuit.opened",
            "/time",
            json!("2026-01-01"),
            "time breaks properties/time/type",
        ),
        (
            "audit.gap",
            "/severity_id",
            json!(7),
            "breaks properties/severity_id/enum",
        ),
    ] {
        is_refused("ocsf", kind, member, by, reason);
    }
}
