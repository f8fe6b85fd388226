//! The database as a sink and as a trail, with real files.

mod reading;
mod writing;

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::audit::{Span, Trail};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.db");
    (folder, path)
}

fn batch<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        let append = |bytes: &mut Vec<u8>| writeln!(bytes, "{}", line.as_ref());
        batch.push(append).unwrap();
    }
    batch
}

fn walked(trail: &impl Trail, span: &Span) -> Vec<String> {
    let mut lines = Vec::new();
    let keep = &mut |line: &[u8]| {
        lines.push(String::from_utf8(line.to_vec()).unwrap());
        ControlFlow::Continue(())
    };
    trail.walk(span, keep).unwrap();
    lines
}

fn lines_of(path: &Path) -> Vec<String> {
    walked(&SqliteTrail::open(path).unwrap(), &Span::default())
}

/// Why the trail at `path` can't be read.
fn unread(path: &Path) -> String {
    let error = SqliteTrail::open(path).unwrap_err();
    assert!(
        error.to_string().contains(path.to_str().unwrap()),
        "{error}"
    );
    std::error::Error::source(&error).unwrap().to_string()
}
