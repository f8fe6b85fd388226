//! The compact form of a token (RFC 7515 section 3.1): any text that stands in a header.

use attache::delegation::token::Compact;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A text that is accepted has three parts with one spelling each, a header of three members, and 64 bytes of signature.
pub fn jws(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(token) = Compact::parse(text) else {
        return false;
    };
    assert!(text.len() <= 16 * 1024, "{} bytes", text.len());
    let parts: Vec<_> = text.split('.').collect();
    let &[header, payload, signature] = &*parts else {
        unreachable!("{} parts", parts.len());
    };
    assert_eq!(token.signed, format!("{header}.{payload}"));
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).expect("base64url");
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    assert_eq!(decode(signature), token.signature);
    assert_eq!(encode(&token.signature), signature);

    let header = decode(header);
    let members: Map<String, Value> = serde_json::from_slice(&header).expect("an object");
    let named = |name: &str| members.get(name).and_then(Value::as_str);
    assert_eq!(members.len(), 3, "{members:?}");
    assert!(matches!(named("alg"), Some("Ed25519" | "EdDSA" | "ES256")));
    assert_eq!(named("alg"), Some(token.alg.as_str()));
    assert_eq!(named("typ"), Some("at+jwt"));
    assert_eq!(named("kid"), Some(&*token.kid.to_string()));
    // A member that is there twice would be lost here: three names, three colons outside of strings.
    let pieces = header.split(|byte| *byte == b'"').count();
    assert_eq!(pieces, 13, "three names and three values in quotes");

    if let Ok(said) = token.payload() {
        assert_eq!(encode(&said), payload, "one spelling");
    }
    true
}
