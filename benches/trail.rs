//! What a kept trail costs: durable records a second beside a plain database that syncs every insert, in one run on one
//! disk; and, over a million records, verifying and asking. Prints `key=value`, one a line.
//!
//! `cargo bench --bench trail -- durable`, or `-- asked`, does one half. `RECORDS=n` asks another number than a million.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark fails by panicking, and is there to print"
)]

use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::{
    self, Actor, Auditor, EventType, Filter, Http, Jsonl, Mandate, Mode, Order, Origin, Outcome,
    Protocol, Record, Setup, Sink, Span, Sqlite, SqliteTrail, Task, Tasks, Trail as _, Verifier,
    WriterHandle,
};
use attache::clock::{Clock, MockClock, SystemClock, Timestamp};
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

fn main() {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let named = |word| words.iter().any(|it| it == word);
    let all = !named("durable") && !named("asked");
    let runtime = Runtime::new().unwrap();
    if all || named("durable") {
        durable(&runtime);
    }
    if all || named("asked") {
        asked(&runtime);
    }
}

/// On the disk that holds the build; what is under `/tmp` may be memory.
fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn allowance(number: usize) -> Record {
    let caller = format!("spiffe://example.org/svc/{}", number % ACTORS);
    let task = format!("task-{}", number % TASKS);
    Record {
        action: Some("read".parse().unwrap()),
        resource: Some("documents/42".parse().unwrap()),
        decision_id: Some(format!("01KDVDNA00Z8XVSCC{number:09}").into()),
        http: Some(Http {
            host: "documents.example.org".into(),
            method: "GET".into(),
            path: "/documents/42".into(),
            protocol: Protocol::Http,
            route: Some("* /documents/{id}".into()),
        }),
        mandate: Some(Box::new(Mandate {
            task: Some(Task {
                id: task.clone().into(),
                path: vec![task.into()],
            }),
            ..Mandate::default()
        })),
        request_id: Some("0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0".into()),
        mode: Some(Mode::Enforce),
        latency: Some(Duration::from_micros(40)),
        cached: Some(true),
        ..Record::new(
            EventType::PermissionCheck,
            Outcome::Allowed,
            Actor::Workload(caller.parse().unwrap()),
        )
    }
}

fn start(first: Box<dyn Sink>, clock: Arc<dyn Clock>) -> (Auditor, WriterHandle) {
    let setup = Setup {
        first,
        others: vec![],
        capacity: 100_000,
        origin: Origin {
            tenant: "default".into(),
            writer: "host/1".into(),
        },
    };
    let rng = StdRng::seed_from_u64(1);
    audit::start(setup, clock, rng, &mut Registry::default()).unwrap()
}

// === durable ===

/// Alternating, so that a busy moment of the disk falls on all alike; the best of the rounds counts.
fn durable(runtime: &Runtime) {
    let sizes = [1, 8, 64];
    let (mut plain, mut syncs) = (0.0_f64, 0.0_f64);
    let mut sqlite = [0.0_f64; 3];
    let mut jsonl = [0.0_f64; 3];
    for _round in 0..ROUNDS {
        syncs = syncs.max(lone_syncs());
        plain = plain.max(plain_inserts());
        for (at, committers) in sizes.into_iter().enumerate() {
            let folder = folder();
            let sink = Sqlite::open(&folder.path().join("audit.db")).unwrap();
            sqlite[at] = sqlite[at].max(commits(runtime, Box::new(sink), committers));
            let sink = Jsonl::open(&folder.path().join("audit.jsonl")).unwrap();
            jsonl[at] = jsonl[at].max(commits(runtime, Box::new(sink), committers));
        }
    }
    println!("appends_with_a_sync_each_per_s={syncs:.0}");
    println!("plain_sqlite_inserts_per_s={plain:.0}");
    for (at, committers) in sizes.into_iter().enumerate() {
        let (database, lines) = (sqlite[at], jsonl[at]);
        println!("sqlite_commits_per_s_{committers}={database:.0}");
        println!("sqlite_ratio_{committers}={:.2}", database / plain);
        println!("jsonl_commits_per_s_{committers}={lines:.0}");
        println!("jsonl_ratio_{committers}={:.2}", lines / plain);
    }
}

