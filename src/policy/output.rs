//! What a policy may answer, and how the answer is read. The same for every engine.
//!
//! A boolean, or an object with a boolean `allow` and optionally `reason`, `policy_id`, `tier` and `cache`. Where policy was
//! asked in the words of opa-envoy-plugin, also `allowed` in place of `allow`, and what [`Shaping`](super::Shaping) holds. No result at all is
//! [`Answer::Undefined`]. Everything else is [`PolicyError::Shape`], which refuses the request: an unknown member could be
//! a condition that attache would have to see to, and a misspelt one was meant to be something.

use std::sync::Arc;

use serde_json::Value as Json;

use super::envoy::Draft;
use super::{Answer, InputForm, PolicyError, Verdict};
use crate::permission::Tier;

/// Reads the result of a policy; `None` where the policy defines none. `form` is that of the question.
pub(super) fn read(
    result: Option<&Json>,
    revision: &Arc<str>,
    form: InputForm,
) -> Result<Verdict, PolicyError> {
    let mut verdict = Verdict {
        answer: Answer::Undefined,
        reason: None,
        policy_id: None,
        tier: None,
        shaping: None,
        revision: Arc::clone(revision),
        cacheable: true,
        cached: false,
    };
    let members = match result {
        None => return Ok(verdict),
        Some(Json::Bool(allow)) => {
            verdict.answer = answer(*allow);
            return Ok(verdict);
        }
        Some(Json::Object(members)) => members,
        Some(other) => {
            return Err(shape(format!(
                "neither a boolean nor an object but {}",
                kind(other)
            )));
        }
    };
    let mut draft = Draft::default();
    for (name, value) in members {
        match name.as_str() {
            "allow" | "allowed" if name == "allow" || form == InputForm::Envoy => {
                if verdict.answer != Answer::Undefined {
                    return Err(shape("both `allow` and `allowed`".to_owned()));
                }
                verdict.answer = answer(boolean(name, value)?);
            }
            "reason" => verdict.reason = Some(text(name, value)?),
            "policy_id" => verdict.policy_id = Some(text(name, value)?),
            "tier" => verdict.tier = Some(tier(name, value)?),
            "cache" => verdict.cacheable = boolean(name, value)?,
            _ if form == InputForm::Envoy && draft.read(name, value)? => {}
            unknown => {
                let unknown = clip(unknown, SHOWN_BYTES);
                return Err(shape(format!("unknown member `{unknown}`")));
            }
        }
    }
    if verdict.answer == Answer::Undefined {
        return Err(shape("an object without `allow`".to_owned()));
    }
    let shaping = draft.finish(verdict.answer == Answer::Allow)?;
    verdict.shaping = shaping.map(Arc::new);
    Ok(verdict)
}

/// The beginning of `text`, at most `bytes` long, ending between two characters.
pub(super) fn clip(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn answer(allow: bool) -> Answer {
    if allow { Answer::Allow } else { Answer::Deny }
}

fn boolean(name: &str, value: &Json) -> Result<bool, PolicyError> {
    value
        .as_bool()
        .ok_or_else(|| mistyped(name, "a boolean", value))
}

fn text(name: &str, value: &Json) -> Result<Arc<str>, PolicyError> {
    let text = value
        .as_str()
        .ok_or_else(|| mistyped(name, "a string", value))?;
    Ok(clip(text, TEXT_BYTES).into())
}

fn tier(name: &str, value: &Json) -> Result<Tier, PolicyError> {
    let text = value
        .as_str()
        .ok_or_else(|| mistyped(name, "a string", value))?;
    clip(text, SHOWN_BYTES)
        .parse::<Tier>()
        .map_err(|error| shape(error.to_string()))
}

pub(super) fn mistyped(name: &str, expected: &str, value: &Json) -> PolicyError {
    let name = clip(name, SHOWN_BYTES);
    shape(format!(
        "`{name}` must be {expected} but is {}",
        kind(value)
    ))
}

pub(super) fn shape(fault: String) -> PolicyError {
    PolicyError::Shape(fault)
}

const fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array or a set",
        Json::Object(_) => "an object",
    }
}

