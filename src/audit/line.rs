//! A record as one line of JSON: what the caller said and what the writer adds, as one object.
//!
//! The line is in the canonical form of RFC 8785 by construction: members are written in the order of their names, all
//! names are ASCII, and all numbers are integers below 2^53. A test holds it equal to a general canonicalizer, which
//! would take fifteen times as long.

use std::borrow::Cow;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use tokio::time::Instant;

use super::chain::Digest;
use super::details::MAX_EXACT;
use super::queue::{Entry, Repeats};
use super::record::{Actor, Record};
use super::redaction::{
    AUDIENCE, DetailsOf, HttpOf, MESSAGE, REQUEST_ID, Redaction, SourceOf, TRACE_ID,
};
use super::text::shown;

/// One line, borrowed from its parts.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) entry: &'a Entry,
    pub(super) id: &'a str,
    pub(super) seq: u64,
    pub(super) writer: &'a str,
    pub(super) tenant: &'a str,
    pub(super) prev_hash: &'a Digest,
    /// When the writer began, on the clock that nobody sets.
    pub(super) began: Instant,
    pub(super) redaction: &'a Redaction,
}

/// The members whose names come before `hash`. Never empty.
struct Before<'a>(&'a Line<'a>);

/// The members whose names come after `hash`. Never empty.
struct After<'a>(&'a Line<'a>);

impl Line<'_> {
    /// Appends the line to `out`, without a line feed, and gives its hash back.
    ///
    /// Every member is written once: the hash is taken over what stands on both sides of it, joined by a comma. On an
    /// error `out` may hold a part of the line.
    pub(super) fn seal(&self, out: &mut Vec<u8>) -> Result<Digest, serde_json::Error> {
        let begin = out.len();
        serde_json::to_writer(&mut *out, &Before(self))?;
        // The end of the object.
        out.pop();
        let before = out.len();
        begin_text(out, "hash");
        let digits = out.len();
        out.extend_from_slice(&[b'0'; Digest::DIGITS]);
        out.push(QUOTE);
        let after = out.len();
        serde_json::to_writer(&mut *out, &After(self))?;
        if let Some(brace) = out.get_mut(after) {
            *brace = b',';
        }
        let part = |range| out.get(range).unwrap_or_default();
        let hash = Digest::of([
            self.prev_hash.as_bytes(),
            part(begin..before),
            part(after..out.len()),
        ]);
        if let Some(place) = out.get_mut(digits..digits + Digest::DIGITS) {
            place.copy_from_slice(hash.as_str().as_bytes());
        }
        Ok(hash)
    }
}

impl Serialize for Before<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Entry {
            repeats, record, ..
        } = self.0.entry;
        let Record {
            event_type,
            actor,
            delegation_chain,
            mandate,
            action,
            decision_id,
            audience,
            destination,
            cached,
            details,
            // These come after. A new field does not compile here until it is in one of the two.
            result: _,
            subject: _,
            resource: _,
            tier: _,
            reason_code: _,
            message: _,
            policy: _,
            target: _,
            http: _,
            request_id: _,
            trace_id: _,
            source: _,
            pep: _,
            mode: _,
            would_be: _,
            latency: _,
        } = record;
        let writer = self.0.writer;
        let redaction = self.0.redaction.of(record);
        let erased = redaction.erased(record);
        let erased = (!erased.is_empty()).then_some(erased);
        let audience = redaction.shown(AUDIENCE, audience.as_ref());
        let actor = ActorOf { actor, writer };
        let action = action.as_ref().map(|it| shown(it.as_str()));
        let agent = mandate.as_ref().and_then(|it| it.agent.as_ref());
        let grant_id = mandate.as_ref().and_then(|it| it.grant_id.as_ref());
        let count = repeats.as_ref().map(|Repeats { count, .. }| count);
        let details = (!details.is_empty()).then_some(DetailsOf(details, redaction));

        // In the order of RFC 8785: by name.
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "action", action.as_ref())?;
        map.serialize_entry("actor", &actor)?;
        optional(&mut map, "agent", agent)?;
        optional(&mut map, "audience", audience.as_ref())?;
        optional(&mut map, "cached", cached.as_ref())?;
        optional(&mut map, "count", count)?;
        optional(&mut map, "decision_id", decision_id.as_ref())?;
        match (delegation_chain.as_slice(), actor.id()) {
            ([], Some(id)) => map.serialize_entry("delegation_chain", &[id])?,
            (chain, _) => map.serialize_entry("delegation_chain", chain)?,
        }
        optional(&mut map, "destination", destination.as_ref())?;
        optional(&mut map, "details", details.as_ref())?;
        optional(&mut map, "erased", erased.as_ref())?;
        map.serialize_entry("event_type", event_type)?;
        optional(&mut map, "grant_id", grant_id)?;
        map.end()
    }
}

