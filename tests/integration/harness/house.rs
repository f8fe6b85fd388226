//! A process in this process: configuration in a folder of its own, a Unix socket, probes on a free port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use attache::app::{App, RunError};
use attache::clock::{Clock, SystemClock};
use attache::config::Config;
use attache::lifecycle::Shutdown;
use attache::socket::Address;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::Answer;

/// What to build.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Sections beside those of [`RULES`].
    pub(crate) more: String,
    /// The witness's section; records in `audit.jsonl` where empty.
    pub(crate) audit: String,
    /// The section of tables.
    pub(crate) rules: String,
    /// The policy; the shipped one where empty.
    pub(crate) rego: String,
    /// More settings of the embedded engine; or the whole section, beginning with `{engine`.
    pub(crate) policy: String,
    /// The listener; a Unix socket where empty.
    pub(crate) listener: String,
    /// Further lines of `listen`.
    pub(crate) doors: String,
    /// Files beside the configuration, by path.
    pub(crate) files: Vec<(String, String)>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Whether the configuration file is watched.
    pub(crate) watched: bool,
}

/// A running process and the proxy beside it.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) dir: TempDir,
    pub(crate) address: Address,
    /// Where `mesh` and `http` listen.
    pub(crate) mesh: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) health: String,
    pub(crate) channel: Channel,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: JoinHandle<Result<(), RunError>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            more: String::new(),
            audit: String::new(),
            rules: RULES.to_owned(),
            rego: String::new(),
            policy: String::new(),
            listener: String::new(),
            doors: String::new(),
            files: Vec::new(),
            clock: Arc::new(SystemClock),
            watched: false,
        }
    }
}

impl Plan {
    pub(crate) fn with(more: &str) -> Self {
        Self {
            more: more.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn with_policy(rego: &str) -> Self {
        Self {
            rego: rego.to_owned(),
            ..Self::default()
        }
    }

    /// The configuration for a folder.
    pub(crate) fn text(&self, dir: &Path) -> String {
        let listener = if self.listener.is_empty() {
            format!("{{unix: {}}}", dir.join("authz.sock").display())
        } else {
            self.listener.clone()
        };
        let doors = &self.doors;
        let audit = match &*self.audit {
            "" => "audit: {sinks: [{jsonl: audit.jsonl}]}\n",
            audit => audit,
        };
        let modules = if self.rego.is_empty() {
            "[]"
        } else {
            "[policy]"
        };
        // Where a test is not about time, a busy machine has enough of it.
        let policy = match &*self.policy {
            "" => "time_limit: 10s",
            policy => policy,
        };
        let policy = if policy.starts_with("{engine") {
            policy.to_owned()
        } else {
            format!("{{embedded: {{modules: {modules}, {policy}}}}}")
        };
        let limits = if self.more.contains("limits:") {
            ""
        } else {
            "limits: {request_timeout: 10s}"
        };
        format!(
            "trust_domain: example.org\n\
             listen:\n  ext_authz: [{listener}]\n  health: {{tcp: \"127.0.0.1:0\"}}\n{doors}\
             {audit}\
             policy: {policy}\n{limits}\n{}\n{}\n",
            self.rules, self.more
        )
    }

    /// Puts the files into a new folder; the configuration file comes back.
    pub(crate) fn lay_out(&self) -> (TempDir, PathBuf) {
        let dir = tempfile::Builder::new()
            .prefix("attache")
            .tempdir()
            .unwrap();
        if !self.rego.is_empty() {
            std::fs::create_dir(dir.path().join("policy")).unwrap();
            std::fs::write(dir.path().join("policy/policy.rego"), &self.rego).unwrap();
        }
        for (name, text) in &self.files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let file = dir.path().join("attache.yaml");
        std::fs::write(&file, self.text(dir.path())).unwrap();
        (dir, file)
    }

    /// Builds and starts it.
    pub(crate) async fn open(self) -> House {
        let (dir, file) = self.lay_out();
        self.open_at(dir, file).await
    }

    /// Builds and starts what was laid out.
    pub(crate) async fn open_at(self, dir: TempDir, file: PathBuf) -> House {
        let config = Config::read(&file).unwrap_or_else(|error| panic!("{error}"));
        let watched = self.watched.then_some(file);
        let app = App::build(config, watched, self.clock).await.unwrap();
        let address = app.ext_authz_addresses().next().unwrap().clone();
        let tcp = |address: Option<&Address>| match address {
            Some(Address::Tcp(address)) => Some(*address),
            _ => None,
        };
        let (mesh, http) = (tcp(app.mesh_address()), tcp(app.http_address()));
        let health = app.health_address().unwrap().to_string();
        let shutdown = Shutdown::default();
        let running = tokio::spawn(app.run(shutdown.clone()));
        let channel = if self.listener.contains("tls:") {
            // Who wants to ask there shows a certificate.
            Endpoint::from_static("http://nobody.invalid").connect_lazy()
        } else {
            connect(&address).await
        };
        House {
            dir,
            address,
            mesh,
            http,
            health,
            channel,
            shutdown,
            running,
        }
    }
}

/// A connection of its own to a listener.
pub(crate) async fn connect(address: &Address) -> Channel {
    let uri = match address {
        Address::Unix { path, .. } => format!("unix:{}", path.display()),
        Address::Tcp(address) => format!("http://{address}"),
    };
    Endpoint::from_shared(uri).unwrap().connect().await.unwrap()
}

impl House {
    /// The usual house.
    pub(crate) async fn open() -> Self {
        Plan::default().open().await
    }

    pub(crate) fn client(&self) -> AuthorizationClient<Channel> {
        AuthorizationClient::new(self.channel.clone())
    }

    /// Asks as Envoy does.
    pub(crate) async fn check(&self, request: CheckRequest) -> Answer {
        let response = self.client().check(request).await;
        Answer::read(response.expect("Check never fails").into_inner())
    }

    /// `allow`, or the reason of the denial.
    pub(crate) async fn word(&self, request: CheckRequest) -> String {
        self.check(request).await.word().to_owned()
    }

    /// The records so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join("audit.jsonl")).unwrap();
        text.lines()
            // The last line may be half written.
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits for the first record that `matches`.
    pub(crate) async fn record(&self, matches: impl Fn(&Value) -> bool) -> Value {
        eventually("a record", || self.records().into_iter().find(&matches)).await
    }

    /// The record of a decision.
    pub(crate) async fn record_of(&self, answer: &Answer) -> Value {
        let id = answer.decision_id().to_owned();
        self.record(|record| record["decision_id"] == *id).await
    }

    /// Stops in order, then gives everything that was recorded.
    pub(crate) async fn close(mut self) -> Vec<Value> {
        self.shutdown.drain();
        let ended = tokio::time::timeout(PATIENCE, &mut self.running).await;
        ended.expect("the stop ends").unwrap().unwrap();
        self.records()
    }

    /// The body and status of a path on the health listener.
    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        get(&self.health, path).await
    }

    /// The value of a metric with exactly these labels, zero where it is absent.
    pub(crate) async fn metric(&self, sample: &str) -> u64 {
        let (_, text) = self.probe("/metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.abort();
    }
}

/// One HTTP request on a connection of its own.
pub(crate) async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(
        status != 200 || path != "/metrics" || head.contains(OPENMETRICS),
        "{head}"
    );
    (status, body.to_owned())
}

const OPENMETRICS: &str =
    "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Looks again and again until there is something, and fails where there never is.
pub(crate) async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    eventually_async(what, || std::future::ready(look())).await
}

