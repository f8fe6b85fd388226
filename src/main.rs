//! The `attache` binary: parses the command line and runs the command.

use std::process::ExitCode;

use attache::cli::Cli;
use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    attache::tls::install_provider();
    Cli::parse().run()
}
