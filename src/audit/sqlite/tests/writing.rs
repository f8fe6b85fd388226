use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rusqlite::Connection;
use serde_json::Value;

use super::*;
use crate::audit::{
    Actor, Auditor, EventType, Health, Origin, Outcome, Record, Setup, WriterHandle, start, verify,
};
use crate::clock::{MockClock, Timestamp};
use crate::permission::Reason;

/// A sink that a test keeps a hold on.
#[derive(Debug, Clone)]
struct Held(Arc<Mutex<Sqlite>>);

impl Held {
    fn open(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(Sqlite::open(path).unwrap())))
    }

    fn set(&self, pragma: &str, value: i64) {
        let sink = self.0.lock().unwrap();
        let answer = |_: &rusqlite::Row<'_>| Ok(());
        match sink
            .connection
            .pragma_update_and_check(None, pragma, value, answer)
        {
            Ok(()) | Err(rusqlite::Error::QueryReturnedNoRows) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn pages(&self) -> i64 {
        let sink = self.0.lock().unwrap();
        let pages = sink
            .connection
            .pragma_query_value(None, "page_count", |row| row.get(0));
        pages.unwrap()
    }
}

impl Sink for Held {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn found(&self) -> Found {
        self.0.lock().unwrap().found()
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.0.lock().unwrap().write(batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap().flush()
    }
}

struct Witness {
    auditor: Auditor,
    handle: WriterHandle,
    clock: Arc<MockClock>,
}

fn witness(writer: &str, sink: impl Sink + 'static) -> Witness {
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1000)));
    let setup = Setup {
        first: Box::new(sink),
        others: vec![],
        capacity: 10_000,
        origin: Origin {
            tenant: "default".into(),
            writer: writer.into(),
        },
    };
    let shared = Arc::clone(&clock);
    let rng = StdRng::seed_from_u64(3);
    let (auditor, handle) = start(setup, shared, rng, &mut Registry::default()).unwrap();
    Witness {
        auditor,
        handle,
        clock,
    }
}

fn allowed(request: usize) -> Record {
    let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
    Record {
        request_id: Some(request.to_string().into()),
        ..Record::new(EventType::PermissionCheck, Outcome::Allowed, actor)
    }
}

fn denied(request: usize) -> Record {
    Record {
        event_type: EventType::PermissionDenied,
        result: Outcome::Denied,
        reason_code: Some(Reason::OutOfScope),
        ..allowed(request)
    }
}

fn event_types(lines: &[String]) -> Vec<String> {
    let event_type = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["event_type"].as_str().unwrap().to_owned()
    };
    lines.iter().map(event_type).collect()
}

/// One run that ends properly, with `records` of its own.
async fn run(writer: &str, path: &Path, records: usize) {
    let witness = witness(writer, Sqlite::open(path).unwrap());
    for request in 0..records {
        witness.auditor.record(allowed(request));
    }
    witness.handle.close().await.unwrap();
}

/// What is left of `from` after a crash that did `damage` to the log.
fn crashed(from: &Path, to: &Path, damage: impl FnOnce(&File)) {
    // Closing them takes this process's locks on them away, which no other process asks for here. A copy by another
    // process would hold the lock files of other tests between its fork and its exec.
    for ending in ["", "-wal"] {
        fs::copy(beside(from, ending), beside(to, ending)).unwrap();
    }
    let log = File::options().write(true).open(beside(to, "-wal"));
    damage(&log.unwrap());
}

/// What the next start finds in the copy at `path`: a part of `whole` from its beginning on. Its length.
fn survivors(path: &Path, whole: &[String]) -> usize {
    let sink = Sqlite::open(path).unwrap();
    let last = sink.found().last;
    drop(sink);
    let lines = lines_of(path);
    assert_eq!(lines, whole[..lines.len()]);
    let seq = u64::try_from(lines.len()).unwrap();
    assert_eq!(last.map_or(0, |last| last.seq), seq);
    verify(&lines).unwrap();
    lines.len()
}

