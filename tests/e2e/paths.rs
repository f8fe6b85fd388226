//! Paths that policy and application might read differently.
//!
//! The application here decodes, cuts parameters off and resolves dot segments after the decision, as many do. Whatever
//! it is sent, it must never come to serve something that the caller was not allowed to read.

use crate::harness::{Mesh, Request, Setup};

/// Targets that lead out of `/documents/{id}` for one reader or another (E12–E24).
const TRICKS: &[&str] = &[
    // Resolved by Envoy before the question is put.
    "/documents/../billing/7",
    "/documents/./../billing/7",
    "/documents/x/../../billing/7",
    "/documents/%2e%2e/billing/7",
    "/documents/%2E./billing/7",
    "/documents/.%2e/billing/7",
    "//billing/7",
    "///documents//..//billing/7",
    "/documents/..",
    "/documents/../",
    "/documents/.",
    // Separators in disguise.
    "/documents/..%2fbilling%2f7",
    "/documents/..%2Fbilling%2F7",
    "/documents/x%2f..%2f..%2fbilling%2f7",
    "/documents/..%5cbilling%5c7",
    "/documents/..\\billing\\7",
    "/documents\\..\\billing\\7",
    // Twice encoded.
    "/documents/%252e%252e",
    "/documents/%252e%252e%252fbilling%252f7",
    "/documents/..%252fbilling",
    "/documents/%25%32%66",
    "/documents/%2525",
    // Overlong and other wrong UTF-8.
    "/documents/%c0%ae%c0%ae",
    "/documents/%c0%af",
    "/documents/%e0%80%af",
    "/documents/%ff",
    // Path parameters.
    "/documents/..;/billing/7",
    "/documents/..;",
    "/documents/..;x=1",
    "/documents/.;",
    "/documents/;",
    "/documents;/../billing/7",
    "/billing;/7",
    // Ends of strings.
    "/documents/7%00",
    "/documents/..%00",
    "/documents/7%0a",
    "/documents/7%0d%0aX-Attache-Caller:x",
    "/documents/7%7f",
    // Broken escapes.
    "/documents/%",
    "/documents/%2",
    "/documents/%zz",
    "/documents/%u002e%u002e",
    // Names with a meaning elsewhere.
    "/documents/*",
    "/documents/**",
    "/documents/%2a",
    "/documents/%2a%2a",
    "/documents/7:read",
    "/documents/7%3aread",
    "/documents/7@free",
    "/documents/%20",
    "/documents/ ",
    "/documents/",
    "/documents",
    "/",
    "*",
    // Fragments and queries.
    "/documents/7#/../../billing/7",
    "/documents/7%23",
    "/documents/..?/7",
    "/documents/..%3f",
    "?/documents/7",
    // Absolute form: the authority of the target counts, not the Host header.
    "http://elsewhere.example/billing/7",
    "https://localhost/documents/../billing/7",
    "documents/7",
];

/// One resource below `/documents/`, and nothing above or beside it.
fn is_a_document(served: &str) -> bool {
    served
        .strip_prefix("/documents/")
        .is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

#[tokio::test]
async fn no_trick_with_a_path_serves_what_was_not_allowed() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    let http2 = caller.http2().await;
    for target in TRICKS {
        // Some of these are not HTTP at all: no answer is as good as a refusal.
        if let Ok(response) = caller.try_send(Request::get(target)).await {
            assert!(response.status < 500, "{target}: {response:?}");
        }
        if target.parse::<http::Uri>().is_ok() && target.starts_with('/') {
            let response = http2.send(Request::get(target)).await;
            assert!(response.status < 500, "{target}: {response:?}");
        }
        for seen in mesh.upstream.seen() {
            assert!(
                is_a_document(&seen.served),
                "{target}: arrived as `{}`, serves `{}`",
                seen.target,
                seen.served
            );
        }
    }
}

/// E22: one escaped byte at a time, in the place of an identifier and at its end.
#[tokio::test]
async fn no_escaped_byte_serves_what_was_not_allowed() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let http2 = mesh.caller("svc/reporting").http2().await;
    for byte in 0..=u8::MAX {
        for target in [
            format!("/documents/%{byte:02x}"),
            format!("/documents/..%{byte:02X}"),
            format!("/documents/7%{byte:02x}..%{byte:02x}billing"),
            format!("/%{byte:02x}illing/7"),
            format!("/documents%{byte:02x}7"),
        ] {
            let before = mesh.upstream.seen().len();
            let response = http2.send(Request::get(&target)).await;
            assert!(response.status < 500, "{target}: {response:?}");
            for seen in &mesh.upstream.seen()[before..] {
                assert!(
                    is_a_document(&seen.served),
                    "{target}: serves `{}`",
                    seen.served
                );
            }
        }
    }
}

/// E16: a separator in disguise never gets as far as a decision.
#[tokio::test]
async fn envoy_refuses_escaped_slashes() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for target in [
        "/documents/..%2fbilling%2f7",
        "/documents/..%2Fbilling",
        "/documents/..%5cbilling",
        "/documents/..%5Cbilling",
    ] {
        caller.get(target).await.assert_refused_by_envoy(400);
    }
    assert!(
        mesh.attache.decisions().is_empty(),
        "attache was never asked"
    );
}

/// Without Envoy's help attache refuses them itself.
#[tokio::test]
async fn attache_alone_refuses_ambiguous_paths() {
    let setup = Setup::default()
        .envoy("normalize_path: true", "normalize_path: false")
        .envoy("merge_slashes: true", "merge_slashes: false")
        .envoy(
            "path_with_escaped_slashes_action: REJECT_REQUEST",
            "path_with_escaped_slashes_action: KEEP_UNCHANGED",
        );
    let Some(mesh) = Mesh::start(setup).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for target in TRICKS {
        if let Ok(response) = caller.try_send(Request::get(target)).await {
            assert!(response.status < 500, "{target}: {response:?}");
        }
        for seen in mesh.upstream.seen() {
            assert!(
                is_a_document(&seen.served),
                "{target}: serves `{}`",
                seen.served
            );
        }
    }
    caller
        .get("/documents/..%2fbilling%2f7")
        .await
        .assert_denied(403, "ambiguous_path");
}

#[tokio::test]
async fn escaped_letters_and_merged_slashes_mean_what_they_say() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for target in [
        "/documents/42",
        "//documents//42",
        "/documents/x/../42",
        "/%64ocuments/42",
        "/documents/%34%32",
        "/documents/42?billing=7",
        "/documents/42?path=/../billing/7",
    ] {
        let response = caller.get(target).await;
        response.assert_allowed();
        assert_eq!(response.body, "/documents/42", "{target}");
    }
}

/// E23: requests without a path have no resource.
#[tokio::test]
async fn requests_without_a_path_get_nowhere() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for request in [
        Request::new("CONNECT", "localhost:443"),
        Request::new("CONNECT", "/documents/42"),
        Request::new("OPTIONS", "*"),
        Request::new("GET", "localhost/documents/42"),
        Request::get("/documents/42")
            .header("connection", "upgrade")
            .header("upgrade", "websocket"),
    ] {
        if let Ok(response) = caller.try_send(request.clone()).await {
            assert!(
                (400..500).contains(&response.status),
                "{request:?}: {response:?}"
            );
        }
    }
    assert!(mesh.upstream.seen().is_empty());
}
