//! The same recipe with OPA as the judge, where `RECIPE_ENGINE=opa` asks for it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use attache::policy::{Config, OpaEngine};
use prometheus_client::registry::Registry;
use tempfile::TempDir;

/// An OPA that ends with its house.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    _folder: TempDir,
}

/// The OPA to ask in place of the embedded engine; `None` where nobody asks for one.
pub(crate) fn binary() -> Option<PathBuf> {
    let engine = std::env::var_os("RECIPE_ENGINE")?;
    assert_eq!(engine, "opa", "RECIPE_ENGINE");
    let binary = std::env::var_os("OPA_BIN");
    Some(binary.map(PathBuf::from).unwrap())
}

/// An OPA with this module alone, and the engine that asks it.
#[expect(
    clippy::disallowed_methods,
    reason = "the test has nothing else to do, and real time passes for a process"
)]
pub(crate) fn start(binary: &Path, module: &Path) -> (OpaEngine, Running) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("opa.sock");
    let address = format!("unix://{}", socket.display());
    let mut command = Command::new(binary);
    command
        .args([
            "run",
            "--server",
            "--skip-version-check",
            "--log-level=error",
            "--addr",
            &address,
        ])
        .stdin(Stdio::null());
    if module.parent().is_some_and(|it| it.ends_with("v0")) {
        command.arg("--v0-compatible");
    }
    let running = Running {
        child: command.arg(module).spawn().unwrap(),
        _folder: folder,
    };
    let late = Instant::now() + Duration::from_secs(30);
    while UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < late, "OPA does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let settings = format!("{{engine: opa, opa: {{endpoint: \"{address}\"}}}}");
    let config: Config = serde_saphyr::from_str(&settings).unwrap();
    let mut registry = Registry::default();
    let engine = OpaEngine::build(config.opa, config.path, "/".into(), None, &mut registry);
    (engine.unwrap(), running)
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