#[tokio::test]
async fn a_chain_is_found_whole_and_the_next_run_names_it() {
    let (_folder, path) = folder();
    run("host/1", &path, 3).await;
    run("host/2", &path, 1).await;
    let lines = lines_of(&path);
    let expected = [
        "audit.started",
        "permission.check",
        "permission.check",
        "permission.check",
        "audit.stopped",
        "audit.started",
        "permission.check",
        "audit.stopped",
    ];
    assert_eq!(event_types(&lines), expected, "no gap between the runs");
    assert_eq!(verify(&lines).unwrap().records, 8);
    let second: Value = serde_json::from_str(&lines[5]).unwrap();
    let details = &second["details"];
    assert_eq!(details["previous_writer"], "host/1");
    assert_eq!(details["previous_seq"], 5);
}

#[test]
fn the_database_is_durable_with_every_commit_and_private() {
    // A06, A07
    let (folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    let pragma = |name: &str| -> Result<String, rusqlite::Error> {
        sink.connection.query_row(
            &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
            (),
            |row| row.get(0),
        )
    };
    assert_eq!(pragma("journal_mode").unwrap(), "wal");
    assert_eq!(pragma("synchronous").unwrap(), "2");
    sink.write(&batch(Vec::<&str>::new())).unwrap();
    let mut files: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        names,
        ["audit.db", "audit.db-shm", "audit.db-wal", "audit.db.lock"]
    );
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & !0o640, 0, "{file:?} {mode:o}");
    }
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    // A16
    let (_folder, path) = folder();
    let first = Sqlite::open(&path).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(lines_of(&path).len(), 0, "readers need no lock");
    drop(first);
    Sqlite::open(&path).unwrap();
}

#[test]
fn what_is_no_trail_is_refused_and_left_as_it_is() {
    let (folder, path) = folder();
    fs::write(&path, "one line of a log\n".repeat(100)).unwrap();
    let foreign = folder.path().join("foreign.db");
    let connection = Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE record (line TEXT)")
        .unwrap();
    drop(connection);
    let newer = folder.path().join("newer.db");
    drop(Sqlite::open(&newer).unwrap());
    let connection = Connection::open(&newer).unwrap();
    connection.pragma_update(None, "user_version", 2).unwrap();
    drop(connection);
    for (path, word) in [
        (&path, "not a database"),
        (&foreign, "another program's"),
        (&newer, "format 2"),
    ] {
        let before = fs::read(path).unwrap();
        let error = Sqlite::open(path).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
        let error = unread(path);
        assert!(error.contains(word), "{error}");
        assert!(fs::read(path).unwrap() == before, "{word}");
    }
    Sqlite::open(folder.path()).unwrap_err();
    Sqlite::open(&folder.path().join("missing/audit.db")).unwrap_err();
    unread(&folder.path().join("missing.db"));
    unread(folder.path());
}

#[test]
fn a_file_that_a_crash_left_empty_becomes_a_trail() {
    let (_folder, path) = folder();
    fs::write(&path, "").unwrap();
    assert!(unread(&path).contains("empty"));
    drop(Sqlite::open(&path).unwrap());
    assert_eq!(lines_of(&path).len(), 0);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_leaves_no_gap() {
    // A08
    let (_folder, path) = folder();
    let sink = Held::open(&path);
    let witness = witness("host/1", sink.clone());
    witness.auditor.flush().await.unwrap();
    sink.set("max_page_count", sink.pages());
    for request in 0..500 {
        witness.auditor.record(allowed(request));
    }
    let failing = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            if let Health::Failing { error, .. } = witness.auditor.health() {
                return error;
            }
            tokio::task::yield_now().await;
        }
    });
    let error = failing.await.unwrap();
    assert!(error.contains("full"), "{error}");
    let before = lines_of(&path);
    sink.set("max_page_count", 1_000_000);
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    witness.handle.close().await.unwrap();
    let lines = lines_of(&path);
    assert!(before.len() < lines.len());
    assert_eq!(lines[..before.len()], before);
    assert_eq!(verify(&lines).unwrap().records, 502);
    assert!(!event_types(&lines).contains(&"audit.gap".to_owned()));
}

