//! The guarded application: any HTTP request is answered with what it would serve; gRPC's health service is there too.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::{self, Next};
use axum::response::Response;
use tokio::net::TcpListener;
use tonic::service::Routes;

/// The application; it ends with the test's runtime.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(super) address: SocketAddr,
    seen: Log,
}

type Log = Arc<Mutex<Vec<Seen>>>;

/// A request that got through to the application.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// What was asked for, as it arrived.
    pub(crate) target: String,
    /// What the application serves for it, after decoding and resolving as careless applications do.
    pub(crate) served: String,
    pub(crate) headers: HeaderMap,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Log::default();
        let (_reporter, health) = tonic_health::server::health_reporter();
        let application = Routes::new(health)
            .into_axum_router()
            .fallback(async |request: Request| carelessly_resolved(request.uri().path()))
            .layer(middleware::from_fn_with_state(Arc::clone(&seen), record));
        tokio::spawn(async move { axum::serve(listener, application).await });
        Self { address, seen }
    }

    /// Every request that got through so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The only request that got through.
    pub(crate) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

async fn record(State(seen): State<Log>, request: Request, next: Next) -> Response {
    seen.lock().unwrap().push(Seen::of(&request));
    next.run(request).await
}

impl Seen {
    fn of(request: &Request) -> Self {
        let target = request.uri().to_string();
        Self {
            served: carelessly_resolved(request.uri().path()),
            target,
            headers: request.headers().clone(),
        }
    }

    /// All values of a header.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        self.headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect()
    }
}

/// A path as some server or other reads it: percent-decoded, parameters cut off, backslashes taken as slashes, empty
/// and dot segments resolved.
fn carelessly_resolved(path: &str) -> String {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let slashes = decoded.replace('\\', "/");
    let mut segments = Vec::new();
    for segment in slashes.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    format!("/{}", segments.join("/"))
}
