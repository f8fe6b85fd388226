//! Names of people, agents, sessions, tasks, grants and tokens: typed, so that none stands where another belongs.
//!
//! Names that people choose (`task-abc`) and ids that attache makes (`grt_01J…`) are both plain words: printable ASCII without
//! `:`, `@`, `*`, `/`, `\`, quotes, commas and brackets, 1 to 128 bytes. So none of them can be mistaken for a SPIFFE ID,
//! for a list, or for a pattern.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::pattern::is_literal;
use crate::text;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing, or more than a name may be long.
    #[error("a name has 1 to {MAX} bytes, not {0}")]
    Length(usize),
    /// A character that no name may hold.
    #[error("character {:?} is not allowed in the name `{}`", .1, .0.escape_debug())]
    Character(String, char),
    /// The id does not begin as ids of its kind do.
    #[error("`{}` does not begin with `{}`", .0.escape_debug(), .1)]
    Prefix(String, &'static str),
    /// Not a URI with a scheme, or a SPIFFE ID spelled wrongly.
    #[error("`{}` is not a URI with a scheme, as `https://…` or `spiffe://…`", .0.escape_debug())]
    Uri(String),
}

const MAX: usize = 128;

fn word(text: &str, prefix: &'static str) -> Result<Arc<str>, IdError> {
    if text.is_empty() || text.len() > MAX {
        return Err(IdError::Length(text.len()));
    }
    let odd = |character: char| !is_literal(character) || "\"'`,;()[]{}<>".contains(character);
    if let Some(character) = text.chars().find(|character| odd(*character)) {
        return Err(IdError::Character(text.to_owned(), character));
    }
    if !text.starts_with(prefix) {
        return Err(IdError::Prefix(text.to_owned(), prefix));
    }
    Ok(text.into())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The same text, shared.
            pub fn shared(&self) -> Arc<str> {
                Arc::clone(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                word(text, $prefix).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }
    };
}

macro_rules! made {
    ($name:ident, $prefix:literal) => {
        impl $name {
            /// An id from 128 random bits.
            pub fn from_random(bits: u128) -> Self {
                Self(format!(concat!($prefix, "{}"), ulid::Ulid(bits)).into())
            }
        }
    };
}

name!(
    /// A person, as `usr-alice-001`: the `sub` of every token that rests on them.
    PersonId,
    ""
);
name!(
    /// A role that a person may have, as `editor`.
    RoleName,
    ""
);
name!(
    /// An agent, as `scheduling-agent-001`. Several may share one workload.
    AgentId,
    ""
);
name!(
    /// What an agent is, as `scheduling`; decides which ceiling applies.
    AgentType,
    ""
);
name!(
    /// A task, as `task-abc`: chosen by whoever begins it, one of its name for each person.
    TaskId,
    ""
);
name!(
    /// A session, `ses_` and 26 characters. Not a credential: knowing it permits nothing.
    SessionId,
    "ses_"
);
name!(
    /// A grant, `grt_` and 26 characters.
    GrantId,
    "grt_"
);
name!(
    /// A token's `jti`, `tok_` and 26 characters.
    TokenId,
    "tok_"
);
made!(SessionId, "ses_");
made!(GrantId, "grt_");
made!(TokenId, "tok_");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_word() {
        let name = |text: &str| text.parse::<AgentId>();
        assert_eq!(
            name("scheduling-agent-001").unwrap().as_str(),
            "scheduling-agent-001"
        );
        // D19
        for odd in [
            "",
            " ",
            "a b",
            "a/b",
            "a:b",
            "a@b",
            "a,b",
            "[a]",
            "*",
            "a\u{202e}",
            "é",
            "a\n",
        ] {
            assert!(name(odd).is_err(), "{odd:?}");
        }
        assert!(name(&"a".repeat(MAX)).is_ok());
        assert_eq!(name(&"a".repeat(MAX + 1)), Err(IdError::Length(MAX + 1)));
    }

    #[test]
    fn ids_of_one_kind_are_not_ids_of_another() {
        let grant = GrantId::from_random(7);
        assert_eq!(grant.as_str(), "grt_00000000000000000000000007");
        assert_eq!(grant.as_str().parse(), Ok(grant.clone()));
        let error = grant.as_str().parse::<TokenId>().unwrap_err();
        assert_eq!(error, IdError::Prefix(grant.to_string(), "tok_"));
    }
}
