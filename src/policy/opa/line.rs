//! The line to one OPA: everything that is fixed while its settings are, and one question over it.
//!
//! A question that OPA's end of a kept connection did not answer with a single byte is put once more, on a fresh
//! connection and within the same time. Nothing else is ever put twice: no redirect is followed, no proxy is asked.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use prometheus_client::metrics::counter::Counter;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Provenance};
use super::config::Opa;
use super::dial::Dialer;
use super::material::Material;
use super::pool::{Connection, Home, Pool};
use crate::policy::{
    Accounting, Deadline, DecisionPath, Input, LoadError, PolicyError, Query, Verdict, output,
};
use crate::text::sentence;

/// The line to one OPA.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) opa: Opa,
    pub(super) material: Material,
    pub(super) pool: Pool,
    terms: Terms,
    /// The target of a question.
    decision: String,
    /// The target of a look at OPA's health.
    health: String,
    /// One permit per question under way.
    places: Semaphore,
    retries: Counter,
    /// Endpoint and path as a short digest, which every revision begins with.
    id: String,
    /// What OPA last said of its policy, and the revision made of it.
    known: ArcSwap<(Provenance, Arc<str>)>,
}

/// How OPA is reached and addressed: what settings and files amount to.
#[derive(Debug)]
pub(super) struct Terms {
    dialer: Dialer,
    host: HeaderValue,
    bearer: Option<HeaderValue>,
}

/// The body of a question.
#[derive(Serialize)]
struct Question<'a> {
    input: &'a Input,
}

/// A response, complete, and the connection it came over.
struct Exchanged {
    status: StatusCode,
    body: Vec<u8>,
    connection: Connection,
}

/// Why there is no response.
enum Broken {
    /// Not a byte of one came.
    Silent(String),
    /// What came is none.
    Malformed(String),
}

impl Terms {
    /// `tls` judges the server of an `https` endpoint in place of `ca_file`.
    pub(super) fn new(
        opa: &Opa,
        material: &Material,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, LoadError> {
        let unusable = |fault| LoadError::Listing {
            name: opa.endpoint.to_string(),
            fault,
        };
        let tls = match tls {
            Some(tls) => Some(tls),
            None => material.tls(opa)?,
        };
        Ok(Self {
            bearer: material.bearer(opa)?,
            host: HeaderValue::from_str(&opa.endpoint.authority)
                .map_err(|_unprintable| unusable("has a host that can't be sent"))?,
            dialer: Dialer::new(&opa.endpoint, tls).ok_or_else(|| {
                unusable("needs policy.opa.ca_file and a host that certificates can name")
            })?,
        })
    }
}

impl Line {
    /// A line on these terms. Its connections live in `home`.
    pub(super) fn new(
        opa: Opa,
        material: Material,
        terms: Terms,
        path: &DecisionPath,
        home: Home,
        retries: Counter,
    ) -> Self {
        let decision = opa.endpoint.target(&format!(
            "/v1/data/{path}?strict-builtin-errors=true&provenance=true"
        ));
        let id = format!("opa:{}", digest(&format!("{} {path}", opa.endpoint)));
        Self {
            decision,
            health: opa.endpoint.target(opa.health.path()),
            pool: Pool::new(terms.dialer.clone(), home),
            terms,
            places: Semaphore::new(opa.max_in_flight),
            retries,
            known: ArcSwap::from_pointee((Provenance::default(), id.clone().into())),
            id,
            opa,
            material,
        }
    }

