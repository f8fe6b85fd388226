//! Folds identical denials into one record with a count, so that whoever hammers at a closed door does not push other
//! refusals out of the queue or fill the disk.
//!
//! Done only when denials come faster than they are written: then the ids of the folded requests are lost, the fact that
//! they were refused, how many and until when is not. A denial that somebody waits for is never folded: its record is
//! what was promised.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use super::queue::{Entry, Queued, Repeats};
use super::record::{
    Actor, Destination, EventType, Http, Mandate, Mode, Outcome, Pep, Policy, Record, Source,
    Subject,
};
use super::text::Text;
use crate::identity::SpiffeId;
use crate::permission::{Action, Reason, Resource, Tier};

/// What two denials must have in common: everything but what tells one request from the same one sent again.
#[derive(PartialEq, Eq, Hash)]
struct Likeness<'a> {
    event_type: EventType,
    actor: &'a Actor,
    subject: Option<&'a Subject>,
    delegation_chain: &'a [Text],
    mandate: Option<&'a Mandate>,
    action: Option<&'a Action>,
    resource: Option<&'a Resource>,
    tier: Option<Tier>,
    reason: Option<Reason>,
    message: Option<&'a Text>,
    policy: Option<&'a Policy>,
    target: Option<&'a SpiffeId>,
    audience: Option<&'a Text>,
    http: Option<&'a Http>,
    source: Option<&'a Source>,
    destination: Option<&'a Destination>,
    pep: Option<&'a Pep>,
    mode: Option<Mode>,
}

/// Folds every denial of `entries` into the first one like it, if that is at most a second older. Keeps the order.
pub(super) fn fold(entries: Vec<Queued>) -> Vec<Queued> {
    let mut kept: Vec<Queued> = Vec::with_capacity(entries.len());
    // Where the first of a likeness is, by its hash. A collision only begins a new record.
    let mut first: HashMap<u64, usize> = HashMap::new();
    let hasher = RandomState::new();
    for entry in entries {
        if entry.record.result != Outcome::Denied || entry.receipt.is_some() {
            kept.push(entry);
            continue;
        }
        let likeness = Likeness::of(&entry.record);
        let hash = hasher.hash_one(&likeness);
        let at = first.get(&hash).copied();
        match at.and_then(|at| kept.get_mut(at)) {
            Some(like)
                if Likeness::of(&like.record) == likeness && within_a_second(like, &entry) =>
            {
                like.add(&entry);
            }
            _ => {
                first.insert(hash, kept.len());
                kept.push(entry);
            }
        }
    }
    kept
}

fn within_a_second(first: &Entry, later: &Entry) -> bool {
    let age = later
        .time
        .unix_millis()
        .checked_sub(first.time.unix_millis());
    age.is_some_and(|age| age <= 1000)
}

impl Entry {
    fn add(&mut self, later: &Self) {
        let count = self.repeats.map_or(1, |repeats| repeats.count) + 1;
        self.repeats = Some(Repeats {
            count,
            last_time: later.time,
        });
    }
}

