use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::*;
use crate::audit::{
    Anchor, AnchorError, Auditor, Extras, Flaw, Memory, Origin, Setup, Verifier, WriterHandle,
    start_with,
};
use crate::clock::{MockClock, Timestamp};

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&mut StdRng::seed_from_u64(seed)).unwrap()
}

/// A writer whose key is of `seed`.
fn writer(
    name: &str,
    seed: u64,
    every: u64,
    interval: Duration,
) -> (Memory, Auditor, WriterHandle) {
    let memory = Memory::default();
    let setup = Setup {
        first: Box::new(memory.clone()),
        others: vec![],
        capacity: 16,
        origin: Origin {
            tenant: "default".into(),
            writer: name.into(),
        },
    };
    let extras = Extras {
        checkpoints: Some(Checkpoints {
            key: key(seed),
            every,
            interval,
        }),
        ..Extras::default()
    };
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1000)));
    let rng = StdRng::seed_from_u64(1);
    let (auditor, handle) =
        start_with(setup, extras, clock, rng, &mut Registry::default()).unwrap();
    (memory, auditor, handle)
}

fn event(text: &str) -> Record {
    Record {
        message: Some(text.into()),
        ..Record::new(EventType::ConfigChanged, Outcome::Success, Actor::System)
    }
}

/// A whole run: start, three records, a checkpoint, the end.
async fn run(name: &str, seed: u64, word: &str) -> Vec<String> {
    let (memory, auditor, handle) = writer(name, seed, 1000, LONGEST);
    for _event in 0..3 {
        auditor.commit(event(word)).await.unwrap();
    }
    handle.close().await.unwrap();
    memory.lines()
}

fn verified(lines: &[String], pins: &[PublicKey], anchors: &[Anchor]) -> Result<Option<u64>, Flaw> {
    let mut verifier = Verifier::default()
        .pinned(pins.to_vec())
        .anchored(anchors.to_vec());
    for line in lines {
        verifier
            .line(line.as_bytes())
            .map_err(|broken| broken.flaw)?;
    }
    let summary = verifier.finish().map_err(|broken| broken.flaw)?;
    Ok(summary.heads["host/1"].signed)
}

