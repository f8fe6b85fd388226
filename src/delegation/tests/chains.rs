//! Random chains, each hop compared with the model: whether it is given, and what is held then.
//!
//! `ATTACHE_CHAINS` says how many; 100000 unless set.

use std::sync::LazyLock;

use super::model::{ACTIONS, Entry, PATHS, PATTERNS, Power, below, scope, with};
use super::*;
use crate::permission::Permission;

/// Numbers that look random and are the same at every run (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn entries(&mut self, most: usize) -> Vec<Entry> {
        let entry = |dice: &mut Self| {
            let tier = dice.one(&[0, 0, 0, 1, 1, 2]);
            (dice.below(PATTERNS.len()), dice.one(&[0, 1, 3]), tier)
        };
        (0..self.below(most + 1)).map(|_| entry(self)).collect()
    }
}

static OPERATIONS: LazyLock<Vec<(Resource, Action)>> = LazyLock::new(|| {
    let with_each = |path: &&str| ACTIONS.map(|action| operation(path, action));
    PATHS.iter().flat_map(with_each).collect()
});

/// All permissions there can be, by pattern, action and tier: parsed once.
static PERMISSIONS: LazyLock<Vec<Permission>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for pattern in PATTERNS {
        for action in ["read", "update", "admin", "*"] {
            for tier in ["free", "supervised", "forbidden"] {
                all.push(format!("{pattern}:{action}@{tier}").parse().unwrap());
            }
        }
    }
    all
});

fn real(entries: &[Entry]) -> PermissionSet {
    let permission = |(pattern, action, tier): &Entry| {
        PERMISSIONS[(pattern * 4 + action) * 3 + usize::from(*tier)].clone()
    };
    entries.iter().map(permission).collect()
}

/// Four workloads, of which the last may receive nothing; three types, the one of each workload.
const WORKLOADS: usize = 4;
const SERVICES: [&str; 3] = ["urn:s:0", "urn:s:1", "urn:s:2"];
const TASKS: [&str; 6] = ["t0", "t1", "t2", "t3", "t4", "t5"];

/// Where a chain stands, by the model.
#[derive(Debug, Clone)]
struct Stand {
    power: Power,
    agents: Vec<(usize, usize)>,
    ends: u64,
    begun: u64,
    services: Option<usize>,
    further: u8,
    tasks: Vec<usize>,
    task_ends: u64,
}

/// What every chain begins with, read once.
static SCENE: LazyLock<Scene> = LazyLock::new(Scene::new);
static WANTED: LazyLock<Wanted> = LazyLock::new(|| wanted("w0", "n0", TASKS[0]));

struct Walk {
    dice: Dice,
    scene: Scene,
    role: Power,
    ceilings: [Power; 3],
    /// By type of the delegator, the types it may delegate to, one bit each.
    allowed: [usize; 3],
    /// The tasks that were begun, each at or above where the walk stands.
    known: Vec<Task>,
    now: u64,
}

/// One hop that is tried, and what the model says of it.
struct Attempt {
    wanted: Wanted,
    /// Where the chain stands then.
    next: Stand,
    /// Why it may not be: any of these codes is right.
    refused: Vec<&'static str>,
    names_a_person: bool,
    siblings: u32,
    alive: bool,
    known: Option<Task>,
    /// Whether it is for the delegator's own task.
    joins: bool,
}

/// The moment this many seconds after the beginning.
fn at(seconds: u64) -> Timestamp {
    SCENE.session.created.plus(Duration::from_secs(seconds))
}

/// One agent, parsed once: workload, name, type.
static NAMES: LazyLock<Vec<Agent>> = LazyLock::new(|| {
    let agent = |workload: usize, name: usize| Agent {
        spiffe_id: format!("spiffe://example.org/agent/w{workload}")
            .parse()
            .unwrap(),
        agent_id: format!("n{name}").parse().unwrap(),
        agent_type: format!("t{workload}").parse().unwrap(),
    };
    (0..WORKLOADS)
        .flat_map(|workload| (0..3).map(move |name| agent(workload, name)))
        .collect()
});

