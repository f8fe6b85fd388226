use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;
use crate::audit::chain::Chain;
use crate::audit::itself;
use crate::audit::queue::Entry;
use crate::audit::sink::{Found, LastRecord};
use crate::audit::{Actor, Outcome, Record, Text};
use crate::clock::Timestamp;

/// The lines of a writer that starts after `found`, then records `length - 1` events.
fn lines(writer: &str, length: usize, found: &[Found]) -> Vec<Vec<u8>> {
    let begun = itself::started(Nonce::generate(&mut StdRng::seed_from_u64(0)), found, None);
    run(writer, length, found, (begun.len()..length).map(event))
}

fn event(number: usize) -> Record {
    let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
    Record {
        message: Some(Text::from(format!("event {number}: ü"))),
        ..Record::new(EventType::PermissionCheck, Outcome::Allowed, actor)
    }
}

/// The lines of a writer that starts after `found`, then records `events`.
fn run(
    writer: &str,
    seed: usize,
    found: &[Found],
    events: impl IntoIterator<Item = Record>,
) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(seed as u64);
    let nonce = Nonce::generate(&mut rng);
    let mut chain = Chain::new(writer.into(), "default".into(), nonce, rng);
    let mut records = itself::started(nonce, found, None);
    records.extend(events);
    let seal = |record| {
        let mut line = Vec::new();
        let time = Timestamp::from_unix_seconds(9);
        let entry = Entry {
            time,
            moment: tokio::time::Instant::now(),
            arrival: 0,
            repeats: None,
            receipt: None,
            record,
        };
        chain.seal(&entry, &mut line).unwrap();
        line.pop();
        line
    };
    records.into_iter().map(seal).collect()
}

fn last_of(lines: &[Vec<u8>]) -> LastRecord {
    let record = Parsed::read(lines.last().unwrap()).unwrap();
    LastRecord {
        writer: record.writer,
        seq: record.seq,
        hash: record.hash,
        stopped: false,
    }
}

fn after(lines: &[Vec<u8>], torn: Option<&[u8]>) -> [Found; 1] {
    [Found {
        torn: torn.map(|torn| Digest::of([torn])),
        last: Some(last_of(lines)),
        ..Found::default()
    }]
}

fn broken_line(lines: &[Vec<u8>]) -> Option<u64> {
    verify(lines).err().map(|broken| broken.line)
}

#[test]
fn an_untouched_chain_is_verified_to_its_head() {
    let lines = lines("host/1", 5, &[]);
    let summary = verify(&lines).unwrap();
    assert_eq!((summary.records, summary.torn_lines), (5, 0));
    let head = &summary.heads["host/1"];
    assert_eq!(head.seq, 5);
    assert_eq!(head.hash.as_str(), last_of(&lines).hash);
    assert!(!head.stopped);
    assert_eq!(verify(Vec::<Vec<u8>>::new()).unwrap().records, 0);
}

#[test]
fn what_follows_the_end_of_a_chain_was_written_by_somebody_else() {
    // A15: no key is needed to go on with a chain whose writer has ended.
    let whole = [event(1), itself::stopped(3)];
    let mut lines = run("host/1", 1, &[], whole.clone());
    assert!(verify(&lines).unwrap().heads["host/1"].stopped);
    lines = run("host/1", 1, &[], whole.into_iter().chain([event(2)]));
    let broken = verify(&lines).unwrap_err();
    assert_eq!(broken.line, 4);
    assert_eq!(broken.flaw, Flaw::AfterTheEnd("host/1".to_owned()));
}

