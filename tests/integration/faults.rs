//! What goes wrong around a decision: every fault is answered with a denial and leaves one record.

use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::message::{header, headers, raw};
use crate::harness::wire::{CHECK, Reply, Wire, framed};
use crate::harness::{Answer, House, Plan, ask};

/// Says yes, but takes many seconds for it where asked to: three to the fourteenth steps.
const SLOW: &str = r#"
package agentweave.authz

default allow := true

allow := false if {
    input.request.params.id == "slow"
    n := [1, 2, 3]
    count([1 |
        n[_]; n[_]; n[_]; n[_]; n[_]; n[_]; n[_]
        n[_]; n[_]; n[_]; n[_]; n[_]; n[_]; n[_]
    ]) == 0
}
"#;

/// [`SLOW`], which the engine gives up after two seconds.
fn slow(more: &str) -> Plan {
    Plan {
        rego: SLOW.to_owned(),
        policy: "time_limit: 2s".to_owned(),
        more: more.to_owned(),
        ..Plan::default()
    }
}

fn check_bytes() -> Vec<u8> {
    ask("GET", "/documents/1").encode_to_vec()
}

fn decisions(records: &[Value]) -> Vec<&Value> {
    let of_permission = |record: &&Value| {
        let event = record["event_type"].as_str().unwrap();
        event.starts_with("permission.")
    };
    records.iter().filter(of_permission).collect()
}

/// How many requests the records stand for: repeated refusals are folded, with a count.
fn recorded(records: &[Value]) -> u64 {
    let count = |record: &&Value| record["count"].as_u64().unwrap_or(1);
    decisions(records).iter().map(count).sum()
}

#[tokio::test]
async fn bytes_that_are_no_message_are_denied() {
    // E03
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    let valid = check_bytes();
    let mut endless = vec![0x0a; 300];
    endless.extend([0xff; 10]);
    for (what, body) in [
        ("garbage", framed(&[0xff; 40])),
        ("a message cut off", framed(&valid[..valid.len() - 3])),
        ("groups of old", framed(&[0x0b; 40])),
        ("nested without end", framed(&endless)),
        ("not UTF-8", framed(b"\x0a\x05\x0a\x03\x22\x01\xff")),
        ("no frame at all", Vec::new()),
        ("half a frame", framed(&valid)[..100].to_vec()),
        ("a frame without its message", vec![0, 0, 0, 4, 0]),
        (
            "a flag nobody knows",
            [vec![7], framed(&valid)[1..].to_vec()].concat(),
        ),
        (
            "compressed, though not agreed",
            [vec![1], framed(&valid)[1..].to_vec()].concat(),
        ),
    ] {
        let answer = wire.call(CHECK, &[], body).await.answer();
        assert_eq!(answer.word(), "bad_request", "{what}: {answer:?}");
        assert_eq!(answer.http_status(), Some(403));
        let record = house.record_of(&answer).await;
        assert_eq!(record["actor"], json!({"type": "unknown"}), "{what}");
        assert_eq!(record["event_type"], "permission.denied");
    }
    // The connection lives, and so does an honest caller on it.
    let answer = wire.call(CHECK, &[], framed(&valid)).await.answer();
    assert!(answer.is_allowed());
}

#[tokio::test]
async fn an_encoding_that_is_not_served_is_denied() {
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    for encoding in ["gzip", "zstd", "snappy"] {
        let headers = [("grpc-encoding", encoding)];
        let reply = wire.call(CHECK, &headers, framed(&check_bytes())).await;
        let answer = reply.answer();
        assert_eq!(answer.word(), "bad_request", "{encoding}");
        house.record_of(&answer).await;
    }
    let headers = [
        ("grpc-encoding", "identity"),
        ("grpc-accept-encoding", "gzip"),
    ];
    let reply = wire.call(CHECK, &headers, framed(&check_bytes())).await;
    assert!(reply.answer().is_allowed());
}

