//! What a delegation, a lease and a revocation cost in a file that is synced, and what every Check pays for looking.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't start fails")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attache::clock::{Clock, SystemClock};
use attache::delegation::{
    Agent, Authentication, Basis, Facts, Grant, GrantId, Limits as Law, Narrowing, OnExcess,
    Person, Registry, Session, SessionId, Status, TokenId, Wanted, WantedTask, delegate,
};
use attache::permission::PermissionSet;
use attache::state::{
    Begun, Delta, Embedded, Entry, Handle, Lease, Limits, Manner, NewGrant, NewSession, Position,
    Presented, Revocations, Revoked, StateStore, Target,
};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const LIMITS: Limits = Limits {
    fanout: u32::MAX,
    leases: u32::MAX,
};

struct Bench {
    store: Embedded,
    clock: Arc<dyn Clock>,
    session: Session,
    next: AtomicU64,
    registry: Registry,
    role: PermissionSet,
}

impl Bench {
    fn number(&self) -> u128 {
        u128::from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A grant below `parent`, with a new task where there is no parent.
    fn proposal(&self, parent: Option<&NewGrant>) -> NewGrant {
        let number = self.number();
        let task = parent.map(|it| {
            let mut task = it.task.clone().unwrap();
            task.status = Status::Active;
            task
        });
        let above = parent.map(|it| Grant {
            status: Status::Active,
            ..it.grant.clone()
        });
        let wanted = Wanted {
            spiffe_id: "spiffe://example.org/agent/a".parse().unwrap(),
            agent_id: format!("agent-{number}").parse().unwrap(),
            agent_type: None,
            task: match &task {
                Some(task) => WantedTask::Existing(task.id.clone()),
                None => WantedTask::Named {
                    id: format!("task-{number}").parse().unwrap(),
                    purpose: String::new(),
                    deadline: None,
                },
            },
            narrowing: Narrowing::default(),
            on_excess: OnExcess::Narrow,
            audience: None,
            ttl: None,
            further: 7,
        };
        let law = Law {
            max_depth: 4,
            max_fanout: u32::MAX,
            token_ttl: Duration::from_secs(300),
            issuer: None,
            audience: Some("spiffe://example.org/svc/documents".parse().unwrap()),
        };
        let basis = Basis {
            session: &self.session,
            role: &self.role,
            grant: above.as_ref().zip(task.as_ref()),
        };
        let facts = Facts {
            alive: true,
            siblings: 0,
            task: None,
            names_a_person: false,
        };
        let now = self.clock.now();
        let id = GrantId::from_random(number);
        let proposal = delegate(&basis, &wanted, &facts, &law, &self.registry, id, now).unwrap();
        NewGrant {
            grant: proposal.grant,
            task: proposal.task.or(task),
            lease: None,
            limits: LIMITS,
        }
    }

    async fn give(&self, new: &NewGrant, begins: bool) {
        let mut new = new.clone();
        new.task = new.task.filter(|_| begins);
        let id = new.grant.id().unwrap().clone();
        self.store.delegate(new, None).await.unwrap();
        self.store.activate(Begun::Grant(id)).await.unwrap();
    }

    fn lease(&self, grant: &Grant) -> Lease {
        let issued = self.clock.now();
        Lease {
            token: TokenId::from_random(self.number()),
            grant: grant.id().unwrap().clone(),
            audience: grant.audience.clone(),
            issued,
            expires: issued.plus(Duration::from_secs(299)),
        }
    }

    /// Three levels with two grants below each, a lease on every one of them: seven.
    async fn tree(&self) -> NewGrant {
        let root = self.proposal(None);
        self.give(&root, true).await;
        let mut level = vec![root.clone()];
        for depth in 0..3 {
            let mut next = Vec::new();
            for parent in &level {
                self.store
                    .lease(self.lease(&parent.grant), LIMITS, None)
                    .await
                    .unwrap();
                for _ in 0..if depth < 2 { 2 } else { 0 } {
                    let child = self.proposal(Some(parent));
                    self.give(&child, false).await;
                    next.push(child);
                }
            }
            level = next;
        }
        root
    }
}

fn storage(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Embedded::file(&folder.path().join("state.db"), "default", &clock).unwrap();
    let now = clock.now();
    let session = Session {
        id: SessionId::from_random(1),
        person: Person {
            id: "usr-alice-001".parse().unwrap(),
            issuer: "local".into(),
            subject: "alice".into(),
        },
        role: "admin".parse().unwrap(),
        authentication: Authentication {
            time: now,
            methods: Vec::new(),
            class: None,
        },
        created: now,
        expires: now.plus(Duration::from_secs(3600)),
        status: Status::Active,
    };
    let new = NewSession {
        session: session.clone(),
        handle: Handle::from_random([1; 32]).digest(),
    };
    let agents = r#"[{"match": "spiffe://example.org/agent/a", "type": "a", "ceiling": ["**:*"], "may_delegate_to": ["a"]}]"#;
    let bench = Bench {
        store,
        clock,
        session,
        next: AtomicU64::new(1),
        registry: serde_json::from_str(agents).unwrap(),
        role: serde_json::from_str(r#"["documents/**:read", "documents/**:delete@supervised"]"#)
            .unwrap(),
    };
    runtime.block_on(async {
        bench.store.open_session(new, None).await.unwrap();
        bench
            .store
            .activate(Begun::Session(bench.session.id.clone()))
            .await
            .unwrap();
    });
    let mut group = c.benchmark_group("state");
    group.sample_size(20);
    group.bench_function("delegate", |b| {
        b.iter(|| runtime.block_on(bench.give(&bench.proposal(None), true)));
    });
    let root = runtime.block_on(bench.tree());
    group.bench_function("lease", |b| {
        b.iter(|| {
            runtime
                .block_on(bench.store.lease(bench.lease(&root.grant), LIMITS, None))
                .unwrap()
        });
    });
    group.bench_function("revoke_tree", |b| {
        let target =
            |root: NewGrant| Target::Task(bench.session.person.id.clone(), root.task.unwrap().id);
        b.iter_batched(
            || target(runtime.block_on(bench.tree())),
            |target| {
                runtime
                    .block_on(bench.store.end(target, Manner::Revoked, None))
                    .unwrap()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn kills(c: &mut Criterion) {
    let until = SystemClock.now().plus(Duration::from_secs(330));
    let entry = |number| Entry {
        what: Revoked::Grant(GrantId::from_random(number)),
        until,
    };
    let revocations = Revocations::new(Position(1), []);
    let entries = (0..100_000).map(|number| entry(number + 100)).collect();
    revocations.add(Delta {
        position: Position(2),
        entries,
    });
    let grants: Vec<_> = (0..4).map(GrantId::from_random).collect();
    let tasks = ["task-abc".parse().unwrap()];
    let agents: Vec<_> = (0..4)
        .map(|number| Agent {
            spiffe_id: format!("spiffe://example.org/agent/{number}")
                .parse()
                .unwrap(),
            agent_id: format!("agent-{number}").parse().unwrap(),
            agent_type: "a".parse().unwrap(),
        })
        .collect();
    let (token, session) = (TokenId::from_random(1), SessionId::from_random(1));
    let person = "usr-alice-001".parse().unwrap();
    let presented = Presented {
        token: &token,
        grants: &grants,
        tasks: &tasks,
        session: &session,
        person: &person,
        agents: &agents,
        issued: until,
    };
    c.bench_function("state/kills", |b| {
        b.iter(|| revocations.kills(black_box(&presented)));
    });
}

criterion_group!(benches, storage, kills);
criterion_main!(benches);
