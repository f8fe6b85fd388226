//! The gate, the verification of peers, and the sources that need no server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::registry::Registry;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::config::{Config, Files, watch};
use super::credential::{Credential, State};
use super::files::FileSource;
use super::handshake::Session;
use super::material::{Material, MaterialError, Offer, PeerError};
use super::metrics::Metrics;
use crate::clock::{Clock as _, MockClock, Timestamp};
use crate::identity::{Peer, TrustDomain, check_intermediate, check_root};

const SELF: &str = "spiffe://example.org/attache";
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_289_000);
const HOUR: u64 = 3_600;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

struct Leaf {
    params: CertificateParams,
}

struct Issued {
    chain: Vec<CertificateDer<'static>>,
    pem: String,
    key: KeyPair,
}

fn moment(timestamp: Timestamp) -> time::OffsetDateTime {
    let seconds = i64::try_from(timestamp.unix_seconds()).unwrap();
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn signing(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = moment(Timestamp::from_unix_seconds(NOW.unix_seconds() - 24 * HOUR));
    params.not_after = moment(NOW.plus(Duration::from_secs(24 * HOUR)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, name.to_owned());
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        Self::from(signing(name))
    }

    fn from(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            chain: vec![certificate.der().clone()],
            pem: certificate.pem(),
            key,
        }
    }

    fn svid(&self, id: &str) -> Issued {
        self.issue(&Leaf::of(id))
    }
}

impl Leaf {
    fn of(id: &str) -> Self {
        let mut params = CertificateParams::default();
        params.not_before = moment(NOW);
        params.not_after = moment(NOW.plus(Duration::from_secs(HOUR)));
        params.subject_alt_names = vec![uri(id)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Self { params }
    }

    fn usages(mut self, usages: Vec<ExtendedKeyUsagePurpose>) -> Self {
        self.params.extended_key_usages = usages;
        self
    }

    fn from(mut self, from: Timestamp) -> Self {
        self.params.not_before = moment(from);
        self
    }
}

impl Issued {
    fn with(mut self, authority: &Authority) -> Self {
        self.chain.push(authority.der.clone());
        self
    }

    fn offer(&self, bundles: &[(&str, &[&Authority])]) -> Offer {
        let bundle = bundles.iter().map(|(name, authorities)| {
            let authorities = authorities.iter().map(|it| it.der.clone());
            ((*name).to_owned(), authorities.collect())
        });
        Offer {
            chain: self.chain.clone(),
            key: key_der(&self.key),
            bundles: bundle.collect(),
        }
    }
}

fn key_der(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))
}

fn domain(name: &str) -> TrustDomain {
    name.parse().unwrap()
}

fn prove(offer: Offer) -> Result<Material, MaterialError> {
    Material::prove(offer, &domain("example.org"), 1, NOW)
}

fn credential(clock: &Arc<MockClock>) -> Credential {
    let accepted = Arc::new(ArcSwap::from_pointee(vec![domain("example.org")]));
    accepting(accepted, clock)
}

fn accepting(accepted: Arc<ArcSwap<Vec<TrustDomain>>>, clock: &Arc<MockClock>) -> Credential {
    let metrics = Metrics::register(&mut Registry::default()).of("mesh");
    Credential::new(
        "mesh".to_owned(),
        domain("example.org"),
        accepted,
        Arc::clone(clock) as _,
        metrics,
    )
}

#[test]
fn what_is_sound_in_itself_passes() {
    let authority = Authority::new("root");
    let own = authority.svid(SELF);
    let material = prove(own.offer(&[("example.org", &[&authority])])).unwrap();
    assert_eq!(material.svid.id.as_str(), SELF);
    let below = authority.below(signing("below"));
    let own = below.svid(SELF).with(&below);
    assert!(prove(own.offer(&[("example.org", &[&authority])])).is_ok());
}

