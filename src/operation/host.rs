//! Decides which host a request is for: one canonical spelling (E25), or a refusal.
//!
//! Lower case, no port, no dot at the end; IPv6 addresses in brackets, in the spelling of RFC 5952. A host that is
//! anything but a name or an address is refused, and with it the request.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A host in its one canonical spelling, such as `api.example.org` or `[2001:db8::1]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host<'a>(Cow<'a, str>);

/// Why a text is not a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostProblem {
    /// Nothing before the port.
    #[error("the host is empty")]
    Empty,
    /// More than 253 bytes, the longest name in the DNS.
    #[error("the host has more than 253 bytes")]
    TooLong,
    /// Anything but letters, digits, `-`, `_` and `.`: user information, white space, non-ASCII, parts of a URL.
    #[error("character {0:?} is not allowed in a host")]
    Character(char),
    /// A dot at the start or two in a row.
    #[error("the host has an empty label")]
    EmptyLabel,
    /// What follows the colon is not a number from 0 to 65535.
    #[error("the port is not a number from 0 to 65535")]
    Port,
    /// Brackets around something that is not an IPv6 address; zones are refused too.
    #[error("the host is not an IPv6 address in brackets")]
    Ipv6,
}

impl Host<'_> {
    /// The host itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> TryFrom<&'a str> for Host<'a> {
    type Error = HostProblem;

    /// Reads what `Host` or `:authority` holds.
    fn try_from(authority: &'a str) -> Result<Self, HostProblem> {
        if authority.starts_with('[') {
            return ipv6(authority);
        }
        let name = match authority.split_once(':') {
            Some((name, port)) => {
                check_port(port)?;
                name
            }
            None => authority,
        };
        // The root of the DNS, written or not, is the same place.
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return Err(HostProblem::Empty);
        }
        if name.len() > MAX_BYTES {
            return Err(HostProblem::TooLong);
        }
        if let Some(character) = name.chars().find(|character| !is_name(*character)) {
            return Err(HostProblem::Character(character));
        }
        if name.split('.').any(str::is_empty) {
            return Err(HostProblem::EmptyLabel);
        }
        Ok(Self(
            if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(name.to_ascii_lowercase())
            } else {
                Cow::Borrowed(name)
            },
        ))
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn ipv6(authority: &str) -> Result<Host<'_>, HostProblem> {
    let (literal, port) = match authority.split_once(']') {
        Some((literal, port)) => (literal.strip_prefix('['), port),
        None => return Err(HostProblem::Ipv6),
    };
    match port.strip_prefix(':') {
        Some(port) => check_port(port)?,
        None if port.is_empty() => {}
        None => return Err(HostProblem::Ipv6),
    }
    let address: Ipv6Addr = literal
        .and_then(|literal| literal.parse().ok())
        .ok_or(HostProblem::Ipv6)?;
    let canonical = format!("[{address}]");
    Ok(Host(match authority.get(..canonical.len()) {
        Some(written) if written == canonical => Cow::Borrowed(written),
        _ => Cow::Owned(canonical),
    }))
}

fn check_port(port: &str) -> Result<(), HostProblem> {
    // `parse` alone would take a sign.
    if port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err(HostProblem::Port)
    }
}

fn is_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

const MAX_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(authority: &str) -> Result<String, HostProblem> {
        Host::try_from(authority).map(|host| host.as_str().to_owned())
    }

    #[test]
    fn one_place_has_one_spelling() {
        // E25, and the row `Host: H.Example:80` of security-cases 1.3
        for spelling in [
            "h.example",
            "H.Example",
            "h.example:80",
            "h.example.",
            "H.EXAMPLE.:65535",
        ] {
            assert_eq!(host(spelling).as_deref(), Ok("h.example"), "{spelling}");
        }
        for spelling in ["[2001:db8::1]", "[2001:DB8:0:0::1]:443"] {
            assert_eq!(host(spelling).as_deref(), Ok("[2001:db8::1]"), "{spelling}");
        }
        assert_eq!(host("127.0.0.1:8080").as_deref(), Ok("127.0.0.1"));
        assert_eq!(
            host("xn--bcher-kva.example").as_deref(),
            Ok("xn--bcher-kva.example")
        );
        assert_eq!(host("my_service").as_deref(), Ok("my_service"));
    }

    #[test]
    fn what_is_not_a_host_is_refused() {
        for (authority, problem) in [
            ("", HostProblem::Empty),
            (".", HostProblem::Empty),
            (":80", HostProblem::Empty),
            ("h..", HostProblem::EmptyLabel),
            (".h", HostProblem::EmptyLabel),
            ("a..b", HostProblem::EmptyLabel),
            ("user@h", HostProblem::Character('@')),
            ("user:pw@h", HostProblem::Port),
            ("h@evil:80", HostProblem::Character('@')),
            ("h h", HostProblem::Character(' ')),
            ("h\t", HostProblem::Character('\t')),
            ("h\0", HostProblem::Character('\0')),
            ("hé", HostProblem::Character('é')),
            ("h/admin", HostProblem::Character('/')),
            ("h\\admin", HostProblem::Character('\\')),
            ("h?x", HostProblem::Character('?')),
            ("h#x", HostProblem::Character('#')),
            ("h%2e", HostProblem::Character('%')),
            ("a,b", HostProblem::Character(',')),
            ("*.h", HostProblem::Character('*')),
            ("h:", HostProblem::Port),
            ("h:+80", HostProblem::Port),
            ("h:65536", HostProblem::Port),
            ("h:80:80", HostProblem::Port),
            ("h:80/admin", HostProblem::Port),
            ("::1", HostProblem::Port),
            ("[::1", HostProblem::Ipv6),
            ("[]", HostProblem::Ipv6),
            ("[h]", HostProblem::Ipv6),
            ("[[::1]]", HostProblem::Ipv6),
            ("[[::1]", HostProblem::Ipv6),
            ("[::1].", HostProblem::Ipv6),
            ("[::1]h", HostProblem::Ipv6),
            ("[fe80::1%25eth0]", HostProblem::Ipv6),
            ("[::1]:", HostProblem::Port),
        ] {
            assert_eq!(host(authority), Err(problem), "{authority:?}");
        }
        assert_eq!(host(&"a".repeat(254)), Err(HostProblem::TooLong));
        assert!(host(&"a".repeat(253)).is_ok());
    }

    #[test]
    fn a_canonical_host_is_borrowed() {
        for (authority, borrowed) in [
            ("api.example.org:443", true),
            ("[::1]", true),
            ("API", false),
        ] {
            let host = Host::try_from(authority).unwrap();
            assert_eq!(matches!(host.0, Cow::Borrowed(_)), borrowed, "{authority}");
        }
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point(authority in "[a-zA-Z0-9.:@_\\[\\]-]{0,12}") {
            if let Ok(once) = Host::try_from(authority.as_str()) {
                prop_assert_eq!(Host::try_from(once.as_str()), Ok(once.clone()));
            }
        }

        #[test]
        fn any_text_is_answered(authority in any::<String>()) {
            drop(Host::try_from(authority.as_str()));
        }
    }
}
