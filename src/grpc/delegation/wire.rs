//! What is asked of mandates, in our own words; or which field can't be read, and what to write instead.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tonic::Status;

use crate::authority::{
    Delegation, Delivery, Listing, Mint, NewTask, Parent, PermissionQuestion, RevokeGrant,
    RevokeTask, Shown, Subject,
};
use crate::delegation::token::Token;
use crate::delegation::{self, GrantId, MOST_PURPOSE, Narrowing, PersonId, TaskId, lifetime};

use super::super::proto::attache::v1::check_permission_request::Mandate;
use super::super::proto::attache::v1::delegate_request;
use super::super::proto::attache::v1::revoke_token_request::Which;
use super::super::proto::attache::v1::{
    self as proto, BatchCheckPermissionsRequest, CheckPermissionRequest, CompleteTaskRequest,
    CreateTaskRequest, DelegateRequest, GetTaskRequest, IntrospectTokenRequest, IssuedToken,
    ListEffectivePermissionsRequest, ListGrantsRequest, ListTasksRequest, MintTokenRequest,
    RevokeGrantRequest, RevokeTaskRequest, RevokeTokenRequest, VerifyTokenRequest,
    list_effective_permissions_request,
};
use super::super::refusal::Refused;

pub(super) fn new_task(asked: CreateTaskRequest) -> Result<NewTask, Status> {
    let CreateTaskRequest {
        task_id,
        parent_task,
        purpose,
        ttl,
        request_id: _,
        grant_id,
    } = asked;
    Ok(NewTask {
        id: optional("task_id", &task_id)?,
        parent: optional("parent_task", &parent_task)?,
        grant: optional("grant_id", &grant_id)?,
        purpose: bounded("purpose", purpose)?,
        ttl: duration("ttl", ttl)?,
    })
}

pub(super) fn delegation(asked: DelegateRequest) -> Result<Delegation, Status> {
    let (on_excess, delivery) = (asked.on_excess(), asked.delivery());
    let DelegateRequest {
        parent,
        delegate,
        task_id,
        purpose,
        narrowing,
        audience,
        ttl,
        on_excess: written_excess,
        max_further_depth,
        delivery: written_delivery,
        validate_only,
        request_id: _,
    } = asked;
    // An unknown word is not the default one.
    known("on_excess", written_excess, on_excess.into())?;
    known("delivery", written_delivery, delivery.into())?;
    let delegate =
        delegate.ok_or_else(|| Refused::field("delegate", "say who is to receive it"))?;
    let on_excess = match on_excess {
        proto::OnExcess::Unspecified | proto::OnExcess::Narrow => delegation::OnExcess::Narrow,
        proto::OnExcess::Reject => delegation::OnExcess::Reject,
    };
    let delivery = match delivery {
        proto::Delivery::Unspecified | proto::Delivery::Inline => Delivery::Inline,
        proto::Delivery::Claim => Delivery::Claim,
    };
    let audience = list("audience", &audience)?;
    Ok(Delegation {
        parent: match parent {
            None => Parent::Session,
            Some(delegate_request::Parent::ParentGrant(id)) => {
                Parent::Grant(required("parent_grant", &id)?)
            }
            Some(delegate_request::Parent::ParentToken(text)) => Parent::Token(Token::new(text)),
        },
        spiffe_id: required("delegate.spiffe_id", &delegate.spiffe_id)?,
        agent_id: required("delegate.agent_id", &delegate.agent_id)?,
        agent_type: optional("delegate.agent_type", &delegate.agent_type)?,
        task: optional("task_id", &task_id)?,
        purpose: bounded("purpose", purpose)?,
        narrowing: narrowing
            .map(self::narrowing)
            .transpose()?
            .unwrap_or_default(),
        on_excess,
        audience: (!audience.is_empty()).then_some(audience),
        ttl: duration("ttl", ttl)?,
        further: u8::try_from(max_further_depth).unwrap_or(u8::MAX),
        delivery,
        dry: validate_only,
    })
}

