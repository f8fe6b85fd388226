//! `attache audit`: an auditor with files, with a database, and with the address of a running attache.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::{
    Actor, Agent, Auditor, Config, EventType, Mandate, Origin, Outcome, Record, Subject, Task, Text,
};
use attache::clock::{MockClock, Timestamp};
use attache::permission::Reason;
use attache::socket::Address;
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::binary::{attache, spawn};
use crate::harness::house::PATIENCE;
use crate::harness::mesh::doors;
use crate::harness::pki::Authority;
use crate::harness::{House, Plan, ask};

const ALICE: &str = "usr-alice-001";
const PLANNER: &str = "scheduling-agent-001";
const READER: &str = "analysis-agent-002";

fn mandate(agent: &str, path: &[&str]) -> Box<Mandate> {
    Box::new(Mandate {
        agent: Some(Agent {
            id: agent.into(),
            agent_type: agent.split('-').next().unwrap_or_default().into(),
        }),
        task: path.last().map(|id| Task {
            id: (*id).into(),
            path: path.iter().map(|it| Text::from(*it)).collect(),
        }),
        ..Mandate::default()
    })
}

fn delegate(agent: &str) -> Actor {
    Actor::Delegate {
        agent_id: agent.into(),
        spiffe_id: "spiffe://example.org/agents".parse().unwrap(),
    }
}

fn chain(names: &[&str]) -> Vec<Text> {
    names.iter().map(|it| Text::from(*it)).collect()
}

/// A person delegates to an agent, which delegates on; what both do; and somebody else.
fn story() -> Vec<Record> {
    let alice = || Actor::Person(ALICE.into());
    let of = |event, result, actor, names: &[&str]| Record {
        delegation_chain: chain(names),
        subject: Some(Subject {
            id: ALICE.into(),
            role: None,
        }),
        ..Record::new(event, result, actor)
    };
    let (task, sub) = (["task-abc"], ["task-abc", "task-abc-sub1"]);
    vec![
        of(EventType::HumanLogin, Outcome::Success, alice(), &[ALICE]),
        Record {
            mandate: Some(mandate(PLANNER, &task)),
            ..of(
                EventType::AgentDelegated,
                Outcome::Success,
                alice(),
                &[ALICE],
            )
        },
        Record {
            mandate: Some(mandate(PLANNER, &task)),
            action: Some("read".parse().unwrap()),
            resource: Some("calendar/7".parse().unwrap()),
            ..of(
                EventType::PermissionCheck,
                Outcome::Allowed,
                delegate(PLANNER),
                &[ALICE, PLANNER],
            )
        },
        Record {
            mandate: Some(mandate(READER, &sub)),
            ..of(
                EventType::AgentSubdelegated,
                Outcome::Success,
                delegate(PLANNER),
                &[ALICE, PLANNER],
            )
        },
        Record {
            mandate: Some(mandate(READER, &sub)),
            action: Some("update".parse().unwrap()),
            resource: Some("documents".parse().unwrap()),
            reason_code: Some(Reason::OutOfScope),
            message: Some("attenuated to read-only \u{1b}[31m\u{202e}".into()),
            ..of(
                EventType::PermissionDenied,
                Outcome::Denied,
                delegate(READER),
                &[ALICE, PLANNER, READER],
            )
        },
        Record::new(
            EventType::HumanLogin,
            Outcome::Success,
            Actor::Person("usr-bob-002".into()),
        ),
    ]
}

/// A trail in `folder`: a finished run with [`story`] in a file and a database.
async fn trail(folder: &Path) -> [String; 2] {
    let (auditor, handle) = begin(folder);
    for record in story() {
        auditor.record(record);
    }
    handle.close().await.unwrap();
    paths(folder)
}

fn paths(folder: &Path) -> [String; 2] {
    ["audit.jsonl", "audit.db"].map(|name| folder.join(name).to_str().unwrap().to_owned())
}

fn begin(folder: &Path) -> (Auditor, attache::audit::WriterHandle) {
    // The database first: then a record that is durable is in both.
    let config = json!({"sinks": [{"sqlite": "audit.db"}, {"jsonl": "audit.jsonl"}]});
    let config: Config = serde_json::from_value(config).unwrap();
    let origin = Origin {
        tenant: "default".into(),
        writer: format!("host/{}", rand::random::<u64>()).into(),
    };
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1_767_225_600)));
    let rng = StdRng::seed_from_u64(7);
    config
        .build(folder, origin, clock, rng, &mut Registry::default())
        .unwrap()
}

fn events(out: &str) -> Vec<String> {
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let event = |line| record(line)["event_type"].as_str().unwrap().to_owned();
    out.lines().map(event).collect()
}

