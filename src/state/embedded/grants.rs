//! Grants: given only under what lives, and only what fits what it rests on.

use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::requests::{self, Answer};
use super::tasks::{DEEPEST, LONGEST_PAGE, texts};
use super::{begin, leases, row, sessions, tasks};
use crate::clock::Timestamp;
use crate::delegation::{Agent, Grant, GrantId, PersonId, Status, TaskId, TokenId};
use crate::state::{
    GrantQuery, GrantRoot, Granted, Kept, Level, NewGrant, Refusal, Request, Standing, StateError,
    Whose,
};

pub(super) fn delegate(
    work: &Work<'_>,
    new: NewGrant,
    request: Option<&Request>,
) -> Result<Kept<Granted>, StateError> {
    begin::clear_stale(work)?;
    if let Some(answer) = requests::answered(work, request)? {
        let Answer::Grant(grant, token) = answer else {
            return Err(Refusal::RequestIdReused.into());
        };
        if let Some(value) = granted(work, &grant, token.as_ref())? {
            let repeated = true;
            return Ok(Kept { value, repeated });
        }
    }
    let NewGrant {
        grant,
        task,
        lease,
        limits,
    } = new;
    let ends = fits(work, &grant, task.is_some())?;
    if let Some(task) = &task {
        let same = Some(&task.id) == grant.task()
            && task.person == grant.chain.person
            && task.session == grant.session;
        if !same || task.path != grant.task_path || grant.expires > task.deadline {
            return Err(Refusal::Unfit("the task that begins with it").into());
        }
        tasks::insert(work, task, limits)?;
    }
    if grant.expires <= work.now || grant.expires > ends {
        return Err(Refusal::Unfit("the time of its end").into());
    }
    room(work, &grant, limits.fanout)?;
    insert(work, &grant, task.is_some())?;
    if let Some(lease) = &lease {
        leases::insert(work, lease, &grant, grant.expires, limits)?;
    }
    if let Some(id) = grant.id() {
        let token = lease.as_ref().map(|it| it.token.clone());
        requests::remember(work, request, &Answer::Grant(id.clone(), token))?;
    }
    let status = Status::Pending;
    let grant = Grant { status, ..grant };
    Ok(Kept {
        value: Granted { grant, lease },
        repeated: false,
    })
}

/// Whether a grant continues what it rests on, all of which lives. Gives the time at which the first of that ends.
fn fits(work: &Work<'_>, grant: &Grant, begins_task: bool) -> Result<Timestamp, StateError> {
    let unfit = |what| Err(Refusal::Unfit(what).into());
    let (Some((_, above)), Some((holder, agents))) =
        (grant.path.split_last(), grant.chain.agents.split_last())
    else {
        return unfit("its path");
    };
    if above.len() != agents.len() || above.len() >= DEEPEST {
        return unfit("its depth");
    }
    let mut task_path = grant.task_path.as_slice();
    if begins_task {
        task_path = task_path.split_last().map_or(&[], |(_, above)| above);
    } else if task_path.is_empty() {
        return unfit("its task");
    }
    let whose = Whose::Person(grant.chain.person.clone());
    let session = sessions::get(work, &grant.session, &whose)?;
    let standing = match above.last() {
        Some(parent) => standing(work, parent, &whose)?,
        None => Standing {
            session: session.clone(),
            tasks: Vec::new(),
            grants: Vec::new(),
        },
    };
    standing.living(work.now)?;
    let mut ends = standing.expires();
    for task in tasks::live_path(work, &grant.chain.person, task_path)? {
        if task.session != session.id {
            return unfit("the session of its task");
        }
        ends = ends.min(task.deadline);
    }
    let Some(parent) = standing.grant() else {
        return Ok(ends);
    };
    if parent.path != above || parent.chain.agents != agents || parent.session != grant.session {
        return unfit("its path");
    }
    if !grant.task_path.starts_with(&parent.task_path) {
        return unfit("its task");
    }
    if grant.further >= parent.further {
        return unfit("how often it may be handed on");
    }
    if grant
        .audience
        .iter()
        .any(|it| !parent.audience.contains(it))
    {
        return unfit("its audience");
    }
    let held = grant.held.permissions();
    if !held.is_attenuation_of(parent.held.permissions()) {
        return unfit("what it holds");
    }
    // Handing on to oneself is allowed, to somebody further up is not.
    let same = |it: &Agent| it.spiffe_id == holder.spiffe_id && it.agent_id == holder.agent_id;
    let mut earlier = agents.iter().rev().skip_while(|it| same(it));
    if earlier.any(same) {
        return unfit("a chain that comes back to an agent");
    }
    Ok(ends)
}

