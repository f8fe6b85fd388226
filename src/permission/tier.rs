//! Tiers: how freely an operation may be done by automation.

use std::fmt;
use std::str::FromStr;

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
#[error("`{0}` is not a tier: write free, supervised or forbidden")]
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
