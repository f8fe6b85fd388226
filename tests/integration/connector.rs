//! attache as a client: whom it believes to be the server it means, and what it shows.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::clock::{Clock as _, MockClock, SystemClock};
use attache::identity::TrustDomain;
use attache::tls::{self, Credentials, Protocols};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use crate::harness::mesh::{SELF, doors, files, replace};
use crate::harness::pki::{Authority, Identity, Leaf};

/// The server that is meant.
const OPA: &str = "spiffe://example.org/opa";

/// Our end: the material of [`files`] in a folder, read once.
struct Ours {
    _dir: TempDir,
    credentials: Credentials,
}

impl Ours {
    fn new(authority: &Authority, own: &Identity) -> Self {
        Self::at(authority, own, &Arc::new(MockClock::new(SystemClock.now())))
    }

    fn at(authority: &Authority, own: &Identity, clock: &Arc<MockClock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tls")).unwrap();
        replace(dir.path(), &files(authority, own));
        let credentials = credentials(dir.path(), clock);
        Self {
            _dir: dir,
            credentials,
        }
    }

    /// A client that means `expected`.
    fn client(&self, expected: &str) -> reqwest::Client {
        let credential = self.credentials.get("mesh").unwrap();
        let expected = vec![expected.parse().unwrap()];
        let config = credential.connector(expected, Protocols::Http).unwrap();
        reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .build()
            .unwrap()
    }
}

fn credentials(dir: &Path, clock: &Arc<MockClock>) -> Credentials {
    let text =
        "{mesh: {files: {certificate: tls/svid.pem, key: tls/key.pem, bundle: tls/bundle.pem}}}";
    let config: tls::Config = serde_saphyr::from_str(text).unwrap();
    let ours: TrustDomain = "example.org".parse().unwrap();
    let clock = Arc::clone(clock) as _;
    let accepted = vec![ours.clone()];
    config.build(dir, &ours, accepted, &clock, &mut Registry::default())
}

/// A server elsewhere, by an implementation that is not ours, which wants a certificate of `clients`.
struct Server {
    address: SocketAddr,
    /// What clients have shown, in their order.
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    async fn showing(identity: &Identity, clients: &Authority) -> Self {
        Self::speaking(identity, clients, &[&rustls::version::TLS13]).await
    }

    async fn speaking(
        identity: &Identity,
        clients: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.der.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(identity.chain.clone(), identity.key_der())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<_>>>::default();
        let shown = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(tcp).await else {
                    continue;
                };
                let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
                shown.lock().unwrap().push(leaf.into_owned());
                if stream.read_u8().await.is_ok() {
                    let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                    // The client may be gone; what it saw is its own business.
                    let _gone = stream.write_all(answer).await;
                    let _gone = stream.shutdown().await;
                }
            }
        });
        Self {
            address,
            seen,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    async fn asked_by(&self, client: &reqwest::Client) -> Result<u16, String> {
        let url = format!("https://{}/", self.address);
        match client.get(url).send().await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(format!("{error:?}")),
        }
    }
}

#[tokio::test]
async fn the_server_that_is_meant_is_asked_with_our_certificate() {
    let authority = Authority::of("example.org");
    let own = authority.svid(SELF);
    let ours = Ours::new(&authority, &own);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let server = Server::speaking(&authority.svid(OPA), &authority, &[version]).await;
        assert_eq!(server.asked_by(&ours.client(OPA)).await, Ok(204));
        assert_eq!(*server.seen.lock().unwrap(), [own.leaf().clone()]);
    }
}

#[tokio::test]
async fn our_own_listener_is_asked_by_its_id() {
    // Both ends are ours: `http` looks at the certificate that `connector` shows.
    let authority = Authority::of("example.org");
    let house = doors(&authority, &authority.svid(SELF)).open().await;
    let ours = Ours::new(&authority, &authority.svid("spiffe://example.org/sidecar"));
    let url = format!("https://{}/", house.http.unwrap());
    let response = ours.client(SELF).get(&url).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(response.version(), reqwest::Version::HTTP_2);
    let refused = ours.client(OPA).get(&url).send().await.unwrap_err();
    let said = format!("{refused:?}");
    assert!(said.contains("Unexpected"), "{said}");
    let accepted =
        "attache_tls_handshakes_total{tls=\"mesh\",listener=\"http\",result=\"accepted\"}";
    assert_eq!(house.metric(accepted).await, 1);
}

#[tokio::test]
async fn a_grpc_channel_knows_its_server_by_its_id() {
    let authority = Authority::of("example.org");
    let house = doors(&authority, &authority.svid(SELF)).open().await;
    let ours = Ours::new(&authority, &authority.svid("spiffe://example.org/sidecar"));
    let credential = ours.credentials.get("mesh").unwrap();
    let address = house.mesh.unwrap();
    let asked = async |expected: &str, protocols| {
        let expected = vec![expected.parse().unwrap()];
        let config = Arc::new(credential.connector(expected, protocols).unwrap());
        let connect = service_fn(move |_| {
            let config = Arc::clone(&config);
            async move {
                let tcp = TcpStream::connect(address).await?;
                let stream = tls::connect(config, "authority.invalid", tcp).await?;
                std::io::Result::Ok(TokioIo::new(stream))
            }
        });
        let endpoint = Endpoint::from_static("http://authority.invalid");
        let channel = endpoint.connect_with_connector(connect).await?;
        let request = HealthCheckRequest::default();
        let answer = HealthClient::new(channel).check(request).await;
        Ok::<_, tonic::transport::Error>(answer.unwrap())
    };
    assert!(asked(SELF, Protocols::Http2).await.is_ok());
    assert!(asked(OPA, Protocols::Http2).await.is_err());
}

