//! Who the caller of a request is, from what the proxy claims about it.
//!
//! Claims are taken as the proxy gives them and compared; whether this proxy may make any is decided before, in
//! `pep.rs`.
//!
//! Without XFCC the caller is the client of Envoy's own TLS connection: the certificate where it is passed on, read
//! again under the leaf rules, else the principal, which must be a SPIFFE ID as it stands. Where both are there they
//! must name the same identity. The `x-forwarded-client-cert` header is not looked at.
//!
//! With [`Forwarding::LastHop`] that client is the hop, and the header's last element names the caller:
//! - The hop must be known from certificate or principal. A header that reached Envoy over a connection without a
//!   client certificate was written by anybody.
//! - The header must be there. A hop that forwards for others never becomes the caller because a header is missing.
//! - If the element names the hop itself, as Envoy's own element does (`APPEND_FORWARD`, `SANITIZE_SET`), the hop is
//!   the caller.
//! - If it names somebody else, the hop must be one of the configured ones, and `By`, where it is there, must name the
//!   hop: else the element was written by a proxy further away, or by the client.
//! - A certificate in the element must agree with its `URI` and its `Hash`.
//!
//! Every caller and every hop is of our trust domain or a federated one. Anything else is an error, and an error is a
//! denial; there is no anonymous caller.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::clock::Timestamp;

use super::leaf::{LeafError, Svid};
use super::spiffe_id::{SpiffeId, SpiffeIdError, SpiffePattern, TrustDomain, excerpt};
use super::xfcc::{XfccElement, XfccError};

/// What a proxy says of its client. A field that Envoy leaves empty is `None` here, never an empty text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims<'a> {
    /// `source.certificate`: the client's leaf certificate in URL-encoded PEM.
    pub certificate: Option<&'a str>,
    /// `source.principal`: the first URI name of the certificate, else a DNS name, else the subject.
    pub principal: Option<&'a str>,
    /// The `x-forwarded-client-cert` header; several of them joined by commas, in their order.
    pub xfcc: Option<&'a str>,
}

/// Who asks, by a SPIFFE ID of an accepted trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The caller.
    pub id: SpiffeId,
    /// The caller's certificate, where it was passed on; it was valid at the time of asking.
    pub svid: Option<Arc<Svid>>,
    /// The proxy that named the caller in `x-forwarded-client-cert`, where that is not Envoy itself.
    pub hop: Option<SpiffeId>,
}

/// Whether `x-forwarded-client-cert` may name the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    /// The header is never read.
    Ignored,
    /// The last element names the caller.
    LastHop {
        /// Whose element is believed where it names somebody else.
        hops: Vec<SpiffePattern>,
    },
}

/// Why the caller of a request can't be told.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum CallerError {
    /// Neither certificate nor principal.
    #[error("the proxy passed on neither a certificate nor a principal")]
    NoIdentity,
    /// The header is to name the caller and is not there.
    #[error("the request has no x-forwarded-client-cert header")]
    NoXfcc,
    /// A claim that is not what it should be.
    #[error("the caller's identity is not valid")]
    InvalidIdentity {
        /// Which claim, and what is wrong with it.
        #[source]
        source: ClaimError,
    },
    /// Two claims contradict each other.
    #[error("claims about the caller disagree: `{0}` is not `{1}`")]
    Mismatch(String, String),
    /// The caller's or the hop's trust domain is neither ours nor federated.
    #[error("the trust domain of `{0}` is not accepted")]
    ForeignTrustDomain(SpiffeId),
    /// The hop names somebody else as the caller and may not.
    #[error("`{0}` may not forward the identity of others")]
    UntrustedHop(SpiffeId),
}

