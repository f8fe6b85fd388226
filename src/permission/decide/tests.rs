use proptest::prelude::*;
use proptest::sample::select;

use super::super::worlds::{self, OPERATIONS, action_text, pattern_text, tier_text};
use super::super::{AgentList, TierTable, WorkloadConfig};
use super::*;
use crate::identity::SpiffeId;

const TIERS: [Tier; 4] = [Tier::Free, Tier::Supervised, Tier::Forbidden, Tier::Absent];

const APPROVALS: [Approval; 2] = [Approval::Active, Approval::None];

fn standings() -> Vec<Standing> {
    let kinds = [Standing::Holds, Standing::Delegated, Standing::Person];
    let all = kinds.into_iter().flat_map(|kind| TIERS.map(kind));
    all.chain([Standing::OrphanAgent]).collect()
}

/// Every answer; of the reasons to fail, all of them.
fn answers() -> Vec<PolicyAnswer> {
    let allows = TIERS.map(Some).into_iter().chain([None]);
    let failed = Reason::ALL.map(PolicyAnswer::Failed);
    let refusals = [
        PolicyAnswer::Deny,
        PolicyAnswer::Undefined,
        PolicyAnswer::NotAsked,
    ];
    allows
        .map(|tier| PolicyAnswer::Allow { tier })
        .chain(refusals)
        .chain(failed)
        .collect()
}

#[derive(Debug, Clone, Copy)]
struct Evidence {
    standing: Standing,
    table: Tier,
    policy: PolicyAnswer,
    approval: Approval,
}

impl Evidence {
    /// Every combination there is.
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for standing in standings() {
            for table in TIERS {
                for policy in answers() {
                    all.extend(APPROVALS.map(|approval| Self {
                        standing,
                        table,
                        policy,
                        approval,
                    }));
                }
            }
        }
        all
    }

    fn ruling(self) -> Ruling {
        let structural = Structural::new(self.standing, self.table);
        decide(structural, self.policy, self.approval)
    }

    /// Whether `self` speaks against the operation in every point at least as much as `other`.
    fn is_at_least_as_bad_as(self, other: Self) -> bool {
        let standing = match (self.standing, other.standing) {
            (Standing::OrphanAgent, _) => true,
            // An agent never gets what a person who holds the same does not.
            (Standing::Holds(this), Standing::Holds(that))
            | (Standing::Delegated(this), Standing::Delegated(that) | Standing::Person(that))
            | (Standing::Person(this), Standing::Person(that)) => this >= that,
            _ => false,
        };
        let policy = match (self.policy, other.policy) {
            (PolicyAnswer::Allow { tier: this }, PolicyAnswer::Allow { tier: that }) => {
                this.unwrap_or(Tier::Free) >= that.unwrap_or(Tier::Free)
            }
            (_, PolicyAnswer::Allow { .. }) => true,
            (this, that) => this == that,
        };
        let approval = self.approval == other.approval || self.approval == Approval::None;
        standing && policy && approval && self.table >= other.table
    }
}

/// How far a ruling is from doing it.
fn distance(ruling: Ruling) -> u8 {
    match ruling {
        Ruling::Allow { .. } => 0,
        Ruling::Supervise => 1,
        Ruling::Deny(_) => 2,
    }
}

/// Rules on an operation that both held permissions and table give this tier.
fn at(tier: Tier, policy: PolicyAnswer, approval: Approval) -> Ruling {
    decide(
        Structural::new(Standing::Holds(tier), tier),
        policy,
        approval,
    )
}

const fn allow(tier: Option<Tier>) -> PolicyAnswer {
    PolicyAnswer::Allow { tier }
}

// The table of the design, row by row.

#[test]
fn absent_or_forbidden_is_denied_whatever_else_is_said() {
    for policy in answers() {
        for approval in APPROVALS {
            let absent = at(Tier::Absent, policy, approval);
            assert_eq!(absent, Ruling::Deny(Reason::OutOfScope));
            let forbidden = at(Tier::Forbidden, policy, approval);
            assert_eq!(forbidden, Ruling::Deny(Reason::TierForbidden));
        }
    }
}

