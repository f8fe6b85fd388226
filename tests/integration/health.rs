//! What probes and scrapers see, from before the start to after the stop.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use attache::grpc::{HEALTH_SERVICES, ServingStatus, health_routes, query_health};
use attache::http::{Health, serve_health};
use attache::lifecycle::{Notices, Readiness, Shutdown};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Wire;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::house::{PATIENCE, eventually_async, get};
use crate::harness::wire::{CHECK, Wire as Proxy};
use crate::harness::{House, Plan, ask};

async fn client(address: &str) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn status(address: &str, service: &str) -> Wire {
    let response = client(address).await.check(about(service)).await.unwrap();
    response.get_ref().status()
}

#[tokio::test]
async fn every_service_is_known_and_no_other() {
    // K04
    let house = House::open().await;
    house.check(ask("GET", "/documents/1")).await;
    for service in HEALTH_SERVICES {
        eventually_async("serving", || async {
            (status(&house.health, service).await == Wire::Serving).then_some(())
        })
        .await;
    }
    let unknown = client(&house.health).await.check(about("mesh")).await;
    assert_eq!(unknown.unwrap_err().code(), tonic::Code::NotFound);
    // Nor is any other gRPC service served there, Check least of all.
    let endpoint = Endpoint::from_shared(format!("http://{}", house.health)).unwrap();
    let mut authz = AuthorizationClient::new(endpoint.connect().await.unwrap());
    let refused = authz.check(ask("GET", "/documents/1")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    let asked = query_health(&house.health, "readiness", PATIENCE).await;
    assert_eq!(asked.unwrap(), ServingStatus::Serving);
    let asked = query_health(&house.health, "mesh", PATIENCE).await;
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("knows no service `mesh`"), "{error}");
}

#[tokio::test]
async fn a_stop_is_seen_by_those_who_watch_and_those_who_ask() {
    // K04, K05
    let house = Plan::with("limits: {request_timeout: 10s}").open().await;
    house.check(ask("GET", "/documents/1")).await;
    let mut client = client(&house.health).await;
    let mut watches = Vec::new();
    for service in ["readiness", "liveness"] {
        let stream = client.watch(about(service)).await.unwrap();
        watches.push(stream.into_inner());
    }
    let [readiness, liveness] = &mut watches[..] else {
        unreachable!()
    };
    let first = readiness.message().await.unwrap().unwrap();
    assert_eq!(first.status(), Wire::Serving);
    let first = liveness.message().await.unwrap().unwrap();
    assert_eq!(first.status(), Wire::Serving);
    assert_eq!(house.probe("/readyz").await.0, 200);

    // A call under way keeps the stop from ending.
    let mut proxy = Proxy::connect(&house.address).await;
    let call = proxy.begin(CHECK, &[]).await;
    house.check(ask("GET", "/documents/1")).await;
    house.shutdown.drain();
    let next = readiness.message().await.unwrap().unwrap();
    assert_eq!(next.status(), Wire::NotServing);
    assert_eq!(house.probe("/readyz").await, (503, "stopping\n".to_owned()));
    assert_eq!(house.probe("/livez").await, (200, "ok\n".to_owned()));
    for (service, expected) in [
        ("", Wire::NotServing),
        ("readiness", Wire::NotServing),
        ("envoy.service.auth.v3.Authorization", Wire::NotServing),
        ("startup", Wire::Serving),
        ("liveness", Wire::Serving),
    ] {
        assert_eq!(status(&house.health, service).await, expected, "{service}");
    }
    drop(call);
    house.close().await;
}

