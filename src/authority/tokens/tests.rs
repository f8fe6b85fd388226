use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::registry::Registry;
use proptest::prelude::*;
use proptest::sample::select;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::audit::{Auditor, EventType, Memory, WriterHandle};
use crate::authority::{
    Authority, Deadline as Until, Decision, Headers, Metrics, Outcome, Question,
};
use crate::clock::{Clock, MockClock};
use crate::config::Config;
use crate::delegation::token::{Confirmation, Lease, Thumbprint, Token};
use crate::delegation::{
    Agent, Authentication, Chain, GrantId, Person, Principal, Session, Status, Task, TaskId,
    TokenId,
};
use crate::identity::Peer;
use crate::keys::{self, Keyring, Signer};
use crate::permission::Tier;
use crate::policy::{
    Answer, CacheConfig, Cached, EmbeddedEngine, PolicyEngine, PolicyError, Program, Query,
    Sources, Verdict,
};
use crate::state::{Begun, Embedded, Handle, Limits, Manner, NewSession, StateStore, Target};

const CONFIG: &str = r#"
trust_domain: example.org
mode: development
humans:
  local:
    - email: alice@example.org
      id: usr-alice-001
      role: admin
      password_hash: "$argon2id$v=19$m=19456,t=2,p=1$cm9sbGluZ3RoZWRpY2Vub3c$9yDFJwFvGHOIqQ8HVdkRNm3DNxAGmMYvjTVqDoJwzzE"
agents: ["spiffe://example.org/agent/**"]
gateways: ["spiffe://example.org/gateway"]
delegation:
  issuer: "https://attache.example.org"
  agents:
    - {match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"]}
    - {match: "spiffe://example.org/agent/analysis", type: analysis, ceiling: ["documents/**:*"]}
roles:
  viewer: []
  admin: ["audit/**:delete", "documents/**:read", "documents/**:update", "documents/**:delete@supervised", "users/**:read", "billing/**:update@forbidden"]
workloads:
  - {match: "spiffe://example.org/svc/*", permissions: ["**:*"]}
routes:
  - {method: GET, path: "/documents/{id}", resource: "documents/{id}", action: read}
  - {method: PUT, path: "/documents/{id}", resource: "documents/{id}", action: update}
  - {method: DELETE, path: "/documents/{id}", resource: "documents/{id}", action: delete}
  - {method: GET, path: "/users/{id}", resource: "users/{id}", action: read}
  - {method: PUT, path: "/billing/{id}", resource: "billing/{id}", action: update}
  - {method: DELETE, path: "/audit/{id}", resource: "audit/{id}", action: delete}
  - {method: GET, path: "/shadowed", resource: "documents/shadowed", action: read, mode: shadow}
tiers:
  rules:
    - {resource: "**", action: read, tier: free}
    - {resource: "**", action: update, tier: free}
    - {resource: "**", action: delete, tier: supervised}
"#;

/// Tells what it sees.
const POLICY: &str = r#"
package agentweave.authz

allow := {"allow": true, "reason": json.marshal(input), "policy_id": "echo"}
"#;

const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const GATEWAY: &str = "spiffe://example.org/gateway";
const REPORTING: &str = "spiffe://example.org/svc/reporting";
const DOCUMENTS: &str = "spiffe://example.org/svc/documents";
const ALICE: &str = "usr-alice-001";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

struct Bench {
    authority: Authority,
    store: Arc<dyn StateStore>,
    signer: Signer,
    clock: Arc<MockClock>,
    session: SessionId,
    memory: Memory,
    auditor: Auditor,
    _writer: WriterHandle,
    _folder: TempDir,
}

/// A request, as its proxy tells it.
struct Asked<'a> {
    caller: &'a str,
    method: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    destination: Option<&'a str>,
}

fn get<'a>(caller: &'a str, headers: Vec<(&'a str, &'a str)>) -> Asked<'a> {
    Asked {
        caller,
        method: "GET",
        path: "/documents/42",
        headers,
        destination: Some(DOCUMENTS),
    }
}

fn echo() -> Arc<dyn PolicyEngine> {
    let mut sources = Sources::default();
    sources.insert("policy.rego", POLICY);
    let path = "agentweave/authz/allow".parse().unwrap();
    let program = Program::compile(&sources, &path, Duration::from_secs(10)).unwrap();
    let engine = Arc::new(EmbeddedEngine::new(program));
    let config = CacheConfig::default();
    let rng = StdRng::seed_from_u64(1);
    Arc::new(Cached::new(engine, &config, rng, &mut Registry::default()))
}

