//! `attache audit`: what an auditor does with the trail, from its files without the process that wrote it, or by asking a
//! running one. Nothing here changes a trail.

mod export;
mod filter;
mod follow;
mod output;
mod query;
mod source;
mod tail;
mod trace;
mod tree;
mod verify;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use tree::Tree;

/// Work on an audit trail
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find records
    Query(query::Query),
    /// Show everything that somebody did, or that was done on their behalf, as a tree
    Trace(trace::Trace),
    /// Show records as they are written
    Tail(tail::Tail),
    /// Verify that records are as their writers left them
    Verify(verify::Verify),
    Export(export::Export),
}

impl Audit {
    pub(super) fn run(self) -> ExitCode {
        match self.command {
            Command::Query(command) => command.run(),
            Command::Trace(command) => command.run(),
            Command::Tail(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Export(command) => command.run(),
        }
    }
}
