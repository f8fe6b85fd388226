//! What the settings of OPA do: certificates and tokens, health and readiness, development's switch, and their reload.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attache::policy::{
    Answer, Config, Deadline, LoadError, OpaEngine, PolicyEngine as _, PolicyError,
};
use prometheus_client::registry::Registry;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::ask as question;
use crate::harness::house::{eventually, eventually_async};
use crate::harness::opa::{FaultyOpa, Step, reply, says};
use crate::harness::pki::{Authority, Identity, Leaf};
use crate::harness::{House, Plan, ask};

const YES: &str = r#"{"result": true}"#;
const NO: &str = r#"{"result": false}"#;

fn build(policy: &str, base: &Path) -> Result<OpaEngine, LoadError> {
    let config: Config = serde_saphyr::from_str(policy).unwrap();
    let mut registry = Registry::default();
    OpaEngine::build(config.opa, config.path, base.into(), None, &mut registry)
}

fn plan(policy: String) -> Plan {
    Plan {
        policy,
        watched: true,
        ..Plan::default()
    }
}

/// Waits until `/readyz` answers with this status and a text that fits.
async fn readyz(house: &House, status: u16, fits: impl Fn(&str) -> bool) {
    eventually_async("the word of /readyz", || async {
        let (now, text) = house.probe("/readyz").await;
        (now == status && fits(&text)).then_some(())
    })
    .await;
}

