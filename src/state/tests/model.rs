//! Random operations on a memory and on a model of it that is written separately: a list of facts, asked in the plainest way.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What is done. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Login,
    Task(usize, Option<usize>),
    Delegate(usize, Option<usize>),
    Lease(usize),
    EndSession(usize),
    EndTask(usize),
    EndGrant(usize),
    Pass(u64),
    Sweep,
    Restart,
}

/// One thing, by its place in the list of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Session(usize),
    Task(usize),
    Grant(usize),
}

/// What rests on what, until when, and what has been ended.
#[derive(Debug, Default)]
struct Model {
    rests_on: BTreeMap<Thing, Vec<Thing>>,
    until: BTreeMap<Thing, Timestamp>,
    ended: Vec<Thing>,
    /// Grant and end of every lease.
    leases: Vec<(usize, Timestamp)>,
}

impl Model {
    fn lives(&self, thing: Thing, now: Timestamp) -> bool {
        let own = !self.ended.contains(&thing) && now < self.until[&thing];
        own && self.rests_on[&thing].iter().all(|it| self.lives(*it, now))
    }

    fn add(&mut self, thing: Thing, rests_on: Vec<Thing>, until: Timestamp) {
        self.rests_on.insert(thing, rests_on);
        self.until.insert(thing, until);
    }

    /// Ends a thing; says how many leases died of it.
    fn end(&mut self, thing: Thing, now: Timestamp) -> u64 {
        let before = self.living_leases(now);
        if self.lives(thing, now) {
            self.ended.push(thing);
        }
        before - self.living_leases(now)
    }

    fn living_leases(&self, now: Timestamp) -> u64 {
        let lives = |(grant, until): &&(usize, Timestamp)| {
            now < *until && self.lives(Thing::Grant(*grant), now)
        };
        self.leases.iter().filter(lives).count() as u64
    }
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0_usize..64;
    prop_oneof![
        2 => Just(Step::Login),
        4 => (which(), proptest::option::of(which())).prop_map(|(a, b)| Step::Task(a, b)),
        8 => (which(), proptest::option::of(which())).prop_map(|(a, b)| Step::Delegate(a, b)),
        6 => which().prop_map(Step::Lease),
        1 => which().prop_map(Step::EndSession),
        2 => which().prop_map(Step::EndTask),
        2 => which().prop_map(Step::EndGrant),
        2 => prop_oneof![1_u64..400, 1000_u64..4000].prop_map(Step::Pass),
        1 => Just(Step::Sweep),
        1 => Just(Step::Restart),
    ]
}

/// Everything that was made, by its place.
struct Made {
    world: Option<World>,
    model: Model,
    sessions: Vec<Session>,
    /// With the place of its session.
    tasks: Vec<(usize, Task)>,
    /// With the place of its task.
    grants: Vec<(usize, Grant)>,
    leases: Vec<(usize, Lease)>,
}

