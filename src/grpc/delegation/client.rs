//! The client of the service, for the command line and other programs: plain words in, plain words out.
//!
//! It calls as whoever the connection is, a workload, or with the session of a person. Tokens it was given show in no
//! `Debug`.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Request;
use tonic::transport::Channel;

use crate::delegation::token::Token;
use crate::state::Handle;

use super::super::dialled::{self, ClientError, PATIENCE};
use super::super::proto::attache::v1::check_permission_request::Mandate;
use super::super::proto::attache::v1::delegate_request::Parent;
use super::super::proto::attache::v1::delegation_service_client::DelegationServiceClient;
use super::super::proto::attache::v1::revoke_token_request::Which;
use super::super::proto::attache::v1::{self as proto};

/// Hands authority on, and takes it back.
#[derive(Debug, Clone)]
pub struct DelegationClient {
    grpc: DelegationServiceClient<Channel>,
    handle: Option<Handle>,
    time_limit: Duration,
}

/// A mandate, or what is handed on from.
#[derive(Debug, Clone)]
pub enum MandateRef {
    /// By its grant.
    Grant(String),
    /// By a token.
    Token(Token),
}

/// Authority to hand on. What is `None`, or empty where it is a text, is left to the server.
#[derive(Debug, Clone, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag that somebody types"
)]
pub struct HandoverWanted {
    /// From what. `None`: from the session of the person who calls.
    pub parent: Option<MandateRef>,
    /// To which workload.
    pub spiffe_id: String,
    /// Under which name.
    pub agent_id: String,
    /// As what.
    pub agent_type: String,
    /// For which task.
    pub task: String,
    /// What a new task is for.
    pub purpose: String,
    /// Only these resources.
    pub resources: Option<Vec<String>>,
    /// Only these actions.
    pub actions: Option<Vec<String>>,
    /// Only these permissions.
    pub permissions: Option<Vec<String>>,
    /// SUPERVISED at least.
    pub supervise: Vec<String>,
    /// Only reading.
    pub read_only: bool,
    /// For which services.
    pub audience: Vec<String>,
    /// For how long.
    pub ttl: Option<Duration>,
    /// Refuse rather than hand on less than was asked for.
    pub reject_excess: bool,
    /// How many more times it may be handed on.
    pub further: u32,
    /// The agent asks for its token itself.
    pub claim: bool,
    /// Only say what would be handed on.
    pub dry_run: bool,
    /// A name by which this request is known when it comes again.
    pub request_id: String,
}

/// What was handed on.
#[derive(Debug, Clone)]
pub struct HandoverInfo {
    /// The grant.
    pub grant: GrantInfo,
    /// Its first token.
    pub token: Option<TokenInfo>,
    /// What was wanted and not held.
    pub dropped: Vec<String>,
}

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantInfo {
    /// Its id; empty where nothing was to change.
    pub id: String,
    /// From the person to the agent that holds it.
    pub chain: Vec<String>,
    /// The task that it serves.
    pub task: String,
    /// What it permits, as `documents/**:delete@supervised`.
    pub permissions: Vec<String>,
    /// The services that tokens may be for.
    pub audience: Vec<String>,
    /// Whether it lives, as `active`.
    pub state: String,
    /// When it ends by itself, in seconds since 1970.
    pub expires: u64,
    /// Tokens of it that are good.
    pub live_tokens: u32,
}

/// A token.
#[derive(Debug, Clone)]
pub struct TokenInfo {
    /// The token itself.
    pub token: Token,
    /// Its id.
    pub jti: String,
    /// When it ends by itself, in seconds since 1970.
    pub expires: u64,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInfo {
    /// Its name.
    pub id: String,
    /// The person at the root.
    pub person: String,
    /// From the root task to this one.
    pub path: Vec<String>,
    /// Who began it.
    pub owner: String,
    /// What it is for.
    pub purpose: String,
    /// Whether it lives, as `active`.
    pub state: String,
    /// When it ends by itself, in seconds since 1970.
    pub expires: u64,
}

/// What ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedInfo {
    /// Tokens that were good before.
    pub tokens: u32,
    /// Grants that lived before.
    pub grants: u32,
    /// Tasks with how they ended, the one that was named first.
    pub tasks: Vec<(String, String)>,
}

