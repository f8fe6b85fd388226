//! Every builtin that policies may call, before both judges with the arguments that matter.

use attache::policy::Input;
use serde_json::Value as Json;
use std::collections::BTreeSet;

use crate::arguments::Draw::{self, *};
use crate::differences::{Case, explained, same};
use crate::inputs::{Source, any_input, any_json, seed, with_body};
use crate::judges::{Opa, Policy, embedded, opa_bin};

/// A call whose arguments are `a`, `b`, `c` and `d`, drawn from these.
struct Call {
    builtin: &'static str,
    /// Whole; `None`: the builtin, applied to its arguments in order.
    expression: Option<&'static str>,
    arguments: Vec<Draw>,
}

/// Applied to their arguments in order.
const PLAIN: &[(&str, &[Draw])] = &[
    ("abs", &[Number]),
    ("array.concat", &[List, List]),
    ("array.reverse", &[List]),
    ("array.slice", &[List, Int, Int]),
    ("base64.decode", &[Base64]),
    ("base64.encode", &[Text]),
    ("base64.is_valid", &[Base64]),
    ("base64url.decode", &[Base64]),
    ("base64url.encode", &[Text]),
    ("base64url.encode_no_pad", &[Text]),
    ("ceil", &[Number]),
    ("concat", &[Text, Texts]),
    ("contains", &[Text, Cut]),
    ("count", &[Any]),
    ("count", &[Text]),
    ("endswith", &[Text, Cut]),
    ("floor", &[Number]),
    ("format_int", &[Number, Base]),
    ("graph.reachable", &[Graph, Nodes]),
    ("hex.decode", &[Hex]),
    ("hex.encode", &[Text]),
    ("indexof", &[Text, Cut]),
    ("indexof_n", &[Text, Cut]),
    ("is_array", &[Any]),
    ("is_boolean", &[Any]),
    ("is_null", &[Any]),
    ("is_number", &[Any]),
    ("is_object", &[Any]),
    ("is_string", &[Any]),
    ("json.is_valid", &[Json]),
    ("json.marshal", &[Any]),
    ("json.marshal", &[Number]),
    ("json.unmarshal", &[Json]),
    ("lower", &[Text]),
    ("max", &[Numbers]),
    ("max", &[List]),
    ("min", &[List]),
    ("net.cidr_contains", &[Cidr, Address]),
    ("net.cidr_is_valid", &[Cidr]),
    ("object.filter", &[Object, Texts]),
    ("object.get", &[Object, Paths, Any]),
    ("object.keys", &[Object]),
    ("object.remove", &[Object, Texts]),
    ("object.union", &[Object, Object]),
    ("object.union_n", &[Objects]),
    ("regex.find_all_string_submatch_n", &[Regex, RegexText, Int]),
    ("regex.find_n", &[Regex, RegexText, Int]),
    ("regex.is_valid", &[Regex]),
    ("regex.match", &[Regex, RegexText]),
    ("regex.split", &[Regex, RegexText]),
    ("replace", &[Text, Cut, Text]),
    ("round", &[Number]),
    ("semver.compare", &[SemVer, SemVer]),
    ("semver.is_valid", &[SemVer]),
    ("sort", &[List]),
    ("split", &[Text, Cut]),
    ("startswith", &[Text, Cut]),
    ("strings.any_prefix_match", &[TextOrTexts, TextOrTexts]),
    ("strings.any_suffix_match", &[TextOrTexts, TextOrTexts]),
    ("strings.reverse", &[Text]),
    ("substring", &[Text, Int, Int]),
    ("sum", &[Numbers]),
    ("time.clock", &[Time]),
    ("time.date", &[Time]),
    ("time.format", &[Time]),
    ("time.parse_duration_ns", &[Duration]),
    ("time.parse_rfc3339_ns", &[Rfc3339]),
    ("time.weekday", &[Time]),
    ("to_number", &[NumberText]),
    ("to_number", &[Any]),
    ("trim", &[Text, Cut]),
    ("trim_left", &[Text, Cut]),
    ("trim_prefix", &[Text, Cut]),
    ("trim_right", &[Text, Cut]),
    ("trim_space", &[Text]),
    ("trim_suffix", &[Text, Cut]),
    ("type_name", &[Any]),
    ("upper", &[Text]),
    ("urlquery.decode_object", &[UrlText]),
    ("urlquery.encode", &[UrlText]),
    ("urlquery.encode_object", &[TextObject]),
];

