//! Which texts are SPIFFE IDs, trust domains and patterns of SPIFFE IDs.

use proptest::prelude::*;

use crate::identity::{SpiffeId, SpiffeIdError, SpiffePattern, TrustDomain};

fn id(text: &str) -> Result<SpiffeId, SpiffeIdError> {
    text.parse()
}

fn refused(text: &str) {
    assert!(id(text).is_err(), "{text:?} was accepted");
}

#[test]
fn the_shortest_id_has_a_trust_domain_and_a_path() {
    // S01
    let id = id("spiffe://td/p").unwrap();
    assert_eq!(id.trust_domain(), "td");
    assert_eq!(id.path(), "/p");
    assert_eq!(id.as_str(), "spiffe://td/p");
    assert!(id.segments().eq(["td", "p"]));
}

#[test]
fn nothing_and_other_schemes_are_refused() {
    // S02, S03
    for text in [
        "",
        " ",
        "s",
        "spiffe",
        "spiffe:",
        "spiffe:/td/p",
        "spiffe:td/p",
        "sparfe://td/p",
        "http://td/p",
        "https://td/p",
        "//td/p",
        "td/p",
        " spiffe://td/p",
        "spiffe://td/p ",
        "\u{feff}spiffe://td/p",
    ] {
        refused(text);
    }
}

#[test]
fn upper_case_in_scheme_or_trust_domain_is_refused_not_folded() {
    // S04, S06: one identity has one spelling.
    for text in [
        "SPIFFE://td/p",
        "Spiffe://td/p",
        "spiffe://TD/p",
        "spiffe://tD/p",
    ] {
        assert!(
            matches!(id(text), Err(SpiffeIdError::NotCanonical(_))),
            "{text}"
        );
    }
}

#[test]
fn a_trust_domain_must_be_there() {
    // S05
    for text in ["spiffe://", "spiffe:///", "spiffe:///p"] {
        refused(text);
    }
}

#[test]
fn a_trust_domain_alone_names_no_workload() {
    // S30, X509-SVID section 3.1
    assert!(matches!(id("spiffe://td"), Err(SpiffeIdError::NoPath(_))));
}

#[test]
fn every_byte_in_a_trust_domain_is_accepted_or_refused_as_the_standard_says() {
    // S07; bytes above 0x7f stand for their Latin-1 characters, since a text can't hold them bare.
    for byte in 0..=255_u8 {
        let wanted = matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        let text = format!("spiffe://td{}/p", char::from(byte));
        assert_eq!(id(&text).is_ok(), wanted, "byte {byte:#04x} in an ID");
        let domain = format!("td{}", char::from(byte)).parse::<TrustDomain>();
        assert_eq!(domain.is_ok(), wanted, "byte {byte:#04x} in a trust domain");
        let pattern = format!("spiffe://td{}/**", char::from(byte)).parse::<SpiffePattern>();
        assert_eq!(pattern.is_ok(), wanted, "byte {byte:#04x} in a pattern");
    }
}

#[test]
fn every_byte_in_a_path_is_accepted_or_refused_as_the_standard_says() {
    // S08
    for byte in 0..=255_u8 {
        let wanted = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let text = format!("spiffe://td/p{}", char::from(byte));
        assert_eq!(id(&text).is_ok(), wanted, "byte {byte:#04x} in an ID");
        let pattern = text.parse::<SpiffePattern>();
        assert_eq!(pattern.is_ok(), wanted, "byte {byte:#04x} in a pattern");
    }
}

#[test]
fn user_ports_and_ip_literals_are_refused() {
    // S09, S10, S11
    for text in [
        "spiffe://u@td/p",
        "spiffe://u:pw@td/p",
        "spiffe://:pw@td/p",
        "spiffe://@td/p",
        "spiffe://td:443/p",
        "spiffe://td:/p",
        "spiffe://[::1]/p",
    ] {
        refused(text);
    }
    assert_eq!(id("spiffe://1.2.3.4/p").unwrap().trust_domain(), "1.2.3.4");
}

