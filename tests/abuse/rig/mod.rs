//! The real binary, an attacker's connections to it, and an honest proxy that asks all the while.

pub(crate) mod frames;
pub(crate) mod raw;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::socket::Address;
use envoy_types::pb::envoy::service::auth::v3::CheckRequest;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use prost::Message as _;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::harness::decisions::{self, Decision, about, call};
use crate::harness::house::{connect, eventually, get};
use crate::harness::mesh::{self, Client, ENVOY, SELF};
use crate::harness::pki::Authority;
use crate::harness::{Answer, Plan, REPORTING, ask, wire};

use raw::Raw;

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The longest that an honest proxy may have to wait beside an attack. Envoy gives up sooner; a debug build on a busy
/// machine is slower than that without any attack.
const BUDGET: Duration = Duration::from_secs(5);

/// A process, and the one of its listeners that is attacked.
pub(crate) struct Rig {
    child: Child,
    door: Door,
    pub(crate) address: Address,
    pub(crate) health: String,
    log: Arc<Mutex<Vec<String>>>,
    authority: Authority,
    _dir: TempDir,
}

/// What is attacked: `listen.ext_authz` in three forms, `listen.mesh` or `listen.http`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Unix,
    Tcp,
    Tls,
    Mesh,
    Http,
}

impl Door {
    /// One of each kind of listener.
    pub(crate) const KINDS: [Self; 3] = [Self::Unix, Self::Mesh, Self::Http];
    /// One of each kind, all of them with TLS.
    pub(crate) const SECURED: [Self; 3] = [Self::Tls, Self::Mesh, Self::Http];

    /// The kind of listener, in the words of the configuration, the log and the metrics.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Unix | Self::Tcp | Self::Tls => "ext_authz",
            Self::Mesh => "mesh",
            Self::Http => "http",
        }
    }

    /// Whether proxies ask here; elsewhere workloads do.
    pub(crate) fn is_for_proxies(self) -> bool {
        self.kind() == "ext_authz"
    }

    /// The path of the call that asks for a decision.
    pub(crate) fn path(self) -> &'static str {
        if self.is_for_proxies() {
            frames::CHECK
        } else {
            decisions::CHECK
        }
    }
}

/// How the honest proxy fared.
#[derive(Debug, Default)]
struct Tally {
    asked: usize,
    slowest: Duration,
}

/// A listener on loopback, where any process may speak for callers.
pub(crate) fn loopback(limits: &str) -> Plan {
    Plan {
        listener: "{tcp: \"127.0.0.1:0\"}".to_owned(),
        ..Plan::with(&format!("identity: {{trust_local: loopback}}\n{limits}"))
    }
}

impl Rig {
    /// Starts the binary with a Unix socket, and `limits` in its configuration.
    pub(crate) async fn unix(limits: &str) -> Self {
        Self::at(Door::Unix, limits).await
    }

    /// Starts it with a plaintext TCP listener.
    pub(crate) async fn tcp(limits: &str) -> Self {
        Self::at(Door::Tcp, limits).await
    }

    /// Starts it with a TLS listener.
    pub(crate) async fn tls(limits: &str) -> Self {
        Self::at(Door::Tls, limits).await
    }

    /// Starts it with the listener that is to be attacked.
    pub(crate) async fn at(door: Door, limits: &str) -> Self {
        let authority = Authority::of("example.org");
        let own = authority.svid(SELF);
        let mut plan = match door {
            Door::Unix => Plan::default(),
            Door::Tcp => loopback(""),
            Door::Tls => mesh::plan(&authority, &own),
            Door::Mesh | Door::Http => mesh::doors(&authority, &own),
        };
        plan.more += limits;
        Self::start(door, plan, authority, "").await
    }

