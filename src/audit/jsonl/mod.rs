//! Lines to a file that one process at a time may append to, and that others may rotate.
//!
//! - The file is opened for appending, created with mode 0640 and locked; a second process gets an error.
//! - A new file's directory entry is made durable at once, its content by [`Sink::flush`]. What was found is synced before
//!   anything follows it.
//! - After a sync that failed the kernel may have dropped what was written and call the next sync a success. So all that no
//!   sync has confirmed is kept, and written to its place again; nothing follows it until a sync confirms that.
//! - A last line that a crash cut off stays as it is and is ended by a line feed, so that the next record has a line of
//!   its own.
//! - Before every batch the path is looked at. Where it names another file, or none, as after `rename` and `create` by
//!   logrotate, a line that was begun is finished in the old file and writing goes on in the new one.
//!   (`copytruncate` loses lines by design; do not use it.)
//! - How far the chain has come is noted in a second file ([`super::note`]) for the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::chain::Digest;
use super::file::{self, Identity};
use super::note::Note;
use super::sink::{Batch, Found, LastRecord, Progress, Sink};

/// A file of JSON lines.
#[derive(Debug)]
pub struct Jsonl {
    path: PathBuf,
    file: File,
    identity: Identity,
    progress: Progress,
    /// What was written since the last sync.
    unsynced: Unsynced,
    found: Found,
    note: Note,
}

/// The end of the file, which no sync has confirmed.
#[derive(Debug, Default)]
struct Unsynced {
    /// Where it begins.
    at: u64,
    bytes: Vec<u8>,
    /// A sync failed: the file may not hold these bytes any more.
    in_doubt: bool,
}

/// Writes to the file and keeps what the file took.
struct Keeping<'a> {
    file: &'a File,
    unsynced: &'a mut Unsynced,
}

impl Jsonl {
    /// Opens or creates the file at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, identity) = open_locked(path)?;
        let note = Note::beside(path);
        let found = note.complete(settle(&file)?);
        Ok(Self {
            path: path.to_owned(),
            unsynced: Unsynced::behind(&file)?,
            file,
            identity,
            progress: Progress::default(),
            found,
            note,
        })
    }

    /// Makes everything written durable.
    fn sync(&mut self) -> io::Result<()> {
        if self.unsynced.in_doubt {
            self.unsynced.write_again(&self.file)?;
        }
        let synced = self.file.sync_data();
        match &synced {
            Ok(()) => self.unsynced.confirmed(),
            Err(_) => self.unsynced.in_doubt = true,
        }
        synced
    }

    fn out(&mut self) -> (&mut Progress, Keeping<'_>) {
        let out = Keeping {
            file: &self.file,
            unsynced: &mut self.unsynced,
        };
        (&mut self.progress, out)
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
        // Before anything is written: what this batch adds must not come twice because an older one can't be synced.
        if self.unsynced.in_doubt || self.unsynced.bytes.len() > MOST_UNSYNCED {
            self.sync()?;
        }
        if self.moved()? {
            let (progress, mut out) = self.out();
            progress.finish_line(&mut out, batch)?;
            self.sync()?;
            let (file, identity) = open_locked(&self.path)?;
            settle(&file)?;
            self.unsynced = Unsynced::behind(&file)?;
            self.file = file;
            self.identity = identity;
        }
        let (progress, mut out) = self.out();
        progress.write(&mut out, batch)?;
        self.note.remember(batch);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sync()?;
        self.note.write();
        Ok(())
    }

    fn wants_flush(&self) -> bool {
        self.note.is_due_later()
    }
}

// === impl Unsynced ===

impl Unsynced {
    /// Nothing, behind all that `file` holds, which is durable then.
    fn behind(file: &File) -> io::Result<Self> {
        file.sync_data()?;
        Ok(Self {
            at: file.metadata()?.len(),
            ..Self::default()
        })
    }

    fn confirmed(&mut self) {
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        self.in_doubt = false;
    }

    /// Writes all of it to its place in `file` again.
    fn write_again(&self, file: &File) -> io::Result<()> {
        // A file that was opened for appending takes bytes at its end alone, wherever they are meant to go.
        let again = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = OpenOptions::new().write(true).open(again)?;
        again.write_all_at(&self.bytes, self.at)
    }
}

impl io::Write for Keeping<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        let taken = bytes.get(..written).unwrap_or_default();
        self.unsynced.bytes.extend_from_slice(taken);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The file at `path`, created if need be, held by this process alone.
fn open_locked(path: &Path) -> io::Result<(File, Identity)> {
    let file = file::open(path)?;
    file::lock(&file)?;
    let identity = Identity::of(&file.metadata()?);
    Ok((file, identity))
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
    file.write_all(b"\n")?;
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
    Ok(LastRecord::read(&line))
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

/// Beyond so much a write syncs what is there before it adds to it.
const MOST_UNSYNCED: usize = 4 << 20;
const CHUNK: usize = 8192;
/// Far more than the bounds of a record's members allow.
pub(super) const LONGEST_RECORD: usize = 4 << 20;

#[cfg(test)]
mod tests;
