//! The algorithms that keys are made for. A key has one, and nothing that a token says changes it.

use serde::Deserialize;

use crate::delegation::token::Alg;

/// What a key is made for. There is neither `none` nor a shared secret among them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    #[default]
    Ed25519,
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4), for those who are bound to FIPS 186-4.
    #[serde(rename = "ES256")]
    Es256,
}

impl Algorithm {
    /// The name as written in configuration, in headers and in `alg` of a JWK.
    pub const fn as_str(self) -> &'static str {
        self.written().as_str()
    }

    /// What headers of tokens name.
    pub(super) const fn written(self) -> Alg {
        match self {
            Self::Ed25519 => Alg::Ed25519,
            Self::Es256 => Alg::Es256,
        }
    }

    /// Whether a header may name `alg` where the key is made for this.
    pub(super) const fn accepts(self, alg: Alg) -> bool {
        match (self, alg) {
            (Self::Ed25519, Alg::Ed25519 | Alg::EdDsa) | (Self::Es256, Alg::Es256) => true,
            (Self::Ed25519, Alg::Es256) | (Self::Es256, Alg::Ed25519 | Alg::EdDsa) => false,
        }
    }
}