#[test]
fn every_single_bit_flip_is_found_at_its_line() {
    // A14
    let whole = lines("host/1", 3, &[]);
    for line in 0..whole.len() {
        for byte in 0..whole[line].len() {
            for bit in 0..8 {
                let mut touched = whole.clone();
                touched[line][byte] ^= 1 << bit;
                // A file is split at line feeds before it is verified.
                let file = touched.join(&b'\n');
                let split: Vec<_> = file
                    .split(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect();
                assert_eq!(
                    broken_line(&split),
                    Some(line as u64 + 1),
                    "byte {byte} bit {bit}"
                );
            }
        }
    }
}

#[test]
fn the_end_of_the_last_run_can_be_cut_off_unseen() {
    let mut lines = lines("host/1", 5, &[]);
    lines.truncate(3);
    assert_eq!(
        verify(&lines).unwrap().heads["host/1"].seq,
        3,
        "compare with a head kept elsewhere"
    );
}

#[test]
fn the_end_of_an_earlier_run_cannot() {
    let earlier = lines("host/1", 5, &[]);
    let later = lines("host/2", 4, &after(&earlier, None));
    let whole = [earlier.as_slice(), &later].concat();
    let summary = verify(&whole).unwrap();
    assert_eq!(summary.records, 9);
    assert_eq!(summary.heads.len(), 2);

    let cut = [&earlier[..4], &later].concat();
    let broken = verify(&cut).unwrap_err();
    assert_eq!(broken.line, 5);
    assert_eq!(broken.flaw, Flaw::CutOff("host/1".to_owned()));

    // The later file alone is whole in itself, and says what it follows.
    let summary = verify(&later).unwrap();
    assert_eq!(summary.records, 4);
    let [missing] = &summary.missing[..] else {
        panic!("{summary:?}");
    };
    assert_eq!((&*missing.writer, missing.seq), ("host/1", 5));
    assert_eq!(missing.hash, last_of(&earlier).hash);
}

/// Three runs of a process, each after the one before.
fn three_runs() -> [Vec<Vec<u8>>; 3] {
    let first = lines("host/1", 4, &[]);
    let second = lines("host/2", 4, &after(&first, None));
    let third = lines("host/3", 4, &after(&second, None));
    [first, second, third]
}

#[test]
fn a_run_removed_or_moved_as_a_whole_is_found() {
    let [first, second, third] = three_runs();
    for (what, runs, line) in [
        ("without the second", vec![&first, &third], 5),
        ("first and second swapped", vec![&second, &first, &third], 5),
        ("second and third swapped", vec![&first, &third, &second], 5),
        ("first and third swapped", vec![&third, &second, &first], 5),
        ("first moved to the end", vec![&second, &third, &first], 9),
        ("last moved to the front", vec![&third, &first, &second], 9),
    ] {
        let walked: Vec<_> = runs.into_iter().flatten().collect();
        let found = verify(&walked).map_err(|broken| broken.line);
        assert_eq!(found.err(), Some(line), "{what}");
    }
}

#[test]
fn a_noted_end_is_the_least_that_must_be_there() {
    let earlier = lines("host/1", 5, &[]);
    let noted = |seq: usize, stopped| {
        let found = Found {
            noted: Some(LastRecord {
                stopped,
                ..last_of(&earlier[..seq])
            }),
            ..Found::default()
        };
        lines("host/2", 4, &[found])
    };
    let cut_off = Some(Flaw::CutOff("host/1".to_owned()));
    for (noted, read, expected) in [
        (noted(5, true), 5, None),
        (noted(5, false), 5, None),
        (noted(4, false), 5, None),
        (noted(5, false), 4, cut_off.clone()),
        // After its stop a writer writes nothing.
        (noted(4, true), 5, cut_off),
    ] {
        let walk = [&earlier[..read], &noted].concat();
        assert_eq!(verify(walk).err().map(|broken| broken.flaw), expected);
    }
    let alone = verify(noted(4, false)).unwrap();
    assert_eq!(alone.missing[0].seq, 4);
}

#[test]
fn runs_missing_at_the_beginning_are_told() {
    let [first, second, third] = three_runs();
    let whole = [first, second.clone(), third.clone()].concat();
    assert_eq!(verify(whole).unwrap().missing, []);
    let missing = verify([second, third].concat()).unwrap().missing;
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].writer, "host/1");
}

#[test]
fn runs_of_several_hosts_may_be_mixed_and_each_keeps_its_predecessor() {
    let [first, second, third] = three_runs();
    let other = lines("other/1", 6, &[]);
    let next = lines("other/2", 6, &after(&other, None));
    let here = [first.clone(), second.clone(), third].concat();
    let there = [other, next.clone()].concat();
    let mixed: Vec<_> = here
        .iter()
        .zip(&there)
        .flat_map(|(here, there)| [here, there])
        .collect();
    let summary = verify(mixed).unwrap();
    assert_eq!((summary.records, summary.heads.len()), (24, 5));

    // Not the first of all: as if a run had been removed.
    let flaw = Flaw::NoPredecessor("other/1".to_owned());
    let line = first.len() as u64 + 1;
    assert_eq!(
        verify([first, next, second].concat()),
        Err(Broken { line, flaw })
    );
}

