//! `attache eval` decides as the server does: the same requests, asked both ways, are answered alike.

use std::net::SocketAddr;

use attache::app::rehearsal_authority;
use attache::authority::Outcome;
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::permission::Tier;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::harness::binary::{attache, attache_reading};
use crate::harness::house::PATIENCE;
use crate::harness::message::{attributes, body, header, http, joined, party, source};
use crate::harness::{House, Plan, REPORTING, ask};

const POLICY: &str = r#"
package agentweave.authz

default allow := false

allow if input.action == "read"

allow := {"allow": false, "reason": "not at night", "policy_id": "night"} if input.action == "update"

allow := {"allow": true, "tier": "supervised"} if input.request.body.kind == "weekly"
"#;

fn plan() -> Plan {
    Plan {
        rego: POLICY.to_owned(),
        more: "rest_mapping: true\nidentity: {context_extensions: [unix]}".to_owned(),
        ..Plan::default()
    }
}

/// One request among many, valid and not.
fn sketch(rng: &mut StdRng) -> CheckRequest {
    let mut pick = |from: &[&'static str]| *from.choose(rng).unwrap();
    let method = pick(&["GET", "GET", "PUT", "DELETE", "POST", "get", "FOO"]);
    let path = pick(&[
        "/documents",
        "/documents/1",
        "/documents/1?a=b",
        "/documents/%31",
        "/documents/1/purge",
        "/documents//1",
        "/documents/a;b",
        "/reports",
        "/trial/1",
        "/admin/x",
        "/hosted",
        "/unheard-of",
        "/documents.v1.Documents/Read",
        "relative",
        "",
    ]);
    let caller = pick(&[
        REPORTING,
        REPORTING,
        REPORTING,
        "spiffe://example.org/agent/one",
        "spiffe://example.org/svc/nobody",
        "spiffe://other.org/svc/reporting",
        "CN=reporting",
        "",
    ]);
    let host = pick(&["api.example.org", "H.Example:443", "h.example", "", "a b"]);
    let kind = pick(&["", "application/json", "application/grpc", "text/plain"]);
    let text = pick(&["", "{}", r#"{"kind": "weekly"}"#, "{"]);
    let odd = pick(&[
        "x-plain",
        "X-Upper",
        "x-attache-caller",
        "x-envoy-auth-partial-body",
    ]);
    let extension = pick(&["", "documents/9", "documents/*"]);
    let mut request = ask(method, path);
    caller.clone_into(&mut source(&mut request).principal);
    host.clone_into(&mut http(&mut request).host);
    if !kind.is_empty() {
        request = body(request, kind, text);
    }
    request = header(request, odd, "true");
    if !extension.is_empty() {
        let extensions = &mut attributes(&mut request).context_extensions;
        extensions.insert("resource".to_owned(), extension.to_owned());
        extensions.insert("action".to_owned(), "read".to_owned());
    }
    if rng.random_bool(0.1) {
        attributes(&mut request).source = None;
    }
    if rng.random_bool(0.05) {
        attributes(&mut request).request = None;
        return request;
    }
    joined(request)
}

/// The request in the JSON form of protobuf, written by hand: no code in common with either reader.
fn in_json(request: &CheckRequest) -> Value {
    let attributes = request.attributes.as_ref().unwrap();
    let mut json = json!({
        "contextExtensions": attributes.context_extensions,
        "destination": {"principal": attributes.destination.as_ref().unwrap().principal},
        // What attache does not read may be there.
        "metadataContext": {"filterMetadata": {"a.b": {"c": [1, null, "d"]}}},
        "tlsSession": {"sni": "api.example.org"},
        "somethingNew": {"in": "a later Envoy"},
    });
    if let Some(source) = &attributes.source {
        json["source"] = json!({
            "address": {"socketAddress": {"address": "10.0.3.17", "portValue": 4711}},
            "principal": source.principal,
        });
    }
    if let Some(request) = &attributes.request {
        let http = request.http.as_ref().unwrap();
        json["request"] = json!({
            "time": "2026-11-21T19:00:00.5Z",
            "http": {
                "id": http.id,
                "method": http.method,
                "headers": http.headers,
                "path": http.path,
                "host": http.host,
                "scheme": http.scheme,
                // 64-bit numbers are texts.
                "size": http.size.to_string(),
                "protocol": http.protocol,
                "body": http.body,
            },
        });
    }
    json!({"attributes": json})
}

#[tokio::test]
async fn a_rehearsal_is_decided_as_the_server_decides() {
    let house = plan().open().await;
    let config = Config::read(&house.dir.path().join("attache.yaml")).unwrap();
    let clock = plan().clock;
    let authority = rehearsal_authority(config, clock).unwrap();
    let mut rng = StdRng::seed_from_u64(7);
    let mut words = std::collections::BTreeMap::<String, u32>::new();
    for number in 0..400 {
        let request = sketch(&mut rng);
        let served = house.check(request.clone()).await;
        let json = in_json(&request).to_string();
        let rehearsal =
            Rehearsal::from_json(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
        let peer = Peer::Unix { uid: None };
        let (decision, findings) = rehearsal.decide(&authority, peer, PATIENCE).await;
        let word = match &decision.outcome {
            Outcome::Allow(_) => "allow",
            Outcome::Deny(denial) => denial.reason.as_str(),
        };
        let told = match served.metadata.get("reason") {
            Some(reason) => reason.as_str(),
            None => served.word(),
        };
        assert_eq!(told, word, "{number}: {json}\n{:?}", findings.steps());
        assert_eq!(
            served.metadata.get("tier").map(String::as_str),
            decision.tier.map(Tier::as_str),
            "{number}: {json}"
        );
        *words.entry(word.to_owned()).or_default() += 1;
    }
    // The requests are worth asking: they end in many ways.
    assert!(words.len() >= 12, "{words:?}");
    assert!(words["allow"] >= 20, "{words:?}");
}

#[tokio::test]
async fn the_command_decides_as_the_server_decides() {
    let house = plan().open().await;
    let file = house.dir.path().join("attache.yaml");
    let config = file.to_str().unwrap();
    let mut rng = StdRng::seed_from_u64(11);
    for _ in 0..8 {
        let request = sketch(&mut rng);
        let served = house.check(request.clone()).await;
        let json = in_json(&request).to_string();
        let said = attache_reading(&["eval", "--config", config, "--json", "-"], &json).await;
        let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:?}"));
        let decision = served.metadata["decision"].as_str();
        assert_eq!(report["decision"], *decision, "{json}\n{said:?}");
        let reason = served.metadata.get("reason");
        assert_eq!(
            report["reason"].as_str(),
            reason.map(String::as_str),
            "{json}"
        );
        let code = if decision == "allow" { 0 } else { 3 };
        assert_eq!(said.code, Some(code), "{said:?}");
        house.record_of(&served).await;
    }
    // It writes nothing into the trail of the server.
    let checks = house.close().await;
    let decided = checks.iter().filter(|it| it.get("decision_id").is_some());
    assert!(decided.count() <= 8);
}

#[tokio::test]
async fn flags_describe_a_request() {
    let (dir, file) = plan().lay_out();
    let config = file.to_str().unwrap();
    let eval = async |arguments: &[&str]| {
        let mut all = vec!["eval", "--config", config];
        all.extend(arguments);
        attache(&all).await
    };
    let said = eval(&["--caller", REPORTING, "--path", "/documents/42?a=b"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for words in [
        "caller      spiffe://example.org/svc/reporting",
        "route       `GET /documents/{id}` is read on documents/42",
        "decision    allow",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
    let said = eval(&[
        "--caller",
        REPORTING,
        "--method",
        "PUT",
        "--path",
        "/documents/42",
    ])
    .await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("policy_denied"), "{}", said.out);
    assert!(said.out.contains("not at night"), "{}", said.out);

    let report = [
        "--caller", REPORTING, "--method", "POST", "--path", "/reports",
    ];
    let weekly = [
        "--header",
        "Content-Type: application/json",
        "--body",
        r#"{"kind":"weekly"}"#,
        "--json",
    ];
    let said = eval(&[&report[..], &weekly[..]].concat()).await;
    assert_eq!(said.code, Some(3), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["reason"], "approval_required");
    assert_eq!(json["tier"], "supervised");

    let named = [
        "--extension",
        "resource=documents/1",
        "--extension",
        "action=read",
    ];
    let said = eval(&[&["--caller", REPORTING, "--path", "/x"][..], &named[..]].concat()).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = eval(&["--caller", REPORTING, "--path", "/trial/1"]).await;
    assert!(said.out.contains("shadow mode"), "{}", said.out);
    drop(dir);
}

#[tokio::test]
async fn what_is_no_request_is_wrong_use() {
    let (dir, file) = plan().lay_out();
    let config = file.to_str().unwrap();
    for json in [
        "",
        "{",
        "[]",
        r#"{"attributes": 1}"#,
        "{} {}",
        r#"{"attributes": {"source": {"principal": 7}}}"#,
    ] {
        let said = attache_reading(&["eval", "--config", config, "-"], json).await;
        assert_eq!(said.code, Some(2), "{json}: {said:?}");
        assert!(said.err.starts_with("error: "), "{}", said.err);
    }
    // Flags beside a whole request would be ignored: refused.
    for flag in [
        &["--caller", REPORTING][..],
        &["--path", "/"],
        &["--method", "GET"],
        &["--host", "h.example"],
        &["--destination", REPORTING],
        &["--header", "a: b"],
        &["--extension", "a=b"],
        &["--body", "x"],
    ] {
        let said = attache_reading(
            &[&["eval", "--config", config, "-"][..], flag].concat(),
            "{}",
        )
        .await;
        assert_eq!(said.code, Some(2), "{flag:?}: {said:?}");
        assert!(said.err.contains("cannot be used with"), "{}", said.err);
    }
    for wrong in [&["--header", "nocolon"][..], &["--extension", "noequals"]] {
        let said =
            attache(&[&["eval", "--config", config, "--path", "/"][..], wrong].concat()).await;
        assert_eq!(said.code, Some(2), "{wrong:?}: {said:?}");
    }
    drop(dir);
}

#[tokio::test]
async fn a_rehearsal_asks_as_the_first_listener_would() {
    // On loopback and with user ids, nobody is trusted: eval says so, as the server would.
    let house: House = Plan {
        listener: "{tcp: \"127.0.0.1:0\"}".to_owned(),
        more: "identity: {trust_local: loopback, trust_uids: [7]}".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let served = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(served.word(), "untrusted_peer");
    let file = house.dir.path().join("attache.yaml");
    let flags = ["--caller", REPORTING, "--path", "/documents/1"];
    let said = attache(
        &[
            &["eval", "--config", file.to_str().unwrap()][..],
            &flags[..],
        ]
        .concat(),
    )
    .await;
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.out.contains("untrusted_peer"), "{}", said.out);
    // And a peer from elsewhere is trusted by no configuration.
    let config = Config::read(&file).unwrap();
    let authority = rehearsal_authority(config, plan().clock).unwrap();
    let elsewhere: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let request = in_json(&{
        let mut request = joined(ask("GET", "/documents/1"));
        attributes(&mut request).destination = Some(party(""));
        request
    });
    let rehearsal = Rehearsal::from_json(&request.to_string()).unwrap();
    let (decision, _) = rehearsal
        .decide(&authority, Peer::Tcp(elsewhere), PATIENCE)
        .await;
    assert!(
        matches!(decision.outcome, Outcome::Deny(denial) if denial.reason.as_str() == "untrusted_peer")
    );
}
