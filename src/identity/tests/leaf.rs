//! Which certificates are leaf SVIDs.
//!
//! S38 to S41 and S43 to S46 are about chains, bundles and handshakes, which this room never sees.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};
use x509_parser::error::X509Error;

use crate::clock::Timestamp;
use crate::identity::{LeafError, SpiffeIdError, Svid};

use super::{NOT_AFTER, NOT_BEFORE, NOW, der, encoded, extension, params, tlv, uri};

const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXTENDED_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
/// DER of `BasicConstraints` with `cA` false, and of `KeyUsage` with `digitalSignature`.
const NO_CA: &[u8] = &[0x30, 0x00];
const SIGNS: &[u8] = &[0x03, 0x02, 0x07, 0x80];

const MALFORMED: Result<Svid, LeafError> = Err(LeafError::Malformed(X509Error::InvalidCertificate));

/// What becomes of a good leaf that `spoil` has been at.
fn leaf(spoil: impl FnOnce(&mut CertificateParams)) -> Result<Svid, LeafError> {
    let mut params = params("spiffe://td/p");
    spoil(&mut params);
    Svid::from_der(&der(&params))
}

/// A good leaf, but for one extension whose value is `content`.
fn with_value(oid: &[u64], content: &[u8]) -> Result<Svid, LeafError> {
    leaf(|params| {
        if oid == SUBJECT_ALT_NAME {
            params.subject_alt_names.clear();
        } else if oid == BASIC_CONSTRAINTS {
            params.is_ca = IsCa::NoCa;
        } else if oid == KEY_USAGE {
            params.key_usages.clear();
        } else {
            params.extended_key_usages.clear();
        }
        params.custom_extensions = vec![extension(oid, true, content.to_vec())];
    })
}

#[test]
fn a_leaf_names_its_workload_for_a_time() {
    let certificate = der(&params("spiffe://example.org/svc/a"));
    let svid = Svid::from_der(&certificate).unwrap();
    assert_eq!(svid.id.as_str(), "spiffe://example.org/svc/a");
    assert_eq!(svid.not_before, NOT_BEFORE);
    assert_eq!(svid.not_after, NOT_AFTER);
    assert_eq!(svid.serial, "0abc01");
    assert_eq!(svid.fingerprint.len(), 64);
    assert_ne!(
        svid.fingerprint,
        leaf(|_| {}).unwrap().fingerprint,
        "every certificate has its own"
    );
}

#[test]
fn hand_made_extensions_are_read_like_generated_ones() {
    // What the refusals below rely on: it is not the hand-made encoding that is refused.
    assert!(with_value(BASIC_CONSTRAINTS, NO_CA).is_ok());
    assert!(with_value(KEY_USAGE, SIGNS).is_ok());
    let name = tlv(0x86, b"spiffe://td/q");
    let svid = with_value(SUBJECT_ALT_NAME, &tlv(0x30, &name)).unwrap();
    assert_eq!(svid.id.as_str(), "spiffe://td/q");
}

#[test]
fn a_serial_number_is_shown_without_leading_zeros() {
    for (bytes, shown) in [
        (&[0x00, 0x80][..], "80"),
        (&[0x00], "00"),
        (&[0x7f], "7f"),
        (&[0x01, 0x00], "0100"),
    ] {
        let svid = leaf(|params| {
            params.serial_number = Some(SerialNumber::from_slice(bytes));
        });
        assert_eq!(svid.unwrap().serial, shown);
    }
}

#[test]
fn a_leaf_without_a_uri_name_is_refused() {
    // S21, S22
    let none = leaf(|params| params.subject_alt_names.clear());
    assert_eq!(none, Err(LeafError::MissingExtension("SubjectAltName")));
    let dns_only = leaf(|params| {
        params.subject_alt_names = vec![SanType::DnsName("td".try_into().unwrap())];
    });
    assert_eq!(dns_only, Err(LeafError::UriNames(0)));
    let empty = with_value(SUBJECT_ALT_NAME, &tlv(0x30, &[]));
    assert_eq!(empty, Err(LeafError::UriNames(0)));
}

#[test]
fn names_of_other_kinds_are_no_identity() {
    // S23
    let svid = leaf(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("a.example.org".try_into().unwrap()),
            SanType::DnsName("b.example.org".try_into().unwrap()),
            uri("spiffe://td/p"),
            SanType::DnsName("c.example.org".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::Rfc822Name("a@example.org".try_into().unwrap()),
        ];
    });
    assert_eq!(svid.unwrap().id.as_str(), "spiffe://td/p");
}

