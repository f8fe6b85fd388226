//! O01 to O17 and O26: one fault after the other, at the engine and at the door.

use std::time::Duration;

use attache::policy::Accounting;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::engine;
use crate::harness::house::PATIENCE;
use crate::harness::opa::{FaultyOpa, Step, reply, says, with_status};
use crate::harness::{House, Plan, ask};

/// What a fault must lead to.
type Expected = (&'static str, Accounting);

const TIMEOUT: Expected = ("policy_timeout", Accounting::Failure);
const MALFORMED: Expected = ("policy_malformed", Accounting::Failure);
const UNAVAILABLE: Expected = ("policy_unavailable", Accounting::Failure);
const ERROR: Expected = ("policy_error", Accounting::Neither);

/// Does `act` to a question put to the engine and to one at the door.
async fn meets(name: &str, act: Vec<Step>, expected: Expected) {
    let opa = FaultyOpa::start(act).await;
    let policy = opa.policy("timeout: 400ms");

    let alone = engine(&policy);
    let error = super::ask(&alone).await.unwrap_err();
    assert_eq!(
        (error.reason().as_str(), error.counts()),
        expected,
        "{name}: {error}"
    );
    alone.close().await;

    let house = Plan {
        policy,
        ..Plan::default()
    }
    .open()
    .await;
    denies(name, &house, expected.0).await;
    house.close().await;
    opa.is_alone().await;
}

/// Denied in time, with the reason in answer, record and metrics, and a word on what policy did not say.
async fn denies(name: &str, house: &House, reason: &str) {
    let asked = Instant::now();
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert!(
        asked.elapsed() < PATIENCE / 4,
        "{name}: {:?}",
        asked.elapsed()
    );
    assert_eq!(answer.word(), reason, "{name}");
    assert_eq!(answer.http_status(), Some(503), "{name}");
    let record = house.record_of(&answer).await;
    assert_eq!(record["reason_code"], reason, "{name}");
    assert_eq!(record["policy"]["policy_id"], "error-fallback", "{name}");
    assert_ne!(record["message"], "", "{name}");
    let counted = format!("attache_opa_requests_total{{result=\"{reason}\"}}");
    assert_eq!(house.metric(&counted).await, 1, "{name}");
}

/// O01, O02.
#[tokio::test]
async fn an_opa_that_is_not_there_is_unavailable() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    for endpoint in [
        format!("http://{address}"),
        "unix:///nowhere/opa.sock".to_owned(),
    ] {
        let policy = format!("{{engine: opa, opa: {{endpoint: \"{endpoint}\"}}}}");
        let error = super::ask(&engine(&policy)).await.unwrap_err();
        assert_eq!((error.reason().as_str(), error.counts()), UNAVAILABLE);
        let house = Plan {
            policy,
            ..Plan::default()
        }
        .open()
        .await;
        denies(&endpoint, &house, UNAVAILABLE.0).await;
    }
}

/// O02: a name that leads nowhere, whether the resolver says so or keeps silent.
#[tokio::test]
async fn a_name_that_is_not_found_is_a_failure_of_opa() {
    let policy = "{engine: opa, opa: {endpoint: \"http://opa.invalid:8181\", timeout: 400ms}}";
    let error = super::ask(&engine(policy)).await.unwrap_err();
    assert_eq!(error.counts(), Accounting::Failure, "{error}");
}

/// O03, O04, O05, and a body that is shorter than it says (O17).
#[tokio::test]
async fn an_opa_that_stalls_is_a_timeout_whenever_it_stalls() {
    let whole = reply(r#"{"result": true}"#);
    let stalled = |bytes: usize| vec![Step::Send(whole[..bytes].to_vec()), Step::Hang];
    let body = whole.len() - r#"{"result": true}"#.len();
    let drip = vec![
        Step::Send(whole[..body].to_vec()),
        Step::Drip(whole[body..].to_vec(), Duration::from_millis(90)),
    ];
    for (name, act) in [
        ("nothing", vec![Step::Hang]),
        ("10 bytes", stalled(10)),
        ("the head", stalled(body)),
        ("10 bytes of the body", stalled(body + 10)),
        ("a byte now and then", drip),
    ] {
        meets(name, act, TIMEOUT).await;
    }
}

/// O07: interim responses without end.
#[tokio::test]
async fn a_flood_of_interim_responses_ends_at_the_deadline() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(64);
    meets("100", vec![Step::Flood(interim)], TIMEOUT).await;
}

