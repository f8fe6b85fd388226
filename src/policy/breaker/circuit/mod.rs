//! The circuit itself: counts what calls report and says which call may begin. Pure: time and reports are arguments.
//!
//! Closed, every call begins, and failures in a row are counted. Open, none begins. Once `recovery_timeout` has passed, the
//! next call makes it half open: a few probes at once may begin, enough successes close it, and one failure opens it again.
//!
//! A report counts only for the phase its call began in. What a call says after a transition, be it the answer that was on
//! its way when the circuit opened, changes nothing.

use tokio::time::Instant;

use super::Settings;

/// A circuit, closed at first.
#[derive(Debug)]
pub(super) struct Circuit {
    settings: Settings,
    phase: Phase,
    /// How many transitions there were: the name of the phase.
    transitions: u64,
    /// Failures in a row, and after the circuit opened those of its probes too.
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    HalfOpen { under_way: u32, successes: u32 },
}

/// What a circuit does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Calls pass.
    Closed,
    /// Calls fail at once.
    Open,
    /// A few calls pass, to see whether the engine is back.
    HalfOpen,
}

/// Leave for one call, to be given back with its [`Report`].
#[derive(Debug)]
#[must_use = "a pass that is not given back keeps the place of a probe"]
pub(super) struct Pass {
    /// The phase in which the call began.
    phase: u64,
}

/// What a call says of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    /// It answers.
    Success,
    /// It fails.
    Failure,
    /// Nothing.
    Neither,
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) to: CircuitState,
    /// Failures since the last success of a closed circuit.
    pub(super) failures: u32,
}

impl Circuit {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Closed,
            transitions: 0,
            failures: 0,
        }
    }

    /// What it does with calls; an open circuit stays open until a call finds that the time is up.
    pub(super) fn state(&self) -> CircuitState {
        match self.phase {
            Phase::Closed => CircuitState::Closed,
            Phase::Open { .. } => CircuitState::Open,
            Phase::HalfOpen { .. } => CircuitState::HalfOpen,
        }
    }

    /// Asks for leave to call; `None` is to fail at once.
    pub(super) fn begin(&mut self, now: Instant) -> (Option<Pass>, Option<Change>) {
        let change = match self.phase {
            Phase::Open { until } if now >= until => Some(self.turn(Phase::HalfOpen {
                under_way: 0,
                successes: 0,
            })),
            Phase::Closed | Phase::Open { .. } | Phase::HalfOpen { .. } => None,
        };
        let may_begin = match &mut self.phase {
            Phase::Closed => true,
            Phase::Open { .. } => false,
            Phase::HalfOpen { under_way, .. } if *under_way >= self.settings.probes.get() => false,
            Phase::HalfOpen { under_way, .. } => {
                *under_way += 1;
                true
            }
        };
        let pass = may_begin.then_some(Pass {
            phase: self.transitions,
        });
        (pass, change)
    }

    /// Takes the report of a call that has ended, or that nobody waits for any more.
    #[expect(clippy::needless_pass_by_value, reason = "a pass is used up")]
    pub(super) fn end(&mut self, pass: Pass, report: Report, now: Instant) -> Option<Change> {
        if pass.phase != self.transitions {
            return None;
        }
        match (&mut self.phase, report) {
            (Phase::Closed, Report::Neither) | (Phase::Open { .. }, _) => None,
            (Phase::Closed, Report::Success) => {
                self.failures = 0;
                None
            }
            (Phase::Closed, Report::Failure) => {
                self.failures = self.failures.saturating_add(1);
                let enough = self.failures >= self.settings.failure_threshold.get();
                enough.then(|| self.open(now))
            }
            (Phase::HalfOpen { under_way, .. }, Report::Neither) => {
                *under_way = under_way.saturating_sub(1);
                None
            }
            (
                Phase::HalfOpen {
                    under_way,
                    successes,
                },
                Report::Success,
            ) => {
                *under_way = under_way.saturating_sub(1);
                *successes = successes.saturating_add(1);
                let enough = *successes >= self.settings.success_threshold.get();
                enough.then(|| self.close())
            }
            (Phase::HalfOpen { .. }, Report::Failure) => {
                self.failures = self.failures.saturating_add(1);
                Some(self.open(now))
            }
        }
    }

    /// Begins anew, closed: what was reported and what is under way say nothing any more.
    pub(super) fn restart(&mut self) -> Option<Change> {
        let was = self.state();
        let change = self.close();
        (was != CircuitState::Closed).then_some(change)
    }

    fn open(&mut self, now: Instant) -> Change {
        self.turn(Phase::Open {
            until: now + self.settings.recovery_timeout,
        })
    }

    fn close(&mut self) -> Change {
        let change = self.turn(Phase::Closed);
        self.failures = 0;
        change
    }

    fn turn(&mut self, phase: Phase) -> Change {
        self.phase = phase;
        self.transitions = self.transitions.wrapping_add(1);
        Change {
            to: self.state(),
            failures: self.failures,
        }
    }
}

impl CircuitState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The stable word, as `half_open`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[cfg(test)]
mod tests;
