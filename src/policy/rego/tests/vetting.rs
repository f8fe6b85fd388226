//! What policies may call, and which definitions can't stand together.

use super::*;

#[test]
fn a_builtin_that_is_not_offered_is_refused_when_loading() {
    for (rules, expected) in [
        (
            "allow if io.jwt.decode(input.token)",
            "has no `io.jwt.decode`: attache verifies tokens",
        ),
        (
            "allow if not http.send({}).ok",
            "has no `http.send`: a decision makes no network calls",
        ),
        (
            "allow if count(numbers.range(1, 9)) > 0",
            "`numbers.range` is not offered to policies",
        ),
        (
            "allow if input.action == rand.intn(\"x\", 2)",
            "`rand.intn` is not offered",
        ),
        (
            "allow := is_it(input)",
            "`is_it` is neither a function of this policy nor a builtin",
        ),
        ("allow := true\nunused if opa.runtime()", "`opa.runtime`"),
        ("allow := [x | x := crypto.sha256(\"\")]", "`crypto.sha256`"),
        (
            "allow := {x: y | y := 1; x := uuid.rfc4122(\"\")}",
            "`uuid.rfc4122`",
        ),
        ("allow if input[product([1])]", "`product`"),
        (
            "allow if { every x in net.cidr_expand(\"::/0\") { x } }",
            "`net.cidr_expand`",
        ),
        ("allow if { some x in [bits.lsh(1, 2)]; x }", "`bits.lsh`"),
        ("f(x) := units.parse(x)\nallow if f(1)", "`units.parse`"),
        (
            "allow if { true } else := json.remove({}, [])",
            "`json.remove`",
        ),
        (
            "allow if graph.reachable_paths({}, [])[_]",
            "`graph.reachable_paths`",
        ),
        ("allow if numbers[\"range\"](1, 2)", "`numbers.range`"),
        (
            "allow if -numbers.range_step(1, 2, 1)[0] < 1",
            "`numbers.range_step`",
        ),
        ("allow if input.f(1)", "`input.f`"),
        (
            "s contains numbers.range(1, 2)\nallow if s",
            "`numbers.range`",
        ),
        (
            "allow if { x = {\"a\": strings.count(\"\", \"\")}; x }",
            "`strings.count`",
        ),
        ("roles[product([2])] := 1\nallow if roles", "`product`"),
    ] {
        let error = refused(rules);
        assert!(error.starts_with("`p.rego` line "), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_refused_builtin_can_not_come_in_by_another_name() {
    for rules in [
        "f(a, b) := [a, b]\ng := f(1, 2)\nallow if g with f as numbers.range",
        "f(a, b) := [a, b]\ng := f(1, 2)\nallow if g with data.p.f as sprintf",
        "allow if count([1]) with count as product",
        "import data.other as numbers\nallow if numbers.range(1, 2)",
    ] {
        assert!(refused(rules).starts_with("`p.rego` line "), "{rules}");
    }
}

#[test]
fn the_format_of_sprintf_is_a_short_literal() {
    assert_eq!(
        answer("allow if sprintf(\"%s-%5d\", [input.action, 7]) == \"read-    7\""),
        Answer::Allow
    );
    for rules in [
        "allow if sprintf(input.action, [])",
        "allow if sprintf(concat(\"\", [\"%\", \"9999d\"]), [1])",
        "allow if sprintf(\"%2000000000d\", [1])",
        "allow if sprintf(`%2000000000d`, [1])",
    ] {
        assert!(refused(rules).contains("sprintf"), "{rules}");
    }
}

#[test]
fn the_delimiters_of_a_glob_are_written_out_and_read_as_opa_reads_them() {
    for delimiters in ["null", "[]", "[\".\"]", "[`/`]"] {
        let rule = format!("allow if glob.match(\"re*\", {delimiters}, input.action)");
        assert_eq!(answer(&rule), Answer::Allow, "{delimiters}");
    }
    for rules in [
        "allow if glob.match(\"read:*\", [\":\"], input.action)",
        "allow if glob.match(\"a*\", [\".\", \"/\"], input.action)",
        "allow if glob.match(\"a*\", [\"\"], input.action)",
        "allow if glob.match(\"a*\", [\"-\"], input.action)",
        "allow if glob.match(\"a*\", [input.action], input.action)",
        "allow if glob.match(\"a*\", input.action, input.action)",
        "allow if glob.match(\"a*\", {\".\"}, input.action)",
        "allow if glob.match(\"a*\")",
        "f(a, b, c) := [a, b, c]\ng := f(1, 2, 3)\nallow if g with data.p.f as glob.match",
    ] {
        assert!(refused(rules).contains("glob.match"), "{rules}");
    }
}

#[test]
fn functions_of_the_policy_are_found_where_the_engine_finds_them() {
    let policy = compile(&[
        (
            "p.rego",
            "package p\nimport data.lib\nimport data.lib as tools\nimport data.lib.one\nproduct(x) := x\n\
             default f(_) := 2\nallow if { lib.one(1); tools.one(1); one(1); data.lib.one(1); product(1); f(0) == 2 }",
        ),
        ("lib.rego", "package lib\none(x) if x == 1"),
    ])
    .unwrap();
    assert_eq!(
        policy.evaluate(&Input::made_up()).unwrap().answer,
        Answer::Allow
    );
}

#[test]
fn usual_builtins_are_offered() {
    for condition in [
        "startswith(input.caller_spiffe_id, \"spiffe://\")",
        "split(input.resource, \"/\")[0] == \"trial\"",
        "glob.match(\"trial/*\", [\"/\"], input.resource)",
        "regex.match(`^tr.al/[0-9]$`, input.resource)",
        "net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")",
        "time.now_ns() > time.parse_rfc3339_ns(input.timestamp)",
        "object.get(input, \"nothing\", 7) == 7",
        "lower(\"A\") in {\"a\"}",
        "count({x | some x in input.request}) > 1",
        "print(input.action)",
        "trace(input.action)",
    ] {
        assert_eq!(
            answer(&format!("allow if {condition}")),
            Answer::Allow,
            "{condition}"
        );
    }
}

/// The engine overflows the stack on the first three, which ends the process.
#[test]
fn what_depends_on_itself_is_refused() {
    for (rules, name) in [
        ("f(x) := f(x)\nallow if f(1)", "data.p.f"),
        ("f(x) := g(x)\ng(x) := f(x)\nallow if f(1)", "data.p."),
        (
            "f(x) := 1\ng(x) if f(x) with f as g\nallow if g(1)",
            "data.p.g",
        ),
        ("allow if a\na if b\nb if allow", "data.p."),
        ("allow if data.p.allow", "data.p.allow"),
        ("allow if data.p[input.action]", "data.p.allow"),
        ("allow if a\na contains x if { some x in a }", "data.p.a"),
    ] {
        let error = refused(rules);
        assert!(error.contains(&format!("`{name}")), "{error}");
        assert!(error.contains("depends on itself"), "{error}");
    }
}

#[test]
fn a_variable_named_like_a_rule_is_not_that_rule() {
    for rules in [
        "names contains x if { role := \"a\"; x := role }\nrole := count(names)\nallow if role == 1",
        "role contains x if { role := \"a\"; x := role }\nallow if count(role) == 1",
        "f(f2) := f2\nf2 := f(1)\nallow if f2 == 1",
        "e if { every e in [1] { e == 1 } }\nallow if e",
        "allow if { [a, high] := [1, 2]; a < high }\nhigh := allow",
        "allow if { some high; high = 1 }\nhigh := allow",
    ] {
        program(rules);
    }
}

/// Rules that stand on each other, each a call, a comprehension and a loop higher than the next; `allow` on top.
fn chain(length: usize, arguments: &str) -> String {
    let links = (1..length).map(|link| {
        let next = format!("r{}{arguments}", link + 1);
        format!("r{link}{arguments} if {{ every y in [1] {{ count([z | some z in [y]; {next}]) == 1 }} }}\n")
    });
    let links: String = links.collect();
    let last = format!("r{length}{arguments} := true\n");
    format!("{links}{last}allow if r1{}", arguments.replace('x', "1"))
}

/// On a thread with the 2 MiB of stack that evaluations get, in whatever way this test was compiled.
#[test]
fn rules_stand_on_each_other_as_high_as_the_stack_allows() {
    for arguments in ["", "(x)"] {
        assert_eq!(answer(&chain(31, arguments)), Answer::Allow);
        let error = refused(&chain(32, arguments));
        assert!(
            error.contains("more than 32 rules depend on each other in a row"),
            "{error}"
        );
        refused(&chain(2_000, arguments));
    }
}

/// The engine takes whichever it meets first.
#[test]
fn a_rule_has_one_default() {
    let files = [
        ("a.rego", "package p\ndefault allow := true"),
        ("b.rego", "package p\ndefault allow := false"),
    ];
    assert_eq!(
        refused_files(&files),
        "`a.rego` line 2: `data.p.allow` has more than one default"
    );
    assert!(
        refused("default f(_) := 1\ndefault f(_) := 2\nallow := true")
            .contains("more than one default")
    );
}

#[test]
fn modules_of_one_package_add_up() {
    let policy = compile(&[
        ("a.rego", "package p\nallow if input.action == \"read\""),
        ("b.rego", "package p\nallow if input.action == \"update\""),
    ])
    .unwrap();
    for (action, expected) in [
        ("read", Answer::Allow),
        ("update", Answer::Allow),
        ("delete", Answer::Undefined),
    ] {
        let asked = input("spiffe://a.example/x", None, action);
        assert_eq!(policy.evaluate(&asked).unwrap().answer, expected);
    }
}

#[test]
fn a_policy_that_reads_the_clock_is_no_function_of_its_input() {
    for rules in [
        "allow if time.now_ns() > 0",
        "allow if helper\nhelper if { x := time.now_ns(); x > 0 }",
        "allow if late(1)\nlate(_) if time.now_ns() > 0",
        "allow if every x in [1] { time.now_ns() > x }",
        "allow := {\"allow\": true, \"reason\": sprintf(\"%d\", [time.now_ns()])}",
        "default allow := false\nallow if input.x\nallow if time.clock(time.now_ns())",
    ] {
        let policy = program(rules);
        let call = policy.volatile().unwrap_or_else(|| panic!("{rules}"));
        assert!(call.starts_with("`time.now_ns` (p.rego line "), "{call}");
    }
    let verdict = evaluate("allow if time.now_ns() > 0").unwrap();
    assert!(!verdict.cacheable);
}

#[test]
fn a_clock_that_the_decision_does_not_reach_makes_no_difference() {
    for rules in [
        "allow := true\nunused if time.now_ns() > 0",
        "allow if time.parse_rfc3339_ns(input.timestamp) > 0",
        "allow if now_ns\nnow_ns := true",
    ] {
        assert_eq!(program(rules).volatile(), None, "{rules}");
    }
    let files = [
        ("p.rego", "package p\nallow if data.q.fine"),
        (
            "q.rego",
            "package q\nfine := true\nlate if time.now_ns() > 0",
        ),
    ];
    assert_eq!(compile(&files).unwrap().volatile(), None);
    assert!(evaluate("allow := true").unwrap().cacheable);
}

#[test]
fn a_clock_in_another_package_is_found() {
    let files = [
        ("p.rego", "package p\nimport data.q\nallow if q.late"),
        ("q.rego", "package q\nlate if time.now_ns() > 0"),
    ];
    assert_eq!(
        compile(&files).unwrap().volatile(),
        Some("`time.now_ns` (q.rego line 2)")
    );
}

/// Which rule a computed reference reaches shows only at the time of asking.
#[test]
fn a_computed_reference_may_reach_any_clock_below_its_beginning() {
    let files = [
        ("p.rego", "package p\nallow if data.q[input.action]"),
        ("q.rego", "package q.other\nlate if time.now_ns() > 0"),
    ];
    assert!(compile(&files).unwrap().volatile().is_some());
}

/// What the rules below stand on.
const WORLD: &str = "default tier := \"free\"\nroles := {\"a\": [\"read\"]}\none := 1 if input.action == \"other\"\n\
                     two := 1 if { one } else := 2\nall := [roles, two]\nbanned contains \"x\" if input.n\n\
                     id(x) := lower(x)\ndefault known(_) := false\nknown(x) if x == 1\nmaybe(x) if x == 1\n\
                     parts := split(input.resource, \"/\")\n";

/// OPA computes operands before the `not`, and says nothing where one is undefined; here the `not` would hold.
#[test]
fn a_not_whose_operands_may_be_undefined_is_refused() {
    for (negated, operand) in [
        (
            "startswith(input.request.body.id, \"x\")",
            "input.request.body.id",
        ),
        ("input.request.body.n > 1", "input.request.body.n"),
        ("input.request.method != \"GET\"", "input.request.method"),
        (
            "count(input.request.body.ids) > 1",
            "input.request.body.ids",
        ),
        (
            "count(input.request.body.ids) == 1",
            "input.request.body.ids",
        ),
        ("maybe(input.request.path)", "input.request.path"),
        ("maybe(1) == true", "maybe(1)"),
        ("max(parts) == 1", "max(parts)"),
        (
            "startswith(upper(input.request.path), \"x\")",
            "input.request.path",
        ),
        ("input.request.method in [\"GET\"]", "input.request.method"),
        ("\"x\" in input.request.body", "input.request.body"),
        ("\"x\" in data.blocked", "data.blocked"),
        (
            "input.resource_spiffe_id in {\"x\"}",
            "input.resource_spiffe_id",
        ),
        ("roles[input.request.host]", "input.request.host"),
        ("roles[one] == []", "one"),
        ("one + 1 == 2", "one"),
        ("-one", "one"),
        ("id(one) == 1", "one"),
        ("parts[3] in {\"x\"}", "parts[3]"),
        ("[input.request.path] == [\"x\"]", "input.request.path"),
        ("{\"x\": input.request.path}", "input.request.path"),
        (
            "count({input.request.path} & {1}) > 0",
            "input.request.path",
        ),
    ] {
        let error = refused(&format!("{WORLD}allow if not {negated}"));
        let expected = format!(
            "`p.rego` line 13: where `{operand}` is undefined this `not` holds here and not on OPA"
        );
        assert!(error.starts_with(&expected), "{negated}: {error}");
        assert!(error.contains(&format!("as `x := {operand}`")), "{error}");
    }
}

#[test]
fn a_not_that_means_the_same_to_opa_is_fine() {
    for body in [
        "not input.request.body",
        "not input.truncated_body",
        "not input.request.body.id == \"x\"",
        "not input.request.body.id = input.request.body.other",
        "not one",
        "not one == 7",
        "not maybe(2)",
        "not startswith(input.resource, \"documents/\")",
        "not input.action in {\"x\"}",
        "not tier in {\"x\"}",
        "not \"x\" in banned",
        "not count(banned) > 0",
        "not two > 2",
        "not count(all) > 2",
        "not id(input.action) == \"x\"",
        "not known(2) == true",
        "not \"x\" in parts",
        "not count(parts) == 99",
        "not count([x | x := input.request.body.ids[_]]) > 99",
        "it := input.action; not startswith(it, \"x\")",
        "it := split(input.resource, \"/\")[0]; not it in {\"x\"}",
        "some it in [\"a\"]; not startswith(it, \"x\")",
        "every it in [\"a\"] { not startswith(it, \"x\") }",
        "count([1 | it := \"a\"; not startswith(it, \"x\")]) == 1",
        "x = input.action; not startswith(x, \"y\")",
    ] {
        let rules = format!("{WORLD}allow if {{ {body} }}");
        assert_eq!(answer(&rules), Answer::Allow, "{body}");
    }
}

/// A variable hides a rule of its name where it is declared, and nowhere else.
#[test]
fn a_not_knows_variables_from_rules_of_their_name() {
    program(
        "name := input.request.path\nf(name) if not startswith(name, \"x\")\nallow if f(\"a\")",
    );
    for rule in [
        "allow if { count([1 | name := 1]) == 1; not startswith(name, \"x\") }",
        "f(name) := name\nallow if { f(1) == 1; not startswith(name, \"x\") }",
    ] {
        let error = refused(&format!("name := input.request.path\n{rule}"));
        assert!(error.contains("where `name` is undefined"), "{error}");
    }
}

#[test]
fn a_with_may_take_away_what_is_always_there() {
    for rule in [
        "f if not startswith(input.resource, \"x\")\nallow if f with input as {}",
        "s contains 1\nf if not 2 in s\nallow if f with data.p as {}",
    ] {
        assert!(
            refused(rule).contains("this `not` holds here and not on OPA"),
            "{rule}"
        );
    }
}

/// To OPA an object has no further members; the engine would match any.
#[test]
fn an_object_as_a_pattern_is_refused() {
    for rules in [
        "allow if { {\"x\": x} = input.context; x }",
        "allow if { input.context = {\"x\": x}; x }",
        "allow if { {\"x\": _} = input.context }",
        "allow if { [{\"x\": x}] = [input.context]; x }",
        "allow if { {\"a\": {\"x\": x}} = {\"a\": input.context}; x }",
        "allow if { {\"x\": x} := input.context; x }",
        "allow if { [a, {\"x\": x}] := [1, input.context]; x == a }",
        "allow if { some x; input.context = {\"x\": x}; x }",
        "allow if { a := input.context; a = {\"x\": x}; x }",
        "allow if { a = input.context; a = {\"x\": x}; x }",
        "f(a) if { a = {\"x\": x}; x }\nallow if f(input.context)",
        "allow if { some {\"x\": 1} in [input.context] }",
        "allow if { some [{\"x\": x}] in [[input.context]]; x }",
        "allow if { walk([input.context], [_, {\"x\": x}]); x }",
        "f(a) := a\nallow if { f(input.context, {\"x\": x}); x }",
        "s contains input.context\nallow if { some x; s[{\"x\": x}]; x }",
        "f({\"x\": x}) := x\nallow if f(input.context)",
        "f({\"x\": 1}) := 1\nallow if f(input.context)",
        "f([{}]) := 1\nallow if f([input.context])",
    ] {
        let error = refused(rules);
        let expected = "an object as a pattern also takes objects with further members here";
        assert!(error.starts_with("`p.rego` line "), "{rules}: {error}");
        assert!(error.contains(expected), "{rules}: {error}");
        assert!(error.contains("as `x := a.x`"), "{rules}: {error}");
    }
}

#[test]
fn an_object_that_is_a_value_is_no_pattern() {
    for body in [
        "x := {\"a\": input.action}; x.a == \"read\"",
        "x = {\"a\": 1}; x.a == 1",
        "y = 1; x = {\"a\": y}; x.a == 1",
        "y := 1; {\"a\": y} = {\"a\": 1}",
        "{\"a\": 1} = {\"a\": 1}",
        "{\"a\": input.action} == {\"a\": \"read\"}",
        "{\"a\": 1} in {{\"a\": 1}}",
        "y := 1; {{\"a\": 1}}[{\"a\": y}]",
        "y = 1; count({\"a\": y}) == 1",
        "walk({\"a\": 1}, [_, y]); y == 1",
        "some x in [{\"a\": 1}]; x.a == 1",
        "[x, y] := [{\"a\": 1}, 2]; x.a < y",
    ] {
        assert_eq!(
            answer(&format!("allow if {{ {body} }}")),
            Answer::Allow,
            "{body}"
        );
    }
}

#[test]
fn a_regular_expression_that_opa_reads_otherwise_is_refused() {
    for (pattern, expected) in [
        (r"^\d+$", "`[0-9]`"),
        (r"\\\w", "`[0-9]`"),
        (r"[\s]", "`[0-9]`"),
        (r"\bx", "`[0-9]`"),
        (r"\D", "`[0-9]`"),
        ("[a&&b]", "a set inside a set"),
        ("[a-z--b]", "a set inside a set"),
        ("[a[b]]", "a set inside a set"),
        ("(?x) a b", "the flag `x`"),
        ("(?ix:a b)", "the flag `x`"),
    ] {
        for call in [
            format!("regex.match(`{pattern}`, input.action)"),
            format!("regex.split(`{pattern}`, input.action)"),
            format!("count(regex.find_n(`{pattern}`, input.action, 1)) > 0"),
        ] {
            let error = refused(&format!("allow if {call}"));
            assert!(error.starts_with("`p.rego` line 2: "), "{error}");
            assert!(error.contains(expected), "{call}: {error}");
        }
    }
    for pattern in [
        r"^\\d",
        r"^read$",
        r"[]a]*",
        r"[^]&]+",
        r"[[:alpha:]-]+",
        r"^(?P<x>r).*",
        r"(?i)READ",
        r"^.{4}$",
        r"[0-9A-Za-z_]&&?|r",
        r"\[\[|read",
        r"\pL+",
    ] {
        program(&format!("allow if regex.match(`{pattern}`, input.action)"));
    }
}

#[test]
fn a_glob_with_an_inverted_set_is_refused() {
    let error = refused("allow if glob.match(\"re[^x]*\", [\"/\"], input.action)");
    assert!(
        error.contains("`[^` in a pattern of `glob.match`"),
        "{error}"
    );
    for pattern in ["re[a-z]*", r"re\\[^", "^re*"] {
        program(&format!(
            "allow if glob.match(\"{pattern}\", [\"/\"], input.action)"
        ));
    }
}
