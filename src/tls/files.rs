//! Certificate, key and bundle from files, compared by content once a second.
//!
//! Files are written one after the other: a look in between finds a key that is not the certificate's, which the gate
//! refuses; the next look finds both. What is refused for the time alone, such as a certificate that begins in a minute, is
//! offered again at every look.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::MissedTickBehavior;

use crate::identity::TrustDomain;
use crate::text::sentence;

use super::config::Files;
use super::credential::Credential;
use super::material::Offer;

/// Offers what the files hold whenever that changes.
#[derive(Debug)]
pub(super) struct FileSource {
    files: Files,
    trust_domain: TrustDomain,
    credential: Credential,
    /// What was last offered, good or bad.
    seen: Option<Contents>,
    /// It was refused for the time alone, and passes as it is when that has come.
    early: bool,
}

/// The bytes of the three files.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    bundle: Vec<u8>,
}

/// Why files are no offer.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("{} is not PEM of the kind that is needed", .0.display())]
    Pem(PathBuf, #[source] PemError),
}

impl std::fmt::Debug for Contents {
    /// Never shows the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contents")
    }
}

impl FileSource {
    /// Paths start from `base`; the bundle is that of `trust_domain`.
    pub(super) fn new(
        base: &Path,
        files: Files,
        trust_domain: &TrustDomain,
        credential: Credential,
    ) -> Self {
        Self {
            files: Files {
                certificate: base.join(files.certificate),
                key: base.join(files.key),
                bundle: base.join(files.bundle),
            },
            trust_domain: trust_domain.clone(),
            credential,
            seen: None,
            early: false,
        }
    }

    /// Looks once a second, for ever.
    pub(super) async fn run(self) {
        let mut source = self;
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                source.look();
                source
            });
            match looked.await {
                Ok(back) => source = back,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime ends.
                    Err(_cancelled) => return,
                },
            }
        }
    }

    /// Offers what the files hold, if it is new.
    pub(super) fn look(&mut self) {
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            Err(error) => {
                // A file that is being replaced is gone for a moment; what is in force stays. Whatever comes back is
                // offered again, which also ends the trouble.
                self.seen = None;
                self.credential.lost(&sentence(&error));
                return;
            }
        };
        let again = self.seen.as_ref() == Some(&contents);
        if again && !self.early {
            return;
        }
        self.early = false;
        match contents.offer(&self.files, &self.trust_domain) {
            Ok(offer) => {
                let accepted = if again {
                    self.credential.offer_again(offer)
                } else {
                    self.credential.offer(offer)
                };
                // The gate has said what is wrong with it.
                self.early = accepted.is_err_and(|refused| refused.is_of_the_clock());
            }
            Err(error) => self.credential.reject(&sentence(&error)),
        }
        self.seen = Some(contents);
    }
}

impl Contents {
    fn read(files: &Files) -> Result<Self, FileError> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| FileError::Read(path.to_owned(), error))
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            bundle: read(&files.bundle)?,
        })
    }

    fn offer(&self, files: &Files, trust_domain: &TrustDomain) -> Result<Offer, FileError> {
        let bundle = certificates(&files.bundle, &self.bundle)?;
        Ok(Offer {
            chain: certificates(&files.certificate, &self.certificate)?,
            key: PrivateKeyDer::from_pem_slice(&self.key)
                .map_err(|error| FileError::Pem(files.key.clone(), error))?,
            bundles: BTreeMap::from([(trust_domain.as_str().to_owned(), bundle)]),
        })
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, FileError> {
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| FileError::Pem(path.to_owned(), error))
}

const INTERVAL: Duration = Duration::from_secs(1);
