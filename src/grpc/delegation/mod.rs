//! The door for mandates: `attache.v1.DelegationService`, for workloads with a certificate and people with a session.
//!
//! Reads messages, says who is at the other end, asks [`Mandates`], and says refusals in words of gRPC. Nothing is decided here,
//! and nothing of what was sent is repeated, for it may hold a token.

mod answer;
mod client;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use prost::Message;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tower::Layer as _;

use crate::authority::{By, Call, LONGEST_MANDATE_CALL, MandateRefusal, Mandates, Once};

use crate::delegation::token::Token;

use super::connection::Proxy;
use super::deadline::deadline;
use super::guard::{Guard, GuardLayer};
use super::proto::attache::v1::delegation_service_server::{
    DelegationService, DelegationServiceServer, SERVICE_NAME,
};
use super::proto::attache::v1::{
    BatchCheckPermissionsRequest, BatchCheckPermissionsResponse, CheckPermissionRequest,
    CheckPermissionResponse, CompleteTaskRequest, CreateTaskRequest, DelegateRequest,
    DelegateResponse, GetTaskRequest, IntrospectTokenRequest, IntrospectTokenResponse, IssuedToken,
    ListEffectivePermissionsRequest, ListEffectivePermissionsResponse, ListGrantsRequest,
    ListGrantsResponse, ListTasksRequest, ListTasksResponse, MintTokenRequest, RevokeGrantRequest,
    RevokeGrantResponse, RevokeTaskRequest, RevokeTaskResponse, RevokeTokenRequest, Task,
    VerifyTokenRequest, VerifyTokenResponse,
};
use super::refusal::Refused;
use super::services::LONGEST_CALL;
use super::session::credential;

pub use client::{
    DelegationClient, EndedInfo, GrantInfo, HandoverInfo, HandoverWanted, MandateRef,
    PermissionInfo, TaskInfo, TokenInfo,
};

/// The service's name.
pub(super) const NAME: &str = SERVICE_NAME;

/// Mandates as servers mount them. Clones share their places.
#[derive(Debug, Clone)]
pub(super) struct Handovers {
    mandates: Arc<Mandates>,
    in_flight: Arc<Semaphore>,
}

impl Handovers {
    pub(super) fn new(mandates: Arc<Mandates>) -> Self {
        Self {
            mandates,
            in_flight: Arc::new(Semaphore::new(MOST_IN_FLIGHT)),
        }
    }

    /// The service as any server can mount it: it judges its callers, and bounds its calls in number, size and time.
    pub(super) fn service(&self) -> Guard<DelegationServiceServer<Self>> {
        let guard = GuardLayer {
            in_flight: Arc::clone(&self.in_flight),
            time_limit: LONGEST_CALL,
        };
        let service = DelegationServiceServer::new(self.clone());
        guard.layer(service.max_decoding_message_size(MOST_BYTES))
    }
}

/// Each waits for the memory and for a record, which take turns.
const MOST_IN_FLIGHT: usize = 128;
/// Of a message: a token, some lists of names and patterns.
const MOST_BYTES: usize = 64 * 1024;

#[tonic::async_trait]
impl DelegationService for Handovers {
    async fn create_task(
        &self,
        request: Request<CreateTaskRequest>,
    ) -> Result<Response<Task>, Status> {
        let (call, asked) = asked("CreateTask", request)?;
        let created = self
            .mandates
            .create_task(&call, wire::new_task(asked)?)
            .await;
        told(created.map(|it| answer::task(&it)))
    }

    async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<Response<Task>, Status> {
        let (call, asked) = asked("GetTask", request)?;
        let (person, id) = wire::task_of(&asked)?;
        let found = self.mandates.task(&call, person, id).await;
        told(found.map(|it| answer::task(&it)))
    }

