//! What the file of an embedded memory can do to us: every call says so, nothing is half done, and it goes on by itself.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use super::*;

struct Filled {
    world: World,
    store: Arc<Embedded>,
    session: Session,
    grant: Grant,
    lease: Lease,
}

/// A session, a task and a grant with a lease, in a file.
async fn filled() -> Filled {
    let mut world = World::file();
    let clock: Arc<dyn Clock> = Arc::<MockClock>::clone(&world.clock);
    world.store = Arc::new(Embedded::memory("nobody", &clock).unwrap());
    let store = Arc::new(Embedded::file(&world.path(), "default", &clock).unwrap());
    world.store = Arc::<Embedded>::clone(&store);
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    let lease = world.lease(&grant).await;
    Filled {
        world,
        store,
        session,
        grant,
        lease,
    }
}

fn open(path: &std::path::Path, clock: &Arc<MockClock>) -> Result<Embedded, OpenError> {
    let clock: Arc<dyn Clock> = Arc::<MockClock>::clone(clock);
    Embedded::file(path, "default", &clock)
}

// D23
#[tokio::test]
async fn a_restart_keeps_what_was_given_and_what_was_taken_back() {
    let world = World::file();
    let session = world.login(ALICE).await;
    let (one, two) = (
        world.task(&session, &["one"]).await,
        world.task(&session, &["two"]).await,
    );
    let dead = world.grant(&session, None, &one, "scheduling").await;
    let alive = world.grant(&session, None, &two, "scheduling").await;
    let (dead_lease, alive_lease) = (world.lease(&dead).await, world.lease(&alive).await);
    let ended = world.end(task_target(&one)).await;
    for epoch in [
        Epoch::Actor(agent("other").spiffe_id),
        Epoch::AgentType("other".parse().unwrap()),
    ] {
        world.end(Target::Before(epoch, world.now())).await;
    }
    world
        .end(Target::Before(
            Epoch::Subject("usr-bob-002".parse().unwrap()),
            world.now(),
        ))
        .await;
    let before = world.store.revocations().subscribe();

    let world = world.restarted("default");
    let after = world.store.revocations().subscribe();
    assert_eq!(after.position, before.position);
    assert!(ended.position < after.position);
    assert_eq!(after.snapshot.len(), 4);
    assert!(
        after
            .snapshot
            .iter()
            .all(|entry| before.snapshot.contains(entry))
    );
    assert_eq!(world.killed(&dead, &dead_lease), Some(Cause::Task));
    assert_eq!(world.killed(&alive, &alive_lease), None);
    let refused = world
        .store
        .lease(world.new_lease(&dead), LIMITS, None)
        .await;
    assert_eq!(refusal(refused), inactive(Level::Task, Status::Revoked));
    let standing = world.standing(alive.id().unwrap()).await;
    assert_eq!(standing.grants, std::slice::from_ref(&alive));
    world.lease(&alive).await;
}

#[tokio::test]
async fn one_tenant_does_not_see_another_in_the_same_file() {
    let world = World::file();
    let session = world.login(ALICE).await;
    let task = world.task(&session, &["task-abc"]).await;
    let grant = world.grant(&session, None, &task, "scheduling").await;
    world
        .end(Target::Before(Epoch::Tenant, world.after(0)))
        .await;
    world.end(grant_target(&grant)).await;

    let other = world.restarted("other");
    assert!(other.store.revocations().is_empty());
    let missing = other
        .store
        .session(session.id.clone(), Whose::Anybody)
        .await;
    assert_eq!(refusal(missing), Refusal::NotFound(Level::Session));
    let id = grant.id().unwrap().clone();
    let missing = other.store.standing(id, Whose::Anybody).await;
    assert_eq!(refusal(missing), Refusal::NotFound(Level::Grant));
    let missing = other
        .store
        .end(task_target(&task), Manner::Revoked, None)
        .await;
    assert_eq!(refusal(missing), Refusal::NotFound(Level::Task));
    let session = other.login(ALICE).await;
    other.task(&session, &["task-abc"]).await;
}

#[tokio::test]
async fn a_memory_without_a_file_accepts_nothing_of_before() {
    let world = World::memory();
    let session = world.login(ALICE).await;
    let task = world.new_task(&session, &["task-abc"]);
    let grant = world.new_grant(&session, None, &task, "scheduling");
    let before = Lease {
        issued: Timestamp::from_unix_seconds(START.unix_seconds() - 1),
        ..world.new_lease(&grant)
    };
    assert_eq!(world.killed(&grant, &before), Some(Cause::Epoch));
    assert_eq!(world.killed(&grant, &world.new_lease(&grant)), None);
}

#[tokio::test]
async fn the_file_is_private_and_a_second_opening_is_refused() {
    let world = World::file();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{suffix}", world.path().display());
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{path}"
        );
    }
    let error = open(&world.path(), &world.clock).unwrap_err();
    assert!(matches!(error, OpenError::Held(_)), "{error}");
}

#[tokio::test]
async fn a_foreign_a_newer_and_a_broken_file_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(MockClock::new(START));
    let path = folder.path().join("foreign.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (a)")
        .unwrap();
    assert!(matches!(open(&path, &clock), Err(OpenError::Foreign(_))));

    let path = folder.path().join("newer.db");
    drop(open(&path, &clock).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 2)
        .unwrap();
    assert!(matches!(
        open(&path, &clock),
        Err(OpenError::Newer { found: 2, .. })
    ));

    let path = folder.path().join("text.db");
    fs::write(
        &path,
        "not a database, but longer than its header would be: ".repeat(50),
    )
    .unwrap();
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path, &clock), Err(OpenError::Foreign(_))));
    assert_eq!(fs::read(&path).unwrap(), before);
    assert!(matches!(
        open(&folder.path().join("no/such.db"), &clock),
        Err(OpenError::Io { .. })
    ));
}

