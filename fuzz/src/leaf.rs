//! X509-SVID leaf certificates (X509-SVID standard, sections 2 to 5; RFC 5280, section 4).

use attache::identity::Svid;

/// An accepted certificate is a leaf with one URI name, the ID that was read; text in Envoy's encoding is never fatal.
pub fn leaf(bytes: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Svid::from_encoded_pem(text));
    }
    let Ok(svid) = Svid::from_der(bytes) else {
        return false;
    };
    let Leaf { serial, extensions } = Leaf::read(bytes).expect("an accepted certificate is DER");
    let shown = (0..svid.serial.len()).step_by(2).map(|at| {
        let digits = svid.serial.get(at..at + 2).expect("two digits a byte");
        u8::from_str_radix(digits, 16).expect("hexadecimal digits")
    });
    let written = serial.iter().copied();
    assert!(
        shown
            .skip_while(|byte| *byte == 0)
            .eq(written.skip_while(|byte| *byte == 0)),
        "serial {}",
        svid.serial
    );
    assert!(svid.check_validity(svid.not_after).is_err(), "an exact end");

    let only = |last: u8| {
        let mut values = extensions
            .iter()
            .filter(|(oid, _)| oid == &[0x55, 0x1d, last]);
        let value = values.next().map(|(_, value)| *value);
        assert!(values.next().is_none(), "extension 2.5.29.{last} twice");
        value
    };
    let names = only(17).and_then(sequence).expect("SubjectAltName");
    let uris: Vec<_> = names.iter().filter(|(tag, _)| *tag == URI).collect();
    assert_eq!(uris, [&(URI, svid.id.as_str().as_bytes())]);

    let constraints = only(19).and_then(sequence).expect("BasicConstraints");
    let authority = constraints.iter().find(|(tag, _)| *tag == BOOLEAN);
    assert!(authority.is_none_or(|(_, value)| *value == [0]), "cA");

    let (tag, usage, rest) = only(15).and_then(element).expect("KeyUsage");
    assert!(tag == BIT_STRING && rest.is_empty());
    // After the count of unused bits, from the left: digitalSignature, …, keyCertSign, cRLSign.
    let bits = usage.get(1).copied().unwrap_or_default();
    assert_eq!(bits & 0b1000_0110, 0b1000_0000, "key usage {bits:08b}");

    if let Some(extended) = only(37) {
        let purposes = sequence(extended).expect("ExtendedKeyUsage");
        assert!(purposes.contains(&(OID, CLIENT_AUTH)), "{purposes:02x?}");
    }
    true
}

/// What of a certificate the rules are about.
struct Leaf<'a> {
    serial: &'a [u8],
    /// OID and value.
    extensions: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Leaf<'a> {
    fn read(der: &'a [u8]) -> Option<Self> {
        let [(SEQUENCE, body), (SEQUENCE, _), (BIT_STRING, _)] = *sequence(der)? else {
            return None;
        };
        let body = elements(body)?;
        // Version 3 is written as 2.
        let [
            (VERSION, [0x02, 0x01, 2]),
            (INTEGER, serial),
            ..,
            (EXTENSIONS, list),
        ] = *body
        else {
            return None;
        };
        let extension = |(tag, content)| {
            let parts = (tag == SEQUENCE).then(|| elements(content))??;
            match *parts {
                [(OID, oid), (OCTETS, value)] | [(OID, oid), (BOOLEAN, _), (OCTETS, value)] => {
                    Some((oid, value))
                }
                _ => None,
            }
        };
        Some(Self {
            serial,
            extensions: sequence(list)?
                .into_iter()
                .map(extension)
                .collect::<Option<_>>()?,
        })
    }
}

/// The elements of one sequence that is all there is.
fn sequence(der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    match element(der)? {
        (SEQUENCE, content, []) => elements(content),
        _ => None,
    }
}

fn elements(mut der: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut elements = Vec::new();
    while !der.is_empty() {
        let (tag, content, rest) = element(der)?;
        elements.push((tag, content));
        der = rest;
    }
    Some(elements)
}

/// One element (X.690 section 8.1): its tag, its content, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, length, rest @ ..] = der else {
        return None;
    };
    let (length, rest) = match length {
        0..=0x7f => (usize::from(*length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
/// `[0]` and `[3]` of a certificate's body.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `[6]` of a general name.
const URI: u8 = 0x86;
/// 1.3.6.1.5.5.7.3.2
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