    async fn list_tasks(
        &self,
        request: Request<ListTasksRequest>,
    ) -> Result<Response<ListTasksResponse>, Status> {
        let (call, asked) = asked("ListTasks", request)?;
        let page = self.mandates.tasks(&call, wire::tasks(&asked)?).await;
        told(page.map(|page| ListTasksResponse {
            tasks: page.items.iter().map(answer::task).collect(),
            next_page_token: page.next.map(|it| it.to_string()).unwrap_or_default(),
        }))
    }

    async fn complete_task(
        &self,
        request: Request<CompleteTaskRequest>,
    ) -> Result<Response<RevokeTaskResponse>, Status> {
        let (call, asked) = asked("CompleteTask", request)?;
        let wanted = wire::complete_task(&asked)?;
        let ended = self.mandates.complete_task(&call, wanted).await;
        told(ended.map(|it| answer::ended_task(&it)))
    }

    async fn delegate(
        &self,
        request: Request<DelegateRequest>,
    ) -> Result<Response<DelegateResponse>, Status> {
        let (call, asked) = asked("Delegate", request)?;
        let wanted = wire::delegation(asked)?;
        let dry = wanted.dry;
        let delegated = self.mandates.delegate(&call, wanted).await;
        told(delegated.map(|it| answer::delegated(it, dry)))
    }

    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> Result<Response<IssuedToken>, Status> {
        let (call, asked) = asked("MintToken", request)?;
        let issued = self.mandates.mint(&call, &wire::mint(&asked)?).await;
        told(issued.map(|it| answer::issued(&it)))
    }

    async fn verify_token(
        &self,
        request: Request<VerifyTokenRequest>,
    ) -> Result<Response<VerifyTokenResponse>, Status> {
        let (call, asked) = asked("VerifyToken", request)?;
        let verified = self
            .mandates
            .verify_token(&call, &wire::shown(asked)?)
            .await;
        told(verified.map(answer::verified))
    }

