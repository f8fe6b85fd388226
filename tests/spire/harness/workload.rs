//! Callers with SVIDs of their own: each a program of its own, which the agent attests by its path and its user.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::OURS;
use super::process::within;
use super::spire::Domain;

/// A program that may have an SVID.
#[derive(Debug, Clone)]
pub(crate) struct Workload {
    program: PathBuf,
    agent: PathBuf,
    folder: PathBuf,
    /// The file in which the agent hands it the bundle of our trust domain.
    bundle: &'static str,
    shown: Shown,
}

/// The serial numbers that servers have shown, by their IDs.
type Shown = Arc<Mutex<BTreeMap<&'static str, BTreeSet<Vec<u8>>>>>;

/// An SVID with its key, and the authorities of our trust domain as its holder knows them.
#[derive(Debug)]
pub(crate) struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    authorities: Vec<CertificateDer<'static>>,
    shown: Shown,
}

impl Workload {
    /// The program is `spire-agent` under another name: it can fetch what it is entitled to.
    pub(super) fn new(name: &str, tools: &Path, home: &Path, domain: &Domain) -> Self {
        let folder = home.join(format!("workload-{name}"));
        fs::create_dir(&folder).unwrap();
        let (original, program) = (tools.join("spire-agent"), folder.join(name));
        fs::hard_link(&original, &program)
            .or_else(|_other_file_system| fs::copy(&original, &program).map(drop))
            .unwrap();
        Self {
            program,
            agent: domain.socket(),
            folder,
            bundle: if domain.name == OURS {
                "bundle.0.pem"
            } else {
                "federated_bundle.0.0.pem"
            },
            shown: Arc::default(),
        }
    }

    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The SVID that it has now.
    pub(crate) async fn fetch(&self) -> Identity {
        let what = format!("an SVID for {}", self.program.display());
        within(PATIENCE, &what, async || self.try_fetch().await).await
    }

    /// The SVID that it has now; `None` where the agent has none for it.
    pub(crate) async fn try_fetch(&self) -> Option<Identity> {
        let status = tokio::process::Command::new(&self.program)
            .args(["api", "fetch", "x509", "-silent", "-socketPath"])
            .arg(&self.agent)
            .arg("-write")
            .arg(&self.folder)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .status()
            .await
            .unwrap();
        if !status.success() {
            return None;
        }
        let read = |name: &str| fs::read(self.folder.join(name)).unwrap();
        let certificates = |name: &str| {
            CertificateDer::pem_slice_iter(&read(name))
                .collect::<Result<Vec<_>, _>>()
                .unwrap()
        };
        Some(Identity {
            chain: certificates("svid.0.pem"),
            key: PrivateKeyDer::from_pem_slice(&read("svid.0.key")).unwrap(),
            authorities: certificates(self.bundle),
            shown: Arc::clone(&self.shown),
        })
    }

    /// The serial numbers that `server` has shown to it.
    pub(crate) fn shown(&self, server: &str) -> BTreeSet<Vec<u8>> {
        let shown = self.shown.lock().unwrap();
        shown.get(server).cloned().unwrap_or_default()
    }
}

impl Identity {
    /// Shows this identity, and believes a server that holds an SVID of `server`.
    pub(super) fn client_config(&self, server: &'static str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        for authority in &self.authorities {
            roots.add(authority.clone()).unwrap();
        }
        let verifier = Verifier {
            roots,
            server,
            shown: Arc::clone(&self.shown),
        };
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .unwrap()
    }

    /// The same SVID, with the authorities that somebody else knows.
    pub(crate) fn believing(&self, other: &Self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authorities: other.authorities.clone(),
            shown: Arc::clone(&self.shown),
        }
    }

    /// How many authorities of our trust domain its holder knows.
    pub(crate) fn authorities(&self) -> usize {
        self.authorities.len()
    }

    /// The name of the authority that signed it, in DER.
    pub(crate) fn issuer(&self) -> Vec<u8> {
        let (_, certificate) = parse_x509_certificate(&self.chain[0]).unwrap();
        certificate.issuer().as_raw().to_vec()
    }

    /// Whether its time is over for everybody: the very second of the end still counts for some.
    pub(crate) fn has_expired(&self) -> bool {
        let (_, certificate) = parse_x509_certificate(&self.chain[0]).unwrap();
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        certificate.validity().not_after.timestamp() < now
    }
}

/// Verifies a server by its SPIFFE ID, as SPIFFE clients do, whatever its name.
#[derive(Debug)]
struct Verifier {
    roots: RootCertStore,
    server: &'static str,
    shown: Shown,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &leaf.try_into()?,
            &self.roots,
            intermediates,
            now,
            provider().signature_verification_algorithms.all,
        )?;
        let (_, certificate) = parse_x509_certificate(leaf).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let expected = [GeneralName::URI(self.server)];
        if names.value.general_names != expected {
            return Err(Error::General(format!("not {}", self.server)));
        }
        let serial = certificate.serial.to_bytes_be();
        let mut shown = self.shown.lock().unwrap();
        shown.entry(self.server).or_default().insert(serial);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// An agent learns of a new registration at its next look.
const PATIENCE: Duration = Duration::from_secs(20);
