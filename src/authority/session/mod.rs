//! The sessions of people: opened by who shows who they are, looked up by their credential, ended by logout or by time.
//!
//! - Whatever takes effect is on record first: where the record can't be written, nobody is logged in or out.
//! - Passwords are taken, and sessions of local users looked up, from this host alone ([`Sessions::hears`]).
//! - A session is worth no more than its user: where the user is taken out of the configuration, or gets another role, it
//!   opens nothing any more.
//! - Never says whether an account exists, and never shows a credential but the one it has just made.

mod refusal;
pub(super) mod witness;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout_at;

use super::check::Authority;
use super::metrics::Login as Count;
use crate::audit::{AuditError, Record};
use crate::delegation::{Authentication, Session, SessionId, Status};
use crate::humans::{Email, LocalUser, LoginError, Logins, Password, People};
use crate::identity::Peer;
use crate::policy::Deadline;
use crate::state::{
    Begun, Ended, Handle, Manner, NewSession, Refusal, Request, StateError, StateStore, Target,
    Whose,
};

pub use refusal::SessionRefusal;

/// Opens, finds and ends sessions.
#[derive(Debug)]
pub struct Sessions {
    authority: Arc<Authority>,
    store: Arc<dyn StateStore>,
    logins: Logins,
    rng: Mutex<StdRng>,
}

/// Somebody who wants to open a session.
#[derive(Debug)]
pub struct Login {
    /// Their address.
    pub email: Email,
    /// Their password.
    pub password: Password,
    /// The caller's id for this request, by which it is known when it comes again (AIP-155).
    pub request_id: Option<String>,
}

/// A session that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The session.
    pub session: Session,
    /// Its credential, which is nowhere else.
    pub handle: Handle,
}

/// How long a login, a lookup or a logout may take.
pub const LONGEST_SESSION_CALL: Duration = Duration::from_secs(8);
/// Most sessions that one sweep ends.
const SWEPT_AT_ONCE: u32 = 256;
/// How long undoing may take after the time of the call was over.
const UNDOING: Duration = Duration::from_secs(1);

impl Sessions {
    /// Sessions kept in `store`. `rng` makes the credentials.
    pub fn new(authority: Arc<Authority>, store: Arc<dyn StateStore>, rng: StdRng) -> Self {
        Self {
            authority,
            store,
            logins: Logins::default(),
            rng: Mutex::new(rng),
        }
    }

    /// Whether `peer` is on this host: a process on a Unix socket that `identity` trusts, or a client of TLS from a loopback
    /// address without a certificate. A proxy on this host that passes on what others send looks the same.
    pub fn hears(&self, peer: &Peer) -> bool {
        let rules = self.authority.rules();
        match peer {
            Peer::Unix { .. } => rules.peps.judge(peer, self.authority.clock.now()).is_ok(),
            Peer::Anonymous(address) => address.ip().to_canonical().is_loopback(),
            // Without TLS, anything could stand in between; with a certificate it is a workload, and no person.
            Peer::Tcp(_) | Peer::Mesh(_) => false,
        }
    }

    /// Opens a session for who knows the password of a local user.
    pub async fn open(
        &self,
        peer: &Peer,
        login: Login,
        deadline: Deadline,
    ) -> Result<Opened, SessionRefusal> {
        let opened = match timeout_at(deadline.at, self.log_in(peer, login)).await {
            Ok(opened) => opened,
            Err(elapsed) => Err(elapsed.into()),
        };
        self.authority.metrics.login(match &opened {
            Ok(_) => Count::Success,
            Err(SessionRefusal::Wrong) => Count::Wrong,
            Err(SessionRefusal::TooOften { .. }) => Count::TooOften,
            Err(_) => Count::Refused,
        });
        opened
    }

