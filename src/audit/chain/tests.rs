use std::time::Duration;

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::*;
use crate::audit::itself;
use crate::audit::queue::Repeats;
use crate::audit::{
    Actor, Destination, Details, EventType, Http, Mode, Outcome, Pep, Policy, Protocol, Record,
    Source, Subject, Text, verify,
};
use crate::audit::{Agent, Mandate, Task};
use crate::identity::SpiffeId;
use crate::permission::{Reason, Resource, Tier};

fn chain() -> Chain<StdRng> {
    let mut rng = StdRng::seed_from_u64(7);
    let nonce = Nonce::generate(&mut rng);
    Chain::new("host/1".into(), "default".into(), nonce, rng)
}

fn entry(seconds: u64, record: Record) -> Entry {
    Entry {
        time: Timestamp::from_unix_seconds(seconds),
        moment: Instant::now(),
        arrival: 0,
        repeats: None,
        receipt: None,
        record,
    }
}

fn line_of(chain: &mut Chain<StdRng>, entry: &Entry) -> String {
    let mut out = Vec::new();
    chain.seal(entry, &mut out).unwrap();
    let mut line = String::from_utf8(out).unwrap();
    assert_eq!(line.pop(), Some('\n'));
    line
}

/// A denial with everything that is known of one.
fn full(text: &str) -> Record {
    let id = |text: &str| text.parse().unwrap();
    let text = || Text::from(text);
    Record {
        subject: Some(Subject {
            id: text(),
            role: Some(text()),
        }),
        delegation_chain: vec![text(), text()],
        mandate: Some(Box::new(Mandate {
            agent: Some(Agent {
                id: text(),
                agent_type: text(),
            }),
            session_id: Some(text()),
            grant_id: Some(text()),
            jti: Some(text()),
            parent_jti: Some(text()),
            task: Some(Task {
                id: text(),
                path: vec![text(), text()],
            }),
        })),
        action: Some("read".parse().unwrap()),
        resource: Some("documents/42".parse().unwrap()),
        tier: Some(Tier::Forbidden),
        reason_code: Some(Reason::TierForbidden),
        message: Some(text()),
        policy: Some(Policy {
            path: Some(text()),
            policy_id: Some(text()),
            revision: text(),
        }),
        decision_id: Some(text()),
        target: Some(id("spiffe://example.org/svc/documents")),
        audience: Some(text()),
        http: Some(Http {
            host: text(),
            method: text(),
            path: text(),
            protocol: Protocol::Grpc,
            route: Some(text()),
        }),
        request_id: Some(text()),
        trace_id: Some(text()),
        source: Some(Source {
            ip: Some("2001:db8::1".parse().unwrap()),
            spiffe_id: Some(id("spiffe://example.org/agent/a")),
        }),
        destination: Some(Destination {
            spiffe_id: id("spiffe://example.org/svc/documents"),
        }),
        pep: Some(Pep::Unix { uid: Some(101) }),
        mode: Some(Mode::Shadow),
        would_be: Some(Outcome::Denied),
        latency: Some(Duration::MAX),
        cached: Some(true),
        details: Details::default()
            .with("number", u64::MAX)
            .with("flag", false)
            .with("list", vec![text()])
            .with("text", text()),
        ..Record::new(
            EventType::PermissionDenied,
            Outcome::Denied,
            Actor::Agent(id("spiffe://example.org/agent/a")),
        )
    }
}

