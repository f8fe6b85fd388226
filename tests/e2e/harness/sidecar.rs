//! attache as a child process, with a configuration that gives every kind of decision an example.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::TcpStream;

use super::Setup;
use super::client::probe;
use super::process::{Process, eventually};

/// A running attache.
#[derive(Debug)]
pub(crate) struct Sidecar {
    process: Option<Process>,
    home: PathBuf,
    /// The port Envoy asks on, where it is not the Unix socket.
    pub(crate) ext_authz_port: Option<u16>,
    /// The plaintext port for health and metrics.
    pub(crate) health_port: u16,
}

/// The policies of a test: a directory behind a symbolic link, as Kubernetes mounts a ConfigMap.
const POLICY: &str = "policy";

impl Sidecar {
    pub(super) fn new(home: &Path, setup: &Setup) -> Self {
        let sidecar = Self {
            process: None,
            home: home.to_owned(),
            ext_authz_port: setup.loopback.then(free_port),
            health_port: free_port(),
        };
        if let Some(module) = setup.policy {
            fs::create_dir(home.join(POLICY)).unwrap();
            std::os::unix::fs::symlink("..data/authz.rego", home.join(POLICY).join("authz.rego"))
                .unwrap();
            sidecar.swap_policy(module);
        }
        fs::write(home.join("attache.yaml"), sidecar.configuration(setup)).unwrap();
        sidecar
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        let mut process = Process::spawn(
            "attache",
            &self.home,
            Command::new(attache_binary())
                .args(["serve", "--config"])
                .arg(self.home.join("attache.yaml")),
        );
        eventually("attache is ready", async || {
            process.assert_running();
            self.get("/readyz")
                .await
                .filter(|(status, _)| *status == 200)
        })
        .await;
        self.process = Some(process);
    }

    /// The running process.
    pub(crate) fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("attache was started")
    }

    /// An answer of the health port: status and body.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(("127.0.0.1", self.health_port))
            .await
            .ok()?;
        let answer = probe(stream, path).await?;
        Some((answer.status, answer.text().to_owned()))
    }

    /// Replaces the policy the way Kubernetes updates a mounted ConfigMap: a new directory, one rename.
    pub(crate) fn swap_policy(&self, module: &str) {
        let policy = self.home.join(POLICY);
        let generation = tempfile::Builder::new()
            .prefix("..generation-")
            .tempdir_in(&policy)
            .unwrap()
            .keep();
        fs::write(generation.join("authz.rego"), module).unwrap();
        std::os::unix::fs::symlink(generation.file_name().unwrap(), policy.join("..data_tmp"))
            .unwrap();
        fs::rename(policy.join("..data_tmp"), policy.join("..data")).unwrap();
    }

    /// The audit file.
    pub(crate) fn audit_file(&self) -> PathBuf {
        self.home.join("audit.jsonl")
    }

    /// Every audit record so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        fs::read_to_string(self.audit_file())
            .unwrap_or_default()
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// The audit records about requests, without those about attache itself.
    pub(crate) fn decisions(&self) -> Vec<serde_json::Value> {
        let about_a_request = |record: &serde_json::Value| {
            let kind = record["event_type"].as_str().unwrap();
            kind.starts_with("permission.")
        };
        self.audit().into_iter().filter(about_a_request).collect()
    }

    fn configuration(&self, setup: &Setup) -> String {
        let home = self.home.display();
        let health = self.health_port;
        let (listener, trust) = match self.ext_authz_port {
            Some(port) => (format!("{{tcp: \"127.0.0.1:{port}\"}}"), "loopback"),
            None => (
                format!("{{unix: \"{home}/ext_authz.sock\", mode: \"0660\"}}"),
                "unix",
            ),
        };
        let modules = match setup.policy {
            Some(_) => format!("[\"{home}/{POLICY}/\"]"),
            None => "[]".to_owned(),
        };
        let input = if setup.envoy_words {
            "envoy"
        } else {
            "attache"
        };
        let (limits, evaluation) = if setup.hurried {
            ("", "50ms")
        } else {
            ("limits: {request_timeout: 4s}", "2s")
        };
        let more = &setup.more;
        format!(
            r#"
mode: development
trust_domain: example.org
listen:
  ext_authz: [{listener}]
  health: {{tcp: "127.0.0.1:{health}"}}
identity: {{trust_local: {trust}}}
agents: ["spiffe://example.org/agent/**"]
workloads:
  - match: spiffe://example.org/svc/reporting
    permissions:
      - documents/**:read
      - documents/**:update
      - documents/**:delete@supervised
      - billing/**:update
      - health:read
routes:
  - {{method: GET, path: "/documents/{{id}}", resource: "documents/{{id}}", action: read}}
  - {{method: PUT, path: "/documents/{{id}}", resource: "documents/{{id}}", action: update}}
  - {{method: DELETE, path: "/documents/{{id}}", resource: "documents/{{id}}", action: delete}}
  - {{method: PUT, path: "/billing/{{id}}", resource: "billing/{{id}}", action: update}}
  - {{grpc: "grpc.health.v1.Health/Check", resource: health, action: read}}
  - {{grpc: "grpc.health.v1.Health/Watch", resource: health, action: admin}}
tiers:
  default: forbidden
  rules:
    - {{resource: "**", action: read, tier: free}}
    - {{resource: "documents/**", action: update, tier: free}}
    - {{resource: "documents/**", action: delete, tier: supervised}}
    - {{resource: "billing/**", action: "*", tier: forbidden}}
policy:
  engine: embedded
  path: agentweave/authz/allow
  input: {input}
  embedded: {{modules: {modules}, reload: true, time_limit: {evaluation}}}
audit: {{sinks: [{{jsonl: "{home}/audit.jsonl"}}]}}
{limits}
{more}
"#
        )
    }
}

/// The program under test; `ATTACHE_BIN` names another build of it, a release build for instance.
fn attache_binary() -> OsString {
    std::env::var_os("ATTACHE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_attache").into())
}

/// A port that nothing listened on a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
