//! The law of delegation: each rule by itself (`rules`), what comes after (`afterwards`), and long random chains against a
//! model that was written separately (`chains`, `model`).

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::permission::{Action, PermissionSet, Resource, Tier};

mod afterwards;
mod chains;
mod model;
mod rules;

/// A person, two agents' workloads, and the moment at which everything happens.
#[derive(Debug, Clone)]
struct Scene {
    session: Session,
    role: PermissionSet,
    registry: Registry,
    limits: Limits,
    now: Timestamp,
}

/// The role `admin` of the example.
const ADMIN: [&str; 11] = [
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
];

const REGISTRY: &str = r#"
- {match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"]}
- {match: "spiffe://example.org/agent/analysis", type: analysis, ceiling: ["**:*"]}
- {match: "spiffe://example.org/agent/reader", type: reader, ceiling: ["**:read"], may_delegate_to: [reader]}
"#;

impl Scene {
    fn new() -> Self {
        let now = Timestamp::from_unix_seconds(1_790_000_000);
        Self {
            session: Session {
                id: SessionId::from_random(1),
                person: Person {
                    id: "usr-alice-001".parse().unwrap(),
                    issuer: "local".into(),
                    subject: "alice@example.com".into(),
                },
                role: "admin".parse().unwrap(),
                authentication: Authentication {
                    time: now,
                    methods: vec!["pwd".to_owned()],
                    class: None,
                },
                created: now,
                expires: now.plus(Duration::from_secs(3600)),
                status: Status::Active,
            },
            role: set(&ADMIN),
            registry: serde_saphyr::from_str(REGISTRY).unwrap(),
            limits: Limits {
                max_depth: 4,
                max_fanout: 16,
                token_ttl: Duration::from_secs(300),
                issuer: Some(service("https://attache.example.org")),
                audience: Some(service("spiffe://example.org/svc/documents")),
            },
            now,
        }
    }

    fn basis<'a>(&'a self, given: Option<&'a Given>) -> Basis<'a> {
        Basis {
            session: &self.session,
            role: &self.role,
            grant: given.map(|given| (&given.grant, &given.task)),
        }
    }

    fn delegate(&self, from: Option<&Given>, wanted: &Wanted) -> Result<Given, Refusal> {
        self.delegate_with(from, wanted, &facts())
    }

    /// A grant as it is once it is stored: it and its task are alive.
    fn delegate_with(
        &self,
        from: Option<&Given>,
        wanted: &Wanted,
        facts: &Facts<'_>,
    ) -> Result<Given, Refusal> {
        let basis = self.basis(from);
        let depth = from.map_or(0, |from| from.grant.chain.depth());
        let id = GrantId::from_random(u128::try_from(depth).unwrap() + 1);
        let proposal = delegate(
            &basis,
            wanted,
            facts,
            &self.limits,
            &self.registry,
            id,
            self.now,
        )?;
        let existing = || facts.task.or(from.map(|from| &from.task)).cloned();
        let mut task = proposal.task.clone().or_else(existing).unwrap();
        let mut grant = proposal.grant.clone();
        assert_eq!(grant.status, Status::Pending);
        (task.status, grant.status) = (Status::Active, Status::Active);
        Ok(Given {
            grant,
            task,
            proposal,
        })
    }

    /// The two delegations of the example: everything about documents and analytics, then reading documents.
    fn example(&self) -> (Given, Given) {
        let mut first = wanted("scheduling", "scheduling-agent-001", "task-abc");
        first.narrowing.resources = Some(patterns(&["documents", "analytics"]));
        let first = self.delegate(None, &first).unwrap();
        let mut second = wanted("analysis", "analysis-agent-002", "task-abc-sub1");
        second.narrowing.resources = Some(patterns(&["documents"]));
        second.narrowing.read_only = true;
        let second = self.delegate(Some(&first), &second).unwrap();
        (first, second)
    }
}

/// What was given, alive, and what was proposed.
#[derive(Debug, Clone)]
struct Given {
    grant: Grant,
    task: Task,
    proposal: Proposal,
}

impl Given {
    fn tier(&self, resource: &str, action: &str) -> Tier {
        let (resource, action) = operation(resource, action);
        self.grant.held.permissions().effective(&resource, &action)
    }
}

const fn facts() -> Facts<'static> {
    Facts {
        alive: true,
        siblings: 0,
        task: None,
        names_a_person: false,
    }
}

fn wanted(workload: &str, agent_id: &str, task: &str) -> Wanted {
    Wanted {
        spiffe_id: format!("spiffe://example.org/agent/{workload}")
            .parse()
            .unwrap(),
        agent_id: agent_id.parse().unwrap(),
        agent_type: None,
        task: WantedTask::Named {
            id: task.parse().unwrap(),
            purpose: "to plan the week".to_owned(),
            deadline: None,
        },
        narrowing: Narrowing::default(),
        on_excess: OnExcess::Narrow,
        audience: None,
        ttl: None,
        further: u8::MAX,
    }
}

fn set(permissions: &[&str]) -> PermissionSet {
    permissions.iter().map(|it| it.parse().unwrap()).collect()
}

fn patterns(texts: &[&str]) -> Vec<crate::pattern::Pattern> {
    texts.iter().map(|it| it.parse().unwrap()).collect()
}

fn service(text: &str) -> Audience {
    text.parse().unwrap()
}

fn operation(resource: &str, action: &str) -> (Resource, Action) {
    (resource.parse().unwrap(), action.parse().unwrap())
}
