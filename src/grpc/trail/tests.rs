use prost::Message as _;
use prost_types::{FileDescriptorSet, Timestamp as Wire};

use super::super::proto::attache::v1::AuditFilter;
use super::super::proto::attache::v1::audit_service_server::AuditService as _;
use super::*;
use crate::audit::{
    Actor, Cursor, Details, Durability, EventType, JsonlTrail, Memory, Outcome, Page, Record,
    Tasks, Text, Trace, WriterHandle,
};
use crate::authority::Metrics;
use crate::clock::{Clock, MockClock};
use crate::config::Config;
use crate::identity::Peer;

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
fn an_event_type_that_is_named_a_hundred_thousand_times_is_asked_for_once() {
    // A database takes 32766 values.
    let asked = AuditFilter {
        event_types: vec!["human.login".to_owned(); 100_000],
        ..AuditFilter::default()
    };
    let filter = wire::filter(Some(&asked)).unwrap();
    assert_eq!(filter.event_types, [EventType::HumanLogin]);
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

/// A service over `trail`, and the witness of what it does.
struct Bench {
    reading: Reading,
    auditor: Auditor,
    clock: Arc<MockClock>,
    memory: Memory,
    writer: WriterHandle,
}

/// When it is in a [`Bench`].
const NOW: Timestamp = Timestamp::from_unix_seconds(1000);

impl Bench {
    fn over(trail: impl Trail + 'static, durability: Durability) -> Self {
        let config = Config::parse("trust_domain: example.org", "attache.yaml".as_ref());
        let Config { fixed, rules, .. } = config.unwrap();
        let engine = fixed.policy.embedded_engine(fixed.base).unwrap();
        let clock = Arc::new(MockClock::new(NOW));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let (memory, auditor, writer) = Memory::auditor(Arc::clone(&shared)).unwrap();
        let auditor = auditor.with(durability);
        let authority = Authority::new(
            Arc::new(rules),
            Arc::new(engine),
            auditor.clone(),
            shared,
            Metrics::new(&mut prometheus_client::registry::Registry::default()),
        );
        let reading = Reading::new(
            Arc::new(authority),
            auditor.clone(),
            Some(Arc::new(trail)),
            &Limits::default(),
            Shutdown::default(),
        );
        Self {
            reading,
            auditor,
            clock,
            memory,
            writer,
        }
    }

    /// Puts everything that is on record into the file at `path`.
    async fn keep(&self, path: &std::path::Path) {
        self.auditor.flush().await.unwrap();
        std::fs::write(path, self.memory.lines().join("\n") + "\n").unwrap();
    }

    /// A stream of what is recorded of configurations, from `token` on.
    fn follow(&self, token: &str) -> mpsc::Receiver<StreamAuditEntriesResponse> {
        let asked = AuditFilter {
            event_types: vec!["config.changed".to_owned()],
            ..AuditFilter::default()
        };
        let filter = wire::filter(Some(&asked)).unwrap();
        let bound = Bound::of(Some(&asked), Order::Ascending);
        let proxy = Proxy::Plain(Peer::Unix { uid: None });
        let tail = Tail::begin(self.reading.clone(), proxy, filter, bound, token).unwrap();
        let (sender, receiver) = mpsc::channel(BUFFER);
        tokio::spawn(tail.run(sender));
        receiver
    }

    fn change(&self, message: &str) {
        self.auditor.record(Record {
            message: Some(message.into()),
            ..Record::new(EventType::ConfigChanged, Outcome::Success, Actor::System)
        });
    }

    /// A call of somebody who may read.
    fn call(reading: &Reading, page_token: &str) -> tonic::Request<QueryAuditEntriesRequest> {
        let peer = Peer::Unix { uid: None };
        let reader = reading.authority.admit_reader(&peer).unwrap();
        let mut call = tonic::Request::new(QueryAuditEntriesRequest {
            page_size: 2,
            page_token: page_token.to_owned(),
            ..QueryAuditEntriesRequest::default()
        });
        call.extensions_mut().insert(reader);
        call
    }

    async fn page(&self, token: &str) -> Result<QueryAuditEntriesResponse, Status> {
        let answer = self
            .reading
            .query_audit_entries(Self::call(&self.reading, token))
            .await;
        answer.map(tonic::Response::into_inner)
    }
}

/// A trail whose answers take until nobody waits for them.
#[derive(Debug, Default)]
struct Endless(Stop);

impl Endless {
    fn look<T>(&self) -> Result<T, TrailError> {
        while !self.0.says_so() {
            std::thread::yield_now();
        }
        Err(TrailError::Read {
            path: "endless".into(),
            source: std::io::ErrorKind::TimedOut.into(),
        })
    }
}

impl Trail for Endless {
    fn query(
        &self,
        _: &Filter,
        _: Order,
        _: Option<&Cursor>,
        _: usize,
    ) -> Result<Page, TrailError> {
        self.look()
    }

    fn trace(&self, _: &str, _: usize) -> Result<Trace, TrailError> {
        self.look()
    }

    fn walk(
        &self,
        _: &Span,
        _: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), TrailError> {
        self.look()
    }

    fn stopping(&self, stop: Stop) -> Box<dyn Trail> {
        Box::new(Self(stop))
    }
}

#[tokio::test]
async fn who_goes_away_before_the_answer_is_on_record_and_keeps_no_thread() {
    let bench = Bench::over(Endless::default(), Durability::Standard);
    {
        let mut call = Box::pin(bench.page(""));
        tokio::select! {
            answer = &mut call => panic!("{answer:?}"),
            () = async {
                while bench.reading.reads.available_permits() == READS {
                    tokio::task::yield_now().await;
                }
            } => {}
        }
    }
    let all = u32::try_from(READS).unwrap();
    let free = bench.reading.reads.acquire_many(all);
    drop(
        tokio::time::timeout(Duration::from_secs(30), free)
            .await
            .unwrap(),
    );
    bench.auditor.flush().await.unwrap();
    let records = bench.memory.records(EventType::AuditQueried);
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["result"], "failure");
    assert_eq!(records[0]["details"]["method"], "QueryAuditEntries");
}

