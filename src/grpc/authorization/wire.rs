//! Between the messages of `attache.v1` and our own words, in both directions.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Number, Value as Json};

use crate::authority::{self, ContextProblem, GivenContext};
use crate::permission;

use super::super::proto::attache::v1::{
    AuthzDecision, HealthCheckResponse, HealthPart as Part, Tier,
};

// === What is asked ===

/// What policy shall see, or why it can't. Absent and empty are the same.
pub(super) fn context(given: Option<Struct>) -> Result<GivenContext, ContextProblem> {
    members(given.unwrap_or_default())?.try_into()
}

/// The depth is bounded by the decoder, which ends at 100 messages within each other.
fn members(object: Struct) -> Result<Map<String, Json>, ContextProblem> {
    let members = object.fields.into_iter();
    members
        .map(|(name, value)| Ok((name, json(value)?)))
        .collect()
}

fn json(value: Value) -> Result<Json, ContextProblem> {
    Ok(match value.kind.ok_or(ContextProblem::NoKind)? {
        Kind::NullValue(_) => Json::Null,
        Kind::BoolValue(flag) => Json::Bool(flag),
        Kind::NumberValue(number) => {
            Json::Number(Number::from_f64(number).ok_or(ContextProblem::Number)?)
        }
        Kind::StringValue(text) => Json::String(text),
        Kind::ListValue(list) => {
            let items = list.values.into_iter().map(json);
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        Kind::StructValue(object) => Json::Object(members(object)?),
    })
}

/// A context as the client sends it. Integers that a double rounds end up beyond what the server takes.
pub(super) fn structure(members: &Map<String, Json>) -> Struct {
    let fields = members
        .iter()
        .map(|(name, value)| (name.clone(), protobuf(value)));
    Struct {
        fields: fields.collect(),
    }
}

fn protobuf(value: &Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(protobuf).collect(),
        }),
        Json::Object(members) => Kind::StructValue(structure(members)),
    };
    Value { kind: Some(kind) }
}

// === What is answered ===

pub(super) fn told(decision: &authority::AuthzDecision) -> AuthzDecision {
    let tier = match decision.tier() {
        None | Some(permission::Tier::Absent) => Tier::Unspecified,
        Some(permission::Tier::Free) => Tier::Free,
        Some(permission::Tier::Supervised) => Tier::Supervised,
        Some(permission::Tier::Forbidden) => Tier::Forbidden,
    };
    AuthzDecision {
        allowed: decision.allowed(),
        reason: decision.reason().to_owned(),
        policy_id: decision.policy_id().unwrap_or_default().to_owned(),
        audit_id: decision.audit_id().to_owned(),
        tier: tier.into(),
        reason_code: decision.reason_code().unwrap_or_default().to_owned(),
    }
}

/// A decision as the client received it; `None` where it is none: without a name, or at odds with itself.
pub(super) fn heard(told: AuthzDecision) -> Option<authority::AuthzDecision> {
    let tier = match told.tier() {
        Tier::Unspecified => None,
        Tier::Free => Some(permission::Tier::Free),
        Tier::Supervised => Some(permission::Tier::Supervised),
        Tier::Forbidden => Some(permission::Tier::Forbidden),
    };
    let AuthzDecision {
        allowed,
        reason,
        policy_id,
        audit_id,
        tier: _,
        reason_code,
    } = told;
    let decision = match (allowed, tier) {
        _ if audit_id.is_empty() || allowed != reason_code.is_empty() => return None,
        (false, tier) => {
            authority::AuthzDecision::deny(audit_id, reason_code, reason).at_tier(tier)
        }
        (true, Some(tier @ (permission::Tier::Free | permission::Tier::Supervised))) => {
            authority::AuthzDecision::allow(audit_id, tier, reason)
        }
        (true, _) => return None,
    };
    Some(if policy_id.is_empty() {
        decision
    } else {
        decision.by_policy(policy_id)
    })
}

pub(super) fn health(health: authority::Health) -> HealthCheckResponse {
    let healthy = health.is_good();
    let parts = health.parts.into_iter().map(|part| Part {
        name: part.name.to_owned(),
        healthy: part.good,
        detail: part.detail,
    });
    HealthCheckResponse {
        healthy,
        parts: parts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value(kind: Kind) -> Struct {
        let value = Value { kind: Some(kind) };
        Struct {
            fields: [("a".to_owned(), value)].into(),
        }
    }

    #[test]
    fn an_absent_context_is_an_empty_one() {
        assert_eq!(context(None), Ok(GivenContext::default()));
        assert_eq!(context(Some(Struct::default())), context(None));
    }

    #[test]
    fn a_number_that_json_does_not_have_is_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let given = context(Some(value(Kind::NumberValue(number))));
            assert_eq!(given, Err(ContextProblem::Number), "{number}");
        }
    }

    #[test]
    fn a_value_of_no_kind_is_not_null() {
        let mut given = value(Kind::NullValue(0));
        assert!(context(Some(given.clone())).is_ok());
        given.fields.get_mut("a").unwrap().kind = None;
        assert_eq!(context(Some(given)), Err(ContextProblem::NoKind));
    }

    #[test]
    fn an_answer_that_contradicts_itself_is_no_decision() {
        let sound = AuthzDecision {
            allowed: true,
            audit_id: "1".to_owned(),
            tier: Tier::Free.into(),
            ..AuthzDecision::default()
        };
        assert!(heard(sound.clone()).unwrap().allowed());
        for spoilt in [
            AuthzDecision::default(),
            AuthzDecision {
                audit_id: String::new(),
                ..sound.clone()
            },
            AuthzDecision {
                reason_code: "out_of_scope".to_owned(),
                ..sound.clone()
            },
            AuthzDecision {
                tier: Tier::Forbidden.into(),
                ..sound.clone()
            },
            AuthzDecision {
                tier: Tier::Unspecified.into(),
                ..sound.clone()
            },
            AuthzDecision {
                tier: 77,
                ..sound.clone()
            },
            AuthzDecision {
                allowed: false,
                ..sound
            },
        ] {
            assert_eq!(heard(spoilt.clone()), None, "{spoilt:?}");
        }
    }

    fn any_json() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<f64>().prop_map(Json::from),
            (-1000_i64..1000).prop_map(Json::from),
            ".{0,8}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| json!(members)),
            ]
        })
    }

    proptest! {
        /// In process and over the wire, a context is the same one, or refused for the same reason.
        #[test]
        fn the_wire_changes_nothing(
            members in prop::collection::btree_map(".{0,4}", any_json(), 0..4)
        ) {
            let members: Map<_, _> = members.into_iter().collect();
            let direct = GivenContext::try_from(members.clone());
            prop_assert_eq!(context(Some(structure(&members))), direct);
        }
    }
}
