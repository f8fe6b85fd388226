//! The note beside a file: how far its newest chain has come, so that the next start knows how the last run ended even
//! when the file was rotated away meanwhile.
//!
//! - It is named like the file with `.head` behind it, and always replaced as a whole.
//! - It is written after a sync of the file, once a second at most and at the end, so what it names is on the disk; a run
//!   that did not stop may have written more, some two seconds' worth.
//! - It proves nothing: who may write the file may write the note. A missing one is a first start, an unreadable one is
//!   reported, and one that can't be written is logged; none of them keeps anybody from starting.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::super::sink::LastRecord;

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

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Far more than a host's name, a number and a hash.
const LONGEST: u64 = 4096;
