//! `attache.v1.AuthorizationService` as a client written by somebody else sees it: messages by hand, from the proto.

use prost::Message;
use prost_types::Struct;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

pub(crate) const CHECK: &str = "/attache.v1.AuthorizationService/Check";
pub(crate) const BATCH_CHECK: &str = "/attache.v1.AuthorizationService/BatchCheck";
pub(crate) const HEALTH_CHECK: &str = "/attache.v1.AuthorizationService/HealthCheck";

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckRequest {
    #[prost(string, tag = "1")]
    pub(crate) caller: String,
    #[prost(string, tag = "2")]
    pub(crate) resource: String,
    #[prost(string, tag = "3")]
    pub(crate) action: String,
    #[prost(message, optional, tag = "4")]
    pub(crate) context: Option<Struct>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Decision {
    #[prost(bool, tag = "1")]
    pub(crate) allowed: bool,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
    #[prost(string, tag = "3")]
    pub(crate) policy_id: String,
    #[prost(string, tag = "4")]
    pub(crate) audit_id: String,
    #[prost(int32, tag = "5")]
    pub(crate) tier: i32,
    #[prost(string, tag = "6")]
    pub(crate) reason_code: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub(crate) checks: Vec<CheckRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchDecisions {
    #[prost(message, repeated, tag = "1")]
    pub(crate) decisions: Vec<Decision>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Health {
    #[prost(bool, tag = "1")]
    pub(crate) healthy: bool,
    #[prost(message, repeated, tag = "2")]
    pub(crate) parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Part {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(bool, tag = "2")]
    pub(crate) healthy: bool,
    #[prost(string, tag = "3")]
    pub(crate) detail: String,
}

/// A question without context.
pub(crate) fn about(caller: &str, resource: &str, action: &str) -> CheckRequest {
    CheckRequest {
        caller: caller.to_owned(),
        resource: resource.to_owned(),
        action: action.to_owned(),
        context: None,
    }
}

/// Calls a method of the service.
pub(crate) async fn call<M, N>(
    channel: &Channel,
    path: &'static str,
    message: M,
) -> Result<N, Status>
where
    M: Message + 'static,
    N: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let codec = ProstCodec::<M, N>::default();
    let answer = grpc.unary(Request::new(message), path, codec).await?;
    Ok(answer.into_inner())
}

impl Decision {
    /// `allow`, or the reason of the denial.
    pub(crate) fn word(&self) -> &str {
        assert_eq!(self.allowed, self.reason_code.is_empty(), "{self:?}");
        if self.allowed {
            "allow"
        } else {
            &self.reason_code
        }
    }
}
