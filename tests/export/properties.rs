//! What holds for every record, whatever stands in it.

use attache::audit::{Actor, Details, EventType, Format, Http, Outcome, Protocol, Record, verify};
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Builder;

use crate::golden::{FORMATS, encoded};
use crate::records::{representative, written};

/// Where each format holds the record, and where its id for the event.
fn places(format: Format) -> (&'static str, &'static str) {
    match format {
        Format::Opa => ("/custom/attache", "/custom/attache/id"),
        Format::CloudEvents => ("/data", "/id"),
        Format::Ocsf => ("/unmapped/attache", "/metadata/uid"),
        Format::Json => ("", "/id"),
    }
}

/// Records of every kind with texts as they come from outside.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let kinds = EventType::ALL.into_iter();
    // A checkpoint or an end that the writer did not make is found to be forged.
    let own = [EventType::AuditCheckpoint, EventType::AuditStopped];
    let kinds = kinds.filter(|it| !own.contains(it));
    let kinds = prop::sample::select(kinds.collect::<Vec<_>>());
    let results = prop::sample::select(vec![
        Outcome::Allowed,
        Outcome::Supervised,
        Outcome::Denied,
        Outcome::Success,
        Outcome::Failure,
    ]);
    let text = "\\PC{0,20}|[\\x00-\\x7f]{0,20}|[A-Za-z0-9_-]{40}";
    let record = (kinds, results, [text; 8]).prop_map(|(event_type, result, texts)| {
        let [actor, message, request, trace, host, method, path, detail] = texts;
        Record {
            message: Some(message.into()),
            decision_id: Some(request.clone().into()),
            request_id: Some(request.into()),
            trace_id: Some(trace.into()),
            http: Some(Http {
                host: host.into(),
                method: method.into(),
                path: path.into(),
                protocol: Protocol::Grpc,
                route: None,
            }),
            details: Details::default()
                .with("endpoint", detail.clone())
                .with("revision", detail),
            ..Record::new(event_type, result, Actor::Person(actor.into()))
        }
    });
    prop::collection::vec(record, 1..8)
}

fn lines(records: Vec<Record>) -> Vec<String> {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(written(records))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_record_is_lost_and_what_was_exported_can_still_be_verified(records in records()) {
        let lines = lines(records);
        for (format, _) in FORMATS {
            let events = encoded(format, &lines);
            prop_assert_eq!(events.len(), lines.len());
            let recovered: Vec<_> = events
                .iter()
                .map(|event| {
                    let event: Value = serde_json::from_str(event).unwrap();
                    event.pointer(places(format).0).unwrap().to_string()
                })
                .collect();
            prop_assert_eq!(&recovered, &lines);
            prop_assert_eq!(verify(&recovered).unwrap().records, lines.len() as u64);
        }
    }

    #[test]
    fn every_event_keeps_the_id_of_its_record(records in records()) {
        let lines = lines(records);
        for (format, _) in FORMATS {
            for (event, line) in encoded(format, &lines).iter().zip(&lines) {
                let event: Value = serde_json::from_str(event).unwrap();
                let record: Value = serde_json::from_str(line).unwrap();
                prop_assert_eq!(event.pointer(places(format).1).unwrap(), &record["id"]);
            }
        }
    }

    #[test]
    fn nothing_that_looks_like_a_token_is_added(records in records()) {
        added_like_a_token(&lines(records));
    }
}

#[test]
fn nothing_that_looks_like_a_token_is_added_to_any_kind_of_record() {
    added_like_a_token(&lines(representative()));
}

/// A token, or a digest, or a key, is a long run of letters and digits. Every such run in an event stands in its record.
fn added_like_a_token(lines: &[String]) {
    for (format, name) in FORMATS {
        for (event, line) in encoded(format, lines).iter().zip(lines) {
            let event: Value = serde_json::from_str(event).unwrap();
            let record: Value = serde_json::from_str(line).unwrap();
            let mut known = Vec::new();
            texts(&record, &mut known);
            let mut shown = Vec::new();
            texts(&event, &mut shown);
            let runs = shown
                .iter()
                .flat_map(|text| {
                    text.split(|it: char| !it.is_ascii_alphanumeric() && !"_-".contains(it))
                })
                // Neither a padded number nor a name of the schema is one.
                .filter(|run| run.len() > 15 && !run.bytes().all(|it| it.is_ascii_digit()))
                .filter(|run| {
                    run.bytes()
                        .any(|it| it.is_ascii_digit() || it.is_ascii_uppercase())
                });
            for run in runs {
                let stands = known.iter().any(|text| text.contains(run));
                assert!(stands, "{name}: {run} in {event:#}");
            }
        }
    }
}

fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.values().for_each(|member| texts(member, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
