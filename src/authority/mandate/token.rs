//! Tokens: issued for a grant to the workload that holds it, and looked at when somebody shows one.
//!
//! A token is issued only to the holder of a grant that lives, for no more and no longer than the grant permits now. A text
//! that is shown is judged anew each time: signature, times, revocation, and who shows it. What fails is refused with a code
//! that says nothing of the text, and is on record.

use std::sync::Arc;
use std::time::Duration;

use super::caller::Caller;
use super::refusal::{MandateRefusal, TokenFault};
use super::witness::{About, of_token};
use super::{Call, Mandates, basis, role};
use crate::audit::{Details, EventType, Outcome, Record, Text};
use crate::authority::rules::Rules;
use crate::clock::Timestamp;
use crate::delegation::token::{Claims, ClaimsError, Compact, Lease as Line, MAX_BYTES, Token};
use crate::delegation::{
    self, Audience, Grant, GrantId, NotAllowed, Session, TokenId, WantedLease, lease, permitted,
};
use crate::identity::SpiffeId;
use crate::keys::{Expectations, MintError, TokenError, Verified};
use crate::permission::PermissionSet;
use crate::state::{Lease, Level, Presented, Whose};

/// A token that somebody wants for a grant that they hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mint {
    /// The grant.
    pub grant: GrantId,
    /// The service that it is for. `None`: the only one that the grant has.
    pub audience: Option<Audience>,
    /// For how long. `None`: as long as tokens live.
    pub ttl: Option<Duration>,
}

/// A token that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// The token itself.
    pub token: Token,
    /// Its name, which is no secret.
    pub id: TokenId,
    /// When it ends by itself.
    pub expires: Timestamp,
}

/// What a token will say beside what its grant does.
pub(super) struct Minted<'a> {
    pub(super) session: &'a Session,
    pub(super) grant: &'a Grant,
    pub(super) lease: &'a Lease,
    pub(super) permissions: &'a PermissionSet,
    /// Who asked for it.
    pub(super) client: SpiffeId,
    /// The token that it was asked for by.
    pub(super) parent: Option<&'a Claims>,
}

impl Mandates {
    /// Issues a token to the workload that holds the grant.
    pub async fn mint(&self, call: &Call, wanted: &Mint) -> Result<Issued, MandateRefusal> {
        Self::within(call, self.renew(call, wanted)).await
    }

