//! Rows and values: how sessions, tasks, grants and leases are written down, and read back with every name checked again.
//!
//! A row that can't be read back is [`Failure::Corrupt`](crate::state::Failure::Corrupt), for that row alone.

use std::error::Error;
use std::str::FromStr;
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, Type};
use rusqlite::{Result, Row};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::delegation::{
    Agent, AgentId, AgentType, Authentication, Chain, Grant, Held, Narrowing, Person, PersonId,
    Principal, Session, Status, Task,
};
use crate::identity::SpiffeId;
use crate::permission::{Permission, PermissionSet};
use crate::state::Lease;

pub(super) const SESSION: &str =
    "id, person, issuer, subject, role, auth_time, methods, class, created, expires, status";
pub(super) const TASK: &str =
    "id, person, session, path, owner, purpose, created, deadline, status";
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
        status: status(row, 10)?,
    })
}

pub(super) fn task(row: &Row<'_>) -> Result<Task> {
    Ok(Task {
        begun_under: Vec::new(),
        id: parsed(row, 0)?,
        person: parsed(row, 1)?,
        session: parsed(row, 2)?,
        path: path(row, 3)?,
        owner: json::<WrittenOwner>(row, 4)?.into(),
        purpose: row.get(5)?,
        created: time(row.get(6)?),
        deadline: time(row.get(7)?),
        status: status(row, 8)?,
    })
}

pub(super) fn grant(row: &Row<'_>) -> Result<Grant> {
    let agents: Vec<WrittenAgent> = json(row, 2)?;
    let permissions: Vec<String> = json(row, 5)?;
    let hops: Vec<WrittenNarrowing> = json(row, 6)?;
    let hops = hops.into_iter().map(WrittenNarrowing::read);
    Ok(Grant {
        path: path(row, 0)?,
        chain: Chain {
            person: parsed(row, 1)?,
            agents: agents.into_iter().map(Agent::from).collect(),
        },
        session: parsed(row, 3)?,
        task_path: path(row, 4)?,
        held: held(&at(5, set(&permissions))?),
        hops: hops
            .collect::<std::result::Result<_, _>>()
            .or_else(|error| at(6, Err(error)))?,
        audience: list(row, 7)?,
        further: row.get(8)?,
        created: time(row.get(9)?),
        expires: time(row.get(10)?),
        status: status(row, 11)?,
    })
}

/// What was held when it was written: narrowed then, and the same now.
fn held(permissions: &PermissionSet) -> Held {
    Held::by_role(permissions)
}

pub(super) fn lease(row: &Row<'_>) -> Result<Lease> {
    Ok(Lease {
        token: parsed(row, 0)?,
        grant: parsed(row, 1)?,
        audience: list(row, 2)?,
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
    let names = text.split('/').map(str::parse);
    at(column, names.collect())
}

fn list<T: FromStr<Err: Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: usize,
) -> Result<Vec<T>> {
    let texts: Vec<String> = json(row, column)?;
    let values = texts.iter().map(|it| it.parse());
    at(column, values.collect())
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    at(column, serde_json::from_str(&row.get::<_, String>(column)?))
}

pub(super) fn status(row: &Row<'_>, column: usize) -> Result<Status> {
    let word: String = row.get(column)?;
    let known = [
        Status::Pending,
        Status::Active,
        Status::Completed,
        Status::Revoked,
        Status::Expired,
        Status::Cascaded,
    ];
    let found = known.into_iter().find(|it| it.as_str() == word);
    found.ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(
            column,
            Type::Text,
            Box::new(FromSqlError::InvalidType),
        )
    })
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
pub(super) fn written<T: ToString>(values: &[T]) -> String {
    let texts: Vec<_> = values.iter().map(ToString::to_string).collect();
    to_json(&texts)
}

pub(super) fn agents(agents: &[Agent]) -> String {
    to_json(&agents.iter().map(WrittenAgent::from).collect::<Vec<_>>())
}

pub(super) fn owner(owner: &Principal) -> String {
    to_json(&WrittenOwner::from(owner))
}

pub(super) fn permissions(held: &Held) -> String {
    written(held.permissions().entries())
}

pub(super) fn hops(hops: &[Narrowing]) -> String {
    to_json(&hops.iter().map(WrittenNarrowing::from).collect::<Vec<_>>())
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

#[derive(Serialize, Deserialize)]
struct WrittenNarrowing {
    resources: Option<Vec<String>>,
    actions: Option<Vec<String>>,
    read_only: bool,
    permissions: Option<Vec<String>>,
    supervise: Vec<String>,
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

impl From<&Narrowing> for WrittenNarrowing {
    fn from(narrowing: &Narrowing) -> Self {
        let Narrowing {
            resources,
            actions,
            read_only,
            permissions,
            supervise,
        } = narrowing;
        let texts = |set: &PermissionSet| set.entries().iter().map(ToString::to_string).collect();
        Self {
            resources: resources
                .as_ref()
                .map(|it| it.iter().map(ToString::to_string).collect()),
            actions: actions
                .as_ref()
                .map(|it| it.iter().map(ToString::to_string).collect()),
            read_only: *read_only,
            permissions: permissions.as_ref().map(texts),
            supervise: supervise.iter().map(ToString::to_string).collect(),
        }
    }
}

impl WrittenNarrowing {
    fn read(self) -> std::result::Result<Narrowing, Unreadable> {
        let Self {
            resources,
            actions,
            read_only,
            permissions,
            supervise,
        } = self;
        Ok(Narrowing {
            resources: resources.map(|it| all(&it)).transpose()?,
            actions: actions.map(|it| all(&it)).transpose()?,
            read_only,
            permissions: permissions.map(|it| set(&it)).transpose()?,
            supervise: all::<Permission>(&supervise)?
                .iter()
                .map(|it| it.scope().clone())
                .collect(),
        })
    }
}

/// A text inside a list is not what it should be.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(Box<dyn Error + Send + Sync>);

fn all<T: FromStr<Err: Error + Send + Sync + 'static>>(
    texts: &[String],
) -> std::result::Result<Vec<T>, Unreadable> {
    let values = texts
        .iter()
        .map(|it| it.parse().map_err(|error| Unreadable(Box::new(error))));
    values.collect()
}

fn set(texts: &[String]) -> std::result::Result<PermissionSet, Unreadable> {
    Ok(all::<Permission>(texts)?.into_iter().collect())
}

/// One number.
pub(super) fn number<T: FromSql>(row: &Row<'_>) -> Result<T> {
    row.get(0)
}