#[tokio::test]
async fn a_message_over_the_limit_is_denied_and_one_below_is_read() {
    // E41
    let house = Plan::with("limits: {max_message: 64KiB}").open().await;
    let sized = |bytes: usize| {
        let mut request = ask("GET", "/documents/1");
        let missing = bytes - request.encoded_len();
        headers(&mut request).push(raw("x-filler", &"f".repeat(missing)));
        // The lengths that name lengths take room too.
        let over = request.encoded_len() - bytes;
        headers(&mut request).pop();
        headers(&mut request).push(raw("x-filler", &"f".repeat(missing - over)));
        assert!(request.encoded_len().abs_diff(bytes) <= 2);
        request
    };
    assert_eq!(house.word(sized(64 * 1024 - 2)).await, "allow");
    let answer = house.check(sized(64 * 1024 + 3)).await;
    assert_eq!(answer.word(), "request_too_large");
    assert_eq!(answer.http_status(), Some(503));
    let record = house.record_of(&answer).await;
    assert_eq!(record["reason_code"], "request_too_large");
}

#[tokio::test]
async fn nothing_but_check_is_served() {
    // E47, E48
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    for path in [
        "/envoy.service.auth.v2.Authorization/Check",
        "/envoy.service.auth.v3.Authorization/Delete",
        "/envoy.service.auth.v3.Authorization/check",
        "/envoy.service.auth.v3.Authorization/Chec%6b",
        "/envoy.service.auth.v3.Authorization/Check/",
        "/envoy.service.auth.v3.Authorization",
        "/envoy.service.auth.v4.Authorization/Check",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/",
    ] {
        let reply = wire.call(path, &[], framed(&check_bytes())).await;
        assert_eq!(reply.grpc_status(), "12", "{path}");
        assert!(reply.body.is_empty(), "{path}");
    }
}

#[tokio::test]
async fn an_unreadable_timeout_is_not_no_timeout() {
    // E51
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    for timeout in [
        "99999999H",
        "garbage",
        "",
        "1.5S",
        "-1S",
        "\t",
        "999999999S",
    ] {
        let headers = [("grpc-timeout", timeout)];
        let reply = wire.call(CHECK, &headers, framed(&check_bytes())).await;
        assert!(reply.answer().is_allowed(), "{timeout:?}");
    }
    // Nor does it lift our own limit.
    let house = slow("limits: {request_timeout: 150ms}").open().await;
    let mut wire = Wire::connect(&house.address).await;
    let slow = framed(&ask("GET", "/documents/slow").encode_to_vec());
    let reply = wire.call(CHECK, &[("grpc-timeout", "garbage")], slow).await;
    assert_eq!(reply.answer().http_status(), Some(503));
}

