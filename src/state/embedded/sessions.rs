//! Sessions: begun with a handle's digest, found by it, and by their id.

use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::requests::{self, Answer};
use super::{begin, row};
use crate::delegation::{Session, SessionId, Status};
use crate::state::store::living;
use crate::state::{HandleDigest, Kept, Level, NewSession, Refusal, Request, StateError, Whose};

pub(super) fn open(
    work: &Work<'_>,
    new: &NewSession,
    request: Option<&Request>,
) -> Result<Kept<Session>, StateError> {
    begin::clear_stale(work)?;
    let NewSession { session, handle } = new;
    if let Some(answer) = requests::answered(work, request)? {
        let Answer::Session(id) = answer else {
            return Err(Refusal::RequestIdReused.into());
        };
        if let Some(value) = find(work, &id)? {
            hand_over(work, &id, *handle)?;
            let repeated = true;
            return Ok(Kept { value, repeated });
        }
    }
    if session.expires <= work.now {
        return Err(Refusal::Unfit("it would have ended already").into());
    }
    let insert = "INSERT INTO sessions (tenant, id, handle, person, issuer, subject, role, auth_time, methods, class, \
                  created, expires, status, begun) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)";
    let Session {
        id,
        person,
        role,
        authentication,
        created,
        expires,
        status: _,
    } = session;
    work.db.prepare_cached(insert)?.execute(params![
        work.tenant,
        id.as_str(),
        handle.as_bytes(),
        person.id.as_str(),
        &*person.issuer,
        &*person.subject,
        role.as_str(),
        row::nanos(authentication.time),
        row::written(&authentication.methods),
        authentication.class,
        row::nanos(*created),
        row::nanos(*expires),
        row::nanos(work.now),
    ])?;
    requests::remember(work, request, &Answer::Session(id.clone()))?;
    let status = Status::Pending;
    let value = Session {
        status,
        ..session.clone()
    };
    Ok(Kept {
        value,
        repeated: false,
    })
}

/// Gives a session that has not ended another handle.
fn hand_over(work: &Work<'_>, id: &SessionId, handle: HandleDigest) -> Result<(), StateError> {
    let update = "UPDATE sessions SET handle = ? WHERE tenant = ? AND id = ? AND status IN ('pending', 'active')";
    let mut update = work.db.prepare_cached(update)?;
    update.execute(params![handle.as_bytes(), work.tenant, id.as_str()])?;
    Ok(())
}

pub(super) fn by_handle(work: &Work<'_>, handle: HandleDigest) -> Result<Session, StateError> {
    let select = format!(
        "SELECT {}, handle FROM sessions WHERE tenant = ? AND handle = ? AND status <> 'pending'",
        row::SESSION
    );
    let mut select = work.db.prepare_cached(&select)?;
    let found = select.query_row(params![work.tenant, handle.as_bytes()], |row| {
        Ok((row::session(row)?, row.get::<_, [u8; 32]>("handle")?))
    });
    let session = match found.optional()? {
        Some((session, kept)) if HandleDigest::from_bytes(kept) == handle => session,
        _ => return Err(Refusal::NotFound(Level::Session).into()),
    };
    living(Level::Session, session.status, session.expires, work.now)?;
    Ok(session)
}

pub(super) fn get(work: &Work<'_>, id: &SessionId, whose: &Whose) -> Result<Session, StateError> {
    let session = find(work, id)?.filter(|it| whose.finds(&it.person.id));
    session.ok_or_else(|| Refusal::NotFound(Level::Session).into())
}

fn find(work: &Work<'_>, id: &SessionId) -> Result<Option<Session>, StateError> {
    let select = format!(
        "SELECT {} FROM sessions WHERE tenant = ? AND id = ?",
        row::SESSION
    );
    let mut select = work.db.prepare_cached(&select)?;
    let found = select.query_row(params![work.tenant, id.as_str()], row::session);
    Ok(found.optional()?)
}

/// Whether a session of this person is kept.
pub(super) fn knows(work: &Work<'_>, person: &str) -> Result<bool, StateError> {
    let select = "SELECT EXISTS (SELECT 1 FROM sessions WHERE tenant = ? AND person = ?)";
    let mut select = work.db.prepare_cached(select)?;
    Ok(select.query_row(params![work.tenant, person], row::number)?)
}