impl Made {
    fn world(&self) -> &World {
        self.world.as_ref().unwrap()
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Login => {
                let session = self.world().login(ALICE).await;
                let thing = Thing::Session(self.sessions.len());
                self.model.add(thing, Vec::new(), session.expires);
                self.sessions.push(session);
            }
            Step::Task(session, above) => self.task(session, above).await,
            Step::Delegate(task, parent) => self.delegate(task, parent).await,
            Step::Lease(grant) if !self.grants.is_empty() => {
                self.lease(grant % self.grants.len()).await;
            }
            Step::EndSession(at) if !self.sessions.is_empty() => {
                let at = at % self.sessions.len();
                let target = Target::Session(self.sessions[at].id.clone(), Whose::Anybody);
                self.end(Thing::Session(at), target).await;
            }
            Step::EndTask(at) if !self.tasks.is_empty() => {
                let at = at % self.tasks.len();
                self.end(Thing::Task(at), task_target(&self.tasks[at].1))
                    .await;
            }
            Step::EndGrant(at) if !self.grants.is_empty() => {
                let at = at % self.grants.len();
                self.end(Thing::Grant(at), grant_target(&self.grants[at].1))
                    .await;
            }
            Step::Pass(seconds) => self.world().pass(seconds),
            Step::Sweep => {
                self.world().store.sweep(1000).await.unwrap();
            }
            Step::Restart => {
                let world = self.world.take().unwrap();
                self.world = Some(world.restarted("default"));
            }
            Step::Lease(_) | Step::EndSession(_) | Step::EndTask(_) | Step::EndGrant(_) => {}
        }
    }

    async fn task(&mut self, session: usize, above: Option<usize>) {
        let above = above
            .filter(|_| !self.tasks.is_empty())
            .map(|at| at % self.tasks.len());
        let session = match above {
            Some(above) => self.tasks[above].0,
            None if self.sessions.is_empty() => return,
            None => session % self.sessions.len(),
        };
        let name = format!("task-{}", self.world().number());
        let mut path: Vec<&str> = above.map_or_else(Vec::new, |at| {
            self.tasks[at].1.path.iter().map(TaskId::as_str).collect()
        });
        path.push(&name);
        if path.len() > 8 {
            return;
        }
        let task = self.world().new_task(&self.sessions[session], &path);
        let mut rests_on = vec![Thing::Session(session)];
        rests_on.extend(above.map(Thing::Task));
        let now = self.world().now();
        let expected = rests_on.iter().all(|it| self.model.lives(*it, now));
        let kept = self
            .world()
            .store
            .create_task(task.clone(), unlimited(), None)
            .await;
        assert_eq!(kept.is_ok(), expected, "{kept:?}");
        if expected {
            let begun = Begun::Task(task.person.clone(), task.id.clone());
            self.world().store.activate(begun).await.unwrap();
            self.model
                .add(Thing::Task(self.tasks.len()), rests_on, task.deadline);
            self.tasks.push((session, task));
        }
    }

    async fn delegate(&mut self, task: usize, parent: Option<usize>) {
        let parent = parent
            .filter(|_| !self.grants.is_empty())
            .map(|at| at % self.grants.len());
        let task = match parent {
            Some(parent) => self.grants[parent].0,
            None if self.tasks.is_empty() => return,
            None => task % self.tasks.len(),
        };
        let above = parent.map(|at| &self.grants[at].1);
        if above.is_some_and(|it| it.further == 0) {
            return;
        }
        let (session, of_task) = &self.tasks[task];
        let agent = format!("a{}", self.world().number());
        let mut grant = self
            .world()
            .new_grant(&self.sessions[*session], above, of_task, &agent);
        let life = self
            .world()
            .after(u64::try_from(self.grants.len() % 7).unwrap() * 100 + 50);
        let ends = above.map_or(of_task.deadline, |it| it.expires);
        grant.expires = life.min(ends);
        let mut rests_on = vec![Thing::Session(*session), Thing::Task(task)];
        rests_on.extend(parent.map(Thing::Grant));
        let now = self.world().now();
        let expected = rests_on.iter().all(|it| self.model.lives(*it, now));
        let new = NewGrant {
            limits: unlimited(),
            ..alone(grant.clone())
        };
        let kept = self.world().store.delegate(new, None).await;
        assert_eq!(kept.is_ok(), expected, "{kept:?}");
        if expected {
            let begun = Begun::Grant(grant.id().unwrap().clone());
            self.world().store.activate(begun).await.unwrap();
            self.model
                .add(Thing::Grant(self.grants.len()), rests_on, grant.expires);
            self.grants.push((task, grant));
        }
    }

    async fn lease(&mut self, at: usize) {
        let grant = &self.grants[at].1;
        let now = self.world().now();
        let lease = self.world().new_lease(grant);
        let expected = self.model.lives(Thing::Grant(at), now);
        let kept = self
            .world()
            .store
            .lease(lease.clone(), unlimited(), None)
            .await;
        assert_eq!(kept.is_ok(), expected, "{kept:?}");
        if expected {
            self.model.leases.push((at, lease.expires));
            self.leases.push((at, lease));
        }
    }

    async fn end(&mut self, thing: Thing, target: Target) {
        let now = self.world().now();
        let expected = self.model.end(thing, now);
        let ended = self.world().end(target).await;
        assert_eq!(ended.tokens, expected, "{thing:?}");
    }

    /// A token passes exactly if its lease has not expired and all that it rests on lives.
    fn compare(&self) {
        let now = self.world().now();
        for (at, lease) in &self.leases {
            if now >= lease.expires {
                continue;
            }
            let passes = self.world().killed(&self.grants[*at].1, lease).is_none();
            assert_eq!(
                passes,
                self.model.lives(Thing::Grant(*at), now),
                "{lease:?}"
            );
        }
    }
}

const fn unlimited() -> Limits {
    Limits {
        fanout: 1000,
        leases: 1000,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    // D21, D23, D24, D25, D26
    #[test]
    fn a_memory_and_its_model_agree_after_every_step(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut made = Made {
                world: Some(World::file()),
                model: Model::default(),
                sessions: Vec::new(),
                tasks: Vec::new(),
                grants: Vec::new(),
                leases: Vec::new(),
            };
            for step in steps {
                made.take(step).await;
                made.compare();
            }
        });
    }
}