    /// Starts what `plan` describes; `before` is shell, such as `ulimit -n 64;`.
    pub(crate) async fn start(door: Door, plan: Plan, authority: Authority, before: &str) -> Self {
        let (dir, file) = plan.lay_out();
        let command = format!("{before} exec \"$0\" serve --config \"$1\"");
        let mut child = Command::new("sh")
            .args(["-c", &command, env!("CARGO_BIN_EXE_attache")])
            .arg(&file)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let writing = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                writing.lock().unwrap().push(line);
            }
        });
        let attacked = said(&log, &format!("serving {}", door.kind())).await;
        let health = said(&log, "serving health").await;
        let address = match attacked.strip_prefix("unix:") {
            Some(path) => Address::Unix {
                path: PathBuf::from(path),
                mode: 0,
            },
            None => Address::Tcp(attacked.parse().unwrap()),
        };
        Self {
            child,
            door,
            address,
            health,
            log,
            authority,
            _dir: dir,
        }
    }

    /// The TCP address of the listener.
    pub(crate) fn tcp_address(&self) -> SocketAddr {
        match &self.address {
            Address::Tcp(address) => *address,
            Address::Unix { path, .. } => panic!("{}", path.display()),
        }
    }

    fn is_secured(&self) -> bool {
        Door::SECURED.contains(&self.door)
    }

    /// The header block of the call that asks for a decision.
    pub(crate) fn call(&self) -> Vec<u8> {
        frames::call(self.door.path())
    }

    /// HEADERS that begin that call, which goes on.
    pub(crate) fn begin(&self, stream: u32) -> Vec<u8> {
        frames::begin_call(self.door.path(), stream)
    }

    /// What an honest client asks, as gRPC puts it on the wire.
    pub(crate) fn question(&self) -> Vec<u8> {
        if self.door.is_for_proxies() {
            framed(&ask("GET", "/documents/42"))
        } else {
            wire::framed(&question().encode_to_vec())
        }
    }

    /// Asks as an honest client of this listener does.
    async fn answered(&self, channel: Channel) {
        if self.door.is_for_proxies() {
            return allowed(channel).await;
        }
        let told: Decision = call(&channel, decisions::CHECK, question()).await.unwrap();
        assert_eq!(told.word(), "allow");
    }

    /// A client with the certificate of a listed proxy.
    pub(crate) fn envoy(&self) -> Client {
        Client::new(&self.authority, Some(self.authority.svid(ENVOY)))
    }

    /// A connection that begins as HTTP/2 does.
    pub(crate) async fn dial(&self) -> Raw {
        self.dial_with(&frames::frame(frames::SETTINGS, 0, 0, &[]))
            .await
    }

    /// A connection with these SETTINGS.
    pub(crate) async fn dial_with(&self, settings: &[u8]) -> Raw {
        match &self.address {
            Address::Unix { path, .. } => {
                Raw::greet_with(UnixStream::connect(path).await.unwrap(), settings).await
            }
            Address::Tcp(address) if self.is_secured() => {
                Raw::greet_with(self.envoy().handshake(*address).await.unwrap(), settings).await
            }
            Address::Tcp(address) => {
                Raw::greet_with(TcpStream::connect(address).await.unwrap(), settings).await
            }
        }
    }

    /// A connection of an honest proxy.
    pub(crate) async fn channel(&self) -> Channel {
        if self.is_secured() {
            return self.envoy().connect(self.tcp_address()).await.unwrap();
        }
        connect(&self.address).await
    }

    /// Attacks while an honest proxy asks, over one connection that it has had before and ever new ones; every answer
    /// must be the right one, and in time.
    pub(crate) fn beside<'a, T: 'a>(
        &'a self,
        attack: impl Future<Output = T> + 'a,
    ) -> LocalBoxFuture<'a, T> {
        self.attacked(true, attack).boxed_local()
    }

    /// Like [`beside`](Self::beside), for attacks that leave no room for new connections.
    pub(crate) fn beside_connected<'a, T: 'a>(
        &'a self,
        attack: impl Future<Output = T> + 'a,
    ) -> LocalBoxFuture<'a, T> {
        self.attacked(false, attack).boxed_local()
    }

    async fn attacked<T>(&self, reconnects: bool, attack: impl Future<Output = T>) -> T {
        let kept = self.channel().await;
        self.answered(kept.clone()).await;
        let over = tokio_util::sync::CancellationToken::new();
        let asking = async {
            let mut tally = Tally::default();
            // Also where the attack is over at once.
            while !over.is_cancelled() || tally.asked < LEAST {
                let begun = Instant::now();
                let channel = match tally.asked % 4 {
                    0 if reconnects => self.channel().await,
                    _ => kept.clone(),
                };
                self.answered(channel).await;
                tally.slowest = tally.slowest.max(begun.elapsed());
                tally.asked += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            tally
        };
        let attacking = async {
            let outcome = attack.await;
            over.cancel();
            outcome
        };
        let (outcome, tally) = tokio::join!(attacking, asking);
        assert!(tally.slowest < BUDGET, "{tally:?}");
        let log = self.log();
        assert!(!log.iter().any(|it| it.contains("panicked")), "{log:#?}");
        outcome
    }

    /// What the process has written to its log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Processor time that the process has used (proc(5), `/proc/pid/stat`).
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<_> = rest.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().unwrap();
        // Linux reports in hundredths of a second on every platform.
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// Resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn peak(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// A line of `/proc/pid/status` (proc(5)).
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|it| it.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        std::fs::read_dir(path).unwrap().count()
    }

    /// The value of a metric with exactly these labels, zero where it is absent.
    pub(crate) async fn metric(&self, sample: &str) -> u64 {
        let (_, text) = get(&self.health, "/metrics").await;
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Checks that were denied or given up, for whatever reason.
    pub(crate) async fn refusals(&self) -> u64 {
        let (_, text) = get(&self.health, "/metrics").await;
        let checks = text.lines().filter_map(|line| {
            let (labels, value) = line
                .strip_prefix("attache_checks_total{")?
                .split_once("} ")?;
            (!labels.contains("outcome=\"allow\"")).then_some(value)
        });
        checks.map(|value| value.parse::<u64>().unwrap()).sum()
    }
}

