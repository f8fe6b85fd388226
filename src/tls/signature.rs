//! Whether the other end holds the key of the certificate it shows: the same in both directions.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::CertificateDer;
use rustls::{DigitallySignedStruct, Error, SignatureScheme, crypto};

/// A signature of TLS 1.2.
pub(super) fn verify_tls12(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = super::provider().signature_verification_algorithms;
    crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
}

/// A signature of TLS 1.3.
pub(super) fn verify_tls13(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let algorithms = super::provider().signature_verification_algorithms;
    crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
}

/// What signatures may be made with.
pub(super) fn schemes() -> Vec<SignatureScheme> {
    let algorithms = super::provider().signature_verification_algorithms;
    algorithms.supported_schemes()
}