#[test]
fn what_is_not_sound_in_itself_does_not_pass() {
    let authority = Authority::new("root");
    let stranger = Authority::new("stranger");
    let bundles: &[(&str, &[&Authority])] = &[("example.org", &[&authority])];
    let refused = |offer| prove(offer).unwrap_err();
    let own = authority.svid(SELF);

    let mut nothing = own.offer(bundles);
    nothing.chain.clear();
    assert!(matches!(refused(nothing), MaterialError::NoCertificate));
    let mut other_key = own.offer(bundles);
    other_key.key = key_der(&authority.svid(SELF).key);
    assert!(matches!(refused(other_key), MaterialError::Key(_)));
    let foreign = authority.svid("spiffe://partner.example/attache");
    assert!(matches!(
        refused(foreign.offer(bundles)),
        MaterialError::TrustDomain(_)
    ));
    assert!(matches!(
        refused(stranger.svid(SELF).offer(bundles)),
        MaterialError::Chain(_)
    ));
    assert!(matches!(
        refused(own.offer(&[("partner.example", &[&authority])])),
        MaterialError::NoBundle
    ));
    assert!(matches!(
        refused(own.offer(&[("example.org", &[])])),
        MaterialError::Bundle(_)
    ));
    // S42: valid from the next second on.
    let early = authority.issue(&Leaf::of(SELF).from(NOW.plus(Duration::from_secs(1))));
    assert!(matches!(
        refused(early.offer(bundles)),
        MaterialError::Leaf(_)
    ));
    // Those who connect to us would refuse it.
    let client_only =
        authority.issue(&Leaf::of(SELF).usages(vec![ExtendedKeyUsagePurpose::ClientAuth]));
    assert!(matches!(
        refused(client_only.offer(bundles)),
        MaterialError::Chain(_)
    ));
    // S36
    let server_only =
        authority.issue(&Leaf::of(SELF).usages(vec![ExtendedKeyUsagePurpose::ServerAuth]));
    assert!(matches!(
        refused(server_only.offer(bundles)),
        MaterialError::Leaf(_)
    ));
}

#[test]
fn a_leaf_is_no_authority_even_in_a_bundle() {
    let authority = Authority::new("root");
    let own = authority.svid(SELF);
    let mut offer = own.offer(&[]);
    let bundle = vec![own.chain[0].clone()];
    offer.bundles = BTreeMap::from([("example.org".to_owned(), bundle)]);
    assert!(matches!(prove(offer), Err(MaterialError::Bundle(_))));
}

#[test]
fn a_foreign_bundle_that_is_unusable_costs_its_own_trust_domain_only() {
    let (authority, partner) = (Authority::new("root"), Authority::new("partner"));
    let own = authority.svid(SELF);
    let theirs = partner.svid("spiffe://partner.example/envoy");
    let accepted = [domain("example.org"), domain("partner.example")];
    let good = own.offer(&[
        ("example.org", &[&authority]),
        ("partner.example", &[&partner]),
    ]);
    let good = prove(good).unwrap();
    assert!(good.verify(&theirs.chain, &accepted, NOW).is_ok());
    let empty = own.offer(&[("example.org", &[&authority]), ("partner.example", &[])]);
    let empty = prove(empty).unwrap();
    assert!(matches!(
        empty.verify(&theirs.chain, &accepted, NOW),
        Err(PeerError::TrustDomain(_))
    ));
}

#[test]
fn a_peer_is_verified_by_its_own_trust_domain_only() {
    // S39, S40
    let (authority, partner) = (Authority::new("root"), Authority::new("partner"));
    let material = prove(authority.svid(SELF).offer(&[
        ("example.org", &[&authority]),
        ("partner.example", &[&partner]),
    ]))
    .unwrap();
    let ours = [domain("example.org")];
    let both = [domain("example.org"), domain("partner.example")];
    let envoy = "spiffe://example.org/envoy";
    let theirs = "spiffe://partner.example/envoy";
    for (chain, accepted, believed) in [
        (authority.svid(envoy).chain, &ours[..], true),
        (authority.svid(envoy).chain, &[], false),
        (partner.svid(theirs).chain, &both, true),
        (partner.svid(theirs).chain, &ours, false),
        (partner.svid(envoy).chain, &both, false),
        (authority.svid(theirs).chain, &both, false),
        (Vec::new(), &both, false),
    ] {
        let verified = material.verify(&chain, accepted, NOW);
        assert_eq!(verified.is_ok(), believed, "{verified:?}");
    }
}

