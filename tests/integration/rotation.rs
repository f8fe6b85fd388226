//! Certificates that change while calls are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::Answer;
use crate::harness::house::eventually_async;
use crate::harness::mesh::{Client, ENVOY, SELF, address, ask_over, files, plan, replace};
use crate::harness::pki::Authority;

#[tokio::test]
async fn a_rotation_costs_no_call_and_new_handshakes_see_the_new_certificate() {
    // S49
    let authority = Authority::of("example.org");
    let first = authority.svid(SELF);
    let house = plan(&authority, &first).open().await;
    let address = address(&house);
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));

    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let mut callers = Vec::new();
    for reconnects in [false, false, false, false, true] {
        let (envoy, stop, calls) = (envoy.clone(), Arc::clone(&stop), Arc::clone(&calls));
        callers.push(tokio::spawn(async move {
            let connection = envoy.connect(address).await.unwrap();
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            while !stop.load(Ordering::Relaxed) {
                let answer = if reconnects {
                    ticks.tick().await;
                    envoy.ask(address).await
                } else {
                    ask_over(connection.clone()).await
                };
                assert!(answer.unwrap().is_allowed());
                calls.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let watcher = Client::new(&authority, Some(authority.svid(ENVOY)));
    let mut shown = first;
    let changed = "attache_svid_updates_total{tls=\"mesh\",result=\"changed\"}";
    for rotation in 1..=3 {
        assert!(watcher.ask(address).await.unwrap().is_allowed());
        assert_eq!(watcher.shown().as_ref(), Some(shown.leaf()));
        shown = authority.svid(SELF);
        replace(house.dir.path(), &files(&authority, &shown));
        eventually_async("the new certificate", || async {
            (house.metric(changed).await == rotation + 1).then_some(())
        })
        .await;
    }
    assert!(watcher.ask(address).await.unwrap().is_allowed());
    assert_eq!(watcher.shown().as_ref(), Some(shown.leaf()));
    eventually_async("enough calls to tell", || async {
        (calls.load(Ordering::Relaxed) > 200).then_some(())
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no call failed");
    }
}

#[tokio::test]
async fn material_that_does_not_fit_together_leaves_the_last_in_force() {
    let authority = Authority::of("example.org");
    let first = authority.svid(SELF);
    let house = plan(&authority, &first).open().await;
    let address = address(&house);
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let other = authority.svid(SELF);
    replace(
        house.dir.path(),
        &[("tls/key.pem".to_owned(), other.key_pem())],
    );
    let rejected = "attache_svid_updates_total{tls=\"mesh\",result=\"rejected\"}";
    eventually_async("a rejection", || async {
        (house.metric(rejected).await == 1).then_some(())
    })
    .await;
    assert!(envoy.ask(address).await.unwrap().is_allowed());
    assert_eq!(envoy.shown().as_ref(), Some(first.leaf()));
    eventually_async("a word about it", || async {
        let (status, text) = house.probe("/readyz").await;
        let said = "tls: mesh: material rejected: the key does not belong to the certificate";
        (status == 200 && text.contains(said)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_swapped_link_is_a_change() {
    // As Kubernetes mounts a Secret: files behind a link that is replaced whole.
    let authority = Authority::of("example.org");
    let (first, second) = (authority.svid(SELF), authority.svid(SELF));
    let mut plan = plan(&authority, &first);
    let under = |folder: &str, own| {
        let files = files(&authority, own).into_iter();
        let moved = files.map(|(name, text)| (name.replace("tls/", folder), text));
        moved.collect::<Vec<_>>()
    };
    plan.files = [under("one/", &first), under("two/", &second)].concat();
    let house = plan.open().await;
    let dir = house.dir.path();
    let link = |to: &str| {
        std::os::unix::fs::symlink(to, dir.join("new")).unwrap();
        std::fs::rename(dir.join("new"), dir.join("tls")).unwrap();
    };
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    for (folder, own) in [("one", &first), ("two", &second)] {
        link(folder);
        eventually_async("the certificate behind the link", || async {
            let _answer = envoy.ask(address(&house)).await;
            (envoy.shown().as_ref() == Some(own.leaf())).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_root_that_is_rotated_out_no_longer_vouches() {
    // S50, with files; connections that are open are asked again.
    let (old, new) = (Authority::of("example.org"), Authority::of("example.org"));
    let house = plan(&old, &old.svid(SELF)).open().await;
    let address = address(&house);
    let envoy = Client::new(&old, Some(old.svid(ENVOY)));
    let connection = envoy.connect(address).await.unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());

    // Step 2: both roots.
    let both = format!("{}{}", old.pem, new.pem);
    replace(house.dir.path(), &[("tls/bundle.pem".to_owned(), both)]);
    let envoy_of_new = Client::new(&old, Some(new.svid(ENVOY)));
    eventually_async("the new root", || async {
        envoy_of_new
            .ask(address)
            .await
            .ok()
            .filter(Answer::is_allowed)
    })
    .await;
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());

    // Step 3: the new root only, and a certificate of ours below it.
    replace(house.dir.path(), &files(&new, &new.svid(SELF)));
    eventually_async("the end of the old root", || async {
        let answer = ask_over(connection.clone()).await.unwrap();
        (!answer.is_allowed()).then(|| assert_eq!(answer.word(), "untrusted_peer"))
    })
    .await;
    let envoy = Client::new(&new, Some(old.svid(ENVOY)));
    assert!(envoy.ask(address).await.is_err());
    let envoy = Client::new(&new, Some(new.svid(ENVOY)));
    assert!(envoy.ask(address).await.unwrap().is_allowed());
}

#[tokio::test]
async fn an_old_connection_is_replaced_without_losing_a_call() {
    // X25: by the limit, so that a proxy comes to show the certificate it has now.
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.more += "limits: {max_connection_age: 1s, request_timeout: 10s}\n";
    let house = plan.open().await;
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let connection = envoy.connect(address(&house)).await.unwrap();
    let handshakes =
        "attache_tls_handshakes_total{tls=\"mesh\",listener=\"ext_authz\",result=\"accepted\"}";
    let mut calls = 0;
    while house.metric(handshakes).await < 3 {
        let together = (0..10).map(|_| ask_over(connection.clone()));
        for answer in futures::future::join_all(together).await {
            let answer = match answer {
                // Never sent: the connection was asked to leave at that moment. A proxy sends it over the next one.
                Err(error) if error.contains("operation was canceled") => {
                    ask_over(connection.clone()).await
                }
                answer => answer,
            };
            assert!(answer.unwrap().is_allowed());
            calls += 1;
        }
        assert!(calls < 100_000, "no connection was replaced");
    }
}
