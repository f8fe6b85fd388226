use std::collections::BTreeSet;
use std::fs;
use std::thread;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use rusqlite::params_from_iter;
use serde_json::json;

use super::super::trail::{TRACE, page, total, walk_of};
use super::*;
use crate::audit::{
    Cursor, EventType, Filter, JsonlTrail, Order, Outcome, Stop, Tasks, TrailError,
};
use crate::clock::Timestamp;

const NAMES: &[&str] = &["alice", "bob", "planner", "reader", "o'brien \" % \u{0}"];
const TASKS: &[&str] = &["task", "sub", "other"];
const TYPES: &[EventType] = &[
    EventType::PermissionCheck,
    EventType::PermissionDenied,
    EventType::TaskRevoked,
];
const OUTCOMES: &[Outcome] = &[Outcome::Allowed, Outcome::Denied, Outcome::Success];

fn one_of(names: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(names).prop_map(str::to_owned)
}

prop_compose! {
    /// A record's line, but for its number.
    fn record()(
        seconds in 0_u64..6,
        writer in 0_usize..3,
        actor in option::of(one_of(NAMES)),
        workload in option::of(one_of(NAMES)),
        chain in vec(one_of(NAMES), 0..4),
        subject in option::of(one_of(NAMES)),
        path in vec(one_of(TASKS), 0..3),
        event_type in prop::sample::select(TYPES),
        result in prop::sample::select(OUTCOMES),
        resource in option::of(one_of(NAMES)),
        action in option::of(one_of(NAMES)),
        decision_id in option::of(one_of(NAMES)),
    ) -> (usize, serde_json::Value) {
        let mut record = json!({
            "actor": {"type": "agent"},
            "delegation_chain": chain,
            "event_type": event_type,
            "result": result,
            "time": Timestamp::from_unix_seconds(seconds),
            "writer": format!("host/{writer}"),
        });
        if let Some(id) = actor {
            record["actor"]["id"] = json!(id);
        }
        if let Some(id) = workload {
            record["actor"]["spiffe_id"] = json!(id);
        }
        if let Some(id) = subject {
            record["subject"] = json!({"id": id});
        }
        if let Some(id) = path.last() {
            record["task"] = json!({"id": id, "path": path});
        }
        for (name, value) in [("resource", resource), ("action", action), ("decision_id", decision_id)] {
            if let Some(value) = value {
                record[name] = json!(value);
            }
        }
        (writer, record)
    }
}

prop_compose! {
    fn filter()(
        actor in option::weighted(0.2, one_of(NAMES)),
        subject in option::weighted(0.2, one_of(NAMES)),
        chain in option::weighted(0.2, one_of(NAMES)),
        event_types in vec(prop::sample::select(TYPES), 0..3),
        task in option::weighted(0.2, (one_of(TASKS), any::<bool>())),
        resource in option::weighted(0.1, one_of(NAMES)),
        action in option::weighted(0.1, one_of(NAMES)),
        result in option::weighted(0.2, prop::sample::select(OUTCOMES)),
        decision_id in option::weighted(0.1, one_of(NAMES)),
        from in option::weighted(0.3, 0_u64..6),
        until in option::weighted(0.3, 0_u64..7),
    ) -> Filter {
        Filter {
            actor,
            subject,
            chain,
            event_types,
            task: task.map(|(task, below)| if below { Tasks::Under(task) } else { Tasks::Exactly(task) }),
            resource,
            action,
            result,
            decision_id,
            from: from.map(Timestamp::from_unix_seconds),
            until: until.map(Timestamp::from_unix_seconds),
        }
    }
}

fn lines(records: Vec<(usize, serde_json::Value)>) -> Vec<String> {
    let mut seqs = [0_u64; 3];
    let number = |(writer, mut record): (usize, serde_json::Value)| {
        seqs[writer] += 1;
        record["seq"] = json!(seqs[writer]);
        record.to_string()
    };
    records.into_iter().map(number).collect()
}

