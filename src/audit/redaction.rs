//! Members that may hold personal data and are not to be kept: their values become `[redacted]`, their names are listed.
//!
//! Only members that nothing rests on can be named. What the chain, queries or an inquiry into an incident need is refused
//! where the configuration is read, and the witness's own records (`audit.…`) are always written whole.

use std::collections::BTreeSet;

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

use super::details::Details;
use super::record::{EventType, Http, Record, Source};

/// What is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Redaction {
    names: BTreeSet<String>,
}

/// Why a name is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactionError {
    /// The trail is of no use without it.
    #[error(
        "`{0}` can't be redacted: the chain, queries or the question who did what rest on it; these can be: {FREE}"
    )]
    Needed(String),
    /// No member has this name.
    #[error("`{0}` is no member that can be redacted; these can be: {FREE}")]
    Unknown(String),
}

/// The value of a member, or what stands for it.
#[derive(Debug)]
pub(super) enum Shown<'a, T> {
    Whole(&'a T),
    Redacted,
}

// === impl Redaction ===

impl Redaction {
    /// What of `record` is not kept: nothing of the witness's own.
    pub(super) fn of(&self, record: &Record) -> &Self {
        match record.event_type {
            EventType::AuditStarted
            | EventType::AuditStopped
            | EventType::AuditGap
            | EventType::AuditCheckpoint => &NOTHING,
            _ => self,
        }
    }

    /// The names of this list that `record` has a value for.
    pub(super) fn erased(&self, record: &Record) -> Vec<&str> {
        let has = |name: &&str| match *name {
            AUDIENCE => record.audience.is_some(),
            MESSAGE => record.message.is_some(),
            REQUEST_ID => record.request_id.is_some(),
            TRACE_ID => record.trace_id.is_some(),
            HOST | METHOD | PATH => record.http.is_some(),
            IP => record.source.as_ref().is_some_and(|it| it.ip.is_some()),
            DETAILS => !record.details.is_empty(),
            fact => {
                let fact = fact.strip_prefix(FACT);
                fact.is_some_and(|it| record.details.facts().any(|(name, _)| name == it))
            }
        };
        let names = self.names.iter().map(String::as_str);
        names.filter(has).collect()
    }

    /// `value` of the member `name`, as it is written.
    pub(super) fn shown<'a, T>(&self, name: &str, value: Option<&'a T>) -> Option<Shown<'a, T>> {
        value.map(|value| {
            if self.names.contains(name) {
                Shown::Redacted
            } else {
                Shown::Whole(value)
            }
        })
    }

    fn hides_fact(&self, name: &str) -> bool {
        let named = |it: &String| it.strip_prefix(FACT) == Some(name);
        self.names.contains(DETAILS) || self.names.iter().any(named)
    }
}

impl TryFrom<Vec<String>> for Redaction {
    type Error = RedactionError;

    fn try_from(names: Vec<String>) -> Result<Self, RedactionError> {
        for name in &names {
            let fact = |name: &str| {
                let word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                name.strip_prefix(FACT)
                    .is_some_and(|it| !it.is_empty() && it.bytes().all(word))
            };
            if NAMES.contains(&&**name) || fact(name) {
                continue;
            }
            let member = name.split('.').next().unwrap_or_default();
            return Err(if NEEDED.contains(&member) {
                RedactionError::Needed(name.clone())
            } else {
                RedactionError::Unknown(name.clone())
            });
        }
        let names = names.into_iter().collect();
        Ok(Self { names })
    }
}

impl<T: Serialize> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => value.serialize(serializer),
            Self::Redacted => serializer.serialize_str(REDACTED),
        }
    }
}

/// A request without what is not kept.
pub(super) struct HttpOf<'a>(pub(super) &'a Http, pub(super) &'a Redaction);

