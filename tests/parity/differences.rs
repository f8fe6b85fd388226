//! Where the engines differ: the rows of docs/policy.md, and which disagreements each of them explains.
//!
//! A row names its builtins and tells by arguments and answers what it is about; what is not about it stays a fault.

use serde_json::Value as Json;

use crate::builtins::policy_of;
use crate::inputs::{Source, any_input};
use crate::judges::{Opa, Said, embedded, opa_bin};

/// One expression, its arguments, and what came of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) builtin: String,
    /// By name.
    pub(crate) arguments: Json,
    pub(crate) ours: Said,
    pub(crate) theirs: Said,
}

/// One way in which the engines differ, by the words of docs/policy.md.
struct Row {
    title: &'static str,
    builtins: &'static [&'static str],
    when: fn(&Case) -> bool,
}

const ROWS: &[Row] = &[
    Row {
        title: "a value of a type that the builtin does not take",
        builtins: &[
            "base64.is_valid",
            "intersection",
            "json.is_valid",
            "net.cidr_is_valid",
            "semver.is_valid",
            "union",
        ],
        when: |case| case.only_we_fail(),
    },
    Row {
        title: "the elements of what has none",
        builtins: &[
            "concat",
            "count",
            "is_set",
            "json.marshal",
            "key",
            "max",
            "set",
            "sort",
            "sprintf",
            "sum",
        ],
        when: |case| {
            case.only_we_fail() && case.any_argument(|it| !it.is_array() && !it.is_object())
        },
    },
    Row {
        title: "`not` of what can't be computed",
        builtins: &["[1"],
        when: |case| case.both_know() && case.any_argument(|it| it == &serde_json::json!({})),
    },
    Row {
        title: "objects as patterns",
        builtins: &["[1"],
        when: |case| {
            case.both_know()
                && case.any_argument(|it| it.as_object().is_some_and(|it| it.len() > 1))
        },
    },
    Row {
        title: "numbers as keys of `data`",
        builtins: &["[1"],
        when: |case| case.both_know() && case.any_argument(Json::is_number),
    },
    Row {
        title: "numbers that need more than 53 bits",
        builtins: ARITHMETIC,
        when: |case| case.both_know() && case.any_number(|it| it.abs() >= 2_f64.powi(53)),
    },
    Row {
        title: "results beyond the largest float",
        builtins: ARITHMETIC,
        when: |case| case.only_we_fail() && case.any_number(|it| it.abs() >= 1e9),
    },
    Row {
        title: "products of the smallest numbers",
        builtins: &["*", "/"],
        when: |case| case.any_number(|it| it.abs() < 1e-300),
    },
    Row {
        title: "rest of a number beyond 64 bits",
        builtins: &["%"],
        when: |case| case.only_we_fail() && case.any_number(|it| it.abs() >= 2_f64.powi(63)),
    },
    Row {
        title: "rounding between -1 and 0",
        builtins: &["ceil", "floor"],
        when: |case| case.both_know() && case.any_number(|it| -1.0 < it && it < 0.0),
    },
    Row {
        title: "digits of a number with a fraction",
        builtins: &["format_int"],
        when: |case| case.both_know() && case.any_number(|it| it.fract() != 0.0),
    },
    Row {
        title: "counting characters beyond U+FFFF",
        builtins: &["count"],
        when: |case| {
            case.both_know()
                && case
                    .argument("a")
                    .to_string()
                    .chars()
                    .any(|it| it > '\u{ffff}')
        },
    },
    Row {
        title: "offsets that are no whole number of 64 bits",
        builtins: &["substring"],
        when: |case| {
            case.only_they_fail()
                && case.any_number(|it| it.fract() != 0.0 || it.abs() >= 2_f64.powi(63))
        },
    },
    Row {
        title: "JSON text: keys that are no texts",
        builtins: &["key", "{x: 1"],
        when: |case| case.both_know() && case.arguments.to_string().contains(['[', '{', '.']),
    },
    Row {
        title: "JSON text: numbers",
        builtins: &["json.marshal"],
        when: Case::same_document,
    },
    Row {
        title: "JSON text: escapes",
        builtins: &["json.marshal"],
        when: |case| {
            case.same_document()
                && case
                    .arguments
                    .to_string()
                    .contains(['<', '>', '&', '\u{2028}', '\u{2029}'])
        },
    },
    Row {
        title: "Base64 with a line end, or with spare bits",
        builtins: &["base64.decode", "base64.is_valid", "base64url.decode"],
        when: |case| case.only_we_fail() || case.ours.value() == Some(false.into()),
    },
    Row {
        title: "decoded bytes that are not UTF-8",
        builtins: &["base64.decode", "base64url.decode", "hex.decode"],
        when: |case| {
            case.both_know()
                && case
                    .ours
                    .value()
                    .is_some_and(|it| it.to_string().contains('\u{fffd}'))
        },
    },
    Row {
        title: "search for the empty text",
        builtins: &["indexof", "indexof_n"],
        when: |case| case.only_they_fail() && case.argument("b") == "",
    },
    Row {
        title: "replacement of the empty text",
        builtins: &["replace"],
        when: |case| {
            case.both_know()
                && case.argument("b") == ""
                && !case.argument("a").to_string().is_ascii()
        },
    },
    Row {
        title: "single characters beyond ASCII",
        builtins: &["glob.match"],
        when: |case| case.both_know() && !case.argument("b").to_string().is_ascii(),
    },
    Row {
        title: "sets with `^`, and sets at a delimiter",
        builtins: &["glob.match"],
        when: |case| case.both_know() && case.argument("a").to_string().contains('['),
    },
    Row {
        title: "half a surrogate pair",
        builtins: &["json.is_valid", "json.unmarshal"],
        when: |case| case.argument("a").to_string().contains("ud800"),
    },
    Row {
        title: "letters that change their number with case",
        builtins: &["lower", "upper"],
        when: |case| case.both_know() && !case.argument("a").to_string().is_ascii(),
    },
    Row {
        title: "IPv4 addresses written as IPv6",
        builtins: &["net.cidr_contains"],
        when: |case| case.arguments.to_string().contains("::ffff:"),
    },
    Row {
        title: "addresses with leading zeros",
        builtins: &["net.cidr_contains"],
        when: |case| {
            case.only_they_fail()
                && case.any_argument(|it| it.as_str().is_some_and(|it| it.starts_with('0')))
        },
    },
    Row {
        title: "patterns that only OPA reads",
        builtins: REGEX,
        when: |case| case.only_we_fail() || case.validity() == (Some(false), Some(true)),
    },
    Row {
        title: "patterns that only attache reads",
        builtins: REGEX,
        when: |case| case.only_they_fail() || case.validity() == (Some(true), Some(false)),
    },
    Row {
        title: "character classes",
        builtins: REGEX,
        when: |case| {
            case.both_know()
                && case.arguments.to_string().contains('\\')
                && !case.arguments.to_string().is_ascii()
        },
    },
    Row {
        title: "intersections of character classes",
        builtins: REGEX,
        when: |case| case.both_know() && case.arguments.to_string().contains("&&"),
    },
    Row {
        title: "splitting where nothing stands",
        builtins: &["regex.split"],
        when: |case| case.both_know() && case.ours.pieces() == case.theirs.pieces(),
    },
    Row {
        title: "versions that begin with `v`",
        builtins: &["semver.compare", "semver.is_valid"],
        when: |case| case.any_argument(|it| it.as_str().is_some_and(|it| it.starts_with('v'))),
    },
    Row {
        title: "time zones in the far past and future",
        builtins: &["time.clock", "time.date", "time.format", "time.weekday"],
        when: |case| case.both_know() && case.any_number(|it| it.abs() > 2e18),
    },
    Row {
        title: "digits of a second",
        builtins: &["time.format"],
        when: |case| case.both_know() && case.any_number(|it| it % 1e9 != 0.0),
    },
    Row {
        title: "names of time zones",
        builtins: &["time.format"],
        when: |case| {
            case.both_know()
                && ["MST", "RFC1123"]
                    .iter()
                    .any(|it| case.arguments.to_string().contains(it))
        },
    },
    Row {
        title: "an empty layout",
        builtins: &["time.format"],
        when: |case| case.both_know() && case.ours.value() == Some("".into()),
    },
    Row {
        title: "days in a duration",
        builtins: &["time.parse_duration_ns"],
        when: |case| {
            case.only_we_fail()
                && case
                    .argument("a")
                    .as_str()
                    .is_some_and(|it| it.ends_with('d'))
        },
    },
    Row {
        title: "loosely written times",
        builtins: &["time.parse_rfc3339_ns"],
        when: Case::only_they_fail,
    },
    Row {
        title: "times that only OPA reads",
        builtins: &["time.parse_rfc3339_ns"],
        when: Case::only_we_fail,
    },
    Row {
        title: "numbers between spaces",
        builtins: &["to_number"],
        when: |case| {
            case.only_they_fail()
                && case
                    .argument("a")
                    .as_str()
                    .is_some_and(|it| it.trim() != it)
        },
    },
    Row {
        title: "the value of `trace`",
        builtins: &["trace"],
        when: |case| case.theirs.value() == Some(true.into()),
    },
    Row {
        title: "malformed queries",
        builtins: &["urlquery.decode_object"],
        when: Case::only_they_fail,
    },
    Row {
        title: "`*` and `~` in queries",
        builtins: &["urlquery.encode", "urlquery.encode_object"],
        when: |case| case.both_know() && case.arguments.to_string().contains(['*', '~']),
    },
    Row {
        title: "`%d` of a negative number",
        builtins: &["sprintf"],
        when: |case| case.both_know() && case.any_number(f64::is_sign_negative),
    },
    Row {
        title: "`%d` of what is no whole number",
        builtins: &["sprintf"],
        when: |case| {
            case.any_number(|it| it.fract() != 0.0 || it.abs() >= 1e15)
                || case.any_argument(|it| !it.is_number())
        },
    },
    Row {
        title: "missing and spare arguments of `sprintf`",
        builtins: &["sprintf"],
        when: |case| case.only_we_fail() && case.argument("a").is_array(),
    },
    Row {
        title: "`%v` of sets, lists and fractions",
        builtins: &["sprintf"],
        when: |case| case.both_know() && case.any_argument(|it| !it.is_string()),
    },
];

