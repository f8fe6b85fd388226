//! A thread with a connection, and the queue before it. All calls that wait are done in one transaction and made durable
//! together; each can still be refused alone. Nobody gets an answer before the commit.
//!
//! A failure of the commit is an error for every call in it, and nothing of any is done. A connection that failed badly is
//! closed, and opened again for the next call.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::file::Place;
use crate::clock::{Clock, Timestamp};
use crate::state::{Delta, Entry, Failure, Position, Revocations, StateError};

/// Where calls are handed in.
pub(super) struct Desk {
    queue: Option<SyncSender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// What a call works with, inside its transaction.
pub(super) struct Work<'a> {
    pub(super) db: &'a Connection,
    pub(super) tenant: &'a str,
    pub(super) now: Timestamp,
    /// What the call takes back; known to everybody before it answers.
    pub(super) taken_back: Vec<Entry>,
    /// After the last of it.
    pub(super) position: Position,
    /// The call has seen to what nobody needs to remember.
    pub(super) forget: bool,
}

/// What a desk works for.
pub(super) struct Room {
    pub(super) place: Place,
    pub(super) tenant: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) revocations: Arc<Revocations>,
    /// Whether this desk writes. One that does not looks at one moment in each call.
    pub(super) writes: bool,
}

/// One call.
trait Job: Send {
    /// Does it. `Err` leaves nothing of it.
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), StateError>;
    /// Answers it: by its own answer, or by the failure of the transaction.
    fn answer(self: Box<Self>, outcome: Result<(), StateError>);
}

struct Call<T, F> {
    work: Option<F>,
    value: Option<T>,
    answer: oneshot::Sender<Result<T, StateError>>,
}

impl<T, F> Job for Call<T, F>
where
    T: Send,
    F: FnOnce(&mut Work<'_>) -> Result<T, StateError> + Send,
{
    fn run(&mut self, work: &mut Work<'_>) -> Result<(), StateError> {
        let closed = StateError::unavailable(Failure::Closed);
        let call = self.work.take().ok_or(closed)?;
        self.value = Some(call(work)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StateError>) {
        let closed = || StateError::unavailable(Failure::Closed);
        let Self { value, answer, .. } = *self;
        // Whoever asked may have left.
        let _gone = answer
            .send(outcome.and_then(|()| value.ok_or_else(closed)))
            .is_err();
    }
}

impl Desk {
    /// Begins to work with a connection that is open already.
    pub(super) fn start(name: &str, connection: Connection, room: Room) -> std::io::Result<Self> {
        let (queue, jobs) = sync_channel(MOST_WAITING);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || serve(&jobs, connection, &room))?;
        Ok(Self {
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Has `work` done. It is done even if the answer is not waited for.
    pub(super) async fn call<T, F>(&self, work: F) -> Result<T, StateError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Work<'_>) -> Result<T, StateError> + Send + 'static,
    {
        let closed = || StateError::unavailable(Failure::Closed);
        let (answer, answered) = oneshot::channel();
        let job = Box::new(Call {
            work: Some(work),
            value: None,
            answer,
        });
        match self.queue.as_ref().ok_or_else(closed)?.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(StateError::unavailable(Failure::Overloaded)),
            Err(TrySendError::Disconnected(_)) => return Err(closed()),
        }
        answered.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Desk {
    /// What was handed in is still done.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join().is_err();
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}

fn serve(jobs: &Receiver<Box<dyn Job>>, connection: Connection, room: &Room) {
    let mut connection = Some(connection);
    while let Ok(first) = jobs.recv() {
        let more = if room.writes { MOST_AT_ONCE - 1 } else { 0 };
        let batch = std::iter::once(first)
            .chain(jobs.try_iter().take(more))
            .collect();
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => room.place.reopen(room.writes),
        };
        match open {
            Err(error) => fail(batch, &error),
            Ok(open) => {
                let sound = transact(batch, &open, room);
                connection = (sound || !room.place.can_reopen()).then_some(open);
            }
        }
    }
}

/// Does all of `batch` in one transaction. Says whether the connection can be used further.
fn transact(batch: Vec<Box<dyn Job>>, db: &Connection, room: &Room) -> bool {
    let first = if room.writes {
        "BEGIN IMMEDIATE"
    } else {
        "BEGIN"
    };
    let begun = room
        .place
        .still_there()
        .and_then(|()| Ok(db.execute_batch(first)?));
    if let Err(error) = begun {
        let sound = !is_bad(&error);
        fail(batch, &error);
        return sound;
    }
    let mut done = Vec::with_capacity(batch.len());
    for mut job in batch {
        let mut work = Work {
            db,
            tenant: &room.tenant,
            now: room.clock.now(),
            taken_back: Vec::new(),
            position: Position::default(),
            forget: false,
        };
        let outcome = alone(db, |()| job.run(&mut work));
        done.push((
            job,
            outcome,
            work.taken_back,
            work.position,
            work.forget.then_some(work.now),
        ));
    }
    if let Err(error) = db.execute_batch("COMMIT").map_err(StateError::from) {
        // A transaction that the engine has rolled back itself can't be rolled back again.
        let _rolled_back = db.execute_batch("ROLLBACK").is_err();
        let sound = !is_bad(&error);
        for (job, outcome, ..) in done {
            job.answer(outcome.and_then(|()| Err(error.clone())));
        }
        return sound;
    }
    let sound = done
        .iter()
        .all(|(_, outcome, ..)| outcome.as_ref().err().is_none_or(|it| !is_bad(it)));
    for (job, outcome, entries, position, forget) in done {
        if outcome.is_ok() {
            if !entries.is_empty() {
                room.revocations.add(Delta { position, entries });
            }
            if let Some(now) = forget {
                room.revocations.drop_before(now);
            }
        }
        job.answer(outcome);
    }
    sound
}

/// Does `work` so that nothing of it stays if it fails, and all before it does.
fn alone(
    db: &Connection,
    work: impl FnOnce(()) -> Result<(), StateError>,
) -> Result<(), StateError> {
    db.execute_batch("SAVEPOINT call")?;
    let outcome = work(());
    let end = match outcome {
        Ok(()) => "RELEASE call",
        Err(_) => "ROLLBACK TO call; RELEASE call",
    };
    let ended = db.execute_batch(end);
    outcome?;
    Ok(ended?)
}

fn fail(batch: Vec<Box<dyn Job>>, error: &StateError) {
    for job in batch {
        job.answer(Err(error.clone()));
    }
}

/// After these, the connection may be what is broken.
const fn is_bad(error: &StateError) -> bool {
    match error {
        StateError::Refused(_) => false,
        StateError::Unavailable { failure, .. } => {
            matches!(failure, Failure::Corrupt | Failure::Io | Failure::ReadOnly)
        }
    }
}

const MOST_WAITING: usize = 1024;
const MOST_AT_ONCE: usize = 64;
