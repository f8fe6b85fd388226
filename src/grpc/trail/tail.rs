//! One stream of records as they are written: first those from the place it goes on at, then the new ones.
//!
//! The two meet without a gap and without a repetition: what was in the first sink when the stream began is read from the
//! trail, all later ones come from the writer, which never waits for a stream. A client that is too slow for them is told
//! where to go on, and so is everybody whose stream ends. Who may read is asked again before every batch and heartbeat.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use prost_types::Any;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tonic::{Code, Status};

use super::super::connection::Proxy;
use super::super::proto::attache::v1::{AuditEntry, StreamAuditEntriesResponse};
use super::super::proto::google::rpc::{ErrorInfo, Status as RichStatus};
use super::admission::refusal;
use super::token::{Bound, StreamPlace};
use super::{LONGEST_READ, Reading, invalid, unreadable, wire};
use crate::audit::{Batch, Cursor, Filter, Order, Seen, Span, Watcher};

/// A stream and where it is.
#[derive(Debug)]
pub(super) struct Tail {
    reading: Reading,
    proxy: Proxy,
    filter: Filter,
    bound: Bound,
    watcher: Watcher,
    /// Where earlier records are to be read from; `None` for a stream from now on.
    from: Option<Since>,
    /// Right after the last record that was given or left out.
    at: Cursor,
    /// Up to this one of the writer's, all were.
    head: u64,
    live: bool,
    /// The token of the last message.
    told: String,
}

#[derive(Debug)]
enum Since {
    Start,
    Place(StreamPlace),
}

/// Why a stream ends.
#[derive(Debug)]
enum End {
    /// The client went away.
    Gone,
    /// The process stops.
    Stopping,
    /// The client reads slower than records are written.
    Slow,
    /// Something else, said already.
    Told(Status),
}

impl Tail {
    /// A stream that goes on at `token`, else at the filter's beginning, else now.
    pub(super) fn begin(
        reading: Reading,
        proxy: Proxy,
        filter: Filter,
        bound: Bound,
        token: &str,
    ) -> Result<Self, Status> {
        let from = match token {
            "" => filter.from.map(|_| Since::Start),
            token => Some(Since::Place(
                StreamPlace::read(token, &bound).map_err(invalid)?,
            )),
        };
        let watcher = reading.auditor.watch();
        let at = match &from {
            Some(Since::Place(place)) => place.after(),
            Some(Since::Start) => Cursor {
                time: String::new(),
                writer: String::new(),
                seq: 0,
            },
            None => Cursor {
                time: reading.authority.now().to_string(),
                writer: watcher.writer().to_string(),
                seq: watcher.seq(),
            },
        };
        Ok(Self {
            live: from.is_none(),
            head: watcher.seq(),
            reading,
            proxy,
            filter,
            bound,
            watcher,
            from,
            at,
            told: String::new(),
        })
    }

    /// Gives records until the stream ends; says why.
    pub(super) async fn run(mut self, client: Sender<StreamAuditEntriesResponse>) -> Status {
        let Err(end) = self.give(&client).await;
        match end {
            End::Gone => Status::cancelled("the client went away"),
            End::Stopping => self.resumable(Code::Unavailable, "STOPPING", "attache stops"),
            End::Slow => self.resumable(
                Code::ResourceExhausted,
                "SLOW_CONSUMER",
                "records are written faster than this client reads",
            ),
            End::Told(status) => status,
        }
    }

    async fn give(
        &mut self,
        client: &Sender<StreamAuditEntriesResponse>,
    ) -> Result<Infallible, End> {
        if self.from.is_some() {
            self.catch_up(client).await?;
        }
        self.send(client, None).await?;
        let mut heartbeats = tokio::time::interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.reading.shutdown.clone();
        loop {
            let seen = tokio::select! {
                seen = self.watcher.next() => Some(seen),
                _ = heartbeats.tick() => None,
                () = shutdown.draining() => return Err(End::Stopping),
                () = client.closed() => return Err(End::Gone),
            };
            self.admitted().await?;
            match seen {
                None => self.send(client, None).await?,
                Some(Seen::Records(batch)) => self.pass_on(client, batch).await?,
                Some(Seen::Missed(_)) => return Err(End::Slow),
                Some(Seen::End) => return Err(End::Stopping),
            }
        }
    }

