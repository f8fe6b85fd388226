//! SPIFFE IDs, trust domains and patterns (SPIFFE ID standard, sections 2.1 to 2.4).

use attache::identity::{SpiffeId, SpiffePattern, TrustDomain};

/// A text that is accepted as an ID is within the grammar, is its own canonical spelling, and means itself as a pattern.
pub fn spiffe_id(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    if let Ok(pattern) = text.parse::<SpiffePattern>() {
        let shown = pattern.to_string().parse();
        assert_eq!(shown.as_ref(), Ok(&pattern), "shown and read again");
        assert!(pattern.covers(&pattern), "{pattern} covers itself");
    }
    let Ok(id) = text.parse::<SpiffeId>() else {
        return false;
    };
    assert_eq!(id.to_string(), text, "one identity has one spelling");
    assert!(text.len() <= 2048, "the whole ID has at most 2048 bytes");
    let (name, path) = text
        .strip_prefix("spiffe://")
        .and_then(|rest| rest.split_once('/'))
        .expect("a scheme, a trust domain and a path");
    assert!((1..=255).contains(&name.len()), "1 to 255 bytes: {name}");
    assert!(name.bytes().all(is_of_trust_domain), "characters of {name}");
    for segment in path.split('/') {
        assert!(!matches!(segment, "" | "." | ".."), "segment {segment:?}");
        let fine = |byte: u8| byte.is_ascii_uppercase() || is_of_trust_domain(byte);
        assert!(segment.bytes().all(fine), "characters of {segment}");
    }
    assert_eq!(id.trust_domain(), name);
    assert_eq!(id.path().strip_prefix('/'), Some(path));
    let domain: TrustDomain = name.parse().expect("its trust domain is one");
    assert!(domain.contains(&id));
    // The standard lets a trust domain be called `.`; no pattern can name it, so nothing can be granted there.
    if !matches!(name, "." | "..") {
        let itself: SpiffePattern = text.parse().expect("every other ID is a pattern");
        assert!(itself.matches(&id), "{id} as a pattern matches itself");
    }
    true
}

fn is_of_trust_domain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')
}
