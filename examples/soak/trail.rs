//! The audit trail, held to the answers that were given.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use serde_json::Value;
use ulid::Ulid;

/// What the trail says of the answers.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Answers without a record, beyond those that the trail accounts for.
    pub(crate) lost: usize,
    /// Answers of which the record says something else.
    pub(crate) other: usize,
    /// Records that the trail itself declares as missing.
    pub(crate) gaps: usize,
    /// Denials that the record of an identical one stands for.
    pub(crate) repeated: usize,
}

/// Looks every answer up.
pub(crate) fn compare(answers: &[(Ulid, Option<String>)], audit: &Path) -> Found {
    let mut open: HashMap<Ulid, Option<&str>> = HashMap::with_capacity(answers.len());
    for (id, reason) in answers {
        let twice = open.insert(*id, reason.as_deref());
        assert!(twice.is_none(), "two answers are called {id}");
    }
    let mut found = Found::default();
    for line in BufReader::new(File::open(audit).unwrap()).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap_or_default()).unwrap();
        found.gaps += number(&record["details"]["dropped"]);
        found.repeated += number(&record["count"]).saturating_sub(1);
        let id = record["decision_id"].as_str().map(|it| it.parse().unwrap());
        let Some(reason) = id.and_then(|id: Ulid| open.remove(&id)) else {
            continue;
        };
        let allowed = record["result"] == "allowed";
        if record["reason_code"].as_str() != reason || allowed != reason.is_none() {
            found.other += 1;
        }
    }
    found.lost = open.len().saturating_sub(found.gaps + found.repeated);
    found
}
