//! A proxy without Envoy: puts questions to attache itself, over mutual TLS.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::answer::Answer;
use super::message::ask;
use super::workload::Identity;

/// A proxy with one identity.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    port: u16,
    tls: Arc<ClientConfig>,
}

impl Proxy {
    pub(super) fn new(port: u16, identity: &Identity, server: &'static str) -> Self {
        let mut tls = identity.client_config(server);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            port,
            tls: Arc::new(tls),
        }
    }

    /// Opens a connection.
    pub(crate) async fn connect(&self) -> Result<Channel, String> {
        let proxy = self.clone();
        Endpoint::from_static("http://attache.invalid")
            .timeout(Duration::from_secs(10))
            .connect_with_connector(service_fn(move |_| {
                let proxy = proxy.clone();
                async move {
                    let tcp = TcpStream::connect(("127.0.0.1", proxy.port)).await?;
                    let name = ServerName::try_from("attache.invalid").unwrap();
                    let connecting = TlsConnector::from(proxy.tls).connect(name, tcp);
                    connecting.await.map(TokioIo::new)
                }
            }))
            .await
            .map_err(|error| error.to_string())
    }

    /// Asks over a connection of its own: the word of the answer, an error where there is no connection.
    pub(crate) async fn ask(&self) -> Result<String, String> {
        ask_over(self.connect().await?).await
    }
}

/// Asks whether reporting may read a document.
pub(crate) async fn ask_over(channel: Channel) -> Result<String, String> {
    AuthorizationClient::new(channel)
        .check(ask("GET", "/documents/42"))
        .await
        .map(|response| Answer::read(response.into_inner()).word().to_owned())
        .map_err(|status| status.to_string())
}
