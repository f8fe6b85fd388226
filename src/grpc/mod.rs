//! The gRPC doors: Envoy's `ext_authz`, our own `AuthorizationService` for programs, `SessionService` for people,
//! `DelegationService` for both, `AuditService` for auditors, and the [`Services`] that workloads and people reach.
//!
//! Turns wire messages into attache's own words and back; decides nothing itself. On `ext_authz` every fault on the way
//! becomes an explicit denial ([`rescue`]), elsewhere an error of the call ([`guard`]); connections and messages are
//! bounded by [`Limits`].

mod answer;
mod attributes;
mod authorization;
mod connection;
mod deadline;
mod delegation;
mod dialled;
mod ext_authz;
mod guard;
mod health;
mod limits;
mod proto;
mod refusal;
mod rehearsal;
mod request;
mod rescue;
mod response;
mod server;
mod services;
mod session;
mod trail;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::authority::{Authority, Mandates, Sessions};
use crate::lifecycle::Shutdown;
use crate::socket::{Address, Bound};

pub use authorization::{AddressError, AuthorizationClient};
pub use delegation::{
    DelegationClient, EndedInfo, GrantInfo, HandoverInfo, HandoverWanted, MandateRef,
    PermissionInfo, TaskInfo, TokenInfo,
};
pub use dialled::ClientError;
pub use health::{HEALTH_SERVICES, HealthClientError, ServingStatus, health_routes, query_health};
pub use limits::Limits;
pub use rehearsal::{Rehearsal, RehearsalError, RequestFlags};
pub use services::{LONGEST_CALL, MeshServer, Services};
pub use session::{SessionClient, SessionInfo};
pub use trail::{
    AuditClient, AuditClientError, ChainEnd, QueriedPage, Reading, StreamedEntry, TracedEntries,
    Verified,
};

use delegation::Handovers;
use ext_authz::ExtAuthz;
use proto::envoy::service::auth::v3::authorization_server::AuthorizationServer;
use rescue::{Door, RescueLayer};
use server::Entrance;
use session::People;

/// The name of Envoy's authorization service, as health checks ask for it.
pub const EXT_AUTHZ: &str = "envoy.service.auth.v3.Authorization";
/// The name of our own service of decisions, as health checks ask for it.
pub const AUTHORIZATION: &str = authorization::NAME;
/// The name of the service of mandates, as health checks ask for it.
pub const DELEGATION: &str = delegation::NAME;
/// The name of the service of sessions, as health checks ask for it.
pub const SESSIONS: &str = session::NAME;
/// The name of the service that reads the audit trail, as health checks ask for it.
pub const AUDIT: &str = trail::NAME;

/// Serves `ext_authz` on sockets, and decisions for programs and the audit trail on those of them that are Unix sockets;
/// shared by all listeners and workers.
#[derive(Debug, Clone)]
pub struct ExtAuthzServer {
    authority: Arc<Authority>,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    entrance: Entrance,
    /// Calls of programs may take long, and must not take a proxy's place.
    inquiries: Arc<Semaphore>,
    people: Option<People>,
    reading: Option<Reading>,
    handovers: Option<Handovers>,
}

impl ExtAuthzServer {
    /// A server that answers by `authority`, within `limits` over all its listeners.
    pub fn new(authority: Arc<Authority>, limits: Limits) -> Self {
        let longest = limits.request_timeout + STALL_MARGIN;
        Self {
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            entrance: Entrance::new(Arc::clone(&authority), &limits, longest),
            inquiries: Arc::new(Semaphore::new(limits.max_in_flight)),
            authority,
            limits,
            people: None,
            reading: None,
            handovers: None,
        }
    }

    /// The same, with the sessions of people, where there are any.
    #[must_use]
    pub fn with_sessions(self, sessions: Option<Arc<Sessions>>) -> Self {
        Self {
            people: sessions.map(People::new),
            ..self
        }
    }

    /// The same, with the audit trail to be read.
    #[must_use]
    pub fn reading(self, reading: Reading) -> Self {
        Self {
            reading: Some(reading),
            ..self
        }
    }

    /// The same, with mandates, where there are any.
    #[must_use]
    pub fn with_mandates(self, mandates: Option<Arc<Mandates>>) -> Self {
        Self {
            handovers: mandates.map(Handovers::new),
            ..self
        }
    }

    /// Serves one socket on the current runtime, until a stop begins and what is under way has finished.
    pub async fn serve(self, bound: Bound, shutdown: Shutdown) -> io::Result<()> {
        let rescue = RescueLayer {
            authority: Arc::clone(&self.authority),
            door: Door::Proxy,
            in_flight: self.in_flight,
            // The decision keeps its own, shorter limit; this one ends requests that never arrive whole.
            time_limit: self.limits.request_timeout + STALL_MARGIN,
        };
        // On TCP, anything in the pod could ask about anybody.
        let (decisions, trail) = match bound.address() {
            Address::Unix { .. } => (
                Some(authorization::service(
                    Arc::clone(&self.authority),
                    &self.limits,
                    self.inquiries,
                )),
                self.reading.map(|it| it.service(&self.limits)),
            ),
            Address::Tcp(_) => (None, None),
        };
        let sessions = match bound.address() {
            Address::Unix { .. } => self.people.map(|people| people.service()),
            Address::Tcp(_) => None,
        };
        let mandates = match bound.address() {
            Address::Unix { .. } => self.handovers.map(|handovers| handovers.service()),
            Address::Tcp(_) => None,
        };
        let check = ExtAuthz::new(self.authority, self.limits.request_timeout);
        let service =
            AuthorizationServer::new(check).max_decoding_message_size(self.limits.message_bytes());
        let connections = self.entrance.connections(bound, shutdown.clone())?;
        self.entrance
            .server()
            .layer(rescue)
            .add_service(service)
            .add_optional_service(decisions)
            .add_optional_service(sessions)
            .add_optional_service(trail)
            .add_optional_service(mandates)
            .serve_with_incoming_shutdown(connections, async move { shutdown.draining().await })
            .await
            .map_err(io::Error::other)
    }
}

/// How much longer than a decision a request may take to arrive.
const STALL_MARGIN: Duration = Duration::from_millis(50);