impl Bench {
    async fn new() -> Self {
        Self::with(CONFIG, echo()).await
    }

    async fn with(config: &str, engine: Arc<dyn PolicyEngine>) -> Self {
        let clock = Arc::new(MockClock::new(NOW));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let store = Arc::new(Embedded::memory("default", &shared).unwrap());
        Self::on(config, engine, clock, store).await
    }

    async fn on(
        config: &str,
        engine: Arc<dyn PolicyEngine>,
        clock: Arc<MockClock>,
        store: Arc<dyn StateStore>,
    ) -> Self {
        let Config { rules, .. } = Config::parse(config, "attache.yaml".as_ref()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (keyring, _) = Keyring::open(&keys::Config::default(), folder.path(), NOW).unwrap();
        let keyring = Arc::new(keyring);
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let (memory, auditor, writer) = Memory::auditor(Arc::clone(&shared)).unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let verifier = Verifier::new(Arc::clone(&keyring), 1024 * 1024);
        let authority = Authority::new(Arc::new(rules), engine, auditor.clone(), shared, metrics);
        let session = login(&*store, clock.now()).await;
        Self {
            authority: authority.with_tokens(Some(Tokens::new(verifier, Arc::clone(&store)))),
            store,
            signer: Signer::new(keyring),
            clock,
            session,
            memory,
            auditor,
            _writer: writer,
            _folder: folder,
        }
    }

    /// What a token for the chain of these agents says: the first part of a workload's path and its agent's name.
    fn claims(&self, agents: &[&str], permissions: &[&str]) -> Claims {
        let agents = agents.iter().map(|name| Agent {
            spiffe_id: format!("spiffe://example.org/agent/{name}")
                .parse()
                .unwrap(),
            agent_id: format!("{name}-agent-001").parse().unwrap(),
            agent_type: name.parse().unwrap(),
        });
        let agents: Vec<_> = agents.collect();
        let depth = agents.len();
        let lease = (depth > 0).then(|| Lease {
            tasks: (0..depth).map(task_id).collect(),
            grants: (0..depth as u128).map(GrantId::from_random).collect(),
            parent: None,
            root: None,
        });
        Claims {
            issuer: "https://attache.example.org".parse().unwrap(),
            chain: Chain {
                person: ALICE.parse().unwrap(),
                agents,
            },
            client: GATEWAY.parse().unwrap(),
            audience: DOCUMENTS.parse().unwrap(),
            redelegable: false,
            permissions: permissions
                .iter()
                .map(|it| it.parse::<crate::permission::Permission>().unwrap())
                .collect(),
            lease,
            session: self.session.clone(),
            id: TokenId::from_random(7),
            issued: self.clock.now(),
            expires: self.clock.now().plus(Duration::from_secs(300)),
            authentication: Authentication {
                time: NOW,
                methods: vec!["pwd".to_owned()],
                class: None,
            },
            confirmation: Confirmation::default(),
        }
    }

    fn mint(&self, claims: &Claims) -> Token {
        self.signer.mint(claims).unwrap()
    }

    /// A token of the scheduling agent that may read and change documents.
    fn scheduling(&self) -> Token {
        self.mint(&self.claims(
            &["scheduling"],
            &["documents/**:read", "documents/**:update"],
        ))
    }

    async fn decide(&self, asked: &Asked<'_>) -> Decision {
        let headers = asked.headers.iter();
        let headers = Headers::new(headers.map(|(name, value)| (*name, value.as_bytes())));
        let extensions = HashMap::new();
        let question = Question {
            peer: Peer::Unix { uid: Some(7) },
            certificate: None,
            principal: Some(asked.caller),
            source_ip: None,
            destination: asked.destination,
            extensions: &extensions,
            http: Some(HttpRequest {
                id: "1",
                method: asked.method,
                host: "documents.example.org",
                target: asked.path,
                headers: headers.unwrap(),
                body: b"",
                size: 0,
            }),
            attributes: None,
        };
        let deadline = Until::after(Duration::from_secs(10));
        self.authority.check(&question, deadline).await
    }

    /// The code of a refusal, else `allow`, and the decision's record.
    async fn word(&self, asked: &Asked<'_>) -> (String, Json) {
        let decision = self.decide(asked).await;
        let word = match &decision.outcome {
            Outcome::Allow(_) => "allow".to_owned(),
            Outcome::Deny(denial) => denial.reason.to_string(),
        };
        self.auditor.flush().await.unwrap();
        let denied = self.memory.records(EventType::PermissionDenied);
        let checked = self.memory.records(EventType::PermissionCheck);
        let mut records = denied.into_iter().chain(checked);
        let id = decision.id.text();
        (word, records.find(|it| it["decision_id"] == *id).unwrap())
    }

    /// The same with a token in `authorization`.
    async fn by(&self, caller: &str, token: &Token) -> (String, Json) {
        let value = bearer(token);
        self.word(&get(caller, vec![("authorization", &value)]))
            .await
    }

    async fn refused(&self, headers: Vec<(&str, &str)>) -> (String, Json) {
        self.word(&get(SCHEDULING, headers)).await
    }
}

fn bearer(token: &Token) -> String {
    format!("Bearer {}", token.expose())
}

fn task_id(at: usize) -> TaskId {
    format!("task-{at}").parse().unwrap()
}

async fn login(store: &dyn StateStore, now: Timestamp) -> SessionId {
    let session = Session {
        id: SessionId::from_random(1),
        person: Person {
            id: ALICE.parse().unwrap(),
            issuer: "local".into(),
            subject: "alice@example.org".into(),
        },
        role: "admin".parse().unwrap(),
        authentication: Authentication {
            time: now,
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        created: now,
        expires: now.plus(Duration::from_secs(3600)),
        status: Status::Pending,
    };
    let id = session.id.clone();
    let handle = Handle::from_random([1; 32]).digest();
    store
        .open_session(NewSession { session, handle }, None)
        .await
        .unwrap();
    store.activate(Begun::Session(id.clone())).await.unwrap();
    id
}

async fn begin_task(bench: &Bench, id: TaskId) {
    let now = bench.clock.now();
    let task = Task {
        path: vec![id.clone()],
        id: id.clone(),
        person: ALICE.parse().unwrap(),
        session: bench.session.clone(),
        owner: Principal::Person(ALICE.parse().unwrap()),
        begun_under: Vec::new(),
        purpose: String::new(),
        created: now,
        deadline: now.plus(Duration::from_secs(600)),
        status: Status::Pending,
    };
    let limits = Limits {
        fanout: 16,
        leases: 16,
    };
    bench.store.create_task(task, limits, None).await.unwrap();
    let begun = Begun::Task(ALICE.parse().unwrap(), id);
    bench.store.activate(begun).await.unwrap();
}

#[tokio::test]
async fn an_agent_with_a_token_of_its_own_may_do_what_the_token_permits() {
    let bench = Bench::new().await;
    let claims = bench.claims(&["scheduling", "analysis"], &["documents/**:read"]);
    let (word, record) = bench.by(ANALYSIS, &bench.mint(&claims)).await;
    assert_eq!(word, "allow", "{record}");
    // A3
    assert_eq!(
        record["actor"],
        json!({"id": "analysis-agent-001", "type": "agent", "spiffe_id": ANALYSIS})
    );
    assert_eq!(record["subject"], json!({"id": ALICE, "role": "admin"}));
    assert_eq!(
        record["delegation_chain"],
        json!([ALICE, "scheduling-agent-001", "analysis-agent-001"])
    );
    assert_eq!(
        record["task"],
        json!({"id": "task-1", "path": ["task-0", "task-1"]})
    );
    assert_eq!(
        record["agent"],
        json!({"id": "analysis-agent-001", "type": "analysis"})
    );
    assert_eq!(record["jti"], TokenId::from_random(7).as_str());
    assert_eq!(record["grant_id"], GrantId::from_random(1).as_str());
    assert_eq!(record["session_id"], bench.session.as_str());
    assert_eq!(record["audience"], DOCUMENTS);
    let seen: Json = serde_json::from_str(record["message"].as_str().unwrap()).unwrap();
    assert_eq!(seen["subject"], json!({"id": ALICE, "role": "admin"}));
    assert_eq!(seen["chain"], record["delegation_chain"]);
    assert_eq!(seen["agent"], record["agent"]);
    assert_eq!(seen["task"], record["task"]);
    let time = NOW.to_string();
    assert_eq!(seen["session"], json!({"auth_time": time, "amr": ["pwd"]}));
    assert_eq!(seen["permissions"], json!(["documents/**:read"]));
    assert_eq!(seen["tier"], "free");
}

#[tokio::test]
async fn what_token_role_ceiling_or_table_do_not_give_is_denied() {
    let bench = Bench::new().await;
    let everything = bench.claims(&["scheduling"], &["**:*"]);
    let analysis = bench.claims(&["analysis"], &["**:*"]);
    let narrow = bench.claims(&["scheduling"], &["documents/**:read"]);
    for (caller, claims, method, path, expected, says) in [
        (SCHEDULING, &everything, "GET", "/users/7", "allow", ""),
        (
            SCHEDULING,
            &narrow,
            "GET",
            "/users/7",
            "out_of_scope",
            "the token does not permit it",
        ),
        (
            SCHEDULING,
            &narrow,
            "PUT",
            "/documents/7",
            "out_of_scope",
            "the token does not permit it",
        ),
        (
            ANALYSIS,
            &analysis,
            "GET",
            "/users/7",
            "out_of_scope",
            "the ceiling of the agent `analysis-agent-001`",
        ),
        (
            SCHEDULING,
            &everything,
            "DELETE",
            "/documents/7",
            "approval_required",
            "",
        ),
        (
            SCHEDULING,
            &everything,
            "PUT",
            "/billing/7",
            "tier_forbidden",
            "",
        ),
        // A5: by no configuration.
        (
            SCHEDULING,
            &everything,
            "DELETE",
            "/audit/7",
            "tier_forbidden",
            "",
        ),
        (
            SCHEDULING,
            &everything,
            "PUT",
            "/nowhere",
            "route_unmatched",
            "",
        ),
    ] {
        let value = bearer(&bench.mint(claims));
        let asked = Asked {
            method,
            path,
            ..get(caller, vec![("authorization", &value)])
        };
        let (word, record) = bench.word(&asked).await;
        assert_eq!(word, expected, "{method} {path}: {record}");
        let message = record["message"].as_str().unwrap_or_default();
        assert!(message.contains(says), "{method} {path}: {record}");
    }
}

#[tokio::test]
async fn a_role_that_lost_a_permission_takes_it_from_tokens_that_live() {
    let bench = Bench::new().await;
    let token = bench.scheduling();
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    let less = CONFIG.replace("\"documents/**:read\", ", "");
    let Config { rules, .. } = Config::parse(&less, "attache.yaml".as_ref()).unwrap();
    bench.authority.replace_rules(Arc::new(rules));
    let (word, record) = bench.by(SCHEDULING, &token).await;
    assert_eq!(word, "out_of_scope");
    assert_eq!(record["message"], "the role `admin` does not permit it");
}

// T24, T25
#[tokio::test]
async fn a_token_is_good_for_the_workload_it_was_made_for_alone() {
    let bench = Bench::new().await;
    let scheduling = bench.scheduling();
    for caller in [ANALYSIS, REPORTING, GATEWAY] {
        let (word, record) = bench.by(caller, &scheduling).await;
        assert_eq!(word, "presenter_mismatch", "{caller}");
        // It is known which token it was, and claimed for nobody.
        assert_eq!(record["jti"], TokenId::from_random(7).as_str());
        assert_eq!(record["subject"], Json::Null);
        assert_eq!(record["delegation_chain"], json!([caller]));
    }
    // The last of the chain alone: those before have handed it on.
    let both = bench.claims(&["scheduling", "analysis"], &["documents/**:read"]);
    let token = bench.mint(&both);
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "presenter_mismatch");
    assert_eq!(bench.by(ANALYSIS, &token).await.0, "allow");
}

// T25, decisions 8 and 15
#[tokio::test]
async fn a_person_is_heard_through_the_gateway_the_token_was_made_for() {
    let bench = Bench::new().await;
    let direct = bench.claims(&[], &["documents/**:*", "billing/**:*"]);
    let token = bench.mint(&direct);
    let (word, record) = bench.by(GATEWAY, &token).await;
    assert_eq!(word, "allow", "{record}");
    assert_eq!(record["actor"], json!({"id": ALICE, "type": "person"}));
    assert_eq!(record["source"]["spiffe_id"], GATEWAY);
    assert_eq!(record["delegation_chain"], json!([ALICE]));
    let value = bearer(&token);
    for (method, path) in [("DELETE", "/documents/7"), ("PUT", "/billing/7")] {
        let asked = Asked {
            method,
            path,
            ..get(GATEWAY, vec![("authorization", &value)])
        };
        assert_eq!(
            bench.word(&asked).await.0,
            "allow",
            "{path}: tiers are for automation"
        );
    }
    let asked = Asked {
        path: "/users/7",
        ..get(GATEWAY, vec![("authorization", &value)])
    };
    assert_eq!(bench.word(&asked).await.0, "out_of_scope");

    assert_eq!(bench.by(REPORTING, &token).await.0, "presenter_mismatch");
    let (word, record) = bench.by(SCHEDULING, &token).await;
    assert_eq!(word, "orphan_agent");
    assert_eq!(record["actor"]["type"], "agent");
    let mut other = direct;
    other.client = REPORTING.parse().unwrap();
    assert_eq!(
        bench.by(GATEWAY, &bench.mint(&other)).await.0,
        "presenter_mismatch"
    );
}

#[tokio::test]
async fn a_workload_that_shows_a_token_is_decided_by_the_token() {
    // `svc/*` may do everything on its own account.
    let config = CONFIG.replace(
        "    - {match: \"spiffe://example.org/agent/analysis\"",
        "    - {match: \"spiffe://example.org/nobody\", type: nobody, ceiling: []}\n    - {match: \"spiffe://example.org/agent/analysis\"",
    );
    let bench = Bench::with(&config, echo()).await;
    let (word, _) = bench.word(&get(REPORTING, Vec::new())).await;
    assert_eq!(word, "allow");
    let mut claims = bench.claims(&["scheduling"], &["users/**:read"]);
    claims.chain.agents[0].spiffe_id = REPORTING.parse().unwrap();
    let (word, record) = bench.by(REPORTING, &bench.mint(&claims)).await;
    assert_eq!(word, "out_of_scope", "{record}");
    let garbage = bench
        .word(&get(REPORTING, vec![("authorization", "Bearer x")]))
        .await;
    assert_eq!(garbage.0, "token_invalid");
}

#[tokio::test]
async fn an_agent_without_a_token_acts_for_nobody() {
    let bench = Bench::new().await;
    let (word, record) = bench.refused(Vec::new()).await;
    assert_eq!(
        (&*word, &record["actor"]["type"]),
        ("orphan_agent", &json!("agent"))
    );
}

// C12
#[tokio::test]
async fn the_first_request_after_a_revocation_is_denied_whatever_is_remembered() {
    let bench = Bench::new().await;
    begin_task(&bench, task_id(0)).await;
    let token = bench.scheduling();
    for cached in [false, true] {
        let (word, record) = bench.by(SCHEDULING, &token).await;
        assert_eq!((&*word, &record["cached"]), ("allow", &json!(cached)));
    }
    let task = Target::Task(ALICE.parse().unwrap(), task_id(0));
    bench.store.end(task, Manner::Revoked, None).await.unwrap();
    let (word, record) = bench.by(SCHEDULING, &token).await;
    assert_eq!(word, "token_revoked");
    assert_eq!(record["message"], "taken back: task");
    assert_eq!(record["jti"], TokenId::from_random(7).as_str());
    assert_eq!(record["actor"]["type"], "agent");
}

// D25
#[tokio::test]
async fn with_the_session_ends_all_that_rests_on_it() {
    let bench = Bench::new().await;
    let token = bench.scheduling();
    let direct = bench.mint(&bench.claims(&[], &["documents/**:read"]));
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    let session = Target::Session(bench.session.clone(), Whose::Anybody);
    bench
        .store
        .end(session, Manner::Revoked, None)
        .await
        .unwrap();
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "token_revoked");
    assert_eq!(bench.by(GATEWAY, &direct).await.0, "token_revoked");
}

