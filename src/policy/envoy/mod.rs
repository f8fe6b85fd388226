//! What policies written for opa-envoy-plugin read and answer, beside attache's own words.
//!
//! [`EnvoyInput`] holds the members of that plugin's input document, made from the same request as attache's own; what
//! attache refuses or puts into one spelling (paths above all) never stands here in another. [`Shaping`] is what such a
//! policy may ask of the answer beyond yes and no.
//!
//! Nothing here decides. A result that asks for what no policy may is an error, and so a denial.

mod shaping;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

pub(super) use shaping::Draft;
pub use shaping::Shaping;

/// Which words policy is spoken to in, and may answer in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputForm {
    /// attache's own.
    #[default]
    Attache,
    /// attache's own, and those of opa-envoy-plugin.
    Envoy,
}

/// The members that opa-envoy-plugin gives a policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnvoyInput {
    /// The proxy's CheckRequest in the JSON form of protobuf, as `request.http.method`, with these differences: the path
    /// is the canonical one with the query as it came, `headers` has no `x-attache-*`, and raw headers are joined.
    pub attributes: Map<String, Json>,
    /// The decoded segments of the canonical path; one empty text for `/`, and one more for a slash at the end.
    pub parsed_path: Vec<String>,
    /// The decoded parameters of the query, repeated ones in order.
    pub parsed_query: BTreeMap<String, Vec<String>>,
    /// The body, where it is JSON or a form; else null.
    pub parsed_body: Json,
    /// Whether the proxy sent less of the body than there is. Then `parsed_body` is null.
    pub truncated_body: bool,
    /// Whether nothing in here differs between two requests that are alike: the configuration declares as context what
    /// policy reads, and the time, the ids, the source port and what traces a request are left out.
    pub lasting: bool,
}

impl EnvoyInput {
    /// Which messages these words come from, as the plugin's `version`.
    pub(super) const VERSION: [(&str, &str); 2] = [("encoding", "protojson"), ("ext_authz", "v3")];

    /// For a request that nobody made.
    pub(super) fn made_up(method: &str, host: &str, path: &str) -> Self {
        let attributes = serde_json::json!({
            "source": {
                "address": {"socketAddress": {"address": "192.0.2.1", "portValue": 40000}},
                "principal": "spiffe://trial.invalid/caller",
            },
            "destination": {
                "address": {"socketAddress": {"address": "192.0.2.2", "portValue": 443}},
                "principal": "spiffe://trial.invalid/target",
            },
            "request": {
                "time": "2026-01-01T00:00:00Z",
                "http": {
                    "method": method,
                    "host": host,
                    "path": path,
                    "scheme": "https",
                    "protocol": "HTTP/1.1",
                    "headers": {":method": method, ":authority": host, ":path": path, "x-trial": "trial"},
                },
            },
        });
        let segments = path.trim_start_matches('/').split('/');
        Self {
            attributes: match attributes {
                Json::Object(members) => members,
                _ => Map::new(),
            },
            parsed_path: segments.map(str::to_owned).collect(),
            parsed_query: BTreeMap::new(),
            parsed_body: Json::Null,
            truncated_body: false,
            lasting: false,
        }
    }
}

#[cfg(test)]
mod tests;
