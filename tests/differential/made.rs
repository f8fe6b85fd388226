//! Certificates made to order: a good leaf SVID, each departure from it, and every pair of departures.

use std::sync::LazyLock;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

/// In seconds since 1970: a moment within the validity of a good leaf, an hour to either side.
pub(crate) const NOW: u64 = 1_795_289_000;
const HOUR: i64 = 3_600;

/// One way to depart from a good leaf. Departures of one aspect exclude each other.
struct Departure {
    aspect: u8,
    name: &'static str,
    apply: fn(&mut Draft),
}

struct Draft {
    params: CertificateParams,
    after: After,
}

/// What stands after the certificate.
enum After {
    Nothing,
    Byte,
    Authority,
}

/// A certificate in DER with the departures in it.
pub(crate) struct Made {
    pub(crate) der: Vec<u8>,
    pub(crate) departures: Vec<&'static str>,
}

/// Everything made, with the authority and the key that all of it shares.
pub(crate) struct Set {
    pub(crate) authority: rcgen::Certificate,
    pub(crate) key: Vec<u8>,
    pub(crate) made: Vec<Made>,
}

const fn departure(aspect: u8, name: &'static str, apply: fn(&mut Draft)) -> Departure {
    Departure {
        aspect,
        name,
        apply,
    }
}

const DEPARTURES: &[Departure] = &[
    departure(0, "no URI name", |draft| name(draft, &[])),
    departure(0, "two IDs", |draft| {
        name(draft, &["spiffe://td/p", "spiffe://td/q"]);
    }),
    departure(0, "an ID and an https name", |draft| {
        name(draft, &["spiffe://td/p", "https://td/p"]);
    }),
    departure(0, "only an https name", |draft| {
        name(draft, &["https://td/p"]);
    }),
    departure(0, "no path", |draft| name(draft, &["spiffe://td"])),
    departure(0, "over-long ID", |draft| {
        name(draft, &[&format!("spiffe://td/{}", "a".repeat(3_000))]);
    }),
    departure(0, "upper-case scheme", |draft| {
        name(draft, &["SPIFFE://td/p"]);
    }),
    departure(0, "upper-case trust domain", |draft| {
        name(draft, &["spiffe://TD/p"]);
    }),
    departure(0, "name that is not UTF-8", |draft| {
        name(draft, &[]);
        extend(
            draft,
            &[2, 5, 29, 17],
            false,
            b"\x30\x11\x86\x0fspiffe://td/a\xff\x61",
        );
    }),
    departure(1, "other names", |draft| {
        draft.params.subject_alt_names.extend([
            SanType::DnsName("a.example.org".try_into().unwrap()),
            SanType::IpAddress([192, 0, 2, 1].into()),
            SanType::Rfc822Name("a@example.org".try_into().unwrap()),
        ]);
    }),
    departure(2, "no BasicConstraints", |draft| {
        draft.params.is_ca = IsCa::NoCa;
    }),
    departure(2, "cA", |draft| {
        draft.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }),
    departure(3, "no KeyUsage", |draft| draft.params.key_usages.clear()),
    departure(3, "no digitalSignature", |draft| {
        draft.params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    }),
    departure(3, "keyCertSign", |draft| {
        draft.params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    }),
    departure(3, "cRLSign", |draft| {
        draft.params.key_usages.push(KeyUsagePurpose::CrlSign);
    }),
    departure(4, "no ExtendedKeyUsage", |draft| {
        draft.params.extended_key_usages.clear();
    }),
    departure(4, "only clientAuth", |draft| {
        draft.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }),
    departure(4, "only serverAuth", |draft| {
        draft.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    }),
    departure(4, "only anyExtendedKeyUsage", |draft| {
        draft.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any];
    }),
    departure(5, "expired", |draft| valid(draft, -HOUR, -1)),
    departure(5, "expires this second", |draft| valid(draft, -HOUR, 0)),
    departure(5, "not yet valid", |draft| valid(draft, 1, HOUR)),
    departure(5, "valid from this second", |draft| valid(draft, 0, HOUR)),
    departure(6, "a byte after it", |draft| draft.after = After::Byte),
    departure(6, "its authority after it", |draft| {
        draft.after = After::Authority;
    }),
    departure(7, "unknown extension", |draft| {
        extend(draft, &[1, 2, 3, 4], false, &[5, 0]);
    }),
    departure(7, "unknown critical extension", |draft| {
        extend(draft, &[1, 2, 3, 4], true, &[5, 0]);
    }),
    departure(7, "unknown extension twice", |draft| {
        extend(draft, &[1, 2, 3, 4], false, &[5, 0]);
        extend(draft, &[1, 2, 3, 4], false, &[5, 0]);
    }),
    departure(7, "critical NameConstraints", |draft| {
        extend(
            draft,
            &[2, 5, 29, 30],
            true,
            b"\x30\x08\xa0\x06\x30\x04\x82\x02td",
        );
    }),
];

/// Made once for all tests.
pub(crate) static SET: LazyLock<Set> = LazyLock::new(|| {
    let authority_key = KeyPair::generate().unwrap();
    let authority_params = authority();
    let certificate = authority_params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority_params, authority_key);
    let key = KeyPair::generate().unwrap();
    let make = |departures: &[&Departure]| {
        let mut draft = good();
        for departure in departures {
            (departure.apply)(&mut draft);
        }
        let leaf = draft.params.signed_by(&key, &issuer).unwrap();
        let after: &[u8] = match draft.after {
            After::Nothing => &[],
            After::Byte => &[0],
            After::Authority => certificate.der(),
        };
        Made {
            der: [leaf.der(), after].concat(),
            departures: departures.iter().map(|it| it.name).collect(),
        }
    };
    let mut made = vec![make(&[])];
    for (at, first) in DEPARTURES.iter().enumerate() {
        made.push(make(&[first]));
        let later = DEPARTURES[at..].iter();
        made.extend(
            later
                .filter(|second| second.aspect != first.aspect)
                .map(|second| make(&[first, second])),
        );
    }
    Set {
        key: key.serialize_der(),
        authority: certificate,
        made,
    }
});

fn good() -> Draft {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![uri("spiffe://td/p")];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    let mut draft = Draft {
        params,
        after: After::Nothing,
    };
    valid(&mut draft, -HOUR, HOUR);
    draft
}

fn authority() -> CertificateParams {
    let mut draft = good();
    valid(&mut draft, -24 * HOUR, 24 * HOUR);
    let mut params = draft.params;
    params.distinguished_name.push(DnType::CommonName, "td");
    params.subject_alt_names = vec![uri("spiffe://td")];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages.clear();
    params
}

/// Gives the leaf these URI names and no other URI name.
fn name(draft: &mut Draft, uris: &[&str]) {
    let names = &mut draft.params.subject_alt_names;
    names.retain(|name| !matches!(name, SanType::URI(_)));
    names.extend(uris.iter().map(|text| uri(text)));
}

/// Seconds from [`NOW`].
fn valid(draft: &mut Draft, from: i64, until: i64) {
    let at = |seconds| {
        let now = i64::try_from(NOW).unwrap();
        OffsetDateTime::from_unix_timestamp(now + seconds).unwrap()
    };
    draft.params.not_before = at(from);
    draft.params.not_after = at(until);
}

fn extend(draft: &mut Draft, oid: &[u64], critical: bool, value: &[u8]) {
    let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
    extension.set_criticality(critical);
    draft.params.custom_extensions.push(extension);
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}
