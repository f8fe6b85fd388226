//! What OPA sent back, read: a verdict, an error of the policy, or no answer at all.
//!
//! Which of these it is decides whether OPA is to blame. A result that is not there is undefined, which refuses; a result
//! of another shape is the policy's fault; a body that is not exactly one JSON object is OPA's.

use std::collections::BTreeMap;

use http::StatusCode;
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::super::PolicyError;
use super::super::output::clip;
use super::unambiguous::Unambiguous;

/// The document of a decision: <https://www.openpolicyagent.org/docs/rest-api#get-a-document-with-input>.
#[derive(Debug, Deserialize)]
pub(super) struct Document {
    /// `None` where the decision is undefined; a `null` is a result.
    #[serde(default, deserialize_with = "present")]
    pub(super) result: Option<Json>,
    #[serde(default)]
    pub(super) provenance: Provenance,
}

/// Which policy OPA evaluated, as far as it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Provenance {
    /// The revision of the only bundle, of an OPA with the older way of naming it.
    revision: Option<String>,
    #[serde(default)]
    bundles: BTreeMap<String, Bundle>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Bundle {
    revision: Option<String>,
}

/// The document of an error.
#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    message: String,
    #[serde(default)]
    errors: Vec<Cause>,
}

#[derive(Debug, Deserialize)]
struct Cause {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Reads the answer to a question.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Document, PolicyError> {
    match status {
        StatusCode::OK => document(body).map_err(PolicyError::Malformed),
        StatusCode::INTERNAL_SERVER_ERROR => Err(internal(body)),
        StatusCode::TOO_MANY_REQUESTS => Err(unavailable(status, body)),
        status if status.is_server_error() => Err(unavailable(status, body)),
        // OPA is there and understood; it does not answer this question, from us.
        status => Err(PolicyError::Evaluation(answered(status, body))),
    }
}

impl Provenance {
    /// The first of `wanted` that is not active.
    pub(super) fn lacks<'a>(&self, wanted: &'a [String]) -> Option<&'a str> {
        let missing = wanted.iter().find(|name| !self.bundles.contains_key(*name));
        missing.map(String::as_str)
    }

    /// The bundles and their revisions, as `authz=v7,data=3`; empty where OPA names none.
    pub(super) fn words(&self) -> String {
        let mut words = String::new();
        if self.bundles.is_empty() {
            words.push_str(clip(
                self.revision.as_deref().unwrap_or_default(),
                SHOWN_BYTES,
            ));
        }
        for (name, bundle) in &self.bundles {
            if !words.is_empty() {
                words.push(',');
            }
            words.push_str(clip(name, SHOWN_BYTES));
            if let Some(revision) = &bundle.revision {
                words.push('=');
                words.push_str(clip(revision, SHOWN_BYTES));
            }
        }
        words
    }
}

fn document<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    // A list would be taken for the members in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err("not a JSON object".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

/// 500 is OPA's word both for a policy that fails and for itself failing; only the former says where in the policy.
fn internal(body: &[u8]) -> PolicyError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    let Ok(fault) = document::<Fault>(body) else {
        return unavailable(status, body);
    };
    let of_policy = |cause: &&Cause| {
        ["eval_", "rego_"]
            .iter()
            .any(|kind| cause.code.starts_with(kind))
    };
    match fault.errors.iter().find(of_policy) {
        Some(Cause { code, message }) => {
            let text = format!("{code}: {}", one_line(message));
            PolicyError::Evaluation(clip(&text, MESSAGE_BYTES).to_owned())
        }
        None => unavailable(status, body),
    }
}

fn unavailable(status: StatusCode, body: &[u8]) -> PolicyError {
    PolicyError::Unavailable(answered(status, body))
}

fn answered(status: StatusCode, body: &[u8]) -> String {
    let said = document::<Fault>(body).map_or_else(|_none| String::new(), |it| it.message);
    let text = format!("OPA answered {status} {}", one_line(&said));
    clip(text.trim_end(), MESSAGE_BYTES).to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Unambiguous::deserialize(deserializer).map(|it| Some(it.0))
}