#[tokio::test]
async fn a_database_that_became_read_only_is_waited_for() {
    // A09
    let (_folder, path) = folder();
    let sink = Held::open(&path);
    let witness = witness("host/1", sink.clone());
    witness.auditor.flush().await.unwrap();
    sink.set("query_only", 1);
    witness.auditor.record(denied(1));
    while witness.auditor.health() == Health::Ok {
        tokio::task::yield_now().await;
    }
    sink.set("query_only", 0);
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    assert_eq!(
        event_types(&lines_of(&path)),
        ["audit.started", "permission.denied"]
    );
}

#[test]
fn a_database_that_was_moved_away_takes_nothing_until_it_is_back() {
    let (folder, path) = folder();
    let line = r#"{"actor":{},"delegation_chain":[],"event_type":"e","result":"r","seq":1,"time":"t","writer":"w"}"#;
    let mut sink = Sqlite::open(&path).unwrap();
    let elsewhere = folder.path().join("elsewhere.db");
    fs::rename(&path, &elsewhere).unwrap();
    sink.write(&batch([line])).unwrap_err();
    fs::write(&path, "").unwrap();
    let error = sink.write(&batch([line])).unwrap_err();
    assert!(error.to_string().contains("moved or replaced"), "{error}");
    fs::rename(&elsewhere, &path).unwrap();
    sink.write(&batch([line])).unwrap();
    drop(sink);
    assert_eq!(lines_of(&path), [line]);
}

fn numbered(seq: u64) -> String {
    format!(
        r#"{{"actor":{{}},"delegation_chain":[],"event_type":"e","result":"r","seq":{seq},"time":"t","writer":"w"}}"#
    )
}

#[test]
fn what_somebody_put_into_the_database_to_swallow_records_is_refused() {
    for swallow in [
        "CREATE TRIGGER hide BEFORE INSERT ON record WHEN NEW.seq = 2 BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER hide AFTER INSERT ON party BEGIN SELECT RAISE(IGNORE); END",
        "DROP TRIGGER record_is_never_deleted",
    ] {
        let (_folder, path) = folder();
        let mut sink = Sqlite::open(&path).unwrap();
        sink.write(&batch([numbered(1)])).unwrap();
        let stranger = Connection::open(&path).unwrap();
        stranger.execute_batch(swallow).unwrap();
        let error = sink.write(&batch([numbered(2)])).unwrap_err();
        assert!(error.to_string().contains("tables or triggers"), "{error}");
        drop(sink);
        let error = Sqlite::open(&path).unwrap_err();
        assert!(error.to_string().contains("tables or triggers"), "{error}");
        assert_eq!(lines_of(&path), [numbered(1)], "{swallow}");
    }
}

#[test]
fn what_a_database_does_to_itself_is_no_change() {
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([numbered(1)])).unwrap();
    let operator = Connection::open(&path).unwrap();
    operator.execute_batch("VACUUM; ANALYZE").unwrap();
    sink.write(&batch([numbered(2)])).unwrap();
    drop((sink, operator));
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([numbered(3)])).unwrap();
    assert_eq!(lines_of(&path).len(), 3);
}

#[test]
fn a_log_that_was_removed_takes_nothing_more() {
    // What is committed stands in the log alone until it is emptied into the database.
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([numbered(1)])).unwrap();
    fs::remove_file(beside(&path, "-wal")).unwrap();
    let error = sink.write(&batch([numbered(2)])).unwrap_err();
    assert!(error.to_string().contains("moved or replaced"), "{error}");
    // A stop puts what was committed where it belongs.
    drop(sink);
    assert_eq!(lines_of(&path), [numbered(1)]);
}

#[test]
fn a_batch_that_failed_leaves_nothing_and_comes_again_once() {
    let line = |seq: u64, writer: &str| {
        format!(
            r#"{{"actor":{{}},"delegation_chain":[],"event_type":"e","result":"r","seq":{seq},"time":"t","writer":"{writer}"}}"#
        )
    };
    let (_folder, path) = folder();
    let mut sink = Sqlite::open(&path).unwrap();
    sink.write(&batch([line(1, "w")])).unwrap();
    // The second line of the batch can't be stored: none of it is.
    let stuck = batch([line(2, "w"), "no record".to_owned()]);
    assert_eq!(
        sink.write(&stuck).unwrap_err().kind(),
        io::ErrorKind::InvalidData
    );
    assert_eq!(lines_of(&path), [line(1, "w")]);
    // After a failure, what reached the disk all the same is not written twice.
    sink.write(&batch([line(1, "w"), line(2, "w")])).unwrap();
    assert_eq!(lines_of(&path), [line(1, "w"), line(2, "w")]);
    // But another record never takes the place of one, after a failure or not.
    let forged = line(2, "w").replace("\"e\"", "\"f\"");
    sink.write(&batch([&forged])).unwrap_err();
    sink.write(&batch([&forged])).unwrap_err();
    assert_eq!(lines_of(&path), [line(1, "w"), line(2, "w")]);
}

