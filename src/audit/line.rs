//! A record as one line of JSON: what the caller said and what the writer adds, as one object.
//!
//! The line is in the canonical form of RFC 8785 by construction: members are written in the order of their names, all
//! names are ASCII, and all numbers are integers below 2^53. A test holds it equal to a general canonicalizer, which
//! would take fifteen times as long.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::chain::Digest;
use super::details::MAX_EXACT;
use super::queue::{Entry, Repeats};
use super::record::{Actor, Record};
use super::text::bounded;

/// One line, borrowed from its parts.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) entry: &'a Entry,
    pub(super) id: &'a str,
    pub(super) seq: u64,
    pub(super) writer: &'a str,
    pub(super) tenant: &'a str,
    pub(super) prev_hash: &'a Digest,
    /// Absent while it is being computed.
    pub(super) hash: Option<&'a Digest>,
}

impl Serialize for Line<'_> {
    #[expect(clippy::too_many_lines, reason = "one for each member")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            entry,
            id,
            seq,
            writer,
            tenant,
            prev_hash,
            hash,
        } = self;
        let Entry {
            time,
            arrival: _,
            repeats,
            record,
        } = entry;
        let Record {
            event_type,
            result,
            actor,
            subject,
            delegation_chain,
            action,
            resource,
            tier,
            reason_code,
            message,
            policy,
            decision_id,
            target,
            audience,
            http,
            request_id,
            trace_id,
            source,
            destination,
            pep,
            mode,
            would_be,
            latency,
            cached,
            details,
        } = record;
        let actor = ActorOf { actor, writer };
        let action = action.as_ref().map(|action| bounded(action.as_str()));
        let resource = resource.as_ref().map(|resource| bounded(resource.as_str()));
        let latency = latency.map(|latency| {
            u64::try_from(latency.as_micros())
                .unwrap_or(u64::MAX)
                .min(MAX_EXACT)
        });

        // In the order of RFC 8785: by name.
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "action", action.as_ref())?;
        map.serialize_entry("actor", &actor)?;
        optional(&mut map, "audience", audience.as_ref())?;
        optional(&mut map, "cached", cached.as_ref())?;
        optional(
            &mut map,
            "count",
            repeats.as_ref().map(|Repeats { count, .. }| count),
        )?;
        optional(&mut map, "decision_id", decision_id.as_ref())?;
        match (delegation_chain.as_slice(), actor.id()) {
            ([], Some(id)) => map.serialize_entry("delegation_chain", &[id])?,
            (chain, _) => map.serialize_entry("delegation_chain", chain)?,
        }
        optional(&mut map, "destination", destination.as_ref())?;
        optional(
            &mut map,
            "details",
            (!details.is_empty()).then_some(details),
        )?;
        map.serialize_entry("event_type", event_type)?;
        optional(&mut map, "hash", *hash)?;
        optional(&mut map, "http", http.as_ref())?;
        map.serialize_entry("id", id)?;
        optional(
            &mut map,
            "last_time",
            repeats.as_ref().map(|Repeats { last_time, .. }| last_time),
        )?;
        optional(&mut map, "latency_us", latency.as_ref())?;
        optional(&mut map, "message", message.as_ref())?;
        optional(&mut map, "mode", mode.as_ref())?;
        optional(&mut map, "pep", pep.as_ref())?;
        optional(&mut map, "policy", policy.as_ref())?;
        map.serialize_entry("prev_hash", prev_hash)?;
        optional(&mut map, "reason_code", reason_code.as_ref())?;
        optional(&mut map, "request_id", request_id.as_ref())?;
        optional(&mut map, "resource", resource.as_ref())?;
        map.serialize_entry("result", result)?;
        map.serialize_entry("seq", seq)?;
        optional(&mut map, "source", source.as_ref())?;
        optional(&mut map, "subject", subject.as_ref())?;
        optional(&mut map, "target", target.as_ref())?;
        map.serialize_entry("tenant", tenant)?;
        optional(&mut map, "tier", tier.as_ref())?;
        map.serialize_entry("time", time)?;
        optional(&mut map, "trace_id", trace_id.as_ref())?;
        optional(&mut map, "would_be", would_be.as_ref())?;
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

/// An actor, and the writer that stands for attache itself.
struct ActorOf<'a> {
    actor: &'a Actor,
    writer: &'a str,
}

impl ActorOf<'_> {
    fn id(&self) -> Option<&str> {
        match self.actor {
            Actor::Workload(id) | Actor::Agent(id) => Some(id.as_str()),
            Actor::System => Some(self.writer),
            Actor::Unknown => None,
        }
    }
}

impl Serialize for ActorOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = match self.actor {
            Actor::Workload(_) => "workload",
            Actor::Agent(_) => "agent",
            Actor::System => "system",
            Actor::Unknown => "unknown",
        };
        let mut map = serializer.serialize_map(None)?;
        optional(&mut map, "id", self.id().as_ref())?;
        map.serialize_entry("type", kind)?;
        map.end()
    }
}
