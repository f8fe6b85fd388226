//! Decides what the parameters of a query or a form are, where everybody agrees on it.
//!
//! `name=value` pairs between `&`, each decoded once: `+` is a space, `%XX` a byte, all of it UTF-8 (URL Standard,
//! "application/x-www-form-urlencoded parsing"). What services read in different ways is refused, not guessed at: a raw
//! `;`, which some take for `&`, a `%` without two digits, and bytes that are no text.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

/// Why a text has no parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParameterProblem {
    /// Some services take it for a separator.
    #[error("`;` separates parameters for some services and not for others: write %3B")]
    Semicolon,
    /// `%` without two hexadecimal digits.
    #[error("`%` without two hexadecimal digits in a parameter")]
    MalformedEscape,
    /// The bytes of a name or value are no text.
    #[error("a parameter is not UTF-8")]
    NotUtf8,
}

/// The parameters of `text` by name; repeated ones in order.
pub fn parameters(text: &[u8]) -> Result<BTreeMap<String, Vec<String>>, ParameterProblem> {
    let mut parameters = BTreeMap::<_, Vec<_>>::new();
    if text.contains(&b';') {
        return Err(ParameterProblem::Semicolon);
    }
    for pair in text.split(|byte| *byte == b'&') {
        if pair.is_empty() {
            continue;
        }
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = decoded(parts.next().unwrap_or_default())?;
        let value = decoded(parts.next().unwrap_or_default())?;
        parameters.entry(name).or_default().push(value);
    }
    Ok(parameters)
}

fn decoded(text: &[u8]) -> Result<String, ParameterProblem> {
    let mut escapes = text.split(|byte| *byte == b'%').skip(1);
    let is_escape = |rest: &[u8]| {
        let digits = rest.get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !escapes.all(is_escape) {
        return Err(ParameterProblem::MalformedEscape);
    }
    let spaced: Vec<_> = text
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    let decoded = percent_decode(&spaced).decode_utf8();
    Ok(decoded.or(Err(ParameterProblem::NotUtf8))?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Vec<String>)> {
        parameters(text.as_bytes()).unwrap().into_iter().collect()
    }

    fn pair(name: &str, values: &[&str]) -> (String, Vec<String>) {
        let values = values.iter().map(|value| (*value).to_owned());
        (name.to_owned(), values.collect())
    }

    #[test]
    fn parameters_are_decoded_once_and_keep_their_order() {
        assert_eq!(read(""), []);
        assert_eq!(read("&&"), []);
        assert_eq!(read("a"), [pair("a", &[""])]);
        assert_eq!(
            read("a=1&b=2&a=3"),
            [pair("a", &["1", "3"]), pair("b", &["2"])]
        );
        assert_eq!(read("a=b=c"), [pair("a", &["b=c"])]);
        assert_eq!(read("a+b=%2B+%26"), [pair("a b", &["+ &"])]);
        assert_eq!(read("a=%2541"), [pair("a", &["%41"])]);
        assert_eq!(read("%C3%A4=%E2%82%AC"), [pair("ä", &["€"])]);
        assert_eq!(read("a=%3B"), [pair("a", &[";"])]);
    }

    #[test]
    fn what_services_read_in_different_ways_is_refused() {
        for (text, problem) in [
            ("a=1;b=2", ParameterProblem::Semicolon),
            ("a=%", ParameterProblem::MalformedEscape),
            ("a=%4", ParameterProblem::MalformedEscape),
            ("a=%+1", ParameterProblem::MalformedEscape),
            ("%zz=1", ParameterProblem::MalformedEscape),
            ("a=%ff", ParameterProblem::NotUtf8),
            ("a=%c0%af", ParameterProblem::NotUtf8),
        ] {
            assert_eq!(parameters(text.as_bytes()), Err(problem), "{text}");
        }
    }
}
