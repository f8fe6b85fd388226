use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use proptest::prelude::*;
use rand::SeedableRng as _;
use tokio::sync::Semaphore;
use tokio::time::{advance, sleep};

use super::*;
use crate::policy::{Answer, EmbeddedEngine, Input, InputForm, Program, Shaping, Sources, Terms};

const TTL: Duration = Duration::from_secs(60);
const DENY_TTL: Duration = Duration::from_secs(5);
const FULL_TIME: Duration = Duration::from_millis(150);

/// Answers as told and counts the questions.
#[derive(Debug)]
struct Scripted {
    calls: AtomicU64,
    /// Each call takes one away to be answered.
    gate: Semaphore,
    revision: Mutex<Arc<str>>,
    answer: fn(&Query, u64) -> Result<Said, PolicyError>,
    /// Deadlines that calls were given.
    deadlines: Mutex<Vec<Deadline>>,
}

#[derive(Debug, Clone, Copy)]
enum Said {
    Allow,
    Deny,
    Undefined,
    AllowOnce,
}

#[async_trait::async_trait]
impl PolicyEngine for Scripted {
    async fn evaluate(&self, query: Query) -> Result<Verdict, PolicyError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        self.deadlines.lock().unwrap().push(query.deadline);
        let revision = self.revision();
        self.gate.acquire().await.unwrap().forget();
        let said = (self.answer)(&query, call)?;
        Ok(Verdict {
            answer: match said {
                Said::Allow | Said::AllowOnce => Answer::Allow,
                Said::Deny => Answer::Deny,
                Said::Undefined => Answer::Undefined,
            },
            reason: Some(format!("call {call}").into()),
            policy_id: None,
            tier: None,
            shaping: None,
            revision,
            cacheable: !matches!(said, Said::AllowOnce),
            cached: false,
        })
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        Arc::clone(&self.revision.lock().unwrap())
    }
}

impl Scripted {
    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn publish(&self, revision: &str) {
        *self.revision.lock().unwrap() = revision.into();
    }
}

type Answers = fn(&Query, u64) -> Result<Said, PolicyError>;

fn gated(answer: Answers) -> Scripted {
    Scripted {
        calls: AtomicU64::new(0),
        gate: Semaphore::new(0),
        revision: Mutex::new("r1".into()),
        answer,
        deadlines: Mutex::default(),
    }
}

fn open(answer: Answers) -> Scripted {
    let engine = gated(answer);
    engine.gate.add_permits(Semaphore::MAX_PERMITS);
    engine
}

const ALLOWS: Answers = |_query, _call| Ok(Said::Allow);

fn fails(_query: &Query, _call: u64) -> Result<Said, PolicyError> {
    Err(PolicyError::Evaluation("on purpose".to_owned()))
}

fn config() -> CacheConfig {
    CacheConfig {
        size: 1000,
        ttl: TTL,
        deny_ttl: DENY_TTL,
    }
}

fn cached(engine: Scripted) -> Cached<Scripted> {
    configured(engine, &config())
}

fn configured(engine: Scripted, config: &CacheConfig) -> Cached<Scripted> {
    let rng = StdRng::seed_from_u64(7);
    let registry = &mut Registry::default();
    Cached::new(Arc::new(engine), config, rng, registry)
}

impl<E: ?Sized> Cached<E> {
    fn memory(&self) -> &Memory {
        self.memory.as_ref().unwrap()
    }

    fn bypasses(&self, cause: Bypass) -> u64 {
        self.memory().metrics.bypasses(cause)
    }
}

fn about(path: &str) -> Query {
    let mut input = Input::made_up();
    input.request.as_mut().unwrap().path = path.to_owned();
    Query {
        input: Arc::new(input),
        deadline: Deadline::after(FULL_TIME),
        terms: Terms::default(),
    }
}

/// What the engine said, and whether it was remembered.
async fn ask(cache: &Cached<Scripted>, query: Query) -> (String, bool) {
    let verdict = cache.evaluate(query).await.unwrap();
    (verdict.reason.unwrap().to_string(), verdict.cached)
}

fn fresh(call: u64) -> (String, bool) {
    (format!("call {call}"), false)
}

fn remembered(call: u64) -> (String, bool) {
    (format!("call {call}"), true)
}

