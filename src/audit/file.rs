//! Files that one process at a time writes: private from the first byte on, named durably, locked.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Device and inode: which file a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

/// The path of `file` with `ending` behind it.
pub(super) fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// The file at `path` for appending and reading, created with mode 0640 if need be.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Some(file) = create(path)? {
        return Ok(file);
    }
    // Opening a FIFO would block.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    options().open(path)
}

/// A new file at `path` with mode 0640, its name durable; `None` if something stands there.
pub(super) fn create(path: &Path) -> io::Result<Option<File>> {
    match options().create_new(true).open(path) {
        Ok(file) => {
            sync_directory_of(path)?;
            Ok(Some(file))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes `file` for this process; given back when it is closed.
pub(super) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let held = "another process writes this file";
            Err(io::Error::new(io::ErrorKind::ResourceBusy, held))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
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