/// The rules after somebody has written other ones.
fn written(text: &str) -> Arc<Rules> {
    let Config { rules, .. } = Config::parse(text, "attache.yaml".as_ref()).unwrap();
    Arc::new(rules)
}

// D25
#[tokio::test]
async fn a_person_who_is_no_user_any_more_or_in_another_role_takes_their_tokens_with_them() {
    let bench = Bench::new().await;
    let token = bench.scheduling();
    let direct = bench.mint(&bench.claims(&[], &["documents/**:read"]));
    let another = CONFIG.replace("usr-alice-001", "usr-alice-002");
    let demoted = CONFIG.replace("role: admin", "role: viewer");
    for text in [&another, &demoted] {
        // Both before and after the session was looked up once.
        bench.authority.replace_rules(written(CONFIG));
        assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
        bench.authority.replace_rules(written(text));
        let (word, record) = bench.by(SCHEDULING, &token).await;
        assert_eq!(word, "token_revoked", "{record}");
        assert_eq!(bench.by(GATEWAY, &direct).await.0, "token_revoked");
    }
    let fresh = Bench::with(&demoted, echo()).await;
    let token = fresh.scheduling();
    assert_eq!(fresh.by(SCHEDULING, &token).await.0, "token_revoked");
}

/// Takes a task back while it is asked, and allows everything.
#[derive(Debug)]
struct Slow(Arc<dyn StateStore>, Recorder);

