//! What is to remain of what is held, and what of it could not be had.
//!
//! Never adds anything: the lists of a [`Narrowing`] are filters. A filter that asks for more than there is gets less; what it
//! asked for in vain is told ([`Narrowing::excess`]), so that whoever prefers a refusal can have one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::pattern::Pattern;
use crate::permission::{Action, ActionPattern, Permission, PermissionSet, Scope};

/// What remains of what is held. "Not given" and "given and empty" differ: the one narrows nothing, the other everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Narrowing {
    /// These resources and everything below them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Vec<Pattern>>,
    /// These actions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<Vec<Action>>,
    /// The action `read` alone.
    pub read_only: bool,
    /// These permissions, at these tiers or stricter ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<PermissionSet>,
    /// SUPERVISED at least.
    pub supervise: Vec<Scope>,
}

/// Something that was asked for and is not held, at least not as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// What was named.
    pub named: Named,
    /// How much of it is missing.
    pub missing: Missing,
}

/// An item of one of the lists of a [`Narrowing`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    /// Of `resources`.
    Resource(Pattern),
    /// Of `actions`.
    Action(Action),
    /// Of `permissions`.
    Permission(Permission),
}

/// How much of something is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// All of it.
    Whole,
    /// Some of it, or some of it is held at a stricter tier only.
    Part,
}

impl Narrowing {
    /// What remains of `held`: for every operation the same tier, or a stricter one.
    pub(super) fn apply(&self, held: &PermissionSet) -> PermissionSet {
        let Self {
            resources,
            actions,
            read_only,
            permissions,
            supervise,
        } = self;
        let mut left = held.clone();
        if let Some(resources) = resources {
            left = left.attenuate(resources);
        }
        if let Some(actions) = actions {
            left = left.attenuate_to_actions(actions);
        }
        if *read_only {
            left = left.attenuate_to_read_only();
        }
        if let Some(permissions) = permissions {
            left = left.meet(permissions);
        }
        for scope in supervise {
            left = left.supervise(scope);
        }
        left
    }

    /// What it names and `held` lacks, in the order it is written. Empty: everything named is there.
    ///
    /// Sound, not complete, as [`PermissionSet::is_attenuation_of`] is: what several permissions hold only together may be
    /// reported as missing in part.
    pub fn excess(&self, held: &PermissionSet) -> Vec<Excess> {
        let resources = self.resources.iter().flatten();
        let resources = resources.filter_map(|resource| {
            let scope = Scope {
                resource: resource.subtree(),
                action: ActionPattern::Any,
            };
            // What lies below is not asked for, only not taken away.
            let missing = missing(held, &scope, |above| above.resource.covers(resource))?;
            Some((Named::Resource(resource.clone()), missing))
        });
        let actions = self.actions.iter().flatten();
        let actions = actions.filter_map(|action| {
            let scope = Scope {
                resource: Pattern::everything(),
                action: ActionPattern::Only(action.clone()),
            };
            let missing = missing(held, &scope, |above| above.action.covers(&scope.action))?;
            Some((Named::Action(action.clone()), missing))
        });
        let permissions = self.permissions.iter().flat_map(PermissionSet::entries);
        let permissions = permissions.filter_map(|entry| {
            let alone: PermissionSet = [entry.clone()].into_iter().collect();
            if alone.is_attenuation_of(held) {
                return None;
            }
            let missing = missing(held, entry.scope(), |_| false)?;
            Some((Named::Permission(entry.clone()), missing))
        });
        resources
            .chain(actions)
            .chain(permissions)
            .map(|(named, missing)| Excess { named, missing })
            .collect()
    }

    /// How many items all its lists have together.
    pub fn len(&self) -> usize {
        let resources = self.resources.as_ref().map_or(0, Vec::len);
        let actions = self.actions.as_ref().map_or(0, Vec::len);
        let permissions = self.permissions.as_ref().map_or(0, |it| it.entries().len());
        resources + actions + permissions + self.supervise.len()
    }

    /// Whether its lists have no items. It may narrow all the same: an empty list leaves nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How much of `scope` is in no entry of `held`; `None` where `whole` says of one entry that it has all that is asked for.
fn missing(held: &PermissionSet, scope: &Scope, whole: impl Fn(&Scope) -> bool) -> Option<Missing> {
    let touching = held
        .entries()
        .iter()
        .map(Permission::scope)
        .filter(|above| above.intersect(scope).is_some());
    let mut missing = Missing::Whole;
    for above in touching {
        if whole(above) {
            return None;
        }
        missing = Missing::Part;
    }
    Some(missing)
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.named {
            Named::Resource(resource) => write!(f, "resource `{resource}`")?,
            Named::Action(action) => write!(f, "action `{action}`")?,
            Named::Permission(permission) => write!(f, "permission `{permission}`")?,
        }
        match self.missing {
            Missing::Whole => Ok(()),
            Missing::Part => f.write_str(" in part"),
        }
    }
}
