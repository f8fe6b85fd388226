//! Writes one ordinary CheckRequest, framed for gRPC, to standard output: the payload of the load run.
//!
//! Twelve headers, both principals, about one kilobyte, for `GET /documents/42` by the reporting service.

use std::io::Write as _;

use envoy_types::ext_authz::v3::pb::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use prost::Message as _;

fn main() -> std::io::Result<()> {
    let message = check_request().encode_to_vec();
    let length = u32::try_from(message.len()).map_err(std::io::Error::other)?;
    let mut out = std::io::stdout().lock();
    // gRPC over HTTP/2, "Length-Prefixed-Message": not compressed, four bytes of length.
    out.write_all(&[0])?;
    out.write_all(&length.to_be_bytes())?;
    out.write_all(&message)
}

fn check_request() -> CheckRequest {
    let headers = [
        (":authority", "documents.example.org"),
        (":method", "GET"),
        (":path", "/documents/42?fields=title,owner"),
        (":scheme", "https"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br"),
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("user-agent", "reporting/2.4 (linux; x86_64)"),
        ("x-environment", "production"),
        ("x-forwarded-for", "10.0.3.17"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0"),
    ];
    let party = |principal: &str| Peer {
        principal: principal.to_owned(),
        ..Peer::default()
    };
    let http = HttpRequest {
        id: "5577006791947779410".to_owned(),
        method: "GET".to_owned(),
        host: "documents.example.org".to_owned(),
        path: "/documents/42?fields=title,owner".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        headers: headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(party("spiffe://example.org/svc/reporting")),
            destination: Some(party("spiffe://example.org/svc/documents")),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}
