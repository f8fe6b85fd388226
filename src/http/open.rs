//! The TLS listener that is open to people: HTTP/1.1 and HTTP/2, a client certificate where the client has one.
//!
//! Whether a request may be answered is for what is behind the routes to judge, from the peer in the request's extensions;
//! without a certificate that is [`Peer::Anonymous`](crate::identity::Peer::Anonymous). A path that no route has is 404.

use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use http_body_util::Limited;
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;
use tower::{ServiceExt as _, service_fn};

use crate::lifecycle::Shutdown;
use crate::socket::{Bound, Connection, Terms};

use super::connection::{Speaks, answer};

/// Serves routes on `http` sockets; shared by all threads.
#[derive(Debug, Clone)]
pub struct OpenServer {
    routes: Router,
    terms: Terms,
    max_body: usize,
    time_limit: Duration,
}

impl OpenServer {
    /// A server on `terms`. The fallback of `routes` is replaced by 404.
    ///
    /// Bodies above `max_body` bytes are errors to whoever reads them; a request that is not answered within `time_limit`,
    /// because it never arrives whole or is never done, ends with 504.
    pub fn new(routes: Router, terms: Terms, max_body: usize, time_limit: Duration) -> Self {
        Self {
            routes: routes.reset_fallback(),
            terms,
            max_body,
            time_limit,
        }
    }

    /// Serves one socket on the current runtime, until a stop begins and what is under way has finished. `errors` is told of
    /// each failure to accept.
    pub async fn serve(
        self,
        bound: Bound,
        shutdown: Shutdown,
        errors: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<()> {
        let mut incoming = bound.accept(self.terms.clone(), shutdown.clone(), errors)?;
        let mut connections = JoinSet::new();
        while let Some(connection) = incoming.next().await {
            connections.spawn(self.clone().answer(connection?, shutdown.clone()));
            while connections.try_join_next().is_some() {}
        }
        while connections.join_next().await.is_some() {}
        Ok(())
    }

    async fn answer(self, connection: Connection, shutdown: Shutdown) {
        let Self {
            routes,
            terms,
            max_body,
            time_limit,
        } = self;
        let proxy = connection.about().clone();
        let speaks = if connection.stream().speaks_http2() {
            Speaks::Http2
        } else {
            Speaks::Http1
        };
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(|body| Body::new(Limited::new(body, max_body)));
            request.extensions_mut().insert(proxy.clone());
            let answered = tokio::time::timeout(time_limit, routes.clone().oneshot(request));
            answered.map(|it| it.unwrap_or_else(|_elapsed| Ok(stalled())))
        });
        let leave = async {
            tokio::select! {
                () = tokio::time::sleep(terms.age) => {}
                () = shutdown.draining() => {}
            }
        };
        answer(connection, speaks, terms.patience, service, leave).await;
    }
}

fn stalled() -> Response {
    StatusCode::GATEWAY_TIMEOUT.into_response()
}
