//! A connection as the server sees it: bytes in and out, and whoever is at the other end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::server::Connected;

use crate::identity::Peer;
use crate::socket::Admitted;
use crate::tls::{self, Session};

/// One accepted connection of whoever is at its other end.
pub(super) type Connection = Admitted<Stream, Proxy>;

#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<tls::Stream>),
}

/// Whoever is at the other end of a connection.
#[derive(Debug, Clone)]
pub(super) enum Proxy {
    /// Known by its address; nothing about it changes.
    Plain(Peer),
    /// Known by its certificate, which is looked at again for every request.
    Tls(Arc<Session>),
}

impl Proxy {
    /// The other end of the connection that a request came on.
    pub(super) fn of(request: &http::Extensions) -> Self {
        // Connections without one are not made by our listeners; an address that is nobody's is trusted with nothing.
        let nobody = || Self::Plain(Peer::Tcp(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))));
        request.get::<Self>().cloned().unwrap_or_else(nobody)
    }

    /// What can be said of it at this moment.
    pub(super) fn peer(&self) -> Peer {
        match self {
            Self::Plain(peer) => peer.clone(),
            Self::Tls(session) => session.peer(),
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Proxy;

    fn connect_info(&self) -> Proxy {
        self.about().clone()
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
pub(super) const PREFACE: usize = 24;
