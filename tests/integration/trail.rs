//! `attache.v1.AuditService`: auditors that read the trail, over mutual TLS and over a Unix socket, while it is written.

use std::collections::BTreeSet;
use std::time::Duration;

use attache::audit::{EventType, Filter, Order, Outcome};
use attache::grpc::{AuditClient, AuditClientError, StreamedEntry};
use attache::socket::Address;
use futures::{Stream, StreamExt as _};
use serde_json::Value;
use tonic::{Code, Status};

use crate::harness::house::PATIENCE;
use crate::harness::mesh::{Client, doors};
use crate::harness::pki::{Authority, Identity};
use crate::harness::{House, Plan, ask};

const AUDITOR: &str = "spiffe://example.org/auditor/one";
const STRANGER: &str = "spiffe://example.org/svc/reporting";
const AGENT: &str = "spiffe://example.org/agent/a";

const READERS: &str =
    "audit: {sinks: [{jsonl: audit.jsonl}], readers: [\"spiffe://example.org/auditor/*\"]}\n";

struct Mesh {
    house: House,
    authority: Authority,
}

fn plan(authority: &Authority) -> Plan {
    let own = authority.svid(crate::harness::mesh::SELF);
    Plan {
        audit: READERS.to_owned(),
        ..doors(authority, &own)
    }
}

impl Mesh {
    async fn open() -> Self {
        let authority = Authority::of("example.org");
        let house = plan(&authority).open().await;
        Self { house, authority }
    }

    fn issue(&self, id: &str) -> Identity {
        self.authority.svid(id)
    }

    /// A client on `mesh`, or on `http`.
    fn client(&self, identity: Option<Identity>, http: bool) -> AuditClient {
        let client = Client::new(&self.authority, identity);
        let address = if http {
            self.house.http
        } else {
            self.house.mesh
        };
        let address = address.unwrap();
        AuditClient::dialled(move || {
            let client = client.clone();
            async move { client.handshake(address).await }
        })
    }

    fn auditor(&self) -> AuditClient {
        self.client(Some(self.issue(AUDITOR)), false)
    }
}

fn unix(house: &House) -> AuditClient {
    let Address::Unix { path, .. } = &house.address else {
        panic!("not a Unix socket: {}", house.address);
    };
    AuditClient::unix(&format!("unix:{}", path.display())).unwrap()
}

