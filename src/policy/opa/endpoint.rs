//! Where OPA listens, as configuration writes it, and the addresses of the requests to it.
//!
//! Nothing of a request under decision ever becomes part of an address: both are made once, from configuration alone.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer};

/// Where OPA listens: `http://HOST:PORT`, `https://HOST:PORT`, both with a path before `/v1` if need be, or
/// `unix:///PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) transport: Transport,
    /// What stands before `/v1` and `/health`, without a slash at the end.
    base: String,
    text: String,
}

/// How OPA is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp {
        host: String,
    },
    /// `host` is the name or IP address that the certificate must be for.
    Tls {
        host: String,
    },
    Unix(PathBuf),
}

/// A text that is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {fault}: write http://HOST:PORT, https://HOST:PORT or unix:///PATH")]
pub struct EndpointError {
    text: String,
    fault: &'static str,
}

impl Endpoint {
    /// Whether what is said there can be read on the way: HTTP without TLS that leaves this host.
    pub fn is_exposed(&self) -> bool {
        match &self.transport {
            Transport::Unix(_) | Transport::Tls { .. } => false,
            Transport::Tcp { host } => !is_loopback(host),
        }
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls { .. })
    }

    /// The address of a request for `path`, which begins with a slash and may have a query.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        let text = "http://localhost:8181";
        Self {
            transport: Transport::Tcp {
                host: "localhost".to_owned(),
            },
            base: text.to_owned(),
            text: text.to_owned(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |fault| EndpointError {
            text: text.to_owned(),
            fault,
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') || path.ends_with('/') {
                return Err(wrong("names no absolute path of a socket"));
            }
            return Ok(Self {
                transport: Transport::Unix(PathBuf::from(path)),
                base: "http://localhost".to_owned(),
                text: text.to_owned(),
            });
        }
        let uri: Uri = text.parse().map_err(|_malformed| wrong("is no address"))?;
        let authority = uri.authority().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a user name; use policy.opa.token_file"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("has a query or a fragment"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(wrong("names no host"));
        }
        if authority.port_u16().is_none() && authority.as_str().len() > host.len() {
            return Err(wrong("has no port that could be"));
        }
        let prefix = uri.path().trim_end_matches('/');
        if prefix.contains("//") || prefix.split('/').any(|it| it == "." || it == "..") {
            return Err(wrong("has empty or dot segments"));
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        let (scheme, transport) = match uri.scheme_str() {
            Some("http") => ("http", Transport::Tcp { host }),
            Some("https") => ("https", Transport::Tls { host }),
            _ => return Err(wrong("has another scheme")),
        };
        Ok(Self {
            transport,
            base: format!("{scheme}://{authority}{prefix}"),
            text: text.to_owned(),
        })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_loopback(host: &str) -> bool {
    let literal = host.trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || literal.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_is_what_is_written() {
        assert_eq!(Endpoint::default(), endpoint("http://localhost:8181"));
    }

    #[test]
    fn a_path_of_the_endpoint_stands_before_every_target() {
        let address = |text: &str| endpoint(text).address("/health");
        assert_eq!(address("http://opa:8181"), "http://opa:8181/health");
        assert_eq!(address("http://opa:8181/"), "http://opa:8181/health");
        assert_eq!(
            address("https://gateway/opa/one/"),
            "https://gateway/opa/one/health"
        );
        assert_eq!(address("unix:///run/opa.sock"), "http://localhost/health");
    }

    #[test]
    fn plaintext_that_leaves_the_host_is_exposed() {
        for (text, exposed) in [
            ("http://localhost:8181", false),
            ("http://127.0.0.2:8181", false),
            ("http://[::1]:8181", false),
            ("http://opa:8181", true),
            ("http://10.0.0.1", true),
            ("https://opa:8181", false),
            ("unix:///run/opa.sock", false),
        ] {
            assert_eq!(endpoint(text).is_exposed(), exposed, "{text}");
        }
    }

    /// O22, O23.
    #[test]
    fn what_is_no_address_of_an_opa_is_refused_with_what_to_write() {
        for text in [
            "",
            "localhost:8181",
            "/run/opa.sock",
            "unix:opa.sock",
            "unix://opa.sock",
            "unix:///run/",
            "ftp://opa",
            "http://",
            "http:///v1",
            "http://user:secret@opa:8181",
            "http://opa:8181/?pretty",
            "http://opa:8181/#a",
            "http://opa:8181/a/../b",
            "http://opa:8181/a//b",
            "http://opa:99999",
            "http://o pa",
        ] {
            let error = text.parse::<Endpoint>().unwrap_err();
            assert!(error.to_string().contains("http://HOST:PORT"), "{text}");
        }
    }
}