/// Whether one more grant may rest on the same parent.
fn room(work: &Work<'_>, grant: &Grant, limit: u32) -> Result<(), StateError> {
    let parent = grant.path.iter().rev().nth(1);
    let person = &grant.chain.person;
    let live = match (parent, grant.task()) {
        (Some(parent), _) => below_grant(work, parent)?,
        (None, Some(task)) => below_task(work, person, task)?,
        (None, None) => 0,
    };
    if live < limit {
        return Ok(());
    }
    let level = parent.map_or(Level::Task, |_| Level::Grant);
    Err(Refusal::Fanout { level, limit }.into())
}

/// How many grants live or wait directly below a grant.
pub(super) fn below_grant(work: &Work<'_>, parent: &GrantId) -> Result<u32, StateError> {
    let count = "SELECT count(*) FROM grants WHERE tenant = ? AND parent = ? \
                 AND status IN ('active', 'pending') AND expires > ?";
    let key = params![work.tenant, parent.as_str(), row::nanos(work.now)];
    Ok(work.db.prepare_cached(count)?.query_row(key, row::number)?)
}

/// How many grants live or wait that a person gave directly for a task.
pub(super) fn below_task(
    work: &Work<'_>,
    person: &PersonId,
    task: &TaskId,
) -> Result<u32, StateError> {
    let count = "SELECT count(*) FROM grants WHERE tenant = ? AND person = ? AND task = ? AND parent IS NULL \
                 AND status IN ('active', 'pending') AND expires > ?";
    let key = params![
        work.tenant,
        person.as_str(),
        task.as_str(),
        row::nanos(work.now)
    ];
    Ok(work.db.prepare_cached(count)?.query_row(key, row::number)?)
}

fn insert(work: &Work<'_>, grant: &Grant, begins_task: bool) -> Result<(), StateError> {
    let insert = "INSERT INTO grants (tenant, id, person, session, parent, path, task, task_path, begins_task, holder, \
                  holder_type, agents, held, hops, audience, further, created, expires, status, begun) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)";
    let path: Vec<_> = grant.path.iter().map(GrantId::as_str).collect();
    let holder = grant.chain.actor();
    let kept = work.db.prepare_cached(insert)?.execute(params![
        work.tenant,
        path.last(),
        grant.chain.person.as_str(),
        grant.session.as_str(),
        path.iter().rev().nth(1),
        row::joined(&path),
        grant.task().map(TaskId::as_str),
        row::joined(&texts(&grant.task_path)),
        begins_task,
        holder.map(|it| it.spiffe_id.as_str()),
        holder.map(|it| it.agent_type.as_str()),
        row::agents(&grant.chain.agents),
        row::permissions(&grant.held),
        row::hops(&grant.hops),
        row::written(&grant.audience),
        grant.further,
        row::nanos(grant.created),
        row::nanos(grant.expires),
        row::nanos(work.now),
    ]);
    taken(kept, "an id that is taken")
}