impl Walk {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut scene = SCENE.clone();
        let mut role = dice.entries(5);
        if !dice.once_in(4) {
            role.push((0, 3, 0));
        }
        scene.role = real(&role);
        scene.limits.max_depth = dice.one(&[1, 2, 4, 5, 9, 9]);
        scene.limits.max_fanout = 2;
        scene.limits.audience = dice.once_in(2).then(|| service(SERVICES[0]));
        scene.limits.issuer = Some(service(SERVICES[2]));
        scene.session.expires = scene.now.plus(Duration::from_secs(3600));
        let mut ceilings = [Power::ALL; 3];
        let mut allowed = [7; 3];
        let entries = (0..3).map(|at| {
            let mut ceiling = vec![(0, 3, 0)];
            if dice.once_in(4) {
                ceiling = dice.entries(4);
                ceilings[at] = Power::of(&ceiling);
            }
            if dice.once_in(4) {
                allowed[at] = dice.below(8);
            }
            let listed = (0..3).filter(|to| allowed[at] & (1 << to) != 0);
            let listed = listed.map(|to| NAMES[to * 3].agent_type.clone());
            AgentEntry {
                agents: NAMES[at * 3].spiffe_id.as_str().parse().unwrap(),
                agent_type: NAMES[at * 3].agent_type.clone(),
                ceiling: real(&ceiling),
                may_delegate_to: (allowed[at] != 7).then(|| listed.collect()),
            }
        });
        scene.registry = Registry(entries.collect());
        Self {
            dice,
            scene,
            role: Power::of(&role),
            ceilings,
            allowed,
            known: Vec::new(),
            now: 0,
        }
    }

    /// One hop from `stand`, by both; `None` where it is refused.
    fn hop(&mut self, from: Option<&Given>, stand: &Stand) -> Option<(Given, Stand)> {
        // Sometimes time passes, and sometimes the clock steps back.
        self.now = match self.dice.below(16) {
            0 => self.now + self.dice.one(&[1, 300, 1500]),
            1 => self.now.saturating_sub(100),
            _ => self.now,
        };
        self.scene.now = at(self.now);
        let mut attempt = Attempt {
            wanted: WANTED.clone(),
            next: stand.clone(),
            refused: Vec::new(),
            names_a_person: false,
            siblings: 0,
            alive: true,
            known: None,
            joins: false,
        };
        self.receiver(stand, &mut attempt);
        self.services(stand, &mut attempt);
        self.times(stand, &mut attempt);
        self.permissions(stand, &mut attempt);
        self.judge(from, stand, attempt)
    }

    /// To whom, and whether it may be.
    fn receiver(&mut self, stand: &Stand, attempt: &mut Attempt) {
        let dice = &mut self.dice;
        let (workload, name) = (
            if dice.once_in(40) { 3 } else { dice.below(3) },
            dice.below(3),
        );
        let agent = &NAMES[workload * 3 + name];
        attempt.wanted.spiffe_id = agent.spiffe_id.clone();
        attempt.wanted.agent_id = agent.agent_id.clone();
        if dice.once_in(2) {
            attempt.wanted.agent_type = Some(agent.agent_type.clone());
        }
        if workload == 3 {
            attempt.refused.push("DELEGATION_NOT_ALLOWED");
        }
        if let Some((delegator, _)) = stand.agents.last() {
            let allowed = self.allowed[*delegator] & (1 << workload) != 0;
            if !allowed || stand.further == 0 {
                attempt.refused.push("DELEGATION_NOT_ALLOWED");
            }
        }
        let earlier = stand.agents.iter().position(|it| *it == (workload, name));
        let itself = stand.agents.last() == Some(&(workload, name));
        if earlier.is_some() && !itself {
            attempt.refused.push("CYCLE");
        }
        let deepest = self.scene.limits.max_depth.min(8);
        if stand.agents.len() >= usize::from(deepest) {
            attempt.refused.push("MAX_DEPTH");
        }
        attempt.next.agents.push((workload, name));

        attempt.names_a_person = dice.once_in(100);
        if attempt.names_a_person {
            attempt.refused.push("AGENT_ID_TAKEN");
        }
        attempt.siblings = if dice.once_in(80) {
            2
        } else {
            dice.one(&[0, 1])
        };
        if attempt.siblings == 2 {
            attempt.refused.push("MAX_FANOUT");
        }
        attempt.alive = !dice.once_in(100);
        let now = self.now;
        if !attempt.alive || now >= stand.ends || now >= stand.task_ends {
            attempt.refused.push("PARENT_INACTIVE");
        }

        attempt.wanted.further = dice.one(&[0, 1, 2, 5, 8, 255, 255, 255, 255, 255, 255, 255]);
        let room = usize::from(deepest).saturating_sub(attempt.next.agents.len());
        let further = attempt.wanted.further;
        attempt.next.further = further
            .min(stand.further.saturating_sub(1))
            .min(u8::try_from(room).unwrap());
    }

    /// For which services.
    fn services(&mut self, stand: &Stand, attempt: &mut Attempt) {
        let dice = &mut self.dice;
        // A bit each; the third is the issuer.
        if dice.once_in(3) {
            let bits = if dice.once_in(4) {
                dice.below(8)
            } else {
                dice.one(&[1, 3])
            };
            let named = (0..3).filter(|at| bits & (1 << at) != 0);
            attempt.wanted.audience = Some(named.map(|at| service(SERVICES[at])).collect());
            if bits == 0 || bits & 4 != 0 || stand.services.is_some_and(|all| bits & !all != 0) {
                attempt.refused.push("AUDIENCE_NOT_ALLOWED");
            }
            attempt.next.services = Some(bits);
        } else if stand.services.is_none() {
            attempt.next.services = Some(1);
            if self.scene.limits.audience.is_none() {
                attempt.refused.push("AUDIENCE_NOT_ALLOWED");
            }
        }
    }

    /// For how long, and for which task.
    fn times(&mut self, stand: &Stand, attempt: &mut Attempt) {
        let dice = &mut self.dice;
        let now = self.now;
        let ttl = match dice.below(24) {
            0 => Some(1),
            1 => Some(0),
            2..6 => Some(600),
            6..8 => Some(u64::MAX),
            _ => None,
        };
        attempt.wanted.ttl = ttl.map(Duration::from_secs);
        let deadline = match dice.below(24) {
            0 => Some(50),
            1..4 => Some(2000),
            4..6 => Some(u64::MAX / 4),
            _ => None,
        };
        let asked = deadline.unwrap_or(u64::MAX);
        let lives = ttl.map_or(u64::MAX, |ttl| now.saturating_add(ttl));
        attempt.next.ends = stand.ends.min(stand.task_ends).min(asked).min(lives);
        attempt.next.begun = now.max(stand.begun);

        // Its own task, a new one, or one that was begun above.
        let own = stand.tasks.last().copied().filter(|_| dice.once_in(2));
        let task = own.unwrap_or_else(|| dice.below(TASKS.len()));
        let known = self.known.iter().find(|it| it.id.as_str() == TASKS[task]);
        let own = stand.tasks.last() == Some(&task);
        let stranger = known.filter(|_| !own && !stand.tasks.is_empty());
        if own {
            attempt.next.ends = attempt.next.ends.min(stand.task_ends);
        } else if let Some(known) = known {
            if stranger.is_some() {
                attempt.refused.push("TASK_UNAVAILABLE");
            }
            let ends = known.deadline.unix_seconds() - 1_790_000_000;
            attempt.next.tasks = known.path.iter().map(number).collect();
            attempt.next.task_ends = ends;
            attempt.next.ends = attempt.next.ends.min(ends);
            if now >= ends {
                attempt.refused.push("PARENT_INACTIVE");
            }
        } else {
            attempt.next.tasks.push(task);
            attempt.next.task_ends = stand.ends.min(stand.task_ends).min(asked);
        }
        if ttl == Some(0) || attempt.next.ends <= now {
            attempt.refused.push("INVALID_LIFETIME");
        }
        attempt.wanted.task = WantedTask::Named {
            id: TASKS[task].parse().unwrap(),
            purpose: String::new(),
            deadline: deadline.map(at),
        };
        attempt.joins = own;
        attempt.known = known.cloned();
    }

    /// What of it.
    fn permissions(&mut self, stand: &Stand, attempt: &mut Attempt) {
        let mut available = stand.power.and(self.role);
        for (workload, _) in attempt
            .next
            .agents
            .iter()
            .filter(|(workload, _)| *workload < 3)
        {
            available = available.and(self.ceilings[*workload]);
        }
        let dice = &mut self.dice;
        let mut power = available;
        let mut exceeds = false;
        if dice.once_in(4) {
            let named: Vec<_> = (0..dice.below(4))
                .map(|_| dice.below(PATTERNS.len()))
                .collect();
            let bits = named.iter().fold(0, |bits, it| bits | below(*it));
            power = power.keep(bits);
            exceeds |= named.iter().any(|it| below(*it) & available.held == 0);
            let texts: Vec<_> = named.iter().map(|it| PATTERNS[*it]).collect();
            attempt.wanted.narrowing.resources = Some(patterns(&texts));
        }
        if dice.once_in(6) {
            let named: Vec<_> = (0..dice.below(4)).map(|_| dice.below(3)).collect();
            power = power.keep(named.iter().fold(0, |bits, it| bits | with(*it)));
            exceeds |= named.iter().any(|it| with(*it) & available.held == 0);
            let named = named.iter().map(|it| ACTIONS[*it].parse().unwrap());
            attempt.wanted.narrowing.actions = Some(named.collect());
        }
        if dice.once_in(10) {
            power = power.keep(with(0));
            attempt.wanted.narrowing.read_only = true;
        }
        if dice.once_in(6) {
            let entries = dice.entries(4);
            // Only the entries that no stricter one settles are still there to be missed.
            let kept = real(&entries);
            let named = entries
                .iter()
                .filter(|it| kept.entries().contains(&real(&[**it]).entries()[0]));
            exceeds |= named
                .into_iter()
                .any(|it| !Power::of(&[*it]).within(available));
            power = power.and(Power::of(&entries));
            attempt.wanted.narrowing.permissions = Some(kept);
        }
        if dice.once_in(6) {
            let (pattern, action) = (dice.below(PATTERNS.len()), dice.one(&[0, 1, 3]));
            power = power.supervise(scope(pattern, action));
            let permission = &PERMISSIONS[(pattern * 4 + action) * 3];
            attempt.wanted.narrowing.supervise = vec![permission.scope().clone()];
        }
        if !power.useful() {
            attempt.refused.push("SCOPE_EMPTY");
        }
        if dice.once_in(4) {
            attempt.wanted.on_excess = OnExcess::Reject;
        }
        if attempt.wanted.on_excess == OnExcess::Reject && exceeds {
            attempt.refused.push("SCOPE_EXCEEDED");
        }
        attempt.next.power = power;
    }

    /// Whether the law and the model agree.
    fn judge(
        &mut self,
        from: Option<&Given>,
        stand: &Stand,
        attempt: Attempt,
    ) -> Option<(Given, Stand)> {
        let Attempt {
            wanted,
            next,
            refused,
            names_a_person,
            siblings,
            alive,
            known,
            joins,
        } = attempt;
        let rejects = wanted.on_excess == OnExcess::Reject;
        let facts = Facts {
            alive,
            siblings,
            task: known.as_ref(),
            names_a_person,
        };
        match self.scene.delegate_with(from, &wanted, &facts) {
            Err(refusal) => {
                // What several permissions hold only together is reported as missing: the one way to be too careful.
                let careful = rejects && refusal.code() == "SCOPE_EXCEEDED";
                assert!(
                    careful || refused.contains(&refusal.code()),
                    "{refusal:?} where the model says {refused:?}: {wanted:#?} {stand:#?}"
                );
                None
            }
            Ok(mut given) => {
                assert_eq!(refused, [""; 0], "{wanted:#?} {stand:#?} {given:#?}");
                if joins {
                    given.task = from.unwrap().task.clone();
                }
                if given.proposal.task.is_some() {
                    self.known.push(given.task.clone());
                }
                Some((given, next))
            }
        }
    }

    /// What was given is what the model says, and what no chain may ever be otherwise.
    fn compare(&mut self, from: Option<&Given>, given: &Given, stand: &Stand, thorough: bool) {
        let grant = &given.grant;
        let held = grant.held.permissions();
        let operations = if thorough { OPERATIONS.len() } else { 4 };
        for at in 0..operations {
            let at = if thorough {
                at
            } else {
                self.dice.below(OPERATIONS.len())
            };
            let (resource, action) = &OPERATIONS[at];
            let tier = held.effective(resource, action);
            assert_eq!(
                tier as u8,
                stand.power.tier(at),
                "{resource}:{action} {grant:#?}"
            );
        }
        // D11, D24: nothing outlives what it rests on.
        assert_eq!(grant.expires, at(stand.ends));
        assert!(grant.expires <= self.scene.session.expires);
        assert!(grant.expires <= given.task.deadline);
        // D12: nothing begins before what it rests on.
        assert_eq!(grant.created, at(stand.begun));
        // D13, D18: every hop counts, also the one to oneself.
        assert_eq!(grant.chain.depth(), stand.agents.len());
        assert_eq!(grant.path.len(), stand.agents.len());
        assert_eq!(grant.hops.len(), stand.agents.len());
        assert!(grant.chain.depth() + usize::from(grant.further) <= 8);
        assert_eq!(grant.further, stand.further);
        // D16: the root is the person of the session.
        assert_eq!(grant.chain.person, self.scene.session.person.id);
        // D20: the path of tasks is the one from the parent's.
        let tasks: Vec<_> = grant.task_path.iter().map(number).collect();
        assert_eq!(tasks, stand.tasks);
        let Some(from) = from else { return };
        // D01, D02, D36: what a holder adds can only be less.
        assert!(grant.held.is_attenuation_of(&from.grant.held));
        assert!(grant.expires <= from.grant.expires);
        assert!(grant.created >= from.grant.created);
        assert!(grant.task_path.starts_with(&from.grant.task_path));
        assert!(
            grant
                .audience
                .iter()
                .all(|it| from.grant.audience.contains(it))
        );
    }

    /// What the last holder gets when the role has changed: a lease, or the reason why not.
    fn afterwards(&mut self, given: &Given, stand: &Stand) {
        if self.dice.once_in(2) {
            let entries = self.dice.entries(5);
            self.scene.role = real(&entries);
            self.role = Power::of(&entries);
        }
        let mut power = stand.power.and(self.role);
        for (workload, _) in &stand.agents {
            power = power.and(self.ceilings[*workload]);
        }
        let basis = self.scene.basis(Some(given));
        let (limits, registry) = (&self.scene.limits, &self.scene.registry);
        let holder = given.grant.chain.actor().unwrap().spiffe_id.clone();
        let wanted = WantedLease {
            audience: given.grant.audience.first().cloned(),
            ..WantedLease::default()
        };
        let leased = lease(
            &basis,
            &holder,
            &wanted,
            true,
            limits,
            registry,
            self.scene.now,
        );
        assert_eq!(leased.is_ok(), power.useful(), "{leased:?} {power:?}");
        if let Ok(terms) = leased {
            assert!(terms.held.is_attenuation_of(&given.grant.held));
            assert!(terms.expires <= given.grant.expires);
            assert_eq!(terms.expires, at(stand.ends.min(self.now + 300)));
        }
        let at = self.dice.below(OPERATIONS.len());
        let (resource, action) = &OPERATIONS[at];
        let absence = explain(&given.grant, &self.scene.role, registry, resource, action);
        assert_eq!(
            absence.is_some(),
            power.tier(at) == 3,
            "{resource}:{action}"
        );
    }
}

