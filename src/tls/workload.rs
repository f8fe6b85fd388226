//! Certificate, key and bundles from a SPIFFE Workload API: one stream, every message the whole truth.
//!
//! - A message replaces everything: a bundle that is not in it is withdrawn (Workload API section 4.4).
//! - A broken stream leaves the last material in force until it expires; it is opened again after a growing, jittered
//!   wait.
//! - A message that is refused for the time alone, such as a certificate that begins in a minute, is offered again.
//! - `PERMISSION_DENIED` means that we have no identity (any more): everything is withdrawn at once (section 5.2.1). We
//!   keep asking, since an entry may be made later.
//! - `INVALID_ARGUMENT` means that asking again is pointless (Workload Endpoint section 6): we stop.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use rand::RngExt as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::transport::Endpoint;
use spiffe::{Certificate, WorkloadApiClient, WorkloadApiError, X509Context, X509Svid};

use super::credential::Credential;
use super::material::Offer;

/// Offers what a Workload API sends.
#[derive(Debug)]
pub(super) struct WorkloadSource {
    endpoint: Endpoint,
    hint: Option<String>,
    credential: Credential,
}

/// Why a message is no offer.
#[derive(Debug, thiserror::Error)]
enum MessageError {
    #[error("no SVID has the hint `{0}`")]
    NoSuchHint(String),
    #[error("there is no SVID")]
    Empty,
}

/// What to do when a stream has ended.
enum Next {
    Retry,
    Stop,
}

impl WorkloadSource {
    /// `hint` names one of several SVIDs.
    pub(super) const fn new(
        endpoint: Endpoint,
        hint: Option<String>,
        credential: Credential,
    ) -> Self {
        Self {
            endpoint,
            hint,
            credential,
        }
    }

    // Errors of the `spiffe` crate print their causes themselves.

    /// Follows the Workload API for ever, or until it says that asking is pointless.
    pub(super) async fn run(self) {
        let mut failures = 0_u32;
        loop {
            let error = match self.follow(&mut failures).await {
                Ok(()) => WorkloadApiError::EmptyResponse,
                Err(error) => error,
            };
            match self.judge(&error) {
                Next::Retry => {}
                Next::Stop => return,
            }
            failures = failures.saturating_add(1);
            tokio::time::sleep(wait(failures)).await;
        }
    }

    /// Takes messages until the stream ends.
    async fn follow(&self, failures: &mut u32) -> Result<(), WorkloadApiError> {
        let client = WorkloadApiClient::connect(self.endpoint.clone()).await?;
        let mut contexts = client.stream_x509_contexts().await?;
        let mut early = None;
        loop {
            let message = tokio::select! {
                message = contexts.next() => message,
                () = tokio::time::sleep(EARLY), if early.is_some() => {
                    early = early.filter(|context| self.is_still_early(context));
                    continue;
                }
            };
            let Some(message) = message else {
                return Ok(());
            };
            match message {
                Ok(context) => {
                    *failures = 0;
                    early = self.take(&context).then_some(context);
                }
                Err(error) if ends_stream(&error) => return Err(error),
                // The stream goes on; this message is of no use.
                Err(error) => self.credential.reject(&error.to_string()),
            }
        }
    }

    /// Offers what a message holds; whether it was refused for the time alone.
    fn take(&self, context: &X509Context) -> bool {
        match self.select(context) {
            Ok(svid) => {
                let accepted = self.credential.offer(offer(svid, context));
                // The gate has said what is wrong with it.
                accepted.is_err_and(|refused| refused.is_of_the_clock())
            }
            // A message is the whole truth (section 4.4): an SVID that is not in it is ours no more.
            Err(error) => {
                let error = error.to_string();
                self.credential.reject(&error);
                self.credential.withdraw(&error);
                false
            }
        }
    }

    fn is_still_early(&self, context: &X509Context) -> bool {
        self.select(context).is_ok_and(|svid| {
            let accepted = self.credential.offer_again(offer(svid, context));
            accepted.is_err_and(|refused| refused.is_of_the_clock())
        })
    }

    /// The SVID with our hint; where several have it, and where we have none, the first (section 5.2.1).
    fn select<'a>(&self, context: &'a X509Context) -> Result<&'a X509Svid, MessageError> {
        match &self.hint {
            None => context
                .default_svid()
                .map(AsRef::as_ref)
                .ok_or(MessageError::Empty),
            Some(hint) => context
                .svids()
                .iter()
                .find(|svid| svid.hint() == Some(hint))
                .map(AsRef::as_ref)
                .ok_or_else(|| MessageError::NoSuchHint(hint.clone())),
        }
    }

    fn judge(&self, error: &WorkloadApiError) -> Next {
        match error {
            WorkloadApiError::PermissionDenied(_) | WorkloadApiError::NoIdentityIssued => {
                self.credential.withdraw(&error.to_string());
                Next::Retry
            }
            _ if error.is_invalid_argument() => {
                self.credential.lost(&error.to_string());
                tracing::error!(
                    tls = self.credential.name(),
                    "the Workload API does not understand us and is not asked again; restart to try"
                );
                Next::Stop
            }
            _ => {
                self.credential.lost(&error.to_string());
                Next::Retry
            }
        }
    }
}

fn ends_stream(error: &WorkloadApiError) -> bool {
    matches!(
        error,
        WorkloadApiError::PermissionDenied(_)
            | WorkloadApiError::NoIdentityIssued
            | WorkloadApiError::Transport(_)
    )
}

fn offer(svid: &X509Svid, context: &X509Context) -> Offer {
    let key = svid.private_key().as_bytes().to_vec();
    let bundles = context.bundle_set().iter().map(|(domain, bundle)| {
        let authorities = certificates(bundle.authorities());
        (domain.as_str().to_owned(), authorities)
    });
    Offer {
        chain: certificates(svid.cert_chain()),
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
        bundles: bundles.collect::<BTreeMap<_, _>>(),
    }
}

fn certificates(all: &[Certificate]) -> Vec<CertificateDer<'static>> {
    all.iter()
        .map(|certificate| CertificateDer::from(certificate.as_bytes().to_vec()))
        .collect()
}

/// 250 ms doubling to 30 s, of which between half and all is waited: not everybody comes back at once.
fn wait(failures: u32) -> Duration {
    let whole = Duration::from_millis(125_u64.saturating_mul(1 << failures.min(8)));
    let whole = whole.min(Duration::from_secs(30));
    #[expect(
        clippy::disallowed_methods,
        reason = "the spread of retries needs no seed that tests control"
    )]
    let share: f64 = rand::rng().random_range(0.5..1.0);
    whole.mul_f64(share)
}

/// How often material that was refused for the time alone is offered again.
const EARLY: Duration = Duration::from_secs(1);