#[tokio::test]
async fn sixty_four_callers_make_one_gap_free_sequence() {
    // A12
    let (_folder, path) = folder();
    let witness = witness("host/1", Sqlite::open(&path).unwrap());
    thread::scope(|scope| {
        for caller in 0..64 {
            let auditor = witness.auditor.clone();
            scope.spawn(move || {
                for request in 0..50 {
                    auditor.record(allowed(caller * 50 + request));
                }
            });
        }
    });
    witness.handle.close().await.unwrap();
    let lines = lines_of(&path);
    let summary = verify(&lines).unwrap();
    assert_eq!(summary.records, 64 * 50 + 2);
    assert!(summary.heads["host/1"].stopped);
    let mut requests: Vec<_> = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["request_id"].clone())
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    requests.sort();
    requests.dedup();
    assert_eq!(requests.len(), 64 * 50);
}

#[tokio::test]
async fn records_are_neither_changed_nor_deleted_by_hand() {
    // A24
    let (_folder, path) = folder();
    run("host/1", &path, 2).await;
    let before = lines_of(&path);
    let connection = Connection::open(&path).unwrap();
    for (statement, word) in [
        (
            "UPDATE record SET line = '{}' WHERE seq = 2",
            "never changed",
        ),
        (
            "UPDATE record SET event_type = 'audit.gap'",
            "never changed",
        ),
        ("DELETE FROM record", "never deleted"),
        ("DELETE FROM record WHERE seq = 2", "never deleted"),
        (
            "INSERT OR REPLACE INTO record SELECT id, '{}', time, writer, seq, event_type, result, \
             subject, task, resource, action, decision_id FROM record WHERE seq = 2",
            "never replaced",
        ),
        (
            "INSERT OR REPLACE INTO record SELECT 99, '{}', time, writer, seq, event_type, result, \
             subject, task, resource, action, decision_id FROM record WHERE seq = 2",
            "never replaced",
        ),
        ("UPDATE party SET name = 'nobody'", "never changed"),
        ("DELETE FROM party", "never deleted"),
        (
            "BEGIN; INSERT INTO task_member VALUES ('t', 1); UPDATE task_member SET task = 'u'",
            "never changed",
        ),
        ("DELETE FROM task_member", "never deleted"),
    ] {
        let error = connection.execute_batch(statement).unwrap_err().to_string();
        assert!(error.contains(word), "{statement}: {error}");
    }
    drop(connection);
    assert_eq!(lines_of(&path), before);
}

