//! Sockets: bound once, accepted with back-off, capped, each connection tagged with its peer.
//!
//! Accept errors never end the loop and never spin it: descriptors may run out and come back. Handshakes never stand in
//! the way of the next connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::identity::Peer;
use crate::lifecycle::Shutdown;
use crate::tls::{Clients, Credential};

use super::Terms;
use super::arrival::{Arrival, Listener};
use super::connection::{Connection, Proxy, Stream};
use super::handshakes::Handshakes;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket and its file mode.
    Unix {
        /// Path of the socket file.
        path: PathBuf,
        /// Permission bits of the socket file.
        mode: u32,
    },
    /// A TCP address.
    Tcp(SocketAddr),
}

/// A bound socket that can be served by several threads.
#[derive(Debug)]
pub struct Bound {
    socket: Socket,
    address: Address,
    /// Where connections are encrypted.
    tls: Option<Secured>,
    file: Option<SocketFile>,
}

/// How connections are encrypted.
#[derive(Debug, Clone)]
pub(super) struct Secured {
    /// What is shown.
    pub(super) credential: Credential,
    /// What is asked for.
    pub(super) clients: Clients,
    /// Which kind of listener it is, for metrics and logs.
    pub(super) listener: &'static str,
}

/// The file of a Unix socket that this process made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

/// Device, inode and the time of the last change of mode or name. Inodes alone are used again.
type FileIdentity = (u64, u64, i64, i64);

#[derive(Debug)]
enum Socket {
    Unix(StdUnixListener),
    Tcp(std::net::TcpListener),
}

/// Why a socket can't be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The operating system refused.
    #[error("cannot listen on {address}: {advice}")]
    Bind {
        /// Where.
        address: Address,
        /// What to do about it.
        advice: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Something else answers on the Unix socket.
    #[error(
        "cannot listen on {0}: another process is listening there; stop it or choose another path"
    )]
    InUse(Address),
    /// The path exists and is not a socket.
    #[error("cannot listen on {0}: a file is in the way; remove it or choose another path")]
    NotASocket(Address),
}

// === impl Address ===

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

// === impl Bound ===

impl Bound {
    /// Binds a socket. A Unix socket left behind by a dead process is replaced; a live one is not.
    pub fn bind(address: &Address) -> Result<Self, BindError> {
        let failed = |source: io::Error| BindError::Bind {
            address: address.clone(),
            advice: advice(source.kind()),
            source,
        };
        let socket = match address {
            Address::Tcp(tcp) => {
                let listener = std::net::TcpListener::bind(tcp).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                queue(&listener).map_err(failed)?;
                Socket::Tcp(listener)
            }
            Address::Unix { path, mode } => {
                remove_stale(path, address)?;
                Socket::Unix(bind_unix(path, *mode).map_err(failed)?)
            }
        };
        let file = match address {
            Address::Tcp(_) => None,
            Address::Unix { path, .. } => Some(SocketFile {
                identity: identity(path).map_err(failed)?,
                path: path.clone(),
            }),
        };
        let address = match (&socket, address) {
            // Port 0 becomes the port that was given.
            (Socket::Tcp(listener), _) => Address::Tcp(listener.local_addr().map_err(failed)?),
            (Socket::Unix(_), address) => address.clone(),
        };
        Ok(Self {
            socket,
            address,
            tls: None,
            file,
        })
    }

    /// Serves nobody without a handshake that shows our certificate and verifies what `clients` must show. Metrics and logs
    /// name the kind of `listener`.
    #[must_use]
    pub fn secured_by(
        self,
        credential: Credential,
        clients: Clients,
        listener: &'static str,
    ) -> Self {
        credential.shown_by(listener);
        let secured = Secured {
            credential,
            clients,
            listener,
        };
        Self {
            tls: Some(secured),
            ..self
        }
    }

    /// The file to be removed when nobody serves the socket any more.
    pub fn file(&self) -> Option<SocketFile> {
        self.file.clone()
    }

    /// Where it listens, with the real port.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A second handle on the same socket, for another thread.
    pub fn try_clone(&self) -> io::Result<Self> {
        let socket = match &self.socket {
            Socket::Unix(listener) => Socket::Unix(listener.try_clone()?),
            Socket::Tcp(listener) => Socket::Tcp(listener.try_clone()?),
        };
        Ok(Self {
            socket,
            address: self.address.clone(),
            tls: self.tls.clone(),
            file: self.file.clone(),
        })
    }

