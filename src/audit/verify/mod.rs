//! Reads the lines of one or more chains back and says whether they are as their writers left them.
//!
//! Found, at the exact line: a changed byte, a missing, inserted, repeated or moved line, a chain without its beginning,
//! and, where runs name the run before them, a run that is missing as a whole, was moved, or lost its end. Checkpoints are
//! held to the key that their chain names, and that one to the keys that are given ([`Verifier::pinned`]).
//!
//! Not found without help: lines missing at the end of the last run, and a chain that was written anew as a whole by who
//! holds the key. Both need a checkpoint from elsewhere ([`Verifier::anchored`]). Whole runs missing at the beginning look like files rotated away: not a
//! flaw, but [`Summary::missing`] says so.

mod anchor;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chain::{Digest, Nonce};
use super::checkpoint::PublicKey;
use super::record::EventType;
pub use anchor::{Anchor, AnchorError};

/// Walks lines in the order they were written; files of a rotated set oldest first, as if they were one.
///
/// Lines of several writers may be mixed, as a log collector mixes them, if the lines of each keep their order. Only the
/// first chain of all may name a chain that was not read: whether a later one does so because it comes from another
/// host, or because somebody removed the run between, nothing tells.
#[derive(Debug, Default)]
pub struct Verifier {
    heads: BTreeMap<String, Head>,
    missing: Vec<Predecessor>,
    lines: u64,
    torn: Option<Torn>,
    torn_lines: u64,
    gaps: u64,
    keys: BTreeMap<String, PublicKey>,
    pins: Vec<PublicKey>,
    anchors: Vec<Anchor>,
}

/// What a whole walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// Lines that a crash cut off, each announced by the writer that found it.
    pub torn_lines: u64,
    /// Records by which writers say themselves that some are missing.
    pub gaps: u64,
    /// Where each writer's chain ends, by writer.
    pub heads: BTreeMap<String, Head>,
    /// Ends of earlier chains that the first one names and that were not read: in files rotated away, or removed.
    pub missing: Vec<Predecessor>,
}

/// The end of an earlier chain, as a later one names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predecessor {
    /// Whose chain.
    pub writer: String,
    /// Sequence number of its last record that was known.
    pub seq: u64,
    /// Hash of that record.
    pub hash: String,
    /// Whether no record may follow that one.
    exact: bool,
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last record; equals the number of records.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
    /// Whether it is an `audit.stopped`; otherwise the writer still runs, or ended without stopping.
    pub stopped: bool,
    /// The last record that a checkpoint signs.
    pub signed: Option<u64>,
}

/// The first line that is not as its writer left it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {flaw}")]
pub struct Broken {
    /// Line number, counted from 1.
    pub line: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Not one canonical JSON object with the members of a record.
    #[error("not a whole record: altered, or cut off by a crash that no later record announces")]
    NotARecord,
    /// The record does not have the hash it says.
    #[error("the record was altered: it does not have the hash it carries")]
    Hash,
    /// A record of a chain whose beginning was not read.
    #[error("the beginning of the chain of `{}` is missing", .0.escape_debug())]
    NoBeginning(String),
    /// A record that begins a chain does not fit its own nonce, or the chain has begun before.
    #[error("the chain of `{}` begins wrongly or twice", .0.escape_debug())]
    Beginning(String),
    /// A higher sequence number than the next one.
    #[error("record {expected} should follow, this is {found}: records were deleted, or moved")]
    Deleted {
        /// The next sequence number of this writer.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// A lower sequence number than the next one.
    #[error("record {expected} should follow, this is {found}: it was repeated, inserted or moved")]
    Inserted {
        /// The next sequence number of this writer.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The record was not written after the one before it.
    #[error(
        "the record does not follow the one before it: inserted, or the one before was replaced"
    )]
    Link,
    /// A record of a chain that has ended.
    #[error("the chain of `{}` has ended before: somebody else wrote what follows", .0.escape_debug())]
    AfterTheEnd(String),
    /// The record names the end of an earlier chain, which ends elsewhere here.
    #[error("the chain of `{}` was cut off after it was written", .0.escape_debug())]
    CutOff(String),
    /// The record names the end of an earlier chain, of which nothing was read.
    #[error("the chain of `{}` should have come before this one: removed, moved, or not given", .0.escape_debug())]
    NoPredecessor(String),
    /// A chain begins after one that names its end.
    #[error("the chain of `{}` was moved: it comes after one that follows it", .0.escape_debug())]
    Moved(String),
    /// A checkpoint that the key of its chain did not sign, or that is about something else.
    #[error("the checkpoint is not signed by the key of its chain, or signs another record")]
    Forged,
    /// A chain whose key is none of those that were given.
    #[error("the chain of `{}` names none of the given keys: another key signed it, or none", .0.escape_debug())]
    ForeignKey(String),
    /// A chain that signs its records ends without having signed the last.
    #[error("the chain of `{}` stops without a checkpoint: its end was replaced", .0.escape_debug())]
    Unsigned(String),
    /// A checkpoint that was kept elsewhere names a record that is not there any more.
    #[error(
        "the chain of `{}` was truncated: a checkpoint kept elsewhere signs record {seq}, and it ends at {last}",
        writer.escape_debug()
    )]
    Truncated {
        /// Whose chain.
        writer: String,
        /// What the checkpoint signs.
        seq: u64,
        /// Where it ends; 0 if there is none of its records.
        last: u64,
    },
    /// A checkpoint that was kept elsewhere names another record.
    #[error(
        "the chain of `{}` was written anew: a checkpoint kept elsewhere signs another record in this place",
        .0.escape_debug()
    )]
    Rewritten(String),
}

