//! `policy.input: envoy`: what policy is told, from the proxy's message to the engine, and what is refused before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::audit::Memory;
use attache::authority::{Authority, Decision, Metrics, Outcome};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::permission::Tier;
use attache::policy::{Answer, PolicyEngine, PolicyError, Query, Shaping, Verdict};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

use crate::harness::RULES;

/// Keeps what it is asked, and answers as it is told.
#[derive(Debug)]
struct Ear {
    heard: Mutex<Option<(Value, bool)>>,
    verdict: Verdict,
}

#[async_trait::async_trait]
impl PolicyEngine for Ear {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let document = serde_json::to_value(&*query.input).unwrap();
        *self.heard.lock().unwrap() = Some((document, query.input.is_cacheable()));
        Ok(self.verdict.clone())
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "ear".into()
    }
}

struct Setting {
    ear: Arc<Ear>,
    authority: Authority,
}

impl Setting {
    fn new(more: &str) -> Self {
        Self::answering(more, Answer::Allow, None)
    }

    fn answering(more: &str, answer: Answer, tier: Option<Tier>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
        let (_memory, auditor, _writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
        let config = format!("trust_domain: example.org\n{RULES}\n{more}");
        let config = Config::parse(&config, "attache.yaml".as_ref()).unwrap();
        let shaping = Shaping {
            headers: vec![("x-team".to_owned(), "a".to_owned())],
            ..Shaping::default()
        };
        let verdict = Verdict {
            answer,
            reason: None,
            policy_id: None,
            tier,
            shaping: Some(Arc::new(shaping)),
            revision: "ear".into(),
            cacheable: true,
            cached: false,
        };
        let ear = Arc::new(Ear {
            heard: Mutex::default(),
            verdict,
        });
        Self {
            authority: Authority::new(
                Arc::new(config.rules),
                Arc::clone(&ear) as _,
                auditor,
                clock,
                Metrics::new(&mut Registry::default()),
            ),
            ear,
        }
    }

    async fn decide(&self, request: &Value) -> Decision {
        let request = Rehearsal::from_json(&request.to_string()).unwrap();
        let peer = Peer::Unix { uid: None };
        let limit = Duration::from_secs(5);
        request.decide(&self.authority, peer, limit).await.0
    }

    /// What policy is told of a request, and whether the answer may serve others.
    async fn heard(&self, request: &Value) -> (Value, bool) {
        let decision = self.decide(request).await;
        let heard = self.ear.heard.lock().unwrap().take();
        heard.unwrap_or_else(|| panic!("never asked: {decision:?}"))
    }

    /// The reason of a denial before policy is asked.
    async fn refused(&self, request: &Value) -> &'static str {
        let Outcome::Deny(denial) = self.decide(request).await.outcome else {
            panic!("allowed: {request}");
        };
        assert_eq!(*self.ear.heard.lock().unwrap(), None);
        denial.reason.as_str()
    }
}

const ENVOY: &str = "policy: {input: envoy}";
const DECLARED: &str = "policy: {input: envoy}\ncontext: {headers: [x-role]}";

fn request(path: &str, headers: &Value, body: &str) -> Value {
    json!({"attributes": {
        "source": {
            "address": {"socketAddress": {"address": "10.0.3.17", "portValue": 40112}},
            "principal": "spiffe://example.org/svc/reporting",
        },
        "destination": {"principal": "spiffe://example.org/svc/documents"},
        "request": {
            "time": "2026-01-01T00:00:00Z",
            "http": {
                "id": "1234",
                "method": "GET",
                "host": "documents.example.org",
                "scheme": "https",
                "protocol": "HTTP/1.1",
                "path": path,
                "headers": headers,
                "body": body,
            },
        },
        "contextExtensions": {"purpose": "test"},
    }})
}

