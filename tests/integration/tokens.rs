//! Tokens at the door: handed on over real sockets, shown in a Check on a Unix socket, taken back.

use std::sync::Arc;
use std::time::Duration;

use attache::clock::{Clock, MockClock, Timestamp};
use attache::grpc::{DelegationClient, HandoverInfo, HandoverWanted, MandateRef, SessionClient};
use attache::humans::{Password, PasswordHash};
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::harness::mesh::{Client, SELF, doors};
use crate::harness::message::{attributes, header, joined, party, principal};
use crate::harness::pki::Authority;
use crate::harness::{Answer, DOCUMENTS, House, ask};

const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const PASSWORD: &str = "correct horse";
const SUB_AGENT: [&str; 3] = [
    "usr-alice-001",
    "scheduling-agent-001",
    "analysis-agent-002",
];

/// A house where alice has logged in and handed on, and the scheduling agent after her.
struct Walk {
    house: House,
    alice: DelegationClient,
    clock: Arc<MockClock>,
    scheduled: HandoverInfo,
    analysed: HandoverInfo,
}

fn rules() -> String {
    let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
    let hash = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1)).unwrap();
    let hash = hash.to_phc();
    format!(
        r#"
mode: development
state: {{embedded: state.db}}
roles:
  admin: ["documents/**:read", "documents/**:update", "documents/**:delete@supervised", "documents/**:purge@forbidden"]
humans:
  local: [{{email: alice@example.org, id: usr-alice-001, role: admin, password_hash: "{hash}"}}]
delegation:
  issuer: https://attache.example.org
  audience: "{DOCUMENTS}"
  agents:
    - {{match: "{SCHEDULING}", type: scheduling, ceiling: ["**:*"]}}
    - {{match: "{ANALYSIS}", type: analysis, ceiling: ["**:*"]}}
"#
    )
}

impl Walk {
    async fn begin() -> Self {
        let authority = Authority::of("example.org");
        let mut plan = doors(&authority, &authority.svid(SELF));
        plan.more += &rules();
        // Certificates are made for the time that the machine has.
        let now = attache::clock::SystemClock.now();
        let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(
            now.unix_seconds(),
        )));
        plan.clock = Arc::clone(&clock) as _;
        let house = plan.open().await;
        let address = format!("unix:{}", house.dir.path().join("authz.sock").display());
        let mut sessions = SessionClient::connect(&address).await.unwrap();
        let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
        let email = "alice@example.org".parse().unwrap();
        let logged_in = sessions.log_in(&email, &password, String::new()).await;
        let handle = logged_in.unwrap().1;
        let mut alice = DelegationClient::over(house.channel.clone()).with_session(handle);
        let first = HandoverWanted {
            spiffe_id: SCHEDULING.to_owned(),
            agent_id: "scheduling-agent-001".to_owned(),
            agent_type: "scheduling".to_owned(),
            task: "task-abc".to_owned(),
            further: 1,
            ..HandoverWanted::default()
        };
        let scheduled = alice.delegate(first).await.unwrap();
        let client = Client::new(&authority, Some(authority.svid(SCHEDULING)));
        let channel = client.connect(house.mesh.unwrap()).await.unwrap();
        let second = HandoverWanted {
            parent: Some(MandateRef::Token(scheduled.token.clone().unwrap().token)),
            spiffe_id: ANALYSIS.to_owned(),
            agent_id: "analysis-agent-002".to_owned(),
            agent_type: "analysis".to_owned(),
            task: "task-abc-sub1".to_owned(),
            read_only: true,
            ..HandoverWanted::default()
        };
        let analysed = DelegationClient::over(channel).delegate(second).await;
        Self {
            analysed: analysed.unwrap(),
            house,
            alice,
            clock,
            scheduled,
        }
    }

    async fn shown(&self, caller: &str, by: &HandoverInfo, method: &str, path: &str) -> Answer {
        let request = principal(ask(method, path), caller);
        self.house.check(bearing(request, by)).await
    }

    async fn word(&self, caller: &str, by: &HandoverInfo, method: &str, path: &str) -> String {
        let answer = self.shown(caller, by, method, path).await;
        answer.word().to_owned()
    }
}

fn text(handed: &HandoverInfo) -> &str {
    handed.token.as_ref().unwrap().token.expose()
}

fn bearing(request: CheckRequest, handed: &HandoverInfo) -> CheckRequest {
    header(
        request,
        "authorization",
        &format!("Bearer {}", text(handed)),
    )
}

