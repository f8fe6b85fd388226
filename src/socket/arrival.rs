//! The next connection of a socket, however long accepting fails: with back-off, so that running out of descriptors neither
//! ends the loop nor spins it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::identity::Peer;

use super::listener::Address;

/// A socket that connections come in on.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A connection that somebody has made.
#[derive(Debug)]
pub(super) enum Arrival {
    Unix(UnixStream, Peer),
    Tcp(TcpStream, SocketAddr),
}

impl Listener {
    /// The next connection, however long errors last.
    pub(super) async fn next(
        &self,
        address: &Address,
        errors: &(impl Fn() + Send + Sync),
    ) -> Arrival {
        let mut failures = 0_u32;
        loop {
            match self.accept().await {
                Ok(arrival) => {
                    if failures > 0 {
                        tracing::info!(%address, failures, "accepting connections again");
                    }
                    return arrival;
                }
                // The client was gone before we looked: nothing is wrong here.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    errors();
                    if failures == 0 {
                        tracing::warn!(%address, %error, "cannot accept connections; trying on");
                    }
                    let pause = backoff(failures);
                    failures = failures.saturating_add(1);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred().ok().map(|credentials| credentials.uid());
                Ok(Arrival::Unix(stream, Peer::Unix { uid }))
            }
            Self::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                // Answers are small and awaited: never hold one back for more data.
                stream.set_nodelay(true)?;
                Ok(Arrival::Tcp(stream, remote))
            }
        }
    }
}

/// 10 ms doubling to one second.
fn backoff(failures: u32) -> Duration {
    Duration::from_millis(10_u64.saturating_mul(1 << failures.min(7))).min(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_after_failures_doubles_to_a_second_and_no_further() {
        let waits: Vec<_> = (0..=8)
            .map(|failures| backoff(failures).as_millis())
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff(u32::MAX), Duration::from_secs(1));
    }
}
