//! SHA-256 digests by which tokens name keys and certificates.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text;

/// A digest of a key (RFC 7638) or of a certificate (RFC 8705 section 3.1): 32 bytes, written as 43 characters of base64url.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thumbprint([u8; 32]);

/// A text that is no thumbprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a thumbprint is 43 characters of base64url without padding")]
pub struct ThumbprintError;

impl Thumbprint {
    /// From the digest.
    pub const fn new(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Thumbprint {
    type Err = ThumbprintError;

    fn from_str(text: &str) -> Result<Self, ThumbprintError> {
        let mut digest = [0; 32];
        // Looked at first: a name of 10 KiB is not decoded (T05).
        if text.len() != 43 {
            return Err(ThumbprintError);
        }
        match BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut digest) {
            Ok(32) => Ok(Self(digest)),
            Ok(_) | Err(_) => Err(ThumbprintError),
        }
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Thumbprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_has_one_spelling() {
        // RFC 8705 section 3.1: the shape of `x5t#S256`.
        let shown = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2";
        let error = shown.parse::<Thumbprint>();
        // The RFC's own figure has a bit set that encodes nothing (T18).
        assert_eq!(error, Err(ThumbprintError));
        let shown = "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg0";
        assert_eq!(shown.parse::<Thumbprint>().unwrap().to_string(), shown);
    }

    #[test]
    fn what_is_not_43_characters_of_base64url_is_no_thumbprint() {
        for odd in [
            String::new(),
            "../../etc/passwd".to_owned(),
            "' OR 1=1 --".to_owned(),
            "A".repeat(10 * 1024),
            "A".repeat(42),
            format!("{}=", "A".repeat(42)),
            format!("{}+", "A".repeat(42)),
            format!("{}\n", "A".repeat(42)),
            "é".repeat(22),
        ] {
            assert_eq!(odd.parse::<Thumbprint>(), Err(ThumbprintError), "{odd:.50}");
        }
    }
}
