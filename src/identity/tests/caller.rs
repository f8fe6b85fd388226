//! Whom claims name.

use std::time::Duration;

use rcgen::IsCa;

use crate::clock::Timestamp;
use crate::identity::{
    Caller, CallerError, ClaimError, Claims, Forwarding, Identifier, LeafError, Svid,
};

use super::{NOT_AFTER, NOT_BEFORE, NOW, encoded, params};

/// Callers of `td`, and of `partner.example` by federation.
fn identifier(forwarding: Forwarding) -> Identifier {
    Identifier::new(
        "td".parse().unwrap(),
        vec!["partner.example".parse().unwrap()],
        forwarding,
        Identifier::CACHED_CERTIFICATES,
    )
}

fn direct(claims: &Claims<'_>) -> Result<Caller, CallerError> {
    identifier(Forwarding::Ignored).identify(claims, NOW)
}

/// With `spiffe://td/edge/*` as the hops that are believed.
fn last_hop(claims: &Claims<'_>) -> Result<Caller, CallerError> {
    identifier(Forwarding::LastHop {
        hops: vec!["spiffe://td/edge/*".parse().unwrap()],
    })
    .identify(claims, NOW)
}

fn principal(text: &str) -> Claims<'_> {
    Claims {
        principal: Some(text),
        ..Claims::default()
    }
}

fn certificate(text: &str) -> Claims<'_> {
    Claims {
        certificate: Some(text),
        ..Claims::default()
    }
}

fn forwarded<'a>(hop: &'a str, xfcc: &'a str) -> Claims<'a> {
    Claims {
        principal: Some(hop),
        xfcc: Some(xfcc),
        ..Claims::default()
    }
}

#[test]
fn without_certificate_and_principal_there_is_no_caller() {
    // E07
    let nothing = Claims::default();
    assert_eq!(direct(&nothing), Err(CallerError::NoIdentity));
    assert_eq!(last_hop(&nothing), Err(CallerError::NoIdentity));
    assert!(direct(&principal("")).is_err());
    assert!(direct(&certificate("")).is_err());
}

#[test]
fn a_principal_is_the_caller_as_it_stands() {
    let caller = direct(&principal("spiffe://td/p")).unwrap();
    assert_eq!(caller.id.as_str(), "spiffe://td/p");
    assert_eq!(caller.svid, None);
    assert_eq!(caller.hop, None);
}

#[test]
fn a_caller_that_an_asker_names_is_read_as_strictly_as_a_principal() {
    for forwarding in [
        Forwarding::Ignored,
        Forwarding::LastHop { hops: Vec::new() },
    ] {
        let identifier = identifier(forwarding);
        let named = |text| identifier.named(text).map(|id| id.as_str().to_owned());
        assert_eq!(named("spiffe://td/p").unwrap(), "spiffe://td/p");
        assert!(named("spiffe://partner.example/p").is_ok());
        for text in ["", "td/p", "spiffe://td", "spiffe://TD/p", "spiffe://td/p "] {
            let refused = named(text);
            assert!(
                matches!(refused, Err(CallerError::InvalidIdentity { .. })),
                "{text}: {refused:?}"
            );
        }
        let foreign = "spiffe://evil.example/p";
        let refused = CallerError::ForeignTrustDomain(foreign.parse().unwrap());
        assert_eq!(named(foreign), Err(refused));
    }
}

