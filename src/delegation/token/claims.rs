//! What a token says, and which claims may stand together in one.
//!
//! Decides that claims are whole and sound in themselves, both before they are signed and after they were read: one chain
//! with one grant for each hop, one service, some permissions, a life of at most 300 seconds, a size that proxies carry.
//! Never decides whether they are true, or whether somebody may use them. What is not sound is neither written nor read.

use super::json::{Object, nesting};
use super::thumbprint::Thumbprint;
use super::wire::Wire;
use super::{MAX_BYTES, MAX_DEPTH, MAX_LIFE, MAX_TASKS};
use crate::clock::Timestamp;
use crate::delegation::{Audience, Authentication, Chain, GrantId, SessionId, TaskId, TokenId};
use crate::identity::SpiffeId;
use crate::permission::PermissionSet;

/// What a token says. Times are whole seconds: fractions are cut off in writing, so that nothing lives longer by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who made it, the authority's URL (`iss`); the same in each `act`.
    pub issuer: Audience,
    /// On whose behalf, and through whom (`sub`, `act`). No agents in a person's own token.
    pub chain: Chain,
    /// Who asked for it (`client_id`, RFC 8693 section 4.3): for a person's own token the gateway that it is bound to.
    pub client: SpiffeId,
    /// The one service that accepts it (`aud`).
    pub audience: Audience,
    /// Whether the issuer accepts it as well (`aud`), to hand its authority on.
    pub redelegable: bool,
    /// What it permits at most (`authorization_details`): already narrowed over the whole chain, never nothing.
    pub permissions: PermissionSet,
    /// What it rests on (`task`, `grant`): there exactly if the chain has agents.
    pub lease: Option<Lease>,
    /// The person's session (`sid`).
    pub session: SessionId,
    /// Its own name (`jti`).
    pub id: TokenId,
    /// When it was made (`iat`).
    pub issued: Timestamp,
    /// The first moment at which it is not valid any more (`exp`): at most 300 s later.
    pub expires: Timestamp,
    /// How the person showed who they are (`auth_time`, `amr`, `acr`).
    pub authentication: Authentication,
    /// The keys that whoever shows it must hold (`cnf`).
    pub confirmation: Confirmation,
}

/// The grant that a token is a lease of, and the task it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// From the root task to its own (`task.path`).
    pub tasks: Vec<TaskId>,
    /// From the root grant to its own (`grant.path`), one for each agent of the chain: what revocation looks at.
    pub grants: Vec<GrantId>,
    /// The token it was made from (`grant.parent_jti`), for records only.
    pub parent: Option<TokenId>,
    /// The first token of that line (`grant.root_jti`), for records only.
    pub root: Option<TokenId>,
}

/// Keys of the one who shows a token (RFC 7800 `cnf`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Confirmation {
    /// The key of its `DPoP` proofs (`jkt`, RFC 9449 section 6.1).
    pub key: Option<Thumbprint>,
    /// Its certificate (`x5t#S256`, RFC 8705 section 3.1).
    pub certificate: Option<Thumbprint>,
}

