//! What somebody holds, and how it gets less on its way.

use crate::pattern::Pattern;
use crate::permission::{Action, PermissionSet, Scope};

/// Permissions that come from a person's role, directly or by narrowing: there is no other way to make one. So a chain of
/// them can only get less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held(PermissionSet);

/// What remains of what is held. "Not given" and "given and empty" differ: the one narrows nothing, the other everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// These resources and everything below them.
    pub resources: Option<Vec<Pattern>>,
    /// These actions.
    pub actions: Option<Vec<Action>>,
    /// The action `read` alone.
    pub read_only: bool,
    /// These permissions, at these tiers or stricter ones.
    pub permissions: Option<PermissionSet>,
    /// SUPERVISED at least.
    pub supervise: Vec<Scope>,
}

impl Held {
    /// What a person holds by their role.
    pub fn by_role(role: &PermissionSet) -> Self {
        Self(role.clone())
    }

    /// What is left of it after `narrowing`: for every operation the same tier, or a stricter one.
    #[must_use]
    pub fn narrow(&self, narrowing: &Narrowing) -> Self {
        let Narrowing {
            resources,
            actions,
            read_only,
            permissions,
            supervise,
        } = narrowing;
        let mut left = self.0.clone();
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
        Self(left)
    }

    /// What is left of it under a ceiling, a role as it is now for instance.
    #[must_use]
    pub fn under(&self, ceiling: &PermissionSet) -> Self {
        Self(self.0.meet(ceiling))
    }

    /// What it permits.
    pub const fn permissions(&self) -> &PermissionSet {
        &self.0
    }
}
