//! The real binary, as a person or an orchestrator runs it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::house::{PATIENCE, eventually_async};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attache"));
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// What a command says, and its exit code.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command to its end.
pub(crate) async fn attache(arguments: &[&str]) -> Said {
    attache_reading(arguments, "").await
}

/// Runs a command that reads `input` to its end.
pub(crate) async fn attache_reading(arguments: &[&str], input: &str) -> Said {
    let mut child = command(arguments).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that reads nothing may have ended already.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    ended(child).await
}

/// Waits for the end of a process.
pub(crate) async fn ended(child: Child) -> Said {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    output.expect("the command ends").unwrap().into()
}

/// Starts a command that goes on.
pub(crate) fn spawn(arguments: &[&str]) -> Child {
    command(arguments).spawn().unwrap()
}

/// Starts a server and waits until something answers on its socket.
pub(crate) async fn serve(config: &Path, socket: &Path) -> Child {
    let mut child = command(&["serve", "--config", config.to_str().unwrap()])
        .spawn()
        .unwrap();
    let up = eventually_async("the socket", || async {
        UnixStream::connect(socket).await.is_ok().then_some(())
    });
    tokio::select! {
        () = up => {}
        status = child.wait() => panic!("ended early: {status:?}"),
    }
    child
}

/// Sends a signal by its name.
pub(crate) async fn signal(child: &Child, name: &str) {
    let kill = format!("kill -{name} {}", child.id().unwrap());
    let status = Command::new("sh").args(["-c", &kill]).status().await;
    assert!(status.unwrap().success());
}

/// A signal sent and how the process ended, at the latest within `limit`.
pub(crate) async fn ended_within(child: Child, limit: Duration) -> Said {
    let output = tokio::time::timeout(limit, child.wait_with_output()).await;
    output.expect("the process ends in time").unwrap().into()
}
