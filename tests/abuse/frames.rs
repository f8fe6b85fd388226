//! Frames that cost the server more than the client.

use std::time::Duration;

use crate::rig::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, GOAWAY, HEADERS,
    INITIAL_WINDOW_SIZE, NEWEST, PING, PRIORITY, SETTINGS, begin, field, finish, frame,
    indexed_field, ping, setting, window,
};
use crate::rig::{Door, Rig};

/// KiB of memory that no attack may cost.
const MOST: u64 = 32 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_blocks_without_end_end_the_connection() {
    // X09, RUSTSEC-2024-0332
    for door in Door::KINDS {
        let rig = Rig::at(door, "").await;
        let before = (rig.resident(), rig.cpu());
        let pieces = [
            ("empty", Vec::new()),
            ("small", field("x-a", "b")),
            ("large", field("x-a", &"b".repeat(16_000))),
        ];
        rig.beside(async {
            for (what, piece) in pieces {
                let begun = frame(HEADERS, 0, 1, &rig.call());
                let more = std::iter::repeat_n(frame(CONTINUATION, 0, 1, &piece), 20_000);
                let fate = rig
                    .dial()
                    .await
                    .flood(std::iter::once(begun).chain(more))
                    .await;
                assert!(fate.closed, "{door:?}, {what}: {fate:?}");
                assert_eq!(
                    fate.code(),
                    Some(ENHANCE_YOUR_CALM),
                    "{door:?}, {what}: {fate:?}"
                );
            }
        })
        .await;
        assert!(rig.resident() < before.0 + MOST);
        assert!(rig.cpu() < before.1 + Duration::from_secs(5));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_frames_without_data_end_the_connection() {
    // X10, RUSTSEC-2026-0258
    let rig = Rig::unix("limits: {request_timeout: 10s}").await;
    let before = rig.resident();
    rig.beside(async {
        let flood = async |payload: &[u8], flags| {
            let flood = std::iter::repeat_n(frame(DATA, flags, 1, payload), 60_000);
            let flood = std::iter::once(begin(1)).chain(flood);
            rig.dial().await.flood(flood).await
        };
        for (what, payload, flags) in [
            ("empty", &[][..], 0),
            ("nothing but padding", &[3, 0, 0, 0], 8),
        ] {
            let fate = flood(payload, flags).await;
            assert_eq!(fate.code(), Some(ENHANCE_YOUR_CALM), "{what}: {fate:?}");
            assert!(fate.written < 600_000, "{what}: {fate:?}");
        }
        // One byte each is data: it is read and forgotten, until the request's time is over.
        flood(&[0], 0).await;
    })
    .await;
    assert!(rig.resident() < before + MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_block_that_stands_for_a_large_one_is_refused() {
    // X11: references to one large entry of the table, and a cookie in very many crumbs.
    for door in Door::KINDS {
        let rig = Rig::at(door, "").await;
        let before = rig.resident();
        let indexed = {
            let large = indexed_field("x-bomb", &"b".repeat(3_900));
            [rig.call(), large, vec![NEWEST; 12_000]].concat()
        };
        let crumbs = {
            let crumb = indexed_field("cookie", "");
            [rig.call(), crumb, vec![NEWEST; 16_000]].concat()
        };
        rig.beside(async {
            for (what, block) in [("references", indexed), ("crumbs", crumbs)] {
                for _ in 0..20 {
                    let bombs = (1..200).step_by(2).map(|stream| {
                        let flags = END_HEADERS | END_STREAM;
                        frame(HEADERS, flags, stream, &block)
                    });
                    let fate = rig.dial().await.flood(bombs).await;
                    assert_eq!(
                        fate.frames.get(&DATA),
                        None,
                        "{door:?}, {what}: nothing is answered"
                    );
                    assert!(fate.closed, "{door:?}, {what}: {fate:?}");
                }
            }
        })
        .await;
        assert!(rig.resident() < before + MOST);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_ask_for_nothing_cost_nothing_that_stays() {
    // X12, CVE-2019-9512 to 9518
    let rig = Rig::unix("limits: {request_timeout: 10s}").await;
    let before = rig.resident();
    let priority = [&[0, 0, 0, 0][..], &[16]].concat();
    rig.beside(async {
        for (what, flood) in [
            ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
            ("SETTINGS that change windows", {
                let up = setting(INITIAL_WINDOW_SIZE, 70_000);
                [up, setting(INITIAL_WINDOW_SIZE, 1)].concat()
            }),
            ("acknowledged SETTINGS", frame(SETTINGS, ACK, 0, &[])),
            ("PING", ping(7)),
            ("acknowledged PING", frame(PING, ACK, 0, &[0; 8])),
            ("PRIORITY", frame(PRIORITY, 0, 3, &priority)),
            ("WINDOW_UPDATE", window(0, 1)),
            ("a kind that nobody knows", frame(0xfe, 0xff, 0, &[0; 100])),
        ] {
            let flood = std::iter::repeat_n(flood, 50_000);
            let fate = rig
                .dial()
                .await
                .flood(std::iter::once(begin(1)).chain(flood))
                .await;
            // What answers nothing we sent is no acknowledgement. The rest is read to its end, and nothing of it kept.
            assert_eq!(
                fate.closed,
                what == "acknowledged SETTINGS",
                "{what}: {fate:?}"
            );
        }
    })
    .await;
    assert!(rig.resident() < before + MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_stop_the_reading() {
    // X12: pings from a client that takes no answers fill the sockets' buffers, and nothing else.
    let rig = Rig::unix("").await;
    let before = rig.resident();
    rig.beside(async {
        let mut deaf = Vec::new();
        for _ in 0..4 {
            let mut raw = rig.dial().await;
            let pings = std::iter::repeat_n(ping(1).repeat(1_000), 2_000);
            let written = raw.pour(pings, Duration::from_millis(500)).await;
            assert!(written < 16 << 20, "{written} bytes went");
            deaf.push(raw);
        }
    })
    .await;
    assert!(rig.resident() < before + MOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_lists_have_a_limit() {
    // X14: the list's size counts 32 bytes more for each field (RFC 9113 section 6.5.2).
    for door in Door::KINDS {
        let rig = Rig::at(door, "").await;
        let before = rig.resident();
        rig.beside(async {
            for (size, answered) in [(15_000, true), (17 * 1024, false), (1 << 20, false)] {
                let mut raw = rig.dial().await;
                let block = [rig.call(), field("x-large", &"l".repeat(size))].concat();
                let mut pieces = block.chunks(16_384);
                let first = pieces.next().unwrap();
                let mut frames = vec![frame(HEADERS, 0, 1, first)];
                frames.extend(pieces.map(|piece| frame(CONTINUATION, 0, 1, piece)));
                let last = frames.last_mut().unwrap();
                last[4] |= END_HEADERS;
                frames.push(finish(1, &rig.question()));
                raw.send(&frames.concat()).await;
                // The end of the stream, or of the connection.
                let mut data = false;
                while let Some(it) = raw.until(|it| it.stream == 1 || it.kind == GOAWAY).await {
                    data |= it.kind == DATA;
                    if it.kind != DATA && (it.kind != HEADERS || it.flags & END_STREAM != 0) {
                        break;
                    }
                }
                assert_eq!(data, answered, "{door:?}, {size}");
            }
        })
        .await;
        assert!(rig.resident() < before + MOST);
    }
}
