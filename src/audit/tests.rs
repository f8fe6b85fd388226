//! The witness as a whole: queue, writer, chain and sinks together.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use super::*;
use crate::clock::{MockClock, Timestamp};
use crate::permission::Reason;

/// A running witness and what a test can look at.
struct Witness {
    auditor: Auditor,
    handle: WriterHandle,
    clock: Arc<MockClock>,
    registry: Registry,
}

impl Witness {
    fn start(capacity: usize, first: Box<dyn Sink>, others: Vec<Box<dyn Sink>>) -> Self {
        Self::start_with("host/1", capacity, first, others)
    }

    /// A later run, under another name as every run has.
    fn start_as(writer: &str, first: Box<dyn Sink>) -> Self {
        Self::start_with(writer, 16, first, vec![])
    }

    fn start_with(
        writer: &str,
        capacity: usize,
        first: Box<dyn Sink>,
        others: Vec<Box<dyn Sink>>,
    ) -> Self {
        let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1000)));
        let mut registry = Registry::default();
        let setup = Setup {
            first,
            others,
            capacity,
            origin: origin(writer),
        };
        let rng = StdRng::seed_from_u64(3);
        let shared = Arc::clone(&clock);
        let (auditor, handle) = start(setup, shared, rng, &mut registry).unwrap();
        Self {
            auditor,
            handle,
            clock,
            registry,
        }
    }

    fn metric(&self, name: &str) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{name} ")));
        found
            .unwrap_or_else(|| panic!("{name} in {text}"))
            .to_owned()
    }
}