/// In an expression.
const WHOLE: &[(&str, &str, &[Draw])] = &[
    (
        "intersection",
        "intersection({{x | some x in y} | some y in a})",
        &[Lists],
    ),
    (
        "union",
        "union({{x | some x in y} | some y in a})",
        &[Lists],
    ),
    ("is_set", "[is_set({x | some x in a}), is_set(a)]", &[List]),
    ("count", "count({x | some x in a})", &[List]),
    ("sort", "sort({x | some x in a})", &[List]),
    ("max", "max({x | some x in a})", &[Numbers]),
    ("sum", "sum({x | some x in a})", &[Numbers]),
    ("concat", "concat(\",\", {x | some x in a})", &[Texts]),
    ("json.marshal", "json.marshal({x | some x in a})", &[List]),
    (
        "time.format",
        "time.format([a[0], a[1], b])",
        &[Time, Layout],
    ),
    ("glob.match", "glob.match(a, null, b)", &[Glob, GlobText]),
    ("glob.match", "glob.match(a, [], b)", &[Glob, GlobText]),
    ("glob.match", "glob.match(a, [\".\"], b)", &[Glob, GlobText]),
    ("glob.match", "glob.match(a, [\"/\"], b)", &[Glob, GlobText]),
    ("time.now_ns", "time.now_ns() > 1700000000000000000", &[]),
    ("walk", "[[p, v] | walk(a, [p, v])]", &[Any]),
    ("trace", "trace(a)", &[Text]),
    ("sprintf", "sprintf(\"%v\", [a])", &[Any]),
    (
        "sprintf",
        "sprintf(\"%v %v\", [{x | some x in a}, b])",
        &[List, Number],
    ),
    ("sprintf", "sprintf(\"%d\", [a])", &[Number]),
    ("sprintf", "sprintf(\"%s\", [a])", &[Any]),
    ("sprintf", "sprintf(\"%5d|%05d|%d\", [a, a, a])", &[Int]),
    ("sprintf", "sprintf(\"%s %v %%\", [a, b])", &[Text, Int]),
    ("sprintf", "sprintf(\"%d %d\", a)", &[Numbers]),
    ("sprintf", "sprintf(\"%s\", [{x | some x in a}])", &[Texts]),
    ("+", "a + b", &[Number, Number]),
    ("-", "a - b", &[Number, Number]),
    ("*", "a * b", &[Number, Number]),
    ("/", "a / b", &[Number, Number]),
    ("%", "a % b", &[Number, Number]),
    ("+", "a + b", &[Int, Int]),
    ("/", "a / b", &[Int, Int]),
    ("%", "a % b", &[Int, Int]),
    ("==", "[a == b, a != b]", &[Number, Number]),
    ("<", "[a < b, a <= b, a > b, a >= b]", &[Any, Any]),
    ("<", "[a < b, a <= b, a > b, a >= b]", &[Number, Number]),
    ("==", "[a == b, a != b]", &[Any, Any]),
    ("in", "[a in b, [a] == b]", &[Int, List]),
    (
        "set",
        "[{x | some x in a} & {x | some x in b}, {x | some x in a} | {x | some x in b}, {x | some x in a} - {x | some x in b}]",
        &[List, List],
    ),
    ("in", "a in b", &[Any, List]),
    ("in", "1 in a", &[Any]),
    ("every", "{1 | every x in a { x > 0 }}", &[Numbers]),
    ("set", "{x | some x in a}", &[Numbers]),
    ("key", "{x: 1 | some x in a}", &[Texts]),
    ("index", "a[b]", &[List, Int]),
    ("index", "a[b]", &[Object, Text]),
];

fn calls() -> Vec<Call> {
    let mut calls: Vec<Call> = PLAIN
        .iter()
        .map(|(builtin, arguments)| Call {
            builtin,
            expression: None,
            arguments: arguments.to_vec(),
        })
        .collect();
    calls.extend(WHOLE.iter().map(|(builtin, expression, arguments)| Call {
        builtin,
        expression: Some(expression),
        arguments: arguments.to_vec(),
    }));
    calls
}

