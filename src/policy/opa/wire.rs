//! The HTTP client of the line to one OPA: reqwest, told to do nothing that nobody asked for.
//!
//! No redirect is followed, no proxy of the environment is used, nothing is decompressed, and an `https` endpoint is
//! believed by what it was given alone. A request that a kept connection ended, before the head of a response came, is put
//! once more, within the same time. Nothing else is ever put twice.
//!
//! Connections live on the runtime that the engine was made on, whichever thread asks: a thread that stops deciding takes
//! none of them along. Nobody waiting for a request any more ends it, and its connection.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::net::ToSocketAddrs as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};
use prometheus_client::metrics::counter::Counter;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, Request, Response, redirect, retry};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tower::util::MapRequestLayer;

use super::config::Opa;
use super::endpoint::Transport;
use crate::policy::PolicyError;
use crate::text::sentence;

/// What requests go out by and whole responses come back by.
#[derive(Debug)]
pub(super) struct Wire {
    plan: Plan,
    home: Home,
    retries: Counter,
    /// Largest body of a response.
    limit: usize,
    current: ArcSwapOption<Aged>,
}

/// What every client of a wire is made by.
#[derive(Clone)]
pub(super) struct Plan {
    transport: Transport,
    tls: rustls::ClientConfig,
    timeout: Duration,
    most_idle: usize,
    names: Names,
}

/// Where connections live.
#[derive(Debug, Clone)]
pub(super) struct Home {
    runtime: Handle,
    tasks: TaskTracker,
    end: CancellationToken,
}

/// A response, complete.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

#[derive(Debug)]
struct Aged {
    client: Client,
    born: Instant,
}

/// Looks names up on blocking threads, never on many at once: a resolver that hangs can't be called back.
#[derive(Debug, Clone)]
struct Names(Arc<Semaphore>);

tokio::task_local! {
    /// Whether a connection had to be made for a request: such a one is not put again.
    static DIALLED: Cell<bool>;
}

impl Home {
    /// On the runtime that this is called on.
    pub(super) fn here() -> Self {
        Self {
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
        }
    }

    /// Ends every request and waits until none is left. Whatever is asked afterwards fails.
    pub(super) async fn close(&self) {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Plan {
    /// `tls` judges the servers of `https` endpoints.
    pub(super) fn new(opa: &Opa, tls: &rustls::ClientConfig) -> Self {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            transport: opa.endpoint.transport.clone(),
            tls,
            timeout: opa.timeout,
            most_idle: opa.max_in_flight,
            names: Names(Arc::new(Semaphore::new(LOOKUPS_AT_ONCE))),
        }
    }

    /// A client without connections.
    pub(super) fn client(&self) -> reqwest::Result<Client> {
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .http1_only()
            .http1_max_headers(MOST_HEADERS)
            .tcp_nodelay(true)
            .connect_timeout(self.timeout)
            .pool_idle_timeout(MOST_IDLE)
            .pool_max_idle_per_host(self.most_idle)
            .dns_resolver(self.names.clone())
            .user_agent(AGENT)
            .connector_layer(MapRequestLayer::new(|target| {
                // Outside a first attempt there is nobody to tell.
                let _untold = DIALLED.try_with(|dialled| dialled.set(true));
                target
            }))
            .tls_backend_preconfigured(self.tls.clone());
        match &self.transport {
            Transport::Unix(path) => builder.unix_socket(path.as_path()),
            Transport::Tcp { .. } | Transport::Tls { .. } => builder,
        }
        .build()
    }
}

impl Wire {
    /// A wire whose first client is `client`, made by `plan`.
    pub(super) fn new(
        plan: Plan,
        client: Client,
        limit: usize,
        home: Home,
        retries: Counter,
    ) -> Self {
        let aged = Aged {
            client,
            born: Instant::now(),
        };
        Self {
            plan,
            home,
            retries,
            limit,
            current: ArcSwapOption::from_pointee(aged),
        }
    }

