//! The address by which a person logs in. It finds one user in a list; nothing is ever sent to it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::text;

/// An address in lower case: `Alice@Example.com` and `alice@example.com` are one person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

/// Why a text is no address. The text is not repeated: people type passwords into the wrong field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Nothing, or more than an address may be long (RFC 5321 section 4.5.3.1.3, without the brackets).
    #[error("an address has 3 to {MAX} characters")]
    Length,
    /// A character that is not printable ASCII, or a space.
    #[error("an address is printable ASCII without spaces")]
    Character,
    /// Not one `@` with something on both sides.
    #[error("write the address as NAME@HOST")]
    Shape,
}

const MAX: usize = 254;

impl Email {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        if !(3..=MAX).contains(&text.len()) {
            return Err(EmailError::Length);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EmailError::Character);
        }
        match text.split_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() && !host.contains('@') => {
                Ok(Self(text.to_ascii_lowercase().into()))
            }
            _ => Err(EmailError::Shape),
        }
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        let email: Email = "Alice@Example.COM".parse().unwrap();
        assert_eq!(email.as_str(), "alice@example.com");
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_repeated() {
        let long = format!("{}@x", "a".repeat(MAX - 1));
        for (odd, error) in [
            ("", EmailError::Length),
            (&*long, EmailError::Length),
            ("hunter two@x", EmailError::Character),
            ("alic\u{e9}@x", EmailError::Character),
            ("a@b\n", EmailError::Character),
            ("hunter2", EmailError::Shape),
            ("@host", EmailError::Shape),
            ("name@", EmailError::Shape),
            ("a@b@c", EmailError::Shape),
        ] {
            let found = odd.parse::<Email>().unwrap_err();
            assert_eq!(found, error, "{odd:?}");
            assert!(!found.to_string().contains("hunter"));
        }
    }
}
