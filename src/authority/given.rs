//! The `context` of an inquiry: what the asker wants policy to see, bounded, every number in one spelling.
//!
//! Nothing in it is believed or interpreted here. What is too deep, too large or not exactly representable on every way
//! in is refused, so that the same question gets the same answer in process and over gRPC, where numbers are doubles.

use serde_json::{Map, Number, Value as Json};

/// The members that policy sees under `input.context`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GivenContext(Map<String, Json>);

/// Why a context can't be given to policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextProblem {
    /// Objects and lists within each other, the context itself counted.
    #[error("the context is nested deeper than {} levels", GivenContext::MAX_DEPTH)]
    TooDeep,
    /// Names and texts by their length, every value 8 bytes more.
    #[error("the context is larger than {} bytes", GivenContext::MAX_BYTES)]
    TooLarge,
    /// NaN, an infinity, or an integer that a double may round.
    #[error("the context holds a number that is not between -(2^53-1) and 2^53-1")]
    Number,
    /// A `google.protobuf.Value` of no kind, which stands for nothing, not even null.
    #[error("the context holds a value of no kind")]
    NoKind,
}

// === impl GivenContext ===

impl GivenContext {
    /// Most levels of objects and lists, the context itself being the first.
    pub const MAX_DEPTH: usize = 16;
    /// Most bytes: names and texts by their length, every value 8 more.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// The members.
    pub fn into_members(self) -> Map<String, Json> {
        self.0
    }
}

impl TryFrom<Map<String, Json>> for GivenContext {
    type Error = ContextProblem;

    fn try_from(mut members: Map<String, Json>) -> Result<Self, ContextProblem> {
        let mut room = Self::MAX_BYTES;
        settle_members(&mut members, Self::MAX_DEPTH, &mut room)?;
        Ok(Self(members))
    }
}

fn settle_members(
    members: &mut Map<String, Json>,
    levels: usize,
    room: &mut usize,
) -> Result<(), ContextProblem> {
    let levels = below(levels)?;
    for (name, value) in members {
        take(room, name.len())?;
        settle(value, levels, room)?;
    }
    Ok(())
}

/// Checks `value`, which may have `levels` more, against what `room` is left, and spells its numbers.
fn settle(value: &mut Json, levels: usize, room: &mut usize) -> Result<(), ContextProblem> {
    take(room, VALUE_BYTES)?;
    match value {
        Json::Null | Json::Bool(_) => Ok(()),
        Json::String(text) => take(room, text.len()),
        Json::Number(number) => {
            *number = settled(number).ok_or(ContextProblem::Number)?;
            Ok(())
        }
        Json::Array(items) => {
            let levels = below(levels)?;
            items
                .iter_mut()
                .try_for_each(|item| settle(item, levels, room))
        }
        Json::Object(members) => settle_members(members, levels, room),
    }
}

fn below(levels: usize) -> Result<usize, ContextProblem> {
    levels.checked_sub(1).ok_or(ContextProblem::TooDeep)
}

fn take(room: &mut usize, bytes: usize) -> Result<(), ContextProblem> {
    *room = room.checked_sub(bytes).ok_or(ContextProblem::TooLarge)?;
    Ok(())
}

/// The number, an integer wherever it has no fraction; `None` where a double may not hold it exactly.
fn settled(number: &Number) -> Option<Number> {
    if let Some(integer) = number.as_i64() {
        return (integer.unsigned_abs() <= MAX_EXACT).then(|| integer.into());
    }
    // Integers beyond i64 as well: they are out of range here.
    let double = number.as_f64().filter(|it| it.abs() <= MAX_EXACT_DOUBLE)?;
    if double.fract() != 0.0 {
        return Number::from_f64(double);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer of at most 53 bits"
    )]
    let integer = double as i64;
    Some(integer.into())
}

const VALUE_BYTES: usize = 8;
/// The largest integer up to which doubles hold every one exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: &Json) -> Result<Json, ContextProblem> {
        let members = json.as_object().unwrap().clone();
        GivenContext::try_from(members).map(|given| Json::Object(given.into_members()))
    }

    fn nested(levels: usize, wrap: impl Fn(Json) -> Json) -> Json {
        let inner = (1..levels).fold(json!([]), |inner, _| wrap(inner));
        json!({ "a": inner })
    }

    #[test]
    fn a_context_is_given_as_it_is() {
        let context = json!({
            "environment": "production", "risk": 0.5, "count": -3, "none": null, "yes": true,
            "list": [1, "a", {"b": []}], "": "",
        });
        assert_eq!(read(&context).unwrap(), context);
        assert_eq!(read(&json!({})).unwrap(), json!({}));
    }

    #[test]
    fn sixteen_levels_are_enough_and_seventeen_too_many() {
        for wrap in [|inner| json!([inner]), |inner| json!({ "a": inner })] {
            assert!(read(&nested(15, wrap)).is_ok());
            assert_eq!(read(&nested(16, wrap)), Err(ContextProblem::TooDeep));
        }
    }

    #[test]
    fn size_counts_names_texts_and_values() {
        let rest = GivenContext::MAX_BYTES - VALUE_BYTES - 1;
        assert!(read(&json!({"a": "x".repeat(rest)})).is_ok());
        assert!(read(&json!({"a": "x".repeat(rest + 1)})).is_err());
        assert!(read(&json!({"x".repeat(rest + 2): 1})).is_err());
        let many = vec![Json::Null; GivenContext::MAX_BYTES / VALUE_BYTES];
        assert_eq!(read(&json!({ "a": many })), Err(ContextProblem::TooLarge));
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer_on_every_way_in() {
        let context = json!({"a": 1.0, "b": -0.0, "c": [9_007_199_254_740_991.0], "d": 1.5});
        let integers = json!({"a": 1, "b": 0, "c": [9_007_199_254_740_991_i64], "d": 1.5});
        assert_eq!(read(&context).unwrap(), integers);
        assert_eq!(read(&integers).unwrap(), integers);
    }

    #[test]
    fn a_number_that_could_be_rounded_is_refused() {
        for number in [
            json!(9_007_199_254_740_992_i64),
            json!(-9_007_199_254_740_992_i64),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e300),
            json!(-1e16),
        ] {
            let refused = read(&json!({ "a": [number] }));
            assert_eq!(refused, Err(ContextProblem::Number), "{number}");
        }
    }
}