#[tokio::test]
async fn a_run_ends_with_a_checkpoint_that_its_public_key_alone_verifies() {
    // A17
    let lines = run("host/1", 1, "x").await;
    let record = |at: usize| serde_json::from_str::<Value>(&lines[at]).unwrap();
    let types: Vec<_> = (0..lines.len())
        .map(|at| record(at)["event_type"].clone())
        .collect();
    let changed = "config.changed";
    assert_eq!(
        types,
        [
            "audit.started",
            changed,
            changed,
            changed,
            "audit.checkpoint",
            "audit.stopped"
        ]
    );
    let public = record(0)["details"]["checkpoint_key"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(public, key(1).public().to_string());
    let checkpoint = record(4)["details"].clone();
    assert_eq!(checkpoint["seq"], 4);
    assert_eq!(checkpoint["hash"], record(3)["hash"]);
    assert_eq!(checkpoint["key_id"], key(1).public().id());
    let pins = [public.parse().unwrap()];
    assert_eq!(verified(&lines, &pins, &[]).unwrap(), Some(4));
    let other = verified(&lines, &[key(2).public()], &[]).unwrap_err();
    assert_eq!(other, Flaw::ForeignKey("host/1".to_owned()));
}

#[tokio::test]
async fn a_checkpoint_comes_after_so_many_records() {
    let (memory, auditor, _handle) = writer("host/1", 1, 3, LONGEST);
    for _event in 0..8 {
        auditor.commit(event("x")).await.unwrap();
    }
    auditor.flush().await.unwrap();
    let signed: Vec<_> = memory
        .records(EventType::AuditCheckpoint)
        .iter()
        .map(|it| it["details"]["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(signed, [3, 7, 11], "its own record counts as covered");
}

#[test]
fn a_checkpoint_comes_after_so_much_time_and_only_if_there_is_something_to_sign() {
    let due = |every, interval| {
        Due::new(Checkpoints {
            key: key(1),
            every,
            interval,
        })
    };
    let mut soon = due(1000, Duration::ZERO);
    assert_eq!(soon.due_in(0), None);
    assert_eq!(soon.due_in(1), Some(Duration::ZERO));
    soon.sign("host/1", 1, &"a".repeat(64));
    assert_eq!(soon.due_in(2), None, "its own record");
    assert_eq!(soon.due_in(3), Some(Duration::ZERO));
    let mut late = due(2, LONGEST);
    assert!(late.due_in(1).is_some_and(|left| left > SHORTEST));
    assert_eq!(late.due_in(2), Some(Duration::ZERO));
}

#[tokio::test]
async fn another_key_later_leaves_old_checkpoints_verifiable() {
    // A18
    let first = run("host/0", 1, "x").await;
    let second = run("host/1", 2, "x").await;
    let both = [first, second].concat();
    let pins = [key(1).public(), key(2).public()];
    assert_eq!(verified(&both, &pins, &[]).unwrap(), Some(4));
    let forgotten = verified(&both, &pins[1..], &[]).unwrap_err();
    assert_eq!(forgotten, Flaw::ForeignKey("host/0".to_owned()));
}

/// The checkpoint of a run, as a record and as a line of the log.
fn kept(lines: &[String]) -> [Anchor; 2] {
    let line = lines
        .iter()
        .find(|it| it.contains("audit.checkpoint"))
        .unwrap();
    let record: Value = serde_json::from_str(line).unwrap();
    let details = &record["details"];
    let log = json!({
        "level": "INFO",
        "target": "attache::audit::checkpoint",
        "message": "AUDIT_CHECKPOINT",
        "writer": record["writer"],
        "seq": details["seq"],
        "hash": details["hash"],
        "key_id": details["key_id"],
        "signature": details["signature"],
    });
    [line.clone(), log.to_string()].map(|line| Anchor::read(&line).unwrap())
}

#[tokio::test]
async fn a_cut_off_or_rewritten_end_is_found_by_a_checkpoint_kept_elsewhere() {
    let lines = run("host/1", 1, "x").await;
    let anchors = kept(&lines);
    assert_eq!(anchors[0], anchors[1]);
    assert_eq!(verified(&lines, &[], &anchors).unwrap(), Some(4));
    let cut = verified(&lines[..3], &[], &anchors).unwrap_err();
    let (writer, seq, last) = ("host/1".to_owned(), 4, 3);
    assert_eq!(cut, Flaw::Truncated { writer, seq, last });
    // Whoever holds the key can sign another history, but not make that one vanish.
    let another = run("host/1", 1, "y").await;
    assert_eq!(
        verified(&another, &[key(1).public()], &[]).unwrap(),
        Some(4)
    );
    let rewritten = verified(&another, &[], &anchors).unwrap_err();
    assert_eq!(rewritten, Flaw::Rewritten("host/1".to_owned()));
    // A run that is gone as a whole.
    let elsewhere = run("host/2", 1, "x").await;
    let gone = verified(&elsewhere, &[], &anchors).unwrap_err();
    assert!(matches!(gone, Flaw::Truncated { last: 0, .. }), "{gone}");
}

#[tokio::test]
async fn a_checkpoint_that_another_key_signed_is_forged() {
    // As somebody does it who can write the file, and does not have the key.
    let lines = run("host/1", 2, "x").await;
    let mut forged = run("host/1", 1, "x").await;
    let with_details = |line: &str, details: &Value| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["details"] = details.clone();
        record
    };
    let theirs: Value = serde_json::from_str(&lines[4]).unwrap();
    let ours: Value = serde_json::from_str(&forged[4]).unwrap();
    let mut details = ours["details"].clone();
    details["signature"] = theirs["details"]["signature"].clone();
    let mut record = with_details(&forged[4], &details);
    // Its own hash is made to fit.
    let object = record.as_object_mut().unwrap();
    let before = object.remove("hash").unwrap();
    assert_eq!(before, ours["hash"]);
    let unhashed = serde_json::to_vec(&object).unwrap();
    let previous: Value = serde_json::from_str(&forged[3]).unwrap();
    let previous = previous["hash"].as_str().unwrap();
    let value = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16).unwrap()).unwrap();
    let digits: Vec<_> = previous.as_bytes().iter().map(value).collect();
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect();
    let hash = crate::audit::Digest::of([bytes.as_slice(), &unhashed]);
    record["hash"] = json!(hash.as_str());
    forged[4] = record.to_string();
    assert_eq!(verified(&forged[..5], &[], &[]).unwrap_err(), Flaw::Forged);
}