impl Serialize for HttpOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(http, redaction) = self;
        let Http {
            host,
            method,
            path,
            protocol,
            route,
        } = http;
        // In the order of RFC 8785: by name.
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("host", &redaction.shown(HOST, Some(host)))?;
        map.serialize_entry("method", &redaction.shown(METHOD, Some(method)))?;
        map.serialize_entry("path", &redaction.shown(PATH, Some(path)))?;
        map.serialize_entry("protocol", protocol)?;
        if let Some(route) = route {
            map.serialize_entry("route", route)?;
        }
        map.end()
    }
}

/// A source without what is not kept.
pub(super) struct SourceOf<'a>(pub(super) &'a Source, pub(super) &'a Redaction);

impl Serialize for SourceOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(Source { ip, spiffe_id }, redaction) = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(ip) = redaction.shown(IP, ip.as_ref()) {
            map.serialize_entry("ip", &ip)?;
        }
        if let Some(spiffe_id) = spiffe_id {
            map.serialize_entry("spiffe_id", spiffe_id)?;
        }
        map.end()
    }
}

/// Details without what is not kept.
pub(super) struct DetailsOf<'a>(pub(super) &'a Details, pub(super) &'a Redaction);

impl Serialize for DetailsOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(details, redaction) = self;
        serializer.collect_map(details.facts().map(|(name, fact)| {
            let shown = if redaction.hides_fact(name) {
                Shown::Redacted
            } else {
                Shown::Whole(fact)
            };
            (name, shown)
        }))
    }
}

static NOTHING: Redaction = Redaction {
    names: BTreeSet::new(),
};

const REDACTED: &str = "[redacted]";
pub(super) const AUDIENCE: &str = "audience";
pub(super) const MESSAGE: &str = "message";
pub(super) const REQUEST_ID: &str = "request_id";
pub(super) const TRACE_ID: &str = "trace_id";
const HOST: &str = "http.host";
const METHOD: &str = "http.method";
const PATH: &str = "http.path";
const IP: &str = "source.ip";
const DETAILS: &str = "details";
/// What stands before the name of one fact of the details.
const FACT: &str = "details.";
const NAMES: [&str; 9] = [
    AUDIENCE, DETAILS, HOST, METHOD, PATH, MESSAGE, REQUEST_ID, IP, TRACE_ID,
];
const FREE: &str = "`audience`, `details`, `details.NAME`, `http.host`, `http.method`, `http.path`, `message`, `request_id`, `source.ip` and `trace_id`";
/// Members, or the sections that hold them.
const NEEDED: [&str; 37] = [
    "action",
    "actor",
    "agent",
    "cached",
    "count",
    "decision_id",
    "delegation_chain",
    "destination",
    "erased",
    "event_type",
    "grant_id",
    "hash",
    "http",
    "id",
    "jti",
    "last_time",
    "latency_us",
    "mode",
    "parent_jti",
    "pep",
    "policy",
    "prev_hash",
    "reason_code",
    "resource",
    "result",
    "seq",
    "session_id",
    "source",
    "subject",
    "target",
    "task",
    "tenant",
    "tier",
    "time",
    "uptime_us",
    "would_be",
    "writer",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(names: &[&str]) -> Result<Redaction, String> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Redaction::try_from(names).map_err(|error: RedactionError| error.to_string())
    }

    #[test]
    fn what_the_trail_rests_on_can_not_be_redacted() {
        for name in [
            "resource",
            "actor",
            "actor.id",
            "seq",
            "http",
            "http.route",
            "subject.id",
        ] {
            let error = redaction(&["message", name]).unwrap_err();
            assert!(
                error.contains(&format!("`{name}` can't be redacted")),
                "{error}"
            );
            assert!(error.contains("`http.path`"), "{error}");
        }
        for name in ["", "colour", "details.", "details.Path", "message.x"] {
            let error = redaction(&[name]).unwrap_err();
            assert!(error.contains("no member"), "{error}");
        }
        redaction(&["details.cause", "details", "source.ip"]).unwrap();
    }
}