#[derive(Debug)]
struct Torn {
    line: u64,
    digest: Digest,
}

/// Verifies `lines`, given without their line feeds.
pub fn verify<L: AsRef<[u8]>>(lines: impl IntoIterator<Item = L>) -> Result<Summary, Broken> {
    let mut verifier = Verifier::default();
    for line in lines {
        verifier.line(line.as_ref())?;
    }
    verifier.finish()
}

impl Verifier {
    /// The same verifier, for which every chain must name one of `keys`; none given, any will do.
    #[must_use]
    pub fn pinned(self, keys: Vec<PublicKey>) -> Self {
        Self { pins: keys, ..self }
    }

    /// The same verifier, to which every one of `anchors` must be in the trail.
    #[must_use]
    pub fn anchored(self, anchors: Vec<Anchor>) -> Self {
        Self { anchors, ..self }
    }

    /// Verifies the next line, given without its line feed.
    pub fn line(&mut self, line: &[u8]) -> Result<(), Broken> {
        self.lines += 1;
        let Some(record) = Parsed::read(line) else {
            // Only the very next record can announce it.
            self.no_torn_line()?;
            self.torn = Some(Torn {
                line: self.lines,
                digest: Digest::of([line]),
            });
            return Ok(());
        };
        if let Some(torn) = &self.torn
            && !record.announces(&torn.digest)
        {
            return self.no_torn_line();
        }
        if self.torn.take().is_some() {
            self.torn_lines += 1;
        }
        self.record(record).map_err(|flaw| Broken {
            line: self.lines,
            flaw,
        })
    }

    /// Ends the walk.
    pub fn finish(self) -> Result<Summary, Broken> {
        self.no_torn_line()?;
        for anchor in &self.anchors {
            let head = self.heads.get(&anchor.writer);
            let last = head.map_or(0, |head| head.seq);
            if last < anchor.seq {
                return Err(Broken {
                    line: self.lines,
                    flaw: Flaw::Truncated {
                        writer: anchor.writer.clone(),
                        seq: anchor.seq,
                        last,
                    },
                });
            }
        }
        Ok(Summary {
            records: self.lines - self.torn_lines,
            torn_lines: self.torn_lines,
            gaps: self.gaps,
            heads: self.heads,
            missing: self.missing,
        })
    }

    fn no_torn_line(&self) -> Result<(), Broken> {
        match &self.torn {
            Some(torn) => Err(Broken {
                line: torn.line,
                flaw: Flaw::NotARecord,
            }),
            None => Ok(()),
        }
    }

    fn record(&mut self, record: Parsed) -> Result<(), Flaw> {
        let Parsed {
            writer,
            seq,
            prev_hash,
            hash,
            unhashed,
            ..
        } = &record;
        let (expected, before) = match (self.heads.get(writer), record.nonce()) {
            (Some(_), Some(_)) => return Err(Flaw::Beginning(writer.clone())),
            (Some(head), None) if head.stopped => return Err(Flaw::AfterTheEnd(writer.clone())),
            (Some(head), None) => (head.seq + 1, head.hash.clone()),
            (None, Some(nonce)) => (1, nonce.genesis(writer)),
            (None, None) => return Err(Flaw::NoBeginning(writer.clone())),
        };
        if *seq != expected {
            let found = *seq;
            return Err(if found > expected {
                Flaw::Deleted { expected, found }
            } else {
                Flaw::Inserted { expected, found }
            });
        }
        if prev_hash != before.as_str() {
            return Err(Flaw::Link);
        }
        let actual = Digest::of([before.as_bytes(), unhashed]);
        if hash != actual.as_str() {
            return Err(Flaw::Hash);
        }
        if *seq == 1 {
            self.begun(&record)?;
        }
        let signed = self.signed(&record, &before)?;
        let rewritten =
            |it: &Anchor| it.writer == *writer && it.seq == *seq && it.hash != actual.as_str();
        if self.anchors.iter().any(rewritten) {
            return Err(Flaw::Rewritten(writer.clone()));
        }
        if record.event_type == EventType::AuditGap.as_str() {
            self.gaps += 1;
        }
        let head = Head {
            seq: *seq,
            hash: actual,
            stopped: record.event_type == EventType::AuditStopped.as_str(),
            signed,
        };
        self.heads.insert(record.writer, head);
        Ok(())
    }

