use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::audit::{Auditor, Durability, EventType, Memory, WriterHandle};
use crate::authority::{AuthorizationProvider, Metrics};
use crate::clock::{Clock, MockClock};
use crate::config::Config;
use crate::identity::{MeshPeer, Svid};
use crate::permission::Tier;
use crate::policy::{
    EmbeddedEngine, PolicyEngine, PolicyError, Program, Query, Sources, Terms, Verdict,
};

const CONFIG: &str = r#"
trust_domain: example.org
identity: {peps: ["spiffe://example.org/envoy/*"], federated: [partner.example]}
agents: ["spiffe://example.org/agent/**"]
workloads:
  - match: "spiffe://example.org/svc/reporting"
    permissions: ["documents/**:*", "example.org/svc/*:call"]
  - {match: "spiffe://partner.example/**", permissions: ["documents/**:read"]}
tiers:
  rules:
    - {resource: "**", action: read, tier: free}
    - {resource: "**", action: call, tier: free}
    - {resource: "**", action: delete, tier: supervised}
"#;

/// Tells what it sees; refuses, fails or says nothing where it is asked about these.
const POLICY: &str = r#"
package agentweave.authz

allow := {"allow": true, "reason": json.marshal(input), "policy_id": "echo"} if {
    not startswith(input.resource, "documents/_")
}
allow := {"allow": false, "reason": "sealed by Alice", "policy_id": "seal"} if {
    input.resource == "documents/_sealed"
}
allow := 7 if input.resource == "documents/_broken"
allow := {"allow": true, "tier": "forbidden"} if input.resource == "documents/_raised"
"#;

const REPORTING: &str = "spiffe://example.org/svc/reporting";
const ENVOY: &str = "spiffe://example.org/envoy/edge";
/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

struct Bench {
    authority: Authority,
    memory: Memory,
    auditor: Auditor,
    writer: WriterHandle,
}

impl Bench {
    fn new() -> Self {
        let mut sources = Sources::default();
        sources.insert("policy.rego", POLICY);
        let path = "agentweave/authz/allow".parse().unwrap();
        let program = Program::compile(&sources, &path, Duration::from_secs(10)).unwrap();
        Self::with_engine(Arc::new(EmbeddedEngine::new(program)))
    }

    fn with_engine(engine: Arc<dyn PolicyEngine>) -> Self {
        Self::with(engine, Durability::Standard)
    }

    fn with(engine: Arc<dyn PolicyEngine>, durability: Durability) -> Self {
        let Config { rules, .. } = Config::parse(CONFIG, "attache.yaml".as_ref()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(NOW)));
        let (memory, auditor, writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
        let metrics = Metrics::new(&mut Registry::default());
        let decided = auditor.clone().with(durability);
        let authority = Authority::new(Arc::new(rules), engine, decided, clock, metrics);
        Self {
            authority,
            memory,
            auditor,
            writer,
        }
    }

    async fn ask(&self, peer: &Peer, caller: &str, resource: &str, action: &str) -> AuthzDecision {
        let inquiry = inquiry(Some(peer.clone()), caller, resource, action);
        self.authority
            .inquire(&inquiry, Deadline::after(INQUIRY_TIME))
            .await
    }

    /// As code of this process sees it.
    fn provider(&self) -> &dyn AuthorizationProvider {
        &self.authority
    }

    /// The code of a refusal, `allow` else; and the decision's record.
    async fn word(
        &self,
        peer: &Peer,
        caller: &str,
        resource: &str,
        action: &str,
    ) -> (String, Json) {
        let decision = self.ask(peer, caller, resource, action).await;
        let word = decision.reason_code().unwrap_or("allow").to_owned();
        assert_eq!(decision.allowed(), word == "allow");
        (word, self.record(&decision).await)
    }

    async fn records(&self) -> Vec<Json> {
        self.auditor.flush().await.unwrap();
        let denied = self.memory.records(EventType::PermissionDenied);
        let checked = self.memory.records(EventType::PermissionCheck);
        denied.into_iter().chain(checked).collect()
    }

    /// The one record of a decision.
    async fn record(&self, decision: &AuthzDecision) -> Json {
        let mut records = self.records().await;
        records.retain(|it| it["decision_id"] == *decision.audit_id());
        assert_eq!(records.len(), 1, "{decision:?}");
        records.remove(0)
    }
}

fn inquiry<'a>(
    peer: Option<Peer>,
    caller: &'a str,
    resource: &'a str,
    action: &'a str,
) -> Inquiry<'a> {
    Inquiry {
        peer,
        caller,
        resource,
        action,
        context: Ok(GivenContext::default()),
    }
}

