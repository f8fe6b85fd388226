//! What is decided about an honest proxy's questions, and that answer, record and metadata tell the same story.

use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Timestamp, Value};
use prost::Message;
use serde_json::json;

use crate::harness::message::{
    attributes, body, header, headers, http, joined, party, raw, raw_bytes, source,
};
use crate::harness::{Answer, DOCUMENTS, House, Plan, REPORTING, ask, principal};

#[tokio::test]
async fn a_permitted_request_is_allowed_and_the_service_told_for_whom() {
    // E01
    let house = House::open().await;
    let answer = house.check(ask("GET", "/documents/42")).await;
    assert!(answer.is_allowed());
    assert_eq!(answer.headers["x-attache-caller"], REPORTING);
    assert_eq!(answer.headers["x-attache-subject"], REPORTING);
    assert_eq!(answer.headers["x-attache-tier"], "free");
    assert_eq!(answer.headers.len(), 4, "{:?}", answer.headers);
    assert_eq!(answer.metadata["decision"], "allow");
    assert_eq!(answer.metadata["tier"], "free");
    assert_eq!(answer.metadata["decision_id"], answer.decision_id());
}

#[tokio::test]
async fn a_refusal_tells_the_client_a_code_and_a_sentence() {
    // E02
    let house = House::open().await;
    let answer = house.check(ask("GET", "/unheard/of")).await;
    let denied = answer.denied.clone().unwrap();
    assert_eq!((denied.grpc_code, denied.http_status), (7, 403));
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["x-attache-decision"], "deny");
    let problem: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(
        problem,
        json!({
            "type": "urn:attache:problem:route-unmatched",
            "title": "Request denied",
            "status": 403,
            "detail": "no route names this request",
            "instance": format!("urn:ulid:{}", answer.decision_id()),
            "reason": "route_unmatched",
        })
    );
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let house = House::open().await;
    for (request, word, status) in [
        (
            principal(ask("GET", "/documents/1"), ""),
            "no_identity",
            401,
        ),
        (
            principal(
                ask("GET", "/documents/1"),
                "spiffe://other.org/svc/reporting",
            ),
            "foreign_trust_domain",
            401,
        ),
        (
            principal(
                ask("GET", "/documents/1"),
                "spiffe://example.org/svc/unheard-of",
            ),
            "out_of_scope",
            403,
        ),
        // Permitted, but by no rule of the tier table.
        (ask("POST", "/documents/1/purge"), "tier_forbidden", 403),
        (ask("DELETE", "/documents/1"), "approval_required", 403),
    ] {
        let answer = house.check(request).await;
        assert_eq!(answer.word(), word);
        assert_eq!(answer.http_status(), Some(status), "{word}");
        assert_eq!(answer.metadata["decision"], "deny");
        assert_eq!(answer.metadata["reason"], word);
        assert_eq!(answer.metadata["decision_id"], answer.decision_id());
    }
}

#[tokio::test]
async fn an_agent_that_acts_for_nobody_is_refused_as_an_agent() {
    let house = House::open().await;
    let agent = "spiffe://example.org/agent/scheduler";
    let answer = house
        .check(principal(ask("GET", "/documents/1"), agent))
        .await;
    assert_eq!(answer.word(), "orphan_agent");
    let record = house.record_of(&answer).await;
    assert_eq!(record["actor"], json!({"id": agent, "type": "agent"}));
    assert_eq!(record["event_type"], "permission.denied");
}

#[tokio::test]
async fn what_waits_for_a_person_is_recorded_as_supervised() {
    let house = House::open().await;
    let answer = house.check(ask("DELETE", "/documents/1")).await;
    assert_eq!(answer.word(), "approval_required");
    assert_eq!(answer.metadata["tier"], "supervised");
    let record = house.record_of(&answer).await;
    assert_eq!(record["event_type"], "permission.check");
    assert_eq!(record["result"], "supervised");
    assert_eq!(record["reason_code"], "approval_required");
}

