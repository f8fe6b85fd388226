//! A real Envoy, the real binary, real certificates: what a client of a guarded application can and cannot do.
//!
//! Run by `make test-e2e`, which installs Envoy and sets `ENVOY_BIN`. Without that variable every test here says so and
//! passes; with `REQUIRE_E2E=1` it fails instead, so that nothing disappears quietly in CI.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a harness that cannot go on stops where it stands"
)]

mod audit;
mod decisions;
mod envoy_words;
mod faults;
mod harness;
mod headers;
mod lifecycle;
mod paths;
mod protocols;
mod shipped;
mod tokens;
