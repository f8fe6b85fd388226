//! Certificates for one run: an authority for a trust domain, and X509-SVIDs below it. Good for an hour; the authority's key
//! is never written down.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::identity::SpiffeId;

/// Stands behind the workloads of a trust domain.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub(super) bundle: String,
    now: Timestamp,
}

/// A workload's certificate and its key, in PEM.
pub(super) struct Svid {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// The authority of `trust_domain`, with a new key.
    pub(super) fn new(trust_domain: &str, now: Timestamp) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(&format!("spiffe://{trust_domain}"), now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::OrganizationName, "attache demo");
        let bundle = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            bundle,
            now,
        })
    }

    /// An X509-SVID (SPIFFE X509-SVID section 4) with a new key.
    pub(super) fn issue(&self, id: &SpiffeId) -> Result<Svid, Error> {
        let key = KeyPair::generate()?;
        let mut params = params(&id.to_string(), self.now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Svid {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

/// Of whoever `uri` names, for an hour around `now`.
fn params(uri: &str, now: Timestamp) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.not_before = moment(now.minus(MARGIN));
    params.not_after = moment(now.plus(LIFE));
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![SanType::URI(uri.try_into()?)];
    Ok(params)
}

fn moment(time: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(time.unix_seconds()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

const LIFE: Duration = Duration::from_secs(3600);
const MARGIN: Duration = Duration::from_secs(60);
