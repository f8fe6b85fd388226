//! What a token may say: for a short while, what its grant permits now.
//!
//! A token never says more than its grant, the person's role as it is now, and the ceilings of all agents in the chain; and
//! it ends with the first of them. Whether it was made is for `state` to know, what it looks like for `token`.

use std::time::Duration;

use super::delegate::{Basis, Limits, Proposal, earliest};
use super::grant::{Audience, Grant};
use super::held::Held;
use super::refusal::{NotAllowed, Refusal};
use super::registry::Registry;
use crate::clock::Timestamp;
use crate::identity::SpiffeId;

/// What somebody wants of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedLease {
    /// For which service. `None`: for the only one that the grant has.
    pub audience: Option<Audience>,
    /// For how long. `None`: as long as tokens live.
    pub ttl: Option<Duration>,
    /// When the token ends at the latest: with the one that it was asked for by, where it was asked for by one.
    pub not_after: Option<Timestamp>,
}

/// What a token may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// What it permits.
    pub held: Held,
    /// The one service that it is for.
    pub audience: Audience,
    /// Whether it may be shown to us to delegate further.
    pub redelegable: bool,
    /// When it begins.
    pub issued: Timestamp,
    /// When it ends: a whole second, as `NumericDate` is in tokens (RFC 7519 section 2).
    pub expires: Timestamp,
}

/// The terms of a token for the grant of `basis`, asked for by `holder`: refused to anybody else.
///
/// `alive` says, in the transaction that stores the lease, whether every task, grant and session above is active.
pub fn lease(
    basis: &Basis<'_>,
    holder: &SpiffeId,
    wanted: &WantedLease,
    alive: bool,
    limits: &Limits,
    registry: &Registry,
    now: Timestamp,
) -> Result<Terms, Refusal> {
    let chain = basis.living_chain(alive, now)?;
    let Some((grant, task)) = basis.grant else {
        return Err(NotAllowed::NotHolder.into());
    };
    if chain.actor().is_none_or(|it| it.spiffe_id != *holder) {
        return Err(NotAllowed::NotHolder.into());
    }
    let held = basis.available(&chain, registry)?;
    let end = earliest(basis.session.expires, [Some(task.deadline)]);
    terms(grant, held, end, wanted, limits, now)
}

/// What the grant of `basis` permits at `now`: what it holds, under the person's role and the ceilings of all agents of the
/// chain, as they are now.
pub fn permitted(
    basis: &Basis<'_>,
    alive: bool,
    registry: &Registry,
    now: Timestamp,
) -> Result<Held, Refusal> {
    let chain = basis.living_chain(alive, now)?;
    basis.available(&chain, registry)
}

impl Proposal {
    /// The terms of the first token, made together with the grant and handed to the delegator with it.
    pub fn first_lease(&self, wanted: &WantedLease, limits: &Limits) -> Result<Terms, Refusal> {
        let grant = &self.grant;
        let held = grant.held.clone();
        terms(grant, held, grant.expires, wanted, limits, grant.created)
    }
}

fn terms(
    grant: &Grant,
    held: Held,
    end: Timestamp,
    wanted: &WantedLease,
    limits: &Limits,
    now: Timestamp,
) -> Result<Terms, Refusal> {
    let audience = match (&wanted.audience, &grant.audience[..]) {
        (Some(wanted), all) if all.contains(wanted) => wanted.clone(),
        (None, [only]) => only.clone(),
        (wanted, _) => return Err(Refusal::AudienceNotAllowed(wanted.clone())),
    };
    if limits.issuer.as_ref() == Some(&audience) {
        return Err(Refusal::AudienceNotAllowed(Some(audience)));
    }
    let ttl = wanted.ttl.unwrap_or(limits.token_ttl).min(limits.token_ttl);
    let ends = [Some(grant.expires), Some(now.plus(ttl)), wanted.not_after];
    let expires = Timestamp::from_unix_seconds(earliest(end, ends).unix_seconds());
    if expires <= now {
        return Err(Refusal::InvalidLifetime);
    }
    if !held.is_usable() {
        return Err(Refusal::ScopeEmpty);
    }
    Ok(Terms {
        held,
        audience,
        redelegable: grant.further > 0,
        issued: now,
        expires,
    })
}