#[test]
fn a_refusal_or_failure_of_policy_denies_and_asks_nobody_for_approval() {
    for tier in [Tier::Free, Tier::Supervised] {
        for approval in APPROVALS {
            for (policy, reason) in [
                (PolicyAnswer::Deny, Reason::PolicyDenied),
                (PolicyAnswer::Undefined, Reason::PolicyUndefined),
                (
                    PolicyAnswer::Failed(Reason::PolicyError),
                    Reason::PolicyError,
                ),
                (
                    PolicyAnswer::Failed(Reason::PolicyTimeout),
                    Reason::PolicyTimeout,
                ),
            ] {
                assert_eq!(at(tier, policy, approval), Ruling::Deny(reason));
            }
        }
    }
}

#[test]
fn free_and_allowed_runs_by_itself() {
    for wanted in [None, Some(Tier::Free)] {
        for approval in APPROVALS {
            let ruling = at(Tier::Free, allow(wanted), approval);
            assert_eq!(ruling, Ruling::Allow { tier: Tier::Free });
        }
    }
}

#[test]
fn policy_can_make_a_free_operation_supervised() {
    let supervise = allow(Some(Tier::Supervised));
    assert_eq!(at(Tier::Free, supervise, Approval::None), Ruling::Supervise);
    let approved = at(Tier::Free, supervise, Approval::Active);
    assert_eq!(
        approved,
        Ruling::Allow {
            tier: Tier::Supervised
        }
    );
}

// D30
#[test]
fn supervised_without_approval_is_denied_and_requestable() {
    for wanted in [None, Some(Tier::Free), Some(Tier::Supervised)] {
        let ruling = at(Tier::Supervised, allow(wanted), Approval::None);
        assert_eq!(ruling, Ruling::Supervise);
        assert_eq!(ruling.refusal(), Some(Reason::ApprovalRequired));
    }
}

#[test]
fn supervised_with_an_active_approval_runs_and_uses_it_up() {
    for wanted in [None, Some(Tier::Free), Some(Tier::Supervised)] {
        let ruling = at(Tier::Supervised, allow(wanted), Approval::Active);
        assert_eq!(
            ruling,
            Ruling::Allow {
                tier: Tier::Supervised
            }
        );
        assert_eq!(ruling.refusal(), None);
    }
}

#[test]
fn the_structural_tier_is_the_strictest_found_so_far() {
    for table in TIERS {
        for held in TIERS {
            let structural = Structural::new(Standing::Holds(held), table);
            assert_eq!(structural.tier(), held.max(table));
        }
        let orphan = Structural::new(Standing::OrphanAgent, table);
        assert_eq!(orphan.tier(), Tier::Absent);
    }
}

// D29, D31
#[test]
fn forbidden_anywhere_is_denied_even_if_approved() {
    for evidence in Evidence::all() {
        let forbids = |tier| tier == Tier::Forbidden || tier == Tier::Absent;
        let by_standing = match evidence.standing {
            Standing::OrphanAgent => true,
            Standing::Holds(tier) | Standing::Delegated(tier) => forbids(tier),
            Standing::Person(tier) => tier == Tier::Absent,
        };
        let by_policy = match evidence.policy {
            PolicyAnswer::Allow { tier } => tier.is_some_and(forbids),
            _ => true,
        };
        let by_table = forbids(evidence.table) && !matches!(evidence.standing, Standing::Person(_));
        if by_standing || by_policy || by_table {
            assert_eq!(distance(evidence.ruling()), 2, "{evidence:?}");
        }
    }
    let raised = at(Tier::Free, allow(Some(Tier::Forbidden)), Approval::Active);
    assert_eq!(raised, Ruling::Deny(Reason::TierForbidden));
}

