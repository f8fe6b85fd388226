//! The keys that tokens are signed with: where they are kept, when each is used, and what was signed by one.
//!
//! Decides whether a text is a token that this authority made, for a certain service, and still good by its own times. It
//! does not decide whether the token may be used: **who shows it, whether what it rests on was revoked, and how old the
//! news about that may be, is asked by the caller at every single use**, also where a signature was seen before.
//!
//! Never reads a clock, never fetches anything, never lets a text choose its key or its algorithm: a name that is not one
//! of our keys refuses, and so does an algorithm that is not the key's. Private keys leave their file only into memory, and
//! show in no output. What fails is refused: a token as [`TokenError`], which says the same to everybody outside, a file of
//! keys as [`KeysError`], and what was in force stays in force.

mod algorithm;
mod config;
mod directory;
mod keyring;
mod pair;
mod public;
mod schedule;
mod signer;
mod verifier;

pub use algorithm::Algorithm;
pub use config::Config;
pub use directory::KeysError;
pub use keyring::{Change, KeyEvent, Keyring, Refreshed};
pub use public::{KeyRejected, PublicKey};
pub use schedule::{JWKS_MAX_AGE, Role};
pub use signer::{MintError, Signer};
pub use verifier::{Expectations, MAX_SKEW, TokenError, Verified, Verifier};
