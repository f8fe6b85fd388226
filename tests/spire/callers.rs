//! Who is told apart, with certificates that a SPIRE agent gave to processes it knows.

use crate::harness::{BILLING, ENVOY, Mesh, REPORTING, Setup, eventually};

const SETUP: Setup = Setup {
    ttl: 300,
    attache: &[],
    federated: false,
};

#[tokio::test]
async fn each_workload_is_answered_by_its_own_identity() {
    // S47: the proxy and the caller are recorded apart, each by its own certificate.
    let Some(mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let reporting = mesh.caller(&mesh.reporting.fetch().await);
    let billing = mesh.caller(&mesh.billing.fetch().await);
    reporting.get("/documents/42").await.assert_allowed();
    billing.get("/invoices/7").await.assert_allowed();
    for (caller, id, path) in [
        (&reporting, REPORTING, "/invoices/7"),
        (&billing, BILLING, "/documents/42"),
    ] {
        let answer = caller.get(path).await;
        answer.assert_denied(403, "out_of_scope");
        let decision = answer.header("x-attache-decision-id").unwrap();
        let record = eventually("the audit record", async || {
            mesh.attache.record_of(decision)
        })
        .await;
        assert_eq!(record["actor"]["id"], id);
        assert_eq!(record["pep"]["type"], "tls");
        assert_eq!(record["pep"]["spiffe_id"], ENVOY);
    }
}

#[tokio::test]
async fn a_workload_that_is_no_proxy_names_nobody() {
    // S47: its certificate is as good as Envoy's, of the same authority.
    let Some(mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let proxy = mesh.proxy(&mesh.reporting.fetch().await);
    assert_eq!(proxy.ask().await.unwrap(), "untrusted_peer");
}