/// A primary key that is there already is a mistake of whoever made the id, not of the engine.
pub(super) fn taken(kept: rusqlite::Result<usize>, what: &'static str) -> Result<(), StateError> {
    match kept {
        Ok(_) => Ok(()),
        Err(error)
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            Err(Refusal::Unfit(what).into())
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn standing(
    work: &Work<'_>,
    id: &GrantId,
    whose: &Whose,
) -> Result<Standing, StateError> {
    let missing = Refusal::NotFound(Level::Grant);
    let own = find(work, id)?
        .filter(|it| whose.finds(&it.chain.person))
        .ok_or(missing.clone())?;
    let mut grants = Vec::with_capacity(own.path.len());
    let above = own.path.split_last().map_or(&[][..], |(_, above)| above);
    for id in above {
        grants.push(find(work, id)?.ok_or(missing.clone())?);
    }
    let session = sessions::get(work, &own.session, &Whose::Anybody)?;
    let tasks = tasks::on_path(work, &own.chain.person, &own.task_path)?;
    grants.push(own);
    Ok(Standing {
        session,
        tasks,
        grants,
    })
}

fn granted(
    work: &Work<'_>,
    id: &GrantId,
    token: Option<&TokenId>,
) -> Result<Option<Granted>, StateError> {
    let Some(grant) = find(work, id)? else {
        return Ok(None);
    };
    let lease = match token {
        Some(token) => leases::find(work, token)?,
        None => None,
    };
    Ok(Some(Granted { grant, lease }))
}

pub(super) fn find(work: &Work<'_>, id: &GrantId) -> Result<Option<Grant>, StateError> {
    let select = format!(
        "SELECT {} FROM grants WHERE tenant = ? AND id = ?",
        row::GRANT
    );
    let mut select = work.db.prepare_cached(&select)?;
    let found = select.query_row(params![work.tenant, id.as_str()], row::grant);
    Ok(found.optional()?)
}

pub(super) fn list(work: &Work<'_>, query: &GrantQuery) -> Result<Vec<Grant>, StateError> {
    let GrantQuery {
        whose,
        below,
        after,
        most,
    } = query;
    let only = match whose {
        Whose::Person(person) => Some(person.as_str()),
        Whose::Anybody => None,
    };
    let after = match after {
        Some(id) => find(work, id)?
            .map(|it| row::joined(&it.path.iter().map(GrantId::as_str).collect::<Vec<_>>())),
        None => None,
    };
    let (below, person, id) = match below {
        GrantRoot::Session(id) => ("session = ?6", None, id.as_str()),
        GrantRoot::Task(person, id) => (BELOW_TASK, Some(person.as_str()), id.as_str()),
        GrantRoot::Grant(id) => (BELOW_GRANT, None, id.as_str()),
    };
    // Ids of one kind are of one length, and `/` sorts before all of their characters: parents come before children.
    let select = format!(
        "SELECT {} FROM grants WHERE tenant = ?1 AND (?2 IS NULL OR person = ?2) AND path > ?3 \
         AND status <> 'pending' AND (?5 IS NULL OR person = ?5) AND {below} ORDER BY path LIMIT ?4",
        row::GRANT
    );
    let mut select = work.db.prepare_cached(&select)?;
    let most = (*most).min(LONGEST_PAGE);
    let params = params![
        work.tenant,
        only,
        after.unwrap_or_default(),
        most,
        person,
        id
    ];
    let found = select.query_map(params, row::grant)?;
    Ok(found.collect::<Result<_, _>>()?)
}

const BELOW_TASK: &str = "task IN (WITH RECURSIVE below (id) AS (SELECT ?6 UNION \
     SELECT tasks.id FROM tasks JOIN below ON tasks.parent = below.id WHERE tasks.tenant = ?1 AND tasks.person = ?5) \
     SELECT id FROM below)";
const BELOW_GRANT: &str = "id IN (WITH RECURSIVE below (id) AS (SELECT ?6 UNION \
     SELECT grants.id FROM grants JOIN below ON grants.parent = below.id WHERE grants.tenant = ?1) \
     SELECT id FROM below)";
