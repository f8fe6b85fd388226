//! Who may import whom. A new edge is a reviewed edit of these tables.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of `src/` and the rooms each may name. `app` and `cli` wire everything; `config` reads each room's own section.
const ROOMS: &[(&str, &[&str])] = &[
    // Vocabulary: pure, imports only vocabulary below it.
    ("clock", &[]),
    ("text", &[]),
    ("pattern", &["text"]),
    ("identity", &["clock", "pattern", "text"]),
    ("permission", &["identity", "pattern", "text"]),
    ("operation", &["identity", "pattern", "permission"]),
    (
        "delegation",
        &["clock", "identity", "pattern", "permission", "text"],
    ),
    // Capabilities: vocabulary, never each other.
    (
        "policy",
        &["clock", "delegation", "identity", "permission", "text"],
    ),
    ("audit", &["clock", "identity", "permission"]),
    ("state", &["clock", "delegation", "identity"]),
    ("keys", &["clock", "delegation"]),
    ("tls", &["clock", "identity", "text"]),
    ("humans", &["delegation", "text"]),
    ("telemetry", &[]),
    ("lifecycle", &[]),
    // Connections, before anything is said.
    ("socket", &["identity", "lifecycle", "text", "tls"]),
    // The use-case.
    (
        "authority",
        &[
            "audit",
            "clock",
            "delegation",
            "humans",
            "identity",
            "keys",
            "operation",
            "permission",
            "policy",
            "state",
            "text",
        ],
    ),
    // Doors.
    (
        "grpc",
        &[
            "audit",
            "authority",
            "clock",
            "delegation",
            "humans",
            "identity",
            "lifecycle",
            "operation",
            "permission",
            "socket",
            "state",
            "text",
        ],
    ),
    ("http", &["lifecycle", "socket"]),
    // Wiring.
    (
        "config",
        &[
            "audit",
            "authority",
            "delegation",
            "grpc",
            "humans",
            "identity",
            "keys",
            "operation",
            "permission",
            "policy",
            "socket",
            "state",
            "telemetry",
            "tls",
        ],
    ),
    ("app", &["*"]),
    ("cli", &["*"]),
    ("main", &["cli", "tls"]),
    ("lib", &[]),
];

/// Outside crates that only the named rooms may use.
const OWNERS: &[(&str, &[&str])] = &[
    ("tonic", &["grpc"]),
    ("tonic_prost", &["grpc"]),
    ("tonic_health", &["grpc"]),
    ("prost", &["grpc"]),
    ("prost_types", &["grpc"]),
    ("prost_reflect", &["grpc"]),
    ("axum", &["grpc", "http", "app"]),
    ("hyper", &["http", "policy"]),
    ("hyper_util", &["grpc", "http"]),
    ("reqwest", &["policy"]),
    ("socket2", &["socket"]),
    ("regorus", &["policy"]),
    ("x509_parser", &["identity"]),
    ("spiffe", &["identity", "tls"]),
    ("rustls", &["policy", "tls"]),
    ("tokio_rustls", &["tls"]),
    ("pem", &["identity", "keys"]),
    ("quick_cache", &["authority", "identity", "keys", "policy"]),
    ("serde_saphyr", &["config", "policy"]),
    ("tracing_appender", &["telemetry"]),
    ("tracing_subscriber", &["telemetry"]),
    ("rusqlite", &["audit", "state"]),
    ("aws_lc_rs", &["audit", "humans", "keys", "policy", "tls"]),
    ("argon2", &["humans"]),
    ("clap", &["cli", "main"]),
    ("rustix", &["cli"]),
    ("rcgen", &["cli"]),
    ("mimalloc", &["main"]),
];

#[test]
fn rooms_import_only_what_the_table_allows() {
    let table: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut faults = Vec::new();
    for (file, room, text) in sources() {
        let Some(allowed) = table.get(&*room) else {
            faults.push(format!(
                "{}: room `{room}` is not in the table",
                file.display()
            ));
            continue;
        };
        for named in rooms_named_in(&text) {
            let known = table.contains_key(&*named);
            let fine = named == room || allowed.contains(&"*") || allowed.contains(&&*named);
            if known && !fine {
                faults.push(format!(
                    "{}: `{room}` may not import `{named}`",
                    file.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn outside_crates_stay_with_their_owners() {
    let mut faults = Vec::new();
    for (file, room, text) in sources() {
        for (outside, owners) in OWNERS {
            let path = format!("{outside}::");
            let named = text.match_indices(&path).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                !before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':')
            });
            if named && !owners.contains(&&*room) {
                faults.push(format!(
                    "{}: `{room}` may not use `{outside}`",
                    file.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Ways into what must not be made at will, and the rooms that may use them.
const BEGINNINGS: &[(&str, &[&str])] = &[
    // A `Held` comes from a role, from narrowing, or from where it was kept: never from what somebody sent.
    ("Held::by_role", &["delegation"]),
    ("Held::restored", &["state"]),
];

#[test]
fn authority_begins_only_where_it_may() {
    let mut faults = Vec::new();
    for (file, room, text) in sources() {
        for (beginning, rooms) in BEGINNINGS {
            // Renaming the type would hide it.
            let renamed = text.contains("Held as ");
            if (text.contains(beginning) || renamed) && !rooms.contains(&&*room) {
                faults.push(format!(
                    "{}: `{room}` may not use `{beginning}`",
                    file.display()
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_allowed_edge_is_used() {
    let mut used = BTreeSet::new();
    for (_, room, text) in sources() {
        for named in rooms_named_in(&text) {
            used.insert((room.clone(), named));
        }
    }
    for (room, allowed) in ROOMS {
        for named in allowed.iter().filter(|named| **named != "*") {
            let edge = ((*room).to_owned(), (*named).to_owned());
            assert!(used.contains(&edge), "`{room}` no longer imports `{named}`");
        }
    }
}

/// Every source file with its room and its text without comments and without tests.
fn sources() -> Vec<(PathBuf, String, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&sources, &mut files);
    assert!(
        files.len() > 20,
        "the walk found only {} files",
        files.len()
    );
    files
        .into_iter()
        .filter(|file| file.file_stem().is_some_and(|stem| stem != "tests"))
        .filter(|file| !file.components().any(|part| part.as_os_str() == "tests"))
        .map(|file| {
            let inside = file.strip_prefix(&sources).unwrap();
            let first = inside.components().next().unwrap();
            let room = Path::new(first.as_os_str()).file_stem().unwrap();
            let text = fs::read_to_string(&file).unwrap();
            (file.clone(), room.to_str().unwrap().to_owned(), code(&text))
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
}

fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    body.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The rooms that a file names; the binary names them through the library.
fn rooms_named_in(text: &str) -> BTreeSet<String> {
    let mut names = named_after("crate::", text);
    names.extend(named_after("attache::", text));
    names
}

/// The first path segments that follow `prefix`, also inside braces: `crate::{a, b::C}`.
fn named_after(prefix: &str, text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => {
                names.insert(word(rest));
            }
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (index, character) in list.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if character.is_whitespace() => {}
                        _ if start => {
                            names.insert(word(&list[index..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|it| it.is_alphanumeric() || *it == '_')
        .collect()
}
