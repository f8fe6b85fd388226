//! Where lines go: the trait [`Sink`], and how a write that was cut short goes on where it stopped.

use std::fmt;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::chain::Digest;
use super::record::EventType;
use super::verify::Parsed;

/// A place for lines.
///
/// A sink is driven by one thread, which it may block. It never drops, repeats, reorders or splits a line.
pub trait Sink: fmt::Debug + Send {
    /// A word for logs and metrics, such as `jsonl`.
    fn name(&self) -> &'static str;

    /// What was there when the sink was opened.
    fn found(&self) -> Found {
        Found::default()
    }

    /// Appends the lines of `batch`.
    ///
    /// After an error the same batch is given again until it succeeds, and no other before it: the sink goes on where it
    /// stopped.
    fn write(&mut self, batch: &Batch) -> io::Result<()>;

    /// Makes what was written durable, where that means anything.
    fn flush(&mut self) -> io::Result<()>;
}

/// Sealed lines, in order, each with its line feed. Never empty.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u64,
}

/// What a sink held before this writer began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The digest of a last line that a crash cut off. It stays, ended by a line feed.
    pub torn: Option<Digest>,
    /// The last whole record.
    pub last: Option<LastRecord>,
    /// The last record that an earlier writer noted, if what was found does not reach it: rotated away, or cut off.
    pub noted: Option<LastRecord>,
    /// Something stands where an earlier writer makes its note, and it is none.
    pub note_unreadable: bool,
}

/// The end of an earlier chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastRecord {
    /// Whose chain.
    pub writer: String,
    /// Its sequence number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Whether it is an `audit.stopped`.
    pub stopped: bool,
}

/// How much of a batch is written.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done: usize,
}

// === impl Found ===

impl Found {
    /// Whether the chain that was found reaches `noted`.
    pub(super) fn holds(&self, noted: &LastRecord) -> bool {
        self.last.as_ref().is_some_and(|last| {
            let further =
                last.seq > noted.seq || (last.seq == noted.seq && last.hash == noted.hash);
            last.writer == noted.writer && further
        })
    }
}

// === impl LastRecord ===

impl LastRecord {
    /// `None` unless `line` is a record.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        Parsed::read(line).map(|record| Self {
            stopped: record.event_type == EventType::AuditStopped.as_str(),
            writer: record.writer,
            seq: record.seq,
            hash: record.hash,
        })
    }
}

// === impl Batch ===

impl Batch {
    /// All lines as they are written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines without their line feeds.
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.bytes
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }

    /// How many lines.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Appends a line through `append`, which leaves the buffer as it was when it fails.
    pub(super) fn push<T, E>(
        &mut self,
        append: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let appended = append(&mut self.bytes)?;
        self.records += 1;
        Ok(appended)
    }
}

// === impl Progress ===

impl Progress {
    /// Writes what is left of `batch`. After success the next batch begins.
    pub(super) fn write(&mut self, out: &mut impl Write, batch: &Batch) -> io::Result<()> {
        self.advance(out, batch.as_bytes())?;
        self.done = 0;
        Ok(())
    }

    /// Writes what is left of a line that was begun; nothing if none was.
    pub(super) fn finish_line(&mut self, out: &mut impl Write, batch: &Batch) -> io::Result<()> {
        let written = batch.as_bytes().get(..self.done).unwrap_or_default();
        if matches!(written.last(), None | Some(b'\n')) {
            return Ok(());
        }
        let mut rest = batch.as_bytes().iter().skip(self.done);
        let end = rest
            .position(|byte| *byte == b'\n')
            .map(|left| self.done + left + 1);
        let line = end.and_then(|end| batch.as_bytes().get(..end));
        self.advance(out, line.unwrap_or_default())
    }

    fn advance(&mut self, out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        while let Some(rest) = bytes.get(self.done..).filter(|rest| !rest.is_empty()) {
            match out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes `room` bytes, one at a time and interrupted in between; then fails until given more.
    #[derive(Debug, Default)]
    struct Narrow {
        taken: Vec<u8>,
        room: usize,
        interrupted: bool,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.interrupted = !self.interrupted;
            if self.interrupted {
                return Err(io::ErrorKind::Interrupted.into());
            }
            if self.room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= 1;
            self.taken.push(bytes[0]);
            Ok(1)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            let push = |bytes: &mut Vec<u8>| writeln!(bytes, "{line}");
            batch.push(push).unwrap();
        }
        batch
    }

    #[test]
    fn a_write_goes_on_where_it_stopped_through_short_writes_and_interruptions() {
        // A10
        let batch = batch(&["one", "two", "three"]);
        let whole = batch.as_bytes().len();
        for room in 0..=whole {
            let mut out = Narrow {
                room,
                ..Narrow::default()
            };
            let mut progress = Progress::default();
            assert_eq!(progress.write(&mut out, &batch).is_ok(), room == whole);
            out.room = 1000;
            if room < whole {
                progress.write(&mut out, &batch).unwrap();
            }
            assert_eq!(out.taken, b"one\ntwo\nthree\n", "interrupted after {room}");
            progress.write(&mut out, &batch).unwrap();
            assert_eq!(out.taken.len(), 2 * whole, "the next batch begins anew");
        }
    }

    #[test]
    fn a_begun_line_can_be_finished_alone() {
        let batch = batch(&["one", "two"]);
        for (room, finished) in [
            (0, ""),
            (1, "one\n"),
            (3, "one\n"),
            (4, "one\n"),
            (5, "one\ntwo\n"),
        ] {
            let mut out = Narrow {
                room,
                ..Narrow::default()
            };
            let mut progress = Progress::default();
            progress.write(&mut out, &batch).unwrap_err();
            out.room = 1000;
            progress.finish_line(&mut out, &batch).unwrap();
            assert_eq!(out.taken, finished.as_bytes(), "interrupted after {room}");
            progress.write(&mut out, &batch).unwrap();
            assert_eq!(out.taken, b"one\ntwo\n");
        }
    }

    #[test]
    fn a_batch_gives_its_lines_without_line_feeds() {
        let batch = batch(&["one", "two"]);
        assert!(batch.lines().eq([b"one".as_slice(), b"two"]));
        assert_eq!(batch.records(), 2);
    }
}