#[test]
fn what_is_no_checkpoint_vouches_for_nothing() {
    for line in ["", "{}", "x", r#"{"writer":"w","seq":1,"hash":"h"}"#] {
        assert_eq!(
            Anchor::read(line),
            Err(AnchorError::NotACheckpoint),
            "{line}"
        );
    }
    let statement = r#"{"writer":"w","seq":1,"hash":"h","key_id":"k","signature":"00"}"#;
    let anchor = Anchor::read(statement).unwrap();
    let held = anchor.held_to(&[key(1).public()]);
    assert_eq!(held, Err(AnchorError::ForeignKey));
}

#[test]
fn what_is_signed_is_canonical_whatever_the_writer_is_called() {
    let statement = Statement {
        writer: "a\n\"}\u{2028}",
        seq: 7,
        hash: "ab",
        key_id: "cd",
    };
    let text = statement.text();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json_canonicalizer::to_string(&value).unwrap(), text);
    assert_eq!(value["writer"], "a\n\"}\u{2028}");
    assert_eq!(value["type"], "attache.audit.checkpoint.v1");
}

#[test]
fn a_key_is_made_once_and_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl.key");
    let mut rng = StdRng::seed_from_u64(3);
    let made = SigningKey::open(&path, &mut rng).unwrap().public();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(SigningKey::open(&path, &mut rng).unwrap().public(), made);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing beside it"
    );
}

#[test]
fn a_key_that_others_may_read_and_what_is_no_key_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let mut rng = StdRng::seed_from_u64(3);
    SigningKey::open(&path, &mut rng).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o606] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = SigningKey::open(&path, &mut rng).unwrap_err();
        assert!(
            matches!(refused, KeyError::Open(found) if found == mode),
            "{refused}"
        );
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    SigningKey::open(&path, &mut rng).unwrap();
    for text in [
        "",
        "x",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "\u{0}",
    ] {
        let other = folder.path().join("other");
        fs::write(&other, text).unwrap();
        fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = SigningKey::open(&other, &mut rng).unwrap_err();
        assert!(matches!(refused, KeyError::NotAKey), "{text}: {refused}");
        assert_eq!(fs::read_to_string(&other).unwrap(), text, "never replaced");
    }
    let refused = SigningKey::open(folder.path(), &mut rng).unwrap_err();
    assert!(matches!(refused, KeyError::NotAKey), "{refused}");
}

#[test]
fn a_public_key_has_one_spelling() {
    let public = key(1).public();
    assert_eq!(public.to_string().parse(), Ok(public));
    for text in [
        String::new(),
        "ab".to_owned(),
        public.to_string().to_uppercase(),
        "é".repeat(32),
    ] {
        let error = text.parse::<PublicKey>().unwrap_err();
        assert!(error.to_string().contains("64 digits"), "{error}");
    }
}

#[test]
fn intervals_and_counts_have_bounds() {
    let parse =
        |yaml| serde_saphyr::from_str::<CheckpointConfig>(yaml).map_err(|error| error.to_string());
    assert_eq!(parse("{}").unwrap(), CheckpointConfig::default());
    assert_eq!(
        parse("{every: 10, interval: 5s, key: k}")
            .unwrap()
            .every
            .get(),
        10
    );
    for yaml in [
        "{every: 0}",
        "{interval: 999ms}",
        "{interval: 2days}",
        "{keys: x}",
    ] {
        assert!(parse(yaml).is_err(), "{yaml}");
    }
    assert!(parse("{interval: 0s}").unwrap_err().contains("1s to 1day"));
}
