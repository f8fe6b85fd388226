//! Decides whether a certificate is put together exactly as RFC 5280 section 4.1 says, down to the parts of the extensions
//! that matter.
//!
//! The parser that `leaf.rs` reads with is lenient about what holds the parts together: it takes a primitive tag for a
//! sequence and other tags for an object identifier, ignores the class of tags and the length of the element around the
//! extensions, and skips what is left over inside an extension. A stricter reader would see another certificate or none,
//! so all of that is refused. What the parts say is not looked at here.

use x509_parser::asn1_rs::{Any, FromDer};

/// Whether every part of the certificate in `der` has its one tag and ends where the part around it ends.
pub(super) fn is_exact(der: &[u8]) -> bool {
    certificate(der).is_some()
}

/// Whether `value` is one sequence, and each of its elements has one of these identifier octets.
pub(super) fn is_sequence_of(value: &[u8], tags: &[u8]) -> bool {
    sequence(value).is_some_and(|elements| elements.iter().all(|(tag, _)| tags.contains(tag)))
}

fn certificate(der: &[u8]) -> Option<()> {
    let [(SEQUENCE, body), (SEQUENCE, _), (BIT_STRING, _)] = *sequence(der)? else {
        return None;
    };
    let parts = elements(body)?;
    // Version, serial number, algorithm, issuer, validity, subject, key, and what may be left out.
    let [
        (VERSION, version),
        (INTEGER, _),
        (SEQUENCE, _),
        (SEQUENCE, _),
        (SEQUENCE, _),
        (SEQUENCE, _),
        (SEQUENCE, _),
        ref optional @ ..,
    ] = *parts
    else {
        return None;
    };
    let [(INTEGER, _)] = *elements(version)? else {
        return None;
    };
    for (tag, content) in optional {
        match *tag {
            ISSUER_ID | SUBJECT_ID => {}
            EXTENSIONS => extensions(content)?,
            _ => return None,
        }
    }
    Some(())
}

fn extensions(content: &[u8]) -> Option<()> {
    for (tag, extension) in sequence(content)? {
        match (tag, &*elements(extension)?) {
            (SEQUENCE, [(OID, _), (OCTETS, _)] | [(OID, _), (BOOLEAN, _), (OCTETS, _)]) => {}
            _ => return None,
        }
    }
    Some(())
}

/// The elements of the one sequence that `der` is.
fn sequence(der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    match *elements(der)? {
        [(SEQUENCE, content)] => elements(content),
        _ => None,
    }
}

/// The elements that `der` is made of, each by its identifier octet and its content.
fn elements(mut der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut elements = Vec::new();
    while let Some(tag) = der.first() {
        let (rest, element) = Any::from_der(der).ok()?;
        elements.push((*tag, element.data));
        der = rest;
    }
    Some(elements)
}

// Identifier octets (X.690 section 8.1.2): class, constructed or not, and number.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
const OCTETS: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
/// Of every kind of `GeneralName` (RFC 5280 section 4.2.1.6), in their order.
pub(super) const GENERAL_NAMES: [u8; 9] = [0xa0, 0x81, 0x82, 0xa3, 0xa4, 0xa5, 0x86, 0x87, 0x88];
