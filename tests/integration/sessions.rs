//! People: sessions over real sockets, and the commands that a person types.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::{MockClock, Timestamp};
use attache::humans::{Password, PasswordHash};
use prost::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::harness::binary::{Said, attache, attache_reading, ended, serve, signal};
use crate::harness::house::connect;
use crate::harness::mesh::{Client, SELF, doors};
use crate::harness::pki::Authority;
use crate::harness::{House, Plan, REPORTING};

const PASSWORD: &str = "correct horse";
const CREATE: &str = "/attache.v1.SessionService/CreateSession";
const GET: &str = "/attache.v1.SessionService/GetSession";
const REVOKE: &str = "/attache.v1.SessionService/RevokeSession";

// === The proto, as somebody else reads it ===

#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(message, optional, tag = "1")]
    dev_password: Option<DevPassword>,
    #[prost(string, tag = "2")]
    request_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DevPassword {
    #[prost(string, tag = "1")]
    email: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, Message)]
struct Created {
    #[prost(message, optional, tag = "1")]
    session: Option<Session>,
    #[prost(string, tag = "2")]
    session_token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Session {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    person: String,
    #[prost(string, tag = "4")]
    role: String,
    #[prost(string, repeated, tag = "5")]
    permissions: Vec<String>,
    #[prost(int32, tag = "10")]
    state: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Revoked {
    #[prost(uint64, tag = "1")]
    tokens: u64,
}

async fn call<M, N>(
    channel: &Channel,
    path: &'static str,
    token: Option<&str>,
    message: M,
) -> Result<N, Status>
where
    M: Message + Default + 'static,
    N: Message + Default + 'static,
{
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(request, path, ProstCodec::default()).await?;
    Ok(answer.into_inner())
}

async fn log_in(channel: &Channel, name: &str, password: &str) -> Result<Created, Status> {
    let asked = Create {
        dev_password: Some(DevPassword {
            email: format!("{name}@example.org"),
            password: password.to_owned(),
        }),
        request_id: String::new(),
    };
    call(channel, CREATE, None, asked).await
}

async fn get(channel: &Channel, token: &str) -> Result<Session, Status> {
    call(channel, GET, Some(token), Named::default()).await
}

/// The stable reason of a refusal.
fn reason<T: std::fmt::Debug>(refused: Result<T, Status>) -> (Code, String) {
    #[derive(Clone, PartialEq, Message)]
    struct Details {
        #[prost(message, repeated, tag = "3")]
        details: Vec<prost_types::Any>,
    }
    #[derive(Clone, PartialEq, Message)]
    struct Info {
        #[prost(string, tag = "1")]
        reason: String,
        #[prost(string, tag = "2")]
        domain: String,
    }
    let status = refused.unwrap_err();
    let details = Details::decode(status.details()).unwrap().details;
    let Some(first) = details.first() else {
        return (status.code(), String::new());
    };
    let info = Info::decode(&*first.value).unwrap();
    assert_eq!(info.domain, "attache.dev");
    (status.code(), info.reason)
}

// === Houses with people ===

fn people(state: &str) -> String {
    let password = Password::new(PASSWORD.as_bytes().to_vec()).unwrap();
    let hash = PasswordHash::make(&password, &mut StdRng::seed_from_u64(1)).unwrap();
    let hash = hash.to_phc();
    format!(
        "mode: development\nstate: {state}\nroles: {{editor: ['documents/**:read']}}\n\
         humans: {{local: [{{email: alice@example.org, id: usr-alice-001, role: editor, password_hash: \"{hash}\"}}]}}\n"
    )
}

async fn open() -> House {
    Plan::with(&people("memory")).open().await
}

fn events(records: &[Value]) -> Vec<&str> {
    let names = records.iter().filter_map(|it| it["event_type"].as_str());
    names.filter(|name| !name.starts_with("audit.")).collect()
}

#[tokio::test]
async fn a_person_logs_in_over_a_unix_socket_and_out_again() {
    // A1, T22, T23
    let house = open().await;
    let channel = &house.channel;
    let Created {
        session,
        session_token: token,
    } = log_in(channel, "alice", PASSWORD).await.unwrap();
    let session = session.unwrap();
    assert_eq!(
        (&*session.person, &*session.role, session.state),
        ("usr-alice-001", "editor", 1)
    );
    assert_eq!(session.permissions, ["documents/**:read"]);
    assert_eq!(get(channel, &token).await.unwrap(), session);
    let invalid = (Code::Unauthenticated, "SESSION_INVALID".to_owned());
    // The id of a session is no credential, and a token in a message is not the caller's.
    let id = session.name.strip_prefix("sessions/").unwrap();
    assert_eq!(reason(get(channel, id).await), invalid);
    let named = Named {
        name: session.name.clone(),
    };
    let nobody: Result<Session, _> = call(channel, GET, None, named).await;
    assert_eq!(reason(nobody), invalid);
    let in_message = Named {
        name: token.clone(),
    };
    let nobody: Result<Session, _> = call(channel, GET, None, in_message).await;
    assert_eq!(nobody.unwrap_err().code(), Code::InvalidArgument);

    let failed = (Code::Unauthenticated, "LOGIN_FAILED".to_owned());
    assert_eq!(
        reason(log_in(channel, "alice", "battery staple").await),
        failed
    );
    assert_eq!(
        reason(log_in(channel, "mallory", "battery staple").await),
        failed
    );
    let revoked: Revoked = call(channel, REVOKE, Some(&token), Named::default())
        .await
        .unwrap();
    assert_eq!(revoked.tokens, 0);
    assert_eq!(reason(get(channel, &token).await), invalid);

    assert_eq!(
        house
            .metric("attache_logins_total{result=\"success\"}")
            .await,
        1
    );
    assert_eq!(
        house.metric("attache_logins_total{result=\"wrong\"}").await,
        2
    );
    let records = house.close().await;
    assert_eq!(
        events(&records),
        [
            "human.login",
            "human.login_failed",
            "human.login_failed",
            "human.logout"
        ]
    );
    assert_eq!(records[1]["session_id"], id);
    let all = serde_json::to_string(&records).unwrap();
    for secret in [
        PASSWORD,
        "battery",
        "mallory",
        "alice@",
        token.strip_prefix("ath_").unwrap(),
    ] {
        assert!(!all.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn too_many_tries_are_told_when_to_come_back() {
    let house = open().await;
    for _ in 0..5 {
        let wrong = log_in(&house.channel, "alice", "battery staple").await;
        assert_eq!(reason(wrong).1, "LOGIN_FAILED");
    }
    let often = log_in(&house.channel, "alice", PASSWORD).await;
    assert_eq!(reason(often), (Code::ResourceExhausted, "RATE".to_owned()));
}

#[tokio::test]
async fn a_session_ends_by_itself_and_is_on_record() {
    // A12
    let clock = Arc::new(MockClock::new(Timestamp::from_unix_seconds(1_800_000_000)));
    let mut plan = Plan::with(&people("memory"));
    plan.clock = Arc::clone(&clock) as _;
    let house = plan.open().await;
    let created = log_in(&house.channel, "alice", PASSWORD).await.unwrap();
    clock.advance(Duration::from_secs(3_599));
    assert!(get(&house.channel, &created.session_token).await.is_ok());
    clock.advance(Duration::from_secs(1));
    let ended = get(&house.channel, &created.session_token).await;
    assert_eq!(reason(ended).1, "SESSION_INVALID");
    let expired = house
        .record(|it| it["event_type"] == "session.expired")
        .await;
    assert_eq!(expired["subject"]["id"], "usr-alice-001");
}

#[tokio::test]
async fn over_tls_people_are_heard_from_this_host_and_workloads_are_not() {
    let authority = Authority::of("example.org");
    let mut plan = doors(&authority, &authority.svid(SELF));
    plan.more += &people("memory");
    let house = plan.open().await;
    let person = Client::new(&authority, None);
    let channel = person.connect(house.http.unwrap()).await.unwrap();
    let created = log_in(&channel, "alice", PASSWORD).await.unwrap();
    assert!(get(&channel, &created.session_token).await.is_ok());
    let workload = Client::new(&authority, Some(authority.svid(REPORTING)));
    let not_local = (Code::PermissionDenied, "LOGIN_NOT_LOCAL".to_owned());
    for door in [house.http.unwrap(), house.mesh.unwrap()] {
        let channel = workload.connect(door).await.unwrap();
        assert_eq!(reason(log_in(&channel, "alice", PASSWORD).await), not_local);
        assert_eq!(
            reason(get(&channel, &created.session_token).await),
            not_local
        );
    }
    let records = house.close().await;
    let refused: Vec<_> = records
        .iter()
        .filter(|it| it["event_type"] == "human.login_failed")
        .collect();
    assert_eq!(refused.len(), 2);
    assert_eq!(refused[0]["pep"]["spiffe_id"], REPORTING);
}

#[tokio::test]
async fn in_plaintext_over_tcp_and_without_state_there_are_no_sessions() {
    let mut plan = Plan::with(&format!(
        "{}identity: {{trust_local: loopback}}\n",
        people("memory")
    ));
    plan.listener = "{tcp: \"127.0.0.1:0\"}".to_owned();
    let without = people("memory").replace("state: memory\n", "");
    for plan in [plan, Plan::with(&without)] {
        let house = plan.open().await;
        let channel = connect(&house.address).await;
        let refused = log_in(&channel, "alice", PASSWORD).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn production_has_no_users_with_passwords() {
    let production = people("memory").replace("mode: development", "mode: production");
    let (_dir, file) = Plan::with(&production).lay_out();
    let said = attache(&["check", "--config", file.to_str().unwrap()]).await;
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(
        said.err.contains("humans.local: users with passwords"),
        "{said:?}"
    );
}

// === What a person types ===

async fn typed(dir: &Path, socket: &Path, command: &[&str], input: &str) -> Said {
    let address = format!("unix:{}", socket.display());
    let file = dir.join("kept/session");
    let mut arguments = command.to_vec();
    arguments.extend(["--session-file", file.to_str().unwrap()]);
    if command[0] == "login" {
        arguments.extend(["--address", &address]);
    }
    attache_reading(&arguments, input).await
}

#[tokio::test]
async fn a_person_s_session_survives_a_restart_and_ends_at_logout() {
    let (dir, config) = Plan::with(&people("{embedded: state.db}")).lay_out();
    let socket = dir.path().join("authz.sock");
    let server = serve(&config, &socket).await;
    let run =
        async |command: &[&str], input: &str| typed(dir.path(), &socket, command, input).await;

    let said = run(&["whoami"], "").await;
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("attache login EMAIL"), "{said:?}");
    let said = run(&["login", "alice@example.org"], "battery staple\n").await;
    assert_eq!(
        (said.code, &*said.err),
        (Some(1), "error: address or password is wrong\n")
    );
    let said = run(&["login", "alice@example.org"], "correct horse\n").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(
        said.out
            .starts_with("logged in as usr-alice-001 (role editor) until "),
        "{said:?}"
    );
    let kept = std::fs::read_to_string(dir.path().join("kept/session")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    let token = kept["session_token"].as_str().unwrap();
    assert!(!said.out.contains(token));

    signal(&server, "TERM").await;
    let first = ended(server).await;
    let server = serve(&config, &socket).await;
    let said = run(&["whoami"], "").await;
    assert!(said.out.contains("usr-alice-001 (by local)"), "{said:?}");
    assert!(said.out.contains("documents/**:read"), "{said:?}");
    let said = run(&["logout"], "").await;
    assert_eq!(
        (said.code, &*said.out),
        (Some(0), "logged out; 0 token(s) revoked\n")
    );
    assert!(!dir.path().join("kept/session").exists());
    assert_eq!(run(&["whoami"], "").await.code, Some(1));
    signal(&server, "TERM").await;
    let second = ended(server).await;

    // T23: nothing that was written down holds a password or the token.
    let audit = std::fs::read(dir.path().join("audit.jsonl")).unwrap();
    let state = std::fs::read(dir.path().join("state.db")).unwrap();
    for written in [
        audit,
        state,
        first.err.into_bytes(),
        second.err.into_bytes(),
    ] {
        for secret in [
            "correct horse",
            "battery",
            token.strip_prefix("ath_").unwrap(),
        ] {
            let found = written
                .windows(secret.len())
                .any(|it| it == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
}

#[tokio::test]
async fn a_session_that_the_server_has_ended_says_what_to_do_next() {
    let (dir, config) = Plan::with(&people("memory")).lay_out();
    let socket = dir.path().join("authz.sock");
    let server = serve(&config, &socket).await;
    let run =
        async |command: &[&str], input: &str| typed(dir.path(), &socket, command, input).await;
    let said = run(
        &["login", "alice@example.org", "--print-token"],
        "correct horse",
    )
    .await;
    assert!(said.out.starts_with("ath_"), "{said:?}");
    signal(&server, "TERM").await;
    ended(server).await;
    let said = run(&["whoami"], "").await;
    assert!(
        said.err.contains("check that `attache serve` runs"),
        "{said:?}"
    );
    let _server = serve(&config, &socket).await;
    let said = run(&["whoami"], "").await;
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("log in again with `attache login EMAIL`"),
        "{said:?}"
    );
    assert_eq!(run(&["logout"], "").await.code, Some(0));
}

#[tokio::test]
async fn the_hash_that_the_command_makes_lets_its_owner_in() {
    let said = attache_reading(&["hash-password"], "battery staple\n").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let old = people("memory");
    let (_, rest) = old.split_once("password_hash: \"").unwrap();
    let (hash, _) = rest.split_once('"').unwrap();
    let house = Plan::with(&old.replace(hash, said.out.trim_end()))
        .open()
        .await;
    assert!(
        log_in(&house.channel, "alice", "battery staple")
            .await
            .is_ok()
    );
    assert!(log_in(&house.channel, "alice", PASSWORD).await.is_err());
    for unusable in ["", "\n", "short\n"] {
        let said = attache_reading(&["hash-password"], unusable).await;
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{said:?}");
    }
}
