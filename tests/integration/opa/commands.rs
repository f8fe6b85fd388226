//! The commands, where OPA is the judge.

use crate::harness::Plan;
use crate::harness::REPORTING;
use crate::harness::binary::attache;
use crate::harness::opa::{FaultyOpa, says};

#[tokio::test]
async fn check_proves_what_can_be_proven_without_asking() {
    let opa = FaultyOpa::start(says("{}")).await;
    let plan = Plan {
        policy: opa.policy(""),
        ..Plan::default()
    };
    let (_dir, file) = plan.lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let expected = format!("of OPA at http://{}, which was not asked", opa.address);
    assert!(said.out.contains(&expected), "{}", said.out);
    assert_eq!(opa.accepted(), 0);

    let plan = Plan {
        policy: opa.policy("token_file: missing"),
        ..Plan::default()
    };
    let (_dir, file) = plan.lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("read `missing`"), "{}", said.err);
    let said = attache(&["serve", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[tokio::test]
async fn check_warns_where_anybody_on_the_way_could_decide() {
    let plan = Plan {
        policy: "{engine: opa, opa: {endpoint: \"http://opa.example:8181\"}}".to_owned(),
        ..Plan::default()
    };
    let (_dir, file) = plan.lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0));
    assert!(
        said.err.contains("warning: policy.opa.endpoint: plaintext"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn eval_asks_opa() {
    let opa = FaultyOpa::start(says(r#"{"result": {"allow": true, "reason": "because"}}"#)).await;
    let plan = Plan {
        policy: opa.policy(""),
        ..Plan::default()
    };
    let (_dir, file) = plan.lay_out();
    let arguments = [
        "eval",
        "--config",
        file.to_str().unwrap(),
        "--caller",
        REPORTING,
        "--path",
        "/documents/1",
    ];
    let said = attache(&arguments).await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.out.contains("allows: because (revision opa:"),
        "{}",
        said.out
    );
    drop(opa);
    let said = attache(&arguments).await;
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(
        said.out.contains("deny: policy_unavailable"),
        "{}",
        said.out
    );
}
