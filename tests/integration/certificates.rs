//! The caller's certificate, as Envoy passes it on: read again by every rule, and compared with what Envoy says of it.

use std::sync::Arc;
use std::time::Duration;

use attache::clock::{MockClock, Timestamp};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use serde_json::json;
use time::OffsetDateTime;

use crate::harness::message::source;
use crate::harness::{House, Plan, REPORTING, ask};

/// One hour in 2026, and a moment in it.
const NOT_BEFORE: u64 = 1_795_287_600;
const NOT_AFTER: u64 = NOT_BEFORE + 3600;
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(NOT_BEFORE + 1800);

/// A leaf for an identity, in the URL-encoded PEM of `include_peer_certificate`.
pub(crate) fn certificate(id: &str) -> String {
    let moment = |seconds: u64| {
        OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).unwrap()).unwrap()
    };
    let mut params = CertificateParams::default();
    params.not_before = moment(NOT_BEFORE);
    params.not_after = moment(NOT_AFTER);
    params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem().replace('\r', "");
    pem.replace('\n', "%0A")
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

async fn house() -> (House, Arc<MockClock>) {
    let clock = Arc::new(MockClock::new(NOW));
    let plan = Plan {
        clock: Arc::<MockClock>::clone(&clock),
        ..Plan::default()
    };
    (plan.open().await, clock)
}

#[tokio::test]
async fn a_valid_certificate_names_the_caller_with_or_without_a_principal() {
    // S47: the proxy and the caller are recorded apart.
    let (house, _) = house().await;
    for principal in [REPORTING, ""] {
        let mut request = ask("GET", "/documents/1");
        source(&mut request).certificate = certificate(REPORTING);
        source(&mut request).principal = principal.to_owned();
        let answer = house.check(request).await;
        assert!(answer.is_allowed(), "{answer:?}");
        assert_eq!(answer.headers["x-attache-caller"], REPORTING);
        let record = house.record_of(&answer).await;
        assert_eq!(record["actor"]["id"], REPORTING);
        assert_eq!(record["pep"]["type"], "unix");
    }
}

#[tokio::test]
async fn a_certificate_that_disagrees_with_the_principal_is_refused() {
    // S48
    let (house, _) = house().await;
    for (id, principal, word) in [
        (
            "spiffe://example.org/svc/other",
            REPORTING,
            "identity_mismatch",
        ),
        (
            REPORTING,
            "spiffe://example.org/svc/other",
            "identity_mismatch",
        ),
        (REPORTING, "CN=reporting", "invalid_identity"),
        (
            "https://example.org/svc/reporting",
            REPORTING,
            "invalid_identity",
        ),
        (
            "spiffe://other.org/svc/reporting",
            "",
            "foreign_trust_domain",
        ),
    ] {
        let mut request = ask("GET", "/documents/1");
        source(&mut request).certificate = certificate(id);
        source(&mut request).principal = principal.to_owned();
        let answer = house.check(request).await;
        assert_eq!(answer.word(), word, "{id} {principal}");
        assert_eq!(answer.http_status(), Some(401));
        let record = house.record_of(&answer).await;
        assert_eq!(record["actor"], json!({"type": "unknown"}));
    }
}

#[tokio::test]
async fn a_certificate_counts_only_while_it_is_valid() {
    // Also when it was seen before: validity is judged at every request.
    let (house, clock) = house().await;
    let mut request = ask("GET", "/documents/1");
    source(&mut request).certificate = certificate(REPORTING);
    assert_eq!(house.word(request.clone()).await, "allow");
    clock.advance(Duration::from_secs(1801));
    assert_eq!(house.word(request.clone()).await, "invalid_identity");
    clock.set(Timestamp::from_unix_seconds(NOT_BEFORE - 1));
    assert_eq!(house.word(request).await, "invalid_identity");
}

#[tokio::test]
async fn a_certificate_that_can_not_be_read_is_not_made_up_for_by_a_principal() {
    let (house, _) = house().await;
    let whole = certificate(REPORTING);
    for bad in [
        "x".to_owned(),
        "%".to_owned(),
        whole.chars().take(whole.len() / 2).collect(),
        format!("{whole}{whole}"),
    ] {
        let mut request = ask("GET", "/documents/1");
        source(&mut request).certificate.clone_from(&bad);
        assert_eq!(house.word(request).await, "invalid_identity", "{bad}");
    }
}
