//! Reads a database of records back, beside its writer or after it, from any process.
//!
//! - Every call opens a connection of its own that can't write, and answers from one moment of the database.
//! - While nobody writes, nothing in the folder is touched: the database is read as the immutable file that it is, and
//!   read again in the common way where it turns out that somebody began to write meanwhile. So a trail on a read-only
//!   medium can be read, unless its writer did not stop: what it left in `-wal` needs a folder that can be written.
//! - A file that is no trail, or can't be read, is an error, never an empty answer.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, params, params_from_iter};

use super::super::file::beside;
use super::super::trail::{
    Cursor, Filter, Order, Page, Span, Stop, Tasks, Terms, Trace, Trail, TrailError,
};
use super::format::{self, Kind, Objects, failed};
use super::row;

/// The reading end of a database of records.
#[derive(Debug, Clone)]
pub struct SqliteTrail {
    path: PathBuf,
    stop: Stop,
}

/// A part of a statement, and what belongs in its places.
#[derive(Debug, Default)]
pub(super) struct Condition {
    terms: Vec<String>,
    values: Vec<Value>,
}

/// One line of a walk.
#[derive(Debug)]
struct Step {
    id: i64,
    line: String,
    /// Whose record it is and its number, where it is not found by what it says.
    misfiled: Option<(String, u64)>,
    /// Rows beside it.
    filings: i64,
}

/// What a file was when it was looked at.
type State = (u64, u64, u64, i64, i64);

impl SqliteTrail {
    /// The trail in the database at `path`, which must be one.
    pub fn open(path: &Path) -> Result<Self, TrailError> {
        let trail = Self {
            path: path.to_owned(),
            stop: Stop::default(),
        };
        trail.read(|_| Ok(()))?;
        Ok(trail)
    }

