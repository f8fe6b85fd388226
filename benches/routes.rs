//! What finding the operation of a request costs, by the number of routes: it should hardly depend on it.
//!
//! `cargo bench --bench routes`

#![expect(
    clippy::expect_used,
    reason = "a benchmark of something broken should stop"
)]

use std::hint::black_box;

use attache::operation::{Host, RouteConfig, RouteTable, split};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::json;

/// `count` routes, two for each service: one that captures, then a literal one.
fn services(count: usize) -> RouteTable {
    let config = |number: usize| {
        let service = number / 2;
        if number.is_multiple_of(2) {
            json!({"path": format!("/service{service}/documents/{{id}}"), "resource": "documents/{id}", "action": "read"})
        } else {
            json!({"path": format!("/service{service}/documents"), "resource": "documents", "action": "read"})
        }
    };
    compile((0..count).map(config))
}

/// Every combination of a literal and a wildcard over ten levels: the most that so many routes can cost.
fn overlapping() -> RouteTable {
    let config = |bits: usize| {
        let path: String = (0..10)
            .map(|level| if bits >> level & 1 == 0 { "/*" } else { "/a" })
            .collect();
        json!({"path": path, "resource": "x", "action": "read"})
    };
    compile((0..1024).map(config))
}

fn compile(configs: impl Iterator<Item = serde_json::Value>) -> RouteTable {
    let routes: Vec<RouteConfig> = configs
        .map(|config| serde_json::from_value(config).expect("a route"))
        .collect();
    RouteTable::compile(&routes).expect("a table")
}

/// From the request line to the operation; whether there is one.
fn resolve(table: &RouteTable, target: &str) -> bool {
    let host = Host::try_from(black_box("api.example.org")).expect("a host");
    let target = split(black_box(target)).expect("a path");
    black_box(table.resolve(black_box("GET"), &host, &target.path)).is_ok()
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("routes");
    for count in [10, 100, 1000] {
        let table = services(count);
        let last = count / 2 - 1;
        for (name, target, found) in [
            ("last", format!("/service{last}/documents?page=2"), true),
            ("capture", format!("/service{last}/documents/42"), true),
            ("miss", format!("/service{last}/folders/42"), false),
        ] {
            assert_eq!(resolve(&table, &target), found, "{target}");
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| resolve(&table, &target));
            });
        }
    }
    let table = overlapping();
    // Fits every template but in its length, so that the whole tree is searched.
    let worst = "/a".repeat(11);
    assert!(!resolve(&table, &worst), "{worst}");
    group.bench_function(BenchmarkId::new("overlapping", 1024), |b| {
        b.iter(|| resolve(&table, &worst));
    });
    group.finish();
}

criterion_group!(benches, routes);
criterion_main!(benches);