#[test]
fn intermediates_must_be_authorities_and_few() {
    let authority = Authority::new("root");
    let bundles: &[(&str, &[&Authority])] = &[("example.org", &[&authority])];
    let material = prove(authority.svid(SELF).offer(bundles)).unwrap();
    let ours = [domain("example.org")];
    let believed = |params: CertificateParams| {
        let below = authority.below(params);
        let chain = below.svid("spiffe://example.org/envoy").with(&below).chain;
        material.verify(&chain, &ours, NOW).is_ok()
    };
    assert!(believed(signing("below")));
    // S38
    let mut no_ca = signing("no cA");
    no_ca.is_ca = IsCa::ExplicitNoCa;
    assert!(!believed(no_ca));
    let mut no_sign = signing("no keyCertSign");
    no_sign.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert!(!believed(no_sign));
    let mut no_usage = signing("no key usage");
    no_usage.key_usages = Vec::new();
    assert!(!believed(no_usage));
    // S43
    let mut expired = signing("expired");
    expired.not_after = moment(NOW);
    assert!(believed(expired.clone()), "the last moment counts");
    expired.not_after = moment(Timestamp::from_unix_seconds(NOW.unix_seconds() - 1));
    assert!(!believed(expired));
    // S44
    let below = authority.below(signing("below"));
    let mut chain = below.svid("spiffe://example.org/envoy").chain;
    chain.extend(std::iter::repeat_n(below.der.clone(), 8));
    assert!(material.verify(&chain, &ours, NOW).is_ok());
    chain.push(below.der.clone());
    assert!(material.verify(&chain, &ours, NOW).is_err());
}

#[test]
fn a_root_may_lack_key_usage_but_not_contradict_itself() {
    let with = |usages: Vec<KeyUsagePurpose>| {
        let mut params = signing("root");
        params.key_usages = usages;
        Authority::from(params).der
    };
    let silent = with(Vec::new());
    assert!(check_root(&silent).is_ok());
    assert!(check_intermediate(&silent).is_err());
    assert!(check_root(&with(vec![KeyUsagePurpose::CrlSign])).is_err());
    assert!(check_root(&with(vec![KeyUsagePurpose::KeyCertSign])).is_ok());
    assert!(check_root(b"nothing of the kind").is_err());
}

#[test]
fn what_is_in_force_stays_until_it_expires_or_is_withdrawn() {
    let clock = Arc::new(MockClock::new(NOW));
    let credential = credential(&clock);
    let authority = Authority::new("root");
    let bundles: &[(&str, &[&Authority])] = &[("example.org", &[&authority])];
    assert_eq!(credential.state(), State::Missing);
    assert!(credential.current().is_none());

    let own = authority.svid(SELF);
    credential.offer(own.offer(bundles)).unwrap();
    let until = NOW.plus(Duration::from_secs(HOUR));
    let valid = |overdue| State::Valid { until, overdue };
    assert_eq!(
        (credential.state(), credential.trouble()),
        (valid(false), None)
    );

    let bad = Authority::new("stranger").svid(SELF);
    assert!(credential.offer(bad.offer(bundles)).is_err());
    assert_eq!(credential.state(), valid(false));
    assert!(credential.trouble().unwrap().contains("rejected"));

    clock.set(until);
    clock.set(Timestamp::from_unix_seconds(until.unix_seconds() - 899));
    assert_eq!(credential.state(), valid(true));
    assert!(credential.current().is_some());
    clock.advance(Duration::from_secs(899));
    assert_eq!(clock.now(), until);
    assert_eq!(credential.state(), State::Expired(until));
    assert!(credential.current().is_none());

    clock.set(NOW);
    credential.withdraw("no entry");
    assert_eq!(credential.state(), State::Missing);
    assert_eq!(credential.trouble().as_deref(), Some("withdrawn: no entry"));
}

