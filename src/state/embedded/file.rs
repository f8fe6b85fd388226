//! The file of an embedded memory: opened by one process, proven to be ours, and durable when a commit says so.
//!
//! A foreign file, one of a newer version, and one that another process holds are refused with a sentence and stay as they
//! are. Beside `state.db` lie `state.db-wal` and `state.db-shm` of SQLite, and `state.db.lock`, which holds nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::state::{Failure, StateError};

/// Why a memory can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process", .0.display())]
    Held(PathBuf),
    /// It is a database of something else.
    #[error("{} is not a state database of attache", .0.display())]
    Foreign(PathBuf),
    /// It was written by a later version.
    #[error("{} has version {found}, this attache knows up to {VERSION}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: i32,
    },
    /// SQLite does not keep what it says.
    #[error("{} can't be kept durably: {pragma} is {found}", path.display())]
    NotDurable {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        pragma: &'static str,
        /// What it is.
        found: String,
    },
    /// The operating system refuses it.
    #[error("cannot open {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// SQLite refuses it.
    #[error("cannot open {}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rusqlite::Error,
    },
    /// What is kept can't be read.
    #[error("cannot read what is kept")]
    Content(#[source] StateError),
}

/// Where a memory is.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Nowhere: gone when it is closed.
    Memory,
    /// In a file, as long as it is that one.
    File {
        path: PathBuf,
        /// Device and inode.
        identity: (u64, u64),
        /// Held until the last desk is closed.
        _lock: Arc<File>,
    },
}

impl Place {
    /// Opens or creates the file at `path` and the connection that writes it.
    pub(super) fn file(path: &Path) -> Result<(Self, Connection), OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        let lock = held(path)?;
        let file = match options().create_new(true).open(path) {
            Ok(file) => {
                file.sync_all().map_err(io)?;
                sync_directory_of(path).map_err(io)?;
                file
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                options().open(path).map_err(io)?
            }
            Err(error) => return Err(io(error)),
        };
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(OpenError::Foreign(path.to_owned()));
        }
        let place = Self::File {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
            _lock: Arc::new(lock),
        };
        let db = connect(path, true).map_err(|error| refused(path, error))?;
        prove(&db, path)?;
        Ok((place, db))
    }

    /// A new memory without a file.
    pub(super) fn memory() -> Result<(Self, Connection), OpenError> {
        let sqlite = |source| OpenError::Sqlite {
            path: PathBuf::from(":memory:"),
            source,
        };
        let db = Connection::open_in_memory().map_err(sqlite)?;
        db.pragma_update(None, "foreign_keys", true)
            .map_err(sqlite)?;
        lay_out(&db).map_err(sqlite)?;
        Ok((Self::Memory, db))
    }

    /// Another connection to the same file.
    pub(super) fn reopen(&self, writes: bool) -> Result<Connection, StateError> {
        match self {
            Self::Memory => Err(StateError::unavailable(Failure::Closed)),
            Self::File { path, .. } => {
                self.still_there()?;
                Ok(connect(path, writes)?)
            }
        }
    }

    pub(super) const fn can_reopen(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// Whether the path still names the file that was opened: what is written to another one is lost.
    pub(super) fn still_there(&self) -> Result<(), StateError> {
        let Self::File { path, identity, .. } = self else {
            return Ok(());
        };
        let replaced = |source: Option<std::io::Error>| StateError::Unavailable {
            failure: Failure::Replaced,
            source: source.map(|it| Arc::new(it) as _),
        };
        let metadata = fs::metadata(path).map_err(|error| replaced(Some(error)))?;
        let same = (metadata.dev(), metadata.ino()) == *identity;
        same.then_some(()).ok_or_else(|| replaced(None))
    }
}

fn connect(path: &Path, writes: bool) -> rusqlite::Result<Connection> {
    // No CREATE: a file that is gone must not come back empty.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(PATIENCE)?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "query_only", !writes)?;
    Ok(db)
}

/// Makes sure that the file is ours, current and durable; lays a new one out.
fn prove(db: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| refused(path, source);
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let (application, version) = (
        number("application_id").map_err(sqlite)?,
        number("user_version").map_err(sqlite)?,
    );
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = db.query_row(tables, [], |row| row.get(0)).map_err(sqlite)?;
    let new = application == 0 && version == 0 && tables == 0;
    if !new && application != APPLICATION {
        return Err(OpenError::Foreign(path.to_owned()));
    }
    if version > VERSION {
        return Err(OpenError::Newer {
            path: path.to_owned(),
            found: version,
        });
    }
    db.pragma_update(None, "journal_mode", "WAL")
        .map_err(sqlite)?;
    if new {
        lay_out(db).map_err(sqlite)?;
    }
    for (pragma, wanted) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
    ] {
        let found =
            db.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0));
        let found = match found.map_err(sqlite)? {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => format!("{other:?}"),
        };
        if found != wanted {
            return Err(OpenError::NotDurable {
                path: path.to_owned(),
                pragma,
                found,
            });
        }
    }
    Ok(())
}

fn refused(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => OpenError::Foreign(path),
        _ => OpenError::Sqlite { path, source },
    }
}

fn lay_out(db: &Connection) -> rusqlite::Result<()> {
    let schema = include_str!("schema.sql");
    db.execute_batch(&format!(
        "BEGIN IMMEDIATE; {schema} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    ))
}

/// The lock file beside `path`, held. A file of its own: closing any other descriptor of a database would drop its locks.
fn held(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let opened = options().create(true).truncate(false).open(&lock_path);
    let io = |source| OpenError::Io {
        path: lock_path.clone(),
        source,
    };
    let lock = opened.map_err(io)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Held(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

impl From<rusqlite::Error> for StateError {
    fn from(error: rusqlite::Error) -> Self {
        let failure = match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => Failure::Corrupt,
            other => match other.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::Locked,
                Some(ErrorCode::DiskFull) => Failure::Full,
                Some(ErrorCode::ReadOnly) => Failure::ReadOnly,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Failure::Corrupt,
                _ => Failure::Io,
            },
        };
        Self::Unavailable {
            failure,
            source: Some(Arc::new(error)),
        }
    }
}

/// `atst`, in the header of the file.
const APPLICATION: i32 = 0x6174_7374;
const VERSION: i32 = 1;
/// How long a call waits where somebody else, a backup for instance, holds the file.
const PATIENCE: Duration = Duration::from_millis(500);