    /// Accepts connections on the current runtime until a stop begins. `errors` is told of each failure to accept.
    pub(crate) fn accept(
        self,
        terms: Terms,
        shutdown: Shutdown,
        errors: impl Fn() + Send + Sync + 'static,
    ) -> io::Result<ReceiverStream<io::Result<Connection>>> {
        let listener = match self.socket {
            Socket::Unix(listener) => Listener::Unix(UnixListener::from_std(listener)?),
            Socket::Tcp(listener) => Listener::Tcp(TcpListener::from_std(listener)?),
        };
        let mut handshakes = self
            .tls
            .map(|secured| Handshakes::new(secured, terms.clone()))
            .transpose()?;
        let (sender, receiver) = mpsc::channel(ACCEPT_QUEUE);
        let accepting = async move {
            loop {
                // Waited for and not kept: a listener that nobody comes to must not keep a place from one that is busy.
                drop(terms.places.acquire().await);
                let (stream, peer) =
                    match (listener.next(&self.address, &errors).await, &mut handshakes) {
                        (Arrival::Tcp(stream, remote), Some(handshakes)) => {
                            handshakes.begin(stream, remote, sender.clone());
                            continue;
                        }
                        (Arrival::Tcp(stream, remote), None) => {
                            (Stream::Tcp(stream), Peer::Tcp(remote))
                        }
                        (Arrival::Unix(stream, peer), _) => (Stream::Unix(stream), peer),
                    };
                // Places are never closed.
                let Ok(place) = Arc::clone(&terms.places).acquire_owned().await else {
                    return;
                };
                let proxy = Proxy::Plain(peer);
                let (words, patience) = (stream.first_words(), terms.patience);
                let connection = Connection::new(stream, proxy, place, words, patience)
                    .lasting(terms.age + terms.leave);
                if sender.send(Ok(connection)).await.is_err() {
                    return;
                }
            }
        };
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.draining() => {}
                () = accepting => {}
            }
        });
        Ok(ReceiverStream::new(receiver))
    }
}

/// A Unix socket whose file has its mode before anybody can connect: until it listens, nobody can.
fn bind_unix(path: &Path, mode: u32) -> io::Result<StdUnixListener> {
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    socket.listen(QUEUE)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Makes room for a burst of connections: a full queue costs a client a second. The standard
/// library asks for 128; a second listen(2) changes that. The kernel's `somaxconn` may allow less.
fn queue(listener: &std::net::TcpListener) -> io::Result<()> {
    SockRef::from(listener).listen(QUEUE)
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => {
            "the address is in use; stop the other process or choose another"
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied; check the owner of the folder or the port"
        }
        io::ErrorKind::NotFound => "the folder does not exist; create it",
        io::ErrorKind::AddrNotAvailable => "this host has no such address",
        io::ErrorKind::InvalidInput => "the path is too long for a Unix socket (107 bytes at most)",
        _ => "the operating system refused",
    }
}

fn remove_stale(path: &Path, address: &Address) -> Result<(), BindError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(address.clone()));
    }
    // Only a refusal says that nobody is there: one that is busy, or that we may not talk to, lives.
    let dead = std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if !dead {
        return Err(BindError::InUse(address.clone()));
    }
    std::fs::remove_file(path).map_err(|source| BindError::Bind {
        address: address.clone(),
        advice: "a socket left behind there can't be removed",
        source,
    })
}

// === impl SocketFile ===

impl SocketFile {
    /// Removes the file, unless another process has put its own in its place.
    pub fn remove(self) {
        if identity(&self.path).is_ok_and(|it| it == self.identity) {
            // Already gone is as good.
            let _absent = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let it = std::fs::symlink_metadata(path)?;
    Ok((it.dev(), it.ino(), it.ctime(), it.ctime_nsec()))
}

/// Connections that may wait to be accepted.
const QUEUE: i32 = 4_096;
/// Connections accepted and not yet taken up by the server.
const ACCEPT_QUEUE: usize = 16;

#[cfg(test)]
mod tests;