/// What a mandate permits for one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionInfo {
    /// `allowed`, `supervised` or `denied`.
    pub result: &'static str,
    /// Why not, or not freely, as a stable code.
    pub code: String,
    /// The same in words.
    pub reason: String,
    /// At which handover it was lost; 0 for none.
    pub hop: u32,
}

impl DelegationClient {
    /// Connects to the attache at `address`, as `unix:/run/attache/ext_authz.sock`, for a person.
    pub async fn connect(address: &str, handle: Handle) -> Result<Self, ClientError> {
        Ok(Self::over(dialled::unix(address).await?).with_session(handle))
    }

    /// A client over connections that `dial` makes, with TLS and the certificate of a workload.
    pub fn dialled<F, S>(dial: impl Fn() -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        Self::over(dialled::channel(dial))
    }

    /// A client over a connection that somebody else makes, with TLS and the certificate of a workload.
    pub fn over(channel: Channel) -> Self {
        Self {
            grpc: DelegationServiceClient::new(channel),
            handle: None,
            time_limit: PATIENCE,
        }
    }

    /// The same, waiting for every answer for `time_limit` at most; 15 s otherwise.
    #[must_use]
    pub fn within(self, time_limit: Duration) -> Self {
        Self { time_limit, ..self }
    }

    /// The same, as the person of a session.
    #[must_use]
    pub fn with_session(self, handle: Handle) -> Self {
        Self {
            handle: Some(handle),
            ..self
        }
    }

    /// Begins a task; `parent` and `grant` are empty for a person's root task.
    pub async fn create_task(
        &mut self,
        task: &str,
        parent: &str,
        grant: &str,
        purpose: &str,
    ) -> Result<TaskInfo, ClientError> {
        let asked = self.shown(proto::CreateTaskRequest {
            task_id: task.to_owned(),
            parent_task: parent.to_owned(),
            grant_id: grant.to_owned(),
            purpose: purpose.to_owned(),
            ..proto::CreateTaskRequest::default()
        });
        Ok(self.grpc.create_task(asked).await?.into_inner().into())
    }

    /// Hands authority on.
    pub async fn delegate(&mut self, wanted: HandoverWanted) -> Result<HandoverInfo, ClientError> {
        let asked = self.shown(wanted.into());
        let told = self.grpc.delegate(asked).await?.into_inner();
        Ok(HandoverInfo {
            grant: told.grant.ok_or(ClientError::Incomplete)?.into(),
            token: told.token.map(TokenInfo::from),
            dropped: told.dropped.iter().map(written).collect(),
        })
    }

    /// A token for a grant that the caller holds; `audience` is empty where the grant has one only.
    pub async fn mint(
        &mut self,
        grant: &str,
        audience: &str,
        ttl: Option<Duration>,
    ) -> Result<TokenInfo, ClientError> {
        let asked = self.shown(proto::MintTokenRequest {
            grant_id: grant.to_owned(),
            audience: audience.to_owned(),
            ttl: ttl.map(span),
            request_id: String::new(),
        });
        Ok(self.grpc.mint_token(asked).await?.into_inner().into())
    }

    /// Ends a task with everything below it; `person` is empty for the caller's own.
    pub async fn revoke_task(
        &mut self,
        task: &str,
        person: &str,
        reason: &str,
    ) -> Result<EndedInfo, ClientError> {
        let asked = self.shown(proto::RevokeTaskRequest {
            task_id: task.to_owned(),
            person: person.to_owned(),
            reason: reason.to_owned(),
            request_id: String::new(),
        });
        Ok(self.grpc.revoke_task(asked).await?.into_inner().into())
    }

    /// Ends a task that is done; `person` is empty for the caller's own.
    pub async fn complete_task(
        &mut self,
        task: &str,
        person: &str,
    ) -> Result<EndedInfo, ClientError> {
        let asked = self.shown(proto::CompleteTaskRequest {
            task_id: task.to_owned(),
            person: person.to_owned(),
            request_id: String::new(),
        });
        Ok(self.grpc.complete_task(asked).await?.into_inner().into())
    }

