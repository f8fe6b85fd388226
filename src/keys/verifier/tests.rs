use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::delegation::token::tests::{NOW, claims};
use crate::delegation::token::{Alg, Token};
use crate::keys::keyring::tests::at;
use crate::keys::pair::Pair;
use crate::keys::{Algorithm, Config, MintError, Refreshed, Signer};

/// An authority with one key, and what a service of it expects.
struct House {
    _folder: TempDir,
    keyring: Arc<Keyring>,
    signer: Signer,
    verifier: Verifier,
    issuer: Audience,
    audience: Audience,
}

impl House {
    fn new(algorithm: Algorithm) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            algorithm,
            rotate: Some(Duration::from_hours(24)),
            ..Config::default()
        };
        let (keyring, _) = Keyring::open(&config, folder.path(), NOW).unwrap();
        let keyring = Arc::new(keyring);
        let like = claims(0, &["a:read"]);
        Self {
            _folder: folder,
            signer: Signer::new(Arc::clone(&keyring)),
            verifier: Verifier::new(Arc::clone(&keyring), 1024 * 1024),
            keyring,
            issuer: like.issuer,
            audience: like.audience,
        }
    }

    fn expected(&self, now: Timestamp) -> Expectations<'_> {
        Expectations {
            issuer: &self.issuer,
            audience: &self.audience,
            now,
            skew: Duration::ZERO,
        }
    }

    fn verify(&self, text: &str) -> Result<Arc<Verified>, TokenError> {
        self.verifier.verify(text, &self.expected(NOW))
    }

    fn refused(&self, text: &str) -> &'static str {
        self.verify(text).unwrap_err().code()
    }

    /// A text that the house's own key has signed, whatever it says.
    fn signed(&self, alg: Alg, payload: &[u8]) -> String {
        let pair = self.keyring.active().unwrap();
        let signed = Compact::to_be_signed(alg, pair.public().id(), payload);
        let signature = pair.sign(signed.as_bytes()).unwrap();
        Compact::assemble(signed, signature.as_ref())
    }

    fn minted(&self, depth: usize) -> Token {
        self.signer.mint(&sub_agent(depth)).unwrap()
    }
}

fn sub_agent(depth: usize) -> Claims {
    claims(depth, &["documents/**:read", "users:create@supervised"])
}

const BOTH: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::Es256];

#[test]
fn what_was_minted_verifies_and_says_the_same() {
    for algorithm in BOTH {
        let house = House::new(algorithm);
        for depth in [0, 1, 4, 8] {
            let token = house.minted(depth);
            // Once looked at, once remembered.
            for _ in 0..2 {
                let verified = house.verify(token.expose()).unwrap();
                assert_eq!(*verified.claims, sub_agent(depth));
                assert_eq!(verified.key, house.keyring.active().unwrap().public().id());
            }
        }
    }
}

#[test]
fn a_key_of_ed25519_answers_to_both_names_and_to_no_other() {
    // T01 to T03, RFC 9864
    let payload = sub_agent(1).encode().unwrap();
    let house = House::new(Algorithm::Ed25519);
    for alg in [Alg::Ed25519, Alg::EdDsa] {
        assert!(house.verify(&house.signed(alg, &payload)).is_ok());
    }
    let text = house.signed(Alg::Es256, &payload);
    assert_eq!(house.refused(&text), "token_key_unknown");
    let house = House::new(Algorithm::Es256);
    for alg in [Alg::Ed25519, Alg::EdDsa] {
        let text = house.signed(alg, &payload);
        assert_eq!(house.refused(&text), "token_key_unknown");
    }
}

#[test]
fn a_token_of_a_key_that_is_not_ours_is_refused() {
    // T12, T21
    let house = House::new(Algorithm::Ed25519);
    let stranger = House::new(Algorithm::Ed25519);
    let text = stranger.minted(2);
    assert_eq!(house.refused(text.expose()), "token_key_unknown");
    // The name of our key over their signature.
    let ours = house.keyring.active().unwrap().public().id();
    let signed = Compact::to_be_signed(Alg::Ed25519, ours, &sub_agent(2).encode().unwrap());
    let pair = Pair::generate(Algorithm::Ed25519).unwrap();
    let signature = pair.sign(signed.as_bytes()).unwrap();
    let text = Compact::assemble(signed, signature.as_ref());
    assert_eq!(house.refused(&text), "token_signature");
}

