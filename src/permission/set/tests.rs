use proptest::prelude::*;
use proptest::sample::select;

use super::super::warning::{Warning, shadowed};
use super::super::worlds::{self, ACTIONS, OPERATIONS, tiers};
use super::*;

const VIEWER: &[&str] = &["users/**:read", "documents/**:read", "analytics/**:read"];
const EDITOR: &[&str] = &[
    "users/**:read",
    "documents/**:read",
    "analytics/**:read",
    "documents/**:create",
    "documents/**:update",
    "documents/**:delete@supervised",
];
const ADMIN: &[&str] = &[
    "users/**:read",
    "users/**:create@supervised",
    "users/**:update@supervised",
    "users/**:delete@forbidden",
    "documents/**:read",
    "documents/**:create",
    "documents/**:update",
    "documents/**:delete@supervised",
    "analytics/**:read",
    "analytics/**:admin@supervised",
    "billing/**:read",
    "billing/**:update@forbidden",
];

fn set(permissions: &[&str]) -> PermissionSet {
    permissions
        .iter()
        .map(|text| text.parse().unwrap())
        .collect()
}

fn tier(set: &PermissionSet, operation: &str) -> Tier {
    let (resource, action) = operation.rsplit_once(':').unwrap();
    set.effective(&resource.parse().unwrap(), &action.parse().unwrap())
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_permission_is_read_and_shown_in_one_notation() {
    for (text, shown) in [
        ("documents/**:read", "documents/**:read"),
        ("documents/*:read@free", "documents/*:read"),
        ("**:*@direct", "**:*"),
        ("a/b:delete@supervised", "a/b:delete@supervised"),
        ("a/b:delete@gateway", "a/b:delete@supervised"),
        ("**:*@exclude", "**:*@forbidden"),
        (
            "example.org/svc/*:documents.publish",
            "example.org/svc/*:documents.publish",
        ),
    ] {
        let permission: Permission = text.parse().unwrap();
        assert_eq!(permission.to_string(), shown);
        assert_eq!(shown.parse(), Ok(permission));
    }
}

#[test]
fn what_is_not_a_permission_is_refused_in_a_sentence() {
    for (text, message) in [
        (
            "",
            "`` is not a permission: write `resource:action` or `resource:action@tier`",
        ),
        (
            "documents",
            "`documents` is not a permission: write `resource:action` or `resource:action@tier`",
        ),
        (
            "doc*:read",
            "`doc*:read` is not a permission: `*` must be a whole segment: `doc*`",
        ),
        (
            ":read",
            "`:read` is not a permission: empty segment in pattern ``",
        ),
        (
            "a:b:read",
            "`a:b:read` is not a permission: character ':' is not allowed in pattern `a:b`",
        ),
        (
            "a@free:read",
            "`a@free:read` is not a permission: character '@' is not allowed in pattern `a@free`",
        ),
        (
            "a:",
            "`a:` is not a permission: `` is empty or has an empty segment",
        ),
        (
            "a:r*",
            "`a:r*` is not a permission: character '*' is not allowed in `r*`",
        ),
        (
            "a:**",
            "`a:**` is not a permission: character '*' is not allowed in `**`",
        ),
        (
            "a:read@",
            "`a:read@` is not a permission: `` is not a tier: write free, supervised or forbidden",
        ),
        (
            "a:read@absent",
            "`a:read@absent` is not a permission: `absent` is not a tier: write free, supervised or forbidden",
        ),
        (
            "a:read@free@free",
            "`a:read@free@free` is not a permission: `free@free` is not a tier: write free, supervised or forbidden",
        ),
    ] {
        let error = serde_json::from_value::<Permission>(text.into()).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn the_example_roles_have_the_tiers_of_their_table() {
    use Tier::{Absent, Forbidden, Free, Supervised};
    // Columns: read, create, update, delete, admin.
    let table = [
        (VIEWER, "users", [Free, Absent, Absent, Absent, Absent]),
        (VIEWER, "documents", [Free, Absent, Absent, Absent, Absent]),
        (VIEWER, "analytics", [Free, Absent, Absent, Absent, Absent]),
        (VIEWER, "billing", [Absent; 5]),
        (EDITOR, "users", [Free, Absent, Absent, Absent, Absent]),
        (EDITOR, "documents", [Free, Free, Free, Supervised, Absent]),
        (EDITOR, "analytics", [Free, Absent, Absent, Absent, Absent]),
        (EDITOR, "billing", [Absent; 5]),
        (
            ADMIN,
            "users",
            [Free, Supervised, Supervised, Forbidden, Absent],
        ),
        (ADMIN, "documents", [Free, Free, Free, Supervised, Absent]),
        (
            ADMIN,
            "analytics",
            [Free, Absent, Absent, Absent, Supervised],
        ),
        (ADMIN, "billing", [Free, Absent, Forbidden, Absent, Absent]),
    ];
    for (role, resource, expected) in table {
        let actions = ["read", "create", "update", "delete", "admin"];
        let found = actions.map(|action| tier(&set(role), &format!("{resource}:{action}")));
        assert_eq!(found, expected, "{resource}");
        let below = actions.map(|action| tier(&set(role), &format!("{resource}/42/x:{action}")));
        assert_eq!(below, expected, "{resource}/42/x");
    }
}

#[test]
fn an_admin_delegates_to_an_agent_which_delegates_reading_alone() {
    let agent = set(ADMIN).attenuate(&patterns(&["documents", "analytics"]));
    assert_eq!(tier(&agent, "documents:read"), Tier::Free);
    assert_eq!(tier(&agent, "documents:delete"), Tier::Supervised);
    assert_eq!(tier(&agent, "users:read"), Tier::Absent);
    let reader = agent
        .attenuate(&patterns(&["documents"]))
        .attenuate_to_read_only();
    assert_eq!(tier(&reader, "documents:read"), Tier::Free);
    assert_eq!(tier(&reader, "documents:update"), Tier::Absent);
    assert_eq!(tier(&reader, "analytics:read"), Tier::Absent);
    assert_eq!(reader, set(&["documents/**:read"]));
}

#[test]
fn an_empty_scope_permits_nothing() {
    let admin = set(ADMIN);
    for nothing in [
        admin.attenuate([]),
        admin.attenuate_to_actions([]),
        admin.meet(&PermissionSet::empty()),
        set(&[]),
    ] {
        assert!(nothing.is_empty());
        assert_eq!(tier(&nothing, "documents:read"), Tier::Absent);
    }
}

// D28
#[test]
fn what_is_not_listed_is_absent() {
    let some = set(&["documents/*:read", "documents/*:admin"]);
    assert_eq!(tier(&some, "documents/1:read"), Tier::Free);
    for absent in [
        "documents:read",
        "documents/1/x:read",
        "Documents/1:read",
        "documents/1:Read",
        // No action implies another, `admin` included.
        "documents/1:update",
    ] {
        assert_eq!(tier(&some, absent), Tier::Absent, "{absent}");
    }
}

#[test]
fn the_stricter_entry_wins_over_the_more_specific_one() {
    let some = set(&["documents/**:*@supervised", "documents/1:read"]);
    assert_eq!(tier(&some, "documents/1:read"), Tier::Supervised);
}

#[test]
fn a_supervised_read_stays_supervised_when_all_but_reading_is_stripped() {
    let some = set(&["payroll/**:*@supervised", "payroll/**:update"]);
    let reading = some.attenuate_to_read_only();
    assert_eq!(reading, set(&["payroll/**:read@supervised"]));
}

// D08, D09
#[test]
fn a_wish_wider_than_the_parent_yields_the_parent() {
    let parent = set(&["docs/1:read", "docs/a:read"]);
    assert_eq!(parent.attenuate(&patterns(&["docs/*", "docs/ab"])), parent);
    assert!(parent.attenuate(&patterns(&["docs/ab"])).is_empty());
    assert!(!set(&["docs/*:read"]).is_attenuation_of(&parent));
}

#[test]
fn a_set_keeps_no_entry_that_another_settles() {
    let some = set(&[
        "a/**:*@supervised",
        "a/b:read",
        "a/b:update@supervised",
        "a/b:*@forbidden",
        "a/**:*@supervised",
    ]);
    assert_eq!(some, set(&["a/**:*@supervised", "a/b:*@forbidden"]));
}

#[test]
fn a_permission_that_a_stricter_one_covers_is_pointed_out() {
    let written = [
        "documents/*:read",
        "documents/**:*@supervised",
        "documents/**:delete@forbidden",
    ];
    let written = written.map(|text| text.parse::<Permission>().unwrap());
    let [read, all, _delete] = written.clone();
    let expected = Warning::Shadowed {
        entry: read,
        by: all,
    };
    assert_eq!(shadowed(&written), [expected]);
    // The same twice, or covered at the same tier, misleads nobody.
    let twice = ["a:read", "a:read", "a:*"].map(|text| text.parse().unwrap());
    assert_eq!(shadowed(&twice), []);
}

#[test]
fn a_claim_of_attenuation_is_checked_entry_by_entry() {
    let parent = set(&["a/**:*", "a/b:*@supervised", "c:read@forbidden"]);
    for (child, expected) in [
        (&[][..], true),
        (&["a/**:*", "a/b:*@supervised", "c:read@forbidden"], true),
        (&["a/x:read"], true),
        (&["a/b:read@supervised"], true),
        (&["a/*:read@supervised"], true),
        (&["a/*:read@forbidden", "c:read@forbidden"], true),
        // Would be FREE where the parent is SUPERVISED or FORBIDDEN.
        (&["a/b:read"], false),
        (&["a/*:read"], false),
        (&["c:read"], false),
        (&["c:read@supervised"], false),
        // Would hold what the parent does not.
        (&["**:read@forbidden"], false),
        (&["c:update@forbidden"], false),
        (&["d:read"], false),
    ] {
        assert_eq!(set(child).is_attenuation_of(&parent), expected, "{child:?}");
    }
    // Conservative: true, but only by two entries together.
    assert!(!set(&["x/**:read"]).is_attenuation_of(&set(&["x:read", "x/*/**:read"])));
}

fn no_tier_is_lower(child: &PermissionSet, parent: &PermissionSet) -> bool {
    tiers(child)
        .iter()
        .zip(tiers(parent))
        .all(|(child, parent)| *child >= parent)
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = select(ACTIONS.to_vec()).prop_map(|word| word.parse().unwrap());
    prop::collection::vec(action, 0..=2)
}

fn resources() -> impl Strategy<Value = Vec<Pattern>> {
    prop::collection::vec(worlds::pattern(), 0..=3)
}

/// Any of the narrowing operations.
fn narrowing() -> impl Strategy<Value = Narrowing> {
    prop_oneof![
        worlds::set().prop_map(Narrowing::Meet),
        resources().prop_map(Narrowing::Resources),
        actions().prop_map(Narrowing::Actions),
        Just(Narrowing::ReadOnly),
        worlds::scope().prop_map(Narrowing::Supervise),
        worlds::scope().prop_map(Narrowing::Forbid),
    ]
}

#[derive(Debug, Clone)]
enum Narrowing {
    Meet(PermissionSet),
    Resources(Vec<Pattern>),
    Actions(Vec<Action>),
    ReadOnly,
    Supervise(Scope),
    Forbid(Scope),
}

impl Narrowing {
    fn apply(&self, set: &PermissionSet) -> PermissionSet {
        match self {
            Self::Meet(other) => set.meet(other),
            Self::Resources(resources) => set.attenuate(resources),
            Self::Actions(actions) => set.attenuate_to_actions(actions),
            Self::ReadOnly => set.attenuate_to_read_only(),
            Self::Supervise(scope) => set.supervise(scope),
            Self::Forbid(scope) => set.forbid(scope),
        }
    }
}

proptest! {
    #![proptest_config(worlds::cases(300))]

    #[test]
    fn the_normal_form_changes_no_answer(permissions in worlds::permissions()) {
        let set: PermissionSet = permissions.iter().cloned().collect();
        for (resource, action) in OPERATIONS.iter() {
            let matching = permissions.iter().filter(|one| one.scope.matches(resource, action));
            let strictest = matching.map(|one| one.tier).max();
            prop_assert_eq!(set.effective(resource, action), strictest.unwrap_or(Tier::Absent));
        }
    }

    // D27
    #[test]
    fn neither_order_nor_duplicates_matter(
        (permissions, shuffled) in worlds::permissions().prop_flat_map(|permissions| {
            let twice = [permissions.clone(), permissions.clone()].concat();
            (Just(permissions), Just(twice).prop_shuffle())
        }),
    ) {
        let set: PermissionSet = permissions.into_iter().collect();
        prop_assert_eq!(set, shuffled.into_iter().collect());
    }

    #[test]
    fn a_meet_has_the_stricter_tier_everywhere(one in worlds::set(), two in worlds::set()) {
        let stricter = tiers(&one).into_iter().zip(tiers(&two)).map(|(one, two)| one.max(two));
        prop_assert_eq!(tiers(&one.meet(&two)), stricter.collect::<Vec<_>>());
    }

    #[test]
    fn the_meet_is_commutative_associative_and_idempotent(
        one in worlds::set(), two in worlds::set(), three in worlds::set(),
    ) {
        prop_assert_eq!(one.meet(&two), two.meet(&one));
        prop_assert_eq!(one.meet(&two).meet(&three), one.meet(&two.meet(&three)));
        prop_assert_eq!(&one.meet(&one), &one);
    }

    // D06
    #[test]
    fn everything_narrows_nothing_and_nothing_narrows_to_nothing(set in worlds::set()) {
        prop_assert_eq!(&set.meet(&PermissionSet::everything()), &set);
        prop_assert_eq!(&set.attenuate(&[Pattern::everything()]), &set);
        prop_assert_eq!(set.meet(&PermissionSet::empty()), PermissionSet::empty());
    }

    // D01, D02
    #[test]
    fn no_chain_of_narrowing_lowers_a_tier(
        root in worlds::set(), chain in prop::collection::vec(narrowing(), 1..=4),
    ) {
        let mut parent = root.clone();
        for step in &chain {
            let child = step.apply(&parent);
            prop_assert!(no_tier_is_lower(&child, &parent), "{step:?} {parent:?} {child:?}");
            prop_assert!(child.is_attenuation_of(&parent), "{step:?} {parent:?} {child:?}");
            prop_assert!(child.is_attenuation_of(&root), "{step:?} {root:?} {child:?}");
            parent = child;
        }
    }

    // D03, D04
    #[test]
    fn narrowings_commute_and_repeat_without_effect(
        set in worlds::set(), one in narrowing(), two in narrowing(),
    ) {
        let both = two.apply(&one.apply(&set));
        prop_assert_eq!(&one.apply(&two.apply(&set)), &both);
        prop_assert_eq!(&one.apply(&both), &both);
    }

    // D05
    #[test]
    fn scoping_twice_is_scoping_to_what_both_name(
        set in worlds::set(), one in resources(), two in resources(),
    ) {
        let twice = set.attenuate(&one).attenuate(&two);
        let pairs = one.iter().flat_map(|a| two.iter().map(move |b| (a.subtree(), b.subtree())));
        let shared: Vec<_> = pairs.filter_map(|(a, b)| a.intersect(&b)).collect();
        prop_assert_eq!(twice, set.attenuate(&shared));
    }

    #[test]
    fn scoping_keeps_tiers_inside_and_removes_all_outside(
        set in worlds::set(), resources in resources(), actions in actions(),
    ) {
        let scoped = set.attenuate(&resources).attenuate_to_actions(&actions);
        for (resource, action) in OPERATIONS.iter() {
            let path: Vec<_> = resource.segments().collect();
            let below = |scope: &Pattern| {
                (1..=path.len()).any(|length| scope.matches(path[..length].iter().copied()))
            };
            let inside = resources.iter().any(below) && actions.contains(action);
            let expected = if inside { set.effective(resource, action) } else { Tier::Absent };
            prop_assert_eq!(scoped.effective(resource, action), expected);
        }
    }

    #[test]
    fn reading_alone_keeps_the_tiers_of_reading(set in worlds::set(), resources in resources()) {
        let reading = set.attenuate_to_read_only();
        for (resource, action) in OPERATIONS.iter() {
            let is_read = action.as_str() == "read";
            let expected = if is_read { set.effective(resource, action) } else { Tier::Absent };
            prop_assert_eq!(reading.effective(resource, action), expected);
        }
        prop_assert_eq!(&reading.attenuate_to_read_only(), &reading);
        let scoped = set.attenuate(&resources).attenuate_to_read_only();
        prop_assert_eq!(scoped, reading.attenuate(&resources));
    }

    #[test]
    fn raising_raises_what_is_held_inside_and_nothing_outside(
        set in worlds::set(), scope in worlds::scope(),
    ) {
        let (supervised, forbidden) = (set.supervise(&scope), set.forbid(&scope));
        for (resource, action) in OPERATIONS.iter() {
            let before = set.effective(resource, action);
            let inside = scope.matches(resource, action);
            let at_least = |tier| if inside { before.max(tier) } else { before };
            prop_assert_eq!(supervised.effective(resource, action), at_least(Tier::Supervised));
            prop_assert_eq!(forbidden.effective(resource, action), at_least(Tier::Forbidden));
        }
    }

    #[test]
    fn an_entry_reported_as_shadowed_has_no_effect(permissions in worlds::permissions()) {
        for warning in shadowed(&permissions) {
            let Warning::Shadowed { entry, .. } = warning else {
                panic!("{warning}");
            };
            let rest = permissions.iter().filter(|other| **other != entry).cloned();
            let set: PermissionSet = permissions.iter().cloned().collect();
            prop_assert_eq!(tiers(&rest.collect()), tiers(&set));
        }
    }
}

proptest! {
    #![proptest_config(worlds::cases(3000))]

    #[test]
    fn a_recognised_attenuation_is_one(
        parent in worlds::permissions(), more in worlds::permissions(), dropped in any::<u8>(),
    ) {
        let parent: PermissionSet = parent.into_iter().collect();
        // Near misses: a meet with one entry missing, one entry of its own, or nothing in common by design.
        let meet = parent.meet(&more.iter().cloned().collect());
        let mut tampered = meet.entries().to_vec();
        if !tampered.is_empty() {
            tampered.remove(usize::from(dropped) % tampered.len());
        }
        let widened = meet.entries().iter().chain(more.first()).cloned();
        for child in [tampered.into_iter().collect(), widened.collect(), more.into_iter().collect()] {
            let child: PermissionSet = child;
            if child.is_attenuation_of(&parent) {
                prop_assert!(no_tier_is_lower(&child, &parent), "{parent:?} {child:?}");
            }
        }
    }
}
