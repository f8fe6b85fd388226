//! Delegating: narrowing a realistic set four hops down, and the whole function at its last hop.
#![expect(clippy::expect_used, reason = "a benchmark that can't start fails")]

use std::hint::black_box;
use std::time::Duration;

use attache::clock::Timestamp;
use attache::config::Config;
use attache::delegation::{
    Authentication, Basis, Facts, Grant, GrantId, Narrowing, OnExcess, Person, Proposal, Session,
    SessionId, Settings, Status, Task, Wanted, WantedTask, delegate,
};
use attache::permission::PermissionSet;
use criterion::{Criterion, criterion_group, criterion_main};

const CONFIG: &str = r#"
trust_domain: example.org
agents: ["spiffe://example.org/agent/**"]
delegation:
  audience: "spiffe://example.org/svc/documents"
  agents: [{match: "spiffe://example.org/agent/*", type: generic, ceiling: ["**:*", "billing/**:*@supervised"]}]
"#;

const ROLE: [&str; 12] = [
    "users/**:read",
    "users/**:create@supervised",
    "users/**:update@supervised",
    "users/**:delete@forbidden",
    "documents/**:read",
    "documents/**:create",
    "documents/**:update",
    "documents/**:delete@supervised",
    "analytics/**:read",
    "analytics/**:admin@supervised",
    "billing/**:read",
    "billing/**:update@forbidden",
];

struct Scene {
    session: Session,
    role: PermissionSet,
    settings: Settings,
    now: Timestamp,
}

fn read<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("sound text")
}

fn scene() -> Scene {
    let config = Config::parse(CONFIG, std::path::Path::new("attache.yaml")).expect("sound file");
    let now = Timestamp::from_unix_seconds(1_790_000_000);
    Scene {
        session: Session {
            id: SessionId::from_random(1),
            person: Person {
                id: read("usr-alice-001"),
                issuer: "local".into(),
                subject: "alice".into(),
            },
            role: read("admin"),
            authentication: Authentication {
                time: now,
                methods: Vec::new(),
                class: None,
            },
            created: now,
            expires: now.plus(Duration::from_secs(3600)),
            status: Status::Active,
        },
        role: ROLE.into_iter().map(read).collect(),
        settings: config.rules.delegation,
        now,
    }
}

/// Fewer resources at each hop.
fn wanted(hop: usize) -> Wanted {
    let resources = ["documents", "analytics", "users", "billing"];
    let resources = resources.iter().take(4 - hop).copied().map(read);
    Wanted {
        spiffe_id: read(&format!("spiffe://example.org/agent/a{hop}")),
        agent_id: read(&format!("agent-{hop}")),
        agent_type: None,
        task: WantedTask::Named {
            id: read(&format!("task-{hop}")),
            purpose: String::new(),
            deadline: None,
        },
        narrowing: Narrowing {
            resources: Some(resources.collect()),
            ..Narrowing::default()
        },
        on_excess: OnExcess::Narrow,
        audience: None,
        ttl: None,
        further: u8::MAX,
    }
}

fn hop(scene: &Scene, from: Option<(&Grant, &Task)>, wanted: &Wanted) -> Proposal {
    let basis = Basis {
        session: &scene.session,
        role: &scene.role,
        grant: from,
    };
    let facts = Facts {
        alive: true,
        siblings: 0,
        task: None,
        names_a_person: false,
    };
    let Settings {
        limits, registry, ..
    } = &scene.settings;
    let id = GrantId::from_random(1);
    delegate(&basis, wanted, &facts, limits, registry, id, scene.now).expect("permitted")
}

fn benches(criterion: &mut Criterion) {
    let scene = scene();
    let mut given: Option<(Grant, Task)> = None;
    for at in 0..3 {
        let parent = given.as_ref().map(|(grant, task)| (grant, task));
        let mut proposal = hop(&scene, parent, &wanted(at));
        let mut task = proposal.task.take().expect("a new task");
        (proposal.grant.status, task.status) = (Status::Active, Status::Active);
        given = Some((proposal.grant, task));
    }
    let parent = given.as_ref().map(|(grant, task)| (grant, task));
    let last = wanted(3);
    criterion.bench_function("delegation/delegate_at_depth_4", |bencher| {
        bencher.iter(|| hop(black_box(&scene), parent, black_box(&last)));
    });
    let (grant, _) = given.as_ref().expect("three hops");
    criterion.bench_function("delegation/narrow_at_depth_4", |bencher| {
        bencher.iter(|| black_box(&grant.held).narrow(black_box(&last.narrowing)));
    });
    let role: Vec<_> = ROLE.to_vec();
    criterion.bench_function("delegation/role_under_ceiling", |bencher| {
        let entry = scene.settings.registry.0.first();
        let ceiling = &entry.expect("one entry").ceiling;
        let role: PermissionSet = role.iter().copied().map(read).collect();
        bencher.iter(|| black_box(&role).meet(black_box(ceiling)));
    });
}

criterion_group!(delegation, benches);
criterion_main!(delegation);
