//! One trust domain: a SPIRE server, and the agent of this host.
//!
//! SPIRE 1.13 enforces no shortest lifetime, sets `notBefore` ten seconds back, and renews when less than half of the whole
//! is left: an SVID of 16 s is renewed some 3 s after it was made. Only the rhythm of looking has to be shortened for that, from
//! 5 s to 1 s: the agent's (`experimental.sync_interval`), and for deletions also the server's
//! (`experimental.cache_reload_interval`).

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::process::{Process, within};
use super::{free_port, shipped};

/// A trust domain that is served.
#[derive(Debug)]
pub(crate) struct Domain {
    pub(super) name: &'static str,
    tools: PathBuf,
    home: PathBuf,
    /// Who may be a workload.
    uid: u32,
    token: String,
    agent: Option<Process>,
    server: Process,
}

/// A registration: who gets which SVID.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its key, for deletion.
    pub(crate) name: &'static str,
    pub(crate) id: &'static str,
    /// Processes that run this program have the identity.
    pub(crate) program: PathBuf,
    pub(crate) federates_with: Option<&'static str>,
}

impl Domain {
    /// Starts the server. SVIDs live for `ttl` seconds.
    pub(super) async fn start(tools: &Path, home: &Path, name: &'static str, ttl: u32) -> Self {
        let home = home.join(name);
        fs::create_dir_all(home.join("server")).unwrap();
        let port = free_port().to_string();
        let folder = home.to_str().unwrap();
        let server = shipped(
            "server.conf",
            &[
                ("8081", &port),
                ("/run/spire", folder),
                ("/var/lib/spire", folder),
                ("example.org", name),
                (
                    "default_x509_svid_ttl = \"1h\"",
                    &format!("default_x509_svid_ttl = \"{ttl}s\""),
                ),
                (
                    "log_level = \"INFO\"",
                    "log_level = \"INFO\"\n    experimental { cache_reload_interval = \"1s\" }",
                ),
            ],
        );
        fs::write(home.join("server.conf"), server).unwrap();
        let agent = shipped(
            "agent.conf",
            &[
                ("8081", &port),
                ("/run/spire", folder),
                ("/var/lib/spire", folder),
                ("example.org", name),
                (
                    "log_level = \"INFO\"",
                    "log_level = \"INFO\"\n    experimental { sync_interval = \"1s\" }",
                ),
            ],
        );
        fs::write(home.join("agent.conf"), agent).unwrap();
        let process = Process::spawn(
            "spire-server",
            &home,
            Command::new(tools.join("spire-server")).args(["run", "-config", "server.conf"]),
        );
        let mut domain = Self {
            name,
            tools: tools.to_owned(),
            uid: fs::metadata(&home).unwrap().uid(),
            token: String::new(),
            agent: None,
            server: process,
            home,
        };
        let socket = domain.server_socket();
        within(START, "the SPIRE server listens", async || {
            domain.server.assert_running();
            socket.exists().then_some(())
        })
        .await;
        let bundle = within(START, "the SPIRE server has a bundle", async || {
            domain.try_ask(&["bundle", "show"]).await.ok()
        })
        .await;
        fs::write(domain.home.join("bundle.pem"), bundle).unwrap();
        let host = domain.id("host");
        let said = domain.ask(&["token", "generate", "-spiffeID", &host]).await;
        let token = said.lines().find_map(|line| line.strip_prefix("Token: "));
        token.expect("a join token").clone_into(&mut domain.token);
        domain
    }

    /// An ID of this trust domain.
    pub(crate) fn id(&self, path: &str) -> String {
        format!("spiffe://{}/{path}", self.name)
    }

