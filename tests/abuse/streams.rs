//! Streams opened and not used as meant.

use std::time::Duration;

use attache::authority::INQUIRY_TIME;
use tokio::time::Instant;

use crate::harness::ask;
use crate::rig::frames::{
    CHECK, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, INITIAL_WINDOW_SIZE,
    PRIORITY, REFUSED_STREAM, begin, call, finish, frame, reset, setting, window,
};
use crate::rig::{Door, Rig, framed};

/// The frames that provoke a reset of a stream.
type Provoke = Box<dyn Fn(u32) -> Vec<u8>>;

/// Numbers that a client may give its streams.
fn numbers() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_never_end_are_answered_at_the_time_limit() {
    // X05
    for door in Door::KINDS {
        let rig = Rig::at(door, "limits: {request_timeout: 500ms}").await;
        rig.beside(async {
            let mut raw = rig.dial().await;
            let begun = Instant::now();
            let limit = if door.is_for_proxies() {
                Duration::from_millis(500)
            } else {
                INQUIRY_TIME
            };
            for stream in numbers().take(200) {
                raw.send(&rig.begin(stream)).await;
                // Ten of a message's bytes, and no end.
                raw.send(&frame(DATA, 0, stream, &[0, 0, 0, 4, 0, 1, 2, 3, 4, 5]))
                    .await;
            }
            for _ in 0..200 {
                let answered = raw
                    .until(|it| it.kind == HEADERS && it.flags & END_STREAM != 0)
                    .await;
                assert!(answered.is_some(), "{door:?}: each is answered");
            }
            assert!(begun.elapsed() >= limit, "{door:?}");
            assert!(raw.lives().await);
        })
        .await;
        assert_eq!(rig.refusals().await, 200, "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_takes_its_answers_is_let_go() {
    // X06, X26: the connection may send, its streams may not; it is asked to leave, and then made to.
    let rig = Rig::unix(
        "limits: {request_timeout: 1s, max_connection_age: 1s, max_streams: 64, max_in_flight: 1024}",
    )
    .await;
    let question = framed(&ask("GET", "/documents/42"));
    rig.beside(async {
        let stay = async |window| {
            let mut raw = rig.dial_with(&setting(INITIAL_WINDOW_SIZE, window)).await;
            for stream in numbers().take(64) {
                raw.send(&begin(stream)).await;
                raw.send(&finish(stream, &question)).await;
            }
            raw.closed().await;
        };
        tokio::join!(stay(0), stay(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_resets_end_the_connection() {
    // X07, CVE-2023-44487
    for door in Door::KINDS {
        let rig = Rig::at(door, "").await;
        let before = rig.resident();
        rig.beside(async {
            for _ in 0..20 {
                let fate = rig
                    .dial()
                    .await
                    .flood(
                        numbers()
                            .take(50_000)
                            .map(|stream| [rig.begin(stream), reset(stream)].concat()),
                    )
                    .await;
                assert!(fate.closed, "{door:?}: {fate:?}");
                assert_eq!(fate.code(), Some(ENHANCE_YOUR_CALM), "{door:?}: {fate:?}");
            }
        })
        .await;
        assert!(rig.resident() < before + 32 * 1024);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_one_at_a_time_cost_no_more_than_asking() {
    // X07: each stream is given up only after it was accepted, which no count of unaccepted ones sees.
    let rig = Rig::unix("").await;
    rig.beside(async {
        let mut raw = rig.dial().await;
        for stream in numbers().take(500) {
            raw.send(&begin(stream)).await;
            assert!(raw.lives().await);
            raw.send(&reset(stream)).await;
        }
        assert!(raw.lives().await);
    })
    .await;
    assert_eq!(rig.refusals().await, 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resets_that_a_client_provokes_are_counted_too() {
    // X08, CVE-2025-8671: each of these makes the server give up the stream, and keeps it busy with the request.
    let rig = Rig::unix("").await;
    let question = framed(&ask("GET", "/documents/42"));
    let twice = move |stream| {
        [
            begin(stream),
            finish(stream, &question),
            finish(stream, &question),
        ]
    };
    let provocations: [(&str, Provoke); 4] = [
        (
            "a window that grows by nothing",
            Box::new(|stream| [begin(stream), window(stream, 0)].concat()),
        ),
        (
            "a window beyond the largest",
            Box::new(|stream| [begin(stream), window(stream, 0x7fff_ffff)].concat()),
        ),
        (
            "data after the end",
            Box::new(move |stream| twice(stream).concat()),
        ),
        (
            "a stream that depends on itself",
            Box::new(|stream| {
                let priority = [&stream.to_be_bytes()[..], &[16]].concat();
                [begin(stream), frame(PRIORITY, 0, stream, &priority)].concat()
            }),
        ),
    ];
    rig.beside(async {
        for (what, provoke) in provocations {
            let fate = rig
                .dial()
                .await
                .flood(numbers().take(20_000).map(provoke))
                .await;
            assert!(fate.closed, "{what}: {fate:?}");
            let resets: usize = fate.resets.values().sum();
            assert!(resets <= 200, "{what}: {fate:?}");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_streams_than_allowed_are_refused() {
    // X13
    for door in Door::KINDS {
        let rig = Rig::at(door, "limits: {request_timeout: 10s, max_streams: 100}").await;
        rig.beside(async {
            let fate = rig
                .dial()
                .await
                .flood(numbers().take(10_000).map(|it| rig.begin(it)))
                .await;
            assert_eq!(fate.code(), Some(ENHANCE_YOUR_CALM), "{door:?}: {fate:?}");
            // As many are refused one by one, then the connection as a whole.
            assert_eq!(fate.resets.keys().collect::<Vec<_>>(), [&REFUSED_STREAM]);
            assert!(fate.resets[&REFUSED_STREAM] <= 128, "{door:?}: {fate:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_connection_is_asked_to_leave_and_what_is_under_way_finishes() {
    // X25
    let rig = Rig::tls("limits: {request_timeout: 10s, max_connection_age: 1s}").await;
    let question = framed(&ask("GET", "/documents/42"));
    rig.beside(async {
        let mut raw = rig.dial().await;
        raw.send(&begin(1)).await;
        let asked = raw.until(|it| it.kind == crate::rig::frames::GOAWAY).await;
        assert!(asked.is_some(), "it is asked first");
        raw.send(&finish(1, &question)).await;
        let answer = raw.until(|it| it.kind == DATA && it.stream == 1).await;
        assert!(answer.is_some(), "and answered");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_clients_hold_nobody_up() {
    // X32
    let rig = Rig::unix("").await;
    let question = framed(&ask("GET", "/documents/42"));
    let slow = async {
        let drip = async |question: &[u8]| {
            let mut raw = rig.dial().await;
            raw.send(&begin(1)).await;
            for piece in question.chunks(question.len() / 20) {
                raw.send(&frame(DATA, 0, 1, piece)).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            raw.send(&finish(1, &[])).await;
            let answered = raw.until(|it| it.kind == HEADERS).await;
            assert!(answered.is_some(), "late, and answered all the same");
        };
        futures::future::join_all((0..16).map(|_| drip(&question))).await;
    };
    let fast = async {
        let channel = rig.channel().await;
        let asks = (0..1_000).map(|_| crate::rig::allowed(channel.clone()));
        let begun = Instant::now();
        futures::future::join_all(asks).await;
        begun.elapsed()
    };
    let (_slow, took) = rig.beside(async { tokio::join!(slow, fast) }).await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_other_calls_end_at_once() {
    // X05: what is no Check is refused before its body comes, and holds nothing.
    let rig = Rig::unix("limits: {request_timeout: 10s, max_streams: 100}").await;
    rig.beside(async {
        let mut raw = rig.dial().await;
        let block = call(&CHECK.replace("Check", "Delete"));
        for stream in numbers().take(500) {
            raw.send(&frame(HEADERS, END_HEADERS, stream, &block)).await;
            let answer = raw
                .until(|it| it.stream == stream)
                .await
                .expect("an answer");
            assert_eq!(
                (answer.kind, answer.flags & END_STREAM),
                (HEADERS, END_STREAM)
            );
        }
        assert!(raw.lives().await);
    })
    .await;
}
