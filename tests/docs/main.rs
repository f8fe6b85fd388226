//! The documentation says what the code does: each table, example and link is compared with what it speaks of.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod answers;
mod api;
mod architecture;
mod audit;
mod commands;
mod configuration;
mod delegation;
mod ear;
mod links;
mod markdown;
mod metrics;
mod policy;
mod reasons;
mod server;
