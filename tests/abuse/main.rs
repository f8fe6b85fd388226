//! What a client can do that follows no rule of TLS, HTTP/2, gRPC or protobuf, and what becomes of it: the real binary,
//! attacked over loopback while an honest proxy asks. docs/abuse.md lists the cases.
//!
//! Every attack is bounded in count and time. What judges HTTP/2 as a whole needs h2spec: `make test-abuse` has it built
//! and sets `H2SPEC_BIN`. Without that variable that one test says so and passes; with `REQUIRE_H2SPEC=1` it fails
//! instead, so that nothing disappears quietly in CI.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod conformance;
mod documented;
mod frames;
mod handshake;
#[path = "../integration/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "what other tests need of it")]
mod harness;
mod messages;
mod resources;
mod rig;
mod streams;
