//! Tasks: a tree under a session, by names that a person uses once.

use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::requests::{self, Answer};
use super::{begin, row, sessions};
use crate::delegation::{GrantId, PersonId, SessionId, Status, Task, TaskId};
use crate::state::store::living;
use crate::state::{Kept, Level, Limits, Refusal, Request, StateError, TaskQuery, Whose};

pub(super) fn create(
    work: &Work<'_>,
    task: Task,
    limits: Limits,
    request: Option<&Request>,
) -> Result<Kept<Task>, StateError> {
    begin::clear_stale(work)?;
    if let Some(answer) = requests::answered(work, request)? {
        let Answer::Task(person, id) = answer else {
            return Err(Refusal::RequestIdReused.into());
        };
        if let Some(value) = find(work, &person, &id)? {
            let repeated = true;
            return Ok(Kept { value, repeated });
        }
    }
    insert(work, &task, limits)?;
    requests::remember(
        work,
        request,
        &Answer::Task(task.person.clone(), task.id.clone()),
    )?;
    let status = Status::Pending;
    Ok(Kept {
        value: Task { status, ..task },
        repeated: false,
    })
}

/// Keeps a task that fits what it rests on.
pub(super) fn insert(work: &Work<'_>, task: &Task, limits: Limits) -> Result<(), StateError> {
    let session = sessions::get(work, &task.session, &Whose::Person(task.person.clone()))?;
    living(Level::Session, session.status, session.expires, work.now)?;
    let above = match task.path.split_last() {
        Some((own, above)) if *own == task.id && above.len() < DEEPEST => above,
        _ => return Err(Refusal::Unfit("the path of the task").into()),
    };
    let mut ends = session.expires;
    for task in live_path(work, &task.person, above)? {
        ends = ends.min(task.deadline);
        if task.session != session.id {
            return Err(Refusal::Unfit("the session of the task above").into());
        }
    }
    if task.deadline <= work.now || task.deadline > ends {
        return Err(Refusal::Unfit("the deadline of the task").into());
    }
    let parent = above.last();
    if let Some(parent) = parent {
        room(work, task, parent, limits.fanout)?;
    }
    let name = "INSERT OR IGNORE INTO task_names VALUES (?, ?, ?)";
    let names = params![work.tenant, task.person.as_str(), task.id.as_str()];
    if work.db.prepare_cached(name)?.execute(names)? == 0 {
        return Err(Refusal::TaskExists.into());
    }
    let under: Vec<_> = task.begun_under.iter().map(GrantId::as_str).collect();
    let insert = "INSERT INTO tasks (tenant, person, id, session, parent, path, owner, begun_under, purpose, created, deadline, \
                  status, begun) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)";
    work.db.prepare_cached(insert)?.execute(params![
        work.tenant,
        task.person.as_str(),
        task.id.as_str(),
        task.session.as_str(),
        parent.map(TaskId::as_str),
        row::joined(&texts(&task.path)),
        row::owner(&task.owner),
        row::joined(&under),
        task.purpose,
        row::nanos(task.created),
        row::nanos(task.deadline),
        row::nanos(work.now),
    ])?;
    Ok(())
}

/// The tasks of a path, root first, if all of them live and the path is theirs.
pub(super) fn live_path(
    work: &Work<'_>,
    person: &PersonId,
    path: &[TaskId],
) -> Result<Vec<Task>, StateError> {
    let tasks = on_path(work, person, path)?;
    for task in &tasks {
        living(Level::Task, task.status, task.deadline, work.now)?;
    }
    Ok(tasks)
}

/// The tasks of a path, root first, alive or not.
pub(super) fn on_path(
    work: &Work<'_>,
    person: &PersonId,
    path: &[TaskId],
) -> Result<Vec<Task>, StateError> {
    let mut tasks = Vec::with_capacity(path.len());
    for (at, id) in path.iter().enumerate() {
        let task = find(work, person, id)?.ok_or(Refusal::NotFound(Level::Task))?;
        if task.path.len() != at + 1 || !path.starts_with(&task.path) {
            return Err(Refusal::Unfit("the path of the task").into());
        }
        tasks.push(task);
    }
    Ok(tasks)
}

fn room(work: &Work<'_>, task: &Task, parent: &TaskId, limit: u32) -> Result<(), StateError> {
    let count = "SELECT count(*) FROM tasks WHERE tenant = ? AND person = ? AND parent = ? \
                 AND status IN ('active', 'pending') AND deadline > ?";
    let now = row::nanos(work.now);
    let params = params![work.tenant, task.person.as_str(), parent.as_str(), now];
    let live: u32 = work
        .db
        .prepare_cached(count)?
        .query_row(params, row::number)?;
    let level = Level::Task;
    if live < limit {
        return Ok(());
    }
    Err(Refusal::Fanout { level, limit }.into())
}

pub(super) fn get(work: &Work<'_>, person: &PersonId, id: &TaskId) -> Result<Task, StateError> {
    find(work, person, id)?.ok_or_else(|| Refusal::NotFound(Level::Task).into())
}

pub(super) fn find(
    work: &Work<'_>,
    person: &PersonId,
    id: &TaskId,
) -> Result<Option<Task>, StateError> {
    let select = format!(
        "SELECT {} FROM tasks WHERE tenant = ? AND person = ? AND id = ?",
        row::TASK
    );
    let mut select = work.db.prepare_cached(&select)?;
    let found = select.query_row(
        params![work.tenant, person.as_str(), id.as_str()],
        row::task,
    );
    Ok(found.optional()?)
}

pub(super) fn list(work: &Work<'_>, query: &TaskQuery) -> Result<Vec<Task>, StateError> {
    let TaskQuery {
        person,
        session,
        status,
        after,
        most,
    } = query;
    let select = format!(
        "SELECT {} FROM tasks WHERE tenant = ?1 AND person = ?2 AND id > ?3 AND status <> 'pending' \
         AND (?4 IS NULL OR session = ?4) \
         AND (?5 IS NULL OR ?5 = CASE WHEN status = 'active' AND deadline <= ?6 THEN 'expired' ELSE status END) \
         ORDER BY id LIMIT ?7",
        row::TASK
    );
    let mut select = work.db.prepare_cached(&select)?;
    let params = params![
        work.tenant,
        person.as_str(),
        after.as_ref().map_or("", TaskId::as_str),
        session.as_ref().map(SessionId::as_str),
        status.map(Status::as_str),
        row::nanos(work.now),
        (*most).min(LONGEST_PAGE),
    ];
    let found = select.query_map(params, row::task)?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn texts(path: &[TaskId]) -> Vec<&str> {
    path.iter().map(TaskId::as_str).collect()
}

/// The hard cap of depth, whatever is configured.
pub(super) const DEEPEST: usize = 8;
pub(super) const LONGEST_PAGE: u32 = 1000;
