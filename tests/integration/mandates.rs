//! Mandates over real sockets: a person on the Unix socket or over TLS, agents over mutual TLS, a real memory and trail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use attache::grpc::{
    ClientError, DelegationClient, HandoverInfo, HandoverWanted, MandateRef, SessionClient,
    TaskInfo,
};
use attache::humans::{Password, PasswordHash};
use attache::state::Handle;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;

use crate::harness::house::PATIENCE;
use crate::harness::mesh::{Client, SELF, doors};
use crate::harness::pki::Authority;
use crate::harness::{DOCUMENTS, House, Plan};

const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const OTHER: &str = "spiffe://example.org/agent/other";
const PASSWORD: &str = "correct horse";

/// People and agents of the walk: Alice is an admin.
fn rules(state: &str) -> String {
    let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
    let hash = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1)).unwrap();
    let hash = hash.to_phc();
    format!(
        r#"
mode: development
state: {state}
roles:
  admin:
    - "users/**:read"
    - "documents/**:read"
    - "documents/**:create"
    - "documents/**:update"
    - "documents/**:delete@supervised"
    - "documents/**:purge@forbidden"
    - "analytics/**:read"
  viewer: ["documents/**:read"]
humans:
  local:
    - {{email: alice@example.org, id: usr-alice-001, role: admin, password_hash: "{hash}"}}
    - {{email: carol@example.org, id: usr-carol-003, role: viewer, password_hash: "{hash}"}}
delegation:
  issuer: https://attache.example.org
  audience: "{DOCUMENTS}"
  agents:
    - {{match: "{SCHEDULING}", type: scheduling, ceiling: ["**:*"]}}
    - {{match: "{ANALYSIS}", type: analysis, ceiling: ["**:*"]}}
    - {{match: "{OTHER}", type: other, ceiling: ["**:*"]}}
"#
    )
}

/// A house with all doors, and who believes in its certificates.
struct Mesh {
    house: House,
    authority: Authority,
    rules: String,
}

impl Mesh {
    async fn open() -> Self {
        // In a file: what a memory without one issued within the second of its start counts as issued before.
        Self::keeping("{embedded: state.db}").await
    }

    async fn keeping(state: &str) -> Self {
        let authority = Authority::of("example.org");
        let mut plan = doors(&authority, &authority.svid(SELF));
        plan.more += &rules(state);
        plan.rules = plan.rules.replace(
            "  default: forbidden\n  rules:",
            "  default: free\n  rules:",
        );
        let rules = plan.rules.clone();
        let house = plan.open().await;
        Self {
            house,
            authority,
            rules,
        }
    }

    /// Ends the process and begins another one in the same folder.
    async fn restart(&mut self) {
        self.house.shutdown.drain();
        (&mut self.house.running).await.unwrap().unwrap();
        let empty = tempfile::tempdir().unwrap();
        let dir = std::mem::replace(&mut self.house.dir, empty);
        let file = dir.path().join("attache.yaml");
        let plan = Plan {
            rules: self.rules.clone(),
            ..Plan::default()
        };
        self.house = plan.open_at(dir, file).await;
    }

    /// Somebody on the Unix socket without a session.
    fn nobody(&self) -> DelegationClient {
        DelegationClient::over(self.house.channel.clone())
    }

    /// Ends the session that a client calls with.
    async fn log_out(&self, handle: &Handle) {
        let mut sessions = self.sessions().await;
        sessions.log_out(handle).await.unwrap();
    }

    async fn sessions(&self) -> SessionClient {
        let address = self.house.dir.path().join("authz.sock");
        let address = format!("unix:{}", address.display());
        SessionClient::connect(&address).await.unwrap()
    }

    /// A workload over `mesh`.
    async fn agent(&self, id: &str) -> DelegationClient {
        let client = Client::new(&self.authority, Some(self.authority.svid(id)));
        let channel = client.connect(self.house.mesh.unwrap()).await.unwrap();
        DelegationClient::over(channel)
    }

    /// A person on the Unix socket.
    async fn person(&self, name: &str) -> DelegationClient {
        let handle = self.log_in(name).await;
        DelegationClient::over(self.house.channel.clone()).with_session(handle)
    }

