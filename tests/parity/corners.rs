//! Policies for the corners of the language, each before both judges with inputs that lead into its corner.

use attache::policy::{Input, LoadError};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::inputs::{Source, any_input, any_json, with_body};
use crate::judges::{Opa, Policy, Said, compare, opa_bin};

/// What every rule below can use: `a`, `b` and `c` of the body.
const HEAD: &str = "package agentweave.authz\n\na := input.request.body.a\n\nb := input.request.body.b\n\nc := input.request.body.c\n\n";

/// By name; the rules stand below [`HEAD`].
const CORNERS: &[(&str, &str)] = &[
    // What is undefined.
    ("no rule holds", "allow if a == 1"),
    ("a default", "default allow := false\n\nallow if a == 1"),
    ("not of undefined", "allow if not a.x"),
    ("not of false", "allow if not a"),
    (
        "undefined in an object",
        "allow := {\"allow\": true, \"reason\": a.x}",
    ),
    (
        "undefined in a comprehension",
        "allow if count([x | x := a[_].x]) == 0",
    ),
    (
        "undefined head of else",
        "allow := a.x if { b == 1 } else := true",
    ),
    ("null is not undefined", "allow if a == null"),
    (
        "false is not undefined",
        "allow if { x := a; x in {false, null} }",
    ),
    (
        "default function",
        "default f(_) := false\n\nf(x) if x == 1\n\nallow := f(a)",
    ),
    (
        "absent members of input",
        "allow if input.resource_spiffe_id != input.caller_spiffe_id",
    ),
    // Conflicts.
    (
        "two values",
        "allow := true if a == 1\n\nallow := false if b == 1",
    ),
    (
        "two equal values",
        "allow := true if a == 1\n\nallow := true if b == 1",
    ),
    (
        "two numbers that are equal",
        "x := 1 if a == 1\n\nx := 1.0 if b == 1\n\nallow if x == 1",
    ),
    (
        "conflict in a helper",
        "x := 1 if a == 1\n\nx := 2 if b == 1\n\nallow if not x",
    ),
    (
        "conflict in a function",
        "f(x) := 1 if x == 1\n\nf(x) := 2 if x > 0\n\nallow if f(a)",
    ),
    (
        "conflict that is not asked",
        "x := 1 if a == 1\n\nx := 2 if b == 1\n\nallow if c == 1",
    ),
    (
        "conflict behind a failed condition",
        "x := 1 if a == 1\n\nx := 2 if b == 1\n\nallow if { c == 1; x }",
    ),
    // Failing builtins.
    ("division by zero", "allow if 10 / a > 1"),
    (
        "failing builtin in a helper",
        "x if to_number(a) == 1\n\nallow if not x",
    ),
    (
        "failing builtin after a failed condition",
        "allow if { b == 1; to_number(a) == 1 }",
    ),
    (
        "failing builtin in a default branch",
        "default allow := false\n\nallow if startswith(a, b)",
    ),
    (
        "failing builtin in every",
        "allow if { every x in a { upper(x) == x } }",
    ),
    (
        "failing builtin in else",
        "allow if { upper(a) == a } else if { b == 1 }",
    ),
    (
        "failing builtin in a reason",
        "allow := {\"allow\": true, \"reason\": upper(a)}",
    ),
    (
        "failing builtin in a partial set",
        "s contains upper(a)\n\ns contains b\n\nallow if count(s) > 0",
    ),
    (
        "failing builtin with a constant",
        "allow if { c == 1; x := a; x / 0 == 1 }",
    ),
    ("types that do not add", "allow if a + b == 2"),
    ("types that do not compare", "allow if a < b"),
    // Partial rules.
    (
        "deny wins",
        "deny contains \"one\" if a == 1\n\ndeny contains \"two\" if b == 1\n\nallow if count(deny) == 0",
    ),
    (
        "rule with a dotted head",
        "o.x := a\n\no.y := b\n\nallow if o.x == o.y",
    ),
    // Results.
    (
        "a set as reason",
        "allow := {\"allow\": true, \"reason\": {a}}",
    ),
    ("the body as result", "allow := a"),
    (
        "the body as object",
        "allow := {\"allow\": a, \"reason\": b, \"tier\": c}",
    ),
    (
        "the body as more members",
        "allow := object.union({\"allow\": true}, a)",
    ),
    ("an odd member", "allow := {\"allow\": true, a: 1}"),
    ("a key that is no text", "allow := {\"allow\": true, 1: a}"),
    (
        "tiers",
        "allow := {\"allow\": true, \"tier\": [\"free\", \"supervised\", \"forbidden\", \"Free\", \"\"][a]}",
    ),
    (
        "a long reason",
        "allow := {\"allow\": true, \"reason\": concat(b, [\"ä\" | some x in [1, 2, 3, 4, 5, 6]; some y in [1, 2, 3, 4, 5, 6, 7, 8]; some z in [1, 2, 3, 4, 5, 6, 7, 8]; some w in [1, 2, 3]])}",
    ),
    (
        "a nested result",
        "allow := {\"allow\": true, \"policy_id\": concat(\"/\", [input.action, input.tier])}",
    ),
    // Every, some, with.
    ("every of nothing", "allow if { every x in a { x == 1 } }"),
    ("every with keys", "allow if { every k, v in a { k != v } }"),
    (
        "not every",
        "holds if { every x in a { x > 0 } }\n\nallow if not holds",
    ),
    (
        "every in every",
        "allow if { every x in a { every y in b { x != y } } }",
    ),
    ("some in an object", "allow if { some k; a[k] == 1 }"),
    ("membership with key", "allow if 0, 1 in a"),
    (
        "with input",
        "x if input.request.body.a == 1\n\nallow if x with input.request.body.a as b",
    ),
    (
        "with a whole input",
        "x if input.n == 1\n\nallow if x with input as {\"n\": a}",
    ),
    (
        "with data",
        "x if data.limits.low == a\n\nallow if x with data.limits.low as b",
    ),
    (
        "with a function",
        "f(x) := x\n\ng(_) := 1\n\nh if f(a) == 1\n\nallow if h with f as g",
    ),
    (
        "with a builtin",
        "f(_) := 7\n\nallow if count(a) == 7 with count as f",
    ),
    (
        "with under not",
        "x if input.n == 1\n\nallow if not x with input as {\"n\": a}",
    ),
    // Comprehensions and destructuring.
    ("destructured array", "allow if { [x, y] = a; x == y }"),
    (
        "unified both ways",
        "allow if { [x, 2] = [1, y]; x == a; y != b }",
    ),
    (
        "walked",
        "allow if { some p, v; walk(a, [p, v]); v == 1; count(p) > 1 }",
    ),
    (
        "functions by constant",
        "f(1) := \"one\"\n\nf(2) := \"two\"\n\nallow := {\"allow\": true, \"reason\": f(a)}",
    ),
    (
        "else chain",
        "allow := true if { a == 1 } else := false if { b == 1 } else := {\"allow\": true, \"reason\": \"else\"} if { c == 1 }",
    ),
    // Values that compare.
    ("numbers that are equal", "allow if a == b"),
    ("numbers in a set", "allow if count({a, b, c, 1, 1.0}) == 3"),
    ("order of types", "allow if { a < b; b < c }"),
    ("order of lists", "allow if sort([a, b, c])[0] == a"),
    ("greatest", "allow if max([a, b, c]) == c"),
    (
        "keys that are numbers",
        "o := {1: \"one\", 2: \"two\"}\n\nallow if o[a]",
    ),
    ("index that is a float", "allow if [true, true][a]"),
    ("negative index", "allow if [1, 2, 3][a] == 1"),
    ("text is no list", "allow if a[0] != \"r\""),
    ("big constants", "allow if a < 18446744073709551616"),
    (
        "objects inside objects",
        "allow if {\"x\": a} != {\"x\": b}",
    ),
    (
        "object with more",
        "allow if object.get(a, [\"x\", \"y\"], b) == b",
    ),
    (
        "union of objects",
        "allow if object.union(a, b) == object.union(b, a)",
    ),
    // Texts, patterns, addresses, times.
    (
        "scope by glob",
        "allow if glob.match(\"documents/*\", [\"/\"], input.resource)",
    ),
    (
        "scope by pattern",
        "allow if regex.match(`^[a-z]+/[0-9a-z]+$`, input.resource)",
    ),
    (
        "id by prefix",
        "allow if startswith(input.caller_spiffe_id, sprintf(\"spiffe://%s/\", [input.resource_trust_domain]))",
    ),
    (
        "id by segments",
        "allow if { s := split(input.caller_spiffe_id, \"/\"); s[3] in {\"admin\", \"svc\"}; count(s) < 6 }",
    ),
    (
        "addresses",
        "allow if net.cidr_contains(\"10.0.0.0/8\", input.context.headers[\"x-from\"])",
    ),
    (
        "addresses under not",
        "allow if { from := input.context.headers[\"x-from\"]; not net.cidr_contains(\"10.0.0.0/8\", from) }",
    ),
    (
        "versions",
        "allow if semver.compare(input.context.headers[\"x-version\"], \"1.2.0\") >= 0",
    ),
    (
        "office hours",
        "allow if { [h, _, _] := time.clock(time.parse_rfc3339_ns(input.timestamp)); h >= 8; h < 18 }",
    ),
    (
        "weekdays",
        "allow := {\"allow\": true, \"reason\": time.weekday([time.parse_rfc3339_ns(input.timestamp), \"Europe/Berlin\"])}",
    ),
    (
        "text of the input",
        "allow := {\"allow\": true, \"reason\": sprintf(\"%s %s %s\", [input.action, input.resource, input.timestamp])}",
    ),
    (
        "lower case",
        "allow if lower(input.resource) == input.resource",
    ),
    (
        "decoded",
        "allow if json.unmarshal(base64.decode(base64.encode(json.marshal(a)))) == a",
    ),
    (
        "query",
        "allow if urlquery.decode_object(urlquery.encode_object({\"x\": a}))[\"x\"][0] == a",
    ),
    (
        "unicode",
        "allow := {\"allow\": count(a) == 1, \"reason\": concat(\"|\", split(a, \"\"))}",
    ),
    // Data documents.
    ("role in data", "allow if input.action in data.roles[a]"),
    (
        "limit in data",
        "allow if { a >= data.limits.low; a <= data.limits.high }",
    ),
    (
        "data through a variable",
        "allow if { some role; data.roles[role][_] == input.action; role != a }",
    ),
    (
        "a graph in data",
        "allow if a in graph.reachable(data.graph, {\"root\"})",
    ),
    ("whole data", "allow if count(data.limits) == a"),
];

