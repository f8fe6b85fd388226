//! Which built-in functions a policy may call, and what to say about the others.
//!
//! The engine's clock is read between calls, never inside one, so a single call can outrun the time limit. What is
//! allowed here therefore does work in proportion to its arguments (with several large arguments, to their product),
//! touches nothing outside the evaluation but the clock, and answers as OPA does but for what docs/policy.md lists: what
//! is undefined where OPA has a value or an error could make a `not` hold. The list is closed: a builtin that a later engine brings is
//! refused until somebody adds it here.

/// Builtins that policies may call. Sorted.
pub(super) const ALLOWED: &[&str] = &[
    "abs",
    "array.concat",
    "array.reverse",
    "array.slice",
    "base64.decode",
    "base64.encode",
    "base64.is_valid",
    "base64url.decode",
    "base64url.encode",
    "base64url.encode_no_pad",
    "ceil",
    "concat",
    "contains",
    "count",
    "endswith",
    "floor",
    "format_int",
    "glob.match",
    "graph.reachable",
    "hex.decode",
    "hex.encode",
    "indexof",
    "indexof_n",
    "intersection",
    "is_array",
    "is_boolean",
    "is_null",
    "is_number",
    "is_object",
    "is_set",
    "is_string",
    "json.is_valid",
    "json.marshal",
    "json.unmarshal",
    "lower",
    "max",
    "min",
    "net.cidr_contains",
    "net.cidr_is_valid",
    "object.filter",
    "object.get",
    "object.keys",
    "object.remove",
    "object.union",
    "object.union_n",
    "print",
    "regex.find_all_string_submatch_n",
    "regex.find_n",
    "regex.is_valid",
    "regex.match",
    "regex.split",
    "replace",
    "round",
    "semver.compare",
    "semver.is_valid",
    "sort",
    "split",
    "sprintf",
    "startswith",
    "strings.any_prefix_match",
    "strings.any_suffix_match",
    "strings.reverse",
    "substring",
    "sum",
    "time.clock",
    "time.date",
    "time.format",
    "time.now_ns",
    "time.parse_duration_ns",
    "time.parse_rfc3339_ns",
    "time.weekday",
    "to_number",
    "trace",
    "trim",
    "trim_left",
    "trim_prefix",
    "trim_right",
    "trim_space",
    "trim_suffix",
    "type_name",
    "union",
    "upper",
    "urlquery.decode_object",
    "urlquery.encode",
    "urlquery.encode_object",
    "walk",
];

/// Offered builtins whose answer depends on more than their arguments, so that no verdict reached with them is used again.
/// Whoever offers another builtin decides whether it belongs here.
const VOLATILE: &[&str] = &["time.now_ns"];

/// Builtins that the engine has and attache keeps from policies, each with the reason and what to do. Sorted.
pub(super) const EXCLUDED: &[(&str, &str)] = &[
    ("__builtin_sets.intersection", "write `a & b`"),
    ("__builtin_sets.union", "write `a | b`"),
    (
        "bits.and",
        "it is undefined, and not an error, for numbers beyond 64 bits; put the flags into a set",
    ),
    (
        "bits.lsh",
        "a small operand makes a number of any size; multiply, or look the value up in data",
    ),
    (
        "bits.negate",
        "it is undefined, and not an error, for numbers beyond 64 bits; put the flags into a set",
    ),
    (
        "bits.or",
        "it is undefined, and not an error, for numbers beyond 64 bits; put the flags into a set",
    ),
    (
        "bits.rsh",
        "it is undefined, and not an error, for numbers beyond 64 bits; put the flags into a set",
    ),
    (
        "bits.xor",
        "it is undefined, and not an error, for numbers beyond 64 bits; put the flags into a set",
    ),
    (
        "glob.quote_meta",
        "it leaves `?`, `[` and `{` as they are; compare such texts with `==` or `startswith`",
    ),
    (
        "graph.reachable_paths",
        "the number of paths grows exponentially; use `graph.reachable`",
    ),
    (
        "json.filter",
        "a long path makes a value nested deeper than the stack; use `object.filter` or `object.get`",
    ),
    (
        "json.marshal_with_options",
        "indentation multiplies the text; use `json.marshal`",
    ),
    (
        "json.remove",
        "a long path makes a value nested deeper than the stack; use `object.remove`",
    ),
    (
        "net.cidr_expand",
        "a short prefix makes millions of addresses; use `net.cidr_contains`",
    ),
    (
        "numbers.range",
        "two numbers make a list of any length; put the list into a data document, or compare with `<` and `>`",
    ),
    (
        "numbers.range_step",
        "two numbers make a list of any length; put the list into a data document",
    ),
    (
        "object.subset",
        "it fails on an empty list; write `every name, value in part { whole[name] == value }`",
    ),
    (
        "opa.runtime",
        "a decision must not depend on the process that makes it; put the value into a data document",
    ),
    (
        "product",
        "it grows with every element; multiply the members that matter",
    ),
    (
        "rand.intn",
        "the same question must get the same answer; derive the choice from `input`",
    ),
    (
        "regex.replace",
        "it is undefined, and not an error, for a pattern that is none; use `replace` or `regex.find_n`",
    ),
    (
        "regex.template_match",
        "it fails on values shorter than the template; use `regex.match`",
    ),
    (
        "strings.count",
        "it fails on an empty search text; use `count(indexof_n(text, search))`",
    ),
    (
        "strings.replace_n",
        "it replaces again in what it has replaced; use `replace`",
    ),
    (
        "time.add_date",
        "it counts days of other months than OPA does; add nanoseconds",
    ),
    (
        "time.diff",
        "it counts in other time zones than OPA does; subtract nanoseconds",
    ),
    (
        "time.parse_ns",
        "it takes texts that go on after the layout; use `time.parse_rfc3339_ns`",
    ),
    (
        "units.parse",
        "an exponent makes a number of any size; put plain numbers into data",
    ),
    (
        "units.parse_bytes",
        "an exponent makes a number of any size; put plain numbers into data",
    ),
    (
        "urlquery.decode",
        "it loses `&`; use `urlquery.decode_object`",
    ),
    (
        "uuid.parse",
        "it reads other versions and times than OPA does; use `regex.match`",
    ),
    (
        "uuid.rfc4122",
        "the same question must get the same answer; use an identifier from `input`",
    ),
];

