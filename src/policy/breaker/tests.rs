use std::collections::VecDeque;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{advance, sleep, timeout_at};

use super::*;
use crate::policy::{Answer, Input, Terms};

/// How long a call may take.
const BUDGET: Duration = Duration::from_millis(150);
const RECOVERY: Duration = Duration::from_secs(30);

/// Does what it was told to, one call after the other, and fails once it was told nothing more.
#[derive(Debug, Default)]
struct Scripted {
    script: Mutex<VecDeque<(Duration, Said)>>,
    asked: Mutex<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Yes,
    No,
    Broken,
    Wrong,
}

#[async_trait::async_trait]
impl PolicyEngine for Scripted {
    async fn evaluate(&self, _query: Query) -> Result<Verdict, PolicyError> {
        *self.asked.lock().unwrap() += 1;
        let next = self.script.lock().unwrap().pop_front();
        let (after, said) = next.unwrap_or((Duration::ZERO, Said::Broken));
        if after > Duration::ZERO {
            sleep(after).await;
        }
        match said {
            Said::Yes => Ok(verdict(Answer::Allow)),
            Said::No => Ok(verdict(Answer::Deny)),
            Said::Broken => Err(PolicyError::Unavailable("refused".to_owned())),
            Said::Wrong => Err(PolicyError::Shape("on purpose".to_owned())),
        }
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "scripted".into()
    }
}

fn verdict(answer: Answer) -> Verdict {
    Verdict {
        answer,
        reason: None,
        policy_id: None,
        tier: None,
        shaping: None,
        revision: "scripted".into(),
        cacheable: true,
        cached: false,
    }
}

struct House {
    breaker: Breaker<Scripted>,
    told: Arc<Mutex<Vec<Transition>>>,
    registry: Registry,
}

impl House {
    fn new(script: &[(Duration, Said)]) -> Self {
        let engine = Scripted {
            script: Mutex::new(script.iter().copied().collect()),
            asked: Mutex::default(),
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut registry = Registry::default();
        let metrics = BreakerMetrics::new(&mut registry);
        let ear = Arc::clone(&told);
        let breaker = Breaker::new(engine, "http://opa:8181", Settings::default(), metrics);
        breaker.report_to(move |transition| ear.lock().unwrap().push(transition));
        Self {
            breaker,
            told,
            registry,
        }
    }

    fn opened() -> Self {
        let house = Self::new(&[]);
        for _ in 0..5 {
            let pass = house.breaker.line.begin(full()).unwrap();
            pass.end(&Err(PolicyError::Unavailable("refused".to_owned())));
        }
        assert_eq!(house.breaker.state(), CircuitState::Open);
        house
    }

    fn then(self, script: &[(Duration, Said)]) -> Self {
        self.breaker
            .engine
            .script
            .lock()
            .unwrap()
            .extend(script.iter().copied());
        self
    }

    async fn ask(&self) -> Result<Verdict, PolicyError> {
        self.breaker.evaluate(query(full())).await
    }

    fn asked(&self) -> usize {
        *self.breaker.engine.asked.lock().unwrap()
    }

    fn states(&self) -> Vec<CircuitState> {
        self.told.lock().unwrap().iter().map(|it| it.to).collect()
    }
}

fn full() -> Deadline {
    Deadline::after(BUDGET)
}

fn query(deadline: Deadline) -> Query {
    Query {
        input: Arc::new(Input::made_up()),
        deadline,
        terms: Terms::default(),
    }
}

const NOW: Duration = Duration::ZERO;
const LATE: Duration = Duration::from_secs(1);

/// C21, B7.
#[tokio::test(start_paused = true)]
async fn an_open_circuit_fails_at_once_and_asks_nobody() {
    let house = House::new(&[]);
    for _ in 0..5 {
        assert!(matches!(
            house.ask().await,
            Err(PolicyError::Unavailable(_))
        ));
    }
    let before = Instant::now();
    for _ in 0..100 {
        assert!(matches!(house.ask().await, Err(PolicyError::BreakerOpen)));
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(house.asked(), 5);
    assert_eq!(
        house.told.lock().unwrap()[0],
        Transition {
            endpoint: "http://opa:8181".into(),
            to: CircuitState::Open,
            failures: 5,
            cause: "policy engine unavailable: refused".to_owned(),
        }
    );
}

/// B7: a denial or an error of the policy itself never counts.
#[tokio::test(start_paused = true)]
async fn denials_and_errors_of_the_policy_are_not_failures_of_the_engine() {
    let house = House::new(&[[(NOW, Said::No); 20], [(NOW, Said::Wrong); 20]].concat());
    for _ in 0..40 {
        assert!(!matches!(house.ask().await, Err(PolicyError::BreakerOpen)));
    }
    assert_eq!(house.states(), []);
}

/// C22, C23.
#[tokio::test(start_paused = true)]
async fn an_engine_that_is_back_is_asked_again_after_two_probes() {
    let house = House::opened().then(&[(NOW, Said::Yes); 3]);
    advance(RECOVERY).await;
    for _ in 0..3 {
        assert_eq!(house.ask().await.unwrap().answer, Answer::Allow);
    }
    assert_eq!(
        house.states(),
        [
            CircuitState::Open,
            CircuitState::HalfOpen,
            CircuitState::Closed
        ]
    );
    let causes: Vec<_> = house.told.lock().unwrap().drain(..).collect();
    assert_eq!(causes[1].cause, "the recovery timeout is over");
    assert_eq!(causes[2].cause, "the probes succeeded");
}

/// C22: concurrency.
#[tokio::test(start_paused = true)]
async fn of_many_callers_at_once_one_probes_and_the_others_fail_at_once() {
    let house = Arc::new(House::opened().then(&[(BUDGET / 2, Said::Yes); 9]));
    advance(RECOVERY).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let house = Arc::clone(&house);
        callers.spawn(async move { house.ask().await.is_ok() });
    }
    let served = callers.join_all().await;
    assert_eq!(served.iter().filter(|served| **served).count(), 1);
    assert_eq!(house.asked(), 1);
    assert_eq!(house.breaker.state(), CircuitState::HalfOpen);
}

/// C24.
#[tokio::test(start_paused = true)]
async fn a_success_after_the_whole_budget_is_a_failure() {
    let house = House::new(&[(LATE, Said::Yes); 5]);
    for _ in 0..5 {
        house.ask().await.unwrap();
    }
    assert_eq!(house.breaker.state(), CircuitState::Open);
}

/// C24: as the authority asks.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_after_its_whole_budget_is_a_failure() {
    let house = House::new(&[(LATE, Said::Yes); 5]);
    for _ in 0..5 {
        let deadline = full();
        let asked = house.breaker.evaluate(query(deadline));
        assert!(timeout_at(deadline.at, asked).await.is_err());
    }
    assert_eq!(house.breaker.state(), CircuitState::Open);
    let cause = house.told.lock().unwrap()[0].cause.clone();
    assert_eq!(cause, "no answer within the time of the call");
}

