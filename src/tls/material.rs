//! The gate: a certificate, its key and the bundles around it become usable together or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, OtherError};

use crate::clock::Timestamp;
use crate::identity::{LeafError, SpiffeId, Svid, TrustDomain};

use super::bundle::{Bundle, BundleError, ChainError};

/// What a source has to offer: not yet believed.
pub struct Offer {
    /// Our certificate, then the intermediates above it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of our certificate.
    pub key: PrivateKeyDer<'static>,
    /// The authorities of each trust domain, ours among them.
    pub bundles: BTreeMap<String, Vec<CertificateDer<'static>>>,
}

/// What has passed the gate. Whether it is still valid is asked at every use.
#[derive(Debug)]
pub(super) struct Material {
    /// Counts the offers that passed, from 1.
    pub(super) revision: u64,
    /// What our certificate says.
    pub(super) svid: Svid,
    pub(super) key: Arc<CertifiedKey>,
    bundles: BTreeMap<String, Bundle>,
}

/// A peer that is believed.
#[derive(Debug)]
pub(super) struct Vouched {
    /// Who it is.
    pub(super) svid: Svid,
    /// When to ask again: the first end of a certificate that the belief rests on.
    pub(super) until: Timestamp,
}

/// Why an offer does not pass.
#[derive(Debug, thiserror::Error)]
pub enum MaterialError {
    /// No certificate at all.
    #[error("there is no certificate")]
    NoCertificate,
    /// The certificate breaks a rule of X509-SVIDs, or is not valid now.
    #[error("our certificate is not a valid X509-SVID")]
    Leaf(#[source] LeafError),
    /// The certificate names a workload of another trust domain.
    #[error("our certificate names `{0}`, which is not of our trust domain")]
    TrustDomain(SpiffeId),
    /// The key is of an unknown kind, or not the certificate's.
    #[error("the key does not belong to the certificate")]
    Key(#[source] rustls::Error),
    /// No bundle for our own trust domain.
    #[error("there is no bundle for our own trust domain")]
    NoBundle,
    /// The bundle of our own trust domain can't be used.
    #[error("the bundle of our own trust domain can't be used")]
    Bundle(#[source] BundleError),
    /// Clients that know our bundle would not believe our certificate.
    #[error("our certificate is not signed by our own bundle")]
    Chain(#[source] ChainError),
}

/// Why a peer's certificate is refused.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// We have nothing to judge it by.
    #[error("there is no valid material to judge certificates by")]
    NoMaterial,
    /// It breaks a rule of X509-SVIDs, or is not valid now.
    #[error("the certificate is not a valid X509-SVID")]
    Leaf(#[source] LeafError),
    /// Its trust domain is not accepted, or has no bundle.
    #[error("the trust domain of `{0}` is not accepted")]
    TrustDomain(SpiffeId),
    /// Nobody of its own trust domain stands behind it.
    #[error("the certificate of `{0}` is not vouched for")]
    Chain(SpiffeId, #[source] ChainError),
    /// A server that is somebody else.
    #[error("`{0}` is not the server that is expected there")]
    Unexpected(SpiffeId),
}

impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        let refused = CertificateError::Other(OtherError(Arc::new(error)));
        Self::InvalidCertificate(refused)
    }
}

impl MaterialError {
    /// Whether the same material may pass at another time.
    pub(super) fn is_of_the_clock(&self) -> bool {
        match self {
            Self::Leaf(LeafError::OutsideValidity { .. }) => true,
            Self::Chain(error) => error.is_of_the_clock(),
            _ => false,
        }
    }
}

impl fmt::Debug for Offer {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("certificates", &self.chain.len())
            .field("trust_domains", &self.bundles.keys())
            .finish_non_exhaustive()
    }
}

impl Material {
    /// Lets an offer pass that is sound in itself: leaf rules, key, chain to our own bundle, valid now.
    ///
    /// A bundle of another trust domain that can't be used is left out, so that nobody of it is accepted: a mistake over
    /// there must not keep our own certificate from being renewed.
    pub(super) fn prove(
        offer: Offer,
        trust_domain: &TrustDomain,
        revision: u64,
        now: Timestamp,
    ) -> Result<Self, MaterialError> {
        let leaf = offer.chain.first().ok_or(MaterialError::NoCertificate)?;
        let svid = Svid::from_der(leaf).map_err(MaterialError::Leaf)?;
        svid.check_validity(now).map_err(MaterialError::Leaf)?;
        if !trust_domain.contains(&svid.id) {
            return Err(MaterialError::TrustDomain(svid.id));
        }
        let mut bundles = BTreeMap::new();
        for (name, authorities) in offer.bundles {
            match Bundle::new(&authorities) {
                Ok(bundle) => {
                    bundles.insert(name, bundle);
                }
                Err(error) if name == trust_domain.as_str() => {
                    return Err(MaterialError::Bundle(error));
                }
                Err(error) => {
                    let error = crate::text::sentence(&error);
                    tracing::warn!(trust_domain = name, error, "nobody of it is accepted");
                }
            }
        }
        let own = bundles
            .get(trust_domain.as_str())
            .ok_or(MaterialError::NoBundle)?;
        own.verify_server(&offer.chain, now)
            .map_err(MaterialError::Chain)?;
        let key = CertifiedKey::from_der(offer.chain, offer.key, &super::provider())
            .map_err(MaterialError::Key)?;
        Ok(Self {
            revision,
            svid,
            key: Arc::new(key),
            bundles,
        })
    }

    /// Whether a client's chain leads to an authority of its own trust domain at `now`.
    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        accepted: &[TrustDomain],
        now: Timestamp,
    ) -> Result<Vouched, PeerError> {
        self.judge(chain, accepted, now, Bundle::verify_client)
    }

    /// The same of a server.
    pub(super) fn verify_server(
        &self,
        chain: &[CertificateDer<'_>],
        accepted: &[TrustDomain],
        now: Timestamp,
    ) -> Result<Vouched, PeerError> {
        self.judge(chain, accepted, now, Bundle::verify_server)
    }

    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        accepted: &[TrustDomain],
        now: Timestamp,
        verify: fn(&Bundle, &[CertificateDer<'_>], Timestamp) -> Result<Timestamp, ChainError>,
    ) -> Result<Vouched, PeerError> {
        let der: &[u8] = chain.first().map_or(&[], |leaf| leaf);
        let svid = Svid::from_der(der).map_err(PeerError::Leaf)?;
        svid.check_validity(now).map_err(PeerError::Leaf)?;
        let accepted = accepted.iter().any(|domain| domain.contains(&svid.id));
        // The bundle is chosen by the leaf's own trust domain and by nothing else (SPIFFE Trust Domain and Bundle,
        // section 3): an authority of one trust domain can't speak for another.
        let bundle = self.bundles.get(svid.id.trust_domain());
        let Some(bundle) = bundle.filter(|_| accepted) else {
            return Err(PeerError::TrustDomain(svid.id));
        };
        match verify(bundle, chain, now) {
            Ok(until) => Ok(Vouched {
                until: until.min(svid.not_after),
                svid,
            }),
            Err(error) => Err(PeerError::Chain(svid.id, error)),
        }
    }
}
