//! Looking at tokens for others: a service or proxy that was shown one, or somebody who wants to know what one says.
//!
//! Never says more of a token than that it is not good to who may not know of it, and never keeps what it was shown.

use std::sync::Arc;

use super::caller::{Caller, Who};
use super::refusal::{MandateRefusal, TokenFault};
use super::{Call, Mandates, basis, role};
use crate::authority::rules::Rules;
use crate::delegation::token::{Claims, Token};
use crate::delegation::{Audience, permitted};
use crate::identity::SpiffeId;
use crate::permission::PermissionSet;
use crate::state::{Standing, Whose};

/// A token that was shown to somebody.
#[derive(Debug)]
pub struct Shown {
    /// The token.
    pub token: Token,
    /// Who showed it.
    pub presenter: SpiffeId,
    /// For whom it should be. `None`: for the caller.
    pub audience: Option<Audience>,
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFacts {
    /// What it says.
    pub claims: Arc<Claims>,
    /// What it permits now.
    pub permissions: PermissionSet,
}

impl Mandates {
    /// Whether a token is good for who showed it and for whom it was shown to; else why not.
    pub async fn verify_token(
        &self,
        call: &Call,
        shown: &Shown,
    ) -> Result<Result<TokenFacts, TokenFault>, MandateRefusal> {
        Self::within(call, self.look(call, shown)).await
    }

    async fn look(
        &self,
        call: &Call,
        shown: &Shown,
    ) -> Result<Result<TokenFacts, TokenFault>, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let own = match &caller.who {
            Who::Workload(id) => id.as_str().parse().ok(),
            Who::Person(_) | Who::System => None,
        };
        let trusted = caller.asks_for_others(&rules, self.authority.clock.now());
        let audience = match (&shown.audience, own) {
            (Some(named), _) if trusted => Some(named.clone()),
            (None, own) => own,
            (Some(named), own) => own.filter(|own| own == named),
        };
        let issuer = Self::issuer(&rules)?;
        let judged = match audience {
            None => Err((TokenFault::Invalid, "token_audience")),
            Some(audience) => self.judged(issuer, &audience, &shown.token),
        };
        let presented = judged.and_then(|verified| {
            let actor = verified.claims.chain.actor();
            if actor.is_some_and(|actor| actor.spiffe_id == shown.presenter) {
                Ok(verified)
            } else {
                Err((TokenFault::Presenter, "presenter_mismatch"))
            }
        });
        let found = match presented {
            Ok(verified) => self
                .facts(&rules, &verified.claims)
                .await?
                .map(|(facts, _)| facts),
            Err((fault, cause)) => {
                self.rejected(call, &caller, fault, cause).await?;
                return Ok(Err(fault));
            }
        };
        if found.is_none() {
            let fault = TokenFault::Revoked;
            self.rejected(call, &caller, fault, "token_revoked").await?;
        }
        Ok(found.ok_or(TokenFault::Revoked))
    }

    /// What a token says, if it is alive and the caller may know (RFC 7662).
    pub async fn introspect_token(
        &self,
        call: &Call,
        token: &Token,
    ) -> Result<Option<TokenFacts>, MandateRefusal> {
        let looked = async {
            let caller = self.caller(call).await?;
            let rules = self.authority.rules();
            let found = self.alive(&rules, &caller, token).await?;
            Ok(found)
        };
        Self::within(call, looked).await
    }

    async fn alive(
        &self,
        rules: &Rules,
        caller: &Caller,
        token: &Token,
    ) -> Result<Option<TokenFacts>, MandateRefusal> {
        let issuer = Self::issuer(rules)?;
        let Some(verified) = self.any(issuer, token) else {
            return Ok(None);
        };
        let found = self.facts(rules, &verified).await?;
        let trusted = caller.asks_for_others(rules, self.authority.clock.now());
        let told = found.filter(|(_, standing)| trusted || caller.may_know(standing));
        Ok(told.map(|(facts, _)| facts))
    }

    /// What the token of a living grant says and permits now.
    async fn facts(
        &self,
        rules: &Rules,
        claims: &Claims,
    ) -> Result<Option<(TokenFacts, Standing)>, MandateRefusal> {
        let grant = claims.lease.as_ref().and_then(|it| it.grants.last());
        let Some(grant) = grant else {
            return Ok(None);
        };
        let standing = match self.store.standing(grant.clone(), Whose::Anybody).await {
            Ok(standing) => standing,
            Err(error) if error.refusal().is_some() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let role = role(rules, &standing);
        let now = self.authority.clock.now();
        let alive = self.lives(rules, &standing) && !self.killed(claims);
        let registry = &rules.delegation.registry;
        let held = permitted(&basis(&standing, &role), alive, registry, now);
        let facts = held.ok().map(|held| TokenFacts {
            claims: Arc::new(claims.clone()),
            permissions: held.under(&claims.permissions).permissions().clone(),
        });
        Ok(facts.map(|facts| (facts, standing)))
    }
}
