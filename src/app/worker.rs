//! The threads that decide. Each has a runtime of its own, so that probes, reloads and policy never stand before a request.

use std::io;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::sync::oneshot;

use crate::grpc::{Bound, ExtAuthzServer};
use crate::lifecycle::Shutdown;

/// Starts a thread that serves `sockets` until a stop has run its course; how it ended comes back.
pub(super) fn start(
    number: usize,
    server: ExtAuthzServer,
    sockets: Vec<Bound>,
    shutdown: Shutdown,
    grace: Duration,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("decide-{number}"))
        .spawn(move || {
            let result = runtime.block_on(serve(server, sockets, shutdown, grace));
            // Policy evaluations under way are bounded; none is waited for.
            runtime.shutdown_background();
            // Nobody listening means the process is past caring.
            let _unheard = ended.send(result);
        })?;
    Ok(end)
}

async fn serve(
    server: ExtAuthzServer,
    sockets: Vec<Bound>,
    shutdown: Shutdown,
    grace: Duration,
) -> io::Result<()> {
    let serving = sockets
        .into_iter()
        .map(|socket| server.clone().serve(socket, shutdown.clone()));
    let out_of_patience = async {
        shutdown.draining().await;
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = shutdown.aborting() => {}
        }
    };
    tokio::select! {
        ended = try_join_all(serving) => ended.map(|_| ()),
        () = out_of_patience => Ok(()),
    }
}

/// Handles on the same sockets for another thread.
pub(super) fn share(sockets: &[Bound]) -> io::Result<Vec<Bound>> {
    sockets.iter().map(Bound::try_clone).collect()
}
