//! The door for people: `attache.v1.SessionService`, in words of our own.
//!
//! Reads messages and the caller's credential, asks [`Sessions`], and says refusals in words of gRPC. Nothing is decided here;
//! nothing of what was sent is repeated, for it may hold a password or a token.

mod client;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use tower::Layer as _;

use crate::authority::{Deadline, LONGEST_SESSION_CALL, SessionRefusal, Sessions};
use crate::state::Handle;

use super::connection::Proxy;
use super::deadline::deadline;
use super::guard::{Guard, GuardLayer};
use super::proto::attache::v1::session_service_server::{
    SERVICE_NAME, SessionService, SessionServiceServer,
};
use super::proto::attache::v1::{
    CreateSessionRequest, CreateSessionResponse, GetSessionRequest, RevokeSessionRequest,
    RevokeSessionResponse, Session,
};
use super::refusal::Refused;
use super::services::LONGEST_CALL;

pub use client::{SessionClient, SessionInfo};

/// The service's name.
pub(super) const NAME: &str = SERVICE_NAME;

/// Sessions as servers mount them. Clones share their places.
#[derive(Debug, Clone)]
pub(super) struct People {
    sessions: Arc<Sessions>,
    in_flight: Arc<Semaphore>,
}

impl People {
    pub(super) fn new(sessions: Arc<Sessions>) -> Self {
        Self {
            sessions,
            in_flight: Arc::new(Semaphore::new(MOST_IN_FLIGHT)),
        }
    }

    /// The service as any server can mount it: it judges its peers, and bounds its calls in number, size and time.
    pub(super) fn service(&self) -> Guard<SessionServiceServer<Self>> {
        let guard = GuardLayer {
            in_flight: Arc::clone(&self.in_flight),
            time_limit: LONGEST_CALL,
        };
        let service = SessionServiceServer::new(self.clone());
        guard.layer(service.max_decoding_message_size(MOST_BYTES))
    }
}

/// People are few, and passwords take turns.
const MOST_IN_FLIGHT: usize = 64;
/// Of a message: an address, a password and some names.
const MOST_BYTES: usize = 8 * 1024;

#[tonic::async_trait]
impl SessionService for People {
    async fn create_session(
        &self,
        call: Request<CreateSessionRequest>,
    ) -> Result<Response<CreateSessionResponse>, Status> {
        let (deadline, peer) = (until(&call), Proxy::of(call.extensions()).peer());
        let login = wire::login(call.into_inner())?;
        let opened = self.sessions.open(&peer, login, deadline).await;
        let opened = opened.map_err(|it| refused(&it))?;
        Ok(Response::new(CreateSessionResponse {
            session: Some(self.told(&opened.session)),
            session_token: opened.handle.reveal(),
        }))
    }

    async fn get_session(
        &self,
        call: Request<GetSessionRequest>,
    ) -> Result<Response<Session>, Status> {
        let (deadline, peer) = (until(&call), Proxy::of(call.extensions()).peer());
        let handle = credential(call.metadata());
        let id = wire::name(&call.get_ref().name)?;
        let sessions = &self.sessions;
        let found = sessions.get(&peer, handle.as_ref(), id, deadline).await;
        let found = found.map_err(|it| refused(&it))?;
        Ok(Response::new(self.told(&found)))
    }

    async fn revoke_session(
        &self,
        call: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let (deadline, peer) = (until(&call), Proxy::of(call.extensions()).peer());
        let handle = credential(call.metadata());
        let id = wire::name(&call.get_ref().name)?;
        let sessions = &self.sessions;
        let ended = sessions.close(&peer, handle.as_ref(), id, deadline).await;
        let ended = ended.map_err(|it| refused(&it))?;
        Ok(Response::new(wire::ended(&ended)))
    }
}

impl People {
    fn told(&self, session: &crate::delegation::Session) -> Session {
        wire::session(session, self.sessions.permissions(session))
    }
}

fn until<T>(call: &Request<T>) -> Deadline {
    deadline(Instant::now(), call.metadata(), LONGEST_SESSION_CALL)
}

/// The caller's own credential. Two of them are none, and so is one that is no handle: the asker learns no difference.
pub(super) fn credential(metadata: &MetadataMap) -> Option<Handle> {
    let mut values = metadata.get_all("authorization").iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    // RFC 9110 section 11.1: the scheme's case means nothing.
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim_start_matches(' ').parse().ok())?
}

fn refused(refusal: &SessionRefusal) -> Status {
    let told = Refused::new(refusal.code(), refusal.to_string());
    let told = match refusal {
        SessionRefusal::TooOften { wait } => told.retry_in(*wait),
        SessionRefusal::NoUsers => told.until("CONFIGURATION", "humans.local"),
        SessionRefusal::Unavailable(source) => {
            // What the disk says is for whoever runs it, not for who asks.
            tracing::error!(error = %source, "a session could not be opened, found or ended");
            told
        }
        SessionRefusal::NotHere
        | SessionRefusal::Wrong
        | SessionRefusal::NoSession
        | SessionRefusal::RequestIdReused
        | SessionRefusal::NotFound => told,
    };
    told.into()
}