#[test]
fn a_token_of_another_issuer_or_for_another_service_is_refused() {
    // T11, T12
    let house = House::new(Algorithm::Ed25519);
    let token = house.minted(1);
    let other: Audience = "spiffe://prod.example.org/ns/users/sa/users"
        .parse()
        .unwrap();
    let elsewhere = Expectations {
        audience: &other,
        ..house.expected(NOW)
    };
    let error = house.verifier.verify(token.expose(), &elsewhere);
    assert_eq!(error.unwrap_err().code(), "token_audience");
    // That it is remembered changes nothing.
    assert!(house.verify(token.expose()).is_ok());
    let error = house.verifier.verify(token.expose(), &elsewhere);
    assert_eq!(error.unwrap_err().code(), "token_audience");
    let foreign = Expectations {
        issuer: &other,
        ..house.expected(NOW)
    };
    let error = house.verifier.verify(token.expose(), &foreign);
    assert_eq!(error.unwrap_err().code(), "token_issuer");
}

#[test]
fn the_issuer_accepts_only_what_may_be_handed_on() {
    let house = House::new(Algorithm::Ed25519);
    let at_issuer = Expectations {
        audience: &house.issuer,
        ..house.expected(NOW)
    };
    let leaf = house.minted(1);
    let error = house.verifier.verify(leaf.expose(), &at_issuer);
    assert_eq!(error.unwrap_err().code(), "token_audience");
    let mut claims = sub_agent(1);
    claims.redelegable = true;
    let token = house.signer.mint(&claims).unwrap();
    assert!(house.verifier.verify(token.expose(), &at_issuer).is_ok());
    assert!(house.verify(token.expose()).is_ok());
}

#[test]
fn a_token_is_good_from_its_first_second_to_its_last() {
    // T09, T10, T51, T52: remembered or not.
    for remember in [0, 1024 * 1024] {
        let house = House::new(Algorithm::Ed25519);
        let verifier = Verifier::new(Arc::clone(&house.keyring), remember);
        let token = house.minted(1);
        let at = |now: u64, skew: u64| {
            let expected = Expectations {
                skew: Duration::from_secs(skew),
                ..house.expected(Timestamp::from_unix_seconds(now))
            };
            let judged = verifier.verify(token.expose(), &expected);
            judged.map_or_else(|error| error.code(), |_| "good")
        };
        let (issued, expires) = (1_790_000_000, 1_790_000_300);
        assert_eq!(at(issued, 0), "good");
        assert_eq!(at(expires - 1, 0), "good");
        assert_eq!(at(expires, 0), "token_expired");
        assert_eq!(at(issued - 1, 0), "token_not_yet");
        assert_eq!(at(issued - 5, 5), "good");
        assert_eq!(at(issued - 61, 5), "token_not_yet");
        assert_eq!(at(expires + 4, 5), "good");
        assert_eq!(at(expires + 5, 5), "token_expired");
        // Whoever configures more gets 30 seconds.
        assert_eq!(at(expires + 30, 3600), "token_expired");
        assert_eq!(at(issued - 31, 3600), "token_not_yet");
        // 1970 and 2106.
        assert_eq!(at(0, 30), "token_not_yet");
        assert_eq!(at(4_294_967_296, 30), "token_expired");
    }
}

#[test]
fn nothing_but_claims_of_ours_counts_even_if_we_signed_it() {
    // T08, T13
    let house = House::new(Algorithm::Ed25519);
    for payload in [
        "",
        "{}",
        "[]",
        r#"{"iss":"https://authz.example.org","sub":"usr-alice-001","exp":1790000300}"#,
    ] {
        let text = house.signed(Alg::Ed25519, payload.as_bytes());
        assert_eq!(house.refused(&text), "token_claims", "{payload}");
    }
    // T19: a token in a token.
    let inner = house.minted(1);
    let text = house.signed(Alg::Ed25519, inner.expose().as_bytes());
    assert_eq!(house.refused(&text), "token_claims");
}

#[test]
fn a_token_of_16_kib_is_read_and_a_longer_one_is_not() {
    // T20
    let house = House::new(Algorithm::Ed25519);
    let text = house.signed(Alg::Ed25519, &vec![b' '; 12_000]);
    assert!((16_000..16_384).contains(&text.len()));
    assert_eq!(house.refused(&text), "token_claims");
    for length in [16_385, 1024 * 1024] {
        assert_eq!(house.refused(&"a".repeat(length)), "token_malformed");
    }
}

