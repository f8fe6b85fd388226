//! The methods of the service: who asks and what for, as the record of the call will say, and the answer.

use std::sync::Arc;

use futures::stream::BoxStream;
use tokio::time::Instant;
use tonic::{Extensions, Request, Response, Status};

use crate::audit::{Details, Order, Outcome};
use crate::authority::{Authority, Reader};
use crate::text::sentence;

use super::super::connection::Proxy;
use super::super::deadline::deadline;
use super::super::proto::attache::v1::audit_service_server::AuditService;
use super::super::proto::attache::v1::{
    QueryAuditEntriesRequest, QueryAuditEntriesResponse, StreamAuditEntriesRequest,
    StreamAuditEntriesResponse, TraceDelegationChainRequest, TraceDelegationChainResponse,
    VerifyAuditChainRequest, VerifyAuditChainResponse,
};
use super::{LONGEST_READ, Reading, wire};

/// Who was admitted. Without the layer that says so there is no call.
fn reader(extensions: &Extensions) -> Result<Reader, Status> {
    let admitted = extensions.get::<Reader>().cloned();
    admitted.ok_or_else(|| Status::internal("internal error"))
}

/// A call whose record is owed. Dropped without an answer, because who asked went away, it is on record all the same.
struct Call {
    authority: Arc<Authority>,
    reader: Reader,
    details: Details,
    recorded: bool,
}

impl Call {
    fn new(reading: &Reading, reader: Reader, details: Details) -> Self {
        Self {
            authority: Arc::clone(&reading.authority),
            reader,
            details,
            recorded: false,
        }
    }

    /// Records the answer, whatever it is, and gives it out.
    async fn answered<T>(mut self, answer: Result<T, Status>) -> Result<Response<T>, Status> {
        let result = match &answer {
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        };
        let details = self.details.clone();
        let recording = self.authority.audit_queried(&self.reader, result, details);
        let recorded = recording.await;
        self.recorded = true;
        if let Err(error) = recorded {
            tracing::error!(
                error = sentence(&error),
                "a read of the audit trail is not on record"
            );
            return Err(Status::unavailable(
                "this read could not be recorded in time",
            ));
        }
        answer.map(Response::new)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.recorded {
            let details = std::mem::take(&mut self.details);
            self.authority.audit_query_abandoned(&self.reader, details);
        }
    }
}

/// When the answer to a call is wanted.
fn until<T>(call: &Request<T>) -> Instant {
    deadline(Instant::now(), call.metadata(), LONGEST_READ).at
}

#[tonic::async_trait]
impl AuditService for Reading {
    async fn query_audit_entries(
        &self,
        call: Request<QueryAuditEntriesRequest>,
    ) -> Result<Response<QueryAuditEntriesResponse>, Status> {
        let (reader, until) = (reader(call.extensions())?, until(&call));
        let asked = call.into_inner();
        let mut details = Details::default().with("method", "QueryAuditEntries");
        if wire::order(asked.order) == Ok(Order::Descending) {
            details = details.with("order", "newest_first");
        }
        if let Ok(size) = u64::try_from(asked.page_size) {
            details = details.with("page_size", size);
        }
        if !asked.page_token.is_empty() {
            details = details.with("continued", true);
        }
        let details = wire::details(details, asked.filter.as_ref());
        let call = Call::new(self, reader, details);
        let answer = self.query(asked, until).await;
        call.answered(answer).await
    }

    async fn trace_delegation_chain(
        &self,
        call: Request<TraceDelegationChainRequest>,
    ) -> Result<Response<TraceDelegationChainResponse>, Status> {
        let (reader, until) = (reader(call.extensions())?, until(&call));
        let asked = call.into_inner();
        let details = Details::default()
            .with("method", "TraceDelegationChain")
            .with("name", asked.name.as_str());
        let call = Call::new(self, reader, details);
        let answer = self.trace(asked, until).await;
        call.answered(answer).await
    }

    type StreamAuditEntriesStream = BoxStream<'static, Result<StreamAuditEntriesResponse, Status>>;

    async fn stream_audit_entries(
        &self,
        call: Request<StreamAuditEntriesRequest>,
    ) -> Result<Response<Self::StreamAuditEntriesStream>, Status> {
        let reader = reader(call.extensions())?;
        let proxy = Proxy::of(call.extensions());
        let asked = call.into_inner();
        let mut details = Details::default().with("method", "StreamAuditEntries");
        if !asked.page_token.is_empty() {
            details = details.with("continued", true);
        }
        let details = wire::details(details, asked.filter.as_ref());
        let call = Call::new(self, reader, details);
        let answer = self.stream(proxy, &asked);
        call.answered(answer).await
    }

    async fn verify_audit_chain(
        &self,
        call: Request<VerifyAuditChainRequest>,
    ) -> Result<Response<VerifyAuditChainResponse>, Status> {
        let (reader, until) = (reader(call.extensions())?, until(&call));
        let asked = call.into_inner();
        let mut details = Details::default().with("method", "VerifyAuditChain");
        if !asked.writer.is_empty() {
            details = details.with("writer", asked.writer.as_str());
        }
        if let Ok(to_seq @ 1..) = u64::try_from(asked.to_seq) {
            details = details.with("to_seq", to_seq);
        }
        let call = Call::new(self, reader, details);
        let answer = self.verify(asked, until).await;
        call.answered(answer).await
    }
}
