//! Sockets and the connections that come in over them, before anything is said in HTTP.
//!
//! **Decides** who is let in: bound once, accepted with back-off, shaken hands with where there is TLS, given one of a
//! limited number of places, tagged with who is at the other end, ended when too old.
//!
//! **Never** looks at what is said, nor decides what a peer may ask.
//!
//! **When it fails** the connection is closed. Accepting goes on whatever happens: descriptors may run out and come back.

mod admitted;
mod arrival;
mod connection;
mod handshakes;
pub(crate) mod http2;
mod listener;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub(crate) use admitted::Admitted;
pub(crate) use connection::{Connection, Proxy, SHORTEST_REQUEST};
pub use listener::{Address, BindError, Bound, SocketFile};

/// On what terms one door lets connections in. Clones share its places.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Open connections at once; further ones wait unaccepted.
    pub places: Arc<Semaphore>,
    /// How long a handshake may take, and the first words after it.
    pub patience: Duration,
    /// Handshakes under way on one listener of one thread. They occupy no place: whoever has shown nothing can't keep
    /// out those who have.
    pub most_handshakes: usize,
    /// When a client is asked to connect again, with the certificate it has then.
    pub age: Duration,
    /// How long it has from then on, until the connection is cut off whatever is under way.
    pub leave: Duration,
}