// Decision 8: tiers are for automation.
#[test]
fn a_person_who_acts_directly_is_bound_by_role_and_policy_alone() {
    for table in TIERS {
        for held in [Tier::Free, Tier::Supervised, Tier::Forbidden] {
            let structural = Structural::new(Standing::Person(held), table);
            let ruling = |policy| decide(structural, policy, Approval::None);
            assert_eq!(ruling(allow(None)), Ruling::Allow { tier: Tier::Free });
            assert_eq!(
                ruling(PolicyAnswer::Deny),
                Ruling::Deny(Reason::PolicyDenied)
            );
            assert_eq!(ruling(allow(Some(Tier::Supervised))), Ruling::Supervise);
            let forbidden = Ruling::Deny(Reason::TierForbidden);
            assert_eq!(ruling(allow(Some(Tier::Forbidden))), forbidden);
        }
        let nothing = Structural::new(Standing::Person(Tier::Absent), table);
        assert_eq!(nothing.refusal(), Some(Reason::OutOfScope));
    }
}

#[test]
fn an_agent_with_a_delegation_is_bound_by_the_table_as_by_what_it_holds() {
    for table in TIERS {
        for held in TIERS {
            let agent = Structural::new(Standing::Delegated(held), table);
            let workload = Structural::new(Standing::Holds(held), table);
            assert_eq!(agent.tier(), held.max(table));
            assert_eq!(agent.refusal(), workload.refusal());
        }
    }
}

#[test]
fn an_orphan_agent_is_denied_as_such_whatever_it_would_hold() {
    for evidence in Evidence::all() {
        if evidence.standing == Standing::OrphanAgent {
            assert_eq!(evidence.ruling(), Ruling::Deny(Reason::OrphanAgent));
        }
    }
}

#[test]
fn forgetting_to_ask_policy_is_a_fault_and_never_an_allowance() {
    for tier in [Tier::Free, Tier::Supervised] {
        for approval in APPROVALS {
            let ruling = at(tier, PolicyAnswer::NotAsked, approval);
            assert_eq!(ruling, Ruling::Deny(Reason::InternalError));
        }
    }
}

#[test]
fn policy_is_asked_exactly_where_its_answer_can_matter() {
    for standing in standings() {
        for table in TIERS {
            let structural = Structural::new(standing, table);
            let rulings = answers()
                .into_iter()
                .flat_map(|policy| APPROVALS.map(|approval| decide(structural, policy, approval)));
            let all_equal = rulings
                .collect::<Vec<_>>()
                .windows(2)
                .all(|two| two[0] == two[1]);
            assert_eq!(structural.refusal().is_some(), all_equal, "{structural:?}");
        }
    }
}

// D27, D29, D30, D31: the whole domain, pair by pair.
#[test]
fn more_evidence_against_never_leads_to_a_milder_ruling() {
    let all: Vec<_> = Evidence::all()
        .into_iter()
        .map(|one| (one, one.ruling()))
        .collect();
    for (worse, then) in &all {
        for (better, before) in &all {
            if worse.is_at_least_as_bad_as(*better) {
                assert!(distance(*then) >= distance(*before), "{better:?} {worse:?}");
            }
        }
    }
}

#[test]
fn an_allowance_has_the_strictest_tier_of_all_that_had_a_say() {
    for evidence in Evidence::all() {
        let Ruling::Allow { tier } = evidence.ruling() else {
            continue;
        };
        let PolicyAnswer::Allow { tier: wanted } = evidence.policy else {
            panic!("allowed without policy: {evidence:?}");
        };
        let wanted = wanted.unwrap_or(Tier::Free);
        let said = match evidence.standing {
            Standing::Holds(held) | Standing::Delegated(held) => held.max(evidence.table),
            Standing::Person(_) => Tier::Free,
            Standing::OrphanAgent => panic!("allowed without standing: {evidence:?}"),
        };
        assert_eq!(tier, said.max(wanted));
    }
}

#[test]
fn a_ruling_cannot_come_about_by_default_or_from_a_boolean() {
    // Compiles only as long as exactly one of the two implementations applies, that is, while `Ruling` has neither trait.
    trait Unless<Marker> {
        const HOLDS: bool = true;
    }
    struct Defaulted;
    struct FromBool;
    impl<T> Unless<()> for T {}
    impl<T: Default> Unless<Defaulted> for T {}
    impl<T: From<bool>> Unless<FromBool> for T {}
    const { assert!(<Ruling as Unless<_>>::HOLDS) }
}