    async fn renew(&self, call: &Call, wanted: &Mint) -> Result<Issued, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let standing = self.store.standing(wanted.grant.clone(), Whose::Anybody);
        let standing = standing.await?;
        let Some(grant) = standing.grant().filter(|_| caller.may_know(&standing)) else {
            return Err(MandateRefusal::NotFound(Level::Grant));
        };
        let (Some(holder), true) = (grant.chain.actor(), caller.holds(&standing)) else {
            return Err(delegation::Refusal::from(NotAllowed::NotHolder).into());
        };
        let role = role(&rules, &standing);
        let basis = basis(&standing, &role);
        let asked = WantedLease {
            audience: wanted.audience.clone(),
            ttl: wanted.ttl,
            not_after: None,
        };
        let settings = &rules.delegation;
        let terms = lease(
            &basis,
            &holder.spiffe_id,
            &asked,
            self.lives(&rules, &standing),
            &settings.limits,
            &settings.registry,
            self.authority.clock.now(),
        )?;
        let new = Lease {
            token: TokenId::from_random(self.random()),
            grant: wanted.grant.clone(),
            audience: vec![terms.audience],
            issued: terms.issued,
            expires: terms.expires,
        };
        let minted = |lease| Minted {
            session: &standing.session,
            grant,
            lease,
            permissions: terms.held.permissions(),
            client: holder.spiffe_id.clone(),
            parent: None,
        };
        // Before anything is kept: what no token can hold is refused without a trace.
        Self::claims(&rules, &minted(&new))?
            .encode()
            .map_err(unfit)?;
        let live = self.store.live_tokens(vec![wanted.grant.clone()]).await?;
        let (event, kind) = match live.first() {
            None | Some(0) => (EventType::TokenIssued, "issued"),
            Some(_) => (EventType::TokenRenewed, "renewed"),
        };
        let (limits, request) = (Self::limits(&rules), Self::request(call, &caller));
        let kept = self.store.lease(new.clone(), limits, request).await?.value;
        if kept.expires <= self.authority.clock.now() {
            return Err(crate::state::Refusal::RequestIdReused.into());
        }
        let about = About {
            session: &standing.session,
            grant: Some(grant),
        };
        let record = about.record(event, Outcome::Success, &caller, Some(grant));
        // Where this fails, the lease stays for some minutes, without a token that anybody has.
        self.witness(call, None, vec![of_token(record, &kept, None)])
            .await?;
        let issued = self.sign(&rules, &minted(&kept))?;
        self.authority.metrics.token(kind);
        Ok(issued)
    }

    /// The claims of a token.
    pub(super) fn claims(rules: &Rules, minted: &Minted<'_>) -> Result<Claims, MandateRefusal> {
        let Minted {
            session,
            grant,
            lease,
            permissions,
            client,
            parent,
        } = minted;
        let audience = lease.audience.first().cloned();
        let parent_id = parent.map(|it| it.id.clone());
        let root = parent.and_then(|it| it.lease.as_ref()?.root.clone());
        Ok(Claims {
            issuer: Self::issuer(rules)?.clone(),
            chain: grant.chain.clone(),
            client: client.clone(),
            audience: audience.ok_or(delegation::Refusal::AudienceNotAllowed(None))?,
            redelegable: grant.further > 0,
            permissions: (*permissions).clone(),
            lease: Some(Line {
                tasks: grant.task_path.clone(),
                grants: grant.path.clone(),
                root: root.or_else(|| parent_id.clone()),
                parent: parent_id,
            }),
            session: session.id.clone(),
            id: lease.token.clone(),
            issued: lease.issued,
            expires: lease.expires,
            authentication: session.authentication.clone(),
            confirmation: delegation::token::Confirmation::default(),
        })
    }

    /// The token itself.
    pub(super) fn sign(
        &self,
        rules: &Rules,
        minted: &Minted<'_>,
    ) -> Result<Issued, MandateRefusal> {
        let claims = Self::claims(rules, minted)?;
        let token = self.signer.mint(&claims).map_err(|error| match error {
            MintError::Claims(error) => unfit(error),
            MintError::NoKey | MintError::Signature => MandateRefusal::unavailable(error),
        })?;
        Ok(Issued {
            token,
            id: claims.id,
            expires: claims.expires,
        })
    }

    /// The token of a repeated call once more, where it still is one.
    pub(super) async fn again(
        &self,
        rules: &Rules,
        grant: &GrantId,
        lease: &Lease,
        caller: &Caller,
    ) -> Result<Option<Issued>, MandateRefusal> {
        let now = self.authority.clock.now();
        let standing = self.store.standing(grant.clone(), Whose::Anybody).await?;
        let role = role(rules, &standing);
        let basis = basis(&standing, &role);
        let alive = self.lives(rules, &standing);
        let held = permitted(&basis, alive, &rules.delegation.registry, now);
        let (Some(grant), Ok(held), true) = (standing.grant(), held, lease.expires > now) else {
            return Ok(None);
        };
        let Some(client) = caller.client(grant) else {
            return Ok(None);
        };
        let minted = Minted {
            session: &standing.session,
            grant,
            lease,
            permissions: held.permissions(),
            client,
            parent: None,
        };
        self.sign(rules, &minted).map(Some)
    }

    /// A token that was shown to hand its authority on: ours, for us, alive, and shown by the workload that it is bound to.
    pub(super) async fn shown(
        &self,
        call: &Call,
        rules: &Rules,
        caller: &Caller,
        token: &Token,
    ) -> Result<Arc<Verified>, MandateRefusal> {
        let issuer = Self::issuer(rules)?;
        let judged = self.judged(issuer, issuer, token).and_then(|verified| {
            let actor = verified.claims.chain.principal();
            if caller.is(&actor) {
                Ok(verified)
            } else {
                Err((TokenFault::Presenter, "presenter_mismatch"))
            }
        });
        match judged {
            Ok(verified) => Ok(verified),
            Err((fault, cause)) => Err(self.rejected(call, caller, fault, cause).await?),
        }
    }

    /// A token that somebody asks about, whichever service it is for.
    pub(super) async fn asked_about(
        &self,
        call: &Call,
        rules: &Rules,
        caller: &Caller,
        token: &Token,
    ) -> Result<Arc<Verified>, MandateRefusal> {
        let issuer = Self::issuer(rules)?;
        let judged = unbelieved(token).map_err(|error| fault(&error));
        match judged.and_then(|claims| self.verified(issuer, &claims.audience, token)) {
            Ok(verified) => Ok(verified),
            Err((fault, cause)) => Err(self.rejected(call, caller, fault, cause).await?),
        }
    }

    /// The grant of a token that was ours once, be it expired: for those who would end it.
    pub(super) fn grant_of(
        &self,
        rules: &Rules,
        token: &Token,
    ) -> Result<Option<GrantId>, MandateRefusal> {
        let issuer = Self::issuer(rules)?;
        let Ok(claims) = unbelieved(token) else {
            return Ok(None);
        };
        let expected = Expectations {
            issuer,
            audience: &claims.audience,
            now: claims.issued,
            skew: Duration::ZERO,
        };
        let verified = self.verifier.verify(token.expose(), &expected).ok();
        let lease = verified.and_then(|it| it.claims.lease.clone());
        Ok(lease.and_then(|it| it.grants.last().cloned()))
    }

    /// What a token says that is good for whomever it is for.
    pub(super) fn any(&self, issuer: &Audience, token: &Token) -> Option<Arc<Claims>> {
        let audience = unbelieved(token).ok()?.audience;
        let judged = self.judged(issuer, &audience, token).ok()?;
        Some(Arc::clone(&judged.claims))
    }

    pub(super) fn judged(
        &self,
        issuer: &Audience,
        audience: &Audience,
        token: &Token,
    ) -> Result<Arc<Verified>, (TokenFault, &'static str)> {
        let verified = self.verified(issuer, audience, token)?;
        if self.killed(&verified.claims) {
            return Err((TokenFault::Revoked, "token_revoked"));
        }
        Ok(verified)
    }

    pub(super) fn verified(
        &self,
        issuer: &Audience,
        audience: &Audience,
        token: &Token,
    ) -> Result<Arc<Verified>, (TokenFault, &'static str)> {
        let expected = Expectations {
            issuer,
            audience,
            now: self.authority.clock.now(),
            skew: Duration::ZERO,
        };
        let verified = self.verifier.verify(token.expose(), &expected);
        verified.map_err(|error| fault(&error))
    }

    /// Whether a token, or something that it rests on, was taken back.
    pub(super) fn killed(&self, claims: &Claims) -> bool {
        let presented = Presented::of(claims);
        self.store.revocations().kills(&presented).is_some()
    }

    /// Puts on record that a token was not acceptable, and says so.
    pub(super) async fn rejected(
        &self,
        call: &Call,
        caller: &Caller,
        fault: TokenFault,
        cause: &'static str,
    ) -> Result<MandateRefusal, MandateRefusal> {
        let record = caller.whence(Record {
            details: Details::default().with("cause", cause),
            message: Some(Text::fixed("the token is not acceptable")),
            ..Record::new(
                EventType::TokenRejected,
                Outcome::Failure,
                caller.actor(None),
            )
        });
        self.note(call, record).await?;
        Ok(MandateRefusal::Token(fault))
    }
}

