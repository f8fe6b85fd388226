//! `attache audit export`: a trail in other people's formats, line by line.
//!
//! It holds one line at a time, however long the trail is. It does not verify the chain; what it can't read ends it, with
//! the file and the line, after everything before was written.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;

use clap::{Args, ValueEnum};

use crate::audit::{
    self, Encoder, Filter, NotARecord, Order, Span, Trail, TrailError, Unreadable, next_line,
};
use crate::grpc::AuditClient;

use super::super::complain;
use super::query::PAGE;
use super::source::{Running, Source, SourceError, SourceFlags, open_files};

/// Write a trail in another format, one JSON object a line
#[derive(Debug, Args)]
#[command(after_help = "\
Give rotated files oldest first; `-` is standard input. Every line carries the record as it was written; `attache audit verify` says \
whether the chain is unbroken, this command does not.

Exit code: 0 everything was written, 1 a line that is no record, no record at all, or a file that is not readable.")]
pub(super) struct Export {
    /// Format to write
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    source: SourceFlags,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// As they were written
    Json,
    /// OPA's decision log
    Opa,
    /// `CloudEvents` 1.0
    Cloudevents,
    /// Open Cybersecurity Schema Framework 1.8.0
    Ocsf,
}

/// Why a trail was not exported to its end.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} line {line} is not a record", path.display())]
    NotARecord {
        path: PathBuf,
        line: u64,
        #[source]
        source: NotARecord,
    },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("cannot read the audit trail")]
    Trail(#[from] TrailError),
    #[error("cannot write to standard output")]
    Write(#[source] io::Error),
    #[error("what attache gave as record {record} is none")]
    Answer {
        record: u64,
        #[source]
        source: NotARecord,
    },
    #[error("nothing to export: no record there")]
    Empty,
}

impl Export {
    pub(super) fn run(self) -> ExitCode {
        let mut out = BufWriter::new(io::stdout().lock());
        let exported = self.export(&mut out);
        // Whatever ended it: what came before is written.
        let flushed = out.flush().map_err(ExportError::Write);
        match exported.and(flushed) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error);
                ExitCode::FAILURE
            }
        }
    }
}

impl Export {
    fn export(&self, out: &mut impl Write) -> Result<(), ExportError> {
        let format = self.format.into();
        if self.source.is_running() {
            let Source::Running(running) = self.source.open()? else {
                return Err(ExportError::Empty);
            };
            let Running { client, runtime } = *running;
            return runtime.block_on(ask(&self.source, &client, format, out));
        }
        export(self.source.files(), format, out)
    }
}

/// Writes the records that a running attache gives, as of now, to `out`: by time, a page at a time.
async fn ask(
    source: &SourceFlags,
    client: &AuditClient,
    format: audit::Format,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut encoder = Encoder::new(format);
    let (mut event, mut token) = (Vec::new(), String::new());
    let everything = Filter::default();
    let unreadable = |Unreadable { line, cause }| ExportError::Answer {
        record: line,
        source: cause,
    };
    loop {
        let page = client
            .query(&everything, Order::Ascending, PAGE, &token)
            .await;
        let page = page.map_err(|error| source.failed(error))?;
        for line in &page.records {
            event.clear();
            let read = encoder.line(line.as_bytes(), &mut event);
            read.map_err(unreadable)?;
            out.write_all(&event).map_err(ExportError::Write)?;
        }
        token = page.next;
        if token.is_empty() {
            break;
        }
    }
    match encoder.finish().map_err(unreadable)? {
        0 => Err(ExportError::Empty),
        _ => Ok(()),
    }
}

/// Writes the records of `files`, taken one after the other as if they were one, to `out`.
fn export(
    files: &[PathBuf],
    format: audit::Format,
    out: &mut impl Write,
) -> Result<(), ExportError> {
    let mut encoder = Encoder::new(format);
    let mut seen = Seen::default();
    let mut event = Vec::new();
    for path in files {
        seen.begin(path);
        read_lines(path, &mut |line| {
            seen.lines += 1;
            event.clear();
            encoder
                .line(line, &mut event)
                .map_err(|unreadable| seen.locate(unreadable))?;
            out.write_all(&event).map_err(ExportError::Write)
        })?;
    }
    match encoder.finish().map_err(|it| seen.locate(it))? {
        0 => Err(ExportError::Empty),
        _ => Ok(()),
    }
}

