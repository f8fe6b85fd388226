//! Several proxies at once on one socket, each with several questions under way. An answer counts from the moment it is here.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use envoy_types::ext_authz::v3::pb::{CheckRequest, CheckResponse, HttpResponse};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// A decision as it was told: its id, and the reason code unless it was an allowance.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) id: String,
    pub(crate) reason: Option<String>,
}

/// Questions under way.
#[derive(Debug)]
pub(crate) struct Load {
    answers: Arc<Mutex<Vec<Answer>>>,
    askers: JoinSet<()>,
}

impl Load {
    pub(crate) async fn start(socket: &Path, seed: u64) -> Self {
        let answers = Arc::<Mutex<Vec<Answer>>>::default();
        let mut askers = JoinSet::new();
        for proxy in 0..PROXIES {
            let address = format!("unix://{}", socket.display());
            // Dead before it was asked anything: fine.
            let Ok(channel) = Endpoint::from_shared(address).unwrap().connect().await else {
                break;
            };
            let client = AuthorizationClient::new(channel);
            for stream in 0..STREAMS {
                let rng = StdRng::seed_from_u64(seed ^ (proxy * STREAMS + stream));
                askers.spawn(ask(client.clone(), Arc::clone(&answers), rng));
            }
        }
        Self { answers, askers }
    }

    /// Waits for the first answers, or until there will be none.
    pub(crate) async fn answered(&mut self, many: usize) {
        let enough = async {
            while self.answers.lock().unwrap().len() < many {
                while self.askers.try_join_next().is_some() {}
                if self.askers.is_empty() {
                    return;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, enough).await.unwrap();
    }

    /// Asks no more, and gives what was answered.
    pub(crate) async fn finish(mut self) -> Vec<Answer> {
        self.askers.shutdown().await;
        self.answers.lock().unwrap().clone()
    }
}

/// Asks until nobody answers.
async fn ask(
    mut client: AuthorizationClient<Channel>,
    answers: Arc<Mutex<Vec<Answer>>>,
    mut rng: StdRng,
) {
    while let Ok(response) = client.check(question(&mut rng)).await {
        let answer = read(response.get_ref());
        answers.lock().unwrap().push(answer);
    }
}

fn question(rng: &mut StdRng) -> CheckRequest {
    let method = ["GET", "GET", "GET", "DELETE", "PUT"][rng.random_range(0..5)];
    let http = HttpRequest {
        method: method.to_owned(),
        host: "documents.example.org".to_owned(),
        path: format!("/documents/{}", rng.random_range(0..100_000)),
        protocol: "HTTP/2".to_owned(),
        size: -1,
        ..HttpRequest::default()
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                principal: "spiffe://example.org/svc/reporting".to_owned(),
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

fn read(response: &CheckResponse) -> Answer {
    let headers = match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => &ok.headers,
        HttpResponse::DeniedResponse(denied) => &denied.headers,
        HttpResponse::ErrorResponse(_) => panic!("attache never answers so: {response:?}"),
    };
    let value = |name: &str| {
        let mut headers = headers.iter().filter_map(|it| it.header.as_ref());
        headers.find(|it| it.key == name).map(|it| it.value.clone())
    };
    Answer {
        id: value("x-attache-decision-id").unwrap(),
        reason: value("x-attache-reason"),
    }
}

const PROXIES: u64 = 4;
const STREAMS: u64 = 8;
/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
