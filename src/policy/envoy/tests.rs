//! Results and questions in the words of opa-envoy-plugin. The policies do what that plugin's tutorials show.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::policy::output::read;
use crate::policy::{
    Answer, EnvoyInput, Input, InputForm, LoadError, PolicyError, Program, Shaping, Sources,
    Verdict,
};

fn answered(result: &Json) -> Result<Verdict, PolicyError> {
    read(Some(result), &"r1".into(), InputForm::Envoy)
}

fn shaping(result: &Json) -> Shaping {
    let shaping = answered(result).unwrap().shaping.unwrap();
    Arc::unwrap_or_clone(shaping)
}

#[track_caller]
fn assert_fault(result: &Json, part: &str) {
    match answered(result) {
        Err(PolicyError::Shape(fault)) => assert!(fault.contains(part), "{result}: {fault}"),
        other => panic!("{result}: {other:?}"),
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let list = list.iter().copied();
    list.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// O14.
#[test]
fn allow_and_allowed_mean_the_same_and_one_of_them_is_needed() {
    for name in ["allow", "allowed"] {
        let verdict = answered(&json!({name: true, "reason": "x"})).unwrap();
        assert_eq!(verdict.answer, Answer::Allow);
        assert_eq!(verdict.reason.as_deref(), Some("x"));
        assert_eq!(verdict.shaping, None);
        let verdict = answered(&json!({name: false})).unwrap();
        assert_eq!(verdict.answer, Answer::Deny);
        assert_fault(&json!({name: "true"}), "must be a boolean");
    }
    for (allow, allowed) in [(true, true), (false, true), (true, false), (false, false)] {
        assert_fault(
            &json!({"allow": allow, "allowed": allowed}),
            "both `allow` and `allowed`",
        );
    }
    assert_fault(&json!({"headers": {}}), "without `allow`");
}

#[test]
fn in_attache_s_own_words_none_of_the_members_is_known() {
    for (name, value) in [
        ("allowed", json!(true)),
        ("headers", json!({})),
        ("response_headers_to_add", json!({})),
        ("request_headers_to_remove", json!([])),
        ("body", json!("")),
        ("http_status", json!(403)),
        ("query_parameters_to_set", json!({})),
        ("dynamic_metadata", json!({})),
    ] {
        let result = json!({"allow": true, name: value});
        let read = read(Some(&result), &"r1".into(), InputForm::Attache);
        let Err(PolicyError::Shape(fault)) = read else {
            panic!("{name}: {read:?}");
        };
        assert_eq!(fault, format!("unknown member `{name}`"));
    }
    assert_fault(
        &json!({"allow": true, "query_parameters_to_remove": []}),
        "unknown",
    );
}

#[test]
fn everything_that_may_be_asked_for_is_read() {
    let asked = shaping(&json!({
        "allowed": true,
        "headers": {"X-One": "1", "x-two": ["a", "b"]},
        "response_headers_to_add": [{"set-cookie": "a=1"}, {"set-cookie": "b=2"}],
        "request_headers_to_remove": ["Authorization", "x-three"],
        "query_parameters_to_set": {"plain": "text", "listed": ["one"]},
        "dynamic_metadata": {"team": {"id": 7}},
    }));
    assert_eq!(
        asked.headers,
        pairs(&[("x-one", "1"), ("x-two", "a"), ("x-two", "b")])
    );
    let cookies = pairs(&[("set-cookie", "a=1"), ("set-cookie", "b=2")]);
    assert_eq!(asked.response_headers, cookies);
    assert_eq!(asked.removed_headers, ["authorization", "x-three"]);
    assert_eq!(asked.query, pairs(&[("listed", "one"), ("plain", "text")]));
    assert_eq!(Json::from(asked.metadata), json!({"team": {"id": 7}}));

    let asked = shaping(&json!({"allowed": false, "body": "no", "http_status": 429}));
    assert_eq!(asked.body.as_deref(), Some("no"));
    assert_eq!(asked.status, Some(429));
}

#[test]
fn a_status_matters_on_a_denial_only_and_never_says_success() {
    for status in [
        0, 99, 100, 101, 200, 204, 206, 299, 306, 418, 499, 599, 600, 70_000,
    ] {
        assert_fault(
            &json!({"allow": false, "http_status": status}),
            "http_status",
        );
    }
    for status in [
        json!("403"),
        json!(403.5),
        json!(-1),
        json!(null),
        json!([403]),
    ] {
        assert_fault(
            &json!({"allow": false, "http_status": status}),
            "http_status",
        );
        assert_fault(
            &json!({"allow": true, "http_status": status}),
            "http_status",
        );
    }
    for status in [300, 302, 401, 403, 404, 429, 503, 511] {
        let asked = shaping(&json!({"allow": false, "http_status": status}));
        assert_eq!(asked.status, Some(status));
    }
    let verdict = answered(&json!({"allow": true, "http_status": 200})).unwrap();
    assert_eq!(verdict.shaping, None);
}

/// E33: what a service trusts and what frames a message is not for policies to change.
#[test]
fn a_result_never_sets_or_removes_what_is_reserved() {
    for name in [
        "x-attache-caller",
        "X-Attache-Tier",
        "x-attache-",
        ":path",
        ":authority",
        "host",
        "Host",
        "content-length",
        "transfer-encoding",
        "connection",
        "grpc-status",
        "",
        "two words",
        "a\r\nb",
        "ä",
    ] {
        for member in ["headers", "response_headers_to_add"] {
            for allow in [true, false] {
                let result = json!({"allow": allow, member: {name: "x"}});
                assert_fault(&result, "header");
                let result = json!({"allow": allow, member: [{"x-ok": "x"}, {name: ["x"]}]});
                assert_fault(&result, "header");
            }
        }
        let result = json!({"allow": true, "request_headers_to_remove": [name]});
        assert_fault(&result, "header");
    }
    for name in ["authorization", "Authorization", "attache-token"] {
        assert_fault(
            &json!({"allow": true, "headers": {name: "Bearer x"}}),
            "not for policies",
        );
    }
}

/// E31.
#[test]
fn a_value_that_could_break_out_of_its_header_is_an_error() {
    for value in [
        json!("a\r\nx-attache-tier: free"),
        json!("a\nb"),
        json!("a\0"),
        json!("é"),
        json!("x".repeat(8 * 1024 + 1)),
        json!(1),
        json!(true),
        json!(null),
        json!({"a": "b"}),
        json!([["a"]]),
    ] {
        assert_fault(&json!({"allow": true, "headers": {"x-a": value}}), "x-a");
    }
}

#[test]
fn what_is_of_another_type_or_too_much_is_an_error() {
    let many: Vec<_> = (0..65).map(|at| json!({format!("x-{at}"): "v"})).collect();
    let names: Vec<_> = (0..65).map(|at| format!("x-{at}")).collect();
    for (name, value) in [
        ("headers", json!("x-a: b")),
        ("headers", json!(["x-a"])),
        ("headers", json!(many)),
        ("response_headers_to_add", json!(7)),
        ("request_headers_to_remove", json!("x-a")),
        ("request_headers_to_remove", json!([7])),
        ("request_headers_to_remove", json!({"x-a": true})),
        ("request_headers_to_remove", json!(names)),
        ("query_parameters_to_set", json!(["a=b"])),
        ("query_parameters_to_set", json!({"a": 1})),
        // Envoy would keep the last of them.
        ("query_parameters_to_set", json!({"a": ["1", "2"]})),
        ("query_parameters_to_set", json!({"a": []})),
        ("query_parameters_to_set", json!({"": "x"})),
        ("query_parameters_to_set", json!({"a": "1&admin=true"})),
        ("query_parameters_to_set", json!({"a&b": "1"})),
        ("query_parameters_to_set", json!({"a": "a%20b"})),
        ("query_parameters_to_set", json!({"a": "b#c"})),
        ("body", json!({"error": "no"})),
        ("body", json!("x".repeat(64 * 1024 + 1))),
        ("dynamic_metadata", json!("x")),
        ("dynamic_metadata", json!({"x": "x".repeat(16 * 1024)})),
    ] {
        for allow in [true, false] {
            let result = json!({"allow": allow, name: value});
            assert!(
                matches!(answered(&result), Err(PolicyError::Shape(_))),
                "{name}: {value}"
            );
        }
    }
    let both =
        json!({"allow": true, "headers": {"X-A": "1"}, "request_headers_to_remove": ["x-a"]});
    assert_fault(&both, "`x-a` is both set and removed");
}

const LIMIT: Duration = Duration::from_secs(10);

fn compiled(module: &str) -> Result<Program, Vec<LoadError>> {
    let mut sources = Sources::default();
    sources.insert("policy.rego", module);
    let path = "envoy/authz/allow".parse().unwrap();
    Program::compile_for(&sources, &path, LIMIT, InputForm::Envoy)
}

/// As such a proxy would send it, with a body of JSON.
fn asked(method: &str, path: &str, headers: &Json, body: Json) -> Input {
    let mut envoy = EnvoyInput::made_up(method, "people.example", path);
    let mut attributes = Json::Object(envoy.attributes);
    attributes["request"]["http"]["headers"] = headers.clone();
    envoy.attributes = attributes.as_object().unwrap().clone();
    envoy.parsed_body = body;
    Input {
        envoy: Some(Box::new(envoy)),
        ..Input::made_up()
    }
}

fn answer(program: &Program, input: &Input) -> Answer {
    program.evaluate(input).unwrap().answer
}

/// Roles in a header; the resource by the segments of the path; a body that must not be about oneself.
const ROLES: &str = r#"
package envoy.authz

default allow := false

allow if {
    input.attributes.request.http.method == "GET"
    input.parsed_path[0] == "people"
    role in {"guest", "admin"}
}

allow if {
    input.attributes.request.http.method == "POST"
    glob.match("/people", ["/"], input.attributes.request.http.path)
    role == "admin"
    not input.truncated_body
    lower(input.parsed_body.firstname) != input.attributes.request.http.headers["x-user"]
}

role := input.attributes.request.http.headers["x-role"]
"#;

#[test]
fn roles_by_header_and_rules_about_the_body_work_as_written() {
    let program = compiled(ROLES).unwrap();
    let guest = json!({"x-role": "guest", "x-user": "ann"});
    let admin = json!({"x-role": "admin", "x-user": "ann"});
    let bob = json!({"firstname": "Bob"});
    let herself = json!({"firstname": "Ann"});
    for (method, path, headers, body, expected) in [
        ("GET", "/people/7", &guest, Json::Null, Answer::Allow),
        ("GET", "/people/7", &json!({}), Json::Null, Answer::Deny),
        ("GET", "/orders/7", &guest, Json::Null, Answer::Deny),
        ("POST", "/people", &guest, bob.clone(), Answer::Deny),
        ("POST", "/people", &admin, bob.clone(), Answer::Allow),
        ("POST", "/people", &admin, herself, Answer::Deny),
        ("POST", "/people", &admin, Json::Null, Answer::Deny),
        ("POST", "/people/7", &admin, bob, Answer::Deny),
    ] {
        let input = asked(method, path, headers, body);
        assert_eq!(answer(&program, &input), expected, "{method} {path}");
    }
    let mut input = asked("POST", "/people", &admin, json!({"firstname": "Bob"}));
    input.envoy.as_mut().unwrap().truncated_body = true;
    assert_eq!(answer(&program, &input), Answer::Deny);
}

/// An answer as an object, put together from rules; the older syntax.
const OBJECT: &str = r#"
package envoy.authz

default allow = {
    "allowed": false,
    "headers": {"x-ext-auth-allow": "no"},
    "body": "Unauthorized Request",
    "http_status": 301
}

allow = response {
    input.attributes.request.http.method == "GET"
    input.attributes.source.principal == "spiffe://trial.invalid/caller"
    response := {
        "allowed": true,
        "headers": {"x-ext-auth-allow": "yes"},
        "response_headers_to_add": {"x-foo": "bar"},
        "request_headers_to_remove": ["one-auth-header", "another-auth-header"],
        "query_parameters_to_set": {"limit": "10"},
        "dynamic_metadata": {"version": input.version.ext_authz},
        "http_status": 200
    }
}
"#;

#[test]
fn an_answer_that_is_an_object_works_as_written() {
    let program = compiled(OBJECT).unwrap();
    let allowed = asked("GET", "/people", &json!({}), Json::Null);
    let verdict = program.evaluate(&allowed).unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    let asked_for = verdict.shaping.unwrap();
    assert_eq!(asked_for.headers, pairs(&[("x-ext-auth-allow", "yes")]));
    assert_eq!(asked_for.response_headers, pairs(&[("x-foo", "bar")]));
    assert_eq!(
        asked_for.removed_headers,
        ["one-auth-header", "another-auth-header"]
    );
    assert_eq!(asked_for.query, pairs(&[("limit", "10")]));
    assert_eq!(
        Json::from(asked_for.metadata.clone()),
        json!({"version": "v3"})
    );
    assert_eq!(asked_for.status, None);

    let denied = asked("POST", "/people", &json!({}), Json::Null);
    let verdict = program.evaluate(&denied).unwrap();
    assert_eq!(verdict.answer, Answer::Deny);
    let asked_for = verdict.shaping.unwrap();
    assert_eq!(asked_for.body.as_deref(), Some("Unauthorized Request"));
    assert_eq!(asked_for.status, Some(301));
}

#[test]
fn a_policy_that_asks_for_what_it_may_not_is_refused_when_it_is_loaded() {
    let module = r#"
        package envoy.authz
        allow := {"allowed": true, "headers": {"x-attache-caller": "me"}}
    "#;
    let errors = compiled(module).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "policy result: header `x-attache-caller` is not for policies to change"
    );
}

/// Only what configuration declares makes one answer serve two requests.
#[test]
fn an_answer_serves_other_requests_only_where_the_words_last() {
    assert!(Input::made_up().is_cacheable());
    let mut input = asked("GET", "/people", &json!({}), Json::Null);
    assert!(!input.is_cacheable());
    input.envoy.as_mut().unwrap().lasting = true;
    assert!(input.is_cacheable());
}
