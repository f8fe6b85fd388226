use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;
use crate::audit::note;

fn batch(lines: &[&str]) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        let append = |bytes: &mut Vec<u8>| writeln!(bytes, "{line}");
        batch.push(append).unwrap();
    }
    batch
}

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    (directory, path)
}

/// Writes the first bytes of a batch to a file, then fails as a full disk does.
struct Full<'a> {
    file: &'a File,
    room: usize,
}

impl Write for Full<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let written = self.file.write(&bytes[..self.room.min(bytes.len())])?;
        self.room -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_new_file_is_for_its_owner_and_group() {
    let (_directory, path) = directory();
    let sink = Jsonl::open(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
    assert_eq!(mode & 0o600, 0o600, "{mode:o}");
    assert_eq!(sink.found(), Found::default());
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    // A16
    let (_directory, path) = directory();
    let first = Jsonl::open(&path).unwrap();
    let error = Jsonl::open(&path).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    drop(first);
    Jsonl::open(&path).unwrap();
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let (directory, _path) = directory();
    Jsonl::open(directory.path()).unwrap_err();
    Jsonl::open(Path::new("/dev/null")).unwrap_err();
    Jsonl::open(&directory.path().join("missing/audit.jsonl")).unwrap_err();
}

#[test]
fn a_line_that_a_crash_cut_off_is_ended_and_reported() {
    // A04. Longer than the chunks in which the end is searched.
    let (_directory, path) = directory();
    let torn = "x".repeat(3 * CHUNK);
    fs::write(&path, format!("one\n{torn}")).unwrap();
    let mut sink = Jsonl::open(&path).unwrap();
    assert_eq!(sink.found().torn, Some(Digest::of([torn.as_bytes()])));
    assert_eq!(sink.found().last, None, "`one` is no record");
    sink.write(&batch(&["two"])).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        format!("one\n{torn}\ntwo\n")
    );
    drop(sink);
    assert_eq!(Jsonl::open(&path).unwrap().found().torn, None);
}

#[test]
fn a_renamed_file_is_followed_by_a_new_one() {
    // A25
    let (directory, path) = directory();
    let rotated = directory.path().join("audit.jsonl.1");
    let mut sink = Jsonl::open(&path).unwrap();
    sink.write(&batch(&["one"])).unwrap();
    fs::rename(&path, &rotated).unwrap();
    sink.write(&batch(&["two", "three"])).unwrap();
    sink.flush().unwrap();
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "one\n");
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\nthree\n");
    Jsonl::open(&path).unwrap_err();
    Jsonl::open(&rotated).unwrap();
}

#[test]
fn a_file_that_logrotate_created_is_used_and_a_removed_one_made_anew() {
    let (directory, path) = directory();
    let mut sink = Jsonl::open(&path).unwrap();
    fs::rename(&path, directory.path().join("old")).unwrap();
    fs::write(&path, "").unwrap();
    sink.write(&batch(&["one"])).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");
    fs::remove_file(&path).unwrap();
    sink.write(&batch(&["two"])).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
}

#[test]
fn a_line_begun_before_rotation_is_finished_in_the_old_file() {
    for (room, old, new) in [
        (0, "", "one\ntwo\nthree\n"),
        (2, "one\n", "two\nthree\n"),
        (4, "one\n", "two\nthree\n"),
        (5, "one\ntwo\n", "three\n"),
        (13, "one\ntwo\nthree\n", ""),
    ] {
        let (directory, path) = directory();
        let rotated = directory.path().join("audit.jsonl.1");
        let lines = batch(&["one", "two", "three"]);
        let mut sink = Jsonl::open(&path).unwrap();
        let mut disk = Full {
            file: &sink.file,
            room,
        };
        sink.progress.write(&mut disk, &lines).unwrap_err();
        fs::rename(&path, &rotated).unwrap();
        sink.write(&lines).unwrap();
        assert_eq!(
            fs::read_to_string(&rotated).unwrap(),
            old,
            "full after {room}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), new, "full after {room}");
        sink.write(&batch(&["four"])).unwrap();
        let rest = fs::read_to_string(&path).unwrap();
        assert_eq!(rest, format!("{new}four\n"), "full after {room}");
    }
}

fn last(seq: u64, stopped: bool) -> LastRecord {
    LastRecord {
        writer: "host/1".to_owned(),
        seq,
        hash: "0".repeat(64),
        stopped,
    }
}

fn head(path: &Path) -> PathBuf {
    path.with_file_name("audit.jsonl.head")
}

#[test]
fn a_note_is_read_back_as_it_was_written() {
    let (_directory, path) = directory();
    assert_eq!(note::read(&path).unwrap(), None);
    for noted in [last(7, false), last(8, true)] {
        note::write(&path, &noted).unwrap();
        assert_eq!(note::read(&path).unwrap(), Some(noted.clone()));
        assert_eq!(Jsonl::open(&path).unwrap().found().noted, Some(noted));
    }
    let mode = fs::metadata(head(&path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & !0o640, 0, "{mode:o}");
}

#[test]
fn an_unreadable_note_is_reported_and_nothing_more() {
    let (_directory, path) = directory();
    let whole = serde_json::to_string(&last(7, false)).unwrap();
    for corrupt in [
        String::new(),
        "{}".to_owned(),
        whole.replace("00", "0"),
        whole.replace("00", "0G"),
        whole.replace('{', "{\"more\":1,"),
        whole.replace("host", &"h".repeat(5000)),
    ] {
        fs::write(head(&path), &corrupt).unwrap();
        let found = Jsonl::open(&path).unwrap().found();
        assert!(found.note_unreadable, "{corrupt}");
        assert_eq!(found.noted, None);
    }
}

#[test]
fn a_note_that_cannot_be_written_stops_nothing() {
    let (_directory, path) = directory();
    fs::create_dir(head(&path)).unwrap();
    let mut sink = Jsonl::open(&path).unwrap();
    assert!(sink.found().note_unreadable);
    let record = r#"{"event_type":"e","hash":"h","prev_hash":"p","seq":1,"writer":"w"}"#;
    sink.write(&batch(&[record])).unwrap();
    sink.flush().unwrap();
    assert!(sink.note.fails);
    fs::remove_dir(head(&path)).unwrap();
    sink.write(&batch(&[record])).unwrap();
    sink.flush().unwrap();
    assert!(!sink.note.fails);
    assert!(head(&path).is_file());
}