#[test]
fn query_and_fragment_are_refused_even_when_empty() {
    // S12
    for text in [
        "spiffe://td/p?a=1",
        "spiffe://td/p?",
        "spiffe://td/p#x",
        "spiffe://td/p#",
        "spiffe://td?/p",
    ] {
        refused(text);
    }
}

#[test]
fn percent_encoding_is_refused_not_decoded() {
    // S13
    for text in [
        "spiffe://td/%61",
        "spiffe://%74d/p",
        "spiffe://td/%F0%9F%A4%AF",
        "spiffe://td/%2e",
        "spiffe://td/%2e%2e/p",
        "spiffe://td%2Fp",
    ] {
        refused(text);
    }
}

#[test]
fn empty_segments_and_trailing_slashes_are_refused() {
    // S14, S15
    for text in [
        "spiffe://td/",
        "spiffe://td/p/",
        "spiffe://td//p",
        "spiffe://td/p//q",
        "spiffe://td//",
    ] {
        refused(text);
    }
}

#[test]
fn dot_segments_are_refused_and_dots_in_names_are_not() {
    // S16
    for text in [
        "spiffe://td/.",
        "spiffe://td/..",
        "spiffe://td/./p",
        "spiffe://td/p/../q",
        "spiffe://td/p/..",
    ] {
        refused(text);
    }
    for text in [
        "spiffe://td/...",
        "spiffe://td/.p",
        "spiffe://td/..p",
        "spiffe://td/p.",
    ] {
        assert_eq!(id(text).unwrap().as_str(), text);
    }
}

#[test]
fn an_id_has_at_most_2048_bytes() {
    // S17
    let longest = format!("spiffe://td/{}", "a".repeat(2048 - "spiffe://td/".len()));
    assert_eq!(id(&longest).unwrap().as_str(), longest);
    assert_eq!(
        id(&format!("{longest}a")),
        Err(SpiffeIdError::TooLong(2049))
    );
    let pattern = format!("{}/**", longest.strip_suffix("aaa").unwrap());
    assert!(pattern.parse::<SpiffePattern>().is_ok());
    assert!(format!("{pattern}*").parse::<SpiffePattern>().is_err());
}

#[test]
fn a_trust_domain_has_at_most_255_bytes() {
    // S18
    let longest = "a".repeat(255);
    assert_eq!(
        id(&format!("spiffe://{longest}/p")).unwrap().trust_domain(),
        longest
    );
    assert!(longest.parse::<TrustDomain>().is_ok());
    refused(&format!("spiffe://{longest}a/p"));
    assert!(format!("{longest}a").parse::<TrustDomain>().is_err());
}

#[test]
fn paths_are_compared_with_case() {
    // S19
    assert_ne!(id("spiffe://td/Admin"), id("spiffe://td/admin"));
    let pattern: SpiffePattern = "spiffe://td/admin".parse().unwrap();
    assert!(!pattern.matches(&id("spiffe://td/Admin").unwrap()));
}

#[test]
fn homoglyphs_are_refused() {
    // S20: Cyrillic а, fullwidth a, dotless i, combining accent.
    for text in [
        "spiffe://ex\u{430}mple.org/p",
        "spiffe://\u{ff41}/p",
        "spiffe://td/adm\u{131}n",
        "spiffe://td/a\u{301}",
        "spiffe:\u{2215}\u{2215}td/p",
    ] {
        refused(text);
    }
}

#[test]
fn a_trust_domain_is_a_bare_name() {
    for text in [
        "",
        "TD",
        "spiffe://td",
        "spiffe://td/p",
        "td/",
        "td/p",
        "*",
        "td ",
        "td:443",
    ] {
        assert!(text.parse::<TrustDomain>().is_err(), "{text:?}");
    }
    let domain: TrustDomain = "example.org".parse().unwrap();
    assert_eq!(domain.as_str(), "example.org");
    assert_eq!(domain.to_string(), "example.org");
    assert!(domain.contains(&id("spiffe://example.org/p").unwrap()));
    for other in [
        "spiffe://example.org.evil/p",
        "spiffe://sub.example.org/p",
        "spiffe://example/org/p",
    ] {
        assert!(!domain.contains(&id(other).unwrap()), "{other}");
    }
}

