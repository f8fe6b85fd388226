//! The client of the service, for the command line: over a Unix socket, where nobody else can listen in.

use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::humans::{Email, Password};
use crate::state::Handle;

use super::super::proto::attache::v1::create_session_request::Credential;
use super::super::proto::attache::v1::session_service_client::SessionServiceClient;
use super::super::proto::attache::v1::{
    CreateSessionRequest, DevPassword, GetSessionRequest, RevokeSessionRequest, Session,
};
use super::super::refusal;

/// Opens, shows and ends a person's session.
#[derive(Debug, Clone)]
pub struct SessionClient(SessionServiceClient<Channel>);

/// What is known of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// `sessions/` and its id.
    pub name: String,
    /// The person's id.
    pub person: String,
    /// Who vouched for them.
    pub issuer: String,
    /// Their role.
    pub role: String,
    /// What it permits at this moment.
    pub permissions: Vec<String>,
    /// When it ends by itself, in seconds since 1970.
    pub expires: u64,
}

/// Why there was no answer, or no.
#[derive(Debug, thiserror::Error)]
pub enum SessionClientError {
    /// Not the address of a Unix socket.
    #[error("`{0}` is no address of a Unix socket; write unix:/PATH, one of listen.ext_authz")]
    Address(String),
    /// Nobody answers there.
    #[error(
        "cannot reach {address}; check that `attache serve` runs and that this user may open the socket"
    )]
    Unreachable {
        /// Where.
        address: String,
        /// What the transport said.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The stable reason, where the server is an attache that says one.
        reason: String,
        /// In words for people.
        message: String,
    },
    /// The server's answer is none.
    #[error("the answer of the server is incomplete; client and server differ in version")]
    Incomplete,
}

impl SessionClient {
    /// Connects to the attache at `address`, as `unix:/run/attache/ext_authz.sock`.
    pub async fn connect(address: &str) -> Result<Self, SessionClientError> {
        let path = address.strip_prefix("unix:").unwrap_or_default();
        let endpoint = Endpoint::from_shared(address.to_owned()).ok();
        let endpoint = endpoint.filter(|_| path.starts_with('/'));
        let endpoint = endpoint.ok_or_else(|| SessionClientError::Address(address.to_owned()))?;
        let endpoint = endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
        let unreachable = |source| SessionClientError::Unreachable {
            address: address.to_owned(),
            source,
        };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self(SessionServiceClient::new(channel)))
    }

    /// Opens a session; its credential comes back with it.
    pub async fn log_in(
        &mut self,
        email: &Email,
        password: &Password,
        request_id: String,
    ) -> Result<(SessionInfo, Handle), SessionClientError> {
        let password = password.reveal().unwrap_or_default().to_owned();
        let asked = CreateSessionRequest {
            credential: Some(Credential::DevPassword(DevPassword {
                email: email.to_string(),
                password,
            })),
            request_id,
        };
        let answer = self
            .0
            .create_session(Request::new(asked))
            .await?
            .into_inner();
        let handle = answer.session_token.parse().ok();
        match (answer.session, handle) {
            (Some(session), Some(handle)) => Ok((session.into(), handle)),
            _ => Err(SessionClientError::Incomplete),
        }
    }

    /// The session of a credential.
    pub async fn who_am_i(&mut self, handle: &Handle) -> Result<SessionInfo, SessionClientError> {
        let asked = shown(handle, GetSessionRequest::default());
        Ok(self.0.get_session(asked).await?.into_inner().into())
    }

    /// Ends the session of a credential; how many tokens died with it comes back.
    pub async fn log_out(&mut self, handle: &Handle) -> Result<u64, SessionClientError> {
        let asked = shown(handle, RevokeSessionRequest::default());
        let answer = self.0.revoke_session(asked).await?;
        Ok(answer.into_inner().revoked_token_count)
    }
}

/// A request with the caller's credential, which no log shows.
fn shown<T>(handle: &Handle, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {}", handle.reveal());
    if let Ok(mut value) = MetadataValue::<Ascii>::try_from(value) {
        value.set_sensitive(true);
        request.metadata_mut().insert("authorization", value);
    }
    request
}

impl From<Status> for SessionClientError {
    fn from(status: Status) -> Self {
        let message = match status.code() {
            Code::Unimplemented => {
                "there are no sessions there; the configuration of that attache needs `state`"
                    .to_owned()
            }
            _ => status.message().to_owned(),
        };
        Self::Refused {
            reason: refusal::reason(&status).unwrap_or_default(),
            message,
        }
    }
}

impl From<Session> for SessionInfo {
    fn from(session: Session) -> Self {
        let Session {
            name,
            person,
            issuer,
            role,
            permissions,
            expire_time,
            authentication_methods: _,
            authentication_time: _,
            create_time: _,
            state: _,
        } = session;
        let expires = expire_time.map_or(0, |time| time.seconds);
        Self {
            name,
            person,
            issuer,
            role,
            permissions,
            expires: u64::try_from(expires).unwrap_or_default(),
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(15);
