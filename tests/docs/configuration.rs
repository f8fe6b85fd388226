//! docs/configuration.md and deploy/examples: the keys that the code accepts, their words, their defaults, what reloads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use attache::app::prove_policy;
use attache::config::{Config, ConfigError, Problem};
use serde_json::{Map, Value, json};

use crate::markdown::{blocks, code, code_spans, read, root, tables_of};

/// Keys by path, as `routes[].path`, each with the words it takes, where these are a fixed set. No sections.
type Keys = BTreeMap<String, BTreeSet<String>>;

/// No key and no word of any section.
const STRANGER: &str = "no_such_thing";

/// Asks the code: at every place, an unknown key and an unknown word make it name those it knows.
fn accepted() -> Keys {
    let mut keys = Keys::new();
    walk(&[], &mut keys);
    keys
}

fn walk(section: &[String], keys: &mut Keys) {
    let Known::Keys(found) = known_at(section, &json!({STRANGER: 1})) else {
        panic!("{section:?} is no section");
    };
    for key in found {
        let mut place = section.to_vec();
        place.push(key);
        if matches!(known_at(&place, &json!({STRANGER: 1})), Known::Keys(_)) {
            walk(&place, keys);
            continue;
        }
        let words = [json!(STRANGER), json!([STRANGER])];
        let words = words
            .iter()
            .find_map(|value| match known_at(&place, value) {
                Known::Words(words) => Some(words),
                Known::Keys(_) | Known::Nothing => None,
            });
        let words = words.unwrap_or_default();
        // Members of any name: `tls`.
        let mut member = place.clone();
        member.push(STRANGER.to_owned());
        if matches!(known_at(&member, &json!({STRANGER: 1})), Known::Keys(_)) {
            walk(&member, keys);
            continue;
        }
        let path = place.join(".").replace(".[]", "[]");
        keys.insert(path.replace(STRANGER, "NAME"), words.clone());
        let mut element = place.clone();
        element.push("[]".to_owned());
        if matches!(known_at(&element, &json!({STRANGER: 1})), Known::Keys(_)) {
            walk(&element, keys);
        }
        // Variants of which some hold a value: `audit.sinks`.
        let variants = match known_at(&element, &json!({STRANGER: 1})) {
            Known::Words(variants) if variants.iter().any(|it| holds_a_value(&element, it)) => {
                variants
            }
            Known::Words(_) | Known::Keys(_) | Known::Nothing => continue,
        };
        for variant in variants {
            keys.insert(format!("{}[].{variant}", place.join(".")), BTreeSet::new());
        }
    }
}

fn holds_a_value(place: &[String], variant: &str) -> bool {
    let document = nested(place, &json!({variant: "x"}));
    let problems = problems(&document.to_string());
    problems
        .iter()
        .all(|problem| !problem.path.starts_with(&place[0]))
}

/// A document with `value` at `place`.
fn nested(place: &[String], value: &Value) -> Value {
    place
        .iter()
        .rev()
        .fold(value.clone(), |value, step| match &**step {
            "[]" => json!([value]),
            key => Value::Object(Map::from_iter([(key.to_owned(), value)])),
        })
}

enum Known {
    Keys(BTreeSet<String>),
    Words(BTreeSet<String>),
    Nothing,
}

/// What the code says it knows at `place`, given `value` there.
fn known_at(place: &[String], value: &Value) -> Known {
    let document = nested(place, value);
    for Problem { message, .. } in problems(&document.to_string()) {
        let list = |what: &str| {
            let (_, expected) =
                message.split_once(&format!("unknown {what} `{STRANGER}`, expected "))?;
            Some(code_spans(expected).into_iter().collect())
        };
        if let Some(keys) = list("field") {
            return Known::Keys(keys);
        }
        if let Some(words) = list("variant") {
            return Known::Words(words);
        }
    }
    Known::Nothing
}

fn problems(text: &str) -> Vec<Problem> {
    match Config::parse(text, Path::new("attache.yaml")) {
        Err(ConfigError::Invalid { problems, .. }) => problems,
        Err(ConfigError::Read { .. }) => panic!("nothing is read"),
        Ok(_) => Vec::new(),
    }
}