#[test]
fn a_pattern_matches_whole_segments_of_one_trust_domain() {
    let matches = |pattern: &str, text: &str| {
        let pattern: SpiffePattern = pattern.parse().unwrap();
        pattern.matches(&id(text).unwrap())
    };
    for (pattern, text) in [
        ("spiffe://td/a/b", "spiffe://td/a/b"),
        ("spiffe://td/a/*", "spiffe://td/a/b"),
        ("spiffe://td/*/b", "spiffe://td/a/b"),
        ("spiffe://td/a/**", "spiffe://td/a/b/c"),
        ("spiffe://td/a/**", "spiffe://td/a"),
        ("spiffe://td/**", "spiffe://td/a"),
    ] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("spiffe://td/a/b", "spiffe://td/a"),
        ("spiffe://td/a", "spiffe://td/a/b"),
        ("spiffe://td/a/*", "spiffe://td/a"),
        ("spiffe://td/a/*", "spiffe://td/a/b/c"),
        ("spiffe://td/a/**", "spiffe://td/ab"),
        ("spiffe://td/**", "spiffe://td.evil/a"),
        ("spiffe://td/**", "spiffe://other/td/a"),
    ] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_pattern_has_a_literal_trust_domain_and_can_match_something() {
    for text in [
        "",
        "**",
        "td/**",
        "http://td/**",
        "SPIFFE://td/**",
        "spiffe://**",
        "spiffe://*/p",
        "spiffe://t*/p",
        "spiffe://TD/**",
        "spiffe://td",
        "spiffe://td/",
        "spiffe://td/p/",
        "spiffe://td//p",
        "spiffe://td/**/p",
        "spiffe://td/p*",
        "spiffe://td/..",
        "spiffe://td/a,b",
        "spiffe://td/p?",
        "spiffe://td/%61",
        "spiffe://../p",
    ] {
        assert!(text.parse::<SpiffePattern>().is_err(), "{text:?}");
    }
}

#[test]
fn ids_domains_and_patterns_are_read_from_text_with_the_whole_cause() {
    let id: SpiffeId = serde_json::from_str(r#""spiffe://td/p""#).unwrap();
    assert_eq!(serde_json::to_string(&id).unwrap(), r#""spiffe://td/p""#);
    let domain: TrustDomain = serde_json::from_str(r#""td""#).unwrap();
    assert!(domain.contains(&id));
    let pattern: SpiffePattern = serde_json::from_str(r#""spiffe://td/*""#).unwrap();
    assert_eq!(pattern.to_string(), "spiffe://td/*");

    let error = |result: Result<SpiffeId, serde_json::Error>| result.unwrap_err().to_string();
    assert_eq!(
        error(serde_json::from_str(r#""http://td/p""#)),
        "`http://td/p` is not a SPIFFE ID: scheme is missing or invalid"
    );
    let error = serde_json::from_str::<SpiffePattern>(r#""spiffe://td//p""#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`spiffe://td//p` is not a pattern of SPIFFE IDs: empty segment in pattern `td//p`"
    );
    assert!(serde_json::from_str::<TrustDomain>("7").is_err());
}

#[test]
fn a_refused_text_is_quoted_on_one_line_and_cut() {
    let error = id("spiffe://td/a\nb\u{1b}[31m").unwrap_err().to_string();
    assert_eq!(
        error,
        r"`spiffe://td/a\nb\u{1b}[31m` is not a SPIFFE ID".to_owned()
    );
    let error = id(&"x".repeat(2000)).unwrap_err().to_string();
    assert!(error.len() < 400, "{error}");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_kept_as_it_is(text in ".{0,64}|spiffe://[a-z.:/%A-Z ]{0,32}") {
        if let Ok(id) = id(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text);
        }
    }

    #[test]
    fn an_id_is_a_pattern_of_itself(text in "spiffe://[a-z0-9._-]{1,20}(/[a-zA-Z0-9_-]{1,9}){1,4}") {
        prop_assume!(!text.starts_with("spiffe://./") && !text.starts_with("spiffe://../"));
        let pattern: SpiffePattern = text.parse().unwrap();
        prop_assert!(pattern.matches(&id(&text).unwrap()));
        prop_assert_eq!(pattern.to_string(), text);
    }
}
