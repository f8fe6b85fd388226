//! Writes the seeds of the fuzz targets that no person can type, into the folder named by the argument:
//!
//! `cargo run --example fuzz_seeds -- fuzz/seeds`
//!
//! Certificates have new keys on every run, everything else is the same. The other seeds are texts and written by hand.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::{
    Actor, AuditError, Auditor, EventType, Jsonl, Origin, Outcome, Record, Setup, WriterHandle,
    start,
};
use attache::clock::{MockClock, Timestamp};
use attache::delegation::token::{Claims, Confirmation, Lease, Thumbprint};
use attache::delegation::{Agent, Authentication, Chain, GrantId, TokenId};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use prometheus_client::registry::Registry;
use prost::Message as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

type Failure = Box<dyn Error>;

const REPORTING: &str = "spiffe://example.org/svc/reporting";
/// As in the law of the target `check_request`.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    let folder = Path::new(&folder);
    leaves(&folder.join("leaf"))?;
    check_requests(&folder.join("check_request"))?;
    tokens(&folder.join("token"), &folder.join("jws"))?;
    audit_lines(&folder.join("audit_lines")).await
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    Ok(fs::write(folder.join(name), bytes)?)
}

// === Certificates ===

/// A leaf SVID as SPIRE issues it, valid for as long as rcgen's certificates are.
fn svid(id: &str) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    Ok(params)
}

fn der(params: &CertificateParams) -> Result<Vec<u8>, Failure> {
    let key = KeyPair::generate()?;
    Ok(params.self_signed(&key)?.der().to_vec())
}