#[test]
fn a_denial_reads_like_this() {
    // A20
    let mut chain = chain();
    let line = line_of(&mut chain, &entry(1_795_287_600, full("x")));
    let mut record: Value = serde_json::from_str(&line).unwrap();
    let object = record.as_object_mut().unwrap();
    assert!(object.remove("uptime_us").unwrap().is_u64(), "A19");
    let id = object.remove("id").unwrap();
    assert_eq!(id.as_str().unwrap().len(), 26);
    for name in ["hash", "prev_hash"] {
        assert_eq!(object.remove(name).unwrap().as_str().unwrap().len(), 64);
    }
    assert_eq!(
        record,
        json!({
            "action": "read",
            "actor": {"id": "spiffe://example.org/agent/a", "type": "agent"},
            "agent": {"id": "x", "type": "x"},
            "audience": "x",
            "cached": true,
            "decision_id": "x",
            "delegation_chain": ["x", "x"],
            "destination": {"spiffe_id": "spiffe://example.org/svc/documents"},
            "details": {"flag": false, "list": ["x"], "number": 9_007_199_254_740_991_u64, "text": "x"},
            "event_type": "permission.denied",
            "grant_id": "x",
            "http": {"host": "x", "method": "x", "path": "x", "protocol": "grpc", "route": "x"},
            "jti": "x",
            "latency_us": 9_007_199_254_740_991_u64,
            "message": "x",
            "mode": "shadow",
            "parent_jti": "x",
            "pep": {"type": "unix", "uid": 101},
            "policy": {"path": "x", "policy_id": "x", "revision": "x"},
            "reason_code": "tier_forbidden",
            "request_id": "x",
            "resource": "documents/42",
            "result": "denied",
            "seq": 1,
            "session_id": "x",
            "source": {"ip": "2001:db8::1", "spiffe_id": "spiffe://example.org/agent/a"},
            "subject": {"id": "x", "role": "x"},
            "target": "spiffe://example.org/svc/documents",
            "task": {"id": "x", "path": ["x", "x"]},
            "tenant": "default",
            "tier": "forbidden",
            "time": "2026-11-21T19:00:00.000000000Z",
            "trace_id": "x",
            "would_be": "denied",
            "writer": "host/1",
        })
    );
}

#[test]
fn what_is_not_known_is_left_out() {
    let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
    let record = Record::new(EventType::PermissionCheck, Outcome::Allowed, actor);
    let line = line_of(&mut chain(), &entry(0, record));
    let record: Value = serde_json::from_str(&line).unwrap();
    let names: Vec<_> = record.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "actor",
            "delegation_chain",
            "event_type",
            "hash",
            "id",
            "prev_hash",
            "result",
            "seq",
            "tenant",
            "time",
            "uptime_us",
            "writer"
        ]
    );
    // On its own account, an actor is its own chain.
    assert_eq!(
        record["delegation_chain"],
        json!(["spiffe://example.org/svc/a"])
    );
}

#[test]
fn attache_itself_acts_under_the_name_of_the_writer_and_a_stranger_under_none() {
    for (actor, written, chain_ids) in [
        (
            Actor::System,
            json!({"id": "host/1", "type": "system"}),
            json!(["host/1"]),
        ),
        (Actor::Unknown, json!({"type": "unknown"}), json!([])),
    ] {
        let record = Record::new(EventType::PermissionDenied, Outcome::Denied, actor);
        let line = line_of(&mut chain(), &entry(0, record));
        let record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["actor"], written);
        assert_eq!(record["delegation_chain"], chain_ids);
    }
}

#[test]
fn the_hash_can_be_computed_from_the_documentation_alone() {
    // SHA-256(prev_hash || JCS(record without hash)), with a canonicalizer that is not ours.
    let mut rng = StdRng::seed_from_u64(7);
    let nonce = Nonce::generate(&mut rng);
    let mut chain = Chain::new("host/1".into(), "default".into(), nonce, rng);
    let nonce_bytes = u128::from_str_radix(&nonce.to_hex(), 16)
        .unwrap()
        .to_be_bytes();
    let mut before: [u8; 32] = Sha256::new()
        .chain_update("host/1")
        .chain_update(nonce_bytes)
        .finalize()
        .into();
    for _ in 0..3 {
        let line = line_of(&mut chain, &entry(5, full("ü\u{2028}\u{1b}\"\\")));
        let mut record: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(record["prev_hash"], hex(&before));
        let hash = record.as_object_mut().unwrap().remove("hash").unwrap();
        let canonical = serde_json_canonicalizer::to_vec(&record).unwrap();
        before = Sha256::new()
            .chain_update(before)
            .chain_update(canonical)
            .finalize()
            .into();
        assert_eq!(hash, hex(&before));
    }
}

