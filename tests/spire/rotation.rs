//! Certificates of attache, of Envoy and of the callers that are renewed every few seconds, while requests are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Caller, ENVOY, Mesh, Request, SELF, Setup, within};

/// Renewed when half of 26 s is left, SPIRE's ten seconds before now included: after some three.
const SETUP: Setup = Setup {
    ttl: 16,
    attache: &[],
    federated: false,
};

/// What the tasks that make requests share.
#[derive(Debug, Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Requests one after the other: over one connection, or over a connection each. Anything but an allowance ends the
    /// task with a panic.
    async fn send(self: Arc<Self>, caller: Caller, path: &'static str, reconnects: bool) {
        let until = Instant::now() + RECONNECT;
        let connection = caller.http2().await;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while Instant::now() < until && !self.stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let response = if reconnects {
                caller.get(path).await
            } else {
                connection.send(Request::get(path)).await
            };
            response.assert_allowed();
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_every_few_seconds_costs_no_request() {
    // S49
    let Some(mut mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let first = mesh.reporting.fetch().await;
    let load = Arc::new(Load::default());
    let mut tasks: Vec<JoinHandle<()>> = Vec::new();
    // Until everything that was there at the start has run out, and attache and Envoy have each shown five certificates.
    within(PATIENCE, "several rotations", async || {
        for (workload, path) in [
            (&mesh.reporting, "/documents/42"),
            (&mesh.billing, "/invoices/7"),
        ] {
            // As a workload does: always with the SVID that it has now.
            let caller = mesh.caller(&workload.fetch().await);
            for reconnects in [false, true] {
                let (load, caller) = (Arc::clone(&load), caller.clone());
                tasks.push(tokio::spawn(load.send(caller, path, reconnects)));
            }
        }
        let watcher = mesh.proxy(&mesh.reporting.fetch().await);
        assert_eq!(watcher.ask().await.unwrap(), "untrusted_peer");
        let shown = |server| mesh.reporting.shown(server).len();
        let enough = first.has_expired() && shown(SELF) >= 5 && shown(ENVOY) >= 5;
        if !enough {
            tokio::time::sleep(Duration::from_millis(700)).await;
        }
        enough.then_some(())
    })
    .await;
    load.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no request failed");
    }
    let answered = load.answered.load(Ordering::Relaxed);
    assert!(answered > 1_000, "only {answered} requests");
    let renewed = "attache_svid_updates_total{tls=\"spire\",result=\"changed\"}";
    assert!(mesh.attache.metric(renewed).await >= 5);
    mesh.attache.ready().await;
}

/// Shorter than an SVID has left when its holder renews it.
const RECONNECT: Duration = Duration::from_secs(4);
/// Five rotations take some twenty seconds.
const PATIENCE: Duration = Duration::from_secs(90);
