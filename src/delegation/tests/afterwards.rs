//! After something was delegated: what tokens may say, why something is missing, who may end what.

use super::*;

fn leased(scene: &Scene, given: &Given, wanted: &WantedLease) -> Result<Terms, Refusal> {
    let holder = &given.grant.chain.actor().unwrap().spiffe_id;
    let basis = scene.basis(Some(given));
    let (limits, registry) = (&scene.limits, &scene.registry);
    lease(&basis, holder, wanted, true, limits, registry, scene.now)
}

/// A4.
#[test]
fn a_token_ends_with_the_first_of_what_it_rests_on() {
    let scene = Scene::new();
    let (first, _) = scene.example();
    let lives = |scene: &Scene, wanted: &WantedLease| {
        let terms = leased(scene, &first, wanted)?;
        Ok::<_, Refusal>(terms.expires.since(scene.now).as_secs())
    };
    let ttl = |ttl| WantedLease {
        ttl: Some(ttl),
        ..WantedLease::default()
    };
    assert_eq!(lives(&scene, &WantedLease::default()), Ok(300));
    assert_eq!(lives(&scene, &ttl(Duration::from_secs(7))), Ok(7));
    assert_eq!(lives(&scene, &ttl(Duration::MAX)), Ok(300));
    // D37: half a second is no token.
    for short in [Duration::ZERO, Duration::from_millis(500)] {
        assert_eq!(lives(&scene, &ttl(short)), Err(Refusal::InvalidLifetime));
    }
    let until = WantedLease {
        not_after: Some(scene.now.plus(Duration::from_secs(20))),
        ..WantedLease::default()
    };
    assert_eq!(lives(&scene, &until), Ok(20));
    let mut late = scene.clone();
    late.now = scene.session.expires;
    assert_eq!(
        lives(&late, &WantedLease::default()),
        Err(Refusal::ParentInactive)
    );
    late.session.expires = late.now.plus(Duration::from_secs(3600));
    assert_eq!(
        lives(&late, &WantedLease::default()),
        Err(Refusal::ParentInactive)
    );
    let mut soon = scene.clone();
    soon.now = scene.now.plus(Duration::from_secs(3500));
    assert_eq!(lives(&soon, &WantedLease::default()), Ok(100));
}

#[test]
fn a_token_is_for_its_holder_and_for_one_service() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let other = &second.grant.chain.actor().unwrap().spiffe_id;
    let wanted = WantedLease::default();
    let (limits, registry) = (&scene.limits, &scene.registry);
    for from in [Some(&first), None] {
        let basis = scene.basis(from);
        let refused = lease(&basis, other, &wanted, true, limits, registry, scene.now);
        assert_eq!(refused, Err(NotAllowed::NotHolder.into()));
    }
    let mut two = first.clone();
    two.grant.audience.push(service("urn:other"));
    let ask = |audience: Option<&str>| WantedLease {
        audience: audience.map(service),
        ..WantedLease::default()
    };
    let none = Err(Refusal::AudienceNotAllowed(None));
    assert_eq!(leased(&scene, &two, &ask(None)), none);
    let terms = leased(&scene, &two, &ask(Some("urn:other"))).unwrap();
    assert_eq!(
        (terms.audience, terms.redelegable),
        (service("urn:other"), true)
    );
    assert!(leased(&scene, &two, &ask(Some("urn:third"))).is_err());
}

/// A lease needs everything above alive, in the moment it is given.
#[test]
fn no_token_is_made_below_something_that_ended() {
    let scene = Scene::new();
    let (first, _) = scene.example();
    let holder = &first.grant.chain.actor().unwrap().spiffe_id;
    let basis = scene.basis(Some(&first));
    let wanted = WantedLease::default();
    let (limits, registry) = (&scene.limits, &scene.registry);
    let dead = lease(&basis, holder, &wanted, false, limits, registry, scene.now);
    assert_eq!(dead, Err(Refusal::ParentInactive));
    let mut revoked = first.clone();
    revoked.grant.status = Status::Revoked;
    assert_eq!(
        leased(&scene, &revoked, &wanted),
        Err(Refusal::ParentInactive)
    );
}

#[test]
fn a_token_says_what_role_and_ceilings_are_now() {
    let mut scene = Scene::new();
    let (first, second) = scene.example();
    let wanted = WantedLease::default();
    let proposed = first.proposal.first_lease(&wanted, &scene.limits).unwrap();
    assert_eq!(proposed.held, first.grant.held);
    assert_eq!(proposed, leased(&scene, &first, &wanted).unwrap());
    scene.role = set(&["documents/1:*"]);
    let terms = leased(&scene, &first, &wanted).unwrap();
    let tier = |terms: &Terms, resource, action| {
        let (resource, action) = operation(resource, action);
        terms.held.permissions().effective(&resource, &action)
    };
    assert_eq!(tier(&terms, "documents/1", "read"), Tier::Free);
    assert_eq!(tier(&terms, "documents/1", "delete"), Tier::Supervised);
    assert_eq!(tier(&terms, "documents/2", "read"), Tier::Absent);
    // The ceiling of the first agent binds the second as well.
    scene.role = set(&ADMIN);
    scene.registry.0[0].ceiling = set(&["documents/**:read@supervised"]);
    let terms = leased(&scene, &second, &wanted).unwrap();
    assert_eq!(tier(&terms, "documents/1", "read"), Tier::Supervised);
    scene.registry.0[0].ceiling = PermissionSet::empty();
    assert_eq!(leased(&scene, &second, &wanted), Err(Refusal::ScopeEmpty));
    scene.registry.0.remove(0);
    let refused = leased(&scene, &second, &wanted).unwrap_err();
    assert_eq!(refused.code(), "DELEGATION_NOT_ALLOWED");
}

