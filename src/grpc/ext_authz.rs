//! The door Envoy knocks at: `envoy.service.auth.v3.Authorization/Check`.
//!
//! Every call gets an [`Answer`]; a gRPC error is never used to refuse, because a proxy set to fail open would let the
//! request pass. What goes wrong before or around this handler is caught by [`Rescue`](super::rescue::Rescue).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::authority::{Authority, Deadline, Question};

use super::answer::Answer;
use super::connection::Proxy;
use super::proto::envoy::service::auth::v3::CheckRequest;
use super::proto::envoy::service::auth::v3::authorization_server::Authorization;
use super::request;
use super::rescue::Arrived;
use super::response::{Asked, answer, refusal};

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
        let budget = budget(call.metadata(), self.time_limit);
        let deadline = Deadline {
            at: arrived + budget,
            cut_short: budget < self.time_limit,
        };
        let peer = Proxy::of(call.extensions()).peer();
        let decided = match request::question(call.get_ref(), peer.clone()) {
            Ok(question) => {
                let decision = self.authority.check(&question, deadline).await;
                answer(&decision, &asked(&question))
            }
            Err(denial) => refusal(&self.authority, peer, denial),
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
        .filter(|name| name.starts_with("x-attache-"))
        .collect();
    Asked {
        reserved,
        grpc: http.is_grpc(),
    }
}

/// How long a decision may take: less than the proxy waits, and never more than our own limit.
///
/// A `grpc-timeout` that can't be read leaves our limit in force; it never means "no limit".
fn budget(metadata: &MetadataMap, limit: Duration) -> Duration {
    metadata
        .get("grpc-timeout")
        .and_then(|value| value.to_str().ok())
        .and_then(grpc_timeout)
        .map_or(limit, |theirs| {
            theirs.saturating_sub(RETURN_TRIP).min(limit)
        })
}

/// The `grpc-timeout` header: at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (unit_at, unit) = text.char_indices().next_back()?;
    let digits = text.get(..unit_at)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        'H' => Some(Duration::from_secs(number * 3600)),
        'M' => Some(Duration::from_secs(number * 60)),
        'S' => Some(Duration::from_secs(number)),
        'm' => Some(Duration::from_millis(number)),
        'u' => Some(Duration::from_micros(number)),
        'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Kept back from the proxy's timeout, so that the answer arrives before it gives up.
const RETURN_TRIP: Duration = Duration::from_millis(25);

#[cfg(test)]
mod tests {
    use super::*;

    fn budget_of(header: Option<&'static str>) -> Duration {
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("grpc-timeout", header.parse().unwrap());
        }
        budget(&metadata, Duration::from_millis(150))
    }

    #[test]
    fn the_budget_is_the_smaller_of_both_limits() {
        // E51, E52
        for (header, millis) in [
            (None, 150),
            (Some("200m"), 150),
            (Some("100m"), 75),
            (Some("20m"), 0),
            (Some("1n"), 0),
            (Some("99999999H"), 150),
        ] {
            assert_eq!(
                budget_of(header),
                Duration::from_millis(millis),
                "{header:?}"
            );
        }
    }

    #[test]
    fn an_unreadable_timeout_leaves_our_limit_in_force() {
        // E51
        for header in ["", "m", "100", "1.5S", "-1S", "123456789S", "5 S", "5x"] {
            assert_eq!(
                budget_of(Some(header)),
                Duration::from_millis(150),
                "{header}"
            );
        }
    }
}
