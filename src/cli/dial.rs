//! Reaching a running attache over TLS: our certificate from files, and the one server that is meant.
//!
//! A server is known by the SPIFFE ID that `--server` names and by nothing else, as attache knows every server. Without a
//! valid certificate nothing is dialled.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;

use crate::clock::{Clock, SystemClock};
use crate::identity::SpiffeId;
use crate::tls::{self, ClientStream, Credential, Files, Protocols, State};

/// Over TLS: what we show, and who is meant
#[derive(Debug, Clone, Default, Args)]
pub(super) struct TlsFlags {
    /// Over TLS: file of our certificate
    #[arg(long, value_name = "FILE", requires = "address")]
    pub(super) certificate: Option<PathBuf>,
    /// Over TLS: file of its key
    #[arg(long, value_name = "FILE", requires = "address")]
    pub(super) key: Option<PathBuf>,
    /// Over TLS: file of the authorities of our trust domain
    #[arg(long, value_name = "FILE", requires = "address")]
    pub(super) bundle: Option<PathBuf>,
    /// Over TLS: SPIFFE ID of the attache that is meant, of our own trust domain
    #[arg(long, value_name = "SPIFFE_ID", requires = "address")]
    pub(super) server: Option<SpiffeId>,
}

/// Why nothing is dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("`{0}` is no address; write HOST:PORT or unix:/PATH")]
    Address(String),
    #[error("over TLS, --certificate, --key, --bundle and --server are needed")]
    Flags,
    #[error("the certificate in the given files can't be used: {0}")]
    Certificate(String),
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl TlsFlags {
    /// Whether a certificate is to be shown.
    pub(super) fn given(&self) -> bool {
        self.certificate.is_some()
    }

    /// What makes connections to `address`, as HOST:PORT.
    pub(super) fn dialler(
        &self,
        address: &str,
    ) -> Result<
        impl Fn() -> BoxFuture<'static, io::Result<ClientStream>> + Clone + Send + Sync + use<>,
        DialError,
    > {
        let host = address.rsplit_once(':').map(|(host, _port)| host);
        let host = host.filter(|it| !it.is_empty());
        let host = host.ok_or_else(|| DialError::Address(address.to_owned()))?;
        // Brackets belong to an address with a port.
        let host = host.trim_matches(['[', ']']).to_owned();
        let (credential, server) = self.credential()?;
        let config = credential.connector(vec![server], Protocols::Http2);
        let config = Arc::new(config.map_err(|error| DialError::Tls(error.into()))?);
        let address = address.to_owned();
        Ok(move || {
            let (config, host, address) = (Arc::clone(&config), host.clone(), address.clone());
            async move {
                let tcp = TcpStream::connect(&address).await?;
                tls::connect(config, &host, tcp).await
            }
            .boxed()
        })
    }

    fn credential(&self) -> Result<(Credential, SpiffeId), DialError> {
        let (Some(certificate), Some(key), Some(bundle), Some(server)) =
            (&self.certificate, &self.key, &self.bundle, &self.server)
        else {
            return Err(DialError::Flags);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
            bundle: bundle.clone(),
        };
        let sources = [(NAME.to_owned(), tls::Source::Files(files))].into();
        let ours = server
            .trust_domain()
            .parse()
            .map_err(|_unlike| DialError::Flags)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let credentials = tls::Config { sources }.build(
            Path::new(""),
            &ours,
            vec![ours.clone()],
            &clock,
            &mut Registry::default(),
        );
        let credential = credentials.get(NAME).ok_or(DialError::Flags)?;
        if !matches!(credential.state(), State::Valid { .. }) {
            let why = credential.trouble();
            let why = why.unwrap_or_else(|| "it has expired".to_owned());
            return Err(DialError::Certificate(why));
        }
        Ok((credential.clone(), server.clone()))
    }
}

/// The name of our certificate where nobody else has one.
const NAME: &str = "cli";