#[tokio::test]
async fn while_another_program_has_locked_the_file_calls_fail_and_afterwards_go_on() {
    let Filled { world, grant, .. } = filled().await;
    let other = Connection::open(world.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = world
        .store
        .lease(world.new_lease(&grant), LIMITS, None)
        .await;
    assert_eq!(failure(refused), Failure::Locked);
    // Reading goes on.
    world.standing(grant.id().unwrap()).await;
    other.execute_batch("ROLLBACK").unwrap();
    world.lease(&grant).await;
}

#[tokio::test]
async fn when_the_disk_is_full_nothing_is_half_done_and_it_goes_on_when_there_is_space() {
    let Filled {
        world,
        store,
        session,
        grant,
        lease,
    } = filled().await;
    store.tamper("PRAGMA max_page_count = 1").await;
    let mut refused = Vec::new();
    for at in 0..200 {
        let task = Task {
            purpose: "x".repeat(1000),
            ..world.new_task(&session, &[&format!("task-{at}")])
        };
        if let Err(error) = world.store.create_task(task.clone(), LIMITS, None).await {
            assert_eq!(failure::<()>(Err(error)), Failure::Full);
            refused.push(task);
        }
    }
    assert!(!refused.is_empty());
    store.tamper("PRAGMA max_page_count = 1073741823").await;
    for task in refused {
        let missing = world.store.task(task.person.clone(), task.id.clone()).await;
        assert_eq!(refusal(missing), Refusal::NotFound(Level::Task));
        world.store.create_task(task, LIMITS, None).await.unwrap();
    }
    assert_eq!(world.end(grant_target(&grant)).await.tokens, 1);
    assert_eq!(world.killed(&grant, &lease), Some(Cause::Grant));
}

#[tokio::test]
async fn an_ending_that_can_not_be_kept_is_an_error_and_kills_nothing() {
    let Filled {
        world,
        store,
        grant,
        lease,
        ..
    } = filled().await;
    store.tamper("PRAGMA query_only = 1").await;
    let position = world.store.revocations().position();
    let refused = world
        .store
        .end(grant_target(&grant), Manner::Revoked, None)
        .await;
    assert_eq!(failure(refused), Failure::ReadOnly);
    assert_eq!(world.killed(&grant, &lease), None);
    assert_eq!(world.store.revocations().position(), position);
    // The connection was opened anew, and writes again.
    assert_eq!(world.end(grant_target(&grant)).await.tokens, 1);
}

#[tokio::test]
async fn a_row_that_can_not_be_understood_fails_its_own_calls_alone() {
    let Filled {
        world,
        store,
        session,
        grant,
        ..
    } = filled().await;
    let task = world.task(&session, &["other"]).await;
    let other = world.grant(&session, None, &task, "scheduling").await;
    store
        .tamper("UPDATE grants SET held = '[\"no permission\"]' WHERE task = 'task-abc'")
        .await;
    let refused = world
        .store
        .lease(world.new_lease(&grant), LIMITS, None)
        .await;
    assert_eq!(failure(refused), Failure::Corrupt);
    world.lease(&other).await;
    // The session can still be ended, and everything on it.
    let ended = world.end(Target::Session(session.id, Whose::Anybody)).await;
    assert_eq!((ended.tokens, ended.grants.len()), (2, 2));
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_not_written_any_more() {
    let Filled { world, grant, .. } = filled().await;
    let aside = world.path().with_extension("aside");
    fs::rename(world.path(), &aside).unwrap();
    let refused = world
        .store
        .lease(world.new_lease(&grant), LIMITS, None)
        .await;
    assert_eq!(failure(refused), Failure::Replaced);
    let id = grant.id().unwrap().clone();
    assert_eq!(
        failure(world.store.standing(id, Whose::Anybody).await),
        Failure::Replaced
    );
    fs::copy(&aside, world.path()).unwrap();
    let refused = world
        .store
        .lease(world.new_lease(&grant), LIMITS, None)
        .await;
    assert_eq!(failure(refused), Failure::Replaced);
    fs::rename(&aside, world.path()).unwrap();
    world.lease(&grant).await;
}

#[tokio::test]
async fn what_was_answered_is_in_a_copy_of_the_file_that_a_crash_left() {
    let Filled {
        world,
        session,
        grant,
        lease,
        ..
    } = filled().await;
    let ended = world.end(grant_target(&grant)).await;
    let crashed = tempfile::tempdir().unwrap();
    let copy = crashed.path().join("state.db");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", world.path().display());
        fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
    }
    let store = open(&copy, &world.clock).unwrap();
    assert_eq!(kills(&store, &grant, &lease), Some(Cause::Grant));
    assert_eq!(store.revocations().position(), ended.position);
    let found = store
        .session(session.id.clone(), Whose::Anybody)
        .await
        .unwrap();
    assert_eq!(found, session);
}

// T22
#[tokio::test]
async fn the_file_holds_no_credential() {
    let world = World::file();
    let (new, handle) = world.new_session(ALICE);
    world.store.open_session(new, None).await.unwrap();
    let text = handle.reveal();
    let bits = [&[0; 15][..], &[1], &[0; 16]].concat();
    for suffix in ["", "-wal"] {
        let bytes = fs::read(format!("{}{suffix}", world.path().display())).unwrap();
        let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
        assert!(!holds(text.as_bytes()) && !holds(&bits), "{suffix}");
        if suffix == "-wal" {
            assert!(holds(handle.digest().as_bytes()));
        }
    }
}
