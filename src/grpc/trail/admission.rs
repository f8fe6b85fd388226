//! The layer around every call of `AuditService`: who may not read is refused before anything of the call is looked at, in
//! no place of those who may, and on record.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::authority::{Authority, Denial};
use crate::identity::Peer;
use crate::permission::Reason;

use super::super::connection::Proxy;
use super::super::response::details;

/// Puts [`Admission`] around a service.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct AdmissionLayer {
    pub(in crate::grpc) authority: Arc<Authority>,
}

/// A service that hears readers of the audit trail only.
#[derive(Debug, Clone)]
pub(in crate::grpc) struct Admission<S> {
    inner: S,
    authority: Arc<Authority>,
}

impl<S> Layer<S> for AdmissionLayer {
    type Service = Admission<S>;

    fn layer(&self, inner: S) -> Admission<S> {
        Admission {
            inner,
            authority: Arc::clone(&self.authority),
        }
    }
}

impl<S> Service<http::Request<Body>> for Admission<S>
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
        let peer = Proxy::of(request.extensions()).peer();
        match self.authority.admit_reader(&peer) {
            Ok(reader) => {
                request.extensions_mut().insert(reader);
                self.inner.call(request).boxed()
            }
            Err(denial) => {
                let authority = Arc::clone(&self.authority);
                async move { Ok(refusal(&authority, &peer, denial).await.into_http()) }.boxed()
            }
        }
    }
}

impl<S: NamedService> NamedService for Admission<S> {
    const NAME: &'static str = S::NAME;
}

/// Records that `peer` may not read, and says so.
pub(super) async fn refusal(authority: &Authority, peer: &Peer, denial: Denial) -> Status {
    let reason = denial.reason;
    let id = authority.refuse_reader(peer, denial).await.id.to_string();
    let code = Code::PermissionDenied;
    Status::with_details(code, words(reason), details(code, reason, &id).into())
}

/// What the refused client is told.
const fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::TierForbidden => "agents may not read the audit trail",
        Reason::OutOfScope => "only audit.readers may read the audit trail",
        _ => "this connection proves no identity that may read the audit trail",
    }
}