/// The address that a line of the log names.
async fn said(log: &Mutex<Vec<String>>, message: &str) -> String {
    eventually(message, || {
        let log = log.lock().unwrap();
        let line = log.iter().find(|line| line.contains(message))?;
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        Some(line["address"].as_str().unwrap().to_owned())
    })
    .await
}

/// Asks as an honest proxy does; anything but an allowance fails the test.
pub(crate) async fn allowed(channel: Channel) {
    let mut client = AuthorizationClient::new(channel);
    let mut response = client.check(ask("GET", "/documents/42")).await;
    // Asked to leave before it had sent the request, Envoy sends it over its next connection; so does this one.
    for _ in 0..2 {
        if response.as_ref().is_err_and(was_asked_to_leave) {
            response = client.check(ask("GET", "/documents/42")).await;
        }
    }
    let answer = Answer::read(response.expect("Check never fails").into_inner());
    assert!(answer.is_allowed(), "{answer:?}");
}

/// Whether a request met a GOAWAY that finds no fault (RFC 9113 section 6.8), or the connection had gone before it was sent.
fn was_asked_to_leave(status: &tonic::Status) -> bool {
    let mut cause: Option<&dyn Error> = Some(status);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        }
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

/// What a proxy asks on `mesh` and `http`, on behalf of a caller.
fn question() -> decisions::CheckRequest {
    about(REPORTING, "documents/42", "read")
}

/// A message as gRPC puts it on the wire.
pub(crate) fn framed(request: &CheckRequest) -> Vec<u8> {
    wire::framed(&request.encode_to_vec())
}

/// Requests of the honest proxy at least.
const LEAST: usize = 20;
