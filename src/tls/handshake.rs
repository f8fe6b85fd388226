//! The handshake as the accepting side: who the other end is, and whether that is still so later on.
//!
//! TLS 1.3, or 1.2 with ephemeral keys and authenticated encryption; HTTP/2 by ALPN; a client certificate always. There
//! is no session resumption: a resumed session would skip the look at the certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme,
};
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio_rustls::TlsAcceptor;

use crate::clock::Timestamp;
use crate::identity::{MeshPeer, Peer, Svid};

use super::bundle::unix_time;
use super::credential::Credential;
use super::material::PeerError;

/// An encrypted connection.
pub type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// What the handshake of a connection established, kept while the connection lives.
#[derive(Debug)]
pub struct Session {
    svid: Arc<Svid>,
    chain: Vec<CertificateDer<'static>>,
    credential: Credential,
    /// How the chain was judged last.
    judged: Mutex<Option<Judgement>>,
}

#[derive(Debug, Clone, Copy)]
struct Judgement {
    /// The material that it was judged by.
    revision: u64,
    vouched: bool,
    /// When to judge again at the latest.
    until: Timestamp,
}

/// Why a connection was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The other end went away, spoke no TLS, or showed a certificate that is refused.
    #[error("the handshake failed")]
    Failed(#[source] std::io::Error),
    /// The other end did not offer HTTP/2, or showed no certificate.
    #[error("the client did not agree to speak HTTP/2 with a certificate")]
    NotOurs,
    /// The other end took too long.
    #[error("the handshake took too long")]
    Timeout(#[source] Elapsed),
}

// === impl Session ===

impl Session {
    /// The other end, as far as it can be told at this moment.
    pub fn peer(&self) -> Peer {
        Peer::Mesh(MeshPeer {
            svid: Arc::clone(&self.svid),
            vouched: self.is_vouched(),
        })
    }

    /// Whether the bundles in force still stand behind the certificate. Judged once for each revision of the material,
    /// and again when a certificate that the judgement rests on ends.
    fn is_vouched(&self) -> bool {
        let Some(material) = self.credential.current() else {
            return false;
        };
        let now = self.credential.now();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = *judged
            && last.revision == material.revision
            && now < last.until
        {
            return last.vouched;
        }
        let verified = material.verify(&self.chain, &self.credential.accepted(), now);
        let judgement = Judgement {
            revision: material.revision,
            vouched: verified.is_ok(),
            // Who is refused connects again.
            until: verified.unwrap_or(Timestamp::from_unix_seconds(u64::MAX)),
        };
        *judged = Some(judgement);
        judgement.vouched
    }
}

// === impl Credential ===

impl Credential {
    /// Takes up a connection: handshake, certificate, and the client's first byte, all within `time`.
    pub async fn accept(
        &self,
        acceptor: &Acceptor,
        tcp: TcpStream,
        time: Duration,
    ) -> Result<(Stream, Arc<Session>), HandshakeError> {
        let accepting = async {
            let mut stream = acceptor
                .0
                .accept(tcp)
                .await
                .map_err(HandshakeError::Failed)?;
            let session = self.session(&stream)?;
            // A client that goes silent after the handshake would otherwise wait in the server without a limit.
            let first = stream.fill_buf().await.map_err(HandshakeError::Failed)?;
            if first.is_empty() {
                let gone = std::io::ErrorKind::UnexpectedEof.into();
                return Err(HandshakeError::Failed(gone));
            }
            Ok((stream, session))
        };
        let accepted = tokio::time::timeout(time, accepting)
            .await
            .map_err(HandshakeError::Timeout)
            .flatten();
        self.metrics().handshake(match &accepted {
            Ok(_) => "accepted",
            Err(HandshakeError::Failed(_) | HandshakeError::NotOurs) => "refused",
            Err(HandshakeError::Timeout(_)) => "timeout",
        });
        accepted
    }

    /// Counts a handshake that was given up in favour of newer ones.
    pub fn crowded_out(&self) {
        self.metrics().handshake("crowded_out");
    }

    fn session(&self, stream: &Stream) -> Result<Arc<Session>, HandshakeError> {
        let (_, connection) = stream.get_ref();
        if connection.alpn_protocol() != Some(HTTP_2) {
            return Err(HandshakeError::NotOurs);
        }
        let chain = connection
            .peer_certificates()
            .ok_or(HandshakeError::NotOurs)?;
        let leaf = chain.first().ok_or(HandshakeError::NotOurs)?;
        let svid = Svid::from_der(leaf).map_err(|_not_verified| HandshakeError::NotOurs)?;
        Ok(Arc::new(Session {
            svid: Arc::new(svid),
            chain: chain.to_vec(),
            credential: self.clone(),
            judged: Mutex::default(),
        }))
    }

    /// What accepts connections with this credential, whatever its material is at the time.
    pub fn acceptor(&self) -> Result<Acceptor, rustls::Error> {
        let judge = Arc::new(Judge(self.clone()));
        let mut config =
            ServerConfig::builder_with_details(super::provider(), Arc::clone(&judge) as _)
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
                .with_client_cert_verifier(Arc::clone(&judge) as _)
                .with_cert_resolver(judge);
        config.alpn_protocols = vec![HTTP_2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Acceptor(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Accepts connections; see [`Credential::acceptor`].
#[derive(Clone)]
pub struct Acceptor(TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Our answers to rustls' questions during a handshake.
#[derive(Debug)]
struct Judge(Credential);

impl TimeProvider for Judge {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.0.now()))
    }
}

impl ResolvesServerCert for Judge {
    /// Without valid material there is nothing to show, and the handshake fails.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current()?.key))
    }
}

impl ClientCertVerifier for Judge {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(leaf).chain(intermediates).collect();
        let chain: Vec<_> = chain
            .into_iter()
            .map(|certificate| CertificateDer::from(&**certificate))
            .collect();
        self.0
            .current()
            .ok_or(PeerError::NoMaterial)
            .and_then(|material| material.verify(&chain, &self.0.accepted(), self.0.now()))
            .map(|_until| ClientCertVerified::assertion())
            .map_err(|error| {
                let refused = CertificateError::Other(OtherError(Arc::new(error)));
                rustls::Error::InvalidCertificate(refused)
            })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = super::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = super::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        super::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const HTTP_2: &[u8] = b"h2";
