//! O31, B13: the samples decide alike on OPA and on the embedded engine, in both syntaxes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::identity::SpiffeId;
use attache::policy::{Config, Deadline, Input, PolicyEngine, Query, Terms, Verdict};
use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Opa, input};

/// Callers, services and actions of the words that the samples look for, and of some that are like them.
fn inputs() -> impl Iterator<Item = Input> {
    let mut rng = StdRng::seed_from_u64(31);
    std::iter::repeat_with(move || {
        let target = rng.random_bool(0.9).then(|| identity(&mut rng));
        Input {
            caller: identity(&mut rng),
            target,
            ..input(ACTIONS.choose(&mut rng).unwrap())
        }
    })
    .take(INPUTS)
}

fn identity(rng: &mut StdRng) -> SpiffeId {
    let mut id = format!("spiffe://{}", DOMAINS.choose(rng).unwrap());
    for _ in 0..rng.random_range(1..=3) {
        id.push('/');
        id.push_str(SEGMENTS.choose(rng).unwrap());
    }
    id.parse().unwrap()
}

const DOMAINS: [&str; 3] = ["example.org", "example.org", "partner.example"];
const SEGMENTS: [&str; 9] = [
    "admin",
    "reader",
    "prod",
    "dev",
    "svc",
    "a",
    "production",
    "Prod",
    "adminreader",
];
const ACTIONS: [&str; 4] = ["read", "read", "create", "admin"];
/// For each of six samples.
const INPUTS: usize = 1_700;

/// A verdict without its revision, or the reason code of an error.
fn said(result: Result<Verdict, attache::policy::PolicyError>) -> String {
    match result {
        Ok(Verdict {
            answer,
            reason,
            policy_id,
            tier,
            shaping,
            revision: _,
            cacheable: _,
            cached: _,
        }) => format!("{answer:?} {reason:?} {policy_id:?} {tier:?} {shaping:?}"),
        Err(error) => error.reason().to_string(),
    }
}

async fn ask(engine: &impl PolicyEngine, input: Input) -> String {
    let query = Query {
        input: Arc::new(input),
        deadline: Deadline::after(Duration::from_secs(60)),
        terms: Terms::default(),
    };
    said(engine.evaluate(query).await)
}

async fn decide_alike(sample: &str, syntax: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/policy/samples");
    let module = std::fs::read_to_string(path.join(sample)).unwrap();
    let arguments: Vec<_> = syntax.iter().copied().chain(["policy.rego"]).collect();
    let Some(opa) = Opa::start(&[("policy.rego", &module)], &arguments).await else {
        return;
    };
    let there = opa.engine("");
    let config = "embedded: {modules: [policy.rego], time_limit: 10s}";
    let config: Config = serde_saphyr::from_str(config).unwrap();
    let here = config
        .embedded_engine(opa.folder.path().to_owned())
        .unwrap();
    let (here, there) = (&here, &there);
    let pairs = futures::stream::iter(inputs()).map(|input| async move {
        let shown = serde_json::to_string(&input).unwrap();
        (
            ask(here, input.clone()).await,
            ask(there, input).await,
            shown,
        )
    });
    let pairs: Vec<_> = pairs.buffer_unordered(8).collect().await;
    for (here, there, input) in &pairs {
        assert_eq!(here, there, "{sample}: {input}");
    }
    // A sample that says the same to everything would prove nothing.
    let answers: std::collections::BTreeSet<_> = pairs.iter().map(|(here, ..)| here).collect();
    assert!(answers.len() > 1, "{sample}: {answers:?}");
}

#[tokio::test]
async fn samples_decide_alike_on_both_engines() {
    for sample in ["trust_domain.rego", "roles.rego", "environments.rego"] {
        decide_alike(sample, &[]).await;
    }
}

#[tokio::test]
async fn samples_in_the_older_syntax_decide_alike_on_both_engines() {
    for sample in [
        "v0/trust_domain.rego",
        "v0/roles.rego",
        "v0/environments.rego",
    ] {
        decide_alike(sample, &["--v0-compatible"]).await;
    }
}
