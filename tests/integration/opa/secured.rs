//! An OPA that is asked with our own certificate, and known by its SPIFFE ID.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use attache::app::rehearsal_authority;
use attache::authority::AuthorizationProvider;
use attache::clock::SystemClock;
use attache::config::Config;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use crate::harness::house::eventually_async;
use crate::harness::mesh::{SELF, files, replace};
use crate::harness::opa::with_status;
use crate::harness::pki::{Authority, Identity};
use crate::harness::{Plan, ask};

const OPA: &str = "spiffe://example.org/opa";

/// Allows whoever shows a certificate of `clients`, one question for each connection.
struct Server {
    address: SocketAddr,
    /// What clients have shown, in their order.
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    _serving: AbortOnDropHandle<()>,
}

impl Server {
    async fn showing(identity: &Identity, clients: &Authority) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.der.clone()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
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
                let mut heard = [0; 8192];
                if stream.read(&mut heard).await.is_ok_and(|read| read > 0) {
                    let answer =
                        with_status("200 OK", "connection: close\r\n", r#"{"result": true}"#);
                    // The client may be gone; what it saw is its own business.
                    let _gone = stream.write_all(&answer).await;
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

    fn seen(&self) -> Vec<CertificateDer<'static>> {
        self.seen.lock().unwrap().clone()
    }

    /// A house that asks this server, known by `id`.
    fn plan(&self, id: &str) -> Plan {
        Plan {
            policy: format!(
                "{{engine: opa, opa: {{endpoint: \"https://{}\", tls: mesh, spiffe_ids: [\"{id}\"]}}, \
                 breaker: {{recovery_timeout: 100ms}}}}",
                self.address
            ),
            more: "tls: {mesh: {files: {certificate: tls/svid.pem, key: tls/key.pem, bundle: tls/bundle.pem}}}\n"
                .to_owned(),
            watched: true,
            ..Plan::default()
        }
    }
}

#[tokio::test]
async fn the_opa_that_is_meant_is_asked_with_our_certificate() {
    let authority = Authority::of("example.org");
    let own = authority.svid(SELF);
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let plan = Plan {
        files: files(&authority, &own),
        ..server.plan(OPA)
    };
    let house = plan.open().await;
    assert_eq!(house.word(ask("GET", "/documents/1")).await, "allow");
    let seen = server.seen();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|it| it == own.leaf()));
}

/// O18, with its ID for its name.
#[tokio::test]
async fn an_opa_with_another_id_or_of_another_authority_is_not_asked() {
    let authority = Authority::of("example.org");
    let other = authority.svid("spiffe://example.org/other");
    let stranger = Authority::of("example.org").svid(OPA);
    for identity in [other, stranger] {
        let server = Server::showing(&identity, &authority).await;
        let plan = Plan {
            files: files(&authority, &authority.svid(SELF)),
            ..server.plan(OPA)
        };
        let house = plan.open().await;
        let answer = house.check(ask("GET", "/documents/1")).await;
        assert_eq!(answer.word(), "policy_unavailable");
        assert_eq!(server.seen(), []);
    }
}

#[tokio::test]
async fn an_opa_that_does_not_believe_us_decides_nothing() {
    let authority = Authority::of("example.org");
    let server = Server::showing(&authority.svid(OPA), &Authority::of("example.org")).await;
    let plan = Plan {
        files: files(&authority, &authority.svid(SELF)),
        ..server.plan(OPA)
    };
    let house = plan.open().await;
    assert_ne!(house.word(ask("GET", "/documents/1")).await, "allow");
    assert_eq!(server.seen(), []);
}

#[tokio::test]
async fn without_a_certificate_opa_is_unavailable_and_with_the_next_one_it_is_asked() {
    let authority = Authority::of("example.org");
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let house = server.plan(OPA).open().await;
    let word = || house.word(ask("GET", "/documents/1"));
    assert_eq!(word().await, "policy_unavailable");
    assert_eq!(server.seen(), []);

    std::fs::create_dir(house.dir.path().join("tls")).unwrap();
    let mut shown = authority.svid(SELF);
    replace(house.dir.path(), &files(&authority, &shown));
    eventually_async("the first certificate", || async {
        (word().await == "allow").then_some(())
    })
    .await;
    assert_eq!(server.seen().last(), Some(shown.leaf()));

    // Renewed: the next connection shows it, and no question fails for it.
    shown = authority.svid(SELF);
    replace(house.dir.path(), &files(&authority, &shown));
    eventually_async("the renewed certificate", || async {
        assert_eq!(word().await, "allow");
        (server.seen().last() == Some(shown.leaf())).then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_id_is_taken_up_by_a_reload() {
    let authority = Authority::of("example.org");
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let plan = Plan {
        files: files(&authority, &authority.svid(SELF)),
        ..server.plan("spiffe://example.org/older")
    };
    let house = plan.open().await;
    let word = || house.word(ask("GET", "/documents/1"));
    assert_eq!(word().await, "policy_unavailable");
    let dir = house.dir.path();
    let text = server.plan(OPA).text(dir);
    replace(dir, &[("attache.yaml".to_owned(), text)]);
    eventually_async("the other ID", || async {
        (word().await == "allow").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_not_there_is_refused_with_its_key() {
    let authority = Authority::of("example.org");
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let plan = Plan {
        more: String::new(),
        ..server.plan(OPA)
    };
    let (_dir, file) = plan.lay_out();
    let refused = Config::read(&file).unwrap_err().to_string();
    assert!(
        refused.contains("policy.opa.tls: there is no `mesh` in tls"),
        "{refused}"
    );
}

/// `attache eval` reads certificates from files, as the server does.
#[tokio::test]
async fn a_rehearsal_asks_with_our_certificate_too() {
    let authority = Authority::of("example.org");
    let own = authority.svid(SELF);
    let server = Server::showing(&authority.svid(OPA), &authority).await;
    let plan = Plan {
        files: files(&authority, &own),
        ..server.plan(OPA)
    };
    let (_dir, file) = plan.lay_out();
    let config = Config::read(&file).unwrap();
    let authority = rehearsal_authority(config, Arc::new(SystemClock)).unwrap();
    let provider: &dyn AuthorizationProvider = &authority;
    assert!(provider.health_check().await);
    assert_eq!(server.seen(), [own.leaf().clone()]);
}
