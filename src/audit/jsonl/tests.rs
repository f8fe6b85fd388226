use std::cell::RefCell;
use std::io::Read as _;
use std::mem;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;
use ulid::Ulid;

use super::*;
use crate::audit::{
    Actor, Auditor, EventType, Origin, Outcome, Record, Setup, WriterHandle, note, start, verify,
};
use crate::clock::{MockClock, Timestamp};

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

impl io::Write for Full<'_> {
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

#[test]
fn a_flush_soon_after_another_makes_no_second_note_and_asks_to_be_called_again() {
    let (_directory, path) = directory();
    let mut sink = Jsonl::open(&path).unwrap();
    let hash = "ab".repeat(32);
    let line = |seq: u32, event: &str| {
        format!(
            r#"{{"event_type":"{event}","hash":"{hash}","prev_hash":"x","seq":{seq},"writer":"host/1"}}"#
        )
    };
    let mut noted = Vec::new();
    for (seq, event) in [(1, "audit.started"), (2, "x"), (3, "audit.stopped")] {
        sink.write(&batch(&[&line(seq, event)])).unwrap();
        sink.flush().unwrap();
        let note: serde_json::Value =
            serde_json::from_slice(&fs::read(head(&path)).unwrap()).unwrap();
        noted.push((note["seq"].as_u64().unwrap(), sink.wants_flush()));
    }
    assert_eq!(noted, [(1, false), (1, true), (3, false)]);
}

#[test]
fn what_a_failed_sync_left_in_doubt_is_written_again_before_anything_follows() {
    // A03, A09. What takes bytes here and can't be synced is a socket; nothing of what it took is in the file.
    let (_directory, path) = directory();
    let mut sink = Jsonl::open(&path).unwrap();
    sink.write(&batch(&["one"])).unwrap();
    sink.flush().unwrap();
    let (socket, mut other) = UnixStream::pair().unwrap();
    let file = mem::replace(&mut sink.file, OwnedFd::from(socket).into());
    sink.write(&batch(&["two"])).unwrap();
    sink.flush().unwrap_err();
    for _again in 0..2 {
        sink.write(&batch(&["three"])).unwrap_err();
        sink.flush().unwrap_err();
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\n");

    drop(mem::replace(&mut sink.file, file));
    let mut taken = String::new();
    other.read_to_string(&mut taken).unwrap();
    assert_eq!(taken, "two\n", "nothing followed what was in doubt");
    sink.write(&batch(&["three"])).unwrap();
    sink.flush().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
}

#[test]
fn what_no_sync_has_confirmed_is_bounded() {
    let (_directory, path) = directory();
    let mut sink = Jsonl::open(&path).unwrap();
    let long = batch(&[&"x".repeat(MOST_UNSYNCED)]);
    for _again in 0..3 {
        sink.write(&long).unwrap();
        assert_eq!(sink.unsynced.bytes.len(), long.as_bytes().len());
    }
    let length = fs::metadata(&path).unwrap().len();
    assert_eq!(length, 3 * long.as_bytes().len() as u64);
}

/// A file, and how much of it a sync has confirmed; one that lies confirms without a sync.
#[derive(Debug)]
struct Disk {
    file: Jsonl,
    path: PathBuf,
    confirmed: Arc<AtomicU64>,
    lies: bool,
}

impl Sink for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        self.file.write(batch)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.lies {
            self.file.flush()?;
            let length = fs::metadata(&self.path)?.len();
            self.confirmed.store(length, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn allowed() -> Record {
    let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
    Record::new(EventType::PermissionCheck, Outcome::Allowed, actor)
}

fn started(sink: impl Sink + 'static, writer: &str, seed: u64) -> (Auditor, WriterHandle) {
    let setup = Setup {
        first: Box::new(sink),
        others: vec![],
        capacity: 100,
        origin: Origin {
            tenant: "default".into(),
            writer: writer.into(),
        },
    };
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1000)));
    let rng = StdRng::seed_from_u64(seed);
    start(setup, clock, rng, &mut Registry::default()).unwrap()
}

/// How the power goes at one moment: what was acknowledged, and how much of the file was confirmed.
type Outage = (Vec<Ulid>, u64);

/// Many callers at once, and an outage after each acknowledgement. The file at the end.
async fn outages(lies: bool) -> (Vec<u8>, Vec<Outage>) {
    let (_directory, path) = directory();
    let confirmed = Arc::<AtomicU64>::default();
    let disk = Disk {
        file: Jsonl::open(&path).unwrap(),
        path: path.clone(),
        confirmed: Arc::clone(&confirmed),
        lies,
    };
    let (auditor, writer) = started(disk, "host/1", 1);
    let told = RefCell::new(Vec::new());
    let outages = RefCell::new(Vec::new());
    let callers = (0..16).map(|_caller| async {
        for _request in 0..10 {
            let id = auditor.commit(allowed()).await.unwrap();
            told.borrow_mut().push(id);
            let outage = (told.borrow().clone(), confirmed.load(Ordering::SeqCst));
            outages.borrow_mut().push(outage);
        }
    });
    futures::future::join_all(callers).await;
    writer.close().await.unwrap();
    (fs::read(&path).unwrap(), outages.take())
}

fn lost((told, confirmed): &Outage, file: &[u8]) -> usize {
    let kept = String::from_utf8_lossy(&file[..usize::try_from(*confirmed).unwrap()]);
    let is_lost = |id: &&Ulid| !kept.contains(&format!("\"id\":\"{id}\""));
    told.iter().filter(is_lost).count()
}

#[tokio::test]
async fn a_power_cut_loses_nothing_that_was_acknowledged() {
    // A05
    let (file, outages) = outages(false).await;
    assert_eq!(outages.len(), 160);
    for outage in &outages {
        assert_eq!(lost(outage, &file), 0);
    }
    for (told, confirmed) in outages.into_iter().step_by(40) {
        let end = usize::try_from(confirmed).unwrap();
        // Of what was not confirmed there may be nothing, some, or room without content.
        let rest = &file[end..];
        for tail in [&[][..], &rest[..rest.len() / 3], &[0; 700]] {
            let (_directory, path) = directory();
            fs::write(&path, [&file[..end], tail].concat()).unwrap();
            let (auditor, writer) = started(Jsonl::open(&path).unwrap(), "host/2", 2);
            auditor.commit(allowed()).await.unwrap();
            writer.close().await.unwrap();
            let after = fs::read(&path).unwrap();
            let lines: Vec<_> = after.split(|byte| *byte == b'\n').collect();
            let lines = &lines[..lines.len() - 1];
            assert!(verify(lines).unwrap().heads["host/2"].stopped);
            let text = String::from_utf8_lossy(&after);
            assert_eq!(text.matches("\"audit.gap\"").count(), 1);
            for id in &told {
                assert!(text.contains(&id.to_string()), "{id}");
            }
        }
    }
}

#[tokio::test]
async fn a_disk_that_confirms_without_a_sync_is_found_out() {
    // A05: the test above would see it.
    let (file, outages) = outages(true).await;
    assert!(outages.iter().all(|outage| lost(outage, &file) > 0));
}
