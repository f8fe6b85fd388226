//! Connections that were let in: each occupies a place until it ends, must begin to speak soon, and may have an end.
//!
//! What is said is not looked at. A connection that stays silent, or is past its end, is an error to its server, which then
//! drops it.

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
    /// Until then the first bytes must have come; `None` once they have.
    greeting: Option<Greeting>,
    /// When the connection ends, whatever is under way.
    end: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Greeting {
    missing: usize,
    deadline: Pin<Box<Sleep>>,
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
        let greeting = Greeting {
            missing: length,
            deadline: Box::pin(tokio::time::sleep(patience)),
        };
        Self {
            stream,
            about,
            greeting: Some(greeting),
            end: None,
            _place: place,
        }
    }

    /// Ends it after `life` from now, whatever is under way on it. Servers ask clients to leave before that; one that takes
    /// no bytes never would.
    #[must_use]
    pub(crate) fn lasting(self, life: Duration) -> Self {
        Self {
            end: Some(Box::pin(tokio::time::sleep(life))),
            ..self
        }
    }

    /// What it carries.
    pub(crate) const fn stream(&self) -> &S {
        &self.stream
    }

    /// What is known about it.
    pub(crate) const fn about(&self) -> &T {
        &self.about
    }

    /// An error once the connection is past its end; the task is woken when that comes.
    fn check_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let Some(end) = &mut self.end else {
            return Ok(());
        };
        // The clock is looked at as well: a client that always has more to say leaves no budget for timers.
        if Instant::now() >= end.deadline() || end.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin, T: Unpin> AsyncRead for Admitted<S, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_end(context)?;
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(greeting) = &mut self.greeting else {
            return polled;
        };
        greeting.missing = greeting
            .missing
            .saturating_sub(buffer.filled().len() - before);
        if greeting.missing == 0 {
            self.greeting = None;
            return polled;
        }
        if polled.is_pending() && greeting.deadline.as_mut().poll(context).is_ready() {
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
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_end(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check_end(context)?;
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
    async fn a_connection_past_its_end_is_an_error_to_readers_and_writers() {
        // X06, X26: also where the other end takes no bytes and the task waits to write.
        let (admitted, _theirs, _places) = admitted();
        let mut admitted = admitted.lasting(Duration::from_secs(60));
        let begun = Instant::now();
        let error = admitted.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        for ended in [
            admitted.read(&mut [0; 4]).await.unwrap_err(),
            admitted.write(&[0]).await.unwrap_err(),
            admitted.flush().await.unwrap_err(),
        ] {
            assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_never_stops_speaking_ends_all_the_same() {
        // X06, X26
        let (admitted, mut theirs, _places) = admitted();
        let mut admitted = admitted.lasting(Duration::from_secs(60));
        let begun = Instant::now();
        let reading = async {
            let mut bytes = [0; 4];
            while admitted.read_exact(&mut bytes).await.is_ok() {}
        };
        let speaking = async {
            let mut pauses = tokio::time::interval(Duration::from_secs(1));
            loop {
                pauses.tick().await;
                theirs.write_all(b"abcd").await.unwrap();
            }
        };
        tokio::select! {
            () = reading => {}
            () = speaking => {}
        }
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
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