#[tokio::test]
async fn a_query_finds_by_every_flag_in_files_and_in_a_database() {
    let folder = tempfile::tempdir().unwrap();
    for file in trail(folder.path()).await {
        for (flags, expected) in [
            (vec!["--actor", READER], vec!["permission.denied"]),
            (
                vec![
                    "--actor",
                    "spiffe://example.org/agents",
                    "--newest",
                    "--limit",
                    "1",
                ],
                vec!["permission.denied"],
            ),
            (
                vec!["--subject", ALICE, "--event", "human.login"],
                vec!["human.login"],
            ),
            (vec!["--chain", READER], vec!["permission.denied"]),
            (
                vec![
                    "--event",
                    "agent.delegated",
                    "--event",
                    "agent.subdelegated",
                ],
                vec!["agent.delegated", "agent.subdelegated"],
            ),
            (
                vec!["--task", "task-abc-sub1"],
                vec!["agent.subdelegated", "permission.denied"],
            ),
            (
                vec!["--task-exact", "task-abc", "--action", "read"],
                vec!["permission.check"],
            ),
            (vec!["--resource", "documents"], vec!["permission.denied"]),
            (vec!["--result", "denied"], vec!["permission.denied"]),
            (vec!["--decision-id", "none"], vec![]),
            (vec!["--since", "2027-01-01T00:00:00Z"], vec![]),
            (vec!["--until", "2025-01-01T00:00:00Z"], vec![]),
        ] {
            let said = attache(&[&["audit", "query", "--json", &file], &flags[..]].concat()).await;
            assert_eq!(said.code, Some(0), "{}", said.err);
            assert_eq!(events(&said.out), expected, "{file} {flags:?}");
        }
    }
}

#[tokio::test]
async fn a_table_fits_and_shows_nothing_that_moves_the_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let [file, _] = trail(folder.path()).await;
    let said = attache(&["audit", "query", &file, "--limit", "6"]).await;
    assert_eq!(said.code, Some(0));
    assert!(said.err.contains("6 of 9 records"), "{}", said.err);
    assert_eq!(said.out.lines().count(), 7);
    for line in said.out.lines() {
        assert!(line.chars().count() <= 120, "{line}");
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    }
    assert!(said.out.lines().next().unwrap().starts_with("TIME"));
    assert!(
        said.out.contains("…") && said.out.contains("update documents"),
        "{}",
        said.out
    );
}

