//! The client of the service: reads the trail of an attache elsewhere. Gives lines as their writers wrote them.

use std::io;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::super::dialled;
use super::super::proto::attache::v1::audit_service_client::AuditServiceClient;
use super::super::proto::attache::v1::{
    AuditEntry, AuditOrder, ChainHead, QueryAuditEntriesRequest, StreamAuditEntriesRequest,
    TraceDelegationChainRequest, VerifyAuditChainRequest,
};
use super::wire;
use crate::audit::{Filter, Order};

/// Reads over one connection, which is made when it is needed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditClient(AuditServiceClient<Channel>);

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub enum AuditClientError {
    /// An address that nobody can listen on.
    #[error("`{0}` is no address; write HOST:PORT or unix:/PATH")]
    Address(String),
    /// The server said no, or could not be reached.
    #[error("{}", status.message())]
    Call {
        /// What it said.
        #[source]
        status: Box<Status>,
        /// Whether the same call may work later.
        passing: bool,
    },
}

/// A page of lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueriedPage {
    /// Lines, in the order that was asked for.
    pub records: Vec<String>,
    /// Where to go on; empty on the last page.
    pub next: String,
    /// How many records the filter asks for in all.
    pub total: u64,
}

/// What was done by somebody or on their behalf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TracedEntries {
    /// Lines, oldest first.
    pub records: Vec<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// One message of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedEntry {
    /// A line; `None` for a sign of life.
    pub record: Option<String>,
    /// Where to go on.
    pub token: String,
}

/// Whether the trail is as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// What is wrong, and in which line; `None` where nothing is.
    pub flaw: Option<(String, u64)>,
    /// Records read.
    pub records: u64,
    /// Where chains end.
    pub heads: Vec<ChainEnd>,
    /// Ends that are named and were not read.
    pub missing: Vec<ChainEnd>,
}

/// The end of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEnd {
    /// Whose chain.
    pub writer: String,
    /// The number of its last record.
    pub seq: u64,
    /// That record's hash.
    pub hash: String,
    /// Whether its writer ended it.
    pub stopped: bool,
}

impl AuditClient {
    /// A client of the attache at `address`, as `unix:/run/attache/ext_authz.sock`.
    pub fn unix(address: &str) -> Result<Self, AuditClientError> {
        let endpoint = dialled::socket(address);
        let endpoint = endpoint.ok_or_else(|| AuditClientError::Address(address.to_owned()))?;
        Ok(Self::over(endpoint.connect_lazy()))
    }

    /// A client over connections that `dial` makes, with TLS for instance.
    pub fn dialled<F, S>(dial: impl Fn() -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::over(dialled::channel(dial))
    }

    fn over(channel: Channel) -> Self {
        Self(AuditServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE))
    }

    /// A page of at most `size` records, from the one that `token` names on.
    pub async fn query(
        &self,
        filter: &Filter,
        order: Order,
        size: usize,
        token: &str,
    ) -> Result<QueriedPage, AuditClientError> {
        let order = match order {
            Order::Ascending => AuditOrder::OldestFirst,
            Order::Descending => AuditOrder::NewestFirst,
        };
        let asked = QueryAuditEntriesRequest {
            filter: Some(wire::asked(filter)),
            order: order.into(),
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
            page_token: token.to_owned(),
        };
        let answer = self.0.clone().query_audit_entries(limited(asked)).await?;
        let page = answer.into_inner();
        Ok(QueriedPage {
            records: lines(page.entries),
            next: page.next_page_token,
            total: count(page.total_size),
        })
    }

    /// Everything that was done by `name` or on its behalf, `size` records at most.
    pub async fn trace(&self, name: &str, size: usize) -> Result<TracedEntries, AuditClientError> {
        let asked = TraceDelegationChainRequest {
            name: name.to_owned(),
            page_size: i32::try_from(size).unwrap_or(i32::MAX),
        };
        let answer = self
            .0
            .clone()
            .trace_delegation_chain(limited(asked))
            .await?;
        let trace = answer.into_inner();
        Ok(TracedEntries {
            records: lines(trace.entries),
            truncated: trace.truncated,
        })
    }

    /// Records as they are written, from the one that `token` names on; where it is empty, from the filter's beginning,
    /// else from now.
    pub async fn stream(
        &self,
        filter: &Filter,
        token: &str,
    ) -> Result<impl Stream<Item = Result<StreamedEntry, AuditClientError>> + use<>, AuditClientError>
    {
        let asked = StreamAuditEntriesRequest {
            filter: Some(wire::asked(filter)),
            page_token: token.to_owned(),
        };
        let answer = self.0.clone().stream_audit_entries(asked).await?;
        Ok(answer.into_inner().map(|message| {
            let message = message?;
            Ok(StreamedEntry {
                record: message.entry.map(|entry| entry.record),
                token: message.page_token,
            })
        }))
    }

    /// Whether the chain of `writer`, or every chain, is as it was written.
    pub async fn verify(&self, writer: Option<&str>) -> Result<Verified, AuditClientError> {
        let asked = VerifyAuditChainRequest {
            writer: writer.unwrap_or_default().to_owned(),
            to_seq: 0,
        };
        let answer = self.0.clone().verify_audit_chain(limited(asked)).await?;
        let found = answer.into_inner();
        Ok(Verified {
            flaw: (!found.unbroken).then(|| (found.flaw, count(found.flaw_line))),
            records: count(found.records),
            heads: found.heads.into_iter().map(ChainEnd::from).collect(),
            missing: found.missing.into_iter().map(ChainEnd::from).collect(),
        })
    }
}

impl From<Status> for AuditClientError {
    fn from(status: Status) -> Self {
        let passing = matches!(
            status.code(),
            Code::Unavailable
                | Code::ResourceExhausted
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal
        );
        Self::Call {
            status: Box::new(status),
            passing,
        }
    }
}

impl AuditClientError {
    /// A stream that ended without a word.
    pub fn ended() -> Self {
        Status::unavailable("the stream ended").into()
    }

    /// Whether the same call may work later: the server stops, is overloaded, or the connection was lost.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Call { passing: true, .. })
    }
}

impl From<ChainHead> for ChainEnd {
    fn from(head: ChainHead) -> Self {
        Self {
            writer: head.writer,
            seq: count(head.seq),
            hash: head.hash,
            stopped: head.stopped,
        }
    }
}

fn limited<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(TIME_LIMIT);
    request
}

fn lines(entries: Vec<AuditEntry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.record).collect()
}

fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// As long as the server takes at most.
const TIME_LIMIT: Duration = Duration::from_secs(10);
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
