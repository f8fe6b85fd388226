//! The doors for workloads and people: `mesh` and `http`, who gets in, what is there, and how they close.

use std::net::SocketAddr;
use std::time::Duration;

use attache::grpc::Limits;
use attache::http::OpenServer;
use attache::lifecycle::Shutdown;
use attache::socket::{Address, Bound};
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use h2::SendStream;
use h2::client::{ResponseFuture, SendRequest};
use prost::Message as _;
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::ask;
use crate::harness::binary::{ended, serve, signal};
use crate::harness::decisions::{CHECK, Decision, about, call};
use crate::harness::house::{PATIENCE, eventually_async};
use crate::harness::mesh::{Client, ENVOY, SELF, address, ask_over, doors, plan};
use crate::harness::pki::{Authority, Identity, Leaf};
use crate::harness::wire::framed;
use crate::harness::{House, Plan};

/// Somebody that `identity.peps` does not name.
const WORKLOAD: &str = "spiffe://example.org/svc/reporting";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];

async fn open() -> (House, Authority) {
    open_with("").await
}

async fn open_with(limits: &str) -> (House, Authority) {
    let authority = Authority::of("example.org");
    let mut plan = doors(&authority, &authority.svid(SELF));
    plan.more += limits;
    (plan.open().await, authority)
}

fn mesh(house: &House) -> SocketAddr {
    house.mesh.unwrap()
}

fn http(house: &House) -> SocketAddr {
    house.http.unwrap()
}

/// What the health service says of the whole process.
async fn health(client: &Client, address: SocketAddr) -> Result<ServingStatus, String> {
    let channel = client.connect(address).await.map_err(|it| it.to_string())?;
    health_over(channel).await.map_err(|it| it.to_string())
}

async fn health_over(channel: Channel) -> Result<ServingStatus, tonic::Status> {
    let request = HealthCheckRequest::default();
    let answer = HealthClient::new(channel).check(request).await?;
    Ok(answer.get_ref().status())
}

/// A browser or script: HTTP/1.1 and HTTP/2.
fn browser(client: &Client) -> reqwest::Client {
    let config = client.clone().with_alpn(BOTH).config();
    reqwest::Client::builder()
        .tls_backend_preconfigured(config)
        .build()
        .unwrap()
}

async fn get(client: &Client, address: SocketAddr, path: &str) -> reqwest::Result<StatusCode> {
    let url = format!("https://{address}{path}");
    let response = browser(client).get(url).send().await?;
    Ok(response.status())
}

/// Certificates that no listener accepts.
fn refused_certificates(authority: &Authority) -> Vec<(&'static str, Identity)> {
    let stranger = Authority::of("example.org");
    let constrained = authority.constrained("example.org", "example.org");
    let mut wrong_key = authority.svid(WORKLOAD);
    wrong_key.key = authority.svid(WORKLOAD).key;
    let server_only = Leaf {
        usages: vec![ExtendedKeyUsagePurpose::ServerAuth],
        ..Leaf::of(WORKLOAD)
    };
    vec![
        ("wrong CA", stranger.svid(WORKLOAD)),
        ("S39", authority.svid("spiffe://partner.example/svc/a")),
        ("S41", constrained.svid(WORKLOAD).below(&constrained)),
        ("S42", authority.issue(&Leaf::of(WORKLOAD).valid(-60, -1))),
        ("S24", authority.issue(&Leaf::of(WORKLOAD).and(SELF))),
        ("S36", authority.issue(&server_only)),
        ("S46", wrong_key),
        (
            "no SVID",
            authority.issue(&Leaf::of("https://example.org/a")),
        ),
    ]
}

