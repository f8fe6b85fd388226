//! What is allowed, what is denied and why, as a client sees it.

use crate::harness::{Caller, Leaf, Mesh, Pki, Request, Setup};

#[tokio::test]
async fn a_permitted_request_reaches_the_application_with_the_callers_identity() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let response = mesh.caller("svc/reporting").get("/documents/42").await;
    response.assert_allowed();

    let seen = mesh.upstream.only();
    assert_eq!(seen.served, "/documents/42");
    assert_eq!(
        seen.header("x-attache-caller"),
        ["spiffe://example.org/svc/reporting"]
    );
    assert_eq!(
        seen.header("x-attache-subject"),
        ["spiffe://example.org/svc/reporting"]
    );
    assert_eq!(seen.header("x-attache-tier"), ["free"]);
    assert_eq!(seen.header("x-attache-decision-id").len(), 1);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_its_reason() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let reporting = mesh.caller("svc/reporting");
    let planner = mesh.caller("agent/planner");
    let unknown = mesh.caller("svc/unknown");
    let cases: [(&Caller, &str, &str, u16, &str); 7] = [
        (&planner, "GET", "/documents/42", 403, "orphan_agent"),
        (&unknown, "GET", "/documents/42", 403, "out_of_scope"),
        (&reporting, "PUT", "/billing/7", 403, "tier_forbidden"),
        (
            &reporting,
            "DELETE",
            "/documents/42",
            403,
            "approval_required",
        ),
        (&reporting, "GET", "/nowhere", 403, "route_unmatched"),
        (&reporting, "get", "/documents/42", 400, ""),
        (&reporting, "GET", "/documents/*", 403, "invalid_capture"),
    ];
    for (caller, method, path, status, reason) in cases {
        let response = caller.send(Request::new(method, path)).await;
        if reason.is_empty() {
            response.assert_refused_by_envoy(status);
        } else {
            response.assert_denied(status, reason);
        }
    }
    assert!(mesh.upstream.seen().is_empty());
}

/// Envoy asks for certificates of the trust domain; with that taken away, attache still answers 401.
#[tokio::test]
async fn attache_asks_who_is_there_even_where_envoy_does_not() {
    let Some(mesh) = Mesh::start(Setup::default().lenient_tls()).await else {
        return;
    };
    let with = |leaf: Leaf| mesh.caller_with(&mesh.pki, &leaf);
    let cases = [
        (mesh.anonymous(), "no_identity"),
        // E08: the principal falls back to a DNS name, which is no SPIFFE ID.
        (
            with(Leaf {
                names: vec!["reporting.example.org"],
                ..Leaf::default()
            }),
            "invalid_identity",
        ),
        (
            with(Leaf::uri("https://example.org/svc/reporting")),
            "invalid_identity",
        ),
        (
            with(Leaf::uri("spiffe://example.org/svc/../reporting")),
            "invalid_identity",
        ),
        // The trust domain itself is no workload.
        (with(Leaf::uri("spiffe://example.org")), "invalid_identity"),
        // E09: two identities are none.
        (
            with(Leaf {
                uris: vec![
                    "spiffe://example.org/svc/reporting".to_owned(),
                    "spiffe://example.org/svc/other".to_owned(),
                ],
                ..Leaf::default()
            }),
            "invalid_identity",
        ),
        (
            with(Leaf {
                ca: true,
                ..Leaf::svid("svc/reporting")
            }),
            "invalid_identity",
        ),
        (
            with(Leaf::uri("spiffe://elsewhere.org/svc/reporting")),
            "foreign_trust_domain",
        ),
    ];
    for (caller, reason) in cases {
        caller.get("/documents/42").await.assert_denied(401, reason);
    }
    assert!(mesh.upstream.seen().is_empty());

    // The same listener lets the right one in.
    mesh.caller("svc/reporting")
        .get("/documents/42")
        .await
        .assert_allowed();
}

#[tokio::test]
async fn who_has_no_certificate_of_the_trust_domain_gets_no_connection() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let stranger = Pki::new();
    let expired = Leaf {
        expired: true,
        ..Leaf::svid("svc/reporting")
    };
    // Trusts our server, shows a certificate of somebody else's authority.
    let forged = mesh.caller_with(&stranger, &Leaf::svid("svc/reporting"));
    let cases = [
        ("no certificate", mesh.anonymous()),
        ("another authority", forged),
        ("expired", mesh.caller_with(&mesh.pki, &expired)),
        (
            "another trust domain",
            mesh.caller_with(
                &mesh.pki,
                &Leaf::uri("spiffe://elsewhere.org/svc/reporting"),
            ),
        ),
    ];
    for (what, caller) in cases {
        let answer = caller.try_send(Request::get("/documents/42")).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    assert!(mesh.upstream.seen().is_empty());
    assert!(
        mesh.attache.decisions().is_empty(),
        "attache was never asked"
    );
}

#[tokio::test]
async fn the_access_log_tells_the_decision_on_every_line() {
    let Some(mesh) = Mesh::start(Setup::default()).await else {
        return;
    };
    let reporting = mesh.caller("svc/reporting");
    reporting.get("/documents/42").await.assert_allowed();
    let denied = reporting
        .send(Request::new("DELETE", "/documents/42"))
        .await;
    denied.assert_denied(403, "approval_required");

    let lines = crate::harness::eventually("two lines in the access log", async || {
        Some(mesh.envoy.access_log()).filter(|lines| lines.len() == 2)
    })
    .await;
    assert_eq!(lines[0]["attache"]["decision"], "allow");
    assert_eq!(lines[0]["attache"]["tier"], "free");
    assert_eq!(lines[0]["caller"], "spiffe://example.org/svc/reporting");
    assert_eq!(lines[1]["attache"]["decision"], "deny");
    assert_eq!(lines[1]["attache"]["reason"], "approval_required");
    assert_eq!(lines[1]["attache"]["tier"], "supervised");
    assert_eq!(
        lines[1]["attache"]["decision_id"].as_str(),
        denied.header("x-attache-decision-id")
    );
}
