//! Whether a text is a token of ours, for one service, at one moment.
//!
//! Decides by form, key, signature, claims, issuer, audience and times, in this order, and stops at the first that is not
//! right. **Who shows the token, whether it or anything above it was revoked, and whether news of that are fresh, is not
//! looked at here**: that differs from one use to the next, and the caller asks it at each, also when the signature is
//! remembered.
//!
//! Remembers signatures that were right, by the SHA-256 digest of the whole text, while the key is published and the token
//! lives. It never remembers a refusal.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::keyring::Keyring;
use super::public::sha256;
use crate::clock::Timestamp;
use crate::delegation::Audience;
use crate::delegation::token::{
    Claims, ClaimsError, Compact, FormError, MAX_READ_BYTES, Thumbprint,
};

#[cfg(test)]
mod tests;

/// No more than this is made up for between clocks, whatever is configured.
pub const MAX_SKEW: Duration = Duration::from_secs(30);

/// Looks at tokens.
#[derive(Debug)]
pub struct Verifier {
    keyring: Arc<Keyring>,
    seen: Cache<[u8; 32], Arc<Verified>, Length>,
}

/// A token that was signed by a key of ours, and what it says.
#[derive(Debug)]
pub struct Verified {
    /// What it says. Not yet that the one who shows it may.
    pub claims: Arc<Claims>,
    /// Which key signed it.
    pub key: Thumbprint,
    /// How long the text is, in bytes.
    length: u64,
}

/// What a token must be to be accepted here and now.
#[derive(Debug, Clone, Copy)]
pub struct Expectations<'a> {
    /// Who must have made it.
    pub issuer: &'a Audience,
    /// Whom it must be for: a service, or the issuer itself where authority is handed on.
    pub audience: &'a Audience,
    /// The time.
    pub now: Timestamp,
    /// How far clocks may differ, up to [`MAX_SKEW`].
    pub skew: Duration,
}

/// Why a token is refused, for records. To the outside all are [`TokenError::CLASS`].
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of our form.
    #[error("the text is not a token of ours")]
    Form(#[source] FormError),
    /// The header names a key that is not published, or not for this algorithm.
    #[error("the token names a key that is not one of ours, or not for its algorithm")]
    Key(Thumbprint),
    /// The key did not sign this text.
    #[error("the signature is wrong")]
    Signature,
    /// The signature is right, and yet these are not claims of ours.
    #[error("the token was signed by us and is not ours")]
    Claims(#[source] ClaimsError),
    /// Another authority's token.
    #[error("the token was made by another issuer")]
    Issuer,
    /// Another service's token.
    #[error("the token is for another service")]
    Audience,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token comes from the future")]
    NotYet,
}

impl TokenError {
    /// What is said of any of them to the one who showed the token (RFC 6750 section 3.1): all look alike.
    pub const CLASS: &'static str = "invalid_token";

    /// The word for it in records.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Form(_) => "token_malformed",
            Self::Key(_) => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Claims(_) => "token_claims",
            Self::Issuer => "token_issuer",
            Self::Audience => "token_audience",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet",
        }
    }
}

/// Room is counted in bytes of the texts.
#[derive(Debug, Clone)]
struct Length;

impl Weighter<[u8; 32], Arc<Verified>> for Length {
    fn weight(&self, _digest: &[u8; 32], verified: &Arc<Verified>) -> u64 {
        verified.length
    }
}

impl Verifier {
    /// Looks at tokens with the keys of `keyring`; remembers tokens of `room` bytes together, and none for 0.
    pub fn new(keyring: Arc<Keyring>, room: u64) -> Self {
        let tokens = usize::try_from(room / 2048).unwrap_or(usize::MAX);
        Self {
            keyring,
            seen: Cache::with_weighter(tokens, room, Length),
        }
    }

    /// What `text` says, if it is a token of ours that is good for `expected`. See above for what is left to be asked.
    pub fn verify(
        &self,
        text: &str,
        expected: &Expectations<'_>,
    ) -> Result<Arc<Verified>, TokenError> {
        if text.len() > MAX_READ_BYTES {
            return Err(TokenError::Form(FormError::Length(text.len())));
        }
        let digest = sha256(text.as_bytes());
        if let Some(verified) = self.seen.get(&digest) {
            let still = self.still(&verified, expected);
            if matches!(still, Err(TokenError::Key(_) | TokenError::Expired)) {
                self.seen.remove(&digest);
            }
            return still.map(|()| verified);
        }
        let verified = Arc::new(self.read(text)?);
        verified.check(expected)?;
        self.seen.insert(digest, Arc::clone(&verified));
        Ok(verified)
    }

    /// Whether what was right once is right now: the key is published, and the rest is as expected.
    fn still(&self, verified: &Verified, expected: &Expectations<'_>) -> Result<(), TokenError> {
        if self.keyring.public(&verified.key).is_none() {
            return Err(TokenError::Key(verified.key));
        }
        verified.check(expected)
    }

    fn read(&self, text: &str) -> Result<Verified, TokenError> {
        let token = Compact::parse(text).map_err(TokenError::Form)?;
        let key = self
            .keyring
            .public(&token.kid)
            .filter(|key| key.algorithm().accepts(token.alg))
            .ok_or(TokenError::Key(token.kid))?;
        if !key.verify(token.alg, token.signed.as_bytes(), &token.signature) {
            return Err(TokenError::Signature);
        }
        let payload = token.payload().map_err(TokenError::Form)?;
        Ok(Verified {
            claims: Arc::new(Claims::parse(&payload).map_err(TokenError::Claims)?),
            key: token.kid,
            length: text.len() as u64,
        })
    }
}

impl Verified {
    fn check(&self, expected: &Expectations<'_>) -> Result<(), TokenError> {
        let Expectations {
            issuer,
            audience,
            now,
            skew,
        } = expected;
        let claims = &self.claims;
        if claims.issuer != **issuer {
            return Err(TokenError::Issuer);
        }
        let for_issuer = claims.redelegable && claims.issuer == **audience;
        if claims.audience != **audience && !for_issuer {
            return Err(TokenError::Audience);
        }
        let skew = (*skew).min(MAX_SKEW);
        if *now >= claims.expires.plus(skew) {
            return Err(TokenError::Expired);
        }
        if claims.issued > now.plus(skew) {
            return Err(TokenError::NotYet);
        }
        Ok(())
    }
}
