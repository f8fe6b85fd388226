//! `docs/identity.md` shows the tables of this test, row by row, and no other row.

use std::fs;
use std::path::Path;

use crate::{Row, Verdict, certificates, ids};

#[test]
fn the_documented_table_of_certificates_is_the_tested_one() {
    let table: Vec<_> = certificates::TABLE.iter().map(written).collect();
    assert_eq!(documented(certificates::JUDGES), table);
}

#[test]
fn the_documented_table_of_ids_is_the_tested_one() {
    let table: Vec<_> = ids::TABLE.iter().map(written).collect();
    assert_eq!(documented(ids::JUDGES), table);
}

fn written<const JUDGES: usize>(row: &Row<JUDGES>) -> String {
    let verdicts = row.verdicts.map(Verdict::shown).join(" | ");
    format!("| {} | {verdicts} | {} |", row.title, row.decides)
}

/// The rows below this head, without the line that divides them.
fn documented(head: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/identity.md");
    let text = fs::read_to_string(path).unwrap();
    let below = text.lines().skip_while(|line| *line != head).skip(2);
    below
        .take_while(|line| line.starts_with('|'))
        .map(str::to_owned)
        .collect()
}
