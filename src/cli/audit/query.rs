//! `attache audit query`: records that a filter asks for.

use std::process::ExitCode;

use clap::Args;

use crate::audit::{Filter, Order};
use crate::grpc::{AuditClient, AuditClientError};
use crate::telemetry::say;

use super::super::complain;
use super::filter::FilterFlags;
use super::output::{Output, ended_quietly};
use super::source::{Running, Source, SourceError, SourceFlags};

/// Find records
#[derive(Debug, Args)]
#[command(after_help = "Exit code: 0 read, records or none; 1 not readable; 2 wrong use.")]
pub(super) struct Query {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    filter: FilterFlags,
    /// Most records
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Newest first
    #[arg(long)]
    newest: bool,
    /// Print records as they were written, one a line
    #[arg(long)]
    json: bool,
}

/// What was found.
struct Found {
    records: Vec<String>,
    total: u64,
}

impl Query {
    pub(super) fn run(self) -> ExitCode {
        let found = match self.find() {
            Ok(found) => found,
            Err(error) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        };
        let shown = found.records.len() as u64;
        if let Err(error) = ended_quietly(self.print(&found.records)) {
            complain(&SourceError::Output(error));
            return ExitCode::FAILURE;
        }
        if shown < found.total {
            say(&format!(
                "{shown} of {} records; see more with --limit",
                found.total
            ));
        }
        ExitCode::SUCCESS
    }

    fn print(&self, records: &[String]) -> std::io::Result<()> {
        let mut out = Output::new(self.json);
        out.heading()?;
        for line in records {
            out.record(line)?;
        }
        out.flush()
    }

    fn find(&self) -> Result<Found, SourceError> {
        let filter = self.filter.clone().filter();
        let order = if self.newest {
            Order::Descending
        } else {
            Order::Ascending
        };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        match self.source.open()? {
            Source::Files(trail) | Source::Database(trail) => {
                let page = trail.query(&filter, order, None, limit)?;
                Ok(Found {
                    records: page.records,
                    total: page.total,
                })
            }
            Source::Running(running) => {
                let Running { client, runtime } = *running;
                let asked = runtime.block_on(pages(&client, &filter, order, limit));
                asked.map_err(|error| self.source.failed(error))
            }
        }
    }
}

async fn pages(
    client: &AuditClient,
    filter: &Filter,
    order: Order,
    limit: usize,
) -> Result<Found, AuditClientError> {
    let (mut records, mut token) = (Vec::new(), String::new());
    loop {
        let size = limit.saturating_sub(records.len()).min(PAGE);
        let page = client.query(filter, order, size, &token).await?;
        records.extend(page.records);
        token = page.next;
        if token.is_empty() || records.len() >= limit {
            let total = page.total;
            return Ok(Found { records, total });
        }
    }
}

/// As many as the server gives at once.
pub(super) const PAGE: usize = 1000;
