//! A Workload API that does what a test says: one Unix socket, one stream per call, messages written by hand.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use futures::{Stream, StreamExt as _};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

use super::pki::{Authority, Identity};

/// `X509SVIDResponse` of the SPIFFE Workload API.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509SvidResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) svids: Vec<X509Svid>,
    #[prost(map = "string, bytes", tag = "3")]
    pub(crate) federated_bundles: HashMap<String, Vec<u8>>,
}

/// X509SVID of the SPIFFE Workload API.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct X509Svid {
    #[prost(string, tag = "1")]
    pub(crate) spiffe_id: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) certificates: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) bundle: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) hint: String,
}

/// What the server says next, on every stream.
#[derive(Debug, Clone)]
pub(crate) enum Say {
    /// This is the whole truth now.
    Context(X509SvidResponse),
    /// The stream ends like this.
    Fail(Code),
}

/// A running Workload API.
#[derive(Debug)]
pub(crate) struct WorkloadApi {
    say: watch::Sender<Say>,
    calls: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl WorkloadApi {
    pub(crate) fn start(socket: &Path, first: Say) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let (say, listen) = watch::channel(first);
        let calls = Arc::new(AtomicUsize::new(0));
        let api = Api {
            listen,
            calls: Arc::clone(&calls),
        };
        let serving = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(api)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            say,
            calls,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    pub(crate) fn say(&self, say: Say) {
        self.say.send_replace(say);
    }

    /// How many streams were asked for so far.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// A context with one SVID and the bundles of some other trust domains.
pub(crate) fn context(
    id: &str,
    own: &Identity,
    authority: &Authority,
    federated: &[(&str, &Authority)],
) -> X509SvidResponse {
    X509SvidResponse {
        svids: vec![svid(id, own, authority, "")],
        federated_bundles: federated
            .iter()
            .map(|(name, authority)| (format!("spiffe://{name}"), authority.der.to_vec()))
            .collect(),
    }
}

pub(crate) fn svid(id: &str, own: &Identity, authority: &Authority, hint: &str) -> X509Svid {
    X509Svid {
        spiffe_id: id.to_owned(),
        certificates: own.chain.iter().flat_map(|it| it.to_vec()).collect(),
        key: own.key.serialize_der(),
        bundle: authority.der.to_vec(),
        hint: hint.to_owned(),
    }
}

#[derive(Debug, Clone)]
struct Api {
    listen: watch::Receiver<Say>,
    calls: Arc<AtomicUsize>,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

impl NamedService for Api {
    const NAME: &'static str = "SpiffeWorkloadAPI";
}

impl Service<http::Request<Body>> for Api {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let api = self.clone();
        Box::pin(async move {
            assert_eq!(request.uri().path(), "/SpiffeWorkloadAPI/FetchX509SVID");
            // S55
            assert_eq!(request.headers()["workload.spiffe.io"], "true");
            let codec: ProstCodec<X509SvidResponse, Nothing> = ProstCodec::default();
            Ok(Grpc::new(codec).server_streaming(api, request).await)
        })
    }
}

impl ServerStreamingService<Nothing> for Api {
    type Response = X509SvidResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<X509SvidResponse, Status>> + Send>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, _: Request<Nothing>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let said = WatchStream::new(self.listen.clone()).map(|say| match say {
            Say::Context(context) => Ok(context),
            Say::Fail(code) => Err(Status::new(code, "as the test wants it")),
        });
        Box::pin(async move { Ok(Response::new(Box::pin(said) as Self::ResponseStream)) })
    }
}
