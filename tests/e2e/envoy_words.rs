//! Policies written for opa-envoy-plugin, beside a real Envoy: what they read, and what their answers do.

use crate::harness::{Mesh, Request, Setup};

/// Reads what the plugin's tutorials read, and answers with everything that a result may hold.
const POLICY: &str = r#"
package agentweave.authz

http := input.attributes.request.http

default allow := {
    "allowed": false,
    "headers": {"x-ext-auth-allow": "no", "set-cookie": ["a=1", "b=2"]},
    "body": "Unauthorized Request",
    "http_status": 401
}

role := http.headers["x-role"]

is_allowed if {
    http.method == "GET"
    input.parsed_path == ["documents", "42"]
    input.attributes.source.principal == "spiffe://example.org/svc/reporting"
    role in {"guest", "admin"}
}

is_allowed if {
    http.method == "PUT"
    role == "admin"
    not input.truncated_body
    input.parsed_body.title != "Secret"
}

allow := {
    "allowed": true,
    "headers": {"x-ext-auth-allow": "yes", "x-teams": ["a", "b"], "x-role": "checked"},
    "response_headers_to_add": {"x-answered": "by policy", "set-cookie": ["c=3", "d=4"]},
    "request_headers_to_remove": ["x-secret", "authorization"],
    "query_parameters_to_set": {"limit": "10", "note": ["A-z_0.9*"]},
    "dynamic_metadata": {"role": role, "params": input.parsed_query},
    "http_status": 200
} if is_allowed

allow := {"allowed": false, "http_status": 302, "headers": {"location": "https://login.example/"}} if {
    http.method == "GET"
    not role
}
"#;

fn as_role(request: Request, role: &str) -> Request {
    request.header("x-role", role)
}

#[tokio::test]
async fn an_allowed_request_is_changed_as_policy_asks() {
    let Some(mesh) = Mesh::start(Setup::default().policy(POLICY).in_envoy_words()).await else {
        return;
    };
    let request = Request::get("/documents/42?limit=999&limit=998&kept=1")
        .header("x-secret", "s")
        .header("authorization", "Bearer t")
        .header("x-ext-auth-allow", "forged");
    let caller = mesh.caller("svc/reporting");
    let response = caller.send(as_role(request, "guest")).await;
    response.assert_allowed();
    assert_eq!(response.header("x-answered"), Some("by policy"));
    let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["c=3", "d=4"]);

    let seen = mesh.upstream.only();
    assert_eq!(seen.header("x-ext-auth-allow"), ["yes"]);
    assert_eq!(seen.header("x-role"), ["checked"]);
    assert_eq!(seen.header("x-teams").join(","), "a,b");
    assert!(seen.header("x-secret").is_empty());
    assert!(seen.header("authorization").is_empty());
    let caller = ["spiffe://example.org/svc/reporting"];
    assert_eq!(seen.header("x-attache-caller"), caller);

    let (path, query) = seen.target.split_once('?').unwrap();
    assert!(path.ends_with("/documents/42"), "{path}");
    let mut parameters: Vec<_> = query.split('&').collect();
    parameters.sort_unstable();
    let expected = ["kept=1", "limit=10", "note=A-z_0.9*"];
    assert_eq!(parameters, expected, "{query}");
}

#[tokio::test]
async fn a_denial_looks_as_policy_asks_and_says_whose_it_is() {
    let Some(mesh) = Mesh::start(Setup::default().policy(POLICY).in_envoy_words()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    let stranger = as_role(Request::get("/documents/42"), "stranger");
    let response = caller.send(stranger).await;
    assert_eq!(response.status, 401);
    assert_eq!(response.body, "Unauthorized Request");
    assert_eq!(response.header("x-ext-auth-allow"), Some("no"));
    assert_eq!(response.reason(), Some("policy_denied"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    let cookies: Vec<_> = response.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    let response = caller.get("/documents/42").await;
    assert_eq!(response.status, 302);
    assert_eq!(response.header("location"), Some("https://login.example/"));

    // Refused by attache's own rules, it looks as every other refusal.
    caller
        .send(as_role(Request::new("PUT", "/billing/7"), "admin"))
        .await
        .assert_denied(403, "tier_forbidden");
    assert!(mesh.upstream.seen().is_empty());
}

#[tokio::test]
async fn rules_about_bodies_see_the_body_or_that_it_is_cut_off() {
    let setup = Setup::default().policy(POLICY).in_envoy_words();
    let Some(mesh) = Mesh::start(setup).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    let put = |body: &str| as_role(Request::new("PUT", "/documents/42"), "admin").json(body);
    caller
        .send(put(r#"{"title": "Minutes"}"#))
        .await
        .assert_allowed();
    let longer = format!(r#"{{"title": "Minutes", "x": "{}"}}"#, "x".repeat(10_000));
    for body in [r#"{"title": "Secret"}"#, "{}", &longer] {
        let response = caller.send(put(body)).await;
        assert_eq!(response.reason(), Some("policy_denied"), "{body:.40}");
    }
    caller
        .send(put(r#"{"title": "Minutes", "TITLE": "Secret"}"#))
        .await
        .assert_denied(403, "unusable_body");
    assert_eq!(mesh.upstream.seen().len(), 1);
}

#[tokio::test]
async fn metadata_of_policy_is_in_the_access_log_below_ours() {
    let Some(mesh) = Mesh::start(Setup::default().policy(POLICY).in_envoy_words()).await else {
        return;
    };
    let request = as_role(Request::get("/documents/42?a=1"), "guest");
    mesh.caller("svc/reporting")
        .send(request)
        .await
        .assert_allowed();
    let line = crate::harness::eventually("a line of the access log", async || {
        mesh.envoy.access_log().into_iter().next()
    })
    .await;
    assert_eq!(line["attache"]["decision"], "allow");
    let said = serde_json::json!({"role": "guest", "params": {"a": ["1"]}});
    assert_eq!(line["attache"]["policy"], said);
}

/// E33.
#[tokio::test]
async fn an_answer_that_asks_for_what_policy_may_not_is_a_denial() {
    const GREEDY: &str = r#"
        package agentweave.authz
        default allow := true
        allow := {"allowed": true, "headers": {input.attributes.request.http.headers["x-name"]: "x"}}
    "#;
    let Some(mesh) = Mesh::start(Setup::default().policy(GREEDY).in_envoy_words()).await else {
        return;
    };
    let caller = mesh.caller("svc/reporting");
    for name in [
        "x-attache-caller",
        "X-Attache-Tier",
        ":path",
        "Host",
        "authorization",
    ] {
        let request = Request::get("/documents/42").header("x-name", name);
        caller
            .send(request)
            .await
            .assert_denied(503, "policy_error");
    }
    assert!(mesh.upstream.seen().is_empty());
    let request = Request::get("/documents/42").header("x-name", "x-fine");
    caller.send(request).await.assert_allowed();
    assert_eq!(mesh.upstream.only().header("x-fine"), ["x"]);
}