#[test]
fn a_session_is_vouched_for_only_while_its_trust_domain_is_accepted() {
    // Material that stays the same must not keep an earlier judgement alive, in either direction.
    let both = vec![domain("example.org"), domain("partner.example")];
    let accepted = Arc::new(ArcSwap::from_pointee(both.clone()));
    let credential = accepting(Arc::clone(&accepted), &Arc::new(MockClock::new(NOW)));
    let (own, partner) = (Authority::new("own"), Authority::new("partner"));
    let bundles: &[(&str, &[&Authority])] =
        &[("example.org", &[&own]), ("partner.example", &[&partner])];
    credential.offer(own.svid(SELF).offer(bundles)).unwrap();
    let chain = partner.svid("spiffe://partner.example/a").offer(&[]).chain;
    let session = Session::new(&chain, credential).unwrap();
    assert_eq!(session.chain(), chain);
    let vouched = || matches!(session.peer(), Peer::Mesh(peer) if peer.vouched);
    assert!(vouched());
    accepted.store(Arc::new(vec![domain("example.org")]));
    assert!(!vouched());
    accepted.store(Arc::new(both));
    assert!(vouched());
}

#[test]
fn files_are_offered_when_their_content_changes() {
    let clock = Arc::new(MockClock::new(NOW));
    let credential = credential(&clock);
    let authority = Authority::new("root");
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let files = Files {
        certificate: "svid.pem".into(),
        key: "key.pem".into(),
        bundle: "bundle.pem".into(),
    };
    let ours = domain("example.org");
    let mut source = FileSource::new(dir.path(), files, &ours, credential.clone());
    let revision = || credential.current().map(|material| material.revision);

    source.look();
    assert_eq!(revision(), None);
    assert!(credential.trouble().unwrap().contains("svid.pem"));

    let own = authority.svid(SELF);
    write("svid.pem", &own.pem);
    write("key.pem", &own.key.serialize_pem());
    write("bundle.pem", &authority.pem);
    source.look();
    assert_eq!((revision(), credential.trouble()), (Some(1), None));
    source.look();
    assert_eq!(revision(), Some(1));

    // One after the other: what lies between does not pass.
    let next = authority.svid(SELF);
    write("svid.pem", &next.pem);
    source.look();
    assert_eq!(revision(), Some(1));
    assert!(credential.trouble().is_some());
    write("key.pem", &next.key.serialize_pem());
    source.look();
    assert_eq!((revision(), credential.trouble()), (Some(3), None));

    // Several authorities.
    let both = format!("{}{}", Authority::new("other").pem, authority.pem);
    write("bundle.pem", &both);
    source.look();
    assert_eq!(revision(), Some(4));
    write("key.pem", "nothing of the kind");
    source.look();
    assert_eq!(revision(), Some(4));
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    source.look();
    assert_eq!(revision(), Some(4));
}

#[test]
fn files_that_are_back_are_no_trouble_any_more() {
    let clock = Arc::new(MockClock::new(NOW));
    let credential = credential(&clock);
    let authority = Authority::new("root");
    let own = authority.svid(SELF);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("svid.pem"), &own.pem).unwrap();
    std::fs::write(path("key.pem"), own.key.serialize_pem()).unwrap();
    std::fs::write(path("bundle.pem"), &authority.pem).unwrap();
    let files = Files {
        certificate: "svid.pem".into(),
        key: "key.pem".into(),
        bundle: "bundle.pem".into(),
    };
    let mut source = FileSource::new(
        dir.path(),
        files,
        &domain("example.org"),
        credential.clone(),
    );
    source.look();
    std::fs::rename(path("key.pem"), path("away")).unwrap();
    source.look();
    assert!(credential.trouble().is_some());
    std::fs::rename(path("away"), path("key.pem")).unwrap();
    source.look();
    assert_eq!(credential.trouble(), None);
}

