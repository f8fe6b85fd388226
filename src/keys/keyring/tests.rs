use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::*;

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_790_000_000 + seconds)
}

const DAY: u64 = 86_400;

fn open(algorithm: Algorithm, rotate: Option<u64>) -> (TempDir, Keyring, Vec<KeyEvent>) {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        algorithm,
        directory: "keys".into(),
        rotate: rotate.map(Duration::from_secs),
    };
    let (keyring, events) = Keyring::open(&config, folder.path(), at(0)).unwrap();
    (folder, keyring, events)
}

fn kids(keyring: &Keyring) -> Vec<String> {
    let jwks: Value = serde_json::from_str(&keyring.jwks()).unwrap();
    let keys = jwks["keys"].as_array().unwrap().iter();
    keys.map(|key| key["kid"].as_str().unwrap().to_owned())
        .collect()
}

/// Refreshes without trouble.
fn refreshed(keyring: &Keyring, now: Timestamp) -> Vec<Change> {
    let Refreshed { events, trouble } = keyring.refresh(now);
    assert!(trouble.is_none(), "{trouble:?}");
    events.into_iter().map(|event| event.change).collect()
}

fn files(folder: &TempDir) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder.path().join("keys")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_first_start_makes_one_key_and_the_second_finds_it() {
    let (folder, keyring, events) = open(Algorithm::Es256, None);
    let [event] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(event.change, Change::Is(Role::Active));
    assert_eq!(event.algorithm, Algorithm::Es256);
    assert_eq!(kids(&keyring), [event.key.to_string()]);
    // Another algorithm is for new keys.
    let config = Config::default();
    let (again, found) = Keyring::open(&config, folder.path(), at(5)).unwrap();
    assert_eq!(found, events);
    assert_eq!(kids(&again), kids(&keyring));
    assert!(refreshed(&again, at(6)).is_empty());
}

#[test]
fn keys_come_and_go_by_the_clock() {
    let (folder, keyring, _) = open(Algorithm::Ed25519, Some(DAY));
    let first = kids(&keyring);
    assert!(refreshed(&keyring, at(DAY - 601)).is_empty());
    // NEXT is published, and does not sign.
    let next = Change::Is(Role::Next);
    assert_eq!(refreshed(&keyring, at(DAY - 600)), [next]);
    assert_eq!(kids(&keyring).len(), 2);
    assert_eq!(
        keyring.active().unwrap().public().id().to_string(),
        first[0]
    );
    let swapped = [Change::Is(Role::Retired), Change::Is(Role::Active)];
    assert_eq!(refreshed(&keyring, at(DAY)), swapped);
    assert_ne!(
        keyring.active().unwrap().public().id().to_string(),
        first[0]
    );
    // What the first one signed a moment ago is still good.
    assert!(refreshed(&keyring, at(DAY + 359)).is_empty());
    assert!(keyring.public(&first[0].parse().unwrap()).is_some());
    assert_eq!(files(&folder).len(), 2);
    assert_eq!(refreshed(&keyring, at(DAY + 360)), [Change::Gone]);
    assert!(keyring.public(&first[0].parse().unwrap()).is_none());
    assert_eq!(kids(&keyring).len(), 1);
    assert_eq!(files(&folder).len(), 1);
}

#[test]
fn files_that_a_person_places_are_taken_up_at_their_time_and_left_alone() {
    let (folder, keyring, _) = open(Algorithm::Ed25519, None);
    let path = folder.path().join("keys");
    let placed = Directory::open(&path).unwrap();
    let pair = Pair::generate(Algorithm::Es256).unwrap();
    placed.store(at(1000), &pair).unwrap();
    assert_eq!(refreshed(&keyring, at(1)), [Change::Is(Role::Next)]);
    assert_eq!(refreshed(&keyring, at(1000)).len(), 2);
    assert_eq!(keyring.active().unwrap().public().id(), pair.public().id());
    assert_eq!(refreshed(&keyring, at(1360)), [Change::Gone]);
    assert_eq!(files(&folder).len(), 2);
}

#[test]
fn a_key_whose_file_is_taken_away_is_gone_at_once() {
    // T21
    let (folder, keyring, events) = open(Algorithm::Ed25519, None);
    fs::remove_file(&files(&folder)[0]).unwrap();
    let changes = refreshed(&keyring, at(2));
    assert_eq!(changes, [Change::Gone, Change::Is(Role::Active)]);
    assert!(keyring.public(&events[0].key).is_none());
}

#[test]
fn a_folder_that_cannot_be_read_leaves_in_force_what_was() {
    let (folder, keyring, events) = open(Algorithm::Ed25519, Some(DAY));
    assert_eq!(refreshed(&keyring, at(DAY - 600)).len(), 1);
    let path = folder.path().join("keys");
    fs::write(path.join("odd.pem"), "x").unwrap();
    // The schedule goes on without it.
    let Refreshed {
        events: changed,
        trouble,
    } = keyring.refresh(at(DAY));
    assert!(matches!(trouble, Some(KeysError::Name(_))));
    assert_eq!(changed.len(), 2);
    fs::rename(&path, folder.path().join("away")).unwrap();
    let Refreshed {
        events: changed,
        trouble,
    } = keyring.refresh(at(DAY + 1));
    assert!(matches!(trouble, Some(KeysError::File { .. })));
    assert!(changed.is_empty());
    assert!(keyring.public(&events[0].key).is_some());
    // No keys are made where there is no folder.
    assert!(!path.exists());
}

#[test]
fn a_folder_of_faulty_keys_is_no_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("20260921T140000Z.pem"), "x").unwrap();
    assert!(Keyring::open(&Config::default(), folder.path(), at(0)).is_err());
}

#[test]
fn two_replicas_that_start_at_once_end_up_with_the_same_key() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config::default();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let start = || Keyring::open(&config, folder.path(), at(0)).unwrap().0;
        let started: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
        started
            .into_iter()
            .map(|it| it.join().unwrap())
            .map(|it| it.active().unwrap().public().id())
            .collect()
    });
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}

#[test]
fn no_output_shows_a_private_key() {
    let (folder, keyring, _) = open(Algorithm::Ed25519, None);
    let text = fs::read_to_string(&files(&folder)[0]).unwrap();
    let secret = text.lines().nth(1).unwrap();
    let shown = format!("{keyring:?} {}", keyring.jwks());
    assert!(!shown.contains(secret));
    assert!(!keyring.jwks().contains("\"d\""));
}