    /// Asks in one transaction.
    pub(super) fn read<T>(
        &self,
        ask: impl Fn(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, TrailError> {
        self.try_read(ask).map_err(|source| TrailError::Read {
            path: self.path.clone(),
            source,
        })
    }

    fn try_read<T>(&self, ask: impl Fn(&Connection) -> rusqlite::Result<T>) -> io::Result<T> {
        let ask = |uri: &str| {
            let mut connection = format::connect(uri, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            let stop = self.stop.clone();
            connection
                .progress_handler(STEPS, Some(move || stop.says_so()))
                .map_err(failed)?;
            let transaction = connection.unchecked_transaction().map_err(failed)?;
            if format::kind(&transaction)? == Kind::Empty {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the database is empty: no audit trail was begun here",
                ));
            }
            format::as_laid_out(&transaction, Objects::Read)?;
            ask(&transaction).map_err(failed)
        };
        let file = format::uri(&self.path);
        let at_rest = self.at_rest()?;
        if at_rest.is_some() {
            let answer = ask(&format!("{file}?immutable=1"));
            if self.at_rest()? == at_rest {
                return answer;
            }
        }
        ask(&file)
    }

    /// The state of a file that nobody is writing; `None` where somebody is, or did not stop.
    ///
    /// A writer has its log beside the file, be it empty, for as long as it has the file open. Closing a file that was
    /// opened as immutable takes away the locks that this process has on it, so it must not be done beside one.
    fn at_rest(&self) -> io::Result<Option<State>> {
        if fs::exists(beside(&self.path, "-wal"))? {
            return Ok(None);
        }
        let it = fs::metadata(&self.path)?;
        if !it.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let state = (it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec());
        Ok(Some(state))
    }
}

impl Trail for SqliteTrail {
    fn query(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, TrailError> {
        let limit = limit.max(1);
        let (count, counted) = total(filter);
        let (select, selected) = page(filter, order, after, limit);
        self.read(|connection| {
            let counts = params_from_iter(&counted);
            let (total, newest): (i64, _) =
                connection.query_row(&count, counts, |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut statement = connection.prepare(&select)?;
            let rows = statement.query_map(params_from_iter(&selected), |row| {
                let place = Cursor {
                    time: row.get(1)?,
                    writer: row.get(2)?,
                    seq: row.get::<_, i64>(3)?.unsigned_abs(),
                };
                Ok((row.get(0)?, place))
            })?;
            let mut page = Page {
                total: total.unsigned_abs(),
                newest,
                ..Page::default()
            };
            let mut last = None;
            for row in rows {
                let (line, place) = row?;
                if page.records.len() == limit {
                    page.next = last;
                    break;
                }
                page.records.push(line);
                last = Some(place);
            }
            Ok(page)
        })
    }

    fn trace(&self, name: &str, limit: usize) -> Result<Trace, TrailError> {
        let limit = limit.max(1);
        self.read(|connection| {
            let mut statement = connection.prepare(TRACE)?;
            let rows = statement.query_map(params![name, one_more(limit)], |row| row.get(0))?;
            let mut records = rows.collect::<Result<Vec<String>, _>>()?;
            let cut = records.len() > limit;
            records.truncate(limit);
            Ok(Trace { records, cut })
        })
    }

    fn walk(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), TrailError> {
        // Step by step, so that a slow visitor does not keep the log from being emptied. Rows never change, and new ones
        // come behind.
        let end: i64 = self.read(|connection| {
            let last = "SELECT coalesce(max(id), 0) FROM record";
            connection.query_row(last, (), |row| row.get(0))
        })?;
        let number = |seq: u64| i64::try_from(seq).unwrap_or(i64::MAX);
        let from = span.from_seq.map_or(i64::MIN, number);
        let to = span.to_seq.map_or(i64::MAX, number);
        let mut done = i64::MIN;
        let mut filings = 0_i64;
        loop {
            let step = self.read(|connection| {
                let mut statement = connection.prepare(walk_of(span))?;
                let bounds = params![done, end, from, to, span.writer];
                // The statement of all has no place for a writer.
                let bounds = bounds.get(..statement.parameter_count()).unwrap_or(bounds);
                let rows = statement.query_map(bounds, |row| Ok((row.get(0)?, row.get(1)?)))?;
                rows.map(|row| {
                    let (id, line) = row?;
                    Step::look(connection, id, line)
                })
                .collect::<Result<Vec<_>, _>>()
            })?;
            let Some(last) = step.last() else {
                break;
            };
            done = last.id;
            for step in step {
                let Step { line, misfiled, .. } = step;
                filings = filings.saturating_add(step.filings);
                if visit(line.as_bytes()).is_break() {
                    return Ok(());
                }
                if let Some((writer, seq)) = misfiled {
                    let path = self.path.clone();
                    return Err(TrailError::Misfiled { path, writer, seq });
                }
            }
        }
        // Only who has seen all of them knows whether there are more.
        if *span == Span::default()
            && self.read(|connection| row::all_filings(connection, end))? != filings
        {
            let path = self.path.clone();
            return Err(TrailError::Overfiled { path });
        }
        Ok(())
    }

    fn stopping(&self, stop: Stop) -> Box<dyn Trail> {
        let path = self.path.clone();
        Box::new(Self { path, stop })
    }
}

impl Step {
    fn look(connection: &Connection, id: i64, line: String) -> rusqlite::Result<Self> {
        let (mut misfiled, mut filings) = (None, 0);
        if let Some(terms) = Terms::read(&line) {
            filings = row::filings(&terms);
            if !row::is_intact(connection, id, &terms)? {
                misfiled = Some((terms.writer, terms.seq));
            }
        }
        Ok(Self {
            id,
            line,
            misfiled,
            filings,
        })
    }
}

impl Condition {
    /// What `filter` asks for.
    fn of(filter: &Filter) -> Self {
        // A new field does not compile until it is asked about.
        let Filter {
            actor,
            subject,
            chain,
            event_types,
            task,
            resource,
            action,
            result,
            decision_id,
            from,
            until,
        } = filter;
        let mut all = Self::default();
        all.and(ACTOR, actor.clone());
        all.and("subject = ?", subject.clone());
        all.and(CHAIN, chain.clone());
        if !event_types.is_empty() {
            let places = vec!["?"; event_types.len()].join(", ");
            all.terms.push(format!("event_type IN ({places})"));
            let names = event_types.iter().map(|it| it.as_str().to_owned().into());
            all.values.extend(names);
        }
        match task {
            Some(Tasks::Under(task)) => all.and(TASK, Some(task.clone())),
            Some(Tasks::Exactly(task)) => {
                all.and(TASK, Some(task.clone()));
                all.and("task = ?", Some(task.clone()));
            }
            None => {}
        }
        all.and("resource = ?", resource.clone());
        all.and("action = ?", action.clone());
        all.and("result = ?", result.map(|it| it.as_str().to_owned()));
        all.and("decision_id = ?", decision_id.clone());
        all.and("time >= ?", from.map(|it| it.to_string()));
        all.and("time < ?", until.map(|it| it.to_string()));
        all
    }

    fn and(&mut self, term: &str, value: Option<String>) {
        if let Some(value) = value {
            self.terms.push(term.to_owned());
            self.values.push(value.into());
        }
    }

    fn clause(&self) -> String {
        if self.terms.is_empty() {
            return String::new();
        }
        format!("WHERE {}", self.terms.join(" AND "))
    }
}

/// The statement that counts what `filter` asks for, and finds the greatest time of it.
pub(super) fn total(filter: &Filter) -> (String, Vec<Value>) {
    let all = Condition::of(filter);
    let statement = format!("SELECT count(*), max(time) FROM record {}", all.clause());
    (statement, all.values)
}

/// The statement that gives one page, and one record more where there is one.
pub(super) fn page(
    filter: &Filter,
    order: Order,
    after: Option<&Cursor>,
    limit: usize,
) -> (String, Vec<Value>) {
    let (follows, direction) = match order {
        Order::Ascending => (">", "ASC"),
        Order::Descending => ("<", "DESC"),
    };
    let mut all = Condition::of(filter);
    if let Some(Cursor { time, writer, seq }) = after {
        all.terms
            .push(format!("(time, writer, seq) {follows} (?, ?, ?)"));
        let seq = i64::try_from(*seq).unwrap_or(i64::MAX);
        all.values
            .extend([time.clone().into(), writer.clone().into(), seq.into()]);
    }
    all.values.push(one_more(limit).into());
    let statement = format!(
        "SELECT line, time, writer, seq FROM record {} \
         ORDER BY time {direction}, writer {direction}, seq {direction} LIMIT ?",
        all.clause()
    );
    (statement, all.values)
}

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// Steps of the database's machine between two looks at whether to stop: some microseconds.
const STEPS: i32 = 1000;
const ACTOR: &str = "id IN (SELECT record FROM party WHERE name = ? AND acts = 1)";
const CHAIN: &str = "id IN (SELECT record FROM party WHERE name = ?)";
const TASK: &str = "id IN (SELECT record FROM task_member WHERE task = ?)";
pub(super) const TRACE: &str = "\
    WITH done AS MATERIALIZED (SELECT DISTINCT record FROM party WHERE name = ?1), \
    tasks AS (SELECT DISTINCT task FROM record WHERE id IN done AND task IS NOT NULL) \
    SELECT line FROM record WHERE id IN ( \
        SELECT record FROM done \
        UNION SELECT record FROM task_member WHERE task IN (SELECT task FROM tasks)) \
    ORDER BY time, writer, seq LIMIT ?2";
/// The statement that gives the next step of a walk.
pub(super) const fn walk_of(span: &Span) -> &'static str {
    match span.writer {
        None => WALK,
        Some(_) => WALK_ONE,
    }
}

/// By `id` alone, so that every step goes on where the last one ended.
const WALK: &str = "\
    SELECT id, line FROM record WHERE id > ?1 AND id <= ?2 AND seq >= ?3 AND seq <= ?4 ORDER BY id LIMIT 512";
/// By number: a writer's records have their numbers in the order of `id`, and followers ask for the newest few.
const WALK_ONE: &str = "\
    SELECT id, line FROM record WHERE +id > ?1 AND +id <= ?2 AND seq >= ?3 AND seq <= ?4 AND writer = ?5 \
    ORDER BY seq LIMIT 512";
