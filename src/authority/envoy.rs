//! The request in the words of opa-envoy-plugin, for policies that were written for it.
//!
//! The path is the canonical one (the host is as the client wrote it), names that only attache may use are
//! left out of the headers, as is an accepted token, and what can be read in more than one way refuses the request. Where configuration declares
//! as context what policy reads, everything that differs between two requests that are alike is left out, so that an
//! answer can serve both.

use serde_json::{Map, Value as Json};

use super::decision::Denial;
use super::question::{HttpRequest, Question};
use super::rules::ContextNames;
use crate::operation::{self, Body, NormalPath, ParsedBody};
use crate::permission::Reason;
use crate::policy::EnvoyInput;
use crate::text::sentence;

/// The part of a request that the words are about.
pub(super) struct Asked<'a> {
    pub(super) path: &'a NormalPath<'a>,
    pub(super) query: Option<&'a str>,
    pub(super) body: &'a Body<'a>,
}

/// Builds the words, or refuses a request that they can't be found for. The header of the name `hidden` is not among them.
pub(super) fn input(
    names: &ContextNames,
    question: &Question<'_>,
    http: &HttpRequest<'_>,
    asked: &Asked<'_>,
    hidden: Option<&str>,
) -> Result<EnvoyInput, Denial> {
    let lasting = names.declares();
    let query = asked.query.unwrap_or_default();
    let parsed_query = operation::parameters(query.as_bytes())
        .map_err(|error| Denial::because(Reason::BadRequest, sentence(&error)))?;
    let parsed_body = asked
        .body
        .parsed()
        .map_err(|error| Denial::because(Reason::UnusableBody, sentence(&error)))?;
    let target = match asked.query {
        None => asked.path.as_str().to_owned(),
        Some(query) => format!("{}?{query}", asked.path),
    };
    let headers = headers(http, &target, lasting, hidden)?;
    let mut attributes = match question.attributes {
        Some(told) => told.to_json(),
        None => Map::new(),
    };
    if lasting {
        forget(&mut attributes);
    }
    let told = attributes
        .get_mut("request")
        .and_then(|request| request.get_mut("http"))
        .and_then(Json::as_object_mut);
    if let Some(told) = told {
        told.insert("path".to_owned(), target.into());
        told.insert("headers".to_owned(), headers.into());
    }
    Ok(EnvoyInput {
        attributes,
        parsed_path: asked.path.decoded().collect(),
        parsed_query,
        truncated_body: parsed_body == ParsedBody::Truncated,
        parsed_body: match parsed_body {
            ParsedBody::Unread | ParsedBody::Truncated => Json::Null,
            ParsedBody::Value(value) => value,
        },
        lasting,
    })
}

/// Headers by name, the values of repeated ones joined by commas, as proxies without raw headers send them.
fn headers(
    http: &HttpRequest<'_>,
    target: &str,
    lasting: bool,
    hidden: Option<&str>,
) -> Result<Map<String, Json>, Denial> {
    let mut headers = Map::new();
    for (name, value) in http.headers.iter() {
        let traces = TRACES.contains(&name) || name.starts_with("x-b3-");
        let ours = name.starts_with("x-attache-") || name == "attache-token";
        if ours || Some(name) == hidden || (lasting && traces) {
            continue;
        }
        let value = std::str::from_utf8(value).map_err(|_not_utf8| {
            Denial::because(Reason::BadRequest, format!("header `{name}` is not text"))
        })?;
        match headers.get_mut(name) {
            Some(Json::String(before)) => {
                before.push(',');
                before.push_str(value);
            }
            _ => {
                headers.insert(name.to_owned(), value.into());
            }
        }
    }
    if let Some(path) = headers.get_mut(":path") {
        *path = target.into();
    }
    Ok(headers)
}

/// Leaves out what is of this request alone.
fn forget(attributes: &mut Map<String, Json>) {
    if let Some(Json::Object(request)) = attributes.get_mut("request") {
        request.remove("time");
        if let Some(Json::Object(http)) = request.get_mut("http") {
            http.remove("id");
        }
    }
    let port = attributes
        .get_mut("source")
        .and_then(|source| source.pointer_mut("/address/socketAddress"))
        .and_then(Json::as_object_mut);
    if let Some(address) = port {
        address.remove("portValue");
    }
}

/// Headers that number or trace a request.
const TRACES: [&str; 16] = [
    "b3",
    "baggage",
    "grpc-trace-bin",
    "traceparent",
    "tracestate",
    "uber-trace-id",
    "x-amzn-trace-id",
    "x-client-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-trace-id",
    "x-ot-span-context",
    "x-request-id",
    "x-envoy-attempt-count",
];
