//! What somebody may do: [`PermissionSet`], and the algebra that narrows one.
//!
//! Every operation here keeps or raises the tier of every operation in the world; none adds a permission and none lowers
//! a tier. All of them are meets, so the order in which they are applied does not matter. An empty set permits nothing,
//! and so does narrowing to an empty list. "No restriction given" is not a set: whoever may omit one holds an `Option`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::name::{Action, NameError, Resource};
use super::scope::{ActionPattern, Scope};
use super::tier::{Tier, TierError};
use crate::pattern::{Pattern, PatternError};
use crate::text;

#[cfg(test)]
mod tests;

/// Permission for some operations at a tier, written `resource:action` or `resource:action@tier`; `free` unless written.
///
/// Parsing and displaying are inverse to each other, up to the spelling of the tier.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    scope: Scope,
    /// FREE, SUPERVISED or FORBIDDEN: what is absent is not a permission.
    tier: Tier,
}

/// Everything that one holder may do: some permissions, in a normal form.
///
/// An operation has the strictest tier of all entries that match it; a more specific entry does not win over a stricter
/// one. An entry that another one covers at the same or a stricter tier never changes an answer and is left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PermissionSet {
    /// Sorted; no entry is covered by another of its own or a stricter tier.
    entries: Vec<Permission>,
}

/// Why a text is not a permission. Shown with the text escaped, since it may come from a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// There is no colon before the action.
    #[error("`{}` is not a permission: write `resource:action` or `resource:action@tier`", .0.escape_debug())]
    NoAction(String),
    /// What stands before the last colon is not a pattern.
    #[error("`{}` is not a permission", .permission.escape_debug())]
    Resource {
        /// The text as given.
        permission: String,
        /// What is wrong with the pattern.
        source: PatternError,
    },
    /// What stands after the last colon is neither an action nor `*`.
    #[error("`{}` is not a permission", .permission.escape_debug())]
    Action {
        /// The text as given.
        permission: String,
        /// What is wrong with the action.
        source: NameError,
    },
    /// What stands after the `@` is not a tier.
    #[error("`{}` is not a permission", .permission.escape_debug())]
    Tier {
        /// The text as given.
        permission: String,
        /// Which words are tiers.
        source: TierError,
    },
}

// === impl Permission ===

impl Permission {
    /// `tier` must be one that can be written.
    pub(super) const fn new(scope: Scope, tier: Tier) -> Self {
        Self { scope, tier }
    }

    const fn free(scope: Scope) -> Self {
        Self::new(scope, Tier::Free)
    }

    /// These operations at `tier`; what is absent is not a permission, so that absent means FORBIDDEN.
    pub fn of(resource: Pattern, action: ActionPattern, tier: Tier) -> Self {
        Self::new(Scope { resource, action }, tier.min(Tier::Forbidden))
    }

    /// The operations.
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How freely they may be done. Never [`Tier::Absent`].
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// The operations of both, at the stricter tier; `None` where they share none.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        Some(Self {
            scope: self.scope.intersect(&other.scope)?,
            tier: self.tier.max(other.tier),
        })
    }

    /// Whether `other` never has its own tier where `self` stands beside it: `self` covers it and is stricter.
    pub(super) fn overrules(&self, other: &Self) -> bool {
        self.tier > other.tier && self.scope.covers(&other.scope)
    }

    /// Whether `other` changes no answer where `self` stands beside it.
    fn settles(&self, other: &Self) -> bool {
        self.tier >= other.tier && self.scope.covers(&other.scope)
    }
}

impl FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Self, PermissionError> {
        let permission = || text.to_owned();
        let (resource, rest) = text
            .rsplit_once(':')
            .ok_or_else(|| PermissionError::NoAction(permission()))?;
        let (action, tier) = match rest.split_once('@') {
            Some((action, tier)) => (action, Some(tier)),
            None => (rest, None),
        };
        let scope = scope(resource, action, text)?;
        let tier = tier.map_or(Ok(Tier::Free), str::parse);
        let tier = tier.map_err(|source| PermissionError::Tier {
            permission: permission(),
            source,
        })?;
        Ok(Self { scope, tier })
    }
}

/// The two halves of `whole`.
fn scope(resource: &str, action: &str, whole: &str) -> Result<Scope, PermissionError> {
    let resource = resource
        .parse()
        .map_err(|source| PermissionError::Resource {
            permission: whole.to_owned(),
            source,
        })?;
    let action = action.parse().map_err(|source| PermissionError::Action {
        permission: whole.to_owned(),
        source,
    })?;
    Ok(Scope { resource, action })
}

impl FromStr for Scope {
    type Err = PermissionError;