    async fn log_in(&self, peer: &Peer, login: Login) -> Result<Opened, SessionRefusal> {
        let Login {
            email,
            password,
            request_id,
        } = login;
        if !self.hears(peer) {
            self.note(witness::failed(peer, None, LoginFailure::NotHere));
            return Err(SessionRefusal::NotHere);
        }
        let people = Arc::clone(&self.authority.rules().people);
        let user = match self.logins.user(&people, &email, password).await {
            Ok(user) => user,
            Err(error) => return Err(self.turned_away(peer, &people, &email, error).await),
        };
        let request = request_id.map(|id| Request {
            caller: user.id.to_string(),
            id,
            // Without the password: what is kept must not help to guess it. It was right, whatever it was.
            digest: Sha256::digest(format!("CreateSession {}", user.email)).into(),
        });
        let handle = Handle::from_random(self.random());
        let new = NewSession {
            session: self.session_of(&user),
            handle: handle.digest(),
        };
        let begun = self.store.open_session(new, request).await?.value;
        if let Err(error) = self.keep(witness::login(peer, &begun)).await {
            self.undo(begun.id).await;
            return Err(error.into());
        }
        if let Err(error) = self.store.activate(Begun::Session(begun.id.clone())).await {
            // The record says that it was opened; this one, that nothing came of it.
            self.note(witness::failed(peer, Some(&user.id), LoginFailure::NotKept));
            return Err(match error.refusal() {
                Some(Refusal::Inactive { .. }) => SessionRefusal::RequestIdReused,
                _ => error.into(),
            });
        }
        let session = Session {
            status: Status::Active,
            ..begun
        };
        Ok(Opened { session, handle })
    }

    /// Records a login that failed, and says so.
    async fn turned_away(
        &self,
        peer: &Peer,
        people: &People,
        email: &Email,
        error: LoginError,
    ) -> SessionRefusal {
        let meant = people.by_email(email).map(|user| &user.id);
        match error {
            LoginError::NoUsers => SessionRefusal::NoUsers,
            LoginError::TooOften { wait } => {
                // Not waited for: who is turned away unlooked must not keep the witness busy.
                self.note(witness::failed(peer, meant, LoginFailure::TooOften));
                SessionRefusal::TooOften { wait }
            }
            // Nobody guesses passwords unwitnessed: without the record there is no answer to learn from.
            LoginError::Wrong => {
                match self
                    .keep(witness::failed(peer, meant, LoginFailure::Wrong))
                    .await
                {
                    Ok(()) => SessionRefusal::Wrong,
                    Err(error) => error.into(),
                }
            }
            LoginError::Failed => SessionRefusal::Unavailable(Box::new(error)),
        }
    }

    /// The live session of a credential that a person shows.
    pub async fn resolve(
        &self,
        peer: &Peer,
        handle: Option<&Handle>,
        deadline: Deadline,
    ) -> Result<Session, SessionRefusal> {
        timeout_at(deadline.at, self.look_up(peer, handle)).await?
    }

    async fn look_up(
        &self,
        peer: &Peer,
        handle: Option<&Handle>,
    ) -> Result<Session, SessionRefusal> {
        if !self.hears(peer) {
            return Err(SessionRefusal::NotHere);
        }
        let handle = handle.ok_or(SessionRefusal::NoSession)?;
        let session = self.store.session_by_handle(handle.digest()).await?;
        let rules = self.authority.rules();
        if !session.lives(self.authority.clock.now()) || !rules.knows(&session) {
            return Err(SessionRefusal::NoSession);
        }
        Ok(session)
    }

    /// One of a person's sessions, alive or not: their own by the credential, or another one of theirs by its id.
    pub async fn get(
        &self,
        peer: &Peer,
        handle: Option<&Handle>,
        id: Option<SessionId>,
        deadline: Deadline,
    ) -> Result<Session, SessionRefusal> {
        let own = self.resolve(peer, handle, deadline).await?;
        let Some(id) = id.filter(|id| *id != own.id) else {
            return Ok(own);
        };
        let theirs = self.store.session(id, Whose::Person(own.person.id));
        let found = timeout_at(deadline.at, theirs).await?;
        found.map_err(SessionRefusal::of_another)
    }

