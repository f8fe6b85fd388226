//! The handshake as the connecting side: our certificate to show, and whether the other end is the one that is meant.
//!
//! The server is known by its SPIFFE ID and by nothing else: its certificate must be an X509-SVID that an authority of its
//! own trust domain stands behind, with one of the IDs that the caller names. Host names and public authorities count for
//! nothing. Without valid material of our own, and for every doubt, the connection fails.
//!
//! All of this is asked at each handshake, so that a renewed certificate and a changed bundle hold from the next
//! connection on. Whoever keeps connections bounds how long. No session is resumed: that would skip the look.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::identity::SpiffeId;

use super::bundle::chain;
use super::credential::Credential;
use super::handshake::Protocols;
use super::material::PeerError;
use super::signature;

impl Credential {
    /// A client of servers that have one of the `expected` IDs; of none where the list is empty. For reqwest
    /// (`tls_backend_preconfigured`), and by [`connect`] for gRPC channels.
    ///
    /// TLS 1.3, or 1.2 with ephemeral keys and authenticated encryption.
    pub fn connector(
        &self,
        expected: Vec<SpiffeId>,
        protocols: Protocols,
    ) -> Result<ClientConfig, rustls::Error> {
        let time = Arc::new(self.clone());
        let judge = Judge {
            credential: self.clone(),
            expected,
        };
        let mut config = ClientConfig::builder_with_details(super::provider(), time)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(judge))
            .with_client_cert_resolver(Arc::new(Shown(self.clone())));
        config.alpn_protocols = protocols.wire();
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// Takes up a connection with a configuration of [`Credential::connector`]. `host` is told to the server, which may choose
/// its certificate by it, and means nothing else. The caller limits the time.
pub async fn connect(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> io::Result<ClientStream> {
    let told = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(config).connect(told, tcp).await?;
    // A server that knows nothing of ALPN would get to hear a protocol that it may not speak.
    if stream.get_ref().1.alpn_protocol().is_none() {
        return Err(io::Error::other("the server agreed on no protocol"));
    }
    Ok(stream)
}

/// An encrypted connection to a server.
pub type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// What we show: whatever is in force at the time.
#[derive(Debug)]
struct Shown(Credential);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.current()?.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What we believe of the other end.
#[derive(Debug)]
struct Judge {
    credential: Credential,
    expected: Vec<SpiffeId>,
}

impl Judge {
    fn judge(&self, chain: &[CertificateDer<'_>]) -> Result<(), PeerError> {
        let material = self.credential.current().ok_or(PeerError::NoMaterial)?;
        let accepted = self.credential.accepted();
        let vouched = material.verify_server(chain, &accepted, self.credential.now())?;
        let svid = vouched.svid;
        if self.expected.contains(&svid.id) {
            Ok(())
        } else {
            Err(PeerError::Unexpected(svid.id))
        }
    }
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.judge(&chain(leaf, intermediates))?;
        Ok(ServerCertVerified::assertion())
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
