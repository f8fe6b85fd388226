//! Our certificates over the life of the process: kept current, shown to OPA, not ready without them, said when they are
//! late.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::lifecycle::{Hold, Notices, Readiness, Shutdown};
use crate::policy::{LoadError, Opa};
use crate::tls::{ClientConfig, Credentials, Protocols, State};

/// How an OPA is judged that is asked with a certificate of ours, and what it is shown; `None` where it is not.
///
/// The material is looked at for every connection, so that what is renewed holds from the next one on.
pub(super) fn secured(
    opa: &Opa,
    credentials: &Credentials,
) -> Result<Option<Arc<ClientConfig>>, LoadError> {
    let Some(name) = &opa.tls else {
        return Ok(None);
    };
    let unusable = |fault| LoadError::Listing {
        name: "policy.opa.tls".to_owned(),
        fault,
    };
    // The configuration was refused where the name is not there; nothing is asked without the certificate all the same.
    let credential = credentials
        .get(name)
        .ok_or_else(|| unusable("names no entry of tls"))?;
    let config = credential
        .connector(opa.spiffe_ids.clone(), Protocols::Http)
        .map_err(|_unsupported| unusable("can't be used with this build's TLS"))?;
    Ok(Some(Arc::new(config)))
}

/// Withholds readiness while a certificate is missing, has expired or is renewed by nobody, until a stop begins.
#[derive(Debug)]
pub(super) struct Watch {
    credentials: Arc<Credentials>,
    readiness: Readiness,
    notices: Notices,
    hold: Option<Hold>,
}

impl Watch {
    /// Looks at once: what is missing at the start is never reported ready.
    pub(super) fn new(
        credentials: Arc<Credentials>,
        readiness: Readiness,
        notices: Notices,
    ) -> Self {
        let mut watch = Self {
            credentials,
            readiness,
            notices,
            hold: None,
        };
        watch.look();
        watch
    }

    /// Looks again and again until a stop begins.
    pub(super) async fn run(mut self, shutdown: Shutdown) {
        if self.credentials.iter().next().is_none() {
            return;
        }
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.draining() => return,
            }
            self.look();
        }
    }

    fn look(&mut self) {
        let mut unusable = false;
        let mut words = Vec::new();
        for credential in self.credentials.iter() {
            let name = credential.name();
            match credential.state() {
                State::Missing => {
                    unusable = true;
                    words.push(format!("{name} has no certificate"));
                }
                State::Expired(at) => {
                    unusable = true;
                    words.push(format!("{name} expired at {at}"));
                }
                State::Valid { until, overdue } => {
                    if overdue {
                        words.push(format!("{name} expires at {until} and was not renewed"));
                    }
                }
            }
            // It still works, and will end for want of anybody who renews it: better replaced now than then.
            unusable |= credential.is_abandoned();
            if let Some(trouble) = credential.trouble() {
                words.push(format!("{name}: {trouble}"));
            }
        }
        if unusable {
            self.hold
                .get_or_insert_with(|| self.readiness.hold("certificate"));
        } else {
            self.hold = None;
        }
        if words.is_empty() {
            self.notices.clear("tls");
        } else {
            self.notices.set("tls", &words.join("; "));
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prometheus_client::registry::Registry;
    use rcgen::{
        BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    };

    use super::*;
    use crate::clock::SystemClock;
    use crate::tls::{Config, Files, Source};

    /// A certificate of ours in files, valid now.
    fn credentials(dir: &std::path::Path) -> Credentials {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        let bundle = root.self_signed(&root_key).unwrap().pem();
        let mut leaf = CertificateParams::default();
        leaf.subject_alt_names = vec![SanType::URI(
            "spiffe://example.org/attache".try_into().unwrap(),
        )];
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(root, root_key);
        let certificate = leaf.signed_by(&key, &issuer).unwrap().pem();
        for (name, text) in [
            ("svid.pem", certificate),
            ("key.pem", key.serialize_pem()),
            ("bundle.pem", bundle),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let files = Files {
            certificate: "svid.pem".into(),
            key: "key.pem".into(),
            bundle: "bundle.pem".into(),
        };
        let ours = "example.org".parse().unwrap();
        let sources = BTreeMap::from([("mesh".to_owned(), Source::Files(files))]);
        let clock: Arc<dyn crate::clock::Clock> = Arc::new(SystemClock);
        Config { sources }.build(dir, &ours, Vec::new(), &clock, &mut Registry::default())
    }

    #[test]
    fn a_certificate_that_nobody_renews_costs_readiness_while_it_still_works() {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Arc::new(credentials(dir.path()));
        let (readiness, notices) = (Readiness::new(), Notices::default());
        let mut watch = Watch::new(Arc::clone(&credentials), readiness.clone(), notices.clone());
        assert!(readiness.is_ready());
        assert!(notices.all().is_empty());

        credentials.get("mesh").unwrap().abandon();
        watch.look();
        assert_eq!(readiness.waiting_for(), ["certificate"]);
        let words = notices.all();
        assert!(words[0].1.contains("mesh: no longer renewed"), "{words:?}");
    }
}