/// A line and a sync, again and again: what the disk gives.
fn lone_syncs() -> f64 {
    let folder = folder();
    let mut file = File::create(folder.path().join("lines")).unwrap();
    let line = [b'x'; LINE];
    let begun = Instant::now();
    let mut done = 0_u32;
    while begun.elapsed() < SPELL {
        file.write_all(&line).unwrap();
        file.sync_data().unwrap();
        done += 1;
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// One table, one row and one transaction for each record, as durable as ours: what there is to beat.
fn plain_inserts() -> f64 {
    let folder = folder();
    let connection = Connection::open(folder.path().join("plain.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE record (id INTEGER PRIMARY KEY, line TEXT NOT NULL);",
        )
        .unwrap();
    let mut insert = connection
        .prepare("INSERT INTO record (line) VALUES (?1)")
        .unwrap();
    let line = "x".repeat(LINE);
    let begun = Instant::now();
    let mut done = 0_u32;
    while begun.elapsed() < SPELL {
        insert.execute([&line]).unwrap();
        done += 1;
    }
    f64::from(done) / begun.elapsed().as_secs_f64()
}

/// Records a second that `committers` at a time get durable, each waiting for its own.
fn commits(runtime: &Runtime, sink: Box<dyn Sink>, committers: usize) -> f64 {
    runtime.block_on(async {
        let (auditor, writer) = start(sink, Arc::new(SystemClock));
        auditor.flush().await.unwrap();
        let begun = Instant::now();
        let mut all = JoinSet::new();
        for committer in 0..committers {
            let auditor = auditor.clone();
            all.spawn(async move {
                let mut done = 0_u32;
                while begun.elapsed() < SPELL {
                    auditor.commit(allowance(committer)).await.unwrap();
                    done += 1;
                }
                done
            });
        }
        let done: u32 = all.join_all().await.into_iter().sum();
        let took = begun.elapsed().as_secs_f64();
        drop(auditor);
        writer.close().await.unwrap();
        f64::from(done) / took
    })
}

// === asked ===

/// A trail of a million records, one each millisecond of its time: filled, verified and asked.
fn asked(runtime: &Runtime) {
    let records = records();
    let folder = folder();
    let path = folder.path().join("audit.db");
    let took = fill(runtime, &path, records);
    println!("records={records}");
    println!("fill_records_per_s={:.0}", f64::from(records) / took);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("bytes_per_record={}", bytes / u64::from(records));
    let trail = SqliteTrail::open(&path).unwrap();

    let mut lines = Vec::with_capacity(records as usize + 2);
    let begun = Instant::now();
    let mut verifier = Verifier::default();
    let mut visit = |line: &[u8]| {
        verifier.line(line).unwrap();
        lines.push(line.to_owned());
        ControlFlow::Continue(())
    };
    trail.walk(&Span::default(), &mut visit).unwrap();
    verifier.finish().unwrap();
    println!("verify_database_s={:.2}", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    audit::verify(&lines).unwrap();
    println!("verify_lines_s={:.2}", begun.elapsed().as_secs_f64());
    drop(lines);

    let from =
        |millis: u64| Timestamp::from_unix_seconds(BEGIN).plus(Duration::from_millis(millis));
    let middle = u64::from(records) / 2;
    let questions = [
        (
            "actor",
            Filter {
                actor: Some("spiffe://example.org/svc/7".to_owned()),
                ..Filter::default()
            },
        ),
        (
            "task",
            Filter {
                task: Some(Tasks::Under("task-77".to_owned())),
                ..Filter::default()
            },
        ),
        (
            "second",
            Filter {
                from: Some(from(middle)),
                until: Some(from(middle + 1000)),
                ..Filter::default()
            },
        ),
        (
            "decision",
            Filter {
                decision_id: Some(format!("01KDVDNA00Z8XVSCC{middle:09}")),
                ..Filter::default()
            },
        ),
        ("everything", Filter::default()),
    ];
    for (name, filter) in questions {
        let mut took = Vec::new();
        let mut total = 0;
        for _again in 0..ASKED {
            let begun = Instant::now();
            let page = trail.query(&filter, Order::Descending, None, 100).unwrap();
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
            total = page.total;
        }
        took.sort_by(f64::total_cmp);
        println!("query_{name}_found={total}");
        println!("query_{name}_median_ms={:.2}", took[ASKED / 2]);
        println!("query_{name}_worst_ms={:.2}", took[ASKED - 1]);
    }
}

fn fill(runtime: &Runtime, path: &Path, records: u32) -> f64 {
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(BEGIN)));
    let sink = Sqlite::open(path).unwrap();
    let (auditor, writer) = start(Box::new(sink), Arc::clone(&clock) as _);
    let begun = Instant::now();
    runtime.block_on(async {
        for number in 0..records as usize {
            clock.advance(Duration::from_millis(1));
            auditor.record(allowance(number));
            if number % 50_000 == 0 {
                auditor.flush().await.unwrap();
            }
        }
        drop(auditor);
        writer.close().await.unwrap();
    });
    begun.elapsed().as_secs_f64()
}

fn records() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a setting of this program alone")]
    let set = std::env::var("RECORDS");
    set.map_or(1_000_000, |it| it.parse().unwrap())
}

const ACTORS: usize = 1000;
const TASKS: usize = 10_000;
const ROUNDS: u32 = 3;
const SPELL: Duration = Duration::from_secs(2);
/// As long as the line of [`allowance`].
const LINE: usize = 1000;
const BEGIN: u64 = 1_767_225_600;
const ASKED: usize = 21;