#[test]
fn more_than_one_uri_name_is_refused_whatever_they_are() {
    // S24, S25, S26, S27
    let long = format!("spiffe://td/{}", "a".repeat(3000));
    for second in ["spiffe://td/q", "https://td/p", "spiffe://td/p", "", &long] {
        for names in [["spiffe://td/p", second], [second, "spiffe://td/p"]] {
            let refused = leaf(|params| params.subject_alt_names = names.map(uri).to_vec());
            assert_eq!(refused, Err(LeafError::UriNames(2)), "{names:?}");
        }
    }
}

#[test]
fn a_name_that_is_not_text_is_refused_not_skipped() {
    // S27: beside a good URI, one that is not UTF-8, and a kind of name that does not exist.
    let good = tlv(0x86, b"spiffe://td/p");
    for bad in [tlv(0x86, b"spiffe://td/\xff"), tlv(0x8a, b"x")] {
        let names = tlv(0x30, &[good.clone(), bad].concat());
        assert_eq!(
            with_value(SUBJECT_ALT_NAME, &names),
            Err(LeafError::UnreadableExtension("SubjectAltName"))
        );
    }
}

#[test]
fn an_extension_twice_is_refused() {
    // S28, and the same for every other extension, known or not.
    let name = tlv(0x30, &tlv(0x86, b"spiffe://td/p"));
    let client_auth = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    for (oid, content, shown) in [
        (SUBJECT_ALT_NAME, name, "2.5.29.17"),
        (BASIC_CONSTRAINTS, NO_CA.to_vec(), "2.5.29.19"),
        (KEY_USAGE, SIGNS.to_vec(), "2.5.29.15"),
        (EXTENDED_KEY_USAGE, tlv(0x30, &client_auth), "2.5.29.37"),
    ] {
        let refused =
            leaf(|params| params.custom_extensions = vec![extension(oid, false, content)]);
        assert_eq!(
            refused,
            Err(LeafError::DuplicateExtension(shown.to_owned()))
        );
    }
    let unknown = || extension(&[1, 2, 3, 4], false, vec![0x05, 0x00]);
    assert!(leaf(|params| params.custom_extensions = vec![unknown()]).is_ok());
    assert_eq!(
        leaf(|params| params.custom_extensions = vec![unknown(), unknown()]),
        Err(LeafError::DuplicateExtension("1.2.3.4".to_owned()))
    );
}

#[test]
fn an_id_in_the_subject_or_in_a_dns_name_is_no_identity() {
    // S29
    let in_subject = leaf(|params| {
        params.subject_alt_names.clear();
        params
            .distinguished_name
            .push(DnType::CommonName, "spiffe://td/p");
    });
    assert_eq!(
        in_subject,
        Err(LeafError::MissingExtension("SubjectAltName"))
    );
    let as_dns = leaf(|params| {
        params.subject_alt_names = vec![SanType::DnsName("spiffe://td/p".try_into().unwrap())];
    });
    assert_eq!(as_dns, Err(LeafError::UriNames(0)));
}

#[test]
fn the_uri_name_must_be_the_id_of_a_workload() {
    // S30, and the rules of the SPIFFE ID standard
    let refused = leaf(|params| params.subject_alt_names = vec![uri("spiffe://td")]);
    assert!(
        matches!(refused, Err(LeafError::SpiffeId(SpiffeIdError::NoPath(_)))),
        "{refused:?}"
    );
    let long = format!("spiffe://td/{}", "a".repeat(3000));
    for text in [
        "",
        "https://td/p",
        "spiffe://TD/p",
        "spiffe://td/p,spiffe://td/q",
        &long,
    ] {
        let refused = leaf(|params| params.subject_alt_names = vec![uri(text)]);
        assert!(matches!(refused, Err(LeafError::SpiffeId(_))), "{text}");
    }
}

#[test]
fn a_signing_certificate_is_no_caller() {
    // S31, S32
    let ca = leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    assert_eq!(ca, Err(LeafError::SigningCertificate("cA")));
    for (usage, shown) in [
        (KeyUsagePurpose::KeyCertSign, "keyCertSign"),
        (KeyUsagePurpose::CrlSign, "cRLSign"),
    ] {
        let signing = leaf(|params| params.key_usages.push(usage));
        assert_eq!(signing, Err(LeafError::SigningCertificate(shown)));
    }
}

#[test]
fn digital_signature_is_required() {
    // S33
    let absent = leaf(|params| params.key_usages.clear());
    assert_eq!(absent, Err(LeafError::MissingExtension("KeyUsage")));
    let other = leaf(|params| {
        params.key_usages = vec![
            KeyUsagePurpose::KeyEncipherment,
            KeyUsagePurpose::KeyAgreement,
        ];
    });
    assert_eq!(other, Err(LeafError::NoDigitalSignature));
    let with_others = leaf(|params| params.key_usages.push(KeyUsagePurpose::KeyEncipherment));
    assert!(with_others.is_ok());
}

