//! Certificate authorities of trust domains, and certificates made to order.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

/// A certificate authority.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    pub(crate) der: CertificateDer<'static>,
}

/// What a certificate says. Times are seconds from now.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// URIs, and names of hosts as `dns:opa`.
    pub(crate) uris: Vec<String>,
    pub(crate) from: i64,
    pub(crate) until: i64,
    pub(crate) usages: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) ca: bool,
}

/// A certificate with its key, and the intermediates above it.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) chain_pem: String,
    pub(crate) key: Arc<KeyPair>,
}

impl Leaf {
    /// A valid X509-SVID.
    pub(crate) fn of(id: &str) -> Self {
        Self {
            uris: vec![id.to_owned()],
            from: -3_600,
            until: 3_600,
            usages: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            ca: false,
        }
    }

    pub(crate) fn and(mut self, id: &str) -> Self {
        self.uris.push(id.to_owned());
        self
    }

    pub(crate) fn valid(self, from: i64, until: i64) -> Self {
        Self {
            from,
            until,
            ..self
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        let now = OffsetDateTime::now_utc();
        params.not_before = now + Duration::seconds(self.from);
        params.not_after = now + Duration::seconds(self.until);
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = self.uris.iter().map(|text| name(text)).collect();
        params.extended_key_usages.clone_from(&self.usages);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        if self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    }
}

impl Authority {
    /// The authority of a trust domain, with a new key.
    pub(crate) fn of(trust_domain: &str) -> Self {
        Self::ending(trust_domain, DAY)
    }

    /// With a certificate that ends so many seconds from now.
    pub(crate) fn ending(trust_domain: &str, until: i64) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = signing(trust_domain, vec![KeyUsagePurpose::KeyCertSign], until);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority below this one, which comes with the leaves it issues.
    pub(crate) fn subordinate(&self, trust_domain: &str, usages: Vec<KeyUsagePurpose>) -> Self {
        self.sign(signing(trust_domain, usages, DAY))
    }

    /// With a certificate that ends so many seconds from now.
    pub(crate) fn subordinate_ending(&self, trust_domain: &str, until: i64) -> Self {
        let usages = vec![KeyUsagePurpose::KeyCertSign];
        self.sign(signing(trust_domain, usages, until))
    }

    /// An authority below this one that may name workloads of `permitted` only: `NameConstraints` of type URI, critical
    /// (RFC 5280 section 4.2.1.10).
    pub(crate) fn constrained(&self, trust_domain: &str, permitted: &str) -> Self {
        let nested = |tag: u8, content: &[u8]| {
            let mut der = vec![tag, u8::try_from(content.len()).unwrap()];
            der.extend(content);
            der
        };
        // permittedSubtrees: one subtree, whose base is a uniformResourceIdentifier.
        let subtree = nested(0x30, &nested(0x86, permitted.as_bytes()));
        let constraints = nested(0x30, &nested(0xa0, &subtree));
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
        extension.set_criticality(true);
        let mut params = signing(trust_domain, vec![KeyUsagePurpose::KeyCertSign], DAY);
        params.custom_extensions.push(extension);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params().signed_by(&key, &self.issuer).unwrap();
        Identity {
            chain: vec![certificate.der().clone()],
            chain_pem: certificate.pem(),
            key: Arc::new(key),
        }
    }

    pub(crate) fn svid(&self, id: &str) -> Identity {
        self.issue(&Leaf::of(id))
    }
}

impl Identity {
    /// With an intermediate sent along.
    pub(crate) fn below(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.der.clone());
        self.chain_pem.push_str(&authority.pem);
        self
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

const DAY: i64 = 86_400;

fn signing(trust_domain: &str, usages: Vec<KeyUsagePurpose>, until: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + Duration::seconds(until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = usages;
    let name = format!("{trust_domain} {:x}", rand::random::<u64>());
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))];
    params
}

/// A URI, or a name of a host after `dns:`.
fn name(text: &str) -> SanType {
    match text.strip_prefix("dns:") {
        Some(host) => SanType::DnsName(host.try_into().unwrap()),
        None => uri(text),
    }
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}
