//! The agent goes away and comes back.

use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Mesh, SELF, Setup, within};

#[tokio::test]
async fn while_the_agent_is_away_attache_serves_on_with_what_it_has() {
    // S53
    let setup = Setup {
        ttl: 40,
        attache: &[],
        federated: false,
    };
    let Some(mut mesh) = Mesh::start(setup).await else {
        return;
    };
    let identity = mesh.reporting.fetch().await;
    let (caller, watcher) = (mesh.caller(&identity), mesh.proxy(&identity));
    caller.get("/documents/42").await.assert_allowed();

    mesh.ours.stop_agent();
    let since = Instant::now();
    within(PATIENCE, "a word about the outage", async || {
        caller.get("/documents/42").await.assert_allowed();
        assert_eq!(watcher.ask().await.unwrap(), "untrusted_peer");
        let (status, text) = mesh.attache.get("/readyz").await?;
        assert_eq!(status, 200, "{text}");
        let said = text.contains("tls: spire: no connection to its source");
        // Longer than attache's connections live: Envoy's handshakes are made with what both have.
        (said && since.elapsed() > Duration::from_secs(4)).then_some(())
    })
    .await;
    assert!(mesh.reporting.try_fetch().await.is_none());

    let before = mesh.reporting.shown(SELF);
    mesh.ours.start_agent().await;
    within(PATIENCE, "a certificate from the new agent", async || {
        caller.get("/documents/42").await.assert_allowed();
        assert_eq!(watcher.ask().await.unwrap(), "untrusted_peer");
        (mesh.reporting.shown(SELF) != before).then_some(())
    })
    .await;
    mesh.attache.ready().await;
    let caller = mesh.caller(&mesh.reporting.fetch().await);
    caller.get("/documents/42").await.assert_allowed();
}

const PATIENCE: Duration = Duration::from_secs(60);
