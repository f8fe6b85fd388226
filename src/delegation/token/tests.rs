use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock::Timestamp;
use crate::delegation::{Agent, Authentication, Chain, GrantId, TokenId};
use crate::permission::PermissionSet;

/// 2026-09-21.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_seconds(1_790_000_000);

/// The token of `depth` agents one after the other, with names as long as they are in the field.
pub(crate) fn claims(depth: usize, permissions: &[&str]) -> Claims {
    let agents = (0..depth).map(|hop| Agent {
        spiffe_id: format!("spiffe://prod.example.org/ns/agents/sa/scheduling-agent-{hop}")
            .parse()
            .unwrap(),
        agent_id: format!("scheduling-agent-00{hop}").parse().unwrap(),
        agent_type: "scheduling".parse().unwrap(),
    });
    let chain = Chain {
        person: "usr-alice-001".parse().unwrap(),
        agents: agents.collect(),
    };
    let lease = (depth > 0).then(|| Lease {
        tasks: (0..depth)
            .map(|hop| format!("task-abc-sub{hop}").parse().unwrap())
            .collect(),
        grants: (0..depth as u128).map(GrantId::from_random).collect(),
        parent: Some(TokenId::from_random(1)),
        root: Some(TokenId::from_random(1)),
    });
    Claims {
        issuer: "https://authz.example.org".parse().unwrap(),
        chain,
        client: "spiffe://prod.example.org/ns/gateway/sa/gateway"
            .parse()
            .unwrap(),
        audience: "spiffe://prod.example.org/ns/documents/sa/documents"
            .parse()
            .unwrap(),
        redelegable: false,
        permissions: set(permissions),
        lease,
        session: "ses_01M2N3P4Q5R6S7T8V9W0X1Y2Z3".parse().unwrap(),
        id: TokenId::from_random(2),
        issued: NOW,
        expires: NOW.plus(Duration::from_secs(300)),
        authentication: Authentication {
            time: Timestamp::from_unix_seconds(1_789_999_000),
            methods: vec!["pwd".to_owned()],
            class: None,
        },
        confirmation: Confirmation {
            key: Some(Thumbprint::new([7; 32])),
            certificate: None,
        },
    }
}

fn set(permissions: &[&str]) -> PermissionSet {
    permissions.iter().map(|it| it.parse().unwrap()).collect()
}

fn json(claims: &Claims) -> Value {
    serde_json::from_slice(&claims.encode().unwrap()).unwrap()
}

/// What is said of the claims of a chain of two after `change`.
fn refusal(change: impl FnOnce(&mut Value)) -> String {
    let mut value = json(&claims(2, &["documents/**:read"]));
    change(&mut value);
    let error = Claims::parse(value.to_string().as_bytes()).unwrap_err();
    crate::text::sentence(&error)
}

