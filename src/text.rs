//! Values that configuration writes as text: read by their own `FromStr`, refused in one sentence with every cause.

use std::error::Error;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};

/// Reads a value from its text form. The body of a `Deserialize` impl.
pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Error>,
    D: Deserializer<'de>,
{
    String::deserialize(deserializer)?
        .parse()
        .map_err(|error| D::Error::custom(sentence(&error)))
}

/// An error and its causes, joined by colons: deserializers keep the message of an error, not its source.
pub(crate) fn sentence(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(": ");
        words.push_str(&error.to_string());
        cause = error.source();
    }
    words
}
