//! What every gRPC server of attache has in common: how connections come in, what bounds them, how they end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use crate::authority::Authority;
use crate::lifecycle::Shutdown;
use crate::socket::http2::{
    CONNECTION_WINDOW, KEEPALIVE_INTERVAL, MAX_HEADER_LIST, MAX_LOCAL_RESETS, MAX_PENDING_RESETS,
    STREAM_WINDOW,
};
use crate::socket::{Bound, Terms};

use super::connection::Connection;
use super::limits::Limits;

/// Connections of one kind of listener, over all its sockets and threads. Clones share their places.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    authority: Arc<Authority>,
    terms: Terms,
    max_streams: u32,
}

impl Entrance {
    /// An entrance with places of its own. `longest` is how long a request may be under way.
    pub(super) fn new(authority: Arc<Authority>, limits: &Limits, longest: Duration) -> Self {
        Self {
            authority,
            terms: limits.terms(longest),
            max_streams: limits.max_streams.get(),
        }
    }

    /// The connections of a socket, until a stop begins.
    pub(super) fn connections(
        &self,
        bound: Bound,
        shutdown: Shutdown,
    ) -> io::Result<ReceiverStream<io::Result<Connection>>> {
        let authority = Arc::clone(&self.authority);
        let errors = move || authority.metrics().accept_error();
        bound.accept(self.terms.clone(), shutdown, errors)
    }

    /// A server for them, nothing on it yet. It asks clients to leave when they are old: a workload that was given a new
    /// certificate shows it on new connections only.
    pub(super) fn server(&self) -> Server {
        Server::builder()
            // No grace: tonic would cut connections off hard at its end instead of asking clients to leave. Those that do
            // not are cut off by the connection itself.
            .max_connection_age(self.terms.age)
            .max_concurrent_streams(self.max_streams)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .http2_max_header_list_size(MAX_HEADER_LIST)
            .http2_max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
    }
}

const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
