//! Start, stop, reload, rotation and health, as an orchestrator sees them.

use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Mesh, Pki, Request, Setup, eventually};

const ALLOW: &str =
    "package agentweave.authz\n\nimport rego.v1\n\ndefault allow := false\n\nallow if true\n";
const DENY: &str = "package agentweave.authz\n\nimport rego.v1\n\ndefault allow := false\n";
const UNDEFINED: &str = "package agentweave.authz\n\nimport rego.v1\n\nallow if false\n";
const BROKEN: &str = "package agentweave.authz\n\nallow if {{{\n";

#[tokio::test]
async fn a_policy_is_reloaded_when_its_config_map_is_swapped() {
    let Some(mesh) = Mesh::start(Setup::default().policy(ALLOW)).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller.get("/documents/42").await.assert_allowed();

    mesh.attache.swap_policy(DENY);
    eventually("the policy that denies is in force", async || {
        let response = caller.get("/documents/42").await;
        (response.reason() == Some("policy_denied")).then_some(())
    })
    .await;

    mesh.attache.swap_policy(UNDEFINED);
    eventually("a policy without a result is in force", async || {
        let response = caller.get("/documents/42").await;
        (response.reason() == Some("policy_undefined")).then_some(())
    })
    .await;

    mesh.attache.swap_policy(ALLOW);
    eventually("the policy that allows is back", async || {
        (caller.get("/documents/42").await.status == 200).then_some(())
    })
    .await;
}

/// K20: a bad policy leaves the old one serving, and says so.
#[tokio::test]
async fn a_broken_policy_leaves_the_last_good_one_serving() {
    let Some(mut mesh) = Mesh::start(Setup::default().policy(DENY)).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller
        .get("/documents/42")
        .await
        .assert_denied(403, "policy_denied");

    mesh.attache.swap_policy(BROKEN);
    eventually("the log names the broken file", async || {
        mesh.attache
            .process()
            .output()
            .contains("authz.rego")
            .then_some(())
    })
    .await;
    caller
        .get("/documents/42")
        .await
        .assert_denied(403, "policy_denied");

    // And it still watches.
    mesh.attache.swap_policy(ALLOW);
    eventually("the repaired policy is in force", async || {
        (caller.get("/documents/42").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn envoy_takes_up_rotated_certificates() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let old = mesh.caller("svc/reporting");
    old.get("/documents/42").await.assert_allowed();

    let next = Pki::new();
    let new = mesh.caller_trusting(&next, "svc/reporting");
    assert!(new.try_send(Request::get("/documents/42")).await.is_err());
    mesh.envoy.rotate(&next);
    eventually("the new authority is trusted", async || {
        let answer = new.try_send(Request::get("/documents/42")).await.ok()?;
        answer.assert_allowed();
        Some(())
    })
    .await;
    assert!(
        old.try_send(Request::get("/documents/42")).await.is_err(),
        "the old authority no longer counts"
    );
}

/// K05, K06: a stop under load costs answers, never correctness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_exits_cleanly() {
    let Some(mut mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    let connection = mesh.caller("svc/reporting").http2().await;
    for _ in 0..8 {
        let connection = connection.clone();
        tasks.spawn(async move {
            let mut statuses = Vec::new();
            while statuses.last() != Some(&503) && statuses.len() < 20_000 {
                let response = connection.send(Request::get("/documents/42")).await;
                statuses.push(response.status);
            }
            statuses
        });
    }
    eventually("requests are being served", async || {
        (mesh.upstream.seen().len() > 100).then_some(())
    })
    .await;

    mesh.attache.process().signal("TERM");
    let status = mesh.attache.process().exit().await;
    assert_eq!(
        status.code(),
        Some(0),
        "{}",
        mesh.attache.process().output()
    );

    let mut allowed = 0;
    while let Some(result) = tasks.join_next().await {
        let statuses = result.unwrap();
        assert!(
            statuses.iter().all(|status| [200, 503].contains(status)),
            "{statuses:?}"
        );
        allowed += statuses.iter().filter(|status| **status == 200).count();
    }
    assert_eq!(mesh.upstream.seen().len(), allowed);
    // What was allowed was witnessed before the process left.
    let witnessed = mesh
        .attache
        .decisions()
        .iter()
        .filter(|record| record["result"] == "allowed")
        .count();
    assert!(
        witnessed >= allowed,
        "{witnessed} records for {allowed} allowed requests"
    );
    assert!(
        !mesh.home().join("ext_authz.sock").exists(),
        "the socket is removed"
    );
}

#[tokio::test]
async fn health_answers_over_http_and_grpc() {
    let Some(mut mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    for path in ["/livez", "/readyz"] {
        assert_eq!(mesh.attache.get(path).await.unwrap().0, 200, "{path}");
    }
    mesh.caller("svc/reporting")
        .get("/documents/42")
        .await
        .assert_allowed();
    let (status, metrics) = mesh.attache.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    assert!(metrics.contains("attache_"), "{metrics}");

    let channel = Endpoint::from_shared(format!("http://127.0.0.1:{}", mesh.attache.health_port))
        .unwrap()
        .timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap();
    let mut client = HealthClient::new(channel);
    for service in [
        "",
        "liveness",
        "readiness",
        "startup",
        "envoy.service.auth.v3.Authorization",
    ] {
        let answer = client
            .check(HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .unwrap_or_else(|status| panic!("{service}: {status}"));
        assert_eq!(
            answer.into_inner().status(),
            ServingStatus::Serving,
            "{service}"
        );
    }
    // K04.
    let unknown = client
        .check(HealthCheckRequest {
            service: "no.such.Service".to_owned(),
        })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);

    // Liveness is about the process, not about its orders to stop: both end together with it.
    mesh.attache.process().signal("TERM");
    mesh.attache.process().exit().await;
    assert_eq!(mesh.attache.get("/livez").await, None);
}
