//! `attache audit verify`: whether a trail is as its writers left it.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::audit::{
    Anchor, AnchorError, Broken, Flaw, PublicKey, Span, Summary, Trail, TrailError, Verifier,
    next_line,
};
use crate::grpc::Verified;

use super::super::complain;
use super::output::plain;
use super::source::{Running, Source, SourceFlags};

/// Verify that records are as their writers left them
#[derive(Debug, Args)]
#[command(after_help = "\
Give rotated files oldest first. A cut-off end can't be seen in the files themselves: give a checkpoint that was kept \
elsewhere, or compare the printed heads with ones noted earlier. Nor can it be seen whether runs before the first were removed or rotated away: what the \
first run follows is printed as `not read`.

A running attache says of its own trail what it finds there: whoever doubts the machine reads a copy of the files.

Exit code: 0 unbroken, 1 broken, empty or not readable.")]
pub(super) struct Verify {
    #[command(flatten)]
    source: SourceFlags,
    /// Public key that every run must name, 64 digits; repeat it for keys that were replaced
    #[arg(
        long = "checkpoint-key",
        value_name = "PUBLIC_KEY",
        conflicts_with = "address"
    )]
    keys: Vec<PublicKey>,
    /// File of checkpoints kept elsewhere, one line of JSON each: the trail must hold what they sign
    #[arg(long = "checkpoint", value_name = "FILE", conflicts_with = "address")]
    checkpoints: Vec<PathBuf>,
}

/// Why a trail can't be called unbroken.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is broken", place(path.as_deref(), *line))]
    Broken {
        path: Option<PathBuf>,
        line: u64,
        #[source]
        source: Flaw,
    },
    #[error("{} can't be held against the trail", place(Some(path), *line))]
    Checkpoint {
        path: PathBuf,
        line: u64,
        #[source]
        source: AnchorError,
    },
    #[error("cannot read the audit trail")]
    Trail(#[from] TrailError),
    #[error("line {line} is broken: {}", plain(flaw))]
    Remote { line: u64, flaw: String },
    #[error("nothing to verify: no record in the given files")]
    Empty,
}

impl Verify {
    pub(super) fn run(self) -> ExitCode {
        let Self {
            source,
            keys,
            checkpoints,
        } = self;
        let anchors = match anchors(&checkpoints, &keys) {
            Ok(anchors) => anchors,
            Err(error) => return told(Err(error)),
        };
        let verifier = Verifier::default().pinned(keys).anchored(anchors);
        match source.open() {
            // Line by line, so that a flaw is found in its file.
            Ok(Source::Files(_)) => {
                told(verify(verifier, source.files()).map(|summary| print(&said(&summary))))
            }
            Ok(Source::Database(trail)) => {
                told(walk(verifier, &*trail).map(|summary| print(&said(&summary))))
            }
            Ok(Source::Running(running)) => {
                let Running { client, runtime } = *running;
                match runtime.block_on(client.verify(None)) {
                    Ok(answer) => told(said_remotely(&answer).map(|lines| print(&lines))),
                    Err(error) => told(Err(source.failed(error))),
                }
            }
            Err(error) => told(Err(error)),
        }
    }
}

fn told<E: std::error::Error>(done: Result<(), E>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// The checkpoints in `files`, each signed by one of `keys` where there are any.
fn anchors(files: &[PathBuf], keys: &[PublicKey]) -> Result<Vec<Anchor>, VerifyError> {
    let mut anchors = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).map_err(|source| VerifyError::Read {
            path: path.clone(),
            source,
        })?;
        let before = anchors.len();
        let lines = (1..).zip(text.lines());
        for (line, text) in lines.filter(|(_, text)| !text.trim().is_empty()) {
            let anchor = Anchor::read(text).and_then(|it| it.held_to(keys));
            anchors.push(anchor.map_err(|source| VerifyError::Checkpoint {
                path: path.clone(),
                line,
                source,
            })?);
        }
        if anchors.len() == before {
            return Err(VerifyError::Checkpoint {
                path: path.clone(),
                line: 1,
                source: AnchorError::NotACheckpoint,
            });
        }
    }
    Ok(anchors)
}

