use envoy_types::pb::envoy::service::auth::v3 as envoy;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;

use super::*;
use crate::authority::DecisionId;
use crate::clock::Timestamp;
use crate::permission::Tier;

fn decision(outcome: Outcome, mode: Mode) -> Decision {
    Decision {
        id: DecisionId::generate(Timestamp::from_unix_seconds(1_795_287_600), 7),
        outcome,
        tier: Some(Tier::Free),
        mode,
    }
}

fn permit() -> Outcome {
    let caller: crate::identity::SpiffeId = "spiffe://example.org/svc/reporting".parse().unwrap();
    Outcome::Allow(Permit {
        subject: caller.clone(),
        caller,
        tier: Tier::Free,
    })
}

/// The answer as another implementation reads it.
fn read(decision: &Decision, asked: &Asked<'_>) -> envoy::CheckResponse {
    let bytes = answer(decision, asked).encode_to_vec();
    envoy::CheckResponse::decode(&*bytes).unwrap()
}

#[test]
fn every_reason_is_a_denial_that_nothing_turns_into_a_pass() {
    // E02, E03, E04
    for reason in Reason::ALL {
        for grpc in [false, true] {
            let denied = Outcome::Deny(Denial::because(reason, "a secret finding"));
            let asked = Asked {
                grpc,
                ..Asked::default()
            };
            let response = read(&decision(denied, Mode::Enforce), &asked);
            let told = format!("{response:?}");
            assert!(!told.contains("a secret finding"), "{told}");
            assert_ne!(response.status.unwrap().code, 0, "{reason}");
            let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
                panic!("{reason}: {told}");
            };
            let status = denied.status.unwrap().code;
            assert!([401, 403, 503].contains(&status), "{reason}: {status}");
            assert_eq!(denied.body.is_empty(), grpc, "{reason}");
            if grpc {
                // What stands in a grpc-message must not need percent-encoding.
                let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'%';
                assert!(reason.public_detail().bytes().all(plain), "{reason}");
            }
        }
    }
}

#[test]
fn an_allowance_has_a_status_on_the_wire() {
    // E01, E03: a status of nothing but defaults is still there.
    let bytes = answer(&decision(permit(), Mode::Enforce), &Asked::default()).encode_to_vec();
    assert_eq!(&bytes[..2], [0x0a, 0x00]);
    let response = envoy::CheckResponse::decode(&*bytes).unwrap();
    assert_eq!(response.status.unwrap().code, 0);
    assert!(matches!(
        response.http_response,
        Some(HttpResponse::OkResponse(_))
    ));
}

#[test]
fn a_value_that_could_break_out_of_its_header_is_refused() {
    // E31
    for value in [
        "a\rb",
        "a\nb",
        "a\r\nx-attache-tier: free",
        "a\0b",
        "\u{7f}",
        "é",
        "\t",
        "\u{2028}",
    ] {
        assert!(header(TIER, value).is_none(), "{value:?}");
    }
    let longest = "a".repeat(MAX_HEADER_VALUE);
    assert!(header(TIER, &longest).is_some());
    assert!(header(TIER, &format!("{longest}a")).is_none());
}

#[test]
fn what_a_service_trusts_is_set_or_removed_whatever_the_client_sent() {
    // E29, E30
    let sent = ["x-attache-tier", "x-attache-tier", "x-attache-else"];
    for reserved in [&sent[..], &[]] {
        let asked = || Asked {
            reserved: reserved.to_vec(),
            grpc: false,
        };
        let denied = Outcome::Deny(Denial::bare(Reason::OutOfScope));
        for decision in [
            decision(permit(), Mode::Enforce),
            decision(denied, Mode::Shadow),
        ] {
            let response = read(&decision, &asked());
            let Some(HttpResponse::OkResponse(ok)) = response.http_response else {
                panic!("{response:?}");
            };
            let given: Vec<_> = ok
                .headers
                .iter()
                .map(|option| option.header.as_ref().unwrap().key.as_str())
                .collect();
            for name in TO_SERVICE.iter().chain(reserved) {
                let removed = ok.headers_to_remove.iter().any(|it| it == name);
                assert!(given.contains(name) ^ removed, "{name}: {ok:?}");
            }
        }
    }
}
