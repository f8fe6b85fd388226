//! "Policy decides" (docs/configuration.md): the shipped example with each sample policy, in both syntaxes of Rego, from
//! Envoy's message to decision, steps and audit record. Contract B13, and A10 for what is refused.
//!
//! `make test-opa` runs them with OPA in place of the embedded engine, by `RECIPE_ENGINE=opa` and `OPA_BIN`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod command;
mod config;
mod house;
mod opa;
mod refusals;
mod samples;

use config::{PARTNER, both, recipe};
use house::{House, ask};

const ALICE: &str = "spiffe://example.org/svc/alice";
const PAUL: &str = "spiffe://partner.example/svc/paul";
const DOCUMENTS: &str = "spiffe://example.org/svc/documents";
