//! gRPC frames and protobuf messages that promise more than they hold, or hold more than anybody needs.

use std::time::Duration;

use prost::Message as _;
use tokio::time::Instant;

use crate::harness::message::http;
use crate::harness::wire::{Wire, framed};
use crate::harness::{Answer, ask};
use crate::rig::Rig;
use crate::rig::frames::CHECK;

async fn answer(rig: &Rig, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut wire = Wire::connect(&rig.address).await;
    wire.call(CHECK, headers, body).await.answer()
}

/// A field of a message with its length before it (protobuf wire type 2).
fn nested(number: u32, inside: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(u64::from(number << 3 | 2), &mut bytes);
    prost::encoding::encode_varint(u64::try_from(inside.len()).unwrap(), &mut bytes);
    bytes.extend_from_slice(inside);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_of_four_gigabytes_reserves_nothing() {
    // X15
    let rig = Rig::unix("").await;
    let before = rig.resident();
    rig.beside(async {
        for _ in 0..200 {
            let answer = answer(&rig, &[], b"\x00\xff\xff\xff\xffabcde".to_vec()).await;
            assert_eq!(answer.word(), "request_too_large");
        }
    })
    .await;
    assert!(rig.resident() < before + 32 * 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compressed_message_is_not_inflated() {
    // X16: 166 MB of zeros in one MiB.
    let rig = Rig::unix("limits: {request_timeout: 10s, max_message: 8MiB}").await;
    let before = rig.resident();
    let bomb = gzip_bomb(1 << 20);
    let mut body = framed(&bomb);
    body[0] = 1;
    rig.beside(async {
        for encoding in ["gzip", "identity"] {
            let answer = answer(&rig, &[("grpc-encoding", encoding)], body.clone()).await;
            assert_eq!(answer.word(), "bad_request", "{encoding}");
        }
    })
    .await;
    assert!(rig.resident() < before + 32 * 1024);
}

/// A gzip member (RFC 1952) of about `size` bytes, all of them copies of 258 zeros at a distance of one: 13 bits each,
/// in the fixed codes of RFC 1951 section 3.2.6.
fn gzip_bomb(size: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    // The literal 0.
    bits.extend([false, false, true, true, false, false, false, false]);
    let copy = [true, true, false, false, false, true, false, true];
    // Thirteen bits divide eight copies into thirteen bytes.
    for _ in 0..size / 13 * 8 {
        bits.extend(copy);
        bits.extend([false; 5]);
    }
    bits.extend([false; 7]);
    let packed = bits.chunks(8).map(|byte| {
        let set = byte.iter().enumerate().filter(|(_, bit)| **bit);
        set.fold(0_u8, |sum, (at, _)| sum | 1 << at)
    });
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    head.into_iter().chain(packed).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn structures_nested_without_end_are_refused() {
    // X17: protobuf's Struct, 10 000 deep: Value.struct_value = 5, Struct.fields = 1, its entry's value = 2.
    let rig = Rig::unix("").await;
    let nested_in_metadata = |depth| {
        let mut value = Vec::new();
        for _ in 0..depth {
            let entry = [nested(1, b"a"), nested(2, &value)].concat();
            value = nested(5, &nested(1, &entry));
        }
        let fields = nested(1, &[nested(1, b"a"), nested(2, &value)].concat());
        let name = nested(1, b"envoy.filters.http.lua");
        let filter = nested(1, &[name, nested(2, &fields)].concat());
        let mut request = ask("GET", "/documents/42").encode_to_vec();
        // CheckRequest.attributes = 1; a field that comes twice is merged. AttributeContext.metadata_context = 11.
        request.extend(nested(1, &nested(11, &filter)));
        framed(&request)
    };
    let deep = nested_in_metadata(10_000);
    assert!(deep.len() < 1 << 20);
    rig.beside(async {
        for _ in 0..20 {
            let answer = answer(&rig, &[], deep.clone()).await;
            assert_eq!(answer.word(), "bad_request");
        }
    })
    .await;
    // What is nested as deep as anybody needs is none of our business.
    let answer = answer(&rig, &[], nested_in_metadata(20)).await;
    assert!(answer.is_allowed(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_with_very_many_entries_take_bounded_time() {
    // X18: 100 000 entries fit; a million do not, and are not read.
    let rig = Rig::unix("limits: {request_timeout: 10s, max_message: 4MiB}").await;
    let before = rig.resident();
    // Fields of a message that comes twice are merged, so the entries follow a whole request.
    let entries = |number, count: usize| -> Vec<u8> {
        let entry = |it: usize| nested(number, &nested(1, format!("x-{it:06}").as_bytes()));
        (0..count).flat_map(entry).collect()
    };
    // AttributeContext.context_extensions = 10.
    let extensions = |count| {
        let request = ask("GET", "/documents/42").encode_to_vec();
        framed(&[request, nested(1, &entries(10, count))].concat())
    };
    // AttributeContext.request = 4, its http = 2, its headers = 3.
    let headers = |count| {
        let mut request = ask("GET", "/documents/42");
        http(&mut request).header_map = None;
        let more = nested(1, &nested(4, &nested(2, &entries(3, count))));
        framed(&[request.encode_to_vec(), more].concat())
    };
    let messages = [
        (
            "context_extensions",
            extensions(100_000),
            extensions(1_000_000),
        ),
        ("headers", headers(100_000), headers(1_000_000)),
    ];
    let began = Instant::now();
    rig.beside(async {
        for (what, many, too_many) in messages {
            let answered = answer(&rig, &[], many).await;
            assert!(answered.is_allowed(), "{what}: {answered:?}");
            let answered = answer(&rig, &[], too_many).await;
            assert_eq!(answered.word(), "request_too_large", "{what}");
        }
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(rig.resident() < before + 128 * 1024);
}
