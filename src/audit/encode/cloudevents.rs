//! A record as an event of `CloudEvents` 1.0, in its JSON format (cloudevents/spec, json-format.md).
//!
//! The record is `data`, whole. Attributes repeat what routers and consumers sort by; names of extension attributes are
//! lower-case letters, as the specification asks. There is no `traceparent`: it needs the id of a span, and a record
//! knows the trace alone, which is the attribute `traceid`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::known;
use super::written::Written;

/// The event. Its type is the kind of event after `dev.attache.`, so that every kind has one.
pub(super) fn event(record: &Written<'_>) -> Value {
    let it = &record.members;
    known(json!({
        "data": record.whole,
        "datacontenttype": "application/json",
        "hash": it.hash,
        "id": it.id,
        "prevhash": it.prev_hash,
        // An extension of the specification, ordered as text: as many digits as any number has.
        "sequence": format!("{:020}", it.seq),
        "source": source(it.writer),
        "specversion": "1.0",
        "subject": attribute(it.resource),
        "tenant": attribute(Some(it.tenant)),
        "time": it.time.text,
        "traceid": attribute(it.trace_id),
        "type": format!("dev.attache.{}", it.event_type.as_str()),
    }))
}

/// The writer as an absolute URI: its own where it is one, else a name.
fn source(writer: &str) -> String {
    if writer.starts_with("spiffe://") && writer.bytes().all(|it| it.is_ascii_graphic()) {
        return writer.to_owned();
    }
    format!(
        "urn:attache:writer:{}",
        utf8_percent_encode(writer, OUTSIDE_A_URN)
    )
}

/// `text` if it may be an attribute: not empty, no control characters (spec.md, "Type System").
fn attribute(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
}

/// What can't stand in the specific part of a URN as it is (RFC 8141, section 2), and what could.
const OUTSIDE_A_URN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');
