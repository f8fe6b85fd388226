//! The authorities of one trust domain, ready to verify the certificates of its workloads.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};

use crate::clock::Timestamp;
use crate::identity::{LeafError, check_intermediate, check_root};

/// The authorities of one trust domain.
#[derive(Debug)]
pub(super) struct Bundle {
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
}

/// Why a bundle can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// No certificate in it.
    #[error("the bundle is empty")]
    Empty,
    /// One of its certificates may not sign others.
    #[error("a certificate of the bundle is no authority")]
    NotAnAuthority(#[source] LeafError),
    /// One of its certificates can't be used.
    #[error("a certificate of the bundle can't be used")]
    Unusable(#[source] rustls::Error),
}

/// Why a chain is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// More intermediates than anybody needs.
    #[error("{0} intermediate certificates are more than {MOST_INTERMEDIATES}")]
    TooLong(usize),
    /// An intermediate that may not sign others.
    #[error("an intermediate certificate is no authority")]
    Intermediate(#[source] LeafError),
    /// No path from the leaf to an authority of its trust domain.
    #[error("the chain does not lead to an authority of the trust domain")]
    Path(#[source] rustls::Error),
}

impl Bundle {
    /// Reads the authorities, each in DER.
    pub(super) fn new(authorities: &[CertificateDer<'static>]) -> Result<Self, BundleError> {
        if authorities.is_empty() {
            return Err(BundleError::Empty);
        }
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            check_root(authority).map_err(BundleError::NotAnAuthority)?;
            roots
                .add(authority.clone())
                .map_err(BundleError::Unusable)?;
        }
        let roots = Arc::new(roots);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), super::provider())
                // The names of our authorities are nobody's business, and a peer has only one certificate to show.
                .clear_root_hint_subjects()
                .build()
                .map_err(|_no_roots| BundleError::Empty)?;
        Ok(Self { roots, clients })
    }

    /// Whether a client's chain leads to one of the authorities at `now`.
    pub(super) fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), ChainError> {
        let (leaf, intermediates) = parts(chain)?;
        self.clients
            .verify_client_cert(leaf, intermediates, unix_time(now))
            .map(|_verified| ())
            .map_err(ChainError::Path)
    }

    /// Whether a server's chain leads to one of the authorities at `now`: ours as clients see it, or that of a server we ask.
    pub(super) fn verify_server(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), ChainError> {
        let (leaf, intermediates) = parts(chain)?;
        let leaf = ParsedCertificate::try_from(leaf).map_err(ChainError::Path)?;
        let algorithms = super::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &self.roots,
            intermediates,
            unix_time(now),
            algorithms,
        )
        .map_err(ChainError::Path)
    }
}

/// A chain as rustls shows it, in one piece.
pub(super) fn chain<'a>(
    leaf: &'a CertificateDer<'_>,
    intermediates: &'a [CertificateDer<'_>],
) -> Vec<CertificateDer<'a>> {
    std::iter::once(leaf)
        .chain(intermediates)
        .map(|certificate| CertificateDer::from(&**certificate))
        .collect()
}

type Parts<'a, 'b> = (&'a CertificateDer<'b>, &'a [CertificateDer<'b>]);

fn parts<'a, 'b>(chain: &'a [CertificateDer<'b>]) -> Result<Parts<'a, 'b>, ChainError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        let missing = rustls::Error::NoCertificatesPresented;
        return Err(ChainError::Path(missing));
    };
    if intermediates.len() > MOST_INTERMEDIATES {
        return Err(ChainError::TooLong(intermediates.len()));
    }
    for intermediate in intermediates {
        check_intermediate(intermediate).map_err(ChainError::Intermediate)?;
    }
    Ok((leaf, intermediates))
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unix_seconds()))
}

/// Nested authorities are rarely more than three; a peer may not make us try out many.
const MOST_INTERMEDIATES: usize = 8;