fn number(task: &TaskId) -> usize {
    let at = TASKS.iter().position(|it| *it == task.as_str());
    at.unwrap()
}

/// D01 to D13, D17, D18, D20, D24, D26, D28, D36, D37 along random chains.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a person may ask for more chains"
)]
fn no_chain_holds_more_than_the_model_says() {
    let chains = std::env::var("ATTACHE_CHAINS").map_or(100_000, |it| it.parse().unwrap());
    let (mut hops, mut longest) = (0_u64, 0);
    for seed in 0..chains {
        let mut walk = Walk::new(seed);
        let mut stand = Stand {
            power: walk.role,
            agents: Vec::new(),
            ends: 3600,
            begun: 0,
            services: None,
            further: u8::MAX,
            tasks: Vec::new(),
            task_ends: 3600,
        };
        let mut given = None;
        for _ in 0..12 {
            let Some((next, next_stand)) = walk.hop(given.as_ref(), &stand) else {
                if walk.dice.once_in(3) {
                    break;
                }
                continue;
            };
            walk.compare(given.as_ref(), &next, &next_stand, seed % 32 == 0);
            hops += 1;
            (given, stand) = (Some(next), next_stand);
            longest = longest.max(stand.agents.len());
        }
        if let Some(given) = given.filter(|_| walk.now < stand.ends && walk.now < stand.task_ends) {
            walk.afterwards(&given, &stand);
        }
    }
    // Otherwise nothing was compared.
    assert!(hops > chains && longest >= 5, "{hops} hops, {longest} long");
}
