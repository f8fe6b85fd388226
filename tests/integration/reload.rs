//! Tables and policy change while the process serves; what is bad changes nothing and says so.

use std::fs;
use std::path::Path;

use attache::app::App;
use attache::config::Config;
use attache::lifecycle::Shutdown;
use serde_json::Value;

use crate::harness::house::{RULES, eventually_async};
use crate::harness::{House, Plan, ask, principal};

fn watched() -> Plan {
    Plan {
        watched: true,
        ..Plan::default()
    }
}

/// Puts a configuration in the place of the one in force, as an editor does: written aside, then renamed.
fn replace(house: &House, plan: &Plan) {
    let dir = house.dir.path();
    fs::write(dir.join("new.yaml"), plan.text(dir)).unwrap();
    fs::rename(dir.join("new.yaml"), dir.join("attache.yaml")).unwrap();
}

fn is(event: &'static str) -> impl Fn(&Value) -> bool {
    move |record| record["event_type"] == event
}

async fn readyz_until(house: &House, what: &str, fits: impl Fn(&str) -> bool) -> String {
    eventually_async(what, || async {
        let (status, text) = house.probe("/readyz").await;
        assert_eq!(status, 200, "{text}");
        fits(&text).then_some(text)
    })
    .await
}

#[tokio::test]
async fn tables_change_live_and_the_change_is_on_record() {
    let house = watched().open().await;
    let scheduler = "spiffe://example.org/svc/scheduler";
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    assert_eq!(house.word(ask("GET", "/books/1")).await, "route_unmatched");
    assert_eq!(
        house.word(ask("DELETE", "/documents/1")).await,
        "approval_required"
    );
    let by_scheduler = principal(ask("GET", "/documents/1"), scheduler);
    assert_eq!(house.word(by_scheduler.clone()).await, "out_of_scope");

    let rules = RULES
        .replace("path: \"/trial/{id}\"", "path: \"/books/{id}\"")
        .replace(
            "resource: \"trial/{id}\", action: write, mode: shadow",
            "resource: \"trial/{id}\", action: read",
        )
        .replace(
            "action: delete, tier: supervised",
            "action: delete, tier: forbidden",
        )
        .replace("/agent/**", "/svc/scheduler");
    replace(&house, &Plan { rules, ..watched() });
    let record = house.record(is("config.changed")).await;
    assert_eq!(record["result"], "success");
    assert_eq!(record["actor"]["type"], "system");
    assert_eq!(record["details"]["revision"].as_str().unwrap().len(), 16);
    assert_eq!(house.word(ask("GET", "/books/1")).await, "allow");
    assert_eq!(house.word(ask("GET", "/trial/1")).await, "route_unmatched");
    assert_eq!(
        house.word(ask("DELETE", "/documents/1")).await,
        "tier_forbidden"
    );
    assert_eq!(house.word(by_scheduler).await, "orphan_agent");
    let changed = "attache_reloads_total{what=\"config\",result=\"changed\"}";
    assert_eq!(house.metric(changed).await, 1);
    // No route is in shadow mode any more.
    assert_eq!(house.metric("attache_shadowed_routes").await, 0);
    assert_eq!(house.probe("/readyz").await.1, "ok\n");
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told_until_it_is_good_again() {
    let house = watched().open().await;
    let file = house.dir.path().join("attache.yaml");
    let good = fs::read_to_string(&file).unwrap();
    let rejected = "attache_reloads_total{what=\"config\",result=\"rejected\"}";
    assert_eq!(house.metric(rejected).await, 0);
    for (number, bad) in [
        "trust_domain: [".to_owned(),
        String::new(),
        good.replace("tier: free", "tier: freee"),
        good.replace(
            "trust_domain: example.org",
            "trust_domain: example.org\nsurprise: 1",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&file, &bad).unwrap();
        eventually_async("the rejection", || async {
            (house.metric(rejected).await == number as u64 + 1).then_some(())
        })
        .await;
        let text = readyz_until(&house, "a notice", |it| it.contains("config: ")).await;
        assert!(text.contains("the previous version is in force"), "{text}");
        assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    }
    fs::write(&file, &good).unwrap();
    readyz_until(&house, "calm", |it| !it.contains("config: ")).await;
    let records = house.close().await;
    let rejected: Vec<_> = records
        .iter()
        .filter(|it| is("config.rejected")(it))
        .collect();
    assert_eq!(rejected.len(), 4);
    assert_eq!(rejected[0]["result"], "failure");
    let message = rejected[3]["message"].as_str().unwrap();
    assert!(message.contains("surprise"), "{message}");
    // What is in force has never changed.
    assert!(!records.iter().any(is("config.changed")));
}

#[tokio::test]
async fn a_file_that_needs_a_restart_is_not_applied_by_halves() {
    let house = watched().open().await;
    let rules = RULES.replace("path: \"/trial/{id}\"", "path: \"/books/{id}\"");
    let more = "limits: {request_timeout: 100ms}".to_owned();
    replace(
        &house,
        &Plan {
            more,
            rules,
            ..watched()
        },
    );
    let text = readyz_until(&house, "a notice", |it| it.contains("config: ")).await;
    assert!(
        text.contains("limits changed, which needs a restart; nothing of the file was applied"),
        "{text}"
    );
    assert_eq!(house.word(ask("GET", "/books/1")).await, "route_unmatched");
    replace(&house, &watched());
    readyz_until(&house, "calm", |it| !it.contains("config: ")).await;
}

#[tokio::test]
async fn wider_tables_wait_for_a_policy_that_can_be_used() {
    const SOUND: &str = "package agentweave.authz\ndefault allow := true";
    let plan = || Plan {
        watched: true,
        ..Plan::with_policy(SOUND)
    };
    let house = plan().open().await;
    let policy = house.dir.path().join("policy/policy.rego");
    fs::write(&policy, "package agentweave.authz\nallow if {").unwrap();
    readyz_until(&house, "a notice", |it| it.contains("policy: ")).await;
    let rules = RULES.replace("path: \"/trial/{id}\"", "path: \"/books/{id}\"");
    replace(&house, &Plan { rules, ..plan() });
    readyz_until(&house, "patience", |it| {
        it.contains("config: changes of the configuration wait")
    })
    .await;
    assert_eq!(house.word(ask("GET", "/books/1")).await, "route_unmatched");
    fs::write(&policy, SOUND).unwrap();
    readyz_until(&house, "calm", |it| !it.contains("config: ")).await;
    assert_eq!(house.word(ask("GET", "/books/1")).await, "allow");
}

#[tokio::test]
async fn a_change_that_is_taken_back_is_waited_for_no_longer() {
    const SOUND: &str = "package agentweave.authz\ndefault allow := true";
    let plan = |path: &str| Plan {
        watched: true,
        rules: RULES.replace(
            "path: \"/trial/{id}\"",
            &format!("path: \"/{path}/{{id}}\""),
        ),
        ..Plan::with_policy(SOUND)
    };
    let house = plan("trial").open().await;
    replace(&house, &plan("books"));
    house.record(is("config.changed")).await;
    let policy = house.dir.path().join("policy/policy.rego");
    fs::write(&policy, "package agentweave.authz\nallow if {").unwrap();
    readyz_until(&house, "a notice", |it| it.contains("policy: ")).await;
    replace(&house, &plan("films"));
    readyz_until(&house, "patience", |it| it.contains("config: changes")).await;
    replace(&house, &plan("books"));
    fs::write(&policy, SOUND).unwrap();
    readyz_until(&house, "calm", |it| !it.contains("config: ")).await;
}

#[tokio::test]
async fn a_file_that_can_not_be_read_is_a_rejected_one() {
    let house = watched().open().await;
    let file = house.dir.path().join("attache.yaml");
    fs::write(&file, b"trust_domain: \xff\xfe").unwrap();
    let text = readyz_until(&house, "a notice", |it| it.contains("config: ")).await;
    assert!(text.contains("cannot read"), "{text}");
    assert_eq!(house.word(ask("GET", "/trial/1")).await, "allow");
    replace(&house, &watched());
    readyz_until(&house, "calm", |it| !it.contains("config: ")).await;
}

#[tokio::test]
async fn trust_that_reaches_further_is_told_when_it_comes_and_when_it_goes() {
    let house = watched().open().await;
    let more = "identity: {trust_local: loopback}".to_owned();
    replace(&house, &Plan { more, ..watched() });
    readyz_until(&house, "a notice", |it| it.contains("identity: ")).await;
    replace(&house, &watched());
    readyz_until(&house, "calm", |it| !it.contains("identity: ")).await;
}

#[tokio::test]
async fn a_change_between_reading_and_serving_is_not_missed() {
    let plan = watched();
    let (dir, file) = plan.lay_out();
    let config = Config::read(&file).unwrap();
    let rules = RULES.replace("path: \"/trial/{id}\"", "path: \"/books/{id}\"");
    fs::write(&file, Plan { rules, ..watched() }.text(dir.path())).unwrap();
    let app = App::build(config, Some(file), plan.clock).await.unwrap();
    let shutdown = Shutdown::default();
    let running = tokio::spawn(app.run(shutdown.clone()));
    let trail = dir.path().join("audit.jsonl");
    crate::harness::house::eventually("the change", || {
        let text = fs::read_to_string(&trail).unwrap();
        text.contains("config.changed").then_some(())
    })
    .await;
    shutdown.drain();
    running.await.unwrap().unwrap();
}

/// Makes `dir` look like a mounted `ConfigMap` at `version`: every file a link through `..data`, swapped in one step.
fn mount(dir: &Path, version: &str, rego: &str) {
    use std::os::unix::fs::symlink;
    fs::create_dir(dir.join(version)).unwrap();
    fs::write(dir.join(version).join("policy.rego"), rego).unwrap();
    symlink(version, dir.join("..new")).unwrap();
    fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
}

const YES: &str = "package agentweave.authz\n\nallow := true\n";
const NO: &str = "package agentweave.authz\n\nallow := false\n";

#[tokio::test]
async fn a_policy_is_swapped_with_its_mount() {
    let plan = Plan {
        rego: YES.to_owned(),
        ..watched()
    };
    let (dir, file) = plan.lay_out();
    let policy = dir.path().join("policy");
    fs::remove_file(policy.join("policy.rego")).unwrap();
    mount(&policy, "..v1", YES);
    std::os::unix::fs::symlink("..data/policy.rego", policy.join("policy.rego")).unwrap();
    let house = plan.open_at(dir, file).await;
    let allowed = house.check(ask("GET", "/documents/1")).await;
    assert!(allowed.is_allowed());
    let before = house.record_of(&allowed).await["policy"]["revision"].clone();

    mount(&policy, "..v2", NO);
    let record = house.record(is("policy.loaded")).await;
    let denied = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(denied.word(), "policy_denied");
    let after = house.record_of(&denied).await["policy"]["revision"].clone();
    assert_ne!(before, after);
    assert_eq!(record["details"]["revision"], after);

    // A policy that can't be used changes nothing, and is spoken of once, however long it lies there.
    mount(&policy, "..v3", "package agentweave.authz\n\nallow := \n");
    let record = house.record(is("policy.failed")).await;
    assert_eq!(record["result"], "failure");
    let message = record["message"].as_str().unwrap();
    assert!(message.contains("policy.rego"), "{message}");
    readyz_until(&house, "a notice", |it| it.contains("policy: ")).await;
    assert_eq!(
        house.word(ask("GET", "/documents/1")).await,
        "policy_denied"
    );
    let rejected = "attache_reloads_total{what=\"policy\",result=\"rejected\"}";
    // Its waiting shows that another look was taken, which takes in the policy too.
    let rules = RULES.replace("trial", "books");
    let rego = NO.to_owned();
    replace(
        &house,
        &Plan {
            rules,
            rego,
            ..watched()
        },
    );
    readyz_until(&house, "a look", |it| it.contains("config: ")).await;
    assert_eq!(house.metric(rejected).await, 1);

    mount(&policy, "..v4", NO);
    readyz_until(&house, "calm", |it| !it.contains("policy: ")).await;
    assert_eq!(
        house.word(ask("GET", "/documents/1")).await,
        "policy_denied"
    );
}

#[tokio::test]
async fn files_stay_unread_where_nothing_is_watched() {
    // What `serve --dev` does: there is no file.
    let house = Plan {
        rego: YES.to_owned(),
        policy: "reload: false".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    fs::write(house.dir.path().join("policy/policy.rego"), NO).unwrap();
    replace(
        &house,
        &Plan {
            rules: String::new(),
            rego: YES.to_owned(),
            ..Plan::default()
        },
    );
    // Two looks of another house, which shares the clock.
    let other = watched().open().await;
    for rules in [
        RULES.replace("trial", "first"),
        RULES.replace("trial", "second"),
    ] {
        replace(&other, &Plan { rules, ..watched() });
        let count = other
            .records()
            .iter()
            .filter(|it| is("config.changed")(it))
            .count();
        eventually_async("a look", || async {
            let now = other
                .records()
                .iter()
                .filter(|it| is("config.changed")(it))
                .count();
            (now > count).then_some(())
        })
        .await;
    }
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
}
