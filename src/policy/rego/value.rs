//! Between attache's types and the engine's values: the policy input going in, plain JSON documents in both directions.
//!
//! Built by hand, member by member: four times cheaper than a detour through serde, and a JSON body stays what the
//! client sent (the engine's own reader takes an object with a certain private key for a number). That the result
//! equals the serialised [`Input`] is a property test.

use std::collections::BTreeMap;

use regorus::Value;
use serde_json::Value as Json;

use crate::delegation::{Mandate, TaskId};
use crate::policy::{Context, EnvoyInput, Input, Protocol, RequestInput};

/// The document that policy sees as `input`.
pub(super) fn from_input(input: &Input) -> Value {
    let mut document = Members::default();
    document.text("caller_spiffe_id", input.caller.as_str());
    document.text("caller_trust_domain", input.caller.trust_domain());
    if let Some(target) = &input.target {
        document.text("resource_spiffe_id", target.as_str());
        document.text("resource_trust_domain", target.trust_domain());
    }
    if let Some(mandate) = &input.mandate {
        add_mandate(&mut document, mandate);
    }
    document.text("action", input.action.as_str());
    document.text("resource", input.resource.as_str());
    document.text("tier", input.tier.as_str());
    document.text("timestamp", &input.timestamp.to_string());
    document.value("context", from_context(&input.context));
    if let Some(request) = &input.request {
        document.value("request", from_request(request));
    }
    if let Some(envoy) = &input.envoy {
        add_envoy(&mut document, envoy);
    }
    document.into()
}

fn add_mandate(document: &mut Members, mandate: &Mandate) {
    let claims = &mandate.claims;
    let mut subject = Members::default();
    subject.text("id", mandate.person().as_str());
    subject.text("role", mandate.role.as_str());
    document.value("subject", subject.into());
    document.value("chain", list(claims.chain.names()));
    if let Some(acting) = mandate.agent() {
        let mut agent = Members::default();
        agent.text("id", acting.agent_id.as_str());
        agent.text("type", acting.agent_type.as_str());
        document.value("agent", agent.into());
    }
    let path = mandate.tasks();
    if let Some(id) = path.last() {
        let mut task = Members::default();
        task.text("id", id.as_str());
        task.value("path", list(path.iter().map(TaskId::as_str)));
        document.value("task", task.into());
    }
    let shown = &claims.authentication;
    let mut session = Members::default();
    session.text("auth_time", &shown.time.to_string());
    session.value("amr", list(shown.methods.iter().map(String::as_str)));
    if let Some(class) = &shown.class {
        session.text("acr", class);
    }
    document.value("session", session.into());
    let permissions = claims.permissions.entries().iter();
    let permissions: Vec<_> = permissions.map(|it| Value::from(it.to_string())).collect();
    document.value("permissions", Value::from(permissions));
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    Value::from(texts.map(Value::from).collect::<Vec<_>>())
}

fn add_envoy(document: &mut Members, envoy: &EnvoyInput) {
    let texts = |texts: &[String]| {
        let values = texts.iter().map(|text| Value::from(text.as_str()));
        Value::from(values.collect::<Vec<_>>())
    };
    let mut query = Members::default();
    for (name, values) in &envoy.parsed_query {
        query.value(name, texts(values));
    }
    let mut version = Members::default();
    for (name, text) in EnvoyInput::VERSION {
        version.text(name, text);
    }
    document.value("attributes", from_members(&envoy.attributes));
    document.value("parsed_path", texts(&envoy.parsed_path));
    document.value("parsed_query", query.into());
    document.value("parsed_body", from_json(&envoy.parsed_body));
    document.value("truncated_body", Value::Bool(envoy.truncated_body));
    document.value("version", version.into());
}

/// A JSON document as the engine's value.
pub(super) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => from_number(number),
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::from(items.iter().map(from_json).collect::<Vec<_>>()),
        Json::Object(members) => from_members(members),
    }
}

fn from_members(members: &serde_json::Map<String, Json>) -> Value {
    members
        .iter()
        .map(|(name, value)| (Value::from(name.as_str()), from_json(value)))
        .collect::<BTreeMap<_, _>>()
        .into()
}

fn from_context(context: &Context) -> Value {
    let mut document = Members::default();
    document.texts("headers", &context.headers);
    document.texts("extensions", &context.extensions);
    document.texts("attributes", &context.attributes);
    for (name, value) in &context.given {
        document.value(name, from_json(value));
    }
    document.into()
}

fn from_request(request: &RequestInput) -> Value {
    let mut document = Members::default();
    let protocol = match request.protocol {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    };
    document.text("protocol", protocol);
    document.text("method", &request.method);
    document.text("host", &request.host);
    document.text("path", &request.path);
    document.texts("params", &request.params);
    if let Some(body) = &request.body {
        document.value("body", from_json(body));
    }
    document.into()
}

fn from_number(number: &serde_json::Number) -> Value {
    if let Some(unsigned) = number.as_u64() {
        return unsigned.into();
    }
    if let Some(signed) = number.as_i64() {
        return signed.into();
    }
    // Every other JSON number is a finite float; one that is not would be absent rather than wrong.
    number.as_f64().map_or(Value::Undefined, Value::from)
}

#[derive(Default)]
struct Members(BTreeMap<Value, Value>);

impl Members {
    fn value(&mut self, name: &str, value: Value) {
        self.0.insert(name.into(), value);
    }

    fn text(&mut self, name: &str, text: &str) {
        self.value(name, text.into());
    }

    /// An empty map is left out, as what is unknown always is.
    fn texts(&mut self, name: &str, texts: &BTreeMap<String, String>) {
        if texts.is_empty() {
            return;
        }
        let members = texts
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.as_str().into()));
        self.value(name, members.collect::<BTreeMap<Value, Value>>().into());
    }
}

impl From<Members> for Value {
    fn from(members: Members) -> Self {
        members.0.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::any::any_input;

    proptest! {
        #[test]
        fn the_hand_built_input_equals_the_serialised_one(input in any_input()) {
            let serialised: Value =
                serde_json::from_value(serde_json::to_value(&input).unwrap()).unwrap();
            prop_assert_eq!(from_input(&input), serialised);
        }
    }

    #[test]
    fn a_member_name_never_turns_an_object_into_a_number() {
        let body = serde_json::json!({"$serde_json::private::Number": "7"});
        assert!(from_json(&body).as_object().is_ok());
    }
}
