//! What it costs to tell who asks: once a request, on the path of every decision.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't be set up should stop"
)]

use std::hint::black_box;

use attache::clock::Timestamp;
use attache::identity::{Claims, Forwarding, Identifier};
use criterion::{Criterion, criterion_group, criterion_main};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};

const ID: &str = "spiffe://example.org/ns/payments/sa/reporting";
/// 2026, within the validity that rcgen writes.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);

fn callers(criterion: &mut Criterion) {
    let certificate = certificate();
    let with_certificate = Claims {
        certificate: Some(&certificate),
        principal: Some(ID),
        xfcc: None,
    };
    let principal_only = Claims {
        principal: Some(ID),
        ..Claims::default()
    };
    let mut group = criterion.benchmark_group("identity");
    for (name, claims, remembered) in [
        ("certificate_hit", &with_certificate, 1000),
        ("certificate_miss", &with_certificate, 0),
        ("principal_only", &principal_only, 1000),
    ] {
        let identifier = identifier(remembered);
        assert!(identifier.identify(claims, NOW).is_ok(), "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| identifier.identify(black_box(claims), NOW));
        });
    }
    group.finish();
}

fn identifier(remembered: usize) -> Identifier {
    let trust_domain = "example.org".parse().expect("a trust domain");
    Identifier::new(trust_domain, Vec::new(), Forwarding::Ignored, remembered)
}

/// A leaf SVID in URL-encoded PEM, as Envoy sends it.
fn certificate() -> String {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(ID.try_into().expect("ASCII"))];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    certificate
        .pem()
        .replace('\r', "")
        .replace('\n', "%0A")
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

criterion_group!(benches, callers);
criterion_main!(benches);
