//! Records of every kind, as the real writer writes them.

use std::sync::Arc;
use std::time::Duration;

use attache::audit::{
    self, Actor, Agent, Checkpoints, Destination, Details, EventType, Extras, Http, Mandate,
    Memory, Mode, Origin, Outcome, Pep, Policy, Protocol, Record, Setup, SigningKey, Source,
    Subject, Task, Text,
};
use attache::clock::{MockClock, Timestamp};
use attache::identity::SpiffeId;
use attache::permission::{Reason, Tier};
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// A run of the writer that is given `records`, a second apart each: its lines, `audit.started` and `audit.stopped`
/// included.
pub(crate) async fn written(records: Vec<Record>) -> Vec<String> {
    let memory = Memory::default();
    let setup = Setup {
        first: Box::new(memory.clone()),
        others: vec![],
        capacity: 1024,
        origin: Origin {
            tenant: "default".into(),
            writer: "documents-7d4b9/01KDVDN94QZ6V0N4J1M5R8T2XA".into(),
        },
    };
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1_767_225_600)));
    let shared = Arc::clone(&clock);
    let mut rng = StdRng::seed_from_u64(1);
    let extras = Extras {
        // One at the end.
        checkpoints: Some(Checkpoints {
            key: SigningKey::generate(&mut rng).unwrap(),
            every: 1_000_000,
            interval: Duration::from_secs(3600),
        }),
        ..Extras::default()
    };
    let started = audit::start_with(setup, extras, shared, rng, &mut Registry::default());
    let (auditor, witness) = started.unwrap();
    // Until this the writer has not looked at the clock.
    auditor.flush().await.unwrap();
    for record in records {
        clock.advance(Duration::from_secs(1));
        auditor.record(record);
        auditor.flush().await.unwrap();
    }
    witness.close().await.unwrap();
    memory.lines()
}

/// One record of each kind at least, but those that the writer writes by itself.
pub(crate) fn representative() -> Vec<Record> {
    let mut records = operations();
    let kinds = EventType::ALL.into_iter();
    records.extend(kinds.filter_map(other));
    records
}

fn operations() -> Vec<Record> {
    let allowed = Record {
        delegation_chain: vec!["usr-alice-001".into(), "scheduling-agent-001".into()],
        subject: Some(alice()),
        mandate: Some(Box::new(mandate())),
        action: Some("update".parse().unwrap()),
        resource: Some("calendar/42".parse().unwrap()),
        tier: Some(Tier::Free),
        policy: Some(Policy {
            path: Some("agentweave/authz/allow".into()),
            policy_id: Some("roles".into()),
            revision: "6b0c7995cf86e891".into(),
        }),
        decision_id: Some("01KDVDNA00Z8XVSCCEKPVME87T".into()),
        target: Some(spiffe("svc/calendar")),
        audience: Some("spiffe://example.org/svc/calendar".into()),
        http: Some(http("PUT", "/calendar/42")),
        request_id: Some("0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0".into()),
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        source: Some(Source {
            ip: Some("10.0.3.17".parse().unwrap()),
            spiffe_id: Some(spiffe("gateway")),
        }),
        destination: Some(Destination {
            spiffe_id: spiffe("svc/calendar"),
        }),
        pep: Some(Pep::Tls {
            spiffe_id: spiffe("svc/calendar"),
        }),
        mode: Some(Mode::Enforce),
        latency: Some(Duration::from_micros(476)),
        cached: Some(false),
        ..Record::new(EventType::PermissionCheck, Outcome::Allowed, agent())
    };
    let supervised = Record {
        event_type: EventType::PermissionCheck,
        result: Outcome::Supervised,
        reason_code: Some(Reason::ApprovalRequired),
        action: Some("delete".parse().unwrap()),
        tier: Some(Tier::Supervised),
        http: None,
        trace_id: None,
        ..allowed.clone()
    };
    let shadowed = Record {
        result: Outcome::Allowed,
        mode: Some(Mode::Shadow),
        would_be: Some(Outcome::Denied),
        http: Some(http("PROPFIND", "/calendar")),
        action: Some("list".parse().unwrap()),
        source: Some(Source {
            ip: Some("2001:db8::17".parse().unwrap()),
            spiffe_id: None,
        }),
        ..supervised.clone()
    };
    let denied = Record {
        action: Some("read".parse().unwrap()),
        resource: Some("documents/42".parse().unwrap()),
        tier: Some(Tier::Absent),
        reason_code: Some(Reason::OutOfScope),
        message: Some("no role grants this operation".into()),
        http: Some(http("GET", "/documents/42")),
        pep: Some(Pep::Unix { uid: Some(101) }),
        ..Record::new(
            EventType::PermissionDenied,
            Outcome::Denied,
            Actor::Workload(spiffe("svc/reporting")),
        )
    };
    let nobody = Record {
        reason_code: Some(Reason::NoIdentity),
        pep: Some(Pep::Loopback),
        ..Record::new(EventType::PermissionDenied, Outcome::Denied, Actor::Unknown)
    };
    vec![allowed, supervised, shadowed, denied, nobody]
}