#[test]
fn basic_constraints_are_required() {
    // S34: X509-SVID section 4.1 says a leaf MUST set cA to false.
    let absent = leaf(|params| params.is_ca = IsCa::NoCa);
    assert_eq!(absent, Err(LeafError::MissingExtension("BasicConstraints")));
}

#[test]
fn an_unreadable_extension_is_refused_not_taken_for_absent() {
    // S35, and for names and extended key usage too; also bytes after a readable value.
    let names = tlv(0x30, &tlv(0x86, b"spiffe://td/p"));
    let usages = tlv(0x30, &[0x06, 0x03, 0x2b, 0x06, 0x01]);
    for (oid, good, shown) in [
        (SUBJECT_ALT_NAME, &names[..], "SubjectAltName"),
        (BASIC_CONSTRAINTS, NO_CA, "BasicConstraints"),
        (KEY_USAGE, SIGNS, "KeyUsage"),
        (EXTENDED_KEY_USAGE, &usages[..], "ExtendedKeyUsage"),
    ] {
        let cut = &good[..good.len() - 1];
        let trailing = [good, &[0x05, 0x00]].concat();
        // Constructed where it should be primitive, or the other way round.
        let mut tagged = good.to_vec();
        tagged[0] ^= 0x20;
        for content in [
            &[][..],
            &[0xff, 0xff],
            &[0x05, 0x00],
            cut,
            &trailing,
            &tagged,
        ] {
            assert_eq!(
                with_value(oid, content),
                Err(LeafError::UnreadableExtension(shown)),
                "{shown} {content:02x?}"
            );
        }
    }
}

#[test]
fn extended_key_usage_must_name_client_auth_where_it_is_there() {
    // S36
    assert!(leaf(|params| params.extended_key_usages.clear()).is_ok());
    assert!(
        leaf(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])
            .is_ok()
    );
    for usages in [
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::Other(vec![1, 2, 3, 4])],
    ] {
        let refused = leaf(|params| params.extended_key_usages = usages);
        assert_eq!(refused, Err(LeafError::NoClientAuth));
    }
}

#[test]
fn a_purpose_is_an_object_identifier() {
    // clientAuth by content, tagged as something else.
    let client_auth = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    for tag in [0x0d, 0x0e, 0x46, 0x86, 0x26] {
        assert_eq!(
            with_value(EXTENDED_KEY_USAGE, &tlv(0x30, &tlv(tag, &client_auth))),
            Err(LeafError::UnreadableExtension("ExtendedKeyUsage")),
            "{tag:#x}"
        );
    }
    assert!(with_value(EXTENDED_KEY_USAGE, &tlv(0x30, &tlv(0x06, &client_auth))).is_ok());
}

#[test]
fn bytes_after_the_certificate_are_refused() {
    // S37
    let certificate = der(&params("spiffe://td/p"));
    for trailing in [&[0x00][..], &[0x05, 0x00], &certificate.clone()] {
        let longer = [&certificate, trailing].concat();
        assert_eq!(Svid::from_der(&longer), Err(LeafError::TrailingBytes));
    }
    // A fourth part inside the outer sequence, whose length says so.
    assert_eq!(certificate[..2], [0x30, 0x82]);
    let inside = tlv(0x30, &[&certificate[4..], &[0x05, 0x00]].concat());
    assert_eq!(Svid::from_der(&inside), MALFORMED);
    assert!(Svid::from_der(&tlv(0x30, &certificate[4..])).is_ok());
}

#[test]
fn a_certificate_that_is_not_put_together_exactly_is_refused() {
    // The parser alone takes some of these.
    let certificate = der(&params("spiffe://example.org/svc/reporting"));
    let extensions = at(&certificate, &[0xa3, 0x81]);
    let basic_constraints = at(&certificate, &[0x30, 0x0c, 0x06, 0x03, 0x55, 0x1d, 0x13]);
    for (place, wrong) in [
        (extensions, 0x03),
        (extensions, 0x83),
        (extensions + 2, certificate[extensions + 2] + 1),
        (extensions + 2, certificate[extensions + 2] - 1),
        (extensions + 3, 0x10),
        (basic_constraints, 0x10),
    ] {
        let mut spoilt = certificate.clone();
        spoilt[place] = wrong;
        assert_eq!(Svid::from_der(&spoilt), MALFORMED, "{wrong:#x} at {place}");
    }
}

/// Where `bytes` begin in the certificate.
fn at(certificate: &[u8], bytes: &[u8]) -> usize {
    let mut windows = certificate.windows(bytes.len());
    windows.position(|window| window == bytes).unwrap()
}