#[tokio::test]
async fn who_is_waited_for_is_told() {
    let readiness = Readiness::new();
    let shutdown = Shutdown::default();
    let notices = Notices::default();
    let hold = readiness.hold("policy");
    let (grpc, follow) = health_routes(readiness.clone(), shutdown.clone()).await;
    tokio::spawn(follow);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let health = Health {
        readiness,
        registry: Arc::new(Mutex::new(Registry::default())),
        shutdown: shutdown.clone(),
        notices: notices.clone(),
    };
    let stop = async move { shutdown.draining().await };
    tokio::spawn(serve_health(listener, health, grpc, stop));

    let waiting = (503, "waiting for: policy\n".to_owned());
    assert_eq!(get(&address, "/readyz").await, waiting);
    assert_eq!(get(&address, "/livez").await.0, 200);
    for (service, expected) in [
        ("liveness", Wire::Serving),
        ("startup", Wire::NotServing),
        ("readiness", Wire::NotServing),
        ("", Wire::NotServing),
    ] {
        assert_eq!(status(&address, service).await, expected, "{service}");
    }

    drop(hold);
    assert_eq!(get(&address, "/readyz").await, (200, "ok\n".to_owned()));
    eventually_async("startup", || async {
        (status(&address, "startup").await == Wire::Serving).then_some(())
    })
    .await;
    notices.set("shadow", "decisions do not bind on: GET /a");
    let told = (
        200,
        "ok\nshadow: decisions do not bind on: GET /a\n".to_owned(),
    );
    assert_eq!(get(&address, "/readyz").await, told);
    // A probe of a path that is not served must not pass.
    for path in [
        "/healthz",
        "/readyz/",
        "/",
        "/grpc.health.v1.Health",
        "/config",
    ] {
        assert_eq!(get(&address, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn shadowed_routes_are_told_to_operators() {
    let house = House::open().await;
    let (status, text) = house.probe("/readyz").await;
    assert_eq!(status, 200);
    assert!(
        text.contains("shadow: decisions do not bind on: GET /trial/{id}"),
        "{text}"
    );
}

#[tokio::test]
async fn metrics_are_openmetrics_and_complete() {
    let house = House::open().await;
    house.check(ask("GET", "/documents/1")).await;
    house.check(ask("GET", "/unheard-of")).await;
    let (status, text) = house.probe("/metrics").await;
    assert_eq!(status, 200);
    let families = openmetrics(&text);
    for (name, kind) in [
        ("attache_build_info", "gauge"),
        ("attache_checks", "counter"),
        ("attache_check_duration_seconds", "histogram"),
        ("attache_shadowed_routes", "gauge"),
        ("attache_accept_errors", "counter"),
        ("attache_reloads", "counter"),
        ("attache_log_lines_dropped", "counter"),
        ("attache_audit_records", "counter"),
        ("attache_audit_dropped_records", "counter"),
        ("attache_audit_queue_depth", "gauge"),
        ("attache_audit_gaps", "counter"),
    ] {
        assert_eq!(
            families.get(name).map(String::as_str),
            Some(kind),
            "{name}: {text}"
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    let info = format!("attache_build_info{{version=\"{version}\",mode=\"production\"}}");
    assert_eq!(house.metric(&info).await, 1);
    assert!(!text.contains("spiffe:"), "callers are no labels: {text}");
}

/// The families with their types; fails where the text is not well formed (`OpenMetrics` 1.0, "Overall Structure").
fn openmetrics(text: &str) -> BTreeMap<String, String> {
    let text = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    let mut families = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            match kind {
                "HELP" => {
                    assert!(words.next().is_some_and(|help| help.ends_with('.')));
                    name.clone_into(&mut family);
                }
                "TYPE" => {
                    assert_eq!(name, family);
                    let twice = families.insert(name.to_owned(), words.next().unwrap().to_owned());
                    assert_eq!(twice, None, "{name}");
                }
                "UNIT" => assert_eq!(name, family),
                other => panic!("{other}: {line}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = sample.split('{').next().unwrap();
        let suffixes: &[_] = match families[&family].as_str() {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            "gauge" => &[""],
            other => panic!("{other}"),
        };
        let fits = suffixes
            .iter()
            .any(|suffix| name == format!("{family}{suffix}"));
        assert!(fits, "{line} in {family}");
    }
    families
}

#[tokio::test]
async fn silent_connections_do_not_keep_probes_out() {
    let house = Plan::default().open().await;
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(tokio::net::TcpStream::connect(&house.health).await.unwrap());
    }
    let (status, _) = house.probe("/livez").await;
    assert_eq!(status, 200);
}
