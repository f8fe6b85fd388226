use serde_json::json;

use super::*;
use crate::audit::EventType;

/// A record with what always stands in one, and `more`.
fn line(more: Value) -> Vec<u8> {
    let mut record = json!({
        "actor": {"id": "host/1", "type": "system"},
        "delegation_chain": ["host/1"],
        "event_type": "config.changed",
        "hash": "00",
        "id": "01KDVDNA00H3N8AD9Z3GEB7CX7",
        "prev_hash": "01",
        "result": "success",
        "seq": 7,
        "tenant": "default",
        "time": "2026-01-01T00:00:01.999999999Z",
        "writer": "host/1",
    });
    let Value::Object(more) = more else {
        panic!("{more} is no object");
    };
    record.as_object_mut().unwrap().extend(more);
    record
        .as_object_mut()
        .unwrap()
        .retain(|_, it| !it.is_null());
    serde_json::to_vec(&record).unwrap()
}

fn encode(format: Format, more: Value) -> Value {
    let mut out = Vec::new();
    Encoder::new(format).line(&line(more), &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// Why `lines` can't be exported, with the number of the line.
fn refusal(lines: &[&[u8]]) -> (u64, String) {
    let mut encoder = Encoder::new(Format::Ocsf);
    let mut out = Vec::new();
    let read = lines
        .iter()
        .try_for_each(|line| encoder.line(line, &mut out));
    let error = read.and_then(|()| encoder.finish()).unwrap_err();
    (error.line, crate::text::sentence(&error))
}

#[test]
fn a_record_that_lacks_a_member_is_refused() {
    for member in [
        "actor",
        "event_type",
        "hash",
        "id",
        "prev_hash",
        "result",
        "seq",
        "tenant",
        "time",
        "writer",
    ] {
        let (at, why) = refusal(&[&line(json!({member: null}))]);
        assert_eq!(at, 1);
        assert!(why.contains(&format!("missing field `{member}`")), "{why}");
    }
}

#[test]
fn a_member_of_another_kind_is_refused_and_never_left_out() {
    for more in [
        json!({"seq": -1}),
        json!({"http": 5}),
        json!({"http": {"host": "a", "method": "GET"}}),
        json!({"actor": {"id": "x"}}),
        json!({"resource": ["a"]}),
        json!({"time": "yesterday"}),
        json!({"result": "maybe"}),
        json!({"event_type": "permission.granted"}),
        json!({"count": "2"}),
    ] {
        let (_, why) = refusal(&[&line(more.clone())]);
        assert!(
            why.contains("altered, or written by another version"),
            "{more}: {why}"
        );
    }
}

#[test]
fn a_line_that_is_not_as_a_writer_writes_it_is_refused() {
    let sound = line(json!({}));
    let text = String::from_utf8(sound.clone()).unwrap();
    let cut = text.strip_prefix('{').unwrap();
    let twice = text.replace("\"tenant\":", "\"seq\":8,\"tenant\":");
    let spaced = text.replace("\"seq\":7", "\"seq\": 7");
    for broken in ["", "{}", "[]", "null", cut, &twice, &spaced] {
        let (at, _) = refusal(&[&sound, broken.as_bytes()]);
        assert_eq!(at, 2, "{broken}");
    }
}

#[test]
fn a_torn_line_is_passed_over_where_the_next_record_announces_it() {
    let torn = br#"{"actor":{"id":"ho"#;
    let digest = Digest::of([torn.as_slice()]);
    let announcing = line(json!({
        "event_type": EventType::AuditStarted.as_str(),
        "details": {"torn_lines": [digest.as_str()]},
    }));
    let mut encoder = Encoder::new(Format::Opa);
    let mut out = Vec::new();
    encoder.line(torn, &mut out).unwrap();
    assert!(out.is_empty());
    encoder.line(&announcing, &mut out).unwrap();
    assert_eq!(encoder.finish().unwrap(), 1);
    assert!(String::from_utf8(out).unwrap().contains(digest.as_str()));
}

#[test]
fn a_torn_line_that_nothing_announces_is_refused() {
    let torn = br#"{"actor":{"id":"ho"#;
    let digest = Digest::of([torn.as_slice()]);
    let other = line(json!({
        "event_type": EventType::AuditStarted.as_str(),
        "details": {"torn_lines": ["00"]},
    }));
    let no_start = line(json!({"details": {"torn_lines": [digest.as_str()]}}));
    let announcing = line(json!({
        "event_type": EventType::AuditStarted.as_str(),
        "details": {"torn_lines": [digest.as_str()]},
    }));
    assert_eq!(refusal(&[torn]).0, 1);
    assert_eq!(refusal(&[torn, &other]).0, 1);
    assert_eq!(refusal(&[torn, &no_start]).0, 1);
    assert_eq!(refusal(&[torn, torn, &announcing]).0, 1);
    assert_eq!(refusal(&[torn, &line(json!({})), &announcing]).0, 1);
}

#[test]
fn repeated_denials_are_counted_in_ocsf() {
    let event = encode(
        Format::Ocsf,
        json!({"count": 3, "last_time": "2026-01-01T00:00:03.000000000Z"}),
    );
    assert_eq!(event["count"], 3);
    assert_eq!(event["start_time"], 1_767_225_601_999_i64);
    assert_eq!(event["end_time"], 1_767_225_603_000_i64);
    assert_eq!(event["time"], event["start_time"]);
}

#[test]
fn what_waits_for_a_person_is_no_allowance_in_any_format() {
    let more = json!({"event_type": "permission.check", "result": "supervised"});
    let opa = encode(Format::Opa, more.clone());
    assert_eq!(opa["result"]["allow"], false);
    let ocsf = encode(Format::Ocsf, more);
    assert_eq!(ocsf["action_id"], 2);
    assert_ne!(ocsf["status_id"], 1);
}

#[test]
fn what_is_no_decision_allows_nothing_in_a_decision_log() {
    let more = json!({"event_type": "token.rejected", "result": "denied"});
    assert_eq!(
        encode(Format::Opa, more)["result"],
        json!({"result": "denied"})
    );
    let event = encode(Format::Opa, json!({}));
    assert_eq!(event["result"], json!({"result": "success"}));
    assert_eq!(event["path"], "attache/config/changed");
    assert_eq!(event["decision_id"], "01KDVDNA00H3N8AD9Z3GEB7CX7");
}

#[test]
fn the_source_of_a_cloud_event_is_a_uri_whatever_the_writer_is_called() {
    for (writer, source) in [
        ("host/1", "urn:attache:writer:host/1"),
        ("a:b c/ü", "urn:attache:writer:a%3Ab%20c/%C3%BC"),
        ("spiffe://example.org/a", "spiffe://example.org/a"),
        ("spiffe://a b", "urn:attache:writer:spiffe%3A//a%20b"),
    ] {
        let event = encode(Format::CloudEvents, json!({"writer": writer}));
        assert_eq!(event["source"], source);
    }
}

#[test]
fn attributes_of_a_cloud_event_hold_no_control_characters_and_are_never_empty() {
    let more = json!({"resource": "a\u{7}", "trace_id": "", "tenant": "\u{85}"});
    let event = encode(Format::CloudEvents, more);
    for attribute in ["subject", "traceid", "tenant"] {
        assert_eq!(event.get(attribute), None);
    }
    assert_eq!(event["data"]["resource"], "a\u{7}");
}

#[test]
fn a_method_that_ocsf_does_not_know_stands_in_the_record_alone() {
    let http = json!({"host": "", "method": "PROPFIND", "path": "/", "protocol": "http"});
    let more = json!({"event_type": "permission.denied", "result": "denied", "http": http});
    let event = encode(Format::Ocsf, more);
    assert_eq!(event["http_request"], json!({"url": {"path": "/"}}));
    assert_eq!(event["api"]["operation"], "PROPFIND");
    assert_eq!(event["activity_name"], "Unknown");
    assert_eq!(event["unmapped"]["attache"]["http"], http);
}
