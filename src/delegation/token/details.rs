//! Permissions as `authorization_details` (RFC 9396), and the part of them that may stand in `scope`.
//!
//! Patterns that share a tier and all actions stand in one object: a further resource costs its own name there, and five
//! times that in an object of its own. The objects are what counts. `scope` repeats only what somebody who knows nothing
//! of tiers and patterns may act on, and is made anew from the objects whenever a token is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::json::{Object, Text};
use super::{ClaimsError, MAX_ACTIONS, MAX_DETAILS, MAX_PATTERNS};
use crate::pattern::Pattern;
use crate::permission::{ActionPattern, Permission, PermissionSet, Tier};

/// One object: every action on every resource, at one tier.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Detail {
    r#type: String,
    resources: Vec<Text<Pattern>>,
    actions: Vec<Text<ActionPattern>>,
    tier: String,
}

const TYPE: &str = "urn:attache:permission";

/// The objects for `permissions`: as few as grouping makes them, always in the same order.
pub(super) fn write(permissions: &PermissionSet) -> Result<Vec<Object<Detail>>, ClaimsError> {
    let mut actions: BTreeMap<(Tier, &Pattern), Vec<&ActionPattern>> = BTreeMap::new();
    for entry in permissions.entries() {
        let scope = entry.scope();
        let listed = actions.entry((entry.tier(), &scope.resource)).or_default();
        listed.push(&scope.action);
    }
    let mut groups: BTreeMap<(Tier, Vec<&ActionPattern>), Vec<&Pattern>> = BTreeMap::new();
    for ((tier, resource), mut actions) in actions {
        actions.sort_unstable();
        groups.entry((tier, actions)).or_default().push(resource);
    }
    let counts = groups
        .iter()
        .map(|((_, actions), resources)| (resources.len(), actions.len()));
    check(counts)?;
    let detail = |((tier, actions), resources): ((Tier, Vec<&ActionPattern>), Vec<&Pattern>)| {
        Object(Detail {
            r#type: TYPE.to_owned(),
            resources: resources.into_iter().cloned().map(Text).collect(),
            actions: actions.into_iter().cloned().map(Text).collect(),
            tier: tier.as_str().to_owned(),
        })
    };
    Ok(groups.into_iter().map(detail).collect())
}

/// What the objects permit, together.
pub(super) fn read(details: Vec<Object<Detail>>) -> Result<PermissionSet, ClaimsError> {
    let counts = details
        .iter()
        .map(|Object(detail)| (detail.resources.len(), detail.actions.len()));
    check(counts)?;
    let mut entries = Vec::new();
    for Object(detail) in details {
        if detail.r#type != TYPE {
            return Err(ClaimsError::Word("type"));
        }
        let tier: Tier = detail
            .tier
            .parse()
            .map_err(|_unknown| ClaimsError::Word("tier"))?;
        for Text(resource) in &detail.resources {
            for Text(action) in &detail.actions {
                entries.push(Permission::of(resource.clone(), action.clone(), tier));
            }
        }
    }
    let permissions: PermissionSet = entries.into_iter().collect();
    if permissions.is_empty() {
        return Err(ClaimsError::NoPermissions);
    }
    Ok(permissions)
}

/// The FREE permissions without a wildcard, as `documents:read users:read`; nothing where there are none.
///
/// An entry of a set in normal form that no wildcard of a stricter tier covers has the tier that it shows.
pub(super) fn scope(permissions: &PermissionSet) -> Option<String> {
    // RFC 6749 section 3.3 leaves no room for quotes.
    let plain = |entry: &&Permission| entry.tier() == Tier::Free;
    let words: Vec<_> = permissions
        .entries()
        .iter()
        .filter(plain)
        .map(|entry| entry.scope().to_string())
        .filter(|word| !word.contains(['*', '"']))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Keeps to the caps; given are resources and actions of each object.
fn check(counts: impl Iterator<Item = (usize, usize)>) -> Result<(), ClaimsError> {
    let (mut objects, mut patterns) = (0, 0);
    for (resources, actions) in counts {
        objects += 1;
        patterns += resources;
        if actions > MAX_ACTIONS {
            return Err(ClaimsError::TooMany("actions in one object", MAX_ACTIONS));
        }
    }
    if objects > MAX_DETAILS {
        return Err(ClaimsError::TooMany("permission objects", MAX_DETAILS));
    }
    if patterns > MAX_PATTERNS {
        return Err(ClaimsError::TooMany("resource patterns", MAX_PATTERNS));
    }
    Ok(())
}