    /// Sends a request and waits for the whole response, as long as that takes: the caller bounds the wait.
    pub(super) async fn exchange(&self, request: Request) -> Result<Reply, PolicyError> {
        let (end, limit) = (self.home.end.clone(), self.limit);
        let (client, retries) = (self.client()?, self.retries.clone());
        let asking = async move {
            let asked = end.run_until_cancelled(put(client, request, limit, &retries));
            asked.await.unwrap_or_else(|| Err(stopping()))
        };
        let asking = self.home.tasks.spawn_on(asking, &self.home.runtime);
        AbortOnDropHandle::new(asking)
            .await
            .map_err(|lost| PolicyError::Unavailable(sentence(&lost)))?
    }

    /// Lets go of the connections that nobody uses.
    pub(super) fn close(&self) {
        self.current.store(None);
    }

    /// The client in use, or another one where that is old: its connections go with it, so that a name that leads
    /// elsewhere by now is looked up again.
    fn client(&self) -> Result<Client, PolicyError> {
        if self.home.end.is_cancelled() {
            return Err(stopping());
        }
        let current = self.current.load();
        let aged = current.as_ref().ok_or_else(stopping)?;
        if aged.born.elapsed() < OLDEST {
            return Ok(aged.client.clone());
        }
        let client = self.plan.client().map_err(|error| failure(&error))?;
        let fresh = Aged {
            client: client.clone(),
            born: Instant::now(),
        };
        self.current.store(Some(Arc::new(fresh)));
        Ok(client)
    }
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plan").field(&self.transport).finish()
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let lookups = Arc::clone(&self.0);
        Box::pin(async move {
            let place = lookups.acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                let _place = place;
                (name.as_str(), 0).to_socket_addrs()
            });
            let addresses: Addrs = Box::new(found.await??);
            Ok(addresses)
        })
    }
}

async fn put(
    client: Client,
    request: Request,
    limit: usize,
    retries: &Counter,
) -> Result<Reply, PolicyError> {
    let again = request.try_clone();
    let first = async { (client.execute(request).await, DIALLED.with(Cell::get)) };
    let (first, dialled) = DIALLED.scope(Cell::new(false), first).await;
    let sent = match (first, again) {
        (Err(error), Some(again)) if !dialled && is_unanswered(&error) => {
            retries.inc();
            client.execute(again).await
        }
        (sent, _) => sent,
    };
    let response = sent.map_err(|error| failure(&error.without_url()))?;
    if is_compressed(response.headers()) {
        return Err(PolicyError::Malformed("compressed, unasked".to_owned()));
    }
    Ok(Reply {
        status: response.status(),
        body: complete(response, limit)
            .await
            .map_err(PolicyError::Malformed)?,
    })
}

/// The whole of a body that is not larger than `limit`.
async fn complete(mut response: Response, limit: usize) -> Result<Vec<u8>, String> {
    let too_large = || format!("more than {limit} bytes");
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() > limit => return Err(too_large()),
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Ok(bytes),
            Err(error) => return Err(format!("cut off: {}", sentence(&error.without_url()))),
        }
    }
}

fn is_compressed(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| coding != "identity")
}

/// Why there is no response: nobody was reached or nobody answered, or what came is none.
fn failure(error: &reqwest::Error) -> PolicyError {
    let text = sentence(error);
    if is_unanswered(error) {
        PolicyError::Unavailable(format!("no answer came: {text}"))
    } else if error.is_connect() {
        PolicyError::Unavailable(text)
    } else {
        PolicyError::Malformed(text)
    }
}

/// Whether a connection was there, and was closed before the head of a response had come.
fn is_unanswered(error: &reqwest::Error) -> bool {
    if error.is_connect() {
        return false;
    }
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.any(|cause| {
        let of_http = cause.downcast_ref().is_some_and(|error: &hyper::Error| {
            error.is_incomplete_message() || error.is_closed() || error.is_canceled()
        });
        let of_socket = cause.downcast_ref().is_some_and(|error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::UnexpectedEof
            )
        });
        of_http || of_socket
    })
}

fn stopping() -> PolicyError {
    PolicyError::Unavailable("this process is stopping".to_owned())
}

const AGENT: &str = concat!("attache/", env!("CARGO_PKG_VERSION"));
/// Unused for so long, a connection is closed: sooner than most servers and balancers would.
const MOST_IDLE: Duration = Duration::from_secs(30);
/// After so long, no further question goes over the connections that there are.
const OLDEST: Duration = Duration::from_secs(60);
const MOST_HEADERS: usize = 64;
const LOOKUPS_AT_ONCE: usize = 4;
