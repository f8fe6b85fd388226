//! docs/api.md: every method, message, field and value of the proto, and what policy is shown.

use std::collections::BTreeMap;
use std::sync::Arc;

use attache::audit::Memory;
use attache::authority::{Authority, AuthorizationProvider, Metrics};
use attache::clock::{Clock, MockClock, Timestamp};
use attache::config::Config;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};

use crate::ear::Ear;
use crate::markdown::{blocks, code, read, tables};

const PROTOS: [&str; 4] = [
    "proto/attache/v1/authorization.proto",
    "proto/attache/v1/session.proto",
    "proto/attache/v1/audit.proto",
    "proto/attache/v1/delegation.proto",
];

/// What stands in the protos, by the name of the service, message or enum: the first two words that a table must show.
fn declared() -> BTreeMap<String, Vec<(String, String)>> {
    let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut inside: Option<String> = None;
    let text = PROTOS.map(read).join("\n");
    let lines = text.lines().map(str::trim);
    let mut in_oneof = false;
    for line in lines.filter(|line| !line.starts_with("//")) {
        let words: Vec<_> = line.split([' ', '(', ')', ';']).collect();
        match (&inside, &words[..]) {
            (None, ["service" | "message" | "enum", name, rest @ ..]) => {
                found.insert((*name).to_owned(), Vec::new());
                inside = (!rest.contains(&"{}")).then(|| (*name).to_owned());
            }
            // Its members are the message's.
            (Some(_), ["oneof", ..]) => in_oneof = true,
            (Some(_), ["}", ..]) if in_oneof => in_oneof = false,
            (Some(_), ["}", ..]) => inside = None,
            (Some(place), words) => {
                let member = match words {
                    ["rpc", name, takes, "", "returns", "", "stream", gives, ..] => {
                        (*name, format!("{takes} stream {gives}"))
                    }
                    ["rpc", name, takes, "", "returns", "", gives, ..] => {
                        (*name, format!("{takes} {gives}"))
                    }
                    ["repeated", kind, name, "=", ..] => (*name, format!("repeated {kind}")),
                    [kind, name, "=", ..] => (*name, (*kind).to_owned()),
                    [name, "=", ..] => (*name, String::new()),
                    _ => continue,
                };
                let members = found.get_mut(place).unwrap();
                members.push((member.0.to_owned(), member.1));
            }
            (None, _) => {}
        }
    }
    found
}

#[test]
fn every_method_field_and_value_is_listed_as_it_is_and_no_other() {
    let declared = declared();
    assert_eq!(declared.len(), 73, "{declared:#?}");
    let text = read("docs/api.md");
    let tables = tables(&text);
    for (name, members) in &declared {
        let heading = format!("# {name}\n");
        assert!(text.contains(&heading), "{name} has no heading");
        let table = tables.iter().find(|table| {
            table.heading == *name && ["rpc", "field", "value"].contains(&&*table.header[0])
        });
        let rows = table.map(|table| &table.rows[..]).unwrap_or_default();
        let listed: Vec<_> = rows
            .iter()
            .map(|row| match rows_kind(table.map(|it| &*it.header[0])) {
                "rpc" => (
                    code(&row[0]),
                    format!("{} {}", code(&row[1]), code(&row[2])),
                ),
                "field" => (code(&row[0]), code(&row[1])),
                _ => (code(&row[0]), String::new()),
            })
            .collect();
        assert_eq!(listed, *members, "{name}");
    }
}

fn rows_kind(first: Option<&str>) -> &str {
    first.unwrap_or_default()
}

/// The statuses in the source of the door, in the words of gRPC.
#[test]
fn every_status_is_listed_and_no_other() {
    let source = read("src/grpc/authorization/mod.rs");
    let (_, rest) = source.split_once("let code = match reason {").unwrap();
    let (arms, _) = rest.split_once("};").unwrap();
    let mut statuses: Vec<_> = arms
        .split("Code::")
        .skip(1)
        .map(|rest| screaming(rest.split(',').next().unwrap()))
        .collect();
    let text = read("docs/api.md");
    let tables = tables(&text);
    let table = tables.iter().find(|table| table.header[0] == "status");
    let mut listed: Vec<_> = table
        .unwrap()
        .rows
        .iter()
        .map(|row| code(&row[0]))
        .collect();
    statuses.sort();
    listed.sort();
    assert_eq!(listed, statuses);
}

fn screaming(camel: &str) -> String {
    let mut words = String::new();
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.push(letter.to_ascii_uppercase());
    }
    words
}

#[tokio::test]
async fn the_shown_input_is_what_the_engine_is_asked() {
    let config = r#"
trust_domain: example.org
workloads: [{match: "spiffe://example.org/svc/*", permissions: ["example.org/svc/documents:call"]}]
tiers: {default: free}
"#;
    let config = Config::parse(config, "attache.yaml".as_ref()).unwrap();
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
    let provider: &dyn AuthorizationProvider = &authority;
    let context: Map<_, _> = [
        ("environment".to_owned(), "production".into()),
        ("retries".to_owned(), 2.into()),
    ]
    .into_iter()
    .collect();
    let (caller, resource) = (
        "spiffe://example.org/svc/reporting",
        "spiffe://example.org/svc/documents",
    );
    let decision = provider.check(caller, resource, "call", &context).await;
    assert_eq!(decision.policy_id(), Some("error-fallback"));
    let heard = ear.heard.lock().unwrap().take().unwrap();
    let blocks = blocks(&read("docs/api.md"));
    let shown = blocks.iter().find(|it| it.info == "json").unwrap();
    let shown: Value = serde_json::from_str(&shown.text).unwrap();
    assert_eq!(shown, heard, "{heard:#}");
}