const MESSAGE_BYTES: usize = 1024;
/// How much of a bundle's name and of its revision stand in audit.
const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Accounting;

    fn ok(body: &str) -> Result<Document, PolicyError> {
        read(StatusCode::OK, body.as_bytes())
    }

    /// O08, O09, O14.
    #[test]
    fn an_absent_result_is_undefined_and_null_is_a_result() {
        assert_eq!(ok("{}").unwrap().result, None);
        assert_eq!(ok(r#"{"result": null}"#).unwrap().result, Some(Json::Null));
        let known = r#" {"decision_id": "x", "warning": {}, "metrics": {}, "result": true}"#;
        assert_eq!(ok(known).unwrap().result, Some(Json::Bool(true)));
    }

    /// O08, O10, O13.
    #[test]
    fn what_is_not_exactly_one_object_is_malformed() {
        let deep = format!(
            r#"{{"result": {}{}}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        for body in [
            "",
            " ",
            "true",
            "[true]",
            "[true, {}]",
            "null",
            "<html></html>",
            r#"{"result": true"#,
            r#"{"result": true}{"result": true}"#,
            r#"{"result": true} true"#,
            r#"{"result": false, "result": true}"#,
            r#"{"result": {"allow": false, "allow": true}}"#,
            "\u{feff}{\"result\": true}",
            r#"{"result": tru}"#,
            r#"{"result": true, "provenance": 7}"#,
            &deep,
        ] {
            let error = ok(body).unwrap_err();
            assert!(matches!(error, PolicyError::Malformed(_)), "{body:.60}");
        }
    }

    #[test]
    fn an_error_of_the_policy_is_told_from_an_error_of_opa() {
        let of_policy = r#"{"code": "internal_error", "message": "error(s) occurred while evaluating query", "errors": [
            {"code": "eval_conflict_error", "message": "rule produced\n  conflicting values", "location": {"row": 4}}]}"#;
        let error = read(StatusCode::INTERNAL_SERVER_ERROR, of_policy.as_bytes()).unwrap_err();
        assert_eq!(error.counts(), Accounting::Neither);
        assert_eq!(
            error.to_string(),
            "evaluate policy: eval_conflict_error: rule produced conflicting values"
        );
        for body in [
            "",
            "oops",
            "{}",
            r#"{"code": "internal_error", "message": "storage"}"#,
            r#"{"code": "internal_error", "errors": []}"#,
            r#"{"code": "internal_error", "errors": [{"code": "storage_error"}]}"#,
        ] {
            let error = read(StatusCode::INTERNAL_SERVER_ERROR, body.as_bytes()).unwrap_err();
            assert_eq!(error.counts(), Accounting::Failure, "{body}");
        }
    }

    /// O07.
    #[test]
    fn other_statuses_are_errors_whatever_the_body_says() {
        let body = br#"{"result": true}"#;
        for (status, accounting) in [
            (502, Accounting::Failure),
            (503, Accounting::Failure),
            (504, Accounting::Failure),
            (507, Accounting::Failure),
            (429, Accounting::Failure),
            (500, Accounting::Failure),
            (201, Accounting::Neither),
            (204, Accounting::Neither),
            (301, Accounting::Neither),
            (307, Accounting::Neither),
            (400, Accounting::Neither),
            (401, Accounting::Neither),
            (404, Accounting::Neither),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = read(status, body).unwrap_err();
            assert_eq!(error.counts(), accounting, "{status}");
            assert!(error.to_string().contains(status.as_str()), "{error}");
        }
    }

    #[test]
    fn bundles_are_named_in_one_spelling_and_bounded() {
        let provenance = |text: &str| {
            let body = format!(r#"{{"provenance": {text}}}"#);
            ok(&body).unwrap().provenance
        };
        let two = provenance(r#"{"bundles": {"b": {}, "a": {"revision": "7"}}, "version": "1"}"#);
        assert_eq!(two.words(), "a=7,b");
        assert_eq!(two.lacks(&["a".to_owned(), "b".to_owned()]), None);
        assert_eq!(two.lacks(&["a".to_owned(), "c".to_owned()]), Some("c"));
        assert_eq!(provenance(r#"{"revision": "old"}"#).words(), "old");
        assert_eq!(provenance("{}").words(), "");
        let long = provenance(&format!(r#"{{"revision": "{}"}}"#, "x".repeat(5_000)));
        assert_eq!(long.words().len(), SHOWN_BYTES);
    }
}