#[tokio::test]
async fn any_workload_of_an_accepted_trust_domain_is_served_on_mesh() {
    let (house, authority) = open().await;
    for id in [WORKLOAD, ENVOY] {
        let client = Client::new(&authority, Some(authority.svid(id)));
        eventually_async("serving", || async {
            let status = health(&client, mesh(&house)).await.unwrap();
            (status == ServingStatus::Serving).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn nobody_is_served_on_mesh_without_a_certificate_that_verifies() {
    // S45
    let (house, authority) = open().await;
    let nobody = Client::new(&authority, None);
    assert!(health(&nobody, mesh(&house)).await.is_err());
    for (case, identity) in refused_certificates(&authority) {
        let client = Client::new(&authority, Some(identity));
        let answer = health(&client, mesh(&house)).await;
        assert!(answer.is_err(), "{case}: {answer:?}");
    }
}

#[tokio::test]
async fn mesh_speaks_http_2_and_nothing_else() {
    // X22
    let (house, authority) = open().await;
    let good = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    assert!(health(&good, mesh(&house)).await.is_ok());
    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let client = good.clone().with_alpn(alpn);
        assert!(health(&client, mesh(&house)).await.is_err(), "{alpn:?}");
    }
}

#[tokio::test]
async fn http_serves_both_versions_to_those_with_a_certificate_and_those_without() {
    let (house, authority) = open().await;
    for identity in [None, Some(authority.svid(WORKLOAD))] {
        let client = Client::new(&authority, identity);
        assert!(health(&client, http(&house)).await.is_ok());
        for (alpn, version) in [
            (&[&b"http/1.1"[..]][..], reqwest::Version::HTTP_11),
            (BOTH, reqwest::Version::HTTP_2),
        ] {
            let config = client.clone().with_alpn(alpn).config();
            let browser = reqwest::Client::builder().tls_backend_preconfigured(config);
            let url = format!("https://{}/", http(&house));
            let response = browser.build().unwrap().get(url).send().await.unwrap();
            assert_eq!(
                (response.status(), response.version()),
                (StatusCode::NOT_FOUND, version)
            );
        }
    }
}

#[tokio::test]
async fn a_certificate_that_is_sent_to_http_and_does_not_verify_is_refused_and_not_ignored() {
    let (house, authority) = open().await;
    let nobody = Client::new(&authority, None);
    assert!(get(&nobody, http(&house), "/").await.is_ok());
    for (case, identity) in refused_certificates(&authority) {
        for older in [false, true] {
            let mut client = Client::new(&authority, Some(identity.clone()));
            if older {
                client = client.with_tls12();
            }
            let answer = get(&client, http(&house), "/").await;
            assert!(answer.is_err(), "{case}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn http_refuses_clients_that_agree_on_no_protocol() {
    // X22, X23
    let (house, authority) = open().await;
    let nobody = Client::new(&authority, None);
    for alpn in [&[][..], &[&b"spdy/3"[..]]] {
        let client = nobody.clone().with_alpn(alpn);
        let spoken = spoken_to(&client, http(&house), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(spoken, None, "{alpn:?}");
    }
    let mut plain = TcpStream::connect(http(&house)).await.unwrap();
    let request = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    plain.write_all(request).await.unwrap();
    let mut said = Vec::new();
    // A reset is an end as well.
    let _reset = plain.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
}

#[tokio::test]
async fn what_probes_scrapers_and_proxies_are_told_is_on_neither_door() {
    // X35
    let (house, authority) = open().await;
    let client = Client::new(&authority, Some(authority.svid(ENVOY)));
    for path in ["/metrics", "/readyz", "/livez", "/", "/debug/pprof", "//"] {
        let status = get(&client, http(&house), path).await.unwrap();
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let config = client.clone().config();
        let over_mesh = reqwest::Client::builder().tls_backend_preconfigured(config);
        let url = format!("https://{}{path}", mesh(&house));
        let response = over_mesh.build().unwrap().get(url).send().await.unwrap();
        let unimplemented = i32::from(Code::Unimplemented).to_string();
        assert_eq!(response.headers()["grpc-status"], *unimplemented, "{path}");
        assert_eq!(response.bytes().await.unwrap(), Bytes::new(), "{path}");
    }
    // Nor does a proxy on the list get a decision where proxies don't ask.
    for address in [mesh(&house), http(&house)] {
        let channel = client.connect(address).await.unwrap();
        let checked = AuthorizationClient::new(channel)
            .check(ask("GET", "/documents/42"))
            .await;
        assert_eq!(checked.unwrap_err().code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    // X14
    let (house, authority) = open().await;
    let nobody = Client::new(&authority, None);
    for alpn in [&[&b"http/1.1"[..]][..], BOTH] {
        let config = nobody.clone().with_alpn(alpn).config();
        let browser = reqwest::Client::builder().tls_backend_preconfigured(config);
        let response = browser
            .build()
            .unwrap()
            .get(format!("https://{}/", http(&house)))
            .header("x-long", "a".repeat(17 * 1024))
            .send()
            .await;
        let refused = response.map_or(true, |it| {
            it.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        });
        assert!(refused, "{alpn:?}");
    }
    assert!(get(&nobody, http(&house), "/").await.is_ok());
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_on_both_doors() {
    let (house, authority) = open_with("limits: {max_message: 4KiB}\n").await;
    let client = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    for address in [mesh(&house), http(&house)] {
        let mut health = HealthClient::new(client.connect(address).await.unwrap());
        let request = |length| HealthCheckRequest {
            service: "a".repeat(length),
        };
        let known = health.check(request(1024)).await.unwrap_err();
        assert_eq!(known.code(), Code::NotFound);
        let large = health.check(request(8 * 1024)).await.unwrap_err();
        assert_ne!(large.code(), Code::NotFound, "{large}");
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_slow_are_refused() {
    let bound = Bound::bind(&Address::Tcp(([127, 0, 0, 1], 0).into())).unwrap();
    let address = bound.address().to_string();
    let echo = axum::routing::post(|body: String| std::future::ready(body));
    let routes = axum::Router::new().route("/", echo);
    let terms = Limits::default().terms(Duration::from_secs(1));
    let server = OpenServer::new(routes, terms, 1024, Duration::from_secs(2));
    let shutdown = Shutdown::default();
    let serving = tokio::spawn(server.serve(bound, shutdown.clone(), || panic!("no errors here")));
    for (length, sent, status) in [
        (1024, 1024, "200"),
        (1025, 1025, "413"),
        (1024, 1023, "504"),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let body = "a".repeat(sent);
        let request = format!("{head}content-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // A reset is an end as well; what was said before it counts.
        let _reset = stream.read_to_end(&mut said).await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{said}");
    }
    shutdown.drain();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_clients_of_http_are_dropped() {
    // X01, X03: silent after the handshake, in the head of HTTP/1.1, in the preface of HTTP/2, and idle afterwards.
    let (house, authority) = open_with("limits: {handshake_timeout: 500ms}\n").await;
    let nobody = Client::new(&authority, None);
    for (alpn, words) in [
        (&b"http/1.1"[..], &b""[..]),
        (b"http/1.1", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow"),
        (b"h2", b"PRI * HTTP/2.0\r\n\r\nSM"),
        (b"http/1.1", b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let client = nobody.clone().with_alpn(&[alpn]);
        let begun = Instant::now();
        spoken_to(&client, http(&house), words).await;
        assert!(begun.elapsed() >= Duration::from_millis(400), "{words:?}");
    }
}

#[tokio::test]
async fn old_connections_of_people_end() {
    let (house, authority) = open_with("limits: {max_connection_age: 1s}\n").await;
    let nobody = Client::new(&authority, None).with_alpn(&[b"h2"]);
    let stream = nobody.handshake(http(&house)).await.unwrap();
    let (_send, connection) = h2::client::handshake(stream).await.unwrap();
    // With a word or without one: it may meet our last ping.
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    let _word = ended.expect("an end");
}

#[tokio::test]
async fn a_client_that_takes_no_answers_is_cut_off_when_it_is_old() {
    // X06, X26: asked to leave at one second, cut off five seconds and the time of a request later.
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.more += "limits: {max_connection_age: 1s, request_timeout: 200ms}\n";
    let house = plan.open().await;
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let stream = envoy.handshake(address(&house)).await.unwrap();
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://attache/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut send = send.ready().await.unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    let message = prost::Message::encode_to_vec(&ask("GET", "/documents/42"));
    body.send_data(framed(&message).into(), true).unwrap();
    let answered = response.await.unwrap();
    let begun = Instant::now();
    // What counts is that it ends, with the answer still untaken.
    let ended = tokio::time::timeout(PATIENCE, connection).await;
    let _word = ended.expect("an end").unwrap();
    assert!(begun.elapsed() > Duration::from_secs(5));
    drop(answered);
}

#[tokio::test]
async fn whoever_fills_one_kind_of_listener_keeps_nobody_from_another() {
    // And a listener × worker that waits keeps no place: with one of each, all are served in turn.
    let authority = Authority::of("example.org");
    let mut plan = doors(&authority, &authority.svid(SELF));
    plan.more += "limits: {max_connections: 1, workers: 2, request_timeout: 10s}\n";
    let house = plan.open().await;
    assert_eq!(
        house.check(ask("GET", "/documents/42")).await.word(),
        "allow"
    );
    let client = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    let _person = client.connect(http(&house)).await.unwrap();
    let over_mesh = client.connect(mesh(&house)).await.unwrap();
    assert!(health_over(over_mesh.clone()).await.is_ok());
    assert_eq!(
        house.check(ask("GET", "/documents/42")).await.word(),
        "allow"
    );
    // The next one waits until the place is free.
    let waiting = tokio::spawn({
        let (client, address) = (client.clone(), mesh(&house));
        async move { health(&client, address).await }
    });
    assert!(health_over(over_mesh.clone()).await.is_ok());
    assert!(!waiting.is_finished());
    drop(over_mesh);
    let answer = tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("a place");
    assert!(answer.unwrap().is_ok());
}

#[tokio::test]
async fn clients_that_show_nothing_take_no_places() {
    let authority = Authority::of("example.org");
    let mut plan = plan(&authority, &authority.svid(SELF));
    plan.more += "limits: {max_connections: 1, handshake_timeout: 60s, request_timeout: 10s}\n";
    let house = plan.open().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address(&house)).await.unwrap());
    }
    let envoy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let channel = envoy.connect(address(&house)).await.unwrap();
    assert!(ask_over(channel).await.unwrap().is_allowed());
}

/// Begins a call and sends three bytes of its message; the server has seen it.
async fn begin(
    client: &Client,
    address: SocketAddr,
    path: &str,
) -> (ResponseFuture, SendStream<Bytes>, SendRequest<Bytes>) {
    let stream = client.handshake(address).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    // Ends with the connection, whichever way.
    tokio::spawn(async move { drop(connection.await) });
    let request = http::Request::post(format!("http://attache{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut send = send.ready().await.unwrap();
    let head = request.body(()).unwrap();
    let (response, mut body) = send.send_request(head, false).unwrap();
    body.send_data(Bytes::from_static(&[0, 0, 0]), false)
        .unwrap();
    // Another one on the same connection, answered: the server has seen the first.
    let head = http::Request::post("http://attache/other")
        .body(())
        .unwrap();
    let mut send = send.ready().await.unwrap();
    let (other, _) = send.send_request(head, true).unwrap();
    other.await.unwrap();
    (response, body, send)
}

#[tokio::test]
async fn a_stop_lets_both_doors_finish_what_is_under_way() {
    let (house, authority) = open_with("limits: {request_timeout: 10s}\n").await;
    let client = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    let mut begun = Vec::new();
    for address in [mesh(&house), http(&house)] {
        let (response, body, send) = begin(&client, address, HEALTH).await;
        begun.push((address, response, body, send));
    }
    house.shutdown.drain();
    for (address, response, mut body, _send) in begun {
        eventually_async("the end of the door", || async {
            TcpStream::connect(address).await.is_err().then_some(())
        })
        .await;
        body.send_data(Bytes::from_static(&[0, 0]), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().get("grpc-status").is_none());
    }
    let records = house.close().await;
    assert_eq!(records.last().unwrap()["event_type"], "audit.stopped");
}

#[tokio::test]
async fn watchers_do_not_hold_up_a_stop_beyond_the_grace() {
    let (house, authority) = open_with("limits: {shutdown_grace: 50ms}\n").await;
    let client = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    let mut watching = Vec::new();
    for address in [mesh(&house), http(&house)] {
        let mut health = HealthClient::new(client.connect(address).await.unwrap());
        let watch = health.watch(HealthCheckRequest::default()).await.unwrap();
        watching.push(watch.into_inner());
    }
    house.close().await;
    for mut watch in watching {
        let rest = async { while let Ok(Some(_status)) = watch.message().await {} };
        tokio::time::timeout(PATIENCE, rest).await.expect("an end");
    }
}

#[tokio::test]
async fn serve_says_where_it_listens_and_closes_every_door() {
    let authority = Authority::of("example.org");
    let (dir, file) = doors(&authority, &authority.svid(SELF)).lay_out();
    let child = serve(&file, &dir.path().join("authz.sock")).await;
    signal(&child, "TERM").await;
    let said = ended(child).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    for kind in ["ext_authz", "mesh", "http"] {
        assert!(said.err.contains(&format!("serving {kind}")), "{said:?}");
    }
}

#[tokio::test]
async fn listeners_that_are_not_written_are_not_there() {
    let house = Plan::default().open().await;
    assert_eq!((house.mesh, house.http), (None, None));
}

/// What is said over TLS until the server ends the connection, after these words; `None` where there is no answer.
async fn spoken_to(client: &Client, address: SocketAddr, words: &[u8]) -> Option<Vec<u8>> {
    let talk = async {
        let mut stream = client.handshake(address).await.ok()?;
        stream.write_all(words).await.ok()?;
        let mut said = Vec::new();
        // A reset is an end as well; what was said before it counts.
        let _reset = stream.read_to_end(&mut said).await;
        (!said.is_empty()).then_some(said)
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("an end")
}

/// What somebody is told who asks whether `caller` may read a document.
async fn told(client: &Client, address: SocketAddr, caller: &str) -> (bool, String) {
    let channel = client.connect(address).await.unwrap();
    let question = about(caller, "documents/42", "read");
    let decision: Decision = call(&channel, CHECK, question).await.unwrap();
    (decision.allowed, decision.reason_code)
}

#[tokio::test]
async fn a_workload_may_ask_about_itself_and_a_proxy_about_anybody() {
    let (house, authority) = open().await;
    let workload = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    let proxy = Client::new(&authority, Some(authority.svid(ENVOY)));
    let (yes, no) = ((true, String::new()), (false, "untrusted_peer".to_owned()));
    for door in [mesh(&house), http(&house)] {
        assert_eq!(told(&workload, door, "").await, yes);
        assert_eq!(told(&workload, door, WORKLOAD).await, yes);
        assert_eq!(
            told(&workload, door, "spiffe://example.org/svc/other").await,
            no
        );
        assert_eq!(told(&proxy, door, WORKLOAD).await, yes);
    }
    let anonymous = Client::new(&authority, None);
    let channel = anonymous.connect(http(&house)).await.unwrap();
    for caller in ["", WORKLOAD] {
        let question = about(caller, "documents/42", "read");
        let refused = call::<_, Decision>(&channel, CHECK, question).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    }
}

#[tokio::test]
async fn strangers_take_no_place_of_a_decision() {
    let (house, authority) = open_with("limits: {max_in_flight: 1}\n").await;
    let anonymous = Client::new(&authority, None);
    let _stalled = begin(&anonymous, http(&house), HEALTH).await;
    let refused = health(&anonymous, http(&house)).await.unwrap_err();
    assert!(refused.contains("overloaded"), "{refused}");
    let workload = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    assert_eq!(
        told(&workload, http(&house), "").await,
        (true, String::new())
    );
}

#[tokio::test]
async fn a_program_that_finds_no_place_is_on_record_at_both_doors() {
    for door in [mesh, http] {
        let (house, authority) = open_with("limits: {max_in_flight: 1}\n").await;
        let workload = Client::new(&authority, Some(authority.svid(WORKLOAD)));
        let _stalled = begin(&workload, door(&house), CHECK).await;
        let channel = workload.connect(door(&house)).await.unwrap();
        let question = about("", "documents/42", "read");
        let shed = call::<_, Decision>(&channel, CHECK, question).await;
        let shed = shed.unwrap_err();
        assert_eq!(shed.code(), Code::Unavailable);
        assert!(!shed.details().is_empty(), "{shed}");
        house.record(|it| it["reason_code"] == "overloaded").await;
    }
}

#[tokio::test]
async fn the_largest_message_is_the_same_on_both_doors() {
    let (house, authority) = open_with("limits: {max_message: 4KiB}\n").await;
    let workload = Client::new(&authority, Some(authority.svid(WORKLOAD)));
    let question = |length: usize| {
        let bare = about("", "documents/42", &"a".repeat(256)).encoded_len();
        // The caller's own tag and length are three bytes.
        let question = about(
            &"a".repeat(length - bare - 3),
            "documents/42",
            &"a".repeat(256),
        );
        assert_eq!(question.encoded_len(), length);
        question
    };
    for door in [mesh(&house), http(&house)] {
        let channel = workload.connect(door).await.unwrap();
        let heard = call::<_, Decision>(&channel, CHECK, question(4096)).await;
        assert!(!heard.unwrap().allowed);
        let large = call::<_, Decision>(&channel, CHECK, question(4097)).await;
        assert_eq!(large.unwrap_err().code(), Code::ResourceExhausted);
    }
}
