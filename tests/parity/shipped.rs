//! The policies that we ship, unchanged: what attache uses by itself, what `make run` shows, and every sample in both
//! syntaxes.

use proptest::prelude::*;

use crate::inputs::{Source, any_input, any_input_of_a_program};
use crate::judges::{Policy, compare};
use crate::tools::modules;

fn folder(path: &str) -> Vec<Policy> {
    let policies = modules(path).into_iter().map(|file| {
        let module = std::fs::read_to_string(&file).unwrap();
        Policy::new(file.to_str().unwrap(), &module)
    });
    policies.collect()
}

async fn decided_alike(policies: Vec<Policy>, v0: bool) {
    let with_inputs = policies.into_iter().map(|policy| {
        let mut source = Source::new(&policy.name);
        let input = prop_oneof![3 => any_input(), 1 => any_input_of_a_program()];
        let inputs = (0..INPUTS).map(|_| source.draw(&input)).collect();
        (policy, inputs)
    });
    compare(with_inputs.collect(), v0, |_, _| false).await;
}

/// O31, B13.
#[tokio::test]
async fn every_shipped_policy_is_decided_alike() {
    let folders = ["policy", "policy/samples", "quickstart/policy"];
    decided_alike(folders.into_iter().flat_map(folder).collect(), false).await;
}

/// O31, B13.
#[tokio::test]
async fn every_sample_in_the_older_syntax_is_decided_alike() {
    decided_alike(folder("policy/samples/v0"), true).await;
}

const INPUTS: usize = 1000;
