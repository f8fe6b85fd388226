//! The embedded judge and OPA answer alike: the same policies and inputs before both, and the answers compared whole
//! (decision, reason, policy id, tier, kind of error). What they don't answer alike is a row of docs/policy.md, "Where
//! the engines differ", and every row is shown here; a disagreement without a row fails, and so does a row without one.
//!
//! Run by `make test-opa`, which builds OPA and sets `OPA_BIN`. Without that variable every test here says so and passes;
//! with `REQUIRE_OPA=1` it fails instead. Inputs are made from `PARITY_SEED`, which every failure names.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod arguments;
mod builtins;
mod corners;
mod differences;
mod documented;
mod envoy_words;
mod inputs;
mod judges;
mod rows;
mod shipped;
mod tools;
