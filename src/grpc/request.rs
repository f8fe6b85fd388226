//! From Envoy's words to ours: a `CheckRequest` becomes a [`Question`], borrowed, or a denial that names what is wrong.
//!
//! Nothing is interpreted here: identity, path and headers are judged by the rooms that own those rules.

use crate::authority::{Denial, Headers, HttpRequest, Question};
use crate::identity::Peer;
use crate::permission::Reason;

use super::proto::envoy::config::core::v3::{HeaderValue, address};
use super::proto::envoy::service::auth::v3::CheckRequest;
use super::proto::envoy::service::auth::v3::attribute_context;

/// Reads the question that `peer` put.
pub(super) fn question(request: &CheckRequest, peer: Peer) -> Result<Question<'_>, Denial> {
    let attributes = request
        .attributes
        .as_ref()
        .ok_or_else(|| Denial::because(Reason::BadRequest, "`attributes` is missing"))?;
    let source = attributes.source.as_ref();
    let http = attributes
        .request
        .as_ref()
        .and_then(|request| request.http.as_ref())
        .map(http)
        .transpose()?;
    Ok(Question {
        peer,
        certificate: source.and_then(|it| filled(&it.certificate)),
        principal: source.and_then(|it| filled(&it.principal)),
        source_ip: source.and_then(address),
        destination: attributes
            .destination
            .as_ref()
            .and_then(|it| filled(&it.principal)),
        extensions: &attributes.context_extensions,
        http,
        attributes: Some(attributes),
    })
}

fn http(http: &attribute_context::HttpRequest) -> Result<HttpRequest<'_>, Denial> {
    let malformed = |detail: &str| Denial::because(Reason::BadRequest, detail);
    let headers = match &http.header_map {
        Some(_) if !http.headers.is_empty() => {
            return Err(malformed("`headers` and `header_map` are both set"));
        }
        Some(map) if map.headers.iter().any(has_two_values) => {
            return Err(malformed("a header has both `value` and `raw_value`"));
        }
        Some(map) => Headers::new(map.headers.iter().map(raw)),
        None => Headers::new(
            http.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_bytes())),
        ),
    };
    let body = match (http.body.as_bytes(), &*http.raw_body) {
        (text, []) => text,
        ([], raw) => raw,
        _ => return Err(malformed("`body` and `raw_body` are both set")),
    };
    Ok(HttpRequest {
        id: &http.id,
        method: &http.method,
        host: &http.host,
        target: &http.path,
        headers: headers.map_err(|error| Denial::because(Reason::BadRequest, error))?,
        body,
        size: http.size,
    })
}

fn has_two_values(header: &HeaderValue) -> bool {
    !header.value.is_empty() && !header.raw_value.is_empty()
}

/// A raw header has its value in one of two fields.
fn raw(header: &HeaderValue) -> (&str, &[u8]) {
    let value = match &*header.raw_value {
        [] => header.value.as_bytes(),
        raw => raw,
    };
    (&header.key, value)
}

fn address(peer: &attribute_context::Peer) -> Option<&str> {
    match peer.address.as_ref()?.address.as_ref()? {
        address::Address::SocketAddress(socket) => filled(&socket.address),
        address::Address::Pipe(_) => None,
    }
}

fn filled(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