/// Which claim is not what it should be.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// `source.certificate`.
    #[error("source.certificate is not a valid X509-SVID")]
    Certificate(#[source] LeafError),
    /// The caller that a question names in words, without a request.
    #[error("the caller is not a SPIFFE ID")]
    Named(#[source] SpiffeIdError),
    /// `source.principal`.
    #[error("source.principal is not a SPIFFE ID")]
    Principal(#[source] SpiffeIdError),
    /// `x-forwarded-client-cert`.
    #[error("x-forwarded-client-cert can't be read")]
    Xfcc(#[source] XfccError),
    /// The certificate in the last element of `x-forwarded-client-cert`.
    #[error("the certificate in x-forwarded-client-cert is not a valid X509-SVID")]
    XfccCertificate(#[source] LeafError),
}

/// Tells callers from claims. Shared by all requests; remembers certificates it has read.
#[derive(Debug)]
pub struct Identifier {
    trust_domain: TrustDomain,
    federated: Vec<TrustDomain>,
    forwarding: Forwarding,
    /// Certificates that kept the leaf rules, by their encoded text in full. An entry is never an answer about time:
    /// validity is checked at every use.
    read: Cache<Box<str>, Arc<Svid>>,
}

impl From<ClaimError> for CallerError {
    fn from(source: ClaimError) -> Self {
        Self::InvalidIdentity { source }
    }
}

// === impl Identifier ===

impl Identifier {
    /// How many certificates are remembered where nobody says otherwise: about 1.5 MB of usual ones, 20 MB at worst.
    pub const CACHED_CERTIFICATES: usize = 1000;

    /// Accepts callers of `trust_domain` and of every `federated` one; remembers up to `cached_certificates`.
    pub fn new(
        trust_domain: TrustDomain,
        federated: Vec<TrustDomain>,
        forwarding: Forwarding,
        cached_certificates: usize,
    ) -> Self {
        Self {
            trust_domain,
            federated,
            forwarding,
            read: Cache::new(cached_certificates),
        }
    }

    /// The caller that `claims` name, at `now`.
    pub fn identify(&self, claims: &Claims<'_>, now: Timestamp) -> Result<Caller, CallerError> {
        let client = self.client(claims, now)?;
        let caller = match &self.forwarding {
            Forwarding::Ignored => return Ok(client),
            Forwarding::LastHop { hops } => {
                let header = claims.xfcc.ok_or(CallerError::NoXfcc)?;
                self.forwarded(client, header, hops, now)?
            }
        };
        self.check_trust_domain(&caller.id)?;
        Ok(caller)
    }

    /// The caller that an asker names where there is no request. No header could have forwarded it.
    pub fn named(&self, id: &str) -> Result<SpiffeId, CallerError> {
        let id = id.parse().map_err(ClaimError::Named)?;
        self.check_trust_domain(&id)?;
        Ok(id)
    }

    /// The client of Envoy's own connection, of an accepted trust domain.
    fn client(&self, claims: &Claims<'_>, now: Timestamp) -> Result<Caller, CallerError> {
        let svid = claims
            .certificate
            .map(|encoded| self.svid(encoded, now).map_err(ClaimError::Certificate))
            .transpose()?;
        let id = match (&svid, claims.principal) {
            (None, None) => return Err(CallerError::NoIdentity),
            (Some(svid), None) => svid.id.clone(),
            (Some(svid), Some(principal)) if svid.id.as_str() == principal => svid.id.clone(),
            (None, Some(principal)) => principal.parse().map_err(ClaimError::Principal)?,
            (Some(svid), Some(principal)) => {
                let principal: SpiffeId = principal.parse().map_err(ClaimError::Principal)?;
                return Err(mismatch(svid.id.as_str(), principal.as_str()));
            }
        };
        self.check_trust_domain(&id)?;
        Ok(Caller {
            id,
            svid,
            hop: None,
        })
    }

    /// The caller that the header's last element names, `hop` being the client of Envoy's own connection.
    fn forwarded(
        &self,
        hop: Caller,
        header: &str,
        hops: &[SpiffePattern],
        now: Timestamp,
    ) -> Result<Caller, CallerError> {
        let element = XfccElement::last_of(header).map_err(ClaimError::Xfcc)?;
        if element.uri != hop.id {
            check_may_forward(&hop.id, hops, &element)?;
        }
        let svid = self.forwarded_svid(&element, now)?;
        if element.uri == hop.id {
            // A client could have written this element about itself: the certificate that counts is the one Envoy saw.
            return Ok(hop);
        }
        Ok(Caller {
            id: element.uri,
            svid,
            hop: Some(hop.id),
        })
    }

    /// The certificate in an element, which must be the one that the rest of the element speaks of.
    fn forwarded_svid(
        &self,
        element: &XfccElement<'_>,
        now: Timestamp,
    ) -> Result<Option<Arc<Svid>>, CallerError> {
        let Some(encoded) = element.cert else {
            return Ok(None);
        };
        let svid = self
            .svid(encoded, now)
            .map_err(ClaimError::XfccCertificate)?;
        if svid.id != element.uri {
            return Err(mismatch(svid.id.as_str(), element.uri.as_str()));
        }
        match element.hash {
            Some(hash) if hash != svid.fingerprint => Err(mismatch(hash, &svid.fingerprint)),
            _ => Ok(Some(svid)),
        }
    }

    /// Reads a certificate, or remembers it, and checks that it is valid now.
    fn svid(&self, encoded: &str, now: Timestamp) -> Result<Arc<Svid>, LeafError> {
        if let Some(svid) = self.read.get(encoded) {
            svid.check_validity(now)?;
            return Ok(svid);
        }
        let svid = Arc::new(Svid::from_encoded_pem(encoded)?);
        self.read.insert(encoded.into(), Arc::clone(&svid));
        svid.check_validity(now)?;
        Ok(svid)
    }

    fn check_trust_domain(&self, id: &SpiffeId) -> Result<(), CallerError> {
        let accepted = self.trust_domain.contains(id)
            || self.federated.iter().any(|domain| domain.contains(id));
        if accepted {
            Ok(())
        } else {
            Err(CallerError::ForeignTrustDomain(id.clone()))
        }
    }
}

/// Whether `hop` may name somebody else, and wrote the element that does.
fn check_may_forward(
    hop: &SpiffeId,
    hops: &[SpiffePattern],
    element: &XfccElement<'_>,
) -> Result<(), CallerError> {
    if !hops.iter().any(|pattern| pattern.matches(hop)) {
        return Err(CallerError::UntrustedHop(hop.clone()));
    }
    match element.by {
        Some(by) if by != hop.as_str() => Err(mismatch(by, hop.as_str())),
        _ => Ok(()),
    }
}

fn mismatch(one: &str, other: &str) -> CallerError {
    CallerError::Mismatch(excerpt(one), excerpt(other))
}
