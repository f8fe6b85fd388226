//! Headers and bodies: what a client sends never passes for what attache says.

use crate::harness::message::{body, header, headers, http, joined, raw};
use crate::harness::{House, Plan, REPORTING, ask};

const OURS: [&str; 10] = [
    "x-attache-caller",
    "x-attache-subject",
    "x-attache-decision-id",
    "x-attache-tier",
    "x-attache-actor",
    "x-attache-task",
    "x-attache-chain",
    "attache-token",
    "x-attache-decision",
    "x-attache-reason",
];

#[tokio::test]
async fn no_header_of_ours_passes_from_a_client_to_the_service() {
    // E29, E30
    let house = House::open().await;
    for path in ["/documents/1", "/trial/1"] {
        for name in OURS.iter().copied().chain(["x-attache-", "x-attache-new"]) {
            let once = header(ask("GET", path), name, "forged");
            let twice = header(once.clone(), name, "forged again");
            for request in [once.clone(), twice, joined(once)] {
                let answer = house.check(request).await;
                assert!(answer.is_allowed());
                let removed = answer.removed.iter().any(|it| it == name);
                let overwritten = answer.headers.contains_key(name);
                assert!(removed ^ overwritten, "{path} {name}: {answer:?}");
                assert!(!format!("{answer:?}").contains("forged"), "{answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_header_name_in_upper_case_is_refused() {
    // E29, E43
    let house = House::open().await;
    for name in ["X-Attache-Caller", "x-attache-Caller", "Accept"] {
        let request = header(ask("GET", "/documents/1"), name, "forged");
        assert_eq!(house.word(request.clone()).await, "bad_request", "{name}");
        assert_eq!(house.word(joined(request)).await, "bad_request", "{name}");
    }
}

#[tokio::test]
async fn headers_in_both_forms_are_refused() {
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    let map = &mut http(&mut request).headers;
    map.insert("accept".to_owned(), "*/*".to_owned());
    assert_eq!(house.word(request).await, "bad_request");
}

#[tokio::test]
async fn a_thousand_headers_are_read_in_time() {
    // E42
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    for number in 0..1000 {
        headers(&mut request).push(raw(&format!("x-{number}"), &"v".repeat(64)));
    }
    assert_eq!(house.word(request.clone()).await, "allow");
    assert_eq!(house.word(joined(request)).await, "allow");
}

#[tokio::test]
async fn what_a_person_could_not_type_stays_out_of_the_record() {
    // A22
    let house = House::open().await;
    let mut request = ask("GET", "/documents/1");
    headers(&mut request)[1] = raw("x-request-id", "a\n{\"forged\":true}\u{1b}[2J\u{2028}");
    let answer = house.check(request).await;
    let record = house.record_of(&answer).await;
    assert!(record.get("forged").is_none());
    let records = house.close().await;
    assert_eq!(
        records.len(),
        4,
        "started, checked, signed, stopped: {records:#?}"
    );
}

#[tokio::test]
async fn a_body_is_read_whole_or_not_at_all() {
    let house = Plan::with_policy(
        "package agentweave.authz\n\nallow if input.request.body.kind == \"weekly\"\n",
    )
    .open()
    .await;
    let json = |text: &str| body(ask("POST", "/reports"), "application/json", text);
    let weekly = r#"{"kind": "weekly"}"#;
    assert_eq!(house.word(json(weekly)).await, "allow");
    assert_eq!(
        house.word(json(r#"{"kind": "daily"}"#)).await,
        "policy_undefined"
    );
    let mut raw_body = json(weekly);
    let it = http(&mut raw_body);
    it.raw_body = std::mem::take(&mut it.body).into_bytes();
    assert_eq!(house.word(raw_body.clone()).await, "allow");
    http(&mut raw_body).body = weekly.to_owned();
    assert_eq!(house.word(raw_body).await, "bad_request");

    // E35
    assert_eq!(house.word(json("")).await, "unusable_body");
    assert_eq!(house.word(ask("POST", "/reports")).await, "unusable_body");
    // E36
    let partial = header(json(weekly), "x-envoy-auth-partial-body", "true");
    assert_eq!(house.word(partial).await, "unusable_body");
    let whole = header(json(weekly), "x-envoy-auth-partial-body", "false");
    assert_eq!(house.word(whole).await, "allow");
    // E37
    let longer = header(json(weekly), "content-length", "1000");
    assert_eq!(house.word(longer).await, "unusable_body");
    let mut size = json(weekly);
    http(&mut size).size = 1000;
    assert_eq!(house.word(size).await, "unusable_body");
    let twice = header(
        header(json(weekly), "content-length", "18"),
        "content-length",
        "18",
    );
    assert_eq!(house.word(twice).await, "bad_request");
}

#[tokio::test]
async fn a_body_that_is_not_json_in_one_reading_is_refused() {
    let house = House::open().await;
    let deep = "[".repeat(10_000);
    let closed = format!("{deep}{}", "]".repeat(10_000));
    let long = format!("[\"{}\"]", "a".repeat(600_000));
    for (text, word) in [
        // E38
        ("{", "unusable_body"),
        ("{}{}", "unusable_body"),
        (r#"{"a": 1, "a": 2}"#, "unusable_body"),
        (r#""\ud800""#, "unusable_body"),
        (&deep, "unusable_body"),
        (&closed, "unusable_body"),
        (&long, "allow"),
    ] {
        let request = body(ask("POST", "/reports"), "application/json", text);
        let shown: String = text.chars().take(20).collect();
        assert_eq!(house.word(request).await, word, "{shown}");
    }
    let mut latin = body(ask("POST", "/reports"), "application/json", "");
    http(&mut latin).raw_body = b"\"\xe9\"".to_vec();
    assert_eq!(house.word(latin).await, "unusable_body");
    // E39, E40
    for (content_type, word) in [
        ("application/json; charset=UTF-8", "allow"),
        ("application/vnd.api+json", "allow"),
        ("application/json;charset=utf-16", "unusable_body"),
        ("text/json", "unusable_body"),
        ("application/x-www-form-urlencoded", "unusable_body"),
        ("multipart/form-data", "unusable_body"),
        (
            "multipart/form-data; boundary=a; boundary=b",
            "unusable_body",
        ),
    ] {
        let request = body(ask("POST", "/reports"), content_type, "{}");
        assert_eq!(house.word(request).await, word, "{content_type}");
    }
    let twice = header(
        body(ask("POST", "/reports"), "application/json", "{}"),
        "content-type",
        "text/plain",
    );
    assert_eq!(house.word(twice).await, "bad_request");
}

#[tokio::test]
async fn a_route_without_a_body_rule_reads_none() {
    let house = House::open().await;
    let request = body(ask("PUT", "/documents/1"), "application/json", "{not json");
    assert_eq!(house.word(request).await, "allow");
}

#[tokio::test]
async fn injected_values_can_not_be_read_as_two() {
    // E32: a SPIFFE ID holds none of the characters that separate.
    let house = House::open().await;
    let answer = house.check(ask("GET", "/documents/1")).await;
    for (name, value) in &answer.headers {
        assert!(
            !value.contains([',', ';', '=', '"', ' ']),
            "{name}: {value}"
        );
    }
    let odd = crate::harness::principal(ask("GET", "/documents/1"), &format!("{REPORTING};x=1"));
    assert_eq!(house.word(odd).await, "invalid_identity");
}
