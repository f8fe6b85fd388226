//! The door for auditors: `attache.v1.AuditService`, the audit trail for reading.
//!
//! Decides nothing about who may read: [`Admission`] asks the authority, and a stream asks again as long as it lasts. Changes
//! nothing: what it has of the trail is [`Trail`], which only reads. Every call that reads leaves a record.
//!
//! Reading is slow, so it waits for one of few places, happens on threads that may block, and ends at its deadline for
//! whoever asked. What can't be read is an error, never an empty answer.

mod admission;
mod calls;
mod client;
mod tail;
mod token;
mod wire;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tower::Layer as _;

use crate::audit::{Auditor, Filter, Order, Span, Stop, Trail, TrailError, Verifier};
use crate::authority::Authority;
use crate::clock::Timestamp;
use crate::lifecycle::Shutdown;
use crate::text::sentence;

use super::Limits;
use super::connection::Proxy;
use super::guard::{Guard, GuardLayer};
use super::proto::attache::v1::audit_service_server::{AuditServiceServer, SERVICE_NAME};
use super::proto::attache::v1::{
    AuditEntry, QueryAuditEntriesRequest, QueryAuditEntriesResponse, StreamAuditEntriesRequest,
    StreamAuditEntriesResponse, TraceDelegationChainRequest, TraceDelegationChainResponse,
    VerifyAuditChainRequest, VerifyAuditChainResponse,
};
use super::services::LONGEST_CALL;

use admission::{Admission, AdmissionLayer};
use tail::Tail;
use token::{Bound, PagePlace};

pub use client::{
    AuditClient, AuditClientError, ChainEnd, QueriedPage, StreamedEntry, TracedEntries, Verified,
};

/// The service's name.
pub(super) const NAME: &str = SERVICE_NAME;

/// What reading the trail needs, and how much of it may happen at once: shared by all listeners.
#[derive(Debug, Clone)]
pub struct Reading {
    authority: Arc<Authority>,
    auditor: Auditor,
    /// The first sink that can be read back, if there is one.
    trail: Option<Arc<dyn Trail>>,
    shutdown: Shutdown,
    /// Not the one that decides for proxies.
    runtime: Handle,
    reads: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    calls: Arc<Semaphore>,
}

/// The service as any server can mount it.
pub(super) type Mounted = Admission<Guard<AuditServiceServer<Reading>>>;

