//! Text from outside as a record keeps it: whole up to 2 KiB, beyond that cut, with the length and digest of the whole.
//!
//! What looks like a token is masked when it is written. Nothing else is decoded, trimmed or escaped here: one record stays one line because JSON escapes every control character
//! below U+0020. Readers must split at LF only: U+2028, U+0085 and other separators stay as they are (RFC 8785 forbids
//! escaping them), so whatever prints a record on a terminal should use an ASCII-only form (`jq -a`).

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::chain::Digest;

/// A text of a record, bounded when it is made. Free to make from a `String` or an `Arc<str>`.
///
/// A text of more than [`Text::MAX`] bytes becomes its beginning, cut at a character, followed by
/// `…[cut, N bytes, sha256 HEX]`. The result is always longer than [`Text::MAX`], so a text that merely ends like that
/// is told apart by its length.
#[derive(Clone)]
pub struct Text(Storage);

#[derive(Clone)]
enum Storage {
    Fixed(&'static str),
    Owned(String),
    Shared(Arc<str>),
}

// === impl Text ===

impl Text {
    /// Longest text that is kept whole, in bytes.
    pub const MAX: usize = 2048;

    /// A text of the program itself.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Storage::Fixed(text))
    }

    /// The text as it will be written.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Storage::Fixed(text) => text,
            Storage::Owned(text) => text,
            Storage::Shared(text) => text,
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        match bounded(&text) {
            Cow::Borrowed(_) => Self(Storage::Owned(text)),
            Cow::Owned(cut) => Self(Storage::Owned(cut)),
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Storage::Owned(bounded(text).into_owned()))
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        match bounded(&text) {
            Cow::Borrowed(_) => Self(Storage::Shared(text)),
            Cow::Owned(cut) => Self(Storage::Owned(cut)),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&masked(self.as_str()))
    }
}

/// A name as it is written: bounded, and without what looks like a token.
pub(super) fn shown(text: &str) -> Cow<'_, str> {
    match bounded(text) {
        Cow::Borrowed(text) => masked(text),
        Cow::Owned(cut) => Cow::Owned(masked(&cut).into_owned()),
    }
}

/// `text` without what looks like a token: one of [`TOKEN_STARTS`] with at least sixteen further characters of its
/// alphabet. The whole run becomes `[token]`.
fn masked(text: &str) -> Cow<'_, str> {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, start, run)) = next_start(rest) {
        let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let length = run.bytes().take_while(of_token).count();
        kept.push_str(before);
        if length >= SHORTEST_TOKEN {
            kept.push_str("[token]");
            rest = run.get(length..).unwrap_or_default();
        } else {
            kept.push_str(start);
            rest = run;
        }
    }
    if kept.is_empty() {
        return Cow::Borrowed(text);
    }
    kept.push_str(rest);
    Cow::Owned(kept)
}

/// What comes before the first thing in `text` that a token may begin with, that thing, and what follows it.
fn next_start(text: &str) -> Option<(&str, &'static str, &str)> {
    let starts = TOKEN_STARTS.iter();
    let found = starts.filter_map(|start| {
        let (before, run) = text.split_once(start)?;
        Some((before, *start, run))
    });
    found.min_by_key(|(before, ..)| before.len())
}

/// `{"` in base64url, as every JSON Web Token begins; and as the token of a person's session does.
const TOKEN_STARTS: [&str; 2] = ["eyJ", "ath_"];
const SHORTEST_TOKEN: usize = 16;

/// `text` itself, or its cut form if it is longer than [`Text::MAX`].
fn bounded(text: &str) -> Cow<'_, str> {
    if text.len() <= Text::MAX {
        return Cow::Borrowed(text);
    }
    let beginning = (0..=Text::MAX)
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or_default();
    let whole = Digest::of([text.as_bytes()]);
    Cow::Owned(format!(
        "{beginning}…[cut, {} bytes, sha256 {whole}]",
        text.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_of_either_kind_is_not_written() {
        let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";
        let session = format!("ath_{}", "Ab-_".repeat(10) + "xyz");
        for (text, written) in [
            (format!("a {session}, b"), "a [token], b"),
            (format!("/x/{jwt}/{session}/y"), "/x/[token]/[token]/y"),
            (format!("{session} {jwt}"), "[token] [token]"),
            ("bath_tub eyJ path_to".to_owned(), "bath_tub eyJ path_to"),
        ] {
            assert_eq!(shown(&text), written);
            let json = serde_json::to_string(&Text::from(text)).unwrap();
            assert_eq!(json, format!("\"{written}\""));
        }
    }

    #[test]
    fn a_text_of_two_kibibytes_is_kept_whole() {
        let text = "é".repeat(1024);
        assert_eq!(Text::from(text.as_str()).as_str(), text);
        assert_eq!(Text::from(text.clone()).as_str(), text);
        assert_eq!(Text::from(Arc::<str>::from(text.as_str())).as_str(), text);
    }

    #[test]
    fn a_longer_text_is_cut_at_a_character_and_names_length_and_digest_of_the_whole() {
        // A23. "é" has two bytes, so 2048 falls inside one.
        let text = format!("x{}", "é".repeat(500_000));
        let cut = Text::from(text.clone());
        let marker = "…[cut, 1000001 bytes, sha256 ";
        let (beginning, rest) = cut.as_str().split_once(marker).unwrap();
        assert_eq!(beginning.len(), 2047);
        assert!(text.starts_with(beginning));
        let digest = Digest::of([text.as_bytes()]);
        assert_eq!(rest, format!("{digest}]"));
        assert!(cut.as_str().len() > Text::MAX);
        assert_eq!(Text::from(text.as_str()), cut);
        assert_eq!(Text::from(Arc::<str>::from(text)), cut);
    }
}
