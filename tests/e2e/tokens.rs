//! Tokens through a real Envoy: a person who hands on over the Unix socket, two agents with certificates of their own, and
//! the person through a gateway.
//!
//! The first token comes from the service. The others are signed with the keys in the process's own folder, so that they
//! can say what no service would write: an agent below, another end, a person's own.

use std::sync::Arc;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock, Timestamp};
use attache::delegation::token::{Claims, Token};
use attache::delegation::{Agent, GrantId, TokenId};
use attache::grpc::{DelegationClient, HandoverWanted, SessionClient};
use attache::humans::{Password, PasswordHash};
use attache::keys::{Config, Expectations, Keyring, Signer, Verifier};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::harness::{Mesh, Request, Setup, eventually};

const ISSUER: &str = "https://attache.example.org";
const DOCUMENTS: &str = "spiffe://example.org/svc/documents";
const PASSWORD: &str = "correct horse";

struct Walk {
    mesh: Mesh,
    alice: DelegationClient,
    /// Of the scheduling agent, as the service issued it.
    scheduling: Token,
    /// What that one says.
    claims: Claims,
    signer: Signer,
}

fn people() -> String {
    let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
    let hash = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1)).unwrap();
    let hash = hash.to_phc();
    format!(
        r#"
state: {{embedded: state.db}}
roles:
  admin: ["documents/**:read", "documents/**:update", "documents/**:delete@supervised", "billing/**:update@forbidden"]
humans:
  local: [{{email: alice@example.org, id: usr-alice-001, role: admin, password_hash: "{hash}"}}]
gateways: ["spiffe://example.org/gateway"]
delegation:
  issuer: {ISSUER}
  audience: "{DOCUMENTS}"
  agents:
    - {{match: "spiffe://example.org/agent/scheduling", type: scheduling, ceiling: ["**:*"]}}
    - {{match: "spiffe://example.org/agent/analysis", type: analysis, ceiling: ["**:*"]}}
"#
    )
}

impl Walk {
    async fn begin() -> Option<Self> {
        let mesh = Mesh::start(Setup::default().more(people())).await?;
        let address = format!("unix:{}/ext_authz.sock", mesh.home().display());
        let mut sessions = SessionClient::connect(&address).await.unwrap();
        let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
        let email = "alice@example.org".parse().unwrap();
        let logged_in = sessions.log_in(&email, &password, String::new()).await;
        let handle = logged_in.unwrap().1;
        let alice = DelegationClient::connect(&address, handle).await;
        let mut alice = alice.unwrap();
        let wanted = HandoverWanted {
            spiffe_id: "spiffe://example.org/agent/scheduling".to_owned(),
            agent_id: "scheduling-agent-001".to_owned(),
            agent_type: "scheduling".to_owned(),
            task: "task-abc".to_owned(),
            ..HandoverWanted::default()
        };
        let handed = alice.delegate(wanted).await.unwrap();
        let scheduling = handed.token.unwrap().token;

        let now = SystemClock.now();
        let (keyring, _) = Keyring::open(&Config::default(), mesh.home(), now).unwrap();
        let keyring = Arc::new(keyring);
        let verifier = Verifier::new(Arc::clone(&keyring), 0);
        let (issuer, audience) = (ISSUER.parse().unwrap(), DOCUMENTS.parse().unwrap());
        let expected = Expectations {
            issuer: &issuer,
            audience: &audience,
            now,
            skew: Duration::ZERO,
        };
        let seen = verifier.verify(scheduling.expose(), &expected).unwrap();
        Some(Self {
            claims: (*seen.claims).clone(),
            signer: Signer::new(keyring),
            mesh,
            alice,
            scheduling,
        })
    }

    /// Of an agent below the first one, reading only.
    fn analysis(&self) -> Claims {
        let mut claims = self.claims.clone();
        claims.chain.agents.push(Agent {
            spiffe_id: "spiffe://example.org/agent/analysis".parse().unwrap(),
            agent_id: "analysis-agent-002".parse().unwrap(),
            agent_type: "analysis".parse().unwrap(),
        });
        let lease = claims.lease.as_mut().unwrap();
        lease.tasks.push("task-abc-sub1".parse().unwrap());
        lease.grants.push(GrantId::from_random(7));
        claims.id = TokenId::from_random(7);
        claims.permissions = claims.permissions.attenuate_to_read_only();
        claims
    }

    fn sign(&self, claims: &Claims) -> Token {
        self.signer.mint(claims).unwrap()
    }
}

fn with(method: &str, path: &str, token: &Token) -> Request {
    Request::new(method, path).header("Authorization", &format!("Bearer {}", token.expose()))
}

#[tokio::test]
async fn agents_do_what_their_tokens_permit_and_nothing_else() {
    let Some(walk) = Walk::begin().await else {
        return;
    };
    let scheduling = walk.mesh.caller("agent/scheduling");
    let analysis = walk.mesh.caller("agent/analysis");
    let reading = walk.sign(&walk.analysis());
    for (caller, token, method, path, refused) in [
        (&scheduling, &walk.scheduling, "GET", "/documents/42", ""),
        (&scheduling, &walk.scheduling, "PUT", "/documents/42", ""),
        (
            &scheduling,
            &walk.scheduling,
            "DELETE",
            "/documents/42",
            "approval_required",
        ),
        (
            &scheduling,
            &walk.scheduling,
            "PUT",
            "/billing/7",
            "tier_forbidden",
        ),
        (&analysis, &reading, "GET", "/documents/42", ""),
        (&analysis, &reading, "PUT", "/documents/42", "out_of_scope"),
        (&analysis, &reading, "PUT", "/billing/7", "out_of_scope"),
    ] {
        let response = caller.send(with(method, path, token)).await;
        if refused.is_empty() {
            response.assert_allowed();
        } else {
            response.assert_denied(403, refused);
        }
    }
    scheduling
        .get("/documents/42")
        .await
        .assert_denied(403, "orphan_agent");

    let seen = walk.mesh.upstream.seen();
    assert_eq!(seen.len(), 3);
    let last = &seen[2];
    for (name, value) in [
        ("caller", "spiffe://example.org/agent/analysis"),
        ("subject", "usr-alice-001"),
        ("actor", "analysis-agent-002"),
        ("task", "task-abc-sub1"),
        (
            "chain",
            "usr-alice-001,scheduling-agent-001,analysis-agent-002",
        ),
    ] {
        assert_eq!(last.header(&format!("x-attache-{name}")), [value]);
    }
}