/// O06.
#[tokio::test]
async fn an_answer_that_breaks_off_is_malformed() {
    let whole = reply(r#"{"result": true}"#);
    let part = Step::Send(whole[..whole.len() - 4].to_vec());
    for (name, act) in [
        ("FIN in the body", vec![part.clone(), Step::Fin]),
        (
            "RST in the body",
            vec![part, Step::Wait(Duration::from_millis(50)), Step::Reset],
        ),
    ] {
        meets(name, act, MALFORMED).await;
    }
}

#[tokio::test]
async fn an_opa_that_hangs_up_on_questions_is_unavailable() {
    let head = Step::Send(reply("{}")[..20].to_vec());
    meets("FIN", vec![Step::Fin], UNAVAILABLE).await;
    meets("FIN in the head", vec![head, Step::Fin], UNAVAILABLE).await;
    meets("RST", vec![Step::Reset], UNAVAILABLE).await;
}

/// O07.
#[tokio::test]
async fn a_status_other_than_200_is_an_error_whatever_the_body_says() {
    let body = r#"{"result": true}"#;
    for (status, headers, expected) in [
        ("500 Internal Server Error", "", UNAVAILABLE),
        ("502 Bad Gateway", "", UNAVAILABLE),
        ("503 Service Unavailable", "", UNAVAILABLE),
        ("429 Too Many Requests", "retry-after: 1\r\n", UNAVAILABLE),
        ("404 Not Found", "", ERROR),
        ("401 Unauthorized", "", ERROR),
    ] {
        let act = vec![Step::Send(with_status(status, headers, body))];
        meets(status, act, expected).await;
    }
}

/// O07.
#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = FaultyOpa::start(says(r#"{"result": true}"#)).await;
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let location = format!("location: http://{}/v1/data\r\n", elsewhere.address);
        let act = vec![Step::Send(with_status(status, &location, "{}"))];
        meets(status, act, ERROR).await;
    }
    assert_eq!(elsewhere.accepted(), 0);
}

/// An error of the policy says nothing of OPA.
#[tokio::test]
async fn an_evaluation_error_is_the_policy_s() {
    let body = r#"{"code": "internal_error", "message": "error(s) occurred while evaluating query",
        "errors": [{"code": "eval_builtin_error", "message": "div: divide by zero"}]}"#;
    let act = vec![Step::Send(with_status(
        "500 Internal Server Error",
        "",
        body,
    ))];
    meets("500", act, ERROR).await;
}

