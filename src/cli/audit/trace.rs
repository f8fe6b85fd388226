//! `attache audit trace`: what was done by somebody or on their behalf, as a tree.

use std::io;
use std::process::ExitCode;

use clap::Args;

use crate::telemetry::say;

use super::super::complain;
use super::output::{Output, ended_quietly};
use super::source::{Running, Source, SourceError, SourceFlags};
use super::tree::Tree;

/// Show everything that somebody did, or that was done on their behalf, as a tree
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 read, records or none; 1 not readable; 2 wrong use.")]
pub(super) struct Trace {
    /// A person's id, an agent's name, or a SPIFFE ID
    name: String,
    #[command(flatten)]
    source: SourceFlags,
    /// Most records, the oldest of them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Print records as they were written, one a line
    #[arg(long)]
    json: bool,
}

impl Trace {
    pub(super) fn run(self) -> ExitCode {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let found = match self.source.open() {
            Err(error) => Err(error),
            Ok(Source::Files(trail) | Source::Database(trail)) => trail
                .trace(&self.name, limit)
                .map(|trace| (trace.records, trace.cut))
                .map_err(SourceError::from),
            Ok(Source::Running(running)) => {
                let Running { client, runtime } = *running;
                let traced = runtime.block_on(client.trace(&self.name, limit));
                traced
                    .map(|trace| (trace.records, trace.truncated))
                    .map_err(|error| self.source.failed(error))
            }
        };
        let printed = found.and_then(|(records, cut)| {
            ended_quietly(self.print(&records))?;
            if cut {
                say(&format!(
                    "only the oldest {}; see more with --limit",
                    records.len()
                ));
            }
            Ok(())
        });
        match printed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }

    fn print(&self, records: &[String]) -> io::Result<()> {
        let mut out = Output::new(self.json);
        if self.json {
            for line in records {
                out.record(line)?;
            }
        } else {
            for line in Tree::of(records).lines() {
                out.line(&line)?;
            }
        }
        out.flush()
    }
}