#[test]
fn lines_of_several_writers_may_be_mixed() {
    let (one, two) = (lines("host/1", 3, &[]), lines("host/2", 3, &[]));
    let mixed: Vec<_> = one
        .iter()
        .zip(&two)
        .flat_map(|(one, two)| [one, two])
        .collect();
    assert_eq!(verify(mixed).unwrap().records, 6);
}

#[test]
fn a_writer_begins_once_and_at_the_beginning() {
    let lines = lines("host/1", 3, &[]);
    let twice = [lines.as_slice(), &lines].concat();
    let flaw = Flaw::Beginning("host/1".to_owned());
    assert_eq!(verify(twice), Err(Broken { line: 4, flaw }));
    let flaw = Flaw::NoBeginning("host/1".to_owned());
    assert_eq!(verify(&lines[1..]), Err(Broken { line: 1, flaw }));
}

#[test]
fn a_torn_line_is_accepted_only_as_the_next_start_found_it() {
    // A04
    let earlier = lines("host/1", 3, &[]);
    let torn = br#"{"action":"re"#.to_vec();
    let later = lines("host/2", 3, &after(&earlier, Some(&torn)));
    let whole = [earlier.as_slice(), std::slice::from_ref(&torn), &later].concat();
    let summary = verify(&whole).unwrap();
    assert_eq!((summary.records, summary.torn_lines), (6, 1));

    let mut touched = whole.clone();
    touched[3][5] ^= 1;
    assert_eq!(broken_line(&touched), Some(4));
    assert_eq!(broken_line(&whole[..4]), Some(4), "nobody announced it");
    let mut twice = whole.clone();
    twice.insert(3, torn);
    assert_eq!(broken_line(&twice), Some(4));
}

#[test]
fn only_the_canonical_form_is_a_record() {
    let line = String::from_utf8(lines("host/1", 1, &[]).remove(0)).unwrap();
    for other in [
        format!(" {line}"),
        line.replacen(':', ": ", 1),
        line.replacen("\"action\"", "\"\\u0061ction\"", 1)
            .replacen("host", "\\u0068ost", 1),
        line.replacen('{', "{\"actor\":1,", 1),
        String::new(),
        "{}".to_owned(),
        "[]".to_owned(),
    ] {
        let flaw = Flaw::NotARecord;
        assert_eq!(verify([&other]), Err(Broken { line: 1, flaw }), "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // A15. Positions are of lines, counted from 0; the line reported is counted from 1.

    #[test]
    fn a_missing_line_is_found_where_it_was(length in 2_usize..20, at in any::<prop::sample::Index>()) {
        let mut lines = lines("host/1", length, &[]);
        let at = at.index(length - 1);
        lines.remove(at);
        prop_assert_eq!(broken_line(&lines), Some(at as u64 + 1));
    }

    #[test]
    fn two_swapped_lines_are_found_at_the_first(
        length in 2_usize..20,
        one in any::<prop::sample::Index>(),
        other in any::<prop::sample::Index>(),
    ) {
        let mut lines = lines("host/1", length, &[]);
        let (one, other) = (one.index(length), other.index(length));
        prop_assume!(one != other);
        lines.swap(one, other);
        prop_assert_eq!(broken_line(&lines), Some(one.min(other) as u64 + 1));
    }

    #[test]
    fn a_repeated_line_is_found_where_it_is_repeated(
        length in 1_usize..20,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        let mut lines = lines("host/1", length, &[]);
        let from = from.index(length);
        let to = from + 1 + to.index(length - from);
        lines.insert(to, lines[from].clone());
        prop_assert_eq!(broken_line(&lines), Some(to as u64 + 1));
    }

    #[test]
    fn an_inserted_line_is_found(
        length in 1_usize..20,
        to in any::<prop::sample::Index>(),
        foreign in "[ -~]{0,40}",
    ) {
        let mut lines = lines("host/1", length, &[]);
        let to = to.index(length + 1);
        lines.insert(to, foreign.into_bytes());
        prop_assert_eq!(broken_line(&lines), Some(to as u64 + 1));
    }

    #[test]
    fn a_changed_byte_is_found_at_its_line(
        length in 1_usize..20,
        line in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut lines = lines("host/1", length, &[]);
        let line = line.index(length);
        let byte = byte.index(lines[line].len());
        lines[line][byte] ^= change;
        prop_assert_eq!(broken_line(&lines), Some(line as u64 + 1));
    }
}