/// Lets every task that can run do so: the runtime polls sixty between two yields.
async fn settle() {
    for _ in 0..512 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_equal_question_within_the_time_is_answered_without_the_engine() {
    // C01, C08
    let cache = cached(open(ALLOWS));
    assert_eq!(ask(&cache, about("/a")).await, fresh(1));
    assert_eq!(ask(&cache, about("/a")).await, remembered(1));
    advance(Duration::from_millis(29_999)).await;
    assert_eq!(ask(&cache, about("/a")).await, remembered(1));
    assert_eq!(ask(&cache, about("/b")).await, fresh(2));
    assert_eq!(cache.memory().metrics.hits.get(), 2);
    assert_eq!(cache.memory().metrics.misses.get(), 2);
    assert_eq!(cache.memory().metrics.entries.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn past_its_time_no_verdict_is_used() {
    // C01, C26
    let cache = cached(open(ALLOWS));
    assert_eq!(ask(&cache, about("/a")).await, fresh(1));
    advance(TTL).await;
    assert_eq!(ask(&cache, about("/a")).await, fresh(2));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_forgotten_sooner() {
    // C02. Undefined refuses too.
    let answers: [Answers; 2] = [|_, _| Ok(Said::Deny), |_, _| Ok(Said::Undefined)];
    for answer in answers {
        let cache = cached(open(answer));
        assert_eq!(ask(&cache, about("/a")).await, fresh(1));
        advance(Duration::from_millis(2_499)).await;
        assert_eq!(ask(&cache, about("/a")).await, remembered(1));
        advance(Duration::from_millis(2_501)).await;
        assert_eq!(ask(&cache, about("/a")).await, fresh(2));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_never_remembered() {
    // C02, C19
    let cache = cached(open(fails));
    for call in 1..=3 {
        let error = cache.evaluate(about("/a")).await.unwrap_err();
        assert!(matches!(&error, PolicyError::Shared(it) if it.to_string().contains("on purpose")));
        assert_eq!(error.reason(), crate::permission::Reason::PolicyError);
        assert_eq!(cache.engine.calls(), call);
    }
    assert_eq!(cache.memory().store.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_misses_on_one_question_make_one_call() {
    // C17
    let cache = Arc::new(cached(gated(ALLOWS)));
    let askers: Vec<_> = (0..10_000)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { ask(&cache, about("/a")).await })
        })
        .collect();
    settle().await;
    cache.engine.gate.add_permits(10_000);
    let answers: Vec<_> = join_all(askers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(cache.engine.calls(), 1);
    assert_eq!(answers.iter().filter(|it| **it == fresh(1)).count(), 1);
    assert_eq!(
        answers.iter().filter(|it| **it == remembered(1)).count(),
        9_999
    );
    assert_eq!(cache.memory().flights.under_way(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_ask_together_make_one_call_too() {
    // C10, C17
    let cache = Arc::new(cached(open(ALLOWS)));
    let askers: Vec<_> = (0..2_000)
        .map(|number| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { ask(&cache, about(&format!("/{}", number % 20))).await })
        })
        .collect();
    for asker in askers {
        asker.await.unwrap();
    }
    assert_eq!(cache.engine.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_get_their_answer_when_the_first_asker_goes_away() {
    // C18
    let cache = Arc::new(cached(gated(ALLOWS)));
    let spawned = |path| {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { ask(&cache, about(path)).await })
    };
    let first = spawned("/a");
    settle().await;
    let second = spawned("/a");
    settle().await;
    first.abort();
    settle().await;
    cache.engine.gate.add_permits(1);
    assert_eq!(second.await.unwrap(), remembered(1));
    assert_eq!(ask(&cache, about("/a")).await, remembered(1));
    assert_eq!(cache.engine.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_everybody_who_waited_and_nobody_else() {
    // C19
    let answer: Answers = |query, call| {
        if call == 1 {
            fails(query, call)
        } else {
            Ok(Said::Allow)
        }
    };
    let cache = Arc::new(cached(gated(answer)));
    let askers: Vec<_> = (0..100)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { cache.evaluate(about("/a")).await })
        })
        .collect();
    settle().await;
    cache.engine.gate.add_permits(2);
    for asker in askers {
        let error = asker.await.unwrap().unwrap_err();
        assert!(matches!(error, PolicyError::Shared(_)));
    }
    assert_eq!(cache.engine.calls(), 1);
    assert_eq!(ask(&cache, about("/a")).await, fresh(2));
}

#[tokio::test(start_paused = true)]
async fn a_hurried_asker_shortens_nobodys_wait() {
    let cache = Arc::new(cached(gated(ALLOWS)));
    let hurried = Query {
        deadline: Deadline {
            at: Instant::now() + Duration::from_millis(10),
            cut_short: true,
            limit: FULL_TIME,
        },
        ..about("/a")
    };
    let at = hurried.deadline.at;
    let patient = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            ask(&cache, about("/a")).await
        })
    };
    let hurried = cache.evaluate(hurried).await.unwrap_err();
    assert!(matches!(hurried, PolicyError::TimedOut { cut_short: true }));
    assert!(Instant::now() < at);
    sleep(Duration::from_millis(90)).await;
    cache.engine.gate.add_permits(1);
    assert_eq!(patient.await.unwrap(), remembered(1));
    let deadlines = cache.engine.deadlines.lock().unwrap().clone();
    assert_eq!(deadlines.len(), 1);
    assert!(!deadlines[0].cut_short);
    assert_eq!(deadlines[0].at, at + FULL_TIME - Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn who_waits_longer_than_usual_is_waited_for() {
    let cache = cached(open(ALLOWS));
    let deadline = Deadline::after(FULL_TIME * 4);
    let patient = Query {
        deadline,
        ..about("/a")
    };
    ask(&cache, patient).await;
    let asked = cache.engine.deadlines.lock().unwrap().pop();
    assert_eq!(asked, Some(deadline));
}

#[tokio::test(start_paused = true)]
async fn the_call_has_our_own_limit_for_questions_of_its_kind() {
    // The first asker says 10 ms of the 5 s that programs have, the second nothing.
    let cache = Arc::new(cached(gated(ALLOWS)));
    let full = Duration::from_secs(5);
    let hurried = Query {
        deadline: Deadline {
            at: Instant::now() + Duration::from_millis(10),
            cut_short: true,
            limit: full,
        },
        ..about("/a")
    };
    let patient = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            let query = Query {
                deadline: Deadline::after(full),
                ..about("/a")
            };
            ask(&cache, query).await
        })
    };
    cache.evaluate(hurried).await.unwrap_err();
    sleep(Duration::from_secs(1)).await;
    cache.engine.gate.add_permits(1);
    assert_eq!(patient.await.unwrap(), remembered(1));
}

#[tokio::test(start_paused = true)]
async fn who_spent_its_time_elsewhere_hears_whose_fault_it_was_and_shortens_nobodys_wait() {
    let cache = Arc::new(cached(gated(ALLOWS)));
    let query = about("/a");
    let at = query.deadline.at;
    // Decoding, routes, a busy worker.
    sleep(FULL_TIME / 2).await;
    let other = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            sleep(Duration::from_millis(1)).await;
            ask(&cache, about("/a")).await
        })
    };
    let heard = timeout_at(at, cache.evaluate(query)).await;
    let error = heard.expect("a word in time").unwrap_err();
    assert!(matches!(error, PolicyError::TimedOut { cut_short: false }));
    sleep(FULL_TIME / 3).await;
    cache.engine.gate.add_permits(1);
    assert_eq!(other.await.unwrap(), remembered(1));
    assert_eq!(cache.engine.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_hurried_asker_who_joins_waits_no_longer_than_it_said() {
    let cache = Arc::new(cached(gated(ALLOWS)));
    let first = {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { ask(&cache, about("/a")).await })
    };
    settle().await;
    let at = Instant::now() + Duration::from_millis(10);
    assert!(timeout_at(at, cache.evaluate(about("/a"))).await.is_err());
    assert_eq!(Instant::now(), at);
    cache.engine.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), fresh(1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_given_up_after_its_full_time() {
    let cache = cached(gated(ALLOWS));
    let begun = Instant::now();
    let error = cache.evaluate(about("/a")).await.unwrap_err();
    assert_eq!(error.reason(), crate::permission::Reason::PolicyTimeout);
    assert!(begun.elapsed() < FULL_TIME);
    advance(FULL_TIME).await;
    settle().await;
    assert_eq!(cache.memory().flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_leaves_nothing_behind() {
    let answer: Answers = |_, call| {
        if call == 1 {
            panic!("on purpose")
        } else {
            Ok(Said::Allow)
        }
    };
    let cache = cached(open(answer));
    let error = cache.evaluate(about("/a")).await.unwrap_err();
    assert!(matches!(error, PolicyError::Interrupted));
    assert_eq!(cache.memory().flights.under_way(), 0);
    assert_eq!(ask(&cache, about("/a")).await, fresh(2));
}

#[tokio::test(start_paused = true)]
async fn a_verdict_within_its_time_is_used_while_the_engine_is_away() {
    // C25, C26
    let answer: Answers = |query, call| {
        if call == 1 {
            Ok(Said::Allow)
        } else {
            fails(query, call)
        }
    };
    let cache = cached(open(answer));
    assert_eq!(ask(&cache, about("/a")).await, fresh(1));
    assert_eq!(ask(&cache, about("/a")).await, remembered(1));
    cache.evaluate(about("/b")).await.unwrap_err();
    advance(TTL).await;
    cache.evaluate(about("/a")).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn another_revision_makes_every_entry_worthless() {
    // C13
    let cache = cached(open(ALLOWS));
    assert_eq!(ask(&cache, about("/a")).await, fresh(1));
    cache.engine.publish("r2");
    assert_eq!(ask(&cache, about("/a")).await, fresh(2));
    assert_eq!(ask(&cache, about("/a")).await, remembered(2));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_the_policy_changed_answers_nobody() {
    // C13: neither who caused it, nor who joined before, nor who comes after.
    let cache = Arc::new(cached(gated(ALLOWS)));
    let spawned = || {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move { cache.evaluate(about("/a")).await.unwrap() })
    };
    let before = [spawned(), spawned()];
    settle().await;
    cache.engine.publish("r2");
    let after = spawned();
    settle().await;
    assert_eq!(cache.engine.calls(), 2);
    cache.engine.gate.add_permits(3);
    for asker in before.into_iter().chain([after]) {
        assert_eq!(&*asker.await.unwrap().revision, "r2");
    }
    assert_eq!(cache.engine.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_changes_at_every_look_is_asked_without_the_cache() {
    #[derive(Debug, Default)]
    struct Restless(AtomicU64);

    #[async_trait::async_trait]
    impl PolicyEngine for Restless {
        async fn evaluate(&self, _query: Query) -> Result<Verdict, PolicyError> {
            crate::policy::output::read(Some(&true.into()), &"never".into(), InputForm::Attache)
        }

        async fn health(&self) -> Result<(), PolicyError> {
            Ok(())
        }

        fn revision(&self) -> Arc<str> {
            self.0.fetch_add(1, Ordering::SeqCst).to_string().into()
        }
    }

    let rng = StdRng::seed_from_u64(7);
    let registry = &mut Registry::default();
    let engine = Arc::new(Restless::default());
    let cache = Cached::new(engine, &config(), rng, registry);
    let verdict = cache.evaluate(about("/a")).await.unwrap();
    assert_eq!(verdict.answer, Answer::Allow);
    assert!(!verdict.cached);
    assert_eq!(cache.bypasses(Bypass::Changing), 1);
}

#[tokio::test(start_paused = true)]
async fn what_policy_wants_forgotten_serves_only_who_asked() {
    let cache = Arc::new(cached(gated(|_, _| Ok(Said::AllowOnce))));
    let askers: Vec<_> = (0..3)
        .map(|_| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { ask(&cache, about("/a")).await })
        })
        .collect();
    settle().await;
    cache.engine.gate.add_permits(4);
    let mut answers: Vec<_> = join_all(askers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    answers.sort();
    assert_eq!(answers, [fresh(1), fresh(2), fresh(3)]);
    assert_eq!(ask(&cache, about("/a")).await, fresh(4));
    assert_eq!(cache.bypasses(Bypass::Policy), 3);
}

#[tokio::test(start_paused = true)]
async fn a_route_may_forbid_the_cache_and_shorten_or_lengthen_its_time() {
    let cache = cached(open(ALLOWS));
    let on_route = |ttl| Query {
        terms: Terms {
            ttl: Some(ttl),
            not_after: None,
        },
        ..about("/a")
    };
    assert_eq!(ask(&cache, on_route(Duration::ZERO)).await, fresh(1));
    assert_eq!(cache.memory().store.len(), 0);
    assert_eq!(cache.bypasses(Bypass::Route), 1);

    assert_eq!(ask(&cache, on_route(TTL * 4)).await, fresh(2));
    advance(TTL + TTL / 2).await;
    assert_eq!(ask(&cache, on_route(TTL * 4)).await, remembered(2));
    // An entry that was made on longer terms.
    assert_eq!(ask(&cache, on_route(TTL)).await, fresh(3));
    assert_eq!(ask(&cache, on_route(Duration::ZERO)).await, fresh(4));
}

#[tokio::test(start_paused = true)]
async fn a_longer_time_of_a_route_ends_when_the_route_no_longer_asks_for_it() {
    // C01: a route had `cache_ttl: 1h`; a reload takes it out, and 60 s is the longest again.
    let cache = cached(open(ALLOWS));
    let lengthened = Query {
        terms: Terms {
            ttl: Some(TTL * 60),
            not_after: None,
        },
        ..about("/a")
    };
    assert_eq!(ask(&cache, lengthened).await, fresh(1));
    advance(Duration::from_millis(59_999)).await;
    assert_eq!(ask(&cache, about("/a")).await, remembered(1));
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&cache, about("/a")).await, fresh(2));
}

#[tokio::test(start_paused = true)]
async fn no_entry_outlives_the_certificate_it_rests_on() {
    // C15
    let cache = cached(open(ALLOWS));
    let rests = Query {
        terms: Terms {
            ttl: None,
            not_after: Some(Instant::now() + Duration::from_secs(10)),
        },
        ..about("/a")
    };
    assert_eq!(ask(&cache, rests.clone()).await, fresh(1));
    let later = || Query {
        deadline: Deadline::after(FULL_TIME),
        ..rests.clone()
    };
    advance(Duration::from_millis(9_999)).await;
    assert_eq!(ask(&cache, later()).await, remembered(1));
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&cache, later()).await, fresh(2));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_asked_every_time() {
    // C31
    let cache = cached(open(ALLOWS));
    let path = format!("/{}", "a".repeat(Key::MAX_SIZE));
    assert_eq!(ask(&cache, about(&path)).await, fresh(1));
    assert_eq!(ask(&cache, about(&path)).await, fresh(2));
    assert_eq!(cache.bypasses(Bypass::Size), 2);
    assert_eq!(cache.memory().store.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn size_bounds_entries_and_their_memory() {
    // C09, C10
    for (size, long) in [(1, 0), (7, 0), (300, 0), (300, 3 * 1024)] {
        let cache = configured(open(ALLOWS), &CacheConfig { size, ..config() });
        let tail = "a".repeat(long);
        for number in 0..2_000 {
            ask(&cache, about(&format!("/{number}/{tail}"))).await;
        }
        let kept = cache.memory().store.len();
        assert!(
            kept > 0 && kept <= size / (1 + long / 1024),
            "{size}: {kept}"
        );
        let evicted = usize::try_from(cache.memory().metrics.evictions.get()).unwrap();
        assert_eq!(evicted, 2_000 - kept);
    }
}

/// Says much in the words of opa-envoy-plugin.
#[derive(Debug)]
struct Verbose(fn(String) -> Shaping, bool);

#[async_trait::async_trait]
impl PolicyEngine for Verbose {
    async fn evaluate(&self, _query: Query) -> Result<Verdict, PolicyError> {
        let shaping = (self.0)("x".repeat(64 * 1024));
        Ok(Verdict {
            answer: Answer::Deny,
            reason: None,
            policy_id: None,
            tier: None,
            shaping: Some(Arc::new(shaping)),
            revision: self.revision(),
            cacheable: self.1,
            cached: false,
        })
    }

    async fn health(&self) -> Result<(), PolicyError> {
        Ok(())
    }

    fn revision(&self) -> Arc<str> {
        "r1".into()
    }
}

async fn kept_of(verbose: Verbose) -> usize {
    let rng = StdRng::seed_from_u64(7);
    let registry = &mut Registry::default();
    let cache = Cached::new(Arc::new(verbose), &config(), rng, registry);
    for number in 0..500 {
        cache.evaluate(about(&format!("/{number}"))).await.unwrap();
    }
    cache.memory().store.len()
}

#[tokio::test(start_paused = true)]
async fn what_shapes_answers_takes_room_like_everything_else() {
    let shapings: [fn(String) -> Shaping; 5] = [
        |text| Shaping {
            body: Some(text),
            ..Shaping::default()
        },
        |text| Shaping {
            headers: vec![("x".to_owned(), text)],
            ..Shaping::default()
        },
        |text| Shaping {
            removed_headers: vec![text],
            ..Shaping::default()
        },
        |text| Shaping {
            query: vec![(text, "x".to_owned())],
            ..Shaping::default()
        },
        |text| Shaping {
            metadata: Some(
                [("a".to_owned(), serde_json::json!([{"b": text}]))]
                    .into_iter()
                    .collect(),
            ),
            ..Shaping::default()
        },
    ];
    for shaping in shapings {
        let kept = kept_of(Verbose(shaping, true)).await;
        assert!((1..=1000 / 64).contains(&kept), "{kept} of 64 KiB in 1000");
        // Of what is not to be kept, nothing is.
        assert_eq!(kept_of(Verbose(shaping, false)).await, 500);
    }
}

#[tokio::test(start_paused = true)]
async fn without_size_or_time_every_question_reaches_the_engine() {
    for off in [
        CacheConfig {
            size: 0,
            ..config()
        },
        CacheConfig {
            ttl: Duration::ZERO,
            ..config()
        },
    ] {
        let cache = configured(open(ALLOWS), &off);
        assert_eq!(ask(&cache, about("/a")).await, fresh(1));
        assert_eq!(ask(&cache, about("/a")).await, fresh(2));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_under_way_are_bounded() {
    let cache = Arc::new(cached(gated(ALLOWS)));
    let most = u64::try_from(Flights::MOST).unwrap();
    let askers: Vec<_> = (0..=most)
        .map(|number| {
            let cache = Arc::clone(&cache);
            tokio::spawn(async move { ask(&cache, about(&format!("/{number}"))).await })
        })
        .collect();
    settle().await;
    assert_eq!(cache.memory().flights.under_way(), Flights::MOST);
    assert_eq!(cache.bypasses(Bypass::Crowded), 1);
    cache.engine.gate.add_permits(Flights::MOST + 1);
    join_all(askers).await;
    assert_eq!(cache.memory().flights.under_way(), 0);
}

#[tokio::test(start_paused = true)]
async fn entries_made_together_expire_apart() {
    // C20: the busiest second has at most twice the share of a steady one.
    let size = 24_000;
    let cache = configured(
        open(ALLOWS),
        &CacheConfig {
            size: size * 2,
            ..config()
        },
    );
    let metrics = &cache.memory().metrics;
    let queries: Vec<_> = (0..size)
        .map(|number| about(&format!("/{number}")))
        .collect();
    let store = &cache.memory().store;
    let made = Instant::now();
    let verdict =
        crate::policy::output::read(Some(&true.into()), &"r1".into(), InputForm::Attache).unwrap();
    for query in &queries {
        let key = Key::bounded(&query.input).unwrap();
        store.keep(key, &verdict, &query.terms, made);
    }
    assert_eq!(metrics.evictions.get(), 0);
    let alive = |second: u64| {
        let now = made + Duration::from_secs(second);
        let recalled = queries.iter().filter(|query| {
            let key = Key::bounded(&query.input).unwrap();
            store.recall(&key, &query.terms, "r1", now).is_some()
        });
        recalled.count()
    };
    let steady = size / usize::try_from(TTL.as_secs()).unwrap();
    let (mut before, mut peak) = (alive(29), 0);
    assert_eq!(before, size);
    for second in 30..=60 {
        let now = alive(second);
        peak = peak.max(before - now);
        before = now;
    }
    assert_eq!(before, 0);
    assert!(
        peak <= steady * 2 + steady / 5,
        "{peak} a second, {steady} in a steady one"
    );
}

#[tokio::test]
async fn the_embedded_engine_remembers_by_policy_and_forgets_at_a_reload() {
    // C13, with the real engine.
    let program = |rules: &str| {
        let mut sources = Sources::default();
        sources.insert("p.rego", format!("package p\n{rules}"));
        let path = "p/allow".parse().unwrap();
        Program::compile(&sources, &path, Duration::from_secs(5)).unwrap()
    };
    let engine = Arc::new(EmbeddedEngine::new(program("allow := true")));
    let rng = StdRng::seed_from_u64(7);
    let registry = &mut Registry::default();
    let cache = Cached::new(Arc::clone(&engine), &config(), rng, registry);
    let told = async || {
        let verdict = cache.evaluate(about("/a")).await.unwrap();
        (verdict.answer, verdict.cached)
    };
    assert_eq!(told().await, (Answer::Allow, false));
    assert_eq!(told().await, (Answer::Allow, true));
    engine.replace(program("allow := false"));
    assert_eq!(told().await, (Answer::Deny, false));
    assert_eq!(told().await, (Answer::Deny, true));
    engine.replace(program("allow if time.now_ns() > 0"));
    assert_eq!(told().await, (Answer::Allow, false));
    assert_eq!(told().await, (Answer::Allow, false));
    engine.replace(program("allow := {\"allow\": true, \"cache\": false}"));
    assert_eq!(told().await, (Answer::Allow, false));
    assert_eq!(told().await, (Answer::Allow, false));
}

/// What happens in one step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Ask {
        about: u8,
        ttl: Option<u64>,
        not_after: Option<u64>,
    },
    Wait(u64),
    Publish(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    let seconds = || prop_oneof![Just(0_u64), 1..90_u64];
    prop_oneof![
        6 => (0..8_u8, proptest::option::of(seconds()), proptest::option::of(1..90_u64))
            .prop_map(|(about, ttl, not_after)| Step::Ask { about, ttl, not_after }),
        3 => (0..40_u64).prop_map(Step::Wait),
        1 => (0..3_u8).prop_map(Step::Publish),
    ]
}

/// What the model knows of an entry.
#[derive(Debug, Clone)]
struct Known {
    call: String,
    revision: u8,
    asked: Instant,
    /// It must not answer from then on.
    at_most: Instant,
    /// It must answer until then.
    at_least: Instant,
    kept: bool,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// C01, C02, C13, C15, C16, C26: in any history, a remembered answer is the last one on that question, of the policy
    /// in force, within every time that counts; and one that must still be remembered is.
    #[test]
    fn every_history_agrees_with_the_model(steps in prop::collection::vec(any_step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(replay(steps))?;
    }
}

/// Questions 0 to 4 are allowed, 5 and 6 denied, 7 is not to be remembered.
async fn replay(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let answer: Answers = |query, _call| {
        Ok(match &*query.input.request.as_ref().unwrap().path {
            "/7" => Said::AllowOnce,
            "/5" | "/6" => Said::Deny,
            _ => Said::Allow,
        })
    };
    let cache = cached(open(answer));
    let mut revision = 1_u8;
    let mut model: HashMap<u8, Known> = HashMap::new();
    for step in steps {
        let (number, ttl, not_after) = match step {
            Step::Wait(seconds) => {
                advance(Duration::from_secs(seconds)).await;
                continue;
            }
            Step::Publish(next) => {
                revision = next;
                cache.engine.publish(&format!("r{next}"));
                continue;
            }
            Step::Ask {
                about,
                ttl,
                not_after,
            } => (about, ttl, not_after),
        };
        let now = Instant::now();
        let ttl = ttl.map(Duration::from_secs);
        let not_after = not_after.map(|seconds| now + Duration::from_secs(seconds));
        let query = Query {
            terms: Terms { ttl, not_after },
            ..about(&format!("/{number}"))
        };
        let (call, is_remembered) = ask(&cache, query).await;
        let longest = ttl.unwrap_or(TTL);
        let longest = if matches!(number, 5 | 6) {
            longest.min(DENY_TTL)
        } else {
            longest
        };
        let known = model.get(&number).filter(|known| {
            known.kept && known.revision == revision && now - known.asked < longest
        });
        if is_remembered {
            let known = known.expect("a remembered answer that nobody gave");
            prop_assert_eq!(&call, &known.call);
            prop_assert!(now < known.at_most);
            continue;
        }
        prop_assert!(
            known.is_none_or(|known| now >= known.at_least),
            "{:?} was forgotten",
            known
        );
        prop_assert_eq!(&call, &format!("call {}", cache.engine.calls()));
        if longest == Duration::ZERO {
            // Nothing is kept of it; an entry of longer terms stays.
            continue;
        }
        let end = |time: Instant| not_after.map_or(time, |not_after| not_after.min(time));
        let entry = Known {
            call,
            revision,
            asked: now,
            at_most: end(now + longest),
            at_least: end(now + longest / 2),
            kept: number != 7,
        };
        model.insert(number, entry);
    }
    Ok(())
}
