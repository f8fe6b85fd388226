//! Says when the circuit to a policy engine changes: once in the log, in health while it lasts, and in audit for good.

use crate::audit::{Actor, Auditor, Details, EventType, Outcome, Record};
use crate::lifecycle::Notices;
use crate::policy::{CircuitState, Transition};

/// What a [`Breaker`](crate::policy::Breaker) is to report its transitions to. It never blocks.
pub fn circuit_witness(
    auditor: Auditor,
    notices: Notices,
) -> impl Fn(Transition) + Send + Sync + 'static {
    move |transition| {
        notice(&transition, &notices);
        auditor.record(record(&transition));
    }
}

fn notice(transition: &Transition, notices: &Notices) {
    let Transition {
        endpoint,
        to,
        failures,
        cause,
    } = transition;
    match to {
        CircuitState::Open => {
            tracing::error!(%endpoint, failures, cause, "circuit opened; the policy engine is not asked");
            let text = format!("{endpoint} is not asked after {failures} failures: {cause}");
            notices.set(NOTICE, &text);
        }
        CircuitState::HalfOpen => {
            tracing::warn!(%endpoint, failures, cause, "circuit half open; the policy engine is tried");
            notices.set(
                NOTICE,
                &format!("{endpoint} is tried after {failures} failures"),
            );
        }
        CircuitState::Closed => {
            tracing::info!(%endpoint, failures, cause, "circuit closed; the policy engine is asked again");
            notices.clear(NOTICE);
        }
    }
}

fn record(transition: &Transition) -> Record {
    let (event, result) = match transition.to {
        CircuitState::Open => (EventType::CircuitOpened, Outcome::Failure),
        CircuitState::HalfOpen => (EventType::CircuitHalfOpened, Outcome::Success),
        CircuitState::Closed => (EventType::CircuitClosed, Outcome::Success),
    };
    let details = Details::default()
        .with("endpoint", &*transition.endpoint)
        .with("failures", u64::from(transition.failures))
        .with("cause", transition.cause.as_str());
    Record {
        details,
        ..Record::new(event, result, Actor::System)
    }
}

const NOTICE: &str = "circuit";
