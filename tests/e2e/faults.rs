//! When attache is gone, hangs or cannot decide: nothing gets through, and the answer is 503.

use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{
    Authorization, AuthorizationServer, CheckRequest, CheckResponse, HeaderAppendAction,
    HeaderValue, HeaderValueOption, HttpResponse, OkHttpResponse,
};
use envoy_types::pb::google::rpc;
use tokio::time::Instant;

use crate::harness::{Mesh, Request, Setup, eventually};

#[tokio::test]
async fn a_killed_attache_denies_until_it_is_back() {
    let Some(mut mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller.get("/documents/before").await.assert_allowed();

    mesh.attache.process().kill();
    for _ in 0..20 {
        caller
            .get("/documents/gone")
            .await
            .assert_refused_by_envoy(503);
    }

    // The socket of the killed process is still there: the next one replaces it.
    mesh.attache.start().await;
    eventually("requests are allowed again", async || {
        let response = caller.get("/documents/after").await;
        assert!(matches!(response.status, 200 | 503), "{response:?}");
        (response.status == 200).then_some(())
    })
    .await;
    let served: Vec<_> = mesh
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.served)
        .collect();
    assert!(
        !served.contains(&"/documents/gone".to_owned()),
        "{served:?}"
    );
}

/// Killed while requests are on their way: each is served by decision or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_under_load_lets_no_undecided_request_through() {
    let Some(mut mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for caller in ["svc/reporting", "svc/unknown"] {
        let connection = mesh.caller(caller).http2().await;
        for _ in 0..8 {
            let connection = connection.clone();
            tasks.spawn(async move {
                let mut answers = Vec::new();
                // Until the kill shows, and a little beyond.
                let mut failures = 0;
                while failures < 10 && answers.len() < 20_000 {
                    let response = connection.send(Request::get("/documents/42")).await;
                    failures += usize::from(response.status == 503);
                    answers.push(response.status);
                }
                (caller, answers)
            });
        }
    }
    eventually("requests are being served", async || {
        (mesh.upstream.seen().len() > 100).then_some(())
    })
    .await;
    mesh.attache.process().kill();
    while let Some(result) = tasks.join_next().await {
        let (caller, answers) = result.unwrap();
        let expected = match caller {
            "svc/reporting" => [200, 503],
            _ => [403, 503],
        };
        assert!(
            answers.iter().all(|status| expected.contains(status)),
            "{caller}: {answers:?}"
        );
        assert!(answers.contains(&503));
    }
    for seen in mesh.upstream.seen() {
        assert_eq!(
            seen.header("x-attache-caller"),
            ["spiffe://example.org/svc/reporting"]
        );
    }
}

/// E52: stopped, not gone: the connection stands and nobody answers on it.
#[tokio::test]
async fn a_hanging_attache_denies_within_the_timeout() {
    let Some(mut mesh) = Mesh::start(Setup::default().hurried()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller.get("/documents/before").await.assert_allowed();

    mesh.attache.process().signal("STOP");
    for _ in 0..3 {
        let start = Instant::now();
        caller
            .get("/documents/hung")
            .await
            .assert_refused_by_envoy(503);
        // Envoy waits 250 ms; the rest is a TLS handshake on a busy test machine.
        assert!(
            start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }
    mesh.attache.process().signal("CONT");
    eventually("requests are allowed again", async || {
        (caller.get("/documents/after").await.status == 200).then_some(())
    })
    .await;
    let served: Vec<_> = mesh
        .upstream
        .seen()
        .into_iter()
        .map(|seen| seen.served)
        .collect();
    assert!(
        !served.contains(&"/documents/hung".to_owned()),
        "{served:?}"
    );
}

/// `attache.enabled` is how an operator would switch the filter off: the door closes instead.
#[tokio::test]
async fn switching_the_filter_off_closes_the_door() {
    let off = "layered_runtime:\n  layers:\n    - name: switched-off\n      static_layer: {attache.enabled: 0}\n\nstatic_resources:";
    let Some(mesh) = Mesh::start(Setup::default().envoy("static_resources:", off)).await else {
        return;
    };
    mesh.caller("svc/reporting")
        .get("/documents/42")
        .await
        .assert_refused_by_envoy(503);
    assert!(mesh.upstream.seen().is_empty());
}

const UNDECIDED: &str = r#"package agentweave.authz

import rego.v1

default allow := false

allow if input.request.params.id == "fine"

# Two values for one rule: an error, not an answer.
verdict := "one" if input.request.params.id == "conflict"
verdict := "two" if input.request.params.id == "conflict"
allow if not verdict

# A result of the wrong kind.
allow := "yes" if input.request.params.id == "shape"
"#;

#[tokio::test]
async fn a_policy_that_cannot_decide_is_503_and_not_a_no() {
    let Some(mesh) = Mesh::start(Setup::default().policy(UNDECIDED)).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller.get("/documents/fine").await.assert_allowed();
    for id in ["conflict", "shape"] {
        caller
            .get(&format!("/documents/{id}"))
            .await
            .assert_denied(503, "policy_error");
    }
    assert_eq!(mesh.upstream.only().served, "/documents/fine");
}

/// Allows everything, and changes one header of each request.
#[derive(Debug)]
struct Compromised {
    header: (&'static str, &'static str),
}

#[tonic::async_trait]
impl Authorization for Compromised {
    async fn check(
        &self,
        _: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let (key, value) = self.header;
        let header = HeaderValueOption {
            header: Some(HeaderValue {
                key: key.to_owned(),
                value: value.to_owned(),
                ..HeaderValue::default()
            }),
            append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
            ..HeaderValueOption::default()
        };
        Ok(tonic::Response::new(CheckResponse {
            status: Some(rpc::Status::default()),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse {
                headers: vec![header],
                ..OkHttpResponse::default()
            })),
            ..CheckResponse::default()
        }))
    }
}

/// Even with attache in the wrong hands, what was asked for is what arrives.
#[tokio::test]
async fn a_compromised_attache_cannot_rewrite_requests() {
    let Some(mut mesh) = Mesh::start(Setup::default().over_loopback()).await else {
        return;
    };
    mesh.attache.process().kill();
    let caller = mesh.caller("svc/reporting");
    for (header, harmless) in [
        (
            ("x-attache-caller", "spiffe://example.org/svc/reporting"),
            true,
        ),
        ((":path", "/billing/7"), false),
        ((":method", "DELETE"), false),
        ((":authority", "elsewhere.example"), false),
        (("host", "elsewhere.example"), false),
        (("x-envoy-original-path", "/billing/7"), false),
        (("x-attache-tier", "free\r\nx-attache-caller: root"), false),
    ] {
        let address = (
            std::net::Ipv4Addr::LOCALHOST,
            mesh.attache.ext_authz_port.unwrap(),
        );
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let server = tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(AuthorizationServer::new(Compromised { header }))
                .serve_with_shutdown(address.into(), async { drop(stopped.await) }),
        );
        let response = eventually("Envoy asks the impostor", async || {
            let response = caller.get("/documents/42").await;
            (response.status != 503).then_some(response)
        })
        .await;
        assert_eq!(response.status == 200, harmless, "{header:?}: {response:?}");
        drop(stop);
        server.await.unwrap().unwrap();
    }
    assert_eq!(mesh.upstream.only().served, "/documents/42");
}
