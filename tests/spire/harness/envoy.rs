//! Envoy with `deploy/spire/envoy.yaml`.

use std::fs;
use std::path::Path;
use std::process::Command;

use tokio::net::UnixStream;

use super::client::probe;
use super::process::{Process, eventually};
use super::shipped;
use super::sidecar::Sidecar;
use super::spire::Domain;
use super::upstream::Upstream;

/// A running Envoy.
#[derive(Debug)]
pub(crate) struct Envoy {
    _process: Process,
    /// The TLS port outside, on 127.0.0.1.
    pub(crate) port: u16,
}

impl Envoy {
    pub(super) async fn start(
        binary: &Path,
        home: &Path,
        domain: &Domain,
        attache: &Sidecar,
        upstream: &Upstream,
    ) -> Self {
        let port = |number: u16| format!("127.0.0.1, port_value: {number}");
        let bootstrap = shipped(
            "envoy.yaml",
            &[
                ("127.0.0.1, port_value: 9191", &port(attache.port)),
                (
                    "127.0.0.1, port_value: 8080",
                    &port(upstream.address.port()),
                ),
                ("0.0.0.0, port_value: 8443", &port(0)),
                ("/run/spire/agent.sock", domain.socket().to_str().unwrap()),
                ("/run/attache", home.to_str().unwrap()),
                // A busy test machine is no reason to deny.
                ("timeout: 0.25s", "timeout: 5s"),
            ],
        );
        let file = home.join("envoy.yaml");
        fs::write(&file, bootstrap).unwrap();
        let mut process = Process::spawn(
            "envoy",
            home,
            Command::new(binary)
                .args(["--disable-hot-restart", "--concurrency", "1"])
                .args(["--log-level", "warning", "-c"])
                .arg(&file),
        );
        let port = eventually("Envoy is ready", async || {
            process.assert_running();
            let ready = admin(home, "/ready").await?;
            if !ready.contains("LIVE") {
                return None;
            }
            let listeners = admin(home, "/listeners?format=json").await?;
            let listeners: serde_json::Value = serde_json::from_str(&listeners).ok()?;
            let port =
                &listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"];
            u16::try_from(port.as_u64()?).ok()
        })
        .await;
        Self {
            _process: process,
            port,
        }
    }
}

/// The body of an answer of the admin interface; `None` while nobody answers with 200.
async fn admin(home: &Path, target: &str) -> Option<String> {
    let stream = UnixStream::connect(home.join("envoy-admin.sock"))
        .await
        .ok()?;
    let answer = probe(stream, target).await?;
    (answer.status == 200).then(|| answer.text().to_owned())
}
