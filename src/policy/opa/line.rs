//! The line to one OPA: everything that is fixed while its settings are, and one question over it.
//!
//! Nothing of a question ever becomes part of an address. What came is read by `answer`; how it comes is `wire`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use prometheus_client::metrics::counter::Counter;
use reqwest::{Client, Request, Url};
use rustls::pki_types::ServerName;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::answer::{self, Provenance};
use super::config::Opa;
use super::endpoint::Transport;
use super::material::Material;
use super::wire::{Home, Plan, Reply, Wire};
use crate::policy::{
    Deadline, DecisionPath, Input, LoadError, PolicyError, Query, Verdict, output,
};
use crate::text::sentence;

/// The line to one OPA.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) opa: Opa,
    pub(super) material: Material,
    /// What was handed over to judge the server by.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) wire: Wire,
    address: Address,
    /// One permit per question under way.
    places: Semaphore,
    /// Endpoint and path as a short digest, which every revision begins with.
    id: String,
    /// What OPA last said of its policy, and the revision made of it.
    known: ArcSwap<(Provenance, Arc<str>)>,
    /// The number of the last question that was sent.
    sent: AtomicU64,
    /// The number of the question whose answer taught what is known. Held while `known` is replaced.
    taught_by: Mutex<u64>,
}

/// How OPA is reached and addressed: what settings and files amount to.
#[derive(Debug)]
pub(super) struct Terms {
    address: Address,
    tls: Option<Arc<rustls::ClientConfig>>,
    plan: Plan,
    client: Client,
}

/// Where questions go, and what they are let in by.
#[derive(Debug)]
struct Address {
    decision: Url,
    health: Url,
    bearer: Option<HeaderValue>,
}

/// The body of a question.
#[derive(Serialize)]
struct Question<'a> {
    input: &'a Input,
}

impl Terms {
    /// `tls` judges the server of an `https` endpoint in place of `ca_file`.
    pub(super) fn new(
        opa: &Opa,
        material: &Material,
        path: &DecisionPath,
        tls: Option<Arc<rustls::ClientConfig>>,
    ) -> Result<Self, LoadError> {
        let unusable = |fault| LoadError::Listing {
            name: opa.endpoint.to_string(),
            fault,
        };
        let address = |path: &str| {
            let address = Url::parse(&opa.endpoint.address(path));
            address.map_err(|_malformed| unusable("is no address that questions can go to"))
        };
        if let Transport::Tls { host } = &opa.endpoint.transport {
            ServerName::try_from(host.as_str())
                .map_err(|_nameless| unusable("needs a host that certificates can name"))?;
        }
        let judging = tls.clone().map_or_else(|| material.tls(opa), Ok)?;
        let plan = Plan::new(opa, &judging);
        Ok(Self {
            address: Address {
                decision: address(&format!(
                    "/v1/data/{path}?strict-builtin-errors=true&provenance=true"
                ))?,
                health: address(opa.health.path())?,
                bearer: material.bearer(opa)?,
            },
            client: plan
                .client()
                .map_err(|_unbuilt| unusable("can't be used with this build's HTTP client"))?,
            plan,
            tls,
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
        let id = format!("opa:{}", digest(&format!("{} {path}", opa.endpoint)));
        let limit = usize::try_from(opa.max_response.as_u64()).unwrap_or(usize::MAX);
        Self {
            wire: Wire::new(terms.plan, terms.client, limit, home, retries),
            address: terms.address,
            tls: terms.tls,
            places: Semaphore::new(opa.max_in_flight),
            known: ArcSwap::from_pointee((Provenance::default(), id.clone().into())),
            sent: AtomicU64::new(0),
            taught_by: Mutex::new(0),
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
        let mut request = self.request(Method::POST, &self.address.decision);
        *request.body_mut() = Some(body.into());
        let number = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let Reply { status, body } = self.wire.exchange(request).await?;
        let document = answer::read(status, &body)?;
        let missing = document.provenance.lacks(&self.opa.bundles);
        let missing = missing.map(|name| format!("bundle `{name}` is not active in OPA"));
        let revision = self.learn(number, document.provenance);
        if let Some(fault) = missing {
            return Err(PolicyError::Evaluation(fault));
        }
        output::read(document.result.as_ref(), &revision, input.form())
    }

    /// Asks for OPA's health; only a 200 is good.
    pub(super) async fn health(&self) -> Result<(), PolicyError> {
        let request = self.request(Method::GET, &self.address.health);
        let Reply { status, .. } = self.wire.exchange(request).await?;
        if status == StatusCode::OK {
            return Ok(());
        }
        let fault = format!("OPA answered {status} to {}", self.opa.health.path());
        Err(PolicyError::Unavailable(fault))
    }

    /// The revision that OPA last named.
    pub(super) fn revision(&self) -> Arc<str> {
        Arc::clone(&self.known.load().1)
    }

    /// Until when an answer is waited for, and what it is if none came.
    fn budget(&self, asked: Deadline, now: Instant) -> (Instant, PolicyError) {
        let ours = now + self.opa.timeout;
        let theirs = asked.last_word();
        let cut_short = theirs < ours && asked.cut_short;
        (ours.min(theirs), PolicyError::TimedOut { cut_short })
    }

    fn request(&self, method: Method, address: &Url) -> Request {
        let mut request = Request::new(method, address.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(bearer) = &self.address.bearer {
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        request
    }

    /// Remembers what OPA says of its policy in the answer to a question; the revision made of it comes back.
    ///
    /// Answers overtake each other. One to a question that was sent earlier than another whose answer is known says nothing
    /// of the policy that decides now.
    fn learn(&self, number: u64, provenance: Provenance) -> Arc<str> {
        let mut taught_by = self
            .taught_by
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let is_news = number > *taught_by;
        if is_news {
            *taught_by = number;
        }
        let known = self.known.load();
        if known.0 == provenance {
            return Arc::clone(&known.1);
        }
        let words = provenance.words();
        let revision: Arc<str> = match &*words {
            "" => self.id.clone().into(),
            words => format!("{}:{words}", self.id).into(),
        };
        if is_news {
            let known = (provenance, Arc::clone(&revision));
            self.known.store(Arc::new(known));
        }
        revision
    }
}

fn digest(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let start = digest.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(start))
}