fn both(folder: &Path, lines: &[String]) -> (SqliteTrail, JsonlTrail) {
    let database = folder.join("audit.db");
    let mut sink = Sqlite::open(&database).unwrap();
    for lines in lines.chunks(7) {
        sink.write(&batch(lines)).unwrap();
    }
    let file = folder.join("audit.jsonl");
    fs::write(&file, batch(lines).as_bytes()).unwrap();
    drop(sink);
    (
        SqliteTrail::open(&database).unwrap(),
        JsonlTrail::new(vec![file]),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_database_finds_what_the_scan_finds(
        records in vec(record(), 1..40),
        filters in vec(filter(), 12),
        limit in 1_usize..10,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let lines = lines(records);
        let (database, scan) = both(folder.path(), &lines);
        for filter in filters {
            for order in [Order::Ascending, Order::Descending] {
                let mut found = BTreeSet::new();
                let mut after = None;
                loop {
                    let page = database.query(&filter, order, after.as_ref(), limit).unwrap();
                    let expected = scan.query(&filter, order, after.as_ref(), limit).unwrap();
                    prop_assert_eq!(&page, &expected);
                    found.extend(page.records);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                let asked = |line: &&String| filter.matches(&serde_json::from_str(line).unwrap());
                prop_assert_eq!(found, lines.iter().filter(asked).cloned().collect());
            }
        }
        for name in NAMES {
            prop_assert_eq!(database.trace(name, limit).unwrap(), scan.trace(name, limit).unwrap());
        }
        for span in [
            Span::default(),
            Span { writer: Some("host/1".to_owned()), ..Span::default() },
            Span { from_seq: Some(2), to_seq: Some(4), ..Span::default() },
            Span { writer: Some("host/0".to_owned()), from_seq: Some(u64::MAX), to_seq: None },
        ] {
            prop_assert_eq!(walked(&database, &span), walked(&scan, &span));
        }
    }
}

fn plain(seq: u64, seconds: u64) -> String {
    json!({
        "actor": {"id": "reader", "type": "agent"},
        "delegation_chain": ["alice", "reader"],
        "event_type": "permission.check",
        "result": "allowed",
        "seq": seq,
        "subject": {"id": "alice"},
        "task": {"id": "sub", "path": ["task", "sub"]},
        "time": Timestamp::from_unix_seconds(seconds),
        "writer": "host/1",
    })
    .to_string()
}

/// How SQLite goes about `statement`.
fn plan(path: &Path, (statement, values): (String, Vec<rusqlite::types::Value>)) -> String {
    let connection = Connection::open(path).unwrap();
    let mut explained = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
        .unwrap();
    let steps = explained.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
    let steps: Result<Vec<_>, _> = steps.unwrap().collect();
    steps.unwrap().join("\n")
}

#[test]
fn what_is_asked_for_most_is_found_by_an_index() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).unwrap());
    let name = || Some("x".to_owned());
    let bare = Filter::default;
    for (filter, index) in [
        (
            Filter {
                actor: name(),
                ..bare()
            },
            "SEARCH party USING PRIMARY KEY (name=? AND acts=?)",
        ),
        (
            Filter {
                chain: name(),
                ..bare()
            },
            "SEARCH party USING PRIMARY KEY (name=?)",
        ),
        (
            Filter {
                subject: name(),
                ..bare()
            },
            "INDEX record_by_subject (subject=?",
        ),
        (
            Filter {
                event_types: vec![EventType::HumanLogin, EventType::HumanLogout],
                ..bare()
            },
            "INDEX record_by_event_type (event_type=?",
        ),
        (
            Filter {
                task: Some(Tasks::Under("x".to_owned())),
                ..bare()
            },
            "SEARCH task_member USING PRIMARY KEY (task=?)",
        ),
        (
            Filter {
                task: Some(Tasks::Exactly("x".to_owned())),
                ..bare()
            },
            "SEARCH task_member USING PRIMARY KEY (task=?)",
        ),
        (
            Filter {
                decision_id: name(),
                ..bare()
            },
            "INDEX record_by_decision_id (decision_id=?)",
        ),
        (
            Filter {
                from: Some(Timestamp::from_unix_seconds(1)),
                ..bare()
            },
            "INDEX record_by_time (time>?",
        ),
    ] {
        let after = Cursor {
            time: "x".to_owned(),
            writer: "x".to_owned(),
            seq: 1,
        };
        for statement in [
            total(&filter),
            page(&filter, Order::Ascending, None, 10),
            page(&filter, Order::Descending, Some(&after), 10),
        ] {
            let plan = plan(&path, statement);
            // Both bounds of the time may be searched by.
            assert!(
                plan.contains(index)
                    || (filter.from.is_some() && plan.contains("INDEX record_by_time (time")),
                "{plan}"
            );
            assert!(!plan.contains("SCAN"), "{plan}");
        }
    }
    let all = plan(&path, page(&bare(), Order::Descending, None, 10));
    assert!(
        all.contains("INDEX record_by_time") && !all.contains("TEMP B-TREE"),
        "{all}"
    );
    let values = vec!["x".to_owned().into(), 10.into()];
    let trace = plan(&path, (TRACE.to_owned(), values));
    assert!(!trace.contains("SCAN record"), "{trace}");
}

