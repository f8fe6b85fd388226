//! Modules of both syntaxes, the rule to ask for, data documents, the revision.

use super::*;

#[test]
fn modules_of_both_syntaxes_make_one_policy() {
    let policy = compile(&[
        ("new.rego", "package p\nallow if data.p.permitted"),
        (
            "old.rego",
            "package p\npermitted { input.action == \"read\" }",
        ),
        (
            "future.rego",
            "package q\nimport future.keywords.if\nx if true",
        ),
    ])
    .unwrap();
    assert_eq!(
        policy.evaluate(&Input::made_up()).unwrap().answer,
        Answer::Allow
    );
}

/// The engine's older syntax would take each of these for a rule that always holds.
#[test]
fn a_mixture_of_both_syntaxes_is_not_read_as_something_else() {
    for rules in [
        "allow if { input.action == \"update\" }\nother { true }",
        "allow := true if { input.action == \"update\" }\nother { true }",
        "allow contains \"x\" if { input.action == \"update\" }\nother { true }",
        "allow if input.action == \"update\"\nother { true }",
        "allow",
        "f(x)\nallow { f(1) }",
    ] {
        let error = refused(rules);
        assert!(error.starts_with("parse `p.rego`: "), "{error}");
    }
}

#[test]
fn an_unreadable_module_is_named_with_the_place() {
    let error = refused("allow if {{");
    assert_eq!(error, "parse `p.rego`: p.rego:2:12: expecting expression");
    let error = refused("allow { input.x == }");
    assert!(
        error.contains("as Rego v1: p.rego:2:7: `if` keyword is required"),
        "{error}"
    );
    assert!(error.contains("; as v0: p.rego:2:"), "{error}");
}

#[test]
fn every_unreadable_module_is_named() {
    let error = refused_files(&[
        ("a.rego", "package"),
        ("b.rego", "allow if"),
        ("c.rego", "package p"),
    ]);
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn faults_of_different_kinds_are_told_together() {
    let error = refused_files(&[
        ("a.rego", "package p\nallowed if http.send({})"),
        ("b.rego", "package p\nx if opa.runtime()"),
        ("d.json", "[]"),
    ]);
    for expected in [
        "`a.rego` line 2",
        "`b.rego` line 2",
        "`data.p.allow`",
        "data `d.json`",
    ] {
        assert!(error.contains(expected), "{error}");
    }
    let error = refused_files(&[("a.rego", "package"), ("d.json", "[]")]);
    assert!(
        error.contains("`a.rego`") && error.contains("`d.json`"),
        "{error}"
    );
}

#[test]
fn a_variable_that_is_never_bound_is_an_error_with_its_place() {
    assert_eq!(
        refused("allow if unbound == 1"),
        "compile policy: p.rego:2:10: use of undefined variable `unbound` is unsafe"
    );
}

#[test]
fn the_rule_to_ask_for_must_exist_and_have_one_value() {
    for (rules, expected) in [
        ("allowed := true", "which no module defines"),
        ("allow contains 1 if true", "which is a set"),
        ("allow(x) := true", "which is a function"),
        ("default allow(_) := true", "which is a function"),
    ] {
        let error = refused(rules);
        assert!(
            error.starts_with("policy.path asks for `data.p.allow`, "),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(answer("default allow := false"), Answer::Deny);
}

const BY_DATA: (&str, &str) = (
    "p.rego",
    "package p\nallow if input.caller_trust_domain in data.p.domains[data.environment]",
);

#[test]
fn data_documents_are_merged_below_data() {
    let policy = compile(&[
        BY_DATA,
        (
            "a.json",
            "{\"environment\": \"prod\", \"p\": {\"domains\": {\"dev\": []}}}",
        ),
        ("b.yaml", "p:\n  domains:\n    prod: [trial.invalid]\n"),
        ("c.yml", "environment: prod\n"),
    ])
    .unwrap();
    assert_eq!(
        policy.evaluate(&Input::made_up()).unwrap().answer,
        Answer::Allow
    );
}

#[test]
fn data_documents_that_contradict_each_other_are_refused() {
    let error = refused_files(&[
        BY_DATA,
        ("a.json", "{\"p\": {\"domains\": {\"prod\": []}}}"),
        ("b.yaml", "p: {domains: {prod: [x]}}"),
    ]);
    assert!(error.starts_with("data `b.yaml`: "), "{error}");
}

/// The engine would take the data and never look at the rule.
#[test]
fn data_never_stands_in_for_a_rule() {
    let module = (
        "p.rego",
        "package p\nallow if not blocked\nblocked if f(1)\nf(x) := x\ndeny contains 1 if true",
    );
    for document in [
        "{\"p\": {\"allow\": true}}",
        "{\"p\": {\"blocked\": false}}",
        "{\"p\": {\"blocked\": {\"x\": 1}}}",
        "{\"p\": {\"f\": 1}}",
        "{\"p\": {\"deny\": []}}",
        "{\"p\": 7}",
    ] {
        let error = refused_files(&[module, ("d.json", document)]);
        assert!(error.starts_with("data `d.json`: `p."), "{error}");
        assert!(
            error.ends_with("is already a rule of the policy"),
            "{error}"
        );
    }
    compile(&[
        module,
        ("d.json", "{\"p\": {\"other\": 1}, \"allow\": true}"),
    ])
    .unwrap();
}

#[test]
fn a_document_is_a_well_formed_object() {
    for (name, text) in [
        ("d.json", "[]"),
        ("d.json", "{"),
        ("d.json", "{} {}"),
        ("d.yaml", "- a"),
        ("d.yaml", "a: [b"),
        ("d.yaml", "a: 1\na: 2"),
        ("d.yaml", "a: 1\n---\nb: 1"),
        ("d.yaml", ""),
    ] {
        let error = refused_files(&[BY_DATA, (name, text)]);
        assert!(
            error.starts_with(&format!("data `{name}`: ")),
            "{text}: {error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn the_revision_changes_with_names_and_contents_only() {
    let revision = |files: &[(&str, &str)]| compile(files).unwrap().revision().to_string();
    let module = ("p.rego", "package p\nallow := true");
    let base = revision(&[module, ("d.json", "{}")]);
    assert_eq!(base.len(), 16);
    assert!(base.bytes().all(|byte| byte.is_ascii_hexdigit()));
    assert_eq!(base, revision(&[("d.json", "{}"), module]));
    for other in [
        vec![module],
        vec![module, ("d.json", "{} ")],
        vec![module, ("e.json", "{}")],
        vec![("p.rego", "package p\nallow := true\n"), ("d.json", "{}")],
    ] {
        assert_ne!(base, revision(&other));
    }
    let verdict = compile(&[module])
        .unwrap()
        .evaluate(&Input::made_up())
        .unwrap();
    assert_eq!(*verdict.revision, revision(&[module]));
}
