//! Arguments of builtins that are read when a policy is loaded, since the engine reads some of them otherwise than OPA.
//!
//! A format of `sprintf` and the delimiters of `glob.match` must be written out. Patterns may be computed; where one is
//! written out, what only one of the two engines takes as meant is refused.

use regorus::unstable::{Expr, Ref};

use super::{builtins, reference};

/// What is wrong with the arguments of a call of the builtin `name`.
pub(super) fn fault(name: &str, params: &[Ref<Expr>]) -> Option<&'static str> {
    let first = params.first();
    match name {
        builtins::SPRINTF => format_fault(first),
        builtins::GLOB => delimiters_fault(params.get(1)).or_else(|| {
            let pattern = reference::literal(first?)?;
            has_inverted_set(pattern).then_some(INVERTED_SET)
        }),
        _ if name.starts_with("regex.") => pattern_fault(reference::literal(first?)?),
        _ => None,
    }
}

fn format_fault(format: Option<&Ref<Expr>>) -> Option<&'static str> {
    match format.and_then(|format| reference::literal(format)) {
        Some(format) => builtins::format_fault(format),
        None => Some(LITERAL_FORMAT),
    }
}

fn delimiters_fault(delimiters: Option<&Ref<Expr>>) -> Option<&'static str> {
    let fine = match delimiters.map(AsRef::as_ref) {
        Some(Expr::Null { .. }) => true,
        Some(Expr::Array { items, .. }) => match items.as_slice() {
            [] => true,
            [item] => reference::literal(item).is_some_and(builtins::is_delimiter),
            _ => false,
        },
        _ => false,
    };
    (!fine).then_some(LITERAL_DELIMITERS)
}

fn has_inverted_set(glob: &str) -> bool {
    let mut rest = glob.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => {
                rest.next();
            }
            '[' if rest.peek() == Some(&'^') => return true,
            _ => {}
        }
    }
    false
}

/// Why a regular expression is refused: it holds a class that is Unicode's here and ASCII's on OPA, reckons with sets
/// inside a set, or takes spaces and comments for layout.
fn pattern_fault(pattern: &str) -> Option<&'static str> {
    let mut rest = pattern.chars().peekable();
    let mut in_set = false;
    while let Some(character) = rest.next() {
        match (character, rest.peek()) {
            ('\\', escaped) => {
                if escaped.is_some_and(|escaped| "dDwWsSbB".contains(*escaped)) {
                    return Some(UNICODE_CLASS);
                }
                rest.next();
            }
            ('[', Some(':')) if in_set => {
                // A class such as `[:alpha:]`: its bracket does not end the set.
                rest.by_ref().find(|it| *it == ']')?;
            }
            ('[', _) if in_set => return Some(SET_IN_SET),
            ('[', _) => {
                in_set = true;
                rest.next_if_eq(&'^');
                rest.next_if_eq(&']');
            }
            (']', _) => in_set = false,
            ('&' | '-' | '~', Some(next)) if in_set && *next == character => {
                return Some(SET_IN_SET);
            }
            ('(', Some('?')) if !in_set => {
                // Until the flags end: `(?P<x>…)` is a name.
                let flags = rest.clone().skip(1);
                let mut flags = flags.take_while(|it| it.is_ascii_alphabetic() || *it == '-');
                if flags.any(|it| it == 'x') {
                    return Some(LAYOUT);
                }
            }
            _ => {}
        }
    }
    None
}

const LITERAL_DELIMITERS: &str = "the delimiters of `glob.match` must be written out, as `null`, `[\".\"]` or `[\"/\"]`: the \
     embedded engine reads others otherwise than OPA";
const LITERAL_FORMAT: &str = "the format of `sprintf` must be a literal text: a width in it can ask for any amount of \
     memory";
const INVERTED_SET: &str = "`[^` in a pattern of `glob.match` inverts the set here and not on OPA: write the characters that \
     may stand there, as `[a-z]`";
const UNICODE_CLASS: &str = "`\\d`, `\\w`, `\\s` and `\\b` in a pattern are Unicode's here and ASCII's on OPA: write the \
     characters out, as `[0-9]`, `[0-9A-Za-z_]` or `[\\t\\n\\f\\r ]`";
const SET_IN_SET: &str = "a set inside a set of a pattern, `&&`, `--` and `~~` are reckoned with here and characters on OPA: \
     write the characters out, as `[a-z]`, with `\\` before `[`, `&`, `-` and `~` that stand for themselves";
const LAYOUT: &str =
    "the flag `x` of a pattern is unknown to OPA: write the pattern without spaces and comments";
