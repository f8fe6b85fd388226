//! attache as a child process, with `deploy/spire/attache.yaml`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::net::TcpStream;

use super::client::probe;
use super::process::{Process, eventually};
use super::spire::Domain;
use super::{edited, free_port, shipped};

/// A running attache.
#[derive(Debug)]
pub(crate) struct Sidecar {
    process: Process,
    file: PathBuf,
    /// Where proxies ask.
    pub(crate) port: u16,
    health_port: u16,
}

/// The program under test; `ATTACHE_BIN` names another build of it.
pub(super) fn program() -> PathBuf {
    std::env::var_os("ATTACHE_BIN")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_attache").into())
        .into()
}

impl Sidecar {
    /// Starts the process and waits until it is ready.
    pub(super) async fn start(home: &Path, domain: &Domain, edits: &[(&str, &str)]) -> Self {
        let (port, health_port) = (free_port(), free_port());
        let (listen, health) = (format!("\"127.0.0.1:{port}\""), health_port.to_string());
        let (socket, audit) = (domain.socket(), home.join("audit.jsonl"));
        let mut all = vec![
            ("\"127.0.0.1:9191\"", &*listen),
            ("8082", &health),
            ("/run/spire/agent.sock", socket.to_str().unwrap()),
            ("/var/log/attache/audit.jsonl", audit.to_str().unwrap()),
            // Well below half of what these SVIDs live.
            ("max_connection_age: 5m", "max_connection_age: 2s"),
            // A busy test machine is no reason to deny.
            ("limits:", "limits:\n  request_timeout: 4s"),
        ];
        all.extend(edits);
        let file = home.join("attache.yaml");
        fs::write(&file, shipped("attache.yaml", &all)).unwrap();
        let process = Process::spawn(
            "attache",
            home,
            Command::new(program())
                .args(["serve", "--config"])
                .arg(&file),
        );
        let mut sidecar = Self {
            process,
            file,
            port,
            health_port,
        };
        sidecar.ready().await;
        sidecar
    }

    /// Waits until it is ready and has nothing to say about its certificate.
    pub(crate) async fn ready(&mut self) {
        eventually("attache is ready", async || {
            self.process.assert_running();
            let (status, text) = self.get("/readyz").await?;
            (status == 200 && !text.contains("tls:")).then_some(())
        })
        .await;
    }

    /// Edits the configuration under its feet, and waits until it is in force.
    pub(crate) async fn reload(&self, edits: &[(&str, &str)]) {
        let reloads = async || self.metric("attache_reloads_total", CHANGED).await;
        let before = reloads().await;
        let text = fs::read_to_string(&self.file).unwrap();
        fs::write(&self.file, edited(text, edits)).unwrap();
        eventually("the configuration is in force", async || {
            (reloads().await > before).then_some(())
        })
        .await;
    }

    /// An answer of the health port: status and body.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = TcpStream::connect(("127.0.0.1", self.health_port))
            .await
            .ok()?;
        let answer = probe(stream, path).await?;
        Some((answer.status, answer.text().to_owned()))
    }

    /// The sum of a metric over all of its series with the label; 0 where there is none.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> u64 {
        let (_, text) = self.get("/metrics").await.expect("metrics");
        text.lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "))
            .filter(|(labels, _)| labels.split(',').any(|it| it == label))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum()
    }

    /// The audit record of an answer.
    pub(crate) fn record_of(&self, decision: &str) -> Option<serde_json::Value> {
        let text = fs::read_to_string(self.file.with_file_name("audit.jsonl")).ok()?;
        text.lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|record| record["decision_id"] == decision)
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.output()
    }
}

const CHANGED: &str = "result=\"changed\"";
