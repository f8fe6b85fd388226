//! What is there, for those who may see it: a person sees all that is theirs, an agent what it takes part in.
//!
//! No list has a token in it. What somebody may not see is left out, and asking for it by name finds nothing; nor does any
//! page say where to go on by the name of something that was left out.

use std::collections::BTreeSet;

use super::caller::{Caller, Who};
use super::refusal::MandateRefusal;
use super::{Call, Mandates, basis, role};
use crate::authority::rules::Rules;
use crate::delegation::{Grant, GrantId, PersonId, Task, TaskId, permitted};
use crate::permission::PermissionSet;
use crate::state::{GrantQuery, GrantRoot, Level, TaskQuery, Whose};

/// Which tasks or grants; `after` is the last one of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// Whose. `None`: the caller's own.
    pub person: Option<PersonId>,
    /// Only of this task and those below it.
    pub under: Option<TaskId>,
    /// Ended ones too.
    pub ended: bool,
    /// At most that many.
    pub most: u32,
    /// Only those after this one.
    pub after: Option<T>,
}

/// Some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, N> {
    /// Those that the caller may see.
    pub items: Vec<T>,
    /// Where to go on; `None` where there is no more.
    pub next: Option<N>,
}

/// A grant as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantSeen {
    /// The grant.
    pub grant: Grant,
    /// What it permits now; what it was given, where it has ended.
    pub permissions: PermissionSet,
    /// How many tokens of it are good.
    pub live_tokens: u32,
}

/// What an agent takes part in, at or below one task.
struct Sight {
    tasks: BTreeSet<TaskId>,
    grants: BTreeSet<GrantId>,
}

impl Mandates {
    /// A task.
    pub async fn task(
        &self,
        call: &Call,
        person: Option<PersonId>,
        id: TaskId,
    ) -> Result<Task, MandateRefusal> {
        let looked = async {
            let caller = self.caller(call).await?;
            let person = Self::person(&caller, person)?;
            let task = self.store.task(person.clone(), id).await?;
            let sight = self.sight(&caller, &person, Some(&task.id)).await?;
            if !self.sees(&caller, sight.as_ref(), &task).await? {
                return Err(MandateRefusal::NotFound(Level::Task));
            }
            Ok(task)
        };
        Self::within(call, looked).await
    }

    /// Tasks, in the order of their names.
    pub async fn tasks(
        &self,
        call: &Call,
        wanted: Listing<TaskId>,
    ) -> Result<Page<Task, TaskId>, MandateRefusal> {
        Self::within(call, self.list_tasks(call, wanted)).await
    }

    async fn list_tasks(
        &self,
        call: &Call,
        wanted: Listing<TaskId>,
    ) -> Result<Page<Task, TaskId>, MandateRefusal> {
        let caller = self.caller(call).await?;
        let person = Self::person(&caller, wanted.person)?;
        let sight = self.sight(&caller, &person, wanted.under.as_ref()).await?;
        let now = self.authority.clock.now();
        let (mut items, mut after) = (Vec::new(), wanted.after);
        loop {
            let query = TaskQuery {
                person: person.clone(),
                session: None,
                status: None,
                after,
                most: at_once(sight.as_ref(), wanted.most),
            };
            let most = query.most;
            let found = self.store.tasks(query).await?;
            let further = next(&found, most, |task| Some(task.id.clone()));
            for task in found {
                let below = wanted
                    .under
                    .as_ref()
                    .is_none_or(|it| task.path.contains(it));
                let shown = wanted.ended || task.lives(now);
                if below && shown && self.sees(&caller, sight.as_ref(), &task).await? {
                    items.push(task);
                }
                // Where to go on is the name of something that the caller was shown.
                if let Some(next) = next(&items, wanted.most, |task| Some(task.id.clone())) {
                    let next = Some(next);
                    return Ok(Page { items, next });
                }
            }
            match further {
                Some(last) if sight.is_some() => after = Some(last),
                next => return Ok(Page { items, next }),
            }
        }
    }

    /// Grants, parents before what was handed on from them.
    pub async fn grants(
        &self,
        call: &Call,
        wanted: Listing<GrantId>,
    ) -> Result<Page<GrantSeen, GrantId>, MandateRefusal> {
        Self::within(call, self.list_grants(call, wanted)).await
    }