fn unix() -> Peer {
    Peer::Unix { uid: Some(7) }
}

fn mesh(id: &str) -> MeshPeer {
    let svid = Svid {
        id: id.parse().unwrap(),
        not_before: Timestamp::from_unix_seconds(NOW - 10),
        not_after: Timestamp::from_unix_seconds(NOW + 10),
        serial: String::new(),
        fingerprint: String::new(),
    };
    MeshPeer {
        svid: Arc::new(svid),
        vouched: true,
    }
}

fn members(json: &Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

/// Caller, resource, action; the code of the refusal; the tier that is told.
const LAW: &str = "
spiffe://example.org/svc/reporting   documents/1        read    allow                 free
spiffe://example.org/svc/reporting   documents/1        delete  approval_required     supervised
spiffe://example.org/svc/reporting   documents/1        purge   tier_forbidden        forbidden
spiffe://example.org/svc/reporting   billing/1          read    out_of_scope          -
spiffe://example.org/svc/reporting   documents/_sealed  read    policy_denied         free
spiffe://example.org/svc/reporting   documents/_silent  read    policy_undefined      free
spiffe://example.org/svc/reporting   documents/_broken  read    policy_error          free
spiffe://example.org/svc/reporting   documents/_raised  read    tier_forbidden        forbidden
spiffe://example.org/agent/a         documents/1        read    orphan_agent          -
spiffe://example.org/svc/other       documents/1        read    out_of_scope          -
spiffe://partner.example/svc/a       documents/1        read    allow                 free
spiffe://evil.example/svc/a          documents/1        read    foreign_trust_domain  -
Alice                                documents/1        read    invalid_identity      -
spiffe://EXAMPLE.org/svc/reporting   documents/1        read    invalid_identity      -
";

#[tokio::test]
async fn every_part_of_the_law_applies() {
    let bench = Bench::new();
    for line in LAW.trim().lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [caller, resource, action, word, tier] = words[..] else {
            panic!("{line}");
        };
        let decision = bench.ask(&unix(), caller, resource, action).await;
        let told = decision.reason_code().unwrap_or("allow");
        assert_eq!(told, word, "{line}");
        assert_eq!(decision.tier().map_or("-", Tier::as_str), tier, "{line}");
        let record = bench.record(&decision).await;
        let event = match word {
            "allow" | "approval_required" => "permission.check",
            _ => "permission.denied",
        };
        assert_eq!(record["event_type"], event);
        assert_eq!(record["pep"], json!({"type": "unix", "uid": 7}));
        assert_eq!(record["resource"], resource);
        assert_eq!(record["action"], action);
        assert_eq!(record.get("http"), None);
        let code = decision.reason_code().map(Json::from);
        assert_eq!(record.get("reason_code"), code.as_ref());
    }
    let nobody = bench.ask(&unix(), "", "documents/1", "read").await;
    assert_eq!(nobody.reason_code(), Some("no_identity"));
    bench.record(&nobody).await;
}

#[tokio::test]
async fn malformed_questions_are_denials_on_record() {
    let bench = Bench::new();
    let unix = unix();
    let long = "a".repeat(2049);
    for (resource, action, words) in [
        ("", "read", "`resource` is empty"),
        ("documents/1", "", "`action` is empty"),
        (&*long, "read", "`resource` is longer than 2048 bytes"),
        (
            "documents/1",
            &*"a".repeat(257),
            "`action` is longer than 256 bytes",
        ),
        ("documents/*", "read", "character '*' is not allowed"),
        ("documents/../billing", "read", "dot segment"),
        ("/documents", "read", "empty segment"),
        ("documents/1", "*", "character '*' is not allowed"),
        ("documents/1", "read@free", "character '@' is not allowed"),
        ("spiffe://example.org", "call", "the path is missing"),
        ("spiffe://Example.org/svc/a", "call", "must be lower case"),
    ] {
        let decision = bench.ask(&unix, REPORTING, resource, action).await;
        assert_eq!(decision.reason_code(), Some("bad_request"), "{resource}");
        assert!(decision.reason().contains(words), "{}", decision.reason());
        assert!(decision.reason().len() < 3000);
        let record = bench.record(&decision).await;
        assert_eq!(record["actor"]["id"], REPORTING);
        assert!(record["message"].as_str().unwrap().contains(words));
    }
    for problem in [
        ContextProblem::TooDeep,
        ContextProblem::TooLarge,
        ContextProblem::Number,
        ContextProblem::NoKind,
    ] {
        let question = Inquiry {
            context: Err(problem),
            ..inquiry(Some(unix.clone()), REPORTING, "documents/1", "read")
        };
        let deadline = Deadline::after(INQUIRY_TIME);
        let decision = bench.authority.inquire(&question, deadline).await;
        assert_eq!(decision.reason_code(), Some("bad_request"));
        let words = problem.to_string();
        assert!(decision.reason().contains(&words), "{}", decision.reason());
        bench.record(&decision).await;
    }
}

