//! Lines to a file that one process at a time may append to, and that others may rotate.
//!
//! - The file is opened for appending, created with mode 0640 and locked; a second process gets an error.
//! - A new file's directory entry is made durable at once, its content by [`Sink::flush`].
//! - A last line that a crash cut off stays as it is and is ended by a line feed, so that the next record has a line of
//!   its own.
//! - Before every batch the path is looked at. Where it names another file, or none, as after `rename` and `create` by
//!   logrotate, a line that was begun is finished in the old file and writing goes on in the new one.
//!   (`copytruncate` loses lines by design; do not use it.)
//! - How far the chain has come is noted in a second file ([`note`]) for the next start.

mod note;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::chain::Digest;
use super::record::EventType;
use super::sink::{Batch, Found, LastRecord, Progress, Sink};
use super::verify::Parsed;

/// A file of JSON lines.
#[derive(Debug)]
pub struct Jsonl {
    path: PathBuf,
    file: File,
    identity: Identity,
    progress: Progress,
    found: Found,
    /// The last line that is not noted yet; empty if all is.
    unnoted: Vec<u8>,
    note_fails: bool,
    /// When the last note was made.
    noted_at: Option<Instant>,
}

/// Device and inode: which file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl Jsonl {
    /// Opens or creates the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, identity) = open_locked(path)?;
        let mut found = settle(&file)?;
        match note::read(path) {
            Ok(noted) => found.noted = noted.filter(|noted| !found.holds(noted)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the note of the last run can't be read");
                found.note_unreadable = true;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            file,
            identity,
            progress: Progress::default(),
            found,
            unnoted: Vec::new(),
            note_fails: false,
            noted_at: None,
        })
    }

    /// Notes the last record that was written: once a second at most, for a note costs as much as a flush, and at the end
    /// of a chain.
    fn note(&mut self) {
        let Some(last) = last_record_of(&self.unnoted) else {
            return;
        };
        let recent = |at: Instant| at.elapsed() < NOTE_EVERY;
        if self.noted_at.is_some_and(recent) && !last.stopped {
            return;
        }
        let noted = note::write(&self.path, &last);
        self.unnoted.clear();
        if let Err(error) = &noted
            && !self.note_fails
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, "the note for the next start can't be written");
        }
        self.noted_at = noted.is_ok().then(Instant::now);
        self.note_fails = noted.is_err();
    }

    /// Whether the path names the open file no more.
    fn moved(&self) -> io::Result<bool> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok(Identity::of(&metadata) != self.identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Sink for Jsonl {
    fn name(&self) -> &'static str {
        "jsonl"
    }

    fn found(&self) -> Found {
        self.found.clone()
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if self.moved()? {
            self.progress.finish_line(&mut self.file, batch)?;
            self.file.sync_data()?;
            let (file, identity) = open_locked(&self.path)?;
            settle(&file)?;
            self.file = file;
            self.identity = identity;
        }
        self.progress.write(&mut self.file, batch)?;
        if let Some(line) = batch.lines().next_back() {
            self.unnoted.clear();
            self.unnoted.extend_from_slice(line);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.note();
        Ok(())
    }

    fn wants_flush(&self) -> bool {
        !self.unnoted.is_empty()
    }
}

impl Identity {
    fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// The file at `path`, created if need be, held by this process alone.
fn open_locked(path: &Path) -> io::Result<(File, Identity)> {
    let file = match options().create_new(true).open(path) {
        Ok(file) => {
            sync_directory_of(path)?;
            file
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Opening a FIFO would block.
            if !fs::metadata(path)?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            options().open(path)?
        }
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let held = "another process writes this file";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, held));
        }
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let identity = Identity::of(&file.metadata()?);
    Ok((file, identity))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).read(true).mode(0o640);
    options
}

/// Makes the name of a new file durable: without it a crash of the machine loses the file, whatever its content.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(parent)?.sync_all()
}

/// Looks at the end of `file` and ends a line that a crash cut off.
fn settle(mut file: &File) -> io::Result<Found> {
    let end = file.metadata()?.len();
    let last_line = line_start(file, end)?;
    if last_line == end {
        return Ok(Found {
            last: last_record(file, end)?,
            ..Found::default()
        });
    }
    io::Write::write_all(&mut file, b"\n")?;
    // Cut off right before its line feed, a record is whole.
    if let Some(last) = record_between(file, last_line, end)? {
        return Ok(Found {
            last: Some(last),
            ..Found::default()
        });
    }
    Ok(Found {
        torn: Some(digest_between(file, last_line, end)?),
        last: last_record(file, last_line)?,
        ..Found::default()
    })
}

/// The record whose line ends at `end`, line feed included; `None` if that line is no record.
fn last_record(file: &File, end: u64) -> io::Result<Option<LastRecord>> {
    let Some(feed) = end.checked_sub(1) else {
        return Ok(None);
    };
    record_between(file, line_start(file, feed)?, feed)
}

fn record_between(file: &File, begin: u64, end: u64) -> io::Result<Option<LastRecord>> {
    let length = match usize::try_from(end - begin) {
        Ok(length) if length <= LONGEST_RECORD => length,
        _ => return Ok(None),
    };
    let mut line = vec![0; length];
    file.read_exact_at(&mut line, begin)?;
    Ok(last_record_of(&line))
}

fn last_record_of(line: &[u8]) -> Option<LastRecord> {
    Parsed::read(line).map(|record| LastRecord {
        stopped: record.event_type == EventType::AuditStopped.as_str(),
        writer: record.writer,
        seq: record.seq,
        hash: record.hash,
    })
}

/// Where the line that holds the byte before `end` begins; `end` itself right after a line feed.
fn line_start(file: &File, end: u64) -> io::Result<u64> {
    let mut chunk = [0; CHUNK];
    let mut end = end;
    while end > 0 {
        let begin = end.saturating_sub(CHUNK as u64);
        let length = usize::try_from(end - begin).unwrap_or(CHUNK);
        let chunk = chunk.get_mut(..length).unwrap_or_default();
        file.read_exact_at(chunk, begin)?;
        if let Some(at) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + at as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}

fn digest_between(file: &File, begin: u64, end: u64) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut chunk = [0; CHUNK];
    let mut at = begin;
    while at < end {
        let length = usize::try_from(end - at).map_or(CHUNK, |left| left.min(CHUNK));
        let chunk = chunk.get_mut(..length).unwrap_or_default();
        file.read_exact_at(chunk, at)?;
        hasher.update(&*chunk);
        at += length as u64;
    }
    Ok(hasher.into())
}

const CHUNK: usize = 8192;
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Far more than the bounds of a record's members allow.
const LONGEST_RECORD: usize = 4 << 20;

#[cfg(test)]
mod tests;
