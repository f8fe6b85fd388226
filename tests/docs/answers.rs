//! What docs/envoy.md says that Envoy gets.

use std::collections::BTreeSet;

use envoy_types::ext_authz::v3::pb::{CheckResponse, HeaderValueOption, HttpResponse};
use serde_json::Value;

use crate::markdown::{blocks, code, code_spans, read, tables, tables_of};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_as_described() {
    let server = Server::start().await;
    let allowed = server
        .check("spiffe://example.org/svc/reporting", "/documents/42")
        .await;
    let denied = server
        .check("spiffe://example.org/svc/other", "/documents/42")
        .await;
    server.stop().await;

    let Some(HttpResponse::OkResponse(ok)) = &allowed.http_response else {
        panic!("{allowed:?}");
    };
    let mut described = headers_under("What the service gets");
    assert_eq!(names(&ok.headers), described);

    let Some(HttpResponse::DeniedResponse(refusal)) = &denied.http_response else {
        panic!("{denied:?}");
    };
    described = headers_under("Denials");
    described.insert("content-type".to_owned());
    assert_eq!(names(&refusal.headers), described);

    let body: Value = serde_json::from_str(&refusal.body).unwrap();
    let shown = blocks(&read("docs/envoy.md"))
        .into_iter()
        .find(|it| it.info == "json")
        .unwrap();
    let mut shown: Value = serde_json::from_str(&shown.text).unwrap();
    shown["instance"] = body["instance"].clone();
    assert_eq!(shown, body);

    let text = read("docs/envoy.md");
    let (_, described) = text.split_once("## Access logs").unwrap();
    let described = code_spans(described.split("```").next().unwrap());
    for key in metadata(&allowed).union(&metadata(&denied)) {
        assert!(described.contains(key), "{key}");
    }
}

fn headers_under(heading: &str) -> BTreeSet<String> {
    let tables = tables(&read("docs/envoy.md"));
    let table = tables
        .iter()
        .find(|table| table.heading == heading && table.header[0].starts_with("header"));
    table
        .unwrap()
        .rows
        .iter()
        .map(|row| code(&row[0]))
        .collect()
}

fn names(headers: &[HeaderValueOption]) -> BTreeSet<String> {
    let headers = headers.iter().filter_map(|option| option.header.as_ref());
    headers.map(|header| header.key.clone()).collect()
}

fn metadata(answer: &CheckResponse) -> BTreeSet<String> {
    let metadata = answer.dynamic_metadata.as_ref().unwrap();
    let [(ours, value)] = &metadata.fields.iter().collect::<Vec<_>>()[..] else {
        panic!("{metadata:?}");
    };
    assert_eq!(*ours, "attache");
    let Some(envoy_types::pb::google::protobuf::value::Kind::StructValue(fields)) = &value.kind
    else {
        panic!("{value:?}");
    };
    fields.fields.keys().cloned().collect()
}

/// The settings that docs/envoy.md explains are those that the shipped bootstrap has.
#[test]
fn explained_settings_stand_in_the_shipped_bootstrap() {
    let bootstrap = read("deploy/envoy/sidecar-uds.yaml");
    for table in tables_of("docs/envoy.md", "field") {
        for row in &table.rows {
            let absent = row[1] == "left out" || row[1] == "nowhere";
            for field in code_spans(&row[0]) {
                let field = field.split('.').next_back().unwrap();
                let field = field.split(':').next().unwrap();
                let written = bootstrap
                    .lines()
                    .filter(|line| !line.trim_start().starts_with('#'))
                    .any(|line| line.contains(&format!("{field}:")));
                assert_eq!(written, !absent, "{field}");
            }
        }
    }
}
