//! The outermost layer around every call that asks for a decision. Overload is shed here, stalls are ended here, panics
//! stop here. A request that is given up while it still arrives is recorded here, for nothing further in has seen it.
//!
//! Whatever happens inside, a proxy gets a denial that `failure_mode_allow` can't turn into a pass; a program that asks by
//! our own service gets an error of gRPC, which is no permission either. Both are on record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::codec::{BufferSettings, EncodeBody, SingleMessageCompressionOverride};
use tonic::server::NamedService;
use tonic_prost::ProstEncoder;
use tower::{Layer, Service};

use crate::authority::{Authority, Deadline, Denial};
use crate::identity::Peer;
use crate::permission::Reason;

use super::STALL_MARGIN;
use super::answer::Answer;
use super::authorization;
use super::connection::Proxy;
use super::response::refusal;

/// Puts [`Rescue`] around a gRPC server.
#[derive(Debug, Clone)]
pub(super) struct RescueLayer {
    pub(super) authority: Arc<Authority>,
    /// Whose calls are rescued; what others serve beside it is passed on.
    pub(super) door: Door,
    /// Requests decided at once, over all connections.
    pub(super) in_flight: Arc<Semaphore>,
    /// From the request's first byte to the answer, at most.
    pub(super) time_limit: Duration,
}

/// A gRPC server whose failures to decide are denials on record.
#[derive(Debug, Clone)]
pub(super) struct Rescue<S> {
    inner: S,
    layer: RescueLayer,
}

impl<S> Layer<S> for RescueLayer {
    type Service = Rescue<S>;

    fn layer(&self, inner: S) -> Rescue<S> {
        Rescue {
            inner,
            layer: self.clone(),
        }
    }
}

impl<S> Service<http::Request<Body>> for Rescue<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        // Unknown services and methods stay UNIMPLEMENTED: nobody waits there for a decision.
        if !self.layer.door.is_at(request.uri().path()) {
            return self.inner.call(request).boxed();
        }
        let proxy = Proxy::of(request.extensions());
        let layer = self.layer.clone();
        // First, so that those who may not ask can't take the places of those who may.
        if let Err(denial) = layer.admit(&proxy.peer()) {
            return async move { Ok(layer.refuse(&proxy, denial, layer.patience()).await) }.boxed();
        }
        let Ok(place) = Arc::clone(&layer.in_flight).try_acquire_owned() else {
            let denial = Denial::bare(Reason::Overloaded);
            return async move { Ok(layer.refuse(&proxy, denial, layer.patience()).await) }.boxed();
        };
        let arrival = Arrival::new(Arc::clone(&layer.authority), proxy.clone());
        request.extensions_mut().insert(arrival.arrived.clone());
        // Called before it is awaited, and both may panic.
        let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        async move {
            let _place = place;
            let decided = async { AssertUnwindSafe(called?).catch_unwind().await };
            let denial = match tokio::time::timeout(layer.patience(), decided).await {
                Ok(Ok(Ok(response))) => match failure(&response) {
                    None => {
                        arrival.answered();
                        return Ok(response);
                    }
                    Some(denial) => denial,
                },
                Ok(Ok(Err(error))) => return Err(error),
                Ok(Err(_panic)) => Denial::because(Reason::InternalError, "the handler panicked"),
                Err(_elapsed) => Denial::because(Reason::DeadlineExceeded, "the request stalled"),
            };
            arrival.answered();
            // The time of the request may be up, and its asker gone.
            Ok(layer.refuse(&proxy, denial, STALL_MARGIN).await)
        }
        .boxed()
    }
}

impl<S: NamedService> NamedService for Rescue<S> {
    const NAME: &'static str = S::NAME;
}

/// What the handler learns of a request's way in.
#[derive(Debug, Clone)]
pub(super) struct Arrived {
    /// When its first byte came.
    at: Instant,
    /// Whether the handler has it: from then on it leaves its own record.
    handled: Arc<AtomicBool>,
}

