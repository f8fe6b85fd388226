//! The door Envoy knocks at: `envoy.service.auth.v3.Authorization/Check`.
//!
//! Every call gets an [`Answer`]; a gRPC error is never used to refuse, because a proxy set to fail open would let the
//! request pass. What goes wrong before or around this handler is caught by [`Rescue`](super::rescue::Rescue).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::authority::{Authority, Question};

use super::answer::Answer;
use super::connection::Proxy;
use super::deadline::deadline;
use super::proto::envoy::service::auth::v3::CheckRequest;
use super::proto::envoy::service::auth::v3::authorization_server::Authorization;
use super::request;
use super::rescue::Arrived;
use super::response::{Asked, TOKEN, answer, refusal};

/// Serves Check.
#[derive(Debug, Clone)]
pub(super) struct ExtAuthz {
    authority: Arc<Authority>,
    time_limit: Duration,
}

impl ExtAuthz {
    /// Answers by `authority`, within `time_limit` at most.
    pub(super) fn new(authority: Arc<Authority>, time_limit: Duration) -> Self {
        Self {
            authority,
            time_limit,
        }
    }
}

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(&self, call: Request<CheckRequest>) -> Result<Response<Answer>, Status> {
        let arrived = call
            .extensions()
            .get()
            .map_or_else(Instant::now, Arrived::handle);
        let deadline = deadline(arrived, call.metadata(), self.time_limit);
        let peer = Proxy::of(call.extensions()).peer();
        let decided = match request::question(call.get_ref(), peer.clone()) {
            Ok(question) => {
                let decision = self.authority.check(&question, deadline).await;
                answer(&decision, &asked(&question))
            }
            Err(denial) => refusal(&self.authority, &peer, denial, deadline).await,
        };
        Ok(Response::new(decided))
    }
}

/// What the answer must know of the request.
fn asked<'a>(question: &Question<'a>) -> Asked<'a> {
    let Some(http) = &question.http else {
        return Asked::default();
    };
    let reserved = http
        .headers
        .names()
        .filter(|name| name.starts_with("x-attache-") || *name == TOKEN)
        .collect();
    Asked {
        reserved,
        grpc: http.is_grpc(),
    }
}