#[async_trait::async_trait]
impl PolicyEngine for Slow {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let task = Target::Task(ALICE.parse().unwrap(), task_id(0));
        self.0.end(task, Manner::Revoked, None).await.unwrap();
        self.1.evaluate(query).await
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "r1".into()
    }
}

// D22
#[tokio::test]
async fn what_is_taken_back_while_policy_thinks_is_denied() {
    let clock = Arc::new(MockClock::new(NOW));
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let store: Arc<dyn StateStore> = Arc::new(Embedded::memory("default", &shared).unwrap());
    let engine = Slow(Arc::clone(&store), Recorder::default());
    let bench = Bench::on(CONFIG, Arc::new(engine), clock, store).await;
    begin_task(&bench, task_id(0)).await;
    let (word, record) = bench.by(SCHEDULING, &bench.scheduling()).await;
    assert_eq!(word, "token_revoked", "{record}");
    assert_eq!(record["message"], "taken back: task");
}

// D23: the keys outlive a memory that is kept nowhere, and with it what was taken back.
#[tokio::test]
async fn a_token_whose_session_nobody_knows_is_revoked() {
    let bench = Bench::new().await;
    let mut claims = bench.claims(&["scheduling"], &["documents/**:read"]);
    claims.session = SessionId::from_random(99);
    let (word, record) = bench.by(SCHEDULING, &bench.mint(&claims)).await;
    assert_eq!(word, "token_revoked", "{record}");
    claims.session = bench.session.clone();
    claims.chain.person = "usr-bob-002".parse().unwrap();
    assert_eq!(
        bench.by(SCHEDULING, &bench.mint(&claims)).await.0,
        "token_revoked"
    );
}

