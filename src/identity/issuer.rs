//! Which certificates may stand above a leaf: the marks of a signing certificate, which path validation does not ask for.
//!
//! Signatures, validity, name constraints and path lengths are the business of whoever validates the path.

use x509_parser::extensions::{BasicConstraints, KeyUsage};

use crate::clock::Timestamp;

use super::leaf::{Known, LeafError, parse, read, timestamp};

/// From when until when a signing certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment of validity.
    pub not_before: Timestamp,
    /// The first moment after validity.
    pub not_after: Timestamp,
}

impl Validity {
    /// Whether `now` lies in it, with no leeway at either end.
    pub fn covers(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// Whether a certificate that a peer sent along may have signed another (X509-SVID sections 4.1 and 4.3): `cA` and
/// `keyCertSign` are both set. For how long is for the caller to judge.
pub fn check_intermediate(der: &[u8]) -> Result<Validity, LeafError> {
    let marks = Marks::of(der)?;
    marks.check_authority()?;
    match marks.key_usage {
        Some(usage) => check_signs(usage).map(|()| marks.validity),
        None => Err(LeafError::MissingExtension(Known::KeyUsage.name())),
    }
}

/// Whether a certificate of a bundle may have signed others.
///
/// Roots are trusted input and older than SPIFFE in many houses: `KeyUsage` may be absent (RFC 5280 section 6.1.4 (n)),
/// but what is there must allow signing. For how long is for the caller to judge.
pub fn check_root(der: &[u8]) -> Result<Validity, LeafError> {
    let marks = Marks::of(der)?;
    marks.check_authority()?;
    marks.key_usage.map_or(Ok(()), check_signs)?;
    Ok(marks.validity)
}

struct Marks {
    validity: Validity,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
}

impl Marks {
    fn of(der: &[u8]) -> Result<Self, LeafError> {
        let certificate = parse(der)?;
        let validity = certificate.validity();
        let mut marks = Self {
            validity: Validity {
                not_before: timestamp(validity.not_before.timestamp()),
                not_after: timestamp(validity.not_after.timestamp()),
            },
            basic_constraints: None,
            key_usage: None,
        };
        for extension in certificate.extensions() {
            let Some(known) = Known::of(&extension.oid) else {
                continue;
            };
            let twice = match known {
                Known::BasicConstraints => {
                    let value = read(known, extension.value)?;
                    marks.basic_constraints.replace(value).is_some()
                }
                Known::KeyUsage => {
                    let value = read(known, extension.value)?;
                    marks.key_usage.replace(value).is_some()
                }
                Known::Names | Known::ExtendedKeyUsage => false,
            };
            if twice {
                return Err(LeafError::DuplicateExtension(known.name().to_owned()));
            }
        }
        Ok(marks)
    }

    fn check_authority(&self) -> Result<(), LeafError> {
        match &self.basic_constraints {
            Some(constraints) if constraints.ca => Ok(()),
            Some(_) => Err(LeafError::NotAnIssuer("cA")),
            None => Err(LeafError::MissingExtension(Known::BasicConstraints.name())),
        }
    }
}

fn check_signs(usage: KeyUsage) -> Result<(), LeafError> {
    if usage.key_cert_sign() {
        Ok(())
    } else {
        Err(LeafError::NotAnIssuer("keyCertSign"))
    }
}
