//! The client of the service, for the command line: over a Unix socket, where nobody else can listen in.

use tonic::Request;
use tonic::transport::Channel;

use crate::humans::{Email, Password};
use crate::state::Handle;

use super::super::dialled::{self, ClientError};
use super::super::proto::attache::v1::create_session_request::Credential;
use super::super::proto::attache::v1::session_service_client::SessionServiceClient;
use super::super::proto::attache::v1::{
    CreateSessionRequest, DevPassword, GetSessionRequest, RevokeSessionRequest, Session,
};

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

impl SessionClient {
    /// Connects to the attache at `address`, as `unix:/run/attache/ext_authz.sock`.
    pub async fn connect(address: &str) -> Result<Self, ClientError> {
        Ok(Self(SessionServiceClient::new(
            dialled::unix(address).await?,
        )))
    }

    /// Opens a session; its credential comes back with it.
    pub async fn log_in(
        &mut self,
        email: &Email,
        password: &Password,
        request_id: String,
    ) -> Result<(SessionInfo, Handle), ClientError> {
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
            _ => Err(ClientError::Incomplete),
        }
    }

    /// The session of a credential.
    pub async fn who_am_i(&mut self, handle: &Handle) -> Result<SessionInfo, ClientError> {
        let asked = dialled::shown(Some(handle), GetSessionRequest::default());
        Ok(self.0.get_session(asked).await?.into_inner().into())
    }

    /// Ends the session of a credential; how many tokens died with it comes back.
    pub async fn log_out(&mut self, handle: &Handle) -> Result<u64, ClientError> {
        let asked = dialled::shown(Some(handle), RevokeSessionRequest::default());
        let answer = self.0.revoke_session(asked).await?;
        Ok(answer.into_inner().revoked_token_count)
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
