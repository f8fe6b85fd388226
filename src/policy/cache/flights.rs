//! Which questions the engine is being asked, so that an equal one waits for the same answer.
//!
//! Never decides what is asked or kept. A flight that is lost, by a panic or the end of the runtime, is gone from the table
//! and ends every wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::Shared;
use tokio::sync::oneshot;

use super::key::Key;
use crate::policy::{PolicyError, Verdict};

/// What came of asking the engine, for everybody who waited.
pub(super) type Outcome = Result<Verdict, Arc<PolicyError>>;

/// The answer to come. Cheap to clone; each clone can be waited for, and given up, on its own.
pub(super) type Flight = Shared<oneshot::Receiver<Outcome>>;

/// Calls of the engine under way, by question and the revision that they are expected to be answered at.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<Table>);

type Course = (Key, Arc<str>);
type Table = HashMap<Course, Flight>;

/// How a question goes on.
#[derive(Debug)]
pub(super) enum Boarding<T> {
    /// Another call has just brought the answer.
    Landed(T),
    /// Another call is under way.
    Joined(Flight),
    /// This question makes the call.
    Leading(Flight, Landing),
    /// There are too many calls.
    Full,
}

/// The duty to end a flight. Dropped, it ends it without an answer.
#[derive(Debug)]
pub(super) struct Landing {
    flights: Arc<Flights>,
    course: Course,
    waiting: Option<oneshot::Sender<Outcome>>,
}

impl Flights {
    /// Calls under way at most: more than requests under decision usually are.
    pub(super) const MOST: usize = 4096;

    /// Joins the flight of this question or begins one, unless `landed` finds the answer of one that has just ended.
    pub(super) fn board<T>(
        self: &Arc<Self>,
        key: &Key,
        revision: &Arc<str>,
        landed: impl FnOnce() -> Option<T>,
    ) -> Boarding<T> {
        let course = (key.clone(), Arc::clone(revision));
        let mut table = self.table();
        if let Some(flight) = table.get(&course) {
            return Boarding::Joined(flight.clone());
        }
        if let Some(answer) = landed() {
            return Boarding::Landed(answer);
        }
        if table.len() >= Self::MOST {
            return Boarding::Full;
        }
        let (sender, receiver) = oneshot::channel();
        let flight = receiver.shared();
        table.insert(course.clone(), flight.clone());
        drop(table);
        let landing = Landing {
            flights: Arc::clone(self),
            course,
            waiting: Some(sender),
        };
        Boarding::Leading(flight, landing)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.table().len()
    }
}

impl Landing {
    /// Gives the answer to everybody who waits. What should be kept of it must have been kept before.
    pub(super) fn land(mut self, outcome: Outcome) {
        let waiting = self.waiting.take();
        // Off the table first: who comes now finds the kept answer or asks anew, and never an old error.
        drop(self);
        if let Some(waiting) = waiting {
            // Nobody waits any more: fine.
            drop(waiting.send(outcome));
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.table().remove(&self.course);
    }
}