/// Allows whoever it shakes hands with; its port comes back.
async fn tls_server(identity: &Identity) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key_der())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                let mut heard = [0; 8192];
                while stream.read(&mut heard).await? > 0 {
                    stream.write_all(&reply(YES)).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

/// O18.
#[tokio::test]
async fn a_server_is_believed_only_with_a_valid_certificate_of_ours_for_its_name() {
    let (ours, theirs) = (Authority::of("example.org"), Authority::of("example.org"));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), &ours.pem).unwrap();
    let localhost = Leaf::of("dns:localhost");
    for (name, identity, fault) in [
        ("ours", ours.issue(&localhost), None),
        (
            "wrong authority",
            theirs.issue(&localhost),
            Some("UnknownIssuer"),
        ),
        (
            "expired",
            ours.issue(&localhost.clone().valid(-7200, -3600)),
            Some("expired"),
        ),
        (
            "not yet",
            ours.issue(&localhost.clone().valid(3600, 7200)),
            Some("not valid yet"),
        ),
        (
            "wrong name",
            ours.issue(&Leaf::of("dns:opa.example")),
            Some("not valid for"),
        ),
        (
            "no name",
            ours.svid("spiffe://example.org/opa"),
            Some("not valid for"),
        ),
    ] {
        let port = tls_server(&identity).await;
        let policy = format!(
            "{{engine: opa, opa: {{endpoint: \"https://localhost:{port}\", ca_file: ca.pem}}}}"
        );
        let engine = build(&policy, folder.path()).unwrap();
        match (question(&engine).await, fault) {
            (Ok(verdict), None) => assert_eq!(verdict.answer, Answer::Allow, "{name}"),
            (Err(PolicyError::Unavailable(said)), Some(fault)) => {
                assert!(said.contains(fault), "{name}: {said}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

/// Whoever hands over how servers are judged needs no file.
#[tokio::test]
async fn a_judge_of_servers_can_be_handed_over() {
    let ours = Authority::of("example.org");
    let port = tls_server(&ours.issue(&Leaf::of("dns:localhost"))).await;
    for (authority, fits) in [(&ours, true), (&Authority::of("example.org"), false)] {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let text = format!("{{engine: opa, opa: {{endpoint: \"https://localhost:{port}\"}}}}");
        let judge = super::judge(&text, Some(Arc::new(config)));
        let query = super::query(Deadline::after(Duration::from_secs(60)));
        assert_eq!(judge.engine().evaluate(query).await.is_ok(), fits);
        judge.close().await;
    }
}

/// O18: no way back to plaintext.
#[tokio::test]
async fn a_server_that_speaks_plaintext_gets_no_question_meant_for_tls() {
    let opa = FaultyOpa::start(says(YES)).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("ca.pem"),
        Authority::of("example.org").pem,
    )
    .unwrap();
    let policy = format!(
        "{{engine: opa, opa: {{endpoint: \"https://localhost:{}\", ca_file: ca.pem, timeout: 500ms}}}}",
        opa.address.port()
    );
    let engine = build(&policy, folder.path()).unwrap();
    question(&engine).await.unwrap_err();
    assert_eq!(opa.questions(), [""; 0]);
}

#[tokio::test]
async fn a_token_is_sent_read_again_and_never_shown() {
    let opa = FaultyOpa::start(says(YES)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first-secret\n").unwrap();
    let engine = build(&opa.policy("token_file: token"), folder.path()).unwrap();
    question(&engine).await.unwrap();
    assert!(!engine.refresh().unwrap());
    std::fs::write(&file, "second-secret").unwrap();
    assert!(engine.refresh().unwrap());
    question(&engine).await.unwrap();
    // What can't be used changes nothing.
    std::fs::write(&file, "two words").unwrap();
    assert!(matches!(engine.refresh(), Err(LoadError::Listing { .. })));
    std::fs::remove_file(&file).unwrap();
    assert!(matches!(engine.refresh(), Err(LoadError::Read { .. })));
    question(&engine).await.unwrap();
    let sent: Vec<_> = opa
        .questions()
        .iter()
        .map(|it| {
            it.lines()
                .find_map(|line| line.strip_prefix("authorization: "))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        sent,
        [
            "Bearer first-secret",
            "Bearer second-secret",
            "Bearer second-secret"
        ]
    );
    let shown = format!("{engine:?}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn files_that_can_not_be_used_are_named_before_anything_serves() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _here = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("words"), "a b\r\nx: y").unwrap();
    for (settings, expected) in [
        ("token_file: missing", "read `missing`"),
        ("token_file: empty", "`empty` holds no bearer token"),
        ("token_file: words", "`words` holds no bearer token"),
        (
            "endpoint: 'https://opa', ca_file: missing",
            "read `missing`",
        ),
        (
            "endpoint: 'https://opa', ca_file: empty",
            "`empty` holds no certificate",
        ),
    ] {
        let error = build(
            &format!("{{engine: opa, opa: {{{settings}}}}}"),
            folder.path(),
        );
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{settings}: {error}");
    }
}

/// O20.
#[tokio::test]
async fn an_answer_without_the_bundles_it_needs_is_no_answer() {
    let opa = FaultyOpa::start(says(YES)).await;
    let engine = super::engine(&opa.policy("bundles: [authz]"));
    let with = |bundles: &str| {
        opa.act(says(&format!(
            r#"{{"result": true, "provenance": {{"bundles": {bundles}}}}}"#
        )));
    };
    let before = engine.revision();
    for bundles in [None, Some("{}"), Some(r#"{"other": {"revision": "1"}}"#)] {
        bundles.inspect(|it| with(it));
        let error = question(&engine).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "evaluate policy: bundle `authz` is not active in OPA"
        );
    }
    with(r#"{"authz": {"revision": "1"}}"#);
    let first = question(&engine).await.unwrap();
    assert_eq!(first.answer, Answer::Allow);
    with(r#"{"authz": {"revision": "2"}}"#);
    let second = question(&engine).await.unwrap();
    assert_eq!(engine.revision(), second.revision);
    assert_ne!(first.revision, second.revision);
    assert_ne!(before, first.revision);
}

/// C06: two addresses, or two paths, are two policies.
#[tokio::test]
async fn the_revision_tells_endpoints_and_paths_apart() {
    let revision = |text: &str| super::engine(text).revision();
    let one = revision("{engine: opa}");
    assert_eq!(one, revision("{engine: opa, opa: {timeout: 1s}}"));
    assert_ne!(one, revision("{engine: opa, path: a/b}"));
    assert_ne!(
        one,
        revision("{engine: opa, opa: {endpoint: 'unix:///opa'}}")
    );
}

/// B11: shown, and no reason to take the process out.
#[tokio::test]
async fn an_opa_that_is_not_well_is_said_and_the_process_stays_ready() {
    let opa = FaultyOpa::start(says(YES)).await;
    opa.is_well(false);
    let house = plan(opa.policy("health_interval: 100ms")).open().await;
    readyz(&house, 200, |text| text.contains("opa: OPA is not well: ")).await;
    assert_eq!(house.metric("attache_opa_up").await, 0);
    opa.is_well(true);
    readyz(&house, 200, |text| !text.contains("OPA")).await;
    assert_eq!(house.metric("attache_opa_up").await, 1);
}

#[tokio::test]
async fn readiness_follows_opa_where_the_settings_say_so() {
    let opa = FaultyOpa::start(says(YES)).await;
    opa.is_well(false);
    let house = plan(opa.policy("health_interval: 100ms, readiness: true"))
        .open()
        .await;
    readyz(&house, 503, |text| text == "waiting for: opa\n").await;
    opa.is_well(true);
    readyz(&house, 200, |_| true).await;
    opa.is_well(false);
    readyz(&house, 503, |text| text == "waiting for: opa\n").await;
    house.close().await;
    opa.is_alone().await;
}

/// O21.
#[tokio::test]
async fn a_path_that_leads_to_no_decision_is_said_at_start() {
    let opa = FaultyOpa::start(says(YES)).await;
    opa.says_to_trials("{}");
    let house = plan(opa.policy("health_interval: 100ms")).open().await;
    readyz(&house, 200, |text| {
        text.contains("policy trial: ") && text.contains("undefined")
    })
    .await;
    opa.says_to_trials(r#"{"result": {"allowed": true}}"#);
    readyz(&house, 200, |text| {
        text.contains("unknown member `allowed`")
    })
    .await;
    opa.says_to_trials(NO);
    readyz(&house, 200, |text| !text.contains("policy trial")).await;
}

#[tokio::test]
async fn another_revision_at_opa_is_on_record() {
    let opa = FaultyOpa::start(says(YES)).await;
    let revision = |name: &str| {
        format!(
            r#"{{"result": true, "provenance": {{"bundles": {{"authz": {{"revision": "{name}"}}}}}}}}"#
        )
    };
    opa.says_to_trials(&revision("v1"));
    let house = plan(opa.policy("health_interval: 100ms")).open().await;
    // The second comes after the first was understood.
    eventually_async("a second trial", || async {
        (opa.trials() >= 2).then_some(())
    })
    .await;
    opa.says_to_trials(&revision("v2"));
    let record = house.record(|it| it["event_type"] == "policy.loaded").await;
    let shown = record["details"]["revision"].as_str().unwrap();
    assert!(shown.ends_with(":authz=v2"), "{record}");
}

/// B10: an error alone is replaced, and everything says so.
#[tokio::test]
async fn in_development_a_failing_opa_can_be_told_to_allow() {
    let opa = FaultyOpa::start(says("oops")).await;
    let text = opa
        .policy_uncached("")
        .replace("{engine: opa,", "{engine: opa, default_deny: false,");
    let house = Plan {
        policy: text.clone(),
        more: "mode: development".to_owned(),
        ..Plan::default()
    }
    .open()
    .await;
    let answer = house.check(ask("GET", "/documents/1")).await;
    assert_eq!(answer.word(), "allow");
    let record = house.record_of(&answer).await;
    assert_eq!(record["policy"]["policy_id"], "error-fallback");
    assert!(
        record["message"]
            .as_str()
            .unwrap()
            .contains("allowed without policy")
    );
    assert_eq!(
        house
            .metric("attache_policy_fallback_allowances_total")
            .await,
        1
    );
    readyz(&house, 200, |text| {
        text.contains("policy fallback: policy.default_deny is false")
    })
    .await;
    // Everything else still denies: policy that answers, and attache's own rules.
    for (body, word) in [(NO, "policy_denied"), ("{}", "policy_undefined")] {
        opa.act(says(body));
        assert_eq!(house.word(ask("GET", "/documents/1")).await, word);
    }
    opa.act(says("oops"));
    assert_eq!(
        house.word(ask("POST", "/documents/1/purge")).await,
        "tier_forbidden"
    );
    assert_eq!(house.word(ask("GET", "/books/1")).await, "route_unmatched");

    let (_dir, file) = Plan {
        policy: text,
        ..Plan::default()
    }
    .lay_out();
    let refused = attache::config::Config::read(&file)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("policy.default_deny: "), "{refused}");
}

/// O30.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_endpoint_takes_over_under_load_without_an_error() {
    let (old, new) = (
        FaultyOpa::start(says(YES)).await,
        FaultyOpa::start(says(YES)).await,
    );
    let house = Arc::new(plan(old.policy_uncached("")).open().await);
    let done = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let (house, done) = (Arc::clone(&house), Arc::clone(&done));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
                }
            })
        })
        .collect();
    let dir = house.dir.path();
    std::fs::write(
        dir.join("new.yaml"),
        plan(new.policy_uncached("")).text(dir),
    )
    .unwrap();
    std::fs::rename(dir.join("new.yaml"), dir.join("attache.yaml")).unwrap();
    house
        .record(|it| it["event_type"] == "config.changed")
        .await;
    eventually_async("questions at the new endpoint", || async {
        (new.questions().len() > 20).then_some(())
    })
    .await;
    done.store(true, Ordering::SeqCst);
    for asked in asking {
        asked.await.unwrap();
    }
    old.is_alone().await;
    // What the engine is can't change while it serves.
    let before = house.word(ask("GET", "/documents/1")).await;
    assert_eq!(before, "allow");
    std::fs::write(dir.join("attache.yaml"), Plan::default().text(dir)).unwrap();
    let record = house
        .record(|it| it["event_type"] == "config.rejected")
        .await;
    assert!(
        record["message"]
            .as_str()
            .unwrap()
            .contains("policy changed")
    );
}

/// A file of the settings that is missing refuses the reload whole.
#[tokio::test]
async fn settings_that_can_not_be_used_leave_the_old_ones_in_force() {
    let opa = FaultyOpa::start(says(YES)).await;
    let house = plan(opa.policy("")).open().await;
    let dir = house.dir.path();
    std::fs::write(
        dir.join("attache.yaml"),
        plan(opa.policy("token_file: missing")).text(dir),
    )
    .unwrap();
    let record = house
        .record(|it| it["event_type"] == "config.rejected")
        .await;
    assert!(
        record["message"]
            .as_str()
            .unwrap()
            .contains("read `missing`"),
        "{record}"
    );
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
}

/// C13: an answer that was on its way for long says nothing of what OPA decides by now.
#[tokio::test]
async fn a_late_answer_of_an_older_policy_does_not_bring_its_revision_back() {
    let body = |name: &str| {
        reply(&format!(
            r#"{{"result": true, "provenance": {{"bundles": {{"authz": {{"revision": "{name}"}}}}}}}}"#
        ))
    };
    let slow = vec![
        Step::Wait(Duration::from_millis(300)),
        Step::Send(body("v1")),
    ];
    let opa = FaultyOpa::start_with([slow, vec![Step::Send(body("v2"))]]).await;
    let engine = super::engine(&opa.policy(""));
    let second = async {
        eventually("the first question", || {
            (opa.questions().len() == 1).then_some(())
        })
        .await;
        super::ask(&engine).await.unwrap()
    };
    let (first, second) = tokio::join!(super::ask(&engine), second);
    assert!(first.unwrap().revision.ends_with("authz=v1"));
    assert!(second.revision.ends_with("authz=v2"));
    assert_eq!(engine.revision(), second.revision);
}