    async fn list_grants(
        &self,
        call: &Call,
        wanted: Listing<GrantId>,
    ) -> Result<Page<GrantSeen, GrantId>, MandateRefusal> {
        let caller = self.caller(call).await?;
        let rules = self.authority.rules();
        let person = Self::person(&caller, wanted.person)?;
        let sight = self.sight(&caller, &person, wanted.under.as_ref()).await?;
        let below = match (wanted.under, &caller.who) {
            (Some(task), _) => GrantRoot::Task(person.clone(), task),
            (None, Who::Person(session)) => GrantRoot::Session(session.id.clone()),
            (None, Who::Workload(_) | Who::System) => return Err(nameless()),
        };
        let now = self.authority.clock.now();
        let shown = |it: &Grant| match &sight {
            _ if !wanted.ended && !it.lives(now) => false,
            None => true,
            Some(sight) => it.id().is_some_and(|id| sight.grants.contains(id)),
        };
        let (mut seen, mut after) = (Vec::new(), wanted.after);
        let next = loop {
            let query = GrantQuery {
                whose: Whose::Person(person.clone()),
                below: below.clone(),
                after,
                most: at_once(sight.as_ref(), wanted.most),
            };
            let most = query.most;
            let found = self.store.grants(query).await?;
            let further = next(&found, most, |grant| grant.id().cloned());
            let room = usize::try_from(wanted.most).unwrap_or(usize::MAX);
            let room = room.saturating_sub(seen.len());
            seen.extend(found.into_iter().filter(|it| shown(it)).take(room));
            // As with tasks.
            let full = next(&seen, wanted.most, |grant| grant.id().cloned());
            match further {
                _ if full.is_some() => break full,
                Some(last) if sight.is_some() => after = Some(last),
                next => break next,
            }
        };
        let ids = seen.iter().filter_map(|it| it.id().cloned()).collect();
        let live = self.store.live_tokens(ids).await?;
        let mut items = Vec::new();
        for (grant, live_tokens) in seen.into_iter().zip(live) {
            items.push(GrantSeen {
                permissions: self.now_permitted(&rules, &grant).await?,
                live_tokens,
                grant,
            });
        }
        Ok(Page { items, next })
    }

    async fn now_permitted(
        &self,
        rules: &Rules,
        grant: &Grant,
    ) -> Result<PermissionSet, MandateRefusal> {
        let given = || grant.held.permissions().clone();
        let Some(id) = grant.id() else {
            return Ok(given());
        };
        let standing = self.store.standing(id.clone(), Whose::Anybody).await?;
        let (role, alive) = (role(rules, &standing), self.lives(rules, &standing));
        let now = self.authority.clock.now();
        let basis = basis(&standing, &role);
        let held = permitted(&basis, alive, &rules.delegation.registry, now);
        Ok(held.map_or_else(|_ended| given(), |held| held.permissions().clone()))
    }

    /// What an agent takes part in; `None` for those who see all that is the person's. Others find nothing.
    async fn sight(
        &self,
        caller: &Caller,
        person: &PersonId,
        under: Option<&TaskId>,
    ) -> Result<Option<Sight>, MandateRefusal> {
        let workload = match &caller.who {
            Who::System => return Ok(None),
            Who::Person(session) if session.person.id == *person => return Ok(None),
            Who::Person(_) => return Err(MandateRefusal::NotFound(Level::Task)),
            Who::Workload(id) => id,
        };
        let under = under.ok_or_else(nameless)?;
        let query = GrantQuery {
            whose: Whose::Person(person.clone()),
            below: GrantRoot::Task(person.clone(), under.clone()),
            after: None,
            most: LONGEST_SIGHT,
        };
        let found = self.store.grants(query).await?;
        let part = |grant: &&Grant| {
            grant
                .chain
                .agents
                .iter()
                .any(|it| it.spiffe_id == *workload)
        };
        let grants = || found.iter().filter(part);
        Ok(Some(Sight {
            tasks: grants().filter_map(|it| it.task().cloned()).collect(),
            grants: grants().filter_map(|it| it.id().cloned()).collect(),
        }))
    }

    async fn sees(
        &self,
        caller: &Caller,
        sight: Option<&Sight>,
        task: &Task,
    ) -> Result<bool, MandateRefusal> {
        let Some(sight) = sight else {
            return Ok(true);
        };
        if sight.tasks.contains(&task.id) {
            return Ok(true);
        }
        let above = self.above(task).await?;
        Ok(above.iter().any(|grant| caller.held_by(grant)))
    }
}

/// How many are read at once: where few of them may be told, many.
const fn at_once(sight: Option<&Sight>, most: u32) -> u32 {
    match sight {
        Some(_) => LONGEST_SIGHT,
        None => most,
    }
}

fn nameless() -> MandateRefusal {
    MandateRefusal::Field {
        field: "under_task",
        advice: "name a task that you work on",
    }
}

fn next<T, N>(found: &[T], most: u32, name: impl Fn(&T) -> Option<N>) -> Option<N> {
    let full = u32::try_from(found.len()).is_ok_and(|found| found >= most);
    found.last().filter(|_| full).and_then(name)
}

/// Grants at or below one task that are looked through for those of an agent.
const LONGEST_SIGHT: u32 = 1000;
