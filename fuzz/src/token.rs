//! The claims of a token (RFC 9068, RFC 8693 section 4.1): JSON that somebody signed.

use attache::delegation::token::Claims;
use serde_json::Value;

/// Claims that are accepted have one spelling, one chain with one grant for each hop, one service, and a short life.
pub fn token(bytes: &[u8]) -> bool {
    let Ok(claims) = Claims::parse(bytes) else {
        return false;
    };
    let written = claims.encode().expect("what was read can be written");
    assert_eq!(written, bytes, "one spelling");
    let said: Value = serde_json::from_slice(bytes).expect("JSON");
    let whole = |name: &str| said.get(name).and_then(Value::as_u64).expect("a date");
    let (issued, expires) = (whole("iat"), whole("exp"));
    assert!(issued < expires && expires <= issued + 300, "a short life");
    assert!(whole("auth_time") <= issued);

    let mut depth = 0;
    let mut actor = said.get("act");
    while let Some(act) = actor {
        depth += 1;
        assert_eq!(act.get("iss"), said.get("iss"), "one authority");
        actor = act.get("act");
    }
    assert!(depth <= 8, "a chain of {depth}");
    assert_eq!(claims.chain.depth(), depth);
    let listed = |pointer| said.pointer(pointer).and_then(Value::as_array);
    assert_eq!(listed("/grant/path").map_or(0, Vec::len), depth);
    assert_eq!(said.get("task").is_some(), depth > 0);

    let audience = listed("/aud").expect("an audience");
    let authority = said.get("iss");
    let services = audience.iter().filter(|it| Some(*it) != authority);
    assert!(services.count() == 1 && audience.len() <= 2, "one service");
    let details = listed("/authorization_details").expect("permissions");
    assert!((1..=16).contains(&details.len()));
    true
}
