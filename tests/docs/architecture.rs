//! docs/architecture.md.

use std::collections::BTreeSet;
use std::fs;

use crate::markdown::{code, root, tables_of};

#[test]
fn every_room_is_listed_and_no_other() {
    let mut listed = BTreeSet::new();
    for table in tables_of("docs/architecture.md", "room") {
        listed.extend(table.rows.iter().map(|row| code(&row[0])));
    }
    let mut rooms = BTreeSet::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !matches!(&*room, "main" | "lib") {
            rooms.insert(room);
        }
    }
    assert_eq!(listed, rooms);
}
