//! Endings: something and everything below it, in one transaction, with a row for everybody who checks tokens.

use rusqlite::params;

use super::begin::all;
use super::desk::Work;
use super::requests::{self, Answer};
use super::{grants, leases, revoked, row, sessions, tasks};
use crate::clock::Timestamp;
use crate::delegation::{GrantId, PersonId, SessionId, Status, TaskId};
use crate::state::{
    Ended, Epoch, Kept, LONGEST_LEASE, LONGEST_SKEW, Level, Manner, Refusal, Request, Revoked,
    StateError, Target, Whose,
};

pub(super) fn end(
    work: &mut Work<'_>,
    target: Target,
    manner: Manner,
    request: Option<&Request>,
) -> Result<Kept<Ended>, StateError> {
    if let Some(answer) = requests::answered(work, request)? {
        let Answer::Ended(written) = answer else {
            return Err(Refusal::RequestIdReused.into());
        };
        return Ok(Kept {
            value: written.into(),
            repeated: true,
        });
    }
    let mut ending = Ending {
        until: work.now.plus(LONGEST_LEASE).plus(LONGEST_SKEW),
        manner,
        ended: Ended::default(),
    };
    match target {
        Target::Token(token, whose) => {
            let lease = leases::leased(work, &token, &whose)?;
            ending.grant(work, &lease.grant, &Whose::Anybody)?;
        }
        Target::Grant(id, whose) => ending.grant(work, &id, &whose)?,
        Target::Task(person, id) => ending.task(work, &person, &id)?,
        Target::Session(id, whose) => ending.session(work, &id, &whose)?,
        Target::Before(epoch, before) => ending.epoch(work, epoch, before.min(work.now))?,
    }
    let mut value = ending.ended;
    value.position = revoked::position(work.db)?;
    work.position = value.position;
    requests::remember(work, request, &Answer::Ended((&value).into()))?;
    Ok(Kept {
        value,
        repeated: false,
    })
}

/// What ended by itself is taken back too, as long as clocks that are behind may still accept tokens of it. What was taken
/// back by somebody has its row, or one above it has.
fn late(work: &mut Work<'_>, what: Revoked, ended: Timestamp) -> Result<(), StateError> {
    let until = ended.plus(LONGEST_SKEW);
    if work.now < ended || until <= work.now || revoked::is_taken_back(work, &what)? {
        return Ok(());
    }
    revoked::take_back(work, what, until)
}

struct Ending {
    /// How long it has to be remembered.
    until: Timestamp,
    manner: Manner,
    ended: Ended,
}

impl Ending {
    fn session(
        &mut self,
        work: &mut Work<'_>,
        id: &SessionId,
        whose: &Whose,
    ) -> Result<(), StateError> {
        let session = sessions::get(work, id, whose)?;
        let update = "UPDATE sessions SET status = ?, ended = ? WHERE tenant = ? AND id = ? \
                      AND status IN ('active', 'pending') AND expires > ?";
        let now = row::nanos(work.now);
        let params = params![self.own().as_str(), now, work.tenant, id.as_str(), now];
        if work.db.prepare_cached(update)?.execute(params)? == 0 {
            return late(work, Revoked::Session(id.clone()), session.expires);
        }
        self.ended.sessions.push(id.clone());
        let tasks = "SELECT person, id FROM tasks WHERE tenant = ? AND session = ? ORDER BY path";
        let key = params![work.tenant, id.as_str()];
        let tasks = all(work, tasks, key, |row| {
            Ok((row::parsed(row, 0)?, row::parsed(row, 1)?))
        })?;
        for (person, task) in &tasks {
            self.one_task(work, person, task, Status::Cascaded)?;
        }
        let grants = "SELECT id FROM grants WHERE tenant = ? AND session = ? ORDER BY path";
        for grant in all(work, grants, key, row::name)? {
            self.one_grant(work, &grant, Status::Cascaded)?;
        }
        revoked::take_back(work, Revoked::Session(id.clone()), self.until)
    }

    fn task(
        &mut self,
        work: &mut Work<'_>,
        person: &PersonId,
        id: &TaskId,
    ) -> Result<(), StateError> {
        let task = tasks::get(work, person, id)?;
        if !self.one_task(work, person, id, self.own())? {
            let what = Revoked::Task(person.clone(), id.clone());
            return late(work, what, task.deadline);
        }
        let below = "WITH RECURSIVE below (id) AS (SELECT ?3 UNION SELECT tasks.id FROM tasks JOIN below \
                     ON tasks.parent = below.id WHERE tasks.tenant = ?1 AND tasks.person = ?2) \
                     SELECT id FROM below";
        let key = params![work.tenant, person.as_str(), id.as_str()];
        let below: Vec<TaskId> = all(work, below, key, row::name)?;
        let serving =
            "SELECT id FROM grants WHERE tenant = ? AND person = ? AND task = ? ORDER BY path";
        for task in &below {
            self.one_task(work, person, task, Status::Cascaded)?;
            let key = params![work.tenant, person.as_str(), task.as_str()];
            for grant in all(work, serving, key, row::name)? {
                self.one_grant(work, &grant, Status::Cascaded)?;
            }
        }
        revoked::take_back(work, Revoked::Task(person.clone(), id.clone()), self.until)
    }

