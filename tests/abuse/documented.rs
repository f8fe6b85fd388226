//! docs/abuse.md lists every case with its outcome, and the tests that show it.

use std::collections::BTreeSet;
use std::path::Path;

fn document() -> String {
    read("docs/abuse.md")
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The rows of the tables whose first column has this name, cell by cell.
fn rows(first: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut wanted = false;
    let text = document();
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|').and_then(|it| it.strip_suffix('|')) else {
            wanted = false;
            continue;
        };
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().to_owned()).collect();
        if cells[0] == first {
            wanted = true;
        } else if wanted && !cells[0].starts_with("---") {
            rows.push(cells);
        }
    }
    assert!(!rows.is_empty(), "no table of `{first}`");
    rows
}

fn code_spans(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The cases of h2spec that are explained.
pub(crate) fn faults() -> BTreeSet<String> {
    let rows = rows("h2spec");
    rows.iter()
        .map(|row| code_spans(&row[0])[0].to_owned())
        .collect()
}

#[test]
fn every_case_has_a_row_with_an_outcome_and_a_test_or_a_reason() {
    let rows = rows("case");
    let cases: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let expected: Vec<_> = (1..=35).map(|number| format!("X{number:02}")).collect();
    assert_eq!(cases, expected);
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        assert!(!row[1].is_empty() && !row[2].is_empty(), "{row:?}");
        let is_not_offered = row[2].starts_with("Not offered");
        assert_eq!(row[3].is_empty(), is_not_offered, "{row:?}");
    }
}

#[test]
fn every_test_that_is_named_is_there() {
    for row in rows("case") {
        for named in code_spans(&row[3]) {
            let (path, function) = named.split_once("::").unwrap();
            let text = read(path);
            let (_, rest) = text
                .split_once(&format!("fn {function}("))
                .unwrap_or_else(|| panic!("{named} is not there"));
            // The test names the case, so that either leads to the other.
            let body = rest.split("\n}\n").next().unwrap();
            assert!(
                body.contains(&row[0]),
                "{named} does not mention {}",
                row[0]
            );
        }
    }
}

#[test]
fn every_attack_is_listed() {
    let listed: BTreeSet<_> = rows("case")
        .iter()
        .flat_map(|row| {
            code_spans(&row[3])
                .into_iter()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    for file in [
        "conformance",
        "frames",
        "handshake",
        "messages",
        "resources",
        "streams",
    ] {
        let file = format!("tests/abuse/{file}.rs");
        let text = read(&file);
        let mut tests = text.split("#[tokio::test").skip(1).peekable();
        assert!(tests.peek().is_some(), "{file}");
        for test in tests {
            let (_, rest) = test.split_once("fn ").unwrap();
            let named = format!("{file}::{}", rest.split('(').next().unwrap());
            assert!(
                listed.contains(&named),
                "{named} is in no row of docs/abuse.md"
            );
        }
    }
}
