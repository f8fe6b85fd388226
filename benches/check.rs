//! From an encoded CheckRequest to a recorded decision, in process, with the embedded engine.
#![expect(clippy::expect_used, reason = "a benchmark that can't start fails")]

use std::sync::Arc;
use std::time::Duration;

use attache::app::rehearsal_authority;
use attache::clock::SystemClock;
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use criterion::{Criterion, criterion_group, criterion_main};
use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer as Party, Request,
};
use prost::Message as _;

const CONFIG: &str = include_str!("../deploy/dev.yaml");

fn encoded(method: &str, path: &str) -> Vec<u8> {
    let headers = [
        (":authority", "documents.example.org"),
        (":method", method),
        (":path", path),
        ("accept", "application/json"),
        ("user-agent", "reporting/2.4"),
        ("x-request-id", "0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0"),
    ];
    let http = HttpRequest {
        method: method.to_owned(),
        host: "documents.example.org".to_owned(),
        path: path.to_owned(),
        size: -1,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Party {
                principal: "spiffe://example.org/svc/reporting".to_owned(),
                ..Party::default()
            }),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
    .encode_to_vec()
}

fn check(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let uncached = format!("{CONFIG}\npolicy: {{cache: {{size: 0}}}}\n");
    let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
    for (name, config, method, path) in [
        ("allowed, from the cache", CONFIG, "GET", "/documents/42"),
        ("allowed, policy asked", &*uncached, "GET", "/documents/42"),
        (
            "supervised, policy asked",
            &*uncached,
            "DELETE",
            "/documents/42",
        ),
        ("forbidden, policy not asked", CONFIG, "POST", "/payments"),
        ("no route", CONFIG, "GET", "/nowhere"),
    ] {
        let config = Config::parse(config, "dev.yaml".as_ref()).expect("a sound configuration");
        let authority = runtime.block_on(async {
            rehearsal_authority(config, Arc::new(SystemClock)).expect("an authority")
        });
        let bytes = encoded(method, path);
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let rehearsal = Rehearsal::from_wire(&bytes).expect("a CheckRequest");
                rehearsal
                    .decide(&authority, peer.clone(), Duration::from_millis(150))
                    .await
            });
        });
    }
}

criterion_group!(benches, check);
criterion_main!(benches);