impl Arrived {
    /// Takes the request over; the time it has to be decided by counts from the moment that comes back.
    ///
    /// On a busy machine a request may wait for long between its first byte and its handler: were that not counted, it
    /// would be given up out here while it is still decided in there.
    pub(super) fn handle(&self) -> Instant {
        self.handled.store(true, Ordering::Relaxed);
        self.at
    }
}

/// A request on its way in. Dropped before the handler has it or it is answered, it records that the proxy went away.
#[derive(Debug)]
struct Arrival {
    authority: Arc<Authority>,
    proxy: Proxy,
    arrived: Arrived,
    answered: bool,
}

impl Arrival {
    fn new(authority: Arc<Authority>, proxy: Proxy) -> Self {
        Self {
            authority,
            proxy,
            arrived: Arrived {
                at: Instant::now(),
                handled: Arc::default(),
            },
            answered: false,
        }
    }

    fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if !self.answered && !self.arrived.handled.load(Ordering::Relaxed) {
            self.authority.abandoned(&self.proxy.peer());
        }
    }
}

impl RescueLayer {
    fn admit(&self, peer: &Peer) -> Result<(), Denial> {
        match self.door {
            Door::Proxy => self.authority.admit(peer),
            Door::Program => self.authority.admit_inquiry(peer),
        }
    }

    /// From the request's first byte to the answer, by the rules in force.
    fn patience(&self) -> Duration {
        match self.door {
            Door::Proxy => self.time_limit,
            Door::Program => self
                .time_limit
                .min(self.authority.rules().inquiry_time + STALL_MARGIN),
        }
    }

    /// Refuses; its record, where it is waited for, has `patience` to become durable.
    async fn refuse(
        &self,
        proxy: &Proxy,
        denial: Denial,
        patience: Duration,
    ) -> http::Response<Body> {
        let peer = proxy.peer();
        let deadline = Deadline::after(patience);
        match self.door {
            Door::Proxy => respond(refusal(&self.authority, &peer, denial, deadline).await),
            Door::Program => authorization::refusal(&self.authority, &peer, denial, deadline)
                .await
                .into_http(),
        }
    }
}

/// Who waits for the decision, and so in which words it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// A proxy, by `ext_authz`.
    Proxy,
    /// Any program, by our own service.
    Program,
}

impl Door {
    fn is_at(self, path: &str) -> bool {
        match self {
            Self::Proxy => path == CHECK,
            Self::Program => authorization::METHODS.contains(&path),
        }
    }
}

/// The denial that stands for a response which failed as a call.
fn failure(response: &http::Response<Body>) -> Option<Denial> {
    let status = tonic::Status::from_header_map(response.headers())?;
    (status.code() != tonic::Code::Ok).then(|| denial_of(status.code(), status.message()))
}

/// The denial for a failure that the gRPC stack itself reports.
fn denial_of(code: tonic::Code, message: &str) -> Denial {
    let reason = match code {
        tonic::Code::OutOfRange | tonic::Code::ResourceExhausted => Reason::RequestTooLarge,
        // Unknown is a request cut off in the middle: the proxy went away.
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled | tonic::Code::Unknown => {
            Reason::DeadlineExceeded
        }
        // From decoding, or a handler of ours that was asked nothing.
        tonic::Code::Internal | tonic::Code::InvalidArgument | tonic::Code::Unimplemented => {
            Reason::BadRequest
        }
        _ => Reason::InternalError,
    };
    Denial::because(reason, message)
}

/// A successful gRPC response that holds `answer`.
fn respond(answer: Answer) -> http::Response<Body> {
    let body = EncodeBody::new_server(
        ProstEncoder::new(BufferSettings::default()),
        futures::stream::once(std::future::ready(Ok(answer))),
        None,
        SingleMessageCompressionOverride::default(),
        None,
    );
    let mut response = http::Response::new(Body::new(body));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        tonic::metadata::GRPC_CONTENT_TYPE,
    );
    response
}

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

#[cfg(test)]
mod tests;
