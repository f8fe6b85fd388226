//! The tables a decision is made by, as one immutable snapshot that is replaced whole.

use std::sync::Arc;
use std::time::Duration;

use crate::delegation::{self, RoleTable, Session};
use crate::humans::People;
use crate::identity::{Identifier, PepRules, SpiffePattern};
use crate::operation::{Fallback, RouteTable};
use crate::permission::{AgentList, TierTable, WorkloadGrants};
use crate::policy::InputForm;

/// Everything that reloads live, except policy.
#[derive(Debug)]
pub struct Rules {
    /// Which peers may assert callers, and how.
    pub peps: PepRules,
    /// How a caller's claims become an identity.
    pub identifier: Identifier,
    /// Which callers are agents: those listed, and all who may be delegated to.
    pub agents: AgentList,
    /// How authority may be handed on.
    pub delegation: delegation::Settings,
    /// Which workloads may read the audit trail; agents never may.
    pub readers: Vec<SpiffePattern>,
    /// What workloads may do on their own account.
    pub workloads: WorkloadGrants,
    /// Which operation a request is.
    pub routes: RouteTable,
    /// What may name the operation where no route matches.
    pub fallback: Fallback,
    /// The tier of each operation.
    pub tiers: TierTable,
    /// What each role permits.
    pub roles: RoleTable,
    /// The people who log in here with a password.
    pub people: Arc<People>,
    /// Which request attributes policy sees.
    pub context: ContextNames,
    /// How long the decision of an inquiry may take.
    pub inquiry_time: Duration,
    /// Which words policy is asked in.
    pub input: InputForm,
    /// A short digest of the configuration these tables were made from.
    pub revision: Arc<str>,
}

impl Rules {
    /// Whether the person of a session is still known here, in the role that the session was opened in. A session is worth no
    /// more than its person, and neither is anything that rests on it.
    pub fn knows(&self, session: &Session) -> bool {
        self.people.role(&session.person) == Some(&session.role)
    }
}

/// The names of the request attributes that become policy input.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContextNames {
    /// Request headers, by lower-case name.
    pub headers: Vec<String>,
    /// Context extensions set in the proxy's route configuration.
    pub extensions: Vec<String>,
}

impl ContextNames {
    /// Whether configuration declares at all what policy reads.
    pub fn declares(&self) -> bool {
        let Self {
            headers,
            extensions,
        } = self;
        !headers.is_empty() || !extensions.is_empty()
    }
}
