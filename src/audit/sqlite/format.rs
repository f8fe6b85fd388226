//! What makes a file this database: its marks, its schema, and how durably it is written.
//!
//! A file that is something else, or that a newer version wrote, is refused before anything in it is touched.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// What a file is, by its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing at all yet.
    Empty,
    /// A trail that this version reads and writes.
    Trail,
}

/// What in a database is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Objects {
    /// What reading depends on.
    Read,
    /// The triggers as well.
    All,
}

type Object = (String, String, String);

/// A connection to the database that `uri` names, which must be there.
///
/// It writes no temporary files, and believes no code that stands in the database but that of its triggers.
pub(super) fn connect(uri: &str, access: OpenFlags) -> io::Result<Connection> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri, flags).map_err(failed)?;
    connection
        .busy_timeout(PATIENCE)
        .and_then(|()| connection.pragma_update(None, "temp_store", "memory"))
        .and_then(|()| connection.pragma_update(None, "trusted_schema", false))
        .map_err(failed)?;
    Ok(connection)
}

/// The database at `path` as a URI, without parameters.
pub(super) fn uri(path: &Path) -> String {
    let path = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    format!("file:{path}")
}

/// Reads the marks of the file behind `connection`. Anything but what this version writes is an error.
pub(super) fn kind(connection: &Connection) -> io::Result<Kind> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(failed)?;
    let version = number("user_version").map_err(failed)?;
    let tables = "SELECT count(*) FROM sqlite_schema";
    let tables: i64 = connection
        .query_row(tables, (), |row| row.get(0))
        .map_err(failed)?;
    match (application, version, tables) {
        (0, 0, 0) => Ok(Kind::Empty),
        (APPLICATION, VERSION, 1..) => Ok(Kind::Trail),
        (APPLICATION, ..) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the audit trail has format {version}, this version of attache has {VERSION}"),
        )),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is another program's database, not an audit trail",
        )),
    }
}

/// Makes `connection` write through a log that is synced with every commit, and proves it.
pub(super) fn make_durable(connection: &Connection) -> io::Result<()> {
    let set = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0));
    let mode = set.map_err(failed)?;
    connection
        .pragma_update(None, "synchronous", "full")
        .and_then(|()| connection.pragma_update(None, "journal_size_limit", LOG_KEPT))
        .map_err(failed)?;
    let synchronous: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(failed)?;
    match (mode.as_str(), synchronous) {
        ("wal", FULL) => Ok(()),
        _ => Err(io::Error::other(format!(
            "the database can't be written durably here: journal_mode is {mode}, synchronous {synchronous}"
        ))),
    }
}

/// Makes an empty file a trail, wholly or not at all.
pub(super) fn lay_out(connection: &mut Connection) -> io::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let laid_out = transaction.and_then(|transaction| {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()
    });
    laid_out.map_err(failed)
}

/// An error where what stands in the database is not what [`lay_out`] made: a trigger that somebody added can swallow
/// records, a view in the place of a table can hide them.
pub(super) fn as_laid_out(connection: &Connection, which: Objects) -> io::Result<()> {
    let made = MADE
        .as_ref()
        .map_err(|error| io::Error::other(error.to_string()))?;
    let read = |it: &&Object| which == Objects::All || it.0 != "trigger";
    let found = objects(connection).map_err(failed)?;
    if found.iter().filter(read).eq(made.iter().filter(read)) {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "its tables or triggers are not those that attache made: somebody changed them",
    ))
}

/// A number that is another one after every change of what stands in the database.
pub(super) fn schema_version(connection: &Connection) -> io::Result<i64> {
    let version = connection.pragma_query_value(None, "schema_version", |row| row.get(0));
    version.map_err(failed)
}

/// Kind, name and definition of everything in the database but what SQLite keeps there for itself.
fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    let all = "SELECT type, name, coalesce(sql, '') FROM sqlite_schema \
        WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY type, name";
    let mut all = connection.prepare_cached(all)?;
    let objects = all.query_map((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    objects.collect()
}

/// The database's error as one of I/O.
pub(super) fn failed(error: rusqlite::Error) -> io::Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::ReadOnly) => io::ErrorKind::ReadOnlyFilesystem,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => io::ErrorKind::ResourceBusy,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => io::ErrorKind::InvalidData,
        Some(ErrorCode::OperationInterrupted) => io::ErrorKind::TimedOut,
        Some(_) | None => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

static MADE: LazyLock<rusqlite::Result<Vec<Object>>> = LazyLock::new(|| {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(SCHEMA)?;
    objects(&connection)
});
const SCHEMA: &str = include_str!("schema.sql");
/// "atAu".
const APPLICATION: i64 = 0x6174_4175;
const VERSION: i64 = 1;
/// As the pragma shows it.
const FULL: i64 = 2;
/// What a reader's long look made of the log is given back beyond this many bytes.
const LOG_KEPT: i64 = 64 << 20;
/// How long somebody else's lock is waited for before a batch or a question is given back. Health notices after a second.
const PATIENCE: Duration = Duration::from_millis(500);