    async fn introspect_token(
        &self,
        request: Request<IntrospectTokenRequest>,
    ) -> Result<Response<IntrospectTokenResponse>, Status> {
        let (call, asked) = asked("IntrospectToken", request)?;
        let token = Token::new(asked.token);
        let found = self.mandates.introspect_token(&call, &token).await;
        told(found.map(|it| answer::introspected(it.as_ref())))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeGrantResponse>, Status> {
        let (call, asked) = asked("RevokeToken", request)?;
        let (which, reason) = wire::revoke_token(asked)?;
        let ended = self.mandates.revoke_grant(&call, &which, &reason).await;
        told(ended.map(|it| answer::ended_grant(&it)))
    }

    async fn revoke_grant(
        &self,
        request: Request<RevokeGrantRequest>,
    ) -> Result<Response<RevokeGrantResponse>, Status> {
        let (call, asked) = asked("RevokeGrant", request)?;
        let (which, reason) = wire::revoke_grant(asked)?;
        let ended = self.mandates.revoke_grant(&call, &which, &reason).await;
        told(ended.map(|it| answer::ended_grant(&it)))
    }

    async fn revoke_task(
        &self,
        request: Request<RevokeTaskRequest>,
    ) -> Result<Response<RevokeTaskResponse>, Status> {
        let (call, asked) = asked("RevokeTask", request)?;
        let ended = self
            .mandates
            .revoke_task(&call, wire::revoke_task(asked)?)
            .await;
        told(ended.map(|it| answer::ended_task(&it)))
    }

    async fn check_permission(
        &self,
        request: Request<CheckPermissionRequest>,
    ) -> Result<Response<CheckPermissionResponse>, Status> {
        let (call, asked) = asked("CheckPermission", request)?;
        let question = wire::question(asked, "")?;
        let permitted = self.mandates.check_permission(&call, &question).await;
        told(permitted.map(|it| answer::permitted(&it)))
    }

    async fn batch_check_permissions(
        &self,
        request: Request<BatchCheckPermissionsRequest>,
    ) -> Result<Response<BatchCheckPermissionsResponse>, Status> {
        let (call, asked) = asked("BatchCheckPermissions", request)?;
        let questions = wire::questions(asked)?;
        let permitted = self.mandates.check_permissions(&call, &questions).await;
        told(permitted.map(|it| BatchCheckPermissionsResponse {
            results: it.iter().map(answer::permitted).collect(),
        }))
    }

    async fn list_effective_permissions(
        &self,
        request: Request<ListEffectivePermissionsRequest>,
    ) -> Result<Response<ListEffectivePermissionsResponse>, Status> {
        let (call, asked) = asked("ListEffectivePermissions", request)?;
        let held = self
            .mandates
            .permissions(&call, &wire::mandate(asked)?)
            .await;
        told(held.map(|it| ListEffectivePermissionsResponse {
            permissions: answer::permissions(&it),
        }))
    }

    async fn list_grants(
        &self,
        request: Request<ListGrantsRequest>,
    ) -> Result<Response<ListGrantsResponse>, Status> {
        let (call, asked) = asked("ListGrants", request)?;
        let page = self.mandates.grants(&call, wire::grants(&asked)?).await;
        told(page.map(|page| ListGrantsResponse {
            grants: page.items.iter().map(answer::seen).collect(),
            next_page_token: page.next.map(|it| it.to_string()).unwrap_or_default(),
        }))
    }
}

/// A message with a name by which the caller knows it when it comes again.
trait Named: Message + Sized {
    /// Takes the name out.
    fn take_name(&mut self) -> String;
}

macro_rules! named {
    ($($message:ty),+) => {
        $(impl Named for $message {
            fn take_name(&mut self) -> String {
                std::mem::take(&mut self.request_id)
            }
        })+
    };
}

named!(
    CreateTaskRequest,
    DelegateRequest,
    MintTokenRequest,
    RevokeTaskRequest,
    CompleteTaskRequest,
    RevokeTokenRequest,
    RevokeGrantRequest
);

/// Questions, that change nothing.
macro_rules! nameless {
    ($($message:ty),+) => {
        $(impl Named for $message {
            fn take_name(&mut self) -> String {
                String::new()
            }
        })+
    };
}

nameless!(
    GetTaskRequest,
    ListTasksRequest,
    VerifyTokenRequest,
    IntrospectTokenRequest,
    CheckPermissionRequest,
    BatchCheckPermissionsRequest,
    ListEffectivePermissionsRequest,
    ListGrantsRequest
);

/// Who calls and until when, and the message without the name it is known by.
fn asked<T: Named>(method: &'static str, request: Request<T>) -> Result<(Call, T), Status> {
    let deadline = deadline(Instant::now(), request.metadata(), LONGEST_MANDATE_CALL);
    let by = By::Peer {
        peer: Proxy::of(request.extensions()).peer(),
        handle: credential(request.metadata()),
    };
    let mut message = request.into_inner();
    let once = wire::request_id(message.take_name())?.map(|id| {
        let digest = Sha256::new()
            .chain_update(method)
            .chain_update([0])
            .chain_update(message.encode_to_vec());
        Once {
            id,
            digest: digest.finalize().into(),
        }
    });
    let call = Call { by, deadline, once };
    Ok((call, message))
}

fn told<T>(answer: Result<T, MandateRefusal>) -> Result<Response<T>, Status> {
    answer.map(Response::new).map_err(|it| refused(&it))
}

fn refused(refusal: &MandateRefusal) -> Status {
    if let MandateRefusal::Field { field, advice } = refusal {
        return Refused::field(field, *advice).into();
    }
    if let MandateRefusal::Unavailable(source) = refusal {
        // What the disk says is for whoever runs it, not for who asks.
        tracing::error!(error = %source, "a mandate could not be kept, signed or recorded");
    }
    Refused::new(refusal.code(), refusal.to_string()).into()
}
