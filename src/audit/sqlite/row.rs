//! A record's row: the line, and beside it what the record is found by.
//!
//! The chain covers the line alone. Whoever changes what stands beside it hides a record from those who ask for it, or
//! shows it to those who ask for another, so that a walk compares the two ([`is_intact`], [`filings`]).

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use super::super::trail::Terms;

/// Adds the row of the record `line`, which says `terms` and is number `seq`.
pub(super) fn insert(
    connection: &Connection,
    terms: &Terms,
    seq: i64,
    line: &str,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(INSERT_RECORD)?;
    let added = insert.execute(params![
        line,
        terms.time,
        terms.writer,
        seq,
        terms.event_type,
        terms.result,
        terms.subject.as_ref().map(|subject| &subject.id),
        terms.task.as_ref().map(|task| &task.id),
        terms.resource,
        terms.action,
        terms.decision_id,
    ])?;
    if added != 1 {
        return Err(rusqlite::Error::StatementChangedRows(added));
    }
    let record = connection.last_insert_rowid();
    let mut insert = connection.prepare_cached(INSERT_PARTY)?;
    for name in terms.chain() {
        let acts = terms.actors().any(|actor| actor == name);
        insert.execute(params![name, acts, record])?;
    }
    let mut insert = connection.prepare_cached(INSERT_TASK)?;
    for task in terms.tasks() {
        insert.execute(params![task, record])?;
    }
    Ok(())
}

/// Whether everything that `terms`, the record in the row `id`, is found by leads there.
pub(super) fn is_intact(connection: &Connection, id: i64, terms: &Terms) -> rusqlite::Result<bool> {
    let mut intact = connection.prepare_cached(IS_RECORD)?.exists(params![
        id,
        terms.time,
        terms.writer,
        i64::try_from(terms.seq).ok(),
        terms.event_type,
        terms.result,
        terms.subject.as_ref().map(|subject| &subject.id),
        terms.task.as_ref().map(|task| &task.id),
        terms.resource,
        terms.action,
        terms.decision_id,
    ])?;
    let mut is_party = connection.prepare_cached(IS_PARTY)?;
    for name in terms.chain() {
        let acts = terms.actors().any(|actor| actor == name);
        intact = intact && is_party.exists(params![name, acts, id])?;
    }
    let mut is_task = connection.prepare_cached(IS_TASK)?;
    for task in terms.tasks() {
        intact = intact && is_task.exists(params![task, id])?;
    }
    Ok(intact)
}

/// In how many rows of the two tables beside it the record that says `terms` stands.
pub(super) fn filings(terms: &Terms) -> i64 {
    let names: BTreeSet<_> = terms.chain().collect();
    let tasks: BTreeSet<_> = terms.tasks().collect();
    i64::try_from(names.len().saturating_add(tasks.len())).unwrap_or(i64::MAX)
}

/// How many rows the two tables have for records up to `end`, and for records that are not there.
pub(super) fn all_filings(connection: &Connection, end: i64) -> rusqlite::Result<i64> {
    connection.query_row(ALL_FILINGS, params![end], |row| row.get(0))
}

const INSERT_RECORD: &str = "INSERT INTO record \
    (line, time, writer, seq, event_type, result, subject, task, resource, action, decision_id) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
/// A name may stand in a chain more than once.
const INSERT_PARTY: &str = "INSERT OR IGNORE INTO party (name, acts, record) VALUES (?1, ?2, ?3)";
const INSERT_TASK: &str = "INSERT OR IGNORE INTO task_member (task, record) VALUES (?1, ?2)";
const IS_RECORD: &str = "SELECT 1 FROM record WHERE id = ?1 AND time IS ?2 AND writer IS ?3 AND seq IS ?4 \
    AND event_type IS ?5 AND result IS ?6 AND subject IS ?7 AND task IS ?8 AND resource IS ?9 AND action IS ?10 \
    AND decision_id IS ?11";
const IS_PARTY: &str = "SELECT 1 FROM party WHERE name = ?1 AND acts = ?2 AND record = ?3";
const IS_TASK: &str = "SELECT 1 FROM task_member WHERE task = ?1 AND record = ?2";
const ALL_FILINGS: &str = "\
    WITH last AS MATERIALIZED (SELECT coalesce(max(id), 0) AS id FROM record) \
    SELECT (SELECT count(*) FROM party, last WHERE record <= ?1 OR record > last.id) \
        + (SELECT count(*) FROM task_member, last WHERE record <= ?1 OR record > last.id)";
