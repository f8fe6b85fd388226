//! Connections to OPA: kept, put to use again, given up, bounded, and none left over.

use std::sync::Arc;
use std::time::Duration;

use attache::policy::{Accounting, Answer, Deadline, PolicyEngine as _, PolicyError};
use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::{ask, engine, query};
use crate::harness::house::eventually;
use crate::harness::opa::{FaultyOpa, Step, reply, says};

const YES: &str = r#"{"result": true}"#;

fn yes_then(step: Step) -> Vec<Step> {
    vec![Step::Send(reply(YES)), step]
}

#[tokio::test]
async fn questions_one_after_the_other_share_a_connection() {
    let opa = FaultyOpa::start(says(YES)).await;
    let engine = engine(&opa.policy(""));
    for _ in 0..10 {
        assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    }
    assert_eq!(opa.accepted(), 1);
}

/// A thread that stops deciding takes no connection along, on which another may be asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_outlive_the_thread_that_asked_first() {
    let opa = FaultyOpa::start(says(YES)).await;
    let engine = Arc::new(engine(&opa.policy("")));
    let asking = Arc::clone(&engine);
    let elsewhere = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(ask(&asking)).unwrap().answer
    });
    let answer = tokio::task::spawn_blocking(|| elsewhere.join().unwrap())
        .await
        .unwrap();
    assert_eq!(answer, Answer::Allow);
    assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    assert_eq!(opa.accepted(), 1);
}

/// O02: a name that leads elsewhere by now is looked up again at the latest when its connections are too old.
#[tokio::test]
async fn a_connection_is_not_used_after_long_idleness_nor_in_old_age() {
    let opa = FaultyOpa::start(says(YES)).await;
    let engine = engine(&opa.policy(""));
    let later = |seconds| async move {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    ask(&engine).await.unwrap();
    later(31).await;
    ask(&engine).await.unwrap();
    assert_eq!(opa.accepted(), 2);
    for _ in 0..3 {
        later(20).await;
        ask(&engine).await.unwrap();
    }
    assert_eq!(opa.accepted(), 3);
    // One that waits for nobody is closed, too.
    later(31).await;
    engine.refresh().unwrap();
    opa.is_alone().await;
}

/// O27: closed while nobody used it.
#[tokio::test]
async fn a_connection_that_opa_closed_between_questions_is_replaced() {
    let opa = FaultyOpa::start(yes_then(Step::Fin)).await;
    let engine = engine(&opa.policy(""));
    for _ in 0..10 {
        assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    }
    // No question was heard twice: each went over a connection of its own, or found out before it was heard.
    assert_eq!(opa.questions().len(), 10);
    assert_eq!(opa.accepted(), 10);
}

/// O27: the question is on its way when OPA closes.
#[tokio::test]
async fn a_kept_connection_that_ends_without_the_head_of_an_answer_is_tried_once_more() {
    for end in [
        vec![Step::Fin],
        vec![Step::Reset],
        vec![Step::Send(b"HTTP/1.1 200".to_vec()), Step::Fin],
    ] {
        let opa = FaultyOpa::start_with([says(YES), end, says(YES)]).await;
        let engine = engine(&opa.policy(""));
        assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
        assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
        assert_eq!((opa.questions().len(), opa.accepted()), (3, 2));
    }
}

/// O28.
#[tokio::test]
async fn nothing_is_tried_more_than_twice() {
    let opa = FaultyOpa::start_with([says(YES), vec![Step::Fin]]).await;
    let engine = engine(&opa.policy(""));
    assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    let error = ask(&engine).await.unwrap_err();
    assert!(matches!(error, PolicyError::Unavailable(_)), "{error}");
    assert_eq!(opa.questions().len(), 3);
    // And on a fresh connection not even twice.
    ask(&engine).await.unwrap_err();
    assert_eq!(opa.questions().len(), 4);
}

/// O27, O28.
#[tokio::test]
async fn after_the_head_of_an_answer_nothing_is_tried_again() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n";
    let begun = vec![Step::Send(head.to_vec()), Step::Fin];
    let opa = FaultyOpa::start_with([says(YES), begun, says(YES)]).await;
    let engine = engine(&opa.policy(""));
    assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    let error = ask(&engine).await.unwrap_err();
    assert!(matches!(error, PolicyError::Malformed(_)), "{error}");
    assert_eq!(opa.questions().len(), 2);
}

