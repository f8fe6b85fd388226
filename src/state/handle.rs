//! The credential of a session: 256 random bits that a person shows. Only their SHA-256 is kept, and no text here shows them.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// A session's credential, written `ath_` and 43 characters of base64url. Shown to the person once.
#[derive(Clone)]
pub struct Handle([u8; 32]);

/// The SHA-256 of a [`Handle`]: what is kept, and what a session is looked up by.
#[derive(Clone, Copy)]
pub struct HandleDigest([u8; 32]);

/// Not a handle. Says nothing of what was given: it may be a credential all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session credential")]
pub struct HandleError;

impl Handle {
    /// A handle of 256 random bits.
    pub const fn from_random(bits: [u8; 32]) -> Self {
        Self(bits)
    }

    /// What is kept of it.
    pub fn digest(&self) -> HandleDigest {
        HandleDigest(Sha256::digest(self.0).into())
    }

    /// The text that the person keeps. The only way out: there is no `Display`.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for Handle {
    type Err = HandleError;

    fn from_str(text: &str) -> Result<Self, HandleError> {
        let written = text.strip_prefix(PREFIX).ok_or(HandleError)?;
        let bits = URL_SAFE_NO_PAD.decode(written).map_err(refused)?;
        bits.try_into().map(Self).map_err(refused)
    }
}

/// Drops what was given, so that no error carries it.
fn refused<T>(_: T) -> HandleError {
    HandleError
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handle(…)")
    }
}

impl HandleDigest {
    /// What was kept before.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for HandleDigest {
    /// Takes the same time wherever the first difference is.
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        black_box(pairs.fold(0, |differences, (one, two)| differences | (one ^ two))) == 0
    }
}

impl Eq for HandleDigest {}

impl fmt::Debug for HandleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleDigest(…)")
    }
}

const PREFIX: &str = "ath_";

#[cfg(test)]
mod tests {
    use super::*;

    // T22
    #[test]
    fn a_handle_is_read_back_from_its_text_and_compared_by_digest() {
        let handle = Handle::from_random([7; 32]);
        let read: Handle = handle.reveal().parse().unwrap();
        assert_eq!(read.digest(), handle.digest());
        assert_ne!(Handle::from_random([8; 32]).digest(), handle.digest());
        assert_ne!(handle.digest().as_bytes(), &[7; 32]);
    }

    // T23
    #[test]
    fn a_handle_never_shows_itself() {
        let handle = Handle::from_random([7; 32]);
        let shown = format!("{handle:?} {:?}", handle.digest());
        assert_eq!(shown, "Handle(…) HandleDigest(…)");
        let revealed = handle.reveal();
        let bare = revealed.strip_prefix("ath_").unwrap();
        for odd in ["", "ath_", "ath_AAAA", "ses_x", bare] {
            let error = odd.parse::<Handle>().unwrap_err();
            assert_eq!(error.to_string(), "not a session credential");
        }
    }
}
