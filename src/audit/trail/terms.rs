//! What a record is found by: the members that a [`Filter`] asks about, read from the line.
//!
//! One reading serves the scan and the index of the database, so that both find the same. What does not have these
//! members in these shapes is no record, and nothing finds it.

use serde::Deserialize;
use serde_json::Value;

use super::{Cursor, Filter, Tasks};

/// The members of a record that it is found by.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::audit) struct Terms {
    pub(in crate::audit) time: String,
    pub(in crate::audit) writer: String,
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) event_type: String,
    pub(in crate::audit) result: String,
    pub(in crate::audit) subject: Option<Subject>,
    pub(in crate::audit) task: Option<Task>,
    pub(in crate::audit) resource: Option<String>,
    pub(in crate::audit) action: Option<String>,
    pub(in crate::audit) decision_id: Option<String>,
    actor: Actor,
    delegation_chain: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Actor {
    id: Option<String>,
    spiffe_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::audit) struct Subject {
    pub(in crate::audit) id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(in crate::audit) struct Task {
    pub(in crate::audit) id: String,
    path: Vec<String>,
}

impl Terms {
    /// `None` unless `line` is a record.
    pub(in crate::audit) fn read(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// The names of who did it: the id, and the workload of an agent that acts for somebody.
    pub(in crate::audit) fn actors(&self) -> impl Iterator<Item = &str> {
        [&self.actor.id, &self.actor.spiffe_id]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }

    /// Everybody concerned: the chain, and who did it. A name may come twice.
    pub(in crate::audit) fn chain(&self) -> impl Iterator<Item = &str> {
        let chain = self.delegation_chain.iter().map(String::as_str);
        chain.chain(self.actors())
    }

    /// The task and every task that it is part of. A name may come twice.
    pub(in crate::audit) fn tasks(&self) -> impl Iterator<Item = &str> {
        let path = self
            .task
            .iter()
            .flat_map(|task| task.path.iter().chain([&task.id]));
        path.map(String::as_str)
    }

    /// The place right after this record.
    pub(super) fn cursor(&self) -> Cursor {
        Cursor {
            time: self.time.clone(),
            writer: self.writer.clone(),
            seq: self.seq,
        }
    }
}

impl Filter {
    /// Whether this asks for `record`, a record's JSON. Nothing asks for what is no record.
    pub fn matches(&self, record: &Value) -> bool {
        Terms::deserialize(record).is_ok_and(|terms| self.admits(&terms))
    }

    pub(super) fn admits(&self, terms: &Terms) -> bool {
        // A new field does not compile until it is asked about.
        let Self {
            actor,
            subject,
            chain,
            event_types,
            task,
            resource,
            action,
            result,
            decision_id,
            from,
            until,
        } = self;
        let is = |wanted: &Option<String>, found: Option<&String>| {
            wanted.is_none() || wanted.as_ref() == found
        };
        let of_type = event_types.is_empty()
            || event_types
                .iter()
                .any(|wanted| wanted.as_str() == terms.event_type);
        let of_task = match task {
            None => true,
            Some(Tasks::Under(task)) => terms.tasks().any(|name| name == task),
            Some(Tasks::Exactly(task)) => terms.task.as_ref().is_some_and(|it| it.id == *task),
        };
        // With nine digits and `Z`, the order of the texts is the order of the moments.
        let since = from.is_none_or(|from| from.to_string() <= terms.time);
        let before = until.is_none_or(|until| terms.time < until.to_string());
        let by = |wanted: &String| terms.actors().any(|name| name == wanted);
        let concerns = |wanted: &String| terms.chain().any(|name| name == wanted);
        actor.as_ref().is_none_or(by)
            && chain.as_ref().is_none_or(concerns)
            && is(subject, terms.subject.as_ref().map(|it| &it.id))
            && of_type
            && of_task
            && is(resource, terms.resource.as_ref())
            && is(action, terms.action.as_ref())
            && result.is_none_or(|result| result.as_str() == terms.result)
            && is(decision_id, terms.decision_id.as_ref())
            && since
            && before
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{EventType, Outcome};
    use crate::clock::Timestamp;

    fn record() -> Value {
        json!({
            "action": "read",
            "actor": {
                "id": "analysis-agent-002",
                "spiffe_id": "spiffe://example.org/agents",
                "type": "agent",
            },
            "decision_id": "d-1",
            "delegation_chain": ["usr-alice-001", "scheduling-agent-001", "analysis-agent-002"],
            "event_type": "permission.denied",
            "resource": "documents",
            "result": "denied",
            "seq": 7,
            "subject": {"id": "usr-alice-001", "role": "admin"},
            "task": {"id": "task-abc-sub1", "path": ["task-abc", "task-abc-sub1"]},
            "time": "1970-01-01T00:16:40.000000000Z",
            "writer": "host/1",
        })
    }

    /// A change of the default that makes it ask for something.
    type Ask = fn(&mut Filter);

    fn matches(ask: Ask, record: &Value) -> bool {
        let mut filter = Filter::default();
        ask(&mut filter);
        filter.matches(record)
    }

    #[test]
    fn every_part_of_a_filter_asks_for_what_it_names() {
        let asked: [Ask; 17] = [
            |_| {},
            |it| it.actor = Some("analysis-agent-002".into()),
            |it| it.actor = Some("spiffe://example.org/agents".into()),
            |it| it.subject = Some("usr-alice-001".into()),
            |it| it.chain = Some("scheduling-agent-001".into()),
            |it| it.chain = Some("analysis-agent-002".into()),
            |it| it.chain = Some("spiffe://example.org/agents".into()),
            |it| it.event_types = vec![EventType::HumanLogin, EventType::PermissionDenied],
            |it| it.task = Some(Tasks::Under("task-abc".to_owned())),
            |it| it.task = Some(Tasks::Under("task-abc-sub1".to_owned())),
            |it| it.task = Some(Tasks::Exactly("task-abc-sub1".to_owned())),
            |it| it.resource = Some("documents".into()),
            |it| it.action = Some("read".into()),
            |it| it.result = Some(Outcome::Denied),
            |it| it.decision_id = Some("d-1".into()),
            |it| it.from = Some(Timestamp::from_unix_seconds(1000)),
            |it| it.until = Some(Timestamp::from_unix_seconds(1001)),
        ];
        for (index, ask) in asked.into_iter().enumerate() {
            assert!(matches(ask, &record()), "{index}");
        }
    }

    #[test]
    fn every_part_of_a_filter_leaves_out_what_it_does_not_name() {
        let asked: [Ask; 15] = [
            |it| it.actor = Some("usr-alice-001".into()),
            |it| it.actor = Some("analysis-agent".into()),
            |it| it.subject = Some("analysis-agent-002".into()),
            |it| it.chain = Some("usr-bob-001".into()),
            |it| it.event_types = vec![EventType::PermissionCheck],
            |it| it.task = Some(Tasks::Under("task".to_owned())),
            |it| it.task = Some(Tasks::Exactly("task-abc".to_owned())),
            |it| it.resource = Some("documents/42".into()),
            |it| it.action = Some("update".into()),
            |it| it.result = Some(Outcome::Allowed),
            |it| it.decision_id = Some("d-2".into()),
            |it| it.from = Some(Timestamp::from_unix_seconds(1001)),
            |it| it.until = Some(Timestamp::from_unix_seconds(1000)),
            // All that is given must hold.
            |it| (it.action, it.resource) = (Some("read".into()), Some("reports".into())),
            |it| (it.action, it.resource) = (Some("update".into()), Some("documents".into())),
        ];
        for (index, ask) in asked.into_iter().enumerate() {
            assert!(!matches(ask, &record()), "{index}");
        }
    }

    #[test]
    fn a_record_without_a_member_is_not_found_by_it() {
        let mut bare = record();
        let members = bare.as_object_mut().unwrap();
        for member in ["action", "decision_id", "resource", "subject", "task"] {
            members.remove(member).unwrap();
        }
        assert!(matches(|_| {}, &bare));
        let asked: [Ask; 6] = [
            |it| it.action = Some("read".into()),
            |it| it.decision_id = Some("d-1".into()),
            |it| it.resource = Some("documents".into()),
            |it| it.subject = Some("usr-alice-001".into()),
            |it| it.task = Some(Tasks::Under("task-abc".to_owned())),
            |it| it.task = Some(Tasks::Exactly("task-abc-sub1".to_owned())),
        ];
        for (index, ask) in asked.into_iter().enumerate() {
            assert!(!matches(ask, &bare), "{index}");
        }
    }

    #[test]
    fn nothing_asks_for_what_is_no_record() {
        for member in ["actor", "event_type", "result", "seq", "time", "writer"] {
            let mut broken = record();
            broken.as_object_mut().unwrap().remove(member).unwrap();
            assert!(!matches(|_| {}, &broken), "without {member}");
        }
        assert!(!matches(|_| {}, &json!("a record")));
    }
}
