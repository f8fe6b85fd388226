//! Folds identical denials into one record with a count, so that whoever hammers at a closed door does not push other
//! refusals out of the queue or fill the disk.
//!
//! Done only when denials come faster than they are written: then the ids of the folded requests are lost, the fact that
//! they were refused, how many and until when is not.

use std::collections::HashMap;
use std::collections::hash_map;

use super::queue::{Entry, Queued, Repeats};
use super::record::{Actor, Outcome, Record};
use super::text::Text;
use crate::permission::{Action, Reason, Resource};

/// What two denials must have in common.
#[derive(PartialEq, Eq, Hash)]
struct Likeness {
    actor: Actor,
    resource: Option<Resource>,
    action: Option<Action>,
    reason: Option<Reason>,
    route: Option<Text>,
}

/// Folds every denial of `entries` into the first one like it, if that is at most a second older. Keeps the order.
pub(super) fn fold(entries: Vec<Queued>) -> Vec<Queued> {
    let mut kept: Vec<Queued> = Vec::with_capacity(entries.len());
    let mut first: HashMap<Likeness, usize> = HashMap::new();
    for entry in entries {
        if entry.record.result != Outcome::Denied {
            kept.push(entry);
            continue;
        }
        match first.entry(Likeness::of(&entry.record)) {
            hash_map::Entry::Occupied(mut at) => match kept.get_mut(*at.get()) {
                Some(like) if within_a_second(like, &entry) => like.add(&entry),
                _ => {
                    at.insert(kept.len());
                    kept.push(entry);
                }
            },
            hash_map::Entry::Vacant(at) => {
                at.insert(kept.len());
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

impl Likeness {
    fn of(record: &Record) -> Self {
        Self {
            actor: record.actor.clone(),
            resource: record.resource.clone(),
            action: record.action.clone(),
            reason: record.reason_code,
            route: record.http.as_ref().and_then(|http| http.route.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::audit::EventType;
    use crate::clock::Timestamp;

    fn entry(arrival: u64, millis: u64, result: Outcome, action: &str) -> Queued {
        let actor = Actor::Workload("spiffe://example.org/svc/a".parse().unwrap());
        Box::new(Entry {
            time: Timestamp::from_unix_seconds(100).plus(Duration::from_millis(millis)),
            arrival,
            repeats: None,
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
