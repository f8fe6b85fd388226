//! What must become of a request, said plainly from docs/policy.md and docs/configuration.md for the configuration and the
//! policy below, without a line of attache's own code.

use rand::RngExt as _;
use rand::rngs::StdRng;

/// A request, in the words that matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Question {
    pub(crate) caller: &'static str,
    pub(crate) method: &'static str,
    pub(crate) collection: &'static str,
    pub(crate) number: u32,
}

/// What policy is in force: none at all, or one of the versions of [`policy`].
pub(crate) type Version = Option<u32>;

/// `None`: allowed. Else the reason code.
pub(crate) type Answer = Option<&'static str>;

/// The rules that attache holds by itself.
pub(crate) const RULES: &str = r#"
mode: development
trust_domain: example.org
identity: {trust_local: unix}
agents: ["spiffe://example.org/agent/**"]
workloads:
  - {match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:read", "documents/**:delete@supervised"]}
  - {match: "spiffe://example.org/svc/editor", permissions: ["documents/**:read", "documents/**:update", "billing/**:update"]}
routes:
  - {method: GET, path: "/documents/{id}", resource: "documents/{id}", action: read}
  - {method: PUT, path: "/documents/{id}", resource: "documents/{id}", action: update}
  - {method: DELETE, path: "/documents/{id}", resource: "documents/{id}", action: delete}
  - {method: POST, path: "/billing/{id}", resource: "billing/{id}", action: update}
tiers: {default: free, rules: [{resource: "billing/7", action: update, tier: forbidden}]}
"#;

/// Version `version` of the policy: who may what goes round with the number of the document.
pub(crate) fn policy(version: u32) -> String {
    format!(
        r#"package agentweave.authz

turn := (to_number(split(input.resource, "/")[1]) + {version}) % 4

allow := {{"allow": false, "policy_id": "v{version}"}} if turn == 0

allow := {{"allow": true, "policy_id": "v{version}"}} if turn in {{1, 2}}

allow := {{"allow": true, "policy_id": "v{version}", "tier": "supervised"}} if turn == 3
"#
    )
}

/// What must come of a request under a version of the policy, as long as nothing fails.
pub(crate) fn answer(question: Question, version: Version) -> Answer {
    if !question.caller.starts_with("spiffe://example.org/") {
        return Some("foreign_trust_domain");
    }
    let action = match (question.method, question.collection) {
        ("GET", "documents") => "read",
        ("PUT", "documents") | ("POST", "billing") => "update",
        ("DELETE", "documents") => "delete",
        _ => return Some("route_unmatched"),
    };
    if question.caller.starts_with("spiffe://example.org/agent/") {
        return Some("orphan_agent");
    }
    let supervised = match (question.caller, question.collection, action) {
        ("spiffe://example.org/svc/reporting", "documents", "read")
        | ("spiffe://example.org/svc/editor", "documents", "read" | "update")
        | ("spiffe://example.org/svc/editor", "billing", "update") => false,
        ("spiffe://example.org/svc/reporting", "documents", "delete") => true,
        _ => return Some("out_of_scope"),
    };
    if question.collection == "billing" && question.number == 7 {
        return Some("tier_forbidden");
    }
    let Some(version) = version else {
        return Some("policy_undefined");
    };
    match (question.number + version) % 4 {
        0 => Some("policy_denied"),
        3 => Some("approval_required"),
        _ if supervised => Some("approval_required"),
        _ => None,
    }
}

/// Reasons that say no more than that something failed, and so may stand in place of any answer.
pub(crate) fn is_failure(reason: &str) -> bool {
    [
        "circuit_open",
        "deadline_exceeded",
        "overloaded",
        // The policies here never fail, but a redirection is none of OPA's answers.
        "policy_error",
        "policy_malformed",
        "policy_timeout",
        "policy_unavailable",
    ]
    .contains(&reason)
}

/// Any request; most of them are such that policy is asked.
pub(crate) fn any_question(rng: &mut StdRng) -> Question {
    let mut one = |of: &[&'static str]| of[rng.random_range(0..of.len())];
    let caller = one(&[
        "spiffe://example.org/svc/reporting",
        "spiffe://example.org/svc/reporting",
        "spiffe://example.org/svc/editor",
        "spiffe://example.org/svc/editor",
        "spiffe://example.org/svc/editor",
        "spiffe://example.org/svc/unknown",
        "spiffe://example.org/agent/planner",
        "spiffe://partner.example/svc/editor",
    ]);
    let method = one(&["GET", "GET", "GET", "GET", "PUT", "PUT", "DELETE", "POST"]);
    let collection = if method == "POST" {
        "billing"
    } else {
        "documents"
    };
    Question {
        caller,
        method,
        collection: if one(&["", "", "", "", "", "", "", "", "", "x"]) == "x" {
            "archive"
        } else {
            collection
        },
        number: rng.random_range(0..40),
    }
}