/// C24, C30: the asker wanted it sooner than the engine must be able to.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_cut_short_is_neither() {
    let house = House::new(&[(LATE, Said::Yes); 40]);
    for dropped in [true, false].repeat(20) {
        let deadline = Deadline {
            cut_short: true,
            ..full()
        };
        let asked = house.breaker.evaluate(query(deadline));
        if dropped {
            assert!(timeout_at(deadline.at, asked).await.is_err());
        } else {
            asked.await.unwrap();
        }
    }
    assert_eq!(house.states(), []);
}

/// C22, C23: the calls at which it panics are made all the same, and no place of a probe is lost.
#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_changes_nothing() {
    let script = [[(NOW, Said::Broken); 5], [(NOW, Said::Yes); 5]].concat();
    let engine = Scripted {
        script: Mutex::new(script.into()),
        asked: Mutex::default(),
    };
    let metrics = BreakerMetrics::new(&mut Registry::default());
    let settings = Settings::default();
    let breaker = Breaker::new(engine, "http://opa:8181", settings, metrics);
    breaker.report_to(|_transition| panic!("on purpose"));
    for _ in 0..5 {
        breaker.evaluate(query(full())).await.unwrap_err();
    }
    assert_eq!(breaker.state(), CircuitState::Open);
    advance(RECOVERY).await;
    for _ in 0..settings.success_threshold.get() {
        breaker.evaluate(query(full())).await.unwrap();
    }
    assert_eq!(breaker.state(), CircuitState::Closed);
}

/// C30.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_neither_and_gives_its_place_back() {
    let house = House::new(&[(LATE, Said::Yes); 20]);
    let give_up = async |house: &House| {
        let soon = Instant::now() + BUDGET / 2;
        timeout_at(soon, house.ask()).await.unwrap_err();
    };
    for _ in 0..20 {
        give_up(&house).await;
    }
    assert_eq!(house.states(), []);

    let house = House::opened().then(&[(LATE, Said::Yes); 20]);
    advance(RECOVERY).await;
    for _ in 0..20 {
        give_up(&house).await;
    }
    assert_eq!(house.asked(), 20, "each found the place of the one probe");
    assert_eq!(house.breaker.state(), CircuitState::HalfOpen);
}

/// C27.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_circuit_opened_does_not_close_it() {
    let house = Arc::new(House::new(&[
        (BUDGET / 2, Said::Yes),
        (BUDGET / 2, Said::Yes),
    ]));
    let mut early = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let house = Arc::clone(&house);
        early.spawn(async move { house.ask().await.is_ok() });
    }
    tokio::task::yield_now().await;
    for _ in 0..5 {
        house.ask().await.unwrap_err();
    }
    assert_eq!(early.join_all().await, [true, true]);
    assert_eq!(house.breaker.state(), CircuitState::Open);
}

