//! The policies that attache ships: what they answer on attache's own input, and their own Rego tests.

use std::fs;
use std::path::Path;

use super::*;

fn shipped(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy/policy")
        .join(file);
    fs::read_to_string(path).unwrap()
}

fn sample(file: &str) -> Program {
    let mut sources = Sources::default();
    sources.insert(file, shipped(file));
    Program::compile(&sources, &DecisionPath::default(), LIMIT).unwrap()
}

/// B13: each sample in both syntaxes, on the input that attache builds.
fn both(name: &str) -> [Program; 2] {
    [
        sample(&format!("samples/{name}.rego")),
        sample(&format!("samples/v0/{name}.rego")),
    ]
}

/// B13.
#[test]
fn the_trust_domain_sample_keeps_trust_domains_apart() {
    for policy in both("trust_domain") {
        for (caller, target, expected) in [
            (
                "spiffe://a.example/x",
                Some("spiffe://a.example/y"),
                Answer::Allow,
            ),
            (
                "spiffe://a.example/x",
                Some("spiffe://b.example/y"),
                Answer::Deny,
            ),
            ("spiffe://a.example/x", None, Answer::Deny),
        ] {
            let verdict = policy.evaluate(&input(caller, target, "read")).unwrap();
            assert_eq!(verdict.answer, expected, "{caller} {target:?}");
            assert_eq!(
                (verdict.reason, verdict.policy_id, verdict.tier),
                (None, None, None)
            );
        }
    }
}

/// B13.
#[test]
fn the_role_sample_answers_with_reason_and_policy_id() {
    for policy in both("roles") {
        for (caller, action, expected, policy_id) in [
            (
                "spiffe://a.example/admin/x",
                "delete",
                Answer::Allow,
                Some("admin-access"),
            ),
            (
                "spiffe://a.example/reader/x",
                "read",
                Answer::Allow,
                Some("read-access"),
            ),
            ("spiffe://a.example/reader/x", "update", Answer::Deny, None),
            ("spiffe://a.example/agent/x", "read", Answer::Deny, None),
            (
                "spiffe://a.example/administrators/x",
                "read",
                Answer::Deny,
                None,
            ),
        ] {
            let verdict = policy.evaluate(&input(caller, None, action)).unwrap();
            assert_eq!(verdict.answer, expected, "{caller} {action}");
            assert_eq!(verdict.policy_id.as_deref(), policy_id);
            assert!(verdict.reason.is_some());
        }
        let both_roles = input("spiffe://a.example/admin/reader/x", None, "read");
        assert!(matches!(
            policy.evaluate(&both_roles),
            Err(PolicyError::Evaluation(_))
        ));
    }
}

/// B13.
#[test]
fn the_environment_sample_keeps_production_and_development_apart() {
    for policy in both("environments") {
        for (caller, target, expected) in [
            (
                "spiffe://a.example/prod/x",
                Some("spiffe://a.example/prod/y"),
                Answer::Allow,
            ),
            (
                "spiffe://a.example/dev/x",
                Some("spiffe://a.example/dev/y"),
                Answer::Allow,
            ),
            (
                "spiffe://a.example/dev/x",
                Some("spiffe://a.example/prod/y"),
                Answer::Deny,
            ),
            (
                "spiffe://a.example/prod/x",
                Some("spiffe://a.example/dev/y"),
                Answer::Deny,
            ),
            ("spiffe://a.example/prod/x", None, Answer::Deny),
        ] {
            let verdict = policy.evaluate(&input(caller, target, "read")).unwrap();
            assert_eq!(verdict.answer, expected, "{caller} {target:?}");
        }
    }
}

#[test]
fn the_shipped_policy_allows_what_policy_is_asked_about() {
    let policy = sample("default.rego");
    let verdict = policy.evaluate(&Input::made_up()).unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    assert_eq!(verdict.tier, None);
    assert_eq!(policy.trial().as_ref().unwrap(), &verdict);
}

#[test]
fn the_older_samples_are_in_the_older_syntax() {
    for name in ["trust_domain", "roles", "environments"] {
        let text = shipped(&format!("samples/v0/{name}.rego"));
        assert!(
            Engine::new().add_policy(name.to_owned(), text).is_err(),
            "{name}"
        );
    }
}

/// Every shipped policy with the Rego tests that it passes; a sample and its older twin share them.
const TESTED: [(&str, &str); 7] = [
    ("default", "default"),
    ("samples/environments", "samples/environments"),
    ("samples/roles", "samples/roles"),
    ("samples/trust_domain", "samples/trust_domain"),
    ("samples/v0/environments", "samples/environments"),
    ("samples/v0/roles", "samples/roles"),
    ("samples/v0/trust_domain", "samples/trust_domain"),
];

/// Runs every `test_…` rule of the `_test.rego` files.
#[test]
fn the_rego_tests_pass() {
    let ran: usize = TESTED
        .iter()
        .map(|(policy, test)| {
            run_rego_tests(&format!("{policy}.rego"), &format!("{test}_test.rego"))
        })
        .sum();
    assert_eq!(ran, 2 + 2 * (4 + 4 + 3));
}

fn run_rego_tests(policy: &str, test: &str) -> usize {
    let mut engine = Engine::new();
    for file in [policy, test] {
        syntax::add_module(&mut engine, file, &shipped(file)).unwrap();
    }
    let modules = engine.get_modules().clone();
    let mut errors = Vec::new();
    vet::vet(&modules, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    let rules = modules[1].policy.iter();
    let names: Vec<_> = rules
        .map(|rule| reference::of_rule(&modules[1], rule).join("."))
        .filter(|name| name.contains(".test_"))
        .collect();
    for name in &names {
        let result = engine.eval_rule(name.clone()).unwrap();
        assert_eq!(result, Value::Bool(true), "{name} with {policy}");
    }
    names.len()
}

/// Nothing in `deploy/policy` lies there untested.
#[test]
fn every_shipped_policy_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/policy");
    let mut policies = Vec::new();
    for part in ["", "samples/", "samples/v0/"] {
        for entry in fs::read_dir(folder.join(part)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            match name.strip_suffix(".rego") {
                Some(policy) if !policy.ends_with("_test") => {
                    policies.push(format!("{part}{policy}"));
                }
                _ => {}
            }
        }
    }
    policies.sort();
    assert!(policies.iter().eq(TESTED.iter().map(|(policy, _)| policy)));
}
