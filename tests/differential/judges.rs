//! Who is asked about a certificate, and which rule our own gate names when it refuses.

use std::sync::Arc;
use std::time::Duration;

use attache::clock::Timestamp;
use attache::identity::{LeafError, Svid};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;

use crate::Verdict;
use crate::made::NOW;

/// Our own gate for leaves.
pub(crate) fn attache(der: &[u8]) -> Result<(), LeafError> {
    Svid::from_der(der)?.check_validity(Timestamp::from_unix_seconds(NOW))
}

/// The `spiffe` crate, as it reads a chain that begins with the leaf.
pub(crate) fn spiffe(der: &[u8], key: &[u8]) -> Verdict {
    Verdict::of(&spiffe::X509Svid::parse_from_der(der, key))
}

/// rustls-webpki, as rustls asks it about a client.
pub(crate) fn webpki(authority: &CertificateDer<'static>) -> impl Fn(&[u8]) -> Verdict {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    move |der| {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        Verdict::of(&verifier.verify_client_cert(&CertificateDer::from(der), &[], now))
    }
}

pub(crate) fn rule_of(error: &LeafError) -> &'static str {
    match error {
        LeafError::Encoding(_) => "encoding",
        LeafError::Malformed(_) => "form",
        LeafError::TrailingBytes => "nothing after it",
        LeafError::DuplicateExtension(_) => "no extension twice",
        LeafError::UnreadableExtension(_) => "readable extensions",
        LeafError::UnknownCriticalExtension(_) => "no unknown critical extension",
        LeafError::MissingExtension(name) => name,
        LeafError::SigningCertificate(field) => field,
        LeafError::NotAnIssuer(_) => "issuer",
        LeafError::NoDigitalSignature => "digitalSignature",
        LeafError::NoClientAuth => "clientAuth",
        LeafError::UriNames(_) => "one URI name",
        LeafError::SpiffeId(_) => "SPIFFE ID",
        LeafError::OutsideValidity { .. } => "validity",
    }
}