fn narrowing(asked: proto::Narrowing) -> Result<Narrowing, Status> {
    let proto::Narrowing {
        resources,
        actions,
        read_only,
        permissions,
        supervise,
    } = asked;
    let resources = resources.map(|it| list("narrowing.resources", &it.resources));
    let actions = actions.map(|it| list("narrowing.actions", &it.actions));
    let permissions = permissions
        .map(|it| list::<crate::permission::Permission>("narrowing.permissions", &it.permissions));
    let permissions = permissions.transpose()?;
    let supervise = supervise.unwrap_or_default().permissions;
    Ok(Narrowing {
        resources: resources.transpose()?,
        actions: actions.transpose()?,
        read_only,
        permissions: permissions.map(|it| it.into_iter().collect()),
        supervise: list("narrowing.supervise", &supervise)?,
    })
}

pub(super) fn mint(asked: &MintTokenRequest) -> Result<Mint, Status> {
    Ok(Mint {
        grant: required("grant_id", &asked.grant_id)?,
        audience: optional("audience", &asked.audience)?,
        ttl: duration("ttl", asked.ttl)?,
    })
}

pub(super) fn revoke_task(asked: RevokeTaskRequest) -> Result<RevokeTask, Status> {
    Ok(RevokeTask {
        person: optional("person", &asked.person)?,
        task: required("task_id", &asked.task_id)?,
        reason: bounded("reason", asked.reason)?,
    })
}

pub(super) fn complete_task(asked: &CompleteTaskRequest) -> Result<RevokeTask, Status> {
    Ok(RevokeTask {
        person: optional("person", &asked.person)?,
        task: required("task_id", &asked.task_id)?,
        reason: String::new(),
    })
}

/// Which grant, and why.
pub(super) fn revoke_token(asked: RevokeTokenRequest) -> Result<(RevokeGrant, String), Status> {
    let which = match asked.which {
        Some(Which::Token(text)) => RevokeGrant::Token(Token::new(text)),
        Some(Which::Jti(id)) => RevokeGrant::Id(required("jti", &id)?),
        None => return Err(Refused::field("which", "name a token or its id").into()),
    };
    Ok((which, bounded("reason", asked.reason)?))
}

/// Which grant, and why.
pub(super) fn revoke_grant(asked: RevokeGrantRequest) -> Result<(RevokeGrant, String), Status> {
    let which = RevokeGrant::Grant(required("grant_id", &asked.grant_id)?);
    Ok((which, bounded("reason", asked.reason)?))
}

pub(super) fn shown(asked: VerifyTokenRequest) -> Result<Shown, Status> {
    Ok(Shown {
        presenter: required("presenter", &asked.presenter)?,
        audience: optional("audience", &asked.audience)?,
        token: Token::new(asked.token),
    })
}

/// Whose task, and which.
pub(super) fn task_of(asked: &GetTaskRequest) -> Result<(Option<PersonId>, TaskId), Status> {
    let person = optional("person", &asked.person)?;
    Ok((person, required("task_id", &asked.task_id)?))
}

pub(super) fn tasks(asked: &ListTasksRequest) -> Result<Listing<TaskId>, Status> {
    Ok(Listing {
        person: optional("person", &asked.person)?,
        under: optional("under_task", &asked.under_task)?,
        ended: asked.show_ended,
        most: page_size(asked.page_size)?,
        after: optional("page_token", &asked.page_token)?,
    })
}

pub(super) fn grants(asked: &ListGrantsRequest) -> Result<Listing<GrantId>, Status> {
    Ok(Listing {
        person: optional("person", &asked.person)?,
        under: optional("under_task", &asked.under_task)?,
        ended: asked.show_ended,
        most: page_size(asked.page_size)?,
        after: optional("page_token", &asked.page_token)?,
    })
}

fn page_size(asked: i32) -> Result<u32, Status> {
    match u32::try_from(asked) {
        Ok(0) => Ok(MOST_OF_A_PAGE),
        Ok(size) => Ok(size.min(MOST_OF_A_PAGE)),
        Err(_negative) => Err(Refused::field("page_size", "write 0 to 100").into()),
    }
}

pub(super) fn questions(
    asked: BatchCheckPermissionsRequest,
) -> Result<Vec<PermissionQuestion>, Status> {
    let checks = asked.checks;
    if checks.is_empty() || checks.len() > MOST_CHECKS {
        let advice = format!("ask 1 to {MOST_CHECKS} things at once");
        return Err(Refused::field("checks", advice).into());
    }
    let asked = checks.into_iter().enumerate();
    asked
        .map(|(at, check)| question(check, &format!("checks[{at}].")))
        .collect()
}