/// Like [`eventually`], where looking takes waiting.
pub(crate) async fn eventually_async<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let searching = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, searching).await;
    found.unwrap_or_else(|_elapsed| panic!("{what} never came"))
}

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tables that most tests share.
pub(crate) const RULES: &str = r#"
agents: ["spiffe://example.org/agent/**"]
workloads:
  - match: "spiffe://example.org/svc/reporting"
    permissions:
      - "documents/**:read"
      - "documents/**:update"
      - "documents/**:delete@supervised"
      - "documents/**:purge"
      - "reports:create"
      - "trial/**:read"
      - "admin/**:read"
      - "hosted:read"
      - "echo:call"
routes:
  - {method: GET, path: "/documents", resource: documents, action: read}
  - {method: GET, path: "/documents/{id}", resource: "documents/{id}", action: read}
  - {method: PUT, path: "/documents/{id}", resource: "documents/{id}", action: update}
  - {method: DELETE, path: "/documents/{id}", resource: "documents/{id}", action: delete}
  - {method: POST, path: "/documents/{id}/purge", resource: "documents/{id}", action: purge}
  - {method: POST, path: "/reports", resource: reports, action: create, body: json, target: "spiffe://example.org/svc/reports"}
  - {method: GET, path: "/trial/{id}", resource: "trial/{id}", action: write, mode: shadow}
  - {method: GET, path: "/admin", resource: admin, action: read}
  - {method: GET, path: "/admin/**", resource: "admin", action: read}
  - {method: GET, host: h.example, path: "/hosted", resource: hosted, action: read}
  - {grpc: "documents.v1.Documents/Read", resource: documents, action: read}
  - {grpc: "documents.v1.Documents/Delete", resource: documents, action: delete}
tiers:
  default: forbidden
  rules:
    - {resource: "**", action: read, tier: free}
    - {resource: "documents/**", action: update, tier: free}
    - {resource: "documents/**", action: delete, tier: supervised}
    - {resource: reports, action: create, tier: free}
"#;
