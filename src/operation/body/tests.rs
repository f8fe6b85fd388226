use super::*;

fn body(bytes: &[u8]) -> Body<'_> {
    Body {
        content_type: Some("application/json"),
        content_length: None,
        size: -1,
        partial: false,
        bytes,
    }
}

fn read(body: Body<'_>) -> Result<Value, BodyProblem> {
    BodyRule::Json.read(&body).map(Option::unwrap)
}

fn json(bytes: &[u8]) -> Result<Value, BodyProblem> {
    read(body(bytes))
}

fn typed(content_type: &str) -> Result<Value, BodyProblem> {
    read(Body {
        content_type: Some(content_type),
        ..body(b"{}")
    })
}

#[test]
fn a_route_that_declares_no_body_reads_none() {
    let broken = Body {
        partial: true,
        ..body(b"{")
    };
    assert!(BodyRule::None.read(&broken).unwrap().is_none());
}

#[test]
fn every_kind_of_value_arrives_as_serde_json_reads_it() {
    let text =
        r#" {"a":[null,true,-1,18446744073709551615,1.5e3,"x\u0022\ud83d\ude00é",{}],"":[]} "#;
    let wanted: Value = serde_json::from_str(text).unwrap();
    assert_eq!(json(text.as_bytes()).unwrap(), wanted);
    assert_eq!(json(b"7").unwrap(), Value::from(7));
}

#[test]
fn a_body_that_is_not_there_is_refused() {
    // E35
    assert!(matches!(json(b""), Err(BodyProblem::Missing)));
    let empty = Body {
        content_length: Some("0"),
        size: 0,
        ..body(b"")
    };
    assert!(matches!(read(empty), Err(BodyProblem::Missing)));
    assert!(matches!(json(b" \n"), Err(BodyProblem::Json(_))));
}

#[test]
fn a_body_that_is_cut_off_is_refused_though_it_reads_as_json() {
    // E36
    let partial = Body {
        partial: true,
        ..body(b"{}")
    };
    assert!(matches!(read(partial), Err(BodyProblem::Truncated)));
    let kept_back = Body {
        partial: true,
        ..body(b"")
    };
    assert!(matches!(read(kept_back), Err(BodyProblem::Truncated)));
    // E37
    let declared = Body {
        content_length: Some("3"),
        ..body(b"{}")
    };
    assert!(matches!(read(declared), Err(BodyProblem::Truncated)));
    for size in [3, i64::MAX] {
        let sized = Body {
            size,
            ..body(b"{}")
        };
        assert!(matches!(read(sized), Err(BodyProblem::Truncated)));
    }
    let not_sent = Body {
        content_length: Some("2"),
        ..body(b"")
    };
    assert!(matches!(read(not_sent), Err(BodyProblem::Truncated)));
}

#[test]
fn lengths_that_agree_or_are_unknown_are_accepted() {
    for (content_length, size) in [
        (Some("2"), 2),
        (None, 2),
        (None, -1),
        (Some("2"), 0),
        (Some("02"), -1),
    ] {
        let given = Body {
            content_length,
            size,
            ..body(b"{}")
        };
        assert!(read(given).is_ok(), "{given:?}");
    }
}

#[test]
fn a_content_length_that_contradicts_the_body_is_refused() {
    for length in [
        "1",
        "",
        "+2",
        "-1",
        "2, 2",
        "0x2",
        "two",
        "99999999999999999999999",
    ] {
        let given = Body {
            content_length: Some(length),
            ..body(b"{}")
        };
        assert!(
            matches!(read(given), Err(BodyProblem::ContentLength)),
            "{length}"
        );
    }
}

#[test]
fn what_is_not_json_is_refused() {
    // E38
    for bad in [
        b"{".as_slice(),
        b"{}x",
        b"{} {}",
        b"{'a':1}",
        b"{\"a\":1,}",
        b"NaN",
        b"1e999",
        b"01",
        b"\"\xff\"",
        b"{\"\xc0\xaf\":1}",
        b"\"\\ud800\"",
        b"\xef\xbb\xbf{}",
        b"\"a\nb\"",
        b"// x\n{}",
    ] {
        assert!(matches!(json(bad), Err(BodyProblem::Json(_))), "{bad:?}");
    }
}

#[test]
fn depth_is_bounded_without_growing_the_stack() {
    // E38
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(json(&nested(127)).is_ok());
    assert!(matches!(json(&nested(128)), Err(BodyProblem::Json(_))));
    assert!(matches!(json(&nested(10_000)), Err(BodyProblem::Json(_))));
    let objects = "{\"a\":".repeat(10_000);
    assert!(matches!(
        json(objects.as_bytes()),
        Err(BodyProblem::Json(_))
    ));
}

#[test]
fn size_is_bounded() {
    // E38
    let quoted = |length: usize| format!("\"{}\"", "a".repeat(length - 2)).into_bytes();
    assert!(json(&quoted(MAX_BYTES)).is_ok());
    assert!(matches!(
        json(&quoted(MAX_BYTES + 1)),
        Err(BodyProblem::TooLarge)
    ));
}