#[tokio::test]
async fn whoever_takes_the_triggers_out_breaks_the_chain() {
    // A14, A15
    let (_folder, path) = folder();
    run("host/1", &path, 2).await;
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP TRIGGER record_is_never_deleted; DELETE FROM record WHERE seq = 2")
        .unwrap();
    drop(connection);
    let mut lines = Vec::new();
    let trail = SqliteTrail::open(&path).unwrap();
    let keep = &mut |line: &[u8]| {
        lines.push(line.to_vec());
        ControlFlow::Continue(())
    };
    // What the record was found by is still there.
    trail.walk(&Span::default(), keep).unwrap_err();
    let broken = verify(lines).unwrap_err();
    assert_eq!(broken.line, 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_the_order_of_the_chain() {
    // A19
    let (_folder, path) = folder();
    let witness = witness("host/1", Sqlite::open(&path).unwrap());
    witness.auditor.record(allowed(1));
    witness.auditor.flush().await.unwrap();
    witness.clock.set(Timestamp::from_unix_seconds(10));
    witness.auditor.record(allowed(2));
    witness.handle.close().await.unwrap();
    let lines = lines_of(&path);
    verify(&lines).unwrap();
    let time = |line: &String| serde_json::from_str::<Value>(line).unwrap()["time"].clone();
    assert_eq!(time(&lines[1]), "1970-01-01T00:16:40.000000000Z");
    assert_eq!(time(&lines[2]), "1970-01-01T00:00:10.000000000Z");
}

#[tokio::test]
async fn a_crash_leaves_whole_batches_from_the_first_on_wherever_the_log_ends() {
    // A03, A05
    let (folder, path) = folder();
    let witness = witness("host/1", Sqlite::open(&path).unwrap());
    for request in 0..12 {
        witness.auditor.record(allowed(request));
        witness.auditor.flush().await.unwrap();
    }
    let whole = lines_of(&path);
    assert_eq!(whole.len(), 13);
    let end = fs::metadata(beside(&path, "-wal")).unwrap().len();
    let mut survived = Vec::new();
    for cut in (0..=end).rev().step_by(1777) {
        let copy = folder.path().join(format!("{cut}.db"));
        crashed(&path, &copy, |log| log.set_len(cut).unwrap());
        survived.push(survivors(&copy, &whole));
    }
    assert_eq!(survived[0], 13);
    assert!(survived.is_sorted_by(|more, less| more >= less));
    survived.dedup();
    assert_eq!(survived.len(), 14, "each commit is a place to come back to");
    witness.handle.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_is_rubbish_somewhere_loses_no_batch_before_it() {
    // A03, A05
    let (folder, path) = folder();
    let sink = Held::open(&path);
    let witness = witness("host/1", sink.clone());
    for request in 0..12 {
        witness.auditor.record(allowed(request));
        witness.auditor.flush().await.unwrap();
        if request == 5 {
            // What is in the database by now does not depend on the log, which begins anew over its old self.
            let sink = sink.0.lock().unwrap();
            let left = sink
                .connection
                .query_row("PRAGMA wal_checkpoint(FULL)", (), |row| {
                    row.get::<_, i64>(0)
                });
            assert_eq!(left.unwrap(), 0);
        }
    }
    let whole = lines_of(&path);
    let end = fs::metadata(beside(&path, "-wal")).unwrap().len();
    let mut survived = Vec::new();
    for at in (0..end).step_by(2777) {
        let copy = folder.path().join(format!("{at}.db"));
        crashed(&path, &copy, |log| {
            log.write_all_at(&[0xA5; 64], at).unwrap();
        });
        survived.push(survivors(&copy, &whole));
    }
    assert_eq!(
        survived[0], 7,
        "what was in the database before the log began anew"
    );
    assert!(survived.is_sorted());
    assert_eq!(
        survived.last(),
        Some(&13),
        "the end of the log is from before"
    );
    witness.handle.close().await.unwrap();
}

#[tokio::test]
async fn a_run_that_did_not_stop_is_told_by_the_next() {
    let (folder, path) = folder();
    let first = witness("host/1", Sqlite::open(&path).unwrap());
    first.auditor.record(allowed(1));
    first.auditor.flush().await.unwrap();
    let copy = folder.path().join("copy.db");
    crashed(&path, &copy, |_| ());
    run("host/2", &copy, 0).await;
    let lines = lines_of(&copy);
    assert_eq!(
        event_types(&lines)[2..],
        ["audit.started", "audit.gap", "audit.stopped"]
    );
    verify(&lines).unwrap();
    first.handle.close().await.unwrap();
}

#[tokio::test]
async fn a_database_that_was_put_back_from_an_older_copy_is_told_by_its_note() {
    let (folder, path) = folder();
    run("host/1", &path, 1).await;
    let old = folder.path().join("old.db");
    fs::copy(&path, &old).unwrap();
    run("host/2", &path, 1).await;
    fs::copy(&old, &path).unwrap();
    run("host/3", &path, 1).await;
    let lines = lines_of(&path);
    let third: Value = serde_json::from_str(&lines[3]).unwrap();
    assert_eq!(third["details"]["previous_writer"], "host/1");
    assert_eq!(third["details"]["noted_writer"], "host/2");
    verify(&lines).unwrap_err();
}
