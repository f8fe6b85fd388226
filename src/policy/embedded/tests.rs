use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::policy::{Answer, Deadline, Sources, Terms};

const ALLOW: &str = "package agentweave.authz\nallow := true";
const DENY: &str = "package agentweave.authz\nallow := false";

/// With a time limit that a busy machine does not use up.
fn config(entry: &str) -> Config {
    serde_saphyr::from_str(&format!("embedded: {{modules: [{entry}], time_limit: 5s}}")).unwrap()
}

fn shipped() -> Program {
    config("").load(Path::new(".")).unwrap()
}

/// An engine that reads `policy.rego` in a folder of its own.
fn engine(module: &str) -> (TempDir, EmbeddedEngine) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.rego"), module).unwrap();
    let engine = config("policy.rego")
        .embedded_engine(folder.path().to_owned())
        .unwrap();
    (folder, engine)
}

fn answer(engine: &EmbeddedEngine) -> Answer {
    engine.evaluate_now(&Input::made_up()).unwrap().answer
}

#[tokio::test]
async fn an_engine_answers_from_another_thread() {
    let engine = config("").embedded_engine(".".into()).unwrap();
    let query = Query {
        input: Arc::new(Input::made_up()),
        deadline: Deadline::after(Duration::from_secs(60)),
        terms: Terms::default(),
    };
    let verdict = engine.evaluate(query).await.unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    assert_eq!(verdict, engine.evaluate_now(&Input::made_up()).unwrap());
}

#[tokio::test]
async fn a_lost_evaluation_is_an_error_and_gives_its_permit_back() {
    let permits = Arc::new(Semaphore::new(1));
    for _ in 0..3 {
        let result = aside(&permits, || panic!("on purpose")).await;
        assert!(matches!(result, Err(PolicyError::Interrupted)));
    }
    assert_eq!(permits.available_permits(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_evaluations_run_at_once_than_there_are_permits() {
    let permits = Arc::new(Semaphore::new(2));
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let evaluations = (0..32).map(|_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        let permits = Arc::clone(&permits);
        async move {
            aside(&permits, move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let program = shipped();
                running.fetch_sub(1, Ordering::SeqCst);
                program.evaluate(&Input::made_up())
            })
            .await
        }
    });
    for result in futures::future::join_all(evaluations).await {
        assert_eq!(result.unwrap().answer, Answer::Allow);
    }
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn an_evaluation_that_nobody_waits_for_keeps_its_permit_until_it_ends() {
    let permits = Arc::new(Semaphore::new(1));
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let program = shipped();
    let abandoned = aside(&permits, move || {
        ended.recv().unwrap();
        program.evaluate(&Input::made_up())
    });
    assert!(futures::poll!(Box::pin(abandoned)).is_pending());
    assert_eq!(permits.available_permits(), 0);
    end.send(()).unwrap();
    assert!(permits.acquire().await.is_ok());
}

#[test]
fn files_that_did_not_change_change_nothing() {
    let (folder, engine) = engine(ALLOW);
    assert!(matches!(engine.reload(), Reload::Unchanged));
    fs::write(folder.path().join("policy.rego"), ALLOW).unwrap();
    assert!(matches!(engine.reload(), Reload::Unchanged));
}

#[test]
fn a_changed_policy_serves_after_a_reload() {
    let (folder, engine) = engine(ALLOW);
    let before = Arc::clone(engine.program().revision());
    assert_eq!(answer(&engine), Answer::Allow);
    fs::write(folder.path().join("policy.rego"), DENY).unwrap();
    let Reload::Swapped { from, to } = engine.reload() else {
        panic!("not swapped");
    };
    assert_eq!(from, before);
    assert_eq!(&to, engine.program().revision());
    assert_ne!(from, to);
    assert_eq!(answer(&engine), Answer::Deny);
}

#[test]
fn a_policy_that_can_not_be_used_leaves_the_old_one_serving() {
    let (folder, engine) = engine(DENY);
    let file = folder.path().join("policy.rego");
    for bad in [
        "",
        "package agentweave.authz\nallow if {",
        "package agentweave.authz\nallowed := true",
        "package agentweave.authz\nallow if http.send({})",
        "package agentweave.authz\nallow := \"yes\"",
        "package agentweave.authz\nallow if f(1)\nf(x) := f(x)",
    ] {
        fs::write(&file, bad).unwrap();
        let Reload::Rejected(errors) = engine.reload() else {
            panic!("{bad} was not rejected");
        };
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(answer(&engine), Answer::Deny);
    }
    fs::remove_file(&file).unwrap();
    assert!(matches!(engine.reload(), Reload::Rejected(_)));
    assert_eq!(answer(&engine), Answer::Deny);
    fs::write(&file, ALLOW).unwrap();
    assert!(matches!(engine.reload(), Reload::Swapped { .. }));
    assert_eq!(answer(&engine), Answer::Allow);
}

/// As the kubelet updates a mounted ConfigMap: a new directory, then one rename of the link to it.
#[test]
fn a_swapped_config_map_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("policy");
    for (version, module) in [("..1", ALLOW), ("..2", DENY)] {
        fs::create_dir_all(mount.join(version)).unwrap();
        fs::write(mount.join(version).join("policy.rego"), module).unwrap();
    }
    symlink("..1", mount.join("..data")).unwrap();
    symlink("..data/policy.rego", mount.join("policy.rego")).unwrap();
    let engine = config("policy/")
        .embedded_engine(folder.path().to_owned())
        .unwrap();
    assert_eq!(answer(&engine), Answer::Allow);
    symlink("..2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    assert!(matches!(engine.reload(), Reload::Swapped { .. }));
    assert_eq!(answer(&engine), Answer::Deny);
    assert!(matches!(engine.reload(), Reload::Unchanged));
}

#[test]
fn an_engine_without_files_changes_only_when_told() {
    let program = |module: &str| {
        let mut sources = Sources::default();
        sources.insert("a.rego", module);
        let path = Config::default().path;
        Program::compile(&sources, &path, Duration::from_secs(5)).unwrap()
    };
    let engine = EmbeddedEngine::new(program(ALLOW));
    assert!(matches!(engine.reload(), Reload::Unchanged));
    engine.replace(program(DENY));
    assert_eq!(answer(&engine), Answer::Deny);
}

#[test]
fn a_missing_file_is_named_before_anything_serves() {
    let folder = tempfile::tempdir().unwrap();
    let config: Config =
        serde_saphyr::from_str("embedded: {modules: [a.rego, b/], data: [c.json]}").unwrap();
    let errors = config
        .embedded_engine(folder.path().to_owned())
        .unwrap_err();
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, ["read `a.rego`", "read `b/`", "read `c.json`"]);
}
