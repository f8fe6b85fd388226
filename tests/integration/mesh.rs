//! Proxies that ask over mutual TLS: who gets through the handshake, who may ask, and for how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use attache::clock::{Clock as _, MockClock, SystemClock};
use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
use rustls::HandshakeKind;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::house::{PATIENCE, eventually_async};
use crate::harness::mesh::{Client, ENVOY, SELF, address, ask_over, plan, replace};
use crate::harness::pki::{Authority, Identity, Leaf};
use crate::harness::{House, Plan};

/// A house, its authority, and where it listens.
async fn open() -> (House, Authority, SocketAddr) {
    let authority = Authority::of("example.org");
    let house = plan(&authority, &authority.svid(SELF)).open().await;
    let address = address(&house);
    (house, authority, address)
}

#[tokio::test]
async fn a_proxy_on_the_list_is_answered() {
    // S47
    let (house, authority, address) = open().await;
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let answer = envoy.ask(address).await.unwrap();
    assert!(answer.is_allowed(), "{answer:?}");
    let record = house.record_of(&answer).await;
    assert_eq!(record["pep"], json!({"type": "tls", "spiffe_id": ENVOY}));
    let (status, text) = house.probe("/readyz").await;
    assert!(status == 200 && !text.contains("tls:"), "{text}");
}

