//! The answer to a Check. It always carries a status: Envoy forwards a request whose answer has none.
//!
//! [`Answer`] stands in for the generated `CheckResponse`. Its only constructors take a decision, it has no `Default`,
//! and neither `error_response` nor a failed call is ever used to say no, because both obey `failure_mode_allow`.

use bytes::{Buf, BufMut};
use prost::DecodeError;
use prost::Message;
use prost::encoding::{DecodeContext, WireType};

use super::proto::envoy::service::auth::v3::{DeniedHttpResponse, OkHttpResponse};
use super::proto::google::rpc::Status;

/// One `envoy.service.auth.v3.CheckResponse`, allowing or denying.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    wire: Wire,
}

/// The wire form, field numbers as in `proto/envoy/service/auth/v3/external_auth.proto`.
#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(message, required, tag = "1")]
    status: Status,
    #[prost(oneof = "HttpResponse", tags = "2, 3")]
    http_response: Option<HttpResponse>,
    #[prost(message, optional, tag = "4")]
    dynamic_metadata: Option<prost_types::Struct>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum HttpResponse {
    #[prost(message, tag = "2")]
    Denied(DeniedHttpResponse),
    #[prost(message, tag = "3")]
    Ok(OkHttpResponse),
}

impl Answer {
    /// Forward the request, changed as `response` says.
    pub(super) fn allow(response: OkHttpResponse, metadata: prost_types::Struct) -> Self {
        Self {
            wire: Wire {
                status: Status::default(),
                http_response: Some(HttpResponse::Ok(response)),
                dynamic_metadata: Some(metadata),
            },
        }
    }

    /// Refuse the request with `response`; `code` is a gRPC code, and OK (0) is turned into UNKNOWN (2).
    pub(super) fn deny(
        code: tonic::Code,
        response: DeniedHttpResponse,
        metadata: prost_types::Struct,
    ) -> Self {
        let code = match code {
            tonic::Code::Ok => tonic::Code::Unknown,
            other => other,
        };
        Self {
            wire: Wire {
                status: Status {
                    code: code.into(),
                    ..Status::default()
                },
                http_response: Some(HttpResponse::Denied(response)),
                dynamic_metadata: Some(metadata),
            },
        }
    }
}

impl Message for Answer {
    fn encode_raw(&self, buffer: &mut impl BufMut) {
        self.wire.encode_raw(buffer);
    }

    fn encoded_len(&self) -> usize {
        self.wire.encoded_len()
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buffer: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        self.wire.merge_field(tag, wire_type, buffer, context)
    }

    /// Does nothing: an answer can't be emptied.
    fn clear(&mut self) {}
}
