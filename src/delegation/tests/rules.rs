//! Who may delegate what to whom: one rule a test, with the defects of the model that this one replaces.

use super::*;

fn code(result: Result<Given, Refusal>) -> &'static str {
    result.map_or_else(|refusal| refusal.code(), |_| "OK")
}

/// Contract A13, steps 2 to 4.
#[test]
fn the_example_holds_what_the_example_says() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let names: Vec<_> = second.grant.chain.names().collect();
    assert_eq!(
        names,
        [
            "usr-alice-001",
            "scheduling-agent-001",
            "analysis-agent-002"
        ]
    );
    assert_eq!(first.tier("documents/1", "read"), Tier::Free);
    assert_eq!(first.tier("documents", "delete"), Tier::Supervised);
    assert_eq!(first.tier("users/1", "read"), Tier::Absent);
    assert_eq!(second.tier("documents/1", "read"), Tier::Free);
    assert_eq!(second.tier("documents/1", "update"), Tier::Absent);
    assert!(second.grant.task_path.starts_with(&first.grant.task_path));
    assert_eq!(second.task.begun_under, first.grant.path);
    assert_eq!(second.grant.hops.len(), 2);
}

/// A6, and a defect of the model before: there, reading only made a SUPERVISED read FREE.
#[test]
fn reading_only_keeps_tiers() {
    let mut scene = Scene::new();
    scene.role = set(&["**:*", "documents/secret/**:read@supervised"]);
    let mut wanted = wanted("analysis", "a", "t");
    wanted.narrowing.read_only = true;
    let given = scene.delegate(None, &wanted).unwrap();
    assert_eq!(given.tier("documents/secret/1", "read"), Tier::Supervised);
    assert_eq!(given.tier("documents/1", "read"), Tier::Free);
}

/// A7, and a defect of the model before: there, an empty scope gave everything.
#[test]
fn an_empty_scope_permits_nothing_and_an_absent_one_narrows_nothing() {
    let scene = Scene::new();
    let empty: [fn(&mut Narrowing); 3] = [
        |it| it.resources = Some(Vec::new()),
        |it| it.actions = Some(Vec::new()),
        |it| it.permissions = Some(PermissionSet::empty()),
    ];
    for narrow in empty {
        let mut wanted = wanted("analysis", "a", "t");
        narrow(&mut wanted.narrowing);
        assert_eq!(code(scene.delegate(None, &wanted)), "SCOPE_EMPTY");
    }
    let given = scene.delegate(None, &wanted("analysis", "a", "t")).unwrap();
    assert_eq!(given.grant.held.permissions(), &scene.role);
}

/// D29: a grant of which nothing can ever be used is refused, not given.
#[test]
fn what_is_forbidden_alone_is_nothing() {
    let scene = Scene::new();
    let mut wanted = wanted("analysis", "a", "t");
    wanted.narrowing.permissions = Some(set(&["users/**:delete"]));
    assert_eq!(code(scene.delegate(None, &wanted)), "SCOPE_EMPTY");
}

/// D07, D08, D09: asking for more gives what there is, and says what there is not.
#[test]
fn what_is_asked_for_and_not_held_is_dropped_or_refused() {
    let mut scene = Scene::new();
    scene.role = set(&["docs/1:read", "docs/2:*@supervised"]);
    let mut wanted = wanted("analysis", "a", "t");
    wanted.narrowing.resources = Some(patterns(&["docs/1", "docs/12", "docs/*", "unknown"]));
    wanted.narrowing.actions = Some(vec!["read".parse().unwrap()]);
    let given = scene.delegate(None, &wanted).unwrap();
    let dropped: Vec<_> = given
        .proposal
        .dropped
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        dropped,
        [
            "resource `docs/12`",
            "resource `docs/*` in part",
            "resource `unknown`"
        ]
    );
    assert_eq!(given.tier("docs/12", "read"), Tier::Absent);
    assert_eq!(given.tier("docs/1", "read"), Tier::Free);
    assert_eq!(given.tier("docs/2", "read"), Tier::Supervised);
    wanted.on_excess = OnExcess::Reject;
    let refusal = scene.delegate(None, &wanted).unwrap_err();
    assert_eq!(refusal.code(), "SCOPE_EXCEEDED");
    assert!(refusal.to_string().contains("`unknown`"), "{refusal}");
    wanted.narrowing.resources = Some(patterns(&["docs/1"]));
    assert_eq!(code(scene.delegate(None, &wanted)), "OK");
}

