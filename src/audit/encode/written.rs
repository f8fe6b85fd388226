//! A record that was written, read back: the members that other formats have a place for, and the whole.
//!
//! Members that always stand in a record must be there. One that holds something else than the writer puts there is an
//! error, so that no format shows a part of a record that was not understood.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::chain::Digest;
use super::super::record::{EventType, Outcome};

/// One record, borrowed from its JSON.
#[derive(Debug)]
pub(super) struct Written<'a> {
    /// Every member, as it was written.
    pub(super) whole: &'a Value,
    pub(super) members: Members<'a>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Members<'a> {
    pub(super) id: &'a str,
    #[serde(borrow)]
    pub(super) time: Moment<'a>,
    pub(super) seq: u64,
    pub(super) writer: &'a str,
    pub(super) tenant: &'a str,
    #[serde(deserialize_with = "event_type")]
    pub(super) event_type: EventType,
    #[serde(deserialize_with = "outcome")]
    pub(super) result: Outcome,
    #[serde(borrow)]
    pub(super) actor: Actor<'a>,
    pub(super) prev_hash: &'a str,
    pub(super) hash: &'a str,
    #[serde(borrow)]
    pub(super) agent: Option<Agent<'a>>,
    #[serde(borrow)]
    pub(super) task: Option<Task<'a>>,
    pub(super) session_id: Option<&'a str>,
    pub(super) grant_id: Option<&'a str>,
    pub(super) jti: Option<&'a str>,
    pub(super) action: Option<&'a str>,
    pub(super) resource: Option<&'a str>,
    pub(super) reason_code: Option<&'a str>,
    pub(super) message: Option<&'a str>,
    #[serde(borrow)]
    pub(super) policy: Option<Policy<'a>>,
    pub(super) decision_id: Option<&'a str>,
    #[serde(borrow)]
    pub(super) http: Option<Http<'a>>,
    pub(super) request_id: Option<&'a str>,
    pub(super) trace_id: Option<&'a str>,
    #[serde(borrow)]
    pub(super) source: Option<Source<'a>>,
    #[serde(borrow)]
    pub(super) destination: Option<Destination<'a>>,
    #[serde(borrow)]
    pub(super) pep: Option<Pep<'a>>,
    pub(super) latency_us: Option<u64>,
    pub(super) count: Option<u64>,
    #[serde(borrow)]
    pub(super) last_time: Option<Moment<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Actor<'a> {
    pub(super) id: Option<&'a str>,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) spiffe_id: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Agent<'a> {
    pub(super) id: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Task<'a> {
    pub(super) id: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Policy<'a> {
    pub(super) path: Option<&'a str>,
    #[serde(rename = "policy_id")]
    pub(super) id: Option<&'a str>,
    pub(super) revision: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Http<'a> {
    pub(super) host: &'a str,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source<'a> {
    pub(super) ip: Option<&'a str>,
    pub(super) spiffe_id: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Destination<'a> {
    pub(super) spiffe_id: &'a str,
}

#[derive(Debug, Deserialize)]
pub(super) struct Pep<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) spiffe_id: Option<&'a str>,
}

/// A time as it was written, and as a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// RFC 3339.
    pub(super) text: &'a str,
    /// Milliseconds since 1970, rounded down.
    pub(super) unix_millis: i64,
}

impl<'a> Written<'a> {
    pub(super) fn of(whole: &'a Value) -> Result<Self, serde_json::Error> {
        let members = Members::deserialize(whole)?;
        Ok(Self { whole, members })
    }

    /// What this kind of event alone says under `name`, if it is a text.
    pub(super) fn detail(&self, name: &str) -> Option<&'a str> {
        self.whole.get("details")?.get(name)?.as_str()
    }

    /// The members of these names that the record has.
    pub(super) fn part(&self, names: &[&str]) -> Map<String, Value> {
        let found = names.iter().filter_map(|name| {
            let value = self.whole.get(name)?;
            Some(((*name).to_owned(), value.clone()))
        });
        found.collect()
    }

    /// Whether this record says that its writer found a torn line with this digest.
    pub(super) fn announces(&self, torn: &Digest) -> bool {
        let details = self.whole.get("details");
        let listed = details.and_then(|it| it.get("torn_lines")?.as_array());
        self.members.event_type == EventType::AuditStarted
            && listed.is_some_and(|lines| lines.iter().any(|line| line == torn.as_str()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Moment<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_cause| {
            D::Error::invalid_value(Unexpected::Str(text), &"a time of RFC 3339")
        })?;
        let seconds = time.unix_timestamp();
        let unix_millis = seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(time.millisecond()));
        Ok(Self { text, unix_millis })
    }
}

fn event_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventType, D::Error> {
    deserializer.deserialize_str(Word {
        wanted: "an event type of this version",
        known: &EventType::ALL,
        name: EventType::as_str,
    })
}

fn outcome<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
    use Outcome::{Allowed, Denied, Failure, Success, Supervised};
    deserializer.deserialize_str(Word {
        wanted: "a result of this version",
        known: &[Allowed, Supervised, Denied, Success, Failure],
        name: Outcome::as_str,
    })
}

/// One of the words that the writer knows.
struct Word<T: 'static> {
    wanted: &'static str,
    known: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T: Copy> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wanted)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        let found = self.known.iter().find(|it| (self.name)(**it) == word);
        found
            .copied()
            .ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
    }
}
