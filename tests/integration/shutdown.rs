//! The end: what is under way finishes, nothing new begins, the record is complete.

use std::time::Duration;

use attache::socket::Address;
use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::harness::house::{PATIENCE, eventually_async};
use crate::harness::wire::{CHECK, Reply, Wire, framed};
use crate::harness::{House, Plan, ask};

fn socket(house: &House) -> &std::path::Path {
    match &house.address {
        Address::Unix { path, .. } => path,
        Address::Tcp(address) => panic!("{address}"),
    }
}

/// Waits until nobody listens there any more.
async fn closed(path: &std::path::Path) {
    eventually_async("the socket's end", || async {
        UnixStream::connect(path).await.is_err().then_some(())
    })
    .await;
}

/// A connection with a call that never comes to an end; another one after it shows that the server has seen both.
async fn with_an_open_call(house: &House) -> (Wire, (ResponseFuture, SendStream<Bytes>)) {
    let mut wire = Wire::connect(&house.address).await;
    let call = wire.begin(CHECK, &[]).await;
    let whole = framed(&ask("GET", "/documents/1").encode_to_vec());
    wire.call(CHECK, &[], whole).await;
    (wire, call)
}

#[tokio::test]
async fn what_is_under_way_finishes_and_nothing_new_begins() {
    // K05
    let house = Plan::with("limits: {request_timeout: 10s}").open().await;
    let mut wire = Wire::connect(&house.address).await;
    let frame = framed(&ask("GET", "/documents/1").encode_to_vec());
    let (begin, rest) = frame.split_at(50);
    let (response, mut stream) = wire.begin(CHECK, &[]).await;
    stream.send_data(begin.to_vec().into(), false).unwrap();
    // Answered on the same connection: what was sent before has arrived.
    let other = wire.call(CHECK, &[], frame.clone()).await.answer();
    assert!(other.is_allowed());

    house.shutdown.drain();
    closed(socket(&house)).await;
    stream.send_data(rest.to_vec().into(), true).unwrap();
    let answer = Reply::read(response).await.answer();
    assert!(answer.is_allowed());

    let path = socket(&house).to_owned();
    let records = house.close().await;
    let decided = |id: &str| records.iter().any(|it| it["decision_id"] == *id);
    assert!(decided(answer.decision_id()) && decided(other.decision_id()));
    assert_eq!(records.last().unwrap()["event_type"], "audit.stopped");
    assert!(!path.exists(), "the socket file is gone");
}

#[tokio::test]
async fn patience_ends_with_the_grace() {
    let house = Plan::with("limits: {request_timeout: 10s, shutdown_grace: 50ms}")
        .open()
        .await;
    let (_wire, call) = with_an_open_call(&house).await;
    let records = house.close().await;
    // The call that never came to an end is on record too.
    let refused: Vec<_> = records
        .iter()
        .filter(|it| it["result"] == "denied")
        .collect();
    assert_eq!(refused.len(), 1, "{records:#?}");
    assert_eq!(refused[0]["reason_code"], "deadline_exceeded");
    assert_eq!(records.last().unwrap()["event_type"], "audit.stopped");
    drop(call);
}

#[tokio::test]
async fn a_second_word_ends_it_at_once() {
    // K07
    let mut house = Plan::with("limits: {request_timeout: 10s, shutdown_grace: 60s}")
        .open()
        .await;
    let (_wire, call) = with_an_open_call(&house).await;
    let path = socket(&house).to_owned();
    let begun = Instant::now();
    house.shutdown.drain();
    closed(&path).await;
    assert!(!house.running.is_finished());
    house.shutdown.abort();
    let ended = tokio::time::timeout(PATIENCE, &mut house.running).await;
    ended.unwrap().unwrap().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30));
    let records = house.records();
    assert_eq!(records.last().unwrap()["event_type"], "audit.stopped");
    assert!(!path.exists());
    drop(call);
}

#[tokio::test]
async fn a_successor_keeps_its_socket() {
    let mut old = Plan::with("limits: {request_timeout: 10s}").open().await;
    let mut wire = Wire::connect(&old.address).await;
    let call = wire.begin(CHECK, &[]).await;
    wire.call(
        CHECK,
        &[],
        framed(&ask("GET", "/documents/1").encode_to_vec()),
    )
    .await;
    let path = socket(&old).to_owned();
    old.shutdown.drain();
    closed(&path).await;

    // The old process still finishes a call when the new one takes its place.
    let new = Plan {
        listener: format!("{{unix: {}}}", path.display()),
        ..Plan::default()
    }
    .open()
    .await;
    drop(call);
    let ended = tokio::time::timeout(PATIENCE, &mut old.running).await;
    ended.unwrap().unwrap().unwrap();
    assert!(path.exists(), "the successor's socket");
    let mut late = Wire::connect(&new.address).await;
    let frame = framed(&ask("GET", "/documents/1").encode_to_vec());
    assert!(late.call(CHECK, &[], frame).await.answer().is_allowed());
    new.close().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn answers_under_load_are_right_until_the_end() {
    // K06, on a small scale
    let house = House::open().await;
    let calls = (0..4).map(|_| {
        let mut client = house.client();
        async move {
            let mut answered = 0_u32;
            loop {
                let request = ask("GET", "/documents/1");
                match client.check(request).await {
                    Ok(response) => {
                        let answer = crate::harness::Answer::read(response.into_inner());
                        assert!(answer.is_allowed(), "{answer:?}");
                        answered += 1;
                    }
                    Err(status) => {
                        let gone = [
                            tonic::Code::Unavailable,
                            tonic::Code::Unknown,
                            tonic::Code::Cancelled,
                        ];
                        assert!(gone.contains(&status.code()), "{status:?}");
                        return answered;
                    }
                }
            }
        }
    });
    let tasks: Vec<_> = calls.map(tokio::spawn).collect();
    eventually_async("load", || async {
        let sample = "attache_checks_total{outcome=\"allow\",reason=\"none\",mode=\"enforce\"}";
        (house.metric(sample).await > 200).then_some(())
    })
    .await;
    let records = house.close().await;
    let mut answered = 0;
    for task in tasks {
        answered += task.await.unwrap();
    }
    let allowed = records
        .iter()
        .filter(|it| it["result"] == "allowed")
        .count();
    assert!(
        allowed >= usize::try_from(answered).unwrap(),
        "{allowed} of {answered}"
    );
    assert_eq!(records.last().unwrap()["event_type"], "audit.stopped");
}
