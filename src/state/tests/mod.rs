//! A world to try memories in: a clock, a few people and agents, and short words for what they do.

mod contract;
mod failures;
mod model;
mod stress;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, MockClock, Timestamp};
use crate::delegation::{
    Agent, Authentication, Chain, Grant, GrantId, Held, Person, PersonId, Principal, Session,
    SessionId, Status, Task, TaskId, TokenId,
};

const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
const LIMITS: Limits = Limits {
    fanout: 16,
    leases: 64,
};
const ALICE: &str = "usr-alice-001";

struct World {
    store: Arc<dyn StateStore>,
    clock: Arc<MockClock>,
    next: AtomicU64,
    folder: Option<TempDir>,
}

impl World {
    fn memory() -> Self {
        let clock = Arc::new(MockClock::new(START));
        let as_clock: Arc<dyn Clock> = Arc::<MockClock>::clone(&clock);
        Self {
            store: Arc::new(Embedded::memory("default", &as_clock).unwrap()),
            clock,
            next: AtomicU64::new(1),
            folder: None,
        }
    }

    fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(MockClock::new(START));
        let as_clock: Arc<dyn Clock> = Arc::<MockClock>::clone(&clock);
        Self {
            store: Arc::new(
                Embedded::file(&folder.path().join("state.db"), "default", &as_clock).unwrap(),
            ),
            clock,
            next: AtomicU64::new(1),
            folder: Some(folder),
        }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.as_ref().unwrap().path().join("state.db")
    }

    /// Closes the memory and opens it again, for a tenant.
    fn restarted(mut self, tenant: &str) -> Self {
        let clock: Arc<dyn Clock> = Arc::<MockClock>::clone(&self.clock);
        self.store = Arc::new(Embedded::memory("nobody", &clock).unwrap());
        self.store = Arc::new(Embedded::file(&self.path(), tenant, &clock).unwrap());
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn after(&self, seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(seconds))
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    fn number(&self) -> u128 {
        u128::from(self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn new_session(&self, person: &str) -> (NewSession, Handle) {
        let number = self.number();
        let mut bits = [0; 32];
        bits[..16].copy_from_slice(&number.to_be_bytes());
        let handle = Handle::from_random(bits);
        let session = Session {
            id: SessionId::from_random(number),
            person: Person {
                id: person.parse().unwrap(),
                issuer: "local".into(),
                subject: person.into(),
            },
            role: "admin".parse().unwrap(),
            authentication: Authentication {
                time: self.now(),
                methods: vec!["pwd".to_owned()],
                class: None,
            },
            created: self.now(),
            expires: self.after(3600),
            status: Status::Pending,
        };
        let digest = handle.digest();
        (
            NewSession {
                session,
                handle: digest,
            },
            handle,
        )
    }

    async fn login(&self, person: &str) -> Session {
        let (new, _) = self.new_session(person);
        let session = self.store.open_session(new, None).await.unwrap().value;
        self.store
            .activate(Begun::Session(session.id.clone()))
            .await
            .unwrap();
        self.store
            .session(session.id, Whose::Anybody)
            .await
            .unwrap()
    }

    fn new_task(&self, session: &Session, path: &[&str]) -> Task {
        let path: Vec<TaskId> = path.iter().map(|it| it.parse().unwrap()).collect();
        Task {
            id: path.last().unwrap().clone(),
            person: session.person.id.clone(),
            session: session.id.clone(),
            path,
            owner: Principal::Person(session.person.id.clone()),
            begun_under: Vec::new(),
            purpose: "to try".to_owned(),
            created: self.now(),
            deadline: session.expires,
            status: Status::Pending,
        }
    }

    async fn task(&self, session: &Session, path: &[&str]) -> Task {
        let task = self.new_task(session, path);
        self.store
            .create_task(task.clone(), LIMITS, None)
            .await
            .unwrap();
        let begun = Begun::Task(task.person.clone(), task.id.clone());
        self.store.activate(begun).await.unwrap();
        self.store.task(task.person, task.id).await.unwrap()
    }

    fn new_grant(
        &self,
        session: &Session,
        parent: Option<&Grant>,
        task: &Task,
        agent: &str,
    ) -> Grant {
        let id = GrantId::from_random(self.number());
        let mut path = parent.map_or_else(Vec::new, |it| it.path.clone());
        path.push(id);
        let chain = parent.map_or_else(
            || Chain::direct(session.person.id.clone()),
            |it| it.chain.clone(),
        );
        let held = Held::by_role(&role());
        Grant {
            path,
            chain: chain.then(self::agent(agent)),
            session: session.id.clone(),
            task_path: task.path.clone(),
            held: parent.map_or(held, |it| it.held.clone()),
            hops: Vec::new(),
            audience: vec!["spiffe://example.org/svc/documents".parse().unwrap()],
            further: parent.map_or(7, |it| it.further - 1),
            created: self.now(),
            expires: session.expires,
            status: Status::Pending,
        }
    }

    async fn grant(
        &self,
        session: &Session,
        parent: Option<&Grant>,
        task: &Task,
        agent: &str,
    ) -> Grant {
        let grant = self.new_grant(session, parent, task, agent);
        let granted = self
            .store
            .delegate(alone(grant), None)
            .await
            .unwrap()
            .value
            .grant;
        let id = granted.id().unwrap().clone();
        self.store.activate(Begun::Grant(id.clone())).await.unwrap();
        self.standing(&id).await.grants.pop().unwrap()
    }

    fn new_lease(&self, grant: &Grant) -> Lease {
        Lease {
            token: TokenId::from_random(self.number()),
            grant: grant.id().unwrap().clone(),
            audience: grant.audience.clone(),
            issued: self.now(),
            expires: self.after(300).min(grant.expires),
        }
    }

    async fn lease(&self, grant: &Grant) -> Lease {
        let lease = self.new_lease(grant);
        self.store.lease(lease, LIMITS, None).await.unwrap().value
    }

    async fn standing(&self, grant: &GrantId) -> Standing {
        self.store
            .standing(grant.clone(), Whose::Anybody)
            .await
            .unwrap()
    }

    async fn end(&self, target: Target) -> Ended {
        self.store
            .end(target, Manner::Revoked, None)
            .await
            .unwrap()
            .value
    }

    fn killed(&self, grant: &Grant, lease: &Lease) -> Option<Cause> {
        kills(&*self.store, grant, lease)
    }
}

fn kills(store: &dyn StateStore, grant: &Grant, lease: &Lease) -> Option<Cause> {
    store.revocations().kills(&Presented {
        token: &lease.token,
        grants: &grant.path,
        tasks: &grant.task_path,
        session: &grant.session,
        person: &grant.chain.person,
        agents: &grant.chain.agents,
        issued: Timestamp::from_unix_seconds(lease.issued.unix_seconds()),
    })
}

fn role() -> crate::permission::PermissionSet {
    serde_json::from_str(
        r#"["documents/**:read", "documents/**:delete@supervised", "users/**:delete@forbidden"]"#,
    )
    .unwrap()
}

fn agent(name: &str) -> Agent {
    Agent {
        spiffe_id: format!("spiffe://example.org/agent/{name}")
            .parse()
            .unwrap(),
        agent_id: format!("{name}-001").parse().unwrap(),
        agent_type: name.parse().unwrap(),
    }
}

fn alone(grant: Grant) -> NewGrant {
    NewGrant {
        grant,
        task: None,
        lease: None,
        limits: LIMITS,
    }
}

fn request(caller: &str, id: &str, body: u8) -> Request {
    Request {
        caller: caller.to_owned(),
        id: id.to_owned(),
        digest: [body; 32],
    }
}

fn task_target(task: &Task) -> Target {
    Target::Task(task.person.clone(), task.id.clone())
}

fn grant_target(grant: &Grant) -> Target {
    Target::Grant(grant.id().unwrap().clone(), Whose::Anybody)
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, StateError>) -> Refusal {
    match outcome {
        Err(StateError::Refused(refusal)) => refusal,
        other => panic!("not a refusal: {other:?}"),
    }
}

fn failure<T: std::fmt::Debug>(outcome: Result<T, StateError>) -> Failure {
    match outcome {
        Err(StateError::Unavailable { failure, .. }) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}

fn inactive(level: Level, status: Status) -> Refusal {
    Refusal::Inactive { level, status }
}