#[tokio::test]
async fn a_request_is_decided_by_the_token_that_was_handed_on() {
    // A3, A6, A10, A13
    let walk = Walk::begin().await;
    let (scheduled, analysed) = (&walk.scheduled, &walk.analysed);
    for (caller, by, method, path, expected) in [
        (SCHEDULING, scheduled, "GET", "/documents/1", "allow"),
        (SCHEDULING, scheduled, "PUT", "/documents/1", "allow"),
        (
            SCHEDULING,
            scheduled,
            "DELETE",
            "/documents/1",
            "approval_required",
        ),
        (
            SCHEDULING,
            scheduled,
            "POST",
            "/documents/1/purge",
            "tier_forbidden",
        ),
        (SCHEDULING, scheduled, "GET", "/admin", "out_of_scope"),
        (ANALYSIS, analysed, "GET", "/documents/1", "allow"),
        (ANALYSIS, analysed, "PUT", "/documents/1", "out_of_scope"),
        // T24
        (
            ANALYSIS,
            scheduled,
            "GET",
            "/documents/1",
            "presenter_mismatch",
        ),
        (
            SCHEDULING,
            analysed,
            "GET",
            "/documents/1",
            "presenter_mismatch",
        ),
    ] {
        let word = walk.word(caller, by, method, path).await;
        assert_eq!(word, expected, "{caller} {method} {path}");
    }
    let answer = walk.shown(ANALYSIS, analysed, "GET", "/documents/1").await;
    assert_eq!(answer.headers["x-attache-caller"], ANALYSIS);
    for (name, value) in [
        ("subject", "usr-alice-001"),
        ("actor", "analysis-agent-002"),
        ("task", "task-abc-sub1"),
        ("chain", &SUB_AGENT.join(",")),
    ] {
        assert_eq!(answer.headers[&format!("x-attache-{name}")], value);
        assert_eq!(answer.metadata[name], value);
    }
    let record = walk.house.record_of(&answer).await;
    assert_eq!(record["delegation_chain"], json!(SUB_AGENT));
    assert_eq!(record["actor"]["spiffe_id"], ANALYSIS);
    assert_eq!(
        record["subject"],
        json!({"id": "usr-alice-001", "role": "admin"})
    );
    assert_eq!(record["task"]["path"], json!(["task-abc", "task-abc-sub1"]));
    assert_eq!(record["jti"], analysed.token.as_ref().unwrap().jti);
    assert_eq!(record["grant_id"], analysed.grant.id);
}

#[tokio::test]
async fn the_first_check_after_a_revocation_was_answered_is_denied() {
    // A4, A12, C12, D21, D22
    let mut walk = Walk::begin().await;
    for _ in 0..2 {
        let word = walk
            .word(ANALYSIS, &walk.analysed, "GET", "/documents/1")
            .await;
        assert_eq!(word, "allow");
    }
    let ended = walk
        .alice
        .revoke_task("task-abc", "", "done")
        .await
        .unwrap();
    assert_eq!(ended.tokens, 2);
    for (caller, by) in [(ANALYSIS, &walk.analysed), (SCHEDULING, &walk.scheduled)] {
        let answer = walk.shown(caller, by, "GET", "/documents/1").await;
        assert_eq!(answer.word(), "token_revoked");
        assert_eq!(answer.http_status(), Some(401));
        assert_eq!(
            answer.headers["www-authenticate"],
            "Bearer error=\"invalid_token\", error_description=\"the delegation token was revoked\""
        );
        // The names of those it was made for are not told any more.
        assert!(!answer.metadata.contains_key("subject"));
    }
}

#[tokio::test]
async fn an_expired_token_or_one_for_elsewhere_is_good_for_nothing() {
    // A4, C14
    let walk = Walk::begin().await;
    let request = || {
        bearing(
            principal(ask("GET", "/documents/1"), ANALYSIS),
            &walk.analysed,
        )
    };
    assert_eq!(walk.house.word(request()).await, "allow");
    let mut elsewhere = request();
    let other = party("spiffe://example.org/svc/billing");
    attributes(&mut elsewhere).destination = Some(other);
    assert_eq!(walk.house.word(elsewhere).await, "audience_mismatch");
    walk.clock.advance(Duration::from_secs(300));
    assert_eq!(walk.house.word(request()).await, "token_expired");
}

#[tokio::test]
async fn a_token_in_the_wrong_header_twice_or_altered_is_no_token() {
    let walk = Walk::begin().await;
    let bare = || principal(ask("GET", "/documents/1"), SCHEDULING);
    let token = text(&walk.scheduled);
    let twice = bearing(bearing(bare(), &walk.scheduled), &walk.scheduled);
    let with = |value: &str| header(bare(), "authorization", value);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let rest = signature.split_at(1).1;
    let altered = format!("Bearer {head}.{other}{rest}");
    for (request, expected) in [
        (bare(), "orphan_agent"),
        (header(bare(), "attache-token", token), "orphan_agent"),
        (
            header(bare(), "x-authorization", &format!("Bearer {token}")),
            "orphan_agent",
        ),
        (twice.clone(), "token_invalid"),
        (joined(twice), "token_invalid"),
        (with(token), "token_invalid"),
        (with(&format!("bearer {token}")), "token_invalid"),
        (with("Bearer garbage"), "token_invalid"),
        (with(""), "token_invalid"),
        (with(&format!("Bearer {head}.")), "token_invalid"),
        (with(&altered), "token_invalid"),
    ] {
        let answer = walk.house.check(request).await;
        assert_eq!(answer.word(), expected);
    }
    let carried = bearing(header(bare(), "attache-token", "x"), &walk.scheduled);
    let answer = walk.house.check(carried).await;
    assert_eq!(answer.word(), "allow");
    assert!(answer.removed.iter().any(|name| name == "attache-token"));
    // T50
    let records = walk.house.close().await;
    let all = serde_json::to_string(&records).unwrap();
    for handed in [&walk.scheduled, &walk.analysed] {
        for part in text(handed).split('.').skip(1) {
            assert!(!all.contains(part));
        }
    }
}
