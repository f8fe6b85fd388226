//! Certificates that are renewed every few seconds, and an authority that is replaced, while requests are made.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::harness::{Caller, ENVOY, Mesh, Request, SELF, Setup, Workload, ask_over, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_every_few_seconds_costs_no_request() {
    // S49. Renewed when half of 26 s is left, SPIRE's ten seconds before now included: after some three.
    let setup = Setup {
        ttl: 16,
        attache: &[],
        federated: false,
    };
    let Some(mut mesh) = Mesh::start(setup).await else {
        return;
    };
    let first = mesh.reporting.fetch().await;
    let mut load = Load::default();
    // Until everything that was there at the start has run out, and attache and Envoy have each shown five certificates.
    within(PATIENCE, "several rotations", async || {
        load.add(&mesh, &mesh.reporting, "/documents/42").await;
        load.add(&mesh, &mesh.billing, "/invoices/7").await;
        watch(&mesh, &mesh.reporting).await;
        let shown = |server| mesh.reporting.shown(server).len();
        (first.has_expired() && shown(SELF) >= 5 && shown(ENVOY) >= 5).then_some(())
    })
    .await;
    let answered = load.finish().await;
    assert!(answered > 500, "only {answered} requests");
    let renewed = mesh
        .attache
        .metric("attache_svid_updates_total", "result=\"changed\"");
    assert!(renewed.await >= 5);
    mesh.attache.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_is_replaced_without_losing_a_request_and_vouches_no_longer() {
    // S50: {old}, {old, new}, {new}. Leaves are renewed after some 25 s, so that a new one is in use everywhere while an
    // old one would still be valid.
    let setup = Setup {
        ttl: 60,
        attache: &[("peps: [", "peps: [\"spiffe://example.org/svc/reporting\", ")],
        federated: false,
    };
    let Some(mut mesh) = Mesh::start(setup).await else {
        return;
    };
    let old = mesh.reporting.fetch().await;
    let mut load = Load::default();
    mesh.ours.prepare_authority().await;
    within(PATIENCE, "two authorities", async || {
        load.add(&mesh, &mesh.billing, "/invoices/7").await;
        (mesh.billing.fetch().await.authorities() == 2).then_some(())
    })
    .await;
    // Callers that know the old one only are the first to go: they would not believe Envoy's next certificate.
    load.settle().await;
    load.add(&mesh, &mesh.billing, "/invoices/7").await;
    watch(&mesh, &mesh.billing).await;
    let shown = || [SELF, ENVOY].map(|server| mesh.billing.shown(server).len());
    let before = shown();
    mesh.ours.activate_authority().await;
    within(PATIENCE, "everything signed anew", async || {
        load.add(&mesh, &mesh.billing, "/invoices/7").await;
        watch(&mesh, &mesh.billing).await;
        let servers = shown().iter().zip(before).all(|(now, then)| *now > then);
        for workload in [&mesh.reporting, &mesh.billing] {
            if workload.fetch().await.issuer() == old.issuer() {
                return None;
            }
        }
        servers.then_some(())
    })
    .await;
    // Who still holds what the old authority signed lets go of it: callers, and Envoy on its connections to attache.
    load.settle().await;
    let handshakes = async || {
        let accepted = "result=\"accepted\"";
        let metric = mesh
            .attache
            .metric("attache_tls_handshakes_total", accepted);
        metric.await
    };
    let before = handshakes().await;
    within(PATIENCE, "new connections to attache", async || {
        load.add(&mesh, &mesh.billing, "/invoices/7").await;
        (handshakes().await >= before + 2).then_some(())
    })
    .await;
    // The old leaf with new beliefs: what refuses it from here on is the other side.
    let held = old.believing(&mesh.reporting.fetch().await);
    let (caller, proxy) = (mesh.caller(&held), mesh.proxy(&held));
    caller.get("/documents/42").await.assert_allowed();
    let open = proxy.connect().await.unwrap();
    assert_eq!(ask_over(open.clone()).await.unwrap(), "allow");

    mesh.ours.revoke_old_authority().await;
    within(PATIENCE, "attache drops the old authority", async || {
        load.add(&mesh, &mesh.billing, "/invoices/7").await;
        let word = ask_over(open.clone()).await.ok();
        // By then attache may have asked for a new connection, which the old leaf does not get.
        (word.as_deref() != Some("allow")).then_some(())
    })
    .await;
    assert!(proxy.ask().await.is_err());
    within(PATIENCE, "Envoy drops the old authority", async || {
        caller.try_send(Request::get("/documents/42")).await.err()
    })
    .await;
    assert!(!old.has_expired(), "refused for its authority alone");
    load.add(&mesh, &mesh.billing, "/invoices/7").await;
    load.finish().await;
    mesh.attache.ready().await;
}

/// Looks at the certificate that attache shows to a workload, a few times a second at most.
async fn watch(mesh: &Mesh, workload: &Workload) {
    let watcher = mesh.proxy(&workload.fetch().await);
    let word = watcher.ask().await.unwrap();
    assert_eq!(word, "untrusted_peer", "only proxies may ask");
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// Requests of workloads, each always with an SVID it was given a moment ago. Anything but an allowance fails the test.
#[derive(Debug, Default)]
struct Load {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    /// When more are due, by path.
    due: BTreeMap<&'static str, Instant>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Makes requests for some seconds: over one connection, and over a connection each. Does nothing while the last
    /// ones have long to go.
    async fn add(&mut self, mesh: &Mesh, workload: &Workload, path: &'static str) {
        let now = Instant::now();
        if self.due.get(path).is_some_and(|due| now < *due) {
            return;
        }
        self.due.insert(path, now + HELD / 2);
        let caller = mesh.caller(&workload.fetch().await);
        for reconnects in [false, true] {
            let (shared, caller) = (Arc::clone(&self.shared), caller.clone());
            let task = tokio::spawn(shared.send(caller, path, reconnects));
            self.tasks.push(task);
        }
    }

    /// Waits for the requests that were begun.
    async fn settle(&mut self) {
        self.due.clear();
        for task in self.tasks.drain(..) {
            task.await.expect("no request failed");
        }
    }

    /// Stops, and says how many requests were answered.
    async fn finish(mut self) -> usize {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.settle().await;
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Shared {
    async fn send(self: Arc<Self>, caller: Caller, path: &'static str, reconnects: bool) {
        let until = Instant::now() + HELD;
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

/// How long a caller uses an SVID: less than it has left when the agent renews it.
const HELD: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(90);
