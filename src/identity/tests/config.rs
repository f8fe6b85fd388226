//! The `identity` section of the configuration, as it is written and what it builds.

use crate::identity::{CallerError, Claims, Config, Peer, Pep, TrustLocal, UntrustedPeer, Xfcc};

use super::NOW;

fn config(yaml: &str) -> Result<Config, String> {
    serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
}

#[test]
fn the_default_trusts_the_unix_socket_and_no_header() {
    let default = config("{}").unwrap();
    assert_eq!(default, Config::default());
    assert_eq!(default.trust_local, TrustLocal::Unix);
    assert_eq!(default.xfcc, Xfcc::None);
    assert!(default.trust_uids.is_empty());
    assert!(default.context_extensions.is_empty());
    assert!(default.xfcc_hops.is_empty());
    assert!(default.federated.is_empty());
}

#[test]
fn every_key_is_read() {
    let config = config(
        "trust_local: loopback\n\
         trust_uids: [1337]\n\
         context_extensions: [unix, loopback]\n\
         xfcc: last_hop\n\
         xfcc_hops: ['spiffe://example.org/edge/*']\n\
         federated: [partner.example]\n",
    )
    .unwrap();
    assert_eq!(config.trust_local, TrustLocal::Loopback);
    assert_eq!(config.trust_uids, [1337]);
    assert_eq!(config.context_extensions, [Pep::Unix, Pep::Loopback]);
    assert_eq!(config.xfcc, Xfcc::LastHop);
    assert_eq!(
        config.xfcc_hops,
        ["spiffe://example.org/edge/*".parse().unwrap()]
    );
    assert_eq!(config.federated, ["partner.example".parse().unwrap()]);
}

#[test]
fn words_that_mean_nothing_are_refused() {
    for yaml in [
        "trust_locale: unix",
        "trust_local: Unix",
        "trust_local: all",
        "trust_uids: [-1]",
        "trust_uids: [envoy]",
        "context_extensions: [tcp]",
        "xfcc: first",
        "xfcc_hops: ['spiffe://*/edge']",
        "federated: ['spiffe://partner.example']",
    ] {
        assert!(config(yaml).is_err(), "{yaml}");
    }
    let error = config("federated: [Partner]").unwrap_err();
    assert!(
        error.contains("`Partner` is not a trust domain name"),
        "{error}"
    );
}

#[test]
fn what_is_built_follows_what_is_written() {
    let built = |yaml| config(yaml).unwrap().build("example.org".parse().unwrap());
    let (rules, identifier) = built("{trust_local: none, federated: [partner.example]}");
    let peer = Peer::Unix { uid: Some(0) };
    assert_eq!(rules.judge(&peer, NOW), Err(UntrustedPeer::Unix));
    let claims = |principal, xfcc| Claims {
        certificate: None,
        principal: Some(principal),
        xfcc,
    };
    for (principal, accepted) in [
        ("spiffe://example.org/p", true),
        ("spiffe://partner.example/p", true),
        ("spiffe://elsewhere.example/p", false),
    ] {
        let caller = identifier.identify(&claims(principal, None), NOW);
        assert_eq!(caller.is_ok(), accepted, "{principal}");
    }

    let (rules, identifier) = built(
        "{xfcc: last_hop, xfcc_hops: ['spiffe://example.org/edge'], context_extensions: [unix]}",
    );
    assert_eq!(rules.judge(&peer, NOW), Ok(Pep::Unix));
    assert!(rules.may_name_operations(Pep::Unix));
    let xfcc = Some("URI=spiffe://example.org/p");
    let caller = identifier
        .identify(&claims("spiffe://example.org/edge", xfcc), NOW)
        .unwrap();
    assert_eq!(caller.id.as_str(), "spiffe://example.org/p");
    assert!(matches!(
        identifier.identify(&claims("spiffe://example.org/other", xfcc), NOW),
        Err(CallerError::UntrustedHop(_))
    ));
}
