//! A real OPA: what it answers, and how it fails.
//!
//! Run by `make test-opa`, which builds OPA and sets `OPA_BIN`. Without that variable every test here says so and passes;
//! with `REQUIRE_OPA=1` it fails instead, so that nothing disappears quietly in CI.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod answers;
mod commands;
mod faults;
mod harness;
mod secured;
