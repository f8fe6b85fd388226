//! What a caller can't bring about by leaving early, and what a list doesn't tell between its lines. Everything else about
//! mandates is tried over sockets, in `tests/integration/mandates.rs`.

use std::future::poll_fn;
use std::pin::pin;

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use tempfile::TempDir;

use super::*;
use crate::audit::{Auditor, EventType, Memory, WriterHandle};
use crate::authority::Metrics;
use crate::clock::{Clock, MockClock, Timestamp};
use crate::config::Config;
use crate::delegation::{
    Authentication, GrantId, Narrowing, OnExcess, Person, Session, SessionId, Status, Task, TaskId,
};
use crate::identity::{MeshPeer, Peer, Svid};
use crate::keys;
use crate::policy::{CacheConfig, Cached, EmbeddedEngine, Program, Sources};
use crate::state::{Embedded, Handle, NewSession};

const CONFIG: &str = r#"
trust_domain: example.org
mode: development
roles:
  admin: ["documents/**:read"]
humans:
  local:
    - email: alice@example.org
      id: usr-alice-001
      role: admin
      password_hash: "$argon2id$v=19$m=19456,t=2,p=1$cm9sbGluZ3RoZWRpY2Vub3c$9yDFJwFvGHOIqQ8HVdkRNm3DNxAGmMYvjTVqDoJwzzE"
