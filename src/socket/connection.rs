//! A connection as the server sees it: bytes in and out, and whoever is at the other end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::identity::Peer;
use crate::tls::{self, Session};

use super::admitted::Admitted;

/// One accepted connection of whoever is at its other end.
pub(crate) type Connection = Admitted<Stream, Proxy>;

#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<tls::Stream>),
}

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) enum Proxy {
    /// Known by where it is, if at all; nothing about it changes.
    Plain(Peer),
    /// Known by its certificate, which is looked at again for every request.
    Tls(Arc<Session>),
}

impl Proxy {
    /// The other end of the connection that a request came on.
    pub(crate) fn of(request: &http::Extensions) -> Self {
        // Connections without one are not made by our listeners; an address that is nobody's is trusted with nothing.
        let nobody = || Self::Plain(Peer::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        request.get::<Self>().cloned().unwrap_or_else(nobody)
    }

    /// What can be said of it at this moment.
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Plain(peer) => peer.clone(),
            Self::Tls(session) => session.peer(),
        }
    }
}

impl Stream {
    /// Bytes that every client has to say first.
    pub(crate) fn first_words(&self) -> usize {
        match self {
            Self::Tls(_) if !self.speaks_http2() => SHORTEST_REQUEST,
            Self::Unix(_) | Self::Tcp(_) | Self::Tls(_) => PREFACE,
        }
    }

    /// Whether HTTP/2 was agreed on; unencrypted connections agree on nothing.
    pub(crate) fn speaks_http2(&self) -> bool {
        match self {
            Self::Unix(_) | Self::Tcp(_) => false,
            Self::Tls(stream) => tls::speaks_http2(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

/// Bytes of the preface that every HTTP/2 client begins with (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Bytes that even the shortest request of HTTP/1.1 has: `GET / HTTP/1.1` and two line ends.
pub(crate) const SHORTEST_REQUEST: usize = 18;
