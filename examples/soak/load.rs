//! Mixed load: several proxies at once on one socket, one question after the other, some of them in a hurry. Every answer
//! is held to the oracle as it comes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use ulid::Ulid;

use crate::oracle::{self, Question};
use crate::processes::Attache;
use crate::timeline::Timeline;

/// What came of the questions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Decision id and reason code; no code where it was allowed.
    pub(crate) answers: Vec<(Ulid, Option<String>)>,
    pub(crate) wrong_allows: Vec<String>,
    pub(crate) wrong_denials: Vec<String>,
    /// Questions in a hurry whose time ran out before an answer came.
    pub(crate) given_up: usize,
    /// Questions that got no answer at all, though there was time.
    pub(crate) unanswered: usize,
}

/// Starts asking; ends with `end`.
pub(crate) async fn start(
    sidecar: &Attache,
    timeline: &Arc<Timeline>,
    seed: u64,
    end: &CancellationToken,
) -> JoinSet<Tally> {
    let mut proxies = JoinSet::new();
    for number in 0..PROXIES {
        let address = format!("unix://{}", sidecar.socket().display());
        let channel = Endpoint::from_shared(address).unwrap().connect().await;
        let client = AuthorizationClient::new(channel.unwrap());
        let rng = StdRng::seed_from_u64(seed.wrapping_mul(PROXIES) + number);
        let timeline = Arc::clone(timeline);
        proxies.spawn(proxy(client, timeline, sidecar.kept(), rng, end.clone()));
    }
    proxies
}

/// Waits for what is under way, and adds up.
pub(crate) async fn finish(proxies: JoinSet<Tally>) -> Tally {
    let mut sum = Tally::default();
    for tally in proxies.join_all().await {
        sum.answers.extend(tally.answers);
        sum.wrong_allows.extend(tally.wrong_allows);
        sum.wrong_denials.extend(tally.wrong_denials);
        sum.given_up += tally.given_up;
        sum.unanswered += tally.unanswered;
    }
    sum
}

async fn proxy(
    mut client: AuthorizationClient<Channel>,
    timeline: Arc<Timeline>,
    kept: Duration,
    mut rng: StdRng,
    end: CancellationToken,
) -> Tally {
    let mut tally = Tally::default();
    while !end.is_cancelled() {
        let question = oracle::any_question(&mut rng);
        let hurry = rng.random_bool(0.05);
        let mut request = tonic::Request::new(check_request(question));
        request.set_timeout(Duration::from_millis(if hurry { 60 } else { 2000 }));
        let asked = Instant::now();
        match client.check(request).await {
            Ok(response) => {
                let answered = Instant::now();
                let (id, reason) = read(response.get_ref());
                tally.judge(
                    question,
                    reason.as_deref(),
                    &timeline.versions(asked, answered, kept),
                );
                tally.answers.push((id, reason));
            }
            Err(_) if hurry => tally.given_up += 1,
            Err(_) => tally.unanswered += 1,
        }
        sleep(Duration::from_millis(rng.random_range(0..6))).await;
    }
    tally
}

impl Tally {
    fn judge(&mut self, question: Question, reason: Option<&str>, versions: &[oracle::Version]) {
        let fits = versions
            .iter()
            .any(|it| oracle::answer(question, *it) == reason);
        if fits || reason.is_some_and(oracle::is_failure) {
            return;
        }
        let wrong = match reason {
            None => &mut self.wrong_allows,
            Some(_) => &mut self.wrong_denials,
        };
        wrong.push(format!("{question:?} got {reason:?} under {versions:?}"));
    }

    pub(crate) fn allowed(&self) -> usize {
        self.answers
            .iter()
            .filter(|(_, reason)| reason.is_none())
            .count()
    }

    /// How often which answer came.
    pub(crate) fn words(&self) -> String {
        let mut counts = BTreeMap::<&str, usize>::new();
        for (_, reason) in &self.answers {
            *counts
                .entry(reason.as_deref().unwrap_or("allowed"))
                .or_default() += 1;
        }
        let words: Vec<_> = counts
            .iter()
            .map(|(word, count)| format!("{word}={count}"))
            .collect();
        words.join(" ")
    }
}

/// Decision id and reason code of an answer.
fn read(response: &CheckResponse) -> (Ulid, Option<String>) {
    let headers = match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => &ok.headers,
        HttpResponse::DeniedResponse(denied) => &denied.headers,
        HttpResponse::ErrorResponse(_) => panic!("attache never answers so: {response:?}"),
    };
    let value = |name: &str| {
        let mut headers = headers.iter().filter_map(|it| it.header.as_ref());
        headers.find(|it| it.key == name).map(|it| it.value.clone())
    };
    let allowed = response.status.as_ref().unwrap().code == 0;
    let reason = value("x-attache-reason");
    assert_eq!(allowed, reason.is_none(), "{response:?}");
    (
        value("x-attache-decision-id").unwrap().parse().unwrap(),
        reason,
    )
}

fn check_request(question: Question) -> CheckRequest {
    let http = HttpRequest {
        method: question.method.to_owned(),
        host: "documents.example.org".to_owned(),
        path: format!("/{}/{}", question.collection, question.number),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                principal: question.caller.to_owned(),
                ..Peer::default()
            }),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

const PROXIES: u64 = 6;