#[tokio::test]
async fn a_token_past_its_time_is_expired_also_where_it_is_remembered() {
    let bench = Bench::new().await;
    let token = bench.scheduling();
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    bench.clock.advance(Duration::from_secs(299));
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    bench.clock.advance(Duration::from_secs(1));
    let (word, record) = bench.by(SCHEDULING, &token).await;
    assert_eq!(word, "token_expired");
    assert_eq!(record["details"]["token_fault"], "token_expired");
    let lenient = CONFIG.replace("\n  agents:", "\n  clock_skew: 30s\n  agents:");
    let bench = Bench::with(&lenient, echo()).await;
    let token = bench.scheduling();
    bench.clock.advance(Duration::from_secs(329));
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "token_expired");
}

#[tokio::test]
async fn a_token_is_good_for_the_one_service_it_was_made_for() {
    let bench = Bench::new().await;
    let value = bearer(&bench.scheduling());
    let at = |destination| Asked {
        destination,
        ..get(SCHEDULING, vec![("authorization", &value)])
    };
    for destination in [
        None,
        Some("documents.example.org"),
        Some("spiffe://example.org/svc/billing"),
    ] {
        let (word, _) = bench.word(&at(destination)).await;
        assert_eq!(word, "audience_mismatch", "{destination:?}");
    }
    assert_eq!(bench.word(&at(Some(DOCUMENTS))).await.0, "allow");
    // Where the proxy does not say which service it is, configuration may.
    let named = format!("\n  audience: \"{DOCUMENTS}\"\n  agents:");
    let bench = Bench::with(&CONFIG.replace("\n  agents:", &named), echo()).await;
    let value = bearer(&bench.scheduling());
    let at = |destination| Asked {
        destination,
        ..get(SCHEDULING, vec![("authorization", &value)])
    };
    assert_eq!(bench.word(&at(None)).await.0, "allow");
    let elsewhere = at(Some("spiffe://example.org/svc/billing"));
    assert_eq!(bench.word(&elsewhere).await.0, "audience_mismatch");
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_taken_for_one_that_is_not() {
    let bench = Bench::new().await;
    for (key, certificate) in [(true, false), (false, true)] {
        let mut claims = bench.claims(&["scheduling"], &["documents/**:read"]);
        let print = |set: bool| set.then(|| Thumbprint::new([7; 32]));
        claims.confirmation = Confirmation {
            key: print(key),
            certificate: print(certificate),
        };
        assert_eq!(
            bench.by(SCHEDULING, &bench.mint(&claims)).await.0,
            "token_invalid"
        );
    }
}

#[tokio::test]
async fn a_token_stands_in_one_header_once_and_in_one_spelling() {
    let bench = Bench::new().await;
    let token = bench.scheduling();
    let (text, value) = (token.expose(), bearer(&token));
    let twice = format!("{value},{value}");
    let odd = [
        format!("bearer {text}"),
        format!("BEARER {text}"),
        format!("Bearer  {text}"),
        format!("Bearer {text} "),
        format!(" Bearer {text}"),
        format!("Bearer\t{text}"),
        format!("DPoP {text}"),
        format!("Bearer \"{text}\""),
        text.to_owned(),
        twice,
        "Basic YWxpY2U6c2VjcmV0".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        "Bearer ath_AAAA".to_owned(),
        String::new(),
    ];
    for odd in &odd {
        let (word, _) = bench.refused(vec![("authorization", odd)]).await;
        assert_eq!(word, "token_invalid", "{odd}");
    }
    let again = vec![("authorization", &*value), ("authorization", &value)];
    assert_eq!(bench.refused(again).await.0, "token_invalid");
    // The other header is not read: not instead, and not against it.
    let elsewhere = bench.refused(vec![("attache-token", text)]).await;
    assert_eq!(elsewhere.0, "orphan_agent");
    let beside = vec![("authorization", &*value), ("attache-token", "garbage")];
    assert_eq!(bench.refused(beside).await.0, "allow");

    let other = CONFIG.replace("\n  agents:", "\n  token_header: attache-token\n  agents:");
    let bench = Bench::with(&other, echo()).await;
    let token = bench.scheduling();
    let (text, value) = (token.expose(), bearer(&token));
    let mine = vec![
        ("authorization", "Basic YWxpY2U6c2VjcmV0"),
        ("attache-token", text),
    ];
    assert_eq!(bench.refused(mine).await.0, "allow");
    assert_eq!(
        bench.refused(vec![("attache-token", &value)]).await.0,
        "token_invalid"
    );
    assert_eq!(
        bench.refused(vec![("authorization", &value)]).await.0,
        "orphan_agent"
    );
    let again = vec![("attache-token", text), ("attache-token", text)];
    assert_eq!(bench.refused(again).await.0, "token_invalid");
}

#[tokio::test]
async fn where_no_delegation_is_configured_no_token_passes() {
    let bench = Bench::new().await;
    let value = bearer(&bench.scheduling());
    let without = CONFIG.replace("  issuer: \"https://attache.example.org\"\n", "");
    let asked = |value| get(REPORTING, vec![("authorization", value)]);
    for (config, tokens) in [(&*without, true), (CONFIG, false), (&without, false)] {
        let mut other = Bench::with(config, echo()).await;
        if !tokens {
            other.authority = other.authority.with_tokens(None);
        }
        let (word, record) = other.word(&asked(&value)).await;
        assert_eq!(word, "token_invalid", "{record}");
        // Where nothing of delegation is there, the header is the service's own.
        let (word, _) = other.word(&asked("Basic YWxpY2U6c2VjcmV0")).await;
        let expected = tokens || config == CONFIG;
        assert_eq!(word, if expected { "token_invalid" } else { "allow" });
        assert_eq!(other.word(&get(REPORTING, Vec::new())).await.0, "allow");
    }
    let header = without.replace("\n  agents:", "\n  token_header: attache-token\n  agents:");
    let mut other = Bench::with(&header, echo()).await;
    other.authority = other.authority.with_tokens(None);
    assert_eq!(other.word(&asked(&value)).await.0, "allow");
    let (word, _) = other
        .word(&get(REPORTING, vec![("attache-token", "x")]))
        .await;
    assert_eq!(word, "token_invalid");
}

#[tokio::test]
async fn a_bad_token_in_shadow_mode_is_on_record_and_lets_pass() {
    let bench = Bench::new().await;
    let asked = Asked {
        path: "/shadowed",
        ..get(SCHEDULING, vec![("authorization", "Bearer x")])
    };
    let (word, record) = bench.word(&asked).await;
    assert_eq!(word, "token_invalid");
    assert_eq!(
        (&record["mode"], &record["would_be"]),
        (&json!("shadow"), &json!("denied"))
    );
}

// C03
#[tokio::test]
async fn another_chain_task_or_permission_set_never_gets_a_verdict_that_is_remembered() {
    let bench = Bench::new().await;
    let base = bench.claims(&["scheduling"], &["documents/**:read"]);
    let mut later = base.clone();
    later.id = TokenId::from_random(8);
    let mut task = base.clone();
    task.lease.as_mut().unwrap().tasks = vec![task_id(5)];
    let mut name = base.clone();
    name.chain.agents[0].agent_id = "scheduling-agent-002".parse().unwrap();
    let more = bench.claims(&["scheduling"], &["documents/**:read", "users/**:read"]);
    for (claims, cached) in [
        (&base, false),
        (&base, true),
        (&later, true),
        (&task, false),
        (&name, false),
        (&more, false),
        (&base, true),
    ] {
        let (word, record) = bench.by(SCHEDULING, &bench.mint(claims)).await;
        assert_eq!(
            (&*word, &record["cached"]),
            ("allow", &json!(cached)),
            "{claims:?}"
        );
    }
}

/// Keeps what it was asked.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Query>>);

#[async_trait::async_trait]
impl PolicyEngine for Recorder {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        self.0.lock().unwrap().push(query);
        Ok(Verdict {
            answer: Answer::Allow,
            tier: Some(Tier::Free),
            reason: None,
            policy_id: None,
            revision: "r1".into(),
            cached: false,
            cacheable: true,
            shaping: None,
        })
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "r1".into()
    }
}