#[test]
fn sequence_and_ids_rise_when_the_clock_steps_back() {
    // A19
    let mut chain = chain();
    let mut ids = Vec::new();
    for (index, seconds) in [100, 100, 200, 50, 0, 150, 201].into_iter().enumerate() {
        let record: Value =
            serde_json::from_str(&line_of(&mut chain, &entry(seconds, full("x")))).unwrap();
        assert_eq!(record["seq"], index as u64 + 1);
        let time = Timestamp::from_unix_seconds(seconds).to_string();
        assert_eq!(record["time"], time, "the wall clock as it was");
        ids.push(record["id"].as_str().unwrap().to_owned());
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
}

#[test]
fn one_record_is_one_line_whatever_it_holds() {
    // A22
    let hostile = "a\n\r\"}\\\u{0}\u{7}\u{8}\u{c}\u{1b}[2J\u{7f}\u{85}\u{2028}\u{2029},\"result\":\"allowed\"";
    let line = line_of(&mut chain(), &entry(0, full(hostile)));
    assert!(!line.bytes().any(|byte| byte < 0x20), "{line:?}");
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["result"], "denied");
    for shown in [
        &record["http"]["path"],
        &record["message"],
        &record["details"]["text"],
    ] {
        assert_eq!(shown, hostile, "nothing is lost");
    }
}

/// Three parts in base64url, as every JSON Web Token has.
const TOKEN: &str = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWFsaWNl";

#[test]
fn a_token_in_any_text_does_not_reach_the_trail() {
    for text in [
        TOKEN.to_owned(),
        format!("/documents/{TOKEN}/x"),
        format!("bearer {TOKEN}, twice {TOKEN}"),
        format!("{}{TOKEN}", "x".repeat(Text::MAX - 40)),
        format!("eyJ {TOKEN}eyJ"),
    ] {
        let mut record = full(&text);
        record.resource = Some(format!("documents/{TOKEN}").parse().unwrap());
        let line = line_of(&mut chain(), &entry(0, record));
        for part in TOKEN.split('.').take(2) {
            assert!(!line.contains(part), "{line}");
        }
        assert!(line.contains("[token]"), "{line}");
    }
    // What only begins like one stays.
    let line = line_of(&mut chain(), &entry(0, full("eyJack and eyJill")));
    assert!(line.contains("eyJack and eyJill"), "{line}");
}

#[test]
fn redacted_members_have_no_value_and_are_listed() {
    let names = [
        "http.path",
        "http.host",
        "http.method",
        "source.ip",
        "request_id",
        "message",
        "trace_id",
        "audience",
        "details.text",
    ];
    let redaction = Redaction::try_from(Vec::from(names.map(str::to_owned))).unwrap();
    let mut chain = chain().redacting(redaction);
    let record: Value =
        serde_json::from_str(&line_of(&mut chain, &entry(0, full("alice@example.org")))).unwrap();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(record["erased"], json!(sorted));
    for name in names {
        let pointer = format!("/{}", name.replace('.', "/"));
        assert_eq!(record.pointer(&pointer).unwrap(), "[redacted]", "{name}");
    }
    assert_eq!(record["details"]["list"], json!(["alice@example.org"]));
    assert_eq!(record["http"]["route"], "alice@example.org");

    // What was not there is not listed, and the witness's own records are whole.
    let bare = Record::new(EventType::ConfigChanged, Outcome::Success, Actor::System);
    let record: Value = serde_json::from_str(&line_of(&mut chain, &entry(0, bare))).unwrap();
    assert_eq!(record.get("erased"), None);
    let gap = Record {
        message: Some("kept".into()),
        ..Record::new(EventType::AuditGap, Outcome::Failure, Actor::System)
    };
    let record: Value = serde_json::from_str(&line_of(&mut chain, &entry(0, gap))).unwrap();
    assert_eq!(
        (&record["message"], record.get("erased")),
        (&json!("kept"), None)
    );
}

