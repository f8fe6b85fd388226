//! The door for programs: `attache.v1.AuthorizationService`, the same decisions as for Envoy in words of our own.
//!
//! A question that can be read gets a decision, however wrong it is; an error of gRPC is left for what is no question
//! at all, and for calls that the [`Rescue`] around this handler gives up. Neither permits
//! anything. The peer's rights are looked at again for every decision.

mod client;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};
use tower::Layer as _;

use crate::authority::{Authority, Deadline, Denial, Inquiry, LONGEST_INQUIRY, Outcome};
use crate::identity::Peer;
use crate::permission::Reason;

use super::connection::Proxy;
use super::deadline::deadline;
use super::proto::attache::v1::authorization_service_server::{
    AuthorizationService, AuthorizationServiceServer, SERVICE_NAME,
};
use super::proto::attache::v1::{
    AuthzDecision, BatchCheckRequest, BatchCheckResponse, CheckRequest, HealthCheckRequest,
    HealthCheckResponse,
};
use super::rescue::{Arrived, Door, Rescue, RescueLayer};
use super::response::details;
use super::{Limits, STALL_MARGIN};

pub use client::{AddressError, AuthorizationClient};

/// The service's name.
pub(super) const NAME: &str = SERVICE_NAME;

/// The paths of its methods, as a request's URI has them.
pub(super) const METHODS: [&str; 3] = [
    "/attache.v1.AuthorizationService/Check",
    "/attache.v1.AuthorizationService/BatchCheck",
    "/attache.v1.AuthorizationService/HealthCheck",
];

/// Most questions of one `BatchCheck`.
pub(super) const MAX_BATCH: usize = 100;

/// The service as any server can mount it: it judges its peers, sheds what finds no place among `in_flight`, ends what
/// stalls, and records what fails.
pub(super) fn service(
    authority: Arc<Authority>,
    limits: &Limits,
    in_flight: Arc<Semaphore>,
) -> Rescue<AuthorizationServiceServer<Decisions>> {
    let rescue = RescueLayer {
        authority: Arc::clone(&authority),
        door: Door::Program,
        in_flight,
        time_limit: LONGEST_INQUIRY + STALL_MARGIN,
    };
    let decisions = AuthorizationServiceServer::new(Decisions { authority });
    rescue.layer(decisions.max_decoding_message_size(limits.message_bytes()))
}

/// Records a call that is given up, and says so as an error.
pub(super) async fn refusal(
    authority: &Authority,
    peer: &Peer,
    denial: Denial,
    deadline: Deadline,
) -> Status {
    let told = denial.reason;
    let decision = authority.refuse(peer, denial, deadline).await;
    let reason = match &decision.outcome {
        Outcome::Deny(denial) => denial.reason,
        Outcome::Allow(_) => told,
    };
    let code = match reason {
        Reason::UntrustedPeer => Code::PermissionDenied,
        Reason::BadRequest => Code::InvalidArgument,
        Reason::RequestTooLarge => Code::ResourceExhausted,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::Overloaded | Reason::AuditUnavailable => Code::Unavailable,
        // The others are decisions, and what is a decision is no error.
        _ => Code::Internal,
    };
    let id = decision.id.to_string();
    let details = details(code, reason, &id);
    Status::with_details(code, reason.public_detail(), details.into())
}

/// Answers by an authority.
#[derive(Debug, Clone)]
pub(super) struct Decisions {
    authority: Arc<Authority>,
}

impl Decisions {
    fn time_limit(&self) -> Duration {
        self.authority.rules().inquiry_time
    }

    async fn decide(
        &self,
        peer: Peer,
        question: CheckRequest,
        deadline: Deadline,
    ) -> AuthzDecision {
        let CheckRequest {
            caller,
            resource,
            action,
            context,
        } = question;
        let inquiry = Inquiry {
            peer: Some(peer),
            caller: &caller,
            resource: &resource,
            action: &action,
            context: wire::context(context),
        };
        wire::told(&self.authority.inquire(&inquiry, deadline).await)
    }
}

/// Until when the answer to a call is wanted, `limit` after its first byte at most. From here on the call leaves its own record.
fn handle<T>(call: &Request<T>, limit: Duration) -> Deadline {
    let arrived = call
        .extensions()
        .get()
        .map_or_else(Instant::now, Arrived::handle);
    deadline(arrived, call.metadata(), limit)
}

#[tonic::async_trait]
impl AuthorizationService for Decisions {
    async fn check(&self, call: Request<CheckRequest>) -> Result<Response<AuthzDecision>, Status> {
        let deadline = handle(&call, self.time_limit());
        let peer = Proxy::of(call.extensions()).peer();
        let decided = self.decide(peer, call.into_inner(), deadline).await;
        Ok(Response::new(decided))
    }

    async fn batch_check(
        &self,
        call: Request<BatchCheckRequest>,
    ) -> Result<Response<BatchCheckResponse>, Status> {
        let deadline = handle(&call, self.time_limit());
        let asker = Proxy::of(call.extensions());
        let checks = call.into_inner().checks;
        if checks.is_empty() || checks.len() > MAX_BATCH {
            let many = checks.len();
            let message = format!("a batch has 1 to {MAX_BATCH} checks, this one has {many}");
            return Err(Status::invalid_argument(message));
        }
        // One after the other: a batch takes the place of one call, and no more of the engine than one.
        let mut decisions = Vec::with_capacity(checks.len());
        for check in checks {
            decisions.push(self.decide(asker.peer(), check, deadline).await);
        }
        Ok(Response::new(BatchCheckResponse { decisions }))
    }

    async fn health_check(
        &self,
        call: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let deadline = handle(&call, self.time_limit());
        let health = self.authority.health(deadline).await;
        Ok(Response::new(wire::health(health)))
    }
}