#[tokio::test]
async fn a_deadline_that_has_passed_is_recorded_and_policy_not_asked() {
    // E50
    let house = Plan::with_policy(
        "package agentweave.authz\n\nallow := {\"allow\": true, \"reason\": \"asked\"}\n",
    )
    .open()
    .await;
    let mut wire = Wire::connect(&house.address).await;
    for timeout in ["1n", "0m", "1u", "20m"] {
        let headers = [("grpc-timeout", timeout)];
        let reply = wire.call(CHECK, &headers, framed(&check_bytes())).await;
        match reply.grpc_status() {
            "0" => assert_eq!(reply.answer().word(), "deadline_exceeded", "{timeout}"),
            // The proxy's own time is up: nobody reads what we say.
            status => assert_eq!(status, "1", "{timeout}: {reply:?}"),
        }
    }
    let records = house.close().await;
    let decisions = decisions(&records);
    assert_eq!(decisions.len(), 4, "{decisions:#?}");
    for record in decisions {
        assert_eq!(record["reason_code"], "deadline_exceeded");
        // Nothing of policy's own, which would say `asked`; where the call itself is gone, nothing of policy at all.
        assert_ne!(record["message"], "asked");
        let policy = record.get("policy");
        assert!(
            policy.is_none_or(|it| it["policy_id"] == "error-fallback"),
            "{record}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_takes_too_long_is_given_up() {
    // E52
    let house = slow("limits: {request_timeout: 150ms}").open().await;
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let answer = house.check(ask("GET", "/documents/slow")).await;
        assert_eq!(answer.word(), "policy_timeout");
        assert_eq!(answer.http_status(), Some(503));
        let record = house.record_of(&answer).await;
        let took = Duration::from_micros(record["latency_us"].as_u64().unwrap());
        quickest = quickest.min(took);
    }
    // Envoy waits 200 ms; the policy would go on for two seconds. A busy machine may be late, but not every time.
    assert!(quickest < Duration::from_millis(200), "{quickest:?}");
}

#[tokio::test]
async fn a_policy_over_its_own_limit_is_a_policy_timeout() {
    let house = Plan {
        rego: SLOW.to_owned(),
        policy: "time_limit: 50ms".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let answer = house.check(ask("GET", "/documents/slow")).await;
    assert_eq!(answer.word(), "policy_timeout");
    assert_eq!(answer.http_status(), Some(503));
    // B9: the record says that no policy took part in the decision, and which one was asked.
    let record = house.record_of(&answer).await;
    assert_eq!(record["policy"]["policy_id"], "error-fallback");
    assert!(record["policy"]["revision"].is_string(), "{record}");
}

#[tokio::test]
async fn a_request_that_never_arrives_whole_is_denied_in_time() {
    let house = Plan::with("limits: {request_timeout: 150ms}").open().await;
    let mut wire = Wire::connect(&house.address).await;
    let (response, mut stream) = wire.begin(CHECK, &[]).await;
    let frame = framed(&check_bytes());
    stream
        .send_data(frame[..50].to_vec().into(), false)
        .unwrap();
    let answer = Reply::read(response).await.answer();
    assert_eq!(answer.word(), "deadline_exceeded");
    let record = house.record_of(&answer).await;
    assert_eq!(record["message"], "the request stalled");
    drop(stream);
    assert_eq!(decisions(&house.close().await).len(), 1);
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_request_arrives_is_recorded() {
    // E50
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    let (response, mut stream) = wire.begin(CHECK, &[("grpc-timeout", "20m")]).await;
    let frame = framed(&check_bytes());
    stream
        .send_data(frame[..50].to_vec().into(), false)
        .unwrap();
    // Nobody waits for more than the gRPC error.
    assert_ne!(Reply::read(response).await.grpc_status(), "0");
    let record = house.record(|it| it["message"] == GONE).await;
    assert_eq!(record["actor"], json!({"type": "unknown"}));
    assert_eq!(house.metric(ABANDONED).await, 1);
    assert_eq!(decisions(&house.close().await).len(), 1);
}

#[tokio::test]
async fn more_requests_than_fit_are_denied_at_once() {
    let house = Plan::with("limits: {max_in_flight: 1, request_timeout: 10s}")
        .open()
        .await;
    let mut wire = Wire::connect(&house.address).await;
    let mut asked = 0;
    let (overloaded, unfinished) = loop {
        // One that never arrives whole takes the only place, if it comes first.
        let unfinished = wire.begin(CHECK, &[]).await;
        let answer = house.check(ask("GET", "/documents/1")).await;
        asked += 2;
        if !answer.is_allowed() {
            break (answer, unfinished);
        }
    };
    assert_eq!(overloaded.word(), "overloaded");
    assert_eq!(overloaded.http_status(), Some(503));
    let record = house.record_of(&overloaded).await;
    assert_eq!(record["reason_code"], "overloaded");

    // Gone, its place is free again.
    drop(unfinished);
    while !house.check(ask("GET", "/documents/1")).await.is_allowed() {
        asked += 1;
    }
    asked += 1;
    // Those that never became a question are on record all the same.
    assert_eq!(recorded(&house.close().await), asked);
}

#[tokio::test]
async fn a_call_that_the_proxy_gives_up_leaves_one_record() {
    let house = slow("limits: {max_in_flight: 1, request_timeout: 10s}")
        .open()
        .await;
    let mut wire = Wire::connect(&house.address).await;
    let slow = framed(&ask("GET", "/documents/slow").encode_to_vec());
    let mut asked = 0;
    let call = loop {
        let (response, mut stream) = wire.begin(CHECK, &[]).await;
        stream.send_data(slow.clone().into(), true).unwrap();
        // The place is taken: by this call, or not yet free from the one before.
        let answer = house.check(ask("GET", "/documents/1")).await;
        asked += 2;
        if answer.word() == "overloaded" {
            break (response, stream);
        }
    };
    drop(call);
    let record = house.record(|it| it["message"] == GONE).await;
    assert_eq!(record["event_type"], "permission.denied");
    assert_eq!(record["reason_code"], "deadline_exceeded");
    assert_eq!(record["resource"], "documents/slow");
    assert!(house.metric(ABANDONED).await >= 1);
    assert_eq!(recorded(&house.close().await), asked);
}

const GONE: &str = "the asker went away before the decision";
const ABANDONED: &str =
    "attache_checks_total{outcome=\"abandoned\",reason=\"none\",mode=\"enforce\"}";

#[tokio::test]
async fn decisions_are_counted_by_outcome_and_reason() {
    let house = House::open().await;
    for _ in 0..3 {
        house.check(ask("GET", "/documents/1")).await;
    }
    house.check(ask("GET", "/unheard-of")).await;
    house.check(ask("GET", "/trial/1")).await;
    for (labels, count) in [
        ("outcome=\"allow\",reason=\"none\",mode=\"enforce\"", 3),
        (
            "outcome=\"deny\",reason=\"route_unmatched\",mode=\"enforce\"",
            1,
        ),
        (
            "outcome=\"deny\",reason=\"out_of_scope\",mode=\"shadow\"",
            1,
        ),
    ] {
        let sample = format!("attache_checks_total{{{labels}}}");
        assert_eq!(house.metric(&sample).await, count, "{sample}");
    }
    assert_eq!(
        house.metric("attache_check_duration_seconds_count").await,
        5
    );
    assert_eq!(house.metric("attache_shadowed_routes").await, 1);
}

#[tokio::test]
async fn many_at_once_are_all_answered_and_all_recorded() {
    // A12, A21: with little time for each, so that some are late.
    let house = Plan::with("limits: {request_timeout: 20ms}").open().await;
    let calls = (0..200).map(|number| {
        let mut client = house.client();
        let path = match number % 4 {
            0 => "/documents/1",
            1 => "/unheard-of",
            2 => "/documents//1",
            _ => "/trial/1",
        };
        let request = header(ask("GET", path), "x-number", &number.to_string());
        async move {
            let response: CheckResponse = client.check(request).await.unwrap().into_inner();
            Answer::read(response)
        }
    });
    let answers = futures::future::join_all(calls).await;
    let mut ids: Vec<_> = answers
        .iter()
        .map(|it| it.decision_id().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 200);
    let records = house.close().await;
    assert_eq!(recorded(&records), 200, "{records:#?}");
}

#[tokio::test]
async fn silent_connections_do_not_keep_proxies_out() {
    // X03
    let more = "limits: {handshake_timeout: 300ms, max_connections: 4, request_timeout: 10s}";
    let house = Plan {
        more: more.to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let socket = house.dir.path().join("authz.sock");
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(tokio::net::UnixStream::connect(&socket).await.unwrap());
    }
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert!(answer.is_allowed(), "{answer:?}");
}

#[tokio::test]
async fn peers_that_may_not_ask_take_no_places() {
    let house = Plan {
        more: "identity: {trust_uids: [4242]}\nlimits: {max_in_flight: 1, request_timeout: 10s}"
            .to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    // Its message never ends; were it let in, it would hold the one place there is.
    let mut wire = Wire::connect(&house.address).await;
    let (response, _never_ended) = wire.begin(CHECK, &[]).await;
    assert_eq!(
        Reply::read(response).await.answer().word(),
        "untrusted_peer"
    );
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(answer.word(), "untrusted_peer");
}
