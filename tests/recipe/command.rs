//! The same by `attache eval`, the program that people run. B13.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::{ALICE, DOCUMENTS, PARTNER, PAUL, both, recipe};

/// `attache eval --json` by a configuration, asked on standard input.
fn eval(config: &str, question: &Value) -> (Option<i32>, Value) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("attache.yaml");
    std::fs::write(&file, config).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_attache"))
        .args(["eval", "--json", "--config"])
        .args([file.as_path(), "-".as_ref()])
        .env_remove("ATTACHE_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let text = question.to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let shown = serde_json::from_slice(&stdout);
    let shown = shown.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr)));
    (status.code(), shown)
}

#[test]
fn the_command_decides_every_sample_alike() {
    // B13, by the program that people run: exit code, code and the policy's words.
    const DEV: &str = "spiffe://example.org/dev/planner";
    let cases = [
        ("trust_domain", ALICE, Some(DOCUMENTS), "allow", "allows"),
        (
            "trust_domain",
            PAUL,
            Some(DOCUMENTS),
            "policy_denied",
            "denies",
        ),
        ("trust_domain", ALICE, None, "policy_denied", "denies"),
        (
            "roles",
            "spiffe://example.org/reader/a",
            None,
            "allow",
            "allows: the caller is a reader [read-access]",
        ),
        (
            "roles",
            ALICE,
            None,
            "policy_denied",
            "denies: no role grants this operation",
        ),
        (
            "environments",
            DEV,
            Some("spiffe://example.org/dev/documents"),
            "allow",
            "allows",
        ),
        (
            "environments",
            DEV,
            Some("spiffe://example.org/prod/documents"),
            "policy_denied",
            "denies",
        ),
    ];
    for (name, caller, destination, word, policy) in cases {
        let mut question = json!({"attributes": {
            "source": {"principal": caller},
            "request": {"http": {"method": "GET", "host": "api.example.org", "path": "/documents/1"}},
        }});
        if let Some(principal) = destination {
            question["attributes"]["destination"] = json!({"principal": principal});
        }
        for sample in both(name) {
            let (code, shown) = eval(&recipe(&sample, &PARTNER, ""), &question);
            let expected = if word == "allow" {
                (Some(0), "allow", Value::Null)
            } else {
                (Some(3), "deny", word.into())
            };
            let answer = (
                code,
                shown["decision"].as_str().unwrap(),
                shown["reason"].clone(),
            );
            assert_eq!(answer, expected, "{sample}: {question}");
            let steps = shown["steps"].as_array().unwrap();
            let said = steps.iter().find(|it| it["step"] == "policy").unwrap();
            let said = said["found"].as_str().unwrap();
            assert_eq!(said.split(" (revision ").next(), Some(policy), "{sample}");
        }
    }
}
