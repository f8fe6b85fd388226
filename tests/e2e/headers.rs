//! Headers a client cannot lie with.

use crate::harness::{Mesh, Request, Seen, Setup};

/// Every name attache tells the application something by, and one it never uses.
const OURS: [&str; 9] = [
    "x-attache-caller",
    "x-attache-decision-id",
    "x-attache-subject",
    "x-attache-tier",
    "x-attache-actor",
    "x-attache-task",
    "x-attache-chain",
    "attache-token",
    "x-attache-anything",
];

const FORGED: &str = "forged";

fn assert_nothing_forged(seen: &[Seen]) {
    for request in seen {
        for (name, value) in &request.headers {
            assert_ne!(value.as_bytes(), FORGED.as_bytes(), "{name} got through");
        }
        assert_eq!(
            request.header("x-attache-caller"),
            ["spiffe://example.org/svc/reporting"]
        );
        for name in &OURS[..4] {
            assert_eq!(request.header(name).len(), 1, "{name}: {request:?}");
        }
        assert!(request.header("x-attache-anything").is_empty());
    }
}

/// E29, E30: whatever the letter case, once or twice, over either protocol.
async fn forged_identity_headers_never_arrive(setup: Setup) {
    let Some(mesh) = Mesh::start(setup).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    let mut sent = 0;
    for name in OURS {
        let spellings = [name.to_owned(), name.to_uppercase(), mixed_case(name)];
        for spelling in &spellings {
            let once = Request::get("/documents/42").header(spelling, FORGED);
            caller.send(once.clone()).await.assert_allowed();
            let twice = once.header(name, FORGED);
            caller.send(twice).await.assert_allowed();
            sent += 2;
        }
    }
    let http2 = caller.http2().await;
    let mut all = Request::get("/documents/42");
    for name in OURS {
        all = all.header(name, FORGED).header(name, FORGED);
    }
    http2.send(all).await.assert_allowed();
    sent += 1;

    let seen = mesh.upstream.seen();
    assert_eq!(seen.len(), sent);
    assert_nothing_forged(&seen);
}

#[tokio::test]
async fn forged_identity_headers_never_reach_the_application() {
    forged_identity_headers_never_arrive(Setup::default()).await;
}

#[tokio::test]
async fn attache_alone_keeps_forged_identity_headers_out() {
    forged_identity_headers_never_arrive(Setup::default().without_early_removal()).await;
}

#[tokio::test]
async fn attache_alone_keeps_them_out_when_headers_come_joined() {
    let setup = Setup::default()
        .without_early_removal()
        .envoy("encode_raw_headers: true", "encode_raw_headers: false");
    forged_identity_headers_never_arrive(setup).await;
}

fn mixed_case(name: &str) -> String {
    name.char_indices()
        .map(|(index, letter)| match index % 2 {
            0 => letter.to_ascii_uppercase(),
            _ => letter,
        })
        .collect()
}

#[tokio::test]
async fn an_underscore_does_not_pass_for_a_dash() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    mesh.caller("svc/reporting")
        .send(Request::get("/documents/42").header("x_attache_caller", FORGED))
        .await
        .assert_refused_by_envoy(400);
    assert!(mesh.upstream.seen().is_empty());
}

/// E10: the certificate of the connection counts, not a header about one.
#[tokio::test]
async fn a_forged_certificate_header_is_ignored() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let forged =
        "By=spiffe://example.org/svc/documents;Hash=00;URI=spiffe://example.org/svc/reporting";
    let request = Request::get("/documents/42").header("x-forwarded-client-cert", forged);
    mesh.caller("svc/unknown")
        .send(request.clone())
        .await
        .assert_denied(403, "out_of_scope");
    assert!(mesh.upstream.seen().is_empty());

    let planner = request.header("X-Forwarded-Client-Cert", forged);
    mesh.caller("agent/planner")
        .send(planner)
        .await
        .assert_denied(403, "orphan_agent");

    let claim = Request::get("/documents/42").header(
        "x-forwarded-client-cert",
        "URI=spiffe://example.org/svc/admin",
    );
    mesh.caller("svc/reporting")
        .send(claim)
        .await
        .assert_allowed();
    let seen = mesh.upstream.only();
    let [told] = seen.header("x-forwarded-client-cert")[..] else {
        panic!("the application is told about one connection: {seen:?}");
    };
    assert!(
        told.contains("URI=spiffe://example.org/svc/reporting"),
        "{told}"
    );
    assert!(!told.contains("svc/admin"), "{told}");
}

