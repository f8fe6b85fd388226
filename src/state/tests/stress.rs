//! Real threads over real memories: whoever gets through races the one who takes away, and an oracle counts.

use std::sync::atomic::AtomicBool;

use tokio::sync::Barrier;

use super::*;

const ROUNDS: usize = 24;
const RACERS: usize = 6;

/// Everything that racers got, with what they need to ask whether it lives.
type Got = Vec<(Grant, Lease)>;

/// Delegates below `parent` and takes leases until it is refused; checks what it has after every step.
async fn hand_on(
    world: Arc<World>,
    session: Session,
    task: Task,
    parent: Grant,
    over: Arc<AtomicBool>,
) -> Got {
    let mut got = Got::new();
    let mut above = parent;
    loop {
        let grant = world.new_grant(
            &session,
            Some(&above),
            &task,
            &format!("a{}", world.number()),
        );
        let lease = world.new_lease(&grant);
        let new = NewGrant {
            lease: Some(lease.clone()),
            limits: Limits {
                fanout: 10_000,
                leases: 10_000,
            },
            ..alone(grant.clone())
        };
        let begun = Begun::Grant(grant.id().unwrap().clone());
        let given = match world.store.delegate(new, None).await {
            Ok(_) => world.store.activate(begun).await.is_ok(),
            Err(_) => return got,
        };
        if given {
            got.push((grant.clone(), lease.clone()));
            let renewed = world.new_lease(&grant);
            if world
                .store
                .lease(renewed.clone(), LIMITS, None)
                .await
                .is_ok()
            {
                got.push((grant.clone(), renewed));
            }
        }
        // D22: whether the end had answered is read first; what it killed may never pass afterwards.
        let ended = over.load(Ordering::SeqCst);
        let passes = got
            .iter()
            .any(|(grant, lease)| world.killed(grant, lease).is_none());
        assert!(
            !(ended && passes),
            "a token passed after its end was answered"
        );
        if grant.further > 1 {
            above = grant;
        }
    }
}

/// One round: racers below a grant, and an end of `target` between them.
async fn race(world: World, target: impl Fn(&Session, &Task, &Grant) -> Target) {
    let world = Arc::new(world);
    for round in 0..ROUNDS {
        let session = world.login(ALICE).await;
        let task = world.task(&session, &[&format!("task-{round}")]).await;
        let root = world.grant(&session, None, &task, "root").await;
        let lease = world.lease(&root).await;
        let (start, over) = (
            Arc::new(Barrier::new(RACERS + 1)),
            Arc::new(AtomicBool::new(false)),
        );
        let racers: Vec<_> = (0..RACERS)
            .map(|_| {
                let (world, start, over) =
                    (Arc::clone(&world), Arc::clone(&start), Arc::clone(&over));
                let (session, task, root) = (session.clone(), task.clone(), root.clone());
                tokio::spawn(async move {
                    start.wait().await;
                    hand_on(world, session, task, root, over).await
                })
            })
            .collect();
        start.wait().await;
        for _ in 0..round % 5 {
            world.standing(root.id().unwrap()).await;
        }
        let ended = world.end(target(&session, &task, &root)).await;
        over.store(true, Ordering::SeqCst);
        let mut got = vec![(root.clone(), lease)];
        for racer in racers {
            got.extend(racer.await.unwrap());
        }
        // The oracle: all that was ever handed out is dead, was counted once, and nothing lives in the memory.
        for (grant, lease) in &got {
            assert!(world.killed(grant, lease).is_some());
            let standing = world.standing(grant.id().unwrap()).await;
            assert!(standing.living(world.now()).is_err());
        }
        assert_eq!(ended.tokens, got.len() as u64, "round {round}");
        assert_eq!(world.end(target(&session, &task, &root)).await.tokens, 0);
    }
}

fn by_task(_: &Session, task: &Task, _: &Grant) -> Target {
    task_target(task)
}

fn by_grant(_: &Session, _: &Task, root: &Grant) -> Target {
    grant_target(root)
}

fn by_session(session: &Session, _: &Task, _: &Grant) -> Target {
    Target::Session(session.id.clone(), Whose::Anybody)
}

// D21, D22
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_lives_after_a_task_was_revoked_while_others_delegated() {
    race(World::file(), by_task).await;
    race(World::memory(), by_task).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_lives_after_a_grant_was_revoked_while_others_delegated() {
    race(World::memory(), by_grant).await;
}

// D25: renew against logout.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_lives_after_a_logout_while_others_renewed() {
    race(World::file(), by_session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_limit_holds_however_many_ask_at_once() {
    let world = Arc::new(World::file());
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let start = Arc::new(Barrier::new(RACERS));
    let racers = (0..RACERS).map(|_| {
        let (world, start) = (Arc::clone(&world), Arc::clone(&start));
        let (session, task) = (session.clone(), task.clone());
        tokio::spawn(async move {
            start.wait().await;
            let mut given = 0;
            for _ in 0..8 {
                let grant = world.new_grant(&session, None, &task, "racer");
                given += u32::from(world.store.delegate(alone(grant), None).await.is_ok());
            }
            given
        })
    });
    let mut given = 0;
    for racer in racers.collect::<Vec<_>>() {
        given += racer.await.unwrap();
    }
    assert_eq!(given, LIMITS.fanout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_that_comes_many_times_at_once_is_done_once() {
    let world = Arc::new(World::file());
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let racers = (0..RACERS).map(|_| {
        let world = Arc::clone(&world);
        let grant = world.new_grant(&session, None, &task, "racer");
        tokio::spawn(async move {
            let asked = Some(request(ALICE, "same", 1));
            world.store.delegate(alone(grant), asked).await.unwrap()
        })
    });
    let mut answers = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        answers.push(racer.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|it| !it.repeated).count(), 1);
    assert!(answers.iter().all(|it| it.value == answers[0].value));
}