#[test]
fn uptime_rises_while_the_wall_clock_steps_back() {
    // A19
    let mut chain = chain();
    let began = Instant::now();
    let mut uptimes = Vec::new();
    for (seconds, after) in [(100, 1), (50, 2), (0, 3)] {
        let entry = Entry {
            moment: began + Duration::from_secs(after),
            ..entry(seconds, full("x"))
        };
        let record: Value = serde_json::from_str(&line_of(&mut chain, &entry)).unwrap();
        uptimes.push(record["uptime_us"].as_u64().unwrap());
    }
    assert_eq!(uptimes[2] - uptimes[0], 2_000_000);
    assert!(uptimes.is_sorted());
}

#[test]
fn a_nonce_has_one_spelling() {
    let nonce = Nonce([0xab; 16]);
    assert_eq!(Nonce::from_hex(&nonce.to_hex()), Some(nonce));
    for bad in [
        "",
        "ab",
        &"AB".repeat(16),
        &"ab".repeat(17),
        &format!("+{}", "a".repeat(31)),
    ] {
        assert_eq!(Nonce::from_hex(bad), None, "{bad}");
    }
}

#[test]
fn a_line_is_canonical_whatever_peer_asked() {
    let spiffe_id: SpiffeId = "spiffe://example.org/gateway".parse().unwrap();
    let peers = [
        Pep::Unix { uid: None },
        Pep::Unix { uid: Some(101) },
        Pep::Loopback,
        Pep::Tls { spiffe_id },
    ];
    for peer in peers {
        let mut record = full("x");
        record.pep = Some(peer);
        let line = line_of(&mut chain(), &entry(5, record));
        let value: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_line_is_in_the_canonical_form_of_rfc_8785(
        text in any::<String>(),
        seconds in any::<u64>(),
        count in prop::option::of(2_u64..1000),
        resource in "[^/*:@\\\\\\s\\p{C}.]{1,9}",
        bare in any::<bool>(),
    ) {
        let mut record = full(&text);
        if bare {
            record = Record::new(EventType::ConfigChanged, Outcome::Success, Actor::System);
        }
        record.resource = resource.parse::<Resource>().ok();
        let entry = Entry {
            repeats: count.map(|count| Repeats { count, last_time: Timestamp::from_unix_seconds(1) }),
            ..entry(seconds, record)
        };
        let line = line_of(&mut chain(), &entry);
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_text_anywhere_is_one_bounded_canonical_line_that_verifies(
        piece in "[\\x00-\\x7f\\u{85}\\u{200b}-\\u{202e}\\u{2066}-\\u{2069}\\u{feff}é😀]{40}",
        times in prop::sample::select(vec![1_usize, 60, 25_000]),
    ) {
        // A22, A23: up to more than a megabyte.
        let mut record = full("x");
        let text = Text::from(piece.repeat(times));
        record.message = Some(text.clone());
        record.request_id = Some(text.clone());
        record.trace_id = Some(text.clone());
        record.audience = Some(text.clone());
        record.delegation_chain = vec![text.clone()];
        record.http.as_mut().unwrap().path = text.clone();
        record.http.as_mut().unwrap().host = text.clone();
        record.http.as_mut().unwrap().method = text.clone();
        record.policy.as_mut().unwrap().policy_id = Some(text.clone());
        record.mandate.as_mut().unwrap().jti = Some(text.clone());
        record.details = Details::default().with("a", text.clone()).with("b", text);
        let mut chain = chain();
        let mut rng = StdRng::seed_from_u64(7);
        let nonce = Nonce::generate(&mut rng);
        let opening = itself::started(nonce, &[], None).remove(0);
        let opening = line_of(&mut chain, &entry(0, opening));
        let line = line_of(&mut chain, &entry(0, record));
        // Twelve texts of some more than 2 KiB, each byte six of JSON at most.
        prop_assert!(line.len() < 12 * 6 * (Text::MAX + 150), "{}", line.len());
        prop_assert!(!line.bytes().any(|byte| byte < 0x20));
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&value).unwrap(), &line);
        prop_assert!(verify([opening, line]).is_ok());
    }
}