    /// Ends a grant with everything below it: the grant itself, or that of a token.
    pub async fn revoke(
        &mut self,
        mandate: MandateRef,
        reason: &str,
    ) -> Result<EndedInfo, ClientError> {
        let (reason, request_id) = (reason.to_owned(), String::new());
        let ended = match mandate {
            MandateRef::Grant(grant_id) => {
                let asked = self.shown(proto::RevokeGrantRequest {
                    grant_id,
                    reason,
                    request_id,
                });
                self.grpc.revoke_grant(asked).await?.into_inner()
            }
            MandateRef::Token(token) => {
                let asked = self.shown(proto::RevokeTokenRequest {
                    which: Some(Which::Token(token.expose().to_owned())),
                    reason,
                    request_id,
                });
                self.grpc.revoke_token(asked).await?.into_inner()
            }
        };
        Ok(EndedInfo {
            tokens: ended.revoked_token_count,
            grants: ended.revoked_grant_count,
            tasks: Vec::new(),
        })
    }

    /// All tasks that the caller may see, of `person` and at or below `under` where these are not empty.
    pub async fn tasks(
        &mut self,
        person: &str,
        under: &str,
        ended: bool,
    ) -> Result<Vec<TaskInfo>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let asked = self.shown(proto::ListTasksRequest {
                person: person.to_owned(),
                under_task: under.to_owned(),
                show_ended: ended,
                page_size: 0,
                page_token,
            });
            let page = self.grpc.list_tasks(asked).await?.into_inner();
            all.extend(page.tasks.into_iter().map(TaskInfo::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// All grants that the caller may see, of `person` and at or below the task `under` where these are not empty.
    pub async fn grants(
        &mut self,
        person: &str,
        under: &str,
        ended: bool,
    ) -> Result<Vec<GrantInfo>, ClientError> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let asked = self.shown(proto::ListGrantsRequest {
                person: person.to_owned(),
                under_task: under.to_owned(),
                show_ended: ended,
                page_size: 0,
                page_token,
            });
            let page = self.grpc.list_grants(asked).await?.into_inner();
            all.extend(page.grants.into_iter().map(GrantInfo::from));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Why a token is not good for who showed it and for `audience`, empty for the caller; `None` where it is.
    pub async fn verify(
        &mut self,
        token: &Token,
        presenter: &str,
        audience: &str,
    ) -> Result<Option<String>, ClientError> {
        let asked = self.shown(proto::VerifyTokenRequest {
            token: token.expose().to_owned(),
            presenter: presenter.to_owned(),
            audience: audience.to_owned(),
        });
        let told = self.grpc.verify_token(asked).await?.into_inner();
        Ok((!told.valid).then_some(told.reason_code))
    }

    /// What a token permits now; `None` where it is not alive or the caller may not know.
    pub async fn introspect(&mut self, token: &Token) -> Result<Option<Vec<String>>, ClientError> {
        let asked = self.shown(proto::IntrospectTokenRequest {
            token: token.expose().to_owned(),
        });
        let told = self.grpc.introspect_token(asked).await?.into_inner();
        let facts = told.facts.filter(|_| told.active);
        Ok(facts.map(|facts| facts.permissions.iter().map(written).collect()))
    }

    /// What a mandate permits for one operation.
    pub async fn check_permission(
        &mut self,
        mandate: MandateRef,
        resource: &str,
        action: &str,
    ) -> Result<PermissionInfo, ClientError> {
        let mandate = match mandate {
            MandateRef::Grant(id) => Mandate::GrantId(id),
            MandateRef::Token(token) => Mandate::Token(token.expose().to_owned()),
        };
        let asked = self.shown(proto::CheckPermissionRequest {
            mandate: Some(mandate),
            resource: resource.to_owned(),
            action: action.to_owned(),
        });
        let told = self.grpc.check_permission(asked).await?.into_inner();
        let result = match told.result() {
            proto::PermissionResult::Allowed => "allowed",
            proto::PermissionResult::Supervised => "supervised",
            proto::PermissionResult::Unspecified | proto::PermissionResult::Denied => "denied",
        };
        Ok(PermissionInfo {
            result,
            code: told.reason_code,
            reason: told.reason,
            hop: told.lost_at_hop,
        })
    }

    /// A request with the caller's credential, which no log shows.
    fn shown<T>(&self, message: T) -> Request<T> {
        let mut request = dialled::shown(self.handle.as_ref(), message);
        request.set_timeout(self.time_limit);
        request
    }
}

impl From<HandoverWanted> for proto::DelegateRequest {
    fn from(wanted: HandoverWanted) -> Self {
        let on_excess = if wanted.reject_excess {
            proto::OnExcess::Reject
        } else {
            proto::OnExcess::Narrow
        };
        let delivery = if wanted.claim {
            proto::Delivery::Claim
        } else {
            proto::Delivery::Inline
        };
        Self {
            parent: wanted.parent.map(|parent| match parent {
                MandateRef::Grant(id) => Parent::ParentGrant(id),
                MandateRef::Token(token) => Parent::ParentToken(token.expose().to_owned()),
            }),
            delegate: Some(proto::DelegateRef {
                spiffe_id: wanted.spiffe_id,
                agent_id: wanted.agent_id,
                agent_type: wanted.agent_type,
            }),
            task_id: wanted.task,
            purpose: wanted.purpose,
            narrowing: Some(proto::Narrowing {
                resources: wanted
                    .resources
                    .map(|it| proto::ResourceList { resources: it }),
                actions: wanted.actions.map(|it| proto::ActionList { actions: it }),
                read_only: wanted.read_only,
                permissions: wanted
                    .permissions
                    .map(|it| proto::PermissionList { permissions: it }),
                supervise: Some(proto::PermissionList {
                    permissions: wanted.supervise,
                }),
            }),
            audience: wanted.audience,
            ttl: wanted.ttl.map(span),
            on_excess: on_excess.into(),
            max_further_depth: wanted.further,
            delivery: delivery.into(),
            validate_only: wanted.dry_run,
            request_id: wanted.request_id,
        }
    }
}

impl From<proto::Grant> for GrantInfo {
    fn from(grant: proto::Grant) -> Self {
        let state = state(grant.state());
        Self {
            id: grant.grant_id,
            chain: grant.delegation_chain.into_iter().map(|it| it.id).collect(),
            task: grant.task_id,
            permissions: grant.permissions.iter().map(written).collect(),
            audience: grant.audience,
            state,
            expires: seconds(grant.expire_time),
            live_tokens: grant.live_tokens,
        }
    }
}

impl From<proto::IssuedToken> for TokenInfo {
    fn from(issued: proto::IssuedToken) -> Self {
        Self {
            token: Token::new(issued.token),
            jti: issued.jti,
            expires: seconds(issued.expire_time),
        }
    }
}

impl From<proto::Task> for TaskInfo {
    fn from(task: proto::Task) -> Self {
        let state = state(task.state());
        Self {
            id: task.task_id,
            person: task.person,
            path: task.path,
            owner: task.owner,
            purpose: task.purpose,
            state,
            expires: seconds(task.expire_time),
        }
    }
}

impl From<proto::RevokeTaskResponse> for EndedInfo {
    fn from(ended: proto::RevokeTaskResponse) -> Self {
        let tasks = ended.tasks.into_iter();
        Self {
            tokens: ended.revoked_token_count,
            grants: ended.revoked_grant_count,
            tasks: tasks
                .map(|task| {
                    let state = state(task.state());
                    (task.task_id, state)
                })
                .collect(),
        }
    }
}

/// As permissions are written everywhere.
fn written(permission: &proto::Permission) -> String {
    let tier = match permission.tier() {
        proto::Tier::Unspecified | proto::Tier::Free => "",
        proto::Tier::Supervised => "@supervised",
        proto::Tier::Forbidden => "@forbidden",
    };
    format!("{}:{}{tier}", permission.resource, permission.action)
}

fn state(state: proto::State) -> String {
    let word = match state {
        proto::State::Unspecified => "pending",
        proto::State::Active => "active",
        proto::State::Completed => "completed",
        proto::State::Revoked => "revoked",
        proto::State::Expired => "expired",
        proto::State::Cascaded => "cascaded",
    };
    word.to_owned()
}

fn span(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}

fn seconds(time: Option<prost_types::Timestamp>) -> u64 {
    time.map_or(0, |time| u64::try_from(time.seconds).unwrap_or_default())
}