/// D02: a request can name a stricter tier; a freer one is more than there is.
#[test]
fn a_tier_can_be_asked_for_only_if_it_is_not_freer() {
    let mut scene = Scene::new();
    scene.role = set(&["docs/**:delete@supervised", "docs/**:read"]);
    let mut wanted = wanted("analysis", "a", "t");
    wanted.on_excess = OnExcess::Reject;
    wanted.narrowing.permissions = Some(set(&["docs/1:delete@free"]));
    assert_eq!(code(scene.delegate(None, &wanted)), "SCOPE_EXCEEDED");
    wanted.on_excess = OnExcess::Narrow;
    let given = scene.delegate(None, &wanted).unwrap();
    assert_eq!(given.tier("docs/1", "delete"), Tier::Supervised);
    assert_eq!(
        given.proposal.dropped[0].to_string(),
        "permission `docs/1:delete` in part"
    );
    wanted.on_excess = OnExcess::Reject;
    wanted.narrowing.permissions = Some(set(&["docs/1:read@supervised"]));
    let given = scene.delegate(None, &wanted).unwrap();
    assert_eq!(given.tier("docs/1", "read"), Tier::Supervised);
}

/// D10: another spelling is another resource, and none is held by it.
#[test]
fn another_spelling_of_a_resource_is_another_resource() {
    let mut scene = Scene::new();
    scene.role = set(&["docs/a:read"]);
    for other in ["docs/A", "Docs/a", "docs/%61"] {
        let mut wanted = wanted("analysis", "a", "t");
        wanted.narrowing.resources = Some(patterns(&[other]));
        assert_eq!(
            code(scene.delegate(None, &wanted)),
            "SCOPE_EMPTY",
            "{other}"
        );
    }
}

/// D03 to D06: the order of narrowings does not matter, nor does repeating one.
#[test]
fn narrowings_commute_and_repeat_without_effect() {
    let held = Held::by_role(&set(&ADMIN));
    let by = |resources: &[&str], read_only| Narrowing {
        resources: Some(patterns(resources)),
        read_only,
        ..Narrowing::default()
    };
    let (one, two) = (
        by(&["documents", "users"], false),
        by(&["documents/1", "billing"], true),
    );
    let both = by(&["documents/1"], true);
    assert_eq!(
        held.narrow(&one).narrow(&two),
        held.narrow(&two).narrow(&one)
    );
    assert_eq!(held.narrow(&one).narrow(&two), held.narrow(&both));
    assert_eq!(held.narrow(&one).narrow(&one), held.narrow(&one));
    assert_eq!(held.narrow(&by(&["**"], false)), held);
    assert!(
        held.narrow(&by(&["elsewhere"], false))
            .permissions()
            .is_empty()
    );
}

/// D13: no chain is longer than configured, and none longer than 8 whatever is configured.
#[test]
fn a_chain_ends_at_its_depth() {
    for (configured, most) in [(1, 1), (4, 4), (8, 8), (u8::MAX, 8)] {
        let mut scene = Scene::new();
        scene.limits.max_depth = configured;
        let mut last = None;
        for depth in 0..most {
            let next = wanted("analysis", &format!("agent-{depth}"), "t");
            last = Some(scene.delegate(last.as_ref(), &next).unwrap());
        }
        let further = last.as_ref().map(|it: &Given| it.grant.further);
        assert_eq!(further, Some(0));
        let next = wanted("analysis", "one-more", "t");
        assert_eq!(code(scene.delegate(last.as_ref(), &next)), "MAX_DEPTH");
    }
}

#[test]
fn a_leaf_is_not_handed_on_and_how_far_only_gets_less() {
    let scene = Scene::new();
    let mut leaf = wanted("scheduling", "a", "t");
    leaf.further = 0;
    let leaf = scene.delegate(None, &leaf).unwrap();
    let next = wanted("analysis", "b", "t");
    assert_eq!(
        scene.delegate(Some(&leaf), &next).unwrap_err(),
        NotAllowed::Leaf.into()
    );
    let mut once = wanted("scheduling", "a", "t");
    once.further = 1;
    let once = scene.delegate(None, &once).unwrap();
    let next = scene.delegate(Some(&once), &next).unwrap();
    assert_eq!(next.grant.further, 0);
}

