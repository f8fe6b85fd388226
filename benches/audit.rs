//! What the witness costs: handing a record over, on the thread that decides; and verifying a trail.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::audit::{
    self, Actor, Batch, EventType, Http, Memory, Mode, Origin, Outcome, Protocol, Record, Setup,
    Sink, verify,
};
use attache::clock::SystemClock;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prometheus_client::registry::Registry;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// Takes everything and keeps nothing: the cost of a disk is not what is measured.
#[derive(Debug)]
struct Nowhere;

impl Sink for Nowhere {
    fn name(&self) -> &'static str {
        "nowhere"
    }

    fn write(&mut self, batch: &Batch) -> std::io::Result<()> {
        black_box(batch.records());
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An allowance with what one usually has.
fn allowance() -> Record {
    let caller = "spiffe://example.org/svc/reporting".parse().unwrap();
    Record {
        action: Some("read".parse().unwrap()),
        resource: Some("documents/42".parse().unwrap()),
        decision_id: Some("01KDVDNA00Z8XVSCCEKPVME87T".into()),
        http: Some(Http {
            host: "documents.example.org".into(),
            method: "GET".into(),
            path: "/documents/42".into(),
            protocol: Protocol::Http,
            route: Some("* /documents/{id}".into()),
        }),
        request_id: Some("0b9b6e2c-2f2c-4a4e-9a51-5a4c54a1f6f0".into()),
        mode: Some(Mode::Enforce),
        latency: Some(Duration::from_micros(40)),
        cached: Some(true),
        ..Record::new(
            EventType::PermissionCheck,
            Outcome::Allowed,
            Actor::Workload(caller),
        )
    }
}

fn setup(first: Box<dyn Sink>) -> Setup {
    Setup {
        first,
        others: vec![],
        capacity: 1_000_000,
        origin: Origin {
            tenant: "default".into(),
            writer: "host/1".into(),
        },
    }
}

fn start(first: Box<dyn Sink>) -> (audit::Auditor, audit::WriterHandle) {
    let rng = StdRng::seed_from_u64(1);
    let clock = Arc::new(SystemClock);
    audit::start(setup(first), clock, rng, &mut Registry::default()).unwrap()
}

/// Nanoseconds on the calling thread, while the writer takes what comes.
fn record(criterion: &mut Criterion) {
    let (auditor, _writer) = start(Box::new(Nowhere));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let ready = allowance();
    criterion.bench_function("record", |bencher| {
        bencher.iter_custom(|times| {
            let mut took = Duration::ZERO;
            // In portions that the queue has room for, each made before the clock runs.
            let mut left = times;
            while left > 0 {
                let portion = left.min(100_000);
                left -= portion;
                let records: Vec<_> = (0..portion).map(|_| ready.clone()).collect();
                #[expect(clippy::disallowed_methods, reason = "real time is what is measured")]
                let begun = Instant::now();
                for record in records {
                    auditor.record(record);
                }
                took += begun.elapsed();
                runtime.block_on(auditor.flush()).unwrap();
            }
            took
        });
    });
}

/// A million records (A13), as many as [`Memory`] holds at a time, over and over.
fn verification(criterion: &mut Criterion) {
    let memory = Memory::default();
    let (auditor, _writer) = start(Box::new(memory.clone()));
    for _record in 2..Memory::MAX {
        auditor.record(allowance());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(auditor.flush()).unwrap();
    let lines = memory.lines();
    let chains = 1_000_000_usize.div_ceil(lines.len());
    let mut group = criterion.benchmark_group("verify");
    group
        .sample_size(10)
        .throughput(Throughput::Elements((chains * lines.len()) as u64));
    group.bench_function("a million records", |bencher| {
        bencher.iter(|| {
            for _chain in 0..chains {
                verify(black_box(&lines)).unwrap();
            }
        });
    });
    group.finish();
}

criterion_group!(benches, record, verification);
criterion_main!(benches);