#[tokio::test]
async fn a_request_without_its_parts_is_refused() {
    let house = House::open().await;
    // E05
    let mut empty = ask("GET", "/documents/1");
    empty.attributes = None;
    assert_eq!(house.word(empty).await, "bad_request");
    // E06
    let mut no_request = ask("GET", "/documents/1");
    attributes(&mut no_request).request = None;
    assert_eq!(house.word(no_request).await, "not_http");
    let mut no_http = ask("GET", "/documents/1");
    attributes(&mut no_http).request.as_mut().unwrap().http = None;
    assert_eq!(house.word(no_http).await, "not_http");
    // E07
    let mut no_source = ask("GET", "/documents/1");
    attributes(&mut no_source).source = None;
    assert_eq!(house.word(no_source).await, "no_identity");
}

#[tokio::test]
async fn a_principal_that_is_no_spiffe_id_is_refused() {
    // E08, E09
    let house = House::open().await;
    let two = format!("{REPORTING},spiffe://example.org/svc/other");
    for name in [
        "https://accounts.google.com/x",
        "reporting.example.org",
        "CN=reporting,O=Example",
        "SPIFFE://example.org/svc/reporting",
        "spiffe://example.org/svc/reporting/",
        "spiffe://example.org/svc/reporting ",
        &two,
    ] {
        let answer = house
            .check(principal(ask("GET", "/documents/1"), name))
            .await;
        assert_eq!(answer.word(), "invalid_identity", "{name}");
        assert_eq!(answer.http_status(), Some(401));
    }
}

