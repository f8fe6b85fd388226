//! The binary from the outside: what it refuses to start with, what it says then, and how it ends.

use std::fs;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use attache::audit::{EventType, Filter, Order, Span, SqliteTrail, Trail as _, Verifier};
use attache::cli::Cli;
use attache::config::Config;
use attache::socket::Address;
use clap::CommandFactory as _;
use prost::Message as _;

use crate::harness::binary::{Said, attache, ended_within, serve, signal};
use crate::harness::wire::{CHECK, Wire, framed};
use crate::harness::{House, Plan, ask};

async fn serve_in(dir: &Path) -> Said {
    attache(&[
        "serve",
        "--config",
        dir.join("attache.yaml").to_str().unwrap(),
    ])
    .await
}

fn rewrite(dir: &Path, from: &str, to: &str) {
    let file = dir.join("attache.yaml");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    fs::write(file, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_named_at_once() {
    let (dir, file) =
        Plan::with("surprise: 1\nlimits: {workers: 0}\nrest_mapping: perhaps").lay_out();
    rewrite(dir.path(), "tier: supervised", "tier: sometimes");
    for command in ["serve", "check"] {
        let said = attache(&[command, "--config", file.to_str().unwrap()]).await;
        assert_eq!(said.code, Some(2), "{said:?}");
        assert_eq!(said.out, "");
        for mistake in [
            "surprise",
            "limits.workers",
            "rest_mapping",
            "tiers.rules[2].tier",
        ] {
            let named = said
                .err
                .lines()
                .filter(|line| line.contains(&format!(": {mistake}: ")));
            assert_eq!(named.count(), 1, "{mistake}: {}", said.err);
        }
        for line in said.err.lines() {
            assert!(line.starts_with("error: "), "{line}");
        }
    }
    let absent = dir.path().join("absent.yaml");
    let said = attache(&["serve", "--config", absent.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("absent.yaml") && said.err.contains("--config"),
        "{}",
        said.err
    );
}

#[tokio::test]
async fn a_bad_policy_is_named_with_its_line() {
    let (dir, file) = Plan::with_policy("package agentweave.authz\n\nallow if {\n").lay_out();
    for said in [
        serve_in(dir.path()).await,
        attache(&["check", "--config", file.to_str().unwrap()]).await,
    ] {
        assert_eq!(said.code, Some(2), "{said:?}");
        assert!(said.err.contains("policy/policy.rego"), "{}", said.err);
    }
    fs::remove_dir_all(dir.path().join("policy")).unwrap();
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("policy"), "{}", said.err);
}

#[tokio::test]
async fn a_sound_configuration_is_called_sound() {
    let (_dir, file) = Plan::default().lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out
            .starts_with("sound: 12 routes (1 in shadow mode), policy "),
        "{}",
        said.out
    );
    // The shadow of `/documents/{id}` on it, as a warning.
    let (dir, file) = Plan::default().lay_out();
    rewrite(
        dir.path(),
        "routes:\n",
        "routes:\n  - {method: DELETE, path: \"/**\", resource: documents, action: read}\n",
    );
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.starts_with("warning: routes[4]"), "{}", said.err);
}

#[tokio::test]
async fn a_policy_whose_verdicts_are_not_cached_is_named_with_its_reason() {
    let rego = "package agentweave.authz\nallow if time.now_ns() > 0";
    let (_dir, file) = Plan::with_policy(rego).lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let expected =
        "warning: policy verdicts are not cached, since the policy calls `time.now_ns` (";
    assert!(said.err.starts_with(expected), "{}", said.err);
    assert!(said.err.contains("policy.rego line 2)"), "{}", said.err);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (dir, _) = Plan::default().lay_out();
    rewrite(dir.path(), "127.0.0.1:0", &address);
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&address), "{}", said.err);
    assert!(said.err.contains("listen.health.tcp"), "{}", said.err);

    let (dir, _) = Plan {
        listener: format!("{{tcp: \"{address}\"}}"),
        more: "identity: {trust_local: loopback}".to_owned(),
        ..Plan::default()
    }
    .lay_out();
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(&address), "{}", said.err);
    assert!(said.err.contains("in use"), "{}", said.err);
}