impl Serialize for After<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Line {
            entry,
            id,
            seq,
            writer,
            tenant,
            prev_hash,
            began,
            redaction,
        } = self.0;
        let record = &entry.record;
        let redaction = redaction.of(record);
        let http = record.http.as_ref().map(|it| HttpOf(it, redaction));
        let source = record.source.as_ref().map(|it| SourceOf(it, redaction));
        let message = redaction.shown(MESSAGE, record.message.as_ref());
        let request_id = redaction.shown(REQUEST_ID, record.request_id.as_ref());
        let trace_id = redaction.shown(TRACE_ID, record.trace_id.as_ref());
        let mandate = record.mandate.as_deref();
        let last_time = entry.repeats.as_ref().map(|it| &it.last_time);
        let resource = record.resource.as_ref().map(|it| shown(it.as_str()));
        let latency = record.latency.map(micros);
        let uptime = micros(entry.moment.saturating_duration_since(*began));

        // In the order of RFC 8785: by name.
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "http", http.as_ref())?;
        map.serialize_entry("id", id)?;
        let jti = mandate.and_then(|it| it.jti.as_ref());
        optional(&mut map, "jti", jti)?;
        optional(&mut map, "last_time", last_time)?;
        optional(&mut map, "latency_us", latency.as_ref())?;
        optional(&mut map, "message", message.as_ref())?;
        optional(&mut map, "mode", record.mode.as_ref())?;
        let parent_jti = mandate.and_then(|it| it.parent_jti.as_ref());
        optional(&mut map, "parent_jti", parent_jti)?;
        optional(&mut map, "pep", record.pep.as_ref())?;
        optional(&mut map, "policy", record.policy.as_ref())?;
        map.serialize_entry("prev_hash", prev_hash)?;
        optional(&mut map, "reason_code", record.reason_code.as_ref())?;
        optional(&mut map, "request_id", request_id.as_ref())?;
        optional(&mut map, "resource", resource.as_ref())?;
        map.serialize_entry("result", &record.result)?;
        map.serialize_entry("seq", seq)?;
        let session_id = mandate.and_then(|it| it.session_id.as_ref());
        optional(&mut map, "session_id", session_id)?;
        optional(&mut map, "source", source.as_ref())?;
        optional(&mut map, "subject", record.subject.as_ref())?;
        optional(&mut map, "target", record.target.as_ref())?;
        let task = mandate.and_then(|it| it.task.as_ref());
        optional(&mut map, "task", task)?;
        map.serialize_entry("tenant", tenant)?;
        optional(&mut map, "tier", record.tier.as_ref())?;
        map.serialize_entry("time", &entry.time)?;
        optional(&mut map, "trace_id", trace_id.as_ref())?;
        map.serialize_entry("uptime_us", &uptime)?;
        optional(&mut map, "would_be", record.would_be.as_ref())?;
        map.serialize_entry("writer", writer)?;
        map.end()
    }
}

fn optional<M: SerializeMap, T: Serialize>(
    map: &mut M,
    name: &'static str,
    value: Option<&T>,
) -> Result<(), M::Error> {
    match value {
        Some(value) => map.serialize_entry(name, value),
        None => Ok(()),
    }
}

/// Whole microseconds, as many as RFC 8785 writes exactly.
fn micros(duration: Duration) -> u64 {
    let micros = u64::try_from(duration.as_micros());
    micros.unwrap_or(u64::MAX).min(MAX_EXACT)
}

/// Appends the comma, the name and the opening quote of a further member that is a text.
fn begin_text(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
}

const QUOTE: u8 = b'"';

/// An actor, and the writer that stands for attache itself.
struct ActorOf<'a> {
    actor: &'a Actor,
    writer: &'a str,
}

impl ActorOf<'_> {
    fn id(&self) -> Option<Cow<'_, str>> {
        let id = match self.actor {
            Actor::Workload(id) | Actor::Agent(id) => Some(id.as_str()),
            Actor::Delegate { agent_id: id, .. } | Actor::Person(id) => Some(id.as_str()),
            Actor::System => Some(self.writer),
            Actor::Unknown => None,
        };
        id.map(shown)
    }
}

impl Serialize for ActorOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = match self.actor {
            Actor::Workload(_) => "workload",
            Actor::Agent(_) | Actor::Delegate { .. } => "agent",
            Actor::Person(_) => "person",
            Actor::System => "system",
            Actor::Unknown => "unknown",
        };
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "id", self.id().as_ref())?;
        if let Actor::Delegate { spiffe_id, .. } = self.actor {
            map.serialize_entry("spiffe_id", spiffe_id)?;
        }
        map.serialize_entry("type", kind)?;
        map.end()
    }
}
