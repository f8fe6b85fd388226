//! A proxy elsewhere: asks over mutual TLS, and remembers which certificate it was shown.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use attache::socket::Address;
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::pki::{Authority, Identity};
use super::{Answer, House, Plan, ask};

/// A proxy that [`peps`](plan) names.
pub(crate) const ENVOY: &str = "spiffe://example.org/envoy/edge";
/// Our own identity.
pub(crate) const SELF: &str = "spiffe://example.org/attache";

/// A house with one TLS listener, whose material is in files.
pub(crate) fn plan(authority: &Authority, own: &Identity) -> Plan {
    Plan {
        listener: "{tcp: \"127.0.0.1:0\", tls: mesh}".to_owned(),
        more: "tls: {mesh: {files: {certificate: tls/svid.pem, key: tls/key.pem, bundle: tls/bundle.pem}}}\n\
               identity: {peps: [\"spiffe://example.org/envoy/*\"]}\n"
            .to_owned(),
        files: files(authority, own),
        ..Plan::default()
    }
}

/// A house with a `mesh` and an `http` listener, which show the certificate of [`plan`]. Proxies ask over the Unix socket.
pub(crate) fn doors(authority: &Authority, own: &Identity) -> Plan {
    Plan {
        listener: String::new(),
        doors:
            "  mesh: {tcp: \"127.0.0.1:0\", tls: mesh}\n  http: {tcp: \"127.0.0.1:0\", tls: mesh}\n"
                .to_owned(),
        ..plan(authority, own)
    }
}

/// The three files of [`plan`].
pub(crate) fn files(authority: &Authority, own: &Identity) -> Vec<(String, String)> {
    vec![
        ("tls/svid.pem".to_owned(), own.chain_pem.clone()),
        ("tls/key.pem".to_owned(), own.key_pem()),
        ("tls/bundle.pem".to_owned(), authority.pem.clone()),
    ]
}

/// Replaces files as Kubernetes and SPIFFE helpers do: each by a rename.
pub(crate) fn replace(dir: &Path, files: &[(String, String)]) {
    for (name, text) in files {
        let new = dir.join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, dir.join(name)).unwrap();
    }
}

/// How a client speaks TLS.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    identity: Option<Identity>,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    seen: Arc<Seen>,
}

/// Believes in one authority and remembers the last certificate.
#[derive(Debug)]
struct Seen {
    roots: RootCertStore,
    last: Mutex<Option<CertificateDer<'static>>>,
}

impl Client {
    /// A client that believes `authority`.
    pub(crate) fn new(authority: &Authority, identity: Option<Identity>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).unwrap();
        Self {
            identity,
            alpn: vec![b"h2".to_vec()],
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            seen: Arc::new(Seen {
                roots,
                last: Mutex::default(),
            }),
        }
    }

    pub(crate) fn with_alpn(self, alpn: &[&[u8]]) -> Self {
        let alpn = alpn.iter().map(|it| it.to_vec()).collect();
        Self { alpn, ..self }
    }

    pub(crate) fn with_tls12(self) -> Self {
        let versions = vec![&rustls::version::TLS12];
        Self { versions, ..self }
    }

    /// The certificate that the last server showed.
    pub(crate) fn shown(&self) -> Option<CertificateDer<'static>> {
        self.seen.last.lock().unwrap().clone()
    }

    pub(crate) fn config(&self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.seen) as _);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let provider = provider();
                let key = provider.key_provider.load_private_key(identity.key_der());
                // Unchecked: a client may show a certificate whose key it does not have.
                let shown = CertifiedKey::new(identity.chain.clone(), key.unwrap());
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown)))
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        config
    }

    /// Remembers sessions, should a server offer them: several handshakes by one connector.
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::new(self.config()))
    }

    /// A bare TLS connection; what the server thinks of the client shows on the first read.
    pub(crate) async fn handshake(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(address).await?;
        let name = ServerName::try_from("attache.invalid").unwrap();
        self.connector().connect(name, tcp).await
    }

    /// A gRPC connection.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
    ) -> Result<Channel, tonic::transport::Error> {
        let client = self.clone();
        Endpoint::from_static("http://attache.invalid")
            .connect_with_connector(service_fn(move |_| {
                let client = client.clone();
                async move { client.handshake(address).await.map(TokioIo::new) }
            }))
            .await
    }

    /// Asks over a connection of its own; an error where there is none.
    pub(crate) async fn ask(&self, address: SocketAddr) -> Result<Answer, String> {
        let channel = self
            .connect(address)
            .await
            .map_err(|error| error.to_string())?;
        ask_over(channel).await
    }
}

/// Asks for a document that the caller may read.
pub(crate) async fn ask_over(channel: Channel) -> Result<Answer, String> {
    AuthorizationClient::new(channel)
        .check(ask("GET", "/documents/42"))
        .await
        .map(|response| Answer::read(response.into_inner()))
        .map_err(|status| status.to_string())
}

/// Where the house listens.
pub(crate) fn address(house: &House) -> SocketAddr {
    match &house.address {
        Address::Tcp(address) => *address,
        Address::Unix { .. } => panic!("no TLS over Unix sockets"),
    }
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.last.lock().unwrap() = Some(leaf.clone().into_owned());
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &leaf.try_into()?,
            &self.roots,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
