//! `attache.v1.AuthorizationService`: programs that ask about operations in words, over a real socket and in process.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use attache::app::rehearsal_authority;
use attache::authority::{
    Authority, AuthorizationProvider, AuthzDecision, Deadline, GivenContext, INQUIRY_TIME, Inquiry,
    Outcome,
};
use attache::clock::SystemClock;
use attache::config::Config;
use attache::grpc::{AuthorizationClient, Rehearsal, RequestFlags};
use attache::identity::Peer;
use attache::permission::Tier;
use attache::socket::Address;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config as Runs, TestRunner};
use prost::Message as _;
use serde_json::{Map, Value, json};
use tokio::net::UnixListener;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::harness::decisions::{
    BATCH_CHECK, Batch, BatchDecisions, CHECK, CheckRequest, Decision, HEALTH_CHECK, Health,
    Nothing, about, call,
};
use crate::harness::house::eventually_async;
use crate::harness::wire::{Wire, framed};
use crate::harness::{House, Plan, REPORTING, ask};

/// Reads what the asker gives, and speaks.
const POLICY: &str = r#"
package agentweave.authz

default allow := false

allow := {"allow": true, "reason": "in office hours", "policy_id": "hours"} if {
    input.context.hour >= 8
    not input.request
}
allow := {"allow": false, "reason": "come back tomorrow", "policy_id": "hours"} if {
    input.context.hour < 8
}
allow := true if not input.context.hour
"#;

fn unix(house: &House) -> String {
    let Address::Unix { path, .. } = &house.address else {
        panic!("not a Unix socket: {}", house.address);
    };
    format!("unix:{}", path.display())
}

fn client(house: &House) -> AuthorizationClient {
    AuthorizationClient::new(&unix(house)).unwrap()
}

fn members(json: &Value) -> Map<String, Value> {
    json.as_object().unwrap().clone()
}

async fn check(channel: &Channel, question: CheckRequest) -> Decision {
    call(channel, CHECK, question).await.unwrap()
}

async fn batch(
    channel: &Channel,
    checks: Vec<CheckRequest>,
) -> Result<Vec<Decision>, tonic::Status> {
    let answer: BatchDecisions = call(channel, BATCH_CHECK, Batch { checks }).await?;
    Ok(answer.decisions)
}

