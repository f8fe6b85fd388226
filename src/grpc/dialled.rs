//! What our clients share: how they connect, whose credential they show, and why there was no answer.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::service_fn;

use crate::state::Handle;

use super::refusal;

/// Why there was no answer, or no.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not the address of a Unix socket.
    #[error("`{0}` is no address of a Unix socket; write unix:/PATH, one of listen.ext_authz")]
    Address(String),
    /// Nobody answers there.
    #[error(
        "cannot reach {address}; check that `attache serve` runs and that this user may open the socket"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the transport said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The stable reason, as `SCOPE_EMPTY`; empty where the server is no attache that says one.
        reason: String,
        /// In words for people.
        message: String,
    },
    /// The server's answer is none.
    #[error("the answer of the server is incomplete; client and server differ in version")]
    Incomplete,
}

/// A channel to the Unix socket at `address`, as `unix:/run/attache/ext_authz.sock`.
pub(super) async fn unix(address: &str) -> Result<Channel, ClientError> {
    let absolute = address.starts_with("unix:/");
    let endpoint = socket(address).filter(|_| absolute);
    let endpoint = endpoint.ok_or_else(|| ClientError::Address(address.to_owned()))?;
    let endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
    let unreachable = |source| ClientError::Unreachable {
        address: address.to_owned(),
        source,
    };
    endpoint.connect().await.map_err(unreachable)
}

/// The Unix socket at `address`, `unix:` and its path; `None` for what is none.
pub(super) fn socket(address: &str) -> Option<Endpoint> {
    let path = address.strip_prefix("unix:").unwrap_or_default();
    let endpoint = Endpoint::from_shared(address.to_owned()).ok();
    endpoint.filter(|_| !path.is_empty())
}

/// A request with the caller's credential, which no log shows.
pub(super) fn shown<T>(handle: Option<&Handle>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = handle.map(|it| format!("Bearer {}", it.reveal()));
    if let Some(Ok(mut value)) = value.map(MetadataValue::<Ascii>::try_from) {
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    request
}

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

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let message = match status.code() {
            Code::Unimplemented => "that attache has no such service; its configuration needs \
                                    `state`, and `delegation.issuer` to hand anything on"
                .to_owned(),
            _ => status.message().to_owned(),
        };
        Self::Refused {
            reason: refusal::reason(&status).unwrap_or_default(),
            message,
        }
    }
}

/// How long a connection, and an answer, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