#[tokio::test]
async fn a_trace_draws_who_did_what_for_whom() {
    let folder = tempfile::tempdir().unwrap();
    for file in trail(folder.path()).await {
        let said = attache(&["audit", "trace", PLANNER, &file]).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        let drawn: Vec<_> = said.out.lines().collect();
        assert_eq!(drawn[0], ALICE);
        assert!(said.out.contains("└─ scheduling-agent-001"), "{}", said.out);
        assert!(
            said.out.contains("   └─ analysis-agent-002"),
            "{}",
            said.out
        );
        assert!(
            said.out
                .contains("update documents (out_of_scope: attenuated"),
            "{}",
            said.out
        );
        assert!(!said.out.contains("usr-bob"));
        let nobody = attache(&["audit", "trace", "nobody", &file]).await;
        assert_eq!((nobody.code, nobody.out.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn a_database_is_verified_as_a_file_is() {
    let folder = tempfile::tempdir().unwrap();
    for file in trail(folder.path()).await {
        let said = attache(&["audit", "verify", &file]).await;
        assert_eq!(said.code, Some(0), "{}", said.err);
        assert!(
            said.out.starts_with("unbroken: 9 records of 1 writers"),
            "{}",
            said.out
        );
        assert!(said.out.contains("stopped"), "{}", said.out);
    }
}

#[tokio::test]
async fn wrong_use_is_refused_and_what_can_not_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let [file, database] = trail(folder.path()).await;
    for (arguments, code, word) in [
        (vec!["query"], 2, "FILE"),
        (vec!["query", &file, "--address", "unix:/a"], 2, "--address"),
        (
            vec!["query", &file, "--event", "human.loggin"],
            2,
            "human.login",
        ),
        (vec!["query", &file, "--limit", "0"], 2, "--limit"),
        (vec!["query", &file, "--since", "yesterday"], 2, "RFC 3339"),
        (vec!["query", "/nonexistent"], 1, "/nonexistent"),
        (vec!["query", &file, &database], 1, "by itself"),
        (vec!["query", "--address", "mesh:8443"], 1, "--certificate"),
        (vec!["query", "--address", "nowhere"], 1, "HOST:PORT"),
        (vec!["tail", "/nonexistent"], 1, "/nonexistent"),
        (
            vec!["trace", "a", "--address", "unix:/nonexistent"],
            1,
            "unix:/nonexistent",
        ),
    ] {
        let said = attache(&[&["audit"], &arguments[..]].concat()).await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.err);
        assert!(said.err.contains(word), "{arguments:?}: {}", said.err);
    }
}

/// The lines of a command that goes on, each once it comes.
struct Lines {
    child: tokio::process::Child,
    out: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Lines {
    fn of(arguments: &[&str]) -> Self {
        let mut child = spawn(arguments);
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, out }
    }

    async fn next(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.out.next_line()).await;
        line.expect("a line comes").unwrap().expect("no end")
    }

    /// Reads no more; gives the exit code.
    async fn close(self) -> Option<i32> {
        let Self { mut child, out } = self;
        drop(out);
        let ended = tokio::time::timeout(PATIENCE, child.wait()).await;
        ended.expect("it ends").unwrap().code()
    }
}

#[tokio::test]
async fn a_tail_of_a_file_or_database_shows_the_old_then_the_new_and_ends_with_its_reader() {
    let folder = tempfile::tempdir().unwrap();
    let (auditor, _handle) = begin(folder.path());
    auditor.record(story().remove(0));
    auditor.flush().await.unwrap();
    let [file, database] = paths(folder.path());
    let mut tails = Vec::new();
    for path in [&file, &database] {
        let mut tail = Lines::of(&[
            "audit",
            "tail",
            "--json",
            "--event",
            "human.login",
            "--limit",
            "1",
            path,
        ]);
        // The file is a copy that comes a moment later; then it is the first that is new.
        assert!(tail.next().await.contains(ALICE));
        tails.push(tail);
    }
    std::fs::rename(&file, format!("{file}.1")).unwrap();
    for record in story().into_iter().skip(1) {
        auditor.record(record);
    }
    for tail in &mut tails {
        assert!(tail.next().await.contains("usr-bob-002"));
    }
    // Whoever reads no more is noticed with the next record.
    for mut tail in tails {
        drop(tail.out);
        let noticed = async {
            while tail.child.try_wait().unwrap().is_none() {
                auditor.record(story().remove(0));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed)
            .await
            .expect("it ends");
        assert_eq!(tail.child.wait().await.unwrap().code(), Some(0));
    }
}

fn unix(house: &House) -> String {
    let Address::Unix { path, .. } = &house.address else {
        panic!("not a Unix socket: {}", house.address);
    };
    format!("unix:{}", path.display())
}

#[tokio::test]
async fn a_running_attache_is_asked_over_its_socket() {
    let house = House::open().await;
    let answer = house.check(ask("GET", "/documents/42")).await;
    house.record_of(&answer).await;
    let address = unix(&house);
    let id = answer.decision_id().to_owned();
    let found = attache(&[
        "audit",
        "query",
        "--address",
        &address,
        "--json",
        "--decision-id",
        &id,
    ])
    .await;
    assert_eq!(
        (found.code, found.out.lines().count()),
        (Some(0), 1),
        "{}",
        found.err
    );
    let verified = attache(&["audit", "verify", "--address", &address]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.err);
    assert!(verified.out.starts_with("unbroken: "), "{}", verified.out);

    let export = ["audit", "export", "--format", "ocsf", "--address", &address];
    let exported = attache(&export).await;
    assert_eq!(exported.code, Some(0), "{}", exported.err);
    let events = exported.out.lines();
    // The decision, and that it was asked for.
    assert_eq!(events.filter(|event| event.contains(&id)).count(), 2);

    let mut tail = Lines::of(&[
        "audit",
        "tail",
        "--address",
        &address,
        "--json",
        "--event",
        "permission.check",
    ]);
    assert!(tail.next().await.contains(&id));
    let answer = house.check(ask("GET", "/documents/43")).await;
    assert!(tail.next().await.contains(answer.decision_id()));
    let ended = tail.close();
    let writing = async {
        loop {
            house.check(ask("GET", "/documents/44")).await;
        }
    };
    let code = tokio::select! {
        code = ended => code,
        () = writing => None,
    };
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_reader_with_a_certificate_asks_over_the_mesh_and_a_stranger_does_not() {
    let authority = Authority::of("example.org");
    let own = authority.svid(crate::harness::mesh::SELF);
    let plan = Plan {
        audit: "audit: {sinks: [{sqlite: audit.db}, {jsonl: audit.jsonl}], readers: [\"spiffe://example.org/auditor/one\"]}\n"
            .to_owned(),
        ..doors(&authority, &own)
    };
    let house = plan.open().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("bundle.pem"), &authority.pem).unwrap();
    let address = house.mesh.unwrap().to_string();
    for (id, server, code, word) in [
        ("auditor/one", "attache", Some(0), ""),
        ("auditor/two", "attache", Some(1), "audit.readers"),
        ("agent/a", "attache", Some(1), "agents may not"),
        // Somebody else at that address would not be believed.
        (
            "auditor/one",
            "another",
            Some(1),
            "cannot read the audit trail of",
        ),
    ] {
        let identity = authority.svid(&format!("spiffe://example.org/{id}"));
        std::fs::write(path("svid.pem"), &identity.chain_pem).unwrap();
        std::fs::write(path("key.pem"), identity.key_pem()).unwrap();
        let server = format!("spiffe://example.org/{server}");
        let said = attache(&[
            "audit",
            "query",
            "--json",
            "--address",
            &address,
            "--certificate",
            &path("svid.pem"),
            "--key",
            &path("key.pem"),
            "--bundle",
            &path("bundle.pem"),
            "--server",
            &server,
        ])
        .await;
        assert_eq!(said.code, code, "{id} {server}: {}", said.err);
        assert!(said.err.contains(word), "{id} {server}: {}", said.err);
        assert_eq!(events(&said.out).is_empty(), code != Some(0));
    }
}
