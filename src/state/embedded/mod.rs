//! The embedded memory: one SQLite file, or none, for one process.
//!
//! - One thread writes and one reads ([`desk`]); a call waits for neither of them on a thread of the runtime.
//! - What a call promised is in [`StateStore`]; the rules are in the files named after what they are about.
//! - A file that is locked, full, unwritable or broken fails the call and not the process: the next call tries again.

mod begin;
mod desk;
mod end;
mod file;
mod grants;
mod ground;
mod leases;
mod requests;
mod revoked;
mod row;
mod sessions;
mod sweep;
mod tasks;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use self::desk::{Desk, Room, Work};
use self::file::Place;
use super::store::{
    Begun, Ended, GrantQuery, Granted, Ground, GroundQuery, Kept, Lease, Limits, Manner, NewGrant,
    NewSession, Request, Standing, StateStore, Swept, Target, TaskQuery, Whose,
};
use super::{
    Delta, Entry, HandleDigest, LONGEST_LEASE, LONGEST_SKEW, Position, Revocations, Revoked,
    StateError,
};
use crate::clock::Clock;
use crate::delegation::{Grant, GrantId, PersonId, Session, SessionId, Task, TaskId, TokenId};

pub use file::OpenError;

/// A memory inside this process.
#[derive(Debug)]
pub struct Embedded {
    writer: Desk,
    /// None where there is no file that two connections could look at.
    reader: Option<Desk>,
    revocations: Arc<Revocations>,
}

impl Embedded {
    /// Opens or creates the file at `path`, mode 0600, for this process alone. Reads back what was taken back.
    pub fn file(path: &Path, tenant: &str, clock: &Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (place, db) = Place::file(path)?;
        Self::on(&place, db, tenant, clock)
    }

    /// A memory that is gone when it is closed. It can't know what was taken back before, so nothing of before counts.
    pub fn memory(tenant: &str, clock: &Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (place, db) = Place::memory()?;
        let memory = Self::on(&place, db, tenant, clock)?;
        let now = clock.now();
        let entry = Entry {
            what: Revoked::Tenant(now),
            until: now.plus(LONGEST_LEASE).plus(LONGEST_SKEW),
        };
        let (position, entries) = (Position::default(), vec![entry]);
        memory.revocations.add(Delta { position, entries });
        Ok(memory)
    }

    fn on(
        place: &Place,
        db: rusqlite::Connection,
        tenant: &str,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let revocations = revoked::load(&db, tenant, clock.now())
            .map_err(|error| OpenError::Content(error.into()))?;
        let revocations = Arc::new(revocations);
        let room = |writes| Room {
            place: place.clone(),
            tenant: tenant.to_owned(),
            clock: Arc::clone(clock),
            revocations: Arc::clone(&revocations),
            writes,
        };
        let thread = |source| OpenError::Io {
            path: "a thread".into(),
            source,
        };
        let reader = if place.can_reopen() {
            let db = place.reopen(false).map_err(OpenError::Content)?;
            Some(Desk::start("state-read", db, room(false)).map_err(thread)?)
        } else {
            None
        };
        let writer = Desk::start("state-write", db, room(true)).map_err(thread)?;
        Ok(Self {
            writer,
            reader,
            revocations,
        })
    }

    async fn read<T, F>(&self, work: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Work<'_>) -> Result<T, StateError> + Send + 'static,
    {
        self.reader
            .as_ref()
            .unwrap_or(&self.writer)
            .call(work)
            .await
    }

    /// Has something done to the connection that writes.
    #[cfg(test)]
    pub(super) async fn tamper(&self, sql: &'static str) {
        let done = self
            .writer
            .call(move |work| Ok(work.db.execute_batch(sql)?));
        done.await.unwrap();
    }
}

#[async_trait]
impl StateStore for Embedded {
    fn revocations(&self) -> &Arc<Revocations> {
        &self.revocations
    }

    async fn open_session(
        &self,
        new: NewSession,
        request: Option<Request>,
    ) -> Result<Kept<Session>, StateError> {
        self.writer
            .call(move |work| sessions::open(work, &new, request.as_ref()))
            .await
    }

    async fn session_by_handle(&self, handle: HandleDigest) -> Result<Session, StateError> {
        self.read(move |work| sessions::by_handle(work, handle))
            .await
    }

    async fn session(&self, id: SessionId, whose: Whose) -> Result<Session, StateError> {
        self.read(move |work| sessions::get(work, &id, &whose))
            .await
    }

    async fn create_task(
        &self,
        task: Task,
        limits: Limits,
        request: Option<Request>,
    ) -> Result<Kept<Task>, StateError> {
        self.writer
            .call(move |work| tasks::create(work, task, limits, request.as_ref()))
            .await
    }

    async fn task(&self, person: PersonId, id: TaskId) -> Result<Task, StateError> {
        self.read(move |work| tasks::get(work, &person, &id)).await
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Vec<Task>, StateError> {
        self.read(move |work| tasks::list(work, &query)).await
    }

    async fn delegate(
        &self,
        new: NewGrant,
        request: Option<Request>,
    ) -> Result<Kept<Granted>, StateError> {
        self.writer
            .call(move |work| grants::delegate(work, new, request.as_ref()))
            .await
    }

    async fn lease(
        &self,
        lease: Lease,
        limits: Limits,
        request: Option<Request>,
    ) -> Result<Kept<Lease>, StateError> {
        self.writer
            .call(move |work| leases::lease(work, lease, limits, request.as_ref()))
            .await
    }

    async fn ground(&self, query: GroundQuery) -> Result<Ground, StateError> {
        self.read(move |work| ground::ground(work, &query)).await
    }

    async fn activate(&self, begun: Begun) -> Result<(), StateError> {
        self.writer
            .call(move |work| begin::activate(work, &begun))
            .await
    }

    async fn abandon(&self, begun: Begun) -> Result<(), StateError> {
        self.writer
            .call(move |work| begin::abandon(work, &begun))
            .await
    }

    async fn standing(&self, grant: GrantId, whose: Whose) -> Result<Standing, StateError> {
        self.read(move |work| grants::standing(work, &grant, &whose))
            .await
    }

    async fn leased(&self, token: TokenId, whose: Whose) -> Result<Lease, StateError> {
        self.read(move |work| leases::leased(work, &token, &whose))
            .await
    }

    async fn live_tokens(&self, grants: Vec<GrantId>) -> Result<Vec<u32>, StateError> {
        self.read(move |work| leases::live(work, &grants)).await
    }

    async fn grants(&self, query: GrantQuery) -> Result<Vec<Grant>, StateError> {
        self.read(move |work| grants::list(work, &query)).await
    }

    async fn end(
        &self,
        target: Target,
        manner: Manner,
        request: Option<Request>,
    ) -> Result<Kept<Ended>, StateError> {
        self.writer
            .call(move |work| end::end(work, target, manner, request.as_ref()))
            .await
    }

    async fn sweep(&self, most: u32) -> Result<Swept, StateError> {
        self.writer.call(move |work| sweep::sweep(work, most)).await
    }

    async fn expiry_witnessed(&self, sessions: Vec<SessionId>) -> Result<(), StateError> {
        self.writer
            .call(move |work| sweep::witnessed(work, &sessions))
            .await
    }
}

impl Whose {
    /// Whether what belongs to `person` can be found.
    fn finds(&self, person: &PersonId) -> bool {
        match self {
            Self::Person(only) => only == person,
            Self::Anybody => true,
        }
    }
}