#[test]
fn pages_neither_repeat_nor_skip_while_records_are_written() {
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    // Some at the same moment, and a clock that was set back at the end.
    let old: Vec<_> = (1..=200).map(|seq| plain(seq, 1000 + seq / 3)).collect();
    sink.write(&batch(&old)).unwrap();
    let writer = thread::spawn(move || {
        for seq in 201..=400 {
            let seconds = if seq % 2 == 0 { 900 } else { 2000 };
            sink.write(&batch([plain(seq, seconds)])).unwrap();
        }
        sink
    });
    let trail = SqliteTrail::open(&path).unwrap();
    for order in [Order::Ascending, Order::Descending] {
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = trail
                .query(&Filter::default(), order, after.as_ref(), 7)
                .unwrap();
            assert!(page.total >= 200);
            seen.extend(page.records);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let distinct: BTreeSet<_> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "nothing twice");
        assert!(
            old.iter().all(|line| distinct.contains(line)),
            "nothing left out"
        );
    }
    drop(writer.join().unwrap());
    assert_eq!(lines_of(&path).len(), 400);
}

#[test]
fn a_walk_goes_beyond_its_steps_and_ends_when_it_is_told_to() {
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    let lines: Vec<_> = (1..=1200).map(|seq| plain(seq, seq)).collect();
    sink.write(&batch(&lines)).unwrap();
    assert_eq!(lines_of(&path), lines);
    let mut shown = 0;
    let some = &mut |_: &[u8]| {
        shown += 1;
        if shown < 600 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    };
    let trail = SqliteTrail::open(&path).unwrap();
    trail.walk(&Span::default(), some).unwrap();
    assert_eq!(shown, 600);
}

#[test]
fn reading_a_trail_at_rest_leaves_no_trace_beside_it() {
    let (folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([plain(1, 1)])).unwrap();
    drop(sink);
    let names = || -> BTreeSet<_> {
        let entries = fs::read_dir(folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name()).collect()
    };
    let before = names();
    assert_eq!(before.len(), 2, "the database and its lock: {before:?}");
    assert_eq!(lines_of(&path).len(), 1);
    assert_eq!(names(), before);
}

#[test]
fn a_reader_cannot_write() {
    // A24
    let (_folder, path) = folder();
    let sink = Sqlite::open(&path).unwrap();
    let trail = SqliteTrail::open(&path).unwrap();
    let error = trail
        .read(|connection| connection.execute("INSERT INTO party VALUES ('x', 1, 1)", ()))
        .unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("readonly"), "{cause}");
    drop(sink);
}

#[test]
fn a_database_that_is_gone_is_an_error_and_never_an_empty_trail() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).unwrap());
    let trail = SqliteTrail::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    trail
        .query(&Filter::default(), Order::Ascending, None, 1)
        .unwrap_err();
    unread(&path);
    assert!(!path.exists(), "asking makes none");
}

