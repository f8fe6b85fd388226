//! The ways in which the engines differ, by the words of docs/policy.md. A row names its builtins and tells by arguments
//! and answers what it is about; what is not about it stays a fault.

use serde_json::Value as Json;

use crate::differences::Case;

/// One way in which the engines differ, by the words of docs/policy.md.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) builtins: &'static [&'static str],
    pub(crate) when: fn(&Case) -> bool,
}

pub(crate) const ROWS: &[Row] = &[
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