#[tokio::test]
async fn a_socket_path_that_is_occupied_is_named() {
    let (dir, _) = Plan::default().lay_out();
    let socket = dir.path().join("authz.sock");
    let named = socket.to_str().unwrap();

    fs::write(&socket, "precious").unwrap();
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains(named) && said.err.contains("a file is in the way"),
        "{}",
        said.err
    );
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
    fs::remove_file(&socket).unwrap();

    let live = UnixListener::bind(&socket).unwrap();
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains(named) && said.err.contains("another process"),
        "{}",
        said.err
    );
    drop(live);

    // Left behind by a process that is gone, it is replaced.
    assert!(socket.exists());
    let child = serve(&dir.path().join("attache.yaml"), &socket).await;
    signal(&child, "TERM").await;
    let said = ended_within(child, Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[tokio::test]
async fn a_folder_that_is_missing_is_named() {
    let (dir, _) = Plan::default().lay_out();
    rewrite(dir.path(), "authz.sock", "absent/authz.sock");
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("absent/authz.sock"), "{}", said.err);
    assert!(
        said.err.contains("the folder does not exist; create it"),
        "{}",
        said.err
    );

    let (dir, _) = Plan::default().lay_out();
    rewrite(
        dir.path(),
        "authz.sock",
        &format!("{}.sock", "long".repeat(30)),
    );
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.err.contains("too long for a Unix socket"),
        "{}",
        said.err
    );

    let (dir, _) = Plan::default().lay_out();
    rewrite(
        dir.path(),
        "jsonl: audit.jsonl",
        "jsonl: absent/audit.jsonl",
    );
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("absent/audit.jsonl"), "{}", said.err);
}

#[tokio::test]
async fn two_processes_do_not_share_a_trail() {
    // A16
    let house = House::open().await;
    let (dir, _) = Plan::default().lay_out();
    let trail = house.dir.path().join("audit.jsonl");
    rewrite(
        dir.path(),
        "jsonl: audit.jsonl",
        &format!("jsonl: {}", trail.display()),
    );
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(trail.to_str().unwrap()), "{}", said.err);
    house.close().await;
}

#[tokio::test]
async fn a_database_that_is_no_trail_is_not_written() {
    let (dir, _) = Plan::default().lay_out();
    rewrite(dir.path(), "jsonl: audit.jsonl", "sqlite: audit.db");
    let other = "SQLite format 4\0".repeat(100);
    fs::write(dir.path().join("audit.db"), &other).unwrap();
    let said = serve_in(dir.path()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("audit.db"), "{}", said.err);
    assert!(said.err.contains("not a database"), "{}", said.err);
    let kept = fs::read_to_string(dir.path().join("audit.db")).unwrap();
    assert_eq!(kept, other);
}

