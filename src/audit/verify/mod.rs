//! Reads the lines of one or more chains back and says whether they are as their writers left them.
//!
//! Found, at the exact line: a changed byte, a missing, inserted, repeated or moved line, a chain without its beginning,
//! and, where runs name the run before them, a run that is missing as a whole, was moved, or lost its end.
//!
//! Not found: lines missing at the end of the last run, and a chain that was written anew as a whole; both need the head
//! of the chain (`seq`, `hash`) from elsewhere. Whole runs missing at the beginning look like files rotated away: not a
//! flaw, but [`Summary::missing`] says so.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::chain::{Digest, Nonce};
use super::record::EventType;

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
}

/// What a whole walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Records read.
    pub records: u64,
    /// Lines that a crash cut off, each announced by the writer that found it.
    pub torn_lines: u64,
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
    #[error("the beginning of the chain of `{0}` is missing")]
    NoBeginning(String),
    /// A record that begins a chain does not fit its own nonce, or the chain has begun before.
    #[error("the chain of `{0}` begins wrongly or twice")]
    Beginning(String),
    /// Another sequence number than the next one.
    #[error(
        "record {expected} should follow, this is {found}: removed, inserted, repeated or moved"
    )]
    Order {
        /// The next sequence number of this writer.
        expected: u64,
        /// The one that is there.
        found: u64,
    },
    /// The record was not written after the one before it.
    #[error("the record does not follow the one before it")]
    Link,
    /// The record names the end of an earlier chain, which ends elsewhere here.
    #[error("the chain of `{0}` was cut off after it was written")]
    CutOff(String),
    /// The record names the end of an earlier chain, of which nothing was read.
    #[error("the chain of `{0}` should have come before this one: removed, moved, or not given")]
    NoPredecessor(String),
    /// A chain begins after one that names its end.
    #[error("the chain of `{0}` was moved: it comes after one that follows it")]
    Moved(String),
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
        Ok(Summary {
            records: self.lines - self.torn_lines,
            torn_lines: self.torn_lines,
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
            (Some(head), None) => (head.seq + 1, head.hash.clone()),
            (None, Some(nonce)) => (1, nonce.genesis(writer)),
            (None, None) => return Err(Flaw::NoBeginning(writer.clone())),
        };
        if *seq != expected {
            return Err(Flaw::Order {
                expected,
                found: *seq,
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
        let head = Head {
            seq: *seq,
            hash: actual,
            stopped: record.event_type == EventType::AuditStopped.as_str(),
        };
        self.heads.insert(record.writer, head);
        Ok(())
    }

    /// Whether the chain that `first` begins is where it belongs.
    fn begun(&mut self, first: &Parsed) -> Result<(), Flaw> {
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
