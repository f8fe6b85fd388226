//! Request targets: what is accepted as a path, and that every service reads the same path in it.

use attache::operation::split;

/// An accepted path is canonical, still means what was asked, and holds nothing that a service could resolve away.
pub fn path(bytes: &[u8]) -> bool {
    let Ok(raw) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(target) = split(raw) else {
        return false;
    };
    let path = target.path.as_str();
    let (asked, query) = match raw.split_once('?') {
        Some((asked, query)) => (asked, Some(query)),
        None => (raw, None),
    };
    assert_eq!(target.query, query, "the query is what follows the first ?");
    let again = split(path).expect("a canonical path is accepted");
    assert_eq!((again.path.as_str(), again.query), (path, None));
    assert!(path.len() <= 8192 && target.path.segments().count() <= 64);

    // As a service reads it: decoded once, cut at slashes, parameters cut off.
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    assert!(!path.contains(['\\', '#', '?']), "{path}");
    let read = decoded(path);
    assert_eq!(read, decoded(asked), "{path} is what {asked} means");
    let read = String::from_utf8(read).expect("an accepted path is text");
    assert!(!read.contains(char::is_control), "{read:?}");
    let mut pieces: Vec<_> = read.split('/').collect();
    assert_eq!(pieces.first(), Some(&""), "{read} begins with a slash");
    pieces.remove(0);
    if pieces.last() == Some(&"") {
        pieces.pop();
    }
    let segments: Vec<_> = target.path.segments().collect();
    assert_eq!(pieces.len(), segments.len(), "no slash is hidden in {path}");
    for (piece, segment) in pieces.into_iter().zip(segments) {
        assert_eq!(piece.as_bytes(), decoded(segment));
        let bare = piece.split(';').next();
        assert!(!matches!(bare, Some("" | "." | "..")), "{piece}");
        assert!(!piece.contains('\\'), "{piece}");
    }
    true
}

/// Percent-escapes decoded once; the input has no others than `%` and two hexadecimal digits.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    let digit = |bytes: &mut std::str::Bytes<'_>| {
        let digit = bytes.next().map(char::from).and_then(|it| it.to_digit(16));
        digit.expect("two hexadecimal digits after %")
    };
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = digit(&mut bytes);
                u8::try_from(high * 16 + digit(&mut bytes)).expect("two digits make a byte")
            }
            other => other,
        });
    }
    decoded
}
