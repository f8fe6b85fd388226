//! Paths, hosts and methods: no spelling reaches a resource that another spelling would not.

use crate::harness::message::{header, http};
use crate::harness::{House, ask};

#[tokio::test]
async fn the_query_is_no_part_of_the_path() {
    // E12
    let house = House::open().await;
    for path in [
        "/documents/42?x=1",
        "/documents/42?",
        "/documents/42?a=/../admin",
        "/documents/42?x=%00%2f%zz//",
    ] {
        let answer = house.check(ask("GET", path)).await;
        assert!(answer.is_allowed(), "{path}");
        let record = house.record_of(&answer).await;
        assert_eq!(record["http"]["path"], "/documents/42", "{path}");
        assert_eq!(record["resource"], "documents/42");
    }
}

#[tokio::test]
async fn a_path_that_a_service_could_read_otherwise_is_refused() {
    let house = House::open().await;
    for path in [
        // E13
        "/documents/42#f",
        "/documents/42?x#f",
        "/documents/42?x=1#/admin",
        // E14
        "//admin",
        "/documents//admin",
        "///",
        "//",
        // E15
        "/documents/../admin",
        "/documents/./admin",
        "/documents/%2e%2e/admin",
        "/documents/%2E./admin",
        "/documents/..",
        "/..;/admin",
        // E16
        "/documents%2fadmin",
        "/documents%2Fadmin",
        "/documents%5cadmin",
        "/documents\\admin",
        // E19
        "/documents/%c0%af",
        "/%c0%ae%c0%ae/admin",
        // E20
        "/admin%00",
        "/admin%0a",
        "/admin\u{0}",
        "/admin\n",
        "/admin\u{7f}",
        "/admin ",
        "/admin\u{e9}",
        // E21
        "/admin%",
        "/admin%z",
        "/admin%zz",
        // E23: CONNECT without a path, and OPTIONS *
        "",
        "*",
        "api.example.org:443",
        // E24: the target as it came, which Envoy never sends on
        "http://evil.example/admin",
        "admin",
    ] {
        let answer = house.check(ask("GET", path)).await;
        assert_eq!(answer.word(), "ambiguous_path", "{path:?}");
        assert_eq!(answer.http_status(), Some(403));
    }
    for method in ["CONNECT", "OPTIONS"] {
        assert_eq!(house.word(ask(method, "")).await, "ambiguous_path");
        assert_eq!(house.word(ask(method, "*")).await, "ambiguous_path");
        assert_eq!(
            house.word(ask(method, "/documents/1")).await,
            "route_unmatched"
        );
    }
}

#[tokio::test]
async fn escapes_of_plain_characters_are_decoded_once() {
    // E17, E18
    let house = House::open().await;
    let answer = house.check(ask("GET", "/%61dmin")).await;
    assert_eq!(house.record_of(&answer).await["http"]["path"], "/admin");
    let answer = house.check(ask("GET", "/documents/%4A%4a")).await;
    assert_eq!(house.record_of(&answer).await["resource"], "documents/JJ");

    let answer = house.check(ask("GET", "/%252e%252e/admin")).await;
    assert_eq!(answer.word(), "route_unmatched");
    let record = house.record_of(&answer).await;
    assert_eq!(record["http"]["path"], "/%252e%252e/admin");
    assert_eq!(
        house.word(ask("GET", "/%25%32%66")).await,
        "route_unmatched"
    );
}

#[tokio::test]
async fn every_escape_after_a_literal_is_another_path_or_refused() {
    // E22: none of the 255 reaches what `/admin` does.
    let house = House::open().await;
    for byte in 1_u8..=255 {
        let path = format!("/admin%{byte:02x}");
        let answer = house.check(ask("GET", &path)).await;
        let expected = match byte {
            b'/' | b'\\' | 0..=0x1f | 0x7f.. => "ambiguous_path",
            _ => "route_unmatched",
        };
        assert_eq!(answer.word(), expected, "{path}");
    }
}

#[tokio::test]
async fn one_host_has_one_spelling() {
    // E24, E25
    let house = House::open().await;
    for (host, word) in [
        ("h.example", "allow"),
        ("H.Example", "allow"),
        ("h.example:80", "allow"),
        ("h.example.", "allow"),
        ("evil.example", "route_unmatched"),
        ("h.example.evil", "route_unmatched"),
        ("h.example@evil", "bad_request"),
        ("", "bad_request"),
    ] {
        let mut request = ask("GET", "/hosted");
        http(&mut request).host = host.to_owned();
        // The header says something else: what Envoy routes on is what counts.
        let request = header(request, "host", "h.example");
        let answer = house.check(request).await;
        assert_eq!(answer.word(), word, "{host:?}");
        if word == "allow" {
            let record = house.record_of(&answer).await;
            assert_eq!(record["http"]["host"], "h.example", "{host}");
        }
    }
}

#[tokio::test]
async fn methods_are_matched_letter_by_letter() {
    // E26
    let house = House::open().await;
    for method in ["get", "Get", "FOO", "", "GET ", "PROPFIND", "TRACE"] {
        let answer = house.check(ask(method, "/documents/1")).await;
        assert_eq!(answer.word(), "route_unmatched", "{method:?}");
    }
}

#[tokio::test]
async fn headers_that_name_another_path_or_method_are_ignored() {
    // E27, E28
    let house = House::open().await;
    let mut request = ask("GET", "/unheard-of");
    for (name, value) in [
        ("x-envoy-original-path", "/documents/1"),
        ("x-original-url", "/documents/1"),
        ("x-rewrite-url", "/documents/1"),
        ("x-forwarded-uri", "/documents/1"),
        ("x-forwarded-host", "h.example"),
        (":path", "/documents/1"),
    ] {
        request = header(request, name, value);
    }
    assert_eq!(house.word(request).await, "route_unmatched");

    let mut request = ask("GET", "/documents/1");
    for (name, value) in [
        ("x-http-method-override", "DELETE"),
        ("x-method-override", "DELETE"),
        ("x-forwarded-proto", "hTTp"),
        (":method", "DELETE"),
    ] {
        request = header(request, name, value);
    }
    let answer = house.check(request).await;
    assert_eq!(house.record_of(&answer).await["action"], "read");
}

#[tokio::test]
async fn a_captured_value_is_one_plain_segment() {
    let house = House::open().await;
    for id in ["a%2Cb%3Ac", "a:b", "a@b", "*", "**", "a;b", "a%3Bb", "%20"] {
        let answer = house.check(ask("GET", &format!("/documents/{id}"))).await;
        assert!(!answer.is_allowed(), "{id}");
        assert_eq!(answer.word(), "invalid_capture", "{id}");
    }
}
