//! Connections of our clients that somebody else makes, with TLS for instance.

use std::io;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A channel over connections that `dial` makes, when one is needed.
pub(super) fn channel<F, S>(dial: impl Fn() -> F + Clone + Send + Sync + 'static) -> Channel
where
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connector = service_fn(move |_| {
        let dialled = dial();
        async move { dialled.await.map(TokioIo::new) }
    });
    // The name is told to the server and means nothing: whoever dials knows whom it reached.
    let endpoint = Endpoint::from_static("http://attache.invalid");
    endpoint.connect_with_connector_lazy(connector)
}