/// What goes through the elements of something that may have none: an error here, which refuses.
const ELEMENTS: &[(&str, &str)] = &[
    (
        "conflict of keys",
        "o[k] := v if some k, v in a\n\no[k] := v if some k, v in b\n\nallow if count(o) > 0",
    ),
    (
        "conflict in an object comprehension",
        "allow if count({k: v | some v in a; some k in b}) >= 0",
    ),
    (
        "failing builtin in a comprehension",
        "allow if count([1 | some x in a; x % 2 == 1]) > 0",
    ),
    (
        "sets minus numbers",
        "allow if {1, 2} - {x | some x in a} == {2}",
    ),
    (
        "partial set",
        "s contains x if some x in a\n\nallow if 1 in s",
    ),
    (
        "empty partial set",
        "s contains x if { some x in a; x == 7 }\n\nallow if count(s) == 0",
    ),
    (
        "reasons in order",
        "deny contains msg if { some x in a; is_string(x); msg := sprintf(\"<%s>\", [x]) }\n\nallow := {\"allow\": count(deny) == 0, \"reason\": concat(\", \", deny)}",
    ),
    (
        "partial object",
        "o[k] := true if some k in a\n\nallow if o[b]",
    ),
    (
        "nested partial object",
        "o[k][b] := true if some k in a\n\nallow if o[c][b]",
    ),
    (
        "set of objects",
        "s contains {\"k\": x} if some x in a\n\nallow if {\"k\": 1} in s",
    ),
    ("a set as result", "allow := {x | some x in a} if a"),
    ("some with index", "allow if { some i, x in a; x == i }"),
    (
        "array comprehension",
        "allow if [x | some x in a; x > 1] == [2, 3]",
    ),
    ("set comprehension", "allow if {x | some x in a} == {1, 2}"),
    (
        "object comprehension",
        "allow if {k: v | some k, v in a}[b] == 1",
    ),
    (
        "nested comprehension",
        "allow if sum([x | some x in [y | some y in a; y > 0]]) == 3",
    ),
];

