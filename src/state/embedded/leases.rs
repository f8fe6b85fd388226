//! Leases: on a grant that lives with everything above it, never longer and never for more than it.

use rusqlite::{OptionalExtension as _, params};

use super::desk::Work;
use super::requests::{self, Answer};
use super::{grants, row};
use crate::clock::Timestamp;
use crate::delegation::{Grant, GrantId, TaskId, TokenId};
use crate::state::{
    Kept, LONGEST_LEASE, Lease, Level, Limits, Refusal, Request, StateError, Whose,
};

pub(super) fn lease(
    work: &Work<'_>,
    lease: Lease,
    limits: Limits,
    request: Option<&Request>,
) -> Result<Kept<Lease>, StateError> {
    if let Some(answer) = requests::answered(work, request)? {
        let Answer::Lease(token) = answer else {
            return Err(Refusal::RequestIdReused.into());
        };
        if let Some(value) = find(work, &token)? {
            let repeated = true;
            return Ok(Kept { value, repeated });
        }
    }
    let standing = grants::standing(work, &lease.grant, &Whose::Anybody)?;
    standing.living(work.now)?;
    let grant = standing.grant().ok_or(Refusal::NotFound(Level::Grant))?;
    insert(work, &lease, grant, standing.expires(), limits)?;
    requests::remember(work, request, &Answer::Lease(lease.token.clone()))?;
    Ok(Kept {
        value: lease,
        repeated: false,
    })
}

pub(super) fn insert(
    work: &Work<'_>,
    lease: &Lease,
    grant: &Grant,
    ends: Timestamp,
    limits: Limits,
) -> Result<(), StateError> {
    if Some(&lease.grant) != grant.id() {
        return Err(Refusal::Unfit("the grant of the lease").into());
    }
    let longest = work.now.min(lease.issued).plus(LONGEST_LEASE);
    if lease.expires <= work.now || lease.expires > ends || lease.expires > longest {
        return Err(Refusal::Unfit("the time of the lease").into());
    }
    if lease.audience.iter().any(|it| !grant.audience.contains(it)) {
        return Err(Refusal::Unfit("the audience of the lease").into());
    }
    let (person, task) = (
        grant.chain.person.as_str(),
        grant.task().map(TaskId::as_str),
    );
    let count = "SELECT count(*) FROM leases WHERE tenant = ? AND person = ? AND task = ? AND expires > ? AND ended IS NULL";
    let params = params![work.tenant, person, task, row::nanos(work.now)];
    let live: u32 = work
        .db
        .prepare_cached(count)?
        .query_row(params, row::number)?;
    if live >= limits.leases {
        let limit = limits.leases;
        return Err(Refusal::TooManyTokens { limit }.into());
    }
    let insert = "INSERT INTO leases (tenant, token, \"grant\", person, task, audience, issued, expires) \
                  VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    let kept = work.db.prepare_cached(insert)?.execute(params![
        work.tenant,
        lease.token.as_str(),
        lease.grant.as_str(),
        person,
        task,
        row::written(&lease.audience),
        row::nanos(lease.issued),
        row::nanos(lease.expires),
    ]);
    grants::taken(kept, "a token's id that is taken")
}

pub(super) fn leased(work: &Work<'_>, token: &TokenId, whose: &Whose) -> Result<Lease, StateError> {
    let missing = Refusal::NotFound(Level::Token);
    let lease = find(work, token)?.ok_or(missing.clone())?;
    let grant = grants::find(work, &lease.grant)?;
    let theirs = grant.is_some_and(|it| whose.finds(&it.chain.person));
    theirs.then_some(lease).ok_or_else(|| missing.into())
}

pub(super) fn find(work: &Work<'_>, token: &TokenId) -> Result<Option<Lease>, StateError> {
    let select = format!(
        "SELECT {} FROM leases WHERE tenant = ? AND token = ?",
        row::LEASE
    );
    let mut select = work.db.prepare_cached(&select)?;
    let found = select.query_row(params![work.tenant, token.as_str()], row::lease);
    Ok(found.optional()?)
}

/// How many leases of each grant live.
pub(super) fn live(work: &Work<'_>, grants: &[GrantId]) -> Result<Vec<u32>, StateError> {
    let count = "SELECT count(*) FROM leases WHERE tenant = ? AND \"grant\" = ? AND expires > ? AND ended IS NULL";
    let mut count = work.db.prepare_cached(count)?;
    let counted = grants.iter().map(|grant| {
        let key = params![work.tenant, grant.as_str(), row::nanos(work.now)];
        Ok(count.query_row(key, row::number)?)
    });
    counted.collect()
}
