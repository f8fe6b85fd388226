//! A checkpoint apart from its trail: kept by a collector of logs, or copied by hand, to hold the trail to it.
//!
//! Read from the record as it stands in a trail, or from its line in the log. What is neither is an error: a checkpoint
//! that is silently left out would vouch for everything.

use serde_json::{Map, Value};

use super::super::checkpoint::{PublicKey, Statement};

/// A record that must be in a trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Whose chain.
    pub writer: String,
    /// Sequence number of the record.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    key_id: String,
    signature: String,
}

/// A text that is no checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Another text.
    #[error(
        "no checkpoint: give lines of JSON, each an `audit.checkpoint` of a trail or an AUDIT_CHECKPOINT of the log"
    )]
    NotACheckpoint,
    /// None of the given keys signed it.
    #[error("the checkpoint is signed by none of the given keys")]
    ForeignKey,
}

impl Anchor {
    /// Reads a line: a record of a trail, or a line of the log.
    pub fn read(line: &str) -> Result<Self, AnchorError> {
        let object: Option<Map<String, Value>> = serde_json::from_str(line).ok();
        let object = object.ok_or(AnchorError::NotACheckpoint)?;
        let writer = object.get("writer").and_then(Value::as_str);
        let nested = ["details", "fields"]
            .iter()
            .find_map(|name| object.get(*name));
        let said = nested.and_then(Value::as_object).unwrap_or(&object);
        // In the log the writer may stand beside the rest.
        let writer = writer.or(said.get("writer").and_then(Value::as_str));
        writer
            .and_then(|writer| Self::of(writer, said))
            .ok_or(AnchorError::NotACheckpoint)
    }

    /// Whether one of `keys` signed it; where none is given, it is taken as it is.
    pub fn held_to(self, keys: &[PublicKey]) -> Result<Self, AnchorError> {
        if keys.is_empty() || keys.iter().any(|key| self.is_signed_by(*key)) {
            return Ok(self);
        }
        Err(AnchorError::ForeignKey)
    }

    pub(super) fn of(writer: &str, said: &Map<String, Value>) -> Option<Self> {
        let text = |name| said.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            writer: writer.to_owned(),
            seq: said.get("seq")?.as_u64()?,
            hash: text("hash")?,
            key_id: text("key_id")?,
            signature: text("signature")?,
        })
    }

    pub(super) fn is_signed_by(&self, key: PublicKey) -> bool {
        let statement = Statement {
            writer: &self.writer,
            seq: self.seq,
            hash: &self.hash,
            key_id: &self.key_id,
        };
        key.has_signed(statement.text().as_bytes(), &self.signature)
    }
}
