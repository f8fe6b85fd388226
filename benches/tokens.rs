//! What tokens cost: to make one for each lease, to look at one for the first time, and at one that was seen before, which
//! is what most requests bring.

#![expect(
    clippy::expect_used,
    reason = "a benchmark that can't be set up should stop"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::Timestamp;
use attache::delegation::token::{Claims, Confirmation, Lease};
use attache::delegation::{Agent, Audience, Authentication, Chain, GrantId, TokenId};
use attache::keys::{Config, Expectations, Keyring, Signer, Verifier};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);
const ISSUER: &str = "https://attache.example.org";
const AUDIENCE: &str = "spiffe://example.org/ns/documents/sa/documents";

fn tokens(criterion: &mut Criterion) {
    let issuer: Audience = ISSUER.parse().expect("a URL");
    let audience: Audience = AUDIENCE.parse().expect("a SPIFFE ID");
    let expected = Expectations {
        issuer: &issuer,
        audience: &audience,
        now: NOW,
        skew: Duration::ZERO,
    };
    let claims = claims();
    let mut group = criterion.benchmark_group("tokens");
    for algorithm in ["Ed25519", "ES256"] {
        let folder = tempfile::tempdir().expect("a folder");
        let config = serde_json::json!({"algorithm": algorithm});
        let config: Config = serde_json::from_value(config).expect("a configuration");
        let (keyring, _) = Keyring::open(&config, folder.path(), NOW).expect("keys");
        let keyring = Arc::new(keyring);
        let signer = Signer::new(Arc::clone(&keyring));
        let token = signer.mint(&claims).expect("a token");
        group.bench_function(format!("{algorithm}_mint"), |bencher| {
            bencher.iter(|| signer.mint(black_box(&claims)));
        });
        for (name, room) in [("cold", 0), ("cached", 1024 * 1024)] {
            let verifier = Verifier::new(Arc::clone(&keyring), room);
            let verify = || verifier.verify(black_box(token.expose()), &expected);
            assert!(verify().is_ok(), "{algorithm} {name}");
            group.bench_function(format!("{algorithm}_verify_{name}"), |bencher| {
                bencher.iter(verify);
            });
        }
    }
    group.finish();
}

/// A chain of two with four permissions.
fn claims() -> Claims {
    let agents = ["scheduling", "analysis"].map(|name| Agent {
        spiffe_id: format!("spiffe://example.org/ns/agents/sa/{name}-agent")
            .parse()
            .expect("a SPIFFE ID"),
        agent_id: format!("{name}-agent-001").parse().expect("a name"),
        agent_type: name.parse().expect("a name"),
    });
    let permissions = [
        "documents/**:read",
        "documents/**:update",
        "documents/**:delete@supervised",
        "analytics:read",
    ];
    let permissions = permissions.map(|it| it.parse().expect("a permission"));
    let tasks = ["task-abc", "task-abc-sub1"].map(|it| it.parse().expect("a name"));
    Claims {
        issuer: ISSUER.parse().expect("a URL"),
        chain: Chain {
            person: "usr-alice-001".parse().expect("a name"),
            agents: agents.into(),
        },
        client: "spiffe://example.org/ns/agents/sa/scheduling-agent"
            .parse()
            .expect("a SPIFFE ID"),
        audience: AUDIENCE.parse().expect("a SPIFFE ID"),
        redelegable: false,
        permissions: permissions.into_iter().collect(),
        lease: Some(Lease {
            tasks: tasks.into(),
            grants: vec![GrantId::from_random(1), GrantId::from_random(2)],
            parent: Some(TokenId::from_random(1)),
            root: Some(TokenId::from_random(1)),
        }),
        session: "ses_01M2N3P4Q5R6S7T8V9W0X1Y2Z3".parse().expect("an id"),
        id: TokenId::from_random(2),
        issued: NOW,
        expires: NOW.plus(Duration::from_secs(300)),
        authentication: Authentication {
            time: NOW,
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        confirmation: Confirmation::default(),
    }
}

criterion_group!(benches, tokens);
criterion_main!(benches);
