//! The gRPC services that workloads and people reach: the same ones on `listen.mesh` and on `listen.http`.
//!
//! # Adding a service
//!
//! 1. Implement its generated trait for a struct of its own, in a file of its own, that holds what it needs.
//! 2. Give [`Services`] what the struct is made from, and add it in [`Services::router`]: the one place.
//! 3. Name it in [`HEALTH_SERVICES`](super::HEALTH_SERVICES).
//!
//! It then has, without a line of its own: the limits on connections, streams, headers and handshakes; and, where it is
//! added before the [`guard`](super::guard), a place in flight for each call, an end for calls that stall, and errors for
//! those that panic. Decisions have their own of these, and leave a record: [`rescue`](super::rescue).
//!
//! It must judge its peer itself: `Proxy::of(call.extensions()).peer()` says who asks at this moment, on both listeners; the
//! certificates that were shown are in [`Session::chain`](crate::tls::Session::chain).
//! On `mesh` the peer is [`Peer::Mesh`](crate::identity::Peer::Mesh), somebody of an accepted trust domain, and nothing more is
//! known to be allowed: `vouched` must hold and the certificate be valid now. On `http` it may also be
//! [`Peer::Anonymous`](crate::identity::Peer::Anonymous). Messages are bounded by `max_decoding_message_size`, which a
//! service sets from [`Limits::message_bytes`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tonic::service::Routes;

use crate::authority::{Authority, Mandates, Sessions};
use crate::lifecycle::Shutdown;
use crate::socket::Bound;

use super::authorization;
use super::delegation::Handovers;
use super::guard::GuardLayer;
use super::limits::Limits;
use super::server::Entrance;
use super::session::People;
use super::trail::Reading;

/// The services, and what they are made from.
#[derive(Debug, Clone)]
pub struct Services {
    authority: Arc<Authority>,
    limits: Limits,
    /// Decisions under way, over both kinds of listeners.
    inquiries: Arc<Semaphore>,
    reading: Reading,
    health: axum::Router,
    people: Option<People>,
    handovers: Option<Handovers>,
}

impl Services {
    /// Services within `limits`; `health` comes from [`health_routes`](super::health_routes).
    pub fn new(
        authority: Arc<Authority>,
        limits: Limits,
        reading: Reading,
        health: axum::Router,
    ) -> Self {
        Self {
            inquiries: Arc::new(Semaphore::new(limits.max_in_flight)),
            authority,
            limits,
            reading,
            health,
            people: None,
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

    /// The same, with mandates, where there are any.
    #[must_use]
    pub fn with_mandates(self, mandates: Option<Arc<Mandates>>) -> Self {
        Self {
            handovers: mandates.map(Handovers::new),
            ..self
        }
    }

    /// Every service, for one kind of listener. What is not there is UNIMPLEMENTED. Clones share places in flight.
    pub fn router(&self) -> axum::Router {
        let guard = GuardLayer {
            in_flight: Arc::new(Semaphore::new(self.limits.max_in_flight)),
            time_limit: LONGEST_CALL,
        };
        let decisions = authorization::service(
            Arc::clone(&self.authority),
            &self.limits,
            Arc::clone(&self.inquiries),
        );
        let guarded = self.health.clone().layer(guard);
        // Outside the guard: it has places, an end and a record for what fails of its own, and gives nobody a place who
        // may not ask.
        let routes = Routes::from(guarded)
            .add_service(decisions)
            // Guarded by itself, behind its own look at who may read.
            .add_service(self.reading.service(&self.limits));
        let routes = match &self.people {
            // It has a guard of its own, with few places.
            Some(people) => routes.add_service(people.service()),
            None => routes,
        };
        let routes = match &self.handovers {
            Some(handovers) => routes.add_service(handovers.service()),
            None => routes,
        };
        routes.into_axum_router()
    }
}

/// Serves [`Services`] on `mesh` sockets; shared by all threads.
#[derive(Debug, Clone)]
pub struct MeshServer {
    router: axum::Router,
    entrance: Entrance,
}

impl MeshServer {
    /// A server of `services`, within their limits.
    pub fn new(services: &Services) -> Self {
        let authority = Arc::clone(&services.authority);
        Self {
            router: services.router(),
            entrance: Entrance::new(authority, &services.limits, LONGEST_CALL),
        }
    }

    /// Serves one socket on the current runtime, until a stop begins and what is under way has finished.
    pub async fn serve(self, bound: Bound, shutdown: Shutdown) -> io::Result<()> {
        let connections = self.entrance.connections(bound, shutdown.clone())?;
        self.entrance
            .server()
            .add_routes(Routes::from(self.router))
            .serve_with_incoming_shutdown(connections, async move { shutdown.draining().await })
            .await
            .map_err(io::Error::other)
    }
}

/// From a call's first byte to the head of its answer. Services keep their own, shorter limits; this one ends requests that
/// never arrive whole.
pub const LONGEST_CALL: Duration = Duration::from_secs(10);