#[tokio::test]
async fn policy_reads_the_request_in_the_plugin_s_words_beside_attache_s() {
    let headers = json!({
        ":path": "/documents/a%7Eb?q=1&q=2&r=x+y",
        "content-type": "application/json",
        "x-role": "guest",
        "x-request-id": "0b9b6e2c",
    });
    let path = "/documents/a%7Eb?q=1&q=2&r=x+y";
    let setting = Setting::new(ENVOY);
    let (heard, cacheable) = setting
        .heard(&request(path, &headers, r#"{"a": [1]}"#))
        .await;
    assert!(!cacheable, "nothing says what policy reads");
    assert_eq!(
        heard["caller_spiffe_id"],
        "spiffe://example.org/svc/reporting"
    );
    assert_eq!(heard["resource"], "documents/a~b");
    // What escapes may hide is put into its one spelling here too.
    let canonical = "/documents/a~b?q=1&q=2&r=x+y";
    assert_eq!(
        heard["attributes"],
        json!({
            "source": {
                "address": {"socketAddress": {"address": "10.0.3.17", "portValue": 40112}},
                "principal": "spiffe://example.org/svc/reporting",
            },
            "destination": {"principal": "spiffe://example.org/svc/documents"},
            "request": {
                "time": "2026-01-01T00:00:00Z",
                "http": {
                    "id": "1234",
                    "method": "GET",
                    "host": "documents.example.org",
                    "scheme": "https",
                    "protocol": "HTTP/1.1",
                    "path": canonical,
                    "headers": {
                        ":path": canonical,
                        "content-type": "application/json",
                        "x-role": "guest",
                        "x-request-id": "0b9b6e2c",
                    },
                    "body": "{\"a\": [1]}",
                },
            },
            "contextExtensions": {"purpose": "test"},
        })
    );
    assert_eq!(heard["parsed_path"], json!(["documents", "a~b"]));
    assert_eq!(
        heard["parsed_query"],
        json!({"q": ["1", "2"], "r": ["x y"]})
    );
    assert_eq!(heard["parsed_body"], json!({"a": [1]}));
    assert_eq!(heard["truncated_body"], false);
    let version = json!({"ext_authz": "v3", "encoding": "protojson"});
    assert_eq!(heard["version"], version);
}

#[tokio::test]
async fn without_the_setting_policy_hears_nothing_of_it() {
    let setting = Setting::new("");
    let (heard, cacheable) = setting
        .heard(&request("/documents/42", &json!({}), ""))
        .await;
    assert!(cacheable);
    for name in [
        "attributes",
        "parsed_path",
        "parsed_query",
        "parsed_body",
        "truncated_body",
        "version",
    ] {
        assert_eq!(heard.get(name), None, "{name}");
    }
}

#[tokio::test]
async fn two_requests_that_are_alike_make_one_document_where_context_is_declared() {
    let setting = Setting::new(DECLARED);
    let mut documents = HashMap::new();
    for (number, role) in [("1", "guest"), ("2", "guest"), ("3", "admin")] {
        let headers = json!({
            "x-role": role,
            "x-request-id": number,
            "traceparent": format!("00-{number}-1-01"),
            "tracestate": number,
            "x-b3-traceid": number,
            "b3": number,
            "x-datadog-trace-id": number,
        });
        let mut request = request("/documents/42?a=1", &headers, "");
        let attributes = &mut request["attributes"];
        attributes["request"]["time"] = json!(format!("2026-01-01T00:00:0{number}Z"));
        attributes["request"]["http"]["id"] = json!(number);
        let port: u32 = number.parse().unwrap();
        attributes["source"]["address"]["socketAddress"]["portValue"] = json!(port);
        let (heard, cacheable) = setting.heard(&request).await;
        assert!(cacheable);
        let address = &heard["attributes"]["source"]["address"];
        assert_eq!(*address, json!({"socketAddress": {"address": "10.0.3.17"}}));
        let heads = &heard["attributes"]["request"]["http"]["headers"];
        assert_eq!(*heads, json!({"x-role": role}));
        *documents.entry(heard.to_string()).or_insert(0) += 1;
    }
    let mut counts: Vec<_> = documents.into_values().collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 2]);
}

