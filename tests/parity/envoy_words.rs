//! Policies in the words of opa-envoy-plugin, written after its public tutorials in words of our own: by role in a header, by
//! segments of the path, by the body, and with answers that shape the response. Both judges, every combination of inputs.

use std::collections::BTreeMap;

use attache::policy::{EnvoyInput, Input, InputForm};
use serde_json::{Value, json};

use crate::inputs::{Source, any_input};
use crate::judges::{Policy, compare};

/// Who may read and who may hire, by a role in a header; nobody hires whom they are named after.
const ROLES: &str = r#"package agentweave.authz

default allow := false

allow if {
	http.method == "GET"
	input.parsed_path[0] == "people"
	http.headers["x-role"] in {"guest", "admin"}
}

allow if {
	http.method == "POST"
	glob.match("/people", ["/"], http.path)
	http.headers["x-role"] == "admin"
	not input.truncated_body
	lower(input.parsed_body.firstname) != http.headers["x-user"]
}

http := input.attributes.request.http
"#;

/// What the answer is to look like, from rules; the status and the body of a denial say why.
const ANSWERS: &str = r#"package agentweave.authz

default allow := {
	"allowed": false,
	"headers": {"x-reason": "not signed in"},
	"body": "Sign in first",
	"http_status": 401,
}

allow := {
	"allowed": true,
	"headers": {"x-role": role},
	"response_headers_to_add": {"x-seen-by": "policy"},
	"request_headers_to_remove": ["x-internal"],
	"query_parameters_to_set": {"limit": "10"},
	"dynamic_metadata": {"version": input.version.ext_authz, "query": input.parsed_query},
} if role in {"guest", "admin"}

allow := {"allowed": false, "http_status": 429, "body": sprintf("%s may not", [role])} if role == "banned"

role := input.attributes.request.http.headers["x-role"]
"#;

/// By the caller's identity, and a query that must not be there.
const CALLERS: &str = r#"package agentweave.authz

allow if {
	startswith(input.attributes.source.principal, "spiffe://example.org/")
	count(input.parsed_query) == 0
	input.version.encoding == "protojson"
}

allow if input.parsed_query.debug == ["1"]
"#;

/// As a proxy would send it.
fn asked(input: Input, method: &str, path: &str, role: Option<&str>, body: &Value) -> Input {
    let (bare, query) = path.split_once('?').unwrap_or((path, ""));
    let mut headers = BTreeMap::from([(":path", path), ("x-user", "ann")]);
    headers.extend(role.map(|role| ("x-role", role)));
    let attributes = json!({
        "source": {"principal": input.caller.as_str()},
        "request": {"http": {"method": method, "path": path, "host": "people.example", "headers": headers}},
    });
    let parameter = query
        .split_once('=')
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    let envoy = EnvoyInput {
        attributes: attributes.as_object().unwrap().clone(),
        parsed_path: bare.split('/').skip(1).map(str::to_owned).collect(),
        parsed_query: parameter.into_iter().collect(),
        parsed_body: body.clone(),
        truncated_body: body.is_null(),
        lasting: false,
    };
    Input {
        envoy: Some(Box::new(envoy)),
        ..input
    }
}

fn inputs(name: &str) -> Vec<Input> {
    let mut source = Source::new(name);
    let bodies = [
        Value::Null,
        json!({"firstname": "Bob"}),
        json!({"firstname": "ANN"}),
        json!({"firstname": 7}),
        json!([]),
    ];
    let mut inputs = Vec::new();
    for method in ["GET", "POST", "get"] {
        for path in [
            "/people",
            "/people/7",
            "/orders",
            "/",
            "/people?debug=1",
            "/people?debug=2",
        ] {
            for role in [None, Some("guest"), Some("admin"), Some("banned"), Some("")] {
                for body in &bodies {
                    inputs.push(asked(source.draw(&any_input()), method, path, role, body));
                }
            }
        }
    }
    inputs
}

#[tokio::test]
async fn policies_in_the_words_of_the_plugin_are_decided_alike() {
    let policies = [("roles", ROLES), ("answers", ANSWERS), ("callers", CALLERS)];
    let with_inputs = policies.map(|(name, module)| {
        let policy = Policy::new(name, module).in_words(InputForm::Envoy);
        (policy, inputs(name))
    });
    compare(with_inputs.to_vec(), false, |_, _| false).await;
}