/// What stands under a `not` and may be undefined, where that means the same to both.
const NEGATIONS: &[(&str, &str)] = &[
    ("undefined inside not", "allow if { x := a; not b[x] == 1 }"),
    (
        "division by zero under not",
        "allow if { x := a; not 10 / x > 1 }",
    ),
    (
        "failing builtin under not",
        "allow if { x := a; not to_number(x) == 1 }",
    ),
    (
        "role that is not in data",
        "allow if { x := a; not data.roles[x] }",
    ),
    (
        "pattern under not",
        "allow if { x := a; not regex.match(`^a`, x) }",
    ),
    (
        "prefix under not",
        "allow if { id := input.resource_spiffe_id; not startswith(id, \"spiffe://example.org/\") }",
    ),
    (
        "what is always there under not",
        "allow if { not startswith(input.resource, \"a\"); not input.tier in {\"free\"} }",
    ),
    (
        "membership under not",
        "allow if { x := a; not x in {1, 2} }",
    ),
    (
        "membership in a partial set",
        "s contains a\n\nallow if not 1 in s",
    ),
    (
        "a rule with a default under not",
        "default one := 2\n\none := 1 if a == 1\n\nallow if not one > 1",
    ),
    (
        "a rule with an else under not",
        "one := 1 if { a == 1 } else := 2\n\nallow if not one > 1",
    ),
    (
        "a comprehension under not",
        "allow if not count([x | x := a[_]]) > 1",
    ),
    ("comparison under not", "allow if not a == 1"),
    ("two unknowns under not", "allow if not a == b"),
    (
        "function under not",
        "f(x) if x == 1\n\nallow if { x := a; not f(x) }",
    ),
    (
        "function with a default under not",
        "default f(_) := 2\n\nf(x) := 1 if x == 1\n\nallow if { x := a; not f(x) == 1 }",
    ),
    (
        "a bound operand under not",
        "allow if { x := a; not x == 1 }",
    ),
    ("a rule under not", "one if a == 1\n\nallow if not one"),
];