fn verify(mut verifier: Verifier, files: &[PathBuf]) -> Result<Summary, VerifyError> {
    // Lines before each file, to find the file that a line of the whole set is in.
    let mut starts = Vec::with_capacity(files.len());
    let (mut lines, mut line) = (0, Vec::new());
    for path in files {
        starts.push((path, lines));
        let unreadable = |source| VerifyError::Read {
            path: path.clone(),
            source,
        };
        let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
        while next_line(&mut file, &mut line).map_err(unreadable)? {
            lines += 1;
            verifier
                .line(&line)
                .map_err(|broken| located(&starts, broken))?;
        }
    }
    let summary = verifier
        .finish()
        .map_err(|broken| located(&starts, broken))?;
    if summary.records == 0 {
        return Err(VerifyError::Empty);
    }
    Ok(summary)
}

/// Verifies what a trail shows; its lines are counted from its first.
fn walk(mut verifier: Verifier, trail: &dyn Trail) -> Result<Summary, VerifyError> {
    let mut flaw = None;
    trail.walk(&Span::default(), &mut |line| match verifier.line(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(broken) => {
            flaw = Some(broken);
            ControlFlow::Break(())
        }
    })?;
    let found = flaw.map_or_else(|| verifier.finish(), Err);
    let summary = found.map_err(|broken| located(&[], broken))?;
    if summary.records == 0 {
        return Err(VerifyError::Empty);
    }
    Ok(summary)
}

fn located(starts: &[(&PathBuf, u64)], broken: Broken) -> VerifyError {
    let file = starts
        .iter()
        .rev()
        .find(|(_, before)| *before < broken.line);
    VerifyError::Broken {
        path: file.map(|(path, _)| (*path).clone()),
        line: broken.line - file.map_or(0, |(_, before)| *before),
        source: broken.flaw,
    }
}

fn place(path: Option<&Path>, line: u64) -> String {
    path.map_or_else(
        || format!("line {line}"),
        |path| format!("{} line {line}", path.display()),
    )
}

#[expect(clippy::print_stdout, reason = "the answer of the command")]
fn print(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}

/// What the files say, in words: names and hashes in them may be anything.
fn said(summary: &Summary) -> Vec<String> {
    let mut lines = vec![format!(
        "unbroken: {} records of {} writers, {} lines torn by crashes and announced, {} gaps announced",
        summary.records,
        summary.heads.len(),
        summary.torn_lines,
        summary.gaps
    )];
    let missing = summary.missing.iter();
    lines.extend(missing.map(|it| not_read(&it.writer, it.seq, &it.hash)));
    for (writer, head) in &summary.heads {
        let signed = head.signed.map_or_else(
            || "no checkpoint".to_owned(),
            |seq| format!("signed up to seq={seq}"),
        );
        let end = end(writer, head.seq, head.hash.as_str(), head.stopped);
        lines.push(format!("{end}, {signed}"));
    }
    lines
}

/// What a running attache found in its own trail.
fn said_remotely(verified: &Verified) -> Result<Vec<String>, VerifyError> {
    if let Some((flaw, line)) = verified.flaw.clone() {
        return Err(VerifyError::Remote { line, flaw });
    }
    let (records, writers) = (verified.records, verified.heads.len());
    let mut lines = vec![format!("unbroken: {records} records of {writers} writers")];
    let missing = verified.missing.iter();
    lines.extend(missing.map(|it| not_read(&it.writer, it.seq, &it.hash)));
    let heads = verified.heads.iter();
    lines.extend(heads.map(|it| end(&it.writer, it.seq, &it.hash, it.stopped)));
    Ok(lines)
}