/// Why claims are not written, or a payload holds none.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// Not JSON, or a member that is unknown, missing, there twice or of the wrong kind.
    #[error("the claims are not ours")]
    Json(#[source] serde_json::Error),
    /// Authority was handed on too often, or arrays and objects are nested deeper than any claims are.
    #[error("the chain is deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More of something than a token may hold.
    #[error("more {0} than {1}: ask for less, or for several tokens")]
    TooMany(&'static str, usize),
    /// More bytes than a token may have.
    #[error("the token would have {bytes} bytes, more than {MAX_BYTES}; most of it is `{part}`")]
    TooLarge {
        /// How many it would have.
        bytes: usize,
        /// The member that takes most of them.
        part: &'static str,
    },
    /// A member that has to be one of our words is not.
    #[error("`{0}` is not a word of ours")]
    Word(&'static str),
    /// Two members don't agree, or a value is out of its bounds.
    #[error("claims contradict each other: {0}")]
    Contradiction(&'static str),
    /// Not one service, or something besides it and the issuer.
    #[error("`aud` is not one service, alone or followed by the issuer")]
    Audiences,
    /// It permits nothing.
    #[error("the token would permit nothing")]
    NoPermissions,
}

impl Claims {
    /// The claims as JSON, always the same bytes for the same claims.
    pub fn encode(&self) -> Result<Vec<u8>, ClaimsError> {
        self.check()?;
        let wire = Wire::write(self)?;
        let payload = serde_json::to_vec(&wire).map_err(ClaimsError::Json)?;
        let bytes = compact_bytes(payload.len());
        if bytes > MAX_BYTES {
            let parts = wire.parts().into_iter();
            let biggest = parts.max_by_key(|(_, size)| *size);
            let part = biggest.map_or("act", |(part, _)| part);
            return Err(ClaimsError::TooLarge { bytes, part });
        }
        Ok(payload)
    }

    /// Reads what [`Self::encode`] writes, byte for byte, and nothing else.
    pub fn parse(payload: &[u8]) -> Result<Self, ClaimsError> {
        // The claims themselves are one level. Looked at before anything recurses.
        if nesting(payload) > MAX_DEPTH + 1 {
            return Err(ClaimsError::TooDeep);
        }
        let Object(wire): Object<Wire> =
            serde_json::from_slice(payload).map_err(ClaimsError::Json)?;
        let claims = wire.read()?;
        if claims.encode()? != payload {
            return Err(ClaimsError::Contradiction(
                "they are not spelled as attache spells them",
            ));
        }
        Ok(claims)
    }

    fn check(&self) -> Result<(), ClaimsError> {
        let depth = self.chain.depth();
        if depth > MAX_DEPTH {
            return Err(ClaimsError::TooDeep);
        }
        if self.permissions.is_empty() {
            return Err(ClaimsError::NoPermissions);
        }
        if self.audience == self.issuer {
            return Err(ClaimsError::Audiences);
        }
        match &self.lease {
            Some(lease) => lease.check(depth)?,
            None if depth > 0 => return Err(ClaimsError::Contradiction("act without a grant")),
            None => {}
        }
        let (issued, expires) = (self.issued.unix_seconds(), self.expires.unix_seconds());
        if expires <= issued || expires - issued > MAX_LIFE {
            return Err(ClaimsError::Contradiction("iat and exp"));
        }
        let Authentication {
            time,
            methods,
            class,
        } = &self.authentication;
        if time.unix_seconds() > issued {
            return Err(ClaimsError::Contradiction("auth_time and iat"));
        }
        if methods.len() > 8 {
            return Err(ClaimsError::TooMany("words in amr", 8));
        }
        if !methods.iter().chain(class).all(|word| is_plain(word)) {
            return Err(ClaimsError::Word("amr or acr"));
        }
        Ok(())
    }
}

impl Lease {
    fn check(&self, depth: usize) -> Result<(), ClaimsError> {
        if depth == 0 || self.grants.len() != depth {
            return Err(ClaimsError::Contradiction("grant.path and act"));
        }
        if self.tasks.len() > MAX_TASKS {
            return Err(ClaimsError::TooMany("tasks", MAX_TASKS));
        }
        if self.tasks.is_empty() {
            return Err(ClaimsError::Contradiction("a grant without a task"));
        }
        if repeats(&self.tasks) || repeats(&self.grants) {
            return Err(ClaimsError::Contradiction("a path that passes twice"));
        }
        Ok(())
    }
}

/// The length of the compact form for a payload of `payload` bytes: 112 for the longer header, 86 for the signature, two dots.
pub(super) const fn compact_bytes(payload: usize) -> usize {
    112 + 1 + (payload * 4).div_ceil(3) + 1 + 86
}

/// Words as `pwd` and `urn:mace:incommon:iap:silver`.
fn is_plain(word: &str) -> bool {
    (1..=64).contains(&word.len())
        && word
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

fn repeats<T: PartialEq>(items: &[T]) -> bool {
    let mut rest = items;
    while let [first, after @ ..] = rest {
        if after.contains(first) {
            return true;
        }
        rest = after;
    }
    false
}
