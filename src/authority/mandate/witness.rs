//! What the records of mandates say: who did it, for whom, the whole chain, the mandate by its names, and what was given.
//! No token, no purpose: texts that people write are for the memory, not for the trail.

use super::caller::Caller;
use crate::audit::{
    Agent, Details, EventType, Mandate, Outcome, Record, Subject, Task as OnTask, Text,
};
use crate::delegation::{Chain, Grant, Session, Task, TaskId, TokenId};
use crate::state::{Ended, Lease};

/// What a record is about: authority that rests on a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) session: &'a Session,
    pub(super) grant: Option<&'a Grant>,
}

impl About<'_> {
    /// A record of something that `caller` did, using the grant `under`.
    pub(super) fn record(
        self,
        event: EventType,
        result: Outcome,
        caller: &Caller,
        under: Option<&Grant>,
    ) -> Record {
        let Self { session, grant } = self;
        let chain = grant.map_or_else(
            || vec![Text::from(session.person.id.as_str())],
            |grant| names(&grant.chain),
        );
        caller.whence(Record {
            subject: Some(Subject {
                id: Text::from(session.person.id.as_str()),
                role: Some(Text::from(session.role.as_str())),
            }),
            delegation_chain: chain,
            mandate: Some(Box::new(self.mandate())),
            ..Record::new(event, result, caller.actor(under))
        })
    }

    fn mandate(self) -> Mandate {
        let Self { session, grant } = self;
        let holder = grant.and_then(|grant| grant.chain.actor());
        Mandate {
            agent: holder.map(|agent| Agent {
                id: Text::from(agent.agent_id.as_str()),
                agent_type: Text::from(agent.agent_type.as_str()),
            }),
            session_id: Some(Text::from(session.id.as_str())),
            grant_id: grant.and_then(Grant::id).map(|it| Text::from(it.as_str())),
            task: grant.and_then(|grant| on_task(&grant.task_path)),
            ..Mandate::default()
        }
    }
}

/// The same record, of a task.
pub(super) fn of_task(record: Record, task: &Task) -> Record {
    let mandate = record.mandate.unwrap_or_default();
    let mandate = Mandate {
        task: on_task(&task.path),
        ..*mandate
    };
    Record {
        mandate: Some(Box::new(mandate)),
        ..record
    }
}

/// The same record, of a token.
pub(super) fn of_token(record: Record, lease: &Lease, parent: Option<&TokenId>) -> Record {
    let mandate = record.mandate.unwrap_or_default();
    let mandate = Mandate {
        jti: Some(Text::from(lease.token.as_str())),
        parent_jti: parent.map(|it| Text::from(it.as_str())),
        ..*mandate
    };
    let audience = lease.audience.first();
    Record {
        mandate: Some(Box::new(mandate)),
        audience: audience.map(|it| Text::from(it.as_str())),
        details: Details::default().with("expires", lease.expires.to_string()),
        ..record
    }
}

/// What was given.
pub(super) fn given(grant: &Grant) -> Details {
    let texts =
        |it: &mut dyn Iterator<Item = String>| -> Vec<Text> { it.map(Text::from).collect() };
    let held = grant.held.permissions().entries();
    Details::default()
        .with("expires", grant.expires.to_string())
        .with("further", u64::from(grant.further))
        .with(
            "audience",
            texts(&mut grant.audience.iter().map(ToString::to_string)),
        )
        .with(
            "permissions",
            texts(&mut held.iter().map(ToString::to_string)),
        )
}

/// What ended.
pub(super) fn ended(ended: &Ended) -> Details {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    Details::default()
        .with("tokens", ended.tokens)
        .with("grants", count(ended.grants.len()))
        .with("tasks", count(ended.tasks.len()))
}

fn names(chain: &Chain) -> Vec<Text> {
    chain.names().map(Text::from).collect()
}

fn on_task(path: &[TaskId]) -> Option<OnTask> {
    Some(OnTask {
        id: Text::from(path.last()?.as_str()),
        path: path.iter().map(|it| Text::from(it.as_str())).collect(),
    })
}
