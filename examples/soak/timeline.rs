//! Which versions of the policy may have answered a request.

use std::sync::Mutex;

use tokio::time::{Duration, Instant};

use crate::oracle::Version;

/// Every change of the policy so far, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Timeline(Mutex<Vec<Change>>);

#[derive(Debug, Clone, Copy)]
struct Change {
    version: Version,
    /// From here on it may answer.
    begun: Instant,
    /// From here on no older one may: it was seen to be in force.
    done: Option<Instant>,
}

impl Timeline {
    /// A change begins.
    pub(crate) fn begins(&self, version: Version) {
        let change = Change {
            version,
            begun: Instant::now(),
            done: None,
        };
        self.0.lock().unwrap().push(change);
    }

    /// The change that began last is seen to be in force.
    pub(crate) fn holds(&self) {
        if let Some(change) = self.0.lock().unwrap().last_mut() {
            change.done = Some(Instant::now());
        }
    }

    /// The versions that may have answered a request of this time, given how long a verdict may be kept.
    pub(crate) fn versions(
        &self,
        asked: Instant,
        answered: Instant,
        kept: Duration,
    ) -> Vec<Version> {
        let changes = self.0.lock().unwrap();
        let oldest = asked.checked_sub(kept).unwrap_or(asked);
        let mut versions = Vec::new();
        for change in changes.iter().rev() {
            if change.begun <= answered {
                versions.push(change.version);
            }
            // Nothing older answered after this one was seen to be in force.
            if change.done.is_some_and(|done| done < oldest) {
                break;
            }
        }
        versions
    }
}