#[tokio::test]
async fn policy_sees_what_was_asked_and_no_request() {
    let bench = Bench::new();
    let context = json!({"environment": "production", "risk": {"score": 0.5, "flags": [1]}});
    let decision = bench
        .provider()
        .check(REPORTING, "documents/1", "read", &members(&context))
        .await;
    let seen: Json = serde_json::from_str(decision.reason()).unwrap();
    assert_eq!(
        seen,
        json!({
            "caller_spiffe_id": REPORTING,
            "caller_trust_domain": "example.org",
            "action": "read",
            "resource": "documents/1",
            "tier": "free",
            "timestamp": "2026-01-01T00:00:00.000000000Z",
            "context": context,
        })
    );
    assert_eq!(decision.policy_id(), Some("echo"));

    // A resource that is a workload is also who would serve it.
    let decision = bench
        .provider()
        .check(
            REPORTING,
            "spiffe://example.org/svc/documents",
            "call",
            &Map::new(),
        )
        .await;
    let seen: Json = serde_json::from_str(decision.reason()).unwrap();
    assert_eq!(seen["resource"], "spiffe://example.org/svc/documents");
    assert_eq!(
        seen["resource_spiffe_id"],
        "spiffe://example.org/svc/documents"
    );
    assert_eq!(seen["resource_trust_domain"], "example.org");
    assert_eq!(seen["context"], json!({}));
}

#[tokio::test]
async fn policy_speaks_for_itself_and_faults_do_not() {
    let bench = Bench::new();
    let sealed = bench
        .ask(&unix(), REPORTING, "documents/_sealed", "read")
        .await;
    assert_eq!(sealed.reason(), "sealed by Alice");
    assert_eq!(sealed.policy_id(), Some("seal"));
    // B9
    let broken = bench
        .ask(&unix(), REPORTING, "documents/_broken", "read")
        .await;
    assert_eq!(broken.reason(), "policy could not be evaluated");
    assert_eq!(broken.policy_id(), Some("error-fallback"));
    let silent = bench
        .ask(&unix(), REPORTING, "documents/_silent", "read")
        .await;
    assert_eq!(silent.policy_id(), None);
}

#[tokio::test]
async fn a_workload_may_ask_about_itself_and_nobody_else() {
    let bench = Bench::new();
    let itself = Peer::Mesh(mesh(REPORTING));
    let actor = json!({"id": REPORTING, "type": "workload"});
    for caller in ["", REPORTING] {
        let (word, record) = bench.word(&itself, caller, "documents/1", "read").await;
        assert_eq!(word, "allow", "{caller}");
        assert_eq!(record["actor"], actor);
        assert_eq!(record.get("pep"), None);
    }
    for caller in ["spiffe://example.org/svc/other", ENVOY, "x", " "] {
        let (word, record) = bench.word(&itself, caller, "documents/1", "read").await;
        assert_eq!(word, "untrusted_peer", "{caller}");
        assert_eq!(record.get("pep"), None);
        assert_eq!(record["actor"], actor);
        let message = record["message"].as_str().unwrap();
        assert!(message.contains("may ask about itself only"), "{message}");
    }
    // Being allowed to ask is no permission.
    let other = Peer::Mesh(mesh("spiffe://example.org/svc/other"));
    assert_eq!(
        bench.word(&other, "", "documents/1", "read").await.0,
        "out_of_scope"
    );
    let agent = Peer::Mesh(mesh("spiffe://example.org/agent/a"));
    assert_eq!(
        bench.word(&agent, "", "documents/1", "read").await.0,
        "orphan_agent"
    );
}

#[tokio::test]
async fn a_pep_may_name_any_caller_and_itself_by_naming_none() {
    let bench = Bench::new();
    let envoy = Peer::Mesh(mesh(ENVOY));
    let (word, record) = bench.word(&envoy, REPORTING, "documents/1", "read").await;
    assert_eq!(word, "allow");
    assert_eq!(record["pep"], json!({"type": "tls", "spiffe_id": ENVOY}));
    let (word, record) = bench.word(&envoy, "", "documents/1", "read").await;
    assert_eq!(word, "out_of_scope");
    assert_eq!(record["actor"]["id"], ENVOY);
}

