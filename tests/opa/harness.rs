//! An OPA as a child process, that never outlives its test, and an engine that asks it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::Timestamp;
use attache::permission::Tier;
use attache::policy::{
    Config, Context, Deadline, Input, OpaEngine, PolicyEngine as _, PolicyError, Protocol, Query,
    RequestInput, Terms, Verdict,
};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const LOG: &str = "opa.log";

/// A running OPA in a folder of its own.
#[derive(Debug)]
pub(crate) struct Opa {
    pub(crate) folder: TempDir,
    /// What `policy.opa.endpoint` is.
    pub(crate) endpoint: String,
    binary: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

/// The OPA to test with. Without one: `None`, or a panic where tests are required.
pub(crate) fn binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("OPA_BIN") {
        return Some(path.into());
    }
    let required = std::env::var_os("REQUIRE_OPA").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_OPA=1, but OPA_BIN is not set");
    eprintln!("skipped: set OPA_BIN (make test-opa does)");
    None
}

impl Opa {
    /// OPA with this module, on a port of its own; `None` where there is no OPA to test with.
    pub(crate) async fn with_module(module: &str) -> Option<Self> {
        Self::start(&[("policy.rego", module)], &["policy.rego"]).await
    }

    /// OPA with these files and arguments, on a port of its own.
    pub(crate) async fn start(files: &[(&str, &str)], arguments: &[&str]) -> Option<Self> {
        let port = free_port();
        let address = format!("127.0.0.1:{port}");
        let endpoint = format!("http://{address}");
        Self::start_at(&address, endpoint, files, arguments).await
    }

    /// OPA on a socket of its own.
    pub(crate) async fn on_a_socket(module: &str) -> Option<Self> {
        let name = format!("attache-opa-{}.sock", free_port());
        let path = std::env::temp_dir().join(name);
        let address = format!("unix://{}", path.display());
        Self::start_at(
            &address,
            address.clone(),
            &[("policy.rego", module)],
            &["policy.rego"],
        )
        .await
    }

    /// OPA at an address, known to the engine as `endpoint`.
    pub(crate) async fn start_at(
        address: &str,
        endpoint: String,
        files: &[(&str, &str)],
        arguments: &[&str],
    ) -> Option<Self> {
        let binary = binary()?;
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let arguments: Vec<_> = ["run", "--server", "--log-level", "error", "--addr", address]
            .iter()
            .chain(arguments)
            .map(|it| (*it).to_owned())
            .collect();
        let child = spawn(&binary, folder.path(), &arguments);
        let mut opa = Self {
            folder,
            endpoint,
            binary,
            arguments,
            child,
        };
        opa.is_up().await;
        Some(opa)
    }

    /// An engine that asks it, with `more` settings of `opa`.
    pub(crate) fn engine(&self, more: &str) -> OpaEngine {
        let endpoint = &self.endpoint;
        let text = format!("{{engine: opa, opa: {{endpoint: \"{endpoint}\", {more}}}}}");
        let config: Config = serde_saphyr::from_str(&text).unwrap();
        let base = self.folder.path().to_owned();
        let mut registry = Registry::default();
        OpaEngine::build(config.opa, config.path, base, None, &mut registry).unwrap()
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id().unwrap());
        let status = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(status.unwrap().success());
        // Its threads stop one after the other, and the last one may still answer.
        let state = format!("/proc/{}/stat", self.child.id().unwrap());
        let until = Instant::now() + PATIENCE;
        while name == "STOP" && !std::fs::read_to_string(&state).unwrap().contains(") T ") {
            assert!(Instant::now() < until, "OPA does not stop");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Ends the process at once.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Starts it again at the same address, without the last argument: the policy.
    pub(crate) async fn start_again_empty(&mut self) {
        let (_policy, arguments) = self.arguments.split_last().unwrap();
        self.child = spawn(&self.binary, self.folder.path(), arguments);
        self.is_up().await;
    }

    /// Waits until something listens, and fails where the process ends.
    async fn is_up(&mut self) {
        let address = self
            .arguments
            .windows(2)
            .find_map(|pair| (pair[0] == "--addr").then_some(pair[1].clone()))
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listens = match address.strip_prefix("unix://") {
                Some(path) => tokio::net::UnixStream::connect(path).await.is_ok(),
                None => tokio::net::TcpStream::connect(&address).await.is_ok(),
            };
            if listens {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.folder.path().join(LOG)).unwrap();
            assert!(ended.is_none(), "OPA ended: {ended:?}\n{}", log());
            assert!(Instant::now() < deadline, "OPA never listened");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        if let Some(path) = self.endpoint.strip_prefix("unix://") {
            // OPA leaves its socket behind when it is killed.
            drop(std::fs::remove_file(path));
        }
    }
}

fn spawn(binary: &Path, folder: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::create(folder.join(LOG)).unwrap();
    Command::new(binary)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// `action` by a reader of the trust domain on a document.
pub(crate) fn input(action: &str) -> Input {
    Input {
        mandate: None,
        caller: "spiffe://example.org/reader/a".parse().unwrap(),
        target: Some("spiffe://example.org/svc/documents".parse().unwrap()),
        action: action.parse().unwrap(),
        resource: "documents/1".parse().unwrap(),
        tier: Tier::Free,
        timestamp: Timestamp::from_unix_seconds(1_800_000_000),
        context: Context::default(),
        request: Some(RequestInput {
            protocol: Protocol::Http,
            method: "GET".to_owned(),
            host: "api.example.org".to_owned(),
            path: "/documents/1".to_owned(),
            params: [].into(),
            body: None,
        }),
        envoy: None,
    }
}

/// Asks with all the time that the settings give.
pub(crate) async fn ask(engine: &OpaEngine, action: &str) -> Result<Verdict, PolicyError> {
    let query = Query {
        input: Arc::new(input(action)),
        deadline: Deadline::after(Duration::from_secs(60)),
        terms: Terms::default(),
    };
    engine.evaluate(query).await
}
