//! The witness: records what was decided, in a form that shows later whether it was touched.
//!
//! ```text
//! Auditor::record ──▶ two bounded lanes ──▶ writer thread: seq, id, hash ──▶ first sink
//!   (never waits)       (overflow is          (batches; insists on the  └──▶ other sinks, each on its
//! Auditor::commit        counted, or           first sink)                   own thread, best effort
//!   (until durable)      refused)
//! ```
//!
//! - Every record is one line of canonical JSON and one link of a hash chain ([`verify()`]); each start of the process
//!   is a chain of its own, begun by `audit.started` and ended by `audit.stopped`.
//! - [`Auditor::settle`] is for decisions: what it waits for is [`Durability`].
//! - It never decides anything, never blocks who records, and never holds tokens, query strings or bodies.
//! - When the first sink fails or blocks, records wait in the queue and [`Auditor::health`] says so. When the queue
//!   overflows, records are lost; how many is in the next `audit.gap`. A process that is killed loses what waits in the queue,
//!   normally some milliseconds' worth; a machine that crashes, at most a second more. The next start finds that the
//!   file, or after a rotation the note beside it, does not end with `audit.stopped` and writes an `audit.gap`.
//! - The end of the file can be cut off without a trace until the next start, and who may write the file may write
//!   another one. [`Checkpoints`] are signed, and logged: kept elsewhere, they show both.
//! - What [`Redaction`] names is replaced, what looks like a token is masked, and long texts are cut.

mod chain;
mod checkpoint;
mod config;
mod details;
mod encode;
mod file;
mod itself;
mod jsonl;
mod line;
mod memory;
mod metrics;
mod note;
mod outlet;
mod queue;
mod record;
mod redaction;
mod relay;
mod repeat;
mod sink;
mod sqlite;
mod status;
mod stdout;
mod tap;
mod text;
mod trail;
mod verify;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use prometheus_client::registry::Registry;
use rand::Rng;

pub use chain::Digest;
pub use checkpoint::{
    CheckpointConfig, Checkpoints, KeyError, PublicKey, PublicKeyError, SigningKey, Statement,
};
pub use config::{Capacity, Config, ConfigError, SinkConfig, Sinks};
pub use details::{Detail, Details};
pub use encode::{Encoder, Format, NotARecord, Unreadable};
pub use jsonl::Jsonl;
pub use memory::Memory;
pub use queue::{Auditor, Durability, WriterHandle};
pub use record::{
    Actor, Agent, Destination, EventType, Http, Mandate, Mode, Outcome, Pep, Policy, Protocol,
    Record, Source, Subject, Task,
};
pub use redaction::{Redaction, RedactionError};
pub use sink::{Batch, Found, LastRecord, Sink};
pub use sqlite::{Sqlite, SqliteTrail};
pub use status::Health;
pub use stdout::Stream;
pub use tap::{Seen, Watcher};
pub use text::Text;
pub use trail::{
    Cursor, Filter, JsonlTrail, Order, Page, Span, Stop, Tasks, Trace, Trail, TrailError, next_line,
};
pub use verify::{Anchor, AnchorError, Broken, Flaw, Head, Predecessor, Summary, Verifier, verify};

use crate::clock::Clock;
use chain::{Chain, Nonce};
use checkpoint::Due;
use metrics::Metrics;
use outlet::Outlet;
use relay::Relay;
use writer::Writer;

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The tenant of all records.
    pub tenant: Arc<str>,
    /// The writer's id, another one at each start, such as `hostname/ULID`.
    pub writer: Arc<str>,
}

/// Why records can't be written.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file can't be opened, or another process writes it.
    #[error("open audit file `{path}`")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The key for checkpoints can't be used.
    #[error("use the key for checkpoints in `{path}`")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// Standard output is closed.
    #[error("open standard output for audit")]
    Stdout(#[source] io::Error),
    /// No thread could be started.
    #[error("start an audit thread")]
    Thread(#[source] io::Error),
    /// Records were written and may not be durable.
    #[error("make audit records durable")]
    Sync(#[source] io::Error),
    /// The queue holds all it can: the sink is too slow for what is recorded, or fails.
    #[error("the audit queue is full")]
    Full,
    /// The writer has ended.
    #[error("the audit writer has ended")]
    Stopped,
    /// The record was not durable in time.
    #[error("the audit record was not durable in time")]
    Late,
}

/// What a writer is made of.
#[derive(Debug)]
pub struct Setup {
    /// The sink that counts.
    pub first: Box<dyn Sink>,
    /// Sinks that get copies.
    pub others: Vec<Box<dyn Sink>>,
    /// How many records each lane of the queue holds, at least 1.
    pub capacity: usize,
    /// Who writes.
    pub origin: Origin,
}

/// What is done beyond writing. The default is nothing.
#[derive(Debug, Default)]
pub struct Extras {
    /// Signs how far the chain has come.
    pub checkpoints: Option<Checkpoints>,
    /// What is not kept.
    pub redaction: Redaction,
}

/// Starts a writer that signs nothing and keeps everything, and begins its chain.
pub fn start(
    setup: Setup,
    clock: Arc<dyn Clock>,
    rng: impl Rng + Send + 'static,
    registry: &mut Registry,
) -> Result<(Auditor, WriterHandle), AuditError> {
    start_with(setup, Extras::default(), clock, rng, registry)
}

/// Starts a writer and begins its chain.
pub fn start_with(
    setup: Setup,
    extras: Extras,
    clock: Arc<dyn Clock>,
    mut rng: impl Rng + Send + 'static,
    registry: &mut Registry,
) -> Result<(Auditor, WriterHandle), AuditError> {
    let Setup {
        first,
        others,
        capacity,
        origin,
    } = setup;
    let Extras {
        checkpoints,
        redaction,
    } = extras;
    let metrics = Metrics::register(registry);
    let nonce = Nonce::generate(&mut rng);
    let found: Vec<Found> = [&first]
        .into_iter()
        .chain(&others)
        .map(|sink| sink.found())
        .collect();
    let key = checkpoints.as_ref().map(|it| it.key.public());
    let opening = itself::started(nonce, &found, key);
    let writer_id = Arc::clone(&origin.writer);
    let chain = Chain::new(origin.writer, origin.tenant, nonce, rng).redacting(redaction);
    let first = Outlet::new(first, &metrics);
    let relays = others
        .into_iter()
        .map(|sink| Relay::start(Outlet::new(sink, &metrics)))
        .collect::<Result<_, _>>()
        .map_err(AuditError::Thread)?;
    let capacity = capacity.max(1);
    let (handle, outtake, status) = queue::queue(capacity, clock, metrics);
    status.tap.belongs_to(&writer_id);
    let due = checkpoints.map(Due::new);
    let writer = Writer::new(outtake, capacity, status, chain, due, first, relays);
    thread::Builder::new()
        .name("audit".to_owned())
        .spawn(move || writer.run(opening))
        .map_err(AuditError::Thread)?;
    Ok((handle.auditor(), handle))
}

#[cfg(test)]
mod tests;