    async fn log_in(&self, name: &str) -> Handle {
        let mut sessions = self.sessions().await;
        let email = format!("{name}@example.org").parse().unwrap();
        let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
        let (_session, handle) = sessions
            .log_in(&email, &password, String::new())
            .await
            .unwrap();
        handle
    }
}

/// As the walk begins: documents and analytics to the scheduling agent, for task-abc.
fn first() -> HandoverWanted {
    HandoverWanted {
        spiffe_id: SCHEDULING.to_owned(),
        agent_id: "scheduling-agent-001".to_owned(),
        agent_type: "scheduling".to_owned(),
        task: "task-abc".to_owned(),
        resources: Some(vec!["documents".to_owned(), "analytics".to_owned()]),
        further: 1,
        ..HandoverWanted::default()
    }
}

/// As it goes on: reading documents to the analysis agent, for a part of it.
fn second(parent: MandateRef) -> HandoverWanted {
    HandoverWanted {
        parent: Some(parent),
        spiffe_id: ANALYSIS.to_owned(),
        agent_id: "analysis-agent-002".to_owned(),
        agent_type: "analysis".to_owned(),
        task: "task-abc-sub1".to_owned(),
        resources: Some(vec!["documents".to_owned()]),
        read_only: true,
        ..HandoverWanted::default()
    }
}

fn by_grant(handed: &HandoverInfo) -> MandateRef {
    MandateRef::Grant(handed.grant.id.clone())
}

fn by_token(handed: &HandoverInfo) -> MandateRef {
    MandateRef::Token(handed.token.as_ref().unwrap().token.clone())
}

