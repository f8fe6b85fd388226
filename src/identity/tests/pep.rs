//! Which peers may say who the caller is.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{NOT_AFTER, NOT_BEFORE, NOW, der, params};
use crate::identity::{Asker, MeshPeer, Peer, Pep, PepRules, Svid, TrustLocal, UntrustedPeer};

fn rules(trust_local: TrustLocal, trust_uids: &[u32]) -> PepRules {
    PepRules {
        trust_local,
        trust_uids: trust_uids.to_vec(),
        peps: Vec::new(),
        trust_domains: Vec::new(),
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
    assert_eq!(rules.judge(&unix(0), NOW), Err(UntrustedPeer::Unix));
    assert_eq!(rules.judge(&unix(None), NOW), Err(UntrustedPeer::Unix));
    for text in LOOPBACK.into_iter().chain(ELSEWHERE) {
        let address = address(text);
        assert_eq!(
            rules.judge(&Peer::Tcp(address), NOW),
            Err(UntrustedPeer::Tcp(address))
        );
    }
}

#[test]
fn tls_without_a_certificate_is_nobody_even_from_loopback() {
    for trust_local in [TrustLocal::None, TrustLocal::Unix, TrustLocal::Loopback] {
        let rules = rules(trust_local, &[]);
        for text in LOOPBACK.into_iter().chain(ELSEWHERE) {
            let address = address(text);
            assert_eq!(
                rules.judge(&Peer::Anonymous(address), NOW),
                Err(UntrustedPeer::Anonymous(address))
            );
        }
    }
}

#[test]
fn unix_trusts_sockets_and_no_tcp() {
    let rules = rules(TrustLocal::Unix, &[]);
    assert_eq!(rules.judge(&unix(1337), NOW), Ok(Pep::Unix));
    assert_eq!(rules.judge(&unix(None), NOW), Ok(Pep::Unix));
    for text in LOOPBACK.into_iter().chain(ELSEWHERE) {
        assert!(
            rules.judge(&Peer::Tcp(address(text)), NOW).is_err(),
            "{text}"
        );
    }
}

#[test]
fn loopback_trusts_sockets_and_loopback_addresses_only() {
    let rules = rules(TrustLocal::Loopback, &[]);
    assert_eq!(rules.judge(&unix(1337), NOW), Ok(Pep::Unix));
    for text in LOOPBACK {
        assert_eq!(
            rules.judge(&Peer::Tcp(address(text)), NOW),
            Ok(Pep::Loopback),
            "{text}"
        );
    }
    for text in ELSEWHERE {
        assert!(
            rules.judge(&Peer::Tcp(address(text)), NOW).is_err(),
            "{text}"
        );
    }
}

#[test]
fn with_uids_a_peer_must_be_known_to_have_one_of_them() {
    for trust in [TrustLocal::Unix, TrustLocal::Loopback] {
        let rules = rules(trust, &[1337, 101]);
        assert_eq!(rules.judge(&unix(1337), NOW), Ok(Pep::Unix));
        assert_eq!(rules.judge(&unix(101), NOW), Ok(Pep::Unix));
        assert_eq!(rules.judge(&unix(0), NOW), Err(UntrustedPeer::Uid(0)));
        assert_eq!(
            rules.judge(&unix(None), NOW),
            Err(UntrustedPeer::UnknownUid)
        );
    }
    let rules = rules(TrustLocal::Loopback, &[1337]);
    assert_eq!(
        rules.judge(&Peer::Tcp(address("127.0.0.1:9")), NOW),
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
    for pep in [Pep::Unix, Pep::Loopback, Pep::Mesh] {
        let word = serde_json::to_string(pep.as_str()).unwrap();
        assert_eq!(serde_json::from_str::<Pep>(&word).unwrap(), pep);
    }
}

fn mesh_rules(peps: &[&str]) -> PepRules {
    PepRules {
        peps: peps.iter().map(|text| text.parse().unwrap()).collect(),
        trust_domains: vec!["example.org".parse().unwrap()],
        ..rules(TrustLocal::None, &[])
    }
}

fn mesh(id: &str) -> MeshPeer {
    MeshPeer {
        svid: Arc::new(Svid::from_der(&der(&params(id))).unwrap()),
        vouched: true,
    }
}

#[test]
fn a_mesh_peer_is_one_that_peps_names() {
    // S47
    let envoy = Peer::Mesh(mesh("spiffe://example.org/envoy/edge"));
    let rules = mesh_rules(&["spiffe://example.org/envoy/*"]);
    assert_eq!(rules.judge(&envoy, NOW), Ok(Pep::Mesh));
    for id in [
        "spiffe://example.org/envoy",
        "spiffe://example.org/svc/envoy",
        "spiffe://example.org/envoy/edge/more",
    ] {
        let peer = Peer::Mesh(mesh(id));
        let refused = UntrustedPeer::NotAPep(id.parse().unwrap());
        assert_eq!(rules.judge(&peer, NOW), Err(refused));
    }
    assert!(mesh_rules(&[]).judge(&envoy, NOW).is_err());
}

#[test]
fn a_pattern_does_not_admit_a_trust_domain_that_is_not_accepted() {
    let id = "spiffe://partner.example/envoy";
    let mut rules = mesh_rules(&[id]);
    let peer = Peer::Mesh(mesh(id));
    assert!(rules.judge(&peer, NOW).is_err());
    rules.trust_domains.push("partner.example".parse().unwrap());
    assert_eq!(rules.judge(&peer, NOW), Ok(Pep::Mesh));
}

#[test]
fn a_mesh_peer_is_judged_by_this_moment() {
    // X27
    let id = "spiffe://example.org/envoy";
    let rules = mesh_rules(&[id]);
    let mut peer = mesh(id);
    let judged = |peer: &MeshPeer, now| rules.judge(&Peer::Mesh(peer.clone()), now);
    let expired = UntrustedPeer::Expired(id.parse().unwrap());
    assert_eq!(judged(&peer, NOT_BEFORE), Ok(Pep::Mesh));
    assert_eq!(judged(&peer, NOT_AFTER), Err(expired));
    peer.vouched = false;
    let not_vouched = UntrustedPeer::NotVouched(id.parse().unwrap());
    assert_eq!(judged(&peer, NOW), Err(not_vouched));
}

#[test]
fn a_workload_that_is_no_pep_may_ask_about_itself_while_its_certificate_is_good() {
    let rules = mesh_rules(&["spiffe://example.org/envoy/*"]);
    let judged = |peer: &Peer, now| rules.judge_asker(peer, now);
    let envoy = Peer::Mesh(mesh("spiffe://example.org/envoy/edge"));
    assert_eq!(judged(&envoy, NOW), Ok(Asker::Pep(Pep::Mesh)));

    let id = "spiffe://example.org/svc/reporting";
    let workload = Peer::Mesh(mesh(id));
    let itself = Asker::Itself(id.parse().unwrap());
    assert_eq!(judged(&workload, NOW), Ok(itself));
    let expired = UntrustedPeer::Expired(id.parse().unwrap());
    assert_eq!(judged(&workload, NOT_AFTER), Err(expired));
    let withdrawn = Peer::Mesh(MeshPeer {
        vouched: false,
        ..mesh(id)
    });
    let not_vouched = UntrustedPeer::NotVouched(id.parse().unwrap());
    assert_eq!(judged(&withdrawn, NOW), Err(not_vouched));
    let foreign = "spiffe://evil.example/svc/reporting";
    let refused = UntrustedPeer::NotAPep(foreign.parse().unwrap());
    assert_eq!(judged(&Peer::Mesh(mesh(foreign)), NOW), Err(refused));
}

#[test]
fn who_has_no_certificate_asks_as_a_pep_or_not_at_all() {
    for trust in [TrustLocal::None, TrustLocal::Unix, TrustLocal::Loopback] {
        let rules = rules(trust, &[1337]);
        for peer in [
            unix(1337),
            unix(0),
            unix(None),
            Peer::Tcp(address("127.0.0.1:9")),
            Peer::Tcp(address("10.0.0.1:9")),
        ] {
            let as_pep = rules.judge(&peer, NOW).map(Asker::Pep);
            assert_eq!(rules.judge_asker(&peer, NOW), as_pep, "{peer:?}");
        }
    }
}