/// What to do about builtins of OPA that the embedded engine lacks, by the beginning of their name.
const MISSING: &[(&str, &str)] = &[
    (
        "io.jwt.",
        "attache verifies tokens and passes what they say as `input`; to verify others in policy use engine opa",
    ),
    (
        "http.send",
        "a decision makes no network calls; bring the answer as a data document, or use engine opa",
    ),
    (
        "crypto.",
        "attache verifies certificates and tokens before policy is asked; for more use engine opa",
    ),
    (
        "net.",
        "`net.cidr_contains` answers for one network and one address; for more use engine opa",
    ),
    ("rego.", "use engine opa"),
    (
        "yaml.",
        "pass JSON and `json.unmarshal` it, or use engine opa",
    ),
    (
        "json.",
        "use `object.union` and `object.remove`, or engine opa",
    ),
    ("re_match", "the name is now `regex.match`"),
    ("regex.", "use `regex.match`, or engine opa"),
    ("glob.", "use `glob.match`, or engine opa"),
    ("graphql.", "use engine opa"),
    ("providers.", "use engine opa"),
    ("strings.", "use `sprintf` or `concat`, or engine opa"),
    ("object.", "use engine opa"),
    ("array.", "use engine opa"),
    ("numbers.", "use engine opa"),
    ("semver.", "use `semver.compare`, or engine opa"),
    ("time.", "use engine opa"),
    ("units.", "put plain numbers into data, or use engine opa"),
    ("uuid.", "use engine opa"),
    ("rand.", "use engine opa"),
    ("opa.", "use engine opa"),
    ("set_diff", "write `a - b`"),
    ("cast_", "use `is_…` and `to_number`"),
    ("any", "write `some x in xs; x`"),
    ("all", "write `every x in xs { x }`"),
];

/// Whether policies may call `name`.
pub(super) fn is_allowed(name: &str) -> bool {
    ALLOWED.binary_search(&name).is_ok()
}

/// Whether the builtin `name` may answer the same call differently at another time.
pub(super) fn is_volatile(name: &str) -> bool {
    VOLATILE.contains(&name)
}

/// How many arguments the builtin `name` takes; `print`, which the engine handles by name, any number.
pub(super) fn arity(name: &str) -> usize {
    regorus::unstable::BUILTINS
        .get(name)
        .map_or(usize::MAX, |(_, arity)| usize::from(*arity))
}

/// What to tell the author of a policy that calls `name`, which is neither allowed nor a function of the policy.
pub(super) fn advice(name: &str) -> String {
    if let Some((_, reason)) = EXCLUDED.iter().find(|(excluded, _)| *excluded == name) {
        return format!("`{name}` is not offered to policies: {reason}");
    }
    let known = MISSING.iter().find(|(beginning, _)| {
        if beginning.ends_with(['.', '_']) {
            name.starts_with(beginning)
        } else {
            name == *beginning
        }
    });
    match known {
        Some((_, instead)) => format!("the embedded engine has no `{name}`: {instead}"),
        None => format!("`{name}` is neither a function of this policy nor a builtin"),
    }
}

