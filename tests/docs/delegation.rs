//! docs/delegation.md: the codes of refusals and of what is missing, and the bounds.

use attache::delegation::{
    Absence, HARD_DEPTH, MOST_AUDIENCES, MOST_NARROWING, MOST_PERMISSIONS, MOST_PURPOSE, Refusal,
};

use crate::markdown::{code, tables_of};

fn codes(heading: &str) -> Vec<String> {
    let tables = tables_of("docs/delegation.md", "code");
    let table = tables.iter().find(|it| it.heading == heading).unwrap();
    table.rows.iter().map(|row| code(&row[0])).collect()
}

#[test]
fn every_refusal_and_every_cause_of_absence_is_listed_and_no_other() {
    assert_eq!(codes("Refusals"), Refusal::CODES);
    assert_eq!(codes("Why something is missing"), Absence::CODES);
}

#[test]
fn the_bounds_are_the_ones_in_force() {
    let tables = tables_of("docs/delegation.md", "bound");
    let listed: Vec<_> = tables[0].rows.iter().map(|row| row[1].clone()).collect();
    let in_force = [
        usize::from(HARD_DEPTH),
        MOST_NARROWING,
        MOST_PERMISSIONS,
        MOST_AUDIENCES,
        MOST_PURPOSE,
    ];
    let mut in_force: Vec<_> = in_force.map(|it| it.to_string()).into();
    in_force.push("300 s".to_owned());
    assert_eq!(listed, in_force);
}
