//! The trail, held to the answers that were given.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use attache::audit::{Span, SqliteTrail, Trail as _, Verifier};
use serde_json::Value;

use crate::load::Answer;
use crate::{DATABASE, Kept, LINES};

/// What the trail says of the answers.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Answers without a record.
    pub(crate) lost: usize,
    /// Answers of which the last record says something else.
    pub(crate) other: usize,
    pub(crate) stories: Vec<String>,
}

/// All files of lines, oldest first.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let names = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path());
    let rotated = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        let number = name.strip_prefix(LINES).and_then(|it| it.strip_prefix('.'));
        number.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let mut files: Vec<_> = names.filter(rotated).collect();
    files.sort();
    files.push(folder.join(LINES));
    files
}

/// All records, in the order in which they stand. A line that a kill cut off is none.
pub(crate) fn read(folder: &Path, kept: Kept) -> Vec<Value> {
    let mut records = Vec::new();
    match kept {
        Kept::Jsonl => {
            for file in files(folder) {
                let text = fs::read_to_string(file).unwrap();
                records.extend(text.lines().filter_map(|it| serde_json::from_str(it).ok()));
            }
        }
        Kept::Sqlite => {
            let trail = SqliteTrail::open(&folder.join(DATABASE)).unwrap();
            let mut keep = |line: &[u8]| {
                records.push(serde_json::from_slice(line).unwrap());
                ControlFlow::Continue(())
            };
            trail.walk(&Span::default(), &mut keep).unwrap();
        }
    }
    records
}

/// Whether the chain in a database is unbroken, and each record is filed under what it says.
pub(crate) fn database_is_whole(path: &Path) -> bool {
    let mut verifier = Verifier::default();
    let mut broken = false;
    let mut check = |line: &[u8]| match verifier.line(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_flaw) => {
            broken = true;
            ControlFlow::Break(())
        }
    };
    let walked = SqliteTrail::open(path)
        .unwrap()
        .walk(&Span::default(), &mut check);
    walked.is_ok() && !broken && verifier.finish().is_ok()
}

/// Looks every answer up. Where two records name one decision, the later is what was told.
pub(crate) fn compare(answers: &[Answer], records: &[Value]) -> Found {
    let mut kept: HashMap<&str, &Value> = HashMap::with_capacity(records.len());
    for record in records {
        if let Some(id) = record["decision_id"].as_str() {
            kept.insert(id, record);
        }
    }
    let mut found = Found::default();
    for answer in answers {
        let Some(record) = kept.get(&*answer.id) else {
            found.lost += 1;
            found.stories.push(format!("{answer:?} has no record"));
            continue;
        };
        let allowed = record["result"] == "allowed";
        let reason = record["reason_code"].as_str();
        if reason != answer.reason.as_deref() || allowed != answer.reason.is_none() {
            found.other += 1;
            found
                .stories
                .push(format!("{answer:?} is {record} in the trail"));
        }
    }
    found
}