    /// The socket of the agent.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("agent.sock")
    }

    /// Starts the agent: the first time with a join token, later with what it has kept.
    pub(crate) async fn start_agent(&mut self) {
        let mut command = Command::new(self.tools.join("spire-agent"));
        command.args(["run", "-config", "agent.conf"]);
        if !self.token.is_empty() {
            command.args(["-joinToken", &self.token]);
            self.token.clear();
        }
        let mut process = Process::spawn("spire-agent", &self.home, &mut command);
        within(START, "the SPIRE agent serves", async || {
            process.assert_running();
            std::os::unix::net::UnixStream::connect(self.socket()).ok()
        })
        .await;
        self.agent = Some(process);
    }

    /// Ends the agent; its socket may stay behind.
    pub(crate) fn stop_agent(&mut self) {
        self.agent.take().expect("the agent runs").kill();
    }

    /// Registers workloads of this host.
    pub(crate) async fn register(&self, entries: &[Entry]) {
        let entries = entries.iter().map(|entry| {
            let program = entry.program.canonicalize().unwrap();
            let federates_with = entry.federates_with.map(|name| format!("spiffe://{name}"));
            json!({
                "entry_id": entry.name,
                "spiffe_id": entry.id,
                "parent_id": self.id("host"),
                "selectors": [
                    {"type": "unix", "value": format!("uid:{}", self.uid)},
                    {"type": "unix", "value": format!("path:{}", program.display())},
                ],
                "federates_with": federates_with.as_slice(),
            })
        });
        let file = self.home.join("entries.json");
        let text = json!({"entries": entries.collect::<Vec<_>>()}).to_string();
        fs::write(&file, text).unwrap();
        self.ask(&["entry", "create", "-data", file.to_str().unwrap()])
            .await;
    }

    /// Deletes a registration.
    pub(crate) async fn delete(&self, name: &str) {
        self.ask(&["entry", "delete", "-entryID", name]).await;
    }

    /// Takes in the bundle of another trust domain.
    pub(crate) async fn learn(&self, other: &Self) {
        let bundle = other.ask(&["bundle", "show", "-format", "spiffe"]).await;
        let file = self.home.join("other.json");
        fs::write(&file, bundle).unwrap();
        let (id, path) = (format!("spiffe://{}", other.name), file.to_str().unwrap());
        self.ask(&[
            "bundle", "set", "-format", "spiffe", "-id", &id, "-path", path,
        ])
        .await;
    }

    /// Drops the bundle of another trust domain, from all entries as well.
    pub(crate) async fn forget(&self, other: &Self) {
        let id = format!("spiffe://{}", other.name);
        self.ask(&["bundle", "delete", "-id", &id, "-mode", "dissociate"])
            .await;
    }

    /// Makes another authority, which stands in the bundle and signs nothing yet.
    pub(crate) async fn prepare_authority(&self) {
        self.ask(&["localauthority", "x509", "prepare"]).await;
    }

    /// Has the prepared authority sign from now on.
    pub(crate) async fn activate_authority(&self) {
        let next = self.authority("prepared").await;
        self.ask(&["localauthority", "x509", "activate", "-authorityID", &next])
            .await;
    }

    /// Takes the authority before out of the bundle. Nothing may be in use that it signed: for a moment the agent takes
    /// away what is tainted, before it has anything in its place.
    pub(crate) async fn revoke_old_authority(&self) {
        let old = self.authority("old").await;
        for step in ["taint", "revoke"] {
            self.ask(&["localauthority", "x509", step, "-authorityID", &old])
                .await;
        }
    }

    async fn authority(&self, slot: &str) -> String {
        let said = self
            .ask(&["localauthority", "x509", "show", "-output", "json"])
            .await;
        let slots: serde_json::Value = serde_json::from_str(&said).unwrap();
        let id = slots[slot]["authority_id"].as_str();
        id.unwrap_or_else(|| panic!("no {slot} authority: {said}"))
            .to_owned()
    }

    fn server_socket(&self) -> PathBuf {
        self.home.join("server.sock")
    }

    async fn ask(&self, arguments: &[&str]) -> String {
        let said = self.try_ask(arguments).await;
        said.unwrap_or_else(|error| panic!("spire-server {arguments:?}: {error}"))
    }

    async fn try_ask(&self, arguments: &[&str]) -> Result<String, String> {
        let output = tokio::process::Command::new(self.tools.join("spire-server"))
            .args(arguments)
            .arg("-socketPath")
            .arg(self.server_socket())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stdout) + &text(output.stderr))
        }
    }
}

/// Servers make keys and a database first.
const START: Duration = Duration::from_secs(40);
