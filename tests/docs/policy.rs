//! docs/policy.md.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use attache::audit::Memory;
use attache::authority::{Authority, Metrics};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use attache::delegation::token::{Claims, Confirmation, Lease};
use attache::delegation::{Agent, Authentication, Chain, GrantId, Mandate, SessionId, TokenId};
use attache::grpc::{Rehearsal, RequestFlags};
use attache::identity::Peer;
use attache::permission::{Permission, Tier};
use attache::policy::{Context, Input, LoadError, Program, Sources};
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::ear::Ear;
use crate::markdown::{blocks, code, code_spans, read, tables_of};

#[tokio::test]
async fn the_shown_input_is_what_the_engine_is_asked() {
    let blocks = blocks(&read("docs/policy.md"));
    let config = blocks.iter().find(|it| it.info == "yaml").unwrap();
    let config = Config::parse(&config.text, "docs/policy.md".as_ref()).unwrap();
    let now = Timestamp::from_unix_seconds(1_767_225_600);
    let clock: Arc<dyn Clock> = Arc::new(MockClock::new(now));
    let (_memory, auditor, _writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
    let ear = Arc::new(Ear::default());
    let authority = Authority::new(
        Arc::new(config.rules),
        Arc::clone(&ear) as _,
        auditor,
        clock,
        Metrics::new(&mut Registry::default()),
    );
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let headers = [
        ("content-type", "application/json"),
        ("x-environment", "production"),
        ("x-other", "not declared, not seen"),
    ];
    let request = RequestFlags {
        caller: Some("spiffe://example.org/svc/editor".to_owned()),
        destination: Some("spiffe://example.org/svc/documents".to_owned()),
        method: "PUT".to_owned(),
        host: "API.example.org:443".to_owned(),
        path: "/documents/42?draft=1".to_owned(),
        headers: headers.map(pair).into(),
        extensions: vec![pair(("purpose", "correction"))],
        body: Some(r#"{"title": "Minutes", "pages": 3}"#.to_owned()),
    };
    let peer = Peer::Unix { uid: None };
    Rehearsal::from(request)
        .decide(&authority, peer, Duration::from_secs(5))
        .await;

    let heard = ear.heard.lock().unwrap().take().unwrap();
    let shown = blocks.iter().find(|it| it.info == "json").unwrap();
    let shown: Value = serde_json::from_str(&shown.text).unwrap();
    assert_eq!(shown, heard, "{heard:#}");

    let members: BTreeSet<_> = heard.as_object().unwrap().keys().cloned().collect();
    assert_eq!(own_members(), members);
}

#[test]
fn the_members_that_say_on_whose_behalf_are_as_shown() {
    let text = read("docs/policy.md");
    let (_, section) = text.split_once("### On whose behalf").unwrap();
    let shown = blocks(section).into_iter().find(|it| it.info == "json");
    let shown: Value = serde_json::from_str(&shown.unwrap().text).unwrap();

    let agent = |name: &str, id: &str| Agent {
        spiffe_id: format!("spiffe://example.org/agent/{name}")
            .parse()
            .unwrap(),
        agent_id: id.parse().unwrap(),
        agent_type: name.parse().unwrap(),
    };
    let scheduling = agent("scheduling", "scheduling-agent-001");
    let analysis = agent("analysis", "analysis-agent-002");
    let caller = analysis.spiffe_id.clone();
    let tasks = ["task-abc", "task-abc-sub1"].map(|it| it.parse().unwrap());
    let permission: Permission = "documents/**:read".parse().unwrap();
    let claims = Claims {
        issuer: "https://attache.example.org".parse().unwrap(),
        chain: Chain {
            person: "usr-alice-001".parse().unwrap(),
            agents: vec![scheduling, analysis],
        },
        client: caller.clone(),
        audience: "spiffe://example.org/svc/documents".parse().unwrap(),
        redelegable: false,
        permissions: [permission].into_iter().collect(),
        lease: Some(Lease {
            tasks: tasks.to_vec(),
            grants: vec![GrantId::from_random(1), GrantId::from_random(2)],
            parent: None,
            root: None,
        }),
        session: SessionId::from_random(1),
        id: TokenId::from_random(1),
        issued: Timestamp::from_unix_seconds(1_790_000_000),
        expires: Timestamp::from_unix_seconds(1_790_000_300),
        authentication: Authentication {
            // 2026-09-21T13:30:00Z
            time: Timestamp::from_unix_seconds(1_789_997_400),
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        confirmation: Confirmation::default(),
    };
    let mut input = Input {
        caller,
        target: None,
        mandate: None,
        action: "read".parse().unwrap(),
        resource: "documents/1".parse().unwrap(),
        tier: Tier::Free,
        timestamp: Timestamp::from_unix_seconds(1_790_000_000),
        context: Context::default(),
        request: None,
        envoy: None,
    };
    let without = serde_json::to_value(&input).unwrap();
    input.mandate = Some(Mandate {
        claims: Arc::new(claims),
        role: "admin".parse().unwrap(),
    });
    let mut with = serde_json::to_value(&input).unwrap();
    with.as_object_mut()
        .unwrap()
        .retain(|name, _| without.get(name).is_none());
    assert_eq!(with, shown);
    let members: BTreeSet<_> = with.as_object().unwrap().keys().cloned().collect();
    let tables = tables_of("docs/policy.md", "member");
    let table = tables.iter().find(|it| it.heading == "On whose behalf");
    let listed: BTreeSet<_> = table.unwrap().rows.iter().map(|it| code(&it[0])).collect();
    assert_eq!(listed, members);
}

#[tokio::test]
async fn every_member_in_the_words_of_opa_envoy_plugin_is_listed_and_no_other() {
    let text = read("docs/policy.md");
    let (_, section) = text.split_once("## Coming from opa-envoy-plugin").unwrap();
    let config = blocks(section).into_iter().find(|it| it.info == "yaml");
    let config = Config::parse(&config.unwrap().text, "docs/policy.md".as_ref()).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
    let (_memory, auditor, _writer) = Memory::auditor(Arc::clone(&clock)).unwrap();
    let ear = Arc::new(Ear::default());
    let authority = Authority::new(
        Arc::new(config.rules),
        Arc::clone(&ear) as _,
        auditor,
        clock,
        Metrics::new(&mut Registry::default()),
    );
    let request = RequestFlags {
        caller: Some("spiffe://example.org/svc/editor".to_owned()),
        method: "GET".to_owned(),
        host: "people.example.org".to_owned(),
        path: "/people/7?q=1&q=2".to_owned(),
        ..RequestFlags::default()
    };
    let peer = Peer::Unix { uid: None };
    Rehearsal::from(request)
        .decide(&authority, peer, Duration::from_secs(5))
        .await;
    let heard = ear.heard.lock().unwrap().take().unwrap();
    let mut listed = own_members();
    for row in &tables_of("docs/policy.md", "member of `input`")[0].rows {
        listed.insert(code(&row[0]));
    }
    let mut members: BTreeSet<_> = heard.as_object().unwrap().keys().cloned().collect();
    // Nobody named the service.
    members.extend(["resource_spiffe_id", "resource_trust_domain"].map(str::to_owned));
    assert_eq!(listed, members);
}

/// Of `input`, whatever the words.
fn own_members() -> BTreeSet<String> {
    let rows = &tables_of("docs/policy.md", "member")[0].rows;
    let spans = rows.iter().flat_map(|row| code_spans(&row[0]));
    spans.collect()
}

/// The names in a table of src/policy/rego/builtins.rs, which is private to the engine.
fn names_in(table: &str) -> BTreeSet<String> {
    let source = read("src/policy/rego/builtins.rs");
    let (_, rest) = source.split_once(&format!("const {table}: ")).unwrap();
    let (_, rest) = rest.split_once("&[\n").unwrap();
    let (body, _) = rest.split_once("\n];").unwrap();
    let quoted = body.split('"').skip(1).step_by(2);
    let is_name = |word: &&str| !word.contains(' ');
    quoted.filter(is_name).map(str::to_owned).collect()
}

#[test]
fn every_builtin_is_listed_as_what_it_is() {
    let text = read("docs/policy.md");
    let (_, rest) = text.split_once("\nOffered:\n").unwrap();
    let (offered, _) = rest.split_once("\nRefused, ").unwrap();
    let offered: BTreeSet<_> = code_spans(offered).into_iter().collect();
    assert_eq!(offered, names_in("ALLOWED"));

    let rows = &tables_of("docs/policy.md", "builtin")[0].rows;
    let refused: BTreeSet<_> = rows.iter().map(|row| code(&row[0])).collect();
    let mut known = names_in("EXCLUDED");
    // What `|` and `&` call; no policy is written with these names.
    known.retain(|name| !name.starts_with("__builtin"));
    assert_eq!(refused, known);
    for name in &refused {
        assert!(is_refused(name), "{name}");
    }
    for name in ["http.send", "io.jwt.decode", "crypto.sha256"] {
        assert!(is_refused(name), "{name}");
    }
}

fn is_refused(builtin: &str) -> bool {
    let mut sources = Sources::default();
    let module = format!("package agentweave.authz\nallow if {builtin}(input.a)\n");
    sources.insert("a.rego", module);
    let path = "agentweave/authz/allow".parse().unwrap();
    let Err(errors) = Program::compile(&sources, &path, Duration::from_secs(5)) else {
        return false;
    };
    errors
        .iter()
        .all(|error| matches!(error, LoadError::Refused { .. }))
}

#[test]
fn every_sample_is_listed_and_no_other() {
    let mut listed = BTreeSet::new();
    for row in &tables_of("docs/policy.md", "file")[0].rows {
        listed.insert(code(&row[0]));
    }
    let mut there = BTreeSet::new();
    for folder in ["", "samples/"] {
        let path = crate::markdown::root().join("deploy/policy").join(folder);
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let is_rego = path.extension().is_some_and(|it| it == "rego");
            if is_rego && !name.ends_with("_test") {
                there.insert(format!("{folder}{name}.rego"));
            }
        }
    }
    assert_eq!(listed, there);
}
