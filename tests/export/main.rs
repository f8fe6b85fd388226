//! A trail in other people's formats: what the writer writes, what the encoders make of it, and what the readers of those
//! formats say to that.
//!
//! The readers are run by `make test-export`, which installs them and sets `VALIDATORS_PYTHON` and `OPA_BIN`. Without these
//! the tests that need them say so and pass; with `REQUIRE_VALIDATORS=1` they fail instead, so that nothing disappears
//! quietly in CI.
//!
//! `golden/` holds one record of each kind at least, and what each format makes of them. With `BLESS=1` the files are
//! written anew, and other tests of the same run may still read the old ones: read the difference, then run again.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod commands;
mod decisions;
mod golden;
mod properties;
mod readers;
mod records;
