//! Handshakes under way on one listener: each in a task of its own, for a limited time, a limited number at once.
//!
//! Where there are too many, the oldest is given up: an honest proxy is done in milliseconds, so the oldest is the least
//! likely to be one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::identity::Peer;
use crate::tls::{Acceptor, Credential, HandshakeError};

use super::Terms;
use super::connection::{Connection, Proxy, Stream};
use super::listener::Secured;

/// The handshakes of one listener on one thread. Dropping it gives all of them up.
#[derive(Debug)]
pub(super) struct Handshakes {
    credential: Credential,
    acceptor: Acceptor,
    terms: Terms,
    /// Oldest first; some may have ended.
    pending: VecDeque<AbortOnDropHandle<()>>,
    quiet: Quiet,
}

impl Handshakes {
    pub(super) fn new(secured: Secured, terms: Terms) -> io::Result<Self> {
        let Secured {
            credential,
            clients,
            listener,
        } = secured;
        let acceptor = credential
            .acceptor(clients, listener)
            .map_err(io::Error::other)?;
        let quiet = Quiet {
            listener,
            until: Arc::default(),
        };
        Ok(Self {
            credential,
            acceptor,
            terms,
            pending: VecDeque::new(),
            quiet,
        })
    }

    /// Begins a handshake; the connection goes to `accepted` if it succeeds and there is a place for it.
    pub(super) fn begin(
        &mut self,
        tcp: TcpStream,
        remote: SocketAddr,
        accepted: mpsc::Sender<io::Result<Connection>>,
    ) {
        if self.pending.len() >= self.terms.most_handshakes {
            self.pending.retain(|handshake| !handshake.is_finished());
        }
        while self.pending.len() >= self.terms.most_handshakes {
            self.pending.pop_front();
            self.credential.crowded_out(&self.acceptor);
        }
        let credential = self.credential.clone();
        let acceptor = self.acceptor.clone();
        let (terms, quiet) = (self.terms.clone(), self.quiet.clone());
        let handshake = tokio::spawn(async move {
            let (stream, session) = match credential.accept(&acceptor, tcp, terms.patience).await {
                Ok(accepted) => accepted,
                Err(error) => return quiet.tell(&credential, remote, &error),
            };
            // Places are never closed.
            let Ok(place) = Arc::clone(&terms.places).acquire_owned().await else {
                return;
            };
            let proxy = session.map_or(Proxy::Plain(Peer::Anonymous(remote)), Proxy::Tls);
            let stream = Stream::Tls(Box::new(stream));
            let first_words = stream.first_words();
            let connection = Connection::new(stream, proxy, place, first_words, terms.patience)
                .lasting(terms.age + terms.leave);
            // Nobody takes it once a stop has begun.
            let _stopping = accepted.send(Ok(connection)).await;
        });
        self.pending.push_back(AbortOnDropHandle::new(handshake));
    }
}

/// Tells of a refused client at most once a second; the metric counts all of them.
#[derive(Debug, Clone, Default)]
struct Quiet {
    listener: &'static str,
    until: Arc<Mutex<Option<Instant>>>,
}

impl Quiet {
    fn tell(&self, credential: &Credential, remote: SocketAddr, error: &HandshakeError) {
        let now = Instant::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_some_and(|until| now < until) {
            return;
        }
        *until = Some(now + QUIET);
        drop(until);
        let error = crate::text::sentence(error);
        let (tls, listener) = (credential.name(), self.listener);
        tracing::warn!(tls, listener, %remote, error, "client refused");
    }
}

const QUIET: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::clock::SystemClock;
    use crate::tls::{Config, Files, Source};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_client_is_named_by_its_address_at_most_once_a_second() {
        let log = Log::default();
        let shared = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || shared.clone())
            .finish();
        let files = Files {
            certificate: "none".into(),
            key: "none".into(),
            bundle: "none".into(),
        };
        let credentials = Config {
            sources: BTreeMap::from([("mesh".to_owned(), Source::Files(files))]),
        }
        .build(
            "/nonexistent".as_ref(),
            &"example.org".parse().unwrap(),
            Vec::new(),
            &(Arc::new(SystemClock) as _),
            &mut Registry::default(),
        );
        let credential = credentials.get("mesh").unwrap();
        let quiet = Quiet {
            listener: "ext_authz",
            until: Arc::default(),
        };
        let _logging = tracing::subscriber::set_default(subscriber);
        for port in [1, 2] {
            let remote = SocketAddr::from(([192, 0, 2, 7], port));
            quiet.tell(credential, remote, &HandshakeError::NotOurs);
        }
        tokio::time::advance(QUIET).await;
        let remote = SocketAddr::from(([192, 0, 2, 7], 3));
        quiet.tell(credential, remote, &HandshakeError::NotOurs);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let told = |port: u16| text.contains(&format!("remote=192.0.2.7:{port} "));
        assert_eq!([1, 2, 3].map(told), [true, false, true], "{text}");
    }
}
