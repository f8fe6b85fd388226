//! What the witness records about itself: where a chain begins and ends, and what is missing from it.

use super::chain::Nonce;
use super::details::Details;
use super::record::{Actor, EventType, Outcome, Record};
use super::sink::{Found, LastRecord};
use super::status::Lost;
use super::text::Text;

/// The first records of a chain: the start, and a gap if the writer before did not come to its end.
pub(super) fn started(nonce: Nonce, found: &[Found]) -> Vec<Record> {
    let mut details = Details::default()
        .with("nonce", nonce.to_hex())
        .with("version", env!("CARGO_PKG_VERSION"));
    let torn: Vec<Text> = found
        .iter()
        .filter_map(|found| found.torn.as_ref())
        .map(|digest| digest.as_str().into())
        .collect();
    if !torn.is_empty() {
        details = details.with("torn_lines", torn);
    }
    let last = found.iter().find_map(|found| found.last.as_ref());
    if let Some(last) = last {
        details = previous(details, last);
    }
    let started = own(EventType::AuditStarted, Outcome::Success, details);
    let Some(killed) = last.filter(|last| !last.stopped) else {
        return vec![started];
    };
    let gap = Record {
        message: Some(Text::fixed("the previous writer did not come to its end")),
        ..own(
            EventType::AuditGap,
            Outcome::Failure,
            previous(Details::default(), killed),
        )
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

fn previous(details: Details, last: &LastRecord) -> Details {
    let LastRecord {
        writer,
        seq,
        hash,
        stopped: _,
    } = last;
    details
        .with("previous_hash", hash.as_str())
        .with("previous_seq", *seq)
        .with("previous_writer", writer.as_str())
}

fn own(event_type: EventType, result: Outcome, details: Details) -> Record {
    Record {
        details,
        ..Record::new(event_type, result, Actor::System)
    }
}