fn is_ulid(text: &str) -> bool {
    text.len() == 26 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

// === The contract of every provider ===

/// What every provider keeps, asked by somebody who may name callers, by [`POLICY`] and the usual tables.
async fn keeps_the_contract(provider: &dyn AuthorizationProvider) {
    // B1, B2
    let (doc, read) = ("documents/42", "read");
    let nothing = Map::new();
    let allowed = provider.check(REPORTING, doc, read, &nothing).await;
    assert!(allowed.allowed(), "{allowed:?}");
    assert_eq!(allowed.reason_code(), None);
    assert_eq!(allowed.tier(), Some(Tier::Free));
    assert_eq!(allowed.policy_id(), None);
    assert!(!allowed.reason().is_empty());

    let office = members(&json!({"hour": 9, "place": {"floor": [1, 2.5, null, true]}}));
    let spoken = provider.check(REPORTING, doc, read, &office).await;
    assert!(spoken.allowed(), "{spoken:?}");
    assert_eq!(
        (spoken.reason(), spoken.policy_id()),
        ("in office hours", Some("hours"))
    );
    let night = provider
        .check(REPORTING, doc, read, &members(&json!({"hour": 7.0})))
        .await;
    assert_eq!(night.reason_code(), Some("policy_denied"));
    assert_eq!(
        (night.reason(), night.policy_id()),
        ("come back tomorrow", Some("hours"))
    );

    let mut ids = BTreeSet::new();
    for decision in [&allowed, &spoken, &night] {
        assert!(is_ulid(decision.audit_id()), "{decision:?}");
        assert!(ids.insert(decision.audit_id().to_owned()));
    }
    let deep = (0..20).fold(json!(1), |inner, _| json!([inner]));
    let endless = (0..200).fold(json!(1), |inner, _| json!([inner]));
    for (caller, resource, action, context, word) in [
        (REPORTING, doc, "delete", json!({}), "approval_required"),
        (REPORTING, doc, "purge", json!({}), "tier_forbidden"),
        (REPORTING, "billing/7", read, json!({}), "out_of_scope"),
        (
            "spiffe://example.org/svc/nobody",
            doc,
            read,
            json!({}),
            "out_of_scope",
        ),
        (
            "spiffe://example.org/agent/a",
            doc,
            read,
            json!({}),
            "orphan_agent",
        ),
        (
            "spiffe://evil.example/svc/a",
            doc,
            read,
            json!({}),
            "foreign_trust_domain",
        ),
        ("reporting", doc, read, json!({}), "invalid_identity"),
        ("", doc, read, json!({}), "no_identity"),
        (REPORTING, "", read, json!({}), "bad_request"),
        (REPORTING, doc, "", json!({}), "bad_request"),
        (REPORTING, "documents/**", read, json!({}), "bad_request"),
        (REPORTING, doc, "*", json!({}), "bad_request"),
        (REPORTING, doc, read, json!({"a": deep}), "bad_request"),
        (REPORTING, doc, read, json!({"a": endless}), "bad_request"),
        (
            REPORTING,
            doc,
            read,
            json!({"a": "x".repeat(70_000)}),
            "bad_request",
        ),
        (REPORTING, doc, read, json!({"a": u64::MAX}), "bad_request"),
        (
            REPORTING,
            "spiffe://example.org/svc/a",
            read,
            json!({}),
            "out_of_scope",
        ),
        // An object is more than any number; that it is no hour policy must see to.
        (REPORTING, doc, read, json!({"hour": {}}), "allow"),
    ] {
        let decision = provider
            .check(caller, resource, action, &members(&context))
            .await;
        let told = decision.reason_code().unwrap_or("allow");
        assert_eq!(told, word, "{caller} {resource} {action}");
        assert_eq!(decision.allowed(), word == "allow");
        assert!(is_ulid(decision.audit_id()) && !decision.reason().is_empty());
        assert!(ids.insert(decision.audit_id().to_owned()));
    }
    assert!(provider.health_check().await);
}

#[tokio::test]
async fn the_authority_itself_keeps_the_contract() {
    keeps_the_contract(&in_process(&Plan::with_policy(POLICY))).await;
}

#[tokio::test]
async fn the_client_keeps_the_contract() {
    let house = Plan::with_policy(POLICY).open().await;
    keeps_the_contract(&client(&house)).await;
    let records = house.close().await;
    let decided = |it: &&Value| it["decision_id"].is_string();
    // Also the one that no decoder reads: it has its name from the error.
    assert_eq!(records.iter().filter(decided).count(), 21);
}

fn in_process(plan: &Plan) -> Authority {
    let (_dir, file) = plan.lay_out();
    let config = Config::read(&file).unwrap_or_else(|error| panic!("{error}"));
    rehearsal_authority(config, Arc::new(SystemClock)).unwrap()
}

// === The same law at both doors ===

/// The proxy may name the operation, so that both doors can be asked about any.
const FREE_CHOICE: &str = "identity: {context_extensions: [unix]}\n";

/// Refuses and raises by what both doors show of an operation.
const EQUAL: &str = r#"
package agentweave.authz

allow := {"allow": true, "policy_id": "yes"} if input.action in {"read", "delete"}
allow := {"allow": true, "tier": "supervised"} if input.action == "update"
allow := false if input.action == "call"
"#;

#[test]
fn an_equal_operation_gets_an_equal_decision_at_both_doors() {
    let plan = Plan {
        more: FREE_CHOICE.to_owned(),
        ..Plan::with_policy(EQUAL)
    };
    let authority = in_process(&plan);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let caller = prop_oneof![
        6 => Just(REPORTING.to_owned()),
        1 => Just("spiffe://example.org/agent/a".to_owned()),
        1 => Just("spiffe://example.org/svc/other".to_owned()),
        1 => Just("spiffe://evil.example/svc/a".to_owned()),
        1 => Just("spiffe://EXAMPLE.org/svc/a".to_owned()),
        1 => ".{1,12}",
    ];
    let resource = prop_oneof![
        4 => "(documents|reports|trial|admin|echo|billing)(/[a-z0-9]{1,3}){0,2}",
        1 => "[a/.*:@ ü]{1,6}",
    ];
    let action = prop_oneof![
        6 => prop::sample::select(vec!["read", "update", "delete", "purge", "create", "call"])
            .prop_map(str::to_owned),
        1 => "[a*/@: ]{1,3}",
    ];
    let mut words = BTreeSet::new();
    let seen = std::cell::RefCell::new(&mut words);
    let mut runner = TestRunner::new(Runs {
        cases: 600,
        failure_persistence: None,
        ..Runs::default()
    });
    let result = runner.run(&(caller, resource, action), |(caller, resource, action)| {
        let by_request = Rehearsal::from(RequestFlags {
            caller: Some(caller.clone()),
            method: "POST".to_owned(),
            host: "localhost".to_owned(),
            path: "/no/such/route".to_owned(),
            extensions: vec![
                ("resource".to_owned(), resource.clone()),
                ("action".to_owned(), action.clone()),
            ],
            ..RequestFlags::default()
        });
        let peer = Peer::Unix { uid: None };
        let inquiry = Inquiry {
            peer: Some(peer.clone()),
            caller: &caller,
            resource: &resource,
            action: &action,
            context: Ok(GivenContext::default()),
        };
        let (decision, findings) =
            runtime.block_on(by_request.decide(&authority, peer, INQUIRY_TIME));
        let told = runtime.block_on(authority.inquire(&inquiry, Deadline::after(INQUIRY_TIME)));
        let word = match &decision.outcome {
            Outcome::Allow(_) => "allow",
            Outcome::Deny(denial) => denial.reason.as_str(),
        };
        prop_assert_eq!(told.reason_code().unwrap_or("allow"), word);
        prop_assert_eq!(told.tier(), decision.tier.filter(|it| *it != Tier::Absent));
        let rule = findings.verdict.and_then(|it| it.policy_id);
        prop_assert_eq!(told.policy_id(), rule.as_deref());
        seen.borrow_mut().insert(word.to_owned());
        Ok(())
    });
    result.unwrap();
    // It was not about one kind of answer only.
    for word in [
        "allow",
        "approval_required",
        "tier_forbidden",
        "out_of_scope",
        "orphan_agent",
        "bad_request",
        "invalid_identity",
        "foreign_trust_domain",
    ] {
        assert!(words.contains(word), "{word} never came: {words:?}");
    }
}

// === Over the socket ===

#[tokio::test]
async fn a_decision_is_on_record_under_its_audit_id() {
    // B2, B12
    let house = House::open().await;
    let allowed = check(&house.channel, about(REPORTING, "documents/1", "read")).await;
    assert_eq!((allowed.word(), allowed.tier), ("allow", 1));
    let record = house
        .record(|it| it["decision_id"] == *allowed.audit_id)
        .await;
    assert_eq!(record["event_type"], "permission.check");
    assert_eq!(record["result"], "allowed");
    assert_eq!(record["pep"]["type"], "unix");
    assert_eq!(record["actor"]["id"], REPORTING);
    assert_eq!(record.get("http"), None);
    assert_eq!(record["mode"], "enforce");

    let waits = check(&house.channel, about(REPORTING, "documents/1", "delete")).await;
    assert_eq!((waits.word(), waits.tier), ("approval_required", 2));
    let record = house
        .record(|it| it["decision_id"] == *waits.audit_id)
        .await;
    assert_eq!(
        (&record["event_type"], &record["result"]),
        (&json!("permission.check"), &json!("supervised"))
    );

    let denied = check(&house.channel, about(REPORTING, "billing/1", "read")).await;
    assert_eq!((denied.word(), denied.tier), ("out_of_scope", 0));
    let record = house
        .record(|it| it["decision_id"] == *denied.audit_id)
        .await;
    assert_eq!(record["event_type"], "permission.denied");
    let counted = house
        .metric(r#"attache_checks_total{outcome="deny",reason="out_of_scope",mode="enforce"}"#);
    assert_eq!(counted.await, 1);
}

#[tokio::test]
async fn a_batch_is_decided_in_order_each_with_a_record() {
    let house = House::open().await;
    let questions = [
        ("documents/1", "read", "allow"),
        ("documents/1", "delete", "approval_required"),
        ("documents/1", "*", "bad_request"),
        ("documents/2", "read", "allow"),
        ("billing/1", "read", "out_of_scope"),
    ];
    let checks = questions.map(|(resource, action, _)| about(REPORTING, resource, action));
    let decisions = batch(&house.channel, checks.to_vec()).await.unwrap();
    let words: Vec<_> = decisions.iter().map(Decision::word).collect();
    assert_eq!(words, questions.map(|(_, _, word)| word));
    let ids: BTreeSet<_> = decisions.iter().map(|it| it.audit_id.clone()).collect();
    assert_eq!(ids.len(), questions.len());
    for (decision, (resource, _, word)) in decisions.iter().zip(questions) {
        let record = house
            .record(|it| it["decision_id"] == *decision.audit_id)
            .await;
        if word != "bad_request" {
            assert_eq!(record["resource"], resource);
        }
    }
}

#[tokio::test]
async fn a_batch_of_none_or_too_many_is_no_question() {
    let house = House::open().await;
    let one = about(REPORTING, "documents/1", "read");
    let most = batch(&house.channel, vec![one.clone(); 100]).await.unwrap();
    assert_eq!(most.len(), 100);
    for checks in [Vec::new(), vec![one; 101]] {
        let error = batch(&house.channel, checks).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
    }
    let refused = |it: &Value| it["reason_code"] == "bad_request";
    let record = house.record(refused).await;
    assert!(
        record["message"].as_str().unwrap().contains("1 to 100"),
        "{record}"
    );
}

#[tokio::test]
async fn what_is_no_message_is_an_error_on_record_and_never_a_check_response() {
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    let whole = about(REPORTING, "documents/1", "read").encode_to_vec();
    let large = about(REPORTING, &"a".repeat(2_000_000), "read").encode_to_vec();
    let deep = (0..120).fold(Vec::new(), |inner: Vec<u8>, _| {
        // A list value within a value, again and again.
        let list = [vec![0x0a], varint(inner.len()), inner].concat();
        [vec![0x32], varint(list.len()), list].concat()
    });
    let entry = [vec![0x0a, 1, b'a', 0x12], varint(deep.len()), deep].concat();
    let context = [vec![0x0a], varint(entry.len()), entry].concat();
    let nested = [whole.clone(), vec![0x22], varint(context.len()), context].concat();
    for (what, body, status, word) in [
        ("garbage", framed(&[0xff; 40]), "3", "bad_request"),
        (
            "cut off",
            framed(&whole[..whole.len() - 3]),
            "3",
            "bad_request",
        ),
        ("not text", framed(b"\x0a\x01\xff"), "3", "bad_request"),
        ("nested without end", framed(&nested), "3", "bad_request"),
        ("no message", Vec::new(), "3", "bad_request"),
        ("too large", framed(&large), "8", "request_too_large"),
    ] {
        let reply = wire.call(CHECK, &[], body).await;
        assert_eq!(reply.grpc_status(), status, "{what}: {reply:?}");
        assert!(reply.body.is_empty(), "{what}");
        house.record(|it| it["reason_code"] == word).await;
    }
    let records = house.close().await;
    let refusals = records
        .iter()
        .filter(|it| it["event_type"] == "permission.denied");
    let count = |it: &Value| it["count"].as_u64().unwrap_or(1);
    assert_eq!(refusals.map(count).sum::<u64>(), 6);
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

#[tokio::test]
async fn bytes_of_any_kind_are_never_allowed() {
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..200 {
        let bytes = prop::collection::vec(any::<u8>(), 0..100);
        let bytes = bytes.new_tree(&mut runner).unwrap().current();
        let reply = wire.call(CHECK, &[], framed(&bytes)).await;
        if reply.grpc_status() == "0" {
            let decision = Decision::decode(&reply.body[5..]).unwrap();
            assert!(
                !decision.allowed && !decision.audit_id.is_empty(),
                "{bytes:?}"
            );
        }
    }
}

#[tokio::test]
async fn other_methods_of_the_service_do_not_exist() {
    let house = House::open().await;
    for path in [
        "/attache.v1.AuthorizationService/Grant",
        "/attache.v1.AuthorizationService/check",
        "/attache.v2.AuthorizationService/Check",
    ] {
        let question = about(REPORTING, "documents/1", "read");
        let answer: Result<Decision, _> = call(&house.channel, path, question).await;
        assert_eq!(answer.unwrap_err().code(), Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn the_service_is_not_on_tcp_where_anything_in_the_pod_could_ask() {
    let plan = Plan {
        listener: "{tcp: \"127.0.0.1:0\"}".to_owned(),
        ..Plan::with("identity: {trust_local: loopback}\n")
    };
    let house = plan.open().await;
    assert!(house.check(ask("GET", "/documents/1")).await.is_allowed());
    let question = about(REPORTING, "documents/1", "read");
    let answer: Result<Decision, _> = call(&house.channel, CHECK, question).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_user_that_is_not_trusted_is_turned_away_on_record() {
    let house = Plan::with("identity: {trust_uids: [4294967294]}\n")
        .open()
        .await;
    let client = client(&house);
    let decision = client
        .check(REPORTING, "documents/1", "read", &Map::new())
        .await;
    assert_eq!(decision.reason_code(), Some("untrusted_peer"));
    let record = house
        .record(|it| it["decision_id"] == *decision.audit_id())
        .await;
    assert_eq!(record["reason_code"], "untrusted_peer");
    assert!(!client.health_check().await);
}

#[tokio::test]
async fn a_deadline_of_the_asker_is_a_denial_in_time() {
    // Less than the way back takes: nothing is left to ask policy in.
    let house = House::open().await;
    let mut wire = Wire::connect(&house.address).await;
    let question = framed(&about(REPORTING, "documents/1", "read").encode_to_vec());
    let reply = wire.call(CHECK, &[("grpc-timeout", "20m")], question).await;
    assert_eq!(reply.grpc_status(), "0");
    let decision = Decision::decode(&reply.body[5..]).unwrap();
    assert_eq!(decision.word(), "deadline_exceeded");
    assert_eq!(decision.policy_id, "error-fallback");
    house
        .record(|it| it["decision_id"] == *decision.audit_id)
        .await;
}

#[tokio::test]
async fn an_asker_that_goes_away_half_way_is_on_record() {
    let house = Plan::with("limits: {max_in_flight: 1}").open().await;
    let mut wire = Wire::connect(&house.address).await;
    let unfinished = loop {
        let begun = wire.begin(CHECK, &[]).await;
        // The place is taken: by this call, or not yet free from the one before.
        let question = about(REPORTING, "documents/1", "read");
        let other: Result<Decision, _> = call(&house.channel, CHECK, question).await;
        match other {
            Err(status) if status.code() == Code::Unavailable => break begun,
            other => assert!(other.unwrap().allowed),
        }
    };
    // Proxies have places of their own.
    assert!(house.check(ask("GET", "/documents/1")).await.is_allowed());
    drop(unfinished);
    let record = house
        .record(|it| it["message"] == "Missing request message.")
        .await;
    assert_eq!(record["event_type"], "permission.denied");
}

#[tokio::test]
async fn health_tells_the_parts() {
    let house = House::open().await;
    let health: Health = call(&house.channel, HEALTH_CHECK, Nothing {})
        .await
        .unwrap();
    assert!(health.healthy);
    let parts: Vec<_> = health
        .parts
        .iter()
        .map(|it| (&*it.name, it.healthy))
        .collect();
    assert_eq!(parts, [("engine", true), ("audit", true)]);
    assert!(
        health.parts[0].detail.starts_with("revision "),
        "{health:?}"
    );
}

// === The client alone ===

async fn refused(client: &AuthorizationClient) -> AuthzDecision {
    let decision = client
        .check(REPORTING, "documents/1", "read", &Map::new())
        .await;
    assert!(!decision.allowed());
    // B2, B9
    assert!(is_ulid(decision.audit_id()), "{decision:?}");
    assert_eq!(decision.policy_id(), Some("error-fallback"));
    assert!(!client.health_check().await);
    decision
}

#[tokio::test]
async fn a_server_that_is_not_there_is_a_denial() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix:{}", dir.path().join("nobody.sock").display());
    let client = AuthorizationClient::new(&address).unwrap();
    assert_eq!(refused(&client).await.reason_code(), Some("no_answer"));
}

#[tokio::test]
async fn nobody_is_asked_in_plaintext_but_on_a_unix_socket() {
    // No attache answers there, so whoever does is somebody else.
    for address in [
        "not an address",
        "http://127.0.0.1:9191",
        "https://attache.example:8443",
        "/run/attache/ext_authz.sock",
        "unix:",
    ] {
        let error = AuthorizationClient::new(address).expect_err(address);
        assert!(error.to_string().contains("write unix:/PATH"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_a_denial_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mute.sock");
    let _mute = UnixListener::bind(&path).unwrap();
    let client = AuthorizationClient::new(&format!("unix:{}", path.display())).unwrap();
    let client = client.within(Duration::from_millis(50));
    assert_eq!(refused(&client).await.reason_code(), Some("no_answer"));
}

#[tokio::test]
async fn a_server_of_something_else_is_a_denial() {
    let plan = Plan {
        listener: "{tcp: \"127.0.0.1:0\"}".to_owned(),
        ..Plan::with("identity: {trust_local: loopback}\n")
    };
    let house = plan.open().await;
    let address = format!("http://{}", house.address);
    let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
    let client = AuthorizationClient::over(channel);
    assert_eq!(refused(&client).await.reason_code(), Some("no_answer"));
}

#[tokio::test]
async fn a_server_that_stopped_is_a_denial_and_one_that_came_back_decides() {
    let house = House::open().await;
    let client = client(&house);
    let nothing = Map::new();
    assert!(
        client
            .check(REPORTING, "documents/1", "read", &nothing)
            .await
            .allowed()
    );
    let path = unix(&house).trim_start_matches("unix:").to_owned();
    house.close().await;
    let stopped = refused(&client).await;
    assert_eq!(stopped.reason_code(), Some("no_answer"));
    let again = Plan {
        listener: format!("{{unix: {path}}}"),
        ..Plan::default()
    };
    std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
    let _house = again.open().await;
    let back = || {
        let client = client.clone();
        async move {
            let decision = client
                .check(REPORTING, "documents/1", "read", &Map::new())
                .await;
            decision.allowed().then_some(())
        }
    };
    eventually_async("a decision", back).await;
}
