//! Connections that were let in: each occupies a place until it ends, must begin to speak soon, and may not last for ever.
//!
//! What is said is not looked at. A connection that stays silent, or outstays its time, is an error to its server, which
//! then drops it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// A connection that was let in, with what is known about it.
#[derive(Debug)]
pub(crate) struct Admitted<S, T = ()> {
    stream: S,
    about: T,
    /// Bytes that must still come before the connection counts as one that speaks.
    missing: usize,
    /// When it is given up: while it is silent, soon; afterwards at its `end`, if it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    end: Option<Instant>,
    _place: OwnedSemaphorePermit,
}

impl<S, T> Admitted<S, T> {
    /// Lets a connection in on `place`. It must send `length` bytes within `patience`.
    pub(crate) fn new(
        stream: S,
        about: T,
        place: OwnedSemaphorePermit,
        length: usize,
        patience: Duration,
    ) -> Self {
        Self {
            stream,
            about,
            missing: length,
            deadline: Some(Box::pin(tokio::time::sleep(patience))),
            end: None,
            _place: place,
        }
    }

    /// Ends it after `life` from now, whatever is under way on it.
    pub(crate) fn lasting(self, life: Duration) -> Self {
        Self {
            end: Some(Instant::now() + life),
            ..self
        }
    }

    /// Takes note of bytes that came.
    fn heard(&mut self, bytes: usize) {
        if self.missing == 0 {
            return;
        }
        self.missing = self.missing.saturating_sub(bytes);
        if self.missing > 0 {
            return;
        }
        match (self.end, &mut self.deadline) {
            (Some(end), Some(deadline)) => deadline.as_mut().reset(end),
            _ => self.deadline = None,
        }
    }

    /// Whether its time is over; if not, the task is woken when it is.
    fn is_overdue(&mut self, context: &mut Context<'_>) -> bool {
        let deadline = self.deadline.as_mut();
        deadline.is_some_and(|it| it.as_mut().poll(context).is_ready())
    }

    /// What is known about it.
    pub(crate) const fn about(&self) -> &T {
        &self.about
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for Admitted<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.heard(buffer.filled().len().saturating_sub(before));
        // Also where there is always more to read: that is no reason to stay.
        if self.is_overdue(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, T: Unpin> AsyncWrite for Admitted<S, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;

    use super::*;

    fn admitted() -> (Admitted<DuplexStream>, DuplexStream, Arc<Semaphore>) {
        let places = Arc::new(Semaphore::new(1));
        let place = Arc::clone(&places).try_acquire_owned().unwrap();
        let (ours, theirs) = duplex(64);
        let admitted = Admitted::new(ours, (), place, 4, Duration::from_secs(5));
        (admitted, theirs, places)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_given_up() {
        // X03
        let (mut admitted, mut theirs, _places) = admitted();
        theirs.write_all(b"abc").await.unwrap();
        let mut bytes = [0; 4];
        let error = admitted.read_exact(&mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_spoken_may_be_silent_afterwards() {
        let (mut admitted, mut theirs, _places) = admitted();
        theirs.write_all(b"abcd").await.unwrap();
        let mut bytes = [0; 4];
        admitted.read_exact(&mut bytes).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_secs(3600), admitted.read(&mut bytes));
        assert!(silence.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_stops_speaking_ends_all_the_same() {
        // X06, X26
        let (admitted, mut theirs, _places) = admitted();
        let mut admitted = admitted.lasting(Duration::from_secs(60));
        let begun = Instant::now();
        let talking = tokio::spawn(async move {
            while theirs.write_all(b"abcd").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut bytes = [0; 4];
        let error = loop {
            if let Err(error) = admitted.read_exact(&mut bytes).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        drop(admitted);
        talking.await.unwrap();
    }

    #[test]
    fn the_place_is_free_when_the_connection_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (admitted, _theirs, places) = admitted();
            assert_eq!(places.available_permits(), 0);
            drop(admitted);
            assert_eq!(places.available_permits(), 1);
        });
    }
}
