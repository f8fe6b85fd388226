//! Rows and values: how sessions, tasks, grants and leases are written down, and read back with every name checked again.
//!
//! A row that can't be read back is [`Failure::Corrupt`](crate::state::Failure::Corrupt), for that row alone.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::types::{FromSql, Type};
use rusqlite::{Result, Row};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::delegation::{
    Agent, AgentId, AgentType, Authentication, Chain, Grant, Held, Narrowing, Person, PersonId,
    Principal, Session, Task,
};
use crate::identity::SpiffeId;
use crate::state::Lease;

pub(super) const SESSION: &str =
    "id, person, issuer, subject, role, auth_time, methods, class, created, expires, status";
pub(super) const TASK: &str =
    "id, person, session, path, owner, begun_under, purpose, created, deadline, status";
pub(super) const GRANT: &str = "path, person, agents, session, task_path, held, hops, audience, further, created, expires, status";
pub(super) const LEASE: &str = "token, \"grant\", audience, issued, expires";

/// Nanoseconds since 1970; what is later than 2262 is 2262.
pub(super) fn nanos(time: Timestamp) -> i64 {
    let since = time.since(Timestamp::from_unix_seconds(0));
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

pub(super) fn time(nanos: i64) -> Timestamp {
    let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    Timestamp::from_unix_seconds(0).plus(since)
}

pub(super) fn session(row: &Row<'_>) -> Result<Session> {
    Ok(Session {
        id: parsed(row, 0)?,
        person: Person {
            id: parsed(row, 1)?,
            issuer: row.get::<_, String>(2)?.into(),
            subject: row.get::<_, String>(3)?.into(),
        },
        role: parsed(row, 4)?,
        authentication: Authentication {
            time: time(row.get(5)?),
            methods: json(row, 6)?,
            class: row.get(7)?,
        },
        created: time(row.get(8)?),
        expires: time(row.get(9)?),
        status: parsed(row, 10)?,
    })
}

pub(super) fn task(row: &Row<'_>) -> Result<Task> {
    Ok(Task {
        id: parsed(row, 0)?,
        person: parsed(row, 1)?,
        session: parsed(row, 2)?,
        path: path(row, 3)?,
        owner: json::<WrittenOwner>(row, 4)?.into(),
        begun_under: path(row, 5)?,
        purpose: row.get(6)?,
        created: time(row.get(7)?),
        deadline: time(row.get(8)?),
        status: parsed(row, 9)?,
    })
}

pub(super) fn grant(row: &Row<'_>) -> Result<Grant> {
    let agents: Vec<WrittenAgent> = json(row, 2)?;
    Ok(Grant {
        path: path(row, 0)?,
        chain: Chain {
            person: parsed(row, 1)?,
            agents: agents.into_iter().map(Agent::from).collect(),
        },
        session: parsed(row, 3)?,
        task_path: path(row, 4)?,
        held: Held::restored(json(row, 5)?),
        hops: json(row, 6)?,
        audience: json(row, 7)?,
        further: row.get(8)?,
        created: time(row.get(9)?),
        expires: time(row.get(10)?),
        status: parsed(row, 11)?,
    })
}

pub(super) fn lease(row: &Row<'_>) -> Result<Lease> {
    Ok(Lease {
        token: parsed(row, 0)?,
        grant: parsed(row, 1)?,
        audience: json(row, 2)?,
        issued: time(row.get(3)?),
        expires: time(row.get(4)?),
    })
}

/// The first column, as a name.
pub(super) fn name<T: FromStr<Err: Error + Send + Sync + 'static>>(row: &Row<'_>) -> Result<T> {
    parsed(row, 0)
}

pub(super) fn parsed<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> Result<T> {
    at(column, row.get::<_, String>(column)?.parse())
}

fn path<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> Result<Vec<T>> {
    let text: String = row.get(column)?;
    let names = text.split('/').filter(|it| !it.is_empty()).map(str::parse);
    at(column, names.collect())
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    at(column, serde_json::from_str(&row.get::<_, String>(column)?))
}

fn at<T, E: Error + Send + Sync + 'static>(
    column: usize,
    value: std::result::Result<T, E>,
) -> Result<T> {
    value.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// A path as text.
pub(super) fn joined<T: AsRef<str>>(path: &[T]) -> String {
    path.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("/")
}

/// A list as text.
pub(super) fn written<T: Serialize>(values: &[T]) -> String {
    to_json(&values)
}

pub(super) fn agents(agents: &[Agent]) -> String {
    to_json(&agents.iter().map(WrittenAgent::from).collect::<Vec<_>>())
}

pub(super) fn owner(owner: &Principal) -> String {
    to_json(&WrittenOwner::from(owner))
}

pub(super) fn permissions(held: &Held) -> String {
    to_json(held.permissions())
}

pub(super) fn hops(hops: &[Narrowing]) -> String {
    to_json(&hops)
}

/// Lists and maps of texts always have a form; an empty text would be found corrupt when read.
fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
struct WrittenAgent {
    spiffe_id: SpiffeId,
    agent_id: AgentId,
    agent_type: AgentType,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WrittenOwner {
    Person(PersonId),
    Agent(WrittenAgent),
}

impl From<&Agent> for WrittenAgent {
    fn from(agent: &Agent) -> Self {
        let Agent {
            spiffe_id,
            agent_id,
            agent_type,
        } = agent.clone();
        Self {
            spiffe_id,
            agent_id,
            agent_type,
        }
    }
}

impl From<WrittenAgent> for Agent {
    fn from(written: WrittenAgent) -> Self {
        let WrittenAgent {
            spiffe_id,
            agent_id,
            agent_type,
        } = written;
        Self {
            spiffe_id,
            agent_id,
            agent_type,
        }
    }
}

impl From<&Principal> for WrittenOwner {
    fn from(owner: &Principal) -> Self {
        match owner {
            Principal::Person(id) => Self::Person(id.clone()),
            Principal::Agent(agent) => Self::Agent(agent.into()),
        }
    }
}

impl From<WrittenOwner> for Principal {
    fn from(written: WrittenOwner) -> Self {
        match written {
            WrittenOwner::Person(id) => Self::Person(id),
            WrittenOwner::Agent(agent) => Self::Agent(agent.into()),
        }
    }
}

/// One number.
pub(super) fn number<T: FromSql>(row: &Row<'_>) -> Result<T> {
    row.get(0)
}