/// What OPA loads and attache refuses, since it would hold here alone.
const REFUSED: &[&str] = &[
    // An operand under `not` that may be undefined.
    "allow if not b[a] == 1",
    "allow if not 10 / a > 1",
    "allow if not to_number(a) == 1",
    "allow if not data.roles[a]",
    "allow if not regex.match(`^a`, a)",
    "allow if not startswith(input.resource_spiffe_id, \"spiffe://example.org/\")",
    "allow if not net.cidr_contains(\"10.0.0.0/8\", input.context.headers[\"x-from\"])",
    "allow if not a in {1, 2}",
    "f(x) if x == 1\n\nallow if not f(a)",
    "f(x) := 2 if x == 1\n\nallow if { x := b; not f(x) == 1 }",
    // An object as a pattern.
    "allow if { {\"x\": x} = a; x != {} }",
    "allow if { {\"x\": x} := a; x != {} }",
    "allow if { some {\"x\": x} in [a]; x != {} }",
    "f({\"x\": x}) := x\n\nallow if f(a) != \"\"",
    // A pattern that is read otherwise.
    "allow if regex.match(`^\\d+$`, a)",
    "allow if regex.match(`\\w`, a)",
    "allow if regex.match(`[a&&b]`, a)",
    "allow if regex.match(`[a[b]`, a)",
    "allow if glob.match(\"[^a]\", [\"/\"], a)",
];

fn data() -> Json {
    json!({
        "roles": {"r": ["read"], "w": ["read", "update", "delete"], "": []},
        "limits": {"low": 1, "high": 2.5},
        "graph": {"root": ["r", "x"], "r": ["w"], "w": ["root"], "x": [], "island": ["1"]},
    })
}

