//! What is new in a trail that somebody else writes: the lines after the last look.
//!
//! A file is followed by its name, as it is rotated: the rest of the old one comes before the new one. A database is followed
//! by the numbers of its newest writer.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::{Filter, Order, Span, Trail};
use crate::clock::Timestamp;

use super::source::SourceError;

/// Something that is written meanwhile.
pub(super) trait Follow {
    /// The whole lines that were written since the last look.
    fn lines(&mut self) -> Result<Vec<String>, SourceError>;
}

/// A file that is followed by its name.
pub(super) struct FollowedFile {
    path: PathBuf,
    reader: BufReader<File>,
    inode: (u64, u64),
    /// Bytes read.
    read: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl FollowedFile {
    /// Follows what comes after the last whole line.
    pub(super) fn at_end(path: &Path) -> Result<Self, SourceError> {
        Self::after_last_line(path).map_err(|source| unreadable(path, source))
    }

    fn after_last_line(path: &Path) -> io::Result<Self> {
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

    fn look(&mut self) -> io::Result<Vec<String>> {
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

impl Follow for FollowedFile {
    fn lines(&mut self) -> Result<Vec<String>, SourceError> {
        let looked = self.look();
        looked.map_err(|source| unreadable(&self.path, source))
    }
}

fn unreadable(path: &Path, source: io::Error) -> SourceError {
    SourceError::Open {
        path: path.to_owned(),
        source,
    }
}

/// A database that is followed by the numbers of whoever writes it.
pub(super) struct FollowedRows<'a> {
    trail: &'a dyn Trail,
    writer: String,
    seq: u64,
    /// The newest record is not much older.
    time: Timestamp,
}

impl<'a> FollowedRows<'a> {
    /// Follows what comes after the newest record.
    pub(super) fn at_end(trail: &'a dyn Trail) -> Result<Self, SourceError> {
        let mut followed = Self {
            trail,
            writer: String::new(),
            seq: 0,
            time: Timestamp::from_unix_seconds(0),
        };
        if let Some((writer, seq)) = followed.newest()? {
            (followed.writer, followed.seq) = (writer, seq);
        }
        Ok(followed)
    }

    /// Writer and number of the newest record.
    fn newest(&mut self) -> Result<Option<(String, u64)>, SourceError> {
        let filter = Filter {
            from: Some(self.time.minus(BACK)),
            ..Filter::default()
        };
        let page = self.trail.query(&filter, Order::Descending, None, 1)?;
        let line = page.records.first().map(String::as_str).unwrap_or_default();
        let Ok(record) = serde_json::from_str::<Place>(line) else {
            return Ok(None);
        };
        self.time = record.time.parse().unwrap_or(self.time);
        Ok(Some((record.writer, record.seq)))
    }

    fn walk(&mut self, lines: &mut Vec<String>) -> Result<(), SourceError> {
        let span = Span {
            writer: Some(self.writer.clone()),
            from_seq: Some(self.seq.saturating_add(1)),
            to_seq: None,
        };
        let seq = &mut self.seq;
        self.trail.walk(&span, &mut |line| {
            *seq = seq.saturating_add(1);
            lines.extend(String::from_utf8(line.to_vec()));
            ControlFlow::Continue(())
        })?;
        Ok(())
    }
}

impl Follow for FollowedRows<'_> {
    fn lines(&mut self) -> Result<Vec<String>, SourceError> {
        let newest = self.newest()?;
        let mut lines = Vec::new();
        self.walk(&mut lines)?;
        if let Some((writer, _)) = newest.filter(|(writer, _)| *writer != self.writer) {
            (self.writer, self.seq) = (writer, 0);
            self.walk(&mut lines)?;
        }
        Ok(lines)
    }
}

/// Where a record stands.
#[derive(serde::Deserialize)]
struct Place {
    time: String,
    writer: String,
    seq: u64,
}

/// How much older than the newest record the next one may be.
const BACK: Duration = Duration::from_secs(60);

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
        let mut followed = FollowedFile::at_end(&path).unwrap();
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