/// Shows every line of a file to `visit`, without its line feed, until that fails.
fn read_lines(
    path: &Path,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    // What is no regular file, a pipe for instance, can be read only once.
    if fs::metadata(path).is_ok_and(|it| it.is_file())
        && let Source::Database(trail) = open_files(slice::from_ref(&path.to_owned()))?
    {
        return walk(&*trail, visit);
    }
    let unreadable = |source| ExportError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(path).map_err(unreadable)?))
    };
    let mut line = Vec::new();
    while next_line(&mut *file, &mut line).map_err(unreadable)? {
        visit(&line)?;
    }
    Ok(())
}

/// Shows every line of a database to `visit`, until that fails.
fn walk(
    trail: &dyn Trail,
    visit: &mut dyn FnMut(&[u8]) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let mut done = Ok(());
    trail.walk(&Span::default(), &mut |line| {
        done = visit(line);
        if done.is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    done
}

/// How far the files were read, to find the one that a line is in.
#[derive(Debug, Default)]
struct Seen<'a> {
    /// Each file with the number of lines before it.
    begun: Vec<(&'a Path, u64)>,
    lines: u64,
}

impl<'a> Seen<'a> {
    fn begin(&mut self, path: &'a Path) {
        self.begun.push((path, self.lines));
    }

    fn locate(&self, Unreadable { line, cause }: Unreadable) -> ExportError {
        let file = self.begun.iter().rev().find(|(_, before)| *before < line);
        let (path, before) = file.copied().unwrap_or((Path::new("-"), 0));
        ExportError::NotARecord {
            path: path.to_owned(),
            line: line - before,
            source: cause,
        }
    }
}

impl From<Format> for audit::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Opa => Self::Opa,
            Format::Cloudevents => Self::CloudEvents,
            Format::Ocsf => Self::Ocsf,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::text::sentence;

    fn export_json(files: &[PathBuf]) -> (String, Result<(), ExportError>) {
        let mut out = Vec::new();
        let exported = export(files, audit::Format::Json, &mut out);
        (String::from_utf8(out).unwrap(), exported)
    }

    fn record() -> &'static str {
        let records = include_str!("../../../tests/export/golden/records.jsonl");
        records.lines().next().unwrap()
    }

    #[test]
    fn a_line_that_is_no_record_is_named_with_its_file_after_what_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("audit.jsonl.1");
        let second = folder.path().join("audit.jsonl");
        fs::write(&first, format!("{}\n", record())).unwrap();
        fs::write(&second, format!("{}\n{{}}\n{0}\n", record())).unwrap();
        let (out, exported) = export_json(&[first, second.clone()]);
        let text = sentence(&exported.unwrap_err());
        assert!(
            text.starts_with(&format!("{} line 2 is not a record", second.display())),
            "{text}"
        );
        assert_eq!(out, format!("{}\n{0}\n", record()));
    }

    #[test]
    fn a_trail_without_a_record_is_not_called_exported() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("audit.jsonl");
        fs::write(&empty, "").unwrap();
        let text = sentence(&export_json(&[empty]).1.unwrap_err());
        assert!(text.starts_with("nothing to export"), "{text}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = "/nonexistent/audit.jsonl".into();
        let text = sentence(&export_json(&[missing]).1.unwrap_err());
        assert!(
            text.starts_with("cannot read /nonexistent/audit.jsonl"),
            "{text}"
        );
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, format!("{}\n", record())).unwrap();
        let error = export(&[path], audit::Format::Ocsf, &mut Full).unwrap_err();
        assert!(matches!(error, ExportError::Write(_)), "{error:?}");
    }
}