/// D17, D18.
#[test]
fn no_agent_comes_twice_but_to_hand_on_to_itself() {
    let scene = Scene::new();
    let a = scene
        .delegate(None, &wanted("scheduling", "a", "t"))
        .unwrap();
    let itself = scene
        .delegate(Some(&a), &wanted("scheduling", "a", "t"))
        .unwrap();
    assert_eq!(itself.grant.chain.depth(), 2);
    assert!(itself.grant.held.is_attenuation_of(&a.grant.held));
    let b = scene
        .delegate(Some(&itself), &wanted("analysis", "b", "t"))
        .unwrap();
    let back = wanted("scheduling", "a", "t");
    assert_eq!(
        scene.delegate(Some(&b), &back).unwrap_err(),
        Refusal::Cycle("a".parse().unwrap())
    );
    // Another agent of the same workload is another one.
    let beside = wanted("scheduling", "a2", "t");
    assert_eq!(code(scene.delegate(Some(&b), &beside)), "OK");
}

/// D14: the limit is reached, not exceeded.
#[test]
fn as_many_as_may_be_and_no_more_are_given_from_one_place() {
    let scene = Scene::new();
    for (siblings, expected) in [(15, "OK"), (16, "MAX_FANOUT"), (u32::MAX, "MAX_FANOUT")] {
        let facts = Facts {
            siblings,
            ..facts()
        };
        let wanted = wanted("analysis", "a", "t");
        assert_eq!(code(scene.delegate_with(None, &wanted, &facts)), expected);
    }
}

/// D19.
#[test]
fn no_agent_has_the_name_of_a_person() {
    let scene = Scene::new();
    let alice = wanted("analysis", "usr-alice-001", "t");
    assert_eq!(code(scene.delegate(None, &alice)), "AGENT_ID_TAKEN");
    let facts = Facts {
        names_a_person: true,
        ..facts()
    };
    let bob = wanted("analysis", "usr-bob-002", "t");
    assert_eq!(
        code(scene.delegate_with(None, &bob, &facts)),
        "AGENT_ID_TAKEN"
    );
}

#[test]
fn only_who_is_registered_receives_and_only_from_who_may_give() {
    let mut scene = Scene::new();
    let stranger = wanted("stranger", "a", "t");
    assert_eq!(
        code(scene.delegate(None, &stranger)),
        "DELEGATION_NOT_ALLOWED"
    );
    let mut mistaken = wanted("analysis", "a", "t");
    mistaken.agent_type = Some("scheduling".parse().unwrap());
    assert_eq!(
        code(scene.delegate(None, &mistaken)),
        "DELEGATION_NOT_ALLOWED"
    );
    let reader = scene.delegate(None, &wanted("reader", "r", "t")).unwrap();
    assert_eq!(reader.tier("documents/1", "read"), Tier::Free);
    assert_eq!(reader.tier("documents/1", "update"), Tier::Absent);
    let to = wanted("analysis", "a", "t");
    assert_eq!(
        scene.delegate(Some(&reader), &to).unwrap_err(),
        NotAllowed::Type("analysis".parse().unwrap()).into()
    );
    // Whoever is taken out of the list gives nothing any more.
    let given = scene
        .delegate(None, &wanted("scheduling", "s", "t"))
        .unwrap();
    scene.registry.0.remove(0);
    assert_eq!(
        scene.delegate(Some(&given), &to).unwrap_err(),
        NotAllowed::Unregistered("s".parse().unwrap()).into()
    );
}

/// D26, A12, and defects of the model before: a revoked parent could delegate, and so could a person who had logged out.
#[test]
fn what_is_not_alive_is_not_handed_on() {
    let scene = Scene::new();
    let (first, _) = scene.example();
    let next = wanted("analysis", "b", "t2");
    assert_eq!(code(scene.delegate(Some(&first), &next)), "OK");
    for status in Status::ALL.into_iter().filter(|it| *it != Status::Active) {
        let mut ended = first.clone();
        ended.grant.status = status;
        assert_eq!(code(scene.delegate(Some(&ended), &next)), "PARENT_INACTIVE");
        let mut ended = first.clone();
        ended.task.status = status;
        assert_eq!(code(scene.delegate(Some(&ended), &next)), "PARENT_INACTIVE");
        let mut logged_out = scene.clone();
        logged_out.session.status = status;
        assert_eq!(
            code(logged_out.delegate(Some(&first), &next)),
            "PARENT_INACTIVE"
        );
        assert_eq!(code(logged_out.delegate(None, &next)), "PARENT_INACTIVE");
    }
    let facts = Facts {
        alive: false,
        ..facts()
    };
    let above = scene.delegate_with(Some(&first), &next, &facts);
    assert_eq!(code(above), "PARENT_INACTIVE");
    let mut late = scene.clone();
    late.now = first.grant.expires;
    assert_eq!(code(late.delegate(Some(&first), &next)), "PARENT_INACTIVE");
}

