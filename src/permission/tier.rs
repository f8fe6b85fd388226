//! Tiers: how freely an operation may be done by automation.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::text;

/// FREE < SUPERVISED < FORBIDDEN < absent. Combining always takes the maximum; nothing lowers a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Runs by itself.
    Free,
    /// Runs after a human said yes to this very operation.
    Supervised,
    /// Never runs by automation, whatever is approved.
    Forbidden,
    /// Not permitted at all. Never written, only computed.
    Absent,
}

/// A word that is not a tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a tier: write free, supervised or forbidden", .0.escape_debug())]
pub struct TierError(String);

impl Tier {
    /// The canonical word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Supervised => "supervised",
            Self::Forbidden => "forbidden",
            Self::Absent => "absent",
        }
    }
}

impl FromStr for Tier {
    type Err = TierError;

    /// Reads a written tier; `direct`, `gateway` and `exclude` are accepted spellings. `absent` can't be written.
    fn from_str(text: &str) -> Result<Self, TierError> {
        match text {
            "free" | "direct" => Ok(Self::Free),
            "supervised" | "gateway" => Ok(Self::Supervised),
            "forbidden" | "exclude" => Ok(Self::Forbidden),
            _ => Err(TierError(text.to_owned())),
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Tier {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Tier {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_written_tier_reads_back_and_stricter_is_greater() {
        let written = [Tier::Free, Tier::Supervised, Tier::Forbidden];
        for tier in written {
            assert_eq!(tier.to_string().parse(), Ok(tier));
        }
        assert!(written.is_sorted() && Tier::Forbidden < Tier::Absent);
    }

    #[test]
    fn the_names_of_the_older_model_are_spellings() {
        assert_eq!("direct".parse(), Ok(Tier::Free));
        assert_eq!("gateway".parse(), Ok(Tier::Supervised));
        assert_eq!("exclude".parse(), Ok(Tier::Forbidden));
    }

    #[test]
    fn nobody_can_write_absent_or_an_unknown_word() {
        for word in ["absent", "", "Free", "FREE", " free", "allow"] {
            assert!(word.parse::<Tier>().is_err(), "{word:?}");
        }
        let error = serde_json::from_str::<Tier>("\"absent\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "`absent` is not a tier: write free, supervised or forbidden"
        );
    }
}