#[tokio::test]
async fn a_record_tells_everything_but_secrets() {
    // A20
    let house = Plan::with_policy(POLICY).open().await;
    let mut request = ask("POST", "/reports?token=in-the-query");
    request = header(request, "authorization", "Bearer in-the-header");
    request = body(request, "application/json", r#"{"secret": "in-the-body"}"#);
    attributes(&mut request)
        .context_extensions
        .insert("purpose".to_owned(), "in-the-extension".to_owned());
    let answer = house.check(request).await;
    assert!(answer.is_allowed(), "{answer:?}");
    let mut record = house.record_of(&answer).await;
    let text = record.to_string();
    for secret in [
        "in-the-query",
        "in-the-header",
        "in-the-body",
        "in-the-extension",
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let uid = rustix_uid();
    let object = record.as_object_mut().unwrap();
    // These differ from run to run; that they are there is what counts.
    for varying in [
        "id",
        "hash",
        "prev_hash",
        "seq",
        "time",
        "uptime_us",
        "writer",
        "latency_us",
    ] {
        assert!(object.remove(varying).is_some(), "{varying}");
    }
    let revision = object["policy"]["revision"].as_str().unwrap().to_owned();
    assert_eq!(revision.len(), 16);
    assert_eq!(
        record,
        json!({
            "action": "create",
            "actor": {"id": REPORTING, "type": "workload"},
            "cached": false,
            "decision_id": answer.decision_id(),
            "delegation_chain": [REPORTING],
            "destination": {"spiffe_id": DOCUMENTS},
            "details": {"ignored_extensions": ["purpose"]},
            "event_type": "permission.check",
            "http": {
                "host": "api.example.org",
                "method": "POST",
                "path": "/reports",
                "protocol": "http",
                "route": "POST /reports",
            },
            "message": "reports are welcome",
            "mode": "enforce",
            "pep": {"type": "unix", "uid": uid},
            "policy": {"policy_id": "reports-1", "revision": revision},
            "request_id": "req-1",
            "resource": "reports",
            "result": "allowed",
            "source": {"ip": "10.0.3.17"},
            "target": "spiffe://example.org/svc/reports",
            "tenant": "default",
            "tier": "free",
        })
    );
}

const POLICY: &str = r#"
package agentweave.authz

default allow := {"allow": false, "reason": "nothing says yes"}

allow := {"allow": true, "reason": "reports are welcome", "policy_id": "reports-1"} if {
    input.resource == "reports"
    input.request.body.secret
}
"#;

/// The user id that this process connects with.
fn rustix_uid() -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid().into()
}

#[tokio::test]
async fn policy_has_the_last_word() {
    let house = Plan::with_policy(
        r#"
package agentweave.authz

allow if input.request.params.id == "open"

allow := {"allow": false, "reason": "closed for repairs", "policy_id": "closed"} if input.request.params.id == "closed"

allow := {"allow": true, "tier": "supervised"} if input.request.params.id == "delicate"

allow := {"allow": true, "tier": "forbidden"} if input.request.params.id == "never"

allow := "yes" if input.request.params.id == "misspelt"

allow := {"allow": true, "oblige": 1} if input.request.params.id == "unknown"
"#,
    )
    .open()
    .await;
    for (id, word, status) in [
        ("open", "allow", None),
        ("closed", "policy_denied", Some(403)),
        ("delicate", "approval_required", Some(403)),
        ("never", "tier_forbidden", Some(403)),
        ("misspelt", "policy_error", Some(503)),
        ("unknown", "policy_error", Some(503)),
        ("unheard-of", "policy_undefined", Some(403)),
    ] {
        let answer = house.check(ask("GET", &format!("/documents/{id}"))).await;
        assert_eq!(
            (answer.word(), answer.http_status()),
            (word, status),
            "{id}"
        );
    }
    let answer = house.check(ask("GET", "/documents/closed")).await;
    let record = house.record_of(&answer).await;
    assert_eq!(record["message"], "closed for repairs");
    assert_eq!(record["policy"]["policy_id"], "closed");
    let told = format!("{answer:?}");
    assert!(!told.contains("repairs"), "the client reads {told}");
}

#[tokio::test]
async fn a_route_in_shadow_mode_lets_everything_pass_and_records_what_would_be() {
    let house = House::open().await;
    let mut request = ask("GET", "/trial/1");
    headers(&mut request).push(raw("x-attache-caller", "spiffe://example.org/svc/root"));
    let answer = house.check(request).await;
    assert!(answer.is_allowed());
    assert_eq!(answer.metadata["decision"], "deny");
    assert_eq!(answer.metadata["reason"], "out_of_scope");
    assert_eq!(answer.metadata["mode"], "shadow");
    // E30
    let claims = ["x-attache-caller", "x-attache-subject", "x-attache-tier"];
    for name in claims {
        assert!(
            answer.removed.iter().any(|it| it == name),
            "{name}: {answer:?}"
        );
    }
    let record = house.record_of(&answer).await;
    assert_eq!(record["mode"], "shadow");
    assert_eq!(record["result"], "allowed");
    assert_eq!(record["would_be"], "denied");
    assert_eq!(record["reason_code"], "out_of_scope");

    // Also without an identity; but not where the request can't be read, for then there is no route.
    let answer = house.check(principal(ask("GET", "/trial/1"), "")).await;
    assert!(answer.is_allowed());
    assert_eq!(house.word(ask("GET", "/trial//1")).await, "ambiguous_path");
}

#[tokio::test]
async fn grpc_clients_are_refused_in_their_own_words() {
    let house = House::open().await;
    for (method, word, code) in [("Read", "allow", 0), ("Delete", "out_of_scope", 7)] {
        let path = format!("/documents.v1.Documents/{method}");
        let caller = match method {
            "Read" => REPORTING,
            _ => "spiffe://example.org/svc/unheard-of",
        };
        let request = principal(ask("POST", &path), caller);
        let answer = house
            .check(header(request, "content-type", "application/grpc+proto"))
            .await;
        assert_eq!(answer.word(), word);
        if code == 0 {
            continue;
        }
        assert_eq!(answer.denied.as_ref().unwrap().body, "");
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.headers["grpc-status"], code.to_string());
        assert_eq!(
            answer.headers["grpc-message"],
            "the caller holds no permission for this operation"
        );
        let status = details(&answer);
        assert_eq!(status.code, code);
        let any = &status.details[0];
        assert_eq!(any.type_url, "type.googleapis.com/google.rpc.ErrorInfo");
        let info = ErrorInfo::decode(&*any.value).unwrap();
        assert_eq!(info.reason, "OUT_OF_SCOPE");
        assert_eq!(info.domain, "attache.dev");
        assert_eq!(info.metadata["decision_id"], answer.decision_id());
        let record = house.record_of(&answer).await;
        assert_eq!(record["http"]["protocol"], "grpc");
    }
}

#[tokio::test]
async fn grpc_web_and_look_alikes_are_plain_http() {
    // Envoy takes the same words for gRPC.
    let house = House::open().await;
    for (content_type, grpc) in [
        ("application/grpc", true),
        ("application/grpc;charset=utf-8", true),
        ("application/grpc+json", true),
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpcx", false),
    ] {
        let request = header(ask("POST", "/unheard.Of/It"), "content-type", content_type);
        let answer = house.check(request).await;
        assert_eq!(answer.word(), "route_unmatched");
        assert_eq!(
            answer.headers.contains_key("grpc-status"),
            grpc,
            "{content_type}"
        );
    }
}