/// The stable reason of a refusal.
fn reason<T: std::fmt::Debug>(refused: Result<T, ClientError>) -> String {
    match refused.unwrap_err() {
        ClientError::Refused { reason, message } if reason.is_empty() => message,
        ClientError::Refused { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn events(records: &[Value]) -> Vec<&str> {
    let names = records.iter().filter_map(|it| it["event_type"].as_str());
    names
        .filter(|name| !name.starts_with("audit.") && !name.starts_with("key."))
        .collect()
}

async fn word(agent: &mut DelegationClient, mandate: MandateRef, what: &str) -> String {
    let (resource, action) = what.split_once(':').unwrap();
    let told = agent
        .check_permission(mandate, resource, action)
        .await
        .unwrap();
    match &*told.reason {
        "" => told.result.to_owned(),
        reason => format!("{} ({reason})", told.result),
    }
}

#[tokio::test]
async fn a_person_s_authority_reaches_two_agents_and_dies_with_the_task() {
    // A13, A2, A3, A4, A6
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let scheduled = alice.delegate(first()).await.unwrap();
    assert_eq!(
        scheduled.grant.chain,
        ["usr-alice-001", "scheduling-agent-001"]
    );
    let mut scheduling = mesh.agent(SCHEDULING).await;
    for (what, expected) in [
        ("documents:read", "allowed"),
        (
            "documents:delete",
            "supervised (the operation needs a human's approval)",
        ),
        ("users:read", "denied (not in scoped resources)"),
    ] {
        let told = word(&mut scheduling, by_token(&scheduled), what).await;
        assert!(
            told.starts_with(expected.split(' ').next().unwrap()),
            "{what}: {told}"
        );
        if expected.starts_with("denied") {
            assert_eq!(told, expected);
        }
    }
    let analysed = scheduling.delegate(second(by_token(&scheduled))).await;
    let analysed = analysed.unwrap();
    assert_eq!(
        analysed.grant.chain,
        [
            "usr-alice-001",
            "scheduling-agent-001",
            "analysis-agent-002"
        ]
    );
    assert_eq!(analysed.grant.permissions, ["documents/**:read"]);
    let mut analysis = mesh.agent(ANALYSIS).await;
    let told = word(&mut analysis, by_token(&analysed), "documents:read").await;
    assert_eq!(told, "allowed");
    let told = word(&mut analysis, by_token(&analysed), "documents:update").await;
    assert_eq!(told, "denied (attenuated to read-only)");

    let ended = alice.revoke_task("task-abc", "", "done").await.unwrap();
    assert_eq!((ended.tokens, ended.grants), (2, 2));
    assert_eq!(
        ended.tasks,
        [
            ("task-abc".to_owned(), "revoked".to_owned()),
            ("task-abc-sub1".to_owned(), "cascaded".to_owned())
        ]
    );
    // A12, D21
    let told = word(&mut analysis, by_token(&analysed), "documents:read").await;
    assert!(told.starts_with("denied"), "{told}");
    // T49
    let again = alice.revoke_task("task-abc", "", "done").await.unwrap();
    assert_eq!((again.tokens, again.grants), (0, 0));

    let records = mesh.house.close().await;
    assert_eq!(
        events(&records),
        [
            "human.login",
            "task.created",
            "agent.delegated",
            "token.issued",
            "permission.check",
            "permission.check",
            "permission.denied",
            "task.created",
            "agent.subdelegated",
            "token.issued",
            "permission.check",
            "permission.denied",
            "task.revoked",
            "permission.denied",
            "task.revoked",
        ]
    );
    let handed = records
        .iter()
        .find(|it| it["event_type"] == "agent.subdelegated")
        .unwrap();
    assert_eq!(handed["actor"]["id"], "scheduling-agent-001");
    assert_eq!(handed["actor"]["spiffe_id"], SCHEDULING);
    assert_eq!(handed["subject"]["id"], "usr-alice-001");
    assert_eq!(handed["agent"]["id"], "analysis-agent-002");
    assert_eq!(handed["task"]["path"][1], "task-abc-sub1");
    assert_eq!(handed["delegation_chain"].as_array().unwrap().len(), 3);
    // T50: nothing that was written down holds a token.
    let all = serde_json::to_string(&records).unwrap();
    for handed in [&scheduled, &analysed] {
        let token = handed.token.as_ref().unwrap().token.expose();
        assert!(!all.contains(token.rsplit('.').next().unwrap()));
    }
}

#[tokio::test]
async fn an_agent_claims_and_renews_its_own_tokens_and_nobody_else_does() {
    // T24
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let wanted = HandoverWanted {
        claim: true,
        ..first()
    };
    let handed = alice.delegate(wanted).await.unwrap();
    assert!(handed.token.is_none());
    let grant = &handed.grant.id;
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let one = scheduling.mint(grant, "", None).await.unwrap();
    let two = scheduling.mint(grant, DOCUMENTS, None).await.unwrap();
    assert_ne!(one.jti, two.jti);
    let elsewhere = "spiffe://example.org/svc/elsewhere";
    assert_eq!(
        reason(scheduling.mint(grant, elsewhere, None).await),
        "AUDIENCE_NOT_ALLOWED"
    );
    // Who may know of it is told that it is another's; who may not, that there is none.
    assert_eq!(
        reason(alice.mint(grant, "", None).await),
        "DELEGATION_NOT_ALLOWED"
    );
    let mut analysis = mesh.agent(ANALYSIS).await;
    assert_eq!(reason(analysis.mint(grant, "", None).await), "NOT_FOUND");
    let mut carol = mesh.person("carol").await;
    assert_eq!(reason(carol.mint(grant, "", None).await), "NOT_FOUND");
    // A token in somebody else's hands hands nothing on.
    let stolen = second(MandateRef::Token(one.token.clone()));
    assert_eq!(
        reason(analysis.delegate(stolen).await),
        "PRESENTER_MISMATCH"
    );
    let ended = alice.revoke_task("task-abc", "", "").await.unwrap();
    assert_eq!(ended.tokens, 2);
    assert_eq!(
        reason(scheduling.mint(grant, "", None).await),
        "PARENT_INACTIVE"
    );
    let records = mesh.house.close().await;
    let names = events(&records);
    for event in ["token.issued", "token.renewed", "token.rejected"] {
        let count = names.iter().filter(|it| **it == event).count();
        assert_eq!(count, 1, "{event} in {names:?}");
    }
}

#[tokio::test]
async fn a_task_begins_before_anything_is_handed_on_for_it() {
    // D20
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let root = alice.create_task("task-abc", "", "", "the walk").await;
    let root = root.unwrap();
    assert_eq!((&*root.owner, &*root.state), ("usr-alice-001", "active"));
    assert_eq!(
        reason(alice.create_task("task-abc", "", "", "").await),
        "TASK_UNAVAILABLE"
    );
    let handed = alice.delegate(first()).await.unwrap();
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let part = scheduling
        .create_task("part", "", &handed.grant.id, "")
        .await;
    let part = part.unwrap();
    assert_eq!(part.path, ["task-abc", "part"]);
    assert_eq!(part.owner, "scheduling-agent-001");
    // Nobody names a task of another person, and nobody but its beginner and those above ends one.
    let mut carol = mesh.person("carol").await;
    assert_eq!(
        reason(carol.revoke_task("part", "usr-alice-001", "").await),
        "NOT_FOUND"
    );
    let mut analysis = mesh.agent(ANALYSIS).await;
    for task in ["part", "no-such-task"] {
        assert_eq!(
            reason(analysis.revoke_task(task, "usr-alice-001", "").await),
            "NOT_FOUND"
        );
    }
    let ended = scheduling.revoke_task("part", "usr-alice-001", "").await;
    assert_eq!(ended.unwrap().tasks.len(), 1);
    assert_eq!(
        reason(
            scheduling
                .revoke_task("task-abc", "usr-alice-001", "")
                .await
        ),
        "NOT_FOUND"
    );
}

#[tokio::test]
async fn everybody_sees_and_ends_what_is_theirs_and_nothing_else() {
    // T48, T50, D21, D38
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let one = alice.delegate(first()).await.unwrap();
    let other = HandoverWanted {
        task: "task-other".to_owned(),
        ..first()
    };
    let other = alice.delegate(other).await.unwrap();
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let part = scheduling.delegate(second(by_grant(&one))).await.unwrap();
    let mut analysis = mesh.agent(ANALYSIS).await;
    let mut carol = mesh.person("carol").await;

    let ids = |tasks: Vec<TaskInfo>| -> Vec<String> { tasks.into_iter().map(|it| it.id).collect() };
    let all = ["task-abc", "task-abc-sub1", "task-other"];
    assert_eq!(ids(alice.tasks("", "", false).await.unwrap()), all);
    assert!(carol.tasks("", "", false).await.unwrap().is_empty());
    let hers = carol.tasks("usr-alice-001", "", false).await;
    assert_eq!(reason(hers), "NOT_FOUND");
    let seen = scheduling.tasks("usr-alice-001", "task-abc", false).await;
    assert_eq!(ids(seen.unwrap()), all[..2]);
    let seen = analysis.tasks("usr-alice-001", "task-abc", false).await;
    assert_eq!(ids(seen.unwrap()), all[1..2]);
    let grants = analysis.grants("usr-alice-001", "task-abc", false).await;
    let grants = grants.unwrap();
    assert_eq!(grants.len(), 1);
    assert_eq!((&grants[0].id, grants[0].live_tokens), (&part.grant.id, 1));
    assert_eq!(alice.grants("", "", false).await.unwrap().len(), 3);

    // Those who may not know find nothing; of a token they learn nothing either.
    let mut stranger = mesh.agent(OTHER).await;
    for mut nobody in [carol, stranger.clone()] {
        assert_eq!(reason(nobody.revoke(by_grant(&one), "").await), "NOT_FOUND");
        let ended = nobody.revoke(by_token(&one), "").await.unwrap();
        assert_eq!((ended.tokens, ended.grants), (0, 0));
        let token = &one.token.as_ref().unwrap().token;
        assert_eq!(nobody.introspect(token).await.unwrap(), None);
        let asked = nobody.check_permission(by_grant(&one), "documents", "read");
        assert_eq!(reason(asked.await), "NOT_FOUND");
    }
    // Nobody ends what they were given by.
    assert_eq!(
        reason(analysis.revoke(by_grant(&one), "").await),
        "NOT_FOUND"
    );
    // The service that a token is for may look at it, and a stranger's word about it is worth nothing.
    let mut service = mesh.agent(DOCUMENTS).await;
    let token = one.token.as_ref().unwrap().token.clone();
    assert_eq!(service.verify(&token, SCHEDULING, "").await.unwrap(), None);
    let odd = service.verify(&token, ANALYSIS, "").await.unwrap();
    assert_eq!(odd.as_deref(), Some("presenter_mismatch"));
    let odd = stranger
        .verify(&token, SCHEDULING, DOCUMENTS)
        .await
        .unwrap();
    assert_eq!(odd.as_deref(), Some("token_invalid"));
    assert!(service.introspect(&token).await.unwrap().is_some());

    // T47, T49
    let garbage = MandateRef::Token(attache::delegation::token::Token::new("x.y.z".to_owned()));
    assert_eq!(alice.revoke(garbage, "").await.unwrap().grants, 0);
    let ended = scheduling.revoke(by_token(&one), "enough").await.unwrap();
    assert_eq!((ended.tokens, ended.grants), (2, 2));
    let ended = scheduling.revoke(by_token(&one), "enough").await.unwrap();
    assert_eq!((ended.tokens, ended.grants), (0, 0));
    let odd = service.verify(&token, SCHEDULING, "").await.unwrap();
    assert_eq!(odd.as_deref(), Some("token_revoked"));
    assert_eq!(
        word(&mut scheduling, by_token(&other), "documents:read").await,
        "allowed"
    );
    // D39
    let done = alice.complete_task("task-other", "").await.unwrap();
    assert_eq!(
        done.tasks,
        [("task-other".to_owned(), "completed".to_owned())]
    );
    assert_eq!(done.tokens, 1);

    let records = mesh.house.close().await;
    let refused = records
        .iter()
        .filter(|it| it["event_type"] == "token.revoked" && it["result"] == "failure");
    assert_eq!(refused.count(), 5);
}

/// What may not be handed on from `one`, each with the reason why.
fn wrong(one: &HandoverInfo, leaf: &HandoverInfo) -> Vec<(&'static str, HandoverWanted)> {
    let to = |id: &str, name: &str, kind: &str, wanted: HandoverWanted| HandoverWanted {
        spiffe_id: id.to_owned(),
        agent_id: name.to_owned(),
        agent_type: kind.to_owned(),
        ..wanted
    };
    let from_one = || second(by_grant(one));
    vec![
        (
            "SCOPE_EMPTY",
            HandoverWanted {
                resources: Some(vec![]),
                ..from_one()
            },
        ),
        (
            "SCOPE_EXCEEDED",
            HandoverWanted {
                resources: Some(vec!["users".to_owned()]),
                reject_excess: true,
                ..from_one()
            },
        ),
        (
            "AUDIENCE_NOT_ALLOWED",
            HandoverWanted {
                audience: vec!["https://elsewhere.example".to_owned()],
                ..from_one()
            },
        ),
        (
            "AUDIENCE_NOT_ALLOWED",
            HandoverWanted {
                audience: vec!["https://attache.example.org".to_owned()],
                ..from_one()
            },
        ),
        (
            "AGENT_ID_TAKEN",
            to(ANALYSIS, "usr-carol-003", "analysis", from_one()),
        ),
        (
            "DELEGATION_NOT_ALLOWED",
            to(ANALYSIS, "a", "scheduling", from_one()),
        ),
        (
            "DELEGATION_NOT_ALLOWED",
            to("spiffe://example.org/svc/none", "a", "", from_one()),
        ),
        (
            "INVALID_LIFETIME",
            HandoverWanted {
                ttl: Some(Duration::ZERO),
                ..from_one()
            },
        ),
        (
            "NOT_FOUND",
            second(MandateRef::Grant(
                "grt_00000000000000000000000007".to_owned(),
            )),
        ),
        (
            "BAD_REQUEST",
            HandoverWanted {
                parent: None,
                ..from_one()
            },
        ),
        (
            "BAD_REQUEST",
            HandoverWanted {
                resources: Some(vec!["a/../b".to_owned()]),
                ..from_one()
            },
        ),
        (
            "TOKEN_INVALID",
            second(MandateRef::Token(attache::delegation::token::Token::new(
                "x.y.z".to_owned(),
            ))),
        ),
        // A leaf's token is not for the issuer: it delegates nothing.
        ("TOKEN_INVALID", second(by_token(leaf))),
    ]
}

/// Every row of refusals that has a method here.
#[tokio::test]
async fn each_refusal_has_its_reason_and_changes_nothing() {
    let mesh = Mesh::open().await;
    let handle = mesh.log_in("alice").await;
    let mut alice = mesh.nobody().with_session(handle.clone());
    let one = alice.delegate(first()).await.unwrap();
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let mut analysis = mesh.agent(ANALYSIS).await;
    let leaf = scheduling.delegate(second(by_grant(&one))).await.unwrap();
    let cases = wrong(&one, &leaf);
    let before = alice.grants("", "", true).await.unwrap();
    for (code, wanted) in cases {
        let said = format!("{wanted:?}");
        assert_eq!(reason(scheduling.delegate(wanted).await), code, "{said}");
    }
    let further = HandoverWanted {
        parent: Some(by_grant(&leaf)),
        ..first()
    };
    assert_eq!(
        reason(analysis.delegate(further).await),
        "DELEGATION_NOT_ALLOWED"
    );
    let taken = HandoverWanted {
        parent: None,
        ..second(by_grant(&one))
    };
    assert_eq!(
        reason(mesh.nobody().delegate(taken).await),
        "SESSION_INVALID"
    );
    // D37
    let long = scheduling
        .mint(&one.grant.id, "", Some(Duration::MAX))
        .await;
    assert!(long.is_ok());
    assert_eq!(alice.grants("", "", true).await.unwrap(), {
        let mut before = before;
        before[0].live_tokens += 1;
        before
    });

    // A12, D25: the session ends, and everything with it.
    let one_token = by_token(&one);
    mesh.log_out(&handle).await;
    assert_eq!(
        reason(scheduling.delegate(second(one_token)).await),
        "TOKEN_REVOKED"
    );
    assert_eq!(
        reason(scheduling.delegate(second(by_grant(&one))).await),
        "PARENT_INACTIVE"
    );
    assert_eq!(
        mesh.house
            .metric("attache_delegations_total{result=\"success\"}")
            .await,
        2
    );
}

#[tokio::test]
async fn a_repeated_request_gives_the_same_answer_and_another_one_is_refused() {
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let wanted = HandoverWanted {
        request_id: "once".to_owned(),
        task: String::new(),
        ..first()
    };
    let one = alice.delegate(wanted.clone()).await.unwrap();
    let two = alice.delegate(wanted.clone()).await.unwrap();
    assert_eq!(one.grant, two.grant);
    let text = |it: &HandoverInfo| it.token.as_ref().unwrap().token.expose().to_owned();
    assert_eq!(text(&one), text(&two));
    let other = HandoverWanted {
        read_only: true,
        ..wanted.clone()
    };
    assert_eq!(reason(alice.delegate(other).await), "REQUEST_ID_REUSED");
    alice.revoke(by_grant(&one), "").await.unwrap();
    let three = alice.delegate(wanted).await.unwrap();
    assert_eq!(
        (&*three.grant.state, three.token.is_none()),
        ("revoked", true)
    );
    let dry = HandoverWanted {
        dry_run: true,
        ..first()
    };
    let dry = alice.delegate(dry).await.unwrap();
    assert_eq!((&*dry.grant.id, dry.token.is_none()), ("", true));
    assert!(alice.grants("", "", false).await.unwrap().is_empty());
}

/// Takes the disk away from under the trail: the file is moved, and nothing can be created in its place.
fn break_trail(house: &House) -> impl FnOnce() {
    let file = house.dir.path().join("audit.jsonl");
    let moved = house.dir.path().join("audit.jsonl.1");
    std::fs::rename(&file, &moved).unwrap();
    std::fs::create_dir(&file).unwrap();
    move || {
        std::fs::remove_dir(&file).unwrap();
        std::fs::rename(&moved, &file).unwrap();
    }
}

#[tokio::test]
async fn what_can_not_be_recorded_is_not_given_and_what_was_taken_stays_taken() {
    // A01
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await.within(SOON);
    let one = alice.delegate(first()).await.unwrap();
    let other = HandoverWanted {
        task: "task-other".to_owned(),
        ..first()
    };
    let mut scheduling = mesh.agent(SCHEDULING).await.within(SOON);
    let repair = break_trail(&mesh.house);
    for refused in [
        reason(alice.delegate(other.clone()).await),
        reason(alice.create_task("task-new", "", "", "").await),
        reason(scheduling.mint(&one.grant.id, "", None).await),
        reason(scheduling.delegate(second(by_token(&one))).await),
        reason(alice.revoke_task("task-abc", "", "").await),
    ] {
        assert_eq!(refused, "STORE_UNAVAILABLE");
    }
    repair();
    let mut alice = alice.within(PATIENCE);
    let root = alice.create_task("task-new", "", "", "").await;
    assert_eq!(root.unwrap().state, "active");
    let grants = alice.grants("", "", true).await.unwrap();
    assert_eq!((grants.len(), &*grants[0].state), (1, "cascaded"));
    assert_eq!(alice.delegate(other).await.unwrap().grant.state, "active");
    assert_eq!(
        reason(scheduling.mint(&one.grant.id, "", None).await),
        "PARENT_INACTIVE"
    );
    let failed = "attache_delegations_total{result=\"failed\"}";
    assert_eq!(mesh.house.metric(failed).await, 2);
}

#[tokio::test]
async fn a_memory_that_is_locked_refuses_and_recovers() {
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let one = alice.delegate(first()).await.unwrap();
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let file = mesh.house.dir.path().join("state.db");
    let thief = rusqlite::Connection::open(&file).unwrap();
    thief.execute_batch("BEGIN IMMEDIATE").unwrap();
    for refused in [
        reason(scheduling.mint(&one.grant.id, "", None).await),
        reason(scheduling.delegate(second(by_token(&one))).await),
        reason(alice.revoke_task("task-abc", "", "").await),
    ] {
        assert_eq!(refused, "STORE_UNAVAILABLE");
    }
    thief.execute_batch("ROLLBACK").unwrap();
    assert!(scheduling.mint(&one.grant.id, "", None).await.is_ok());
    let ended = alice.revoke_task("task-abc", "", "").await.unwrap();
    assert_eq!((ended.tokens, ended.grants), (2, 1));
}

#[tokio::test]
async fn a_restart_keeps_what_was_given_and_what_was_taken_back() {
    // D23
    let mut mesh = Mesh::open().await;
    let handle = mesh.log_in("alice").await;
    let mut alice = mesh.nobody().with_session(handle.clone());
    let one = alice.delegate(first()).await.unwrap();
    let other = HandoverWanted {
        task: "task-other".to_owned(),
        ..first()
    };
    let other = alice.delegate(other).await.unwrap();
    alice.revoke(by_grant(&other), "").await.unwrap();

    mesh.restart().await;
    let mut scheduling = mesh.agent(SCHEDULING).await;
    let told = word(&mut scheduling, by_token(&one), "documents:read").await;
    assert_eq!(told, "allowed");
    let told = word(&mut scheduling, by_token(&other), "documents:read").await;
    assert!(told.starts_with("denied"), "{told}");
    assert_eq!(
        reason(scheduling.delegate(second(by_token(&other))).await),
        "TOKEN_REVOKED"
    );
    let mut alice = mesh.nobody().with_session(handle);
    let ended = alice.revoke_task("task-abc", "", "").await.unwrap();
    assert_eq!((ended.tokens, ended.grants), (1, 1));
    let records = mesh.house.close().await;
    let keys: Vec<_> = records
        .iter()
        .filter(|it| it["event_type"] == "key.rotated")
        .map(|it| it["details"]["kid"].clone())
        .collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

/// D21, D22: whatever was given is dead once the revocation has answered, and nothing is given afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_given_beside_a_revocation_outlives_it() {
    let mesh = Mesh::open().await;
    let mut alice = mesh.person("alice").await;
    let scheduling = mesh.agent(SCHEDULING).await;
    let mut given_at_all = 0;
    for round in 0..12 {
        let task = format!("task-{round}");
        let wanted = HandoverWanted {
            task: task.clone(),
            ..first()
        };
        let one = alice.delegate(wanted).await.unwrap();
        let answered = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let mut racing = Vec::new();
        for number in 0..6 {
            let (mut agent, answered) = (scheduling.clone(), Arc::clone(&answered));
            let count = Arc::clone(&count);
            let grant = one.grant.id.clone();
            let wanted = HandoverWanted {
                agent_id: format!("analysis-{number}"),
                task: task.clone(),
                ..second(by_grant(&one))
            };
            racing.push(tokio::spawn(async move {
                let mut given = Vec::new();
                loop {
                    let late = answered.load(Ordering::SeqCst);
                    let token = if number % 2 == 0 {
                        agent.mint(&grant, "", None).await.map(|it| it.token)
                    } else {
                        let handed = agent.delegate(wanted.clone()).await;
                        handed.map(|it| it.token.unwrap().token)
                    };
                    match token {
                        Ok(_) if late => panic!("given after the revocation had answered"),
                        Ok(token) => {
                            count.fetch_add(1, Ordering::SeqCst);
                            given.push(token);
                        }
                        Err(_) => return given,
                    }
                }
            }));
        }
        // At another moment each time.
        while count.load(Ordering::SeqCst) < round {
            tokio::task::yield_now().await;
        }
        let ended = alice.revoke_task(&task, "", "").await.unwrap();
        answered.store(true, Ordering::SeqCst);
        let mut given = vec![one.token.unwrap().token];
        for racer in racing {
            given.extend(racer.await.unwrap());
        }
        // Those that were begun and never given count as well.
        let counted = usize::try_from(ended.tokens).unwrap();
        assert!(given.len() <= counted, "{} of {counted}", given.len());
        let mut service = mesh.agent(DOCUMENTS).await;
        for token in &given {
            assert_eq!(service.introspect(token).await.unwrap(), None);
        }
        given_at_all += given.len() - 1;
    }
    assert!(given_at_all > 0, "nobody was given anything beside");
}

/// D25
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_that_was_renewed_beside_a_logout_outlives_it() {
    let mesh = Mesh::open().await;
    let scheduling = mesh.agent(SCHEDULING).await;
    let mut service = mesh.agent(DOCUMENTS).await;
    for round in 0..6 {
        let handle = mesh.log_in("alice").await;
        let mut alice = mesh.nobody().with_session(handle.clone());
        let wanted = HandoverWanted {
            task: format!("task-{round}"),
            ..first()
        };
        let one = alice.delegate(wanted).await.unwrap();
        let (mut agent, grant) = (scheduling.clone(), one.grant.id.clone());
        let renewing = tokio::spawn(async move {
            let mut given = Vec::new();
            while let Ok(issued) = agent.mint(&grant, "", None).await {
                given.push(issued.token);
            }
            given
        });
        mesh.log_out(&handle).await;
        let mut given = renewing.await.unwrap();
        given.push(one.token.unwrap().token);
        for token in &given {
            assert_eq!(service.introspect(token).await.unwrap(), None);
        }
    }
}

/// Short enough for a test, long enough for a memory on a busy machine.
const SOON: Duration = Duration::from_millis(700);

#[tokio::test]
async fn without_issuer_or_state_there_are_no_mandates() {
    let whole = rules("memory");
    for plan in [
        whole.replace("  issuer: https://attache.example.org\n", ""),
        whole.replace("state: memory\n", ""),
    ] {
        let house = Plan::with(&plan).open().await;
        let mut client = DelegationClient::over(house.channel.clone());
        let refused = reason(client.delegate(first()).await);
        assert!(refused.contains("`delegation.issuer`"), "{refused}");
    }
}
