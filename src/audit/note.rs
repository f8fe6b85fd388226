//! The note beside a file: how far its newest chain has come, so that the next start knows how the last run ended even
//! when the file was rotated away meanwhile, or an older copy put in its place.
//!
//! - It is named like the file with `.head` behind it, and always replaced as a whole.
//! - It is written after every sync of the file, so what it names is on the disk; a run that did not stop may have
//!   written more, at most a second's worth.
//! - It proves nothing: who may write the file may write the note. A missing one is a first start, an unreadable one is
//!   reported, and one that can't be written is logged; none of them keeps anybody from starting.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::file::beside;
use super::sink::{Batch, Found, LastRecord};

/// The note beside one file.
#[derive(Debug)]
pub(super) struct Note {
    file: PathBuf,
    /// The last line that is not noted yet; empty if all is.
    unnoted: Vec<u8>,
    pub(super) fails: bool,
}

impl Note {
    /// The note beside `file`.
    pub(super) fn beside(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            unnoted: Vec::new(),
            fails: false,
        }
    }

    /// `found` in the file, with what the note says beyond it.
    pub(super) fn complete(&self, mut found: Found) -> Found {
        match read(&self.file) {
            Ok(noted) => found.noted = noted.filter(|noted| !found.holds(noted)),
            Err(error) => {
                let path = self.file.display();
                tracing::warn!(%path, %error, "the note of the last run can't be read");
                found.note_unreadable = true;
            }
        }
        found
    }

    /// Keeps the last line of `batch`, which was written, in mind.
    pub(super) fn remember(&mut self, batch: &Batch) {
        if let Some(line) = batch.lines().next_back() {
            self.unnoted.clear();
            self.unnoted.extend_from_slice(line);
        }
    }

    /// Notes the last record, which is durable.
    pub(super) fn write(&mut self) {
        let Some(last) = LastRecord::read(&self.unnoted) else {
            return;
        };
        let noted = write(&self.file, &last);
        self.unnoted.clear();
        if let Err(error) = &noted
            && !self.fails
        {
            let path = self.file.display();
            tracing::warn!(%path, %error, "the note for the next start can't be written");
        }
        self.fails = noted.is_err();
    }
}

/// What is noted beside `file`; `None` if nothing is.
pub(super) fn read(file: &Path) -> io::Result<Option<LastRecord>> {
    let path = beside(file, ".head");
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Reading a FIFO would block.
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let noted: LastRecord = serde_json::from_slice(&fs::read(path)?)?;
    let hexadecimal = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if noted.hash.len() != 64 || !noted.hash.bytes().all(hexadecimal) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Some(noted))
}

/// Replaces what is noted beside `file`.
pub(super) fn write(file: &Path, last: &LastRecord) -> io::Result<()> {
    let new = beside(file, ".head.new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(&new)?;
    let mut text = serde_json::to_vec(last)?;
    text.push(b'\n');
    out.write_all(&text)?;
    // Else a crash of the machine could leave an empty file under the name.
    out.sync_data()?;
    fs::rename(&new, beside(file, ".head"))
}

/// Far more than a host's name, a number and a hash.
const LONGEST: u64 = 4096;
