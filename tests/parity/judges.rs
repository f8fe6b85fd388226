//! The two judges, and what they say in words that can be compared.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use attache::permission::Tier;
use attache::policy::{
    Answer, Config, Deadline, Input, InputForm, LoadError, OpaEngine, PolicyEngine as _,
    PolicyError, Program, Query, Shaping, Sources, Terms, Verdict,
};
use futures::StreamExt as _;
use prometheus_client::registry::Registry;
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::inputs::{SEED, seed};

/// What a judge made of one input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Decided {
        allow: bool,
        reason: Option<String>,
        policy_id: Option<String>,
        tier: Option<Tier>,
        /// What the answer is to look like.
        shaping: Option<Arc<Shaping>>,
    },
    Undefined,
    /// The evaluation failed.
    Failed,
    /// The result is not one that attache understands.
    Misshapen,
}

/// A policy as both judges get it.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) name: String,
    pub(crate) module: String,
    pub(crate) data: Json,
    pub(crate) words: InputForm,
}

/// An OPA that runs for one test.
#[derive(Debug)]
pub(crate) struct Opa {
    child: Child,
    engine: OpaEngine,
    /// For what the product never does: change policy and data.
    client: reqwest::Client,
    _folder: TempDir,
}

/// The program to test with; `None`, said aloud, where there is none and none is required.
pub(crate) fn opa_bin() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("OPA_BIN") {
        return Some(path.into());
    }
    let required = std::env::var_os("REQUIRE_OPA").is_some_and(|value| value == "1");
    assert!(!required, "REQUIRE_OPA=1, but OPA_BIN is not set");
    eprintln!("skipped: set OPA_BIN (make test-opa does)");
    None
}

impl Policy {
    pub(crate) fn new(name: &str, module: &str) -> Self {
        Self {
            name: name.to_owned(),
            module: module.to_owned(),
            data: serde_json::json!({}),
            words: InputForm::Attache,
        }
    }

    /// For questions in these words.
    pub(crate) fn in_words(self, words: InputForm) -> Self {
        Self { words, ..self }
    }

    pub(crate) fn embedded(&self) -> Program {
        self.compiled()
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", self.name))
    }

    pub(crate) fn compiled(&self) -> Result<Program, Vec<LoadError>> {
        let mut sources = Sources::default();
        sources.insert(format!("{}.rego", self.name), self.module.clone());
        sources.insert("data.json", self.data.to_string());
        let path = "agentweave/authz/allow".parse().unwrap();
        Program::compile_for(&sources, &path, PATIENCE, self.words)
    }
}

pub(crate) fn embedded(program: &Program, input: &Input) -> Said {
    said(program.evaluate(input))
}

fn said(result: Result<Verdict, PolicyError>) -> Said {
    let verdict = match result {
        Ok(verdict) => verdict,
        Err(PolicyError::Evaluation(_) | PolicyError::Interrupted) => return Said::Failed,
        Err(PolicyError::Shape(_)) => return Said::Misshapen,
        Err(other) => panic!("{other:?}"),
    };
    if verdict.answer == Answer::Undefined {
        return Said::Undefined;
    }
    Said::Decided {
        allow: verdict.answer == Answer::Allow,
        reason: verdict.reason.as_deref().map(str::to_owned),
        policy_id: verdict.policy_id.as_deref().map(str::to_owned),
        tier: verdict.tier,
        shaping: verdict.shaping,
    }
}

impl Opa {
    /// Starts the server; in v0 it reads the older syntax only.
    pub(crate) async fn start(bin: &Path, v0: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("opa.sock");
        let mut command = Command::new(bin);
        command
            .args([
                "run",
                "--server",
                "--skip-version-check",
                "--log-level=error",
            ])
            .arg(format!("--addr=unix://{}", socket.display()))
            .stdin(Stdio::null());
        if v0 {
            command.arg("--v0-compatible");
        }
        let child = command.spawn().unwrap();
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .build()
            .unwrap();
        let settings = format!(
            "{{engine: opa, opa: {{endpoint: \"unix://{}\", timeout: 1m}}}}",
            socket.display()
        );
        let config: Config = serde_saphyr::from_str(&settings).unwrap();
        let base = folder.path().to_owned();
        let mut registry = Registry::default();
        let engine = OpaEngine::build(config.opa, config.path, base, None, &mut registry).unwrap();
        let opa = Self {
            child,
            engine,
            client,
            _folder: folder,
        };
        let up = async {
            while opa.client.get("http://opa/health").send().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.unwrap();
        opa
    }

    /// Puts `policy` in the place of the one before.
    pub(crate) async fn load(&self, policy: &Policy) {
        let put = self.client.put("http://opa/v1/policies/decides.rego");
        let answer = put.body(policy.module.clone()).send().await.unwrap();
        let fine = answer.status().is_success();
        assert!(fine, "{}: {}", policy.name, answer.text().await.unwrap());
        for (name, document) in policy.data.as_object().unwrap() {
            let put = self.client.put(format!("http://opa/v1/data/{name}"));
            let answer = put.body(document.to_string()).send().await.unwrap();
            assert!(answer.status().is_success(), "{answer:?}");
        }
    }

    pub(crate) async fn ask_all(&self, inputs: &[Input]) -> Vec<Said> {
        let asked = inputs.iter().map(|input| self.ask(input));
        futures::stream::iter(asked)
            .buffered(AT_ONCE)
            .collect()
            .await
    }

    /// Asks as the product does.
    pub(crate) async fn ask(&self, input: &Input) -> Said {
        let query = Query {
            input: Arc::new(input.clone()),
            deadline: Deadline::after(PATIENCE),
            terms: Terms::default(),
        };
        said(self.engine.evaluate(query).await)
    }
}

/// Puts the inputs before both judges, and fails with every disagreement that is not `documented`.
pub(crate) async fn compare(
    policies: Vec<(Policy, Vec<Input>)>,
    v0: bool,
    documented: impl Fn(&Said, &Said) -> bool,
) {
    let Some(bin) = opa_bin() else { return };
    let opa = Opa::start(&bin, v0).await;
    let (mut faults, mut asked) = (Vec::new(), 0);
    let mut one_sided = Vec::new();
    for (policy, inputs) in policies {
        let program = policy.embedded();
        opa.load(&policy).await;
        asked += inputs.len();
        let theirs = opa.ask_all(&inputs).await;
        let mut kinds = Vec::new();
        for (input, theirs) in inputs.iter().zip(theirs) {
            let ours = embedded(&program, input);
            if !kinds.contains(&ours) {
                kinds.push(ours.clone());
            }
            if ours != theirs && !documented(&ours, &theirs) {
                let input = serde_json::to_string(input).unwrap();
                faults.push(format!(
                    "{}: {ours:?} but OPA {theirs:?}: {input}",
                    policy.name
                ));
            }
        }
        if kinds.len() == 1 && !policy.module.ends_with("\nallow := true\n") {
            one_sided.push(policy.name);
        }
    }
    eprintln!("{asked} questions");
    // With another seed a rare corner may be missed.
    assert!(
        one_sided.is_empty() || seed() != SEED,
        "no input leads elsewhere: {one_sided:?}"
    );
    assert!(
        faults.is_empty(),
        "PARITY_SEED={}: {} faults:\n{}",
        seed(),
        faults.len(),
        faults.join("\n")
    );
}

impl Drop for Opa {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

const AT_ONCE: usize = 8;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