/// A record of `event_type`. A new kind does not compile here until it has one.
fn other(event_type: EventType) -> Option<Record> {
    use Outcome::{Failure, Success};
    let person = || Actor::Person("usr-alice-001".into());
    let of = |result, actor| Record {
        mandate: Some(Box::new(mandate())),
        ..Record::new(event_type, result, actor)
    };
    let system = |result, details| Record {
        details,
        ..Record::new(event_type, result, Actor::System)
    };
    let details = Details::default;
    Some(match event_type {
        EventType::PermissionCheck
        | EventType::PermissionDenied
        | EventType::AuditStarted
        | EventType::AuditCheckpoint
        | EventType::AuditStopped => return None,
        EventType::HumanLogin | EventType::HumanLogout | EventType::SessionExpired => Record {
            subject: Some(alice()),
            mandate: Some(Box::new(Mandate {
                session_id: Some("ses_01KDVDN9".into()),
                ..Mandate::default()
            })),
            ..Record::new(event_type, Success, person())
        },
        EventType::HumanLoginFailed => Record {
            message: Some("no such person, or not their password".into()),
            source: Some(Source {
                ip: Some("203.0.113.9".parse().unwrap()),
                spiffe_id: None,
            }),
            ..Record::new(event_type, Failure, Actor::Unknown)
        },
        EventType::AgentDelegated => Record {
            delegation_chain: vec!["usr-alice-001".into(), "scheduling-agent-001".into()],
            ..of(Success, person())
        },
        EventType::DelegationRejected => Record {
            message: Some("too deep: 5 hops, 4 at most".into()),
            ..Record::new(event_type, Failure, agent())
        },
        EventType::AgentSubdelegated | EventType::TokenIssued | EventType::TokenRenewed => {
            of(Success, agent())
        }
        EventType::TokenRejected => Record {
            message: Some("the token has expired".into()),
            ..of(Failure, agent())
        },
        EventType::TokenRevoked
        | EventType::TaskCreated
        | EventType::TaskCompleted
        | EventType::TaskRevoked => of(Success, person()),
        EventType::KeyRotated => system(Success, details().with("kid", "2026-01-a")),
        EventType::ConfigChanged => system(Success, details().with("revision", "9f2c")),
        EventType::ConfigRejected => Record {
            message: Some("routes[0].path: `*` can't stand there".into()),
            ..system(Failure, details())
        },
        EventType::PolicyLoaded => system(Success, details().with("revision", "6b0c7995cf86e891")),
        EventType::PolicyFailed => system(Failure, details()),
        EventType::CircuitOpened | EventType::CircuitHalfOpened | EventType::CircuitClosed => {
            let told = details()
                .with("endpoint", "http://127.0.0.1:8181")
                .with("failures", 5)
                .with("cause", "connection refused");
            system(Success, told)
        }
        EventType::AuditQueried => Record {
            action: Some("read".parse().unwrap()),
            resource: Some("audit".parse().unwrap()),
            details: details().with("method", "QueryAuditEntries"),
            ..Record::new(event_type, Success, Actor::Workload(spiffe("svc/auditor")))
        },
        EventType::AuditGap => {
            let told = details()
                .with("dropped", 12)
                .with("from", "2026-01-01T00:00:00.000000000Z")
                .with("to", "2026-01-01T00:00:02.000000000Z");
            system(Failure, told)
        }
    })
}

fn mandate() -> Mandate {
    Mandate {
        agent: Some(Agent {
            id: "scheduling-agent-001".into(),
            agent_type: "scheduling".into(),
        }),
        session_id: Some("ses_01KDVDN9".into()),
        grant_id: Some("grt_01KDVDNB".into()),
        jti: Some("tok_02".into()),
        parent_jti: Some("tok_01".into()),
        task: Some(Task {
            id: "task-abc-sub1".into(),
            path: vec!["task-abc".into(), "task-abc-sub1".into()],
        }),
    }
}

fn agent() -> Actor {
    Actor::Delegate {
        agent_id: Text::fixed("scheduling-agent-001"),
        spiffe_id: spiffe("agent/scheduling"),
    }
}

fn alice() -> Subject {
    Subject {
        id: "usr-alice-001".into(),
        role: Some("assistant".into()),
    }
}

fn http(method: &'static str, path: &'static str) -> Http {
    Http {
        host: "calendar.example.org".into(),
        method: method.into(),
        path: path.into(),
        protocol: Protocol::Http,
        route: Some("* /calendar/{id}".into()),
    }
}

fn spiffe(path: &str) -> SpiffeId {
    format!("spiffe://example.org/{path}").parse().unwrap()
}