    /// Ends one of a person's sessions with everything that rests on it, and says what that was. Ending one that has ended
    /// changes nothing.
    pub async fn close(
        &self,
        peer: &Peer,
        handle: Option<&Handle>,
        id: Option<SessionId>,
        deadline: Deadline,
    ) -> Result<Ended, SessionRefusal> {
        timeout_at(deadline.at, self.log_out(peer, handle, id)).await?
    }

    async fn log_out(
        &self,
        peer: &Peer,
        handle: Option<&Handle>,
        id: Option<SessionId>,
    ) -> Result<Ended, SessionRefusal> {
        if !self.hears(peer) {
            return Err(SessionRefusal::NotHere);
        }
        let handle = handle.ok_or(SessionRefusal::NoSession)?;
        // Who was taken out of the configuration may still log out.
        let own = match self.store.session_by_handle(handle.digest()).await {
            Ok(own) => own,
            Err(StateError::Refused(Refusal::Inactive { .. })) if id.is_none() => {
                return Ok(Ended::default());
            }
            Err(error) => return Err(error.into()),
        };
        let whose = Whose::Person(own.person.id.clone());
        let session = match id.filter(|id| *id != own.id) {
            None => own,
            Some(id) => {
                let found = self.store.session(id, whose.clone()).await;
                found.map_err(SessionRefusal::of_another)?
            }
        };
        if !session.lives(self.authority.clock.now()) {
            return Ok(Ended::default());
        }
        self.keep(witness::logout(peer, &session)).await?;
        let target = Target::Session(session.id, whose);
        let ended = self.store.end(target, Manner::Revoked, None).await?;
        Ok(ended.value)
    }

    /// What the role of a session permits at this moment, as it is written.
    pub fn permissions(&self, session: &Session) -> Vec<String> {
        let rules = self.authority.rules();
        let held = rules.roles.permissions(&session.role);
        let written = held.map(|held| held.entries().iter().map(ToString::to_string).collect());
        written.unwrap_or_default()
    }

    /// Ends what is past its time and puts the sessions among it on record. True where there is more to do.
    pub async fn sweep(&self) -> Result<bool, SessionRefusal> {
        let swept = self.store.sweep(SWEPT_AT_ONCE).await?;
        if swept.sessions.is_empty() {
            return Ok(swept.more);
        }
        let ids = swept.sessions.iter().map(|it| it.id.clone()).collect();
        let Some((last, others)) = swept.sessions.split_last() else {
            return Ok(swept.more);
        };
        for session in others {
            self.note(witness::expired(session));
        }
        // One wait for all of them: what was handed over before is durable, too. A record that found no room is told of by
        // `audit.gap`.
        self.keep(witness::expired(last)).await?;
        self.store.expiry_witnessed(ids).await?;
        Ok(swept.more)
    }

    fn session_of(&self, user: &LocalUser) -> Session {
        let now = self.authority.clock.now();
        Session {
            id: SessionId::from_random(self.random()),
            person: user.person(),
            role: user.role.clone(),
            authentication: Authentication {
                time: now,
                // RFC 8176 section 2.
                methods: vec!["pwd".to_owned()],
                class: None,
            },
            created: now,
            expires: now.plus(self.authority.rules().delegation.session_ttl),
            status: Status::Pending,
        }
    }

    /// Takes back what was begun and is not on record. What fails here is forgotten after a minute by itself.
    async fn undo(&self, id: SessionId) {
        let undone = self.store.abandon(Begun::Session(id));
        if let Ok(Err(error)) = tokio::time::timeout(UNDOING, undone).await {
            tracing::warn!(%error, "a session that was begun could not be undone; nothing rests on it");
        }
    }

    async fn keep(&self, record: Record) -> Result<(), AuditError> {
        self.authority.audit.commit(record).await.map(|_id| ())
    }

    fn note(&self, record: Record) {
        self.authority.audit.record(record);
    }

    /// Drawn whole: what a panicked thread left is sound.
    fn random<T>(&self) -> T
    where
        rand::distr::StandardUniform: rand::distr::Distribution<T>,
    {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random()
    }
}

/// Why nobody was logged in, as the record says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginFailure {
    NotHere,
    Wrong,
    TooOften,
    NotKept,
}
