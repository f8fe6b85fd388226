//! attache as a child process, one life after the other over the same trail.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::{Arguments, Kept, file_of, named};

/// A folder with a configuration and a trail.
#[derive(Debug)]
pub(crate) struct House {
    attache: PathBuf,
    folder: PathBuf,
    kept: Kept,
    lie: bool,
    strace: Option<PathBuf>,
    rotations: AtomicU32,
}

/// A call of the kernel at which the process dies: the `when`th of its kind in one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) call: &'static str,
    pub(crate) when: u32,
}

/// One life.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl House {
    pub(crate) fn lay_out(arguments: &Arguments, attache: &Path, folder: &Path) -> Self {
        Self {
            attache: attache.to_owned(),
            folder: folder.to_owned(),
            kept: arguments.sink,
            lie: arguments.lie,
            strace: arguments.strace.clone(),
            rotations: AtomicU32::new(0),
        }
    }

    /// Starts a life that dies at `step` by itself, where there is one. Its socket is its own, so that a dead one is never
    /// taken for it.
    pub(crate) fn spawn(&self, round: u32, step: Option<Step>) -> Running {
        let socket = self.folder.join(format!("{round}.sock"));
        let config = self.folder.join(format!("{round}.yaml"));
        fs::write(&config, self.config(&socket)).unwrap();
        let log = self.folder.join(format!("{round}.log"));
        let child = self
            .command(step)
            .args(["serve", "--config"])
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Running { child, socket, log }
    }

    pub(crate) const fn kept(&self) -> Kept {
        self.kept
    }

    /// Renames the file, as logrotate would.
    pub(crate) fn rotate(&self) {
        let number = self.rotations.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(file_of(self.kept));
        let rotated = named(&self.folder, &format!("{}.{number:04}", file_of(self.kept)));
        fs::rename(file, rotated).unwrap();
    }

    fn command(&self, step: Option<Step>) -> Command {
        let (Some(strace), Some(Step { call, when })) = (&self.strace, step) else {
            return Command::new(&self.attache);
        };
        let mut command = Command::new(strace);
        // With -D the child is attache itself, and not the one that looks at it.
        command
            .args(["-D", "-f", "-qq", "-o", "/dev/null"])
            .args(["-e", &format!("trace={call}")])
            .args(["-e", &format!("inject={call}:signal=KILL:when={when}")])
            .arg(&self.attache);
        command
    }

    fn config(&self, socket: &Path) -> String {
        let kind = match self.kept {
            Kept::Sqlite => "sqlite",
            Kept::Jsonl => "jsonl",
        };
        let file = named(&self.folder, file_of(self.kept));
        let mode = if self.lie { "standard" } else { "strict" };
        format!(
            r#"mode: development
trust_domain: example.org
identity: {{trust_local: unix}}
workloads:
  - {{match: "spiffe://example.org/svc/reporting", permissions: ["documents/**:read", "documents/**:delete@supervised"]}}
routes:
  - {{method: GET, path: "/documents/{{id}}", resource: "documents/{{id}}", action: read}}
  - {{method: DELETE, path: "/documents/{{id}}", resource: "documents/{{id}}", action: delete}}
tiers: {{default: free}}
listen:
  ext_authz: [{{unix: "{}", mode: "0660"}}]
  health: {{tcp: "127.0.0.1:0"}}
policy: {{cache: {{size: 100}}}}
limits: {{request_timeout: 10s}}
audit:
  mode: {mode}
  checkpoint: {{every: 50}}
  sinks: [{{{kind}: "{file}"}}]
"#,
            socket.display(),
        )
    }
}

impl Running {
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Waits until it listens. `false` if it was killed before.
    pub(crate) async fn is_up(&mut self) -> bool {
        let up = async {
            while UnixStream::connect(&self.socket).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    let log = fs::read_to_string(&self.log).unwrap();
                    assert_eq!(status.signal(), Some(SIGKILL), "{status}: {log}");
                    return false;
                }
                sleep(Duration::from_millis(10)).await;
            }
            true
        };
        timeout(PATIENCE, up).await.unwrap()
    }

    /// Waits for its death, for a while. `false` if it lives.
    pub(crate) async fn dies(&mut self) -> bool {
        timeout(A_WHILE, self.child.wait()).await.is_ok()
    }

    /// SIGKILL, now.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits until a further checkpoint was logged.
    pub(crate) async fn checkpoint(&self) {
        let signed = || {
            let log = fs::read_to_string(&self.log).unwrap();
            log.matches("AUDIT_CHECKPOINT").count()
        };
        let before = signed();
        let further = async {
            while signed() == before {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, further).await.unwrap();
    }

    pub(crate) async fn terminate(&self) {
        // A process that has ended can't be told to.
        let Some(id) = self.child.id() else { return };
        let kill = format!("kill -TERM {id}");
        let status = Command::new("sh").args(["-c", &kill]).status().await;
        assert!(status.unwrap().success());
    }

    /// Ends it in order.
    pub(crate) async fn stop(&mut self) {
        self.terminate().await;
        let status = timeout(PATIENCE, self.child.wait()).await.unwrap().unwrap();
        assert!(status.success(), "attache ended with {status}");
    }
}

/// Whether attache calls the chain of `files` unbroken.
pub(crate) async fn verify(attache: &Path, files: &[PathBuf]) -> bool {
    let mut command = Command::new(attache);
    let output = command.args(["audit", "verify"]).args(files).output().await;
    output.unwrap().status.success()
}

const SIGKILL: i32 = 9;
const A_WHILE: Duration = Duration::from_secs(3);
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
