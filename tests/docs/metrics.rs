//! docs/metrics.md, and what `/readyz` shows in README.md.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown::{blocks, code, code_spans, read, tables_of};
use crate::server::Server;

/// Type and labels by name, as scraped.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn documented() -> Metrics {
    let mut metrics = Metrics::new();
    for table in tables_of("docs/metrics.md", "metric") {
        for row in &table.rows {
            let kind = row[1].split(',').next().unwrap().to_owned();
            let labels = code_spans(&row[2]).into_iter().collect();
            let name = code(&row[0]);
            assert_eq!(
                name.ends_with("_seconds"),
                row[1].contains("seconds"),
                "{name}"
            );
            assert!(metrics.insert(name, (kind, labels)).is_none(), "{row:?}");
        }
    }
    metrics
}

/// Of the text that `/metrics` answers, and every value of every label.
fn scraped(text: &str) -> (Metrics, BTreeSet<(String, String)>) {
    let mut metrics = Metrics::new();
    let mut values = BTreeSet::new();
    let mut current = (String::new(), String::new());
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            let total = if kind == "counter" { "_total" } else { "" };
            current = (format!("{name}{total}"), kind.to_owned());
        }
        if line.starts_with('#') {
            continue;
        }
        let (_, labels) = metrics
            .entry(current.0.clone())
            .or_insert_with(|| (current.1.clone(), BTreeSet::new()));
        let Some((_, rest)) = line.split_once('{') else {
            continue;
        };
        for pair in rest.split_once('}').unwrap().0.split(',') {
            let (label, value) = pair.split_once('=').unwrap();
            if label != "le" {
                labels.insert(label.to_owned());
                values.insert((label.to_owned(), value.trim_matches('"').to_owned()));
            }
        }
    }
    (metrics, values)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_listed_with_its_type_and_labels_and_no_other() {
    let server = Server::start().await;
    server
        .check("spiffe://example.org/svc/reporting", "/documents/42")
        .await;
    server
        .check("spiffe://example.org/agent/planner", "/documents/42")
        .await;
    assert_eq!(server.get_with("/readyz", "ok\n").await, readyz_in_readme());
    // The writer counts a record after it is written.
    let text = server
        .get_with("/metrics", "event_type=\"permission.denied\"")
        .await;
    server.stop().await;
    let (mut metrics, mut values) = scraped(&text);
    let (of_opa, its_values) = scraped(&scraped_with_opa().await);
    metrics.extend(of_opa);
    values.extend(its_values);
    assert_eq!(documented(), metrics);

    let explained = code_spans(&read("docs/metrics.md"));
    for (label, value) in values {
        // Listed elsewhere, or of no fixed set.
        if !matches!(
            &*label,
            "reason" | "event_type" | "version" | "tls" | "endpoint"
        ) && value != "development"
        {
            assert!(explained.contains(&value), "{label}={value}");
        }
    }
}

/// What is there only with an OPA, and where a failing one allows.
async fn scraped_with_opa() -> String {
    let policy = "policy: {engine: opa, default_deny: false, opa: {endpoint: \"unix:///nowhere\"}}";
    let server = Server::start_with(|text| format!("{text}\n{policy}\n")).await;
    server
        .check("spiffe://example.org/svc/reporting", "/documents/42")
        .await;
    let text = server
        .get_with("/metrics", "event_type=\"permission.check\"")
        .await;
    server.stop().await;
    text
}

fn readyz_in_readme() -> String {
    let readme = read("README.md");
    let shown = blocks(&readme).into_iter().find_map(|block| {
        let (_, output) = block.text.split_once("/readyz\n")?;
        Some(output.to_owned())
    });
    shown.unwrap()
}