/// C28: per endpoint.
#[tokio::test(start_paused = true)]
async fn each_endpoint_has_a_circuit_of_its_own() {
    let mut registry = Registry::default();
    let metrics = BreakerMetrics::new(&mut registry);
    let breaker = |endpoint: &str| {
        let engine = Scripted::default();
        Breaker::new(engine, endpoint, Settings::default(), metrics.clone())
    };
    let (one, other) = (breaker("http://a"), breaker("http://b"));
    for _ in 0..5 {
        one.evaluate(query(full())).await.unwrap_err();
    }
    assert_eq!(one.state(), CircuitState::Open);
    assert_eq!(other.state(), CircuitState::Closed);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    for line in [
        r#"attache_policy_circuit{endpoint="http://a",state="open"} 1"#,
        r#"attache_policy_circuit{endpoint="http://a",state="closed"} 0"#,
        r#"attache_policy_circuit{endpoint="http://b",state="open"} 0"#,
        r#"attache_policy_circuit{endpoint="http://b",state="closed"} 1"#,
        r#"attache_policy_circuit_transitions_total{endpoint="http://a",to="open"} 1"#,
        r#"attache_policy_circuit_transitions_total{endpoint="http://b",to="open"} 0"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// C29: ten minutes of an engine that fails every other call.
#[tokio::test(start_paused = true)]
async fn a_flapping_engine_is_never_answered_for_and_never_given_up() {
    let house = House::new(&[]);
    let mut rng = StdRng::seed_from_u64(29);
    let start = Instant::now();
    let (mut served, mut held_back) = (0, 0);
    while start.elapsed() < Duration::from_secs(600) {
        let said = if rng.random_bool(0.5) {
            Said::No
        } else {
            Said::Broken
        };
        *house.breaker.engine.script.lock().unwrap() = [(NOW, said)].into();
        match (house.ask().await, said) {
            (Ok(verdict), Said::No) => {
                assert_eq!(verdict.answer, Answer::Deny);
                served += 1;
            }
            (Err(PolicyError::BreakerOpen), _) => held_back += 1,
            (Err(PolicyError::Unavailable(_)), Said::Broken) => {}
            (answer, said) => panic!("{said:?} became {answer:?}"),
        }
        advance(Duration::from_millis(200)).await;
    }
    assert!(served > 0 && held_back > 0, "{served} {held_back}");

    *house.breaker.engine.script.lock().unwrap() = [(NOW, Said::No); 8].into();
    advance(RECOVERY).await;
    while house.breaker.state() != CircuitState::Closed {
        house.ask().await.unwrap();
    }
    // One told transition for each counted one.
    let mut text = String::new();
    encode(&mut text, &house.registry).unwrap();
    for state in CircuitState::ALL {
        let told = house.states().into_iter().filter(|to| *to == state).count();
        let state = state.as_str();
        let line =
            format!("transitions_total{{endpoint=\"http://opa:8181\",to=\"{state}\"}} {told}\n");
        assert!(text.contains(&line), "{line}{text}");
    }
}

/// C28, O30.
#[tokio::test(start_paused = true)]
async fn another_endpoint_begins_with_a_closed_circuit() {
    let house = House::opened().then(&[(BUDGET / 2, Said::Broken), (NOW, Said::Yes)]);
    house.breaker.redirect("http://opa:8181");
    assert_eq!(house.breaker.state(), CircuitState::Open, "the same one");
    advance(RECOVERY).await;
    let house = Arc::new(house);
    let probing = tokio::spawn({
        let house = Arc::clone(&house);
        async move { house.ask().await.is_ok() }
    });
    tokio::task::yield_now().await;
    assert_eq!(house.breaker.state(), CircuitState::HalfOpen);
    house.breaker.redirect("http://other:8181");
    assert_eq!(house.breaker.state(), CircuitState::Closed);
    let last = house.told.lock().unwrap().pop().unwrap();
    assert_eq!(&*last.endpoint, "http://opa:8181");
    assert_eq!(last.to, CircuitState::Closed);
    assert_eq!(last.cause, "another endpoint is asked");

    // The answer of the old one says nothing of the new one.
    assert!(!probing.await.unwrap());
    assert_eq!(house.breaker.state(), CircuitState::Closed);
    assert!(house.ask().await.is_ok());
    let mut text = String::new();
    encode(&mut text, &house.registry).unwrap();
    let current = r#"attache_policy_circuit{endpoint="http://other:8181",state="closed"} 1"#;
    assert!(text.contains(current), "{text}");
    let gone = r#"attache_policy_circuit{endpoint="http://opa:8181""#;
    assert!(!text.contains(gone), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_revision_is_that_of_the_engine() {
    let house = House::new(&[]);
    assert_eq!(&*house.breaker.revision(), "scripted");
    assert_eq!(house.breaker.engine().asked.lock().unwrap().to_owned(), 0);
}
