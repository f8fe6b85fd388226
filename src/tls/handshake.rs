//! The handshake as the accepting side: who the other end is, and whether that is still so later on.
//!
//! TLS 1.3, or 1.2 with ephemeral keys and authenticated encryption; a protocol agreed on by ALPN; a client certificate
//! always, or where the listener says so only if the client has one ([`Clients`]). One that is sent is never ignored.
//! There is no session resumption: a resumed session would skip the look at the certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use tokio::io::AsyncBufReadExt as _;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio_rustls::TlsAcceptor;

use crate::clock::Timestamp;
use crate::identity::{MeshPeer, Peer, Svid, TrustDomain};

use super::bundle::{chain, unix_time};
use super::credential::Credential;
use super::material::PeerError;
use super::signature;

/// An encrypted connection.
pub type Stream = tokio_rustls::server::TlsStream<TcpStream>;

/// What a listener asks of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// A certificate and HTTP/2.
    Workloads,
    /// HTTP/2 or HTTP/1.1. Who has a certificate may show it, and is refused if it does not verify.
    Anybody,
}

/// What is spoken on a connection once the handshake is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/2.
    Http2,
    /// HTTP/2 or HTTP/1.1.
    Http,
}

/// What the handshake of a connection established, kept while the connection lives.
#[derive(Debug)]
pub struct Session {
    svid: Arc<Svid>,
    chain: Vec<CertificateDer<'static>>,
    credential: Credential,
    /// How the chain was judged last.
    judged: Mutex<Option<Judgement>>,
}

#[derive(Debug)]
struct Judgement {
    /// The material that it was judged by.
    revision: u64,
    /// The trust domains that were accepted then.
    accepted: Arc<Vec<TrustDomain>>,
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
    /// The other end offered no protocol that is spoken here, or showed no certificate where one is needed.
    #[error(
        "the client did not agree to speak HTTP as this listener does, or showed no certificate"
    )]
    NotOurs,
    /// The other end took too long.
    #[error("the handshake took too long")]
    Timeout(#[source] Elapsed),
}

// === impl Session ===

