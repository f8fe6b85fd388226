//! Small worlds for property tests: few names, so that random permissions meet often, and every operation can be asked.

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

use super::{Action, Permission, PermissionSet, Resource, Scope, Tier};
use crate::pattern::Pattern;

pub(super) const ACTIONS: [&str; 3] = ["read", "update", "admin"];

/// Every operation of the world: paths of one to three segments, one name of which no pattern uses, by three actions.
pub(super) static OPERATIONS: LazyLock<Vec<(Resource, Action)>> = LazyLock::new(|| {
    let names = ["a", "b", "z"];
    let mut paths: Vec<String> = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..3 {
        let longer = |path: &String| names.map(|name| format!("{path}{name}/"));
        longest = longest.iter().flat_map(longer).collect();
        paths.extend(longest.iter().cloned());
    }
    let resources = paths.iter().map(|path| path.trim_end_matches('/'));
    resources
        .flat_map(|path| ACTIONS.map(|action| (path.parse().unwrap(), action.parse().unwrap())))
        .collect()
});

/// The same cases at every run.
pub(super) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// The effective tiers of all operations.
pub(super) fn tiers(set: &PermissionSet) -> Vec<Tier> {
    let effective = |(resource, action): &(Resource, Action)| set.effective(resource, action);
    OPERATIONS.iter().map(effective).collect()
}

pub(super) fn pattern_text() -> impl Strategy<Value = String> {
    let segments = prop::collection::vec(select(vec!["a", "b", "*"]), 0..=2);
    (segments, any::<bool>()).prop_map(|(mut segments, open)| {
        if open || segments.is_empty() {
            segments.push("**");
        }
        segments.join("/")
    })
}

pub(super) fn action_text() -> impl Strategy<Value = &'static str> {
    select(vec!["read", "update", "*"])
}

pub(super) fn tier_text() -> impl Strategy<Value = &'static str> {
    select(vec![
        "free",
        "free",
        "free",
        "supervised",
        "supervised",
        "forbidden",
    ])
}

pub(super) fn pattern() -> impl Strategy<Value = Pattern> {
    pattern_text().prop_map(|text| text.parse().unwrap())
}

pub(super) fn permission() -> impl Strategy<Value = Permission> {
    (pattern_text(), action_text(), tier_text())
        .prop_map(|(resource, action, tier)| format!("{resource}:{action}@{tier}").parse().unwrap())
}

pub(super) fn scope() -> impl Strategy<Value = Scope> {
    permission().prop_map(|permission| permission.scope().clone())
}

pub(super) fn permissions() -> impl Strategy<Value = Vec<Permission>> {
    prop::collection::vec(permission(), 0..=5)
}

pub(super) fn set() -> impl Strategy<Value = PermissionSet> {
    permissions().prop_map(|permissions| permissions.into_iter().collect())
}
