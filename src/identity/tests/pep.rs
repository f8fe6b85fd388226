//! Which peers may say who the caller is.

use std::net::SocketAddr;

use crate::identity::{Peer, Pep, PepRules, TrustLocal, UntrustedPeer};

fn rules(trust_local: TrustLocal, trust_uids: &[u32]) -> PepRules {
    PepRules {
        trust_local,
        trust_uids: trust_uids.to_vec(),
        context_extensions: Vec::new(),
    }
}

fn unix(uid: impl Into<Option<u32>>) -> Peer {
    Peer::Unix { uid: uid.into() }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const LOOPBACK: [&str; 4] = [
    "127.0.0.1:9",
    "127.255.0.1:9",
    "[::1]:9",
    "[::ffff:127.0.0.1]:9",
];
const ELSEWHERE: [&str; 8] = [
    "10.0.0.1:9",
    "192.0.2.1:9",
    "0.0.0.0:9",
    "169.254.1.1:9",
    "[::]:9",
    "[fe80::1]:9",
    "[::ffff:10.0.0.1]:9",
    "[::127.0.0.1]:9",
];

#[test]
fn none_trusts_nobody() {
    let rules = rules(TrustLocal::None, &[]);
    assert_eq!(rules.judge(&unix(0)), Err(UntrustedPeer::Unix));
    assert_eq!(rules.judge(&unix(None)), Err(UntrustedPeer::Unix));
    for text in LOOPBACK.into_iter().chain(ELSEWHERE) {
        let address = address(text);
        assert_eq!(
            rules.judge(&Peer::Tcp(address)),
            Err(UntrustedPeer::Tcp(address))
        );
    }
}

#[test]
fn unix_trusts_sockets_and_no_tcp() {
    let rules = rules(TrustLocal::Unix, &[]);
    assert_eq!(rules.judge(&unix(1337)), Ok(Pep::Unix));
    assert_eq!(rules.judge(&unix(None)), Ok(Pep::Unix));
    for text in LOOPBACK.into_iter().chain(ELSEWHERE) {
        assert!(rules.judge(&Peer::Tcp(address(text))).is_err(), "{text}");
    }
}

#[test]
fn loopback_trusts_sockets_and_loopback_addresses_only() {
    let rules = rules(TrustLocal::Loopback, &[]);
    assert_eq!(rules.judge(&unix(1337)), Ok(Pep::Unix));
    for text in LOOPBACK {
        assert_eq!(
            rules.judge(&Peer::Tcp(address(text))),
            Ok(Pep::Loopback),
            "{text}"
        );
    }
    for text in ELSEWHERE {
        assert!(rules.judge(&Peer::Tcp(address(text))).is_err(), "{text}");
    }
}

#[test]
fn with_uids_a_peer_must_be_known_to_have_one_of_them() {
    for trust in [TrustLocal::Unix, TrustLocal::Loopback] {
        let rules = rules(trust, &[1337, 101]);
        assert_eq!(rules.judge(&unix(1337)), Ok(Pep::Unix));
        assert_eq!(rules.judge(&unix(101)), Ok(Pep::Unix));
        assert_eq!(rules.judge(&unix(0)), Err(UntrustedPeer::Uid(0)));
        assert_eq!(rules.judge(&unix(None)), Err(UntrustedPeer::UnknownUid));
    }
    let rules = rules(TrustLocal::Loopback, &[1337]);
    assert_eq!(
        rules.judge(&Peer::Tcp(address("127.0.0.1:9"))),
        Err(UntrustedPeer::UnknownUid)
    );
}

#[test]
fn operations_are_named_only_by_listed_peps() {
    let mut rules = rules(TrustLocal::Loopback, &[]);
    assert!(!rules.may_name_operations(Pep::Unix));
    rules.context_extensions = vec![Pep::Unix];
    assert!(rules.may_name_operations(Pep::Unix));
    assert!(!rules.may_name_operations(Pep::Loopback));
}

#[test]
fn peps_have_the_words_that_audit_and_configuration_use() {
    for pep in [Pep::Unix, Pep::Loopback] {
        let word = serde_json::to_string(pep.as_str()).unwrap();
        assert_eq!(serde_json::from_str::<Pep>(&word).unwrap(), pep);
    }
}