#[test]
fn every_key_is_listed_with_its_words_and_no_other() {
    let accepted = accepted();
    assert!(accepted.len() > 50, "{accepted:?}");
    let mut listed = BTreeSet::new();
    for table in tables_of("docs/configuration.md", "key") {
        for row in &table.rows {
            let key = code(&row[0]);
            let words = accepted
                .get(&key)
                .unwrap_or_else(|| panic!("{key} is not accepted"));
            if !words.is_empty() {
                let shown: BTreeSet<_> = code_spans(&row[1]).into_iter().collect();
                assert_eq!(shown, *words, "{key}");
            }
            assert!(!row[1].is_empty() && !row[3].is_empty(), "{row:?}");
            assert!(listed.insert(key), "{row:?} is listed twice");
        }
    }
    assert_eq!(listed, accepted.into_keys().collect());
}

#[test]
fn the_annotated_example_has_every_key_and_no_mistake() {
    let text = read("deploy/examples/attache.yaml");
    let mut written = BTreeSet::new();
    collect(&serde_saphyr::from_str(&text).unwrap(), "", &mut written);
    let mut missing: BTreeSet<_> = accepted().into_keys().collect();
    missing.retain(|key| !written.contains(key));
    // A Unix socket and a file of authorities stand there instead, and so there is no certificate; comments show all of them.
    let secured = ["tls.NAME.", "listen.mesh.", "listen.http."];
    missing.retain(|key| !secured.iter().any(|section| key.starts_with(section)));
    // Production has no users with passwords.
    missing.retain(|key| !key.starts_with("humans.local[]."));
    let instead = [
        "listen.ext_authz[].tcp",
        "listen.ext_authz[].tls",
        "policy.opa.tls",
        "policy.opa.spiffe_ids",
    ];
    assert_eq!(missing, BTreeSet::from(instead.map(str::to_owned)));
    assert!(written.contains("tls"));
    assert_sound("deploy/examples/attache.yaml");
}

/// Paths of all members, and of words in lists as if they were members.
fn collect(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let dot = if path.is_empty() { "" } else { "." };
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}{dot}{name}");
                collect(member, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(item, &format!("{path}[]"), found);
            }
        }
        Value::String(word) => {
            found.insert(format!("{path}.{word}"));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[track_caller]
fn assert_sound(path: &str) {
    let config = Config::read(&root().join(path)).unwrap();
    assert_eq!(config.warnings, [], "{path}");
    prove_policy(&config).unwrap();
}

#[test]
fn the_other_shipped_configurations_are_sound() {
    assert_sound("deploy/examples/policy-decides.yaml");
    assert_sound("deploy/examples/policy-decides-opa.yaml");
    assert_sound("deploy/spire/attache.yaml");
}

#[test]
fn the_defaults_are_the_ones_written_out() {
    let text = read("docs/configuration.md");
    let (_, rest) = text.split_once("## Every default, written out").unwrap();
    let block = blocks(rest).into_iter().next().unwrap();
    let file: Value = serde_saphyr::from_str(&block.text).unwrap();
    let mut written = BTreeSet::new();
    collect(&file, "", &mut written);
    let one = |key: &String| !key.contains("[]") && !key.contains(".NAME.");
    // A section that is absent stands there as null.
    let absent = |key: &String| {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let pointer = format!("/{}", section.replace('.', "/"));
        file.pointer(&pointer) == Some(&Value::Null)
    };
    for key in accepted().into_keys().filter(one).filter(|it| !absent(it)) {
        assert!(written.contains(&key), "{key} is not written out");
    }
    assert_column_agrees(&file);
    let written = parse(&block.text);
    let assumed = parse("trust_domain: example.org");
    assert_eq!(written.fixed, assumed.fixed);
    assert_eq!(rules(&written), rules(&assumed));
}

/// The column of defaults says what the file says.
fn assert_column_agrees(file: &Value) {
    let mut compared = 0;
    for table in tables_of("docs/configuration.md", "key") {
        for row in &table.rows {
            let pointer = format!("/{}", code(&row[0]).replace('.', "/"));
            let Some(value) = file.pointer(&pointer) else {
                continue;
            };
            let Some(shown) = code_spans(&row[2]).into_iter().next() else {
                assert!(
                    matches!(&*row[2], "required" | "one Unix socket, as below"),
                    "{row:?}"
                );
                continue;
            };
            let shown: Value = serde_saphyr::from_str(&shown).unwrap();
            assert_eq!(shown, *value, "{row:?}");
            compared += 1;
        }
    }
    assert!(compared > 30, "only {compared}");
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("attache.yaml")).unwrap()
}

