//! Repeated requests: what was answered before, by caller and request id.

use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::desk::Work;
use super::row;
use crate::delegation::{GrantId, PersonId, SessionId, Status, TaskId, TokenId};
use crate::state::{Ended, Failure, Position, REQUEST_KEPT, Refusal, Request, StateError};

/// What was answered: names, so that a repeated answer tells how the things are now.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Session(SessionId),
    Task(PersonId, TaskId),
    Grant(GrantId, Option<TokenId>),
    Lease(TokenId),
    Ended(WrittenEnded),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WrittenEnded {
    tokens: u64,
    sessions: Vec<SessionId>,
    tasks: Vec<(PersonId, TaskId, bool)>,
    completed: bool,
    grants: Vec<GrantId>,
    position: u64,
}

/// What was answered to this request before.
pub(super) fn answered(
    work: &Work<'_>,
    request: Option<&Request>,
) -> Result<Option<Answer>, StateError> {
    let Some(Request { caller, id, digest }) = request else {
        return Ok(None);
    };
    let select = "SELECT digest, answer FROM requests WHERE tenant = ? AND caller = ? AND id = ? AND until > ?";
    let mut select = work.db.prepare_cached(select)?;
    let found = select.query_row(
        params![work.tenant, caller, id, row::nanos(work.now)],
        |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, String>(1)?)),
    );
    let Some((kept, answer)) = found.optional()? else {
        return Ok(None);
    };
    if kept != digest {
        return Err(Refusal::RequestIdReused.into());
    }
    let read = serde_json::from_str(&answer);
    read.map(Some).map_err(|error| StateError::Unavailable {
        failure: Failure::Corrupt,
        source: Some(std::sync::Arc::new(error)),
    })
}

/// Keeps what is answered to this request.
pub(super) fn remember(
    work: &Work<'_>,
    request: Option<&Request>,
    answer: &Answer,
) -> Result<(), StateError> {
    let Some(Request { caller, id, digest }) = request else {
        return Ok(());
    };
    let insert = "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?)";
    let until = row::nanos(work.now.plus(REQUEST_KEPT));
    let answer = serde_json::to_string(answer).unwrap_or_default();
    let mut insert = work.db.prepare_cached(insert)?;
    insert.execute(params![work.tenant, caller, id, digest, answer, until])?;
    Ok(())
}

impl From<&Ended> for WrittenEnded {
    fn from(ended: &Ended) -> Self {
        let Ended {
            tokens,
            sessions,
            tasks,
            grants,
            position,
        } = ended.clone();
        Self {
            tokens,
            sessions,
            completed: tasks
                .iter()
                .any(|(.., status)| *status == Status::Completed),
            tasks: tasks
                .into_iter()
                .map(|(person, task, status)| (person, task, status == Status::Cascaded))
                .collect(),
            grants,
            position: position.0,
        }
    }
}

impl From<WrittenEnded> for Ended {
    fn from(written: WrittenEnded) -> Self {
        let WrittenEnded {
            tokens,
            sessions,
            tasks,
            completed,
            grants,
            position,
        } = written;
        let own = if completed {
            Status::Completed
        } else {
            Status::Revoked
        };
        let tasks = tasks.into_iter();
        Self {
            tokens,
            sessions,
            tasks: tasks
                .map(|(person, task, cascaded)| {
                    (person, task, if cascaded { Status::Cascaded } else { own })
                })
                .collect(),
            grants,
            position: Position(position),
        }
    }
}