/// What does not belong together is refused, whoever mixed it up.
#[test]
fn a_grant_of_another_session_or_person_is_not_handed_on() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let next = wanted("analysis", "b", "t2");
    let mut other = scene.clone();
    other.session.id = SessionId::from_random(2);
    assert_eq!(code(other.delegate(Some(&first), &next)), "PARENT_INACTIVE");
    let mut other = scene.clone();
    other.session.person.id = "usr-bob-002".parse().unwrap();
    assert_eq!(code(other.delegate(Some(&first), &next)), "PARENT_INACTIVE");
    let mixed = Given {
        task: second.task.clone(),
        ..first
    };
    assert_eq!(code(scene.delegate(Some(&mixed), &next)), "PARENT_INACTIVE");
}

/// D20.
#[test]
fn a_task_is_joined_only_by_who_reaches_it() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let join = |id: &str| {
        let mut joining = wanted("analysis", "c", id);
        joining.task = WantedTask::Existing(id.parse().unwrap());
        joining
    };
    let with = |task| Facts {
        task: Some(task),
        ..facts()
    };
    // The one begun below is reached, and so is one's own.
    let below = scene.delegate_with(Some(&first), &join("task-abc-sub1"), &with(&second.task));
    assert_eq!(below.unwrap().grant.task_path, second.grant.task_path);
    assert_eq!(
        code(scene.delegate(Some(&second), &join("task-abc-sub1"))),
        "OK"
    );
    // The one above is not, nor one beside, nor that of another session or person, nor one that is not there.
    let unavailable = "TASK_UNAVAILABLE";
    let above = scene.delegate_with(Some(&second), &join("task-abc"), &with(&first.task));
    assert_eq!(code(above), unavailable);
    let mut beside = second.task.clone();
    beside.begun_under = vec![GrantId::from_random(77)];
    let beside = scene.delegate_with(Some(&first), &join("task-abc-sub1"), &with(&beside));
    assert_eq!(code(beside), unavailable);
    let mut elsewhere = first.task.clone();
    elsewhere.session = SessionId::from_random(2);
    let elsewhere = scene.delegate_with(None, &join("task-abc"), &with(&elsewhere));
    assert_eq!(code(elsewhere), unavailable);
    let mut bobs = first.task.clone();
    bobs.person = "usr-bob-002".parse().unwrap();
    let bobs = scene.delegate_with(None, &join("task-abc"), &with(&bobs));
    assert_eq!(code(bobs), unavailable);
    assert_eq!(code(scene.delegate(None, &join("task-abc"))), unavailable);
    // One that ended does not begin again.
    let mut ended = first.task.clone();
    ended.status = Status::Completed;
    let again = wanted("analysis", "c", "task-abc");
    let again = scene.delegate_with(None, &again, &with(&ended));
    assert_eq!(code(again), "PARENT_INACTIVE");
}

#[test]
fn tasks_nest_no_deeper_than_chains() {
    let scene = Scene::new();
    let mut given = scene
        .delegate(None, &wanted("scheduling", "a", "t"))
        .unwrap();
    let path = (0..8).map(|at| format!("t{at}").parse().unwrap()).collect();
    given.task.path = path;
    given.grant.task_path = given.task.path.clone();
    let next = wanted("analysis", "b", "deeper");
    assert_eq!(code(scene.delegate(Some(&given), &next)), "MAX_DEPTH");
}

