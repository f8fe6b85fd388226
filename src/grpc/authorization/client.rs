//! The client of the service: asks an attache elsewhere, in the words of [`AuthorizationProvider`].
//!
//! Whatever is no decision (no connection, no answer in time, an error, an answer at odds with itself) comes back as a
//! denial. Its `audit_id` is the one of the server's record where the server told it, and a new one where nobody did.

use std::time::Duration;

use prost::Message as _;
use serde_json::{Map, Value as Json};
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::authority::{AuthorizationProvider, AuthzDecision, INQUIRY_TIME};

use super::super::dialled;
use super::super::proto::attache::v1::authorization_service_client::AuthorizationServiceClient;
use super::super::proto::attache::v1::{CheckRequest, HealthCheckRequest};
use super::super::proto::google::rpc::{ErrorInfo, Status as Details};
use super::super::response::DECISION;
use super::wire;

/// Asks for decisions over one connection, which is made when it is needed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuthorizationClient {
    grpc: AuthorizationServiceClient<Channel>,
    time_limit: Duration,
}

/// An address where no attache answers.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no Unix socket: write unix:/PATH; over TLS, make the connection and use `over`")]
pub struct AddressError(String);

/// No answer came, or one that is none.
#[derive(Debug)]
struct Unheard {
    /// Empty where nobody recorded anything.
    audit_id: String,
    reason_code: String,
    words: String,
}

// === impl AuthorizationClient ===

impl AuthorizationClient {
    /// A client of the attache at `address`, as `unix:/run/attache/ext_authz.sock`. No other kind is taken: the service is
    /// nowhere else in plaintext, so that whoever answered there would be somebody else.
    pub fn new(address: &str) -> Result<Self, AddressError> {
        let endpoint = dialled::socket(address);
        let endpoint = endpoint.ok_or_else(|| AddressError(address.to_owned()))?;
        Ok(Self::over(endpoint.connect_lazy()))
    }

    /// A client over a connection that somebody else makes, with TLS for instance.
    pub fn over(channel: Channel) -> Self {
        Self {
            grpc: AuthorizationServiceClient::new(channel),
            time_limit: INQUIRY_TIME,
        }
    }

    /// The same, waiting for every answer for `time_limit` at most; 5 s otherwise.
    #[must_use]
    pub fn within(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.time_limit);
        request
    }
}

#[async_trait::async_trait]
impl AuthorizationProvider for AuthorizationClient {
    async fn check(
        &self,
        caller_id: &str,
        resource: &str,
        action: &str,
        context: &Map<String, Json>,
    ) -> AuthzDecision {
        let question = CheckRequest {
            caller: caller_id.to_owned(),
            resource: resource.to_owned(),
            action: action.to_owned(),
            context: Some(wire::structure(context)),
        };
        let mut grpc = self.grpc.clone();
        let answered = tokio::time::timeout(self.time_limit, grpc.check(self.request(question)));
        let unheard = match answered.await {
            Ok(Ok(answer)) => match wire::heard(answer.into_inner()) {
                Some(decision) => return decision,
                None => Unheard::because("the answer is no decision"),
            },
            Ok(Err(status)) => Unheard::from(&status),
            Err(_elapsed) => Unheard::because("no answer came in time"),
        };
        unheard.into()
    }

    async fn health_check(&self) -> bool {
        let mut grpc = self.grpc.clone();
        let asked = grpc.health_check(self.request(HealthCheckRequest {}));
        let answered = tokio::time::timeout(self.time_limit, asked).await;
        matches!(answered, Ok(Ok(health)) if health.get_ref().healthy)
    }
}

// === impl Unheard ===

impl Unheard {
    fn because(words: &str) -> Self {
        Self {
            audit_id: String::new(),
            reason_code: NO_ANSWER.to_owned(),
            words: words.to_owned(),
        }
    }
}

impl From<&Status> for Unheard {
    /// The server's own code and record, where the error comes from an attache that tells them.
    fn from(status: &Status) -> Self {
        let told = Details::decode(status.details()).ok();
        let told =
            told.and_then(|details| ErrorInfo::decode(&*details.details.first()?.value).ok());
        let mut told = told.filter(|info| info.domain == "attache.dev");
        let audit_id = told.as_mut().and_then(|it| it.metadata.remove(DECISION));
        Self {
            audit_id: audit_id.unwrap_or_default(),
            reason_code: told.map_or_else(
                || NO_ANSWER.to_owned(),
                |info| info.reason.to_ascii_lowercase(),
            ),
            words: format!("no decision: {}", status.message()),
        }
    }
}

impl From<Unheard> for AuthzDecision {
    fn from(unheard: Unheard) -> Self {
        let Unheard {
            audit_id,
            reason_code,
            words,
        } = unheard;
        Self::deny(audit_id, reason_code, words).by_policy("error-fallback")
    }
}

/// The code where no attache said one.
const NO_ANSWER: &str = "no_answer";
