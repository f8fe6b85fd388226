//! Reading records back: what to look for, in which order it comes, and a page at a time.
//!
//! A trail only reads. What it gives out are the lines as their writers wrote them, so that whoever gets them can verify
//! them; what a line means is read from its JSON. A trail that can't be read is an error, never an empty answer.

mod jsonl;
mod terms;

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Timestamp;

use super::record::{EventType, Outcome};

pub use jsonl::{JsonlTrail, next_line};
pub(super) use terms::Terms;

/// Records that were written, for reading. Methods block: call them where that is fine.
pub trait Trail: fmt::Debug + Send + Sync {
    /// The records that `filter` asks for, `limit` of them at most, from `after` on where it is given.
    ///
    /// `limit` is at least 1. Records that are written meanwhile never make a page repeat or skip others.
    fn query(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page, TrailError>;

    /// Everything that was done by `name` or on its behalf: records whose actor or chain has it, and the records of the
    /// tasks that those belong to and of every task below them. The oldest `limit`, which is at least 1, oldest first.
    fn trace(&self, name: &str, limit: usize) -> Result<Trace, TrailError>;

    /// Shows every line of `span` to `visit`, until it breaks, in the order in which they were written: what
    /// [`Verifier`](super::Verifier) asks for.
    ///
    /// A record that is not found by what it says is an error, after its line was shown.
    /// What is stored and no record, such as a line that a crash cut off, is shown where it stands, but only to whoever
    /// asks for everything.
    fn walk(
        &self,
        span: &Span,
        visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), TrailError>;

    /// The same trail, whose reads fail soon after `stop` says so ([`TrailError::was_stopped`]).
    fn stopping(&self, stop: Stop) -> Box<dyn Trail>;
}

/// Says whether nobody waits for a read any more. The default never does.
#[derive(Clone, Default)]
pub struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

/// What to look for: all that is given must hold. The default asks for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The id or the SPIFFE ID of the actor.
    pub actor: Option<String>,
    /// The person at the root of the chain.
    pub subject: Option<String>,
    /// Somebody in the chain, the actor included.
    pub chain: Option<String>,
    /// One of these kinds; empty stands for all.
    pub event_types: Vec<EventType>,
    /// The task.
    pub task: Option<Tasks>,
    /// The resource, exactly.
    pub resource: Option<String>,
    /// The action, exactly.
    pub action: Option<String>,
    /// How it ended.
    pub result: Option<Outcome>,
    /// The decision, as the client was told it.
    pub decision_id: Option<String>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
}

/// Which tasks to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tasks {
    /// This task and every task below it.
    Under(String),
    /// This task alone.
    Exactly(String),
}

/// In which order records come: by time, then writer, then sequence number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

/// A place between two records: right after the one it names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The record's time, as it is written.
    pub time: String,
    /// Its writer.
    pub writer: String,
    /// Its sequence number.
    pub seq: u64,
}

/// Some of what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Lines, without line feeds, in the order that was asked for.
    pub records: Vec<String>,
    /// Where to go on, if there is more.
    pub next: Option<Cursor>,
    /// How many records the filter asks for in all, when this page was read.
    pub total: u64,
    /// The greatest time of those, as it is written.
    pub newest: Option<String>,
}

/// What was done by somebody or on their behalf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Lines, without line feeds, oldest first.
    pub records: Vec<String>,
    /// Whether there are more than the limit allowed.
    pub cut: bool,
}

/// A part of a trail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Span {
    /// One writer's chain; all without.
    pub writer: Option<String>,
    /// From this sequence number on.
    pub from_seq: Option<u64>,
    /// Up to this sequence number, included.
    pub to_seq: Option<u64>,
}

/// Why a trail can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The storage failed, or is none.
    #[error("read the audit trail `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A record that whoever asks for it does not find: what it is found by was changed. Its line may be whole.
    #[error(
        "record {seq} of `{}` in `{path}` is not filed under what it says: its row was altered",
        writer.escape_debug()
    )]
    Misfiled {
        /// Which file.
        path: PathBuf,
        /// Whose record.
        writer: String,
        /// Its sequence number.
        seq: u64,
    },
    /// Records are found by names that they do not say, or are there no more.
    #[error(
        "`{path}` files records under names or tasks that they do not say, or that are gone: somebody added to its tables, or removed records"
    )]
    Overfiled {
        /// Which file.
        path: PathBuf,
    },
    /// What is stored is no record.
    #[error("the audit trail holds something that is no record: {0}")]
    NotARecord(String),
}

// === impl Stop ===

impl Stop {
    /// Asks `stop`, which must be quick, again and again.
    pub fn when(stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(stop)))
    }

    /// Whether to stop.
    pub fn says_so(&self) -> bool {
        self.0.as_ref().is_some_and(|stop| stop())
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.0.is_some()).finish()
    }
}

// === impl TrailError ===

impl TrailError {
    /// Whether nothing is wrong but that nobody waited any more.
    pub fn was_stopped(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::TimedOut)
    }
}

// === impl Span ===

impl Span {
    /// Whether the record `seq` of `writer` is part of this.
    pub(super) fn holds(&self, writer: &str, seq: u64) -> bool {
        let by_writer = self.writer.as_ref().is_none_or(|it| it == writer);
        let begun = self.from_seq.is_none_or(|from| from <= seq);
        let ended = self.to_seq.is_some_and(|to| to < seq);
        by_writer && begun && !ended
    }
}
