//! The token of a request: in which header it is, and what must hold of it at every single use.
//!
//! In this order, and the first that does not hold refuses the request: it is the only one in the one header that is read;
//! its form, key, signature, issuer, service and times are right (`keys`, which remembers signatures and nothing else);
//! neither it nor anything that it rests on was taken back; it is bound to no key that would have to be proven here; it was
//! made for the caller; and the session that it rests on lives, is of a person who is still known, and gives their role. What it permits is weighed
//! after that, by what roles and ceilings say at this moment.
//!
//! A refusal here is a denial like any other, on record with the token's id where the signature was right, never with its
//! text. Where the memory can't be asked for a session, nothing is assumed. No request is decided as if its token were not
//! there.

use std::sync::Arc;

use quick_cache::sync::Cache;
use tokio::time::timeout_at;

use super::decision::Denial;
use super::findings::Findings;
use super::question::HttpRequest;
use super::rules::Rules;
use crate::clock::Timestamp;
use crate::delegation::token::{Claims, Compact};
use crate::delegation::{Audience, Mandate, RoleName, Session, SessionId, Status, TokenHeader};
use crate::identity::SpiffeId;
use crate::keys::{Expectations, TokenError, Verifier};
use crate::permission::{Reason, Standing};
use crate::policy::Deadline;
use crate::state::{Presented, StateError, StateStore, Whose};
use crate::text::sentence;

/// What tokens are looked at with.
#[derive(Debug)]
pub struct Tokens {
    verifier: Verifier,
    state: Arc<dyn StateStore>,
    /// A session keeps its person and role for life; that it was ended is told by what was taken back.
    sessions: Cache<SessionId, Arc<Session>>,
}

/// Who shows a token, and when.
pub(super) struct Shown<'a> {
    pub(super) http: &'a HttpRequest<'a>,
    pub(super) caller: &'a SpiffeId,
    pub(super) now: Timestamp,
    pub(super) deadline: Deadline,
}

// === impl Tokens ===

impl Tokens {
    /// Looks at tokens with `verifier`, at what was taken back and at sessions in `state`.
    pub fn new(verifier: Verifier, state: Arc<dyn StateStore>) -> Self {
        Self {
            verifier,
            state,
            sessions: Cache::new(SESSIONS),
        }
    }

    /// On whose behalf the caller acts by `text`.
    async fn accept(
        &self,
        text: &str,
        issuer: &Audience,
        rules: &Rules,
        shown: &Shown<'_>,
        found: &mut Findings,
    ) -> Result<Mandate, Denial> {
        let audience = audience(rules, found)?;
        let expected = Expectations {
            issuer,
            audience: &audience,
            now: shown.now,
            skew: rules.delegation.showing.skew,
        };
        let verified = self.verifier.verify(text, &expected);
        let verified = verified.map_err(|error| {
            found.token_fault = Some(error.code());
            refused(&error)
        })?;
        let claims = &verified.claims;
        found.presented = Some(Arc::clone(claims));
        self.living(claims)?;
        unbound(claims)?;
        presented_by(shown.caller, claims, rules)?;
        let role = self.role(claims, rules, shown).await?;
        Ok(Mandate {
            claims: Arc::clone(claims),
            role,
        })
    }

    /// Refused where it, or anything that it rests on, was taken back.
    pub(super) fn living(&self, claims: &Claims) -> Result<(), Denial> {
        let presented = Presented::of(claims);
        match self.state.revocations().kills(&presented) {
            None => Ok(()),
            Some(cause) => {
                let detail = format!("taken back: {}", cause.as_str());
                Err(Denial::because(Reason::TokenRevoked, detail))
            }
        }
    }

    /// The role of the person, as their session has it. The session must live, and its person still be known in that role.
    async fn role(
        &self,
        claims: &Claims,
        rules: &Rules,
        shown: &Shown<'_>,
    ) -> Result<RoleName, Denial> {
        let session = self.session(claims, shown).await?;
        if !session.lives(shown.now) || session.person.id != claims.chain.person {
            let detail = "the session that it rests on does not live";
            return Err(Denial::because(Reason::TokenRevoked, detail));
        }
        // D25
        if !rules.knows(&session) {
            let detail = "the person is not known any more, or has another role than their session";
            return Err(Denial::because(Reason::TokenRevoked, detail));
        }
        Ok(session.role.clone())
    }

    /// The session, alive or not: from the memory once, and remembered.
    async fn session(&self, claims: &Claims, shown: &Shown<'_>) -> Result<Arc<Session>, Denial> {
        if let Some(session) = self.sessions.get(&claims.session) {
            return Ok(session);
        }
        let asked = self.state.session(claims.session.clone(), Whose::Anybody);
        let session = match timeout_at(shown.deadline.at, asked).await {
            Ok(Ok(session)) => Arc::new(session),
            // A memory that was lost along with what was taken back brings no token to life again (D23).
            Ok(Err(StateError::Refused(refusal))) => {
                return Err(Denial::because(Reason::TokenRevoked, sentence(&refusal)));
            }
            Ok(Err(error @ StateError::Unavailable { .. })) => {
                return Err(Denial::because(Reason::StateUnavailable, sentence(&error)));
            }
            Err(_elapsed) => {
                let detail = "the session was not found in time";
                return Err(Denial::because(Reason::StateUnavailable, detail));
            }
        };
        // One that waits for its record may yet begin to live.
        if session.status != Status::Pending {
            let kept = Arc::clone(&session);
            self.sessions.insert(claims.session.clone(), kept);
        }
        Ok(session)
    }
}