fn origin(writer: &str) -> Origin {
    Origin {
        tenant: "default".into(),
        writer: writer.into(),
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

fn lines_of(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Says when a write begins and holds it until it is let go.
#[derive(Debug)]
struct Gate {
    memory: Memory,
    begun: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl Gate {
    fn new() -> (Self, Memory, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begun, begins) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        let memory = Memory::default();
        let gate = Self {
            memory: memory.clone(),
            begun,
            go,
        };
        (gate, memory, begins, let_go)
    }
}

impl Sink for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.begun.send(()).unwrap_or_default();
        // Open for good once the test lets go of its end.
        self.go.recv().unwrap_or_default();
        self.memory.write(batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails while it is told to, and says at each attempt.
#[derive(Debug)]
struct Faulty {
    memory: Memory,
    broken: Arc<AtomicBool>,
    attempted: mpsc::Sender<()>,
}

impl Faulty {
    fn new() -> (Self, Memory, Arc<AtomicBool>, mpsc::Receiver<()>) {
        let (attempted, attempts) = mpsc::channel();
        let memory = Memory::default();
        let broken = Arc::new(AtomicBool::new(true));
        let faulty = Self {
            memory: memory.clone(),
            broken: Arc::clone(&broken),
            attempted,
        };
        (faulty, memory, broken, attempts)
    }

    fn fail(&self) -> io::Result<()> {
        // Read first: what a test does once it knows of the attempt concerns the next one.
        let broken = self.broken.load(Ordering::SeqCst);
        self.attempted.send(()).unwrap_or_default();
        if broken {
            return Err(io::Error::new(
                io::ErrorKind::ReadOnlyFilesystem,
                "read-only",
            ));
        }
        Ok(())
    }
}

impl Sink for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.fail()?;
        self.memory.write(batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.fail()
    }
}

#[tokio::test]
async fn a_chain_begins_with_a_start_and_ends_with_a_stop() {
    let memory = Memory::default();
    let witness = Witness::start(16, Box::new(memory.clone()), vec![]);
    witness.auditor.record(allowed(1));
    witness.auditor.flush().await.unwrap();
    assert_eq!(
        event_types(&memory.lines()),
        ["audit.started", "permission.check"]
    );
    assert_eq!(witness.auditor.health(), Health::Ok);

    witness.auditor.record(denied(2));
    witness.handle.close().await.unwrap();
    let lines = memory.lines();
    assert_eq!(
        event_types(&lines)[2..],
        ["permission.denied", "audit.stopped"]
    );
    let summary = verify(&lines).unwrap();
    assert!(summary.heads["host/1"].stopped);
    assert_eq!(
        memory.records(EventType::AuditStopped)[0]["details"]["records"],
        4
    );

    assert!(matches!(
        witness.auditor.flush().await,
        Err(AuditError::Stopped)
    ));
    witness.auditor.record(allowed(3));
    assert_eq!(memory.lines().len(), 4);
}

#[tokio::test]
async fn the_writer_ends_properly_when_everybody_is_gone() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(16, Box::new(gate), vec![]);
    begins.recv().unwrap();
    witness.auditor.record(allowed(1));
    drop(witness);
    drop(let_go);
    // The sink goes with the writer.
    while begins.recv().is_ok() {}
    let expected = ["audit.started", "permission.check", "audit.stopped"];
    assert_eq!(event_types(&memory.lines()), expected);
}

#[tokio::test]
async fn sixty_four_callers_make_one_gap_free_sequence() {
    // A12
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(64 * 100, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    thread::scope(|scope| {
        for caller in 0..64 {
            let auditor = witness.auditor.clone();
            scope.spawn(move || {
                for request in 0..100 {
                    let record = if request % 2 == 0 { allowed } else { denied };
                    auditor.record(record(caller * 100 + request));
                }
            });
        }
    });
    witness.handle.close().await.unwrap();
    let lines = lines_of(&path);
    assert!(verify(&lines).unwrap().heads["host/1"].stopped);
    let record = |line: &String| serde_json::from_str::<Value>(line).unwrap();
    let records: Vec<_> = lines.iter().map(record).collect();
    let checks = records
        .iter()
        .filter(|record| record["result"] == "allowed");
    assert_eq!(checks.count(), 3200);
    // A denial may stand for many like it, never for none.
    let denials = records.iter().filter(|record| record["result"] == "denied");
    let stand_for = |record: &Value| record["count"].as_u64().unwrap_or(1);
    assert_eq!(denials.map(stand_for).sum::<u64>(), 3200);
}

#[tokio::test]
async fn rotation_under_load_leaves_one_chain_across_files() {
    // A25
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(1000, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    let done = Arc::new(AtomicBool::new(false));
    let caller = thread::spawn({
        let (auditor, done) = (witness.auditor.clone(), Arc::clone(&done));
        move || {
            let mut recorded = 0;
            while !done.load(Ordering::SeqCst) {
                auditor.record(allowed(recorded));
                recorded += 1;
                thread::yield_now();
            }
        }
    });
    let mut files = Vec::new();
    for rotation in 1..=5 {
        witness.auditor.flush().await.unwrap();
        let rotated = directory.path().join(format!("audit.jsonl.{rotation}"));
        fs::rename(&path, &rotated).unwrap();
        witness.auditor.record(denied(rotation));
        witness.auditor.flush().await.unwrap();
        files.push(rotated);
    }
    done.store(true, Ordering::SeqCst);
    caller.join().unwrap();
    let dropped = witness.metric("attache_audit_dropped_records_total{lane=\"refusals\"}");
    assert_eq!(dropped, "0");
    witness.handle.close().await.unwrap();
    files.push(path);
    let set: Vec<_> = files.iter().map(|file| lines_of(file)).collect();
    assert!(set.iter().all(|lines| !lines.is_empty()));
    let summary = verify(set.concat()).unwrap();
    assert!(summary.heads["host/1"].stopped);
    assert!(
        verify(&set[1]).is_err(),
        "a file from the middle needs those before it"
    );
}

#[tokio::test]
async fn an_overflow_is_counted_and_told() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(3, Box::new(gate), vec![]);
    begins.recv().unwrap();
    for request in 0..3 {
        witness.auditor.record(allowed(request));
    }
    for request in 3..7 {
        witness.clock.advance(Duration::from_secs(1));
        witness.auditor.record(allowed(request));
    }
    assert_eq!(
        witness.metric("attache_audit_dropped_records_total{lane=\"allowances\"}"),
        "4"
    );
    assert_eq!(witness.metric("attache_audit_queue_depth"), "3");
    drop(let_go);
    witness.auditor.flush().await.unwrap();

    let gaps = memory.records(EventType::AuditGap);
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["result"], "failure");
    assert_eq!(gaps[0]["details"]["dropped"], 4);
    assert_eq!(gaps[0]["details"]["from"], "1970-01-01T00:16:41.000000000Z");
    assert_eq!(gaps[0]["details"]["to"], "1970-01-01T00:16:44.000000000Z");
    assert_eq!(memory.records(EventType::PermissionCheck).len(), 3);
    assert_eq!(witness.metric("attache_audit_gaps_total"), "1");
    assert_eq!(witness.metric("attache_audit_queue_depth"), "0");

    witness.auditor.record(allowed(7));
    witness.auditor.flush().await.unwrap();
    assert_eq!(memory.records(EventType::AuditGap).len(), 1, "told once");
    verify(memory.lines()).unwrap();
}

#[tokio::test]
async fn a_flood_of_allowances_displaces_no_refusal() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(5, Box::new(gate), vec![]);
    begins.recv().unwrap();
    for request in 0..100 {
        witness.auditor.record(allowed(request));
    }
    for request in 100..105 {
        witness.auditor.record(denied(request));
    }
    drop(let_go);
    witness.handle.close().await.unwrap();
    let denials = memory.records(EventType::PermissionDenied);
    let requests: Vec<_> = denials
        .iter()
        .map(|record| record["request_id"].as_str())
        .collect();
    assert_eq!(requests, ["100", "101", "102", "103", "104"].map(Some));
    let gap = &memory.records(EventType::AuditGap)[0]["details"];
    assert_eq!(gap["dropped_allowances"], 95);
    assert_eq!(gap["dropped_refusals"], 0);
}

#[tokio::test]
async fn records_of_both_lanes_are_written_in_the_order_of_arrival() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(16, Box::new(gate), vec![]);
    begins.recv().unwrap();
    for request in 0..10 {
        let record = if request % 3 == 0 { denied } else { allowed };
        witness.auditor.record(record(request));
        // A19: even while the clock steps back.
        witness
            .clock
            .set(Timestamp::from_unix_seconds(900 - request as u64));
    }
    drop(let_go);
    witness.auditor.flush().await.unwrap();
    let request = |line: &String| {
        let record: Value = serde_json::from_str(line).unwrap();
        record["request_id"]
            .as_str()
            .map(|id| id.parse::<usize>().unwrap())
    };
    let order: Vec<_> = memory.lines().iter().filter_map(request).collect();
    assert_eq!(order, (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_flood_of_like_denials_becomes_one_record_with_a_count() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(1000, Box::new(gate), vec![]);
    begins.recv().unwrap();
    for request in 0..256 {
        witness.auditor.record(denied(request));
    }
    witness.auditor.record(denied(256));
    drop(let_go);
    witness.auditor.flush().await.unwrap();
    let denials = memory.records(EventType::PermissionDenied);
    assert_eq!(denials.len(), 2);
    assert_eq!(denials[0]["count"], 256);
    assert_eq!(denials[0]["last_time"], denials[0]["time"]);
    assert!(denials[1].get("count").is_none());
    verify(memory.lines()).unwrap();
}

#[tokio::test]
async fn a_failing_sink_is_tried_again_and_nothing_is_lost() {
    // A08, A09
    let (faulty, memory, broken, attempts) = Faulty::new();
    let witness = Witness::start(16, Box::new(faulty), vec![]);
    witness.auditor.record(allowed(1));
    for _ in 0..3 {
        attempts.recv().unwrap();
    }
    let Health::Failing { since, error } = witness.auditor.health() else {
        panic!("{:?}", witness.auditor.health());
    };
    assert_eq!(since, Timestamp::from_unix_seconds(1000));
    assert_eq!(error, "read-only");
    witness.auditor.record(denied(2));
    assert!(memory.lines().is_empty());

    broken.store(false, Ordering::SeqCst);
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    let expected = ["audit.started", "permission.check", "permission.denied"];
    assert_eq!(event_types(&memory.lines()), expected);
    verify(memory.lines()).unwrap();
    let errors = witness.metric("attache_audit_write_errors_total{sink=\"faulty\"}");
    assert!(errors.parse::<u64>().unwrap() >= 2, "{errors}");
}

#[tokio::test]
async fn a_failed_sync_is_told_to_who_waits_for_it() {
    let (faulty, _memory, broken, attempts) = Faulty::new();
    broken.store(false, Ordering::SeqCst);
    let witness = Witness::start(16, Box::new(faulty), vec![]);
    attempts.recv().unwrap();
    broken.store(true, Ordering::SeqCst);
    let error = witness.auditor.flush().await.unwrap_err();
    assert!(matches!(error, AuditError::Sync(_)), "{error}");
    assert!(matches!(witness.auditor.health(), Health::Failing { .. }));
    broken.store(false, Ordering::SeqCst);
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
}

#[tokio::test]
async fn a_full_device_is_seen() {
    // A08
    let device = File::options().write(true).open("/dev/full").unwrap();
    let witness = Witness::start(16, Box::new(Stream::new(device)), vec![]);
    let health = loop {
        match witness.auditor.health() {
            Health::Ok => tokio::task::yield_now().await,
            health => break health,
        }
    };
    let Health::Failing { error, .. } = health else {
        panic!("{health:?}");
    };
    assert!(error.contains("No space left"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_blocks_is_not_healthy() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(16, Box::new(gate), vec![]);
    begins.recv().unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    // The writer's thread does not see the paused clock of this one, but by far less than an hour lies between them.
    tokio::time::advance(Duration::from_secs(3600)).await;
    let Health::Failing { since, error } = witness.auditor.health() else {
        panic!("{:?}", witness.auditor.health());
    };
    assert_eq!(since, Timestamp::from_unix_seconds(1000));
    assert!(error.contains("blocks"), "{error}");
    drop(let_go);
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    assert_eq!(memory.lines().len(), 1);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_not_healthy() {
    let (unread, mut stream) = UnixStream::pair().unwrap();
    stream.set_nonblocking(true).unwrap();
    while stream.write(b"\n").is_ok() {}
    stream.set_nonblocking(false).unwrap();
    let witness = Witness::start(50, Box::new(Stream::new(stream)), vec![]);
    for request in 0..250 {
        witness.auditor.record(allowed(request));
    }
    let dropped = "attache_audit_dropped_records_total{lane=\"allowances\"}";
    assert_eq!(witness.metric(dropped), "200");
    let Health::Failing { error, .. } = witness.auditor.health() else {
        panic!("{:?}", witness.auditor.health());
    };
    assert!(error.contains("200 records are lost"), "{error}");

    let reader = thread::spawn(move || io::read_to_string(unread).unwrap());
    witness.auditor.flush().await.unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    witness.handle.close().await.unwrap();
    let text = reader.join().unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(verify(&lines).unwrap().records, 53);
    assert!(text.contains("\"dropped\":200"), "{text}");
}

#[tokio::test]
async fn who_closes_can_give_up_on_a_failing_sink() {
    let (faulty, memory, _broken, attempts) = Faulty::new();
    let witness = Witness::start(16, Box::new(faulty), vec![]);
    let Witness {
        auditor, handle, ..
    } = witness;
    auditor.record(allowed(1));
    attempts.recv().unwrap();
    let deadline = tokio::time::timeout(Duration::from_millis(1), handle.close());
    deadline.await.unwrap_err();
    // The sink goes with the writer.
    while attempts.recv().is_ok() {}
    assert!(matches!(auditor.flush().await, Err(AuditError::Stopped)));
    assert_eq!(auditor.health(), Health::Stopped);
    assert!(memory.lines().is_empty());
}

#[tokio::test]
async fn every_sink_gets_the_same_lines() {
    let (first, second) = (Memory::default(), Memory::default());
    let witness = Witness::start(16, Box::new(first.clone()), vec![Box::new(second.clone())]);
    for request in 0..10 {
        witness.auditor.record(allowed(request));
    }
    witness.handle.close().await.unwrap();
    assert_eq!(first.lines().len(), 12);
    assert_eq!(first.lines(), second.lines());
}

#[tokio::test]
async fn neither_a_failing_nor_a_stuck_second_sink_stops_the_first() {
    let (faulty, _, _broken, attempts) = Faulty::new();
    let (gate, stuck, begins, let_go) = Gate::new();
    let first = Memory::default();
    let others: Vec<Box<dyn Sink>> = vec![Box::new(faulty), Box::new(gate)];
    let witness = Witness::start(16, Box::new(first.clone()), others);
    attempts.recv().unwrap();
    begins.recv().unwrap();
    // More batches than may wait for a second sink.
    for request in 0..100 {
        witness.auditor.record(allowed(request));
        witness.auditor.flush().await.unwrap();
    }
    assert_eq!(first.lines().len(), 101);
    verify(first.lines()).unwrap();
    assert_eq!(witness.auditor.health(), Health::Ok);
    let unwritten = witness.metric("attache_audit_unwritten_records_total{sink=\"gate\"}");
    assert_eq!(unwritten, "36");
    drop(let_go);
    for _ in 0..64 {
        begins.recv().unwrap();
    }
    witness.handle.close().await.unwrap();
    assert_eq!(stuck.lines().len(), 66);
    assert!(verify(stuck.lines()).is_err(), "its copy shows the break");
}

#[tokio::test]
async fn a_start_after_a_kill_reports_the_torn_line_and_the_gap() {
    // A04, A07
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(16, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    witness.auditor.record(allowed(1));
    witness.auditor.flush().await.unwrap();
    let note = directory.path().join("audit.jsonl.head");
    let noted = fs::read_to_string(&note).unwrap();
    witness.handle.close().await.unwrap();
    // As a kill leaves it: without its end, in the middle of a line.
    let file = fs::read_to_string(&path).unwrap();
    let last = file.trim_end().rfind('\n').unwrap();
    fs::write(&path, &file.as_bytes()[..last + 100]).unwrap();
    fs::write(&note, noted).unwrap();

    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(2000)));
    let config = Config {
        sinks: vec![SinkConfig::Jsonl(path.clone())].try_into().unwrap(),
        ..Config::default()
    };
    let rng = StdRng::seed_from_u64(4);
    let build = config.build(
        Path::new(""),
        origin("host/2"),
        clock,
        rng,
        &mut Registry::default(),
    );
    let (auditor, handle) = build.unwrap();
    auditor.record(allowed(2));
    handle.close().await.unwrap();

    let lines = lines_of(&path);
    let summary = verify(&lines).unwrap();
    assert_eq!((summary.records, summary.torn_lines), (7, 1));
    let started: Value = serde_json::from_str(&lines[3]).unwrap();
    assert_eq!(started["event_type"], "audit.started");
    assert_eq!(started["details"]["previous_writer"], "host/1");
    assert_eq!(started["details"]["previous_seq"], 2);
    assert_eq!(
        started["details"]["torn_lines"].as_array().unwrap().len(),
        1
    );
    let gap: Value = serde_json::from_str(&lines[4]).unwrap();
    assert_eq!(gap["event_type"], "audit.gap");

    // A proper end leaves neither.
    let sink = Jsonl::open(&path).unwrap();
    let found = sink.found();
    assert_eq!(found.torn, None);
    assert!(
        found
            .last
            .is_some_and(|last| last.stopped && last.writer == "host/2")
    );
}

#[tokio::test]
async fn a_killed_writers_last_line_counts_if_only_its_line_feed_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(16, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    witness.handle.close().await.unwrap();
    let file = fs::read_to_string(&path).unwrap();
    fs::write(&path, file.trim_end()).unwrap();
    let found = Jsonl::open(&path).unwrap().found();
    assert_eq!(found.torn, None);
    assert!(found.last.is_some_and(|last| last.seq == 2));
    assert_eq!(fs::read_to_string(&path).unwrap(), file);
}

/// Kills a witness that writes to `path`: what it knows is lost, what it wrote stays.
async fn kill(witness: Witness) {
    // Without an `audit.stopped`, as only a crash leaves it.
    witness.auditor.flush().await.unwrap();
    std::mem::forget(witness);
}

#[tokio::test]
async fn an_unclean_end_is_told_even_after_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(16, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    witness.auditor.record(allowed(1));
    kill(witness).await;
    let rotated = directory.path().join("audit.jsonl.1");
    fs::rename(&path, &rotated).unwrap();

    let next = Witness::start_as("host/2", Box::new(Jsonl::open(&path).unwrap()));
    next.handle.close().await.unwrap();
    let lines = lines_of(&path);
    assert_eq!(
        event_types(&lines),
        ["audit.started", "audit.gap", "audit.stopped"]
    );
    let gap: Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(gap["details"]["noted_writer"], "host/1");
    assert_eq!(gap["details"]["noted_seq"], 2);
    verify([lines_of(&rotated), lines].concat()).unwrap();
}

#[tokio::test]
async fn an_end_before_rotation_is_named_and_no_gap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(16, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    witness.handle.close().await.unwrap();
    let rotated = directory.path().join("audit.jsonl.1");
    fs::rename(&path, &rotated).unwrap();

    let next = Witness::start_as("host/2", Box::new(Jsonl::open(&path).unwrap()));
    next.handle.close().await.unwrap();
    let lines = lines_of(&path);
    assert_eq!(event_types(&lines), ["audit.started", "audit.stopped"]);
    // The rotated file can't be taken away unseen, nor its end.
    assert_eq!(verify(&lines).unwrap().missing[0].writer, "host/1");
    let earlier = lines_of(&rotated);
    verify([&earlier[..1], &lines].concat()).unwrap_err();
    assert_eq!(verify([earlier, lines].concat()).unwrap().missing, []);

    // Not rotated: the file itself says how the run before ended.
    let next = Witness::start_as("host/3", Box::new(Jsonl::open(&path).unwrap()));
    next.handle.close().await.unwrap();
    let started: Value = serde_json::from_str(&lines_of(&path)[2]).unwrap();
    assert_eq!(started["details"]["previous_writer"], "host/2");
    assert_eq!(started["details"]["noted_writer"], Value::Null);
}

#[tokio::test]
async fn an_end_that_was_cut_off_is_told_by_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let witness = Witness::start(16, Box::new(Jsonl::open(&path).unwrap()), vec![]);
    witness.auditor.record(denied(1));
    witness.handle.close().await.unwrap();
    let whole = lines_of(&path);
    fs::write(&path, format!("{}\n", whole[0])).unwrap();

    let next = Witness::start_as("host/2", Box::new(Jsonl::open(&path).unwrap()));
    next.handle.close().await.unwrap();
    let lines = lines_of(&path);
    let gap: Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!(gap["event_type"], "audit.gap");
    assert_eq!(gap["details"]["previous_seq"], 1);
    assert_eq!(gap["details"]["noted_seq"], 3);
    let broken = verify(lines).unwrap_err();
    assert_eq!(
        (broken.line, broken.flaw),
        (2, Flaw::CutOff("host/1".to_owned()))
    );
}

#[tokio::test]
async fn a_megabyte_from_outside_takes_two_kibibytes() {
    // A23
    let memory = Memory::default();
    let witness = Witness::start(16, Box::new(memory.clone()), vec![]);
    let mut record = allowed(1);
    record.message = Some("m".repeat(1 << 20).into());
    record.resource = Some("r".repeat(1 << 20).parse().unwrap());
    witness.auditor.record(record);
    witness.handle.close().await.unwrap();
    let record = &memory.records(EventType::PermissionCheck)[0];
    for name in ["message", "resource"] {
        let text = record[name].as_str().unwrap();
        assert!(text.len() < 2200, "{name}");
        assert!(text.contains("…[cut, 1048576 bytes, sha256 "), "{name}");
    }
    verify(memory.lines()).unwrap();
}

#[tokio::test]
async fn other_rooms_get_a_witness_with_a_memory() {
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(5)));
    let (memory, auditor, _handle) = Memory::auditor(clock).unwrap();
    auditor.record(denied(1));
    auditor.flush().await.unwrap();
    assert_eq!(memory.records(EventType::PermissionDenied).len(), 1);
}

#[test]
fn a_memory_forgets_the_oldest_lines() {
    let mut memory = Memory::default();
    for number in 0..=Memory::MAX {
        let mut batch = Batch::default();
        batch.push(|out| writeln!(out, "{number}")).unwrap();
        memory.write(&batch).unwrap();
    }
    let lines = memory.lines();
    assert_eq!(lines.len(), Memory::MAX);
    assert_eq!(lines[0], "1");
}

#[test]
fn metrics_have_their_names_and_help() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.written(EventType::PermissionCheck);
    metrics.write_errors("jsonl").inc();
    metrics.unwritten("jsonl").inc();
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for name in [
        "attache_audit_records_total{event_type=\"permission.check\"} 1",
        "attache_audit_dropped_records_total{lane=\"refusals\"} 0",
        "attache_audit_queue_depth 0",
        "attache_audit_write_errors_total{sink=\"jsonl\"} 1",
        "attache_audit_unwritten_records_total{sink=\"jsonl\"} 1",
        "attache_audit_gaps_total 0",
        "attache_audit_lag_seconds 0",
    ] {
        assert!(text.contains(name), "{name} in {text}");
    }
    let helps = text
        .lines()
        .filter(|line| line.starts_with("# HELP attache_audit_"));
    assert_eq!(helps.count(), 7);
}