    fn grant(
        &mut self,
        work: &mut Work<'_>,
        id: &GrantId,
        whose: &Whose,
    ) -> Result<(), StateError> {
        let grant = grants::find(work, id)?.filter(|it| whose.finds(&it.chain.person));
        let grant = grant.ok_or(Refusal::NotFound(Level::Grant))?;
        if !self.one_grant(work, id, self.own())? {
            return late(work, Revoked::Grant(id.clone()), grant.expires);
        }
        let below = "WITH RECURSIVE below (id) AS (SELECT ?2 UNION SELECT grants.id FROM grants JOIN below \
                     ON grants.parent = below.id WHERE grants.tenant = ?1) SELECT id FROM below";
        for grant in all(work, below, params![work.tenant, id.as_str()], row::name)? {
            self.one_grant(work, &grant, Status::Cascaded)?;
        }
        revoked::take_back(work, Revoked::Grant(id.clone()), self.until)
    }

    /// Everything of somebody that began before a moment; and a row, so that no token of before is accepted either.
    fn epoch(
        &mut self,
        work: &mut Work<'_>,
        epoch: Epoch,
        before: Timestamp,
    ) -> Result<(), StateError> {
        let early = row::nanos(before);
        let sessions = "SELECT id FROM sessions WHERE tenant = ? AND created < ? AND status IN ('active', 'pending')";
        let grants = "SELECT id FROM grants WHERE tenant = ? AND created < ? AND status IN ('active', 'pending')";
        let what = match epoch {
            Epoch::Subject(person) => {
                let select = format!("{sessions} AND person = ?");
                let key = params![work.tenant, early, person.as_str()];
                self.sessions(work, &all(work, &select, key, row::name)?)?;
                Revoked::Subject(person, before)
            }
            Epoch::Tenant => {
                self.sessions(
                    work,
                    &all(work, sessions, params![work.tenant, early], row::name)?,
                )?;
                Revoked::Tenant(before)
            }
            Epoch::Actor(holder) => {
                let select = format!("{grants} AND holder = ? ORDER BY path");
                let key = params![work.tenant, early, holder.as_str()];
                self.grants(work, &all(work, &select, key, row::name)?)?;
                Revoked::Actor(holder, before)
            }
            Epoch::AgentType(kind) => {
                let select = format!("{grants} AND holder_type = ? ORDER BY path");
                let key = params![work.tenant, early, kind.as_str()];
                self.grants(work, &all(work, &select, key, row::name)?)?;
                Revoked::AgentType(kind, before)
            }
        };
        revoked::take_back(work, what, self.until)
    }

    fn sessions(&mut self, work: &mut Work<'_>, ids: &[SessionId]) -> Result<(), StateError> {
        ids.iter()
            .try_for_each(|id| self.session(work, id, &Whose::Anybody))
    }

    fn grants(&mut self, work: &mut Work<'_>, ids: &[GrantId]) -> Result<(), StateError> {
        ids.iter()
            .try_for_each(|id| self.grant(work, id, &Whose::Anybody))
    }

    /// Ends one task, if it lives.
    fn one_task(
        &mut self,
        work: &Work<'_>,
        person: &PersonId,
        id: &TaskId,
        status: Status,
    ) -> Result<bool, StateError> {
        let update = "UPDATE tasks SET status = ?, ended = ? WHERE tenant = ? AND person = ? AND id = ? \
                      AND status IN ('active', 'pending') AND deadline > ?";
        let now = row::nanos(work.now);
        let params = params![
            status.as_str(),
            now,
            work.tenant,
            person.as_str(),
            id.as_str(),
            now
        ];
        let ended = work.db.prepare_cached(update)?.execute(params)? > 0;
        if ended {
            self.ended.tasks.push((person.clone(), id.clone(), status));
        }
        Ok(ended)
    }

    /// Ends one grant, if it lives, and counts the leases on it that anybody can have a token of.
    fn one_grant(
        &mut self,
        work: &Work<'_>,
        id: &GrantId,
        status: Status,
    ) -> Result<bool, StateError> {
        let now = row::nanos(work.now);
        let leases = "UPDATE leases SET ended = ?1 WHERE tenant = ?2 AND \"grant\" = ?3 AND ended IS NULL AND expires > ?1 \
                      RETURNING expires, (SELECT status = 'active' FROM grants WHERE tenant = ?2 AND id = ?3)";
        let key = params![now, work.tenant, id.as_str()];
        let leases: Vec<(i64, bool)> =
            all(work, leases, key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        let update = "UPDATE grants SET status = ?, ended = ? WHERE tenant = ? AND id = ? \
                      AND status IN ('active', 'pending') AND expires > ?";
        let params = params![status.as_str(), now, work.tenant, id.as_str(), now];
        if work.db.prepare_cached(update)?.execute(params)? == 0 {
            return Ok(false);
        }
        for (expires, handed_out) in leases {
            self.until = self.until.max(row::time(expires).plus(LONGEST_SKEW));
            self.ended.tokens += u64::from(handed_out);
        }
        self.ended.grants.push(id.clone());
        Ok(true)
    }

    const fn own(&self) -> Status {
        match self.manner {
            Manner::Revoked => Status::Revoked,
            Manner::Completed => Status::Completed,
        }
    }
}
