//! From pending to alive: what was begun lives once its audit record is kept, and never was if that takes too long.

use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::{grants, row, sessions, tasks};
use crate::clock::Timestamp;
use crate::delegation::{GrantId, PersonId, SessionId, Status, TaskId};
use crate::state::store::living;
use crate::state::{Begun, Level, PENDING_FOR, Refusal, StateError, Whose};

pub(super) fn activate(work: &Work<'_>, begun: &Begun) -> Result<(), StateError> {
    clear_stale(work)?;
    match begun {
        Begun::Session(id) => activate_session(work, id),
        Begun::Task(person, id) => activate_task(work, person, id),
        Begun::Grant(id) => activate_grant(work, id),
    }
}

fn activate_session(work: &Work<'_>, id: &SessionId) -> Result<(), StateError> {
    let session = sessions::get(work, id, &Whose::Anybody)?;
    if waits(Level::Session, session.status, session.expires, work.now)? {
        let update = "UPDATE sessions SET status = 'active' WHERE tenant = ? AND id = ?";
        work.db
            .prepare_cached(update)?
            .execute(params![work.tenant, id.as_str()])?;
    }
    Ok(())
}

fn activate_task(work: &Work<'_>, person: &PersonId, id: &TaskId) -> Result<(), StateError> {
    let task = tasks::get(work, person, id)?;
    if waits(Level::Task, task.status, task.deadline, work.now)? {
        let session = sessions::get(work, &task.session, &Whose::Anybody)?;
        living(Level::Session, session.status, session.expires, work.now)?;
        let above = task.path.split_last().map_or(&[][..], |(_, above)| above);
        tasks::live_path(work, person, above)?;
        rouse_task(work, person, id)?;
    }
    Ok(())
}

fn activate_grant(work: &Work<'_>, id: &GrantId) -> Result<(), StateError> {
    let mut standing = grants::standing(work, id, &Whose::Anybody)?;
    let own = standing
        .grants
        .pop()
        .ok_or(Refusal::NotFound(Level::Grant))?;
    if !waits(Level::Grant, own.status, own.expires, work.now)? {
        return Ok(());
    }
    let begins = "SELECT begins_task FROM grants WHERE tenant = ? AND id = ?";
    let mut begins = work.db.prepare_cached(begins)?;
    if begins.query_row(params![work.tenant, id.as_str()], row::number)? {
        let task = standing.tasks.pop().ok_or(Refusal::NotFound(Level::Task))?;
        if waits(Level::Task, task.status, task.deadline, work.now)? {
            rouse_task(work, &task.person, &task.id)?;
        }
    }
    standing.living(work.now)?;
    let update = "UPDATE grants SET status = 'active' WHERE tenant = ? AND id = ?";
    work.db
        .prepare_cached(update)?
        .execute(params![work.tenant, id.as_str()])?;
    Ok(())
}

fn rouse_task(work: &Work<'_>, person: &PersonId, id: &TaskId) -> Result<(), StateError> {
    let update = "UPDATE tasks SET status = 'active' WHERE tenant = ? AND person = ? AND id = ?";
    work.db
        .prepare_cached(update)?
        .execute(params![work.tenant, person.as_str(), id.as_str()])?;
    Ok(())
}

/// Whether it is still to be activated; an error if it can't be any more.
fn waits(
    level: Level,
    status: Status,
    expires: Timestamp,
    now: Timestamp,
) -> Result<bool, Refusal> {
    let pending = status == Status::Pending;
    let as_if = if pending { Status::Active } else { status };
    living(level, as_if, expires, now)?;
    Ok(pending)
}

pub(super) fn abandon(work: &Work<'_>, begun: &Begun) -> Result<(), StateError> {
    let tenant = work.tenant;
    match begun {
        Begun::Session(id) => {
            let delete = "DELETE FROM sessions WHERE tenant = ? AND id = ? AND status = 'pending'";
            work.db
                .prepare_cached(delete)?
                .execute(params![tenant, id.as_str()])?;
        }
        Begun::Task(person, id) => forget_task(work, person, id)?,
        Begun::Grant(id) => forget_grant(work, id)?,
    }
    Ok(())
}

fn forget_task(work: &Work<'_>, person: &PersonId, id: &TaskId) -> Result<(), StateError> {
    let key = params![work.tenant, person.as_str(), id.as_str()];
    let delete =
        "DELETE FROM tasks WHERE tenant = ? AND person = ? AND id = ? AND status = 'pending'";
    if work.db.prepare_cached(delete)?.execute(key)? > 0 {
        let name = "DELETE FROM task_names WHERE tenant = ? AND person = ? AND id = ?";
        work.db.prepare_cached(name)?.execute(key)?;
    }
    Ok(())
}

fn forget_grant(work: &Work<'_>, id: &GrantId) -> Result<(), StateError> {
    let select = "SELECT person, task, begins_task FROM grants WHERE tenant = ? AND id = ? AND status = 'pending'";
    let mut select = work.db.prepare_cached(select)?;
    let key = params![work.tenant, id.as_str()];
    let found = select.query_row(key, |row| {
        Ok((row::parsed(row, 0)?, row::parsed(row, 1)?, row.get(2)?))
    });
    let Some((person, task, begins)) = found.optional()? else {
        return Ok(());
    };
    let leases = "DELETE FROM leases WHERE tenant = ? AND \"grant\" = ?";
    work.db.prepare_cached(leases)?.execute(key)?;
    let grant = "DELETE FROM grants WHERE tenant = ? AND id = ?";
    work.db.prepare_cached(grant)?.execute(key)?;
    if begins {
        forget_task(work, &person, &task)?;
    }
    Ok(())
}

/// Forgets what has waited for its audit record for too long.
pub(super) fn clear_stale(work: &Work<'_>) -> Result<u64, StateError> {
    let waited = work.now.since(Timestamp::from_unix_seconds(0));
    let stale = waited.checked_sub(PENDING_FOR).unwrap_or_default();
    let stale = row::nanos(Timestamp::from_unix_seconds(0).plus(stale));
    let key = params![work.tenant, stale];
    let grants = "SELECT id FROM grants WHERE tenant = ? AND status = 'pending' AND begun <= ?";
    let grants: Vec<GrantId> = all(work, grants, key, row::name)?;
    for id in &grants {
        forget_grant(work, id)?;
    }
    let tasks =
        "SELECT person, id FROM tasks WHERE tenant = ? AND status = 'pending' AND begun <= ?";
    let tasks: Vec<(PersonId, TaskId)> = all(work, tasks, key, |row| {
        Ok((row::parsed(row, 0)?, row::parsed(row, 1)?))
    })?;
    for (person, id) in &tasks {
        forget_task(work, person, id)?;
    }
    let sessions = "DELETE FROM sessions WHERE tenant = ? AND status = 'pending' AND begun <= ?";
    let sessions = work.db.prepare_cached(sessions)?.execute(key)?;
    Ok(u64::try_from(grants.len() + tasks.len() + sessions).unwrap_or(u64::MAX))
}

/// All rows of a query.
pub(super) fn all<T>(
    work: &Work<'_>,
    select: &str,
    params: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StateError> {
    let mut select = work.db.prepare_cached(select)?;
    let found = select.query_map(params, read)?;
    Ok(found.collect::<Result<_, _>>()?)
}
