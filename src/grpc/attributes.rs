//! Envoy's `AttributeContext` in the JSON form of protobuf (protobuf.dev, "JSON Format"), member by member.
//!
//! Translates and judges nothing. Members that are empty are left out, as that format has it. The headers are left out
//! too: there are two fields for them, and who asks for this document knows which one counts.

use serde_json::{Map, Number, Value as Json};

use crate::authority::Attributes;

use super::proto::envoy::config::core::v3::{Address, Metadata, SocketAddress, address};
use super::proto::envoy::service::auth::v3::AttributeContext;
use super::proto::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};

/// An object that takes only what is there.
#[derive(Default)]
struct Object(Map<String, Json>);

impl Attributes for AttributeContext {
    fn to_json(&self) -> Map<String, Json> {
        let Self {
            source,
            destination,
            request,
            context_extensions,
            metadata_context,
            tls_session,
            route_metadata_context,
        } = self;
        let mut object = Object::default();
        object.object("source", source.as_ref().map(peer));
        object.object("destination", destination.as_ref().map(peer));
        object.object("request", request.as_ref().map(of_request));
        object.texts("contextExtensions", context_extensions);
        object.object("metadataContext", metadata_context.as_ref().map(metadata));
        object.object(
            "tlsSession",
            tls_session.as_ref().map(|session| {
                let mut object = Object::default();
                object.text("sni", &session.sni);
                object
            }),
        );
        let route = route_metadata_context.as_ref();
        object.object("routeMetadataContext", route.map(metadata));
        object.0
    }
}

fn peer(peer: &Peer) -> Object {
    let Peer {
        address,
        service,
        labels,
        principal,
        certificate,
    } = peer;
    let mut object = Object::default();
    object.object("address", address.as_ref().map(of_address));
    object.text("service", service);
    object.texts("labels", labels);
    object.text("principal", principal);
    object.text("certificate", certificate);
    object
}

fn of_address(address: &Address) -> Object {
    let mut object = Object::default();
    let mut inner = Object::default();
    match &address.address {
        Some(address::Address::SocketAddress(SocketAddress {
            address,
            port_value,
        })) => {
            inner.text("address", address);
            if *port_value != 0 {
                inner.value("portValue", (*port_value).into());
            }
            object.object("socketAddress", Some(inner));
        }
        Some(address::Address::Pipe(pipe)) => {
            inner.text("path", &pipe.path);
            object.object("pipe", Some(inner));
        }
        None => {}
    }
    object
}

fn of_request(request: &Request) -> Object {
    let Request { time, http } = request;
    let mut object = Object::default();
    if let Some(time) = time {
        object.text("time", &time.to_string());
    }
    object.object("http", http.as_ref().map(of_http));
    object
}

fn of_http(http: &HttpRequest) -> Object {
    let HttpRequest {
        id,
        method,
        headers: _,
        path,
        host,
        scheme,
        query,
        fragment,
        size,
        protocol,
        body,
        raw_body,
        header_map: _,
    } = http;
    let mut object = Object::default();
    for (name, text) in [
        ("id", id),
        ("method", method),
        ("path", path),
        ("host", host),
        ("scheme", scheme),
        ("query", query),
        ("fragment", fragment),
        ("protocol", protocol),
        ("body", body),
    ] {
        object.text(name, text);
    }
    if *size != 0 {
        object.text("size", &size.to_string());
    }
    object.text("rawBody", &base64(raw_body));
    object
}

fn metadata(metadata: &Metadata) -> Object {
    let filters = metadata.filter_metadata.iter();
    let filters: Map<_, _> = filters
        .map(|(name, value)| (name.clone(), of_struct(value).into()))
        .collect();
    let mut object = Object::default();
    if !filters.is_empty() {
        object.value("filterMetadata", filters.into());
    }
    object
}

