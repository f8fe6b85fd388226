//! Where a trail is read: files that somebody has at hand, or a running attache.
//!
//! A server is known by the SPIFFE ID that `--server` names and by nothing else, as attache knows every server.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use crate::audit::{JsonlTrail, SqliteTrail, Trail, TrailError};
use crate::clock::{Clock, SystemClock};
use crate::grpc::{AuditClient, AuditClientError};
use crate::identity::SpiffeId;
use crate::tls::{self, Credential, Files, Protocols, State};

/// Where the trail is
#[derive(Debug, Clone, Args)]
pub(super) struct SourceFlags {
    /// Files of the trail: of the `jsonl` sink, rotated ones oldest first, or one of the `sqlite` sink
    #[arg(
        value_name = "FILE",
        required_unless_present = "address",
        conflicts_with = "address"
    )]
    files: Vec<PathBuf>,
    /// A running attache instead: HOST:PORT of its mesh or http listener, or `unix:/PATH` of an ext-authz one
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Over TLS: file of our certificate
    #[arg(long, value_name = "FILE", requires = "address")]
    certificate: Option<PathBuf>,
    /// Over TLS: file of its key
    #[arg(long, value_name = "FILE", requires = "address")]
    key: Option<PathBuf>,
    /// Over TLS: file of the authorities of our trust domain
    #[arg(long, value_name = "FILE", requires = "address")]
    bundle: Option<PathBuf>,
    /// Over TLS: SPIFFE ID of the attache that is meant, of our own trust domain
    #[arg(long, value_name = "SPIFFE_ID", requires = "address")]
    server: Option<SpiffeId>,
}

/// A trail to read.
#[derive(Debug)]
pub(super) enum Source {
    Files(Arc<dyn Trail>),
    Database(Arc<dyn Trail>),
    Running(Box<Running>),
}

/// A running attache, and what asks it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) client: AuditClient,
    pub(super) runtime: Runtime,
}

/// Why a trail is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    #[error("cannot read {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("a database is a trail by itself; name it alone")]
    Databases,
    #[error("over TLS, --certificate, --key, --bundle and --server are needed")]
    Flags,
    #[error("the certificate in the given files can't be used: {0}")]
    Certificate(String),
    #[error("cannot start what asks")]
    Runtime(#[source] io::Error),
    #[error("set up TLS")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot read the audit trail")]
    Trail(#[from] TrailError),
    #[error("cannot read the audit trail of {address}")]
    Client {
        address: String,
        #[source]
        source: AuditClientError,
    },
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl SourceFlags {
    pub(super) fn is_running(&self) -> bool {
        self.address.is_some()
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Opens what the flags name.
    pub(super) fn open(&self) -> Result<Source, SourceError> {
        match &self.address {
            None => open_files(&self.files),
            Some(address) => {
                let runtime = Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(SourceError::Runtime)?;
                let client = {
                    // Clients belong to the runtime that they are made in.
                    let _inside = runtime.enter();
                    self.client(address)?
                };
                Ok(Source::Running(Box::new(Running { client, runtime })))
            }
        }
    }

    /// An error of the running attache.
    pub(super) fn failed(&self, source: AuditClientError) -> SourceError {
        let address = self.address.clone().unwrap_or_default();
        SourceError::Client { address, source }
    }

    fn client(&self, address: &str) -> Result<AuditClient, SourceError> {
        if address.starts_with("unix:") {
            return AuditClient::unix(address).map_err(|error| self.failed(error));
        }
        let host = address.rsplit_once(':').map(|(host, _port)| host);
        let no_address = || self.failed(AuditClientError::Address(address.to_owned()));
        let host = host.filter(|it| !it.is_empty()).ok_or_else(no_address)?;
        // Brackets belong to an address with a port.
        let host = host.trim_matches(['[', ']']).to_owned();
        let (credential, server) = self.credential()?;
        let config = credential.connector(vec![server], Protocols::Http2);
        let config = Arc::new(config.map_err(|error| SourceError::Tls(error.into()))?);
        let address = address.to_owned();
        Ok(AuditClient::dialled(move || {
            let (config, host, address) = (Arc::clone(&config), host.clone(), address.clone());
            async move {
                let tcp = TcpStream::connect(&address).await?;
                tls::connect(config, &host, tcp).await
            }
        }))
    }

    fn credential(&self) -> Result<(Credential, SpiffeId), SourceError> {
        let (Some(certificate), Some(key), Some(bundle), Some(server)) =
            (&self.certificate, &self.key, &self.bundle, &self.server)
        else {
            return Err(SourceError::Flags);
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
            .map_err(|_unlike| SourceError::Flags)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let credentials = tls::Config { sources }.build(
            Path::new(""),
            &ours,
            vec![ours.clone()],
            &clock,
            &mut Registry::default(),
        );
        let credential = credentials.get(NAME).ok_or(SourceError::Flags)?;
        if !matches!(credential.state(), State::Valid { .. }) {
            let why = credential.trouble();
            let why = why.unwrap_or_else(|| "it has expired".to_owned());
            return Err(SourceError::Certificate(why));
        }
        Ok((credential.clone(), server.clone()))
    }
}

/// The trail in files, whose kind their first bytes tell.
pub(super) fn open_files(files: &[PathBuf]) -> Result<Source, SourceError> {
    let mut databases = 0;
    for path in files {
        let unreadable = |source| SourceError::Open {
            path: path.clone(),
            source,
        };
        let mut start = Vec::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(SQLITE.len() as u64)
            .read_to_end(&mut start)
            .map_err(unreadable)?;
        if start == SQLITE {
            databases += 1;
        }
    }
    match files {
        [database] if databases == 1 => {
            return Ok(Source::Database(Arc::new(SqliteTrail::open(database)?)));
        }
        _ if databases > 0 => return Err(SourceError::Databases),
        _ => {}
    }
    Ok(Source::Files(Arc::new(JsonlTrail::new(files.to_vec()))))
}

/// The name of our certificate where nobody else has one.
const NAME: &str = "cli";
/// The first bytes of every database of SQLite (file format, section 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";
