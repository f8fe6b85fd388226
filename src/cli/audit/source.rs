//! Where a trail is read: files that somebody has at hand, or a running attache.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use super::super::dial::{DialError, TlsFlags};
use crate::audit::{JsonlTrail, SqliteTrail, Trail, TrailError};
use crate::grpc::{AuditClient, AuditClientError};

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
    #[command(flatten)]
    tls: TlsFlags,
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
    #[error("cannot start what asks")]
    Runtime(#[source] io::Error),
    #[error(transparent)]
    Dial(#[from] DialError),
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
        Ok(AuditClient::dialled(self.tls.dialler(address)?))
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

/// The first bytes of every database of SQLite (file format, section 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";
