//! Records to a database that only grows, one row each, so that they can be asked for ([`SqliteTrail`]).
//!
//! - A batch is one transaction, durable when it returns (write-ahead log, `synchronous=FULL`, read back at the start).
//!   An error leaves nothing of it; the same batch comes again. What a crash leaves behind is whole batches from the
//!   first on, which is SQLite's promise and a test's.
//! - Nothing here changes or deletes a record, and triggers refuse it by hand as well. Who may write the file can take
//!   the triggers out, or write another file: that shows in the hash chain, see [`super::verify()`].
//! - One process writes, by a lock of its own (`audit.db.lock`) that readers don't need. Nothing is pruned.
//! - The file and its log must stay where they are. Where a path names another file, or none, every batch is refused until
//!   it is back; so it is where somebody adds a trigger, or changes what stands in the database otherwise.
//! - How far the chain has come is noted in a file beside it ([`super::note`]): a database that was put back from an older
//!   copy, or lost its log, is known by that.

mod format;
mod row;
mod trail;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use super::file::{self, Identity, beside};
use super::note::Note;
use super::sink::{Batch, Found, LastRecord, Sink};
use super::trail::Terms;
use format::{Kind, Objects, failed};

pub use trail::SqliteTrail;

/// The writing end of a database of records.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    identity: Identity,
    /// Which file the log is: until it is emptied, what is committed stands there alone.
    log: Identity,
    connection: Connection,
    /// By which a change of tables or triggers is known.
    schema: i64,
    found: Found,
    note: Note,
    /// The last batch failed: some of what comes next may be there already.
    again: bool,
    /// Given back after the connection is closed.
    _lock: File,
}

impl Sqlite {
    /// Opens or creates the database at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let lock = file::open(&beside(path, ".lock"))?;
        file::lock(&lock)?;
        // Made here for its mode, which SQLite gives to the files beside it as well. What is there already must not
        // even be opened other than by SQLite: closing it again would take the locks of this process's readers away.
        drop(file::create(path)?);
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let access = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let mut connection = format::connect(&format::uri(path), access)?;
        let kind = format::kind(&connection)?;
        format::make_durable(&connection)?;
        if kind == Kind::Empty {
            format::lay_out(&mut connection)?;
        }
        format::as_laid_out(&connection, Objects::All)?;
        let note = Note::beside(path);
        let last = last_line(&connection).map_err(failed)?;
        let found = note.complete(Found {
            last: last.and_then(|line| LastRecord::read(line.as_bytes())),
            ..Found::default()
        });
        Ok(Self {
            path: path.to_owned(),
            identity: Identity::of(&metadata),
            log: Identity::of(&fs::metadata(beside(path, "-wal"))?),
            schema: format::schema_version(&connection)?,
            connection,
            found,
            note,
            again: false,
            _lock: lock,
        })
    }

    /// An error where the paths do not name the open files any more: what is written to those would be lost.
    fn in_place(&self) -> io::Result<()> {
        let is = |path: &Path, identity| match fs::metadata(path) {
            Ok(metadata) => Ok(Identity::of(&metadata) == identity),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        };
        if is(&self.path, self.identity)? && is(&beside(&self.path, "-wal"), self.log)? {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the audit database or its log was moved or replaced while it is written: put it back, or start again",
        ))
    }

    fn insert(&mut self, batch: &Batch) -> io::Result<()> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(failed)?;
        let schema = format::schema_version(&transaction)?;
        if schema != self.schema {
            // SQLite changes it too, as with VACUUM.
            format::as_laid_out(&transaction, Objects::All)?;
            self.schema = schema;
        }
        for line in batch.lines() {
            let line = str::from_utf8(line).map_err(io::Error::other)?;
            let terms = Terms::read(line).ok_or_else(no_record)?;
            let seq = i64::try_from(terms.seq).map_err(io::Error::other)?;
            if self.again && holds(&transaction, &terms.writer, seq, line).map_err(failed)? {
                continue;
            }
            row::insert(&transaction, &terms, seq, line).map_err(failed)?;
        }
        transaction.commit().map_err(failed)
    }
}

impl Sink for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn found(&self) -> Found {
        self.found.clone()
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let written = self.in_place().and_then(|()| self.insert(batch));
        self.again = written.is_err();
        written?;
        self.note.remember(batch);
        Ok(())
    }

    /// What was written is durable already.
    fn flush(&mut self) -> io::Result<()> {
        self.note.write();
        Ok(())
    }

    fn wants_flush(&self) -> bool {
        self.note.is_due_later()
    }
}

/// Whether `line` is there already: a commit that failed may have reached the disk all the same.
fn holds(connection: &Connection, writer: &str, seq: i64, line: &str) -> rusqlite::Result<bool> {
    let held: Option<String> = connection
        .prepare_cached(LINE_OF)?
        .query_row(params![writer, seq], |row| row.get(0))
        .optional()?;
    Ok(held.is_some_and(|held| held == line))
}

fn last_line(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let last = "SELECT line FROM record ORDER BY id DESC LIMIT 1";
    connection.query_row(last, (), |row| row.get(0)).optional()
}

fn no_record() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a line is no audit record")
}

const LINE_OF: &str = "SELECT line FROM record WHERE writer = ?1 AND seq = ?2";

#[cfg(test)]
mod tests;
