//! Decides which methods and which hosts a route takes.

use std::fmt;

use super::Methods;
use crate::operation::host::Host;

/// Which methods a route takes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::operation) enum MethodRule {
    /// `*`: every one of [`STANDARD_METHODS`].
    Standard,
    /// These alone.
    Listed(Vec<Box<str>>),
}

/// Which hosts a route takes.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::operation) enum HostRule {
    /// All of them.
    Any,
    /// This one.
    Exact(Box<str>),
    /// Every name that has one or more labels before this one: `example.org` for `*.example.org`.
    Below(Box<str>),
}

/// The methods that `*` stands for. Any other, such as CONNECT, TRACE or PROPFIND, matches only where it is listed.
pub(in crate::operation) const STANDARD_METHODS: [&str; 7] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

// === impl MethodRule ===

impl MethodRule {
    pub(super) fn read(Methods(written): &Methods) -> Result<Self, String> {
        let mut methods: Vec<Box<str>> = Vec::new();
        for method in written {
            let upper = method.to_ascii_uppercase();
            match method.as_str() {
                "*" if written.len() == 1 => return Ok(Self::Standard),
                "*" => return Err("`*` stands alone: write `*` or a list of methods".into()),
                _ if !is_token(method) => {
                    return Err(format!("`{method}` is not a method; write one such as GET"));
                }
                _ if upper != *method && STANDARD_METHODS.contains(&upper.as_str()) => {
                    return Err(format!(
                        "`{method}` would never match: methods are case-sensitive; write {upper}"
                    ));
                }
                _ => methods.push(method.as_str().into()),
            }
        }
        if methods.is_empty() {
            return Err("the list is empty, so nothing would match; write `*` or a method".into());
        }
        Ok(Self::Listed(methods))
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        let includes = |method: &str| match self {
            Self::Standard => STANDARD_METHODS.contains(&method),
            Self::Listed(methods) => methods.iter().any(|listed| &**listed == method),
        };
        match other {
            Self::Standard => STANDARD_METHODS.into_iter().all(includes),
            Self::Listed(methods) => methods.iter().all(|method| includes(method)),
        }
    }
}

impl fmt::Display for MethodRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard => f.write_str("*"),
            Self::Listed(methods) => f.write_str(&methods.join(",")),
        }
    }
}

// === impl HostRule ===

impl HostRule {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        match Host::try_from(name) {
            Err(problem) => Err(format!(
                "host `{text}`: {problem}; write a name, or `*.` and a name"
            )),
            Ok(host) if host.as_str() != name => Err(format!(
                "host `{text}` is not in normal form; write `{}{host}`",
                if below { "*." } else { "" }
            )),
            Ok(_) if below && name.starts_with('[') => {
                Err(format!("host `{text}`: nothing is below an address"))
            }
            Ok(_) if below => Ok(Self::Below(name.into())),
            Ok(_) => Ok(Self::Exact(name.into())),
        }
    }

    pub(super) fn covers(&self, other: &Self) -> bool {
        let is_below = |name: &str, root: &str| {
            name.strip_suffix(root)
                .is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
        };
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(one), Self::Exact(other)) => one == other,
            (Self::Below(root), Self::Exact(name)) => is_below(name, root),
            (Self::Below(root), Self::Below(other)) => other == root || is_below(other, root),
            (Self::Exact(_) | Self::Below(_), Self::Any) | (Self::Exact(_), Self::Below(_)) => {
                false
            }
        }
    }
}

/// RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
