//! One HTTP client: its requests are answered until it leaves, breaks a bound, or is asked to go.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service;

use crate::socket::http2::{
    CONNECTION_WINDOW, KEEPALIVE_INTERVAL, MAX_HEADER_LIST, MAX_LOCAL_RESETS, MAX_PENDING_RESETS,
    STREAM_WINDOW,
};

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    /// To be seen from its first bytes.
    Either,
    /// Agreed on: HTTP/1.1.
    Http1,
    /// Agreed on: HTTP/2.
    Http2,
}

/// Answers one client by `service`. It is asked to leave as soon as `leave` is ready; what is under way finishes.
///
/// Neither a request that never ends nor a peer that is gone holds its place for long: `patience` is how long request
/// headers may take, and the answer to a ping.
pub(super) async fn answer<I, S>(
    connection: I,
    speaks: Speaks,
    patience: Duration,
    service: S,
    leave: impl Future<Output = ()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(MAX_HEAD);
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(patience)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let server = match speaks {
        Speaks::Either => server,
        Speaks::Http1 => server.http1_only(),
        Speaks::Http2 => server.http2_only(),
    };
    let service = TowerToHyperService::new(service);
    let mut answering = pin!(server.serve_connection(TokioIo::new(connection), service));
    tokio::select! {
        // However it ended, the client is gone.
        _ended = &mut answering => return,
        () = leave => answering.as_mut().graceful_shutdown(),
    }
    let _ended = answering.await;
}

/// Bytes of the request line and headers of HTTP/1.1.
const MAX_HEAD: usize = 16 * 1024;
/// Streams that one client may have open; further ones are refused.
const MAX_STREAMS: u32 = 256;
