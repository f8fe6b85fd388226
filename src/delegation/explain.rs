//! Why an operation is not part of what an agent holds: where on its way it was lost.
//!
//! For people who ask, and for audit. Decides nothing: whoever decides has found [`Tier::Absent`] before.

use std::fmt;

use super::grant::Grant;
use super::id::AgentType;
use super::narrowing::Narrowing;
use super::registry::Registry;
use crate::pattern::Pattern;
use crate::permission::{Action, Permission, PermissionSet, Resource, Tier};

/// Where an operation was lost. Hops are counted from 1, the one from the person to the first agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absence {
    /// The person's role does not have it.
    NotGrantedToRoot,
    /// A hop was narrowed to other resources.
    ScopedOutResource {
        /// Which hop.
        hop: usize,
    },
    /// A hop was narrowed to other actions.
    ScopedOutAction {
        /// Which hop.
        hop: usize,
        /// Whether it was narrowed to reading.
        read_only: bool,
    },
    /// The role is not what it was at the time of the delegation.
    LiveRoleChanged,
    /// Agents of this type may not hold it.
    Ceiling(AgentType),
}

/// Where `action` on `resource` was lost on its way to the holder of `grant`; `None` where it was not.
///
/// `role` is what the person's role permits now.
pub fn explain(
    grant: &Grant,
    role: &PermissionSet,
    registry: &Registry,
    resource: &Resource,
    action: &Action,
) -> Option<Absence> {
    let absent = |set: &PermissionSet| set.effective(resource, action) == Tier::Absent;
    let held = !absent(grant.held.permissions());
    if absent(role) {
        return Some(if held {
            Absence::LiveRoleChanged
        } else {
            Absence::NotGrantedToRoot
        });
    }
    let lost_at = |(at, narrowing)| lost(narrowing, at + 1, resource, action);
    if let Some(absence) = grant.hops.iter().enumerate().find_map(lost_at) {
        return Some(absence);
    }
    let above = grant
        .chain
        .agents
        .iter()
        .find(|agent| registry.ceiling(agent).map_or(true, |it| absent(&it)));
    if let Some(agent) = above {
        return Some(Absence::Ceiling(agent.agent_type.clone()));
    }
    // Everything has it now, so something had it not when this was delegated.
    (!held).then_some(Absence::LiveRoleChanged)
}

/// Whether the narrowing of one hop takes the operation away, and by which of its lists.
fn lost(
    narrowing: &Narrowing,
    hop: usize,
    resource: &Resource,
    action: &Action,
) -> Option<Absence> {
    let by_action = |read_only| Some(Absence::ScopedOutAction { hop, read_only });
    if let Some(resources) = &narrowing.resources {
        let within = |pattern: &Pattern| pattern.subtree().matches(resource.segments());
        if !resources.iter().any(within) {
            return Some(Absence::ScopedOutResource { hop });
        }
    }
    if narrowing.read_only && *action != Action::read() {
        return by_action(true);
    }
    if let Some(actions) = &narrowing.actions
        && !actions.contains(action)
    {
        return by_action(false);
    }
    let permissions = narrowing.permissions.as_ref()?;
    if permissions.effective(resource, action) != Tier::Absent {
        return None;
    }
    let mut scopes = permissions.entries().iter().map(Permission::scope);
    if scopes.any(|scope| scope.resource.matches(resource.segments())) {
        return by_action(false);
    }
    Some(Absence::ScopedOutResource { hop })
}

impl Absence {
    /// The codes of all causes, in the order of the documentation.
    pub const CODES: [&str; 5] = [
        "NOT_GRANTED_TO_ROOT",
        "SCOPED_OUT_RESOURCE",
        "SCOPED_OUT_ACTION",
        "LIVE_ROLE_CHANGED",
        "CEILING",
    ];

    /// The stable code, as `SCOPED_OUT_ACTION`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotGrantedToRoot => "NOT_GRANTED_TO_ROOT",
            Self::ScopedOutResource { .. } => "SCOPED_OUT_RESOURCE",
            Self::ScopedOutAction { .. } => "SCOPED_OUT_ACTION",
            Self::LiveRoleChanged => "LIVE_ROLE_CHANGED",
            Self::Ceiling(_) => "CEILING",
        }
    }

    /// The hop at which it was lost, where one is to blame.
    pub const fn hop(&self) -> Option<usize> {
        match self {
            Self::ScopedOutResource { hop } | Self::ScopedOutAction { hop, .. } => Some(*hop),
            Self::NotGrantedToRoot | Self::LiveRoleChanged | Self::Ceiling(_) => None,
        }
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGrantedToRoot => f.write_str("not granted to the person"),
            Self::ScopedOutResource { .. } => f.write_str("not in scoped resources"),
            Self::ScopedOutAction {
                read_only: true, ..
            } => f.write_str("attenuated to read-only"),
            Self::ScopedOutAction { .. } => f.write_str("not in scoped actions"),
            Self::LiveRoleChanged => f.write_str("changed since this was delegated"),
            Self::Ceiling(kind) => write!(f, "above the ceiling of agents of type {kind}"),
        }
    }
}
