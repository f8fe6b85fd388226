//! What the witness records about itself: where a chain begins and ends, and what is missing from it.

use super::chain::Nonce;
use super::checkpoint::PublicKey;
use super::details::Details;
use super::record::{Actor, EventType, Outcome, Record};
use super::sink::{Found, LastRecord};
use super::status::Lost;
use super::text::Text;

/// The first records of a chain: the start, and a gap if the writer before did not come to its end.
pub(super) fn started(
    nonce: Nonce,
    found: &[Found],
    checkpoint_key: Option<PublicKey>,
) -> Vec<Record> {
    let mut details = Details::default()
        .with("nonce", nonce.to_hex())
        .with("version", env!("CARGO_PKG_VERSION"));
    if let Some(key) = checkpoint_key {
        details = details.with("checkpoint_key", key.to_string());
    }
    let torn: Vec<Text> = found
        .iter()
        .filter_map(|found| found.torn.as_ref())
        .map(|digest| digest.as_str().into())
        .collect();
    if !torn.is_empty() {
        details = details.with("torn_lines", torn);
    }
    if found.iter().any(|found| found.note_unreadable) {
        details = details.with("note_unreadable", true);
    }
    // The sinks may have been cut off at different records; the first that knows of an earlier chain speaks.
    let known = found
        .iter()
        .find(|found| found.last.is_some() || found.noted.is_some());
    let last = known.and_then(|found| found.last.as_ref());
    let noted = known.and_then(|found| found.noted.as_ref());
    let details = naming(details, last, noted);
    let started = own(EventType::AuditStarted, Outcome::Success, details);

    let cut = match (last, noted) {
        (Some(last), Some(noted)) => last.writer == noted.writer,
        _ => false,
    };
    let last = last.filter(|last| !last.stopped);
    let noted = noted.filter(|noted| !noted.stopped || cut);
    if last.is_none() && noted.is_none() {
        return vec![started];
    }
    let message = if cut {
        "the file ends before the noted end of its last chain"
    } else {
        "the previous writer did not come to its end"
    };
    let details = naming(Details::default(), last, noted);
    let gap = Record {
        message: Some(Text::fixed(message)),
        ..own(EventType::AuditGap, Outcome::Failure, details)
    };
    vec![started, gap]
}

/// Records that found no room in the queue; `None` if all did.
pub(super) fn dropped(refusals: Option<Lost>, allowances: Option<Lost>) -> Option<Record> {
    let lost = || refusals.iter().chain(&allowances);
    let from = lost().map(|lost| lost.from).min()?;
    let to = lost().map(|lost| lost.to).max()?;
    let count = |lost: Option<Lost>| lost.map_or(0, |lost| lost.count);
    let details = Details::default()
        .with("dropped", count(refusals).saturating_add(count(allowances)))
        .with("dropped_allowances", count(allowances))
        .with("dropped_refusals", count(refusals))
        .with("from", from.to_string())
        .with("to", to.to_string());
    Some(Record {
        message: Some(Text::fixed("records found no room in the queue")),
        ..own(EventType::AuditGap, Outcome::Failure, details)
    })
}

/// The end of a chain of `records`, itself included.
pub(super) fn stopped(records: u64) -> Record {
    let details = Details::default().with("records", records);
    own(EventType::AuditStopped, Outcome::Success, details)
}

/// Adds the ends of earlier chains: the one that was in the file, and the one that was noted beside it.
fn naming(mut details: Details, last: Option<&LastRecord>, noted: Option<&LastRecord>) -> Details {
    if let Some(last) = last {
        details = details
            .with("previous_hash", last.hash.as_str())
            .with("previous_seq", last.seq)
            .with("previous_writer", last.writer.as_str());
    }
    if let Some(noted) = noted {
        details = details
            .with("noted_hash", noted.hash.as_str())
            .with("noted_seq", noted.seq)
            .with("noted_stopped", noted.stopped)
            .with("noted_writer", noted.writer.as_str());
    }
    details
}

fn own(event_type: EventType, result: Outcome, details: Details) -> Record {
    Record {
        details,
        ..Record::new(event_type, result, Actor::System)
    }
}
