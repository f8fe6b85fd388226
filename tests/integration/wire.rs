//! The wire, in both directions: what Envoy's own encoding says is what we read, and what we say is what Envoy reads.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::{HeaderMap, Metadata};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request, TlsSession,
};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Timestamp, Value as ProtoValue};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config as Cases, TestRunner};
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::message::{raw, raw_bytes};
use crate::harness::wire::{CHECK, Wire, framed};
use crate::harness::{Answer, DOCUMENTS, House, Plan, REPORTING, ask};

/// Tells everything that policy sees.
const ECHO: &str = r#"
package agentweave.authz

allow := {"allow": true, "reason": json.marshal(object.remove(input, ["timestamp"]))}
"#;

#[tokio::test]
async fn what_envoy_encodes_is_what_policy_sees() {
    let house = Plan {
        rego: ECHO.to_owned(),
        more: "context: {headers: [x-environment], extensions: [purpose]}".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let mut wire = Wire::connect(&house.address).await;
    let mut bytes = everything().encode_to_vec();
    // A field that no version of the message has, of every wire type.
    for field in [
        &[0xf8, 0x3f, 0x96, 0x01][..],
        &[0xf9, 0x3f, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xfa, 0x3f, 3, b'n', b'e', b'w'],
        &[0xfd, 0x3f, 1, 2, 3, 4],
    ] {
        bytes.extend_from_slice(field);
    }
    let answer = wire.call(CHECK, &[], framed(&bytes)).await.answer();
    assert!(answer.is_allowed(), "{answer:?}");
    let record = house.record_of(&answer).await;
    let seen: Value = serde_json::from_str(record["message"].as_str().unwrap()).unwrap();
    assert_eq!(
        seen,
        json!({
            "action": "create",
            "caller_spiffe_id": REPORTING,
            "caller_trust_domain": "example.org",
            "context": {
                "headers": {"x-environment": "production"},
                "extensions": {"purpose": "billing"},
            },
            "request": {
                "protocol": "http",
                "method": "POST",
                "host": "api.example.org",
                "path": "/reports",
                "body": {"kind": "weekly"},
            },
            "resource": "reports",
            "resource_spiffe_id": "spiffe://example.org/svc/reports",
            "resource_trust_domain": "example.org",
            "tier": "free",
        })
    );
    assert_eq!(record["request_id"], "req-2");
    assert_eq!(record["destination"]["spiffe_id"], DOCUMENTS);
}

/// A request in which every field is set.
fn everything() -> CheckRequest {
    let text = |text: &str| ProtoValue {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let metadata = Metadata {
        filter_metadata: HashMap::from([(
            "envoy.filters.http.jwt_authn".to_owned(),
            Struct {
                fields: HashMap::from([("sub".to_owned(), text("alice"))]),
            },
        )]),
        ..Metadata::default()
    };
    let body = br#"{"kind": "weekly"}"#;
    let http = HttpRequest {
        id: "1".to_owned(),
        method: "POST".to_owned(),
        path: "/reports?a=b".to_owned(),
        host: "API.example.org:443".to_owned(),
        scheme: "https".to_owned(),
        query: "a=b".to_owned(),
        fragment: "f".to_owned(),
        size: i64::try_from(body.len()).unwrap(),
        protocol: "HTTP/1.1".to_owned(),
        raw_body: body.to_vec(),
        header_map: Some(HeaderMap {
            headers: vec![
                raw("x-environment", "production"),
                raw("content-type", "application/json"),
                raw("x-request-id", "req-2"),
                raw_bytes("x-bytes", b"\x80\xff"),
            ],
        }),
        ..HttpRequest::default()
    };
    let mut request = ask("POST", "/reports");
    let attributes = request.attributes.as_mut().unwrap();
    let peer = |principal: &str, address| Peer {
        address,
        service: "edge".to_owned(),
        labels: HashMap::from([("zone".to_owned(), "a".to_owned())]),
        principal: principal.to_owned(),
        certificate: String::new(),
    };
    let address = attributes.source.as_ref().unwrap().address.clone();
    *attributes = AttributeContext {
        source: Some(peer(REPORTING, address.clone())),
        destination: Some(peer(DOCUMENTS, address)),
        request: Some(Request {
            time: Some(Timestamp {
                seconds: 1_795_287_600,
                nanos: 5,
            }),
            http: Some(http),
        }),
        context_extensions: HashMap::from([
            ("purpose".to_owned(), "billing".to_owned()),
            ("other".to_owned(), "unseen".to_owned()),
        ]),
        metadata_context: Some(metadata.clone()),
        route_metadata_context: Some(metadata),
        tls_session: Some(TlsSession {
            sni: "api.example.org".to_owned(),
        }),
    };
    request
}

/// Requests of every shape: likely ones with one part off, and noise.
fn any_request() -> impl Strategy<Value = CheckRequest> {
    let text = prop_oneof![
        any::<String>(),
        Just(String::new()),
        "[ -~]{0,40}",
        Just(REPORTING.to_owned()),
        "/documents/[a-z%2F.;]{0,8}",
    ];
    let headers = prop::collection::vec((text.clone(), any::<Vec<u8>>()), 0..6);
    let parts = prop::collection::vec(text, 8);
    let grpc = any::<bool>();
    (
        parts,
        headers,
        any::<Vec<u8>>(),
        any::<i64>(),
        0..12_usize,
        grpc,
    )
        .prop_map(|(parts, headers, body, size, missing, grpc)| {
            let mut request = ask("GET", "/documents/1");
            let attributes = request.attributes.as_mut().unwrap();
            let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
            let map = &mut http.header_map.as_mut().unwrap().headers;
            map.extend(headers.iter().map(|(name, value)| raw_bytes(name, value)));
            if grpc {
                map.push(raw("content-type", "application/grpc"));
            }
            let mut parts = parts.into_iter();
            let mut next = || parts.next().unwrap();
            match missing {
                0 => http.path = next(),
                1 => http.method = next(),
                2 => http.host = next(),
                3 => attributes.source.as_mut().unwrap().principal = next(),
                4 => attributes.source.as_mut().unwrap().certificate = next(),
                5 => attributes.destination.as_mut().unwrap().principal = next(),
                6 => {
                    attributes.context_extensions.insert(next(), next());
                }
                7 => http.raw_body = body,
                8 => http.size = size,
                9 => {
                    http.headers.insert(next(), next());
                }
                10 => attributes.request = None,
                _ => {
                    http.path = next();
                    http.method = next();
                    http.host = next();
                    attributes.source = None;
                }
            }
            request
        })
}

/// Asks `cases` generated questions over one connection.
async fn ask_many<S: Strategy>(
    house: &House,
    cases: u32,
    strategy: S,
    encode: impl Fn(S::Value) -> Vec<u8>,
) -> Vec<Answer> {
    let mut runner = TestRunner::new_with_rng(
        Cases::default(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let mut wire = Wire::connect(&house.address).await;
    let mut answers = Vec::new();
    for _ in 0..cases {
        let case = strategy.new_tree(&mut runner).unwrap().current();
        // Reading it holds it against E01 to E04, E31, E33 and E34.
        answers.push(wire.call(CHECK, &[], framed(&encode(case))).await.answer());
    }
    answers
}

#[tokio::test]
async fn whatever_is_asked_the_answer_is_one_that_envoy_can_not_misread() {
    // E03, E04
    let house = House::open().await;
    let answers = ask_many(&house, 1000, any_request(), |it| it.encode_to_vec()).await;
    let allowed = answers.iter().filter(|it| it.is_allowed()).count();
    assert!((10..990).contains(&allowed), "{allowed}");
}

#[tokio::test]
async fn bytes_of_any_kind_are_never_allowed() {
    // E03
    let house = House::open().await;
    let noise = prop::collection::vec(any::<u8>(), 0..200);
    for answer in ask_many(&house, 300, noise, |it| it).await {
        assert!(!answer.is_allowed(), "{answer:?}");
    }
    // One byte off, a request may still be one; the answer is one in any case.
    let whole = ask("GET", "/documents/1").encode_to_vec();
    let spoiled = (0..whole.len(), any::<u8>());
    let spoil = |(at, byte): (usize, u8)| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    ask_many(&house, 500, spoiled, spoil).await;
}
