//! Taking back. The memory and everybody who checks tokens first, the record next, the answer last: a revocation that could
//! not be recorded stands, and the call says that it failed.
//!
//! Who may not end something is told what somebody is told who names nothing that is there.

use super::caller::Caller;
use super::refusal::MandateRefusal;
use super::witness::{About, ended, of_task};
use super::{Call, Mandates};
use crate::audit::{Details, EventType, Outcome, Record, Text};
use crate::delegation::{Grant, PersonId, Task, TaskId};
use crate::state::{Ended, Level, Manner, Target, Whose};

/// A task to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokeTask {
    /// Whose. `None`: the caller's own.
    pub person: Option<PersonId>,
    /// Its name.
    pub task: TaskId,
    /// Why, for the record.
    pub reason: String,
}

impl Mandates {
    /// Ends a task, with every task and every grant below it. When this answers, none of their tokens is good any more.
    pub async fn revoke_task(
        &self,
        call: &Call,
        wanted: RevokeTask,
    ) -> Result<Ended, MandateRefusal> {
        Self::within(call, self.end_task(call, wanted, Manner::Revoked)).await
    }

    pub(super) async fn end_task(
        &self,
        call: &Call,
        wanted: RevokeTask,
        manner: Manner,
    ) -> Result<Ended, MandateRefusal> {
        let caller = self.caller(call).await?;
        let event = match manner {
            Manner::Revoked => EventType::TaskRevoked,
            Manner::Completed => EventType::TaskCompleted,
        };
        let RevokeTask {
            person,
            task,
            reason,
        } = wanted;
        let person = self.person(&caller, person)?;
        let task = self.store.task(person.clone(), task).await?;
        let session = self.store.session(task.session.clone(), Whose::Anybody);
        let session = session.await?;
        let now = self.authority.clock.now();
        let above = self.above(&task).await?;
        // Ending what has ended changes nothing; whoever once could is told so.
        let living: Vec<_> = if task.lives(now) {
            let alive = session.lives(now) && self.authority.rules().knows(&session);
            let living = above.into_iter().take_while(|it| alive && it.lives(now));
            living.collect()
        } else {
            above
        };
        let under = living.iter().rev().find(|it| caller.held_by(it));
        let about = About {
            session: &session,
            grant: None,
        };
        let record = |result, details| {
            let record = about.record(event, result, &caller, under);
            let message = (!reason.is_empty()).then(|| Text::from(reason.as_str()));
            of_task(
                Record {
                    details,
                    message,
                    ..record
                },
                &task,
            )
        };
        if !caller.may_end_task(&task, &living) {
            let details = Details::default().with("cause", "NOT_FOUND");
            self.note(call, record(Outcome::Failure, details)).await?;
            return Err(MandateRefusal::NotFound(Level::Task));
        }
        let target = Target::Task(person, task.id.clone());
        let request = Self::request(call, &caller);
        let done = self.store.end(target, manner, request).await?.value;
        self.authority.metrics.revocation("task");
        let record = record(Outcome::Success, ended(&done));
        self.witness(call, None, vec![record]).await?;
        Ok(done)
    }

    /// Whose things are meant.
    pub(super) fn person(
        &self,
        caller: &Caller,
        named: Option<PersonId>,
    ) -> Result<PersonId, MandateRefusal> {
        let person = named.or_else(|| caller.person().cloned());
        person.ok_or(MandateRefusal::Field {
            field: "person",
            advice: "name the person whose task it is",
        })
    }

    /// The grants that a task was begun under, root first.
    async fn above(&self, task: &Task) -> Result<Vec<Grant>, MandateRefusal> {
        let Some(last) = task.begun_under.last() else {
            return Ok(Vec::new());
        };
        let whose = Whose::Person(task.person.clone());
        Ok(self.store.standing(last.clone(), whose).await?.grants)
    }
}