    /// Reads `resource:action`: a permission without a tier.
    fn from_str(text: &str) -> Result<Self, PermissionError> {
        let (resource, action) = text
            .rsplit_once(':')
            .ok_or_else(|| PermissionError::NoAction(text.to_owned()))?;
        scope(resource, action, text)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tier {
            Tier::Free => self.scope.fmt(f),
            Tier::Supervised | Tier::Forbidden | Tier::Absent => {
                write!(f, "{}@{}", self.scope, self.tier)
            }
        }
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

// === impl PermissionSet ===

impl PermissionSet {
    /// Nothing is permitted.
    pub const fn empty() -> Self {
        Self {
            entries: Vec::new(),
        }
    }

    /// Everything is permitted freely, `**:*@free`: the set that narrows no other.
    pub fn everything() -> Self {
        [Permission::free(Scope::everything())]
            .into_iter()
            .collect()
    }

    /// The entries in normal form, sorted.
    pub fn entries(&self) -> &[Permission] {
        &self.entries
    }

    /// Whether nothing is permitted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tier of doing `action` to `resource`: the strictest of all entries that match, [`Tier::Absent`] if none does.
    ///
    /// Allocates nothing.
    pub fn effective(&self, resource: &Resource, action: &Action) -> Tier {
        let matching = self
            .entries
            .iter()
            .filter(|entry| entry.scope.matches(resource, action));
        matching
            .map(|entry| entry.tier)
            .max()
            .unwrap_or(Tier::Absent)
    }

    /// What both permit, at the stricter tier: every operation has the maximum of its two effective tiers.
    ///
    /// Looks at each pair of entries, and compares each result with those kept so far.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Self {
        self.entries
            .iter()
            .flat_map(|one| other.entries.iter().filter_map(|two| one.meet(two)))
            .collect()
    }

    /// What remains for the named resources and everything below them. No resources, no permissions.
    #[must_use]
    pub fn attenuate<'a>(&self, resources: impl IntoIterator<Item = &'a Pattern>) -> Self {
        let scopes = resources.into_iter().map(|resource| Scope {
            resource: resource.subtree(),
            action: ActionPattern::Any,
        });
        self.meet(&scopes.map(Permission::free).collect())
    }

    /// What remains for the named actions. No actions, no permissions.
    #[must_use]
    pub fn attenuate_to_actions<'a>(&self, actions: impl IntoIterator<Item = &'a Action>) -> Self {
        let scopes = actions.into_iter().map(|action| Scope {
            resource: Pattern::everything(),
            action: ActionPattern::Only(action.clone()),
        });
        self.meet(&scopes.map(Permission::free).collect())
    }

    /// What remains for the action `read`. Tiers are kept: a SUPERVISED read stays SUPERVISED.
    #[must_use]
    pub fn attenuate_to_read_only(&self) -> Self {
        self.attenuate_to_actions([&Action::read()])
    }

    /// The same permissions, with those in `scope` SUPERVISED at least.
    #[must_use]
    pub fn supervise(&self, scope: &Scope) -> Self {
        self.raise(scope, Tier::Supervised)
    }

    /// The same permissions, with those in `scope` FORBIDDEN: a refusal says so, instead of "no permission".
    #[must_use]
    pub fn forbid(&self, scope: &Scope) -> Self {
        self.raise(scope, Tier::Forbidden)
    }

    fn raise(&self, scope: &Scope, tier: Tier) -> Self {
        let everything = Permission::free(Scope::everything());
        let raised = Permission::new(scope.clone(), tier);
        self.meet(&[everything, raised].into_iter().collect())
    }

    /// Whether `self` permits nothing that `parent` does not, and nothing at a lower tier.
    ///
    /// Sound, not complete. Yes is always true: it may be relied on for a set that somebody else computed. No may be
    /// wrong where several entries together cover one (`a` and `a/*/**` cover `a/**`); a meet with `parent`, and so
    /// everything that the operations above return, is always recognised.
    pub fn is_attenuation_of(&self, parent: &Self) -> bool {
        // Where an entry of `self` matches, `parent` is not absent (`held`), and whatever tier one of its entries has
        // there, some entry of `self` has it too, or a stricter one (`kept`). So no tier of `self` is lower.
        self.entries.iter().all(|entry| {
            let held = |above: &Permission| above.scope.covers(&entry.scope);
            let kept = |above: &Permission| {
                let Some(shared) = entry.meet(above) else {
                    return true;
                };
                self.entries.iter().any(|below| below.settles(&shared))
            };
            parent.entries.iter().any(held) && parent.entries.iter().all(kept)
        })
    }
}

impl Serialize for PermissionSet {
    /// A list of texts, in normal form.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.entries)
    }
}

impl<'de> Deserialize<'de> for PermissionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let permissions = Vec::<Permission>::deserialize(deserializer)?;
        Ok(permissions.into_iter().collect())
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut given: Vec<_> = permissions.into_iter().collect();
        given.sort_unstable();
        let mut entries: Vec<Permission> = Vec::with_capacity(given.len());
        for entry in given {
            if entries.iter().any(|kept| kept.settles(&entry)) {
                continue;
            }
            entries.retain(|kept| !entry.settles(kept));
            entries.push(entry);
        }
        Self { entries }
    }
}