delegation:
  issuer: "https://attache.example.org"
  audience: "spiffe://example.org/svc/documents"
  agents:
    - {match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"]}
    - {match: "spiffe://example.org/agent/analysis", type: analysis, ceiling: ["**:*"]}
"#;
const POLICY: &str = "package agentweave.authz\n\nallow := true\n";
const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const ALICE: &str = "usr-alice-001";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

/// Mandates of Alice, who is logged in.
struct Bench {
    mandates: Mandates,
    store: Arc<dyn StateStore>,
    memory: Memory,
    auditor: Auditor,
    handle: Handle,
    _writer: WriterHandle,
    _folder: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(MockClock::new(NOW));
        let Config { rules, .. } = Config::parse(CONFIG, "attache.yaml".as_ref()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (keyring, _) = Keyring::open(&keys::Config::default(), folder.path(), NOW).unwrap();
        let (memory, auditor, writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
        // In a file: what a memory without one issued within the second of its start counts as issued before.
        let path = folder.path().join("state.db");
        let store = Embedded::file(&path, "default", &clock).unwrap();
        let store: Arc<dyn StateStore> = Arc::new(store);
        let mut sources = Sources::default();
        sources.insert("policy.rego", POLICY);
        let entry = "agentweave/authz/allow".parse().unwrap();
        let program = Program::compile(&sources, &entry, Duration::from_secs(10)).unwrap();
        let rng = || StdRng::seed_from_u64(1);
        let engine = Arc::new(EmbeddedEngine::new(program));
        let cache = CacheConfig::default();
        let engine = Cached::new(engine, &cache, rng(), &mut Registry::default());
        let metrics = Metrics::new(&mut Registry::default());
        let audit = auditor.clone();
        let authority = Authority::new(Arc::new(rules), Arc::new(engine), audit, clock, metrics);
        let authority = Arc::new(authority);
        let sessions = Sessions::new(Arc::clone(&authority), Arc::clone(&store), rng());
        let keyring = Arc::new(keyring);
        let kept = Arc::clone(&store);
        Self {
            mandates: Mandates::new(authority, Arc::new(sessions), kept, keyring, rng()),
            handle: log_in(&*store).await,
            store,
            memory,
            auditor,
            _writer: writer,
            _folder: folder,
        }
    }

    fn call(by: By) -> Call {
        Call {
            by,
            deadline: Deadline::after(Duration::from_secs(8)),
            once: None,
        }
    }

    fn alice(&self) -> Call {
        Self::call(By::Peer {
            peer: Peer::Unix { uid: Some(7) },
            handle: Some(self.handle.clone()),
        })
    }

    fn workload(id: &str) -> Call {
        let svid = Svid {
            id: id.parse().unwrap(),
            not_before: Timestamp::from_unix_seconds(NOW.unix_seconds() - 10),
            not_after: NOW.plus(Duration::from_secs(600)),
            serial: String::new(),
            fingerprint: String::new(),
        };
        let mesh = MeshPeer {
            svid: Arc::new(svid),
            vouched: true,
        };
        Self::call(By::Peer {
            peer: Peer::Mesh(mesh),
            handle: None,
        })
    }

    /// Alice hands reading to `agent` for `task`.
    async fn delegated(&self, agent: &str, task: &str) -> GrantId {
        let wanted = Delegation {
            parent: Parent::Session,
            spiffe_id: agent.parse().unwrap(),
            agent_id: "agent-001".parse().unwrap(),
            agent_type: None,
            task: Some(task.parse().unwrap()),
            purpose: String::new(),
            narrowing: Narrowing::default(),
            on_excess: OnExcess::default(),
            audience: None,
            ttl: None,
            further: 0,
            delivery: Delivery::Claim,
            dry: false,
        };
        let delegated = self.mandates.delegate(&self.alice(), wanted).await.unwrap();
        delegated.grant.id().unwrap().clone()
    }
}

async fn log_in(store: &dyn StateStore) -> Handle {
    let session = Session {
        id: SessionId::from_random(1),
        person: Person {
            id: ALICE.parse().unwrap(),
            issuer: "local".into(),
            subject: "alice@example.org".into(),
        },
        role: "admin".parse().unwrap(),
        authentication: Authentication {
            time: NOW,
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        created: NOW,
        expires: NOW.plus(Duration::from_secs(3600)),
        status: Status::Pending,
    };
    let id = session.id.clone();
    let handle = Handle::from_random([1; 32]);
    let new = NewSession {
        session,
        handle: handle.digest(),
    };
    store.open_session(new, None).await.unwrap();
    store.activate(Begun::Session(id)).await.unwrap();
    handle
}

/// Asks until something was taken back, and leaves before the answer.
async fn left<T>(bench: &Bench, asked: impl Future<Output = T>) {
    let mut asked = pin!(asked);
    let answered = poll_fn(|context| {
        if !bench.store.revocations().is_empty() {
            return std::task::Poll::Ready(false);
        }
        asked.as_mut().poll(context).map(|_answer| true)
    });
    assert!(
        !answered.await,
        "it was answered before anything was taken back"
    );
}

#[tokio::test]
async fn what_somebody_takes_back_who_does_not_wait_is_on_record() {
    for whole_task in [true, false] {
        let bench = Bench::new().await;
        let grant = bench.delegated(SCHEDULING, "task-abc").await;
        let event = if whole_task {
            let call = bench.alice();
            let wanted = RevokeTask {
                person: None,
                task: "task-abc".parse().unwrap(),
                reason: "gone".to_owned(),
            };
            left(&bench, bench.mandates.revoke_task(&call, wanted)).await;
            EventType::TaskRevoked
        } else {
            let call = Bench::workload(SCHEDULING);
            let wanted = RevokeGrant::Grant(grant);
            left(&bench, bench.mandates.revoke_grant(&call, &wanted, "gone")).await;
            EventType::TokenRevoked
        };
        bench.auditor.flush().await.unwrap();
        let records = bench.memory.records(event);
        assert_eq!(records.len(), 1, "{event:?}");
        assert_eq!(records[0]["details"]["cause"], "ABANDONED");
        assert_eq!(records[0]["message"], "gone");
    }
}

#[tokio::test]
async fn no_page_names_what_somebody_may_not_see() {
    let bench = Bench::new().await;
    // In the order of their names, those of others first, in between and last.
    for (agent, task) in [
        (ANALYSIS, "a"),
        (SCHEDULING, "b"),
        (ANALYSIS, "c"),
        (SCHEDULING, "d"),
        (ANALYSIS, "e"),
    ] {
        bench.delegated(agent, task).await;
    }
    let seen = async |id: &str, under: &str| {
        let (mut names, mut after): (Vec<TaskId>, _) = (Vec::new(), None);
        loop {
            let listing = Listing {
                person: Some(ALICE.parse().unwrap()),
                under: Some(under.parse().unwrap()),
                ended: true,
                most: 1,
                after: after.take(),
            };
            let page = bench.mandates.tasks(&Bench::workload(id), listing).await;
            let Page { items, next } = page.unwrap();
            names.extend(items.iter().map(|it: &Task| it.id.clone()));
            let Some(next) = next else {
                return names.iter().map(ToString::to_string).collect::<Vec<_>>();
            };
            assert!(names.contains(&next), "`{next}` is told to {id}");
            after = Some(next);
        }
    };
    assert_eq!(seen(SCHEDULING, "b").await, ["b"]);
    assert_eq!(seen(SCHEDULING, "d").await, ["d"]);
    let nobody: [&str; 0] = [];
    assert_eq!(seen("spiffe://example.org/svc/nosy", "b").await, nobody);
    assert_eq!(seen("spiffe://example.org/svc/nosy", "no").await, nobody);
}

#[tokio::test]
async fn no_page_names_a_grant_that_somebody_may_not_see() {
    let bench = Bench::new().await;
    for agent in [ANALYSIS, SCHEDULING, ANALYSIS, SCHEDULING, ANALYSIS] {
        bench.delegated(agent, "task-abc").await;
    }
    for (id, most, expected) in [
        (SCHEDULING, 1, 2),
        (SCHEDULING, 3, 2),
        (ANALYSIS, 2, 3),
        ("spiffe://example.org/svc/nosy", 1, 0),
    ] {
        let (mut ids, mut after): (Vec<GrantId>, _) = (Vec::new(), None);
        loop {
            let listing = Listing {
                person: Some(ALICE.parse().unwrap()),
                under: Some("task-abc".parse().unwrap()),
                ended: true,
                most,
                after: after.take(),
            };
            let page = bench.mandates.grants(&Bench::workload(id), listing).await;
            let Page { items, next } = page.unwrap();
            ids.extend(items.iter().filter_map(|it| it.grant.id().cloned()));
            let Some(next) = next else { break };
            assert!(ids.contains(&next), "`{next}` is told to {id}");
            after = Some(next);
        }
        assert_eq!(ids.len(), expected, "{id}");
    }
}

#[tokio::test]
async fn an_agent_that_begins_a_task_learns_of_no_task_out_of_its_reach() {
    // D20
    let bench = Bench::new().await;
    let grant = bench.delegated(SCHEDULING, "mine").await;
    bench.delegated(ANALYSIS, "hidden").await;
    let mut codes = Vec::new();
    for parent in ["hidden", "no-such-task"] {
        let wanted = NewTask {
            id: None,
            parent: Some(parent.parse().unwrap()),
            grant: Some(grant.clone()),
            purpose: String::new(),
            ttl: None,
        };
        let call = Bench::workload(SCHEDULING);
        let refused = bench.mandates.create_task(&call, wanted).await;
        codes.push(refused.unwrap_err().code());
    }
    assert_eq!(codes, ["TASK_UNAVAILABLE", "TASK_UNAVAILABLE"]);
}
