//! The laws of the fuzz targets on every committed seed and on small changes to it: what `make fuzz` begins with, on any
//! toolchain and in seconds.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says on what"
)]

#[path = "../fuzz/src/lib.rs"]
pub mod laws;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Changed copies of each seed.
const COPIES: u64 = 300;

#[test]
fn every_law_has_a_target_and_seeds() {
    let laws: BTreeSet<_> = laws::LAWS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(names("fuzz/seeds"), laws);
    assert_eq!(names("fuzz/fuzz_targets"), laws);
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    for law in &laws {
        let entry = format!("name = \"{law}\"\npath = \"fuzz_targets/{law}.rs\"\n");
        assert!(manifest.contains(&entry), "{law} is no target");
        let target = root().join(format!("fuzz/fuzz_targets/{law}.rs"));
        let target = fs::read_to_string(target).unwrap();
        assert!(target.contains(&format!("attache_fuzz::{law}(")), "{law}");
        assert!(!seeds(law).is_empty(), "{law} has no seeds");
    }
}

#[test]
fn audit_lines_hold() {
    replay("audit_lines");
}

#[test]
fn check_requests_hold() {
    replay("check_request");
}

#[test]
fn the_permitted_check_requests_are_those_that_read_or_update() {
    let folder = root().join("fuzz/seeds/check_request");
    let permitted = files(&folder)
        .into_iter()
        .filter(|file| laws::check_request(&fs::read(file).unwrap()))
        .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned());
    let permitted: BTreeSet<_> = permitted.collect();
    let expected = ["certified", "escaped", "list", "raw_update", "read"];
    assert_eq!(permitted, expected.map(str::to_owned).into());
}

#[test]
fn configurations_hold() {
    replay("config");
}

#[test]
fn compact_forms_hold() {
    replay("jws");
}

#[test]
fn leaves_hold() {
    replay("leaf");
}

#[test]
fn paths_hold() {
    replay("path");
}

#[test]
fn spiffe_ids_hold() {
    replay("spiffe_id");
}

#[test]
fn claims_of_tokens_hold() {
    replay("token");
}

#[test]
fn xfcc_headers_hold() {
    replay("xfcc");
}

/// Feeds the law with every seed and with changed copies; the input that breaks it is printed.
fn replay(name: &str) {
    let (_, law) = laws::LAWS.iter().find(|(law, _)| *law == name).unwrap();
    let seeds = seeds(name);
    let accepted = seeds.iter().filter(|seed| law(seed)).count();
    // A law is not kept by a parser that never takes its input, or always.
    assert!((1..seeds.len()).contains(&accepted), "{accepted} accepted");
    for (number, seed) in seeds.iter().enumerate() {
        for copy in 0..COPIES {
            let mut rng = StdRng::seed_from_u64(copy);
            let other = &seeds[(number + 1) % seeds.len()];
            let changed = Shown(changed(seed, other, &mut rng));
            law(&changed.0);
        }
    }
}

/// Prints the input if the law panics.
struct Shown(Vec<u8>);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {}", self.0.escape_ascii());
        }
    }
}

/// A copy of `seed` with one to four changes: bytes changed, taken out, repeated, or taken from `other`.
fn changed(seed: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _change in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = bytes.len().min(at + rng.random_range(1..=8));
        match rng.random_range(0..5) {
            0 if at < end => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < end => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = rng.random_range(0..=other.len());
                let to = other.len().min(from + rng.random_range(1..=16));
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut files = files(&root().join("fuzz/seeds").join(name));
    files.sort();
    files
        .into_iter()
        .map(|file| fs::read(file).unwrap())
        .collect()
}

/// The names of what is in a folder, without endings.
fn names(folder: &str) -> BTreeSet<String> {
    let files = files(&root().join(folder));
    let stem = |file: PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    files.into_iter().map(stem).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