/// E29: a client that sends attache's own headers must not be believed by policy either.
#[tokio::test]
async fn a_forged_identity_header_is_not_told() {
    let headers = json!({"x-attache-caller": "spiffe://example.org/svc/admin", "x-a": "b"});
    let request = request("/documents/42", &headers, "");
    let (heard, _) = Setting::new(ENVOY).heard(&request).await;
    let told = &heard["attributes"]["request"]["http"]["headers"];
    assert_eq!(*told, json!({"x-a": "b"}));
}

#[tokio::test]
async fn raw_headers_are_told_as_joined_ones_are() {
    let mut request = request("/documents/42", &json!({}), "");
    let http = &mut request["attributes"]["request"]["http"];
    http["headerMap"] = json!({"headers": [
        {"key": "x-a", "value": "1"},
        {"key": "x-b", "rawValue": "Mg=="},
        {"key": "x-a", "value": "3"},
    ]});
    let setting = Setting::new(ENVOY);
    let (heard, _) = setting.heard(&request).await;
    let told = &heard["attributes"]["request"]["http"];
    assert_eq!(told["headers"], json!({"x-a": "1,3", "x-b": "2"}));
    assert_eq!(told.get("headerMap"), None);

    let http = &mut request["attributes"]["request"]["http"];
    http["headerMap"] = json!({"headers": [{"key": "x-a", "rawValue": "/w=="}]});
    assert_eq!(setting.refused(&request).await, "bad_request");
}

#[tokio::test]
async fn a_body_is_told_by_its_type_and_a_cut_off_one_as_such() {
    let setting = Setting::new(ENVOY);
    for (kind, partial, body, parsed, truncated) in [
        ("application/json", "false", "{}", json!({}), false),
        ("application/json", "true", "{", Value::Null, true),
        ("application/json", "false", "", Value::Null, false),
        ("text/plain", "false", "{}", Value::Null, false),
        (
            "application/x-www-form-urlencoded",
            "false",
            "a=1&b=%20",
            json!({"a": ["1"], "b": [" "]}),
            false,
        ),
    ] {
        let headers = json!({"content-type": kind, "x-envoy-auth-partial-body": partial});
        let (heard, _) = setting
            .heard(&request("/documents/42", &headers, body))
            .await;
        assert_eq!(heard["parsed_body"], parsed, "{kind} {body}");
        assert_eq!(heard["truncated_body"], truncated, "{kind} {body}");
    }
}

/// What policy and the service could read differently is refused before policy hears of it.
#[tokio::test]
async fn words_that_can_be_read_in_more_than_one_way_refuse_the_request() {
    let setting = Setting::new(ENVOY);
    for (path, reason) in [
        ("/documents/42?a=1;b=2", "bad_request"),
        ("/documents/42?a=%", "bad_request"),
        ("/documents/42?a=%ff", "bad_request"),
        ("//documents/42", "ambiguous_path"),
        ("/documents/%2e%2e/42", "ambiguous_path"),
    ] {
        let asked = request(path, &json!({}), "");
        assert_eq!(setting.refused(&asked).await, reason, "{path}");
    }
    let headers = json!({"content-type": "application/json"});
    for body in ["{", r#"{"a": 1, "A": 2}"#, "{} {}"] {
        let asked = request("/documents/42", &headers, body);
        assert_eq!(setting.refused(&asked).await, "unusable_body", "{body}");
    }
    // None of that concerns policies that do not read it.
    let setting = Setting::new("");
    let asked = request("/documents/42?a=1;b=%", &headers, "{");
    setting.heard(&asked).await;
}

/// What policy asks of an answer is for its own answer, not for a refusal by somebody else.
#[tokio::test]
async fn only_policy_s_own_answer_is_shaped_by_policy() {
    let asked = request("/documents/42", &json!({}), "");
    for (answer, tier, shaped) in [
        (Answer::Allow, None, true),
        (Answer::Deny, None, true),
        (Answer::Allow, Some(Tier::Supervised), false),
        (Answer::Allow, Some(Tier::Forbidden), false),
    ] {
        let setting = Setting::answering(ENVOY, answer, tier);
        let decision = setting.decide(&asked).await;
        assert_eq!(decision.shaping.is_some(), shaped, "{answer:?} {tier:?}");
    }
}