    /// Puts a question, as soon as there is a place for it, and waits no longer than the query and the settings allow.
    pub(super) async fn answer(&self, query: &Query) -> Result<Verdict, PolicyError> {
        let now = Instant::now();
        let (until, late) = self.budget(query.deadline, now);
        let patience = now + until.saturating_duration_since(now) / 4;
        let _place = match timeout_at(patience, self.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_closed)) => return Err(PolicyError::Interrupted),
            Err(_elapsed) => return Err(PolicyError::Overloaded),
        };
        let asked = timeout_at(until, self.ask(&query.input)).await;
        asked.unwrap_or(Err(late))
    }

    /// Puts a question without a deadline.
    pub(super) async fn ask(&self, input: &Input) -> Result<Verdict, PolicyError> {
        let body = serde_json::to_vec(&Question { input })
            .map_err(|error| PolicyError::Evaluation(sentence(&error)))?;
        let Exchanged {
            status,
            body,
            connection,
        } = self
            .exchange(Method::POST, &self.decision, body.into())
            .await?;
        let document = answer::read(status, &body);
        let sound = match &document {
            Ok(_) => true,
            Err(error) => error.counts() == Accounting::Neither,
        };
        if sound {
            self.pool.put_back(connection);
        }
        let document = document?;
        let missing = document.provenance.lacks(&self.opa.bundles);
        let missing = missing.map(|name| format!("bundle `{name}` is not active in OPA"));
        let revision = self.learn(document.provenance);
        if let Some(fault) = missing {
            return Err(PolicyError::Evaluation(fault));
        }
        output::read(document.result.as_ref(), &revision, input.form())
    }

    /// Asks for OPA's health; only a 200 is good.
    pub(super) async fn health(&self) -> Result<(), PolicyError> {
        let Exchanged {
            status, connection, ..
        } = self
            .exchange(Method::GET, &self.health, Bytes::new())
            .await?;
        self.pool.put_back(connection);
        if status == StatusCode::OK {
            return Ok(());
        }
        let fault = format!("OPA answered {status} to {}", self.health);
        Err(PolicyError::Unavailable(fault))
    }

    /// The revision that OPA last named.
    pub(super) fn revision(&self) -> Arc<str> {
        Arc::clone(&self.known.load().1)
    }

    /// Until when an answer is waited for, and what it is if none came.
    ///
    /// That is a little less than the asker waits: the error that says whose fault it was must be heard.
    fn budget(&self, asked: Deadline, now: Instant) -> (Instant, PolicyError) {
        let ours = now + self.opa.timeout;
        let theirs = asked.at.checked_sub(WORD).unwrap_or(now);
        let cut_short = theirs < ours && asked.cut_short;
        (ours.min(theirs), PolicyError::TimedOut { cut_short })
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<Exchanged, PolicyError> {
        if let Some(kept) = self.pool.take() {
            match self.attempt(kept, &method, target, body.clone()).await {
                Ok(exchanged) => return Ok(exchanged),
                Err(Broken::Malformed(fault)) => return Err(PolicyError::Malformed(fault)),
                Err(Broken::Silent(_)) => {
                    self.retries.inc();
                }
            }
        }
        let fresh = self.pool.dial().await.map_err(PolicyError::Unavailable)?;
        let exchanged = self.attempt(fresh, &method, target, body).await;
        exchanged.map_err(|broken| match broken {
            Broken::Malformed(fault) => PolicyError::Malformed(fault),
            Broken::Silent(fault) => PolicyError::Unavailable(format!("no answer came: {fault}")),
        })
    }

    async fn attempt(
        &self,
        mut connection: Connection,
        method: &Method,
        target: &str,
        body: Bytes,
    ) -> Result<Exchanged, Broken> {
        let request = self
            .request(method, target, body)
            .map_err(|error| Broken::Malformed(sentence(&error)))?;
        let before = connection.received();
        let sent = match connection.sender.ready().await {
            Ok(()) => connection.sender.send_request(request).await,
            Err(closed) => Err(closed),
        };
        let response = sent.map_err(|error| {
            if connection.received() == before {
                Broken::Silent(sentence(&error))
            } else {
                Broken::Malformed(sentence(&error))
            }
        })?;
        let (head, body) = response.into_parts();
        let compressed = head
            .headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .any(|coding| coding != "identity");
        if compressed {
            return Err(Broken::Malformed("compressed, unasked".to_owned()));
        }
        let limit = usize::try_from(self.opa.max_response.as_u64()).unwrap_or(usize::MAX);
        Ok(Exchanged {
            status: head.status,
            body: complete(body, limit).await.map_err(Broken::Malformed)?,
            connection,
        })
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, &self.terms.host)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json");
        if let Some(bearer) = &self.terms.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        request.body(Full::new(body))
    }

    /// Remembers what OPA says of its policy; the revision made of it comes back.
    fn learn(&self, provenance: Provenance) -> Arc<str> {
        let known = self.known.load();
        if known.0 == provenance {
            return Arc::clone(&known.1);
        }
        let words = provenance.words();
        let revision: Arc<str> = match &*words {
            "" => self.id.clone().into(),
            words => format!("{}:{words}", self.id).into(),
        };
        self.known
            .store(Arc::new((provenance, Arc::clone(&revision))));
        revision
    }
}

/// The whole of a body that is not larger than `limit`.
async fn complete(mut body: Incoming, limit: usize) -> Result<Vec<u8>, String> {
    let too_large = || format!("more than {limit} bytes");
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("cut off: {}", sentence(&error)))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let start = digest.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}

const AGENT: &str = concat!("attache/", env!("CARGO_PKG_VERSION"));
/// The time that saying so takes, where there was no answer.
const WORD: std::time::Duration = std::time::Duration::from_millis(2);