    /// The last record of its chain that is signed once `record` is read; `before` is the hash of the one before it.
    fn signed(&self, record: &Parsed, before: &Digest) -> Result<Option<u64>, Flaw> {
        let known = self.heads.get(&record.writer).and_then(|it| it.signed);
        let key = self.keys.get(&record.writer);
        if record.event_type == EventType::AuditCheckpoint.as_str() {
            let anchor = Anchor::of(&record.writer, &record.details).ok_or(Flaw::Forged)?;
            let about_this = anchor.seq + 1 == record.seq && anchor.hash == before.as_str();
            if !about_this || !key.is_some_and(|key| anchor.is_signed_by(*key)) {
                return Err(Flaw::Forged);
            }
            return Ok(Some(anchor.seq));
        }
        let stops = record.event_type == EventType::AuditStopped.as_str();
        // Right before the end stands a checkpoint, which signs what was before it.
        if stops && key.is_some() && known.is_none_or(|signed| signed + 2 != record.seq) {
            return Err(Flaw::Unsigned(record.writer.clone()));
        }
        Ok(known)
    }

    /// Whether the chain that `first` begins is where it belongs, and signed by who may.
    fn begun(&mut self, first: &Parsed) -> Result<(), Flaw> {
        let key = first.details.get("checkpoint_key").and_then(Value::as_str);
        let key: Option<PublicKey> = key.and_then(|it| it.parse().ok());
        if !self.pins.is_empty() && !key.is_some_and(|key| self.pins.contains(&key)) {
            return Err(Flaw::ForeignKey(first.writer.clone()));
        }
        if let Some(key) = key {
            self.keys.insert(first.writer.clone(), key);
        }
        if self.missing.iter().any(|it| it.writer == first.writer) {
            return Err(Flaw::Moved(first.writer.clone()));
        }
        let is_first_of_all = self.heads.is_empty();
        for named in first.predecessors() {
            match self.heads.get(&named.writer) {
                Some(head) if named.is_met_by(head) => {}
                Some(_) => return Err(Flaw::CutOff(named.writer)),
                None if is_first_of_all => self.missing.push(named),
                None => return Err(Flaw::NoPredecessor(named.writer)),
            }
        }
        Ok(())
    }
}

impl Predecessor {
    fn is_met_by(&self, head: &Head) -> bool {
        if head.seq == self.seq {
            return head.hash.as_str() == self.hash;
        }
        !self.exact && head.seq > self.seq
    }
}

/// A line taken apart.
pub(super) struct Parsed {
    pub(super) event_type: String,
    pub(super) writer: String,
    pub(super) seq: u64,
    pub(super) hash: String,
    prev_hash: String,
    details: Map<String, Value>,
    /// The canonical form without `hash`.
    unhashed: Vec<u8>,
}

impl Parsed {
    /// `None` unless `line` is the canonical form of an object with the members of a record.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let mut object: Map<String, Value> = serde_json::from_slice(line).ok()?;
        // `Map` sorts by name, so this is the canonical form of everything that `line.rs` writes. It also refuses what
        // a reader would overlook: white space, escapes that need not be, a member given twice.
        if serde_json::to_vec(&object).ok()? != line {
            return None;
        }
        let hash = text(object.remove("hash")?)?;
        let unhashed = serde_json::to_vec(&object).ok()?;
        Some(Self {
            event_type: text(object.remove("event_type")?)?,
            writer: text(object.remove("writer")?)?,
            seq: object.get("seq")?.as_u64()?,
            hash,
            prev_hash: text(object.remove("prev_hash")?)?,
            details: match object.remove("details") {
                Some(Value::Object(details)) => details,
                Some(_) => return None,
                None => Map::new(),
            },
            unhashed,
        })
    }

    /// The start nonce, if this record begins a chain.
    fn nonce(&self) -> Option<Nonce> {
        if self.event_type != EventType::AuditStarted.as_str() {
            return None;
        }
        Nonce::from_hex(self.details.get("nonce")?.as_str()?)
    }

    /// The ends of earlier chains that this record names: the one that was in the file, and the one that was noted beside
    /// it, after which a writer that did not stop may have written more.
    fn predecessors(&self) -> impl Iterator<Item = Predecessor> {
        let stopped = self.details.get("noted_stopped").and_then(Value::as_bool);
        let previous = ["previous_writer", "previous_seq", "previous_hash"];
        let noted = ["noted_writer", "noted_seq", "noted_hash"];
        [(previous, true), (noted, stopped == Some(true))]
            .into_iter()
            .filter_map(|([writer, seq, hash], exact)| {
                Some(Predecessor {
                    writer: self.details.get(writer)?.as_str()?.to_owned(),
                    seq: self.details.get(seq)?.as_u64()?,
                    hash: self.details.get(hash)?.as_str()?.to_owned(),
                    exact,
                })
            })
    }

    /// Whether this record says that its writer found a torn line with this digest.
    fn announces(&self, torn: &Digest) -> bool {
        let listed = self.details.get("torn_lines").and_then(Value::as_array);
        self.event_type == EventType::AuditStarted.as_str()
            && listed.is_some_and(|lines| lines.iter().any(|line| line == torn.as_str()))
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