    /// Gives what was in the trail when the stream began.
    async fn catch_up(&mut self, client: &Sender<StreamAuditEntriesResponse>) -> Result<(), End> {
        self.send(client, None).await?;
        if let Some(Since::Place(place)) = &self.from
            && place.live
            && *place.own == **self.watcher.writer()
        {
            self.head = place.head;
            return self.go_on(client).await;
        }
        let mut filter = self.filter.clone();
        if let Some(Since::Place(place)) = &self.from {
            // Records that waited longer than others may have been written after the place, with an earlier time.
            let time = place.after().time;
            let time = time.parse().map_err(invalid).map_err(End::Told)?;
            let since = crate::clock::Timestamp::minus(time, LATE);
            filter.from = Some(filter.from.map_or(since, |from| from.max(since)));
        }
        let filter = Arc::new(filter);
        let (own, began) = (Arc::clone(self.watcher.writer()), self.watcher.seq());
        let mut after: Option<Cursor> = None;
        loop {
            self.admitted().await?;
            let (filter, from_here) = (Arc::clone(&filter), after.take());
            let read = self
                .reading
                .read(Instant::now() + LONGEST_READ, move |trail| {
                    trail.query(&filter, Order::Ascending, from_here.as_ref(), PAGE)
                });
            let page = read.await.map_err(End::Told)?;
            for line in page.records {
                let told = wire::entry(line).ok_or_else(|| End::Told(unreadable()))?;
                let (entry, place) = told;
                let comes_live = *place.writer == *own && place.seq > began;
                let lacked = match &self.from {
                    Some(Since::Place(before)) => before.lacks(&place),
                    Some(Since::Start) | None => true,
                };
                if lacked && !comes_live {
                    if place > self.at {
                        self.at = place;
                    }
                    self.send(client, Some(entry)).await?;
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        self.live = true;
        self.from = None;
        Ok(())
    }

    /// Gives what this writer wrote after a stream of it ended: by number, whatever became of the clock meanwhile.
    async fn go_on(&mut self, client: &Sender<StreamAuditEntriesResponse>) -> Result<(), End> {
        (self.from, self.live) = (None, true);
        let began = self.watcher.seq();
        while self.head < began {
            self.admitted().await?;
            let span = Span {
                writer: Some(self.watcher.writer().to_string()),
                from_seq: Some(self.head.saturating_add(1)),
                to_seq: Some(began),
            };
            let read = self
                .reading
                .read(Instant::now() + LONGEST_READ, move |trail| {
                    let mut batch = Vec::new();
                    trail.walk(&span, &mut |line| {
                        batch.push(line.to_vec());
                        if batch.len() < PAGE {
                            ControlFlow::Continue(())
                        } else {
                            ControlFlow::Break(())
                        }
                    })?;
                    Ok(batch)
                });
            let batch = read.await.map_err(End::Told)?;
            if batch.is_empty() {
                // Another sink than the first, which gets its copies later.
                self.head = began;
            }
            let picking =
                self.pick(move |filter, head| pick(batch.iter().map(Vec::as_slice), filter, head));
            self.give_out(client, picking.await?).await?;
        }
        Ok(())
    }

    /// Gives what the filter asks for of what was just written.
    async fn pass_on(
        &mut self,
        client: &Sender<StreamAuditEntriesResponse>,
        batch: Arc<Batch>,
    ) -> Result<(), End> {
        let picking = self.pick(move |filter, head| pick(batch.lines(), filter, head));
        self.give_out(client, picking.await?).await
    }

    /// What `pick` finds with the filter after the head, looked for where that holds nobody up.
    async fn pick(
        &self,
        pick: impl FnOnce(&Filter, u64) -> Picked + Send + 'static,
    ) -> Result<Picked, End> {
        let (filter, head) = (self.filter.clone(), self.head);
        let picking = self
            .reading
            .runtime
            .spawn_blocking(move || pick(&filter, head));
        let picked = picking.await;
        picked.map_err(|_panicked| End::Told(Status::internal("internal error")))
    }

    async fn give_out(
        &mut self,
        client: &Sender<StreamAuditEntriesResponse>,
        picked: Picked,
    ) -> Result<(), End> {
        for (entry, place) in picked {
            self.head = place.seq;
            if place.time > self.at.time {
                self.at = place;
            }
            if entry.is_some() {
                self.send(client, entry).await?;
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        client: &Sender<StreamAuditEntriesResponse>,
        entry: Option<AuditEntry>,
    ) -> Result<(), End> {
        let page_token = self.token();
        let message = StreamAuditEntriesResponse {
            entry,
            page_token: page_token.clone(),
        };
        let sent = tokio::select! {
            sent = timeout(PATIENCE, client.send(message)) => sent,
            () = self.reading.shutdown.draining() => return Err(End::Stopping),
        };
        match sent {
            Ok(Ok(())) => {
                self.told = page_token;
                Ok(())
            }
            Ok(Err(_closed)) => Err(End::Gone),
            Err(_elapsed) => Err(End::Slow),
        }
    }

    async fn admitted(&self) -> Result<(), End> {
        let authority = &self.reading.authority;
        let peer = self.proxy.peer();
        match authority.admit_reader(&peer) {
            Ok(_reader) => Ok(()),
            Err(denial) => Err(End::Told(refusal(authority, &peer, denial).await)),
        }
    }

    fn token(&self) -> String {
        // What came late, before the place where this stream goes on, is not all given yet.
        if let Some(Since::Place(before)) = &self.from
            && self.at == before.after()
        {
            return before.token();
        }
        let own = self.watcher.writer().to_string();
        StreamPlace::new(
            self.bound.clone(),
            self.at.clone(),
            own,
            self.head,
            self.live,
        )
        .token()
    }

    /// An end that says where to go on. What was sent before is still given.
    fn resumable(&self, code: Code, reason: &str, words: &str) -> Status {
        let message = format!("{words}; go on with the last page_token");
        let info = ErrorInfo {
            reason: reason.to_owned(),
            domain: "attache.dev".to_owned(),
            metadata: [("page_token".to_owned(), self.told.clone())].into(),
        };
        let details = RichStatus {
            code: code.into(),
            message: message.clone(),
            details: vec![Any {
                type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
                value: info.encode_to_vec(),
            }],
        };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

/// Places in the order of the chain, and what is to be given at them.
type Picked = Vec<(Option<AuditEntry>, Cursor)>;

/// The records of `lines` after `head`, those with an entry that `filter` asks for. What is no record is passed over: the
/// writer writes none.
fn pick<'a>(lines: impl Iterator<Item = &'a [u8]>, filter: &Filter, head: u64) -> Picked {
    let lines = lines.filter_map(|line| str::from_utf8(line).ok());
    lines
        .filter_map(|line| {
            let asked = serde_json::from_str(line).is_ok_and(|record| filter.matches(&record));
            let (entry, place) = wire::entry(line.to_owned())?;
            Some((asked.then_some(entry), place))
        })
        .filter(|(_, place)| place.seq > head)
        .collect()
}

const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long a client may leave a full buffer as it is.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much later than others a record may be written.
const LATE: Duration = Duration::from_secs(60);
/// Records of one read.
const PAGE: usize = 500;
