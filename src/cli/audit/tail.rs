//! `attache audit tail`: records as they are written, from files or from a running attache.
//!
//! Files are followed by name, as they are rotated: the rest of the old one comes before the new one. A connection that is
//! lost is made again, from where it was. Ends when nobody reads any more, or by a signal.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;

use crate::audit::{Filter, Order, Trail};
use crate::grpc::{AuditClient, AuditClientError};
use crate::telemetry::say;
use crate::text::sentence;

use super::super::{complain, small_runtime};
use super::filter::FilterFlags;
use super::output::{Output, Shown, ended_quietly};
use super::source::{Source, SourceError, SourceFlags};

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
            Ok(Source::Running(client)) => {
                let runtime = match small_runtime() {
                    Ok(runtime) => runtime,
                    Err(code) => return code,
                };
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
        let filter = self.filter();
        let mut followed = match Followed::at_end(path) {
            Ok(followed) => followed,
            Err(source) => return End::Source(unreadable(path, source)),
        };
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
                Err(source) => return End::Source(unreadable(path, source)),
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
                std::thread::sleep(LOOK);
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
            say(&format!("connecting again: {}", sentence(&error)));
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

fn unreadable(path: &Path, source: io::Error) -> SourceError {
    SourceError::Open {
        path: path.to_owned(),
        source,
    }
}

fn id(line: &str) -> String {
    let shown = serde_json::from_str::<Shown>(line);
    shown.map(|it| it.id).unwrap_or_default()
}

/// A file that is followed by its name.
struct Followed {
    path: PathBuf,
    reader: BufReader<File>,
    inode: (u64, u64),
    /// Bytes read.
    read: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Followed {
    fn at_end(path: &Path) -> io::Result<Self> {
        let mut followed = Self::at_start(path)?;
        // From the beginning of the last line on, should that be half written.
        let mut end = 0;
        let mut line = Vec::new();
        while followed.reader.read_until(b'\n', &mut line)? > 0 {
            if line.ends_with(b"\n") {
                end += line.len() as u64;
            }
            line.clear();
        }
        followed.reader.seek(SeekFrom::Start(end))?;
        followed.read = end;
        Ok(followed)
    }

    fn at_start(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
            inode: (metadata.dev(), metadata.ino()),
            read: 0,
            begun: Vec::new(),
        })
    }

    /// The whole lines that were written since the last look.
    fn lines(&mut self) -> io::Result<Vec<String>> {
        // Looked at before the file is read, so that nothing comes into it afterwards.
        let replaced = self.is_replaced()?;
        let mut lines = self.rest()?;
        if replaced {
            *self = Self::at_start(&self.path)?;
            lines.extend(self.rest()?);
        }
        Ok(lines)
    }

    fn rest(&mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            let read = self.reader.read_until(b'\n', &mut self.begun)?;
            self.read += read as u64;
            let Some(line) = self.begun.strip_suffix(b"\n") else {
                return Ok(lines);
            };
            lines.extend(String::from_utf8(line.to_vec()));
            self.begun.clear();
        }
    }

    /// Whether the name stands for another file now, or for less than was read. While there is none, it does not.
    fn is_replaced(&self) -> io::Result<bool> {
        match std::fs::metadata(&self.path) {
            Ok(now) => Ok((now.dev(), now.ino()) != self.inode || now.len() < self.read),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Between two looks at a file in which nothing is new.
const LOOK: Duration = Duration::from_millis(200);
/// Before a lost connection is made again.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn append(path: &Path, text: &str) {
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        file.unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn a_file_is_followed_by_whole_lines_and_across_its_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        append(&path, "old\nhalf");
        let mut followed = Followed::at_end(&path).unwrap();
        assert_eq!(followed.lines().unwrap(), [""; 0]);
        append(&path, " a line\nand");
        assert_eq!(followed.lines().unwrap(), ["half a line"]);
        append(&path, " another\n");

        fs::rename(&path, folder.path().join("audit.jsonl.1")).unwrap();
        append(&folder.path().join("audit.jsonl.1"), "last of the old\n");
        assert_eq!(
            followed.lines().unwrap(),
            ["and another", "last of the old"]
        );
        append(&path, "first of the new\n");
        assert_eq!(followed.lines().unwrap(), ["first of the new"]);

        fs::write(&path, "a\n").unwrap();
        assert_eq!(
            followed.lines().unwrap(),
            ["a"],
            "cut short and begun again"
        );
    }
}