#[tokio::test]
async fn a_person_reaches_the_application_through_the_gateway() {
    let Some(walk) = Walk::begin().await else {
        return;
    };
    let mut claims = walk.claims.clone();
    claims.chain.agents.clear();
    claims.lease = None;
    claims.client = "spiffe://example.org/gateway".parse().unwrap();
    let token = walk.sign(&claims);
    let gateway = walk.mesh.caller("gateway");
    for (method, path) in [
        ("GET", "/documents/42"),
        ("DELETE", "/documents/42"),
        ("PUT", "/billing/7"),
    ] {
        let forged = with(method, path, &token).header("x-attache-actor", "forged");
        gateway.send(forged).await.assert_allowed();
    }
    for request in walk.mesh.upstream.seen() {
        assert_eq!(request.header("x-attache-subject"), ["usr-alice-001"]);
        assert_eq!(request.header("x-attache-chain"), ["usr-alice-001"]);
        assert!(request.header("x-attache-actor").is_empty());
    }
    let agent = walk.mesh.caller("agent/scheduling");
    let response = agent.send(with("GET", "/documents/42", &token)).await;
    response.assert_denied(403, "orphan_agent");
    let reporting = walk.mesh.caller("svc/reporting");
    let response = reporting.send(with("GET", "/documents/42", &token)).await;
    response.assert_denied(401, "presenter_mismatch");
}

#[tokio::test]
async fn a_token_that_is_not_right_is_refused_and_written_down_nowhere() {
    let Some(mut walk) = Walk::begin().await else {
        return;
    };
    let analysis = walk.mesh.caller("agent/analysis");
    let scheduling = walk.mesh.caller("agent/scheduling");
    let token = walk.scheduling.clone();
    let mut expired = walk.claims.clone();
    expired.authentication.time = Timestamp::from_unix_seconds(1_600_000_000);
    expired.issued = Timestamp::from_unix_seconds(1_700_000_000);
    expired.expires = Timestamp::from_unix_seconds(1_700_000_300);
    let expired = walk.sign(&expired);
    let mut elsewhere = walk.claims.clone();
    elsewhere.audience = "spiffe://example.org/svc/billing".parse().unwrap();
    let elsewhere = walk.sign(&elsewhere);
    let bearer = format!("Bearer {}", token.expose());
    let get = || Request::get("/documents/42");
    for (request, status, reason) in [
        (with("GET", "/documents/42", &expired), 401, "token_expired"),
        (
            with("GET", "/documents/42", &elsewhere),
            401,
            "audience_mismatch",
        ),
        (
            get().header("attache-token", token.expose()),
            403,
            "orphan_agent",
        ),
        (
            get()
                .header("authorization", &bearer)
                .header("Authorization", &bearer),
            401,
            "token_invalid",
        ),
        (
            get().header("authorization", token.expose()),
            401,
            "token_invalid",
        ),
        (
            get().header("authorization", "Bearer garbage"),
            401,
            "token_invalid",
        ),
        (
            get().header("authorization", "Basic YWxpY2U6c2VjcmV0"),
            401,
            "token_invalid",
        ),
    ] {
        let response = scheduling.send(request).await;
        response.assert_denied(status, reason);
        assert_eq!(
            response.headers.contains_key("www-authenticate"),
            status == 401
        );
    }
    let stolen = analysis.send(with("GET", "/documents/42", &token)).await;
    stolen.assert_denied(401, "presenter_mismatch");
    assert!(walk.mesh.upstream.seen().is_empty());

    // D21, D22: what comes after the answer is refused, whatever is remembered.
    let below = walk.sign(&walk.analysis());
    for _ in 0..2 {
        let response = scheduling.send(with("GET", "/documents/42", &token)).await;
        response.assert_allowed();
        let response = analysis.send(with("GET", "/documents/42", &below)).await;
        response.assert_allowed();
    }
    walk.alice.revoke_task("task-abc", "", "").await.unwrap();
    let response = scheduling.send(with("GET", "/documents/42", &token)).await;
    response.assert_denied(401, "token_revoked");
    let response = analysis.send(with("GET", "/documents/42", &below)).await;
    response.assert_denied(401, "token_revoked");

    let jti = json!(TokenId::from_random(7).as_str());
    let records = eventually("the last refusal is on record", async || {
        let records = walk.mesh.attache.audit();
        let last =
            |it: &serde_json::Value| it["reason_code"] == "token_revoked" && it["jti"] == jti;
        records.iter().any(last).then_some(records)
    })
    .await;
    let all = serde_json::to_string(&records).unwrap();
    for token in [&token, &expired, &elsewhere, &below] {
        for part in token.expose().split('.').skip(1) {
            assert!(!all.contains(part));
        }
    }
}
