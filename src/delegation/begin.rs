//! Beginning a task before anything is handed on for it.
//!
//! Decides whether somebody may begin it where they want to, and when it ends at the latest. Never gives anybody authority, and
//! never says whether the name was used before: `state` does, in the transaction that keeps the task. What does not fit is a
//! [`Refusal`].

use std::time::Duration;

use super::delegate::Basis;
use super::id::TaskId;
use super::refusal::Refusal;
use super::task::Task;
use crate::clock::Timestamp;

/// A task that somebody wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedBeginning {
    /// Its name.
    pub id: TaskId,
    /// What it is for.
    pub purpose: String,
    /// For how long. `None`: as long as what it rests on.
    pub ttl: Option<Duration>,
}

/// The task to be stored, [`Status::Pending`](super::Status::Pending): below `parent`, or below the task of the grant that it is
/// begun under, or, by a person who names no parent, at the root.
///
/// `alive` says whether everything above `basis` lives.
pub fn begin(
    basis: &Basis<'_>,
    parent: Option<&Task>,
    wanted: &WantedBeginning,
    alive: bool,
    now: Timestamp,
) -> Result<Task, Refusal> {
    let chain = basis.living_chain(alive, now)?;
    if wanted.ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Refusal::InvalidLifetime);
    }
    let parent = match (parent, basis.grant) {
        (Some(parent), _) if !basis.reaches(parent) => {
            return Err(Refusal::TaskUnavailable(parent.id.clone()));
        }
        (Some(parent), _) => Some(parent),
        (None, Some((_, own))) => Some(own),
        (None, None) => None,
    };
    if parent.is_some_and(|parent| !parent.lives(now)) {
        return Err(Refusal::ParentInactive);
    }
    let deadline = wanted.ttl.map(|ttl| now.plus(ttl));
    let WantedBeginning { id, purpose, .. } = wanted;
    let begun = basis.begin(parent, id, purpose, deadline, &chain, now)?;
    if begun.deadline <= now {
        return Err(Refusal::InvalidLifetime);
    }
    Ok(begun)
}
