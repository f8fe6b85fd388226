//! attache and OPA as child processes; both end with the run, also where it panics.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::oracle;
use crate::timeline::Timeline;

/// Verdicts are kept for a moment only, so that a change of the policy soon shows.
const CACHE: &str = "cache: {ttl: 300ms, deny_ttl: 300ms}";
/// How long after a change an older verdict may still come from the cache: it is kept from when it came, and what was asked
/// before the change may take up to `policy.opa.timeout` to come.
const KEPT: Duration = Duration::from_millis(300 + 250);

/// A running OPA.
#[derive(Debug)]
pub(crate) struct Opa {
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    child: Child,
    client: reqwest::Client,
    timeline: Arc<Timeline>,
    version: u32,
}

/// A running attache.
#[derive(Debug)]
pub(crate) struct Attache {
    child: Child,
    socket: PathBuf,
    audit: PathBuf,
    kept: Duration,
}

impl Opa {
    pub(crate) async fn start(binary: &Path, folder: &Path, timeline: Arc<Timeline>) -> Self {
        // Asked of the system and given back: OPA does not say which port it took.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        std::fs::write(folder.join(MODULE), oracle::policy(0)).unwrap();
        timeline.begins(Some(0));
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE);
        let opa = Self {
            child: spawn_opa(binary, address, folder, false),
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            address,
            client: client.build().unwrap(),
            timeline,
            version: 0,
        };
        opa.is_up().await;
        opa.timeline.holds();
        opa
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Puts the next version in force, and returns once it is.
    pub(crate) async fn change(&mut self) {
        self.version += 1;
        let text = oracle::policy(self.version);
        std::fs::write(self.folder.join(MODULE), &text).unwrap();
        self.timeline.begins(Some(self.version));
        // By the name that OPA gives the file, so that the one takes the place of the other.
        let url = format!("http://{}/v1/policies/{MODULE}", self.address);
        let answer = self.client.put(url).body(text).send().await.unwrap();
        let fine = answer.status().is_success();
        assert!(fine, "{}", answer.text().await.unwrap());
        self.timeline.holds();
    }

    /// Ends it at once and starts it again, with its policy or with none.
    pub(crate) async fn restart(&mut self, empty: bool) {
        self.child.kill().await.unwrap();
        sleep(Duration::from_millis(300)).await;
        if empty {
            self.timeline.begins(None);
        }
        self.child = spawn_opa(&self.binary, self.address, &self.folder, empty);
        self.is_up().await;
        self.timeline.holds();
    }

    pub(crate) async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    async fn is_up(&self) {
        let up = async {
            while TcpStream::connect(self.address).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.unwrap();
    }
}

impl Attache {
    pub(crate) async fn start(binary: &Path, folder: &Path, opa: SocketAddr) -> Self {
        let (socket, audit) = (folder.join("ext_authz.sock"), folder.join("audit.jsonl"));
        let health = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = format!(
            r#"{}
listen:
  ext_authz: [{{unix: "{}", mode: "0660"}}]
  health: {{tcp: "{health}"}}
policy:
  engine: opa
  opa: {{endpoint: "http://{opa}", timeout: 250ms, health_interval: 500ms}}
  breaker: {{failure_threshold: 20, recovery_timeout: 100ms}}
  {CACHE}
limits: {{request_timeout: 400ms}}
audit: {{sinks: [{{jsonl: "{}"}}]}}
"#,
            oracle::RULES,
            socket.display(),
            audit.display()
        );
        let file = folder.join("attache.yaml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.join("attache.log")).unwrap();
        let mut command = Command::new(binary);
        let mut child = command
            .args(["serve", "--config"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let up = async {
            while UnixStream::connect(&socket).await.is_err() {
                if let Some(status) = child.try_wait().unwrap() {
                    let log = std::fs::read_to_string(folder.join("attache.log")).unwrap();
                    panic!("attache ended early, {status}: {log}");
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.unwrap();
        Self {
            child,
            socket,
            audit,
            kept: KEPT,
        }
    }

    /// How long after a change of the policy an older verdict may still come.
    pub(crate) const fn kept(&self) -> Duration {
        self.kept
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it in order, and gives the file of its audit trail.
    pub(crate) async fn stop(mut self) -> PathBuf {
        signal(&self.child, "TERM").await;
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "attache ended with {status}");
        self.audit
    }
}

/// Whether the chain of the trail is unbroken.
pub(crate) async fn verify(attache: &Path, audit: &Path) -> bool {
    let mut command = Command::new(attache);
    let output = command
        .args(["audit", "verify"])
        .arg(audit)
        .output()
        .await
        .unwrap();
    output.status.success()
}

fn spawn_opa(binary: &Path, address: SocketAddr, folder: &Path, empty: bool) -> Child {
    let mut command = Command::new(binary);
    command
        .args([
            "run",
            "--server",
            "--skip-version-check",
            "--log-level=error",
        ])
        .arg(format!("--addr={address}"))
        .args((!empty).then_some(MODULE))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    let status = Command::new("sh").args(["-c", &kill]).status().await;
    assert!(status.unwrap().success());
}

const MODULE: &str = "policy.rego";
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