/// O08, O10, O12, O13, O17.
#[tokio::test]
async fn what_is_not_one_json_object_is_malformed() {
    let deep = format!(
        "{{\"result\": {}{}}}",
        "[".repeat(20_000),
        "]".repeat(20_000)
    );
    let gzip = with_status("200 OK", "content-encoding: gzip\r\n", "{\"result\": true}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let chunk = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n");
    let short = format!("{head}content-length: 12\r\n\r\n{{\"result\": true}}");
    let twice =
        format!("{head}content-length: 16\r\ncontent-length: 2\r\n\r\n{{\"result\": true}}");
    let sent = |bytes: Vec<u8>| vec![Step::Send(bytes)];
    for (name, act) in [
        ("empty", says("")),
        ("HTML", says("<html><body>true</body></html>")),
        ("truncated", says(r#"{"result": tr"#)),
        ("two values", says(r#"{"result": true}{"result": true}"#)),
        ("BOM", says("\u{feff}{\"result\": true}")),
        ("a list", says("[true]")),
        ("deep", says(&deep)),
        ("gzip", sent(gzip)),
        ("bad chunk", sent(chunk.into_bytes())),
        ("longer than it says", sent(short.into_bytes())),
        ("two lengths", sent(twice.into_bytes())),
        ("no HTTP", sent(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())),
    ] {
        meets(name, act, MALFORMED).await;
    }
}

/// O11, and O16 by the default limit.
#[tokio::test]
async fn a_large_answer_is_given_up_at_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let announced = [&head[..], b"content-length: 104857600\r\n\r\n"].concat();
    let chunked = [&head[..], b"transfer-encoding: chunked\r\n\r\n"].concat();
    let chunk = [b"1000\r\n", &[b' '; 0x1000][..], b"\r\n"].concat();
    let endless = [b"HTTP/1.1 200 OK\r\n", &b"x: y\r\n".repeat(10_000)[..]].concat();
    let reason = format!(
        r#"{{"result": {{"allow": true, "reason": "{}"}}}}"#,
        "x".repeat(1 << 20)
    );
    for (name, act) in [
        ("announced", vec![Step::Send(announced), Step::Hang]),
        ("in chunks", vec![Step::Send(chunked), Step::Flood(chunk)]),
        ("a large head", vec![Step::Send(endless), Step::Hang]),
        ("a large reason", says(&reason)),
    ] {
        meets(name, act, MALFORMED).await;
    }
}

/// O08, O09, O14, O15.
#[tokio::test]
async fn only_a_well_formed_yes_allows() {
    let opa = FaultyOpa::start(says("{}")).await;
    let house = Plan {
        policy: opa.policy_uncached(""),
        ..Plan::default()
    }
    .open()
    .await;
    for (body, word) in [
        ("{}", "policy_undefined"),
        (r#"{"provenance": {"version": "1"}}"#, "policy_undefined"),
        (r#"{"result": null}"#, "policy_error"),
        (r#"{"result": "true"}"#, "policy_error"),
        (r#"{"result": [true]}"#, "policy_error"),
        (r#"{"result": {}}"#, "policy_error"),
        (r#"{"result": {"allowed": true}}"#, "policy_error"),
        (
            r#"{"result": {"allow": true, "obligation": 1}}"#,
            "policy_error",
        ),
        (
            r#"{"result": {"allow": true, "tier": "absent"}}"#,
            "policy_error",
        ),
        (r#"{"result": false}"#, "policy_denied"),
        (
            r#"{"result": {"allow": true, "tier": "forbidden"}}"#,
            "tier_forbidden",
        ),
        (r#"{"result": true}"#, "allow"),
        (r#"{"result": {"allow": true}}"#, "allow"),
    ] {
        opa.act(says(body));
        assert_eq!(house.word(ask("GET", "/documents/1")).await, word, "{body}");
    }
    opa.act(says(
        r#"{"result": {"allow": false, "reason": "no\r\nset-cookie: a=b", "policy_id": "night"},
        "provenance": {"bundles": {"authz": {"revision": "v7"}}}}"#,
    ));
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(answer.word(), "policy_denied");
    let record = house.record_of(&answer).await;
    assert_eq!(record["policy"]["policy_id"], "night");
    let revision = record["policy"]["revision"].as_str().unwrap();
    assert!(
        revision.starts_with("opa:") && revision.ends_with(":authz=v7"),
        "{revision}"
    );
    // O16: the policy's words reach neither the client nor a line of their own in the log.
    assert!(!answer.denied.unwrap().body.contains("set-cookie"));
    assert!(record["message"].as_str().unwrap().contains("set-cookie"));
    let lines = std::fs::read_to_string(house.dir.path().join("audit.jsonl")).unwrap();
    assert!(lines.lines().all(|line| line.starts_with('{')), "{lines}");
}

/// O23.
#[tokio::test]
async fn nothing_of_a_request_becomes_part_of_the_address() {
    let opa = FaultyOpa::start(says(r#"{"result": true}"#)).await;
    let house = Plan {
        policy: opa.policy(""),
        ..Plan::default()
    }
    .open()
    .await;
    assert_eq!(
        house.word(ask("GET", "/documents/..%3bx?a=/v1/data")).await,
        "ambiguous_path"
    );
    assert_eq!(
        house.word(ask("GET", "/documents/x.y?a=/v1/data")).await,
        "allow"
    );
    let line = "POST /v1/data/agentweave/authz/allow?strict-builtin-errors=true&provenance=true HTTP/1.1\r\n";
    for question in opa.questions() {
        assert!(question.starts_with(line), "{question}");
        assert!(
            !question.to_ascii_lowercase().contains("accept-encoding"),
            "{question}"
        );
    }
}

/// O26.
#[tokio::test]
async fn an_answer_after_the_deadline_is_not_taken_for_a_later_question_s() {
    let late = vec![
        Step::Wait(Duration::from_millis(300)),
        Step::Send(reply(r#"{"result": true}"#)),
    ];
    let opa = FaultyOpa::start_with([late, says(r#"{"result": false}"#)]).await;
    let house = Plan {
        policy: opa.policy("timeout: 100ms"),
        ..Plan::default()
    }
    .open()
    .await;
    assert_eq!(
        house.word(ask("GET", "/documents/1")).await,
        "policy_timeout"
    );
    for _ in 0..20 {
        assert_eq!(
            house.word(ask("GET", "/documents/1")).await,
            "policy_denied"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
