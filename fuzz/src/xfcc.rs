//! `x-forwarded-client-cert`, by the grammar of Envoy's HTTP header documentation.

use attache::identity::XfccElement;

/// An accepted header has one reading: cut at the separators outside quotes, its last part says what was read from it.
pub fn xfcc(bytes: &[u8]) -> bool {
    let Ok(header) = std::str::from_utf8(bytes) else {
        return false;
    };
    let Ok(element) = XfccElement::last_of(header) else {
        return false;
    };
    assert!(header.len() <= MAX_LENGTH);
    assert!(!header.contains(char::is_control), "{header:?}");
    let said = pairs(&element);
    let mut last = Vec::new();
    for written in cut(header, ',') {
        last = cut(written, ';').into_iter().map(pair).collect();
        last.sort_unstable();
        for (key, value) in &last {
            assert!(KEYS.contains(key), "key {key:?}");
            let times = last.iter().filter(|(other, _)| other == key).count();
            assert!(times == 1 || *key == "DNS", "{key} twice, once {value:?}");
        }
    }
    assert_eq!(last, said, "what the last element says, and nothing else");

    let written: Vec<_> = said
        .iter()
        .map(|(key, value)| format!("{key}=\"{value}\""))
        .collect();
    let written = written.join(";");
    // Quotes that were not there before may make it too long.
    if written.len() <= MAX_LENGTH {
        let again = XfccElement::last_of(&written).expect("what was read can be written");
        assert_eq!(pairs(&again), said, "written with quotes and read again");
    }
    true
}

/// What an element says, sorted.
fn pairs<'a>(element: &'a XfccElement<'_>) -> Vec<(&'static str, &'a str)> {
    let single = [
        ("By", element.by),
        ("Hash", element.hash),
        ("Cert", element.cert),
        ("Chain", element.chain),
        ("Subject", element.subject),
        ("URI", Some(element.uri.as_str())),
    ];
    let single = single
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)));
    let mut pairs: Vec<_> = single
        .chain(element.dns.iter().map(|name| ("DNS", *name)))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// The parts between separators outside quotes. Inside quotes a backslash hides what follows it.
fn cut(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    let mut hidden = false;
    let cut = text.split(|character| {
        let plain = !std::mem::take(&mut hidden);
        match character {
            '"' if plain => quoted = !quoted,
            '\\' if plain && quoted => hidden = true,
            _ => {}
        }
        character == separator && !quoted
    });
    cut.collect()
}

/// Key and value of `key=value` or `key="value"`.
fn pair(text: &str) -> (&str, &str) {
    let (key, value) = text.split_once('=').expect("a key and a value");
    match value.strip_prefix('"') {
        Some(quoted) => (key, quoted.strip_suffix('"').expect("a quote at the end")),
        None => (key, value),
    }
}

const KEYS: [&str; 7] = ["By", "Hash", "Cert", "Chain", "Subject", "URI", "DNS"];
const MAX_LENGTH: usize = 16 * 1024;