/// Writes at once; each flush says that it begins and is held until it is let go.
#[derive(Debug)]
struct SlowDisk {
    memory: Memory,
    flushing: mpsc::Sender<()>,
    go: mpsc::Receiver<()>,
}

impl SlowDisk {
    fn new() -> (Self, Memory, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (flushing, flushes) = mpsc::channel();
        let (let_go, go) = mpsc::channel();
        let memory = Memory::default();
        let disk = Self {
            memory: memory.clone(),
            flushing,
            go,
        };
        (disk, memory, flushes, let_go)
    }
}

impl Sink for SlowDisk {
    fn name(&self) -> &'static str {
        "slow"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.memory.write(batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushing.send(()).unwrap_or_default();
        self.go.recv().unwrap_or_default();
        Ok(())
    }
}

fn in_time() -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn a_commit_gives_the_id_of_the_record_that_is_written() {
    let memory = Memory::default();
    let witness = Witness::start(16, Box::new(memory.clone()), vec![]);
    for (request, record) in [(1, allowed(1)), (2, denied(2))] {
        let id = witness.auditor.commit(record).await.unwrap().to_string();
        let lines = memory.lines();
        let last: Value = serde_json::from_str(lines.last().unwrap()).unwrap();
        assert_eq!(last["id"], *id);
        assert_eq!(last["request_id"], *request.to_string());
    }
}

