//! The gRPC doors: Envoy's `ext_authz` and the standard health service.
//!
//! Turns wire messages into attache's own words and back; decides nothing itself. Every fault on the way becomes an
//! explicit denial ([`rescue`]); connections and messages are bounded by [`Limits`].

mod answer;
mod connection;
mod ext_authz;
mod handshakes;
mod health;
mod limits;
mod listener;
mod proto;
mod rehearsal;
mod request;
mod rescue;
mod response;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_stream::StreamExt as _;
use tonic::transport::Server;

use crate::authority::Authority;
use crate::lifecycle::Shutdown;

pub use health::{HEALTH_SERVICES, HealthClientError, ServingStatus, health_routes, query_health};
pub use limits::Limits;
pub use listener::{Address, BindError, Bound, SocketFile};
pub use rehearsal::{Rehearsal, RehearsalError, RequestFlags};

use ext_authz::ExtAuthz;
use handshakes::HandshakeLimits;
use proto::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use rescue::RescueLayer;

/// The name of Envoy's authorization service, as health checks ask for it.
pub const EXT_AUTHZ: &str = "envoy.service.auth.v3.Authorization";

/// Serves `ext_authz` on sockets; shared by all listeners and workers.
#[derive(Debug, Clone)]
pub struct ExtAuthzServer {
    authority: Arc<Authority>,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    connections: Arc<Semaphore>,
}

impl ExtAuthzServer {
    /// A server that answers by `authority`, within `limits` over all its listeners.
    pub fn new(authority: Arc<Authority>, limits: Limits) -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            connections: Arc::new(Semaphore::new(limits.max_connections)),
            authority,
            limits,
        }
    }

    /// Serves one socket on the current runtime, until a stop begins and what is under way has finished.
    pub async fn serve(self, bound: Bound, shutdown: Shutdown) -> io::Result<()> {
        let Self {
            authority,
            limits,
            in_flight,
            connections,
        } = self;
        let rescue = RescueLayer {
            authority: Arc::clone(&authority),
            in_flight,
            // The decision keeps its own, shorter limit; this one ends requests that never arrive whole.
            time_limit: limits.request_timeout + STALL_MARGIN,
        };
        let errors = {
            let authority = Arc::clone(&authority);
            move || authority.metrics().accept_error()
        };
        let handshakes = HandshakeLimits {
            time: limits.handshake_timeout,
            most: limits.max_handshakes,
        };
        // A client that never takes its answers keeps its streams open for as long as its connection lasts.
        let life = limits.max_connection_age + limits.request_timeout + PARTING;
        let incoming = bound
            .accept(connections, handshakes, shutdown.clone(), errors)?
            .map(move |accepted| accepted.map(|connection| connection.lasting(life)));
        let message = usize::try_from(limits.max_message.as_u64()).unwrap_or(usize::MAX);
        let service = AuthorizationServer::new(ExtAuthz::new(authority, limits.request_timeout))
            .max_decoding_message_size(message);
        Server::builder()
            // A proxy that was given a new certificate shows it on new connections only. No grace: with one, tonic would
            // cut connections off without having asked clients to leave.
            .max_connection_age(limits.max_connection_age)
            .max_concurrent_streams(limits.max_streams.get())
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .http2_max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .layer(rescue)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async move { shutdown.draining().await })
            .await
            .map_err(io::Error::other)
    }
}

/// How much longer than a decision a request may take to arrive.
const STALL_MARGIN: Duration = Duration::from_millis(50);
/// How much longer than its last request a connection may stay once it was asked to leave.
const PARTING: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one request's header list; a CheckRequest carries the client's headers in its message, not here.
const MAX_HEADER_LIST: u32 = 16 * 1024;
const MAX_LOCAL_RESETS: usize = 128;
const MAX_PENDING_RESETS: usize = 20;
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
