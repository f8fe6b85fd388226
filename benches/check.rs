//! From an encoded CheckRequest to a recorded decision, in process, with the embedded engine.
#![expect(clippy::expect_used, reason = "a benchmark that can't start fails")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::app::rehearsal_authority;
use attache::authority::{Outcome, Tokens};
use attache::clock::{Clock, SystemClock};
use attache::config::Config;
use attache::delegation::token::{Claims, Confirmation, Lease, Token};
use attache::delegation::{
    Agent, Authentication, Chain, GrantId, Person, Session, SessionId, Status, TokenId,
};
use attache::grpc::Rehearsal;
use attache::identity::Peer;
use attache::keys::{self, Keyring, Signer, Verifier};
use attache::permission::Permission;
use attache::state::{Begun, Embedded, Handle, NewSession, StateStore as _};
use criterion::{Criterion, criterion_group, criterion_main};
use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer as Party, Request,
};
use prost::Message as _;

const CONFIG: &str = include_str!("../deploy/dev.yaml");

/// Who may be delegated to, beside the other tables.
const DELEGATION: &str = r#"
roles: {admin: ["documents/**:read", "documents/**:update"]}
delegation:
  issuer: https://attache.example.org
  agents: [{match: "spiffe://example.org/agent/*", type: agent, ceiling: ["**:*"]}]
"#;
const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const DOCUMENTS: &str = "spiffe://example.org/svc/documents";

fn encoded(method: &str, path: &str) -> Vec<u8> {
    request(method, path, "spiffe://example.org/svc/reporting", None)
}

fn request(method: &str, path: &str, caller: &str, token: Option<&str>) -> Vec<u8> {
    let headers = [
        (":authority", "documents.example.org"),
        (":method", method),
        (":path", path),
        ("accept", "application/json"),
        ("user-agent", "reporting/2.4"),
        ("x-request-id", "0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0"),
    ];
    let http = HttpRequest {
        method: method.to_owned(),
        host: "documents.example.org".to_owned(),
        path: path.to_owned(),
        size: -1,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(token.map(|token| ("authorization".to_owned(), format!("Bearer {token}"))))
            .collect(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Party {
                principal: caller.to_owned(),
                ..Party::default()
            }),
            destination: Some(Party {
                principal: DOCUMENTS.to_owned(),
                ..Party::default()
            }),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
    .encode_to_vec()
}

fn check(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let uncached = format!("{CONFIG}\npolicy: {{cache: {{size: 0}}}}\n");
    let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
    for (name, config, method, path) in [
        ("allowed, from the cache", CONFIG, "GET", "/documents/42"),
        ("allowed, policy asked", &*uncached, "GET", "/documents/42"),
        (
            "supervised, policy asked",
            &*uncached,
            "DELETE",
            "/documents/42",
        ),
        ("forbidden, policy not asked", CONFIG, "POST", "/payments"),
        ("no route", CONFIG, "GET", "/nowhere"),
    ] {
        let config = Config::parse(config, "dev.yaml".as_ref()).expect("a sound configuration");
        let authority = runtime.block_on(async {
            rehearsal_authority(config, Arc::new(SystemClock)).expect("an authority")
        });
        let bytes = encoded(method, path);
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let rehearsal = Rehearsal::from_wire(&bytes).expect("a CheckRequest");
                rehearsal
                    .decide(&authority, peer.clone(), Duration::from_millis(150))
                    .await
            });
        });
    }
}

/// The keys and the memory of an authority, and a token of the third agent in a chain, looked at with them.
async fn delegated(folder: &Path) -> (Tokens, Token) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let now = clock.now();
    let store = Embedded::file(&folder.join("state.db"), "default", &clock).expect("a memory");
    let session = Session {
        id: SessionId::from_random(1),
        person: Person {
            id: "usr-alice-001".parse().expect("a name"),
            issuer: "local".into(),
            subject: "alice".into(),
        },
        role: "admin".parse().expect("a name"),
        authentication: Authentication {
            time: now,
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        created: now,
        expires: now.plus(Duration::from_secs(3600)),
        status: Status::Pending,
    };
    let agents = ["scheduling", "planning", "analysis"].map(|name| Agent {
        spiffe_id: format!("spiffe://example.org/agent/{name}")
            .parse()
            .expect("an id"),
        agent_id: format!("{name}-agent-001").parse().expect("a name"),
        agent_type: "agent".parse().expect("a name"),
    });
    let claims = Claims {
        issuer: "https://attache.example.org".parse().expect("a URL"),
        chain: Chain {
            person: session.person.id.clone(),
            agents: agents.to_vec(),
        },
        client: ANALYSIS.parse().expect("an id"),
        audience: DOCUMENTS.parse().expect("a service"),
        redelegable: false,
        permissions: ["documents/**:read", "documents/drafts/**:update"]
            .map(|it| it.parse::<Permission>().expect("a permission"))
            .into_iter()
            .collect(),
        lease: Some(Lease {
            tasks: ["task-abc", "task-abc-sub1", "task-abc-sub2"]
                .map(|it| it.parse().expect("a name"))
                .to_vec(),
            grants: (0..3).map(GrantId::from_random).collect(),
            parent: None,
            root: None,
        }),
        session: session.id.clone(),
        id: TokenId::from_random(1),
        issued: now,
        expires: now.plus(Duration::from_secs(300)),
        authentication: session.authentication.clone(),
        confirmation: Confirmation::default(),
    };
    let id = session.id.clone();
    let handle = Handle::from_random([1; 32]).digest();
    let opened = store
        .open_session(NewSession { session, handle }, None)
        .await;
    opened.expect("a session");
    store.activate(Begun::Session(id)).await.expect("a session");
    let (keyring, _) = Keyring::open(&keys::Config::default(), folder, now).expect("keys");
    let keyring = Arc::new(keyring);
    let token = Signer::new(Arc::clone(&keyring))
        .mint(&claims)
        .expect("a token");
    let verifier = Verifier::new(keyring, 1024 * 1024);
    (Tokens::new(verifier, Arc::new(store)), token)
}

/// What a token costs that was seen before, beside a request without one.
fn by_token(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("{CONFIG}\n{DELEGATION}");
    let config = Config::parse(&text, "dev.yaml".as_ref()).expect("a sound configuration");
    let (authority, token) = runtime.block_on(async {
        let (tokens, token) = delegated(folder.path()).await;
        let authority = rehearsal_authority(config, Arc::new(SystemClock)).expect("an authority");
        (authority.with_tokens(Some(tokens)), token)
    });
    let peer = Peer::Tcp(([127, 0, 0, 1], 1).into());
    let reporting = "spiffe://example.org/svc/reporting";
    for (name, caller, token) in [
        ("allowed, from the cache, without a token", reporting, None),
        (
            "allowed, from the cache, by a token of depth 3",
            ANALYSIS,
            Some(token.expose()),
        ),
    ] {
        let bytes = request("GET", "/documents/42", caller, token);
        let decide = async || {
            let rehearsal = Rehearsal::from_wire(&bytes).expect("a CheckRequest");
            rehearsal
                .decide(&authority, peer.clone(), Duration::from_millis(150))
                .await
        };
        let (decision, _) = runtime.block_on(decide());
        assert!(
            matches!(decision.outcome, Outcome::Allow(_)),
            "{decision:?}"
        );
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(decide);
        });
    }
}

criterion_group!(benches, check, by_token);
criterion_main!(benches);
