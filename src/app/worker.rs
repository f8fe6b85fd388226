//! The threads that serve. Each has a runtime of its own, so that probes, reloads and policy never stand before a request,
//! and what strangers do to `mesh` and `http` never stands before a decision.

use std::io;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::lifecycle::Shutdown;
use crate::socket::Bound;

/// How a thread ended.
pub(super) type End = oneshot::Receiver<io::Result<()>>;

/// Starts a thread that runs `serve` until a stop has run its course.
pub(super) fn start<F: Future<Output = io::Result<()>>>(
    name: String,
    serve: impl FnOnce() -> F + Send + 'static,
    shutdown: Shutdown,
    grace: Duration,
) -> io::Result<End> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name(name).spawn(move || {
        let result = runtime.block_on(until_patience_ends(serve(), shutdown, grace));
        // Policy evaluations under way are bounded; none is waited for.
        runtime.shutdown_background();
        // Nobody listening means the process is past caring.
        let _unheard = ended.send(result);
    })?;
    Ok(end)
}

async fn until_patience_ends(
    serving: impl Future<Output = io::Result<()>>,
    shutdown: Shutdown,
    grace: Duration,
) -> io::Result<()> {
    let out_of_patience = async {
        shutdown.draining().await;
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = shutdown.aborting() => {}
        }
    };
    tokio::select! {
        ended = serving => ended,
        () = out_of_patience => Ok(()),
    }
}

/// Handles on the same sockets for another thread.
pub(super) fn share(sockets: &[Bound]) -> io::Result<Vec<Bound>> {
    sockets.iter().map(Bound::try_clone).collect()
}
