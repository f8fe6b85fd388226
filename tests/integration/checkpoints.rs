//! Checkpoints outside: the log of a real process is what its trail is held to, by the command that auditors run.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::Plan;
use crate::harness::binary::{Said, attache, ended, serve, signal};

/// A process that ran and stopped: its folder, and the checkpoints of its log.
async fn ran() -> (tempfile::TempDir, Vec<String>) {
    let (dir, _file) = Plan::default().lay_out();
    let checkpoints = run_in(dir.path()).await;
    (dir, checkpoints)
}

async fn run_in(dir: &Path) -> Vec<String> {
    let server = serve(&dir.join("attache.yaml"), &dir.join("authz.sock")).await;
    signal(&server, "TERM").await;
    let Said { code, err, .. } = ended(server).await;
    assert_eq!(code, Some(0), "{err}");
    let checkpoints = err.lines().filter(|line| line.contains("AUDIT_CHECKPOINT"));
    checkpoints.map(str::to_owned).collect()
}

async fn verify(dir: &Path, flags: &[&str]) -> Said {
    let trail = dir.join("audit.jsonl");
    let command = ["audit", "verify", trail.to_str().unwrap()];
    attache(&[command.as_slice(), flags].concat()).await
}

fn records(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_trail_is_held_to_its_public_key_and_to_the_log_of_its_writer() {
    // A17: the public key, the copy and the lines of the log are all that is needed.
    let (dir, checkpoints) = ran().await;
    assert_eq!(checkpoints.len(), 1, "before the stop");
    let kept = dir.path().join("kept.log");
    fs::write(&kept, checkpoints.join("\n")).unwrap();
    let kept = kept.to_str().unwrap();
    let started = records(dir.path()).remove(0);
    let key = started["details"]["checkpoint_key"].as_str().unwrap();

    let flags = ["--checkpoint-key", key, "--checkpoint", kept];
    let said = verify(dir.path(), &flags).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.contains("signed up to seq="), "{}", said.out);

    let other = "ab".repeat(32);
    let said = verify(dir.path(), &["--checkpoint-key", &other]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("none of the given keys"), "{}", said.err);
    let said = verify(
        dir.path(),
        &["--checkpoint-key", &other, "--checkpoint", kept],
    )
    .await;
    assert!(said.err.contains("kept.log line 1"), "{}", said.err);
    let said = verify(dir.path(), &["--checkpoint-key", "x"]).await;
    assert_eq!(said.code, Some(2), "{said:?}");

    // A second run, by the same key. Without it the trail is unbroken to itself, and not to the log.
    let trail = dir.path().join("audit.jsonl");
    let first = fs::read_to_string(&trail).unwrap();
    let checkpoints = run_in(dir.path()).await;
    fs::write(kept, checkpoints.join("\n")).unwrap();
    assert_eq!(verify(dir.path(), &flags).await.code, Some(0));
    fs::write(&trail, first).unwrap();
    assert_eq!(
        verify(dir.path(), &["--checkpoint-key", key]).await.code,
        Some(0)
    );
    let said = verify(dir.path(), &["--checkpoint", kept]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("was truncated"), "{}", said.err);
}

#[tokio::test]
async fn what_is_no_checkpoint_is_refused_and_not_overlooked() {
    let (dir, _checkpoints) = ran().await;
    for text in ["", "\n", "hello\n", "{}\n"] {
        let kept = dir.path().join("kept.log");
        fs::write(&kept, text).unwrap();
        let flags = ["--checkpoint", kept.to_str().unwrap()];
        let said = verify(dir.path(), &flags).await;
        assert_eq!(said.code, Some(1), "{text:?} {said:?}");
        assert!(said.err.contains("no checkpoint"), "{}", said.err);
    }
    let said = verify(dir.path(), &["--checkpoint", "/nonexistent"]).await;
    assert!(
        said.err.contains("cannot read /nonexistent"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_key_that_others_may_read_keeps_the_process_from_starting() {
    let (dir, _checkpoints) = ran().await;
    let key = dir.path().join("audit.jsonl.key");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&key, open).unwrap();
    let file = dir.path().join("attache.yaml");
    let said = attache(&["serve", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("chmod 600"), "{}", said.err);
}
