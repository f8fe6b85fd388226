//! Real SPIRE servers and agents, a real Envoy, the real binary, and the files under `deploy/spire`: what certificates that
//! live for seconds do to a guarded application.
//!
//! Run by `make test-spire`, which builds SPIRE, installs Envoy, and sets `SPIRE_BIN` and `ENVOY_BIN`. Without those
//! variables every test here says so and passes; with `REQUIRE_E2E=1` it fails instead, so that nothing disappears quietly.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a harness that cannot go on stops where it stands"
)]

mod callers;
mod deletion;
mod federation;
mod harness;
mod outage;
mod rotation;