// Whole worlds, against a model that knows nothing but text.

const CALLERS: [&str; 4] = [
    "spiffe://t.example/w/one",
    "spiffe://t.example/w/two",
    "spiffe://t.example/agent",
    "spiffe://other.example/w/one",
];

/// Resource, action, tier.
type Rule = (String, &'static str, &'static str);

#[derive(Debug, Clone)]
struct World {
    agents: Vec<&'static str>,
    workloads: Vec<(&'static str, Vec<Rule>)>,
    default: &'static str,
    rules: Vec<Rule>,
}

/// The law once more, as slow and as plain as possible.
mod model {
    use super::{Rule, World};

    fn like(pattern: &[&str], path: &[&str]) -> bool {
        match (pattern, path) {
            (["**"], _) | ([], []) => true,
            ([wanted, more @ ..], [given, rest @ ..]) => {
                (*wanted == "*" || wanted == given) && like(more, rest)
            }
            _ => false,
        }
    }

    fn matches(pattern: &str, path: &str) -> bool {
        let pattern: Vec<_> = pattern.split('/').collect();
        like(&pattern, &path.split('/').collect::<Vec<_>>())
    }

    /// 0 free, 1 supervised, 2 forbidden, 3 absent.
    fn level(tier: &str) -> usize {
        let tiers = ["free", "supervised", "forbidden", "absent"];
        tiers.iter().position(|one| *one == tier).unwrap()
    }

    fn strictest(rules: &[&Rule], resource: &str, action: &str, otherwise: &str) -> usize {
        let mut found = None;
        for (pattern, word, tier) in rules {
            if matches(pattern, resource) && (*word == "*" || *word == action) {
                found = found.max(Some(level(tier)));
            }
        }
        found.unwrap_or(level(otherwise))
    }

    pub(super) fn ruling(
        world: &World,
        (caller, resource, action): (&str, &str, &str),
        policy: &str,
        approved: bool,
    ) -> &'static str {
        if world.agents.iter().any(|agents| matches(agents, caller)) {
            return "orphan_agent";
        }
        let entries = world.workloads.iter();
        let held: Vec<_> = entries
            .filter(|(callers, _)| matches(callers, caller))
            .flat_map(|(_, permissions)| permissions)
            .collect();
        let held = strictest(&held, resource, action, "absent");
        let rules: Vec<_> = world.rules.iter().collect();
        let own = held.max(strictest(&rules, resource, action, world.default));
        match (own, policy) {
            (3, _) => "out_of_scope",
            (2, _) | (_, "forbidden") => "tier_forbidden",
            (_, "deny") => "policy_denied",
            (_, "undefined") => "policy_undefined",
            (_, "timeout") => "policy_timeout",
            (0, "allow" | "free") => "allowed free",
            _ if approved => "allowed supervised",
            _ => "approval_required",
        }
    }
}

fn answer(word: &str) -> PolicyAnswer {
    match word {
        "allow" => allow(None),
        "deny" => PolicyAnswer::Deny,
        "undefined" => PolicyAnswer::Undefined,
        "timeout" => PolicyAnswer::Failed(Reason::PolicyTimeout),
        tier => allow(Some(tier.parse().unwrap())),
    }
}

fn shown(ruling: Ruling) -> String {
    match ruling {
        Ruling::Allow { tier } => format!("allowed {tier}"),
        Ruling::Supervise | Ruling::Deny(_) => ruling.refusal().unwrap().to_string(),
    }
}

/// A world as attache reads it from configuration.
struct Configured {
    agents: AgentList,
    workloads: super::super::WorkloadGrants,
    tiers: TierTable,
}