const ARITHMETIC: &[&str] = &[
    "%",
    "*",
    "+",
    "-",
    "/",
    "ceil",
    "floor",
    "format_int",
    "round",
    "sum",
    "abs",
    "max",
    "min",
    "to_number",
];
const REGEX: &[&str] = &[
    "regex.find_all_string_submatch_n",
    "regex.find_n",
    "regex.is_valid",
    "regex.match",
    "regex.split",
];

/// The rows that explain a disagreement. None explains what is undefined here alone: a `not` of it would hold.
pub(crate) fn explained(case: &Case) -> Vec<&'static str> {
    if case.ours == Said::Undefined {
        return Vec::new();
    }
    let rows = ROWS
        .iter()
        .filter(|row| row.builtins.contains(&case.builtin.as_str()) && (row.when)(case));
    rows.map(|row| row.title).collect()
}

impl Case {
    fn argument(&self, name: &str) -> &Json {
        &self.arguments[name]
    }

    fn any_argument(&self, test: impl Fn(&Json) -> bool) -> bool {
        self.arguments.as_object().unwrap().values().any(test)
    }

    /// Whether a number, at any depth or in a text, passes.
    fn any_number(&self, test: impl Fn(f64) -> bool + Copy) -> bool {
        fn passes(value: &Json, test: impl Fn(f64) -> bool + Copy) -> bool {
            match value {
                Json::Number(number) => test(number.as_f64().unwrap()),
                Json::String(word) => word.parse().is_ok_and(test),
                Json::Array(items) => items.iter().any(|it| passes(it, test)),
                Json::Object(members) => members.values().any(|it| passes(it, test)),
                _ => false,
            }
        }
        passes(&self.arguments, test)
    }

