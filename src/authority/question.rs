//! One request to be decided, in attache's own words: borrowed from whatever the door received, not yet judged.
//!
//! Nothing here is trusted. Reading is total: a malformed part is represented, and the decision names it.

use std::collections::HashMap;
use std::fmt;

use serde_json::{Map, Value as Json};

use crate::identity::Peer;

/// A request that a proxy asks about.
#[derive(Debug)]
pub struct Question<'a> {
    /// Who asks: the peer of the connection.
    pub peer: Peer,
    /// The caller's certificate as the proxy saw it: URL-encoded PEM.
    pub certificate: Option<&'a str>,
    /// The caller's principal as the proxy read it.
    pub principal: Option<&'a str>,
    /// The caller's network address, for audit only.
    pub source_ip: Option<&'a str>,
    /// The principal of the service that the request is for.
    pub destination: Option<&'a str>,
    /// Route settings sent by the proxy.
    pub extensions: &'a HashMap<String, String>,
    /// The HTTP request; missing when the network filter asks.
    pub http: Option<HttpRequest<'a>>,
    /// All of it as the proxy put it, for policies that read a proxy's words.
    pub attributes: Option<&'a dyn Attributes>,
}

/// A question in the words of the proxy that put it.
pub trait Attributes: fmt::Debug + Sync {
    /// The JSON form of Envoy's `AttributeContext` (protobuf's JSON mapping: names in camel case, 64-bit numbers as texts,
    /// nothing that is empty), with `request.http` where there is one, but without its headers.
    fn to_json(&self) -> Map<String, Json>;
}

/// The HTTP part of a [`Question`], as the proxy sent it.
#[derive(Debug)]
pub struct HttpRequest<'a> {
    /// The proxy's own number for the request, for audit only.
    pub id: &'a str,
    /// The method, case preserved.
    pub method: &'a str,
    /// The authority or Host header.
    pub host: &'a str,
    /// The request target: path and query.
    pub target: &'a str,
    /// The request's headers.
    pub headers: Headers<'a>,
    /// As much of the body as the proxy sent; empty where none was.
    pub body: &'a [u8],
    /// The body's size in bytes as the proxy counted it, -1 where unknown.
    pub size: i64,
}

/// Request headers with lower-case names, in the order received; a repeated header has several entries.
#[derive(Debug, Default)]
pub struct Headers<'a> {
    entries: Vec<(&'a str, &'a [u8])>,
}

/// What is wrong with the headers of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderProblem {
    /// Proxies send lower-case names; another spelling could hide a second copy.
    #[error("header name `{0}` is not lower case")]
    NotLowerCase(String),
    /// A header that may occur once was sent again.
    #[error("header `{0}` occurs more than once")]
    Repeated(String),
    /// A value that is needed as text isn't.
    #[error("header `{0}` is not text")]
    NotText(String),
}

impl HttpRequest<'_> {
    /// Whether the client speaks gRPC, by its content type (gRPC over HTTP/2, "Requests").
    ///
    /// As Envoy reads it: `application/grpc-web` is not gRPC, its clients read no trailers.
    pub fn is_grpc(&self) -> bool {
        let Ok(Some(kind)) = self.headers.single("content-type") else {
            return false;
        };
        kind.strip_prefix("application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }
}

impl<'a> Headers<'a> {
    /// Takes headers as received and checks their names.
    pub fn new(
        entries: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, HeaderProblem> {
        let entries: Vec<_> = entries.into_iter().collect();
        match entries
            .iter()
            .find(|(name, _)| name.bytes().any(|byte| byte.is_ascii_uppercase()))
        {
            Some((name, _)) => Err(HeaderProblem::NotLowerCase((*name).to_owned())),
            None => Ok(Self { entries }),
        }
    }

    /// The value of a header that may occur at most once.
    pub fn single(&self, name: &str) -> Result<Option<&'a str>, HeaderProblem> {
        let mut values = self.entries.iter().filter(|(entry, _)| *entry == name);
        let Some((_, value)) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(HeaderProblem::Repeated(name.to_owned()));
        }
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_not_utf8) => Err(HeaderProblem::NotText(name.to_owned())),
        }
    }

    /// Names and values in the order received.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.entries.iter().copied()
    }

    /// The names that occur, repeated names repeatedly.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.entries.iter().map(|(name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_header_has_no_single_value() {
        let headers = Headers::new([("a", b"1".as_slice()), ("b", b"2"), ("a", b"1")]).unwrap();
        assert_eq!(headers.single("b"), Ok(Some("2")));
        assert_eq!(headers.single("c"), Ok(None));
        assert_eq!(
            headers.single("a"),
            Err(HeaderProblem::Repeated("a".into()))
        );
    }

    #[test]
    fn a_name_in_upper_case_is_refused() {
        // E43
        assert_eq!(
            Headers::new([("X-Attache-Caller", b"".as_slice())]).unwrap_err(),
            HeaderProblem::NotLowerCase("X-Attache-Caller".into())
        );
    }

    #[test]
    fn bytes_that_are_not_text_matter_only_where_text_is_needed() {
        let headers = Headers::new([("a", b"\xff".as_slice()), ("b", b"2")]).unwrap();
        assert_eq!(headers.single("b"), Ok(Some("2")));
        assert_eq!(headers.single("a"), Err(HeaderProblem::NotText("a".into())));
    }
}