#[test]
fn a_change_to_any_hop_of_the_chain_is_found_by_the_signature() {
    // D35, T45
    let house = House::new(Algorithm::Ed25519);
    let token = house.minted(3);
    let (head, signature) = token.expose().rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let with = |claims: &Claims| {
        use base64::Engine as _;
        let payload = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(claims.encode().unwrap());
        format!("{header}.{payload}.{signature}")
    };
    assert!(house.verify(&with(&sub_agent(3))).is_ok());

    let drop_hop = |hop: usize| {
        let mut claims = sub_agent(3);
        claims.chain.agents.remove(hop);
        claims.lease.as_mut().unwrap().grants.remove(hop);
        claims
    };
    let swap = |one: usize, other: usize| {
        let mut claims = sub_agent(3);
        claims.chain.agents.swap(one, other);
        claims
    };
    let mut doubled = sub_agent(3);
    let last = doubled.chain.agents[2].clone();
    doubled.chain.agents.push(last);
    let grants = &mut doubled.lease.as_mut().unwrap().grants;
    grants.push(crate::delegation::GrantId::from_random(99));
    let mut edited = sub_agent(3);
    edited.chain.agents[0].agent_id = "other-agent".parse().unwrap();
    let mut wider = sub_agent(3);
    wider.permissions = claims(1, &["**:*"]).permissions;
    let mut person = sub_agent(3);
    person.chain.person = "usr-bob-002".parse().unwrap();
    let changed = [
        drop_hop(0),
        drop_hop(1),
        drop_hop(2),
        swap(0, 1),
        swap(1, 2),
        doubled,
        edited,
        wider,
        person,
    ];
    for claims in &changed {
        assert_eq!(house.refused(&with(claims)), "token_signature");
    }
}

#[test]
fn a_signature_spelled_otherwise_names_the_same_token() {
    // T15: n - s for s is a second good signature of ECDSA; it is another text and the same `jti`.
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let house = House::new(Algorithm::Es256);
    let token = house.minted(1);
    let signature = Compact::parse(token.expose()).unwrap().signature;
    let mut other = signature;
    let mut borrow = 0;
    for index in (0..32).rev() {
        let digit = i16::from(ORDER[index]) - i16::from(signature[32 + index]) - borrow;
        borrow = i16::from(digit < 0);
        other[32 + index] = u8::try_from(digit.rem_euclid(256)).unwrap();
    }
    let (signed, _) = token.expose().rsplit_once('.').unwrap();
    let text = Compact::assemble(signed.to_owned(), &other);
    assert_ne!(text, token.expose());
    let (one, two) = (house.verify(token.expose()), house.verify(&text));
    assert_eq!(one.unwrap().claims.id, two.unwrap().claims.id);
}

#[test]
fn refusals_are_not_remembered_and_good_tokens_are_within_bounds() {
    let house = House::new(Algorithm::Ed25519);
    let token = house.minted(1);
    let early = house.expected(Timestamp::from_unix_seconds(1));
    assert!(house.verifier.verify(token.expose(), &early).is_err());
    assert!(house.refused("a.b.c") == "token_malformed");
    assert_eq!(house.verifier.seen.len(), 0);
    let one = house.verify(token.expose()).unwrap();
    let two = house.verify(token.expose()).unwrap();
    assert!(Arc::ptr_eq(&one, &two));
    assert_eq!(house.verifier.seen.weight(), token.expose().len() as u64);
    // The end of its life is the end of the memory.
    let late = house.expected(Timestamp::from_unix_seconds(1_790_000_300));
    assert!(house.verifier.verify(token.expose(), &late).is_err());
    assert_eq!(house.verifier.seen.len(), 0);

    let small = Verifier::new(Arc::clone(&house.keyring), 20_000);
    for number in 0..100 {
        let mut claims = sub_agent(1);
        claims.id = crate::delegation::TokenId::from_random(number);
        let token = house.signer.mint(&claims).unwrap();
        assert!(small.verify(token.expose(), &house.expected(NOW)).is_ok());
        assert!(small.seen.weight() <= 20_000);
    }
    assert!(!small.seen.is_empty());
    let none = Verifier::new(Arc::clone(&house.keyring), 0);
    assert!(none.verify(token.expose(), &house.expected(NOW)).is_ok());
    assert_eq!(none.seen.len(), 0);
}