    /// The request is denied here.
    fn only_we_fail(&self) -> bool {
        self.ours == Said::Failed && self.theirs != Said::Failed
    }

    /// The request is denied there.
    fn only_they_fail(&self) -> bool {
        self.theirs == Said::Failed && self.ours != Said::Failed
    }

    fn both_know(&self) -> bool {
        [&self.ours, &self.theirs]
            .iter()
            .all(|said| matches!(said, Said::Decided { .. }))
    }

    /// What a builtin says that tells whether something is valid.
    fn validity(&self) -> (Option<bool>, Option<bool>) {
        let word = |said: &Said| said.value().and_then(|it| it.as_bool());
        (word(&self.ours), word(&self.theirs))
    }

    /// Both wrote the same document, in other texts.
    fn same_document(&self) -> bool {
        let document = |said: &Said| -> Option<Json> {
            let value = said.value()?;
            value
                .as_str()
                .map_or(Some(value.clone()), |it| serde_json::from_str(it).ok())
        };
        match (document(&self.ours), document(&self.theirs)) {
            (Some(ours), Some(theirs)) => equal(&ours, &theirs),
            _ => false,
        }
    }
}

impl Said {
    /// The value whose JSON is the reason.
    pub(crate) fn value(&self) -> Option<Json> {
        match self {
            Self::Decided {
                reason: Some(text), ..
            } => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

impl Said {
    /// As docs/policy.md writes it.
    fn told(&self) -> String {
        match self {
            Self::Decided { reason, .. } => reason.clone().unwrap_or_default(),
            Self::Undefined => "undefined".to_owned(),
            Self::Failed => "error".to_owned(),
            Self::Misshapen => "misshapen".to_owned(),
        }
    }

    /// The texts of a list that are not empty.
    fn pieces(&self) -> Vec<Json> {
        let list = self
            .value()
            .and_then(|it| it.as_array().cloned())
            .unwrap_or_default();
        list.into_iter().filter(|it| it != "").collect()
    }
}

/// Whether two answers hold the same value, whatever their JSON looks like.
pub(crate) fn same(ours: &Said, theirs: &Said) -> bool {
    match (ours.value(), theirs.value()) {
        (Some(ours), Some(theirs)) => equal(&ours, &theirs),
        _ => ours == theirs,
    }
}

/// Numbers are equal to 14 digits: that more differ is a row of its own.
fn equal(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(ours), Json::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| equal(a, b))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .all(|(name, a)| theirs.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => ours == theirs,
    }
}

/// docs/policy.md shows every row by an expression, and both engines answer what it says.
#[tokio::test]
async fn every_difference_is_documented_and_shown() {
    let text = include_str!("../../docs/policy.md");
    let (_, rest) = text
        .split_once(
            "\n| difference | expression | arguments | here | OPA |\n|---|---|---|---|---|\n",
        )
        .unwrap();
    let (table, _) = rest.split_once("\n\n").unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut documented: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let mut known: Vec<&str> = ROWS.iter().map(|row| row.title).collect();
    documented.sort_unstable();
    known.sort_unstable();
    assert_eq!(documented, known);

    let Some(bin) = opa_bin() else { return };
    let opa = Opa::start(&bin, false).await;
    let mut faults = Vec::new();
    for row in &rows {
        let [title, expression, arguments, here, there] = row[..] else {
            panic!("{row:?}");
        };
        let expression = code(expression).replace("\\|", "|");
        let expression = expression.as_str();
        let arguments: Vec<Json> = serde_json::from_str(code(arguments)).unwrap();
        let body: Json = ["a", "b", "c"]
            .into_iter()
            .map(str::to_owned)
            .zip(arguments)
            .collect::<serde_json::Map<_, _>>()
            .into();
        let mut input = Source::new(title).draw(&any_input());
        input.request.body = Some(body.clone());
        let mut policy = policy_of(expression);
        policy.data = serde_json::json!({"known": {"1": true}});
        opa.load(&policy).await;
        let case = Case {
            builtin: builtin_of(expression).to_owned(),
            arguments: body,
            ours: embedded(&policy.embedded(), &input),
            theirs: opa.ask(&input).await,
        };
        let told = (case.ours.told(), case.theirs.told());
        if told != (code(here).to_owned(), code(there).to_owned()) {
            faults.push(format!("{title}: `{}` | `{}`", told.0, told.1));
        }
        if !explained(&case).contains(&title) {
            faults.push(format!("{title} is not about its own example: {case:?}"));
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// The name of what an expression is about, as the table of rows has it.
fn builtin_of(expression: &str) -> &str {
    let operator = expression.split_whitespace().nth(1).unwrap_or_default();
    match operator {
        "+" | "-" | "*" | "/" | "%" => operator,
        _ => expression.split(['(', '|']).next().unwrap().trim(),
    }
}
