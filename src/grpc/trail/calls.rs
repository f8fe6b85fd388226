//! The methods of the service: who asks and what for, as the record of the call will say, and the answer.

use futures::stream::BoxStream;
use tokio::time::Instant;
use tonic::{Extensions, Request, Response, Status};

use crate::audit::{Details, Order};
use crate::authority::Reader;

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
        let answer = self.query(asked, until).await;
        self.answered(&reader, details, answer)
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
        let answer = self.trace(asked, until).await;
        self.answered(&reader, details, answer)
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
        let answer = self.stream(proxy, &asked);
        self.answered(&reader, details, answer)
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
        let answer = self.verify(asked, until).await;
        self.answered(&reader, details, answer)
    }
}
