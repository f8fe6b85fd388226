//! What OPA answers to what policies do, as documented and as it is.

use attache::policy::{Accounting, Answer};

use crate::harness::{Opa, ask};

const POLICY: &str = r#"
package agentweave.authz

allow := {"allow": true, "reason": "reads", "policy_id": "r1"} if input.action == "read"

allow := false if input.action == "conflict"
allow := true if input.action == "conflict"

allow if to_number(input.action) == 1

allow := "yes" if input.action == "text"
"#;

/// O08, O14, and decisions of every kind.
#[tokio::test]
async fn results_and_errors_of_a_policy_are_told_apart() {
    let Some(opa) = Opa::with_module(POLICY).await else {
        return;
    };
    let engine = opa.engine("");
    let error = |action| {
        let engine = &engine;
        async move {
            let error = ask(engine, action).await.unwrap_err();
            assert_eq!(error.counts(), Accounting::Neither, "{error}");
            assert_eq!(error.reason().as_str(), "policy_error");
            error.to_string()
        }
    };
    // Strict builtins: an error in one rule is one of the decision, although another rule says yes.
    assert!(error("read").await.contains("eval_builtin_error"));
    assert!(error("conflict").await.contains("eval_"));
    assert!(error("text").await.contains("eval_builtin_error"));
}

#[tokio::test]
async fn an_object_is_read_and_nothing_is_undefined() {
    let policy = POLICY.replace("allow if to_number(input.action) == 1", "");
    let Some(opa) = Opa::with_module(&policy).await else {
        return;
    };
    let engine = opa.engine("");
    let verdict = ask(&engine, "read").await.unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    assert_eq!(verdict.reason.as_deref(), Some("reads"));
    assert_eq!(verdict.policy_id.as_deref(), Some("r1"));
    assert_eq!(
        ask(&engine, "write").await.unwrap().answer,
        Answer::Undefined
    );
    let error = ask(&engine, "conflict").await.unwrap_err();
    assert!(error.to_string().contains("eval_conflict_error"), "{error}");
    let error = ask(&engine, "text").await.unwrap_err();
    assert!(error.to_string().contains("a string"), "{error}");
}

/// O21: a path that nothing defines, and one that leads to a whole package.
#[tokio::test]
async fn a_path_that_leads_elsewhere_never_allows() {
    let Some(opa) = Opa::with_module("package agentweave.authz.allow\ngranted := true").await
    else {
        return;
    };
    let engine = opa.engine("");
    let error = ask(&engine, "read").await.unwrap_err();
    assert!(
        error.to_string().contains("unknown member `granted`"),
        "{error}"
    );
    let Some(empty) = Opa::start(&[], &[]).await else {
        return;
    };
    let verdict = empty.engine("").try_out().await.unwrap();
    assert_eq!(verdict.answer, Answer::Undefined);
}

/// C13, O20.
#[tokio::test]
async fn the_revision_is_that_of_the_bundle() {
    let files = [
        (
            "bundle/.manifest",
            r#"{"revision": "v7", "roots": ["agentweave"]}"#,
        ),
        (
            "bundle/policy.rego",
            "package agentweave.authz\nallow := true",
        ),
    ];
    let Some(opa) = Opa::start(&files, &["--bundle", "bundle"]).await else {
        return;
    };
    let engine = opa.engine("health: bundles, bundles: [bundle]");
    engine.health_check().await.unwrap();
    let verdict = ask(&engine, "read").await.unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    assert!(
        verdict.revision.ends_with(":bundle=v7"),
        "{}",
        verdict.revision
    );
    let other = opa.engine("bundles: [authz]");
    let error = ask(&other, "read").await.unwrap_err();
    assert!(
        error.to_string().contains("bundle `authz` is not active"),
        "{error}"
    );
}

#[tokio::test]
async fn a_socket_is_as_good_as_a_port() {
    let Some(opa) = Opa::on_a_socket("package agentweave.authz\nallow := true").await else {
        return;
    };
    let engine = opa.engine("");
    engine.health_check().await.unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&engine, "read").await.unwrap().answer, Answer::Allow);
    }
    engine.close().await;
}
