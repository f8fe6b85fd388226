//! Checkpoints: records in which the writer signs how far its chain has come.
//!
//! - A checkpoint names a record (`seq`, `hash`) and carries an Ed25519 signature over [`Statement::text`]. The public key
//!   stands in the chain's `audit.started`, so that a copy of the trail is verified with that key alone.
//! - It is written after so many records, after so much time if anything was written, and at the stop; once it is durable
//!   it is logged as well, so that a collector of logs keeps what the trail can be held to.
//! - A signature shows that whoever holds the key wrote the chain up to there. It can't show that nothing came after, nor
//!   that the holder did not sign another chain: for that, keep checkpoints where the holder can't reach them.

mod key;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::details::Details;
use super::record::{Actor, EventType, Outcome, Record};

pub use key::{KeyError, PublicKey, PublicKeyError, SigningKey};

/// When checkpoints are written and who signs them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// A checkpoint after so many records. Default 1000.
    pub every: NonZeroU64,
    /// A checkpoint after so much time, if anything was written meanwhile: 1 s to 1 day. Default 60 s.
    #[serde(deserialize_with = "interval")]
    pub interval: Duration,
    /// File of the private key, made at the first start. Beside the first file of `audit.sinks` unless given.
    pub key: Option<PathBuf>,
}

/// A key and how often it signs.
#[derive(Debug)]
pub struct Checkpoints {
    /// Who signs.
    pub key: SigningKey,
    /// After so many records.
    pub every: u64,
    /// After so much time, if anything was written.
    pub interval: Duration,
}

/// What a checkpoint says: this record is in the chain of this writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Whose chain.
    pub writer: &'a str,
    /// Sequence number of the record.
    pub seq: u64,
    /// Its hash, 64 hexadecimal digits.
    pub hash: &'a str,
    /// Id of the key that signs.
    pub key_id: &'a str,
}

/// When the next checkpoint is due.
#[derive(Debug)]
pub(super) struct Due {
    checkpoints: Checkpoints,
    /// The last record when the last checkpoint was written, that one included.
    covered: u64,
    /// When the oldest record was written that no checkpoint covers.
    since: Option<Instant>,
}

// === impl CheckpointConfig ===

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: NonZeroU64::MIN.saturating_add(999),
            interval: Duration::from_secs(60),
            key: None,
        }
    }
}

fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval = humantime_serde::deserialize(deserializer)?;
    if (SHORTEST..=LONGEST).contains(&interval) {
        return Ok(interval);
    }
    let message = format!(
        "a checkpoint is written every 1s to 1day, not every `{}`",
        humantime::format_duration(interval)
    );
    Err(serde::de::Error::custom(message))
}

// === impl Statement ===

impl Statement<'_> {
    /// The text that is signed: an object in the canonical form of RFC 8785, of a type that nothing else is signed as.
    pub fn text(&self) -> String {
        let Self {
            writer,
            seq,
            hash,
            key_id,
        } = self;
        // Members in the order of their names; only the writer's name may need escapes.
        let writer = serde_json::Value::from(*writer);
        format!(
            r#"{{"hash":"{hash}","key_id":"{key_id}","seq":{seq},"type":"attache.audit.checkpoint.v1","writer":{writer}}}"#
        )
    }
}

// === impl Due ===

impl Due {
    pub(super) fn new(checkpoints: Checkpoints) -> Self {
        Self {
            checkpoints,
            covered: 0,
            since: None,
        }
    }

    /// Time left until a checkpoint is due in a chain of `seq` records; `None` if all are covered.
    pub(super) fn due_in(&mut self, seq: u64) -> Option<Duration> {
        let open = seq.saturating_sub(self.covered);
        if open == 0 {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        if open >= self.checkpoints.every {
            return Some(Duration::ZERO);
        }
        Some(self.checkpoints.interval.saturating_sub(since.elapsed()))
    }

    /// The checkpoint of a chain whose last record is `seq` with `hash`. It covers itself.
    pub(super) fn sign(&mut self, writer: &str, seq: u64, hash: &str) -> Signed {
        let key = &self.checkpoints.key;
        let key_id = key.public().id();
        let statement = Statement {
            writer,
            seq,
            hash,
            key_id: &key_id,
        };
        let signature = key.sign(statement.text().as_bytes());
        self.covered = seq.saturating_add(1);
        self.since = None;
        Signed {
            writer: writer.to_owned(),
            seq,
            hash: hash.to_owned(),
            signature,
            key_id,
        }
    }
}

/// A signed checkpoint, as record and log have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) writer: String,
    pub(super) seq: u64,
    pub(super) hash: String,
    pub(super) signature: String,
    pub(super) key_id: String,
}

impl Signed {
    /// As a record of the chain that it is about.
    pub(super) fn record(&self) -> Record {
        let details = Details::default()
            .with("hash", self.hash.as_str())
            .with("key_id", self.key_id.as_str())
            .with("seq", self.seq)
            .with("signature", self.signature.as_str());
        Record {
            details,
            ..Record::new(EventType::AuditCheckpoint, Outcome::Success, Actor::System)
        }
    }

    /// Says it in the log, in the words that `attache audit verify --checkpoint` reads.
    pub(super) fn log(&self) {
        tracing::info!(
            target: "attache::audit::checkpoint",
            writer = self.writer,
            seq = self.seq,
            hash = self.hash,
            key_id = self.key_id,
            signature = self.signature,
            "AUDIT_CHECKPOINT"
        );
    }
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests;
