//! The authorities of one trust domain, ready to verify the certificates of its workloads.
//!
//! An authority vouches for nobody before or after the dates in its own certificate, whoever left it in the bundle. A path
//! as such would be valid (RFC 5280 section 6.1.1 (d) has no dates for trust anchors), but most others refuse it too.

use std::borrow::Cow;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};

use crate::clock::Timestamp;
use crate::identity::{LeafError, Validity, check_intermediate, check_root};

/// The authorities of one trust domain.
#[derive(Debug)]
pub(super) struct Bundle {
    authorities: Vec<(CertificateDer<'static>, Validity)>,
    /// All of them, for as long as all of them count.
    all: Anchors,
}

/// Authorities that count, as rustls takes them.
#[derive(Debug, Clone)]
struct Anchors {
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
    /// No authority of the bundle is valid now.
    #[error("no authority of the trust domain is valid now")]
    NoAuthority,
    /// No path from the leaf to an authority of its trust domain.
    #[error("the chain does not lead to an authority of the trust domain")]
    Path(#[source] rustls::Error),
}

impl Bundle {
    /// Reads the authorities, each in DER.
    pub(super) fn new(authorities: &[CertificateDer<'static>]) -> Result<Self, BundleError> {
        let authorities = authorities.iter().map(|authority| {
            let validity = check_root(authority).map_err(BundleError::NotAnAuthority)?;
            Ok((authority.clone(), validity))
        });
        let authorities = authorities.collect::<Result<Vec<_>, _>>()?;
        let all = Anchors::new(authorities.iter().map(|(authority, _)| authority))?;
        Ok(Self { authorities, all })
    }

    /// Whether a client's chain leads to one of the authorities at `now`. What comes back is until when that holds.
    pub(super) fn verify_client(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Timestamp, ChainError> {
        let (leaf, intermediates, validity) = parts(chain)?;
        let (anchors, until) = self.anchors(now)?;
        anchors
            .clients
            .verify_client_cert(leaf, intermediates, unix_time(now))
            .map_err(ChainError::Path)?;
        Ok(first_end(&validity, until))
    }

    /// The same of a server's chain: ours as clients see it, or that of a server we ask.
    pub(super) fn verify_server(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<Timestamp, ChainError> {
        let (leaf, intermediates, validity) = parts(chain)?;
        let (anchors, until) = self.anchors(now)?;
        let leaf = ParsedCertificate::try_from(leaf).map_err(ChainError::Path)?;
        let algorithms = super::provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &anchors.roots,
            intermediates,
            unix_time(now),
            algorithms,
        )
        .map_err(ChainError::Path)?;
        Ok(first_end(&validity, until))
    }

    /// The authorities that count at `now`, and when the first of them no longer does.
    ///
    /// Which of them stands behind a chain is not known afterwards, so that the first end is the end for all.
    fn anchors(&self, now: Timestamp) -> Result<(Cow<'_, Anchors>, Timestamp), ChainError> {
        let mut valid = self
            .authorities
            .iter()
            .filter(|(_, validity)| validity.covers(now))
            .peekable();
        if valid.peek().is_none() {
            return Err(ChainError::NoAuthority);
        }
        let valid: Vec<_> = valid.collect();
        let ends = valid.iter().map(|(_, validity)| validity.not_after);
        let until = ends.fold(Timestamp::from_unix_seconds(u64::MAX), Timestamp::min);
        if valid.len() == self.authorities.len() {
            return Ok((Cow::Borrowed(&self.all), until));
        }
        // They have all passed before, together.
        let anchors = Anchors::new(valid.into_iter().map(|(authority, _)| authority))
            .map_err(|_unusable| ChainError::NoAuthority)?;
        Ok((Cow::Owned(anchors), until))
    }
}

impl Anchors {
    fn new<'a>(
        authorities: impl Iterator<Item = &'a CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
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

/// A leaf, the intermediates above it, and from when until when each of those counts.
type Parts<'a, 'b> = (
    &'a CertificateDer<'b>,
    &'a [CertificateDer<'b>],
    Vec<Validity>,
);

fn parts<'a, 'b>(chain: &'a [CertificateDer<'b>]) -> Result<Parts<'a, 'b>, ChainError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        let missing = rustls::Error::NoCertificatesPresented;
        return Err(ChainError::Path(missing));
    };
    if intermediates.len() > MOST_INTERMEDIATES {
        return Err(ChainError::TooLong(intermediates.len()));
    }
    let validity = intermediates
        .iter()
        .map(|intermediate| check_intermediate(intermediate).map_err(ChainError::Intermediate))
        .collect::<Result<_, _>>()?;
    Ok((leaf, intermediates, validity))
}

fn first_end(validity: &[Validity], until: Timestamp) -> Timestamp {
    let ends = validity.iter().map(|it| it.not_after);
    ends.fold(until, Timestamp::min)
}

impl ChainError {
    /// Whether the same chain may be believed at another time.
    pub(super) fn is_of_the_clock(&self) -> bool {
        use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        match self {
            Self::NoAuthority => true,
            Self::Path(rustls::Error::InvalidCertificate(error)) => matches!(
                error,
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            ),
            Self::Path(_) | Self::TooLong(_) | Self::Intermediate(_) => false,
        }
    }
}

pub(super) fn unix_time(now: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.unix_seconds()))
}

/// Nested authorities are rarely more than three; a peer may not make us try out many.
const MOST_INTERMEDIATES: usize = 8;
