//! The sockets for proxies, workloads and people: all bound before any is served, each kind on threads of its own.
//!
//! `limits.workers` threads decide for proxies. `mesh` and `http` have one each: nobody who can only reach those gets in the
//! way of a decision. A listener never loses its TLS: where the name is unknown, nothing starts.

use std::sync::Arc;
use std::time::Duration;

use crate::authority::{Authority, Mandates, Sessions};
use crate::config::{Listen, TlsListener};
use crate::grpc::{ExtAuthzServer, LONGEST_CALL, Limits, MeshServer, Reading, Services};
use crate::http::OpenServer;
use crate::lifecycle::Shutdown;
use crate::socket::{Address, Bound, SocketFile};
use crate::tls::{Clients, Credentials};

use super::StartError;
use super::worker::{self, End};

/// The sockets, bound and served by nobody yet.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) ext_authz: Vec<Bound>,
    pub(super) mesh: Option<Bound>,
    pub(super) http: Option<Bound>,
}

/// What is behind them.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) authority: Arc<Authority>,
    pub(super) sessions: Option<Arc<Sessions>>,
    pub(super) mandates: Option<Arc<Mandates>>,
    pub(super) services: Services,
    pub(super) reading: Reading,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
}

impl Doors {
    /// Binds every socket but the one for probes.
    pub(super) fn bind(listen: &Listen, credentials: &Credentials) -> Result<Self, StartError> {
        let (workloads, anybody) = (Clients::Workloads, Clients::Anybody);
        let secured = |listener: &Option<TlsListener>, clients, kind| {
            let Some(TlsListener { tcp, tls }) = listener else {
                return Ok(None);
            };
            secure(&Address::Tcp(*tcp), tls, clients, kind, credentials).map(Some)
        };
        let proxies = listen.ext_authz.iter().map(|it| match &it.tls {
            Some(tls) => secure(&it.address, tls, workloads, "ext_authz", credentials),
            None => Ok(Bound::bind(&it.address)?),
        });
        Ok(Self {
            ext_authz: proxies.collect::<Result<_, _>>()?,
            mesh: secured(&listen.mesh, workloads, "mesh")?,
            http: secured(&listen.http, anybody, "http")?,
        })
    }

    /// Serves all of them; the ends of the threads and the files of the sockets come back.
    pub(super) fn open(self, behind: &Behind) -> std::io::Result<(Vec<End>, Vec<SocketFile>)> {
        let files = self.ext_authz.iter().filter_map(Bound::file).collect();
        let mut ends = behind.open_ext_authz(&self.ext_authz)?;
        ends.extend(self.mesh.map(|it| behind.open_mesh(it)).transpose()?);
        ends.extend(self.http.map(|it| behind.open_http(it)).transpose()?);
        // The threads have handles of their own; ours, dropped here, would keep the sockets open during the stop.
        Ok((ends, files))
    }
}

impl Behind {
    fn open_ext_authz(&self, sockets: &[Bound]) -> std::io::Result<Vec<End>> {
        let server = ExtAuthzServer::new(Arc::clone(&self.authority), self.limits.clone())
            .with_sessions(self.sessions.clone())
            .with_mandates(self.mandates.clone())
            .reading(self.reading.clone());
        let mut ends = Vec::new();
        for number in 0..self.limits.workers {
            let shared = worker::share(sockets)?;
            let (server, shutdown) = (server.clone(), self.shutdown.clone());
            let serve = async move || {
                let serving = shared
                    .into_iter()
                    .map(|socket| server.clone().serve(socket, shutdown.clone()));
                futures::future::try_join_all(serving)
                    .await
                    .map(|_ended| ())
            };
            ends.push(self.start(format!("decide-{number}"), serve)?);
        }
        for socket in sockets {
            tracing::info!(address = %socket.address(), "serving ext_authz");
        }
        Ok(ends)
    }

    fn open_mesh(&self, socket: Bound) -> std::io::Result<End> {
        tracing::info!(address = %socket.address(), "serving mesh");
        let server = MeshServer::new(&self.services);
        let shutdown = self.shutdown.clone();
        self.start("mesh".to_owned(), || server.serve(socket, shutdown))
    }

    fn open_http(&self, socket: Bound) -> std::io::Result<End> {
        tracing::info!(address = %socket.address(), "serving http");
        let server = OpenServer::new(
            self.services.router(),
            self.limits.terms(LONGEST_CALL),
            self.limits.message_bytes().saturating_add(FRAME),
            LONGEST_REQUEST,
        );
        let (authority, shutdown) = (Arc::clone(&self.authority), self.shutdown.clone());
        self.start("http".to_owned(), || {
            server.serve(socket, shutdown, move || authority.metrics().accept_error())
        })
    }

    fn start<F: Future<Output = std::io::Result<()>>>(
        &self,
        name: String,
        serve: impl FnOnce() -> F + Send + 'static,
    ) -> std::io::Result<End> {
        let grace = self.limits.shutdown_grace;
        worker::start(name, serve, self.shutdown.clone(), grace)
    }
}

fn secure(
    address: &Address,
    tls: &str,
    clients: Clients,
    kind: &'static str,
    credentials: &Credentials,
) -> Result<Bound, StartError> {
    // The configuration was refused where the name is not there; a listener must never lose its TLS all the same.
    let Some(credential) = credentials.get(tls) else {
        return Err(StartError::NoCredential(tls.to_owned()));
    };
    let bound = Bound::bind(address)?;
    Ok(bound.secured_by(credential.clone(), clients, kind))
}

/// Of HTTP/2, at most (RFC 9113 section 4.2). So much more than a message may arrive, so that gRPC, which reads its length
/// from the first frame, is the one to say that it is too large.
const FRAME: usize = 16 * 1024;
/// Of any kind, over `http`; a gRPC call that takes too long is told so before.
const LONGEST_REQUEST: Duration = LONGEST_CALL.saturating_add(Duration::from_secs(1));