/// D11, D37, and a defect of the model before: there, an agent outlived the session.
#[test]
fn nothing_outlives_what_it_rests_on_and_no_time_wraps() {
    let scene = Scene::new();
    let within = |ttl: Option<Duration>, deadline: Option<u64>| {
        let mut wanted = wanted("analysis", "a", "t");
        wanted.ttl = ttl;
        let WantedTask::Named {
            deadline: asked, ..
        } = &mut wanted.task
        else {
            unreachable!();
        };
        *asked = deadline.map(|it| scene.now.plus(Duration::from_secs(it)));
        let given = scene.delegate(None, &wanted);
        given.map(|it| it.grant.expires.since(scene.now).as_secs())
    };
    assert_eq!(within(None, None), Ok(3600));
    assert_eq!(within(Some(Duration::MAX), None), Ok(3600));
    assert_eq!(
        within(Some(Duration::from_secs(u64::MAX)), Some(u64::MAX)),
        Ok(3600)
    );
    assert_eq!(within(Some(Duration::from_secs(60)), Some(30)), Ok(30));
    assert_eq!(within(Some(Duration::from_millis(1)), None), Ok(0));
    assert_eq!(
        within(Some(Duration::ZERO), None),
        Err(Refusal::InvalidLifetime)
    );
    assert_eq!(within(None, Some(0)), Err(Refusal::InvalidLifetime));
    assert_eq!(
        lifetime(i64::MAX, 999_999_999).unwrap().as_secs(),
        i64::MAX.unsigned_abs()
    );
    for (seconds, nanos) in [
        (0, 0),
        (-1, 0),
        (0, -1),
        (i64::MIN, 0),
        (1, 1_000_000_000),
        (1, -1),
    ] {
        assert_eq!(lifetime(seconds, nanos), Err(Refusal::InvalidLifetime));
    }
    assert_eq!(lifetime(1, 5), Ok(Duration::new(1, 5)));
}

#[test]
fn services_only_get_fewer_and_are_never_ourselves() {
    let scene = Scene::new();
    let ask = |services: &[&str]| {
        let mut wanted = wanted("scheduling", "a", "t");
        wanted.audience = Some(services.iter().map(|it| service(it)).collect());
        wanted
    };
    let given = scene
        .delegate(None, &ask(&["urn:b", "urn:a", "urn:b"]))
        .unwrap();
    assert_eq!(given.grant.audience, [service("urn:a"), service("urn:b")]);
    let next = |services: &[&str]| {
        let mut wanted = ask(services);
        wanted.agent_id = "b".parse().unwrap();
        code(scene.delegate(Some(&given), &wanted))
    };
    assert_eq!(next(&["urn:a"]), "OK");
    for refused in [&["urn:c"][..], &["urn:a", "urn:c"], &[]] {
        assert_eq!(next(refused), "AUDIENCE_NOT_ALLOWED", "{refused:?}");
    }
    let inherited = scene
        .delegate(Some(&given), &wanted("analysis", "b", "t"))
        .unwrap();
    assert_eq!(inherited.grant.audience, given.grant.audience);
    // A leaf with a token for us could be handed on after all.
    let ours = scene.delegate(None, &ask(&["https://attache.example.org"]));
    assert_eq!(code(ours), "AUDIENCE_NOT_ALLOWED");
    let mut unconfigured = scene.clone();
    unconfigured.limits.audience = None;
    let nothing = unconfigured.delegate(None, &wanted("analysis", "a", "t"));
    assert_eq!(nothing.unwrap_err(), Refusal::AudienceNotAllowed(None));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_multiplied() {
    let scene = Scene::new();
    let mut many = wanted("analysis", "a", "t");
    let resources = (0..65).map(|at| format!("documents/{at}").parse().unwrap());
    many.narrowing.resources = Some(resources.collect());
    assert_eq!(code(scene.delegate(None, &many)), "TOO_LARGE");
    let mut long = wanted("analysis", "a", "t");
    long.task = WantedTask::Named {
        id: "t".parse().unwrap(),
        purpose: "x".repeat(1025),
        deadline: None,
    };
    assert_eq!(code(scene.delegate(None, &long)), "TOO_LARGE");
    let mut rich = scene.clone();
    rich.role = (0..257)
        .map(|at| format!("d/{at}:read").parse().unwrap())
        .collect();
    assert_eq!(
        code(rich.delegate(None, &wanted("analysis", "a", "t"))),
        "TOO_LARGE"
    );
}

/// Kept and read back, a narrowing is the same: absent stays absent, empty stays empty.
#[test]
fn a_narrowing_reads_back_as_it_was_written() {
    let some = Narrowing {
        resources: Some(Vec::new()),
        actions: None,
        read_only: true,
        permissions: Some(set(&["a/**:*@supervised", "b:read"])),
        supervise: vec!["a/*:update".parse().unwrap()],
    };
    for narrowing in [some, Narrowing::default()] {
        let text = serde_json::to_string(&narrowing).unwrap();
        assert_eq!(serde_json::from_str::<Narrowing>(&text).unwrap(), narrowing);
    }
    assert!(serde_json::from_str::<Narrowing>(r#"{"resource": ["a"]}"#).is_err());
}
