//! What was taken back, as rows: one for each entry, in the order in which it was taken back.

use std::error::Error;
use std::str::FromStr;

use rusqlite::{Connection, Result, Row, params};

use super::desk::Work;
use super::row;
use crate::clock::Timestamp;
use crate::state::{Entry, Position, Revocations, Revoked, StateError};

/// Takes it back: a row now, known to everybody as soon as the transaction is durable.
pub(super) fn take_back(
    work: &mut Work<'_>,
    what: Revoked,
    until: Timestamp,
) -> std::result::Result<(), StateError> {
    let (kind, id, person, moment) = columns(&what);
    let insert = "INSERT INTO revocations (tenant, kind, id, person, moment, until) VALUES (?, ?, ?, ?, ?, ?)";
    let moment = moment.map_or(0, row::nanos);
    let row = params![work.tenant, kind, id, person, moment, row::nanos(until)];
    work.db.prepare_cached(insert)?.execute(row)?;
    work.taken_back.push(Entry { what, until });
    Ok(())
}

/// Whether there is a row for it.
pub(super) fn is_taken_back(
    work: &Work<'_>,
    what: &Revoked,
) -> std::result::Result<bool, StateError> {
    let (kind, id, person, _moment) = columns(what);
    let select = "SELECT EXISTS (SELECT 1 FROM revocations WHERE tenant = ? AND kind = ? AND id = ? AND person = ?)";
    let mut select = work.db.prepare_cached(select)?;
    Ok(select.query_row(params![work.tenant, kind, id, person], row::number)?)
}

/// Kind, id, person, moment.
fn columns(what: &Revoked) -> (&'static str, &str, &str, Option<Timestamp>) {
    match what {
        Revoked::Token(id) => ("token", id.as_str(), "", None),
        Revoked::Grant(id) => ("grant", id.as_str(), "", None),
        Revoked::Task(person, id) => ("task", id.as_str(), person.as_str(), None),
        Revoked::Session(id) => ("session", id.as_str(), "", None),
        Revoked::Subject(id, moment) => ("subject", id.as_str(), "", Some(*moment)),
        Revoked::Actor(id, moment) => ("actor", id.as_str(), "", Some(*moment)),
        Revoked::AgentType(id, moment) => ("agent_type", id.as_str(), "", Some(*moment)),
        Revoked::Tenant(moment) => ("tenant", "", "", Some(*moment)),
    }
}

/// Where the order of all that was taken back has come to.
pub(super) fn position(db: &Connection) -> Result<Position> {
    let select = "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'revocations'";
    let seq: i64 = db.prepare_cached(select)?.query_row([], row::number)?;
    Ok(Position(u64::try_from(seq).unwrap_or(0)))
}

/// What was taken back before the start and still matters.
pub(super) fn load(db: &Connection, tenant: &str, now: Timestamp) -> Result<Revocations> {
    let select =
        "SELECT kind, id, person, moment, until FROM revocations WHERE tenant = ? AND until > ?";
    let mut select = db.prepare_cached(select)?;
    let entries = select.query_map(params![tenant, row::nanos(now)], entry)?;
    let entries = entries.collect::<Result<Vec<_>>>()?;
    Ok(Revocations::new(position(db)?, entries))
}

fn entry(row: &Row<'_>) -> Result<Entry> {
    let moment = row::time(row.get(3)?);
    let what = match &*row.get::<_, String>(0)? {
        "token" => Revoked::Token(id(row)?),
        "grant" => Revoked::Grant(id(row)?),
        "task" => Revoked::Task(row::parsed(row, 2)?, id(row)?),
        "session" => Revoked::Session(id(row)?),
        "subject" => Revoked::Subject(id(row)?, moment),
        "actor" => Revoked::Actor(id(row)?, moment),
        "agent_type" => Revoked::AgentType(id(row)?, moment),
        "tenant" => Revoked::Tenant(moment),
        _ => {
            return Err(rusqlite::Error::InvalidColumnType(
                0,
                "kind".to_owned(),
                rusqlite::types::Type::Text,
            ));
        }
    };
    let until = row::time(row.get(4)?);
    Ok(Entry { what, until })
}

fn id<T: FromStr<Err: Error + Send + Sync + 'static>>(row: &Row<'_>) -> Result<T> {
    row::parsed(row, 1)
}
