//! Who may end what: whoever holds it, everybody it came from, and administrators.
//!
//! Nobody ends what they were given by, what lies beside them, or what others began. Agents never end a session. Whether
//! somebody is who they say, and whether their own grant still lives, is proven before.

use super::grant::Grant;
use super::id::{GrantId, PersonId};
use super::session::Session;
use super::task::Task;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub enum Claimant<'a> {
    /// Somebody with administrative rights.
    Admin,
    /// A person, by their session.
    Person(&'a PersonId),
    /// The agent that holds this grant.
    Holder(&'a Grant),
}

/// By what right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Right {
    /// It is theirs.
    Own,
    /// It came from them.
    Ancestor,
    /// It rests on them: the person at the root.
    Root,
    /// Administration.
    Admin,
}

impl Claimant<'_> {
    /// By what right they may end `grant`, and with it everything below; `None`: they may not.
    pub fn may_end_grant(&self, grant: &Grant) -> Option<Right> {
        self.right(&grant.chain.person, &grant.path)
    }

    /// By what right they may end or complete `task`, and with it everything below; `None`: they may not.
    ///
    /// A task is its beginner's. That somebody works on it gives no right to end it.
    pub fn may_end_task(&self, task: &Task) -> Option<Right> {
        self.right(&task.person, &task.begun_under)
    }

    /// By what right they may end `session`, and with it everything that rests on it; `None`: they may not.
    pub fn may_end_session(&self, session: &Session) -> Option<Right> {
        match self {
            Self::Admin => Some(Right::Admin),
            Self::Person(person) => (**person == session.person.id).then_some(Right::Own),
            Self::Holder(_) => None,
        }
    }

    /// The right to something that rests on `person` and came down along `path`.
    fn right(&self, person: &PersonId, path: &[GrantId]) -> Option<Right> {
        match self {
            Self::Admin => Some(Right::Admin),
            Self::Person(claimant) if *claimant != person => None,
            Self::Person(_) if path.is_empty() => Some(Right::Own),
            Self::Person(_) => Some(Right::Root),
            Self::Holder(own) => {
                let own_path = &own.path[..];
                if own.chain.person != *person || own_path.is_empty() {
                    return None;
                }
                let below = path.strip_prefix(own_path)?;
                Some(if below.is_empty() {
                    Right::Own
                } else {
                    Right::Ancestor
                })
            }
        }
    }
}