#[tokio::test]
async fn a_read_that_can_not_be_recorded_gives_nothing_in_strict_mode() {
    let bench = Bench::over(JsonlTrail::new(Vec::new()), Durability::Strict);
    bench.page("").await.unwrap();
    assert_eq!(bench.memory.records(EventType::AuditQueried).len(), 1);
    bench.writer.close().await.unwrap();
    let call = Bench::call(&bench.reading, "");
    let refused = bench.reading.query_audit_entries(call).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
}

#[tokio::test]
async fn records_from_before_the_clock_was_set_back_are_part_of_the_pages() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let line = |seq: u64| {
        let time = NOW.plus(Duration::from_secs(3600 * seq)).to_string();
        serde_json::json!({
            "actor": {"type": "unknown"}, "delegation_chain": [], "event_type": "audit.started", "hash": "h",
            "id": "i", "prev_hash": "p", "result": "success", "seq": seq, "time": time, "writer": "host/1",
        })
    };
    let lines: Vec<_> = (0..5).map(|seq| line(seq).to_string()).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let bench = Bench::over(JsonlTrail::new(vec![file]), Durability::Standard);
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = bench.page(&token).await.unwrap();
        assert_eq!(page.total_size, 5);
        seen.extend(page.entries.iter().map(|it| it.seq));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

/// The next record of a stream, by its message, and the token that came with it.
async fn next(stream: &mut mpsc::Receiver<StreamAuditEntriesResponse>) -> (String, String) {
    loop {
        let message = timeout_at(Instant::now() + Duration::from_secs(30), stream.recv());
        let message = message.await.unwrap().unwrap();
        if let Some(entry) = message.entry {
            let record: serde_json::Value = serde_json::from_str(&entry.record).unwrap();
            let text = record["message"].as_str().unwrap().to_owned();
            return (text, message.page_token);
        }
    }
}

#[tokio::test]
async fn a_stream_goes_on_with_what_was_written_after_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let trail = JsonlTrail::new(vec![file.clone()]);
    let bench = Bench::over(trail, Durability::Standard);
    let mut stream = bench.follow("");
    bench.change("before");
    let (text, token) = next(&mut stream).await;
    assert_eq!(text, "before");
    drop(stream);
    bench.clock.set(Timestamp::from_unix_seconds(10));
    bench.change("set back");
    bench.keep(&file).await;
    let mut stream = bench.follow(&token);
    let (text, token) = next(&mut stream).await;
    assert_eq!(text, "set back");
    bench.change("after");
    assert_eq!(next(&mut stream).await.0, "after");
    // Each place of the way is one to go on from.
    bench.keep(&file).await;
    assert_eq!(next(&mut bench.follow(&token)).await.0, "after");
}