/// Every round ends by a kill while questions are asked, and the next one finds what the last one left.
#[tokio::test]
async fn a_killed_process_leaves_a_trail_in_its_database_that_the_next_one_goes_on_with() {
    // A02, A03
    let (dir, file) = Plan::default().lay_out();
    rewrite(dir.path(), "jsonl: audit.jsonl", "sqlite: audit.db");
    let socket = dir.path().join("authz.sock");
    let address = Address::Unix {
        path: socket.clone(),
        mode: 0o660,
    };
    let database = dir.path().join("audit.db");
    let rounds = 3;
    for round in 1..=rounds {
        let child = serve(&file, &socket).await;
        let mut wire = Wire::connect(&address).await;
        for at in 0..50 {
            let frame = framed(&ask("GET", &format!("/documents/{at}")).encode_to_vec());
            assert!(wire.call(CHECK, &[], frame).await.answer().is_allowed());
        }
        // Also beside the writer, from another process.
        let trail = SqliteTrail::open(&database).unwrap();
        let starts = Filter {
            event_types: vec![EventType::AuditStarted],
            ..Filter::default()
        };
        let page = trail.query(&starts, Order::Ascending, None, 1).unwrap();
        assert_eq!(page.total, round);
        signal(&child, "KILL").await;
        let said = ended_within(child, Duration::from_secs(20)).await;
        assert_eq!(said.code, None, "{said:?}");
        fs::remove_file(&socket).unwrap();
    }
    let child = serve(&file, &socket).await;
    signal(&child, "TERM").await;
    let said = ended_within(child, Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{said:?}");

    let trail = SqliteTrail::open(&database).unwrap();
    let mut verifier = Verifier::default();
    let mut gaps = 0;
    let mut check = |line: &[u8]| {
        let text = str::from_utf8(line).unwrap();
        gaps += u64::from(text.contains("\"audit.gap\""));
        verifier.line(line).unwrap();
        ControlFlow::Continue(())
    };
    trail.walk(&Span::default(), &mut check).unwrap();
    assert_eq!(gaps, rounds, "each kill is told by the next start");
    let summary = verifier.finish().unwrap();
    assert_eq!(summary.heads.len(), 4);
    assert_eq!(summary.torn_lines, 0);
}

#[tokio::test]
async fn the_binary_stops_in_order_at_a_signal() {
    // K05
    for name in ["TERM", "INT"] {
        let (dir, file) = Plan::default().lay_out();
        let socket = dir.path().join("authz.sock");
        let child = serve(&file, &socket).await;
        let address = Address::Unix {
            path: socket.clone(),
            mode: 0o660,
        };
        let mut wire = Wire::connect(&address).await;
        let frame = framed(&ask("GET", "/documents/1").encode_to_vec());
        assert!(wire.call(CHECK, &[], frame).await.answer().is_allowed());
        signal(&child, name).await;
        let said = ended_within(child, Duration::from_secs(20)).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let trail = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
        assert!(
            trail.lines().last().unwrap().contains("audit.stopped"),
            "{trail}"
        );
        assert!(!socket.exists());
        // Logs are lines of JSON, and no record strays among them.
        for line in said.err.lines() {
            assert!(
                serde_json::from_str::<serde_json::Value>(line).is_ok(),
                "{line}"
            );
        }
        assert_eq!(said.out, "");
    }
}

#[tokio::test]
async fn a_second_signal_is_obeyed_at_once() {
    // K07
    let (dir, file) = Plan::with("limits: {request_timeout: 10s, shutdown_grace: 60s}").lay_out();
    let socket = dir.path().join("authz.sock");
    let child = serve(&file, &socket).await;
    let address = Address::Unix {
        path: socket.clone(),
        mode: 0o660,
    };
    let mut wire = Wire::connect(&address).await;
    let call = wire.begin(CHECK, &[]).await;
    let frame = framed(&ask("GET", "/documents/1").encode_to_vec());
    assert!(wire.call(CHECK, &[], frame).await.answer().is_allowed());
    signal(&child, "TERM").await;
    crate::harness::house::eventually_async("the socket's end", || async {
        tokio::net::UnixStream::connect(&socket)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    signal(&child, "TERM").await;
    let said = ended_within(child, Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let trail = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    assert!(
        trail.lines().last().unwrap().contains("audit.stopped"),
        "{trail}"
    );
    drop(call);
}

#[tokio::test]
async fn health_tells_by_its_exit_code() {
    let house = House::open().await;
    let address = house.health.clone();
    let said = attache(&["health", "--addr", &address]).await;
    assert_eq!((said.code, &*said.out), (Some(0), "SERVING\n"));
    let said = attache(&["health", "--addr", &address, "--service", "liveness"]).await;
    assert_eq!((said.code, &*said.out), (Some(0), "SERVING\n"));
    let said = attache(&["health", "--addr", &address, "--service", "mesh"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("knows no service `mesh`"), "{}", said.err);

    house.close().await;
    let said = attache(&["health", "--addr", &address, "--timeout", "1s"]).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    for wrong in [
        &["health", "--addr", "nowhere"][..],
        &["health", "--timeout", "soon"],
        &["health", "--adr", "127.0.0.1:1"],
    ] {
        let said = attache(wrong).await;
        assert_eq!(said.code, Some(2), "{wrong:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_process_that_stops_is_not_serving() {
    let house = Plan::with("limits: {request_timeout: 10s}").open().await;
    let mut wire = Wire::connect(&house.address).await;
    let call = wire.begin(CHECK, &[]).await;
    house.check(ask("GET", "/documents/1")).await;
    house.shutdown.drain();
    let said = attache(&["health", "--addr", &house.health, "--service", "readiness"]).await;
    assert_eq!((said.code, &*said.out), (Some(1), "NOT_SERVING\n"));
    drop(call);
    house.close().await;
}

#[tokio::test]
async fn every_flag_is_explained() {
    let mut commands = vec![(Vec::new(), Cli::command())];
    let mut flags = 0;
    while let Some((path, command)) = commands.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let said = attache(&arguments).await;
        assert_eq!(said.code, Some(0), "{arguments:?}");
        for argument in command.get_arguments() {
            flags += 1;
            if let Some(long) = argument.get_long() {
                assert!(
                    said.out.contains(&format!("--{long}")),
                    "{long}: {}",
                    said.out
                );
            }
            assert!(
                argument.get_help().is_some(),
                "{arguments:?} {}",
                argument.get_id()
            );
        }
        for inner in command.get_subcommands() {
            let mut path = path.clone();
            path.push(inner.get_name().to_owned());
            assert!(said.out.contains(inner.get_name()), "{}", said.out);
            commands.push((path, inner.clone()));
        }
    }
    assert!(flags > 15, "{flags}");
}

#[tokio::test]
async fn wrong_use_is_told_apart_from_failure() {
    for wrong in [
        &[][..],
        &["serv"],
        &["serve"],
        &["check"],
        &["serve", "--dev", "--config", "a.yaml"],
        &["eval", "--dev"],
        &["audit"],
    ] {
        let said = attache(wrong).await;
        assert_eq!(said.code, Some(2), "{wrong:?}: {said:?}");
        assert!(!said.err.is_empty());
    }
    let said = attache(&["--version"]).await;
    assert_eq!(said.code, Some(0));
    assert_eq!(said.out, format!("attache {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_development_configuration_stays_on_loopback() {
    let text = include_str!("../../deploy/dev.yaml");
    let config = Config::parse(text, Path::new("dev.yaml")).unwrap();
    assert!(config.fixed.listen.health.tcp.ip().is_loopback());
    for listener in &config.fixed.listen.ext_authz {
        match &listener.address {
            Address::Tcp(address) => assert!(address.ip().is_loopback(), "{address}"),
            Address::Unix { .. } => {}
        }
    }
}

/// As when whatever collects logs has gone away.
#[tokio::test]
async fn a_log_that_nobody_takes_costs_no_decision_and_no_record() {
    let (dir, file) = Plan::default().lay_out();
    let socket = dir.path().join("authz.sock");
    let mut child = serve(&file, &socket).await;
    drop(child.stderr.take());
    let address = Address::Unix {
        path: socket,
        mode: 0o660,
    };
    let mut wire = Wire::connect(&address).await;
    // Denials are logged as lines, too.
    for (path, allowed) in [("/nowhere", false), ("/documents/1", true)] {
        let frame = framed(&ask("GET", path).encode_to_vec());
        let answer = wire.call(CHECK, &[], frame).await.answer();
        assert_eq!(answer.is_allowed(), allowed, "{path}");
    }
    signal(&child, "TERM").await;
    let said = ended_within(child, Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let trail = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    for event in ["permission.denied", "permission.check", "audit.stopped"] {
        assert!(trail.contains(event), "{event}: {trail}");
    }
}

/// Nobody reads standard error, and its pipe is full.
#[tokio::test]
async fn a_log_that_nobody_reads_costs_no_record() {
    let (dir, file) = Plan::default().lay_out();
    let socket = dir.path().join("authz.sock");
    let mut child = serve(&file, &socket).await;
    let _kept = child.stderr.take();
    let address = Address::Unix {
        path: socket,
        mode: 0o660,
    };
    let mut wire = Wire::connect(&address).await;
    for at in 0..2000 {
        let frame = framed(&ask("GET", &format!("/nowhere/{at}")).encode_to_vec());
        assert!(!wire.call(CHECK, &[], frame).await.answer().is_allowed());
    }
    signal(&child, "TERM").await;
    let said = ended_within(child, Duration::from_secs(20)).await;
    assert_eq!(said.code, Some(0));
    let trail = fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    assert!(trail.contains("audit.stopped"));
}
