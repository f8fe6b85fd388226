//! What h2spec, a suite for servers of HTTP/2 by other people, thinks of ours. What it finds fault with stands in
//! docs/abuse.md, with the reason.

use std::collections::BTreeSet;

use tokio::process::Command;

use crate::documented::faults;
use crate::rig::Rig;
use crate::rig::frames::CHECK;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h2spec_finds_no_fault_but_those_that_are_explained() {
    // X24
    let Some(h2spec) = std::env::var_os("H2SPEC_BIN") else {
        let required = std::env::var_os("REQUIRE_H2SPEC");
        assert!(required.is_none(), "H2SPEC_BIN is not set");
        eprintln!("passed over: H2SPEC_BIN is not set; make test-abuse sets it");
        return;
    };
    let rig = Rig::tcp("limits: {request_timeout: 10s, max_streams: 100}").await;
    let address = rig.tcp_address();
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.xml");
    let suite = Command::new(h2spec)
        .args(["generic", "http2", "hpack", "--strict", "--timeout", "10"])
        .args(["--path", CHECK, "--host", &address.ip().to_string()])
        .args(["--port", &address.port().to_string()])
        .arg("--junit-report")
        .arg(&report)
        .output();
    let said = rig.beside(suite).await.unwrap();
    let report =
        std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    let (passed, faults_found) = read(&report);
    assert!(passed > 140, "{passed} passed: {said:?}");
    let explained = faults();
    let surprises: Vec<_> = faults_found.difference(&explained).collect();
    assert!(surprises.is_empty(), "{surprises:?}: {said:?}");
}

/// How many cases passed, and those that did not, as `http2/3.5 Sends invalid connection preface`.
fn read(report: &str) -> (usize, BTreeSet<String>) {
    let mut passed = 0;
    let mut faults = BTreeSet::new();
    for case in report.split("<testcase ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = case.split_once(&format!("{name}=\"")).unwrap();
            rest.split('"').next().unwrap().to_owned()
        };
        let case_is_over = case.split("</testcase>").next().unwrap();
        if ["<failure", "<error", "<skipped"]
            .iter()
            .any(|it| case_is_over.contains(it))
        {
            faults.insert(format!(
                "{} {}",
                attribute("package"),
                attribute("classname")
            ));
        } else {
            passed += 1;
        }
    }
    (passed, faults)
}
