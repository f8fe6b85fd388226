//! What mandates rest on: the memory, and where something can be handed on, the keys. Opened before serving.
//!
//! Without `delegation.issuer` and `state` nothing can be handed on, and no token counts.

use std::sync::Arc;

use super::{StartError, keys, sessions};
use crate::audit::Auditor;
use crate::authority::{Authority, Mandates, Rules, Sessions, Tokens};
use crate::clock::Clock;
use crate::config::Fixed;
use crate::keys::{Keyring, Verifier};
use crate::state::StateStore;

/// The memory and the keys, as far as they are configured.
#[derive(Debug)]
pub(super) struct Grounds {
    store: Option<Arc<dyn StateStore>>,
    keyring: Option<Arc<Keyring>>,
}

impl Grounds {
    /// Opens them; the keys are on record before anything is signed with one.
    pub(super) async fn open(
        fixed: &Fixed,
        rules: &Rules,
        clock: &Arc<dyn Clock>,
        auditor: &Auditor,
    ) -> Result<Self, StartError> {
        let store = sessions::open(fixed, clock)?;
        let issuer = rules.delegation.limits.issuer.is_some();
        let keyring = if issuer && store.is_some() {
            Some(keys::open(fixed, &**clock, auditor).await?)
        } else {
            tracing::info!("nothing can be handed on: that needs delegation.issuer and state");
            None
        };
        Ok(Self { store, keyring })
    }

    /// The keys that tokens are signed with.
    pub(super) fn keyring(&self) -> Option<Arc<Keyring>> {
        self.keyring.clone()
    }

    /// What looks at tokens in requests.
    pub(super) fn tokens(&self) -> Option<Tokens> {
        let (store, keyring) = self.both()?;
        let verifier = Verifier::new(keyring, REMEMBERED_TOKENS);
        Some(Tokens::new(verifier, store))
    }

    /// The sessions of people.
    pub(super) fn sessions(&self, authority: &Arc<Authority>) -> Option<Arc<Sessions>> {
        let store = Arc::clone(self.store.as_ref()?);
        let sessions = Sessions::new(Arc::clone(authority), store, rand::make_rng());
        Some(Arc::new(sessions))
    }

    /// What hands authority on.
    pub(super) fn mandates(
        &self,
        authority: &Arc<Authority>,
        sessions: Option<&Arc<Sessions>>,
    ) -> Option<Arc<Mandates>> {
        let (store, keyring) = self.both()?;
        let (authority, sessions) = (Arc::clone(authority), Arc::clone(sessions?));
        let rng = rand::make_rng();
        let mandates = Mandates::new(authority, sessions, store, keyring, rng);
        Some(Arc::new(mandates))
    }

    fn both(&self) -> Option<(Arc<dyn StateStore>, Arc<Keyring>)> {
        let Self { store, keyring } = self;
        store.clone().zip(keyring.clone())
    }
}

/// Bytes of tokens whose signature is remembered: some 2000 of them.
const REMEMBERED_TOKENS: u64 = 4 * 1024 * 1024;