fn status(error: AuditClientError) -> Status {
    match error {
        AuditClientError::Call { status, .. } => *status,
        error @ AuditClientError::Address(_) => panic!("{error}"),
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, AuditClientError>) -> Code {
    status(answer.unwrap_err()).code()
}

fn records(lines: &[String]) -> Vec<Value> {
    lines
        .iter()
        .map(|it| serde_json::from_str(it).unwrap())
        .collect()
}

fn of_type(event_type: EventType) -> Filter {
    Filter {
        event_types: vec![event_type],
        ..Filter::default()
    }
}

async fn everything(
    client: &AuditClient,
    filter: &Filter,
    order: Order,
    size: usize,
) -> Vec<String> {
    let (mut lines, mut token) = (Vec::new(), String::new());
    loop {
        let page = client.query(filter, order, size, &token).await.unwrap();
        assert!(page.records.len() <= size);
        lines.extend(page.records);
        token = page.next;
        if token.is_empty() {
            return lines;
        }
    }
}

/// Asks until a decision is on the trail for each.
async fn decide(house: &House, how_many: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..how_many {
        let answer = house
            .check(ask("GET", &format!("/documents/{number}")))
            .await;
        house.record_of(&answer).await;
        ids.push(answer.decision_id().to_owned());
    }
    ids
}

#[tokio::test]
async fn a_reader_gets_the_lines_as_they_were_written_over_mesh_http_and_the_unix_socket() {
    let mesh = Mesh::open().await;
    let ids = decide(&mesh.house, 3).await;
    let identity = mesh.issue(AUDITOR);
    for client in [
        mesh.client(Some(identity.clone()), false),
        mesh.client(Some(identity), true),
        unix(&mesh.house),
    ] {
        let filter = of_type(EventType::PermissionCheck);
        let page = client
            .query(&filter, Order::Ascending, 10, "")
            .await
            .unwrap();
        assert_eq!((page.total, page.next.as_str()), (3, ""));
        let text = std::fs::read_to_string(mesh.house.dir.path().join("audit.jsonl")).unwrap();
        for (line, id) in page.records.iter().zip(&ids) {
            assert!(text.lines().any(|written| written == line), "{line}");
            assert!(line.contains(id.as_str()));
        }
        let one = Filter {
            decision_id: Some(ids[1].clone()),
            ..Filter::default()
        };
        let page = client.query(&one, Order::Ascending, 10, "").await.unwrap();
        assert_eq!((page.total, page.records.len()), (1, 1));
    }
}

#[tokio::test]
async fn strangers_agents_and_nobody_are_refused_on_record() {
    let mesh = Mesh::open().await;
    for (id, reason, actor) in [
        (Some(STRANGER), "out_of_scope", "workload"),
        (Some(AGENT), "tier_forbidden", "agent"),
        (None, "untrusted_peer", "unknown"),
    ] {
        let identity = id.map(|id| mesh.issue(id));
        let client = mesh.client(identity, true);
        let all = Filter::default();
        let answers = [
            code(client.query(&all, Order::Ascending, 1, "").await),
            code(client.trace("a", 1).await),
            code(client.verify(None).await),
            code(client.stream(&all, "").await.map(|_| ())),
        ];
        assert_eq!(answers, [Code::PermissionDenied; 4], "{id:?}");
        let record = mesh
            .house
            .record(|it| it["reason_code"] == reason && it["actor"]["type"] == actor)
            .await;
        assert_eq!(record["event_type"], "permission.denied");
        assert_eq!(
            (&record["resource"], &record["action"]),
            (&"audit".into(), &"read".into())
        );
        assert_eq!(record["actor"]["id"].as_str(), id);
    }
}

#[tokio::test]
async fn a_reader_that_a_reload_removes_is_refused_and_so_is_its_open_stream() {
    let authority = Authority::of("example.org");
    let plan = Plan {
        watched: true,
        ..plan(&authority)
    };
    let house = plan.open().await;
    let mesh = Mesh { house, authority };
    let client = mesh.auditor();
    let mut stream = Box::pin(client.stream(&Filter::default(), "").await.unwrap());
    next(&mut stream).await;

    let file = mesh.house.dir.path().join("attache.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("/auditor/*", "/auditor/two");
    assert_ne!(changed, text);
    std::fs::write(&file, changed).unwrap();
    // The reload itself is on the trail, and the first thing that the stream may not see.
    let ended = end(stream).await;
    assert_eq!(ended.code(), Code::PermissionDenied, "{ended:?}");
    let refused = code(
        client
            .query(&Filter::default(), Order::Ascending, 1, "")
            .await,
    );
    assert_eq!(refused, Code::PermissionDenied);
}

#[tokio::test]
async fn every_call_that_reads_is_on_the_trail_with_who_and_what() {
    let mesh = Mesh::open().await;
    let filter = Filter {
        actor: Some("spiffe://example.org/svc/reporting".to_owned()),
        result: Some(Outcome::Denied),
        ..Filter::default()
    };
    mesh.auditor()
        .query(&filter, Order::Descending, 5, "")
        .await
        .unwrap();
    unix(&mesh.house).trace("usr-alice-001", 5).await.unwrap();
    let of = |method: &'static str| {
        move |it: &Value| it["event_type"] == "audit.queried" && it["details"]["method"] == method
    };
    let query = mesh.house.record(of("QueryAuditEntries")).await;
    assert_eq!(query["actor"]["id"], AUDITOR);
    assert_eq!(query["result"], "success");
    assert_eq!(
        query["details"],
        serde_json::json!({
            "method": "QueryAuditEntries", "actor": "spiffe://example.org/svc/reporting",
            "result": "denied", "order": "newest_first", "page_size": 5,
        })
    );
    let trace = mesh.house.record(of("TraceDelegationChain")).await;
    assert_eq!(trace["pep"]["type"], "unix");
    assert_eq!(trace["details"]["name"], "usr-alice-001");
}

#[tokio::test]
async fn pages_show_each_record_once_while_others_come() {
    let mesh = Mesh::open().await;
    let ids: BTreeSet<_> = decide(&mesh.house, 7).await.into_iter().collect();
    let client = mesh.auditor();
    for order in [Order::Ascending, Order::Descending] {
        let filter = of_type(EventType::PermissionCheck);
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = client.query(&filter, order, 2, &token).await.unwrap();
            seen.extend(records(&page.records));
            token = page.next;
            if token.is_empty() {
                break;
            }
            decide(&mesh.house, 1).await;
        }
        let times: Vec<_> = seen
            .iter()
            .map(|it| it["time"].as_str().unwrap().to_owned())
            .collect();
        let mut sorted = times.clone();
        sorted.sort();
        if order == Order::Descending {
            sorted.reverse();
        }
        assert_eq!(times, sorted);
        let seen_ids: BTreeSet<_> = seen
            .iter()
            .map(|it| it["decision_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(seen_ids.len(), seen.len());
        assert!(ids.is_subset(&seen_ids));
    }
    // Reading leaves records, and pages of everything end all the same.
    let all = everything(&client, &Filter::default(), Order::Ascending, 1).await;
    assert!(all.len() > 7);
}

#[tokio::test]
async fn a_token_outlives_a_restart_and_holds_for_its_own_question_only() {
    let authority = Authority::of("example.org");
    let plan = || plan(&authority);
    let (dir, file) = plan().lay_out();
    let house = plan().open_at(dir, file.clone()).await;
    decide(&house, 3).await;
    let filter = of_type(EventType::PermissionCheck);
    let page = unix(&house)
        .query(&filter, Order::Ascending, 2, "")
        .await
        .unwrap();
    assert_eq!((page.records.len(), page.total), (2, 3));
    let other = Filter {
        action: Some("read".to_owned()),
        ..filter.clone()
    };
    for (question, order, token) in [
        (&other, Order::Ascending, page.next.as_str()),
        (&filter, Order::Descending, &page.next),
        (&filter, Order::Ascending, "nonsense"),
    ] {
        let refused = code(unix(&house).query(question, order, 2, token).await);
        assert_eq!(refused, Code::InvalidArgument);
    }
    let kept = tempfile::tempdir().unwrap();
    std::fs::copy(
        house.dir.path().join("audit.jsonl"),
        kept.path().join("audit.jsonl"),
    )
    .unwrap();
    house.close().await;

    let (dir, file) = plan().lay_out();
    std::fs::copy(
        kept.path().join("audit.jsonl"),
        dir.path().join("audit.jsonl"),
    )
    .unwrap();
    let house = plan().open_at(dir, file).await;
    decide(&house, 1).await;
    let rest = unix(&house)
        .query(&filter, Order::Ascending, 2, &page.next)
        .await
        .unwrap();
    assert_eq!((rest.records.len(), rest.next.as_str()), (1, ""));
    assert!(!page.records.contains(&rest.records[0]));
}

#[tokio::test]
async fn without_a_sink_that_can_be_read_a_query_names_the_setting() {
    let plan = Plan {
        audit: "audit: {sinks: [stdout]}\n".to_owned(),
        ..Plan::default()
    };
    let house = plan.open().await;
    let client = unix(&house);
    let all = Filter::default();
    let error = status(
        client
            .query(&all, Order::Ascending, 1, "")
            .await
            .unwrap_err(),
    );
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("audit.sinks"), "{error}");
    let streamed = client.stream(&all, "").await.map(|_| ());
    assert_eq!(code(streamed), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_file_that_can_not_be_read_is_an_error_and_never_an_empty_page() {
    let house = House::open().await;
    std::fs::remove_file(house.dir.path().join("audit.jsonl")).unwrap();
    let all = Filter::default();
    // The writer makes a new file at the next record, which the refusal of this call is.
    let answer = unix(&house).query(&all, Order::Ascending, 1, "").await;
    assert_eq!(code(answer), Code::Unavailable);
}

#[tokio::test]
async fn a_verification_says_unbroken_with_heads_or_the_first_flaw() {
    let house = House::open().await;
    decide(&house, 2).await;
    let client = unix(&house);
    let verified = client.verify(None).await.unwrap();
    assert_eq!(verified.flaw, None);
    assert!(verified.records >= 3);
    assert_eq!(verified.heads.len(), 1);
    let head = &verified.heads[0];
    assert!(!head.stopped);
    assert_eq!(head.hash.len(), 64);
    let one = client.verify(Some(&head.writer)).await.unwrap();
    assert_eq!(one.flaw, None);
    let nobody = client.verify(Some("nobody")).await.unwrap();
    assert_eq!(nobody.flaw, Some(("there is no record".to_owned(), 0)));

    let path = house.dir.path().join("audit.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("documents/1", "documents/7")).unwrap();
    let (flaw, line) = client.verify(None).await.unwrap().flaw.unwrap();
    assert!(flaw.contains("altered"), "{flaw}");
    assert_eq!(line, 3);
}

async fn next(
    stream: &mut (impl Stream<Item = Result<StreamedEntry, AuditClientError>> + Unpin),
) -> StreamedEntry {
    let message = tokio::time::timeout(PATIENCE, stream.next()).await;
    message.expect("a message comes").expect("no end").unwrap()
}

/// The next message that holds a record.
async fn record(
    stream: &mut (impl Stream<Item = Result<StreamedEntry, AuditClientError>> + Unpin),
) -> (Value, String) {
    loop {
        let StreamedEntry { record, token } = next(stream).await;
        if let Some(line) = record {
            return (serde_json::from_str(&line).unwrap(), token);
        }
    }
}

/// How a stream ends.
async fn end(
    mut stream: impl Stream<Item = Result<StreamedEntry, AuditClientError>> + Unpin,
) -> Status {
    let reading = async {
        loop {
            match stream.next().await.expect("an end that is said") {
                Ok(_) => {}
                Err(error) => return status(error),
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the stream ends")
}

#[tokio::test]
async fn a_stream_gives_what_is_written_and_goes_on_where_it_was() {
    let mesh = Mesh::open().await;
    decide(&mesh.house, 2).await;
    let client = mesh.auditor();
    let filter = of_type(EventType::PermissionCheck);
    let mut stream = Box::pin(client.stream(&filter, "").await.unwrap());
    // From now on: nothing of before.
    let beginning = next(&mut stream).await;
    assert_eq!(beginning.record, None);
    let ids = decide(&mesh.house, 3).await;
    let mut tokens = Vec::new();
    for id in &ids {
        let (record, token) = record(&mut stream).await;
        assert_eq!(record["decision_id"].as_str(), Some(id.as_str()));
        tokens.push(token);
    }
    drop(stream);

    let missed = decide(&mesh.house, 2).await;
    for (token, expected) in [
        (&beginning.token, [&ids[..], &missed].concat()),
        (&tokens[0], [&ids[1..], &missed].concat()),
        (&tokens[2], missed.clone()),
    ] {
        let mut stream = Box::pin(client.stream(&filter, token).await.unwrap());
        for id in expected {
            let (record, _) = record(&mut stream).await;
            assert_eq!(record["decision_id"].as_str(), Some(id.as_str()));
        }
    }
    let other = code(
        client
            .stream(&Filter::default(), &tokens[0])
            .await
            .map(|_| ()),
    );
    assert_eq!(other, Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_from_a_time_gives_what_was_written_since_and_then_the_new() {
    let mesh = Mesh::open().await;
    let before = decide(&mesh.house, 2).await;
    let filter = Filter {
        from: Some("2000-01-01T00:00:00Z".parse().unwrap()),
        ..of_type(EventType::PermissionCheck)
    };
    let client = mesh.auditor();
    let mut stream = Box::pin(client.stream(&filter, "").await.unwrap());
    for id in &before {
        assert_eq!(
            record(&mut stream).await.0["decision_id"].as_str(),
            Some(id.as_str())
        );
    }
    let after = decide(&mesh.house, 2).await;
    for id in &after {
        assert_eq!(
            record(&mut stream).await.0["decision_id"].as_str(),
            Some(id.as_str())
        );
    }
}

#[tokio::test]
async fn a_stop_ends_streams_with_where_to_go_on() {
    let house = House::open().await;
    let client = unix(&house);
    let mut stream = Box::pin(client.stream(&Filter::default(), "").await.unwrap());
    next(&mut stream).await;
    let begun = tokio::time::Instant::now();
    let closing = tokio::spawn(house.close());
    let ended = end(stream).await;
    assert_eq!(ended.code(), Code::Unavailable, "{ended:?}");
    assert!(ended.message().contains("page_token"), "{ended:?}");
    closing.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_slow_consumer_is_told_where_to_go_on_and_nobody_waits_for_it() {
    let mesh = Mesh::open().await;
    let client = mesh.auditor();
    let filter = of_type(EventType::PermissionCheck);
    let stream = client.stream(&filter, "").await.unwrap();
    let mut stream = Box::pin(stream);
    next(&mut stream).await;
    // Nobody reads; many more batches are written than are kept, and all of them reach the file.
    let mut ids = Vec::new();
    for number in 0..1500 {
        let path = format!("/documents/{number}-{}", "x".repeat(1500));
        let answer = mesh.house.check(ask("GET", &path)).await;
        ids.push(answer.decision_id().to_owned());
    }
    let mut seen = Vec::new();
    let ended = loop {
        let message = tokio::time::timeout(PATIENCE, stream.next())
            .await
            .expect("no stall");
        match message.expect("an end that is said") {
            Ok(StreamedEntry {
                record: Some(line),
                token,
            }) => seen.push((line, token)),
            Ok(StreamedEntry { record: None, .. }) => {}
            Err(error) => break status(error),
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended:?}");
    assert!(seen.len() < ids.len());
    // Nothing is lost and nothing comes twice where it goes on.
    let token = seen.last().unwrap().1.clone();
    assert!(!token.is_empty());
    let mut decisions: Vec<_> = seen.iter().map(|(line, _)| decision(line)).collect();
    let mut again = Box::pin(client.stream(&filter, &token).await.unwrap());
    while decisions.len() < ids.len() {
        let (record, _) = record(&mut again).await;
        decisions.push(record["decision_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(decisions, ids);
}

fn decision(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    record["decision_id"].as_str().unwrap().to_owned()
}
