//! The plaintext health listener: `/livez`, `/readyz`, `/metrics`, and gRPC health beside them.
//!
//! It serves probes and scrapers only: nothing here tells about callers or decides anything.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::lifecycle::{Notices, Readiness, Shutdown};
use crate::socket::{Admitted, SHORTEST_REQUEST};

use super::connection::{Speaks, answer};

/// What the health listener answers from.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the process is ready.
    pub readiness: Readiness,
    /// Every metric of the process.
    pub registry: Arc<Mutex<Registry>>,
    /// Whether a stop has begun.
    pub shutdown: Shutdown,
    /// What operators should know although the process serves.
    pub notices: Notices,
}

/// Serves `grpc` and the HTTP endpoints on one socket, until everything else has stopped.
///
/// Probes are answered during the whole stop, so that an orchestrator sees "not ready" and not a refused connection.
pub async fn serve_health(
    listener: TcpListener,
    health: Health,
    grpc: Router,
    stopped: impl Future<Output = ()> + Send + 'static,
) {
    let routes = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
        // Its fallback answers every path with 200, which a probe of a misspelt path would take for health.
        .merge(grpc.reset_fallback());
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving health");
    }
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    // Oldest first; some may have ended.
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let accepting = async {
        loop {
            let accepted = listener.accept().await;
            while connections.try_join_next().is_some() {}
            if open.len() >= MOST_CONNECTIONS {
                open.retain(|connection| !connection.is_finished());
            }
            // A probe is answered within milliseconds, so the oldest is the least likely to be one.
            while open.len() >= MOST_CONNECTIONS {
                open.pop_front().iter().for_each(AbortHandle::abort);
            }
            match (accepted, Arc::clone(&places).acquire_owned().await) {
                (Ok((stream, _)), Ok(place)) => {
                    let admitted = Admitted::new(stream, (), place, SHORTEST_REQUEST, PATIENCE);
                    let forever = std::future::pending();
                    let routes = routes.clone();
                    let answering = answer(admitted, Speaks::Either, PATIENCE, routes, forever);
                    open.push_back(connections.spawn(answering));
                }
                // Descriptors may run out and come back; the semaphore is never closed.
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::select! {
        () = accepting => {}
        () = stopped => {}
    }
}

async fn ready(State(health): State<Health>) -> Response {
    if health.shutdown.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    let waiting = health.readiness.waiting_for();
    if waiting.is_empty() {
        let notices = health.notices.all();
        let lines = notices
            .iter()
            .map(|(name, text)| format!("{name}: {text}\n"));
        return std::iter::once("ok\n".to_owned())
            .chain(lines)
            .collect::<String>()
            .into_response();
    }
    let text = format!("waiting for: {}\n", waiting.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    let mut text = String::new();
    let registry = health
        .registry
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_fmt) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Connections for probes and scrapers at once; above, the oldest is given up.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may take for its first words, and for the headers of a request.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
