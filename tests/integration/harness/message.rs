//! Questions as Envoy writes them.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::address::Address as Place;
use envoy_types::pb::envoy::config::core::v3::{Address, HeaderMap, HeaderValue, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};

use super::{DOCUMENTS, REPORTING};

/// A request by [`REPORTING`] for [`DOCUMENTS`], with the headers one by one (`encode_raw_headers`).
pub(crate) fn ask(method: &str, path: &str) -> CheckRequest {
    let address = Address {
        address: Some(Place::SocketAddress(SocketAddress {
            address: "10.0.3.17".to_owned(),
            ..SocketAddress::default()
        })),
    };
    let http = HttpRequest {
        id: "5577006791947779410".to_owned(),
        method: method.to_owned(),
        host: "api.example.org".to_owned(),
        path: path.to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        header_map: Some(HeaderMap {
            headers: vec![raw(":method", method), raw("x-request-id", "req-1")],
        }),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(address),
                ..party(REPORTING)
            }),
            destination: Some(party(DOCUMENTS)),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

pub(crate) fn party(principal: &str) -> Peer {
    Peer {
        principal: principal.to_owned(),
        ..Peer::default()
    }
}

pub(crate) fn raw(name: &str, value: &str) -> HeaderValue {
    raw_bytes(name, value.as_bytes())
}

pub(crate) fn raw_bytes(name: &str, value: &[u8]) -> HeaderValue {
    HeaderValue {
        key: name.to_owned(),
        raw_value: value.to_vec(),
        ..HeaderValue::default()
    }
}

/// The same request by somebody else.
pub(crate) fn principal(mut request: CheckRequest, principal: &str) -> CheckRequest {
    principal.clone_into(&mut source(&mut request).principal);
    request
}

/// The same request with one more header.
pub(crate) fn header(mut request: CheckRequest, name: &str, value: &str) -> CheckRequest {
    headers(&mut request).push(raw(name, value));
    request
}

/// The same request with its headers as the map that Envoy sends without `encode_raw_headers`.
pub(crate) fn joined(mut request: CheckRequest) -> CheckRequest {
    let map = http(&mut request).header_map.take().unwrap();
    let mut joined: HashMap<String, String> = HashMap::new();
    for HeaderValue { key, raw_value, .. } in map.headers {
        let value = String::from_utf8(raw_value).unwrap();
        joined
            .entry(key)
            .and_modify(|it| *it = format!("{it},{value}"))
            .or_insert(value);
    }
    http(&mut request).headers = joined;
    request
}

/// The same request with a body of a content type.
pub(crate) fn body(request: CheckRequest, content_type: &str, body: &str) -> CheckRequest {
    let mut request = header(request, "content-type", content_type);
    body.clone_into(&mut http(&mut request).body);
    http(&mut request).size = i64::try_from(body.len()).unwrap();
    request
}

pub(crate) fn attributes(request: &mut CheckRequest) -> &mut AttributeContext {
    request.attributes.as_mut().unwrap()
}

pub(crate) fn source(request: &mut CheckRequest) -> &mut Peer {
    attributes(request).source.as_mut().unwrap()
}

pub(crate) fn http(request: &mut CheckRequest) -> &mut HttpRequest {
    let request = attributes(request).request.as_mut().unwrap();
    request.http.as_mut().unwrap()
}

pub(crate) fn headers(request: &mut CheckRequest) -> &mut Vec<HeaderValue> {
    &mut http(request).header_map.as_mut().unwrap().headers
}
