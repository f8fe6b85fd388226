//! A second trust domain, with a server and an agent of its own.

use std::time::Duration;

use crate::harness::{Mesh, Request, Setup, ask_over, within};

const SETUP: Setup = Setup {
    ttl: 120,
    attache: &[
        ("federated: [partner.example]", "federated: []"),
        (
            "match: spiffe://partner.example/svc/*",
            "match: spiffe://example.org/partner/*",
        ),
        // This one is about connections that stay.
        ("max_connection_age: 2s", "max_connection_age: 5m"),
    ],
    federated: true,
};

#[tokio::test]
async fn a_federated_trust_domain_counts_while_it_is_named_and_has_a_bundle() {
    // S52
    let Some(mesh) = Mesh::start(SETUP).await else {
        return;
    };
    let partner = mesh.partner.as_ref().unwrap();
    let caller = mesh.caller(&partner.caller.fetch().await);
    let proxy = mesh.proxy(&partner.proxy.fetch().await);
    let documents = || Request::get("/documents/42");

    // The bundle alone is not enough: Envoy lets the caller in, attache accepts neither caller nor proxy.
    let answer = caller.send(documents()).await;
    answer.assert_denied(401, "foreign_trust_domain");
    assert!(proxy.ask().await.is_err());
    within(PATIENCE, "a line that names the proxy", async || {
        let log = mesh.attache.log();
        let line = log.lines().find(|line| line.contains("client refused"))?;
        assert!(line.contains("partner.example"), "{line}");
        assert!(line.contains("\"remote\":\"127.0.0.1:"), "{line}");
        Some(())
    })
    .await;

    let named = [
        ("federated: []", "federated: [partner.example]"),
        (
            "match: spiffe://example.org/partner/*",
            "match: spiffe://partner.example/svc/*",
        ),
        ("peps: [", "peps: [\"spiffe://partner.example/envoy/*\", "),
    ];
    mesh.attache.reload(&named).await;
    let connection = caller.http2().await;
    connection.send(documents()).await.assert_allowed();
    assert_eq!(proxy.ask().await.unwrap(), "allow");
    let open = proxy.connect().await.unwrap();
    assert_eq!(ask_over(open.clone()).await.unwrap(), "allow");

    mesh.ours.forget(&partner.domain).await;
    // At attache: new connections and the one that is open. At Envoy: new connections. Whom Envoy has let in is still
    // vouched for by Envoy, until `identity.federated` says otherwise.
    within(PATIENCE, "attache drops the bundle", async || {
        let word = ask_over(open.clone()).await.unwrap();
        (word != "allow").then(|| assert_eq!(word, "untrusted_peer"))
    })
    .await;
    assert!(proxy.ask().await.is_err());
    within(PATIENCE, "Envoy drops the bundle", async || {
        caller.try_send(documents()).await.err()
    })
    .await;
    connection.send(documents()).await.assert_allowed();
    let unnamed = named.map(|(before, after)| (after, before));
    mesh.attache.reload(&unnamed).await;
    let answer = connection.send(documents()).await;
    answer.assert_denied(401, "foreign_trust_domain");
    let ours = mesh.caller(&mesh.reporting.fetch().await);
    ours.get("/documents/42").await.assert_allowed();
}

const PATIENCE: Duration = Duration::from_secs(30);