#[test]
fn files_that_were_early_are_offered_again_as_they_are() {
    let clock = Arc::new(MockClock::new(NOW));
    let credential = credential(&clock);
    let authority = Authority::new("root");
    let minute = Duration::from_secs(60);
    let own = authority.issue(&Leaf::of(SELF).from(NOW.plus(minute)));
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("svid.pem"), &own.pem).unwrap();
    std::fs::write(path("key.pem"), own.key.serialize_pem()).unwrap();
    std::fs::write(path("bundle.pem"), &authority.pem).unwrap();
    let files = Files {
        certificate: "svid.pem".into(),
        key: "key.pem".into(),
        bundle: "bundle.pem".into(),
    };
    let ours = domain("example.org");
    let mut source = FileSource::new(dir.path(), files, &ours, credential.clone());
    for _ in 0..3 {
        source.look();
        assert_eq!(credential.state(), State::Missing);
    }
    assert!(credential.trouble().unwrap().contains("rejected"));
    clock.advance(minute);
    source.look();
    assert!(credential.current().is_some());
    assert_eq!(credential.trouble(), None);
    // What is in force is not offered again.
    let revision = || credential.current().map(|material| material.revision);
    let in_force = revision();
    source.look();
    assert_eq!(revision(), in_force);
}

#[test]
fn a_bundle_counts_its_authorities_only_while_they_are_valid() {
    let minute = Duration::from_secs(60);
    let mut params = signing("old");
    params.not_after = moment(NOW.plus(minute));
    let (old, new) = (Authority::from(params), Authority::new("new"));
    let own = new.svid(SELF);
    let material = prove(own.offer(&[("example.org", &[&old, &new])])).unwrap();
    let ours = [domain("example.org")];
    let (by_old, by_new) = [&old, &new]
        .map(|it| it.svid("spiffe://example.org/envoy"))
        .into();
    let until = material.verify(&by_old.chain, &ours, NOW).unwrap().until;
    assert_eq!(until, NOW.plus(minute));
    assert!(matches!(
        material.verify(&by_old.chain, &ours, until),
        Err(PeerError::Chain(_, _))
    ));
    assert!(material.verify(&by_new.chain, &ours, until).is_ok());
    // Our own chain is held to the same.
    let own = old.svid(SELF);
    let offer = own.offer(&[("example.org", &[&old])]);
    let late = Material::prove(offer, &ours[0], 1, until).unwrap_err();
    assert!(matches!(late, MaterialError::Chain(_)) && late.is_of_the_clock());
}

#[tokio::test]
async fn a_renewal_that_panics_is_said_at_once() {
    let credential = credential(&Arc::new(MockClock::new(NOW)));
    watch(&credential, async {}).await;
    assert!(!credential.is_abandoned());
    watch(&credential, async { panic!("a fault of ours") }).await;
    assert!(credential.is_abandoned());
    assert!(credential.trouble().unwrap().contains("restart"));
}

#[test]
fn a_source_is_a_workload_api_or_files() {
    let read = |yaml: &str| {
        serde_saphyr::from_str::<Config>(&format!("mesh: {yaml}")).map_err(|it| it.to_string())
    };
    for good in [
        "{workload_api: 'unix:///run/api.sock'}",
        "{workload_api: 'unix:/run/api.sock', hint: internal}",
        "{workload_api: 'tcp://127.0.0.1:8081'}",
        "{files: {certificate: a, key: b, bundle: c}}",
    ] {
        assert!(read(good).is_ok(), "{good}");
    }
    // S56
    for bad in [
        "unix://host/path",
        "unix:relative",
        "tcp://name:1",
        "tcp://1.2.3.4:80/x",
        "tcp://1.2.3.4",
        "/run/api.sock",
        "${SPIFFE_ENDPOINT_SOCKET}",
        "",
    ] {
        let error = read(&format!("{{workload_api: '{bad}'}}")).unwrap_err();
        assert!(error.contains("is no Workload API"), "{bad}: {error}");
    }
    for bad in [
        "{}",
        "{hint: internal}",
        "{workload_api: 'unix:///a', files: {certificate: a, key: b, bundle: c}}",
        "{files: {certificate: a, key: b, bundle: c}, hint: internal}",
        "{files: {certificate: a, key: b}}",
        "{workload_api: 'unix:///a', surprise: 1}",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn keys_are_never_shown() {
    let authority = Authority::new("root");
    let offer = authority.svid(SELF).offer(&[]);
    assert_eq!(
        format!("{offer:?}"),
        "Offer { certificates: 1, trust_domains: [], .. }"
    );
}
