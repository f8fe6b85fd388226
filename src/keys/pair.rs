//! A private key: made or read, and signed with. It shows in no output and leaves only as the file that it is kept in.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};

use super::algorithm::Algorithm;
use super::public::{KeyRejected, PublicKey};

/// A key that signs.
pub(super) struct Pair {
    private: Private,
    public: Arc<PublicKey>,
}

enum Private {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

impl Pair {
    /// A new key. Randomness is the cryptographic library's own; tests need keys, not certain ones.
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyRejected> {
        let private = match algorithm {
            Algorithm::Ed25519 => Ed25519KeyPair::generate().map(Private::Ed25519),
            Algorithm::Es256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Private::Es256)
            }
        };
        Self::new(private.map_err(|_failed| KeyRejected)?)
    }

    /// A key from PKCS#8 (RFC 5958); which algorithm it is for, the document says.
    pub(super) fn from_pkcs8(document: &[u8]) -> Result<Self, KeyRejected> {
        let private = match Ed25519KeyPair::from_pkcs8(document) {
            Ok(pair) => Private::Ed25519(pair),
            Err(_other) => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document)
                .map(Private::Es256)
                .map_err(|_bad| KeyRejected)?,
        };
        Self::new(private)
    }

    fn new(private: Private) -> Result<Self, KeyRejected> {
        let bytes = match &private {
            Private::Ed25519(pair) => pair.public_key().as_ref(),
            Private::Es256(pair) => pair.public_key().as_ref(),
        };
        let rejected = |_length| KeyRejected;
        let public = match &private {
            Private::Ed25519(_) => PublicKey::ed25519(bytes.try_into().map_err(rejected)?),
            Private::Es256(_) => PublicKey::es256(bytes.try_into().map_err(rejected)?),
        };
        Ok(Self {
            public: Arc::new(public?),
            private,
        })
    }

    /// The key as PKCS#8, version 1, which every tool reads.
    pub(super) fn to_pkcs8(&self) -> Result<Vec<u8>, KeyRejected> {
        let document = match &self.private {
            Private::Ed25519(pair) => pair.to_pkcs8v1(),
            Private::Es256(pair) => pair.to_pkcs8v1(),
        };
        let document = document.map_err(|_failed| KeyRejected)?;
        Ok(document.as_ref().to_vec())
    }

    pub(super) const fn public(&self) -> &Arc<PublicKey> {
        &self.public
    }

    /// 64 bytes over `message`.
    pub(super) fn sign(&self, message: &[u8]) -> Result<impl AsRef<[u8]> + use<>, Unspecified> {
        match &self.private {
            Private::Ed25519(pair) => pair.try_sign(message),
            Private::Es256(pair) => pair.sign(&SystemRandom::new(), message),
        }
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({})", self.public.id())
    }
}