/// Why the format of a `sprintf` is refused; `None` where it is fine.
///
/// Ten characters of format can ask for gigabytes of padding, so formats are literals and widths are short. Of verbs and
/// flags, the engine writes only these as OPA does; it leaves others out without a word.
pub(super) fn format_fault(format: &str) -> Option<&'static str> {
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '%' {
            continue;
        }
        let mut width = 0_usize;
        while let Some(digit) = rest.next_if(|next| next.is_numeric()) {
            if !digit.is_ascii_digit() {
                return Some("the width in a `sprintf` format must be written in ASCII digits");
            }
            width += 1;
        }
        if width > MAX_WIDTH_CHARACTERS {
            return Some("a width in a `sprintf` format has at most three characters");
        }
        match (rest.next(), width) {
            (Some('d'), _) | (Some('s' | 'v' | '%'), 0) => {}
            _ => {
                return Some(
                    "a `sprintf` format has only `%s`, `%v`, `%d`, `%%`, and a width only for `%d`: write numbers and \
                     other values with `%v`",
                );
            }
        }
    }
    None
}

/// Whether `name` is a builtin of which an argument is read when the policy is loaded.
pub(super) fn reads_a_literal(name: &str) -> bool {
    [SPRINTF, GLOB].contains(&name)
}

/// Whether the engine stops at `delimiter` as OPA does, where it is the only one: it never stops at `:`, and makes of others
/// what breaks sets, alternatives and `**`.
pub(super) fn is_delimiter(delimiter: &str) -> bool {
    [".", "/"].contains(&delimiter)
}

pub(super) const SPRINTF: &str = "sprintf";
pub(super) const GLOB: &str = "glob.match";
const MAX_WIDTH_CHARACTERS: usize = 3;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regorus::unstable::BUILTINS;

    use super::*;

    /// An update of the engine that brings a builtin fails here until somebody decided about it.
    #[test]
    fn every_builtin_of_the_engine_is_either_allowed_or_excluded() {
        let mut decided: BTreeSet<&str> = ALLOWED.iter().copied().collect();
        // Not a table entry of the engine: handled by name, and gathered by us.
        decided.remove("print");
        decided.extend(EXCLUDED.iter().map(|(name, _)| *name));
        let engine: BTreeSet<&str> = BUILTINS.keys().copied().collect();
        assert_eq!(decided, engine);
    }

    #[test]
    fn the_lists_are_sorted_and_disjoint() {
        assert!(ALLOWED.is_sorted());
        assert!(EXCLUDED.is_sorted());
        assert!(EXCLUDED.iter().all(|(name, _)| !is_allowed(name)));
    }

    #[test]
    fn what_is_volatile_is_offered() {
        assert!(VOLATILE.iter().all(|name| is_allowed(name)));
        assert!(is_volatile("time.now_ns") && !is_volatile("time.clock"));
    }

    #[test]
    fn advice_names_the_builtin_and_what_to_do() {
        for (name, expected) in [
            ("numbers.range", "not offered to policies"),
            ("io.jwt.decode_verify", "attache verifies tokens"),
            ("http.send", "no network calls"),
            ("net.cidr_intersects", "has no `net.cidr_intersects`"),
            ("crypto.sha256", "use engine opa"),
            ("rego.metadata.rule", "use engine opa"),
            ("re_match", "`regex.match`"),
            (
                "anything",
                "neither a function of this policy nor a builtin",
            ),
        ] {
            let advice = advice(name);
            assert!(advice.contains(expected), "{advice}");
            assert!(advice.contains(name), "{advice}");
        }
    }

    #[test]
    fn a_format_can_not_ask_for_more_than_a_short_width() {
        for fine in ["", "100%%", "%s by %d", "%%9999d", "%5d", "%05d", "%v"] {
            assert_eq!(format_fault(fine), None, "{fine}");
        }
        for refused in ["%4000000000d", "%.9999f", "%٣d", "%%%9999d"] {
            assert!(format_fault(refused).is_some(), "{refused}");
        }
    }

    #[test]
    fn a_format_has_only_the_verbs_that_are_written_as_opa_writes_them() {
        for refused in [
            "100%", "%f", "%.2f", "%e", "%g", "%q", "%t", "%x", "%o", "%c", "%T", "%+d", "%-5s",
            "%5s", "%5v", "%[1]d", "% d", "%5%",
        ] {
            assert!(format_fault(refused).is_some(), "{refused}");
        }
    }
}