/// O28: the second try has what is left of the time, not as much again.
#[tokio::test]
async fn a_second_try_has_the_first_one_s_deadline() {
    let slow_end = vec![Step::Wait(Duration::from_millis(1_200)), Step::Fin];
    let opa = FaultyOpa::start_with([says(YES), slow_end, vec![Step::Hang]]).await;
    let engine = engine(&opa.policy("timeout: 2s"));
    assert_eq!(ask(&engine).await.unwrap().answer, Answer::Allow);
    let asked = Instant::now();
    let error = ask(&engine).await.unwrap_err();
    assert!(matches!(error, PolicyError::TimedOut { cut_short: false }));
    assert!(
        asked.elapsed() < Duration::from_secs(3),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(opa.questions().len(), 3);
}

/// O17: a second answer that nobody asked for must not become the next one's.
#[tokio::test]
async fn an_answer_too_many_is_never_heard() {
    let twice = [reply(r#"{"result": false}"#), reply(YES)].concat();
    let opa = FaultyOpa::start_with([vec![Step::Send(twice)], says(r#"{"result": false}"#)]).await;
    let engine = engine(&opa.policy(""));
    for _ in 0..5 {
        match ask(&engine).await {
            Ok(verdict) => assert_eq!(verdict.answer, Answer::Deny),
            Err(error) => assert_eq!(error.counts(), Accounting::Failure, "{error}"),
        }
    }
}

/// C30: whoever asked for less than our limits tells nothing of OPA; whoever gave it all our time does.
#[tokio::test]
async fn a_timeout_counts_only_where_the_call_had_its_full_budget() {
    let opa = FaultyOpa::start(vec![Step::Hang]).await;
    let engine = engine(&opa.policy("timeout: 300ms"));
    for (millis, cut_short, reason, accounting) in [
        // Less than policy.opa.timeout, and it is our own limit.
        (100, false, "policy_timeout", Accounting::Failure),
        // The caller's.
        (100, true, "deadline_exceeded", Accounting::Neither),
        // The caller's, but policy.opa.timeout ended it.
        (60_000, true, "policy_timeout", Accounting::Failure),
        (60_000, false, "policy_timeout", Accounting::Failure),
    ] {
        let deadline = Deadline {
            at: Instant::now() + Duration::from_millis(millis),
            cut_short,
            limit: Duration::from_secs(60),
        };
        let error = engine.evaluate(query(deadline)).await.unwrap_err();
        assert_eq!(
            (error.reason().as_str(), error.counts()),
            (reason, accounting)
        );
        assert!(matches!(error, PolicyError::TimedOut { .. }));
    }
}

/// The engine's own word is heard although the asker's patience ends at the same time.
#[tokio::test]
async fn a_timeout_is_said_before_the_asker_stops_listening() {
    let opa = FaultyOpa::start(vec![Step::Hang]).await;
    let engine = engine(&opa.policy(""));
    let deadline = Deadline::after(Duration::from_millis(60));
    let heard = tokio::time::timeout_at(deadline.at, engine.evaluate(query(deadline))).await;
    let error = heard.unwrap().unwrap_err();
    assert!(matches!(error, PolicyError::TimedOut { cut_short: false }));
}

/// O24.
#[tokio::test]
async fn questions_under_way_are_bounded_and_those_above_are_shed_early() {
    let slow = vec![
        Step::Wait(Duration::from_millis(2_500)),
        Step::Send(reply(YES)),
    ];
    let opa = FaultyOpa::start(slow).await;
    let engine = engine(&opa.policy("max_in_flight: 4, timeout: 4s"));
    let begun = Instant::now();
    let questions = (0..20).map(|_| async {
        let result = ask(&engine).await;
        (result, begun.elapsed())
    });
    let results = join_all(questions).await;
    let (answered, shed): (Vec<_>, Vec<_>) = results.into_iter().partition(|(it, _)| it.is_ok());
    assert_eq!(answered.len(), 4);
    assert_eq!(opa.accepted(), 4);
    for (error, after) in shed {
        let error = error.unwrap_err();
        assert_eq!(
            (error.reason().as_str(), error.counts()),
            ("overloaded", Accounting::Neither)
        );
        assert!(after < Duration::from_millis(2_500), "{after:?}");
    }
}

/// O24: a question that finds a place in time is asked.
#[tokio::test]
async fn a_question_waits_a_moment_for_a_place() {
    let slow = vec![
        Step::Wait(Duration::from_millis(20)),
        Step::Send(reply(YES)),
    ];
    let opa = FaultyOpa::start(slow).await;
    let engine = engine(&opa.policy("max_in_flight: 1"));
    let results = join_all((0..5).map(|_| ask(&engine))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(opa.accepted(), 1);
}

/// O29.
#[tokio::test]
async fn a_name_with_a_dead_address_family_is_reached_by_the_other() {
    let opa = FaultyOpa::start(says(YES)).await;
    let policy = format!(
        "{{engine: opa, opa: {{endpoint: \"http://localhost:{}\"}}}}",
        opa.address.port()
    );
    let engine = engine(&policy);
    let deadline = Deadline::after(Duration::from_secs(2));
    assert_eq!(
        engine.evaluate(query(deadline)).await.unwrap().answer,
        Answer::Allow
    );
}

/// C30: an asker that goes away takes the connection along, whose answer would be anybody's.
#[tokio::test]
async fn a_question_that_nobody_waits_for_leaves_no_connection() {
    let opa = FaultyOpa::start(vec![Step::Hang]).await;
    let engine = Arc::new(engine(&opa.policy("")));
    let asking = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { ask(&engine).await }
    });
    eventually("the question", || {
        (opa.questions().len() == 1).then_some(())
    })
    .await;
    asking.abort();
    opa.is_alone().await;
}

/// As above, while the connection is still being made.
#[tokio::test]
async fn a_connection_that_nobody_waits_for_is_not_made() {
    // Accepts, but never shakes hands.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = crate::harness::pki::Authority::of("example.org");
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).unwrap();
    let policy = format!(
        "{{engine: opa, opa: {{endpoint: \"https://{}\", ca_file: {}, timeout: 100ms}}}}",
        silent.local_addr().unwrap(),
        folder.path().join("ca.pem").display()
    );
    let engine = engine(&policy);
    let error = ask(&engine).await.unwrap_err();
    assert!(
        matches!(error, PolicyError::TimedOut { cut_short: false }),
        "{error}"
    );
    let (mut stream, _) = silent.accept().await.unwrap();
    let mut hello = Vec::new();
    // Ends only where the other side has closed.
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut hello);
    tokio::time::timeout(crate::harness::house::PATIENCE, read)
        .await
        .unwrap()
        .unwrap();
}

/// B11: counts sockets at the other end, and tasks here.
#[tokio::test]
async fn a_closed_engine_leaves_neither_connection_nor_task() {
    let opa = FaultyOpa::start_with([says(YES), says(YES), vec![Step::Hang]]).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = tasks();
    let engine = Arc::new(engine(&opa.policy("")));
    let results = join_all([ask(&engine), ask(&engine)]).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let asking = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { ask(&engine).await }
    });
    eventually("the question", || {
        (opa.questions().len() == 3).then_some(())
    })
    .await;
    engine.close().await;
    let error = asking.await.unwrap().unwrap_err();
    assert!(matches!(error, PolicyError::Unavailable(_)), "{error}");
    opa.is_alone().await;
    eventually("as many tasks as before", || {
        (tasks() == before).then_some(())
    })
    .await;
    assert!(matches!(
        ask(&engine).await,
        Err(PolicyError::Unavailable(_))
    ));
    assert_eq!(opa.open(), 0);
}
