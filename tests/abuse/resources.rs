//! What a process has little of: descriptors, memory, words for metrics. And what its ports show.

use std::collections::BTreeSet;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::harness::decisions::{Nothing, call};
use crate::harness::house::{eventually_async, get};
use crate::harness::message::{header, http};
use crate::harness::pki::Authority;
use crate::harness::wire::{Wire, framed};
use crate::harness::{Answer, ask, principal};
use crate::rig::frames::CHECK;
use crate::rig::{Door, Rig, allowed, loopback};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_descriptors_nothing_spins_and_afterwards_all_is_well() {
    // X20
    let plan = loopback("limits: {request_timeout: 10s, handshake_timeout: 60s}");
    let rig = Rig::start(
        Door::Tcp,
        plan,
        Authority::of("example.org"),
        "ulimit -n 64;",
    )
    .await;
    let address = rig.tcp_address();
    rig.beside_connected(async {
        let mut held = Vec::new();
        for _ in 0..100 {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(rig.descriptors() >= 60, "{}", rig.descriptors());
    })
    .await;
    // Alone with it, so that what is counted is not the honest proxy's.
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let (cpu, begun) = (rig.cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = rig.cpu().checked_sub(cpu).unwrap();
    assert!(used < begun.elapsed() / 5, "{used:?} in two seconds");
    assert!(rig.log().len() < 50, "{:#?}", rig.log());
    drop(held);
    eventually_async("connections are accepted again", || async {
        let channel = tokio::time::timeout(Duration::from_secs(1), rig.channel()).await;
        let mut client = AuthorizationClient::new(channel.ok()?);
        let asked = client.check(ask("GET", "/documents/42")).await.ok()?;
        Answer::read(asked.into_inner()).is_allowed().then_some(())
    })
    .await;
    assert!(rig.metric("attache_accept_errors_total").await >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_never_seen_before_leave_nothing_behind() {
    // X33, X34: every request has a caller, a resource, a host, a request id of its own.
    let rig = Rig::unix("").await;
    let (half, margin) = soak();
    let channel = rig.channel().await;
    let ask_many = async |from: usize, to: usize| {
        let asks = (from..to).map(|number| {
            let mut client = AuthorizationClient::new(channel.clone());
            let request = ask("GET", &format!("/documents/{number}"));
            let caller = format!("spiffe://example.org/svc/{number}/task/{number}");
            let mut request = header(principal(request, &caller), "x-task", &number.to_string());
            http(&mut request).host = format!("h{number}.example.org");
            http(&mut request).id = number.to_string();
            async move { drop(client.check(request).await.unwrap()) }
        });
        let asks = futures::stream::iter(asks).buffer_unordered(64);
        asks.for_each(|()| async {}).await;
    };
    // The first half fills caches and buffers, and shows how much memory comes and goes; the second adds nothing.
    rig.beside(ask_many(0, half)).await;
    let (before, samples) = (rig.peak(), families(&rig).await);
    rig.beside(ask_many(half, 2 * half)).await;
    let after = rig.peak();
    assert!(after <= before + margin, "{before} KiB, then {after}");
    let new = families(&rig).await;
    let new: Vec<_> = new.difference(&samples).collect();
    assert!(new.is_empty(), "{new:?}");
}

/// Half of the requests, and the KiB that memory may grow by in the second: a few thousand under `cargo test`, where an
/// allocator is still taking what it keeps; else `ABUSE_SOAK` in all.
fn soak() -> (usize, u64) {
    let Some(wanted) = std::env::var_os("ABUSE_SOAK") else {
        return (3_000, 16 * 1024);
    };
    let wanted: usize = wanted.to_str().unwrap().parse().unwrap();
    (wanted / 2, 8 * 1024)
}

/// Every sample of the metrics, without its value.
async fn families(rig: &Rig) -> BTreeSet<String> {
    let (_, text) = get(&rig.health, "/metrics").await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_for_proxies_serves_checks_and_nothing_else() {
    // X35
    let rig = Rig::unix("").await;
    let mut wire = Wire::connect(&rig.address).await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.channelz.v1.Channelz/GetServers",
        "/metrics",
        "/readyz",
        "/config",
        "/debug/pprof/",
    ] {
        let reply = wire.call(path, &[], framed(b"")).await;
        assert_eq!(reply.grpc_status(), "12", "{path}");
        assert!(reply.body.is_empty(), "{path}");
    }
    // HTTP/1.1 is not spoken at all.
    let rig = Rig::tcp("").await;
    let mut stream = TcpStream::connect(rig.tcp_address()).await.unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: attache\r\n\r\n")
        .await
        .unwrap();
    let mut said = Vec::new();
    let _closed = stream.read_to_end(&mut said).await;
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("attache_"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doors_for_workloads_and_people_serve_what_is_theirs_and_nothing_else() {
    // X35
    for door in [Door::Mesh, Door::Http] {
        let rig = Rig::at(door, "").await;
        let channel = rig.channel().await;
        for path in [
            CHECK,
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/grpc.channelz.v1.Channelz/GetServers",
            "/metrics",
            "/readyz",
            "/config",
            "/debug/pprof/",
        ] {
            let refused = call::<_, Nothing>(&channel, path, Nothing {}).await;
            let code = refused.unwrap_err().code();
            assert_eq!(code, tonic::Code::Unimplemented, "{door:?}: {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_for_probes_decides_nothing_and_tells_about_nobody() {
    // X35
    let rig = Rig::unix("").await;
    allowed(rig.channel().await).await;
    for path in [
        "/",
        "/config",
        "/debug/pprof/",
        "/admin",
        "/livez/../metrics",
        "/audit",
    ] {
        assert_eq!(get(&rig.health, path).await.0, 404, "{path}");
    }
    let (_, text) = get(&rig.health, "/metrics").await;
    assert!(
        !text.contains("spiffe") && !text.contains("documents"),
        "{text}"
    );
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", rig.health));
    let channel = endpoint.unwrap().connect().await.unwrap();
    let mut authz = AuthorizationClient::new(channel);
    let refused = authz.check(ask("GET", "/documents/42")).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_stay_do_not_keep_probes_out() {
    // X35: three hundred that speak, and would stay as long as they are let.
    let rig = Rig::unix("").await;
    rig.beside(async {
        let mut held = Vec::new();
        for number in 0..300 {
            let stream = TcpStream::connect(&rig.health).await.unwrap();
            held.push(crate::rig::raw::Raw::greet(stream).await);
            if number % 100 == 99 {
                let probe =
                    tokio::time::timeout(Duration::from_secs(5), get(&rig.health, "/livez"));
                assert_eq!(probe.await.expect("an answer in time").0, 200);
            }
        }
    })
    .await;
}