#[tokio::test]
async fn a_peer_that_is_not_trusted_now_may_ask_nothing() {
    let bench = Bench::new();
    let expired = MeshPeer {
        svid: Arc::new(Svid {
            not_after: Timestamp::from_unix_seconds(NOW - 1),
            ..(*mesh(REPORTING).svid).clone()
        }),
        vouched: true,
    };
    let withdrawn = MeshPeer {
        vouched: false,
        ..mesh(REPORTING)
    };
    let strangers = [
        Peer::Mesh(expired),
        Peer::Mesh(withdrawn),
        Peer::Mesh(mesh("spiffe://evil.example/svc/reporting")),
        Peer::Tcp("127.0.0.1:9".parse().unwrap()),
    ];
    for peer in &strangers {
        assert!(bench.authority.admit_inquiry(peer).is_err(), "{peer:?}");
        let (word, record) = bench.word(peer, REPORTING, "documents/1", "read").await;
        assert_eq!(word, "untrusted_peer", "{peer:?}");
        assert_eq!(record.get("pep"), None);
    }
    for peer in [unix(), Peer::Mesh(mesh(REPORTING)), Peer::Mesh(mesh(ENVOY))] {
        assert!(bench.authority.admit_inquiry(&peer).is_ok(), "{peer:?}");
    }
}

#[tokio::test]
async fn code_in_this_process_may_name_any_caller_and_must_name_one() {
    let bench = Bench::new();
    let decision = bench
        .provider()
        .check(REPORTING, "documents/1", "read", &Map::new())
        .await;
    assert!(decision.allowed());
    assert_eq!(bench.record(&decision).await.get("pep"), None);
    let decision = bench
        .provider()
        .check("", "documents/1", "read", &Map::new())
        .await;
    assert_eq!(decision.reason_code(), Some("no_identity"));
}

#[tokio::test]
async fn a_deadline_that_is_over_is_a_denial_where_policy_would_be_asked() {
    let bench = Bench::new();
    let over = Deadline {
        at: tokio::time::Instant::now(),
        cut_short: true,
        limit: INQUIRY_TIME,
    };
    for (resource, word, policy_id) in [
        ("documents/1", "deadline_exceeded", Some("error-fallback")),
        ("billing/1", "out_of_scope", None),
    ] {
        let question = inquiry(Some(unix()), REPORTING, resource, "read");
        let decision = bench.authority.inquire(&question, over).await;
        assert_eq!(decision.reason_code(), Some(word));
        // B9: the same in the answer and on record.
        assert_eq!(decision.policy_id(), policy_id);
        let record = bench.record(&decision).await;
        assert_eq!(
            record["policy"]["policy_id"].as_str(),
            policy_id,
            "{record}"
        );
    }
}

/// Never answers, or never well: what no engine does on demand.
#[derive(Debug)]
enum Broken {
    Silent,
    Failing,
}

#[async_trait::async_trait]
impl PolicyEngine for Broken {
    async fn evaluate(&self, _: Query) -> Result<Verdict, PolicyError> {
        self.health().await.and(Err(PolicyError::Interrupted))
    }

    async fn health(&self) -> Result<(), PolicyError> {
        match self {
            Self::Silent => std::future::pending().await,
            Self::Failing => Err(PolicyError::Interrupted),
        }
    }