fn not_read(writer: &str, seq: u64, hash: &str) -> String {
    let (writer, hash) = (plain(writer), plain(hash));
    format!("{writer} seq={seq} hash={hash} not read: the first run follows it")
}

fn end(writer: &str, seq: u64, hash: &str, stopped: bool) -> String {
    let (writer, hash) = (plain(writer), plain(hash));
    let end = if stopped { "stopped" } else { "open" };
    format!("{writer} seq={seq} hash={hash} {end}")
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::grpc::ChainEnd;
    use crate::text::sentence;

    #[test]
    fn a_broken_line_is_named_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("audit.jsonl.1");
        let second = folder.path().join("audit.jsonl");
        fs::write(&first, "").unwrap();
        fs::write(&second, "{}\n{}\n").unwrap();
        let error = verify(Verifier::default(), &[first, second.clone()]).unwrap_err();
        let text = sentence(&error);
        assert!(
            text.starts_with(&format!("{} line 1 is broken", second.display())),
            "{text}"
        );
    }

    #[test]
    fn a_name_in_the_trail_can_not_write_to_the_terminal() {
        let name = "host/1\u{1b}[2J\nunbroken";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let line = serde_json::json!({
            "event_type": "permission.check", "hash": "h", "prev_hash": "p", "seq": 2, "writer": name,
        });
        fs::write(&path, format!("{line}\n")).unwrap();
        let ours = sentence(&verify(Verifier::default(), &[path]).unwrap_err());
        let theirs = sentence(&VerifyError::Remote {
            line: 1,
            flaw: name.to_owned(),
        });
        let verified = Verified {
            heads: vec![ChainEnd {
                writer: name.to_owned(),
                seq: 1,
                hash: name.to_owned(),
                stopped: false,
            }],
            ..Verified::default()
        };
        let head = said_remotely(&verified).unwrap().pop().unwrap();
        for said in [ours, theirs, head, not_read(name, 1, name)] {
            assert!(said.contains("host/1\\u{1b}[2J"), "{said}");
            assert!(!said.contains(char::is_control), "{said}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_read_into_memory() {
        // A file of zeros, as some file systems leave them behind a crash.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        let mut file = BufReader::new(File::open(&path).unwrap());
        let mut line = Vec::new();
        assert!(next_line(&mut file, &mut line).unwrap());
        assert!(line.capacity() <= 8 << 20, "{}", line.capacity());
        assert!(!next_line(&mut file, &mut line).unwrap());
        let error = sentence(&verify(Verifier::default(), &[path]).unwrap_err());
        assert!(error.contains("line 1 is broken"), "{error}");
    }

    #[test]
    fn every_file_of_checkpoints_must_hold_one() {
        let folder = tempfile::tempdir().unwrap();
        let [full, empty] = ["full", "empty"].map(|name| folder.path().join(name));
        let anchor = serde_json::json!({
            "writer": "host/1", "seq": 1, "hash": "h", "key_id": "k", "signature": "s",
        });
        fs::write(&full, anchor.to_string()).unwrap();
        fs::write(&empty, "\n").unwrap();
        assert_eq!(anchors(slice::from_ref(&full), &[]).unwrap().len(), 1);
        let error = sentence(&anchors(&[full, empty], &[]).unwrap_err());
        assert!(error.contains("empty line 1 can't be held"), "{error}");
    }

    #[test]
    fn an_empty_trail_is_not_called_unbroken() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("audit.jsonl");
        fs::write(&empty, "").unwrap();
        let text = sentence(&verify(Verifier::default(), &[empty]).unwrap_err());
        assert!(text.starts_with("nothing to verify"), "{text}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let text = sentence(
            &verify(Verifier::default(), &["/nonexistent/audit.jsonl".into()]).unwrap_err(),
        );
        assert!(
            text.starts_with("cannot read /nonexistent/audit.jsonl"),
            "{text}"
        );
    }
}