impl<'a> Likeness<'a> {
    fn of(record: &'a Record) -> Self {
        let Record {
            event_type,
            result: _,
            actor,
            subject,
            delegation_chain,
            mandate,
            action,
            resource,
            tier,
            reason_code,
            message,
            policy,
            decision_id: _,
            target,
            audience,
            http,
            request_id: _,
            trace_id: _,
            source,
            destination,
            pep,
            mode,
            would_be: _,
            latency: _,
            cached: _,
            // No denial has any.
            details: _,
        } = record;
        Self {
            event_type: *event_type,
            actor,
            subject: subject.as_ref(),
            delegation_chain,
            mandate: mandate.as_deref(),
            action: action.as_ref(),
            resource: resource.as_ref(),
            tier: *tier,
            reason: *reason_code,
            message: message.as_ref(),
            policy: policy.as_ref(),
            target: target.as_ref(),
            audience: audience.as_ref(),
            http: http.as_ref(),
            source: source.as_ref(),
            destination: destination.as_ref(),
            pep: pep.as_ref(),
            mode: *mode,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::EventType;
    use crate::audit::{Destination, Http, Mode, Pep, Protocol, Source};
    use crate::clock::Timestamp;

    fn entry(arrival: u64, millis: u64, result: Outcome, action: &str) -> Queued {
        let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
        Box::new(Entry {
            time: Timestamp::from_unix_seconds(100).plus(Duration::from_millis(millis)),
            moment: tokio::time::Instant::now(),
            arrival,
            repeats: None,
            receipt: None,
            record: Record {
                action: Some(action.parse().unwrap()),
                reason_code: Some(Reason::OutOfScope),
                ..Record::new(EventType::PermissionDenied, result, actor)
            },
        })
    }

    fn shape(entries: &[Queued]) -> Vec<(u64, Option<u64>)> {
        entries
            .iter()
            .map(|entry| (entry.arrival, entry.repeats.map(|repeats| repeats.count)))
            .collect()
    }

    #[test]
    fn like_denials_within_a_second_become_one() {
        let denied = Outcome::Denied;
        let folded = fold(vec![
            entry(0, 0, denied, "read"),
            entry(1, 10, denied, "write"),
            entry(2, 20, denied, "read"),
            entry(3, 1000, denied, "read"),
            entry(4, 1001, denied, "read"),
            entry(5, 1002, denied, "read"),
        ]);
        assert_eq!(shape(&folded), [(0, Some(3)), (1, None), (4, Some(2))]);
        let last = folded[0].repeats.unwrap().last_time;
        assert_eq!(last, Timestamp::from_unix_seconds(101));
    }

    fn route_unmatched(change: impl FnOnce(&mut Record, &mut Http)) -> Queued {
        let mut entry = entry(0, 0, Outcome::Denied, "read");
        let mut http = Http {
            host: "documents.example.org".into(),
            method: "GET".into(),
            path: "/documents/42".into(),
            protocol: Protocol::Http,
            route: None,
        };
        entry.record = Record {
            action: None,
            reason_code: Some(Reason::RouteUnmatched),
            decision_id: Some("first".into()),
            pep: Some(Pep::Unix { uid: Some(101) }),
            ..entry.record
        };
        change(&mut entry.record, &mut http);
        entry.record.http = Some(http);
        entry
    }

    #[test]
    fn distinct_probes_are_not_one_denial() {
        let changes: [fn(&mut Record, &mut Http); 8] = [
            |_, http| http.path = "/documents/43".into(),
            |_, http| http.method = "DELETE".into(),
            |_, http| http.host = "billing.example.org".into(),
            |record, _| {
                record.source = Some(Source {
                    ip: Some("10.0.3.18".parse().unwrap()),
                    spiffe_id: None,
                });
            },
            |record, _| record.pep = Some(Pep::Loopback),
            |record, _| {
                let spiffe_id = "spiffe://example.org/svc/billing".parse().unwrap();
                record.destination = Some(Destination { spiffe_id });
            },
            |record, _| record.message = Some("another rule".into()),
            |record, _| record.mode = Some(Mode::Enforce),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let folded = fold(vec![route_unmatched(|_, _| {}), route_unmatched(change)]);
            assert_eq!(folded.len(), 2, "change {index}");
        }
    }

    #[test]
    fn what_only_tells_requests_apart_does_not_keep_denials_apart() {
        let folded = fold(vec![
            route_unmatched(|_, _| {}),
            route_unmatched(|record, _| {
                record.decision_id = Some("second".into());
                record.request_id = Some("another".into());
                record.latency = Some(Duration::from_micros(7));
            }),
        ]);
        assert_eq!(shape(&folded), [(0, Some(2))]);
        let first = &folded[0].record;
        assert_eq!(first.decision_id.as_ref().unwrap().as_str(), "first");
    }

    #[test]
    fn nothing_but_denials_is_folded() {
        let folded = fold(vec![
            entry(0, 0, Outcome::Supervised, "read"),
            entry(1, 0, Outcome::Supervised, "read"),
            entry(2, 0, Outcome::Failure, "read"),
            entry(3, 0, Outcome::Failure, "read"),
        ]);
        assert_eq!(shape(&folded), [(0, None), (1, None), (2, None), (3, None)]);
    }

    #[test]
    fn a_clock_that_stepped_back_begins_a_new_record() {
        // A19
        let folded = fold(vec![
            entry(0, 500, Outcome::Denied, "read"),
            entry(1, 0, Outcome::Denied, "read"),
        ]);
        assert_eq!(shape(&folded), [(0, None), (1, None)]);
    }
}