/// The same for a payload that is changed as text.
fn refused_text(from: &str, to: &str) -> String {
    let text = String::from_utf8(claims(2, &["documents:read"]).encode().unwrap()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    let error = Claims::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err();
    crate::text::sentence(&error)
}

#[test]
fn claims_are_written_as_the_documents_say() {
    let mut sub_agent = claims(2, &["documents:read", "documents/**:delete@supervised"]);
    sub_agent.redelegable = true;
    let written = json(&sub_agent);
    assert_eq!(written["iss"], "https://authz.example.org");
    assert_eq!(
        (&written["sub"], &written["sub_profile"]),
        (&json!("usr-alice-001"), &json!("user"))
    );
    // The outermost actor is the one who acts (RFC 8693 section 4.1).
    assert_eq!(written["act"]["agent_id"], "scheduling-agent-001");
    assert_eq!(written["act"]["act"]["agent_id"], "scheduling-agent-000");
    assert_eq!(written["act"]["act"]["act"], Value::Null);
    assert_eq!(
        written["aud"],
        json!([
            "spiffe://prod.example.org/ns/documents/sa/documents",
            "https://authz.example.org"
        ])
    );
    assert_eq!(written["scope"], "documents:read");
    let urn = "urn:attache:permission";
    assert_eq!(
        written["authorization_details"],
        json!([
            {"type": urn, "resources": ["documents"], "actions": ["read"], "tier": "free"},
            {"type": urn, "resources": ["documents/**"], "actions": ["delete"], "tier": "supervised"},
        ])
    );
    assert_eq!(
        written["task"],
        json!({"id": "task-abc-sub1", "path": ["task-abc-sub0", "task-abc-sub1"]})
    );
    assert_eq!(written["grant"]["depth"], 2);
    assert_eq!(written["exp"], 1_790_000_300);
    assert_eq!(written["amr"], json!(["pwd"]));
    assert_eq!(
        written["cnf"],
        json!({"jkt": Thumbprint::new([7; 32]).to_string()})
    );
}

#[test]
fn claims_written_read_and_written_are_the_same_bytes() {
    // D32
    let set = [
        "documents/**:read",
        "**:create@supervised",
        "a/*/c:*@forbidden",
    ];
    for depth in 0..=MAX_DEPTH {
        let before = claims(depth, &set);
        let bytes = before.encode().unwrap();
        let after = Claims::parse(&bytes).unwrap();
        assert_eq!(after, before);
        assert_eq!(after.encode().unwrap(), bytes);
    }
}

#[test]
fn a_person_s_own_token_has_no_actor_task_or_grant() {
    let written = json(&claims(0, &["documents:read"]));
    for member in ["act", "agent_type", "task", "grant"] {
        assert_eq!(written.get(member), None, "{member}");
    }
    let mut orphan = claims(1, &["documents:read"]);
    orphan.lease = None;
    assert!(matches!(
        orphan.encode(),
        Err(ClaimsError::Contradiction("act without a grant"))
    ));
    let mut leased = claims(0, &["documents:read"]);
    leased.lease = claims(1, &["documents:read"]).lease;
    assert!(matches!(
        leased.encode(),
        Err(ClaimsError::Contradiction("grant.path and act"))
    ));
}

#[test]
fn scope_names_only_what_is_free_and_without_wildcards() {
    let mixed = claims(
        1,
        &[
            "documents:read",
            "documents/*:update",
            "users:*",
            "users:delete@supervised",
            "billing:update@forbidden",
        ],
    );
    assert_eq!(json(&mixed)["scope"], "documents:read");
    assert_eq!(json(&claims(1, &["documents/**:read"])).get("scope"), None);
    // A stricter wildcard takes a word out of it.
    let shadowed = claims(1, &["documents:read", "**:read@supervised"]);
    assert_eq!(json(&shadowed).get("scope"), None);
    let more = refused_text(
        r#""scope":"documents:read""#,
        r#""scope":"documents:delete""#,
    );
    assert!(more.contains("scope and authorization_details"), "{more}");
}

#[test]
fn permissions_of_one_tier_and_the_same_actions_share_an_object() {
    let grouped = claims(
        1,
        &["a:read", "b:read", "b:update", "c:update", "c:read", "d:*"],
    );
    let details = json(&grouped)["authorization_details"].clone();
    let resources: Vec<_> = details
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["resources"].clone())
        .collect();
    assert_eq!(resources, [json!(["d"]), json!(["a"]), json!(["b", "c"])]);
}

#[test]
fn an_unknown_member_is_refused_at_every_level() {
    // D32, C17
    for at in [
        "",
        "/act",
        "/act/act",
        "/task",
        "/grant",
        "/cnf",
        "/authorization_details/0",
    ] {
        let said = refusal(|value| value.pointer_mut(at).unwrap()["may_act"] = json!({}));
        assert!(said.contains("unknown field `may_act`"), "{at}: {said}");
    }
    // T10: there is no `nbf` in a token of ours.
    assert!(refusal(|value| value["nbf"] = json!(1)).contains("unknown field `nbf`"));
}