/// As Envoy passes a certificate on.
fn encoded(params: &CertificateParams) -> Result<String, Failure> {
    let key = KeyPair::generate()?;
    let pem = params.self_signed(&key)?.pem().replace('\r', "");
    Ok(pem
        .replace('\n', "%0A")
        .replace(' ', "%20")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D"))
}

fn leaves(folder: &Path) -> Result<(), Failure> {
    let plain = svid(REPORTING)?;
    write(folder, "svid.der", &der(&plain)?)?;
    write(folder, "svid.pem", encoded(&plain)?.as_bytes())?;

    let mut named = plain.clone();
    named
        .subject_alt_names
        .push(SanType::DnsName("reporting.example.org".try_into()?));
    named
        .distinguished_name
        .push(DnType::CommonName, "reporting");
    write(folder, "dns.der", &der(&named)?)?;

    let mut two = plain.clone();
    let second = SanType::URI("spiffe://example.org/agent/planner".try_into()?);
    two.subject_alt_names.push(second);
    write(folder, "two_uris.der", &der(&two)?)?;

    let mut authority = plain.clone();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages.push(KeyUsagePurpose::KeyCertSign);
    write(folder, "authority.der", &der(&authority)?)?;

    let mut server = plain;
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    write(folder, "server_only.der", &der(&server)?)
}

// === CheckRequests ===

fn ask(caller: Peer, method: &str, path: &str) -> CheckRequest {
    let http = HttpRequest {
        id: "5577006791947779410".to_owned(),
        method: method.to_owned(),
        host: "documents.example.org".to_owned(),
        path: path.to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        headers: [(":method", method), ("x-request-id", "req-1")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(caller),
            destination: Some(principal("spiffe://example.org/svc/documents")),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

fn principal(id: &str) -> Peer {
    Peer {
        principal: id.to_owned(),
        ..Peer::default()
    }
}

fn check_requests(folder: &Path) -> Result<(), Failure> {
    let reporting = || principal(REPORTING);
    let certified = |id| -> Result<Peer, Failure> {
        Ok(Peer {
            certificate: encoded(&svid(id)?)?,
            ..Peer::default()
        })
    };
    let mut network = ask(reporting(), "GET", "/documents");
    let mut raw = ask(reporting(), "PUT", "/documents/42?a=b");
    if let Some(attributes) = &mut network.attributes {
        attributes.request = None;
    }
    if let Some(attributes) = &mut raw.attributes {
        let extensions = [("resource", "documents/42"), ("action", "read")];
        attributes.context_extensions = extensions
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        if let Some(http) = attributes.request.as_mut().and_then(|it| it.http.as_mut()) {
            http.headers.clear();
            http.raw_body = b"{\"title\":\"x\"}".to_vec();
            http.size = 13;
            let headers = [
                ("content-type", "application/json"),
                ("x-forwarded-client-cert", "URI=spiffe://example.org/svc/a"),
            ];
            let headers = headers.map(|(name, value)| HeaderValue {
                key: name.to_owned(),
                raw_value: value.as_bytes().to_vec(),
                ..HeaderValue::default()
            });
            http.header_map = Some(HeaderMap {
                headers: headers.into(),
            });
        }
    }
    let agent = principal("spiffe://example.org/agent/planner");
    let foreign = certified("spiffe://other.example/svc/reporting")?;
    for (name, request) in [
        ("list", ask(reporting(), "GET", "/documents")),
        (
            "read",
            ask(reporting(), "GET", "/documents/42?fields=title"),
        ),
        ("escaped", ask(reporting(), "GET", "/%64ocuments/4%32")),
        ("hidden", ask(reporting(), "GET", "/documents/a%2Fb")),
        ("dots", ask(reporting(), "GET", "/documents/x/../42")),
        ("delete", ask(reporting(), "DELETE", "/documents/42")),
        ("payment", ask(reporting(), "POST", "/payments")),
        ("agent", ask(agent, "GET", "/documents/42")),
        (
            "certified",
            ask(certified(REPORTING)?, "GET", "/documents/42"),
        ),
        ("foreign", ask(foreign, "GET", "/documents/42")),
        ("raw_update", raw),
        ("network", network),
    ] {
        write(folder, &format!("{name}.bin"), &request.encode_to_vec())?;
    }
    Ok(())
}

// === Tokens ===

fn claims(depth: u8) -> Result<Claims, Failure> {
    let mut agents = Vec::new();
    let mut grants = Vec::new();
    for hop in 1..=depth {
        agents.push(Agent {
            spiffe_id: format!("spiffe://example.org/agent/planner-{hop}").parse()?,
            agent_id: format!("planner-agent-{hop}").parse()?,
            agent_type: "planner".parse()?,
        });
        grants.push(GrantId::from_random(u128::from(hop)));
    }
    let lease = Lease {
        tasks: vec!["task-abc".parse()?, "task-abc-sub1".parse()?],
        grants,
        parent: Some(TokenId::from_random(1)),
        root: Some(TokenId::from_random(1)),
    };
    let permissions = ["documents:read", "documents/**:delete@supervised"];
    let permissions = permissions.iter().map(|it| it.parse());
    Ok(Claims {
        issuer: "https://attache.example.org".parse()?,
        chain: Chain {
            person: "usr-alice-001".parse()?,
            agents,
        },
        client: "spiffe://example.org/gateway".parse()?,
        audience: "spiffe://example.org/svc/documents".parse()?,
        redelegable: depth == 1,
        permissions: permissions.collect::<Result<_, _>>()?,
        lease: (depth > 0).then_some(lease),
        session: "ses_01M2N3P4Q5R6S7T8V9W0X1Y2Z3".parse()?,
        id: TokenId::from_random(2),
        issued: NOW,
        expires: NOW.plus(Duration::from_secs(300)),
        authentication: Authentication {
            time: NOW,
            methods: vec!["pwd".to_owned()],
            class: (depth == 0).then(|| "urn:example:strong".to_owned()),
        },
        confirmation: Confirmation {
            key: (depth == 1).then_some(Thumbprint::new([7; 32])),
            certificate: (depth == 2).then_some(Thumbprint::new([8; 32])),
        },
    })
}

fn tokens(payloads: &Path, texts: &Path) -> Result<(), Failure> {
    let kid = Thumbprint::new([9; 32]);
    let ours = |alg: &str| format!(r#"{{"alg":"{alg}","typ":"at+jwt","kid":"{kid}"}}"#);
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let compact = |header: &str, payload: &[u8]| {
        let [header, payload] = [header.as_bytes(), payload].map(encode);
        format!("{header}.{payload}.{}", encode(&[1; 64]))
    };
    let whole = claims(2)?.encode()?;
    for depth in [0, 1, 2, 4] {
        let payload = claims(depth)?.encode()?;
        write(payloads, &format!("depth_{depth}.json"), &payload)?;
    }
    let text = String::from_utf8(whole.clone())?;
    for (name, from, to) in [
        ("twice", r#""exp":"#, r#""exp":1,"exp":"#),
        ("unknown", r#""sid":"#, r#""may_act":{},"sid":"#),
        ("spelled", r#""aud":"#, r#""aud" :"#),
        ("array", r#""task":{"#, r#""task":[{"#),
    ] {
        let changed = text.replacen(from, to, 1);
        write(payloads, &format!("{name}.json"), changed.as_bytes())?;
    }
    for alg in ["Ed25519", "EdDSA", "ES256", "none"] {
        write(texts, alg, compact(&ours(alg), &whole).as_bytes())?;
    }
    let key = ours("Ed25519").replace("\"typ\"", "\"jwk\":{\"kty\":\"OKP\"},\"typ\"");
    write(texts, "jwk", compact(&key, &whole).as_bytes())?;
    let four = format!("{}.e30", compact(&ours("ES256"), b"{}"));
    write(texts, "four_parts", four.as_bytes())?;
    write(texts, "short", compact(&ours("ES256"), b"{}").as_bytes())
}

// === Audit lines ===

fn begin(file: &Path, writer: &str) -> Result<(Auditor, WriterHandle), Failure> {
    let setup = Setup {
        first: Box::new(Jsonl::open(file)?),
        others: Vec::new(),
        capacity: 16,
        origin: Origin {
            tenant: "default".into(),
            writer: writer.into(),
        },
    };
    let rng = StdRng::seed_from_u64(1);
    let clock = Arc::new(MockClock::new(NOW));
    Ok(start(setup, clock, rng, &mut Registry::default())?)
}

/// Two decisions, the first of them made of as much as fits.
async fn decide(auditor: &Auditor) -> Result<(), AuditError> {
    let caller = || REPORTING.parse().map_or(Actor::Unknown, Actor::Workload);
    let allowed = Record {
        message: Some("said \"é\\\u{1f}\"".into()),
        ..Record::new(EventType::PermissionCheck, Outcome::Allowed, caller())
    };
    auditor.record(allowed);
    let denied = Record::new(EventType::PermissionDenied, Outcome::Denied, Actor::Unknown);
    auditor.record(denied);
    auditor.flush().await
}

async fn audit_lines(folder: &Path) -> Result<(), Failure> {
    let working = tempfile::tempdir()?;
    let file = working.path().join("audit.jsonl");

    let (auditor, writer) = begin(&file, "a")?;
    decide(&auditor).await?;
    writer.close().await?;
    let whole = fs::read(&file)?;
    write(folder, "stopped.jsonl", &whole)?;
    let second = whole.iter().position(|byte| *byte == b'\n');
    let rest = whole.get(second.map_or(0, |end| end + 1)..);
    write(folder, "no_beginning.jsonl", rest.unwrap_or_default())?;

    // A second run that crashes in the middle of a line, and a third that finds it.
    let (auditor, writer) = begin(&file, "b")?;
    decide(&auditor).await?;
    let mut torn = fs::read(&file)?;
    write(folder, "running.jsonl", &torn)?;
    writer.close().await?;
    torn.truncate(torn.len() - 40);
    fs::write(&file, torn)?;
    let (auditor, writer) = begin(&file, "c")?;
    decide(&auditor).await?;
    writer.close().await?;
    write(folder, "torn.jsonl", &fs::read(&file)?)
}