#[test]
fn a_copy_that_sqlite_made_beside_the_writer_is_the_same_trail() {
    let (folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    let lines: Vec<_> = (1..=50).map(|seq| plain(seq, seq)).collect();
    sink.write(&batch(&lines)).unwrap();
    let copy = folder.path().join("copy.db");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = Connection::open_with_flags(&path, flags).unwrap();
    reader
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    assert_eq!(lines_of(&copy), lines);
    let mut copy = Sqlite::open(&copy).unwrap();
    copy.write(&batch([plain(51, 51)])).unwrap();
}

#[test]
fn a_record_that_somebody_hid_from_questions_is_found_by_a_walk() {
    let line = plain(2, 2);
    for hide in [
        "UPDATE record SET event_type = 'audit.gap' WHERE seq = 2",
        "UPDATE record SET time = '2030-01-01T00:00:00.000000000Z' WHERE seq = 2",
        "UPDATE record SET subject = NULL WHERE seq = 2",
        "UPDATE record SET decision_id = 'd-1' WHERE seq = 2",
        "UPDATE record SET seq = 9 WHERE seq = 2",
        "DELETE FROM party WHERE record = 2 AND name = 'alice'",
        "UPDATE party SET acts = 0 WHERE record = 2 AND name = 'reader'",
        "DELETE FROM task_member WHERE record = 2 AND task = 'task'",
    ] {
        let (_folder, path) = folder();
        let mut sink = Sqlite::open(&path).unwrap();
        sink.write(&batch([plain(1, 1), line.clone(), plain(3, 3)]))
            .unwrap();
        drop(sink);
        let connection = Connection::open(&path).unwrap();
        let triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger'";
        let mut triggers = connection.prepare(triggers).unwrap();
        let names = triggers.query_map((), |row| row.get::<_, String>(0));
        let names: Result<Vec<_>, _> = names.unwrap().collect();
        for name in names.unwrap() {
            connection
                .execute_batch(&format!("DROP TRIGGER {name}"))
                .unwrap();
        }
        assert_eq!(connection.execute(hide, ()).unwrap(), 1, "{hide}");
        drop(triggers);
        drop(connection);
        let trail = SqliteTrail::open(&path).unwrap();
        let mut shown = Vec::new();
        let keep = &mut |line: &[u8]| {
            shown.push(line.to_vec());
            ControlFlow::Continue(())
        };
        let error = trail.walk(&Span::default(), keep).unwrap_err();
        assert_eq!(shown.len(), 2, "{hide}");
        assert_eq!(shown[1], line.as_bytes());
        let said = error.to_string();
        assert!(said.contains("record 2 of `host/1`"), "{hide}: {said}");
    }
}

#[test]
fn a_record_that_somebody_filed_under_another_name_is_found_by_a_walk() {
    for add in [
        "INSERT INTO party (name, acts, record) VALUES ('mallory', 1, 2)",
        "INSERT INTO party (name, acts, record) VALUES ('alice', 1, 2)",
        "INSERT INTO task_member (task, record) VALUES ('another', 2)",
        // The end was cut off, and not thoroughly.
        "DROP TRIGGER record_is_never_deleted; DELETE FROM record WHERE seq = 3",
    ] {
        let (_folder, path) = folder();
        let mut sink = Sqlite::open(&path).unwrap();
        sink.write(&batch([plain(1, 1), plain(2, 2), plain(3, 3)]))
            .unwrap();
        let stranger = Connection::open(&path).unwrap();
        stranger.execute_batch(add).unwrap();
        let trail = SqliteTrail::open(&path).unwrap();
        let all = &mut |_: &[u8]| ControlFlow::Continue(());
        let error = trail.walk(&Span::default(), all).unwrap_err();
        assert!(matches!(error, TrailError::Overfiled { .. }), "{error}");
    }
}

#[test]
fn a_read_that_nobody_waits_for_any_more_ends() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<_> = (1..2000).map(|seq| plain(seq, seq)).collect();
    let (database, file) = both(folder.path(), &records);
    for trail in [&database as &dyn Trail, &file] {
        let filter = Filter {
            resource: Some("nothing".to_owned()),
            ..Filter::default()
        };
        let stopped = trail.stopping(Stop::when(|| true));
        let all = &mut |_: &[u8]| ControlFlow::Continue(());
        for error in [
            stopped
                .query(&filter, Order::Ascending, None, 1)
                .unwrap_err(),
            stopped.trace("alice", 1).unwrap_err(),
            stopped.walk(&Span::default(), all).unwrap_err(),
        ] {
            assert!(error.was_stopped(), "{trail:?}: {error:?}");
        }
        let going_on = trail.stopping(Stop::when(|| false));
        going_on.query(&filter, Order::Ascending, None, 1).unwrap();
    }
}

#[test]
fn who_follows_a_writer_does_not_walk_over_everything() {
    let (_folder, path) = folder();
    drop(Sqlite::open(&path).unwrap());
    let span = Span {
        writer: Some("host/1".to_owned()),
        from_seq: Some(7),
        to_seq: None,
    };
    let places = (1_i64..=4).map(Into::into);
    let values = places.chain(["host/1".to_owned().into()]).collect();
    let plan = plan(&path, (walk_of(&span).to_owned(), values));
    assert!(plan.contains("(writer=? AND seq>? AND seq<?)"), "{plan}");
}

#[test]
fn a_view_in_the_place_of_the_records_is_no_trail() {
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([plain(1, 1), plain(2, 2)])).unwrap();
    drop(sink);
    let stranger = Connection::open(&path).unwrap();
    let hide =
        "ALTER TABLE record RENAME TO kept; CREATE VIEW record AS SELECT * FROM kept WHERE seq < 2";
    stranger.execute_batch(hide).unwrap();
    drop(stranger);
    assert!(unread(&path).contains("tables or triggers"));
}

#[test]
fn a_path_may_hold_what_means_something_in_a_uri() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b?mode=memory#c%20ü.db");
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([plain(1, 1)])).unwrap();
    assert_eq!(lines_of(&path).len(), 1);
    drop(sink);
    assert!(path.is_file());
    assert_eq!(lines_of(&path).len(), 1);
}