impl Configured {
    fn from(world: &World) -> Self {
        let workload = |(callers, permissions): &(&str, Vec<Rule>)| {
            let written = permissions.iter().map(|(resource, action, tier)| {
                serde_json::Value::from(format!("{resource}:{action}@{tier}"))
            });
            serde_json::json!({"match": callers, "permissions": written.collect::<Vec<_>>()})
        };
        let rule = |(resource, action, tier): &Rule| serde_json::json!({"resource": resource, "action": action, "tier": tier});
        let workloads: Vec<_> = world.workloads.iter().map(workload).collect();
        let rules: Vec<_> = world.rules.iter().map(rule).collect();
        let tiers = serde_json::json!({"default": world.default, "rules": rules});
        let workloads: WorkloadConfig = serde_json::from_value(workloads.into()).unwrap();
        Self {
            agents: serde_json::from_value(world.agents.clone().into()).unwrap(),
            workloads: workloads.build(),
            tiers: serde_json::from_value(tiers).unwrap(),
        }
    }

    fn structural(&self, caller: &SpiffeId, operation: usize) -> Structural {
        let (resource, action) = &OPERATIONS[operation];
        let standing = if self.agents.contains(caller) {
            Standing::OrphanAgent
        } else {
            Standing::Holds(self.workloads.effective(caller, resource, action))
        };
        Structural::new(standing, self.tiers.tier_of(resource, action))
    }
}

fn world() -> impl Strategy<Value = World> {
    let rules = |most| {
        let rule = (pattern_text(), action_text(), tier_text());
        prop::collection::vec(rule, 0..=most)
    };
    let callers = select(vec![
        "spiffe://t.example/w/one",
        "spiffe://t.example/w/*",
        "spiffe://t.example/**",
        "spiffe://t.example/**",
        "spiffe://other.example/**",
    ]);
    let agents = select(vec![
        "spiffe://t.example/agent/**",
        "spiffe://t.example/w/two",
    ]);
    (
        prop::collection::vec(agents, 0..=1),
        prop::collection::vec((callers, rules(5)), 0..=5),
        select(vec!["free", "supervised", "forbidden"]),
        rules(4),
    )
        .prop_map(|(agents, workloads, default, rules)| World {
            agents,
            workloads,
            default,
            rules,
        })
}

proptest! {
    #![proptest_config(worlds::cases(400))]

    // D27 to D31: 400 worlds, each with every caller and operation, 187 200 questions in all.
    #[test]
    fn every_ruling_is_the_one_of_a_plain_reading_of_the_rules(
        world in world(),
        policies in prop::collection::vec(
            select(vec![
                "allow", "allow", "free", "supervised", "forbidden", "deny", "undefined", "timeout",
            ]),
            OPERATIONS.len(),
        ),
        approved in any::<bool>(),
    ) {
        let configured = Configured::from(&world);
        let approval = if approved { Approval::Active } else { Approval::None };
        for caller in CALLERS {
            let id = caller.parse().unwrap();
            for (operation, policy) in policies.iter().enumerate() {
                let (resource, action) = &OPERATIONS[operation];
                let structural = configured.structural(&id, operation);
                let ruling = decide(structural, answer(policy), approval);
                let question = (caller, resource.as_str(), action.as_str());
                let expected = model::ruling(&world, question, policy, approved);
                prop_assert_eq!(shown(ruling), expected, "{:?} {}", question, policy);
            }
        }
    }

    // D27
    #[test]
    fn neither_the_order_of_a_configuration_nor_repetition_changes_a_ruling(
        (world, shuffled) in world().prop_flat_map(|world| {
            let agents = Just(world.agents.clone());
            let workloads = Just([world.workloads.clone(), world.workloads.clone()].concat());
            let rules = Just([world.rules.clone(), world.rules.clone()].concat());
            let default = world.default;
            let shuffled = (agents, workloads.prop_shuffle(), rules.prop_shuffle());
            let shuffled = shuffled.prop_map(move |(agents, workloads, rules)| World {
                agents,
                workloads,
                default,
                rules,
            });
            (Just(world), shuffled)
        }),
    ) {
        let (one, two) = (Configured::from(&world), Configured::from(&shuffled));
        for caller in CALLERS {
            let id = caller.parse().unwrap();
            for operation in 0..OPERATIONS.len() {
                prop_assert_eq!(one.structural(&id, operation), two.structural(&id, operation));
            }
        }
    }
}
