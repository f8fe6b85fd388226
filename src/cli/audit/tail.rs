//! `attache audit tail`: records as they are written, from files or from a running attache.
//!
//! Files are followed by name, as they are rotated: the rest of the old one comes before the new one. A connection that is
//! lost is made again, from where it was. Ends when nobody reads any more, or by a signal.

use std::collections::HashSet;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;

use crate::audit::{Filter, Order, Trail};
use crate::grpc::{AuditClient, AuditClientError};
use crate::telemetry::say;
use crate::text::{harmless, sentence};

use super::super::complain;
use super::filter::FilterFlags;
use super::follow::{Follow, FollowedFile, FollowedRows};
use super::output::{Output, Shown, ended_quietly};
use super::source::{Running, Source, SourceError, SourceFlags};

/// Show records as they are written
#[derive(Debug, Args)]
#[command(after_help = "\
Of several files the last one is followed; a rotated one is read to its end first. A lost connection is made again.

Exit code: 0 the reader went away; 1 not readable; 2 wrong use.")]
pub(super) struct Tail {
    #[command(flatten)]
    source: SourceFlags,
    #[command(flatten)]
    filter: FilterFlags,
    /// So many earlier records first
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: u64,
    /// Print records as they were written, one a line
    #[arg(long)]
    json: bool,
}

/// Why following ends.
enum End {
    Output(io::Error),
    Source(SourceError),
}

impl Tail {
    pub(super) fn run(self) -> ExitCode {
        let mut out = Output::new(self.json);
        let end = match self.source.open() {
            Err(error) => End::Source(error),
            Ok(Source::Files(trail)) => self.follow_files(&*trail, &mut out),
            Ok(Source::Database(trail)) => match FollowedRows::at_end(&*trail) {
                Ok(rows) => self.follow_local(&*trail, rows, &mut out),
                Err(error) => End::Source(error),
            },
            Ok(Source::Running(running)) => {
                let Running { client, runtime } = *running;
                runtime.block_on(self.follow(&client, &mut out))
            }
        };
        let error = match end {
            End::Source(error) => error,
            End::Output(error) => match ended_quietly(Err(error)) {
                Ok(()) => return ExitCode::SUCCESS,
                Err(error) => SourceError::Output(error),
            },
        };
        complain(&error);
        ExitCode::FAILURE
    }

    fn filter(&self) -> Filter {
        self.filter.clone().filter()
    }

    fn earlier(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(usize::MAX)
    }

    fn follow_files(&self, trail: &dyn Trail, out: &mut Output) -> End {
        let Some(path) = self.source.files().last() else {
            return End::Source(SourceError::Flags);
        };
        match FollowedFile::at_end(path) {
            Ok(followed) => self.follow_local(trail, followed, out),
            Err(error) => End::Source(error),
        }
    }

    fn follow_local(&self, trail: &dyn Trail, mut followed: impl Follow, out: &mut Output) -> End {
        let filter = self.filter();
        // What is written between the two comes twice, and is shown once.
        let mut shown = HashSet::new();
        match self.newest(trail, &filter) {
            Ok(lines) => {
                let printed = out.heading().and_then(|()| {
                    lines.iter().try_for_each(|line| {
                        shown.insert(id(line));
                        out.record(line)
                    })
                });
                if let Err(error) = printed.and_then(|()| out.flush()) {
                    return End::Output(error);
                }
            }
            Err(error) => return End::Source(error),
        }
        loop {
            let lines = match followed.lines() {
                Ok(lines) => lines,
                Err(error) => return End::Source(error),
            };
            let quiet = lines.is_empty();
            for line in &lines {
                let asked = serde_json::from_str(line).is_ok_and(|record| filter.matches(&record));
                if asked
                    && !shown.remove(&id(line))
                    && let Err(error) = out.record(line)
                {
                    return End::Output(error);
                }
            }
            if let Err(error) = out.flush() {
                return End::Output(error);
            }
            if quiet {
                pause();
            }
        }
    }

    fn newest(&self, trail: &dyn Trail, filter: &Filter) -> Result<Vec<String>, SourceError> {
        if self.limit == 0 {
            return Ok(Vec::new());
        }
        let page = trail.query(filter, Order::Descending, None, self.earlier())?;
        Ok(page.records.into_iter().rev().collect())
    }

    async fn follow(&self, client: &AuditClient, out: &mut Output) -> End {
        let filter = self.filter();
        let mut token = String::new();
        // What is written while earlier records are read comes twice, and is shown once.
        let mut shown = HashSet::new();
        let mut begun = false;
        loop {
            let error = match client.stream(&filter, &token).await {
                Err(error) => error,
                Ok(stream) => {
                    let mut stream = std::pin::pin!(stream);
                    loop {
                        let message = match stream.next().await {
                            Some(Ok(message)) => message,
                            Some(Err(error)) => break error,
                            None => break AuditClientError::ended(),
                        };
                        if !begun {
                            begun = true;
                            match self.first(client, &filter, out).await {
                                Ok(ids) => shown = ids,
                                Err(end) => return end,
                            }
                        }
                        token = message.token;
                        let Some(line) = message.record else { continue };
                        if shown.remove(&id(&line)) {
                            continue;
                        }
                        if let Err(error) = out.record(&line).and_then(|()| out.flush()) {
                            return End::Output(error);
                        }
                    }
                }
            };
            if !begun || !error.is_passing() {
                return End::Source(self.source.failed(error));
            }
            let why = sentence(&error);
            say(&format!("connecting again: {}", harmless(&why)));
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Shows what came before the stream, unless that begins with it; gives the ids of what it showed.
    async fn first(
        &self,
        client: &AuditClient,
        filter: &Filter,
        out: &mut Output,
    ) -> Result<HashSet<String>, End> {
        out.heading().map_err(End::Output)?;
        let mut shown = HashSet::new();
        if filter.from.is_none() && self.limit > 0 {
            let asked = client.query(filter, Order::Descending, self.earlier(), "");
            let page = asked
                .await
                .map_err(|error| End::Source(self.source.failed(error)))?;
            for line in page.records.iter().rev() {
                shown.insert(id(line));
                out.record(line).map_err(End::Output)?;
            }
        }
        out.flush().map_err(End::Output)?;
        Ok(shown)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a file does not say that it was written, and this thread does nothing else"
)]
fn pause() {
    std::thread::sleep(LOOK);
}

/// Nothing for what is no record.
fn id(line: &str) -> String {
    let shown = serde_json::from_str::<Shown>(line);
    shown.map(|it| it.id).unwrap_or_default()
}

/// Between two looks at a file in which nothing is new.
const LOOK: Duration = Duration::from_millis(200);
/// Before a lost connection is made again.
const AGAIN: Duration = Duration::from_secs(1);
