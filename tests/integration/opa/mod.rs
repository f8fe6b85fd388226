//! An OPA that fails: whatever it does, requests are denied in time, with a reason that says what it did and a record, and
//! nothing is left over.

mod cache;
mod circuit;
mod commands;
mod connections;
mod door;
mod secured;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use attache::clock::Timestamp;
use attache::permission::Tier;
use attache::policy::{
    Config, Context, Deadline, Input, Judge, OpaEngine, PolicyEngine as _, PolicyError, Protocol,
    Query, RequestInput, Terms, Verdict,
};
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustls::ClientConfig;

/// The engine of a `policy` section alone.
fn engine(policy: &str) -> OpaEngine {
    let config: Config = serde_saphyr::from_str(policy).unwrap();
    let mut registry = Registry::default();
    OpaEngine::build(config.opa, config.path, ".".into(), None, &mut registry).unwrap()
}

/// The engine of a `policy` section with what stands around it.
fn judge(policy: &str, tls: Option<Arc<ClientConfig>>) -> Judge {
    let config: Config = serde_saphyr::from_str(policy).unwrap();
    let registry = &mut Registry::default();
    let source = config.clone().open(".".into(), tls, registry).unwrap();
    Judge::new(source, &config, StdRng::seed_from_u64(7), registry)
}

fn query(deadline: Deadline) -> Query {
    let identity = "spiffe://example.org/svc/reporting";
    let input = Input {
        caller: identity.parse().unwrap(),
        target: None,
        mandate: None,
        action: "read".parse().unwrap(),
        resource: "documents/1".parse().unwrap(),
        tier: Tier::Free,
        timestamp: Timestamp::from_unix_seconds(1_800_000_000),
        context: Context::default(),
        request: Some(RequestInput {
            protocol: Protocol::Http,
            method: "GET".to_owned(),
            host: "api.example.org".to_owned(),
            path: "/documents/1".to_owned(),
            params: [].into(),
            body: None,
        }),
        envoy: None,
    };
    Query {
        input: Arc::new(input),
        deadline,
        terms: Terms::default(),
    }
}

/// Asks with all the time that the settings give.
async fn ask(engine: &OpaEngine) -> Result<Verdict, PolicyError> {
    let patient = Deadline::after(Duration::from_secs(60));
    engine.evaluate(query(patient)).await
}
