//! Errors are errors, also under `not`; the time limit holds.

use super::*;
use crate::permission::Tier;

const TIGHT: Duration = Duration::from_millis(5);

#[test]
fn a_rule_that_is_not_defined_is_undefined() {
    assert_eq!(answer("allow if input.nothing == 1"), Answer::Undefined);
    assert_eq!(
        answer("allow := {\"allow\": input.nothing}"),
        Answer::Undefined
    );
}

/// The faster machine of the engine answers allow to the second and third of these.
#[test]
fn two_values_for_one_rule_are_an_error_and_under_not_as_well() {
    let blocked = "blocked := \"a\" if input.action\nblocked := \"b\" if input.resource\n";
    assert!(
        failure(&format!("{blocked}allow if blocked")).contains("conflicts with rule at p.rego:2")
    );
    assert!(failure(&format!("{blocked}allow if not blocked")).contains("conflicts"));
    assert!(
        failure(&format!(
            "{blocked}default allow := true\nallow := false if blocked"
        ))
        .contains("conflicts")
    );
    assert!(
        failure(
            "allow := {\"allow\": true} if input.action\nallow := {\"allow\": false} if input.tier"
        )
        .contains("conflicts")
    );
}

#[test]
fn a_failing_operation_is_an_error_wherever_it_stands() {
    let zero = "count(input.context)";
    for rules in [
        format!("allow if 1 / {zero} > 0"),
        format!("allow if not 1 / {zero} > 0"),
        format!("low if 1 / {zero} > 0\nallow if not low"),
        format!("ratio(n) := 1 / n\nallow if not ratio({zero})"),
        format!("allow if count([x | x := 1 % {zero}]) == 0"),
        format!("allow if every n in [{zero}] {{ 1 / n > 0 }}"),
    ] {
        assert!(failure(&rules).contains("zero"), "{rules}");
    }
    for rules in [
        "allow if not to_number(input.action)",
        "allow if not time.parse_rfc3339_ns(input.action)",
        "allow if not regex.match(\"(\", input.action)",
        "allow if not json.unmarshal(input.action)",
    ] {
        failure(rules);
    }
}

#[test]
fn a_wrong_shape_is_refused_when_loading_where_it_shows() {
    for (rules, expected) in [
        ("allow := \"yes\"", "a string"),
        ("allow := {1, 2}", "an array or a set"),
        ("allow := {\"allow\": 1}", "`allow` must be a boolean"),
        (
            "allow := {\"allow\": true, \"obligations\": []}",
            "unknown member `obligations`",
        ),
        ("allow := null", "null"),
    ] {
        let error = refused(rules);
        assert!(error.contains("policy result"), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_wrong_shape_is_an_error_where_it_comes_up_later() {
    let policy =
        program("default allow := false\nallow := \"maybe\" if input.action == \"update\"");
    let update = input("spiffe://a.example/x", None, "update");
    assert!(matches!(
        policy.evaluate(&update),
        Err(PolicyError::Shape(_))
    ));
    assert_eq!(
        policy.evaluate(&Input::made_up()).unwrap().answer,
        Answer::Deny
    );
}

#[test]
fn a_policy_can_raise_a_tier() {
    let verdict = evaluate("allow := {\"allow\": true, \"tier\": \"supervised\"}").unwrap();
    assert_eq!(verdict.tier, Some(Tier::Supervised));
}

#[test]
fn a_trial_that_fails_loads_and_says_so() {
    let policy = program("allow if to_number(input.action) == 1");
    assert!(matches!(policy.trial(), Err(PolicyError::Evaluation(_))));
}

/// The engine panics on an empty array here (0.14.1), which is why policies may not call this.
#[test]
fn a_panic_in_the_engine_is_an_error() {
    let mut engine = Engine::new();
    let module = "package p\nallow if not object.subset([input.action], [])";
    engine
        .add_policy("p.rego".to_owned(), module.to_owned())
        .unwrap();
    engine
        .compile_with_entrypoint(&"data.p.allow".into())
        .unwrap();
    let mut panicking = program("allow := true");
    panicking.engine = engine;
    let result = panicking.evaluate(&Input::made_up());
    assert!(
        matches!(result, Err(PolicyError::Interrupted)),
        "{result:?}"
    );
}

#[test]
fn nothing_of_one_evaluation_reaches_the_next() {
    let policy = program("allow if input.action == \"read\"");
    for _ in 0..3 {
        let refused = policy
            .evaluate(&input("spiffe://a.example/x", None, "update"))
            .unwrap();
        assert_eq!(refused.answer, Answer::Undefined);
        assert_eq!(
            policy.evaluate(&Input::made_up()).unwrap().answer,
            Answer::Allow
        );
    }
}

const LONG_LOOP: &str = "n := [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n\
    slow(x) if { some a in n; some b in n; some c in n; some d in n; some e in n; some f in n; some g in n; \
    a + b + c + d + e + f + g == x }\n\
    found if slow(-1)\n";

#[test]
fn a_loop_that_takes_too_long_is_stopped_and_never_false() {
    for allow in [
        "allow if found",
        "allow if not found",
        "allow if not slow(-1)",
    ] {
        let mut sources = Sources::default();
        sources.insert("p.rego", format!("package p\n{LONG_LOOP}{allow}"));
        let policy = Program::compile(&sources, &"p/allow".parse().unwrap(), TIGHT).unwrap();
        let started = tokio::time::Instant::now();
        let result = policy.evaluate(&Input::made_up());
        assert!(
            matches!(result, Err(PolicyError::TimeLimit)),
            "{allow}: {result:?}"
        );
        // The whole loop would take minutes.
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
