use prost::Message as _;
use prost_types::{FileDescriptorSet, Timestamp as Wire};

use super::super::proto::attache::v1::AuditFilter;
use super::*;
use crate::audit::{EventType, Tasks, Text};
use crate::clock::Timestamp;

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/attache.bin"));

#[test]
fn no_method_can_change_the_trail() {
    // Whoever adds a method here says that it only reads.
    let reading = [
        "QueryAuditEntries",
        "TraceDelegationChain",
        "StreamAuditEntries",
        "VerifyAuditChain",
    ];
    let descriptors = FileDescriptorSet::decode(DESCRIPTORS).unwrap();
    let services: Vec<_> = descriptors
        .file
        .iter()
        .flat_map(|file| &file.service)
        .filter(|service| service.name().contains("Audit"))
        .collect();
    assert_eq!(services.len(), 1);
    assert_eq!(NAME, format!("attache.v1.{}", services[0].name()));
    let methods = services[0].method.iter().map(|it| it.name().to_owned());
    assert_eq!(methods.collect::<Vec<_>>(), reading);
    assert!(services[0].method.iter().all(|it| !it.client_streaming()));
}

fn everything() -> AuditFilter {
    AuditFilter {
        actor: "a".into(),
        subject: "b".into(),
        chain_member: "c".into(),
        event_types: vec!["human.login".into(), "permission.denied".into()],
        task: "d".into(),
        task_exact: true,
        resource: "e".into(),
        action: "f".into(),
        result: "denied".into(),
        decision_id: "g".into(),
        start_time: Some(Wire {
            seconds: 1,
            nanos: 2,
        }),
        end_time: Some(Wire {
            seconds: 3,
            nanos: 0,
        }),
    }
}

#[test]
fn a_filter_crosses_the_wire_unchanged() {
    let filter = wire::filter(Some(&everything())).unwrap();
    assert_eq!(filter.task, Some(Tasks::Exactly("d".to_owned())));
    assert_eq!(
        filter.event_types,
        [EventType::HumanLogin, EventType::PermissionDenied]
    );
    let start = Timestamp::from_unix_seconds(1).plus(Duration::from_nanos(2));
    assert_eq!(filter.from, Some(start));
    assert_eq!(wire::asked(&filter), everything());
    assert_eq!(wire::filter(None).unwrap(), Filter::default());
    assert_eq!(
        wire::filter(Some(&AuditFilter::default())).unwrap(),
        Filter::default()
    );
}

#[test]
fn a_filter_that_can_not_be_meant_is_refused_by_its_field() {
    type Spoil = fn(&mut AuditFilter);
    let cases: [(Spoil, &str); 6] = [
        (
            |it| it.event_types.push("human.loggin".into()),
            "filter.event_types",
        ),
        (|it| it.result = "allow".into(), "filter.result"),
        (|it| it.task.clear(), "filter.task_exact"),
        (
            |it| {
                it.start_time = Some(Wire {
                    seconds: -1,
                    nanos: 0,
                });
            },
            "filter.start_time",
        ),
        (
            |it| {
                it.end_time = Some(Wire {
                    seconds: 0,
                    nanos: -1,
                });
            },
            "filter.end_time",
        ),
        (
            |it| {
                it.end_time = Some(Wire {
                    seconds: 0,
                    nanos: 1_000_000_000,
                });
            },
            "filter.end_time",
        ),
    ];
    for (spoil, field) in cases {
        let mut filter = everything();
        spoil(&mut filter);
        let error = wire::filter(Some(&filter)).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
    assert!(wire::order(3).is_err());
    assert!(wire::page_size(-1).is_err());
}

#[test]
fn a_page_has_a_hundred_records_unless_asked_and_a_thousand_at_most() {
    for (asked, size) in [
        (0, 100),
        (1, 1),
        (1000, 1000),
        (1001, 1000),
        (i32::MAX, 1000),
    ] {
        assert_eq!(wire::page_size(asked), Ok(size));
    }
}

#[test]
fn a_page_fits_into_a_message_and_is_never_empty() {
    let line = |bytes| "x".repeat(bytes);
    let (fit, cut) = within_a_message(vec![line(10), line(10)]);
    assert_eq!((fit.len(), cut), (2, false));
    let (fit, cut) = within_a_message(vec![line(MESSAGE / 4); 4]);
    assert_eq!((fit.len(), cut), (2, true));
    let (fit, cut) = within_a_message(vec![line(MESSAGE); 2]);
    assert_eq!((fit.len(), cut), (1, true));
}

#[test]
fn the_record_of_a_query_says_what_was_asked_for() {
    let details = wire::details(Details::default(), Some(&everything()));
    let events: Vec<Text> = vec!["human.login".into(), "permission.denied".into()];
    let expected = Details::default()
        .with("actor", "a")
        .with("subject", "b")
        .with("chain_member", "c")
        .with("task", "d")
        .with("task_exact", true)
        .with("event_types", events)
        .with("resource", "e")
        .with("action", "f")
        .with("result", "denied")
        .with("decision_id", "g")
        .with("start_time", "1970-01-01T00:00:01.000000002Z")
        .with("end_time", "1970-01-01T00:00:03.000000000Z");
    assert_eq!(details, expected);
}
