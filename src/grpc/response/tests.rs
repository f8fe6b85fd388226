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
        mandate: None,
        shaping: None,
    }
}

fn permit() -> Outcome {
    let caller: crate::identity::SpiffeId = "spiffe://example.org/svc/reporting".parse().unwrap();
    Outcome::Allow(Permit {
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

fn shaped(outcome: Outcome, shaping: Shaping) -> Decision {
    Decision {
        shaping: Some(std::sync::Arc::new(shaping)),
        ..decision(outcome, Mode::Enforce)
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let list = list.iter().copied();
    list.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// Name, value and whether it joins others of its name.
type Sent = (String, String, bool);

fn sent(options: &[envoy_types::pb::envoy::config::core::v3::HeaderValueOption]) -> Vec<Sent> {
    let of = |option: &envoy_types::pb::envoy::config::core::v3::HeaderValueOption| {
        let header = option.header.clone().unwrap();
        (header.key, header.value, option.append_action == 0)
    };
    options.iter().map(of).collect()
}

fn option(name: &str, value: &str, joins: bool) -> Sent {
    (name.to_owned(), value.to_owned(), joins)
}

#[test]
fn an_allowance_carries_what_policy_asked_for_beside_what_attache_says() {
    let shaping = Shaping {
        headers: pairs(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3")]),
        response_headers: pairs(&[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        removed_headers: vec!["authorization".to_owned()],
        query: pairs(&[("limit", "10")]),
        body: Some("never shown".to_owned()),
        ..Shaping::default()
    };
    let asked = Asked {
        reserved: vec!["x-attache-else"],
        grpc: false,
    };
    let response = read(&shaped(permit(), shaping), &asked);
    let Some(HttpResponse::OkResponse(ok)) = response.http_response else {
        panic!("{response:?}");
    };
    let headers = sent(&ok.headers);
    let caller = option(CALLER, "spiffe://example.org/svc/reporting", false);
    assert!(headers.contains(&caller), "{headers:?}");
    assert_eq!(
        headers[4..],
        [
            option("x-a", "1", false),
            option("x-b", "2", false),
            option("x-a", "3", true)
        ]
    );
    assert_eq!(
        sent(&ok.response_headers_to_add),
        [
            option("set-cookie", "a=1", true),
            option("set-cookie", "b=2", true)
        ]
    );
    assert_eq!(
        ok.headers_to_remove,
        [
            "x-attache-else",
            "x-attache-actor",
            "x-attache-task",
            "x-attache-chain",
            "authorization"
        ]
    );
    let parameters = ok.query_parameters_to_set;
    let parameters: Vec<_> = parameters.iter().map(|it| (&*it.key, &*it.value)).collect();
    assert_eq!(parameters, [("limit", "10")]);
}

#[test]
fn a_denial_shows_what_policy_asked_for_and_stays_a_denial() {
    let shaping = || Shaping {
        headers: pairs(&[
            ("cache-control", "max-age=1"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]),
        body: Some("come in by the other door".to_owned()),
        status: Some(302),
        ..Shaping::default()
    };
    let denial = || Outcome::Deny(Denial::bare(Reason::PolicyDenied));
    let response = read(&shaped(denial(), shaping()), &Asked::default());
    assert_ne!(response.status.as_ref().unwrap().code, 0);
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("{response:?}");
    };
    assert_eq!(denied.status.unwrap().code, 302);
    assert_eq!(denied.body, "come in by the other door");
    let headers = sent(&denied.headers);
    let named = |name: &str| -> Vec<_> {
        let values = headers.iter().filter(|it| it.0 == name);
        values.map(|it| (&*it.1, it.2)).collect()
    };
    assert_eq!(named("content-type"), []);
    assert_eq!(named("cache-control"), [("max-age=1", false)]);
    assert_eq!(named("set-cookie"), [("a=1", false), ("b=2", false)]);
    assert_eq!(named("x-attache-reason"), [("policy_denied", false)]);

    // A problem document says which status it came with.
    let alone = Shaping {
        status: Some(429),
        ..Shaping::default()
    };
    let response = read(&shaped(denial(), alone), &Asked::default());
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("{response:?}");
    };
    let problem: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(
        (denied.status.unwrap().code, &problem["status"]),
        (429, &429.into())
    );

    // A gRPC client reads neither body nor status.
    let asked = Asked {
        grpc: true,
        ..Asked::default()
    };
    let response = read(&shaped(denial(), shaping()), &asked);
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("{response:?}");
    };
    assert_eq!(denied.status.unwrap().code, 403);
    assert_eq!(denied.body, "");
    let headers = sent(&denied.headers);
    assert!(headers.contains(&option("grpc-status", "7", false)));
    assert!(headers.contains(&option("content-type", "application/grpc", false)));
}

#[test]
fn what_can_not_stand_where_policy_wants_it_never_allows() {
    for shaping in [
        Shaping {
            headers: pairs(&[("x-a", "a\r\nb")]),
            ..Shaping::default()
        },
        Shaping {
            response_headers: pairs(&[("x-a", "é")]),
            ..Shaping::default()
        },
        Shaping {
            query: pairs(&[("a", "1&admin=true")]),
            ..Shaping::default()
        },
    ] {
        let response = read(&shaped(permit(), shaping), &Asked::default());
        assert_ne!(response.status.unwrap().code, 0);
    }
}

/// E02: what a proxy can't decode is no denial to it, and passes where it is set to fail open.
#[test]
fn metadata_as_deep_as_policy_may_send_it_is_read_by_others() {
    use serde_json::json;
    let innermost = json!({"a": 1});
    let deepest = (1..Shaping::METADATA_LEVELS).fold(innermost, |inner, _| json!({ "a": inner }));
    let shaping = Shaping {
        metadata: deepest.as_object().cloned(),
        ..Shaping::default()
    };
    let denial = Outcome::Deny(Denial::bare(Reason::PolicyDenied));
    let response = read(&shaped(denial, shaping), &Asked::default());
    assert!(response.dynamic_metadata.is_some());
    assert_ne!(response.status.unwrap().code, 0);
}

/// E34: under our own key, whatever policy names it.
#[test]
fn metadata_of_policy_stands_below_ours() {
    use serde_json::json;
    let metadata = json!({"decision": "allow", "team": {"ids": [7, null, true, "x"]}});
    let shaping = Shaping {
        metadata: metadata.as_object().cloned(),
        ..Shaping::default()
    };
    let denial = Outcome::Deny(Denial::bare(Reason::PolicyDenied));
    let fields = super::metadata(&shaped(denial, shaping), "id").fields;
    assert_eq!(fields.keys().collect::<Vec<_>>(), ["attache"]);
    let Some(Kind::StructValue(ours)) = fields["attache"].kind.clone() else {
        panic!("{fields:?}");
    };
    assert_eq!(ours.fields["decision"], text("decision", "deny").1);
    let Some(Kind::StructValue(policy)) = ours.fields["policy"].kind.clone() else {
        panic!("{ours:?}");
    };
    let expected = shaping::metadata(metadata.as_object().unwrap());
    assert_eq!(expected.kind, Some(Kind::StructValue(policy.clone())));
    assert_eq!(policy.fields.len(), 2);
    assert_eq!(policy.fields["decision"], text("decision", "allow").1);
}
