//! The doors, from outside: a whole process built by `App`, asked over its own sockets by clients that share no code
//! with it. Envoy's messages come from `envoy-types`, an independent encoding of the same API.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod auditor;
mod authorization;
mod cache;
mod certificates;
mod check;
mod checkpoints;
mod circuit;
mod commands;
mod connector;
mod doors;
mod envoy_words;
mod eval;
mod faults;
mod harness;
mod headers;
mod health;
mod mandates;
mod mesh;
mod opa;
mod paths;
mod reload;
mod rotation;
mod sessions;
mod shutdown;
mod start;
mod strict;
mod tokens;
mod trail;
mod wire;
mod workload;