fn of_struct(value: &prost_types::Struct) -> Map<String, Json> {
    let fields = value.fields.iter();
    fields
        .map(|(name, value)| (name.clone(), of_value(value)))
        .collect()
}

/// Depth is bounded by the decoder of the message.
fn of_value(value: &prost_types::Value) -> Json {
    use prost_types::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::BoolValue(flag)) => (*flag).into(),
        Some(Kind::NumberValue(number)) => of_number(*number),
        Some(Kind::StringValue(text)) => text.as_str().into(),
        Some(Kind::StructValue(object)) => of_struct(object).into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(of_value).collect(),
    }
}

/// A whole number without a fraction; one that JSON has no form for as null.
fn of_number(number: f64) -> Json {
    let written = number.to_string().parse::<Number>();
    written.map_or(Json::Null, Json::Number)
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    let unpadded = tonic::metadata::BinaryMetadataValue::from_bytes(bytes);
    let mut text: String = unpadded
        .as_encoded_bytes()
        .iter()
        .map(|byte| char::from(*byte))
        .collect();
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

impl Object {
    fn value(&mut self, name: &str, value: Json) {
        self.0.insert(name.to_owned(), value);
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.value(name, text.into());
        }
    }

    fn object(&mut self, name: &str, object: Option<Self>) {
        if let Some(Self(members)) = object {
            self.value(name, members.into());
        }
    }

    fn texts(&mut self, name: &str, texts: &std::collections::HashMap<String, String>) {
        if !texts.is_empty() {
            let members = texts.iter();
            let members = members.map(|(key, value)| (key.clone(), value.as_str().into()));
            self.value(name, Json::Object(members.collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

    use super::super::proto::DESCRIPTORS;
    use super::*;

    fn sample() -> AttributeContext {
        let text = r#"{
            "source": {
                "address": {"socketAddress": {"address": "10.0.3.17", "portValue": 40112}},
                "service": "web", "labels": {"app": "web"},
                "principal": "spiffe://example.org/svc/web", "certificate": "x%20y"
            },
            "destination": {"address": {"pipe": {"path": "/run/a.sock"}}},
            "request": {
                "time": "2026-01-01T00:00:00.250Z",
                "http": {
                    "id": "7", "method": "POST", "path": "/a?b=c", "host": "h", "scheme": "https",
                    "query": "q", "fragment": "f", "size": "13", "protocol": "HTTP/1.1",
                    "body": "{}", "rawBody": "AAEC/w=="
                }
            },
            "contextExtensions": {"purpose": "test"},
            "metadataContext": {"filterMetadata": {"f": {
                "whole": 3.0, "part": 0.5, "null": null, "list": [true, "x"], "in": {"a": -1.0}
            }}},
            "tlsSession": {"sni": "documents.example.org"},
            "routeMetadataContext": {}
        }"#;
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let descriptor = pool.get_message_by_name(NAME).unwrap();
        let mut json = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize(descriptor, &mut json).unwrap();
        message.transcode_to().unwrap()
    }

    /// As another implementation of the format writes it.
    #[test]
    fn every_member_is_written_as_the_json_form_of_protobuf_has_it() {
        let sample = sample();
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let descriptor = pool.get_message_by_name(NAME).unwrap();
        let bytes = prost::Message::encode_to_vec(&sample);
        let message = DynamicMessage::decode(descriptor, &*bytes).unwrap();
        let options = SerializeOptions::new();
        let expected = message.serialize_with_options(serde_json::value::Serializer, &options);
        let expected: Json = expected.unwrap();
        let written = Json::Object(sample.to_json());
        // Numbers of a Struct are doubles there.
        assert_eq!(
            written.to_string(),
            expected
                .to_string()
                .replace("3.0", "3")
                .replace("-1.0", "-1")
        );
    }

    #[test]
    fn what_is_empty_is_left_out() {
        assert!(AttributeContext::default().to_json().is_empty());
    }

    const NAME: &str = "envoy.service.auth.v3.AttributeContext";
}
