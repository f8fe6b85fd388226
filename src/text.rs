//! Values that configuration writes as text: read by their own `FromStr`, refused in one sentence with every cause.

use std::borrow::Cow;
use std::error::Error;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// Reads a value from its text form. The body of a `Deserialize` impl.
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Error>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(|error| D::Error::custom(sentence(&error)))
}

/// An error and its causes, joined by colons: deserializers keep the message of an error, not its source.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}

/// `text` without what moves a terminal's cursor or turns text around: for what somebody else may have written. Line feeds
/// stay.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    let moves = |it: char| {
        let turns = matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        (it.is_control() && it != '\n') || turns
    };
    if !text.contains(moves) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for it in text.chars() {
        if moves(it) {
            plain.extend(it.escape_unicode());
        } else {
            plain.push(it);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_is_spelt_out_and_the_rest_stays() {
        assert_eq!(
            harmless("`ü` can't be \"read\"\nat all"),
            "`ü` can't be \"read\"\nat all"
        );
        let text = "a\u{1b}[2J\u{202e}b\u{9b}\r";
        assert_eq!(harmless(text), "a\\u{1b}[2J\\u{202e}b\\u{9b}\\u{d}");
    }
}
