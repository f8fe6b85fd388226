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

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::audit::Memory;
    use crate::clock::{MockClock, Timestamp};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// C28, B14. Here alone, since who logs the same elsewhere at the same time can keep a subscriber from hearing it.
    #[tokio::test]
    async fn every_transition_is_one_line_in_the_log_and_one_record() {
        let log = Log::default();
        let shared = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || shared.clone())
            .finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(0)));
        let (memory, auditor, _writer) = Memory::auditor(clock).unwrap();
        let notices = Notices::default();
        let tell = circuit_witness(auditor.clone(), notices.clone());
        let order = [
            CircuitState::Open,
            CircuitState::HalfOpen,
            CircuitState::Open,
            CircuitState::HalfOpen,
            CircuitState::Closed,
        ];
        for to in order {
            tell(Transition {
                endpoint: "http://opa:8181".into(),
                to,
                failures: 5,
                cause: "because".to_owned(),
            });
            assert_eq!(notices.all().is_empty(), to == CircuitState::Closed);
        }
        auditor.flush().await.unwrap();
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.lines().count(), order.len(), "{log}");
        for (event, words, count) in [
            (EventType::CircuitOpened, "circuit opened", 2),
            (EventType::CircuitHalfOpened, "circuit half open", 2),
            (EventType::CircuitClosed, "circuit closed", 1),
        ] {
            assert_eq!(memory.records(event).len(), count, "{words}");
            assert_eq!(log.matches(words).count(), count, "{log}");
        }
    }
}