#[tokio::test]
async fn a_server_that_agrees_on_no_protocol_is_not_spoken_to() {
    let authority = Authority::of("example.org");
    let ours = Ours::new(&authority, &authority.svid(SELF));
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let credential = ours.credentials.get("mesh").unwrap();
    let expected = vec![OPA.parse().unwrap()];
    let config = credential.connector(expected, Protocols::Http2).unwrap();
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let refused = tls::connect(Arc::new(config), "opa.invalid", tcp).await;
    let said = refused.unwrap_err().to_string();
    assert_eq!(said, "the server agreed on no protocol");
}

#[tokio::test]
async fn a_server_that_is_anybody_else_is_not_asked() {
    let authority = Authority::of("example.org");
    let stranger = Authority::of("example.org");
    let ours = Ours::new(&authority, &authority.svid(SELF));
    let partner = "spiffe://partner.example/opa";
    let client_only = Leaf {
        usages: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..Leaf::of(OPA)
    };
    let named = Leaf {
        uris: Vec::new(),
        ..Leaf::of(OPA)
    };
    let constrained = authority.constrained("example.org", "example.org");
    for (case, identity, expected) in [
        (
            "another workload",
            authority.svid("spiffe://example.org/other"),
            OPA,
        ),
        (
            "one below it",
            authority.svid("spiffe://example.org/opa/1"),
            OPA,
        ),
        ("its own ID by a stranger", stranger.svid(OPA), OPA),
        (
            "a trust domain that is not accepted",
            authority.svid(partner),
            partner,
        ),
        (
            "S42: expired",
            authority.issue(&Leaf::of(OPA).valid(-60, -1)),
            OPA,
        ),
        (
            "S42: not yet valid",
            authority.issue(&Leaf::of(OPA).valid(60, 600)),
            OPA,
        ),
        ("S36: not for servers", authority.issue(&client_only), OPA),
        ("no SPIFFE ID", authority.issue(&named), OPA),
        (
            "S24: two of them",
            authority.issue(&Leaf::of(OPA).and(SELF)),
            OPA,
        ),
        ("S41", constrained.svid(OPA).below(&constrained), OPA),
    ] {
        let server = Server::showing(&identity, &authority).await;
        let asked = server.asked_by(&ours.client(expected)).await;
        assert!(asked.is_err(), "{case}: {asked:?}");
        assert_eq!(server.seen.lock().unwrap().len(), 0, "{case}");
    }
}

#[tokio::test]
async fn where_nobody_is_meant_nobody_is_asked() {
    let authority = Authority::of("example.org");
    let ours = Ours::new(&authority, &authority.svid(SELF));
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let credential = ours.credentials.get("mesh").unwrap();
    let config = credential.connector(Vec::new(), Protocols::Http2).unwrap();
    let client = reqwest::Client::builder().tls_backend_preconfigured(config);
    assert!(server.asked_by(&client.build().unwrap()).await.is_err());
}

#[tokio::test]
async fn a_server_that_does_not_believe_us_gives_no_answer() {
    let authority = Authority::of("example.org");
    let ours = Ours::new(&authority, &authority.svid(SELF));
    let server = Server::showing(&authority.svid(OPA), &Authority::of("example.org")).await;
    assert!(server.asked_by(&ours.client(OPA)).await.is_err());
}

#[tokio::test]
async fn without_valid_material_nobody_is_asked_and_with_new_material_everybody_is() {
    let clock = Arc::new(MockClock::new(SystemClock.now()));
    let authority = Authority::of("example.org");
    let own = authority.issue(&Leaf::of(SELF).valid(-60, 60));
    let ours = Ours::at(&authority, &own, &clock);
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let client = ours.client(OPA);
    assert_eq!(server.asked_by(&client).await, Ok(204));
    let credential = ours.credentials.get("mesh").unwrap();

    clock.advance(Duration::from_secs(61));
    let expired = server.asked_by(&client).await.unwrap_err();
    assert!(expired.contains("NoMaterial"), "{expired}");

    // Rotation is live: the same client shows what is in force.
    let next = authority.svid(SELF);
    let bundle = vec![authority.der.clone()];
    let offer = || tls::Offer {
        chain: next.chain.clone(),
        key: next.key_der(),
        bundles: [("example.org".to_owned(), bundle.clone())].into(),
    };
    credential.offer(offer()).unwrap();
    assert_eq!(server.asked_by(&client).await, Ok(204));
    assert_eq!(
        *server.seen.lock().unwrap(),
        [own.leaf().clone(), next.leaf().clone()]
    );

    credential.withdraw("no entry");
    let withdrawn = server.asked_by(&client).await.unwrap_err();
    assert!(withdrawn.contains("NoMaterial"), "{withdrawn}");
    assert_eq!(server.seen.lock().unwrap().len(), 2);
}
