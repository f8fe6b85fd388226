//! X509-SVID leaf rules: which certificates name a caller, for how long, and under which ID.
//!
//! Nothing is verified here that needs a key or a chain: signature, path and proof of possession are the business of
//! the TLS handshake in which the proxy saw the certificate. What this file decides is whether that certificate is a
//! leaf SVID with exactly one SPIFFE ID, whatever the proxy made of it. Any doubt refuses the certificate.
//!
//! What the X509-SVID standard leaves to the reader is decided thus: a leaf without `BasicConstraints` is refused
//! (section 4.1 says leaves MUST set `cA` to false), and so is an extended key usage that only says
//! `anyExtendedKeyUsage` (section 4.4 asks for `clientAuth` by name). `serverAuth` is not asked for, since a caller is
//! a client, nor is the critical mark of `KeyUsage` (section 4.3): those are duties of the issuer that protect nobody
//! here.

use std::collections::HashSet;
use std::fmt::Write;

use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{FromDer, Oid};
use x509_parser::certificate::{X509Certificate, X509CertificateParser};
use x509_parser::error::{X509Error, X509Result};
use x509_parser::extensions::{
    BasicConstraints, ExtendedKeyUsage, GeneralName, KeyUsage, SubjectAlternativeName,
    X509Extension,
};
use x509_parser::nom::Parser;
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
};
use x509_parser::x509::X509Version;

use crate::clock::Timestamp;

use super::der;
use super::pem::{self, PemError};
use super::spiffe_id::{SpiffeId, SpiffeIdError};

/// What a leaf certificate says, once it has passed every rule that does not depend on time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// Who the certificate names.
    pub id: SpiffeId,
    /// The first moment of validity.
    pub not_before: Timestamp,
    /// The first moment after validity: at this very second the certificate has expired.
    pub not_after: Timestamp,
    /// The serial number: lower-case hex, two digits a byte, without leading zero bytes.
    pub serial: String,
    /// SHA-256 of the whole certificate in DER: 64 lower-case hex digits.
    pub fingerprint: String,
}

