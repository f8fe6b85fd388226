//! What a delegation is judged by before it is proposed, read at one moment.

use super::desk::Work;
use super::{grants, sessions, tasks};
use crate::state::{Ground, GroundQuery, Origin, Standing, StateError};

pub(super) fn ground(work: &Work<'_>, query: &GroundQuery) -> Result<Ground, StateError> {
    let GroundQuery {
        from,
        whose,
        task,
        agent,
    } = query;
    let standing = match from {
        Origin::Grant(id) => grants::standing(work, id, whose)?,
        Origin::Session(id) => Standing {
            session: sessions::get(work, id, whose)?,
            tasks: Vec::new(),
            grants: Vec::new(),
        },
    };
    let person = &standing.session.person.id;
    let siblings = match from {
        Origin::Grant(id) => grants::below_grant(work, id)?,
        Origin::Session(_) => grants::below_task(work, person, task)?,
    };
    Ok(Ground {
        alive: standing.living(work.now).is_ok(),
        siblings,
        task: tasks::find(work, person, task)?,
        names_a_person: sessions::knows(work, agent.as_str())?,
        standing,
    })
}
