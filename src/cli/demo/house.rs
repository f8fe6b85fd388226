//! Where the walk takes place: a server in this process, with a folder of its own that is gone when it ends.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::task::{JoinError, JoinHandle};

use super::credentials::Authority;
use crate::app::{App, RunError};
use crate::authority::{MandateRefusal, Mandates};
use crate::cli::dial::{DialError, TlsFlags};
use crate::cli::private_file;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::grpc::{AuditClient, AuditClientError, ClientError, DelegationClient, SessionClient};
use crate::identity::SpiffeId;
use crate::lifecycle::Shutdown;
use crate::socket::Address;

/// A server with its folder.
pub(super) struct House {
    folder: Folder,
    mandates: Arc<Mandates>,
    mesh: String,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), RunError>>,
}

/// Why the walk could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum HouseError {
    #[error("cannot start a runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot use {}; TMPDIR names another place for it", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot make certificates")]
    Certificates(#[from] rcgen::Error),
    #[error("cannot start the server")]
    Server(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A call of the walk was refused or got no answer.
    #[error("a call failed that must not")]
    Call(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the server did not end in order")]
    End(#[from] RunError),
}

/// A folder for its owner alone, removed with all that is in it.
struct Folder(PathBuf);

impl House {
    /// Makes certificates and starts the server.
    pub(super) async fn open() -> Result<Self, HouseError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let folder = Folder::new()?;
        folder.furnish(&Authority::new(TRUST_DOMAIN, clock.now())?)?;
        let home = folder.0.display().to_string();
        let text = CONFIG.replace("@HOME@", &home).replace(
            "state: memory",
            &format!("state: {{embedded: \"{home}/state.db\"}}"),
        );
        let config = Config::built_in(&text).map_err(HouseError::server)?;
        let app = App::build(config, None, clock).await;
        let app = app.map_err(HouseError::server)?;
        let (Some(Address::Tcp(mesh)), Some(mandates)) = (app.mesh_address(), app.mandates())
        else {
            return Err(HouseError::server("the configuration lacks a service"));
        };
        let (mesh, mandates) = (mesh.to_string(), Arc::clone(mandates));
        let shutdown = Shutdown::default();
        Ok(Self {
            folder,
            mandates,
            mesh,
            running: tokio::spawn(app.run(shutdown.clone())),
            shutdown,
        })
    }

    /// Stops the server and removes everything.
    pub(super) async fn close(self) -> Result<(), HouseError> {
        self.shutdown.drain();
        self.running.await??;
        Ok(())
    }

    /// Where people come in.
    fn people(&self) -> String {
        format!("unix:{}", self.folder.0.join("people.sock").display())
    }

    /// The service of sessions, for a person.
    pub(super) async fn sessions(&self) -> Result<SessionClient, HouseError> {
        Ok(SessionClient::connect(&self.people()).await?)
    }

    /// The service of mandates, for the person of a session.
    pub(super) async fn person(
        &self,
        session: crate::state::Handle,
    ) -> Result<DelegationClient, HouseError> {
        Ok(DelegationClient::connect(&self.people(), session).await?)
    }

    /// The service of mandates, for the agent that runs as `workload`.
    pub(super) fn agent(&self, workload: &str) -> Result<DelegationClient, HouseError> {
        let file = |end: &str| Some(self.folder.0.join(format!("{}.{end}", leaf(workload))));
        let tls = TlsFlags {
            certificate: file("pem"),
            key: file("key"),
            bundle: Some(self.folder.0.join("bundle.pem")),
            server: Some(id(SELF)?),
        };
        Ok(DelegationClient::dialled(tls.dialler(&self.mesh)?))
    }

    /// The service that reads the trail.
    pub(super) fn trail(&self) -> Result<AuditClient, HouseError> {
        Ok(AuditClient::unix(&self.people())?)
    }

    /// What attache itself calls.
    pub(super) fn mandates(&self) -> &Mandates {
        &self.mandates
    }
}

impl Folder {
    fn new() -> Result<Self, HouseError> {
        let mut rng: StdRng = rand::make_rng();
        let name = format!("attache-demo-{:08x}", rng.random::<u32>());
        let path = std::env::temp_dir().join(name);
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| unusable(&path, source))?;
        Ok(Self(path))
    }

    /// Puts certificates in.
    fn furnish(&self, authority: &Authority) -> Result<(), HouseError> {
        self.put("bundle.pem", &authority.bundle)?;
        for workload in [SELF, SCHEDULING, ANALYSIS] {
            let svid = authority.issue(&id(workload)?)?;
            let name = leaf(workload);
            self.put(&format!("{name}.pem"), &svid.certificate)?;
            self.put(&format!("{name}.key"), &svid.key)?;
        }
        Ok(())
    }

    fn put(&self, name: &str, text: &str) -> Result<(), HouseError> {
        let path = self.0.join(name);
        let written = private_file::replace(&path, text.as_bytes());
        written.map_err(|source| unusable(&path, source))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is in a folder for temporary things.
        let _left = fs::remove_dir_all(&self.0);
    }
}

fn unusable(path: &Path, source: io::Error) -> HouseError {
    HouseError::Folder {
        path: path.to_owned(),
        source,
    }
}

fn id(text: &str) -> Result<SpiffeId, HouseError> {
    text.parse().map_err(HouseError::call)
}

/// The last segment of a SPIFFE ID, of which no two are alike here.
fn leaf(workload: &str) -> &str {
    workload.rsplit('/').next().unwrap_or_default()
}

impl HouseError {
    fn server(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Server(error.into())
    }

    pub(super) fn call(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Call(error.into())
    }
}

macro_rules! calls {
    ($($error:ty),+) => {
        $(impl From<$error> for HouseError {
            fn from(error: $error) -> Self {
                Self::call(error)
            }
        })+
    };
}

calls!(
    AuditClientError,
    ClientError,
    DialError,
    JoinError,
    MandateRefusal
);

const TRUST_DOMAIN: &str = "example.org";
const SELF: &str = "spiffe://example.org/attache";
/// The first agent's workload.
pub(super) const SCHEDULING: &str = "spiffe://example.org/agent/scheduling";
/// The second agent's workload.
pub(super) const ANALYSIS: &str = "spiffe://example.org/agent/analysis";
const CONFIG: &str = concat!(
    include_str!("../../../deploy/demo.yaml"),
    include_str!("../../../deploy/dev-people.yaml")
);