#[test]
fn an_unknown_critical_extension_is_refused() {
    let unknown = |critical| {
        leaf(|params| {
            params.custom_extensions = vec![extension(&[1, 2, 3, 4], critical, vec![0x05, 0x00])];
        })
    };
    assert!(unknown(false).is_ok());
    assert_eq!(
        unknown(true),
        Err(LeafError::UnknownCriticalExtension("1.2.3.4".to_owned()))
    );
    // Name constraints and policies are known to X.509, but no rule here heeds them.
    let name_constraints = extension(&[2, 5, 29, 30], true, vec![0x30, 0x00]);
    let refused = leaf(|params| params.custom_extensions = vec![name_constraints]);
    assert!(
        matches!(refused, Err(LeafError::UnknownCriticalExtension(_))),
        "{refused:?}"
    );
}

#[test]
fn only_version_3_is_read() {
    let mut certificate = der(&params("spiffe://td/p"));
    let version = [0xa0, 0x03, 0x02, 0x01, 0x02];
    let at = certificate
        .windows(version.len())
        .position(|window| window == version)
        .unwrap();
    certificate[at + 4] = 1;
    assert_eq!(
        Svid::from_der(&certificate),
        Err(LeafError::Malformed(X509Error::InvalidVersion))
    );
}

#[test]
fn what_is_no_certificate_is_refused() {
    for bytes in [&b""[..], b"\x30", b"\x30\x00", b"hello", &[0x30; 64]] {
        assert!(
            matches!(Svid::from_der(bytes), Err(LeafError::Malformed(_))),
            "{bytes:02x?}"
        );
    }
}

#[test]
fn validity_has_no_leeway_at_either_end() {
    // S42
    let svid = leaf(|_| {}).unwrap();
    let tick = Duration::from_nanos(1);
    let before = |moment: Timestamp| Timestamp::from_unix_seconds(moment.unix_seconds() - 1);
    assert!(svid.check_validity(NOT_BEFORE).is_ok());
    assert!(svid.check_validity(NOW).is_ok());
    assert!(svid.check_validity(before(NOT_AFTER)).is_ok());
    for outside in [
        before(NOT_BEFORE),
        NOT_AFTER,
        NOT_AFTER.plus(tick),
        NOT_AFTER.plus(Duration::from_secs(1)),
        Timestamp::from_unix_seconds(0),
        Timestamp::from_unix_seconds(u64::MAX),
    ] {
        assert!(
            matches!(
                svid.check_validity(outside),
                Err(LeafError::OutsideValidity { .. })
            ),
            "{outside}"
        );
    }
}

#[test]
fn validity_before_1970_and_beyond_2554_is_kept_in_range() {
    let svid = leaf(|params| {
        params.not_before = time::macros::datetime!(1960-01-01 0:00 UTC);
        params.not_after = time::macros::datetime!(9999-12-31 23:59:59 UTC);
    })
    .unwrap();
    assert!(svid.check_validity(Timestamp::from_unix_seconds(0)).is_ok());
    assert!(svid.check_validity(NOW).is_ok());

    let long_past = leaf(|params| {
        params.not_before = time::macros::datetime!(1960-01-01 0:00 UTC);
        params.not_after = time::macros::datetime!(1961-01-01 0:00 UTC);
    })
    .unwrap();
    assert!(
        long_past
            .check_validity(Timestamp::from_unix_seconds(0))
            .is_err()
    );
}

#[test]
fn the_same_rules_hold_for_a_certificate_as_envoy_sends_it() {
    let mut params = params("spiffe://td/p");
    let svid = Svid::from_encoded_pem(&encoded(&params)).unwrap();
    assert_eq!(svid.id.as_str(), "spiffe://td/p");
    params.is_ca = IsCa::NoCa;
    assert_eq!(
        Svid::from_encoded_pem(&encoded(&params)),
        Err(LeafError::MissingExtension("BasicConstraints"))
    );
    assert!(matches!(
        Svid::from_encoded_pem("x"),
        Err(LeafError::Encoding(_))
    ));
}

static GOOD: LazyLock<Vec<u8>> =
    LazyLock::new(|| der(&params("spiffe://example.org/svc/documents")));

/// What can happen to a certificate on its way.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let index = any::<prop::sample::Index>;
    let change = prop_oneof![
        8 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => index().prop_map(Change::Remove),
        1 => index().prop_map(Change::Cut),
        1 => (index(), index()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    prop::collection::vec(change, 1..4)
}

fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
            Change::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.extend(part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_damaged_certificate_is_refused_or_names_an_id_it_holds(changes in changes()) {
        let certificate = changed(GOOD.clone(), &changes);
        if let Ok(svid) = Svid::from_der(&certificate) {
            let id = svid.id.as_str().as_bytes();
            prop_assert!(certificate.windows(id.len()).any(|window| window == id));
        }
    }
}