impl Call {
    fn whole(&self) -> String {
        let names = ["a", "b", "c", "d"];
        let arguments = names[..self.arguments.len()].join(", ");
        let plain = || format!("{}({arguments})", self.builtin);
        self.expression.map_or_else(plain, str::to_owned)
    }

    /// With the arguments that are in them.
    fn inputs(&self, count: usize) -> Vec<(Input, Json)> {
        let mut source = Source::new(&format!(
            "{}{:?}{:?}",
            self.builtin, self.expression, self.arguments
        ));
        let whole = source.draw(&any_input());
        let odd = any_json();
        let one_in_ten = 0..10_u8;
        let strategies: Vec<_> = self.arguments.iter().map(|it| it.strategy()).collect();
        let mut made = Vec::with_capacity(count);
        for _ in 0..count {
            let mut body = serde_json::Map::new();
            for (name, strategy) in ["a", "b", "c", "d"].into_iter().zip(&strategies) {
                let value = if source.draw(&one_in_ten) == 0 {
                    source.draw(&odd)
                } else {
                    source.draw(strategy)
                };
                body.insert(name.to_owned(), value);
            }
            made.push((with_body(whole.clone(), body.clone().into()), body.into()));
        }
        made
    }
}

/// A policy whose reason is the value of an expression over `a`, `b`, `c` and `d`, as JSON.
pub(crate) fn policy_of(expression: &str) -> Policy {
    // Only what occurs: a name without a value would make the rule undefined.
    let names = ["a", "b", "c", "d"];
    let mut bound = String::new();
    for name in names.iter().filter(|name| occurs(name, expression)) {
        bound.push_str(&["\t", name, " := input.request.body.", name, "\n"].concat());
    }
    let module = format!(
        "package agentweave.authz\n\nallow := {{\"allow\": true, \"reason\": json.marshal(result)}} if {{\n\
         {bound}\tresult := {expression}\n}}\n"
    );
    Policy::new(expression, &module)
}

/// How often each is called.
const CALLS: usize = 60;

fn occurs(name: &str, expression: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || it == '_' || it == '%' || it == '.';
    expression.split(|it| !is_part(it)).any(|word| word == name)
}

/// O31.
#[tokio::test]
async fn every_builtin_answers_alike_or_as_documented() {
    let Some(bin) = opa_bin() else { return };
    let opa = Opa::start(&bin, false).await;
    let (mut faults, mut asked) = (Vec::new(), 0);
    for call in calls() {
        let policy = policy_of(&call.whole());
        let program = policy.embedded();
        opa.load(&policy).await;
        let (inputs, arguments): (Vec<_>, Vec<_>) = call.inputs(CALLS).into_iter().unzip();
        let theirs = opa.ask_all(&inputs).await;
        asked += inputs.len();
        for ((input, arguments), theirs) in inputs.iter().zip(arguments).zip(theirs) {
            let ours = embedded(&program, input);
            if same(&ours, &theirs) {
                continue;
            }
            let case = Case {
                builtin: call.builtin.to_owned(),
                arguments,
                ours,
                theirs,
            };
            if explained(&case).is_empty() {
                faults.push(format!("{}: {case:?}", policy.name));
            }
        }
    }
    eprintln!("{asked} calls of builtins");
    assert!(
        faults.is_empty(),
        "PARITY_SEED={}: {} faults:\n{}",
        seed(),
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn every_builtin_that_is_offered_is_asked() {
    let text = include_str!("../../src/policy/rego/builtins.rs");
    let (_, rest) = text.split_once("const ALLOWED: &[&str] = &[\n").unwrap();
    let (offered, _) = rest.split_once("\n];").unwrap();
    let offered: BTreeSet<_> = offered.split('"').skip(1).step_by(2).collect();
    let calls = calls();
    let asked: BTreeSet<_> = calls.iter().map(|call| call.builtin).collect();
    // `print` has no value, and `true` on both sides.
    let left: Vec<_> = offered
        .difference(&asked)
        .filter(|it| **it != "print")
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
