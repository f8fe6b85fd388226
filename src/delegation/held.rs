//! What somebody holds, and how it gets less on its way.

use super::narrowing::Narrowing;
use crate::permission::{PermissionSet, Tier};

/// Permissions that come from a person's role, directly or by narrowing: there is no other way to make one. So a chain of
/// them can only get less.
///
/// There is no conversion from permissions that somebody sent, and none from text. `tests/rooms.rs` names the rooms that
/// may begin one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held(PermissionSet);

impl Held {
    /// What a person holds by their role. Begins a chain; for this room alone.
    pub fn by_role(role: &PermissionSet) -> Self {
        Self(role.clone())
    }

    /// What was held when it was stored, read back unchanged. For `state` alone.
    pub const fn restored(stored: PermissionSet) -> Self {
        Self(stored)
    }

    /// What is left of it after `narrowing`: for every operation the same tier, or a stricter one.
    #[must_use]
    pub fn narrow(&self, narrowing: &Narrowing) -> Self {
        Self(narrowing.apply(&self.0))
    }

    /// What is left of it under a ceiling, a role as it is now for instance.
    #[must_use]
    pub fn under(&self, ceiling: &PermissionSet) -> Self {
        Self(self.0.meet(ceiling))
    }

    /// Whether it permits nothing that `parent` does not, and nothing at a lower tier. True of everything that
    /// [`Held::narrow`] and [`Held::under`] made of `parent`; sound for everything else.
    pub fn is_attenuation_of(&self, parent: &Self) -> bool {
        self.0.is_attenuation_of(&parent.0)
    }

    /// Whether there is anything in it that an agent could ever do: a permission that is not FORBIDDEN.
    pub fn is_usable(&self) -> bool {
        let usable = |tier| matches!(tier, Tier::Free | Tier::Supervised);
        self.0.entries().iter().any(|entry| usable(entry.tier()))
    }

    /// What it permits.
    pub const fn permissions(&self) -> &PermissionSet {
        &self.0
    }
}
