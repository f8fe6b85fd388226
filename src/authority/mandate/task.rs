//! Beginning a task before authority is handed on for it: by a person, or by an agent under a grant that it holds.
//!
//! A name means one task of one person, for good. Nothing begins that is not on record.

use std::time::Duration;

use super::caller::Who;
use super::refusal::MandateRefusal;
use super::{Call, Mandates, basis, role};
use crate::delegation::{self, GrantId, NotAllowed, Status, Task, TaskId, WantedBeginning, begin};
use crate::state::{Begun, Level, Refusal, Standing, StateError, Whose};

/// A task that somebody wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Its name. `None`: one that is chosen here.
    pub id: Option<TaskId>,
    /// What it is part of. `None`: the task of the grant; for a person, nothing.
    pub parent: Option<TaskId>,
    /// The grant that an agent begins it under.
    pub grant: Option<GrantId>,
    /// What it is for.
    pub purpose: String,
    /// For how long. `None`: as long as what it is part of.
    pub ttl: Option<Duration>,
}

impl Mandates {
    /// Begins a task.
    pub async fn create_task(&self, call: &Call, wanted: NewTask) -> Result<Task, MandateRefusal> {
        Self::within(call, self.begin_task(call, wanted)).await
    }

    async fn begin_task(&self, call: &Call, wanted: NewTask) -> Result<Task, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let not_holder = || delegation::Refusal::from(NotAllowed::NotHolder).into();
        let standing = match (&caller.who, &wanted.grant) {
            (Who::Person(session), None) => Standing {
                session: (**session).clone(),
                tasks: Vec::new(),
                grants: Vec::new(),
            },
            (Who::Workload(_), Some(grant)) => {
                let standing = self.store.standing(grant.clone(), Whose::Anybody).await?;
                if !caller.may_know(&standing) {
                    return Err(MandateRefusal::NotFound(Level::Grant));
                }
                if !caller.holds(&standing) {
                    return Err(not_holder());
                }
                standing
            }
            (Who::Workload(_), None) => {
                return Err(MandateRefusal::Field {
                    field: "grant_id",
                    advice: "name a grant that you hold",
                });
            }
            (Who::Person(_), Some(_)) | (Who::System, _) => return Err(not_holder()),
        };
        let person = standing.session.person.id.clone();
        let parent = match &wanted.parent {
            None => None,
            Some(id) => match self.store.task(person.clone(), id.clone()).await {
                Ok(parent) => Some(parent),
                // As if it were out of reach: which of the two is nothing that an agent may learn.
                Err(StateError::Refused(Refusal::NotFound(_))) => {
                    return Err(delegation::Refusal::TaskUnavailable(id.clone()).into());
                }
                Err(error) => return Err(error.into()),
            },
        };
        let role = role(&rules, &standing);
        let wanted = WantedBeginning {
            id: self.task_name(wanted.id.as_ref())?,
            purpose: wanted.purpose,
            ttl: wanted.ttl,
        };
        let proposed = begin(
            &basis(&standing, &role),
            parent.as_ref(),
            &wanted,
            self.lives(&rules, &standing),
            self.authority.clock.now(),
        )?;
        let (limits, request) = (Self::limits(&rules), Self::request(call, &caller));
        let mut task = self
            .store
            .create_task(proposed, limits, request)
            .await?
            .value;
        if task.status == Status::Pending {
            let begun = Begun::Task(person, task.id.clone());
            let record = Self::created(&caller, &standing.session, standing.grant(), &task);
            self.witness(call, Some(begun.clone()), vec![record])
                .await?;
            self.store.activate(begun).await?;
            task.status = Status::Active;
        }
        Ok(task)
    }
}