fn small() -> impl Strategy<Value = Json> + Clone {
    let leaf = prop_oneof![
        // What most corners ask for.
        3 => Just(json!(1)),
        4 => (-1_i64..4).prop_map(Json::from),
        1 => Just(json!(1.0)),
        1 => Just(json!(2.5)),
        1 => Just(json!(null)),
        1 => any::<bool>().prop_map(Json::from),
        2 => prop::sample::select(vec!["", "r", "w", "1", "x", "ä", "ok", "free", "island"]).prop_map(Json::from),
    ];
    let of_leaf = prop_oneof![
        prop::collection::vec(leaf.clone(), 0..4).prop_map(Json::from),
        prop::collection::btree_map("[xyr]", leaf.clone(), 0..3)
            .prop_map(|it| Json::Object(it.into_iter().collect())),
    ];
    // Two that are equal, which chance hardly ever makes.
    let pair = leaf.clone().prop_map(|it| Json::from(vec![it.clone(), it]));
    prop_oneof![
        5 => leaf,
        3 => of_leaf.clone(),
        1 => pair,
        1 => prop::collection::vec(of_leaf, 0..3).prop_map(Json::from),
        1 => any_json(),
    ]
}

fn inputs(name: &str, count: usize) -> Vec<Input> {
    // What decides is drawn apart: a further member of the input leaves it as it is.
    let (mut whole, mut source) = (Source::new(&format!("{name}, whole")), Source::new(name));
    let (input, small) = (any_input(), small());
    let absent = prop::bool::weighted(0.1);
    let from = prop::sample::select(vec![
        "10.1.2.3",
        "11.0.0.1",
        "::1",
        "",
        "x",
        "10.0.0.0/24",
        "010.1.1.1",
    ]);
    let version = prop::sample::select(vec![
        "1.2.0",
        "1.10.0",
        "1.2.0-rc.1",
        "0.9.9",
        "2",
        "",
        "1.2.0+b",
    ]);
    let make = |_| {
        let mut input = whole.draw(&input);
        let mut body = serde_json::Map::new();
        for name in ["a", "b", "c"] {
            if !source.draw(&absent) {
                body.insert(name.to_owned(), source.draw(&small));
            }
        }
        for (name, value) in [
            ("x-from", source.draw(&from)),
            ("x-version", source.draw(&version)),
        ] {
            input
                .context
                .headers
                .insert(name.to_owned(), value.to_owned());
        }
        with_body(input, body.into())
    };
    (0..count).map(make).collect()
}

/// O31.
#[tokio::test]
async fn the_corners_of_the_language_are_decided_alike() {
    compare(questions(CORNERS), false, |_, _| false).await;
}

/// O31. docs/policy.md, "the elements of what has none".
#[tokio::test]
async fn going_through_what_has_no_elements_refuses_here() {
    let is_error = |ours: &Said, _: &Said| *ours == Said::Failed;
    compare(questions(ELEMENTS), false, is_error).await;
}

/// O31.
#[tokio::test]
async fn a_not_is_decided_alike() {
    compare(questions(NEGATIONS), false, |_, _| false).await;
}

/// O31. docs/policy.md, "Where the engines differ".
#[tokio::test]
async fn what_would_hold_here_alone_is_refused_though_opa_loads_it() {
    let Some(bin) = opa_bin() else { return };
    let opa = Opa::start(&bin, false).await;
    for rules in REFUSED {
        let policy = Policy::new(rules, &format!("{HEAD}{rules}\n"));
        opa.load(&policy).await;
        let errors = policy.compiled().expect_err(rules);
        let refused = |it: &LoadError| matches!(it, LoadError::Refused { .. });
        assert!(errors.iter().all(refused), "{rules}: {errors:?}");
    }
}

fn questions(corners: &[(&str, &str)]) -> Vec<(Policy, Vec<Input>)> {
    let policies = corners.iter().map(|(name, rules)| {
        let mut policy = Policy::new(name, &format!("{HEAD}{rules}\n"));
        policy.data = data();
        (policy, inputs(name, 300))
    });
    policies.collect()
}
