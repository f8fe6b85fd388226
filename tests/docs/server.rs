//! The whole application on ports of its own, with the development configuration.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::app::{App, RunError};
use attache::clock::SystemClock;
use attache::config::Config;
use attache::lifecycle::Shutdown;
use attache::socket::Address;
use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use http::uri::PathAndQuery;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use tonic::client::Grpc;
use tonic::transport::Endpoint;

use crate::markdown::read;

pub(crate) struct Server {
    health: SocketAddr,
    ext_authz: SocketAddr,
    shutdown: Shutdown,
    running: tokio::task::JoinHandle<Result<(), RunError>>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(str::to_owned).await
    }

    /// With the configuration changed.
    pub(crate) async fn start_with(change: impl Fn(&str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("attache.yaml");
        let text = read("deploy/dev.yaml")
            .replace("127.0.0.1:9191", "127.0.0.1:0")
            .replace("127.0.0.1:8082", "127.0.0.1:0")
            .replace("/tmp", &folder.path().display().to_string())
            .replace("sinks: [stdout]", "sinks: [{jsonl: audit.jsonl}]")
            .replace(
                "listen:\n",
                "listen:\n  mesh: {tcp: \"127.0.0.1:0\", tls: mesh}\n",
            );
        let text = format!("{text}\n{}", certificate_files(folder.path()));
        std::fs::write(&file, change(&text)).unwrap();
        let config = Config::read(&file).unwrap();
        let app = App::build(config, Some(file), Arc::new(SystemClock))
            .await
            .unwrap();
        let health = app.health_address().unwrap();
        let Some(Address::Tcp(ext_authz)) = app.ext_authz_addresses().next().cloned() else {
            panic!("a TCP listener");
        };
        let shutdown = Shutdown::default();
        let running = tokio::spawn(app.run(shutdown.clone()));
        Self {
            health,
            ext_authz,
            shutdown,
            running,
            _folder: folder,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        // Whoever comes second finds the provider installed.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = format!("http://{}{path}", self.health);
        reqwest::get(url).await.unwrap().text().await.unwrap()
    }

    /// What `path` answers once it holds `part`.
    pub(crate) async fn get_with(&self, path: &str, part: &str) -> String {
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        let found = async {
            loop {
                looks.tick().await;
                let text = self.get(path).await;
                if text.contains(part) {
                    return text;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("{path} never showed `{part}`"))
    }

    /// Asks as Envoy does.
    pub(crate) async fn check(&self, caller: &str, path: &str) -> CheckResponse {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.ext_authz)).unwrap();
        let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
        grpc.ready().await.unwrap();
        let http = HttpRequest {
            method: "GET".to_owned(),
            host: "localhost".to_owned(),
            path: path.to_owned(),
            ..HttpRequest::default()
        };
        let request = CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer {
                    principal: caller.to_owned(),
                    ..Peer::default()
                }),
                request: Some(Request {
                    http: Some(http),
                    ..Request::default()
                }),
                ..AttributeContext::default()
            }),
        };
        let check = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
        let codec = tonic_prost::ProstCodec::<CheckRequest, CheckResponse>::default();
        let answer = grpc.unary(tonic::Request::new(request), check, codec).await;
        answer.unwrap().into_inner()
    }

    pub(crate) async fn stop(self) {
        self.shutdown.drain();
        self.running.await.unwrap().unwrap();
    }
}

/// A certificate of our own, so that there is something to watch; the section that names it comes back.
fn certificate_files(folder: &Path) -> &'static str {
    let uri = |text: &str| SanType::URI(text.try_into().unwrap());
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let bundle = root.self_signed(&root_key).unwrap().pem();
    let mut leaf = CertificateParams::default();
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.subject_alt_names = vec![uri("spiffe://example.org/attache")];
    let issuer = Issuer::new(root, root_key);
    let svid = leaf.signed_by(&key, &issuer).unwrap().pem();
    for (name, text) in [
        ("svid.pem", svid),
        ("key.pem", key.serialize_pem()),
        ("bundle.pem", bundle),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    "tls: {mesh: {files: {certificate: svid.pem, key: key.pem, bundle: bundle.pem}}}"
}