/// The longest `reason` and `policy_id` that reach audit; the rest is cut off.
const TEXT_BYTES: usize = 1024;
/// How much of a wrong word an error message shows.
const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_json(result: &Json) -> Result<Verdict, PolicyError> {
        read(Some(result), &"r1".into(), InputForm::Attache)
    }

    fn fault(result: &Json) -> String {
        match read_json(result) {
            Err(PolicyError::Shape(fault)) => fault,
            other => panic!("{result}: {other:?}"),
        }
    }

    /// O14.
    #[test]
    fn a_boolean_or_an_object_with_allow_is_an_answer() {
        assert_eq!(read_json(&json!(true)).unwrap().answer, Answer::Allow);
        assert_eq!(read_json(&json!(false)).unwrap().answer, Answer::Deny);
        let verdict = read_json(
            &json!({"allow": true, "reason": "x", "policy_id": "y", "tier": "supervised"}),
        )
        .unwrap();
        assert_eq!(verdict.answer, Answer::Allow);
        assert_eq!(verdict.reason.as_deref(), Some("x"));
        assert_eq!(verdict.policy_id.as_deref(), Some("y"));
        assert_eq!(verdict.tier, Some(Tier::Supervised));
        assert_eq!(&*verdict.revision, "r1");
        assert_eq!(
            read_json(&json!({"allow": false})).unwrap().answer,
            Answer::Deny
        );
    }

    #[test]
    fn no_result_is_undefined() {
        for form in [InputForm::Attache, InputForm::Envoy] {
            let verdict = read(None, &"r1".into(), form).unwrap();
            assert_eq!(verdict.answer, Answer::Undefined);
        }
    }

    /// O09, O15.
    #[test]
    fn anything_else_is_an_error() {
        for result in [
            json!(null),
            json!("true"),
            json!(1),
            json!([]),
            json!([true]),
            json!({}),
            json!({"allowed": true}),
            json!({"reason": "no allow"}),
            json!({"allow": "true"}),
            json!({"allow": null}),
            json!({"allow": true, "reason": null}),
            json!({"allow": true, "policy_id": 7}),
            json!({"allow": true, "tier": "absent"}),
            json!({"allow": true, "tier": "Free"}),
            json!({"allow": true, "tier": 1}),
            json!({"allow": true, "cache": "false"}),
            json!({"allow": true, "cache": null}),
            json!({"cache": false}),
        ] {
            assert!(!fault(&result).is_empty());
        }
    }

    #[test]
    fn a_result_may_say_that_it_is_not_to_be_remembered() {
        let cacheable = |result| read_json(&result).unwrap().cacheable;
        assert!(cacheable(json!(true)));
        assert!(cacheable(json!({"allow": false, "cache": true})));
        assert!(!cacheable(json!({"allow": false, "cache": false})));
        assert!(
            read(None, &"r1".into(), InputForm::Attache)
                .unwrap()
                .cacheable
        );
    }

    #[test]
    fn an_unknown_member_is_an_error_that_names_it() {
        assert_eq!(
            fault(&json!({"allow": true, "obligations": ["mask"]})),
            "unknown member `obligations`"
        );
    }

    /// O16: what the client sees of it is escaped by whoever writes it.
    #[test]
    fn long_texts_are_cut_between_characters() {
        let verdict = read_json(&json!({"allow": false, "reason": "ä".repeat(1_000_000)})).unwrap();
        let reason = verdict.reason.unwrap();
        assert_eq!(reason.len(), TEXT_BYTES);
        let verdict = read_json(&json!({"allow": false, "reason": "€".repeat(1_000)})).unwrap();
        assert_eq!(verdict.reason.unwrap().len(), 1023);
        assert!(fault(&json!({"allow": true, "x".repeat(100_000): 1})).len() < 100);
    }
}
