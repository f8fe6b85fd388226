//! What only one kind of event has to say: a few named facts, bounded together.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::text::Text;

/// A few more facts by name, at most 4 KiB of them as JSON.
///
/// What does not fit is left out, and `details_cut: true` says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Details {
    facts: BTreeMap<&'static str, Detail>,
    bytes: usize,
}

/// One fact of [`Details`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Detail {
    /// A text.
    Text(Text),
    /// A count; beyond 2^53 - 1 it is written as that, the largest integer of RFC 8785.
    Number(#[serde(serialize_with = "exact")] u64),
    /// Yes or no.
    Flag(bool),
    /// A list of texts.
    List(Vec<Text>),
}

// === impl Details ===

impl Details {
    /// Most bytes of facts, as JSON.
    pub const MAX: usize = 4096;

    /// Adds a fact, replacing one of the same name. `name` is a `snake_case` word of ASCII.
    #[must_use]
    pub fn with(mut self, name: &'static str, fact: impl Into<Detail>) -> Self {
        let fact = fact.into();
        let size = size(name, &fact);
        let replaced = self
            .facts
            .get(name)
            .map_or(0, |replaced| self::size(name, replaced));
        let bytes = self.bytes.saturating_sub(replaced).saturating_add(size);
        if bytes > Self::MAX {
            self.facts.insert(CUT, Detail::Flag(true));
            return self;
        }
        self.facts.insert(name, fact);
        self.bytes = bytes;
        self
    }

    /// The facts by name, in order.
    pub(super) fn facts(&self) -> impl Iterator<Item = (&'static str, &Detail)> {
        self.facts.iter().map(|(name, fact)| (*name, fact))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }
}

// === impl Detail ===

impl From<Text> for Detail {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Detail {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Vec<Text>> for Detail {
    fn from(list: Vec<Text>) -> Self {
        Self::List(list)
    }
}

/// Bytes of one member with its quotes, colon and comma.
fn size(name: &str, fact: &Detail) -> usize {
    // Serialising these types can't fail; if it did, the fact would not fit.
    let value = serde_json::to_vec(fact).map_or(Details::MAX, |json| json.len());
    name.len() + value + 4
}

/// RFC 8785 writes numbers as IEEE doubles, which hold integers exactly up to 2^53 - 1.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) fn exact<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64((*number).min(MAX_EXACT))
}

pub(super) const MAX_EXACT: u64 = (1 << 53) - 1;
const CUT: &str = "details_cut";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::redaction::{DetailsOf, Redaction};

    fn written(details: &Details) -> serde_json::Value {
        serde_json::to_value(DetailsOf(details, &Redaction::default())).unwrap()
    }

    #[test]
    fn details_hold_at_most_four_kibibytes() {
        let full = (0..3).fold(Details::default(), |details, index| {
            details.with(["a", "b", "c"][index], "x".repeat(1900))
        });
        let json = written(&full);
        assert_eq!(json.as_object().unwrap().len(), 3);
        assert_eq!(json["details_cut"], true);
        assert!(json.get("c").is_none());
    }

    #[test]
    fn replacing_a_detail_frees_its_room() {
        let details = (0..10).fold(Details::default(), |details, _| {
            details.with("a", "x".repeat(2000))
        });
        assert_eq!(written(&details).as_object().unwrap().len(), 1);
    }

    #[test]
    fn escapes_count_as_written() {
        // One control character is six bytes of JSON.
        let details = Details::default().with("a", "\u{1}".repeat(1000));
        assert_eq!(written(&details).to_string(), r#"{"details_cut":true}"#);
    }
}
