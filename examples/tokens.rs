//! Makes and judges tokens with the keys of a folder, for programs that are not attache: `make test-jose` lets foreign JOSE
//! libraries verify what it makes and refuse or repeat what they make.
//!
//! `tokens make FOLDER Ed25519|ES256` prints our public keys, what a token must be for, and some tokens, as JSON.
//! `tokens judge FOLDER` reads one text a line and prints `good`, or the code of the refusal.
#![expect(clippy::print_stdout, reason = "the answer of the command")]

use std::error::Error;
use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::{Clock as _, SystemClock, Timestamp};
use attache::delegation::token::{Claims, Confirmation, Lease, Thumbprint};
use attache::delegation::{Agent, Audience, Authentication, Chain, GrantId, TokenId};
use attache::keys::{Config, Expectations, Keyring, Signer, Verifier};
use serde_json::json;

type Failure = Box<dyn Error>;

const ISSUER: &str = "https://authz.example.org";
const AUDIENCE: &str = "spiffe://example.org/svc/documents";

fn main() -> Result<(), Failure> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let now = SystemClock.now();
    match arguments.as_slice() {
        ["make", folder, algorithm] => make(folder.as_ref(), algorithm, now),
        ["judge", folder] => judge(folder.as_ref(), now),
        _ => Err("usage: tokens make FOLDER Ed25519|ES256, or tokens judge FOLDER".into()),
    }
}

fn keyring(folder: &Path, algorithm: &str, now: Timestamp) -> Result<Arc<Keyring>, Failure> {
    let config: Config =
        serde_json::from_value(json!({"algorithm": algorithm, "directory": folder}))?;
    let (keyring, _events) = Keyring::open(&config, "".as_ref(), now)?;
    Ok(Arc::new(keyring))
}

fn make(folder: &Path, algorithm: &str, now: Timestamp) -> Result<(), Failure> {
    let keyring = keyring(folder, algorithm, now)?;
    let signer = Signer::new(Arc::clone(&keyring));
    let mut tokens = Vec::new();
    for depth in [0, 1, 4] {
        let token = signer.mint(&claims(depth, now)?)?;
        tokens.push(token.expose().to_owned());
    }
    let jwks: serde_json::Value = serde_json::from_str(&keyring.jwks())?;
    let made = json!({"jwks": jwks, "issuer": ISSUER, "audience": AUDIENCE, "tokens": tokens});
    println!("{made}");
    Ok(())
}

fn judge(folder: &Path, now: Timestamp) -> Result<(), Failure> {
    let verifier = Verifier::new(keyring(folder, "Ed25519", now)?, 1024 * 1024);
    let (issuer, audience): (Audience, Audience) = (ISSUER.parse()?, AUDIENCE.parse()?);
    let expected = Expectations {
        issuer: &issuer,
        audience: &audience,
        now,
        skew: Duration::ZERO,
    };
    for line in std::io::stdin().lock().lines() {
        let judged = verifier.verify(&line?, &expected);
        println!("{}", judged.map_or_else(|error| error.code(), |_| "good"));
    }
    Ok(())
}

fn claims(depth: u32, now: Timestamp) -> Result<Claims, Failure> {
    let mut agents = Vec::new();
    let mut lease = None;
    for hop in 1..=depth {
        agents.push(Agent {
            spiffe_id: format!("spiffe://example.org/agent/planner-{hop}").parse()?,
            agent_id: format!("planner-agent-{hop}").parse()?,
            agent_type: "planner".parse()?,
        });
        let held = lease.get_or_insert(Lease {
            tasks: vec!["task-abc".parse()?],
            grants: Vec::new(),
            parent: None,
            root: None,
        });
        held.grants.push(GrantId::from_random(u128::from(hop)));
    }
    let permissions = ["documents/**:read", "documents:create@supervised"];
    Ok(Claims {
        issuer: ISSUER.parse()?,
        chain: Chain {
            person: "usr-alice-001".parse()?,
            agents,
        },
        client: "spiffe://example.org/gateway".parse()?,
        audience: AUDIENCE.parse()?,
        redelegable: depth == 1,
        permissions: permissions
            .iter()
            .map(|permission| permission.parse())
            .collect::<Result<_, _>>()?,
        lease,
        session: "ses_01M2N3P4Q5R6S7T8V9W0X1Y2Z3".parse()?,
        id: TokenId::from_random(u128::from(depth)),
        issued: now,
        expires: Timestamp::from_unix_seconds(now.unix_seconds() + 300),
        authentication: Authentication {
            time: now,
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        confirmation: Confirmation {
            key: Some(Thumbprint::new([1; 32])),
            certificate: None,
        },
    })
}