    fn revision(&self) -> Arc<str> {
        "broken".into()
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_silent_is_a_denial_after_five_seconds() {
    let bench = Bench::with_engine(Arc::new(Broken::Silent));
    let begun = tokio::time::Instant::now();
    let decision = bench
        .provider()
        .check(REPORTING, "documents/1", "read", &Map::new())
        .await;
    assert_eq!(begun.elapsed(), INQUIRY_TIME);
    assert_eq!(decision.reason_code(), Some("policy_timeout"));
    assert_eq!(decision.policy_id(), Some("error-fallback"));
}

#[tokio::test]
async fn in_strict_mode_a_silent_engine_leaves_time_for_the_record() {
    // A01, A11: the record is there when the answer is, and says whose fault it was.
    let bench = Bench::with(Arc::new(Broken::Silent), Durability::Strict);
    let question = inquiry(Some(unix()), REPORTING, "documents/1", "read");
    let deadline = Deadline::after(Duration::from_secs(2));
    let decision = bench.authority.inquire(&question, deadline).await;
    assert_eq!(decision.reason_code(), Some("policy_timeout"));
    assert!(!deadline.is_over());
    let denied = bench.memory.records(EventType::PermissionDenied);
    assert_eq!(denied[0]["decision_id"], decision.audit_id());
}

#[tokio::test]
async fn in_strict_mode_a_decision_without_a_witness_is_a_denial_whatever_it_was() {
    // A01: the writer is gone; standard mode decides on, and says that it is not healthy.
    for (durability, words) in [
        (Durability::Strict, ["audit_unavailable"; 2]),
        (Durability::Standard, ["allow", "out_of_scope"]),
    ] {
        let bench = Bench::with(Bench::new().authority.policy, durability);
        let Bench {
            authority, writer, ..
        } = bench;
        writer.close().await.unwrap();
        for (resource, word) in ["documents/1", "billing/1"].into_iter().zip(words) {
            let question = inquiry(Some(unix()), REPORTING, resource, "read");
            let deadline = Deadline::after(INQUIRY_TIME);
            let decision = authority.inquire(&question, deadline).await;
            assert_eq!(decision.reason_code().unwrap_or("allow"), word);
            if durability == Durability::Strict {
                assert_eq!(decision.reason(), "the decision could not be recorded");
            }
        }
    }
}

#[tokio::test]
async fn a_question_that_is_dropped_unfinished_is_on_record() {
    let bench = Bench::with_engine(Arc::new(Broken::Silent));
    let question = inquiry(Some(unix()), REPORTING, "documents/1", "read");
    let mut asking = Box::pin(
        bench
            .authority
            .inquire(&question, Deadline::after(INQUIRY_TIME)),
    );
    assert!(asking.as_mut().now_or_never().is_none());
    drop(asking);
    let records = bench.records().await;
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["reason_code"], "deadline_exceeded");
    assert_eq!(records[0]["resource"], "documents/1");
}

#[tokio::test(start_paused = true)]
async fn health_is_good_only_while_every_part_is() {
    let parts = |health: &crate::authority::Health| -> Vec<_> {
        let parts = health.parts.iter();
        parts.map(|it| (it.name, it.good)).collect()
    };
    let deadline = || Deadline::after(INQUIRY_TIME);
    let bench = Bench::new();
    let health = bench.authority.health(deadline()).await;
    assert_eq!(parts(&health), [("engine", true), ("audit", true)]);
    assert!(bench.provider().health_check().await);

    for engine in [Broken::Silent, Broken::Failing] {
        let bench = Bench::with_engine(Arc::new(engine));
        let health = bench.authority.health(deadline()).await;
        assert_eq!(parts(&health), [("engine", false), ("audit", true)]);
        assert!(!bench.provider().health_check().await);
    }

    let Bench {
        authority, writer, ..
    } = bench;
    writer.close().await.unwrap();
    let health = authority.health(deadline()).await;
    assert_eq!(parts(&health), [("engine", true), ("audit", false)]);
    let provider: &dyn AuthorizationProvider = &authority;
    assert!(!provider.health_check().await);
}

/// Keeps the terms it is asked on.
#[derive(Debug, Default)]
struct Ear(Mutex<Option<Terms>>);

#[async_trait::async_trait]
impl PolicyEngine for Ear {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        *self.0.lock().unwrap() = Some(query.terms);
        Err(PolicyError::Interrupted)
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "ear".into()
    }
}

/// C15.
#[tokio::test(start_paused = true)]
async fn an_answer_about_the_peer_itself_rests_on_its_certificate() {
    let ear = Arc::new(Ear::default());
    let bench = Bench::with_engine(Arc::clone(&ear) as _);
    // It ends ten seconds after the clock's now.
    let its_end = Some(tokio::time::Instant::now() + Duration::from_secs(10));
    for (peer, caller, not_after) in [
        (Peer::Mesh(mesh(REPORTING)), "", its_end),
        (Peer::Mesh(mesh(REPORTING)), REPORTING, its_end),
        (Peer::Mesh(mesh(ENVOY)), REPORTING, None),
        (unix(), REPORTING, None),
    ] {
        let _decision = bench.ask(&peer, caller, "documents/1", "read").await;
        let terms = ear.0.lock().unwrap().take().unwrap();
        let ttl = None;
        assert_eq!(terms, Terms { ttl, not_after }, "{peer:?} about `{caller}`");
    }
}
