//! A registration is deleted: a caller's, and attache's own.

use std::time::Duration;

use crate::harness::{Mesh, Request, Setup, eventually, register_attache, within};

const SETUP: Setup = Setup {
    ttl: 16,
    attache: &[],
    federated: false,
};

#[tokio::test]
async fn a_caller_whose_entry_is_deleted_is_refused_when_its_svid_runs_out() {
    let Some(mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let held = mesh.reporting.fetch().await;
    let caller = mesh.caller(&held);
    let connection = caller.http2().await;
    let documents = || Request::get("/documents/42");
    connection.send(documents()).await.assert_allowed();

    mesh.ours.delete("reporting").await;
    within(
        PATIENCE,
        "the agent gives it nothing any more",
        async || mesh.reporting.try_fetch().await.is_none().then_some(()),
    )
    .await;
    within(PATIENCE, "what it holds runs out", async || {
        held.has_expired().then_some(())
    })
    .await;
    // New connections: by Envoy, in the handshake. The one that is open: by attache, at the next request.
    assert!(caller.try_send(documents()).await.is_err());
    connection
        .send(documents())
        .await
        .assert_denied(401, "invalid_identity");
    let billing = mesh.caller(&mesh.billing.fetch().await);
    billing.get("/invoices/7").await.assert_allowed();
}

#[tokio::test]
async fn attache_stops_at_once_when_its_own_entry_is_deleted() {
    // S51
    let Some(mut mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let identity = mesh.reporting.fetch().await;
    let caller = mesh.caller(&identity);
    caller.get("/documents/42").await.assert_allowed();

    mesh.ours.delete("attache").await;
    eventually("readiness goes", async || {
        let (status, text) = mesh.attache.get("/readyz").await?;
        (status == 503 && text.contains("waiting for: certificate")).then_some(())
    })
    .await;
    let withdrawn = "result=\"withdrawn\"";
    let count = mesh.attache.metric("attache_svid_updates_total", withdrawn);
    assert_eq!(count.await, 1);
    // On Envoy's open connection attache refuses; a new one Envoy can't make.
    assert_ne!(caller.get("/documents/42").await.status, 200);
    assert!(mesh.proxy(&identity).ask().await.is_err());
    eventually("Envoy reaches nobody", async || {
        let answer = caller.get("/documents/42").await;
        assert_ne!(answer.status, 200);
        answer
            .reason()
            .is_none()
            .then(|| answer.assert_refused_by_envoy(503))
    })
    .await;

    // It keeps asking, since an entry may be made later.
    register_attache(&mesh.ours).await;
    within(PATIENCE, "readiness comes back", async || {
        let (status, _) = mesh.attache.get("/readyz").await?;
        (status == 200).then_some(())
    })
    .await;
    mesh.attache.ready().await;
    let billing = mesh.caller(&mesh.billing.fetch().await);
    eventually("Envoy reaches attache again", async || {
        (billing.get("/invoices/7").await.status == 200).then_some(())
    })
    .await;
}

const PATIENCE: Duration = Duration::from_secs(60);