/// On whose behalf the request is made; `None` where it carries no token. `tokens` is missing where this process has
/// neither keys nor memory to look at one.
pub(super) async fn mandate(
    tokens: Option<&Tokens>,
    rules: &Rules,
    shown: &Shown<'_>,
    found: &mut Findings,
) -> Result<Option<Mandate>, Denial> {
    let mandate = read(tokens, rules, shown, found).await;
    if mandate.is_err() && rules.agents.contains(shown.caller) {
        // Whatever is wrong with its token, it acts for nobody.
        found.standing = Some(Standing::OrphanAgent);
    }
    mandate
}

async fn read(
    tokens: Option<&Tokens>,
    rules: &Rules,
    shown: &Shown<'_>,
    found: &mut Findings,
) -> Result<Option<Mandate>, Denial> {
    let header = rules.delegation.showing.header;
    let issuer = rules.delegation.limits.issuer.as_ref();
    let (Some(tokens), Some(issuer)) = (tokens, issuer) else {
        let expected = tokens.is_some() || issuer.is_some();
        return nowhere(header, expected, shown.http);
    };
    let Some(text) = text(shown.http, header)? else {
        return Ok(None);
    };
    let accepted = tokens.accept(text, issuer, rules, shown, found).await?;
    found.mandate = Some(accepted.clone());
    Ok(Some(accepted))
}

/// The one token in the one header.
fn text<'a>(http: &HttpRequest<'a>, header: TokenHeader) -> Result<Option<&'a str>, Denial> {
    let value = http.headers.single(header.as_str());
    let Some(value) = value.map_err(|error| invalid(sentence(&error)))? else {
        return Ok(None);
    };
    match header {
        TokenHeader::AttacheToken => Ok(Some(value)),
        TokenHeader::Authorization => match value.strip_prefix(SCHEME) {
            Some(text) => Ok(Some(text)),
            None => Err(invalid(
                "`authorization` holds something else than `Bearer` and a token; where services need it, \
                 see delegation.token_header",
            )),
        },
    }
}

/// Where no token can be looked at, none passes. What `authorization` holds is the service's own, unless it is of our form
/// or delegation is `expected`.
fn nowhere(
    header: TokenHeader,
    expected: bool,
    http: &HttpRequest<'_>,
) -> Result<Option<Mandate>, Denial> {
    let mut values = http.headers.iter();
    let ours = |value: &[u8]| {
        expected
            || header == TokenHeader::AttacheToken
            || std::str::from_utf8(value)
                .ok()
                .and_then(|value| value.strip_prefix(SCHEME))
                .is_some_and(|text| Compact::parse(text).is_ok())
    };
    if values.any(|(name, value)| name == header.as_str() && ours(value)) {
        return Err(invalid(
            "there is nothing here to look at tokens with: it takes delegation.issuer and `state`",
        ));
    }
    Ok(None)
}

/// Which service a token must be for: the one that the proxy names, else the configured one.
fn audience(rules: &Rules, found: &Findings) -> Result<Audience, Denial> {
    let destination = found.destination.as_ref().map(Audience::from);
    let configured = || rules.delegation.limits.audience.clone();
    destination.or_else(configured).ok_or_else(|| {
        let detail = "neither the proxy (`destination.principal`) nor delegation.audience says which service this is";
        Denial::because(Reason::AudienceMismatch, detail)
    })
}

/// A key that must be proven can't be: a token that is bound to one is not taken for one that is not (RFC 9449 section 7.2).
fn unbound(claims: &Claims) -> Result<(), Denial> {
    let bound = claims.confirmation;
    if bound.key.is_some() || bound.certificate.is_some() {
        return Err(invalid(
            "it is bound to a key (`cnf`), and proofs of keys are not taken here",
        ));
    }
    Ok(())
}

/// Refused unless the token was made for `caller`: for the agent that acts, or for the gateway that speaks for the person.
fn presented_by(caller: &SpiffeId, claims: &Claims, rules: &Rules) -> Result<(), Denial> {
    let mismatch = |detail: String| Err(Denial::because(Reason::PresenterMismatch, detail));
    let Some(actor) = claims.chain.actor() else {
        if rules.agents.contains(caller) {
            let detail = "an agent shows a person's own token";
            return Err(Denial::because(Reason::OrphanAgent, detail));
        }
        if !rules.delegation.showing.is_gateway(caller) {
            return mismatch(format!("`{caller}` is not in gateways"));
        }
        if claims.client != *caller {
            return mismatch(format!("it was made for `{}`", claims.client));
        }
        return Ok(());
    };
    if actor.spiffe_id != *caller {
        return mismatch(format!("it was made for `{}`", actor.spiffe_id));
    }
    Ok(())
}

fn refused(error: &TokenError) -> Denial {
    let reason = match error {
        TokenError::Expired => Reason::TokenExpired,
        TokenError::Audience => Reason::AudienceMismatch,
        TokenError::Form(_)
        | TokenError::Key(_)
        | TokenError::Signature
        | TokenError::Claims(_)
        | TokenError::Issuer
        | TokenError::NotYet => Reason::TokenInvalid,
    };
    Denial::because(reason, sentence(error))
}

fn invalid(detail: impl std::fmt::Display) -> Denial {
    Denial::because(Reason::TokenInvalid, detail)
}

/// As RFC 6750 section 2.1 has it: this spelling and one space, no other.
const SCHEME: &str = "Bearer ";
/// Sessions that are remembered.
const SESSIONS: usize = 4096;

#[cfg(test)]
mod tests;
