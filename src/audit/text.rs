//! Text from outside as a record keeps it: whole up to 2 KiB, beyond that cut, with the length and digest of the whole.
//!
//! Nothing is decoded, trimmed or escaped here: one record stays one line because JSON escapes every control character
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
        serializer.serialize_str(self.as_str())
    }
}

/// `text` itself, or its cut form if it is longer than [`Text::MAX`].
pub(super) fn bounded(text: &str) -> Cow<'_, str> {
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