#[test]
fn a_principal_that_is_no_single_spiffe_id_is_refused() {
    // E08, E09: Envoy falls back from URI to DNS name to subject.
    for text in [
        "https://accounts.google.com/x",
        "documents.example.org",
        "CN=documents,O=Example",
        "spiffe://td/p,spiffe://td/q",
        "spiffe://td/p, spiffe://td/q",
        "spiffe://td/p;spiffe://td/q",
        "spiffe://td",
        "spiffe://TD/p",
        " spiffe://td/p",
        "*",
    ] {
        let refused = direct(&principal(text));
        assert!(
            matches!(
                refused,
                Err(CallerError::InvalidIdentity {
                    source: ClaimError::Principal(_)
                })
            ),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn a_certificate_names_the_caller_under_the_leaf_rules() {
    let text = encoded(&params("spiffe://td/p"));
    let caller = direct(&certificate(&text)).unwrap();
    assert_eq!(caller.id.as_str(), "spiffe://td/p");
    assert_eq!(
        caller.svid.as_deref(),
        Some(&Svid::from_encoded_pem(&text).unwrap())
    );
}

#[test]
fn certificate_and_principal_must_name_the_same() {
    // S48
    let text = encoded(&params("spiffe://td/p"));
    let both = |principal| {
        direct(&Claims {
            principal: Some(principal),
            ..certificate(&text)
        })
    };
    assert_eq!(both("spiffe://td/p").unwrap().id.as_str(), "spiffe://td/p");
    assert_eq!(
        both("spiffe://td/q"),
        Err(CallerError::Mismatch(
            "spiffe://td/p".to_owned(),
            "spiffe://td/q".to_owned()
        ))
    );
    assert!(matches!(
        both("documents.example.org"),
        Err(CallerError::InvalidIdentity {
            source: ClaimError::Principal(_)
        })
    ));
}

#[test]
fn a_bad_certificate_is_never_made_good_by_the_principal() {
    let mut params = params("spiffe://td/p");
    params.is_ca = IsCa::NoCa;
    for text in [&encoded(&params), "not a certificate", ""] {
        let refused = direct(&Claims {
            principal: Some("spiffe://td/p"),
            ..certificate(text)
        });
        assert!(
            matches!(
                refused,
                Err(CallerError::InvalidIdentity {
                    source: ClaimError::Certificate(_)
                })
            ),
            "{refused:?}"
        );
    }
}

#[test]
fn other_trust_domains_are_refused_unless_federated() {
    let foreign = |result| matches!(result, Err(CallerError::ForeignTrustDomain(_)));
    assert!(direct(&principal("spiffe://partner.example/p")).is_ok());
    for id in [
        "spiffe://td.evil/p",
        "spiffe://evil/td/p",
        "spiffe://example/p",
    ] {
        assert!(foreign(direct(&principal(id))), "{id}");
        assert!(foreign(direct(&certificate(&encoded(&params(id))))), "{id}");
        assert!(
            foreign(last_hop(&forwarded(id, "URI=spiffe://td/p"))),
            "{id}"
        );
        let xfcc = format!("URI={id}");
        assert!(
            foreign(last_hop(&forwarded("spiffe://td/edge/a", &xfcc))),
            "{id}"
        );
    }
}

#[test]
fn a_remembered_certificate_expires_all_the_same() {
    // X27, S42
    let identifier = identifier(Forwarding::Ignored);
    let text = encoded(&params("spiffe://td/p"));
    let at = |moment: Timestamp| identifier.identify(&certificate(&text), moment);
    let expired = |result: Result<Caller, CallerError>| {
        matches!(
            result,
            Err(CallerError::InvalidIdentity {
                source: ClaimError::Certificate(LeafError::OutsideValidity { .. })
            })
        )
    };
    let first = at(NOW).unwrap();
    let again = at(NOW.plus(Duration::from_secs(1))).unwrap();
    assert!(
        std::ptr::eq(
            first.svid.as_deref().unwrap(),
            again.svid.as_deref().unwrap()
        ),
        "the second answer comes from memory"
    );
    assert!(expired(at(NOT_AFTER)));
    // A clock that steps back finds it good again, and not yet good before its time.
    assert!(at(NOT_BEFORE).is_ok());
    assert!(expired(at(Timestamp::from_unix_seconds(
        NOT_BEFORE.unix_seconds() - 1
    ))));
}

#[test]
fn a_certificate_that_was_expired_at_first_sight_is_refused() {
    let text = encoded(&params("spiffe://td/p"));
    let identifier = identifier(Forwarding::Ignored);
    for _ in 0..2 {
        assert!(identifier.identify(&certificate(&text), NOT_AFTER).is_err());
    }
}

#[test]
fn every_certificate_is_remembered_as_itself() {
    // The key is the whole text: certificates of equal length and like beginnings stay apart, in small memories too.
    let ids: Vec<_> = (10..60).map(|n| format!("spiffe://td/p{n}")).collect();
    let texts: Vec<_> = ids.iter().map(|id| encoded(&params(id))).collect();
    for capacity in [0, 1, 10, 1000] {
        let identifier = Identifier::new(
            "td".parse().unwrap(),
            Vec::new(),
            Forwarding::Ignored,
            capacity,
        );
        for _ in 0..3 {
            for (id, text) in ids.iter().zip(&texts) {
                let caller = identifier.identify(&certificate(text), NOW).unwrap();
                assert_eq!(caller.id.as_str(), id);
            }
        }
    }
}

#[test]
fn the_header_is_not_looked_at_unless_configured() {
    // E10
    for xfcc in [
        "URI=spiffe://td/admin",
        "URI=spiffe://td/a;URI=spiffe://td/b",
        "\"",
    ] {
        let caller = direct(&forwarded("spiffe://td/p", xfcc)).unwrap();
        assert_eq!(caller.id.as_str(), "spiffe://td/p");
        assert_eq!(caller.hop, None);
        let alone = Claims {
            xfcc: Some(xfcc),
            ..Claims::default()
        };
        assert_eq!(direct(&alone), Err(CallerError::NoIdentity));
    }
}

#[test]
fn a_trusted_hop_names_the_caller_in_its_own_element() {
    // E10, S47: caller and hop are told apart.
    let caller = last_hop(&forwarded(
        "spiffe://td/edge/a",
        "URI=spiffe://td/evil,By=spiffe://td/edge/a;Hash=00;Subject=\"\";URI=spiffe://td/p",
    ))
    .unwrap();
    assert_eq!(caller.id.as_str(), "spiffe://td/p");
    assert_eq!(caller.hop.unwrap().as_str(), "spiffe://td/edge/a");
    assert_eq!(caller.svid, None);
    // A proxy whose own certificate has no URI name writes no `By`.
    assert!(last_hop(&forwarded("spiffe://td/edge/a", "URI=spiffe://td/p")).is_ok());
}

#[test]
fn a_hop_that_is_not_listed_speaks_for_itself_only() {
    let refused = last_hop(&forwarded(
        "spiffe://td/p",
        "By=spiffe://td/p;URI=spiffe://td/admin",
    ));
    assert_eq!(
        refused,
        Err(CallerError::UntrustedHop("spiffe://td/p".parse().unwrap()))
    );
    // Envoy's own element repeats what Envoy saw.
    let caller = last_hop(&forwarded(
        "spiffe://td/p",
        "URI=spiffe://td/admin,By=spiffe://td/envoy;URI=spiffe://td/p",
    ))
    .unwrap();
    assert_eq!(caller.id.as_str(), "spiffe://td/p");
    assert_eq!(caller.hop, None);
}

#[test]
fn a_caller_has_no_certificate_by_its_own_word() {
    // A client whose header Envoy forwards could make itself one that never expires.
    let forged = encoded(&params("spiffe://td/p"));
    let xfcc = format!("By=spiffe://td/envoy;Cert=\"{forged}\";URI=spiffe://td/p");
    let caller = last_hop(&forwarded("spiffe://td/p", &xfcc)).unwrap();
    assert_eq!(caller.svid, None);

    let seen = encoded(&params("spiffe://td/p"));
    let claims = Claims {
        certificate: Some(&seen),
        ..forwarded("spiffe://td/p", &xfcc)
    };
    assert_eq!(
        last_hop(&claims).unwrap().svid.as_deref(),
        Some(&Svid::from_encoded_pem(&seen).unwrap())
    );

    let other = encoded(&params("spiffe://td/q"));
    let xfcc = format!("Cert=\"{other}\";URI=spiffe://td/p");
    let refused = last_hop(&forwarded("spiffe://td/p", &xfcc));
    assert!(matches!(refused, Err(CallerError::Mismatch(..))));
}

#[test]
fn an_element_that_the_hop_did_not_write_is_refused() {
    for by in [
        "spiffe://td/edge/b",
        "spiffe://td/p",
        "",
        "https://edge.example.org",
    ] {
        let xfcc = format!("By={by};URI=spiffe://td/p");
        let refused = last_hop(&forwarded("spiffe://td/edge/a", &xfcc));
        assert!(
            matches!(refused, Err(CallerError::Mismatch(..))),
            "{by}: {refused:?}"
        );
    }
}

#[test]
fn a_hop_without_the_header_is_not_the_caller() {
    assert_eq!(
        last_hop(&principal("spiffe://td/edge/a")),
        Err(CallerError::NoXfcc)
    );
    assert_eq!(
        last_hop(&principal("spiffe://td/p")),
        Err(CallerError::NoXfcc)
    );
}

#[test]
fn a_header_from_a_connection_without_identity_is_refused() {
    let claims = Claims {
        xfcc: Some("URI=spiffe://td/p"),
        ..Claims::default()
    };
    assert_eq!(last_hop(&claims), Err(CallerError::NoIdentity));
}

#[test]
fn a_header_that_can_be_read_in_two_ways_is_refused() {
    // E11
    for xfcc in [
        "",
        "URI=spiffe://td/p;URI=spiffe://td/q",
        "uri=spiffe://td/p",
        "URI=https://td/p",
        "URI=\"spiffe://td/p",
    ] {
        let refused = last_hop(&forwarded("spiffe://td/edge/a", xfcc));
        assert!(
            matches!(
                refused,
                Err(CallerError::InvalidIdentity {
                    source: ClaimError::Xfcc(_)
                })
            ),
            "{xfcc}: {refused:?}"
        );
    }
}

#[test]
fn a_forwarded_certificate_must_agree_with_the_rest_of_its_element() {
    let text = encoded(&params("spiffe://td/p"));
    let svid = Svid::from_encoded_pem(&text).unwrap();
    let element = |hash: &str, id: &str| {
        let xfcc = format!("Hash={hash};Cert=\"{text}\";URI={id}");
        last_hop(&forwarded("spiffe://td/edge/a", &xfcc))
    };
    let caller = element(&svid.fingerprint, "spiffe://td/p").unwrap();
    assert_eq!(caller.svid.as_deref(), Some(&svid));
    assert_eq!(caller.hop.unwrap().as_str(), "spiffe://td/edge/a");

    for (hash, id) in [
        (svid.fingerprint.as_str(), "spiffe://td/q"),
        (&svid.fingerprint.replace(['0', '1'], "2"), "spiffe://td/p"),
        ("", "spiffe://td/p"),
    ] {
        let refused = element(hash, id);
        assert!(
            matches!(refused, Err(CallerError::Mismatch(..))),
            "{refused:?}"
        );
    }
}

#[test]
fn a_forwarded_certificate_is_read_under_the_leaf_rules_at_the_time_of_asking() {
    let invalid = |claims: &Claims<'_>, now| {
        let identifier = identifier(Forwarding::LastHop {
            hops: vec!["spiffe://td/edge/*".parse().unwrap()],
        });
        matches!(
            identifier.identify(claims, now),
            Err(CallerError::InvalidIdentity {
                source: ClaimError::XfccCertificate(_)
            })
        )
    };
    let mut params = params("spiffe://td/p");
    let xfcc = format!("Cert=\"{}\";URI=spiffe://td/p", encoded(&params));
    let claims = forwarded("spiffe://td/edge/a", &xfcc);
    assert!(!invalid(&claims, NOW));
    assert!(invalid(&claims, NOT_AFTER));
    params.is_ca = IsCa::NoCa;
    let xfcc = format!("Cert=\"{}\";URI=spiffe://td/p", encoded(&params));
    assert!(invalid(&forwarded("spiffe://td/edge/a", &xfcc), NOW));
}