// C14
#[tokio::test]
async fn no_verdict_is_kept_past_the_end_of_the_token() {
    let recorder = Arc::new(Recorder::default());
    let bench = Bench::with(CONFIG, Arc::clone(&recorder) as _).await;
    let mut claims = bench.claims(&["scheduling"], &["documents/**:read"]);
    claims.expires = NOW.plus(Duration::from_secs(2));
    assert_eq!(bench.by(SCHEDULING, &bench.mint(&claims)).await.0, "allow");
    let queries = recorder.0.lock().unwrap();
    let ends = queries[0].terms.not_after.unwrap();
    assert!(ends <= Instant::now() + Duration::from_secs(2));
}

// The text of a token is nobody's but the one who shows it.
#[tokio::test]
async fn policy_that_reads_headers_does_not_see_the_token() {
    let recorder = Arc::new(Recorder::default());
    let words = format!("{CONFIG}\npolicy: {{input: envoy}}\n");
    let bench = Bench::with(&words, Arc::clone(&recorder) as _).await;
    let token = bench.scheduling();
    assert_eq!(bench.by(SCHEDULING, &token).await.0, "allow");
    let query = recorder.0.lock().unwrap().pop().unwrap();
    let seen = serde_json::to_string(&*query.input).unwrap();
    assert!(seen.contains("scheduling-agent-001"));
    assert!(!seen.contains(token.expose()), "{seen}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a token is broken, it is refused or it is the token; and no part of it is in what is told or recorded.
    #[test]
    fn no_text_of_a_token_is_in_any_record(
        at in any::<prop::sample::Index>(),
        put in select(vec!["", "A", ".", "=", " ", "\"", ",", "é", "\u{0}"]),
        cut in 0..3_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            let token = bench.scheduling();
            let whole = token.expose();
            let at = at.index(whole.len());
            let (before, after) = whole.split_at(at);
            let after: String = after.chars().skip(cut).collect();
            let text = format!("{before}{put}{after}");
            let value = format!("Bearer {text}");
            let (word, _) = bench.by(SCHEDULING, &token).await;
            assert_eq!(word, "allow");
            let (word, _) = bench.refused(vec![("authorization", &value)]).await;
            assert_eq!(word == "allow", text == token.expose(), "{text}");
            let told = bench.memory.lines().join("\n");
            for part in token.expose().split('.') {
                // Any 24 characters in a row would be a part of it.
                for piece in part.as_bytes().windows(24) {
                    let piece = std::str::from_utf8(piece).unwrap();
                    assert!(!told.contains(piece), "{piece} in {told}");
                }
            }
        });
    }
}