#[test]
fn a_member_that_is_there_twice_is_refused_at_every_level() {
    // T07
    for (from, to) in [
        (r#""exp":"#, r#""exp":1790000100,"exp":"#),
        (r#""sub":"usr"#, r#""sub":"usr-bob-002","sub":"usr"#),
        (r#""sub":"usr"#, r#""\u0073ub":"usr-bob-002","sub":"usr"#),
        (r#""depth":"#, r#""depth":2,"depth":"#),
        (r#""tier":"#, r#""tier":"free","tier":"#),
        (r#""agent_id":"#, r#""agent_id":"x","agent_id":"#),
    ] {
        let said = refused_text(from, to);
        assert!(said.contains("duplicate field"), "{to}: {said}");
    }
}

#[test]
fn a_date_is_a_whole_number_in_range_or_the_token_is_refused() {
    // T08
    for member in ["iat", "exp", "auth_time"] {
        for odd in [
            json!("1790000000"),
            json!(1_790_000_000.5),
            json!(-1),
            json!(1_u64 << 63),
            json!(16_725_225_600_u64),
            json!(null),
            json!([1_790_000_000]),
            json!({}),
            json!(true),
        ] {
            let said = refusal(|value| value[member] = odd.clone());
            assert!(
                said.starts_with("the claims are not ours"),
                "{member} {odd}: {said}"
            );
        }
    }
    for odd in ["1e999", "1.79e9", "1790000300.0", "01790000300", "-0"] {
        let said = refused_text(r#""exp":1790000300"#, &format!(r#""exp":{odd}"#));
        assert!(said.starts_with("the claims are not ours"), "{odd}: {said}");
    }
}

#[test]
fn a_missing_claim_refuses_the_token() {
    // T09, T11: no end, no audience, no issuer.
    let whole = json(&claims(2, &["documents/**:read"]));
    for member in whole.as_object().unwrap().keys() {
        // These may be absent by themselves.
        if matches!(&**member, "amr" | "cnf") {
            continue;
        }
        let said = refusal(|value| drop(value.as_object_mut().unwrap().remove(member)));
        assert!(!said.contains("not spelled"), "{member}: {said}");
    }
}

#[test]
fn null_is_not_absence() {
    for member in [
        "act",
        "agent_type",
        "scope",
        "task",
        "grant",
        "amr",
        "acr",
        "cnf",
    ] {
        let said = refusal(|value| value[member] = Value::Null);
        assert!(
            said.starts_with("the claims are not ours"),
            "{member}: {said}"
        );
    }
}

#[test]
fn an_array_or_a_string_is_no_object() {
    for member in ["act", "task", "grant", "cnf"] {
        for odd in [json!("x"), json!(["x"]), json!([]), json!(1)] {
            let said = refusal(|value| value[member] = odd.clone());
            assert!(
                said.contains("expected an object"),
                "{member} {odd}: {said}"
            );
        }
    }
    for payload in ["[]", "null", "\"x\"", "", "{", "{}{}", "\u{feff}{}"] {
        assert!(Claims::parse(payload.as_bytes()).is_err(), "{payload}");
    }
}

#[test]
fn there_is_one_service_alone_or_with_the_issuer() {
    // T11
    let service = "spiffe://prod.example.org/ns/documents/sa/documents";
    for odd in [
        json!([]),
        json!([service, service]),
        json!([service, "spiffe://prod.example.org/other"]),
        json!(["https://authz.example.org", service]),
        json!(["https://authz.example.org"]),
        json!([
            service,
            "https://authz.example.org",
            "https://authz.example.org"
        ]),
    ] {
        let said = refusal(|value| value["aud"] = odd.clone());
        assert!(
            said.starts_with("`aud` is not one service"),
            "{odd}: {said}"
        );
    }
    assert!(refusal(|value| value["aud"] = json!("*")).starts_with("the claims are not ours"));
    assert!(refusal(|value| value["aud"] = json!(["*"])).starts_with("the claims are not ours"));
}

#[test]
fn claims_that_contradict_each_other_are_refused() {
    for (at, odd) in [
        ("/act/iss", json!("https://other.example")),
        ("/act/act/iss", json!("https://other.example")),
        ("/agent_type", json!("admin")),
        ("/task/id", json!("task-other")),
        ("/grant/depth", json!(1)),
        ("/grant/path", json!(["grt_1"])),
        ("/grant/path", json!(["grt_1", "grt_1"])),
        ("/task/path", json!(["task-abc-sub1", "task-abc-sub1"])),
        ("/exp", json!(1_790_000_000)),
        ("/exp", json!(1_790_000_301)),
        ("/auth_time", json!(1_790_000_001)),
    ] {
        let said = refusal(|value| *value.pointer_mut(at).unwrap() = odd.clone());
        assert!(said.starts_with("claims contradict"), "{at} {odd}: {said}");
    }
    let stripped = refusal(|value| drop(value.as_object_mut().unwrap().remove("act")));
    assert!(stripped.contains("agent_type and act"), "{stripped}");
}

#[test]
fn words_are_ours_and_spelled_as_ours() {
    for (at, odd) in [
        ("/sub_profile", "service"),
        ("/act/sub_profile", "user"),
        ("/authorization_details/0/type", "payment_initiation"),
        ("/authorization_details/0/tier", "absent"),
        ("/authorization_details/0/tier", "FREE"),
        ("/amr/0", "a b"),
    ] {
        let said = refusal(|value| *value.pointer_mut(at).unwrap() = json!(odd));
        assert!(said.contains("is not a word of ours"), "{at} {odd}: {said}");
    }
    for odd in ["usr\u{0}", "usr\u{202e}", "spiffe://example.org/a", ""] {
        assert!(refusal(|value| value["sub"] = json!(odd)).starts_with("the claims are not ours"));
    }
    let id = "/act/sub";
    for odd in [
        "spiffe://Prod.example.org/a",
        "spiffe://example.org/a/",
        "usr-alice-001",
    ] {
        let said = refusal(|value| *value.pointer_mut(id).unwrap() = json!(odd));
        assert!(said.starts_with("the claims are not ours"), "{odd}: {said}");
    }
}

#[test]
fn what_is_spelled_otherwise_is_refused() {
    for (from, to) in [
        // For people who write configuration, not for tokens.
        ("\"tier\":\"free\"", "\"tier\":\"direct\""),
        ("{\"iss\"", "{ \"iss\""),
        ("https://authz", "https:\\/\\/authz"),
        ("\"usr-", "\"\\u0075sr-"),
    ] {
        let said = refused_text(from, to);
        assert!(said.contains("not spelled"), "{to}: {said}");
    }
}

#[test]
fn a_bomb_of_actors_is_refused_before_anything_recurses() {
    // D13
    let mut bomb = "{\"act\":".repeat(100_000);
    bomb.push_str(&"}".repeat(100_000));
    assert!(matches!(
        Claims::parse(bomb.as_bytes()),
        Err(ClaimsError::TooDeep)
    ));
    let mut nine = json(&claims(MAX_DEPTH, &["a:read"]));
    nine["act"] = json!({"act": nine["act"]});
    assert!(matches!(
        Claims::parse(nine.to_string().as_bytes()),
        Err(ClaimsError::TooDeep)
    ));
    assert!(matches!(
        claims(MAX_DEPTH + 1, &["a:read"]).encode(),
        Err(ClaimsError::TooDeep)
    ));
    // Brackets in strings are not nesting.
    assert_eq!(json::nesting(br#"{"a":"\"[[[[[\\"}"#), 1);
}

#[test]
fn nothing_is_written_that_permits_nothing() {
    assert!(matches!(
        claims(1, &[]).encode(),
        Err(ClaimsError::NoPermissions)
    ));
    let said = refusal(|value| value["authorization_details"] = json!([]));
    assert_eq!(said, "the token would permit nothing");
    let said = refusal(|value| value["authorization_details"][0]["actions"] = json!([]));
    assert_eq!(said, "the token would permit nothing");
}

#[test]
fn caps_are_kept_in_writing_and_in_reading() {
    let many = |count: usize, word: fn(usize) -> String| {
        let words: Vec<_> = (0..count).map(word).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        claims(1, &words)
            .encode()
            .map_err(|error| error.to_string())
    };
    let patterns = |it| format!("r{it}:read");
    assert!(many(MAX_PATTERNS, patterns).is_ok());
    assert_eq!(
        many(MAX_PATTERNS + 1, patterns).unwrap_err(),
        "more resource patterns than 64: ask for less, or for several tokens"
    );
    let objects = |it| format!("r{it}:a{it}");
    assert!(many(MAX_DETAILS, objects).is_ok());
    assert!(
        many(MAX_DETAILS + 1, objects)
            .unwrap_err()
            .contains("permission objects")
    );
    let actions = |it| format!("r:a{it}");
    assert!(many(MAX_ACTIONS, actions).is_ok());
    assert!(
        many(MAX_ACTIONS + 1, actions)
            .unwrap_err()
            .contains("actions")
    );

    let said = refusal(|value| {
        let detail = value["authorization_details"][0].clone();
        value["authorization_details"] = vec![detail; MAX_DETAILS + 1].into();
    });
    assert!(said.contains("permission objects"), "{said}");
}

#[test]
fn the_biggest_part_of_a_token_that_is_too_big_is_named() {
    let long = |it| format!("{}{it}/**:read", "long-resource-name/".repeat(6));
    let words: Vec<_> = (0..MAX_PATTERNS).map(long).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let error = claims(1, &words).encode().unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ClaimsError::TooLarge { .. }), "{said}");
    assert!(
        said.ends_with("most of it is `authorization_details`"),
        "{said}"
    );

    let mut deep = claims(MAX_DEPTH, &["a:read"]);
    for agent in &mut deep.chain.agents {
        let id = format!("spiffe://example.org/{}", "a".repeat(1000));
        agent.spiffe_id = id.parse().unwrap();
    }
    let said = deep.encode().unwrap_err().to_string();
    assert!(said.ends_with("most of it is `act`"), "{said}");
}

#[test]
fn ordinary_chains_keep_to_the_target() {
    for (objects, depth) in [(1, 8), (4, 6), (8, 4)] {
        let words: Vec<_> = (0..objects)
            .map(|it| format!("documents{it}/**:a{it}"))
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let payload = claims(depth, &words).encode().unwrap();
        let bytes = claims::compact_bytes(payload.len());
        assert!(
            bytes <= TARGET_BYTES,
            "{objects} objects, depth {depth}: {bytes}"
        );
    }
}

#[test]
fn the_sizes_in_the_documents_are_these() {
    let documents = include_str!("../../../docs/tokens.md");
    for objects in [1, 4, 8, 16] {
        let words: Vec<_> = (0..objects)
            .map(|it| format!("documents{it}/**:a{it}"))
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let size = |depth| {
            let payload = claims(depth, &words).encode().unwrap();
            claims::compact_bytes(payload.len()).to_string()
        };
        let sizes = [0, 1, 2, 4, 8].map(size);
        let row = format!("| {objects} | {} |", sizes.join(" | "));
        assert!(documents.contains(&row), "{row}");
    }
}

// === The compact form ===

const KID: Thumbprint = Thumbprint::new([9; 32]);

fn compact(header: &str) -> String {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let payload = encode(b"{}");
    format!(
        "{}.{payload}.{}",
        encode(header.as_bytes()),
        encode(&[1; 64])
    )
}

fn header(change: impl FnOnce(&mut Value)) -> String {
    let mut header = json!({"alg": "Ed25519", "typ": "at+jwt", "kid": KID});
    change(&mut header);
    compact(&header.to_string())
}

#[test]
fn a_text_of_the_right_form_is_read() {
    for alg in [Alg::Ed25519, Alg::EdDsa, Alg::Es256] {
        let text = Compact::assemble(Compact::to_be_signed(alg, KID, b"{}"), &[1; 64]);
        let read = Compact::parse(&text).unwrap();
        assert_eq!((read.alg, read.kid), (alg, KID));
        assert_eq!(read.payload().unwrap(), b"{}");
        assert_eq!(read.signature, [1; 64]);
        if alg == Alg::Ed25519 {
            assert_eq!(text.len(), claims::compact_bytes(2));
        }
    }
}

#[test]
fn no_other_algorithm_has_a_name() {
    // T01 to T03
    for alg in [
        "none",
        "None",
        "nOnE",
        "",
        "HS256",
        "HS512",
        "RS256",
        "PS256",
        "ES384",
        "ES256K",
        "Ed448",
        "eddsa",
        "ed25519",
        "ES256 ",
        "dir",
        "PBES2-HS256+A128KW",
    ] {
        let text = header(|header| header["alg"] = json!(alg));
        assert_eq!(Compact::parse(&text), Err(FormError::Algorithm), "{alg}");
    }
    for odd in [
        json!(null),
        json!(["Ed25519"]),
        json!(1),
        json!({"Ed25519": null}),
    ] {
        let text = header(|header| header["alg"] = odd.clone());
        assert!(
            matches!(Compact::parse(&text), Err(FormError::Header(_))),
            "{odd}"
        );
    }
}

#[test]
fn a_header_has_three_members() {
    // T04, T06
    for (member, value) in [
        ("jwk", json!("x")),
        ("jku", json!("https://attacker.example/keys")),
        ("x5u", json!("https://attacker.example/keys")),
        ("x5c", json!("x")),
        ("x5t", json!("x")),
        ("crit", json!("exp")),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("p2c", json!(1_000_000_000)),
        ("enc", json!("A128GCM")),
    ] {
        let text = header(|header| header[member] = value.clone());
        let Err(FormError::Header(said)) = Compact::parse(&text) else {
            panic!("{member}");
        };
        assert!(said.contains("unknown field"), "{said}");
    }
    for member in ["crit", "jwk", "x5c"] {
        let text = header(|header| header[member] = json!([{"a": []}]));
        assert!(
            matches!(Compact::parse(&text), Err(FormError::Header(_))),
            "{member}"
        );
    }
    for member in ["alg", "typ", "kid"] {
        let text = header(|header| drop(header.as_object_mut().unwrap().remove(member)));
        assert!(
            matches!(Compact::parse(&text), Err(FormError::Header(_))),
            "{member}"
        );
    }
    // T07
    let twice = format!(r#"{{"alg":"Ed25519","typ":"at+jwt","kid":"{KID}","\u0061lg":"none"}}"#);
    assert!(matches!(
        Compact::parse(&compact(&twice)),
        Err(FormError::Header(_))
    ));
    for odd in [
        "",
        "[]",
        "null",
        "[\"Ed25519\",\"at+jwt\",\"k\"]",
        "{}",
        "{}x",
    ] {
        assert!(
            matches!(Compact::parse(&compact(odd)), Err(FormError::Header(_))),
            "{odd}"
        );
    }
}

#[test]
fn only_our_own_type_is_a_token() {
    // T13
    for typ in [
        "JWT",
        "jwt",
        "at+JWT",
        "application/at+jwt",
        "dpop+jwt",
        "",
        "id_token",
    ] {
        let text = header(|header| header["typ"] = json!(typ));
        assert_eq!(Compact::parse(&text), Err(FormError::Type), "{typ}");
    }
}

#[test]
fn a_key_is_named_by_its_thumbprint_only() {
    // T05
    for kid in [
        "../../etc/passwd",
        "' OR 1=1",
        "",
        &"A".repeat(10 * 1024),
        "https://a",
    ] {
        let text = header(|header| header["kid"] = json!(kid));
        assert_eq!(Compact::parse(&text), Err(FormError::KeyId), "{kid:.40}");
    }
}

#[test]
fn base64url_has_one_spelling() {
    // T18
    let text = header(|_| ());
    let (header, rest) = text.split_once('.').unwrap();
    for odd in [
        format!("{header}=.{rest}"),
        format!(" {header}.{rest}"),
        format!("{header}\n.{rest}"),
        format!("{header}.{rest}=="),
        format!("{header}.{rest}\r\n"),
        format!("+{}", text.split_at(1).1),
        format!("/{}", text.split_at(1).1),
    ] {
        assert!(
            matches!(Compact::parse(&odd), Err(FormError::Base64(_))),
            "{odd}"
        );
    }
    // 64 bytes leave four bits of the last character over.
    assert!(text.ends_with('Q'));
    let odd = format!("{}R", text.strip_suffix('Q').unwrap());
    assert_eq!(Compact::parse(&odd), Err(FormError::Base64("signature")));
    let payload = text.replace(".e30.", ".e31.");
    let read = Compact::parse(&payload).unwrap();
    assert_eq!(read.payload(), Err(FormError::Base64("payload")));
}

#[test]
fn a_token_has_three_parts() {
    // T19
    for odd in ["", "a", "a.b", "a.b.c.d", "a.b.c.d.e", "....", "a.b.c."] {
        assert_eq!(Compact::parse(odd), Err(FormError::Parts), "{odd}");
    }
    let text = header(|_| ());
    assert_eq!(Compact::parse(&format!("{text}.")), Err(FormError::Parts));
    assert!(Compact::parse("..").is_err());
}

#[test]
fn a_signature_has_64_bytes() {
    // T14: DER has 70 to 72.
    use base64::Engine as _;
    let text = header(|_| ());
    let (signed, _) = text.rsplit_once('.').unwrap();
    for bytes in [0, 1, 63, 65, 71, 128] {
        let odd = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(vec![0; bytes]);
        let text = format!("{signed}.{odd}");
        assert_eq!(Compact::parse(&text), Err(FormError::Signature), "{bytes}");
    }
}

#[test]
fn a_long_text_is_refused_before_it_is_decoded() {
    // T20
    let long = "!".repeat(MAX_READ_BYTES);
    assert_eq!(Compact::parse(&long), Err(FormError::Parts));
    for bytes in [MAX_READ_BYTES + 1, 1024 * 1024] {
        let long = "!".repeat(bytes);
        assert_eq!(Compact::parse(&long), Err(FormError::Length(bytes)));
    }
}

#[test]
fn no_error_and_no_debug_output_shows_the_token() {
    // T23
    let text = header(|_| ());
    let token = Token::new(text.clone());
    assert_eq!(format!("{token:?}"), format!("Token({} bytes)", text.len()));
    let shown = format!("{:?}", Compact::parse(&text).unwrap());
    for part in text.split('.') {
        assert!(!shown.contains(part), "{shown}");
    }
    let long = header(|header| header[&"\u{1b}[31m".repeat(1000)] = json!(1));
    let error = Compact::parse(&long).unwrap_err().to_string();
    assert!(error.len() < 600 && !error.contains('\u{1b}'), "{error}");
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in ".{0,300}", bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(Compact::parse(&text));
        drop(Claims::parse(text.as_bytes()));
        drop(Claims::parse(&bytes));
    }

    #[test]
    fn changed_claims_are_refused_or_read_as_what_they_say(at in 0..2000_usize, bit in 0..8_u8) {
        let before = claims(3, &["documents/**:read", "users:create@supervised"]);
        let mut bytes = before.encode().unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(after) = Claims::parse(&bytes) {
            prop_assert_ne!(&after, &before);
            prop_assert_eq!(after.encode().unwrap(), bytes);
        }
    }
}
