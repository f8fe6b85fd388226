//! `attache audit export` as it is typed.

use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::process::{Command, Output};

use crate::golden::{golden, path};

fn export(arguments: &[&str], input: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attache"))
        .args(["audit", "export"])
        .args(arguments)
        .stdin(file_of(input))
        .output()
        .unwrap()
}

/// A file with this text, to be read from its beginning. Unlike a pipe, it does not mind who stops reading.
pub(crate) fn file_of(text: &str) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file
}

#[test]
fn every_format_is_written_to_standard_output() {
    let records = path("records");
    for format in ["opa", "cloudevents", "ocsf"] {
        let run = export(&["--format", format, records.to_str().unwrap()], "");
        assert!(run.status.success(), "{run:?}");
        let printed = String::from_utf8(run.stdout).unwrap();
        assert_eq!(
            printed.lines().collect::<Vec<_>>(),
            golden(format),
            "{format}"
        );
    }
}

#[test]
fn standard_input_is_a_dash() {
    let records = golden("records").join("\n");
    let run = export(&["--format", "json", "-"], &records);
    assert!(run.status.success(), "{run:?}");
    assert_eq!(String::from_utf8(run.stdout).unwrap(), records + "\n");
}

#[test]
fn a_line_that_is_no_record_ends_it_with_exit_code_1_and_its_number() {
    let mut records = golden("records");
    records[4] = records[4].replace("\"event_type\":\"", "\"event_type\":\"un");
    let run = export(&["--format", "ocsf", "-"], &records.join("\n"));
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let said = String::from_utf8(run.stderr).unwrap();
    assert!(
        said.starts_with("error: - line 5 is not a record: "),
        "{said}"
    );
    assert!(
        said.contains("expected an event type of this version"),
        "{said}"
    );
    let printed = String::from_utf8(run.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), golden("ocsf")[..4]);
}

#[test]
fn an_unknown_format_is_a_wrong_use() {
    let run = export(&["--format", "syslog", "-"], "");
    assert_eq!(run.status.code(), Some(2), "{run:?}");
}

#[test]
fn files_are_one_trail_in_the_order_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let records = golden("records");
    let (older, newer) = records.split_at(3);
    let files = [("audit.jsonl.1", older), ("audit.jsonl", newer)].map(|(name, lines)| {
        let file = folder.path().join(name);
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        file.to_str().unwrap().to_owned()
    });
    let run = export(&["--format", "cloudevents", &files[0], &files[1]], "");
    assert!(run.status.success(), "{run:?}");
    let printed = String::from_utf8(run.stdout).unwrap();
    assert_eq!(printed.lines().collect::<Vec<_>>(), golden("cloudevents"));
}