#[test]
fn two_members_of_one_name_are_refused_at_every_depth_and_in_every_spelling() {
    for bad in [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"\u0061":3}"#,
        r#"[{"x":{"a":1,"a":2}}]"#,
        r#"{"amount":1,"Amount":100000}"#,
    ] {
        assert!(
            matches!(json(bad.as_bytes()), Err(BodyProblem::Json(_))),
            "{bad}"
        );
    }
    assert!(json(br#"[{"a":1},{"a":{"a":2}},{"A":1,"b":2}]"#).is_ok());
}

#[test]
fn a_number_that_would_be_rounded_is_refused() {
    for bad in [
        "100.0000000000000000001",
        "[1, 18446744073709551616]",
        r#"{"a": -9223372036854775809}"#,
        "0.1234567890123456",
        "1e-400",
    ] {
        assert!(
            matches!(json(bad.as_bytes()), Err(BodyProblem::InexactNumber)),
            "{bad}"
        );
    }
    for good in [
        "0.1",
        "-12.50",
        "1e10",
        "0.0",
        "-0.0",
        "18446744073709551615",
        "-9223372036854775808",
        "123456789012.345",
        r#"{"text": "100.0000000000000000001 \" 1.0000000000000000001"}"#,
    ] {
        assert!(json(good.as_bytes()).is_ok(), "{good}");
    }
}

#[test]
fn json_in_utf_8_is_accepted_under_its_listed_names() {
    // E39
    for accepted in [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; Charset=\"utf-8\"",
        "application/vnd.api+json",
        "application/problem+json;charset=utf-8",
    ] {
        assert!(typed(accepted).is_ok(), "{accepted}");
    }
}

#[test]
fn every_other_content_type_is_refused() {
    // E39, E40
    for refused in [
        "",
        "application/json;charset=utf-16",
        "application/json;charset=utf-8;charset=utf-16",
        "application/json;charset=\"utf-8",
        "application/json;",
        "application/json;profile=x",
        "application/json,application/json",
        "application/json, text/plain",
        "application/+json",
        "application/a b+json",
        "application/x,y+json",
        "application/jsonx",
        "application/json5",
        "application/x-ndjson",
        "text/json",
        "text/plain",
        "json",
        "application/x-www-form-urlencoded",
        "application/grpc",
        "multipart/form-data",
        "multipart/form-data; boundary=a; boundary=b",
    ] {
        assert!(
            matches!(typed(refused), Err(BodyProblem::ContentType)),
            "{refused}"
        );
    }
    let untyped = Body {
        content_type: None,
        ..body(b"{}")
    };
    assert!(matches!(read(untyped), Err(BodyProblem::ContentType)));
}

fn parsed(content_type: &str, bytes: &str) -> Result<ParsedBody, BodyProblem> {
    let body = Body {
        content_type: Some(content_type),
        content_length: None,
        size: -1,
        partial: false,
        bytes: bytes.as_bytes(),
    };
    body.parsed()
}

#[test]
fn a_body_of_a_type_that_says_how_is_read() {
    for (kind, text, value) in [
        (
            "application/json",
            r#"{"a": 1}"#,
            serde_json::json!({"a": 1}),
        ),
        (
            "Application/JSON; charset=UTF-8",
            "[]",
            serde_json::json!([]),
        ),
        (
            "application/x-www-form-urlencoded",
            "a=1&a=2&b=%20",
            serde_json::json!({"a": ["1", "2"], "b": [" "]}),
        ),
    ] {
        assert_eq!(parsed(kind, text).unwrap(), ParsedBody::Value(value));
    }
    for (kind, text) in [
        ("text/plain", "a=1"),
        ("multipart/form-data; boundary=x", "--x"),
        ("application/grpc", "\0\0\0\0\0"),
        ("application/json", ""),
    ] {
        assert_eq!(parsed(kind, text).unwrap(), ParsedBody::Unread, "{kind}");
    }
}

#[test]
fn a_body_that_can_be_read_in_more_than_one_way_is_not_read_at_all() {
    for (kind, text) in [
        ("application/json", r#"{"a": 1, "a": 2}"#),
        ("application/json", "{"),
        ("application/json; charset=latin1", "{}"),
        ("application/x-www-form-urlencoded", "a=1;b=2"),
        ("application/x-www-form-urlencoded", "a=%"),
    ] {
        assert!(parsed(kind, text).is_err(), "{kind} {text}");
    }
}

/// E36, E37.
#[test]
fn a_body_that_is_cut_off_is_known_as_such() {
    for (partial, length, size) in [(true, None, -1), (false, Some("3"), -1), (false, None, 3)] {
        let body = Body {
            content_type: Some("application/json"),
            content_length: length,
            size,
            partial,
            bytes: b"{}",
        };
        assert_eq!(body.parsed().unwrap(), ParsedBody::Truncated);
    }
    let contradicts = Body {
        content_type: Some("application/json"),
        content_length: Some("1"),
        size: -1,
        partial: false,
        bytes: b"{}",
    };
    assert!(contradicts.parsed().is_err());
}