impl Reading {
    /// Reads `trail`, and what `auditor` writes. Blocking reads and streams are served by the current runtime, wherever
    /// the connection is.
    pub fn new(
        authority: Arc<Authority>,
        auditor: Auditor,
        trail: Option<Arc<dyn Trail>>,
        limits: &Limits,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            authority,
            auditor,
            trail,
            shutdown,
            runtime: Handle::current(),
            reads: Arc::new(Semaphore::new(READS)),
            streams: Arc::new(Semaphore::new(STREAMS)),
            calls: Arc::new(Semaphore::new(limits.max_in_flight)),
        }
    }

    /// The service, within `limits`.
    pub(super) fn service(&self, limits: &Limits) -> Mounted {
        let server = AuditServiceServer::new(self.clone());
        let guard = GuardLayer {
            in_flight: Arc::clone(&self.calls),
            time_limit: LONGEST_CALL,
        };
        let admission = AdmissionLayer {
            authority: Arc::clone(&self.authority),
        };
        admission.layer(guard.layer(server.max_decoding_message_size(limits.message_bytes())))
    }

    /// What `look` finds in the trail, where there is a place for it and it ends before `until`.
    async fn read<T: Send + 'static>(
        &self,
        until: Instant,
        look: impl FnOnce(&dyn Trail) -> Result<T, TrailError> + Send + 'static,
    ) -> Result<T, Status> {
        let trail = self.trail()?;
        let waiting = timeout_at(until, Arc::clone(&self.reads).acquire_owned()).await;
        let Ok(Ok(place)) = waiting else {
            return Err(Status::unavailable(
                "the audit trail is being read by too many",
            ));
        };
        // The thread and its place are free again when the answer is due, or when who asked goes away.
        let asker = Arc::new(());
        let gone = Arc::downgrade(&asker);
        let stop = Stop::when(move || gone.strong_count() == 0 || Instant::now() >= until);
        let looking = self.runtime.spawn_blocking(move || {
            let _place = place;
            look(&*trail.stopping(stop))
        });
        let looked = timeout_at(until, looking).await;
        drop(asker);
        match looked {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(error))) if error.was_stopped() => Err(too_long()),
            Ok(Ok(Err(error))) => {
                tracing::error!(error = sentence(&error), "the audit trail can't be read");
                Err(Status::unavailable(
                    "the audit trail can't be read; the log says why",
                ))
            }
            Ok(Err(_panicked)) => Err(Status::internal("internal error")),
            Err(_elapsed) => Err(too_long()),
        }
    }

    fn trail(&self) -> Result<Arc<dyn Trail>, Status> {
        self.trail.clone().ok_or_else(|| {
            Status::failed_precondition(
                "none of audit.sinks can be read back; add `jsonl` or `sqlite` there",
            )
        })
    }

    async fn query(
        &self,
        asked: QueryAuditEntriesRequest,
        until: Instant,
    ) -> Result<QueryAuditEntriesResponse, Status> {
        let order = wire::order(asked.order).map_err(invalid)?;
        let limit = wire::page_size(asked.page_size).map_err(invalid)?;
        let mut filter = wire::filter(asked.filter.as_ref()).map_err(invalid)?;
        let bound = Bound::of(asked.filter.as_ref(), order);
        let begun = match &*asked.page_token {
            "" => None,
            token => Some(PagePlace::read(token, &bound).map_err(invalid)?),
        };
        let now = self.authority.now();
        // The record of each page would be part of the next one: the pages show the trail as of the first.
        let end: Option<Timestamp> = match &begun {
            Some(place) => Some(place.until.parse().map_err(invalid)?),
            None => None,
        };
        filter.until = filter.until.into_iter().chain(end).min();
        let after = begun.as_ref().map(PagePlace::after);
        let page = self
            .read(until, move |trail| {
                trail.query(&filter, order, after.as_ref(), limit)
            })
            .await?;
        // Where the clock was set back since, the newest record comes from later than now.
        let newest = page.newest.and_then(|time| time.parse().ok());
        let end = end.unwrap_or_else(|| {
            let behind = newest.map(|it: Timestamp| it.plus(Duration::from_nanos(1)));
            behind.map_or(now, |behind| behind.max(now))
        });
        let mut entries = Vec::new();
        let mut last = None;
        let (bounded, cut) = within_a_message(page.records);
        for line in bounded {
            let (entry, place) = wire::entry(line).ok_or_else(unreadable)?;
            entries.push(entry);
            last = Some(place);
        }
        let next = if cut { last } else { page.next };
        let token = next.map(|place| PagePlace::new(bound, place, end.to_string()).token());
        Ok(QueryAuditEntriesResponse {
            entries,
            next_page_token: token.unwrap_or_default(),
            total_size: wire::number(page.total),
        })
    }

    async fn trace(
        &self,
        asked: TraceDelegationChainRequest,
        until: Instant,
    ) -> Result<TraceDelegationChainResponse, Status> {
        let TraceDelegationChainRequest { name, page_size } = asked;
        if name.is_empty() {
            return Err(Status::invalid_argument("`name` is empty"));
        }
        let limit = wire::page_size(page_size).map_err(invalid)?;
        let trace = self
            .read(until, move |trail| trail.trace(&name, limit))
            .await?;
        let (bounded, cut) = within_a_message(trace.records);
        let entries: Option<Vec<_>> = bounded.into_iter().map(entry).collect();
        Ok(TraceDelegationChainResponse {
            entries: entries.ok_or_else(unreadable)?,
            truncated: trace.cut || cut,
        })
    }

    async fn verify(
        &self,
        asked: VerifyAuditChainRequest,
        until: Instant,
    ) -> Result<VerifyAuditChainResponse, Status> {
        let VerifyAuditChainRequest { writer, to_seq } = asked;
        let to_seq = u64::try_from(to_seq)
            .map_err(|_negative| Status::invalid_argument("`to_seq` is less than nothing"))?;
        let span = Span {
            writer: (!writer.is_empty()).then_some(writer),
            from_seq: None,
            to_seq: (to_seq > 0).then_some(to_seq),
        };
        self.read(until, move |trail| verify(trail, &span)).await
    }
}

