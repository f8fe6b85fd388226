//! A token: what an agent shows, for at most 300 seconds, of the authority that its grant is.
//!
//! Decides which texts are tokens at all, and which claims one may hold. Never signs, looks at a signature, reads a clock or
//! a key: `keys` does. Never asks whether what a token rests on still lives, or who shows it: that is asked at each use.
//! What fails is refused with an error that says why, for records; nothing is repaired, cut or left out.
//!
//! A token is a JWT access token (RFC 9068) in the compact form of JWS (RFC 7515 section 3.1), and the only texts accepted
//! are those that attache could have written: members by name, none unknown, none twice, at any depth.

mod claims;
mod compact;
mod details;
mod json;
mod thumbprint;
mod wire;

use std::fmt;

pub use claims::{Claims, ClaimsError, Confirmation, Lease};
pub use compact::{Alg, Compact, FormError};
pub use thumbprint::{Thumbprint, ThumbprintError};

/// The header type of every token (RFC 9068 section 2.1).
pub const TYP: &str = "at+jwt";
/// No token lives longer, in seconds.
pub const MAX_LIFE: u64 = 300;
/// What a token should stay below: half of the 8 KiB that proxies commonly leave for one header. Tests keep ordinary
/// chains to it.
pub const TARGET_BYTES: usize = 4 * 1024;
/// No token with more bytes is made.
pub const MAX_BYTES: usize = 7 * 1024;
/// A text with more bytes is refused before anything of it is decoded.
pub const MAX_READ_BYTES: usize = 16 * 1024;
/// How often authority may have been handed on.
pub const MAX_DEPTH: usize = 8;
/// Tasks from the root task to the token's own.
pub const MAX_TASKS: usize = 16;
/// Objects in `authorization_details`.
pub const MAX_DETAILS: usize = 16;
/// Resource patterns in all of them together.
pub const MAX_PATTERNS: usize = 64;
/// Actions in one of them.
pub const MAX_ACTIONS: usize = 16;

/// A token as text. Whoever has the text has what it permits, so neither `Debug` nor `Display` show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From a signed text; nothing is checked here.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one who asked for the token.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

#[cfg(test)]
pub(crate) mod tests;
