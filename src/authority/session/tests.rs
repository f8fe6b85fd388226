use std::net::SocketAddr;

use prometheus_client::registry::Registry;
use rand::SeedableRng as _;

use super::*;
use crate::audit::{EventType, Memory, WriterHandle};
use crate::authority::Metrics;
use crate::clock::{Clock, MockClock, Timestamp};
use crate::config::Config;
use crate::humans::PasswordHash;
use crate::state::Embedded;

const PASSWORD: &str = "correct horse";
const HERE: Peer = Peer::Unix { uid: Some(7) };
const HOUR: Duration = Duration::from_secs(3600);

struct Bench {
    sessions: Sessions,
    store: Arc<dyn StateStore>,
    authority: Arc<Authority>,
    clock: Arc<MockClock>,
    memory: Memory,
    writer: WriterHandle,
}

fn password(text: &str) -> Password {
    Password::new(text.as_bytes().to_vec()).unwrap()
}

/// The configuration with alice in this role, if in any.
fn config(alice: Option<&str>) -> Config {
    let made = PasswordHash::make(&password(PASSWORD), &mut StdRng::seed_from_u64(1));
    let hash = made.unwrap().to_phc();
    let user = |name: &str, role: &str| {
        format!(
            "{{email: {name}@example.org, id: usr-{name}, role: {role}, password_hash: \"{hash}\"}}"
        )
    };
    let mut users = vec![user("bob", "viewer")];
    users.extend(alice.map(|role| user("alice", role)));
    let users = users.join(", ");
    let text = format!(
        "{{trust_domain: example.org, mode: development, humans: {{local: [{users}]}}, \
         roles: {{admin: ['documents/**:read', 'documents/**:delete@supervised'], viewer: []}}}}"
    );
    Config::parse(&text, "attache.yaml".as_ref()).unwrap()
}

fn bench() -> Bench {
    bench_with(config(Some("admin")))
}

fn bench_with(config: Config) -> Bench {
    let now = Timestamp::from_unix_seconds(1_800_000_000);
    let clock = Arc::new(MockClock::new(now));
    let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
    let (memory, auditor, writer) = Memory::auditor(Arc::clone(&shared)).unwrap();
    let engine = config
        .fixed
        .policy
        .embedded_engine(config.fixed.base)
        .unwrap();
    let authority = Arc::new(Authority::new(
        Arc::new(config.rules),
        Arc::new(engine),
        auditor,
        Arc::clone(&shared),
        Metrics::new(&mut Registry::default()),
    ));
    let store: Arc<dyn StateStore> = Arc::new(Embedded::memory("default", &shared).unwrap());
    let rng = StdRng::seed_from_u64(2);
    Bench {
        sessions: Sessions::new(Arc::clone(&authority), Arc::clone(&store), rng),
        store,
        authority,
        clock,
        memory,
        writer,
    }
}

fn deadline() -> Deadline {
    Deadline::after(LONGEST_SESSION_CALL)
}

impl Bench {
    async fn log_in_as(&self, name: &str, words: &str) -> Result<Opened, SessionRefusal> {
        self.log_in(&HERE, name, words, None).await
    }

    async fn log_in(
        &self,
        peer: &Peer,
        name: &str,
        words: &str,
        request_id: Option<&str>,
    ) -> Result<Opened, SessionRefusal> {
        let login = Login {
            email: format!("{name}@example.org").parse().unwrap(),
            password: password(words),
            request_id: request_id.map(str::to_owned),
        };
        self.sessions.open(peer, login, deadline()).await
    }

    async fn resolve(&self, handle: &Handle) -> Result<Session, SessionRefusal> {
        self.sessions.resolve(&HERE, Some(handle), deadline()).await
    }

    async fn close(&self, handle: &Handle) -> Result<Ended, SessionRefusal> {
        self.sessions
            .close(&HERE, Some(handle), None, deadline())
            .await
    }

    async fn records(&self, event: EventType) -> Vec<serde_json::Value> {
        self.authority.audit.flush().await.unwrap();
        self.memory.records(event)
    }

    /// The live sessions that there ever were: those whose time comes.
    async fn lived(&self) -> usize {
        self.clock.set(self.clock.now().plus(HOUR * 25));
        self.store.sweep(100).await.unwrap().sessions.len()
    }
}

fn code<T: std::fmt::Debug>(refused: Result<T, SessionRefusal>) -> &'static str {
    refused.unwrap_err().code()
}