impl Caller {
    /// Who is said to have asked for a token of `grant`. A person is no client: there, it is the holder.
    pub(super) fn client(&self, grant: &Grant) -> Option<SpiffeId> {
        match &self.who {
            super::caller::Who::Workload(id) => Some(id.clone()),
            super::caller::Who::Person(_) | super::caller::Who::System => {
                grant.chain.actor().map(|agent| agent.spiffe_id.clone())
            }
        }
    }
}

/// What a text says; nothing of it is believed.
fn unbelieved(token: &Token) -> Result<Claims, TokenError> {
    let payload = Compact::parse(token.expose()).and_then(|compact| compact.payload());
    let payload = payload.map_err(TokenError::Form)?;
    Claims::parse(&payload).map_err(TokenError::Claims)
}

fn fault(error: &TokenError) -> (TokenFault, &'static str) {
    let fault = match error {
        TokenError::Expired => TokenFault::Expired,
        TokenError::Form(_)
        | TokenError::Key(_)
        | TokenError::Signature
        | TokenError::Claims(_)
        | TokenError::Issuer
        | TokenError::Audience
        | TokenError::NotYet => TokenFault::Invalid,
    };
    (fault, error.code())
}

/// What does not fit into a token.
pub(super) fn unfit(error: ClaimsError) -> MandateRefusal {
    let (what, given, most) = match error {
        ClaimsError::TooLarge { bytes, .. } => ("bytes of token", bytes, MAX_BYTES),
        ClaimsError::TooMany(what, most) => (what, most.saturating_add(1), most),
        other => return MandateRefusal::unavailable(other),
    };
    delegation::Refusal::TooLarge { what, given, most }.into()
}