#[tokio::test]
async fn an_intermediate_may_come_along() {
    let (_house, authority, address) = open().await;
    let below = authority.subordinate("example.org", vec![KeyUsagePurpose::KeyCertSign]);
    let envoy = Client::new(&authority, Some(below.svid(ENVOY).below(&below)));
    assert!(envoy.ask(address).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_proxy_that_is_not_on_the_list_is_refused() {
    // S47
    let (house, authority, address) = open().await;
    let other = "spiffe://example.org/svc/reporting";
    let client = Client::new(&authority, Some(authority.svid(other)));
    let answer = client.ask(address).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
    let record = house.record_of(&answer).await;
    let message = record["message"].as_str().unwrap();
    assert!(message.contains(other), "{message}");
}

#[tokio::test]
async fn certificates_that_are_no_svids_of_ours_end_the_handshake() {
    let (house, authority, address) = open().await;
    let stranger = Authority::of("example.org");
    let unmarked = authority.subordinate("example.org", vec![KeyUsagePurpose::CrlSign]);
    let constrained = authority.constrained("example.org", "example.org");
    let foreign = "spiffe://partner.example/envoy/edge";
    let mut wrong_key = authority.svid(ENVOY);
    wrong_key.key = authority.svid(ENVOY).key;
    let server_only = Leaf {
        usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..Leaf::of(ENVOY)
    };
    let signing = Leaf {
        ca: true,
        ..Leaf::of(ENVOY)
    };
    let nameless = Leaf {
        uris: Vec::new(),
        ..Leaf::of(ENVOY)
    };
    let issue = |leaf: Leaf| Some(authority.issue(&leaf));
    let cases: Vec<(&str, Option<Identity>)> = vec![
        ("S45: no certificate", None),
        ("wrong CA", Some(stranger.svid(ENVOY))),
        (
            "S39: foreign trust domain, our CA",
            issue(Leaf::of(foreign)),
        ),
        ("S42: expired", issue(Leaf::of(ENVOY).valid(-3_600, -1))),
        (
            "S42: not yet valid",
            issue(Leaf::of(ENVOY).valid(600, 3_600)),
        ),
        ("S30: root path", issue(Leaf::of("spiffe://example.org"))),
        ("S24: two URI names", issue(Leaf::of(ENVOY).and(SELF))),
        (
            "S25: another URI name",
            issue(Leaf::of(ENVOY).and("https://a.example")),
        ),
        ("S21: no name", issue(nameless)),
        ("S36: not for clients", issue(server_only)),
        ("S31: a signing certificate", issue(signing)),
        (
            "S38: an issuer that may not sign",
            Some(unmarked.svid(ENVOY).below(&unmarked)),
        ),
        (
            "S41: an issuer that may only name certain URIs",
            Some(constrained.svid(ENVOY).below(&constrained)),
        ),
        ("S46: somebody else's key", Some(wrong_key)),
        (
            "not a SPIFFE ID",
            issue(Leaf::of("https://example.org/envoy")),
        ),
    ];
    let count = u64::try_from(cases.len()).unwrap();
    for (case, identity) in cases {
        let refused = Client::new(&authority, identity).ask(address).await;
        assert!(refused.is_err(), "{case}: {refused:?}");
    }
    let refused =
        "attache_tls_handshakes_total{tls=\"mesh\",listener=\"ext_authz\",result=\"refused\"}";
    eventually_async("the last refusal", || async {
        (house.metric(refused).await >= count).then_some(())
    })
    .await;
    assert!(
        house.records().iter().all(|record| record["pep"].is_null()),
        "nobody got as far as to ask"
    );
}

#[tokio::test]
async fn a_client_that_can_only_speak_something_else_is_refused() {
    let (_house, authority, address) = open().await;
    let good = Client::new(&authority, Some(authority.svid(ENVOY)));
    // X22
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let client = good.clone().with_alpn(alpn);
        assert!(client.ask(address).await.is_err(), "{alpn:?}");
    }
    // X21: 1.2 only with what 1.3 has anyway.
    let older = good.clone().with_tls12();
    assert!(older.ask(address).await.unwrap().is_allowed());
    assert!(good.ask(address).await.unwrap().is_allowed());
}

#[tokio::test]
async fn no_session_is_resumed() {
    let (_house, authority, address) = open().await;
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    for envoy in [envoy.clone(), envoy.with_tls12()] {
        let connector = envoy.connector();
        for _ in 0..3 {
            let tcp = TcpStream::connect(address).await.unwrap();
            let name = "attache.invalid".try_into().unwrap();
            let mut stream = connector.connect(name, tcp).await.unwrap();
            // A ticket would come with the first answer.
            stream
                .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
                .await
                .unwrap();
            stream.read_u8().await.unwrap();
            let (_, connection) = stream.get_ref();
            assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[tokio::test]
async fn old_versions_and_old_ciphers_are_answered_with_an_alert() {
    // X21: TLS 1.0 and 1.1; TLS 1.2 with ECDHE_RSA_WITH_AES_128_CBC_SHA and with RSA_WITH_AES_128_GCM_SHA256.
    let (_house, _authority, address) = open().await;
    for (version, suite) in [
        ([3, 1], [0xc0, 0x13]),
        ([3, 2], [0xc0, 0x13]),
        ([3, 3], [0xc0, 0x13]),
        ([3, 3], [0x00, 0x9c]),
    ] {
        let said = said_to(address, &client_hello(version, suite)).await;
        assert_eq!(
            said.first(),
            Some(&ALERT),
            "{version:?} {suite:?}: {said:?}"
        );
        assert_eq!(said.get(5), Some(&2), "fatal: {said:?}");
    }
}

#[tokio::test]
async fn plaintext_on_the_tls_port_is_closed() {
    // X23
    let (_house, _authority, address) = open().await;
    let said = said_to(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(said.first().is_none_or(|first| *first == ALERT), "{said:?}");
    let said = said_to(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(said.first().is_none_or(|first| *first == ALERT), "{said:?}");
}

#[tokio::test]
async fn silent_connections_neither_block_nor_stay() {
    // X01, X03
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.more += "limits: {handshake_timeout: 2s}\n";
    let house = plan.open().await;
    let address = address(&house);
    let mut silent = Vec::new();
    for _ in 0..400 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let mute = envoy.handshake(address).await.unwrap();
    let started = tokio::time::Instant::now();
    assert!(envoy.ask(address).await.unwrap().is_allowed());
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    for mut stream in silent {
        assert!(ended(&mut stream).await, "still open");
    }
    let (mut tcp, _) = mute.into_inner();
    assert!(ended(&mut tcp).await, "still open");
    let timeouts =
        "attache_tls_handshakes_total{tls=\"mesh\",listener=\"ext_authz\",result=\"timeout\"}";
    // A connection is closed just before it is counted.
    eventually_async("every timeout", || async {
        (house.metric(timeouts).await == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn where_there_are_too_many_handshakes_the_oldest_is_given_up() {
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.more += "limits: {handshake_timeout: 60s, max_handshakes: 8}\n";
    let house = plan.open().await;
    let address = address(&house);
    let mut oldest = TcpStream::connect(address).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(TcpStream::connect(address).await.unwrap());
    }
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    assert!(envoy.ask(address).await.unwrap().is_allowed());
    assert!(ended(&mut oldest).await);
    let crowded =
        "attache_tls_handshakes_total{tls=\"mesh\",listener=\"ext_authz\",result=\"crowded_out\"}";
    assert!(house.metric(crowded).await >= 13);
}

#[tokio::test]
async fn a_certificate_that_expires_ends_what_its_connection_may_ask() {
    // X27
    let clock = Arc::new(MockClock::new(SystemClock.now()));
    let authority = Authority::of("example.org");
    let house = Plan {
        clock: Arc::clone(&clock) as _,
        ..plan(&authority, &authority.svid(SELF))
    }
    .open()
    .await;
    let short = authority.issue(&Leaf::of(ENVOY).valid(-60, 60));
    let connection = Client::new(&authority, Some(short))
        .connect(address(&house))
        .await
        .unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
    clock.advance(Duration::from_secs(61));
    let answer = ask_over(connection).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
    let record = house.record_of(&answer).await;
    assert_eq!(
        record["message"],
        format!("the certificate of proxy `{ENVOY}` is not valid now")
    );
    // Our own certificate still holds: a proxy with a longer one is answered.
    let fresh = Client::new(&authority, Some(authority.svid(ENVOY)));
    assert!(fresh.ask(address(&house)).await.unwrap().is_allowed());
}

#[tokio::test]
async fn an_authority_that_ends_in_mid_connection_vouches_no_longer() {
    let clock = Arc::new(MockClock::new(SystemClock.now()));
    let authority = Authority::of("example.org");
    let old = Authority::ending("example.org", 60);
    let below = authority.subordinate_ending("example.org", 60);
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.clock = Arc::clone(&clock) as _;
    for (name, text) in &mut plan.files {
        if name == "tls/bundle.pem" {
            text.push_str(&old.pem);
        }
    }
    let house = plan.open().await;
    let mut open = Vec::new();
    for (own, lasts) in [
        (below.svid(ENVOY).below(&below), false),
        (old.svid(ENVOY), false),
        (authority.svid(ENVOY), true),
    ] {
        let envoy = Client::new(&authority, Some(own));
        let connection = envoy.connect(address(&house)).await.unwrap();
        assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
        open.push((envoy, connection, lasts));
    }
    clock.advance(Duration::from_secs(61));
    for (envoy, connection, lasts) in open {
        let answer = ask_over(connection).await.unwrap();
        let word = if lasts { "allow" } else { "untrusted_peer" };
        assert_eq!(answer.word(), word);
        assert_eq!(envoy.ask(address(&house)).await.is_ok(), lasts);
    }
}

#[tokio::test]
async fn without_a_valid_certificate_of_our_own_nobody_is_served_and_nobody_told_otherwise() {
    let clock = Arc::new(MockClock::new(SystemClock.now()));
    let authority = Authority::of("example.org");
    let own = authority.issue(&Leaf::of(SELF).valid(-60, 60));
    let house = Plan {
        clock: Arc::clone(&clock) as _,
        ..plan(&authority, &own)
    }
    .open()
    .await;
    let address = address(&house);
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let connection = envoy.connect(address).await.unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
    clock.advance(Duration::from_secs(61));
    assert!(envoy.ask(address).await.is_err());
    let answer = ask_over(connection).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
    eventually_async("not ready", || async {
        let (status, text) = house.probe("/readyz").await;
        (status == 503 && text.contains("certificate")).then_some(())
    })
    .await;
    // A new certificate, and everything goes on.
    let own = authority.issue(&Leaf::of(SELF).valid(-60, 3_600));
    replace(
        house.dir.path(),
        &crate::harness::mesh::files(&authority, &own),
    );
    eventually_async("ready", || async {
        (house.probe("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert!(envoy.ask(address).await.unwrap().is_allowed());
}

#[tokio::test]
async fn a_proxy_taken_off_the_list_may_not_ask_again() {
    // X28
    let authority = Authority::of("example.org");
    let house = Plan {
        watched: true,
        ..plan(&authority, &authority.svid(SELF))
    }
    .open()
    .await;
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let connection = envoy.connect(address(&house)).await.unwrap();
    assert!(ask_over(connection.clone()).await.unwrap().is_allowed());
    let file = house.dir.path().join("attache.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("/envoy/*", "/other/*")).unwrap();
    house
        .record(|record| record["event_type"] == "config.changed")
        .await;
    let answer = ask_over(connection).await.unwrap();
    assert_eq!(answer.word(), "untrusted_peer");
}

#[tokio::test]
async fn missing_files_are_waited_for() {
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    let files = std::mem::take(&mut plan.files);
    let house = plan.open().await;
    let (status, text) = house.probe("/readyz").await;
    assert_eq!((status, &*text), (503, "waiting for: certificate\n"));
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    assert!(envoy.ask(address(&house)).await.is_err());
    std::fs::create_dir(house.dir.path().join("tls")).unwrap();
    replace(house.dir.path(), &files);
    eventually_async("ready", || async {
        (house.probe("/readyz").await.0 == 200).then_some(())
    })
    .await;
    assert!(envoy.ask(address(&house)).await.unwrap().is_allowed());
}

/// Whether the other end closes the connection, reset or not.
async fn ended(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    tokio::time::timeout(PATIENCE, reading).await.is_ok()
}

/// What the server says before it closes the connection.
async fn said_to(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end as well; what was said before it counts.
    let reading = async { stream.read_to_end(&mut said).await.ok() };
    tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("an end");
    said
}

/// A `ClientHello` (RFC 5246 section 7.4.1.2) with one cipher suite and one group and signature algorithm.
fn client_hello(version: [u8; 2], suite: [u8; 2]) -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..],
        &[0, 13, 0, 4, 0, 2, 4, 3],
        &[0, 16, 0, 5, 0, 3, 2, b'h', b'2'],
    ]
    .concat();
    let mut body = version.to_vec();
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2]);
    body.extend(suite);
    body.extend([1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    let mut record = vec![22, 3, 1, 0, length + 4, 1, 0, 0, length];
    record.extend(body);
    record
}

const ALERT: u8 = 21;