#[tokio::test]
async fn who_knows_the_password_has_a_session_until_they_log_out() {
    let bench = bench();
    let Opened { session, handle } = bench.log_in_as("alice", PASSWORD).await.unwrap();
    assert_eq!(session.person.id.as_str(), "usr-alice");
    assert_eq!(
        (session.role.as_str(), session.status),
        ("admin", Status::Active)
    );
    assert_eq!(session.expires.since(session.created), HOUR);
    assert_eq!(bench.resolve(&handle).await.unwrap(), session);
    let permissions = bench.sessions.permissions(&session);
    assert_eq!(
        permissions,
        ["documents/**:delete@supervised", "documents/**:read"]
    );
    let login = &bench.records(EventType::HumanLogin).await[0];
    assert_eq!(login["actor"]["id"], "usr-alice");
    assert_eq!(login["subject"]["role"], "admin");
    assert_eq!(login["session_id"], session.id.as_str());

    let ended = bench.close(&handle).await.unwrap();
    assert_eq!(ended.sessions.first(), Some(&session.id));
    assert_eq!(code(bench.resolve(&handle).await), "SESSION_INVALID");
    // The answer may have been lost.
    assert_eq!(bench.close(&handle).await.unwrap(), Ended::default());
    let logouts = bench.records(EventType::HumanLogout).await;
    assert_eq!(logouts.len(), 1);
    assert_eq!(logouts[0]["session_id"], session.id.as_str());
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_look_the_same_and_are_on_record_without_either() {
    let bench = bench();
    let known = bench
        .log_in_as("alice", "battery staple")
        .await
        .unwrap_err();
    let unknown = bench
        .log_in_as("mallory", "battery staple")
        .await
        .unwrap_err();
    assert_eq!(
        (known.code(), known.to_string()),
        (unknown.code(), unknown.to_string())
    );
    assert_eq!(known.code(), "LOGIN_FAILED");
    assert_eq!(bench.sessions.logins.looks(), 2);
    let records = bench.records(EventType::HumanLoginFailed).await;
    let meant: Vec<_> = records.iter().map(|it| &it["details"]["meant"]).collect();
    assert_eq!(
        meant,
        [&serde_json::json!("usr-alice"), &serde_json::Value::Null]
    );
    assert_eq!(records[0]["actor"]["type"], "unknown");
    // T23
    let all = bench.memory.lines().join("\n");
    for secret in ["battery", "mallory", "@example.org", "argon2"] {
        assert!(!all.contains(secret), "{secret}");
    }
    assert_eq!(bench.lived().await, 0);
}

#[tokio::test]
async fn people_elsewhere_are_not_heard_whatever_they_know() {
    let bench = bench();
    let handle = bench.log_in_as("alice", PASSWORD).await.unwrap().handle;
    let tcp = |text: &str| text.parse::<SocketAddr>().unwrap();
    for (peer, heard) in [
        (Peer::Anonymous(tcp("127.0.0.1:7")), true),
        (Peer::Anonymous(tcp("[::1]:7")), true),
        (Peer::Anonymous(tcp("[::ffff:127.0.0.1]:7")), true),
        (Peer::Anonymous(tcp("192.0.2.1:7")), false),
        (Peer::Tcp(tcp("127.0.0.1:7")), false),
        (Peer::Tcp(tcp("192.0.2.1:7")), false),
    ] {
        assert_eq!(bench.sessions.hears(&peer), heard, "{peer:?}");
        let opened = bench.log_in(&peer, "bob", PASSWORD, None).await;
        let resolved = bench
            .sessions
            .resolve(&peer, Some(&handle), deadline())
            .await;
        assert_eq!(
            (opened.is_ok(), resolved.is_ok()),
            (heard, heard),
            "{peer:?}"
        );
        if !heard {
            let closed = bench.sessions.close(&peer, Some(&handle), None, deadline());
            assert_eq!(code(closed.await), "LOGIN_NOT_LOCAL");
            assert_eq!(
                (code(opened), code(resolved)),
                ("LOGIN_NOT_LOCAL", "LOGIN_NOT_LOCAL")
            );
        }
    }
    // Turned away before anybody looked at a password.
    assert_eq!(bench.sessions.logins.looks(), 4);
    let refused = bench.records(EventType::HumanLoginFailed).await;
    assert_eq!(refused.len(), 3);
    assert_eq!(refused[0]["details"]["cause"], "untrusted_peer");
}

#[tokio::test]
async fn a_unix_socket_is_heard_as_far_as_it_is_trusted() {
    let mut config = config(Some("admin"));
    config.rules.peps.trust_uids = vec![7];
    let bench = bench_with(config);
    assert!(bench.sessions.hears(&HERE));
    assert!(!bench.sessions.hears(&Peer::Unix { uid: Some(8) }));
    assert!(!bench.sessions.hears(&Peer::Unix { uid: None }));
}

#[tokio::test]
async fn a_session_ends_by_itself_and_that_is_on_record_once() {
    // A12
    let bench = bench();
    let Opened { session, handle } = bench.log_in_as("alice", PASSWORD).await.unwrap();
    bench.clock.set(session.expires);
    assert_eq!(code(bench.resolve(&handle).await), "SESSION_INVALID");
    assert!(!bench.sessions.sweep().await.unwrap());
    assert!(!bench.sessions.sweep().await.unwrap());
    let expired = bench.records(EventType::SessionExpired).await;
    assert_eq!(expired.len(), 1);
    assert_eq!(expired[0]["session_id"], session.id.as_str());
    assert_eq!(expired[0]["actor"]["type"], "system");
    assert_eq!(expired[0]["subject"]["id"], "usr-alice");
}

#[tokio::test]
async fn without_a_witness_nobody_is_logged_in_and_nobody_guesses() {
    let bench = bench();
    let store = Arc::clone(&bench.store);
    let handle = bench.log_in_as("bob", PASSWORD).await.unwrap().handle;
    let Bench {
        sessions,
        clock,
        writer,
        ..
    } = bench;
    writer.close().await.unwrap();
    for words in [PASSWORD, "battery staple"] {
        let login = Login {
            email: "alice@example.org".parse().unwrap(),
            password: password(words),
            request_id: None,
        };
        let refused = sessions.open(&HERE, login, deadline()).await;
        assert_eq!(code(refused), "STORE_UNAVAILABLE", "{words}");
    }
    let closed = sessions.close(&HERE, Some(&handle), None, deadline()).await;
    assert_eq!(code(closed), "STORE_UNAVAILABLE");
    // The one session there ever was is bob's.
    clock.set(clock.now().plus(HOUR * 2));
    let lived = store.sweep(100).await.unwrap().sessions;
    assert_eq!(lived.len(), 1);
    assert_eq!(lived[0].person.id.as_str(), "usr-bob");
}

#[tokio::test]
async fn who_is_taken_out_of_the_configuration_or_given_another_role_has_no_session_any_more() {
    // D25
    let bench = bench();
    let handle = bench.log_in_as("alice", PASSWORD).await.unwrap().handle;
    for (role, lives) in [
        (None, false),
        (Some("viewer"), false),
        (Some("admin"), true),
    ] {
        bench.authority.replace_rules(Arc::new(config(role).rules));
        assert_eq!(bench.resolve(&handle).await.is_ok(), lives, "{role:?}");
    }
    // They may still log out.
    bench.authority.replace_rules(Arc::new(config(None).rules));
    assert_eq!(bench.close(&handle).await.unwrap().sessions.len(), 1);
}

#[tokio::test]
async fn a_login_that_is_repeated_is_the_same_session_with_another_credential() {
    let bench = bench();
    let login = async || bench.log_in(&HERE, "alice", PASSWORD, Some("r-1")).await;
    let first = login().await.unwrap();
    let second = login().await.unwrap();
    assert_eq!(first.session.id, second.session.id);
    // Nobody received the first one.
    assert_eq!(code(bench.resolve(&first.handle).await), "SESSION_INVALID");
    assert!(bench.resolve(&second.handle).await.is_ok());
    let other = bench
        .log_in(&HERE, "bob", PASSWORD, Some("r-1"))
        .await
        .unwrap();
    assert_ne!(other.session.id, second.session.id);
    bench.close(&second.handle).await.unwrap();
    assert_eq!(code(login().await), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn a_person_reaches_their_own_sessions_alone() {
    let bench = bench();
    let one = bench.log_in_as("alice", PASSWORD).await.unwrap();
    let other = bench.log_in_as("alice", PASSWORD).await.unwrap();
    let bobs = bench.log_in_as("bob", PASSWORD).await.unwrap();
    let get = async |id: &SessionId| {
        let (handle, id) = (Some(&one.handle), Some(id.clone()));
        bench.sessions.get(&HERE, handle, id, deadline()).await
    };
    assert_eq!(get(&other.session.id).await.unwrap().id, other.session.id);
    assert_eq!(code(get(&bobs.session.id).await), "NOT_FOUND");
    assert_eq!(code(get(&SessionId::from_random(1)).await), "NOT_FOUND");
    let close = async |id: &SessionId| {
        let (handle, id) = (Some(&one.handle), Some(id.clone()));
        bench.sessions.close(&HERE, handle, id, deadline()).await
    };
    assert_eq!(code(close(&bobs.session.id).await), "NOT_FOUND");
    assert!(bench.resolve(&bobs.handle).await.is_ok());
    assert_eq!(close(&other.session.id).await.unwrap().sessions.len(), 1);
    assert!(bench.resolve(&other.handle).await.is_err());
    assert!(bench.resolve(&one.handle).await.is_ok());
    let nobody = bench.sessions.get(&HERE, None, None, deadline()).await;
    assert_eq!(code(nobody), "SESSION_INVALID");
}

#[test]
fn every_refusal_has_one_of_the_codes() {
    let failed = || Box::new(LoginError::Failed);
    let all = [
        SessionRefusal::NotHere,
        SessionRefusal::NoUsers,
        SessionRefusal::Wrong,
        SessionRefusal::TooOften { wait: HOUR },
        SessionRefusal::NoSession,
        SessionRefusal::RequestIdReused,
        SessionRefusal::Unavailable(failed()),
        SessionRefusal::NotFound,
    ];
    assert_eq!(all.map(|it| it.code()), SessionRefusal::CODES);
}
