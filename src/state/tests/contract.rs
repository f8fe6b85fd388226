//! What every memory does. A new one is another line in `on_every_memory!`.

use super::*;
use crate::delegation::AgentId;

macro_rules! on_every_memory {
    ($($rule:ident)*) => {
        mod in_memory { $(#[tokio::test] async fn $rule() { super::$rule(super::World::memory()).await; })* }
        mod in_a_file { $(#[tokio::test] async fn $rule() { super::$rule(super::World::file()).await; })* }
    };
}

on_every_memory! {
    a_session_is_found_by_its_handle_once_it_is_active
    the_end_of_a_session_ends_everything_on_it
    nothing_rests_on_what_is_pending
    what_waits_too_long_for_its_record_never_was
    what_is_abandoned_never_was
    what_ended_while_it_waited_does_not_begin
    revoking_a_task_takes_its_tokens_and_those_below_and_a_second_call_takes_none
    revoking_one_task_leaves_the_other
    completing_a_task_ends_its_tokens
    revoking_a_grant_leaves_what_is_above_and_beside_it
    revoking_a_token_revokes_its_grant
    what_is_ended_after_its_time_is_taken_back_for_clocks_that_are_behind
    a_task_s_name_is_used_once_and_is_a_person_s_own
    an_expired_parent_gives_nothing_from_that_instant_on
    a_parent_has_a_limit_of_children
    a_task_has_a_limit_of_tokens
    a_repeated_request_is_answered_as_before
    a_repeated_login_gets_a_handle_that_opens
    what_is_unknown_and_what_is_somebody_else_s_look_alike
    a_lease_is_never_more_than_its_grant
    a_proposal_that_does_not_fit_is_refused
    a_grant_and_its_task_begin_together
    an_epoch_ends_what_began_before_it_and_nothing_later
    lists_come_in_order_and_in_pages
    the_ground_of_a_delegation_is_read_at_one_moment
    a_sweep_tells_of_expired_sessions_until_they_are_on_record
    a_sweep_deletes_what_ended_long_ago_and_keeps_names
}

// T22
async fn a_session_is_found_by_its_handle_once_it_is_active(world: World) {
    let (new, handle) = world.new_session(ALICE);
    let opened = world.store.open_session(new.clone(), None).await.unwrap();
    assert_eq!(
        (opened.value.status, opened.repeated),
        (Status::Pending, false)
    );
    let missing = Refusal::NotFound(Level::Session);
    assert_eq!(
        refusal(world.store.session_by_handle(handle.digest()).await),
        missing
    );
    let id = new.session.id.clone();
    world
        .store
        .activate(Begun::Session(id.clone()))
        .await
        .unwrap();
    world.store.activate(Begun::Session(id)).await.unwrap();
    let found = world
        .store
        .session_by_handle(handle.digest())
        .await
        .unwrap();
    assert_eq!(
        found,
        Session {
            status: Status::Active,
            ..new.session
        }
    );
    let other = Handle::from_random([9; 32]).digest();
    assert_eq!(refusal(world.store.session_by_handle(other).await), missing);
    world.pass(3600);
    let expired = inactive(Level::Session, Status::Expired);
    assert_eq!(
        refusal(world.store.session_by_handle(handle.digest()).await),
        expired
    );
}

// D25
async fn the_end_of_a_session_ends_everything_on_it(world: World) {
    let (new, handle) = world.new_session(ALICE);
    let session = world.store.open_session(new, None).await.unwrap().value;
    world
        .store
        .activate(Begun::Session(session.id.clone()))
        .await
        .unwrap();
    let task = world.task(&session, &["task-abc"]).await;
    let first = world.grant(&session, None, &task, "scheduling").await;
    let second = world.grant(&session, Some(&first), &task, "analysis").await;
    let leases = [world.lease(&first).await, world.lease(&second).await];
    let other = world.login(ALICE).await;
    let ids: Vec<_> = [&first, &second].map(|it| it.id().unwrap().clone()).into();
    let live = world.store.live_tokens(ids.clone()).await.unwrap();
    assert_eq!(live, [1, 1]);

    let ended = world
        .end(Target::Session(session.id.clone(), Whose::Anybody))
        .await;
    assert_eq!(world.store.live_tokens(ids).await.unwrap(), [0, 0]);
    assert_eq!((ended.tokens, ended.grants.len()), (2, 2));
    assert_eq!(ended.sessions, std::slice::from_ref(&session.id));
    assert_eq!(
        ended.tasks,
        [(session.person.id.clone(), task.id.clone(), Status::Cascaded)]
    );
    assert_eq!(world.killed(&first, &leases[0]), Some(Cause::Session));
    assert_eq!(world.killed(&second, &leases[1]), Some(Cause::Session));
    let gone = inactive(Level::Session, Status::Revoked);
    assert_eq!(
        refusal(world.store.session_by_handle(handle.digest()).await),
        gone
    );
    let again = world
        .store
        .create_task(world.new_task(&session, &["later"]), LIMITS, None)
        .await;
    assert_eq!(refusal(again), gone);
    let renewed = world
        .store
        .lease(world.new_lease(&second), LIMITS, None)
        .await;
    assert_eq!(refusal(renewed), gone);
    world.task(&other, &["elsewhere"]).await;
}

async fn nothing_rests_on_what_is_pending(world: World) {
    let (new, _) = world.new_session(ALICE);
    let session = world.store.open_session(new, None).await.unwrap().value;
    let task = world.new_task(&session, &["task-abc"]);
    let refused = world.store.create_task(task.clone(), LIMITS, None).await;
    assert_eq!(refusal(refused), inactive(Level::Session, Status::Pending));

    world
        .store
        .activate(Begun::Session(session.id.clone()))
        .await
        .unwrap();
    world
        .store
        .create_task(task.clone(), LIMITS, None)
        .await
        .unwrap();
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let refused = world.store.delegate(alone(grant.clone()), None).await;
    assert_eq!(refusal(refused), inactive(Level::Task, Status::Pending));

    world
        .store
        .activate(Begun::Task(task.person.clone(), task.id.clone()))
        .await
        .unwrap();
    world
        .store
        .delegate(alone(grant.clone()), None)
        .await
        .unwrap();
    let waits = inactive(Level::Grant, Status::Pending);
    let child = world.new_grant(&session, Some(&grant), &task, "analysis");
    assert_eq!(
        refusal(world.store.delegate(alone(child), None).await),
        waits
    );
    let lease = world.new_lease(&grant);
    assert_eq!(refusal(world.store.lease(lease, LIMITS, None).await), waits);
}

async fn what_waits_too_long_for_its_record_never_was(world: World) {
    let session = world.login(ALICE).await;
    let task = world.new_task(&session, &["task-abc"]);
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let new = NewGrant {
        lease: Some(world.new_lease(&grant)),
        task: Some(task.clone()),
        ..alone(grant.clone())
    };
    let asked = Some(request(ALICE, "r-1", 1));
    world
        .store
        .delegate(new.clone(), asked.clone())
        .await
        .unwrap();
    world.pass(60);
    let late = world
        .store
        .activate(Begun::Grant(grant.id().unwrap().clone()))
        .await;
    assert_eq!(refusal(late), Refusal::NotFound(Level::Grant));
    // The name is free again, and the request is a new one.
    let again = world.new_grant(&session, None, &task, "scheduling");
    let new = NewGrant {
        lease: Some(world.new_lease(&again)),
        grant: again,
        ..new
    };
    assert!(!world.store.delegate(new, asked).await.unwrap().repeated);
}

async fn what_is_abandoned_never_was(world: World) {
    let session = world.login(ALICE).await;
    let task = world.new_task(&session, &["task-abc"]);
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let new = NewGrant {
        task: Some(task.clone()),
        ..alone(grant.clone())
    };
    let begun = Begun::Grant(grant.id().unwrap().clone());
    world.store.delegate(new.clone(), None).await.unwrap();
    world.store.abandon(begun.clone()).await.unwrap();
    assert_eq!(
        refusal(world.store.activate(begun.clone()).await),
        Refusal::NotFound(Level::Grant)
    );
    world.store.delegate(new, None).await.unwrap();
    world.store.activate(begun.clone()).await.unwrap();
    // What lives is not abandoned.
    world.store.abandon(begun).await.unwrap();
    world.lease(&grant).await;
}

async fn what_ended_while_it_waited_does_not_begin(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let lease = world.new_lease(&grant);
    let new = NewGrant {
        lease: Some(lease.clone()),
        ..alone(grant.clone())
    };
    world.store.delegate(new, None).await.unwrap();
    let ended = world.end(task_target(&task)).await;
    assert_eq!((ended.tokens, ended.grants.len()), (0, 1));
    let begun = Begun::Grant(grant.id().unwrap().clone());
    let refused = world.store.activate(begun).await;
    assert_eq!(refusal(refused), inactive(Level::Grant, Status::Cascaded));
    assert_eq!(world.killed(&grant, &lease), Some(Cause::Task));
}

// D21, T49, A4
async fn revoking_a_task_takes_its_tokens_and_those_below_and_a_second_call_takes_none(
    world: World,
) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let first = world.grant(&session, None, &task, "scheduling").await;
    let below = world.task(&session, &["task-abc", "task-abc-sub1"]).await;
    let second = world
        .grant(&session, Some(&first), &below, "analysis")
        .await;
    let leases = [world.lease(&first).await, world.lease(&second).await];
    assert_eq!(world.killed(&second, &leases[1]), None);

    let ended = world.end(task_target(&task)).await;
    assert_eq!(ended.tokens, 2);
    let person = session.person.id.clone();
    let tasks = [
        (person.clone(), task.id.clone(), Status::Revoked),
        (person, below.id.clone(), Status::Cascaded),
    ];
    assert_eq!(ended.tasks, tasks);
    assert_eq!(ended.grants, second.path);
    assert_eq!(ended.position, world.store.revocations().position());
    for (grant, lease) in [(&first, &leases[0]), (&second, &leases[1])] {
        assert_eq!(world.killed(grant, lease), Some(Cause::Task));
        let renewed = world
            .store
            .lease(world.new_lease(grant), LIMITS, None)
            .await;
        assert_eq!(refusal(renewed), inactive(Level::Task, Status::Revoked));
    }
    let again = world.end(task_target(&task)).await;
    let nothing = Ended {
        position: ended.position,
        ..Ended::default()
    };
    assert_eq!(again, nothing);
}

// D38
async fn revoking_one_task_leaves_the_other(world: World) {
    let session = world.login(ALICE).await;
    let (one, two) = (
        world.task(&session, &["one"]).await,
        world.task(&session, &["two"]).await,
    );
    let first = world.grant(&session, None, &one, "scheduling").await;
    let second = world.grant(&session, None, &two, "scheduling").await;
    let lease = world.lease(&second).await;
    world.lease(&first).await;
    assert_eq!(world.end(task_target(&one)).await.tokens, 1);
    assert_eq!(world.killed(&second, &lease), None);
    world.lease(&second).await;
}

// D39
async fn completing_a_task_ends_its_tokens(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    let lease = world.lease(&grant).await;
    let ended = world
        .store
        .end(task_target(&task), Manner::Completed, None)
        .await
        .unwrap()
        .value;
    assert_eq!(ended.tokens, 1);
    assert_eq!(ended.tasks[0].2, Status::Completed);
    assert_eq!(world.killed(&grant, &lease), Some(Cause::Task));
    let standing = world.standing(grant.id().unwrap()).await;
    assert_eq!(standing.grants[0].status, Status::Cascaded);
    assert_eq!(
        standing.living(world.now()),
        Err(inactive(Level::Task, Status::Completed))
    );
}

// D21
async fn revoking_a_grant_leaves_what_is_above_and_beside_it(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let root = world.grant(&session, None, &task, "root").await;
    let mut leases = Vec::new();
    let mut grants = Vec::new();
    for name in ["left", "right"] {
        let child = world.grant(&session, Some(&root), &task, name).await;
        let leaf = world.grant(&session, Some(&child), &task, "leaf").await;
        leases.extend([world.lease(&child).await, world.lease(&leaf).await]);
        grants.extend([child, leaf]);
    }
    leases.push(world.lease(&root).await);
    let ended = world.end(grant_target(&grants[0])).await;
    assert_eq!((ended.tokens, ended.tasks.len()), (2, 0));
    assert_eq!(
        ended.grants,
        [
            grants[0].id().unwrap().clone(),
            grants[1].id().unwrap().clone()
        ]
    );
    for (at, grant) in grants.iter().chain([&root]).enumerate() {
        let killed = world.killed(grant, &leases[at]);
        assert_eq!(killed, (at < 2).then_some(Cause::Grant), "{at}");
        let renewed = world
            .store
            .lease(world.new_lease(grant), LIMITS, None)
            .await;
        assert_eq!(renewed.is_ok(), at >= 2, "{at}");
    }
    let under = world.new_grant(&session, Some(&grants[1]), &task, "late");
    let refused = world.store.delegate(alone(under), None).await;
    assert_eq!(refusal(refused), inactive(Level::Grant, Status::Revoked));
}

async fn revoking_a_token_revokes_its_grant(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    let (lease, renewed) = (world.lease(&grant).await, world.lease(&grant).await);
    let target = Target::Token(
        lease.token.clone(),
        Whose::Person(session.person.id.clone()),
    );
    let ended = world.end(target.clone()).await;
    assert_eq!((ended.tokens, ended.grants), (2, grant.path.clone()));
    assert_eq!(world.killed(&grant, &renewed), Some(Cause::Grant));
    assert_eq!(world.end(target).await.tokens, 0);
}

// D23: who checks tokens may be set to accept them for LONGEST_SKEW after their end.
async fn what_is_ended_after_its_time_is_taken_back_for_clocks_that_are_behind(world: World) {
    for swept in [false, true] {
        let session = world.login(ALICE).await;
        let name = format!("task-{swept}");
        let task = world.task(&session, &[&name]).await;
        let given = world.grant(&session, None, &task, "scheduling").await;
        world.pass(3500);
        let lease = world.lease(&given).await;
        world.pass(110);
        if swept {
            world.store.sweep(100).await.unwrap();
        }
        let whose = Whose::Person(session.person.id.clone());
        let above = Target::Session(session.id.clone(), whose);
        let targets = [grant_target(&given), task_target(&task), above];
        let causes = [Cause::Grant, Cause::Task, Cause::Session];
        for (target, cause) in targets.into_iter().zip(causes) {
            let ended = world.end(target.clone()).await;
            let counts = (ended.tokens, ended.grants.len(), ended.tasks.len());
            assert_eq!((counts, ended.sessions.len()), ((0, 0, 0), 0));
            assert_eq!(world.killed(&given, &lease), Some(cause));
            // Once is enough.
            assert_eq!(world.end(target).await.position, ended.position);
        }
        // Nobody accepts any of them any more.
        world.pass(60);
        let position = world.store.revocations().position();
        world.end(grant_target(&given)).await;
        assert_eq!(world.store.revocations().position(), position);
    }
}

// D20
async fn a_task_s_name_is_used_once_and_is_a_person_s_own(world: World) {
    let (alice, bob) = (world.login(ALICE).await, world.login("usr-bob-002").await);
    let task = world.task(&alice, &["task-abc"]).await;
    let again = world
        .store
        .create_task(world.new_task(&alice, &["task-abc"]), LIMITS, None)
        .await;
    assert_eq!(refusal(again), Refusal::TaskExists);
    world.end(task_target(&task)).await;
    let again = world
        .store
        .create_task(world.new_task(&alice, &["task-abc"]), LIMITS, None)
        .await;
    assert_eq!(refusal(again), Refusal::TaskExists);
    // The same word is another task with another person, and hers stays out of his reach.
    let alices = world.new_grant(&bob, None, &task, "scheduling");
    let refused = world.store.delegate(alone(alices), None).await;
    assert_eq!(refusal(refused), Refusal::NotFound(Level::Task));
    let below = world
        .store
        .create_task(world.new_task(&bob, &["task-abc", "sub"]), LIMITS, None)
        .await;
    assert_eq!(refusal(below), Refusal::NotFound(Level::Task));
    world.task(&bob, &["task-abc"]).await;
    let stolen = Task {
        person: bob.person.id.clone(),
        ..world.new_task(&alice, &["mine"])
    };
    let refused = world.store.create_task(stolen, LIMITS, None).await;
    assert_eq!(refusal(refused), Refusal::NotFound(Level::Session));
}

// D24, D26
async fn an_expired_parent_gives_nothing_from_that_instant_on(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let mut grant = world.new_grant(&session, None, &task, "scheduling");
    grant.expires = world.after(100);
    world
        .store
        .delegate(alone(grant.clone()), None)
        .await
        .unwrap();
    world
        .store
        .activate(Begun::Grant(grant.id().unwrap().clone()))
        .await
        .unwrap();
    let child = Grant {
        expires: grant.expires,
        ..world.new_grant(&session, Some(&grant), &task, "analysis")
    };
    let longer = Grant {
        expires: world.after(101),
        ..child.clone()
    };
    let refused = world.store.delegate(alone(longer), None).await;
    assert_eq!(refusal(refused), Refusal::Unfit("the time of its end"));
    world.pass(99);
    world
        .store
        .delegate(alone(child.clone()), None)
        .await
        .unwrap();
    world
        .store
        .activate(Begun::Grant(child.id().unwrap().clone()))
        .await
        .unwrap();
    let lease = world.lease(&child).await;
    assert_eq!(lease.expires, grant.expires);
    world.pass(1);
    let expired = inactive(Level::Grant, Status::Expired);
    let late = world.new_grant(&session, Some(&grant), &task, "late");
    assert_eq!(
        refusal(world.store.delegate(alone(late), None).await),
        expired
    );
    let renewed = Lease {
        expires: world.after(1),
        ..world.new_lease(&child)
    };
    assert_eq!(
        refusal(world.store.lease(renewed, LIMITS, None).await),
        expired
    );
    // Ending what has expired counts nothing.
    assert_eq!(world.end(grant_target(&grant)).await.tokens, 0);
}

// D14
async fn a_parent_has_a_limit_of_children(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let limits = Limits {
        fanout: 2,
        ..LIMITS
    };
    let root = world.grant(&session, None, &task, "root").await;
    for (parent, level) in [(Some(&root), Level::Grant), (None, Level::Task)] {
        let new = |name| NewGrant {
            limits,
            ..alone(world.new_grant(&session, parent, &task, name))
        };
        let one = new("one");
        world.store.delegate(one.clone(), None).await.unwrap();
        if parent.is_some() {
            world.store.delegate(new("two"), None).await.unwrap();
        }
        let refused = world.store.delegate(new("three"), None).await;
        assert_eq!(refusal(refused), Refusal::Fanout { level, limit: 2 });
        world.end(grant_target(&one.grant)).await;
        world.store.delegate(new("four"), None).await.unwrap();
    }
    for name in ["a", "b"] {
        let new = world.new_task(&session, &["task-abc", name]);
        world.store.create_task(new, limits, None).await.unwrap();
    }
    let third = world
        .store
        .create_task(world.new_task(&session, &["task-abc", "c"]), limits, None)
        .await;
    assert_eq!(
        refusal(third),
        Refusal::Fanout {
            level: Level::Task,
            limit: 2
        }
    );
}

// D15
async fn a_task_has_a_limit_of_tokens(world: World) {
    let session = world.login(ALICE).await;
    let (one, two) = (
        world.task(&session, &["one"]).await,
        world.task(&session, &["two"]).await,
    );
    let first = world.grant(&session, None, &one, "scheduling").await;
    let second = world.grant(&session, None, &two, "scheduling").await;
    let limits = Limits {
        leases: 2,
        ..LIMITS
    };
    for _ in 0..2 {
        world
            .store
            .lease(world.new_lease(&first), limits, None)
            .await
            .unwrap();
    }
    let third = world
        .store
        .lease(world.new_lease(&first), limits, None)
        .await;
    assert_eq!(refusal(third), Refusal::TooManyTokens { limit: 2 });
    world
        .store
        .lease(world.new_lease(&second), limits, None)
        .await
        .unwrap();
    world.pass(300);
    world
        .store
        .lease(world.new_lease(&first), limits, None)
        .await
        .unwrap();
}

async fn a_repeated_request_is_answered_as_before(world: World) {
    let session = world.login(ALICE).await;
    let task = world.new_task(&session, &["task-abc"]);
    let ask = |id, body| Some(request(ALICE, id, body));
    let kept = world
        .store
        .create_task(task.clone(), LIMITS, ask("1", 1))
        .await
        .unwrap();
    let again = world
        .store
        .create_task(task.clone(), LIMITS, ask("1", 1))
        .await
        .unwrap();
    assert_eq!((again.repeated, &again.value), (true, &kept.value));
    world
        .store
        .activate(Begun::Task(task.person.clone(), task.id.clone()))
        .await
        .unwrap();

    let new = alone(world.new_grant(&session, None, &task, "scheduling"));
    let kept = world
        .store
        .delegate(new.clone(), ask("2", 2))
        .await
        .unwrap();
    let other = alone(world.new_grant(&session, None, &task, "scheduling"));
    let again = world
        .store
        .delegate(other.clone(), ask("2", 2))
        .await
        .unwrap();
    assert_eq!((again.repeated, &again.value), (true, &kept.value));
    let conflict = world.store.delegate(other.clone(), ask("2", 3)).await;
    assert_eq!(refusal(conflict), Refusal::RequestIdReused);
    let another = world
        .store
        .delegate(other, Some(request("usr-bob-002", "2", 3)))
        .await;
    assert!(!another.unwrap().repeated);

    let grant = kept.value.grant;
    world
        .store
        .activate(Begun::Grant(grant.id().unwrap().clone()))
        .await
        .unwrap();
    let lease = world.new_lease(&grant);
    world
        .store
        .lease(lease.clone(), LIMITS, ask("3", 4))
        .await
        .unwrap();
    let again = world
        .store
        .lease(world.new_lease(&grant), LIMITS, ask("3", 4))
        .await
        .unwrap();
    assert_eq!((again.repeated, again.value), (true, lease));

    let ended = world
        .store
        .end(task_target(&task), Manner::Revoked, ask("4", 5))
        .await
        .unwrap();
    let again = world
        .store
        .end(task_target(&task), Manner::Revoked, ask("4", 5))
        .await
        .unwrap();
    assert_eq!((again.repeated, &again.value), (true, &ended.value));
    assert_eq!(again.value.tokens, 1);
    // A repeated answer tells how things are now.
    let again = world.store.delegate(new, ask("2", 2)).await.unwrap();
    assert_eq!(again.value.grant.status, Status::Cascaded);
}

async fn a_repeated_login_gets_a_handle_that_opens(world: World) {
    let (first, lost) = world.new_session(ALICE);
    let (second, received) = world.new_session(ALICE);
    let asked = Some(request(ALICE, "login-1", 1));
    let kept = world
        .store
        .open_session(first, asked.clone())
        .await
        .unwrap();
    let again = world.store.open_session(second, asked).await.unwrap();
    assert_eq!((again.repeated, &again.value.id), (true, &kept.value.id));
    world
        .store
        .activate(Begun::Session(again.value.id.clone()))
        .await
        .unwrap();
    let found = world
        .store
        .session_by_handle(received.digest())
        .await
        .unwrap();
    assert_eq!(found.id, kept.value.id);
    let missing = Refusal::NotFound(Level::Session);
    assert_eq!(
        refusal(world.store.session_by_handle(lost.digest()).await),
        missing
    );
}

async fn what_is_unknown_and_what_is_somebody_else_s_look_alike(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    let lease = world.lease(&grant).await;
    let bob = || Whose::Person("usr-bob-002".parse().unwrap());
    let store = &world.store;
    let unknown = GrantId::from_random(u128::MAX);
    for id in [grant.id().unwrap().clone(), unknown] {
        let missing = Refusal::NotFound(Level::Grant);
        assert_eq!(refusal(store.standing(id.clone(), bob()).await), missing);
        assert_eq!(
            refusal(
                store
                    .end(Target::Grant(id, bob()), Manner::Revoked, None)
                    .await
            ),
            missing
        );
    }
    for id in [lease.token.clone(), TokenId::from_random(u128::MAX)] {
        let missing = Refusal::NotFound(Level::Token);
        assert_eq!(refusal(store.leased(id.clone(), bob()).await), missing);
        assert_eq!(
            refusal(
                store
                    .end(Target::Token(id, bob()), Manner::Revoked, None)
                    .await
            ),
            missing
        );
    }
    for id in [session.id.clone(), SessionId::from_random(u128::MAX)] {
        let missing = Refusal::NotFound(Level::Session);
        assert_eq!(refusal(store.session(id.clone(), bob()).await), missing);
        assert_eq!(
            refusal(
                store
                    .end(Target::Session(id, bob()), Manner::Revoked, None)
                    .await
            ),
            missing
        );
    }
    let person: PersonId = "usr-bob-002".parse().unwrap();
    let target = Target::Task(person.clone(), task.id.clone());
    let missing = Refusal::NotFound(Level::Task);
    assert_eq!(refusal(store.task(person, task.id.clone()).await), missing);
    assert_eq!(
        refusal(store.end(target, Manner::Revoked, None).await),
        missing
    );
    assert_eq!(world.killed(&grant, &lease), None);
    let own = Whose::Person(session.person.id.clone());
    assert_eq!(store.leased(lease.token.clone(), own).await.unwrap(), lease);
}

async fn a_lease_is_never_more_than_its_grant(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    let lease = world.new_lease(&grant);
    let ask = |lease| world.store.lease(lease, LIMITS, None);
    let late = Lease {
        expires: world.after(301),
        ..lease.clone()
    };
    assert_eq!(
        refusal(ask(late).await),
        Refusal::Unfit("the time of the lease")
    );
    let over = Lease {
        expires: world.now(),
        ..lease.clone()
    };
    assert_eq!(
        refusal(ask(over).await),
        Refusal::Unfit("the time of the lease")
    );
    let ahead = Lease {
        issued: world.after(3000),
        expires: world.after(3300),
        ..lease.clone()
    };
    assert_eq!(
        refusal(ask(ahead).await),
        Refusal::Unfit("the time of the lease")
    );
    let wider = Lease {
        audience: vec!["spiffe://example.org/svc/billing".parse().unwrap()],
        ..lease.clone()
    };
    assert_eq!(
        refusal(ask(wider).await),
        Refusal::Unfit("the audience of the lease")
    );
    let nowhere = Lease {
        grant: GrantId::from_random(u128::MAX),
        ..lease.clone()
    };
    assert_eq!(refusal(ask(nowhere).await), Refusal::NotFound(Level::Grant));
    ask(lease.clone()).await.unwrap();
    // D33
    assert_eq!(
        refusal(ask(lease).await),
        Refusal::Unfit("a token's id that is taken")
    );
}

async fn a_proposal_that_does_not_fit_is_refused(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let beside = world.task(&session, &["beside"]).await;
    let read_only = crate::delegation::Narrowing {
        read_only: true,
        ..Default::default()
    };
    let mut root = world.new_grant(&session, None, &task, "scheduling");
    root.held = root.held.narrow(&read_only);
    world
        .store
        .delegate(alone(root.clone()), None)
        .await
        .unwrap();
    world
        .store
        .activate(Begun::Grant(root.id().unwrap().clone()))
        .await
        .unwrap();
    let child = world.new_grant(&session, Some(&root), &task, "analysis");
    let unfit = |change: &dyn Fn(&mut Grant)| {
        let mut grant = child.clone();
        change(&mut grant);
        let store = Arc::clone(&world.store);
        async move { refusal(store.delegate(alone(grant), None).await) }
    };
    // D01: more than the parent holds.
    let more = unfit(&|it| it.held = Held::by_role(&role())).await;
    assert_eq!(more, Refusal::Unfit("what it holds"));
    let wider = unfit(&|it| it.audience = vec!["https://elsewhere.example".parse().unwrap()]).await;
    assert_eq!(wider, Refusal::Unfit("its audience"));
    let further = unfit(&|it| it.further = root.further).await;
    assert_eq!(further, Refusal::Unfit("how often it may be handed on"));
    let elsewhere = unfit(&|it| it.task_path = beside.path.clone()).await;
    assert_eq!(elsewhere, Refusal::Unfit("its task"));
    let shorter = unfit(&|it| it.chain.agents.truncate(1)).await;
    assert_eq!(shorter, Refusal::Unfit("its depth"));
    let renamed = unfit(&|it| it.chain.agents[0] = agent("other")).await;
    assert_eq!(renamed, Refusal::Unfit("its path"));
    let taken = unfit(&|it| it.path[1] = root.path[0].clone()).await;
    assert_eq!(taken, Refusal::Unfit("an id that is taken"));
    // D17, D18: to oneself, and back to somebody further up.
    let own = world
        .grant(&session, Some(&root), &task, "scheduling")
        .await;
    let other = world.grant(&session, Some(&own), &task, "analysis").await;
    let circle = world.new_grant(&session, Some(&other), &task, "scheduling");
    let refused = world.store.delegate(alone(circle), None).await;
    assert_eq!(
        refusal(refused),
        Refusal::Unfit("a chain that comes back to an agent")
    );
}

async fn a_grant_and_its_task_begin_together(world: World) {
    let session = world.login(ALICE).await;
    let task = world.new_task(&session, &["task-abc"]);
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let lease = world.new_lease(&grant);
    let new = NewGrant {
        task: Some(task.clone()),
        lease: Some(lease.clone()),
        ..alone(grant.clone())
    };
    let other = world.new_task(&session, &["other"]);
    let mixed = NewGrant {
        task: Some(other),
        ..new.clone()
    };
    let refused = world.store.delegate(mixed, None).await;
    assert_eq!(
        refusal(refused),
        Refusal::Unfit("the task that begins with it")
    );
    let granted = world.store.delegate(new, None).await.unwrap().value;
    assert_eq!(granted.lease, Some(lease.clone()));
    world
        .store
        .activate(Begun::Grant(grant.id().unwrap().clone()))
        .await
        .unwrap();
    let standing = world.standing(grant.id().unwrap()).await;
    assert_eq!(standing.living(world.now()), Ok(()));
    let active = |status| status == Status::Active;
    assert!(active(standing.tasks[0].status) && active(standing.grants[0].status));
    let kept = Grant {
        status: Status::Active,
        ..grant
    };
    assert_eq!(standing.grants, [kept]);
    assert_eq!(world.end(task_target(&task)).await.tokens, 1);
}

async fn an_epoch_ends_what_began_before_it_and_nothing_later(world: World) {
    for round in 0..4 {
        let (alice, bob) = (world.login(ALICE).await, world.login("usr-bob-002").await);
        let mut kept = Vec::new();
        for session in [&alice, &bob] {
            let task = world.task(session, &[&format!("task-{round}")]).await;
            let root = world.grant(session, None, &task, "scheduling").await;
            let leaf = world.grant(session, Some(&root), &task, "analysis").await;
            kept.push((world.lease(&root).await, root));
            kept.push((world.lease(&leaf).await, leaf));
        }
        world.pass(1);
        let (epoch, dead) = match round {
            0 => (
                Epoch::Subject(alice.person.id.clone()),
                [true, true, false, false],
            ),
            1 => (
                Epoch::Actor(agent("analysis").spiffe_id),
                [false, true, false, true],
            ),
            2 => (Epoch::AgentType("scheduling".parse().unwrap()), [true; 4]),
            _ => (Epoch::Tenant, [true; 4]),
        };
        let ended = world.end(Target::Before(epoch, world.now())).await;
        let killed: Vec<_> = kept
            .iter()
            .map(|(lease, grant)| world.killed(grant, lease).is_some())
            .collect();
        assert_eq!(killed, dead, "{round}");
        assert!(
            ended.tokens >= dead.iter().filter(|it| **it).count() as u64,
            "{round}"
        );
        for ((_, grant), dead) in kept.iter().zip(dead) {
            let renewed = world
                .store
                .lease(world.new_lease(grant), LIMITS, None)
                .await;
            assert_eq!(renewed.is_err(), dead, "{round}");
        }
        let session = world.login(ALICE).await;
        let task = world.task(&session, &[&format!("later-{round}")]).await;
        let grant = world.grant(&session, None, &task, "scheduling").await;
        let lease = world.lease(&grant).await;
        assert_eq!(world.killed(&grant, &lease), None, "{round}");
    }
}

async fn lists_come_in_order_and_in_pages(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let below = world.task(&session, &["task-abc", "below"]).await;
    let done = world.task(&session, &["done"]).await;
    world
        .store
        .end(task_target(&done), Manner::Completed, None)
        .await
        .unwrap();
    let mut expected = Vec::new();
    for name in ["one", "two"] {
        let root = world.grant(&session, None, &task, name).await;
        expected.push(root.id().unwrap().clone());
        for leaf in ["x", "y"] {
            let leaf = world.grant(&session, Some(&root), &below, leaf).await;
            expected.push(leaf.id().unwrap().clone());
        }
    }
    let query = |below, after, most| GrantQuery {
        whose: Whose::Person(session.person.id.clone()),
        below,
        after,
        most,
    };
    let ids = |found: Vec<Grant>| {
        found
            .iter()
            .map(|it| it.id().unwrap().clone())
            .collect::<Vec<_>>()
    };
    let whole = GrantRoot::Session(session.id.clone());
    let mut paged = Vec::new();
    while let Ok(page) = world
        .store
        .grants(query(whole.clone(), paged.last().cloned(), 4))
        .await
        && !page.is_empty()
    {
        paged.extend(ids(page));
    }
    assert_eq!(paged, expected);
    let found = world
        .store
        .grants(query(GrantRoot::Grant(expected[3].clone()), None, 10))
        .await;
    assert_eq!(ids(found.unwrap()), expected[3..]);
    let person = session.person.id.clone();
    let found = world
        .store
        .grants(query(
            GrantRoot::Task(person.clone(), below.id.clone()),
            None,
            10,
        ))
        .await;
    assert_eq!(found.unwrap().len(), 4);
    let found = world
        .store
        .grants(query(
            GrantRoot::Task(person.clone(), task.id.clone()),
            None,
            10,
        ))
        .await;
    assert_eq!(found.unwrap().len(), 6);
    let others = GrantQuery {
        whose: Whose::Person("usr-bob-002".parse().unwrap()),
        ..query(whole, None, 10)
    };
    assert_eq!(world.store.grants(others).await.unwrap(), []);

    let query = |status, after: Option<&str>, most| TaskQuery {
        person: person.clone(),
        session: Some(session.id.clone()),
        status,
        after: after.map(|it| it.parse().unwrap()),
        most,
    };
    let names = |found: Vec<Task>| found.iter().map(|it| it.id.to_string()).collect::<Vec<_>>();
    let all = world.store.tasks(query(None, None, 10)).await.unwrap();
    assert_eq!(names(all), ["below", "done", "task-abc"]);
    let page = world
        .store
        .tasks(query(None, Some("below"), 1))
        .await
        .unwrap();
    assert_eq!(names(page), ["done"]);
    let active = world
        .store
        .tasks(query(Some(Status::Active), None, 10))
        .await
        .unwrap();
    assert_eq!(names(active), ["below", "task-abc"]);
}

async fn the_ground_of_a_delegation_is_read_at_one_moment(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let root = world.grant(&session, None, &task, "scheduling").await;
    world.grant(&session, Some(&root), &task, "analysis").await;
    let query = |from, agent: &str| GroundQuery {
        from,
        whose: Whose::Person(session.person.id.clone()),
        task: task.id.clone(),
        agent: agent.parse::<AgentId>().unwrap(),
    };
    let from = Origin::Session(session.id.clone());
    let ground = world
        .store
        .ground(query(from.clone(), "analysis-001"))
        .await
        .unwrap();
    assert_eq!(
        (ground.alive, ground.siblings, ground.names_a_person),
        (true, 1, false)
    );
    assert_eq!(ground.task, Some(task.clone()));
    assert_eq!(ground.standing.grant(), None);
    // D19
    assert!(
        world
            .store
            .ground(query(from, ALICE))
            .await
            .unwrap()
            .names_a_person
    );
    let from = Origin::Grant(root.id().unwrap().clone());
    let ground = world.store.ground(query(from.clone(), "x")).await.unwrap();
    assert_eq!((ground.alive, ground.siblings), (true, 1));
    assert_eq!(ground.standing.grant(), Some(&root));
    world
        .end(Target::Session(session.id.clone(), Whose::Anybody))
        .await;
    assert!(!world.store.ground(query(from, "x")).await.unwrap().alive);
}

async fn a_sweep_tells_of_expired_sessions_until_they_are_on_record(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    world.grant(&session, None, &task, "scheduling").await;
    let left = world.login("usr-bob-002").await;
    world.end(Target::Session(left.id, Whose::Anybody)).await;
    assert_eq!(world.store.sweep(100).await.unwrap(), Swept::default());
    world.pass(3600);
    for _ in 0..2 {
        let swept = world.store.sweep(100).await.unwrap();
        let ids: Vec<_> = swept.sessions.iter().map(|it| &it.id).collect();
        assert_eq!(ids, [&session.id]);
        assert_eq!(swept.sessions[0].status, Status::Expired);
    }
    world
        .store
        .expiry_witnessed(vec![session.id.clone()])
        .await
        .unwrap();
    assert_eq!(world.store.sweep(100).await.unwrap().sessions, []);
    let task = world.store.task(task.person, task.id).await.unwrap();
    assert_eq!(task.status, Status::Expired);
}

async fn a_sweep_deletes_what_ended_long_ago_and_keeps_names(world: World) {
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let root = world.grant(&session, None, &task, "scheduling").await;
    let leaf = world.grant(&session, Some(&root), &task, "analysis").await;
    let lease = world.lease(&leaf).await;
    world
        .store
        .end(
            task_target(&task),
            Manner::Revoked,
            Some(request(ALICE, "1", 1)),
        )
        .await
        .unwrap();
    world.pass(329);
    world.store.sweep(100).await.unwrap();
    assert_eq!(world.killed(&leaf, &lease), Some(Cause::Task));
    world.pass(1);
    let swept = world.store.sweep(100).await.unwrap();
    // The entry for those who check tokens; the lease stays for as long again.
    assert_eq!(swept.deleted, 1);
    assert!(world.store.revocations().is_empty());
    world
        .clock
        .advance(KEPT_AFTER_END + Duration::from_secs(3600));
    let mut sessions = Vec::new();
    let mut calls = 0;
    loop {
        let swept = world.store.sweep(1).await.unwrap();
        sessions.extend(swept.sessions.iter().map(|it| it.id.clone()));
        world
            .store
            .expiry_witnessed(sessions.clone())
            .await
            .unwrap();
        calls += 1;
        if !swept.more {
            break;
        }
    }
    assert!(calls > 2);
    assert_eq!(sessions, std::slice::from_ref(&session.id));
    let gone = world.store.session(session.id, Whose::Anybody).await;
    assert_eq!(refusal(gone), Refusal::NotFound(Level::Session));
    let session = world.login(ALICE).await;
    let again = world
        .store
        .create_task(world.new_task(&session, &["task-abc"]), LIMITS, None)
        .await;
    assert_eq!(refusal(again), Refusal::TaskExists);
}
