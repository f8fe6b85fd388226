//! Connections that come to nothing.

use std::sync::Arc;
use std::time::Duration;

use attache::app::rehearsal_authority;
use attache::clock::SystemClock;
use attache::config::Config;
use attache::grpc::{ExtAuthzServer, Limits};
use attache::lifecycle::Shutdown;
use attache::socket::{Address, Bound};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::rig::raw::{Raw, Stream};
use crate::rig::{Door, PATIENCE, Rig};

/// The first flight of a client that says all the right things.
fn client_hello() -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("attache.invalid").unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_one_byte_at_a_time_is_given_up() {
    // X02
    let hello = client_hello();
    let drip = async |address, hello: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let begun = Instant::now();
        let (mut read, mut write) = stream.split();
        let writing = async {
            for byte in hello {
                if write.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let mut said = Vec::new();
        tokio::select! {
            () = writing => panic!("all of it went"),
            _closed = read.read_to_end(&mut said) => {}
        }
        assert!(begun.elapsed() >= Duration::from_secs(1));
    };
    for door in Door::SECURED {
        let rig = Rig::at(
            door,
            "limits: {request_timeout: 10s, handshake_timeout: 2s}",
        )
        .await;
        let address = rig.tcp_address();
        rig.beside(async {
            futures::future::join_all((0..300).map(|_| drip(address, &hello))).await;
        })
        .await;
        let kind = door.kind();
        let timeouts = format!(
            "attache_tls_handshakes_total{{tls=\"mesh\",listener=\"{kind}\",result=\"timeout\"}}"
        );
        assert_eq!(rig.metric(&timeouts).await, 300, "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_is_given_up_before_a_handshake_and_after_it() {
    // X01, X03
    for door in Door::SECURED {
        let rig = Rig::at(
            door,
            "limits: {request_timeout: 10s, handshake_timeout: 2s}",
        )
        .await;
        let address = rig.tcp_address();
        rig.beside(async {
            let begun = Instant::now();
            let mut silent: Vec<Box<dyn Stream>> = Vec::new();
            for _ in 0..100 {
                silent.push(Box::new(TcpStream::connect(address).await.unwrap()));
            }
            for _ in 0..20 {
                silent.push(Box::new(rig.envoy().handshake(address).await.unwrap()));
            }
            for mut stream in silent {
                let mut said = Vec::new();
                let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
                // Reset or not: it is over.
                let _reset = closed.expect("an end");
            }
            assert!(begun.elapsed() >= Duration::from_secs(2), "{door:?}");
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_connections_leave_room_for_proxies() {
    // X19: 500 that come and go, then 300 that stay and say nothing.
    for rig in [
        Rig::tcp("limits: {request_timeout: 10s, handshake_timeout: 2s}").await,
        Rig::tls("limits: {request_timeout: 10s, handshake_timeout: 2s}").await,
    ] {
        let address = rig.tcp_address();
        let before = rig.descriptors();
        rig.beside(async {
            for _ in 0..500 {
                drop(TcpStream::connect(address).await.unwrap());
            }
            let mut silent = Vec::new();
            for _ in 0..300 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            for mut stream in silent {
                let mut said = Vec::new();
                // Reset or not: it is over.
                let _closed = stream.read_to_end(&mut said).await;
            }
        })
        .await;
        crate::harness::house::eventually("descriptors are free again", || {
            (rig.descriptors() < before + 20).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_connections_finds_room_in_the_queue() {
    // X19: the honest proxy has the one place there is, so that nobody else is accepted.
    let limits = "limits: {request_timeout: 10s, max_connections: 1}";
    for rig in [Rig::unix(limits).await, Rig::tcp(limits).await] {
        rig.beside_connected(async {
            let mut waiting = Vec::new();
            for _ in 0..300 {
                let connecting = tokio::time::timeout(Duration::from_secs(1), rig.dial());
                waiting.push(connecting.await.expect("no wait, and no refusal"));
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn idle_connections_stay_only_while_somebody_is_there_and_not_for_ever() {
    // X04: in this process, where half a minute takes no time.
    let text = include_str!("../../deploy/dev.yaml");
    let config = Config::parse(text, "dev.yaml".as_ref()).unwrap();
    let authority = rehearsal_authority(config, Arc::new(SystemClock)).unwrap();
    let server = ExtAuthzServer::new(Arc::new(authority), Limits::default());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("authz.sock");
    let address = Address::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    let bound = Bound::bind(&address).unwrap();
    tokio::spawn(server.serve(bound, Shutdown::default()));
    let begun = Instant::now();

    let mut gone = Raw::greet(UnixStream::connect(&path).await.unwrap()).await;
    let mut there = Raw::greet(UnixStream::connect(&path).await.unwrap()).await;
    let watching = tokio::spawn(async move {
        there.closed().await;
        begun.elapsed()
    });
    while gone.next().await.is_some() {}
    let closed = begun.elapsed();
    let expected = Duration::from_secs(40)..Duration::from_secs(45);
    assert!(expected.contains(&closed), "{closed:?}");
    // One that answers is asked to leave when it is old, and goes.
    let left = watching.await.unwrap();
    let expected = Duration::from_secs(300)..Duration::from_secs(310);
    assert!(expected.contains(&left), "{left:?}");
}
