//! Every mistake of a configuration at once, each with the path of its key.
//!
//! serde stops at the first mistake. This takes the offending part out and reads again, until nothing is left to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as `routes[3].path`; empty for the whole file.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, message: impl fmt::Display) -> Self {
        Self {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Reads `value`, or names all its mistakes.
pub(super) fn read_all<T: DeserializeOwned>(mut value: Value) -> Result<T, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut removed = Removed::default();
    for _attempt in 0..MOST_ATTEMPTS {
        let error = match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(read) if problems.is_empty() => return Ok(read),
            Ok(_) => break,
            Err(error) => error,
        };
        let mut at = steps(error.path());
        let message = error.inner().to_string();
        // The path of an unknown key may end at the object that holds it.
        if let Some(key) = unknown_key(&message) {
            let unknown = Step::Key(key.to_owned());
            if at.last() != Some(&unknown) {
                at.push(unknown);
            }
        }
        // A key taken out for its bad value is missing now, which is no second mistake.
        if !removed.misses(&at, &message) {
            problems.push(Problem::new(removed.original(&at), message));
        }
        if !removed.take_out(&mut value, &at) {
            break;
        }
    }
    Err(problems)
}

/// One step down into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// The key named by serde's message for a field that does not exist.
fn unknown_key(message: &str) -> Option<&str> {
    key_after(message, "unknown field `")
}

fn key_after<'a>(message: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(words)?;
    let (key, _) = rest.split_once('`')?;
    Some(key)
}

/// What was taken out of lists, so that later positions are still reported as the file has them.
#[derive(Debug, Default)]
struct Removed {
    /// By path of the list, in the file's numbering: the numbers taken out, ascending.
    by_list: BTreeMap<String, Vec<usize>>,
    /// The paths of keys taken out, in the file's numbering.
    keys: BTreeSet<String>,
}

impl Removed {
    /// The path in the file's own numbering.
    fn original(&self, steps: &[Step]) -> String {
        let mut path = String::new();
        for step in steps {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => {
                    path.push('.');
                    path.push_str(key);
                }
                Step::Index(index) => {
                    let index = self.original_index(&path, *index);
                    path = format!("{path}[{index}]");
                }
            }
        }
        path
    }

    /// Whether serde misses, at `steps`, only what was taken out before.
    fn misses(&self, steps: &[Step], message: &str) -> bool {
        key_after(message, "missing field `").is_some_and(|key| {
            let key = [steps, &[Step::Key(key.to_owned())]].concat();
            self.keys.contains(&self.original(&key))
        })
    }

    fn original_index(&self, list: &str, index: usize) -> usize {
        let mut original = index;
        for removed in self.by_list.get(list).into_iter().flatten() {
            if *removed <= original {
                original += 1;
            }
        }
        original
    }

    /// Takes out the deepest part of `value` that `steps` reach; false where that is the whole document.
    fn take_out(&mut self, value: &mut Value, steps: &[Step]) -> bool {
        for length in (1..=steps.len()).rev() {
            let Some((step, parents)) = steps.get(..length).and_then(<[Step]>::split_last) else {
                return false;
            };
            let Some(parent) = descend(value, parents) else {
                continue;
            };
            match (parent, step) {
                (Value::Object(object), Step::Key(key)) if object.contains_key(key) => {
                    object.remove(key);
                    let path = steps.get(..length).unwrap_or_default();
                    self.keys.insert(self.original(path));
                    return true;
                }
                (Value::Array(items), Step::Index(index)) if *index < items.len() => {
                    let path = self.original(parents);
                    let original = self.original_index(&path, *index);
                    let numbers = self.by_list.entry(path).or_default();
                    numbers.push(original);
                    numbers.sort_unstable();
                    items.remove(*index);
                    return true;
                }
                _ => {}
            }
        }
        false
    }
}

fn descend<'a>(value: &'a mut Value, steps: &[Step]) -> Option<&'a mut Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(*index),
    })
}

/// Nobody reads a list of more mistakes than this.
const MOST_ATTEMPTS: usize = 100;

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Document {
        #[serde(default)]
        items: Vec<Item>,
        #[serde(default)]
        limit: u8,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Item {
        name: String,
        #[serde(default)]
        size: u8,
    }

    #[test]
    fn every_mistake_is_named_with_the_position_in_the_file() {
        let document = json!({
            "items": [
                {"name": "a", "size": "big"},
                {"name": "b", "colour": "red"},
                {"size": 1},
                {"name": "d"},
                {"name": 5},
            ],
            "limit": 300,
            "surprise": true,
        });
        let problems = read_all::<Document>(document).unwrap_err();
        let mut paths: Vec<_> = problems.iter().map(|problem| &*problem.path).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "items[0].size",
                "items[1].colour",
                "items[2]",
                "items[4].name",
                "limit",
                "surprise"
            ],
            "{problems:#?}"
        );
    }

    #[test]
    fn a_sound_document_is_read() {
        assert!(read_all::<Document>(json!({"items": [{"name": "a"}], "limit": 3})).is_ok());
    }

    #[test]
    fn a_document_of_the_wrong_kind_is_one_mistake() {
        let problems = read_all::<Document>(json!("words")).unwrap_err();
        assert_eq!(problems.len(), 1);
    }
}