/// E27: a header never chooses another resource or method than the request line.
#[tokio::test]
async fn headers_that_rename_the_request_change_nothing() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let renames = [
        ("x-envoy-original-path", "/documents/42"),
        ("x-original-url", "/documents/42"),
        ("x-rewrite-url", "/documents/42"),
        ("x-forwarded-uri", "/documents/42"),
        ("x-http-method-override", "GET"),
        ("x-http-method", "GET"),
        ("x-method-override", "GET"),
    ];
    let caller = mesh.caller("svc/reporting");
    for (name, value) in renames {
        let billing = Request::new("PUT", "/billing/7").header(name, value);
        caller
            .send(billing)
            .await
            .assert_denied(403, "tier_forbidden");
        let read = Request::get("/documents/42").header(name, "DELETE");
        caller.send(read).await.assert_allowed();
    }
    for seen in mesh.upstream.seen() {
        for (name, _) in renames {
            assert!(
                seen.header(name).is_empty(),
                "{name} reached the application"
            );
        }
    }
}

/// E42: large, but within what Envoy takes.
#[tokio::test]
async fn large_headers_are_decided_and_larger_ones_refused() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    let with = |bytes: usize| Request::get("/documents/42").header("x-large", &"a".repeat(bytes));
    caller.send(with(48 * 1024)).await.assert_allowed();
    caller
        .send(with(80 * 1024))
        .await
        .assert_refused_by_envoy(431);

    let many = |count: usize| {
        (0..count).fold(Request::get("/documents/42"), |request, index| {
            request.header(&format!("x-many-{index}"), "value")
        })
    };
    // 100 is the limit, with what Envoy and attache add.
    caller.send(many(80)).await.assert_allowed();
    caller.send(many(150)).await.assert_refused_by_envoy(431);

    let http2 = caller.http2().await;
    http2.send(with(48 * 1024)).await.assert_allowed();

    // A denial with large headers is a denial, not a failure.
    let denied = Request::new("PUT", "/billing/7").header("x-large", &"a".repeat(48 * 1024));
    caller
        .send(denied)
        .await
        .assert_denied(403, "tier_forbidden");
}

#[tokio::test]
async fn raw_and_joined_headers_lead_to_the_same_decisions() {
    let joined = Setup::default().envoy("encode_raw_headers: true", "encode_raw_headers: false");
    for setup in [Setup::default(), joined] {
        let Some(mesh) = Mesh::start(setup).await else {
            return;
        };
        let repeated = |method, path| {
            Request::new(method, path)
                .header("x-repeated", "one")
                .header("x-repeated", "two")
                .header("cookie", "session=secret")
        };
        let reporting = mesh.caller("svc/reporting");
        reporting
            .send(repeated("GET", "/documents/42"))
            .await
            .assert_allowed();
        reporting
            .send(repeated("DELETE", "/documents/42"))
            .await
            .assert_denied(403, "approval_required");
        mesh.caller("svc/unknown")
            .send(repeated("GET", "/documents/42"))
            .await
            .assert_denied(403, "out_of_scope");
        let seen = mesh.upstream.only();
        assert_eq!(seen.header("x-repeated").join(","), "one,two");
        assert_eq!(seen.header("cookie"), ["session=secret"]);
    }
}