impl Session {
    /// A session of whoever has shown `chain`, leaf first.
    pub(super) fn new(chain: &[CertificateDer<'_>], credential: Credential) -> Option<Self> {
        let svid = Svid::from_der(chain.first()?).ok()?;
        let chain = chain.iter().map(|it| it.clone().into_owned());
        Some(Self {
            svid: Arc::new(svid),
            chain: chain.collect(),
            credential,
            judged: Mutex::default(),
        })
    }

    /// The other end, as far as it can be told at this moment.
    pub fn peer(&self) -> Peer {
        Peer::Mesh(MeshPeer {
            svid: Arc::clone(&self.svid),
            vouched: self.is_vouched(),
        })
    }

    /// What the other end showed in the handshake: its certificate, then the intermediates above it.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// Whether the bundles in force still stand behind the certificate. Judged once for each revision of the material
    /// and each list of trust domains, and again when a certificate that the judgement rests on ends.
    fn is_vouched(&self) -> bool {
        let Some(material) = self.credential.current() else {
            return false;
        };
        let accepted = self.credential.accepted();
        let now = self.credential.now();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*judged
            && last.revision == material.revision
            && Arc::ptr_eq(&last.accepted, &accepted)
            && now < last.until
        {
            return last.vouched;
        }
        let verified = material.verify(&self.chain, &accepted, now);
        let vouched = verified.is_ok();
        *judged = Some(Judgement {
            revision: material.revision,
            accepted,
            vouched,
            // Who is refused connects again.
            until: verified.map_or(Timestamp::from_unix_seconds(u64::MAX), |it| it.until),
        });
        vouched
    }
}

// === impl Credential ===

impl Credential {
    /// Takes up a connection: handshake, certificate, and the client's first byte, all within `time`. There is a session
    /// where the client has shown a certificate.
    pub async fn accept(
        &self,
        acceptor: &Acceptor,
        tcp: TcpStream,
        time: Duration,
    ) -> Result<(Stream, Option<Arc<Session>>), HandshakeError> {
        let accepting = async {
            let mut stream = acceptor
                .tls
                .accept(tcp)
                .await
                .map_err(HandshakeError::Failed)?;
            let session = self.session(&stream, acceptor.clients)?;
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
        let result = match &accepted {
            Ok(_) => "accepted",
            Err(HandshakeError::Failed(_) | HandshakeError::NotOurs) => "refused",
            Err(HandshakeError::Timeout(_)) => "timeout",
        };
        self.metrics().handshake(acceptor.listener, result);
        accepted
    }

    /// Makes the counts of a kind of listener visible before anybody has come.
    pub fn shown_by(&self, listener: &'static str) {
        self.metrics().shown_by(listener);
    }

    /// Counts a handshake that was given up in favour of newer ones.
    pub fn crowded_out(&self, acceptor: &Acceptor) {
        self.metrics().handshake(acceptor.listener, "crowded_out");
    }

    fn session(
        &self,
        stream: &Stream,
        clients: Clients,
    ) -> Result<Option<Arc<Session>>, HandshakeError> {
        let (_, connection) = stream.get_ref();
        // Without ALPN nothing is agreed on, and rustls would let it pass.
        if !connection
            .alpn_protocol()
            .is_some_and(|name| clients.protocols().names().contains(&name))
        {
            return Err(HandshakeError::NotOurs);
        }
        let Some(chain) = connection.peer_certificates() else {
            return match clients {
                Clients::Anybody => Ok(None),
                Clients::Workloads => Err(HandshakeError::NotOurs),
            };
        };
        // Without a certificate that can be read it was not verified.
        let session = Session::new(chain, self.clone()).ok_or(HandshakeError::NotOurs)?;
        Ok(Some(Arc::new(session)))
    }

    /// What accepts connections with this credential, whatever its material is at the time. Metrics name the kind of
    /// `listener`.
    pub fn acceptor(
        &self,
        clients: Clients,
        listener: &'static str,
    ) -> Result<Acceptor, rustls::Error> {
        let judge = Arc::new(Judge {
            credential: self.clone(),
            clients,
        });
        let mut config =
            ServerConfig::builder_with_details(super::provider(), Arc::new(self.clone()))
                .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
                .with_client_cert_verifier(Arc::clone(&judge) as _)
                .with_cert_resolver(judge);
        config.alpn_protocols = clients.protocols().wire();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let tls = TlsAcceptor::from(Arc::new(config));
        Ok(Acceptor {
            tls,
            clients,
            listener,
        })
    }
}

impl Clients {
    const fn protocols(self) -> Protocols {
        match self {
            Self::Workloads => Protocols::Http2,
            Self::Anybody => Protocols::Http,
        }
    }
}

impl Protocols {
    /// Best first, by the names of ALPN (RFC 7301 section 6).
    const fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Http2 => &[HTTP_2],
            Self::Http => &[HTTP_2, HTTP_1],
        }
    }

    /// As rustls wants them.
    pub(super) fn wire(self) -> Vec<Vec<u8>> {
        self.names().iter().map(|name| name.to_vec()).collect()
    }
}

/// Whether HTTP/2 was agreed on.
pub fn speaks_http2(stream: &Stream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP_2)
}

/// Accepts connections; see [`Credential::acceptor`].
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    clients: Clients,
    listener: &'static str,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Our answers to rustls' questions during a handshake.
#[derive(Debug)]
struct Judge {
    credential: Credential,
    clients: Clients,
}

impl TimeProvider for Credential {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.now()))
    }
}

impl ResolvesServerCert for Judge {
    /// Without valid material there is nothing to show, and the handshake fails.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.credential.current()?.key))
    }
}

impl ClientCertVerifier for Judge {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::Workloads
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.credential
            .current()
            .ok_or(PeerError::NoMaterial)
            .and_then(|material| {
                let accepted = self.credential.accepted();
                material.verify(
                    &chain(leaf, intermediates),
                    &accepted,
                    self.credential.now(),
                )
            })
            .map(|_until| ClientCertVerified::assertion())
            .map_err(rustls::Error::from)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        signature::verify_tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        signature::schemes()
    }
}

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";
