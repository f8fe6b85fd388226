//! How a real OPA fails: gone, back without its policy, stopped in its tracks, waiting for a bundle.

use attache::policy::{Accounting, Answer};
use tokio::time::Instant;

use crate::harness::{Opa, PATIENCE, ask, free_port};

const ALLOW: &str = "package agentweave.authz\nallow := true";

/// O19.
#[tokio::test]
async fn an_opa_that_comes_back_without_its_policy_denies() {
    let Some(mut opa) = Opa::with_module(ALLOW).await else {
        return;
    };
    let engine = opa.engine("");
    assert_eq!(ask(&engine, "read").await.unwrap().answer, Answer::Allow);
    opa.kill().await;
    let error = ask(&engine, "read").await.unwrap_err();
    assert_eq!(error.reason().as_str(), "policy_unavailable");
    assert_eq!(error.counts(), Accounting::Failure);
    opa.start_again_empty().await;
    assert_eq!(
        ask(&engine, "read").await.unwrap().answer,
        Answer::Undefined
    );
}

/// O19: configured to fetch a bundle that it can't get.
#[tokio::test]
async fn an_opa_without_its_bundle_is_not_well_and_denies() {
    let service = format!("services.away.url=http://127.0.0.1:{}", free_port());
    let arguments = ["--set", &service, "--set", "bundles.authz.service=away"];
    let Some(opa) = Opa::start(&[], &arguments).await else {
        return;
    };
    let engine = opa.engine("health: bundles");
    let error = engine.health_check().await.unwrap_err();
    assert!(error.to_string().contains("500"), "{error}");
    opa.engine("").health_check().await.unwrap();
    assert_eq!(
        ask(&engine, "read").await.unwrap().answer,
        Answer::Undefined
    );
    let strict = opa.engine("bundles: [authz]");
    assert_eq!(
        ask(&strict, "read").await.unwrap_err().reason().as_str(),
        "policy_error"
    );
}

/// O25.
#[tokio::test]
async fn an_opa_that_is_stopped_times_out_and_recovers_when_it_goes_on() {
    let Some(opa) =
        Opa::with_module("package agentweave.authz\nallow if input.action == \"read\"").await
    else {
        return;
    };
    let engine = opa.engine("timeout: 500ms");
    assert_eq!(ask(&engine, "read").await.unwrap().answer, Answer::Allow);
    opa.signal("STOP").await;
    for _ in 0..3 {
        let error = ask(&engine, "read").await.unwrap_err();
        assert_eq!(error.reason().as_str(), "policy_timeout");
        assert_eq!(error.counts(), Accounting::Failure);
    }
    opa.signal("CONT").await;
    let until = Instant::now() + PATIENCE;
    // What was asked while it stood still must not answer for anything else.
    while Instant::now() < until {
        if let Ok(verdict) = ask(&engine, "write").await {
            assert_eq!(verdict.answer, Answer::Undefined);
            assert_eq!(ask(&engine, "read").await.unwrap().answer, Answer::Allow);
            return;
        }
    }
    panic!("OPA never recovered");
}