/// A13, steps 3 and 4, with the words of the example.
#[test]
fn what_is_missing_is_explained_by_where_it_was_lost() {
    let mut scene = Scene::new();
    let (first, second) = scene.example();
    let why = |scene: &Scene, given: &Given, resource, action| {
        let (resource, action) = operation(resource, action);
        explain(
            &given.grant,
            &scene.role,
            &scene.registry,
            &resource,
            &action,
        )
    };
    let lost = why(&scene, &first, "users", "read").unwrap();
    assert_eq!(lost.to_string(), "not in scoped resources");
    assert_eq!((lost.code(), lost.hop()), ("SCOPED_OUT_RESOURCE", Some(1)));
    let lost = why(&scene, &second, "documents", "update").unwrap();
    assert_eq!(lost.to_string(), "attenuated to read-only");
    assert_eq!((lost.code(), lost.hop()), ("SCOPED_OUT_ACTION", Some(2)));
    let lost = why(&scene, &second, "analytics", "read").unwrap();
    assert_eq!(lost, Absence::ScopedOutResource { hop: 2 });
    let lost = why(&scene, &first, "documents", "publish").unwrap();
    assert_eq!(lost, Absence::NotGrantedToRoot);
    assert_eq!(why(&scene, &first, "documents", "delete"), None);

    let mut named = wanted("analysis", "c", "t");
    named.narrowing.permissions = Some(set(&["documents/**:read"]));
    let named = scene.delegate(Some(&first), &named).unwrap();
    let lost = why(&scene, &named, "documents", "update").unwrap();
    let read_only = false;
    assert_eq!(lost, Absence::ScopedOutAction { hop: 2, read_only });
    let lost = why(&scene, &named, "analytics", "read").unwrap();
    assert_eq!(lost, Absence::ScopedOutResource { hop: 2 });

    let reader = scene.delegate(None, &wanted("reader", "r", "t")).unwrap();
    let lost = why(&scene, &reader, "documents", "update").unwrap();
    assert_eq!(lost, Absence::Ceiling("reader".parse().unwrap()));

    scene.role = set(&["documents/**:publish"]);
    let lost = why(&scene, &first, "documents", "read").unwrap();
    assert_eq!(lost, Absence::LiveRoleChanged);
    let lost = why(&scene, &first, "documents", "publish").unwrap();
    assert_eq!(lost, Absence::LiveRoleChanged);
}

/// D21, T48: only who holds it, whom it came from, the person, and administrators.
#[test]
fn what_was_given_is_ended_from_above_and_never_from_below_or_beside() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let mut beside = second.clone();
    *beside.grant.path.last_mut().unwrap() = GrantId::from_random(9);
    let mut stranger = first.clone();
    stranger.grant.chain.person = "usr-bob-002".parse().unwrap();
    let (alice, bob) = (&scene.session.person.id, &stranger.grant.chain.person);
    let cases = [
        (Claimant::Admin, Some(Right::Admin), Some(Right::Admin)),
        (
            Claimant::Person(alice),
            Some(Right::Root),
            Some(Right::Root),
        ),
        (Claimant::Person(bob), None, None),
        (
            Claimant::Holder(&first.grant),
            Some(Right::Own),
            Some(Right::Ancestor),
        ),
        (Claimant::Holder(&second.grant), None, Some(Right::Own)),
        (Claimant::Holder(&beside.grant), None, None),
        (Claimant::Holder(&stranger.grant), None, None),
    ];
    for (who, of_first, of_second) in cases {
        assert_eq!(who.may_end_grant(&first.grant), of_first, "{who:?}");
        assert_eq!(who.may_end_grant(&second.grant), of_second, "{who:?}");
    }
    let mut pathless = first.clone();
    pathless.grant.path.clear();
    let nobody = Claimant::Holder(&pathless.grant);
    assert_eq!(nobody.may_end_grant(&second.grant), None);
}

#[test]
fn a_task_is_ended_by_who_began_it_or_stands_above_and_not_by_who_works_on_it() {
    let scene = Scene::new();
    let (first, second) = scene.example();
    let alice = Claimant::Person(&scene.session.person.id);
    let (scheduling, analysis) = (
        Claimant::Holder(&first.grant),
        Claimant::Holder(&second.grant),
    );
    // The person began the task of the first agent, the first agent that of the second.
    assert_eq!(alice.may_end_task(&first.task), Some(Right::Own));
    assert_eq!(scheduling.may_end_task(&first.task), None);
    assert_eq!(alice.may_end_task(&second.task), Some(Right::Root));
    assert_eq!(scheduling.may_end_task(&second.task), Some(Right::Own));
    assert_eq!(analysis.may_end_task(&second.task), None);
    assert_eq!(
        Claimant::Admin.may_end_task(&second.task),
        Some(Right::Admin)
    );

    assert_eq!(alice.may_end_session(&scene.session), Some(Right::Own));
    assert_eq!(scheduling.may_end_session(&scene.session), None);
    let bob = "usr-bob-002".parse().unwrap();
    assert_eq!(Claimant::Person(&bob).may_end_session(&scene.session), None);
}
