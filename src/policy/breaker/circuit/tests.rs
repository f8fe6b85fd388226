use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const RECOVERY: Duration = Duration::from_secs(30);

fn settings(failures: u32, successes: u32, probes: u32) -> Settings {
    let at_least_one = |number| NonZeroU32::new(number).unwrap();
    Settings {
        failure_threshold: at_least_one(failures),
        recovery_timeout: RECOVERY,
        success_threshold: at_least_one(successes),
        probes: at_least_one(probes),
    }
}

fn call(circuit: &mut Circuit, report: Report, now: Instant) -> Option<Change> {
    let (pass, change) = circuit.begin(now);
    assert_eq!(change, None);
    circuit.end(pass.unwrap(), report, now)
}

fn opened(settings: Settings, now: Instant) -> Circuit {
    let mut circuit = Circuit::new(settings);
    for _ in 0..settings.failure_threshold.get() {
        call(&mut circuit, Report::Failure, now);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    circuit
}

/// C21.
#[test]
fn the_fifth_failure_in_a_row_opens_the_circuit() {
    let now = Instant::now();
    let mut circuit = Circuit::new(Settings::default());
    for report in [
        Report::Failure,
        Report::Failure,
        Report::Failure,
        Report::Failure,
        Report::Success,
        Report::Failure,
        Report::Failure,
        Report::Neither,
        Report::Failure,
        Report::Failure,
    ] {
        assert_eq!(call(&mut circuit, report, now), None);
    }
    let change = call(&mut circuit, Report::Failure, now);
    assert_eq!(
        change,
        Some(Change {
            to: CircuitState::Open,
            failures: 5
        })
    );
    let (pass, change) = circuit.begin(now + RECOVERY - Duration::from_nanos(1));
    assert!(pass.is_none());
    assert_eq!(change, None);
}

/// C22.
#[test]
fn a_half_open_circuit_lets_only_so_many_probes_through_at_once() {
    for probes in 1..4 {
        let now = Instant::now();
        let mut circuit = opened(settings(5, 10, probes), now);
        let (first, change) = circuit.begin(now + RECOVERY);
        let first = first.unwrap();
        assert_eq!(change.map(|change| change.to), Some(CircuitState::HalfOpen));
        for _ in 1..probes {
            assert!(circuit.begin(now + RECOVERY).0.is_some());
        }
        assert!(circuit.begin(now + RECOVERY).0.is_none());
        assert_eq!(circuit.end(first, Report::Success, now + RECOVERY), None);
        assert!(circuit.begin(now + RECOVERY).0.is_some());
        assert!(circuit.begin(now + RECOVERY).0.is_none());
    }
}

/// C23.
#[test]
fn two_successes_close_the_circuit_and_one_failure_opens_it_again() {
    let start = Instant::now();
    let mut circuit = opened(settings(5, 2, 1), start);
    let mut now = start + RECOVERY;
    let (pass, _) = circuit.begin(now);
    assert_eq!(circuit.end(pass.unwrap(), Report::Success, now), None);
    let change = call(&mut circuit, Report::Failure, now).unwrap();
    assert_eq!((change.to, change.failures), (CircuitState::Open, 6));

    now += RECOVERY;
    let (pass, _) = circuit.begin(now);
    assert_eq!(circuit.end(pass.unwrap(), Report::Success, now), None);
    let change = call(&mut circuit, Report::Success, now).unwrap();
    assert_eq!((change.to, change.failures), (CircuitState::Closed, 6));
    for _ in 0..4 {
        assert_eq!(call(&mut circuit, Report::Failure, now), None);
    }
    let change = call(&mut circuit, Report::Failure, now).unwrap();
    assert_eq!((change.to, change.failures), (CircuitState::Open, 5));
}

/// C27.
#[test]
fn what_a_call_says_after_a_transition_does_not_count() {
    let now = Instant::now();
    let mut circuit = Circuit::new(settings(2, 1, 1));
    let mut early: Vec<_> = (0..4).map(|_| circuit.begin(now).0.unwrap()).collect();
    call(&mut circuit, Report::Failure, now);
    call(&mut circuit, Report::Failure, now);
    assert_eq!(
        circuit.end(early.pop().unwrap(), Report::Success, now),
        None
    );
    assert_eq!(circuit.state(), CircuitState::Open);

    let later = now + RECOVERY;
    let (probe, _) = circuit.begin(later);
    for report in [Report::Success, Report::Failure, Report::Neither] {
        assert_eq!(circuit.end(early.pop().unwrap(), report, later), None);
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.begin(later).0.is_none(), "the place is still taken");
    }
    let change = circuit.end(probe.unwrap(), Report::Success, later);
    assert_eq!(change.unwrap().to, CircuitState::Closed);
}

