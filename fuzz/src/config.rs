//! attache.yaml: the file is written by people, but it may be any file.

use std::path::Path;

use attache::config::{Config, ConfigError, Problem};

/// Any text is read or refused, with at least one mistake named; reading it again finds the same.
pub fn config(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let mistakes = mistakes(text);
    assert_eq!(self::mistakes(text), mistakes);
    mistakes.is_empty()
}

fn mistakes(text: &str) -> Vec<Problem> {
    match Config::parse(text, Path::new("attache.yaml")) {
        Ok(_sound) => Vec::new(),
        Err(ConfigError::Invalid { problems, .. }) if !problems.is_empty() => problems,
        Err(other) => unreachable!("a refusal names what is wrong: {other:?}"),
    }
}