/// Needs `mode` and `roles` as well, which `humans` can't do without.
const DORA: &str = r#"
mode: development
roles: {editor: []}
humans:
  local:
    - email: dora@example.com
      id: usr-dora-004
      role: editor
      password_hash: "$argon2id$v=19$m=19456,t=2,p=1$cm9sbGluZ3RoZWRpY2Vub3c$9yDFJwFvGHOIqQ8HVdkRNm3DNxAGmMYvjTVqDoJwzzE"
"#;

/// The tables as text; the revision is that of the file and differs always.
fn rules(config: &Config) -> String {
    let rules = &config.rules;
    let identifier = format!("{:?}", rules.identifier);
    // The cache of certificates behind it says nothing.
    let identifier = identifier.split(" read: ").next().unwrap().to_owned();
    format!(
        "{:?} {identifier} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        rules.peps,
        rules.agents,
        rules.delegation,
        rules.workloads,
        rules.routes,
        rules.fallback,
        rules.tiers,
        rules.roles,
        rules.people,
        rules.context
    )
}

#[test]
fn what_reloads_and_what_needs_a_restart_is_as_listed() {
    let tables = tables_of("docs/configuration.md", "live, within about a second");
    let row = &tables[0].rows[0];
    let live: BTreeSet<_> = code_spans(&row[0]).into_iter().collect();
    let restart: BTreeSet<_> = code_spans(&row[1]).into_iter().collect();
    let samples = [
        ("mode", "mode: development"),
        ("tenant", "tenant: other"),
        ("listen", "listen: {health: {tcp: \"127.0.0.1:9\"}}"),
        ("tls", "tls: {mesh: {workload_api: \"unix:///api.sock\"}}"),
        ("identity", "identity: {trust_uids: [7]}"),
        ("agents", "agents: [\"spiffe://example.org/a\"]"),
        ("gateways", "gateways: [\"spiffe://example.org/a\"]"),
        ("delegation", "delegation: {max_depth: 3}"),
        (
            "workloads",
            "workloads: [{match: \"spiffe://example.org/a\", permissions: [\"x:read\"]}]",
        ),
        ("routes", "routes: [{path: /x, resource: x, action: read}]"),
        ("context", "context: {headers: [x-a]}"),
        ("rest_mapping", "rest_mapping: true"),
        ("tiers", "tiers: {default: free}"),
        ("roles", "roles: {editor: []}"),
        ("humans", DORA),
        ("policy", "policy: {path: a/b}"),
        ("audit", "audit: {queue: 7}"),
        ("state", "state: memory"),
        ("limits", "limits: {workers: 7}"),
        ("telemetry", "telemetry: {log: {level: debug}}"),
    ];
    let mut texts: BTreeMap<_, _> = samples
        .map(|(key, text)| (key.to_owned(), format!("trust_domain: example.org\n{text}")))
        .into();
    texts.insert(
        "trust_domain".to_owned(),
        "trust_domain: example.com".to_owned(),
    );
    let all: BTreeSet<_> = live.union(&restart).cloned().collect();
    assert_eq!(texts.keys().cloned().collect::<BTreeSet<_>>(), all);
    let Known::Keys(top) = known_at(&[], &json!({STRANGER: 1})) else {
        panic!("the top is a section");
    };
    assert_eq!(all, top);
    for (key, text) in texts {
        let changed = parse(&text);
        let base = match &*key {
            "humans" => {
                parse("{trust_domain: example.org, mode: development, roles: {editor: []}}")
            }
            _ => parse("trust_domain: example.org"),
        };
        assert_eq!(changed.fixed != base.fixed, restart.contains(&key), "{key}");
        // It stands in the tables and in our certificates; a file that changes it is rejected whole.
        if key == "trust_domain" {
            continue;
        }
        assert_eq!(
            rules(&changed) != rules(&base),
            live.contains(&key),
            "{key}"
        );
    }
}
