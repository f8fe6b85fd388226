//! Envoy with the bootstrap that we ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::UnixStream;

use super::client::probe;
use super::pki::{Leaf, Pki};
use super::process::{Process, eventually};
use super::sidecar::Sidecar;
use super::upstream::Upstream;
use super::{Setup, repository};

/// A running Envoy.
#[derive(Debug)]
pub(crate) struct Envoy {
    pub(crate) process: Process,
    /// The TLS port outside, on 127.0.0.1.
    pub(crate) port: u16,
    home: PathBuf,
}

/// The Envoy to test with. Without one: `None`, or a panic where tests are required.
pub(super) fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("ENVOY_BIN") {
        return Some(path.into());
    }
    let required = std::env::var_os("REQUIRE_E2E").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_E2E=1, but ENVOY_BIN is not set");
    eprintln!("skipped: set ENVOY_BIN (make test-e2e does)");
    None
}

impl Envoy {
    pub(super) async fn start(
        binary: &Path,
        home: &Path,
        setup: &Setup,
        pki: &Pki,
        attache: &Sidecar,
        upstream: &Upstream,
    ) -> Self {
        write_certificates(home, pki);
        let sds = home.join("sds");
        fs::create_dir(&sds).unwrap();
        let run = ("/run/attache", home.to_str().unwrap().to_owned());
        for name in ["svid.yaml", "bundle.yaml"] {
            let shipped = read(&format!("deploy/envoy/sds/{name}"));
            fs::write(
                sds.join(name),
                replaced(shipped, std::slice::from_ref(&run)),
            )
            .unwrap();
        }

        let mut edits = setup.edits.clone();
        if let Some(port) = attache.ext_authz_port {
            edits.push((
                "{pipe: {path: /run/attache/ext_authz.sock}}",
                format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}"),
            ));
        }
        edits.extend([
            (
                "0.0.0.0, port_value: 8443",
                "127.0.0.1, port_value: 0".to_owned(),
            ),
            ("/etc/envoy/sds", sds.to_str().unwrap().to_owned()),
            (
                "127.0.0.1, port_value: 8080",
                format!("127.0.0.1, port_value: {}", upstream.address.port()),
            ),
            run,
        ]);
        let bootstrap = replaced(read("deploy/envoy/sidecar-uds.yaml"), &edits);
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
            process,
            port,
            home: home.to_owned(),
        }
    }

    /// The access log: one JSON object a request.
    pub(crate) fn access_log(&self) -> Vec<serde_json::Value> {
        self.process
            .output()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Replaces certificate, key and bundle the way a Kubernetes volume update does: by one rename.
    pub(crate) fn rotate(&self, pki: &Pki) {
        write_certificates(&self.home, pki);
    }
}

/// Puts a server identity of `pki` under `tls/`, a symbolic link to a directory that is swapped whole.
fn write_certificates(home: &Path, pki: &Pki) {
    let identity = pki.issue(&Leaf {
        names: vec!["localhost"],
        ..Leaf::svid("svc/documents")
    });
    let generation = tempfile::Builder::new()
        .prefix("tls-")
        .tempdir_in(home)
        .unwrap()
        .keep();
    fs::write(generation.join("svid.pem"), identity.certificate).unwrap();
    fs::write(generation.join("key.pem"), identity.key).unwrap();
    fs::write(generation.join("bundle.pem"), &pki.bundle).unwrap();
    let tls = home.join("tls");
    if !tls.exists() {
        fs::create_dir(&tls).unwrap();
        for name in ["svid.pem", "key.pem", "bundle.pem"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), tls.join(name)).unwrap();
        }
    }
    std::os::unix::fs::symlink(&generation, tls.join("..data_tmp")).unwrap();
    fs::rename(tls.join("..data_tmp"), tls.join("..data")).unwrap();
}

fn read(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap()
}

/// Applies edits in order; one that finds nothing to replace is a mistake in the test or in the shipped file.
fn replaced(mut text: String, edits: &[(&'static str, String)]) -> String {
    for (from, to) in edits {
        assert!(text.contains(from), "nothing to replace: `{from}`");
        text = text.replace(from, to);
    }
    text
}

/// The body of an answer of the admin interface; `None` while nobody answers with 200.
async fn admin(home: &Path, target: &str) -> Option<String> {
    let stream = UnixStream::connect(home.join("envoy-admin.sock"))
        .await
        .ok()?;
    let answer = probe(stream, target).await?;
    (answer.status == 200).then(|| answer.text().to_owned())
}