pub(super) fn mandate(asked: ListEffectivePermissionsRequest) -> Result<Subject, Status> {
    use list_effective_permissions_request::Mandate;
    match asked.mandate {
        Some(Mandate::Token(text)) => Ok(Subject::Token(Token::new(text))),
        Some(Mandate::GrantId(id)) => Ok(Subject::Grant(required("grant_id", &id)?)),
        None => Err(Refused::field("mandate", "name a token or a grant").into()),
    }
}

/// `place` stands before the names of fields.
pub(super) fn question(
    asked: CheckPermissionRequest,
    place: &str,
) -> Result<PermissionQuestion, Status> {
    let CheckPermissionRequest {
        mandate,
        resource,
        action,
    } = asked;
    let field = |name: &str| format!("{place}{name}");
    Ok(PermissionQuestion {
        mandate: match mandate {
            Some(Mandate::Token(text)) => Subject::Token(Token::new(text)),
            Some(Mandate::GrantId(id)) => Subject::Grant(required(&field("grant_id"), &id)?),
            None => return Err(Refused::field(&field("mandate"), "name a token or a grant").into()),
        },
        resource: required(&field("resource"), &resource)?,
        action: required(&field("action"), &action)?,
    })
}

/// The caller's name for a request.
pub(super) fn request_id(text: String) -> Result<Option<String>, Status> {
    if text.len() > MOST_OF_A_REQUEST_ID || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let advice = format!("write at most {MOST_OF_A_REQUEST_ID} printable characters");
        return Err(Refused::field("request_id", advice).into());
    }
    Ok(Some(text).filter(|text| !text.is_empty()))
}

fn required<T: FromStr>(field: &str, text: &str) -> Result<T, Status> {
    if text.is_empty() {
        return Err(Refused::field(field, "missing").into());
    }
    read(field, text)
}

fn optional<T: FromStr>(field: &str, text: &str) -> Result<Option<T>, Status> {
    if text.is_empty() {
        return Ok(None);
    }
    read(field, text).map(Some)
}

/// What is wrong with it is not said with what was written: people paste tokens into the wrong field.
fn read<T: FromStr>(field: &str, text: &str) -> Result<T, Status> {
    let read = Some(text).filter(|text| text.len() <= MOST_OF_A_NAME);
    let read = read.and_then(|text| text.parse().ok());
    read.ok_or_else(|| Refused::field(field, "not written as docs/api.md says").into())
}

fn list<T: FromStr>(field: &str, texts: &[String]) -> Result<Vec<T>, Status> {
    let items = texts.iter().enumerate();
    items
        .map(|(at, text)| required(&format!("{field}[{at}]"), text))
        .collect()
}

fn bounded(field: &str, text: String) -> Result<String, Status> {
    if text.len() > MOST_PURPOSE {
        let advice = format!("write at most {MOST_PURPOSE} bytes");
        return Err(Refused::field(field, advice).into());
    }
    Ok(text)
}

fn duration(field: &str, given: Option<prost_types::Duration>) -> Result<Option<Duration>, Status> {
    let Some(prost_types::Duration { seconds, nanos }) = given else {
        return Ok(None);
    };
    lifetime(seconds, nanos).map(Some).map_err(|refusal| {
        // D37: nothing wraps.
        Refused::new(refusal.code(), format!("{field}: {refusal}")).into()
    })
}

fn known(field: &str, written: i32, read: i32) -> Result<(), Status> {
    if written == read {
        return Ok(());
    }
    Err(Refused::field(field, "not a value of this version").into())
}

// === What no Debug may show ===

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken")
            .field("jti", &self.jti)
            .finish_non_exhaustive()
    }
}

macro_rules! hidden {
    ($($message:ty),+) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($message), "(…)"))
            }
        })+
    };
}

hidden!(
    DelegateRequest,
    delegate_request::Parent,
    CheckPermissionRequest,
    Mandate,
    ListEffectivePermissionsRequest,
    list_effective_permissions_request::Mandate,
    VerifyTokenRequest,
    IntrospectTokenRequest,
    RevokeTokenRequest,
    Which
);

/// Things of a page.
const MOST_OF_A_PAGE: u32 = 100;
/// Checks of a batch.
const MOST_CHECKS: usize = 100;
const MOST_OF_A_REQUEST_ID: usize = 64;
/// Bytes of a SPIFFE ID, the longest of names.
const MOST_OF_A_NAME: usize = 2048;
