//! What makes two answers the same, and which documented differences explain that they are not.

use serde_json::Value as Json;

use crate::judges::Said;
use crate::rows::ROWS;

/// One expression, its arguments, and what came of it.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) builtin: String,
    /// By name.
    pub(crate) arguments: Json,
    pub(crate) ours: Said,
    pub(crate) theirs: Said,
}

/// The rows that explain a disagreement. None explains what is undefined here alone: a `not` of it would hold.
pub(crate) fn explained(case: &Case) -> Vec<&'static str> {
    if case.ours == Said::Undefined {
        return Vec::new();
    }
    let rows = ROWS
        .iter()
        .filter(|row| row.builtins.contains(&case.builtin.as_str()) && (row.when)(case));
    rows.map(|row| row.title).collect()
}

impl Case {
    pub(crate) fn argument(&self, name: &str) -> &Json {
        &self.arguments[name]
    }

    pub(crate) fn any_argument(&self, test: impl Fn(&Json) -> bool) -> bool {
        self.arguments.as_object().unwrap().values().any(test)
    }

    /// Whether a number, at any depth or in a text, passes.
    pub(crate) fn any_number(&self, test: impl Fn(f64) -> bool + Copy) -> bool {
        fn passes(value: &Json, test: impl Fn(f64) -> bool + Copy) -> bool {
            match value {
                Json::Number(number) => test(number.as_f64().unwrap()),
                Json::String(word) => word.parse().is_ok_and(test),
                Json::Array(items) => items.iter().any(|it| passes(it, test)),
                Json::Object(members) => members.values().any(|it| passes(it, test)),
                _ => false,
            }
        }
        passes(&self.arguments, test)
    }

    /// The request is denied here.
    pub(crate) fn only_we_fail(&self) -> bool {
        self.ours == Said::Failed && self.theirs != Said::Failed
    }

    /// The request is denied there.
    pub(crate) fn only_they_fail(&self) -> bool {
        self.theirs == Said::Failed && self.ours != Said::Failed
    }

    pub(crate) fn both_know(&self) -> bool {
        [&self.ours, &self.theirs]
            .iter()
            .all(|said| matches!(said, Said::Decided { .. }))
    }

    /// What a builtin says that tells whether something is valid.
    pub(crate) fn validity(&self) -> (Option<bool>, Option<bool>) {
        let word = |said: &Said| said.value().and_then(|it| it.as_bool());
        (word(&self.ours), word(&self.theirs))
    }

    /// Both wrote the same document, in other texts.
    pub(crate) fn same_document(&self) -> bool {
        let document = |said: &Said| -> Option<Json> {
            let value = said.value()?;
            value
                .as_str()
                .map_or(Some(value.clone()), |it| serde_json::from_str(it).ok())
        };
        match (document(&self.ours), document(&self.theirs)) {
            (Some(ours), Some(theirs)) => equal(&ours, &theirs),
            _ => false,
        }
    }
}

impl Said {
    /// The value whose JSON is the reason.
    pub(crate) fn value(&self) -> Option<Json> {
        match self {
            Self::Decided {
                reason: Some(text), ..
            } => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

impl Said {
    /// As docs/policy.md writes it.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Decided { reason, .. } => reason.clone().unwrap_or_default(),
            Self::Undefined => "undefined".to_owned(),
            Self::Failed => "error".to_owned(),
            Self::Misshapen => "misshapen".to_owned(),
        }
    }

    /// The texts of a list that are not empty.
    pub(crate) fn pieces(&self) -> Vec<Json> {
        let list = self
            .value()
            .and_then(|it| it.as_array().cloned())
            .unwrap_or_default();
        list.into_iter().filter(|it| it != "").collect()
    }
}

/// Whether two answers hold the same value, whatever their JSON looks like.
pub(crate) fn same(ours: &Said, theirs: &Said) -> bool {
    match (ours.value(), theirs.value()) {
        (Some(ours), Some(theirs)) => equal(&ours, &theirs),
        _ => ours == theirs,
    }
}

/// Numbers are equal to 14 digits: that more differ is a row of its own.
fn equal(ours: &Json, theirs: &Json) -> bool {
    match (ours, theirs) {
        (Json::Number(ours), Json::Number(theirs)) => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= ours.abs() * 1e-14
        }
        (Json::Array(ours), Json::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| equal(a, b))
        }
        (Json::Object(ours), Json::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .all(|(name, a)| theirs.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => ours == theirs,
    }
}
