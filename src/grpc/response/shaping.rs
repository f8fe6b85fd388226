//! What policy asked of an answer, put into Envoy's words beside what attache says.
//!
//! Takes nothing away of that. What can't be sent as it was asked for makes an allowance a denial; a denial goes without it.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Value as Json};

use super::super::proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use super::super::proto::envoy::config::core::v3::{HeaderValueOption, QueryParameter};
use super::super::proto::envoy::service::auth::v3::{DeniedHttpResponse, OkHttpResponse};
use super::{Asked, header};
use crate::authority::Shaping;

/// Changes for the service and its client; `None` where something can't stand where it would.
pub(super) fn allowance(response: &mut OkHttpResponse, shaping: &Shaping) -> Option<()> {
    for (at, (name, value)) in shaping.headers.iter().enumerate() {
        let option = header(name, value)?;
        // The first takes the place of what the client sent, the others join it.
        let mut before = shaping.headers.iter().take(at);
        let joins = before.any(|(earlier, _)| earlier == name);
        response
            .headers
            .push(if joins { added(option) } else { option });
    }
    for (name, value) in &shaping.response_headers {
        let option = header(name, value)?;
        response.response_headers_to_add.push(added(option));
    }
    let removed = shaping.removed_headers.iter().cloned();
    response.headers_to_remove.extend(removed);
    for (name, value) in &shaping.query {
        let parameter = parameter(name, value)?;
        response.query_parameters_to_set.push(parameter);
    }
    Some(())
}

/// Gives a denial the body and the headers that policy asked for. A client that speaks gRPC reads no body.
pub(super) fn denial(response: &mut DeniedHttpResponse, shaping: &Shaping, asked: &Asked<'_>) {
    if let Some(body) = shaping.body.as_ref().filter(|_| !asked.grpc) {
        response.body.clone_from(body);
        // The proxy calls it text, unless policy says what it is.
        response.headers.retain(|it| key_of(it) != "content-type");
    }
    let said = |option: &HeaderValueOption| {
        let mut headers = shaping.headers.iter();
        headers.any(|(name, _)| name == key_of(option))
    };
    // What gRPC clients are told stands, content type included.
    let kept = |name: &str| asked.grpc && name == "content-type";
    response.headers.retain(|it| !said(it) || kept(key_of(it)));
    let headers = shaping.headers.iter().filter(|(name, _)| !kept(name));
    // The proxy keeps several of a name apart, as `set-cookie` needs it. One that can't be sent changes nothing about
    // the denial.
    let headers = headers.filter_map(|(name, value)| header(name, value));
    response.headers.extend(headers);
}

/// An object of policy's own, for access logs and later filters.
pub(super) fn metadata(members: &Map<String, Json>) -> Value {
    kind(Kind::StructValue(of_json(members)))
}

fn of_json(members: &Map<String, Json>) -> Struct {
    let fields = members.iter();
    Struct {
        fields: fields
            .map(|(name, value)| (name.clone(), value_of(value)))
            .collect(),
    }
}

/// Numbers become doubles: the format of metadata has no others.
fn value_of(json: &Json) -> Value {
    kind(match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(flag) => Kind::BoolValue(*flag),
        Json::Number(number) => number
            .as_f64()
            .map_or(Kind::NullValue(0), Kind::NumberValue),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items.iter().map(value_of).collect(),
        }),
        Json::Object(members) => Kind::StructValue(of_json(members)),
    })
}

const fn kind(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

/// One query parameter; `None` for one that could become another, or several.
fn parameter(name: &str, value: &str) -> Option<QueryParameter> {
    let plain = |text: &str| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte))
    };
    (plain(name) && plain(value)).then(|| QueryParameter {
        key: name.to_owned(),
        value: value.to_owned(),
    })
}

fn key_of(option: &HeaderValueOption) -> &str {
    option.header.as_ref().map_or("", |header| &header.key)
}

/// The same header, beside others of its name.
fn added(option: HeaderValueOption) -> HeaderValueOption {
    HeaderValueOption {
        append: Some(true),
        append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
        ..option
    }
}
