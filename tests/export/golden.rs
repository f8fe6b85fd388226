//! The files in `golden/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

use attache::audit::{Encoder, EventType, Format, verify};
use serde_json::Value;

use crate::records::{representative, written};

/// Formats that are not our own, with the files that hold what they make of `records.jsonl`.
pub(crate) const FORMATS: [(Format, &str); 3] = [
    (Format::Opa, "opa"),
    (Format::CloudEvents, "cloudevents"),
    (Format::Ocsf, "ocsf"),
];

/// The lines of a file in `golden/`.
pub(crate) fn golden(name: &str) -> Vec<String> {
    let text = fs::read_to_string(path(name)).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub(crate) fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export/golden");
    folder.join(format!("{name}.jsonl"))
}

/// `lines` in another format.
pub(crate) fn encoded(format: Format, lines: &[String]) -> Vec<String> {
    let mut encoder = Encoder::new(format);
    let mut out = Vec::new();
    for line in lines {
        encoder.line(line.as_bytes(), &mut out).unwrap();
    }
    assert_eq!(encoder.finish().unwrap(), lines.len() as u64);
    let text = String::from_utf8(out).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Writes every file anew, if that was asked for.
fn bless(records: &[String]) {
    if env::var_os("BLESS").is_none() {
        return;
    }
    fs::write(path("records"), records.join("\n") + "\n").unwrap();
    for (format, name) in FORMATS {
        let events = encoded(format, records);
        fs::write(path(name), events.join("\n") + "\n").unwrap();
    }
}

#[tokio::test]
async fn the_golden_records_are_what_the_writer_writes() {
    let written = written(representative()).await;
    bless(&written);
    let golden = golden("records");
    assert_eq!(golden.len(), written.len());
    for (golden, written) in golden.iter().zip(&written) {
        assert_eq!(without_version(golden), without_version(written));
    }
    verify(&golden).unwrap();
}

/// A record without the version of the product, without the hashes and the signature that depend on it, and without the
/// time it took.
fn without_version(line: &str) -> Value {
    let mut record: Value = serde_json::from_str(line).unwrap();
    for member in ["hash", "prev_hash"] {
        assert_ne!(record[member].take(), Value::Null, "{member}");
    }
    for pointer in [
        "/details/version",
        "/details/hash",
        "/details/signature",
        "/uptime_us",
    ] {
        if let Some(member) = record.pointer_mut(pointer) {
            member.take();
        }
    }
    record
}

#[test]
fn every_kind_of_event_is_among_the_golden_records() {
    let kinds: BTreeSet<_> = golden("records")
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event_type"].to_string())
        .collect();
    let all = EventType::ALL.map(|it| format!("\"{}\"", it.as_str()));
    assert_eq!(kinds, all.into_iter().collect());
}

#[test]
fn every_golden_record_becomes_the_golden_event_of_each_format() {
    let records = golden("records");
    for (format, name) in FORMATS {
        let encoded = encoded(format, &records);
        let golden = golden(name);
        assert_eq!(golden.len(), encoded.len(), "{name}");
        for (golden, encoded) in golden.iter().zip(&encoded) {
            let golden: Value = serde_json::from_str(golden).unwrap();
            let encoded: Value = serde_json::from_str(encoded).unwrap();
            assert_eq!(golden, encoded, "{name}");
        }
    }
}

#[test]
fn our_own_format_is_the_record_byte_by_byte() {
    let records = golden("records");
    assert_eq!(encoded(Format::Json, &records), records);
}
