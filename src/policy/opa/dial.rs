//! Fresh connections to OPA: TCP with both address families tried, TLS where the endpoint asks for it, Unix sockets.
//!
//! An `https` endpoint is believed only by the authorities it was given; there is no way from it to plaintext. Names are
//! looked up for every connection, so that a changed answer is found.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tower::{Service, ServiceExt as _};

use super::endpoint::{Endpoint, Transport};
use crate::text::sentence;

/// Opens connections to one endpoint.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    transport: Transport,
    tcp: HttpConnector<Names>,
    tls: Option<Tls>,
}

/// How certificates are judged, and for whom they must be.
#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    server: ServerName<'static>,
}

/// Bytes in both directions.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

/// Looks names up on blocking threads, never on many at once: a resolver that hangs can't be called back.
#[derive(Debug, Clone)]
pub(super) struct Names(Arc<Semaphore>);

impl Dialer {
    /// `tls` judges the server of an `https` endpoint; `None` if the endpoint's host is no name for a certificate.
    pub(super) fn new(endpoint: &Endpoint, tls: Option<Arc<rustls::ClientConfig>>) -> Option<Self> {
        let mut tcp =
            HttpConnector::new_with_resolver(Names(Arc::new(Semaphore::new(LOOKUPS_AT_ONCE))));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_happy_eyeballs_timeout(Some(HEAD_START));
        let tls = match &endpoint.transport {
            Transport::Tcp(_) | Transport::Unix(_) => None,
            Transport::Tls { server, .. } => {
                let mut config = rustls::ClientConfig::clone(&*tls?);
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                Some(Tls {
                    connector: TlsConnector::from(Arc::new(config)),
                    server: ServerName::try_from(server.clone()).ok()?,
                })
            }
        };
        Some(Self {
            transport: endpoint.transport.clone(),
            tcp,
            tls,
        })
    }

    /// A connection, or why there is none. Takes as long as it takes: the caller bounds the wait.
    pub(super) async fn dial(&self) -> Result<Pin<Box<dyn Stream>>, String> {
        match (&self.transport, &self.tls) {
            (Transport::Tcp(address), _) => Ok(Box::pin(self.tcp(address).await?)),
            (Transport::Tls { address, .. }, Some(Tls { connector, server })) => {
                let stream = self.tcp(address).await?;
                let secured = connector.connect(server.clone(), stream).await;
                Ok(Box::pin(secured.map_err(|error| {
                    format!("TLS handshake: {}", sentence(&error))
                })?))
            }
            (Transport::Tls { .. }, None) => Err("no TLS".to_owned()),
            (Transport::Unix(path), _) => {
                let stream = UnixStream::connect(path).await;
                Ok(Box::pin(stream.map_err(|error| {
                    format!("connect: {}", sentence(&error))
                })?))
            }
        }
    }

    async fn tcp(&self, address: &http::Uri) -> Result<tokio::net::TcpStream, String> {
        let connected = self.tcp.clone().oneshot(address.clone()).await;
        connected
            .map(hyper_util::rt::TokioIo::into_inner)
            .map_err(|error| format!("connect: {}", sentence(&error)))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.server).finish()
    }
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let lookups = Arc::clone(&self.0);
        Box::pin(async move {
            let place = lookups.acquire_owned().await.map_err(io::Error::other)?;
            let found = tokio::task::spawn_blocking(move || {
                let _place = place;
                (name.as_str(), 0).to_socket_addrs()
            });
            found.await.map_err(io::Error::other)?
        })
    }
}

/// How long the preferred address family is tried alone; short enough that a decision can still be made by the other.
const HEAD_START: Duration = Duration::from_millis(30);
const LOOKUPS_AT_ONCE: usize = 4;
