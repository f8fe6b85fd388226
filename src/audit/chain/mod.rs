//! The hash chain of one writer: every record carries the hash of the one before it, so that nothing in the middle can be
//! changed, removed, inserted or moved without the change showing ([`super::verify`]).
//!
//! - `hash = SHA-256(prev_hash || JCS(record without hash))`, with `prev_hash` as its 32 bytes and JCS of RFC 8785;
//! - the `prev_hash` of the first record is `SHA-256(writer || nonce)`, with the 16 bytes of the start nonce that the
//!   record, an `audit.started`, carries in `details.nonce`.
//!
//! A chain shows tampering, not the absence of its end, and who can write the file can write a whole new chain: copy
//! the head (`seq`, `hash`) elsewhere to hold on to it.

use std::fmt;
use std::sync::Arc;

use rand::{Rng, RngExt as _};
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use ulid::Ulid;

use super::line::Line;
use super::queue::Entry;
use super::redaction::Redaction;
use crate::clock::Timestamp;

/// A SHA-256 hash, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; 32],
    hex: String,
}

/// The random value that makes each start of a writer a chain of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce([u8; 16]);

/// The writing end of a chain.
#[derive(Debug)]
pub(super) struct Chain<R> {
    writer: Arc<str>,
    tenant: Arc<str>,
    rng: R,
    head: Digest,
    seq: u64,
    last_id: Ulid,
    began: Instant,
    redaction: Redaction,
}

/// What identified a line when it was sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) id: Ulid,
    pub(super) seq: u64,
}

// === impl Digest ===

impl Digest {
    /// How many digits a hash is shown as.
    pub(super) const DIGITS: usize = 64;

    /// The hash of `parts` one after the other.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self::from(hasher)
    }

    /// The hash's 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The hash's 64 digits.
    pub fn as_str(&self) -> &str {
        &self.hex
    }
}

impl From<Sha256> for Digest {
    fn from(hasher: Sha256) -> Self {
        let bytes: [u8; 32] = hasher.finalize().into();
        let hex = hex(&bytes);
        Self { bytes, hex }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.hex)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.hex)
    }
}

// === impl Nonce ===

impl Nonce {
    pub(super) fn generate(rng: &mut impl Rng) -> Self {
        Self(rng.random())
    }

    /// Reads what [`Nonce::to_hex`] writes, and only that.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let value = u128::from_str_radix(text, 16).ok()?;
        let nonce = Self(value.to_be_bytes());
        (nonce.to_hex() == text).then_some(nonce)
    }

    pub(super) fn to_hex(self) -> String {
        hex(&self.0)
    }

    /// The `prev_hash` of the first record of the chain that `writer` starts with this nonce.
    pub(super) fn genesis(self, writer: &str) -> Digest {
        Digest::of([writer.as_bytes(), &self.0])
    }
}

// === impl Chain ===

impl<R: Rng> Chain<R> {
    pub(super) fn new(writer: Arc<str>, tenant: Arc<str>, nonce: Nonce, rng: R) -> Self {
        let head = nonce.genesis(&writer);
        Self {
            writer,
            tenant,
            rng,
            head,
            seq: 0,
            last_id: Ulid::nil(),
            began: Instant::now(),
            redaction: Redaction::default(),
        }
    }

    /// The same chain, in which members that `redaction` names have no values.
    pub(super) fn redacting(self, redaction: Redaction) -> Self {
        Self { redaction, ..self }
    }

    /// Makes `entry` the next record and appends its line, with the line feed, to `out`.
    ///
    /// On an error the chain and `out` are as before.
    pub(super) fn seal(
        &mut self,
        entry: &Entry,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, serde_json::Error> {
        let sealed = Sealed {
            id: self.next_id(entry.time),
            seq: self.seq.saturating_add(1),
        };
        let id = sealed.id.to_string();
        let line = Line {
            entry,
            id: &id,
            seq: sealed.seq,
            writer: &self.writer,
            tenant: &self.tenant,
            prev_hash: &self.head,
            began: self.began,
            redaction: &self.redaction,
        };
        let begin = out.len();
        let hash = line.seal(out).inspect_err(|_cause| out.truncate(begin))?;
        out.push(b'\n');
        self.head = hash;
        self.seq = sealed.seq;
        self.last_id = sealed.id;
        Ok(sealed)
    }

    /// Whose chain it is.
    pub(super) fn writer(&self) -> &str {
        &self.writer
    }

    /// The hash of the last record.
    pub(super) fn head(&self) -> &Digest {
        &self.head
    }

    /// Records sealed so far.
    pub(super) fn len(&self) -> u64 {
        self.seq
    }

    /// A ULID whose text sorts after all before it, even when the clock has stepped back.
    fn next_id(&mut self, time: Timestamp) -> Ulid {
        let fresh = Ulid::from_parts(time.unix_millis(), self.rng.random());
        if fresh.timestamp_ms() > self.last_id.timestamp_ms() {
            return fresh;
        }
        Ulid(self.last_id.0.saturating_add(1))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for digit in [byte >> 4, byte & 0xf] {
            hex.push(char::from(if digit < 10 {
                b'0' + digit
            } else {
                b'a' + digit - 10
            }));
        }
    }
    hex
}

#[cfg(test)]
mod tests;
