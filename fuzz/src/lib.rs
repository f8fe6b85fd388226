//! What holds for every input that a parser of attache can be given: one law for each fuzz target.
//!
//! A law hands the bytes to the parser and panics where the answer breaks what the room promises. Where a law needs to
//! know the right answer, it finds it by means of its own, smaller than the parser and not shared with it. Refusing
//! everything would pass: what must be accepted is said by the tests of each room.
//!
//! libFuzzer calls the laws through `fuzz_targets/`; `tests/fuzz_seeds.rs` of attache includes this file and calls them
//! with every seed and with small changes to it.

#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a law says that it is broken"
)]

mod audit_lines;
mod check_request;
mod config;
mod jws;
mod leaf;
mod path;
mod spiffe_id;
mod token;
mod xfcc;

pub use audit_lines::audit_lines;
pub use check_request::check_request;
pub use config::config;
pub use jws::jws;
pub use leaf::leaf;
pub use path::path;
pub use spiffe_id::spiffe_id;
pub use token::token;
pub use xfcc::xfcc;

/// One law: panics if the input breaks it; says whether the input was accepted.
pub type Law = fn(&[u8]) -> bool;

/// Every law by the name of its target, which is also the folder of its seeds.
pub const LAWS: [(&str, Law); 9] = [
    ("audit_lines", audit_lines),
    ("check_request", check_request),
    ("config", config),
    ("jws", jws),
    ("leaf", leaf),
    ("path", path),
    ("spiffe_id", spiffe_id),
    ("token", token),
    ("xfcc", xfcc),
];
