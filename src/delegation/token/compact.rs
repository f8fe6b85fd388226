//! The compact form of a signed token (RFC 7515 section 3.1), read strictly: three parts, a header of three members.
//!
//! Decides whether a text has that form and what its header says. Nothing here is believed yet: the payload stays encoded
//! until somebody has looked at the signature.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::json::{Object, nesting};
use super::thumbprint::Thumbprint;
use super::{MAX_READ_BYTES, TYP};

/// The algorithms that a header may name. There are no others: neither `none` nor a shared secret can be said in this type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alg {
    /// `Ed25519` (RFC 9864), which attache writes.
    Ed25519,
    /// `EdDSA` (RFC 8037), the older name that leaves the curve to the key.
    EdDsa,
    /// `ES256`: P-256 with SHA-256 (RFC 7518 section 3.4).
    Es256,
}

/// A text of the right form. The signature has not been looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Compact<'a> {
    /// What the header says about how it is signed.
    pub alg: Alg,
    /// Which key signed it, as the header says.
    pub kid: Thumbprint,
    /// What is signed: header and payload, as given.
    pub signed: &'a str,
    /// All three algorithms make 64 bytes.
    pub signature: [u8; 64],
    payload: &'a str,
}

/// Why a text is not of the form. None of them shows the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Longer than 16 KiB.
    #[error("the token has {0} bytes, more than {MAX_READ_BYTES}")]
    Length(usize),
    /// Not three parts: encrypted tokens have five.
    #[error("the token does not have three parts")]
    Parts,
    /// Padding, white space, another alphabet, or bits that encode nothing.
    #[error("the {0} is not base64url")]
    Base64(&'static str),
    /// The header is not an object of `alg`, `typ` and `kid` (T04, T06, T07).
    #[error("the header is not one of ours: {0}")]
    Header(String),
    /// `alg` is not one of three.
    #[error("the header names an algorithm that is not accepted")]
    Algorithm,
    /// `typ` is not `at+jwt`.
    #[error("the header names another type than {TYP}")]
    Type,
    /// `kid` is no thumbprint.
    #[error("the header names no key of ours")]
    KeyId,
    /// The signature is not 64 bytes long: DER for instance.
    #[error("the signature does not have 64 bytes")]
    Signature,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
    kid: String,
}

// === impl Alg ===

impl Alg {
    /// The name in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ed25519 => "Ed25519",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Ed25519, Self::EdDsa, Self::Es256];
        all.into_iter().find(|alg| alg.as_str() == name)
    }
}

// === impl Compact ===

impl<'a> Compact<'a> {
    /// Reads the form and the header of `text`.
    pub fn parse(text: &'a str) -> Result<Self, FormError> {
        if text.len() > MAX_READ_BYTES {
            return Err(FormError::Length(text.len()));
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(FormError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(FormError::Parts)?;
        if payload.contains('.') {
            return Err(FormError::Parts);
        }
        let header = decode("header", header)?;
        if nesting(&header) != 1 {
            return Err(FormError::Header("it is not a flat object".to_owned()));
        }
        let Object(Header { alg, typ, kid }) =
            serde_json::from_slice(&header).map_err(|error| FormError::Header(excerpt(&error)))?;
        let alg = Alg::named(&alg).ok_or(FormError::Algorithm)?;
        if typ != TYP {
            return Err(FormError::Type);
        }
        let kid = kid.parse().map_err(|_not_one| FormError::KeyId)?;
        let signature = decode("signature", signature)?
            .try_into()
            .map_err(|_other_length| FormError::Signature)?;
        Ok(Self {
            alg,
            kid,
            signed,
            signature,
            payload,
        })
    }

    /// What the token says, as JSON. Only for those who have found its signature to be right.
    pub fn payload(&self) -> Result<Vec<u8>, FormError> {
        decode("payload", self.payload)
    }

    /// Header and payload of a token to be signed.
    pub(crate) fn to_be_signed(alg: Alg, kid: Thumbprint, payload: &[u8]) -> String {
        // A header of three words without quotes in them: nothing to escape.
        let header = format!(
            r#"{{"alg":"{}","typ":"{TYP}","kid":"{kid}"}}"#,
            alg.as_str()
        );
        let mut text = String::with_capacity(super::claims::compact_bytes(payload.len()));
        BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut text);
        text
    }

    /// The whole text, from what was signed and the signature over it.
    pub(crate) fn assemble(mut signed: String, signature: &[u8]) -> String {
        signed.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut signed);
        signed
    }
}

impl std::fmt::Debug for Compact<'_> {
    /// Shows what the header says, nothing that could be used.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compact")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

fn decode(part: &'static str, text: &str) -> Result<Vec<u8>, FormError> {
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_odd| FormError::Base64(part))
}

/// What serde says, on one line and cut: it quotes whatever somebody wrote.
fn excerpt(error: &serde_json::Error) -> String {
    let words = error.to_string();
    words
        .chars()
        .take(80)
        .flat_map(char::escape_debug)
        .collect()
}
