//! HTTP/1.1, HTTP/2 and gRPC clients; the Unix socket and the loopback port.

use prost::Message as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Mesh, Request, Setup};

#[tokio::test]
async fn http2_clients_get_the_same_answers() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let http2 = mesh.caller("svc/reporting").http2().await;
    http2
        .send(Request::get("/documents/42"))
        .await
        .assert_allowed();
    http2
        .send(Request::new("DELETE", "/documents/42"))
        .await
        .assert_denied(403, "approval_required");
    assert_eq!(mesh.upstream.only().served, "/documents/42");
}

#[tokio::test]
async fn a_permitted_grpc_call_is_answered_by_the_service() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let mut client = HealthClient::new(mesh.caller("svc/reporting").http2().await.channel);
    let answer = client
        .check(HealthCheckRequest {
            service: String::new(),
        })
        .await
        .unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    assert_eq!(
        mesh.upstream.only().header("x-attache-caller"),
        ["spiffe://example.org/svc/reporting"]
    );
}

#[tokio::test]
async fn a_refused_grpc_call_gets_a_status_that_programs_can_read() {
    let Some(mut mesh) = Mesh::start(Setup::default().lenient_tls()).await else {
        return;
    };
    let call = |caller: crate::harness::Caller, watch: bool| async move {
        let mut client = HealthClient::new(caller.http2().await.channel);
        let request = HealthCheckRequest {
            service: String::new(),
        };
        if watch {
            return client.watch(request).await.map(drop).unwrap_err();
        }
        client.check(request).await.map(drop).unwrap_err()
    };

    let refused = call(mesh.caller("svc/reporting"), true).await;
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(
        refused.message(),
        "the caller holds no permission for this operation"
    );
    assert_error_info(&refused, "OUT_OF_SCOPE");
    assert_eq!(
        refused.metadata().get("x-attache-reason").unwrap(),
        "out_of_scope"
    );

    let orphan = call(mesh.caller("agent/planner"), false).await;
    assert_eq!(orphan.code(), Code::PermissionDenied);
    assert_error_info(&orphan, "ORPHAN_AGENT");

    let nobody = call(mesh.anonymous(), false).await;
    assert_eq!(nobody.code(), Code::Unauthenticated);
    assert_error_info(&nobody, "NO_IDENTITY");

    mesh.attache.process().kill();
    let undecided = call(mesh.caller("svc/reporting"), false).await;
    assert_eq!(undecided.code(), Code::Unavailable);
    assert!(mesh.upstream.seen().is_empty());
}

// What a client in another language would generate, apart from attache's own definitions.

#[derive(prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

#[derive(prost::Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
}

/// The machine-readable half of a gRPC error: `google.rpc.Status` with one `google.rpc.ErrorInfo`.
#[track_caller]
fn assert_error_info(status: &tonic::Status, reason: &str) {
    let details = RpcStatus::decode(status.details()).unwrap();
    assert_eq!(details.code, status.code() as i32);
    let [any] = &details.details[..] else {
        panic!("one detail: {details:?}");
    };
    assert_eq!(any.type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    let info = ErrorInfo::decode(&any.value[..]).unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        (reason, "attache.dev")
    );
}

#[tokio::test]
async fn a_loopback_port_serves_where_a_socket_cannot() {
    let Some(mesh) = Mesh::start(Setup::default().over_loopback()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    caller.get("/documents/42").await.assert_allowed();
    caller
        .send(Request::new("DELETE", "/documents/42"))
        .await
        .assert_denied(403, "approval_required");
    mesh.caller("agent/planner")
        .get("/documents/42")
        .await
        .assert_denied(403, "orphan_agent");
}

#[tokio::test]
async fn the_unix_socket_has_the_mode_that_was_asked_for() {
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let socket = std::fs::metadata(mesh.home().join("ext_authz.sock")).unwrap();
    assert!(socket.file_type().is_socket());
    assert_eq!(socket.permissions().mode() & 0o777, 0o660);
}

/// Each of many concurrent requests gets its own answer, never a neighbour's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_do_not_mix_up_their_decisions() {
    const REQUESTS: usize = 1_000;
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let mut tasks = tokio::task::JoinSet::new();
    for (index, caller) in ["svc/reporting", "svc/unknown", "agent/planner"]
        .into_iter()
        .enumerate()
    {
        // Two connections each: answers of one connection share a stream of headers, those of two do not.
        for connection in [
            mesh.caller(caller).http2().await,
            mesh.caller(caller).http2().await,
        ] {
            for number in 0..REQUESTS / 6 {
                let connection = connection.clone();
                tasks.spawn(async move {
                    let target = format!("/documents/{index}-{number}");
                    let response = connection.send(Request::get(&target)).await;
                    match caller {
                        "svc/reporting" => {
                            response.assert_allowed();
                            assert_eq!(response.body, target.as_bytes());
                        }
                        "svc/unknown" => response.assert_denied(403, "out_of_scope"),
                        _ => response.assert_denied(403, "orphan_agent"),
                    }
                });
            }
        }
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    for seen in mesh.upstream.seen() {
        assert_eq!(
            seen.header("x-attache-caller"),
            ["spiffe://example.org/svc/reporting"]
        );
        assert!(seen.served.starts_with("/documents/0-"), "{seen:?}");
    }
}
