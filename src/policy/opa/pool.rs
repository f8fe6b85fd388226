//! Connections to OPA, kept open between questions. One question at a time on each; a connection comes back only after an
//! answer that was understood to its end.
//!
//! The pool is ours, since a client's own would not say what decides about a second try: whether the connection was used
//! before, and whether a byte of an answer came over it.
//!
//! The connections live on the runtime that made the pool, whichever thread asks: a thread that stops deciding takes none
//! of them along. Closing the pool ends every one of them.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dial::{Dialer, Stream};
use crate::text::sentence;

/// Open connections that nobody uses, and the way to more.
#[derive(Debug)]
pub(super) struct Pool {
    dialer: Dialer,
    home: Home,
    idle: Mutex<Vec<Idle>>,
    /// Ends the connections of this pool when it is dropped.
    end: CancellationToken,
    _end_on_drop: DropGuard,
}

/// Where connections live, and how many there are.
#[derive(Debug, Clone)]
pub(super) struct Home {
    runtime: Handle,
    pub(super) tasks: TaskTracker,
    /// Ends every connection.
    pub(super) end: CancellationToken,
    open: Gauge,
}

/// A connection in the hands of one question.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    received: Arc<AtomicU64>,
    born: Instant,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Home {
    /// On the runtime that this is called on. `open` shows the open connections.
    pub(super) fn here(open: Gauge) -> Self {
        Self {
            runtime: Handle::current(),
            tasks: TaskTracker::new(),
            end: CancellationToken::new(),
            open,
        }
    }
}

impl Pool {
    pub(super) fn new(dialer: Dialer, home: Home) -> Self {
        let end = home.end.child_token();
        Self {
            dialer,
            home,
            idle: Mutex::default(),
            _end_on_drop: end.clone().drop_guard(),
            end,
        }
    }

    /// The connection that was used last, if one is open.
    pub(super) fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = self.lock();
        while let Some(Idle { connection, since }) = idle.pop() {
            if connection.is_usable(since, now) {
                return Some(connection);
            }
        }
        None
    }

    /// Another connection, or why there is none. Nobody waiting for it any more ends the attempt.
    pub(super) async fn dial(&self) -> Result<Connection, String> {
        if self.end.is_cancelled() {
            return Err("this process is stopping".to_owned());
        }
        let (dialer, home, end) = (self.dialer.clone(), self.home.clone(), self.end.clone());
        let dialling = self.home.tasks.spawn_on(
            async move { connect(&dialer, home, end).await },
            &self.home.runtime,
        );
        let dialled = AbortOnDropHandle::new(dialling).await;
        dialled.map_err(|lost| sentence(&lost))?
    }

    /// Takes back a connection whose answer was understood to its end.
    pub(super) fn put_back(&self, connection: Connection) {
        let since = Instant::now();
        if !self.end.is_cancelled() && connection.is_usable(since, since) {
            self.lock().push(Idle { connection, since });
        }
    }

    /// Closes connections that nobody has used for long.
    pub(super) fn prune(&self) {
        let now = Instant::now();
        self.lock()
            .retain(|idle| idle.connection.is_usable(idle.since, now));
    }

    /// Gives up the connections that nobody uses.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Bytes that came over it, ever.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    fn is_usable(&self, idle_since: Instant, now: Instant) -> bool {
        !self.sender.is_closed() && now < idle_since + MOST_IDLE && now < self.born + OLDEST
    }
}

async fn connect(
    dialer: &Dialer,
    home: Home,
    end: CancellationToken,
) -> Result<Connection, String> {
    let stream = dialer.dial().await?;
    let received = Arc::new(AtomicU64::new(0));
    let counted = Counted {
        stream,
        received: Arc::clone(&received),
    };
    let (sender, driver) = http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .handshake(TokioIo::new(counted))
        .await
        .map_err(|error| sentence(&error))?;
    let open = home.open.clone();
    open.inc();
    home.tasks.spawn_on(
        async move {
            // However it ended, the question on it learns of it.
            let _ended = end.run_until_cancelled(driver).await;
            open.dec();
        },
        &home.runtime,
    );
    Ok(Connection {
        sender,
        received,
        born: Instant::now(),
    })
}

/// A stream that counts what comes in.
struct Counted {
    stream: Pin<Box<dyn Stream>>,
    received: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(self.stream.as_mut().poll_read(cx, buffer));
        let bytes = buffer.filled().len().saturating_sub(before);
        self.received.fetch_add(bytes as u64, Ordering::Release);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        self.stream.as_mut().poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Unused for so long, a connection is closed: sooner than most servers and balancers would.
const MOST_IDLE: Duration = Duration::from_secs(30);
/// After so long, a connection is not used again, so that a name that leads elsewhere by now is looked up again.
const OLDEST: Duration = Duration::from_secs(60);
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_HEADERS: usize = 64;
