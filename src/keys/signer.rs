//! Makes tokens: claims in, a signed text out.
//!
//! Never decides whether the claims should be granted, and never changes them. Whatever fails, there is no token.

use std::sync::Arc;

use super::keyring::Keyring;
use crate::delegation::token::{Claims, ClaimsError, Compact, Token};

/// Signs with whichever key is active.
#[derive(Debug, Clone)]
pub struct Signer {
    keyring: Arc<Keyring>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The claims are not sound, or too many.
    #[error("no token can hold this")]
    Claims(#[source] ClaimsError),
    /// No key has begun yet.
    #[error(
        "no key signs at this time: look at the names of the files in `delegation.keys.directory`"
    )]
    NoKey,
    /// The cryptographic library failed.
    #[error("the signature could not be made")]
    Signature,
}

impl Signer {
    /// Signs with the keys of `keyring`.
    pub const fn new(keyring: Arc<Keyring>) -> Self {
        Self { keyring }
    }

    /// A token that says `claims`.
    pub fn mint(&self, claims: &Claims) -> Result<Token, MintError> {
        let payload = claims.encode().map_err(MintError::Claims)?;
        let pair = self.keyring.active().ok_or(MintError::NoKey)?;
        let public = pair.public();
        let alg = public.algorithm().written();
        let signed = Compact::to_be_signed(alg, public.id(), &payload);
        let signature = pair
            .sign(signed.as_bytes())
            .map_err(|_failed| MintError::Signature)?;
        Ok(Token::new(Compact::assemble(signed, signature.as_ref())))
    }
}