/// C30.
#[test]
fn a_probe_that_says_nothing_gives_its_place_back() {
    let now = Instant::now();
    let mut circuit = opened(settings(1, 1, 1), now);
    let later = now + RECOVERY;
    let (pass, _) = circuit.begin(later);
    circuit.end(pass.unwrap(), Report::Neither, later);
    for _ in 0..100 {
        assert_eq!(call(&mut circuit, Report::Neither, later), None);
    }
    let change = call(&mut circuit, Report::Success, later);
    assert_eq!(change.unwrap().to, CircuitState::Closed);
}

/// What happens to the circuit and to its oracle.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin,
    /// Ends the call that began as the n-th of those under way.
    End(usize, Report),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let report = prop_oneof![
        4 => Just(Report::Failure),
        3 => Just(Report::Success),
        1 => Just(Report::Neither),
    ];
    prop_oneof![
        5 => Just(Step::Begin),
        5 => (any::<usize>(), report).prop_map(|(index, report)| Step::End(index, report)),
        1 => (0..40u64).prop_map(Step::Wait),
    ]
}

/// The rules told as a story: which calls belong to the present, and everything they have said so far.
#[derive(Default)]
struct Oracle {
    state: &'static str,
    present: BTreeSet<u32>,
    said: Vec<Report>,
    opened_at: u64,
}

impl Oracle {
    fn turn(&mut self, state: &'static str) {
        self.state = state;
        self.present.clear();
        self.said.clear();
    }

    fn begin(&mut self, call: u32, second: u64, settings: Settings) -> bool {
        if self.state == "open" && second >= self.opened_at + RECOVERY.as_secs() {
            self.turn("half_open");
        }
        let probes = settings.probes.get() as usize;
        let begins = match self.state {
            "closed" => true,
            "half_open" => self.present.len() < probes,
            _ => false,
        };
        if begins {
            self.present.insert(call);
        }
        begins
    }

    fn end(&mut self, call: u32, report: Report, second: u64, settings: Settings) {
        if !self.present.remove(&call) || report == Report::Neither {
            return;
        }
        self.said.push(report);
        let last = self.said.iter().rev();
        let failures = last.take_while(|it| **it == Report::Failure).count();
        let successes = self.said.iter().filter(|it| **it == Report::Success);
        let successes = successes.count();
        let patience = match self.state {
            "closed" => settings.failure_threshold.get() as usize,
            _ => 1,
        };
        if failures >= patience {
            self.turn("open");
            self.opened_at = second;
        } else if self.state == "half_open"
            && successes >= settings.success_threshold.get() as usize
        {
            self.turn("closed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_circuit_does_what_the_story_says(
        steps in prop::collection::vec(step(), 1..400),
        failures in 1..5u32,
        successes in 1..4u32,
        probes in 1..4u32,
    ) {
        let settings = settings(failures, successes, probes);
        let start = Instant::now();
        let mut circuit = Circuit::new(settings);
        let mut oracle = Oracle { state: "closed", ..Oracle::default() };
        let mut under_way = BTreeMap::new();
        let (mut second, mut calls) = (0, 0);
        for step in steps {
            let now = start + Duration::from_secs(second);
            let before = circuit.state();
            let change = match step {
                Step::Begin => {
                    calls += 1;
                    let (pass, change) = circuit.begin(now);
                    prop_assert_eq!(pass.is_some(), oracle.begin(calls, second, settings));
                    under_way.extend(pass.map(|pass| (calls, pass)));
                    change
                }
                Step::End(_, _) if under_way.is_empty() => continue,
                Step::End(index, report) => {
                    let index = index % under_way.len();
                    let call = *under_way.keys().nth(index).unwrap();
                    oracle.end(call, report, second, settings);
                    circuit.end(under_way.remove(&call).unwrap(), report, now)
                }
                Step::Wait(seconds) => {
                    second += seconds;
                    None
                }
            };
            prop_assert_eq!(circuit.state().as_str(), oracle.state);
            // Every change is told, and nothing else is.
            prop_assert_eq!(change.map(|it| it.to), (before != circuit.state()).then(|| circuit.state()));
        }
    }

    /// C29: whatever happened before, an engine that works again is asked again.
    #[test]
    fn no_history_keeps_the_circuit_from_closing(
        steps in prop::collection::vec(step(), 1..400),
        probes in 1..4u32,
    ) {
        let settings = settings(5, 2, probes);
        let mut now = Instant::now();
        let mut circuit = Circuit::new(settings);
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Begin => under_way.extend(circuit.begin(now).0),
                Step::End(_, _) if under_way.is_empty() => {}
                Step::End(index, report) => {
                    let pass = under_way.swap_remove(index % under_way.len());
                    circuit.end(pass, report, now);
                }
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
            }
        }
        for pass in under_way {
            circuit.end(pass, Report::Neither, now);
        }
        now += RECOVERY;
        for _ in 0..2 {
            let (pass, _) = circuit.begin(now);
            prop_assert!(pass.is_some());
            circuit.end(pass.unwrap(), Report::Success, now);
        }
        prop_assert_eq!(circuit.state(), CircuitState::Closed);
    }
}