#[tokio::test]
async fn many_commits_share_one_flush() {
    let (disk, memory, flushes, let_go) = SlowDisk::new();
    let witness = Witness::start(1000, Box::new(disk), vec![]);
    let auditor = witness.auditor.clone();
    let first = tokio::spawn(async move { auditor.commit(allowed(0)).await });
    let flushes = tokio::task::spawn_blocking(move || {
        flushes.recv().unwrap();
        flushes
    });
    let flushes = flushes.await.unwrap();
    // While the disk is at it, a hundred more come.
    let mut further: Vec<_> = (1..=100)
        .map(|request| Box::pin(witness.auditor.commit(allowed(request))))
        .collect();
    for commit in &mut further {
        assert!(futures::poll!(commit.as_mut()).is_pending());
    }
    let_go.send(()).unwrap();
    first.await.unwrap().unwrap();
    drop(let_go);
    let ids = futures::future::try_join_all(further).await.unwrap();
    assert!(ids.is_sorted());
    assert_eq!(memory.records(EventType::PermissionCheck).len(), 101);
    assert_eq!(flushes.try_iter().count(), 1, "for a hundred");
}

#[tokio::test]
async fn who_waits_is_answered_though_others_keep_coming() {
    // A11
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(1000, Box::new(gate), vec![]);
    begins.recv().unwrap();
    let mut first = Box::pin(witness.auditor.commit(allowed(0)));
    assert!(futures::poll!(first.as_mut()).is_pending());
    let_go.send(()).unwrap();
    // Its batch is being written, slowly, and the next record is there before it is done.
    begins.recv().unwrap();
    witness.auditor.record(allowed(1));
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    let_go.send(()).unwrap();
    begins.recv().unwrap();
    assert!(futures::poll!(first.as_mut()).is_ready());
    drop(let_go);
    witness.handle.close().await.unwrap();
    assert_eq!(memory.records(EventType::PermissionCheck).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_five_seconds_holds_up_who_must_wait_and_nobody_else() {
    // A11. The clock of this test stands still while it waits; the disk does not know it.
    let (disk, memory, flushes, let_go) = SlowDisk::new();
    let witness = Witness::start(16, Box::new(disk), vec![]);
    let patience = Duration::from_millis(150);
    let begun = tokio::time::Instant::now();
    let strict = witness.auditor.clone().with(Durability::Strict);
    let settled = strict.settle(allowed(1), begun + patience).await;
    assert!(matches!(settled, Err(AuditError::Late)), "{settled:?}");
    assert_eq!(begun.elapsed(), patience);

    let standard = witness.auditor.clone();
    standard.settle(allowed(2), begun).await.unwrap();
    assert_eq!(begun.elapsed(), patience, "it waited for nothing");
    flushes.recv().unwrap();
    drop(let_go);
    witness.handle.close().await.unwrap();
    verify(memory.lines()).unwrap();
}

#[tokio::test]
async fn a_commit_that_finds_no_room_is_refused_at_once_and_is_no_gap() {
    // A01
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(2, Box::new(gate), vec![]);
    begins.recv().unwrap();
    let mut waiting: Vec<_> = (0..2)
        .map(|request| Box::pin(witness.auditor.commit(allowed(request))))
        .collect();
    for commit in &mut waiting {
        assert!(futures::poll!(commit.as_mut()).is_pending());
    }
    let refused = witness.auditor.commit(allowed(2)).await;
    assert!(matches!(refused, Err(AuditError::Full)), "{refused:?}");
    drop(let_go);
    futures::future::try_join_all(waiting).await.unwrap();
    witness.handle.close().await.unwrap();
    assert_eq!(memory.records(EventType::PermissionCheck).len(), 2);
    assert!(memory.records(EventType::AuditGap).is_empty());
}

#[tokio::test]
async fn a_record_that_nobody_waits_for_any_more_is_left_out_of_the_chain() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(16, Box::new(gate), vec![]);
    begins.recv().unwrap();
    let mut given_up = Box::pin(witness.auditor.commit(allowed(1)));
    assert!(futures::poll!(given_up.as_mut()).is_pending());
    drop(given_up);
    drop(let_go);
    witness.auditor.commit(allowed(2)).await.unwrap();
    let written = memory.records(EventType::PermissionCheck);
    assert_eq!(written.len(), 1);
    assert_eq!(written[0]["request_id"], "2");
    verify(memory.lines()).unwrap();
}

#[tokio::test]
async fn a_commit_whose_flush_failed_is_refused_and_the_next_one_is_not_taken_for_it() {
    let (faulty, memory, broken, attempts) = Faulty::new();
    broken.store(false, Ordering::SeqCst);
    let witness = Witness::start(16, Box::new(faulty), vec![]);
    attempts.recv().unwrap();
    let strict = witness.auditor.clone().with(Durability::Strict);
    broken.store(true, Ordering::SeqCst);
    let until = tokio::time::Instant::now() + Duration::from_millis(50);
    let (first, second) = tokio::join!(
        strict.settle(allowed(1), until),
        strict.settle(allowed(2), until)
    );
    assert!(first.is_err() && second.is_err(), "{first:?} {second:?}");
    assert!(matches!(strict.health(), Health::Failing { .. }));
    broken.store(false, Ordering::SeqCst);
    strict.settle(allowed(3), in_time()).await.unwrap();
    assert_eq!(strict.health(), Health::Ok);
    witness.handle.close().await.unwrap();
    verify(memory.lines()).unwrap();
    assert!(memory.records(EventType::AuditGap).is_empty());
}

#[tokio::test]
async fn a_full_disk_refuses_every_commit() {
    // A08
    let device = File::options().write(true).open("/dev/full").unwrap();
    let witness = Witness::start(16, Box::new(Stream::new(device)), vec![]);
    let strict = witness.auditor.clone().with(Durability::Strict);
    let soon = || tokio::time::Instant::now() + Duration::from_millis(20);
    for request in 0..3 {
        let settled = strict.settle(allowed(request), soon()).await;
        assert!(matches!(settled, Err(AuditError::Late)), "{settled:?}");
    }
    let standard = witness.auditor.clone();
    standard.settle(allowed(4), soon()).await.unwrap();
    assert!(matches!(strict.health(), Health::Failing { .. }));
}

/// Panics at its second write.
#[derive(Debug)]
struct Trap(u32);

impl Sink for Trap {
    fn name(&self) -> &'static str {
        "trap"
    }

    fn write(&mut self, _batch: &Batch) -> io::Result<()> {
        self.0 += 1;
        assert!(self.0 < 2, "on purpose");
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_writer_that_dies_takes_no_commit_for_durable() {
    let witness = Witness::start(16, Box::new(Trap(0)), vec![]);
    let strict = witness.auditor.clone().with(Durability::Strict);
    for request in 0..3 {
        // The first is on its way when the thread dies, the others come later.
        let settled = strict.settle(allowed(request), in_time()).await;
        assert!(matches!(settled, Err(AuditError::Stopped)), "{settled:?}");
    }
    assert_eq!(strict.health(), Health::Stopped);
}

#[tokio::test]
async fn denials_that_are_waited_for_are_never_folded() {
    let (gate, memory, begins, let_go) = Gate::new();
    let witness = Witness::start(1000, Box::new(gate), vec![]);
    begins.recv().unwrap();
    let mut waiting: Vec<_> = (0..300)
        .map(|_same| Box::pin(witness.auditor.commit(denied(1))))
        .collect();
    for commit in &mut waiting {
        assert!(futures::poll!(commit.as_mut()).is_pending());
    }
    drop(let_go);
    futures::future::try_join_all(waiting).await.unwrap();
    assert_eq!(memory.records(EventType::PermissionDenied).len(), 300);
}