fn details(answer: &Answer) -> envoy_types::pb::google::rpc::Status {
    let mut headers = http::HeaderMap::new();
    let value = answer.headers["grpc-status-details-bin"].parse().unwrap();
    headers.insert("grpc-status-details-bin", value);
    let metadata = tonic::metadata::MetadataMap::from_headers(headers);
    let bytes = metadata.get_bin("grpc-status-details-bin").unwrap();
    Message::decode(bytes.to_bytes().unwrap()).unwrap()
}

/// As in `google/rpc/error_details.proto`, written down once more.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: std::collections::HashMap<String, String>,
}

#[tokio::test]
async fn a_header_that_policy_reads_has_one_meaning() {
    // E54
    let house = Plan {
        rego: "package agentweave.authz\n\nallow if input.context.headers[\"x-environment\"] == \"production\"\n".to_owned(),
        more: "context: {headers: [x-environment]}".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let one = header(ask("GET", "/documents/1"), "x-environment", "production");
    assert_eq!(house.word(one.clone()).await, "allow");
    assert_eq!(house.word(joined(one.clone())).await, "allow");
    let none = ask("GET", "/documents/1");
    assert_eq!(house.word(none).await, "policy_undefined");

    let twice = header(one.clone(), "x-environment", "production");
    assert_eq!(house.word(twice.clone()).await, "bad_request");
    // Without encode_raw_headers Envoy joins them, and the joined text is another value.
    assert_eq!(house.word(joined(twice)).await, "policy_undefined");
    let mut bytes = ask("GET", "/documents/1");
    headers(&mut bytes).push(raw_bytes("x-environment", b"produc\xfftion"));
    assert_eq!(house.word(bytes).await, "bad_request");
    // What policy does not read may be repeated.
    let other = header(header(one, "accept", "a"), "accept", "b");
    assert_eq!(house.word(other).await, "allow");
}

#[tokio::test]
async fn context_extensions_name_nothing_unless_the_proxy_may() {
    // E44, E45
    let named = |mut request, entries: &[(&str, &str)]| {
        for (key, value) in entries {
            attributes(&mut request)
                .context_extensions
                .insert((*key).to_owned(), (*value).to_owned());
        }
        request
    };
    let document = [("resource", "documents/7"), ("action", "read")];
    let other_keys = [("host", "h.example"), ("allow", "true"), ("tier", "free")];

    let closed = House::open().await;
    let request = named(ask("GET", "/unheard-of"), &document);
    assert_eq!(closed.word(request).await, "route_unmatched");

    let open = Plan::with("identity: {context_extensions: [unix]}")
        .open()
        .await;
    let request = named(ask("GET", "/unheard-of"), &document);
    let answer = open.check(request).await;
    assert!(answer.is_allowed());
    let record = open.record_of(&answer).await;
    assert_eq!(record["resource"], "documents/7");
    assert_eq!(record["http"]["route"], "context_extensions");
    for (entries, word) in [
        (&document[..1], "bad_request"),
        (
            &[("resource", "documents/**"), ("action", "read")],
            "bad_request",
        ),
        (
            &[("resource", "secrets/1"), ("action", "read")],
            "out_of_scope",
        ),
        (&other_keys[..], "route_unmatched"),
    ] {
        let request = named(ask("GET", "/unheard-of"), entries);
        assert_eq!(open.word(request).await, word, "{entries:?}");
    }
    // A route that matches has the last word, and no key makes another host of this one.
    let request = named(ask("DELETE", "/documents/7"), &document);
    assert_eq!(open.word(request).await, "approval_required");
    let request = named(ask("GET", "/hosted"), &other_keys);
    let answer = open.check(request).await;
    assert_eq!(answer.word(), "route_unmatched");
    // What is ignored is on record.
    let record = open.record_of(&answer).await;
    assert_eq!(
        record["details"]["ignored_extensions"],
        json!(["allow", "host", "tier"])
    );
}

#[tokio::test]
async fn rest_mapping_names_operations_only_where_configured() {
    let house = Plan::with("rest_mapping: true").open().await;
    let answer = house.check(ask("PUT", "/documents/1/title")).await;
    assert_eq!(answer.word(), "allow");
    let record = house.record_of(&answer).await;
    assert_eq!(record["resource"], "documents");
    assert_eq!(record["action"], "update");
    assert_eq!(record["http"]["route"], "rest_mapping");
    assert_eq!(house.word(ask("GET", "/secrets/1")).await, "out_of_scope");
    assert_eq!(
        house.word(ask("FOO", "/documents/1/title")).await,
        "route_unmatched"
    );
    assert_eq!(house.word(ask("GET", "/")).await, "route_unmatched");
}

#[tokio::test]
async fn the_last_hop_names_the_caller_where_it_may() {
    // E10
    let edge = "spiffe://example.org/edge/gateway";
    let house =
        Plan::with("identity: {xfcc: last_hop, xfcc_hops: [\"spiffe://example.org/edge/*\"]}")
            .open()
            .await;
    let forwarded = |caller: &str| {
        let element =
            format!("By={edge};URI=spiffe://example.org/svc/first,By={edge};URI={caller}");
        header(
            principal(ask("GET", "/documents/1"), edge),
            "x-forwarded-client-cert",
            &element,
        )
    };
    let answer = house.check(forwarded(REPORTING)).await;
    assert!(answer.is_allowed(), "{answer:?}");
    assert_eq!(answer.headers["x-attache-caller"], REPORTING);
    let record = house.record_of(&answer).await;
    assert_eq!(record["actor"]["id"], REPORTING);
    assert_eq!(record["source"]["spiffe_id"], edge);

    let stranger = principal(forwarded(REPORTING), "spiffe://example.org/svc/other");
    assert_eq!(house.word(stranger).await, "invalid_identity");
    let silent = principal(ask("GET", "/documents/1"), edge);
    assert_eq!(house.word(silent).await, "no_identity");
    // Sent twice, none of them counts.
    let element = format!("By={edge};URI={REPORTING}");
    let twice = header(forwarded(REPORTING), "x-forwarded-client-cert", &element);
    assert_eq!(house.word(twice).await, "no_identity");

    // Unless it is configured, the header is not read.
    let deaf = House::open().await;
    let mut request = forwarded("spiffe://example.org/svc/root");
    source(&mut request).principal = REPORTING.to_owned();
    let answer = deaf.check(request).await;
    assert_eq!(answer.headers["x-attache-caller"], REPORTING);
}

#[tokio::test]
async fn a_process_of_another_user_may_not_ask() {
    // E49, as far as this version has listeners
    let other = rustix_uid() + 1;
    let house = Plan::with(&format!("identity: {{trust_uids: [{other}]}}"))
        .open()
        .await;
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(answer.word(), "untrusted_peer");
    assert_eq!(answer.http_status(), Some(403));
    let record = house.record_of(&answer).await;
    assert_eq!(record["actor"], json!({"type": "unknown"}));
    assert_eq!(record.get("pep"), None);

    let ours = rustix_uid();
    let house = Plan::with(&format!("identity: {{trust_uids: [{other}, {ours}]}}"))
        .open()
        .await;
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
}

#[tokio::test]
async fn a_loopback_listener_works_and_is_marked() {
    let house = Plan {
        listener: "{tcp: \"127.0.0.1:0\"}".to_owned(),
        more: "identity: {trust_local: loopback}".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert!(answer.is_allowed());
    let record = house.record_of(&answer).await;
    assert_eq!(record["pep"], json!({"type": "loopback"}));
    let (_, ready) = house.probe("/readyz").await;
    assert!(
        ready.contains("any process of this host may speak for callers"),
        "{ready}"
    );
}

#[tokio::test]
async fn the_destination_may_be_anything_and_the_target_only_an_identity() {
    let house = Plan::with_policy(
        "package agentweave.authz\n\nallow := {\"allow\": true, \"reason\": object.get(input, \"resource_spiffe_id\", \"nobody\")}\n",
    )
    .open()
    .await;
    for (destination, told) in [
        (DOCUMENTS, DOCUMENTS),
        ("", "nobody"),
        ("documents.example.org", "nobody"),
    ] {
        let mut request = ask("GET", "/documents/1");
        attributes(&mut request).destination = Some(party(destination));
        let answer = house.check(request).await;
        let record = house.record_of(&answer).await;
        assert_eq!(record["message"], told);
    }
    let mut nowhere = ask("GET", "/documents/1");
    attributes(&mut nowhere).destination = None;
    assert_eq!(house.word(nowhere).await, "allow");
}

#[tokio::test]
async fn numbers_of_the_proxy_decide_nothing() {
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    let it = http(&mut request);
    it.id = String::new();
    it.scheme = "HTTPS".to_owned();
    it.protocol = "HTTP/0.9".to_owned();
    it.size = i64::MIN;
    // E28, and fields that Envoy leaves empty
    it.query = "a=b".to_owned();
    it.fragment = "/admin".to_owned();
    assert_eq!(house.word(request).await, "allow");
}

#[tokio::test]
async fn credentials_in_a_host_or_behind_a_path_are_not_recorded() {
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    "alice:in-the-host@api.example.org".clone_into(&mut http(&mut request).host);
    let answer = house.check(request).await;
    assert_eq!(answer.word(), "bad_request");
    let mut texts = vec![house.record_of(&answer).await.to_string()];
    for path in [
        "/cart;jsessionid=in-a-parameter",
        "/cart%3Bjsessionid=in-a-parameter",
        "/cart%3faccess_token=in-a-query",
        "//cart?token=in-a-query",
    ] {
        let answer = house.check(ask("GET", path)).await;
        assert!(!answer.is_allowed(), "{path}");
        texts.push(house.record_of(&answer).await.to_string());
    }
    for text in texts {
        assert!(!text.contains("in-"), "{text}");
    }
}

#[tokio::test]
async fn a_header_with_two_values_is_refused() {
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    let mut header = raw("x-environment", "prod");
    "dev".clone_into(&mut header.value);
    headers(&mut request).push(header);
    assert_eq!(house.word(request).await, "bad_request");
}

#[tokio::test]
async fn a_resource_that_is_an_identity_is_the_target_where_nothing_else_names_one() {
    // A policy that compares trust domains must not miss one for want of a key.
    const POLICY: &str = r#"
        package agentweave.authz
        allow := {"allow": true, "reason": input.resource_spiffe_id}
    "#;
    let rules = r#"
workloads: [{match: "spiffe://example.org/svc/reporting", permissions: ["**:*"]}]
routes: [{path: "/db", resource: "spiffe://example.org/svc/db", action: read}]
tiers: {default: free}
"#;
    let house = Plan {
        rules: rules.to_owned(),
        ..Plan::with_policy(POLICY)
    }
    .open()
    .await;
    let mut request = ask("GET", "/db");
    attributes(&mut request).destination = None;
    let answer = house.check(request).await;
    let record = house.record_of(&answer).await;
    assert_eq!(record["message"], "spiffe://example.org/svc/db", "{record}");
}

#[tokio::test]
async fn what_another_filter_says_of_a_token_names_nobody() {
    // E46: a verified payload in metadata is not even read.
    let house = House::open().await;
    let claim = Value {
        kind: Some(Kind::StringValue(REPORTING.to_owned())),
    };
    let payload = Struct {
        fields: [("sub".to_owned(), claim)].into(),
    };
    let metadata = Metadata {
        filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), payload)].into(),
        ..Metadata::default()
    };
    for (caller, word) in [(REPORTING, "allow"), ("", "no_identity")] {
        let mut request = principal(ask("GET", "/documents/1"), caller);
        let attributes = attributes(&mut request);
        attributes.metadata_context = Some(metadata.clone());
        attributes.route_metadata_context = Some(metadata.clone());
        assert_eq!(house.word(request).await, word, "{caller}");
    }
}

#[tokio::test]
async fn the_time_and_the_number_of_a_request_change_nothing_in_its_decision() {
    // E53
    let house = House::open().await;
    let mut one = ask("GET", "/documents/1");
    let mut other = one.clone();
    let asked = attributes(&mut one).request.as_mut().unwrap();
    asked.time = Some(Timestamp {
        seconds: 1,
        nanos: 0,
    });
    "1".clone_into(&mut http(&mut other).id);
    let (one, other) = (house.check(one).await, house.check(other).await);
    assert_eq!(one.word(), "allow");
    assert_eq!(other.word(), "allow");
    let same = |record: &serde_json::Value| [record["policy"].clone(), record["tier"].clone()];
    assert_eq!(
        same(&house.record_of(&one).await),
        same(&house.record_of(&other).await)
    );
}
