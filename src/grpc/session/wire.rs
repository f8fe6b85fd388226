//! Between the messages of sessions and our own words.

use std::fmt;

use prost_types::Timestamp as Wire;
use tonic::Status;

use crate::authority::Login;
use crate::clock::Timestamp;
use crate::delegation::{self, SessionId, Status as Life};
use crate::humans::Password;
use crate::state::Ended;

use super::super::proto::attache::v1::create_session_request::Credential;
use super::super::proto::attache::v1::{
    CreateSessionRequest, CreateSessionResponse, DevPassword, RevokeSessionResponse, Session,
    SessionState,
};
use super::super::refusal::Refused;

// === What is asked ===

pub(super) fn login(asked: CreateSessionRequest) -> Result<Login, Status> {
    let CreateSessionRequest {
        credential,
        request_id,
    } = asked;
    let Some(Credential::DevPassword(DevPassword { email, password })) = credential else {
        return Err(Refused::field("credential", "write dev_password").into());
    };
    // The bytes move: no copy of the password stays behind.
    let password = Password::new(password.into_bytes())
        .map_err(|error| Refused::field("dev_password.password", error.to_string()))?;
    let email = email.parse().map_err(|error: crate::humans::EmailError| {
        Refused::field("dev_password.email", error.to_string())
    })?;
    Ok(Login {
        email,
        password,
        request_id: self::request_id(request_id)?,
    })
}

fn request_id(text: String) -> Result<Option<String>, Status> {
    if text.len() > MOST_OF_A_REQUEST_ID || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let advice = format!("write at most {MOST_OF_A_REQUEST_ID} printable characters");
        return Err(Refused::field("request_id", advice).into());
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// The session that a name is of; `None` for the caller's own.
pub(super) fn name(text: &str) -> Result<Option<SessionId>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = text.strip_prefix(COLLECTION).and_then(|id| id.parse().ok());
    match id {
        Some(id) => Ok(Some(id)),
        None => Err(Refused::field("name", "write sessions/ID, or leave it out").into()),
    }
}

// === What is answered ===

pub(super) fn session(session: &delegation::Session, permissions: Vec<String>) -> Session {
    let delegation::Session {
        id,
        person,
        role,
        authentication,
        created,
        expires,
        status,
    } = session;
    let state = match status {
        Life::Active => SessionState::Active,
        Life::Pending | Life::Completed | Life::Revoked | Life::Expired | Life::Cascaded => {
            SessionState::Ended
        }
    };
    Session {
        name: format!("{COLLECTION}{id}"),
        person: person.id.to_string(),
        issuer: person.issuer.to_string(),
        role: role.to_string(),
        permissions,
        authentication_methods: authentication.methods.clone(),
        authentication_time: Some(time(authentication.time)),
        create_time: Some(time(*created)),
        expire_time: Some(time(*expires)),
        state: state.into(),
    }
}

pub(super) fn ended(ended: &Ended) -> RevokeSessionResponse {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RevokeSessionResponse {
        revoked_token_count: ended.tokens,
        revoked_grant_count: count(ended.grants.len()),
        ended_task_count: count(ended.tasks.len()),
    }
}

fn time(moment: Timestamp) -> Wire {
    Wire {
        seconds: i64::try_from(moment.unix_seconds()).unwrap_or(i64::MAX),
        nanos: 0,
    }
}

// === What no Debug may show ===

impl fmt::Debug for DevPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DevPassword(…)")
    }
}

impl fmt::Debug for CreateSessionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSessionResponse")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

const COLLECTION: &str = "sessions/";
const MOST_OF_A_REQUEST_ID: usize = 64;
