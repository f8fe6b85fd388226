//! One Check without a proxy: the same reading, the same decision, for the `eval` command and for tests.

use std::time::Duration;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

use crate::authority::{Authority, Deadline, Decision, Findings};
use crate::identity::Peer;

use super::proto::DESCRIPTORS;
use super::proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use super::proto::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer as Party, Request,
};
use super::proto::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use super::request;

/// A CheckRequest to be decided here and now.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    request: CheckRequest,
}

/// A request described by hand.
#[derive(Debug, Clone, Default)]
pub struct RequestFlags {
    /// The caller's SPIFFE ID.
    pub caller: Option<String>,
    /// The service's SPIFFE ID.
    pub destination: Option<String>,
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Headers as name and value.
    pub headers: Vec<(String, String)>,
    /// Context extensions as name and value.
    pub extensions: Vec<(String, String)>,
    /// The body.
    pub body: Option<String>,
}

/// Why a text is not a CheckRequest.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// Not the JSON form of the message.
    #[error(
        "not a CheckRequest in protobuf JSON; write it as {{\"attributes\": {{\"request\": {{\"http\": …}}}}}}"
    )]
    Json(#[source] serde_json::Error),
    /// The descriptors built into attache don't describe the message.
    #[error("read the built-in message descriptors")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    /// The message can't be carried over into its own type.
    #[error("read the CheckRequest")]
    Message(#[source] prost::DecodeError),
}

impl Rehearsal {
    /// Reads a CheckRequest in the JSON form of protobuf; members attache does not read are ignored.
    pub fn from_json(text: &str) -> Result<Self, RehearsalError> {
        let pool = DescriptorPool::decode(DESCRIPTORS).map_err(RehearsalError::Descriptors)?;
        let descriptor = pool
            .get_message_by_name("envoy.service.auth.v3.CheckRequest")
            .ok_or_else(|| {
                RehearsalError::Message(prost::DecodeError::new_unexpected_type_url(
                    "envoy.service.auth.v3.CheckRequest",
                    "nothing",
                ))
            })?;
        let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(false);
        let mut json = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize_with_options(descriptor, &mut json, &options)
            .map_err(RehearsalError::Json)?;
        json.end().map_err(RehearsalError::Json)?;
        let request = message.transcode_to().map_err(RehearsalError::Message)?;
        Ok(Self { request })
    }

    /// Reads a CheckRequest in its wire form.
    pub fn from_wire(bytes: &[u8]) -> Result<Self, RehearsalError> {
        let request = CheckRequest::decode(bytes).map_err(RehearsalError::Message)?;
        Ok(Self { request })
    }

    /// Decides by `authority` as if `peer` had asked over a socket.
    pub async fn decide(
        &self,
        authority: &Authority,
        peer: Peer,
        time_limit: Duration,
    ) -> (Decision, Findings) {
        let deadline = Deadline::after(time_limit);
        match request::question(&self.request, peer.clone()) {
            Ok(question) => authority.explain(&question, deadline).await,
            Err(denial) => {
                let refused = authority.refuse(&peer, denial, deadline).await;
                (refused, Findings::default())
            }
        }
    }
}

impl From<RequestFlags> for Rehearsal {
    fn from(flags: RequestFlags) -> Self {
        let headers = flags
            .headers
            .into_iter()
            .map(|(key, value)| HeaderValue {
                key,
                raw_value: value.into(),
                ..HeaderValue::default()
            })
            .collect();
        let party = |principal: Option<String>| {
            principal.map(|principal| Party {
                principal,
                ..Party::default()
            })
        };
        let body = flags.body.unwrap_or_default();
        let http = HttpRequest {
            method: flags.method,
            host: flags.host,
            path: flags.path,
            header_map: Some(HeaderMap { headers }),
            size: i64::try_from(body.len()).unwrap_or(i64::MAX),
            body,
            ..HttpRequest::default()
        };
        let attributes = AttributeContext {
            source: party(flags.caller),
            destination: party(flags.destination),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            context_extensions: flags.extensions.into_iter().collect(),
            ..AttributeContext::default()
        };
        Self {
            request: CheckRequest {
                attributes: Some(attributes),
            },
        }
    }
}