/// Walks and verifies.
fn verify(trail: &dyn Trail, span: &Span) -> Result<VerifyAuditChainResponse, TrailError> {
    let mut verifier = Verifier::default();
    let mut flaw = None;
    trail.walk(span, &mut |line| {
        if let Err(broken) = verifier.line(line) {
            flaw = Some(broken);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    let found = flaw.map_or_else(|| verifier.finish(), Err);
    Ok(match found {
        Ok(summary) => wire::unbroken(summary),
        Err(broken) => wire::broken(&broken),
    })
}

/// As many lines as a message of a usual client may hold, and whether that leaves any out.
fn within_a_message(mut lines: Vec<String>) -> (Vec<String>, bool) {
    let mut room = MESSAGE;
    let fit = lines.iter().take_while(|line| {
        let taken = room.checked_sub(line.len().saturating_mul(2));
        room = taken.unwrap_or(0);
        taken.is_some()
    });
    // One always fits: what has the longest texts in every member is less.
    let fit = fit.count().max(1);
    let cut = fit < lines.len();
    lines.truncate(fit);
    (lines, cut)
}

fn entry(line: String) -> Option<AuditEntry> {
    wire::entry(line).map(|(entry, _)| entry)
}

fn too_long() -> Status {
    Status::deadline_exceeded(
        "reading the audit trail takes too long; ask for less, or read the files themselves with `attache audit`",
    )
}

fn unreadable() -> Status {
    Status::data_loss("the audit trail holds something that is no record; verify it")
}

fn invalid(error: impl std::error::Error) -> Status {
    Status::invalid_argument(sentence(&error))
}

impl Reading {
    /// Begins a stream. What it gives waits in a buffer of its own, and its end comes after that.
    fn stream(
        &self,
        proxy: Proxy,
        asked: &StreamAuditEntriesRequest,
    ) -> Result<BoxStream<'static, Result<StreamAuditEntriesResponse, Status>>, Status> {
        self.trail()?;
        let Ok(place) = Arc::clone(&self.streams).try_acquire_owned() else {
            return Err(Status::unavailable(
                "the audit trail is being followed by too many",
            ));
        };
        let filter: Filter = wire::filter(asked.filter.as_ref()).map_err(invalid)?;
        let bound = Bound::of(asked.filter.as_ref(), Order::Ascending);
        let tail = Tail::begin(self.clone(), proxy, filter, bound, &asked.page_token)?;
        let (sender, receiver) = mpsc::channel(BUFFER);
        let (say_end, end) = oneshot::channel();
        self.runtime.spawn(async move {
            let status = tail.run(sender).await;
            drop(place);
            // Nobody listens any more: fine.
            drop(say_end.send(status));
        });
        let end = stream::once(end)
            .map(|end| Err(end.unwrap_or_else(|_panicked| Status::internal("internal error"))));
        Ok(ReceiverStream::new(receiver).map(Ok).chain(end).boxed())
    }
}

/// Reads at once.
const READS: usize = 4;
/// Streams at once.
const STREAMS: usize = 32;
/// Messages of a stream that wait for its client.
const BUFFER: usize = 64;
/// Less than a call may take, so that its answer is a sentence.
const LONGEST_READ: Duration = Duration::from_secs(9);
/// Half of what clients of gRPC take unless told otherwise, in bytes.
const MESSAGE: usize = 2 * 1024 * 1024;
