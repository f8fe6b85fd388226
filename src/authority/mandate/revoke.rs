//! Taking back. The memory and everybody who checks tokens first, the record next, the answer last: a revocation that could
//! not be recorded stands, and the call says that it failed.
//!
//! A caller who leaves before the answer, or gives no time for it, leaves the record behind all the same ([`Owed`]).
//!
//! Who may not end something is told what somebody is told who names nothing that is there.

use super::caller::Caller;
use super::refusal::MandateRefusal;
use super::witness::{About, ended, of_task};
use super::{Call, Mandates};
use crate::audit::{Auditor, Details, EventType, Outcome, Record, Text};
use crate::delegation::token::Token;
use crate::delegation::{Grant, GrantId, PersonId, Task, TaskId, TokenId};
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

/// A grant to end, by one of its names.
#[derive(Debug)]
pub enum RevokeGrant {
    /// By its id.
    Grant(GrantId),
    /// By the id of one of its tokens.
    Id(TokenId),
    /// By the text of one of its tokens.
    Token(Token),
}

/// The record of something that is being taken back. It is written whatever becomes of the call: a caller who leaves, or whose
/// time is up, takes nothing back in secret. Written twice, it is about the same thing.
struct Owed<'a> {
    audit: &'a Auditor,
    record: Option<Record>,
}

impl<'a> Owed<'a> {
    const fn new(audit: &'a Auditor, record: Record) -> Self {
        let record = Some(record);
        Self { audit, record }
    }

    /// More is known now.
    fn becomes(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// It is durable, or nothing was taken back.
    fn paid(&mut self) {
        self.record = None;
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            self.audit.record(record);
        }
    }
}

/// What is said of an end that nobody waited for: how much it took with it is not known.
fn abandoned() -> Details {
    Details::default().with("cause", "ABANDONED")
}

impl Mandates {
    /// Ends a task that is done, with everything below it.
    pub async fn complete_task(
        &self,
        call: &Call,
        wanted: RevokeTask,
    ) -> Result<Ended, MandateRefusal> {
        Self::within(call, self.end_task(call, wanted, Manner::Completed)).await
    }

    /// Ends a grant, with everything below it. Of a token that is unknown, or that the caller may not end, this says that
    /// nothing ended (RFC 7009 section 2.2); of such a grant, that there is none.
    pub async fn revoke_grant(
        &self,
        call: &Call,
        wanted: &RevokeGrant,
        reason: &str,
    ) -> Result<Ended, MandateRefusal> {
        let ended = Self::within(call, self.end_grant(call, wanted, reason)).await;
        match (ended, wanted) {
            (Err(MandateRefusal::NotFound(_)), RevokeGrant::Id(_) | RevokeGrant::Token(_)) => {
                Ok(Ended::default())
            }
            (ended, _) => ended,
        }
    }

    async fn end_grant(
        &self,
        call: &Call,
        wanted: &RevokeGrant,
        reason: &str,
    ) -> Result<Ended, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let id = match wanted {
            RevokeGrant::Grant(id) => id.clone(),
            RevokeGrant::Id(id) => self.store.leased(id.clone(), Whose::Anybody).await?.grant,
            RevokeGrant::Token(token) => {
                let named = self.grant_of(&rules, token)?;
                named.ok_or(MandateRefusal::NotFound(Level::Token))?
            }
        };
        let standing = self.store.standing(id.clone(), Whose::Anybody).await?;
        let grant = standing.grant();
        let grant = grant.ok_or(MandateRefusal::NotFound(Level::Grant))?;
        // Whether they live is of no matter: with any of them, the grant has ended too, and ending it changes nothing.
        let path = &standing.grants;
        let under = path.iter().rev().find(|it| caller.held_by(it));
        let about = About {
            session: &standing.session,
            grant: Some(grant),
        };
        let record = |result, details| {
            let message = (!reason.is_empty()).then(|| Text::from(reason));
            Record {
                message,
                details,
                ..about.record(EventType::TokenRevoked, result, &caller, under)
            }
        };
        if !caller.may_end_grant(grant, path) {
            // T48
            let details = Details::default().with("cause", "NOT_FOUND");
            self.note(call, record(Outcome::Failure, details)).await?;
            return Err(MandateRefusal::NotFound(Level::Grant));
        }
        let target = Target::Grant(id, Whose::Anybody);
        let request = Self::request(call, &caller);
        let mut owed = Owed::new(&self.authority.audit, record(Outcome::Success, abandoned()));
        let done = match self.store.end(target, Manner::Revoked, request).await {
            Ok(kept) => kept.value,
            Err(error) => {
                owed.paid();
                return Err(error.into());
            }
        };
        self.authority.metrics.revocation("grant");
        let record = record(Outcome::Success, ended(&done));
        owed.becomes(record.clone());
        self.witness(call, None, vec![record]).await?;
        owed.paid();
        Ok(done)
    }

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
        let person = Self::person(&caller, person)?;
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
                    message,
                    details,
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
        let mut owed = Owed::new(&self.authority.audit, record(Outcome::Success, abandoned()));
        let done = match self.store.end(target, manner, request).await {
            Ok(kept) => kept.value,
            Err(error) => {
                owed.paid();
                return Err(error.into());
            }
        };
        self.authority.metrics.revocation("task");
        let record = record(Outcome::Success, ended(&done));
        owed.becomes(record.clone());
        self.witness(call, None, vec![record]).await?;
        owed.paid();
        Ok(done)
    }

    /// Whose things are meant.
    pub(super) fn person(
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
    pub(super) async fn above(&self, task: &Task) -> Result<Vec<Grant>, MandateRefusal> {
        let Some(last) = task.begun_under.last() else {
            return Ok(Vec::new());
        };
        let whose = Whose::Person(task.person.clone());
        Ok(self.store.standing(last.clone(), whose).await?.grants)
    }
}