#[test]
fn a_key_that_is_gone_takes_along_what_it_signed() {
    // T21
    let house = House::new(Algorithm::Ed25519);
    let token = house.minted(1);
    assert!(house.verify(token.expose()).is_ok());
    for seconds in [85_800, 86_400, 86_760] {
        let Refreshed { trouble, .. } = house.keyring.refresh(at(seconds));
        assert!(trouble.is_none());
    }
    // By its own times it would still be good.
    assert_eq!(house.refused(token.expose()), "token_key_unknown");
    assert_eq!(house.verifier.seen.len(), 0);
}

#[test]
fn without_an_active_key_there_is_no_token() {
    // T52
    let house = House::new(Algorithm::Ed25519);
    let Refreshed { trouble, .. } = house.keyring.refresh(Timestamp::from_unix_seconds(0));
    assert!(trouble.is_none());
    let error = house.signer.mint(&sub_agent(1)).unwrap_err();
    assert!(matches!(error, MintError::NoKey));
}

#[test]
fn unsound_claims_are_not_signed() {
    let house = House::new(Algorithm::Ed25519);
    let mut long = sub_agent(1);
    long.expires = long.issued.plus(Duration::from_secs(301));
    for claims in [claims(9, &["a:read"]), claims(1, &[]), long] {
        let error = house.signer.mint(&claims).unwrap_err();
        assert!(matches!(error, MintError::Claims(_)), "{error}");
    }
}

#[test]
fn tokens_are_made_and_verified_all_through_a_rotation() {
    for algorithm in BOTH {
        let house = House::new(algorithm);
        let over = AtomicBool::new(false);
        // On a busy machine, a thread could else begin after the last rotation and wait for another one for ever.
        let begun = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut keys = std::collections::BTreeSet::new();
                    let mut held = house.minted(1);
                    keys.insert(house.verify(held.expose()).unwrap().key);
                    begun.wait();
                    while !over.load(Ordering::Relaxed) || keys.len() < 2 {
                        let fresh = house.minted(1);
                        // The last one may be of the key before.
                        for token in [&held, &fresh] {
                            let verified = house.verify(token.expose()).unwrap();
                            keys.insert(verified.key);
                        }
                        held = fresh;
                    }
                });
            }
            begun.wait();
            for seconds in (85_700..86_700).step_by(5) {
                let Refreshed { trouble, .. } = house.keyring.refresh(at(seconds));
                assert!(trouble.is_none(), "{trouble:?}");
            }
            over.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn every_refusal_looks_the_same_outside_and_different_in_records() {
    assert_eq!(TokenError::CLASS, "invalid_token");
    let house = House::new(Algorithm::Ed25519);
    let token = house.minted(1);
    let text = token.expose();
    // T23: no words and no debug output show the token or its claims' text.
    let errors = [
        house.verify(text.split_at(1).1).unwrap_err(),
        house.verify(&format!("{text}A")).unwrap_err(),
        house
            .verifier
            .verify(text, &house.expected(Timestamp::from_unix_seconds(1)))
            .unwrap_err(),
    ];
    let shown: Vec<_> = errors
        .iter()
        .map(|error| format!("{error} {error:?} {}", crate::text::sentence(error)))
        .chain([format!("{token:?} {:?} {:?}", house.verifier, house.signer)])
        .collect();
    let signature = text.rsplit('.').next().unwrap();
    for shown in shown {
        assert!(!shown.contains(signature.split_at(20).0), "{shown}");
        assert!(!shown.contains(text), "{shown}");
    }
}

#[test]
fn claims_that_a_foreign_hand_spelled_are_refused_though_signed() {
    let house = House::new(Algorithm::Ed25519);
    let payload = sub_agent(2).encode().unwrap();
    let sorted: Value = serde_json::from_slice(&payload).unwrap();
    let text = house.signed(Alg::Ed25519, sorted.to_string().as_bytes());
    assert_eq!(house.refused(&text), "token_claims");
    let mut stripped = sorted;
    stripped["act"] = json!({});
    let text = house.signed(Alg::Ed25519, stripped.to_string().as_bytes());
    assert_eq!(house.refused(&text), "token_claims");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_changed_byte_passes(at in any::<prop::sample::Index>(), to in any::<u8>(), es256: bool) {
        let house = House::new(if es256 { Algorithm::Es256 } else { Algorithm::Ed25519 });
        let token = house.minted(2);
        let mut bytes = token.expose().as_bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            prop_assert!(house.verify(text).is_err());
        }
    }

    #[test]
    fn no_text_makes_the_verifier_panic(text in "[A-Za-z0-9_.=-]{0,400}|.{0,100}") {
        let house = House::new(Algorithm::Ed25519);
        prop_assert!(house.verify(&text).is_err());
    }
}