/// Which rule a certificate breaks. Sections are those of the X509-SVID standard unless another is named.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum LeafError {
    /// Not a certificate in URL-encoded PEM.
    #[error("the certificate can't be decoded")]
    Encoding(#[source] PemError),
    /// Not the DER of an X.509 version 3 certificate (RFC 5280 section 4.1).
    #[error("not an X.509 v3 certificate")]
    Malformed(#[source] X509Error),
    /// Bytes after the end of the certificate.
    #[error("bytes after the end of the certificate")]
    TrailingBytes,
    /// One extension twice (RFC 5280 section 4.2).
    #[error("extension {0} occurs twice")]
    DuplicateExtension(String),
    /// An extension that matters here and can't be read, or not to its end.
    #[error("extension {0} can't be read")]
    UnreadableExtension(&'static str),
    /// An extension marked critical that attache has no rule for (RFC 5280 section 4.2).
    #[error("critical extension {0} is not known")]
    UnknownCriticalExtension(String),
    /// `BasicConstraints` (section 4.1), `KeyUsage` (4.3) or `SubjectAltName` (2) is absent.
    #[error("extension {0} is missing")]
    MissingExtension(&'static str),
    /// Marked as a signing certificate, by the named field (section 5.2).
    #[error("a signing certificate is no caller: {0} is set")]
    SigningCertificate(&'static str),
    /// Not marked as a signing certificate, by the named field (sections 4.1 and 4.3).
    #[error("this certificate may not sign others: {0} is not set")]
    NotAnIssuer(&'static str),
    /// `KeyUsage` without `digitalSignature` (section 4.3).
    #[error("key usage lacks digitalSignature")]
    NoDigitalSignature,
    /// `ExtendedKeyUsage` without `clientAuth` (section 4.4).
    #[error("extended key usage lacks clientAuth")]
    NoClientAuth,
    /// Any number of URI names but one (sections 2 and 5.2).
    #[error("an X509-SVID has exactly one URI name, this certificate has {0}")]
    UriNames(usize),
    /// The one URI name is not the SPIFFE ID of a workload (sections 2, 3.1 and 5.2).
    #[error("the URI name is not a caller's SPIFFE ID")]
    SpiffeId(#[source] SpiffeIdError),
    /// Outside its validity (RFC 5280 section 4.1.2.5), judged without leeway.
    #[error("the certificate is valid from {not_before} until {not_after}")]
    OutsideValidity {
        /// See [`Svid::not_before`].
        not_before: Timestamp,
        /// See [`Svid::not_after`].
        not_after: Timestamp,
    },
}

impl Svid {
    /// Reads a leaf certificate in DER. Whether it is valid now is asked of [`Self::check_validity`].
    pub fn from_der(der: &[u8]) -> Result<Self, LeafError> {
        let certificate = parse(der)?;
        let extensions = Extensions::sort(certificate.extensions())?;
        extensions.check_is_leaf()?;
        let id = extensions.spiffe_id()?;
        let validity = certificate.validity();
        Ok(Self {
            id,
            not_before: timestamp(validity.not_before.timestamp()),
            not_after: timestamp(validity.not_after.timestamp()),
            serial: hex(&certificate.serial.to_bytes_be()),
            fingerprint: hex(&Sha256::digest(der)),
        })
    }

    /// Reads a leaf certificate as Envoy sends it: URL-encoded PEM, at most 16 KiB.
    pub fn from_encoded_pem(encoded: &str) -> Result<Self, LeafError> {
        let der = pem::decode(encoded).map_err(LeafError::Encoding)?;
        Self::from_der(&der)
    }

    /// Whether the certificate is valid at `now`, with no leeway at either end.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), LeafError> {
        if self.not_before <= now && now < self.not_after {
            return Ok(());
        }
        Err(LeafError::OutsideValidity {
            not_before: self.not_before,
            not_after: self.not_after,
        })
    }
}

// === Reading ===

/// The extensions that decide whether a certificate is a leaf SVID.
struct Extensions<'a> {
    names: SubjectAlternativeName<'a>,
    basic_constraints: BasicConstraints,
    key_usage: KeyUsage,
    extended_key_usage: Option<ExtendedKeyUsage<'a>>,
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, LeafError> {
    // Extensions are read by us: the parser's own reading ignores bytes after an extension's value.
    let (rest, certificate) = X509CertificateParser::new()
        .with_deep_parse_extensions(false)
        .parse(der)
        .map_err(malformed)?;
    if !rest.is_empty() {
        return Err(LeafError::TrailingBytes);
    }
    if certificate.version() != X509Version::V3 {
        return Err(LeafError::Malformed(X509Error::InvalidVersion));
    }
    if !der::is_exact(der) {
        return Err(LeafError::Malformed(X509Error::InvalidCertificate));
    }
    Ok(certificate)
}

impl<'a> Extensions<'a> {
    fn sort(extensions: &'a [X509Extension<'a>]) -> Result<Self, LeafError> {
        let mut names = None;
        let mut basic_constraints = None;
        let mut key_usage = None;
        let mut extended_key_usage = None;
        let mut seen = HashSet::with_capacity(extensions.len());
        for extension in extensions {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(LeafError::DuplicateExtension(extension.oid.to_id_string()));
            }
            let Some(known) = Known::of(&extension.oid) else {
                if extension.critical {
                    let oid = extension.oid.to_id_string();
                    return Err(LeafError::UnknownCriticalExtension(oid));
                }
                continue;
            };
            match known {
                Known::Names => names = Some(read(known, extension.value)?),
                Known::BasicConstraints => basic_constraints = Some(read(known, extension.value)?),
                Known::KeyUsage => key_usage = Some(read(known, extension.value)?),
                Known::ExtendedKeyUsage => extended_key_usage = Some(read(known, extension.value)?),
            }
        }
        let missing = |known: Known| LeafError::MissingExtension(known.name());
        Ok(Self {
            basic_constraints: basic_constraints.ok_or(missing(Known::BasicConstraints))?,
            key_usage: key_usage.ok_or(missing(Known::KeyUsage))?,
            names: names.ok_or(missing(Known::Names))?,
            extended_key_usage,
        })
    }

    fn check_is_leaf(&self) -> Result<(), LeafError> {
        if self.basic_constraints.ca {
            return Err(LeafError::SigningCertificate("cA"));
        }
        if self.key_usage.key_cert_sign() {
            return Err(LeafError::SigningCertificate("keyCertSign"));
        }
        if self.key_usage.crl_sign() {
            return Err(LeafError::SigningCertificate("cRLSign"));
        }
        if !self.key_usage.digital_signature() {
            return Err(LeafError::NoDigitalSignature);
        }
        match &self.extended_key_usage {
            Some(usage) if !usage.client_auth => Err(LeafError::NoClientAuth),
            _ => Ok(()),
        }
    }

    fn spiffe_id(&self) -> Result<SpiffeId, LeafError> {
        let mut only = None;
        let mut count = 0;
        for name in &self.names.general_names {
            match name {
                GeneralName::URI(uri) => {
                    count += 1;
                    only = Some(*uri);
                }
                // Could be a URI that another reader understands.
                GeneralName::Invalid(..) => {
                    return Err(LeafError::UnreadableExtension(Known::Names.name()));
                }
                GeneralName::OtherName(..)
                | GeneralName::RFC822Name(_)
                | GeneralName::DNSName(_)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::IPAddress(_)
                | GeneralName::RegisteredID(_) => {}
            }
        }
        match only {
            Some(uri) if count == 1 => uri.parse().map_err(LeafError::SpiffeId),
            _ => Err(LeafError::UriNames(count)),
        }
    }
}

/// An extension that attache has a rule for.
#[derive(Clone, Copy)]
pub(super) enum Known {
    Names,
    BasicConstraints,
    KeyUsage,
    ExtendedKeyUsage,
}

impl Known {
    pub(super) fn of(oid: &Oid<'_>) -> Option<Self> {
        if *oid == OID_X509_EXT_SUBJECT_ALT_NAME {
            Some(Self::Names)
        } else if *oid == OID_X509_EXT_BASIC_CONSTRAINTS {
            Some(Self::BasicConstraints)
        } else if *oid == OID_X509_EXT_KEY_USAGE {
            Some(Self::KeyUsage)
        } else if *oid == OID_X509_EXT_EXTENDED_KEY_USAGE {
            Some(Self::ExtendedKeyUsage)
        } else {
            None
        }
    }

    /// Whether the extension's value has the tags of its type (RFC 5280 sections 4.2.1.3, .6, .9 and .12).
    fn has_its_tags(self, value: &[u8]) -> bool {
        match self {
            Self::Names => der::is_sequence_of(value, &der::GENERAL_NAMES),
            Self::BasicConstraints => der::is_sequence_of(value, &[der::BOOLEAN, der::INTEGER]),
            Self::KeyUsage => value.first() == Some(&der::BIT_STRING),
            Self::ExtendedKeyUsage => der::is_sequence_of(value, &[der::OID]),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Names => "SubjectAltName",
            Self::BasicConstraints => "BasicConstraints",
            Self::KeyUsage => "KeyUsage",
            Self::ExtendedKeyUsage => "ExtendedKeyUsage",
        }
    }
}

/// Reads an extension's value to its last byte.
pub(super) fn read<'a, T: FromDer<'a, X509Error>>(
    known: Known,
    value: &'a [u8],
) -> Result<T, LeafError> {
    let result: X509Result<'a, T> = T::from_der(value);
    match result {
        // The parser also takes some other tags.
        Ok(([], extension)) if known.has_its_tags(value) => Ok(extension),
        _ => Err(LeafError::UnreadableExtension(known.name())),
    }
}

fn malformed(error: x509_parser::nom::Err<X509Error>) -> LeafError {
    use x509_parser::nom::Err as Fault;
    LeafError::Malformed(match error {
        Fault::Error(error) | Fault::Failure(error) => error,
        Fault::Incomplete(_) => X509Error::InvalidCertificate,
    })
}

/// Moments before 1970 become 1970: long past either way.
pub(super) fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(u64::try_from(unix_seconds).unwrap_or(0))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String can't fail.
            let _written = write!(text, "{byte:02x}");
            text
        })
}
